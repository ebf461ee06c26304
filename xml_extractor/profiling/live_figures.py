"""The figures of a running load for whoever collects them: what there is, in which unit, and its values now.

:data:`FIGURES` is the catalogue; :class:`LiveFigures` knows the values.  Metrics for Prometheus and for
OpenTelemetry are both made from these, so that their names differ only as the two worlds' rules differ.
"""

from __future__ import annotations

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from itertools import accumulate
from typing import Final

from xml_extractor.errors import ExitCode
from xml_extractor.profiling.observer import CommittedBatch, LoadObserver, WatchedLoad
from xml_extractor.profiling.profile import LoadProfile, Sample
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary


class Kind(Enum):
    """How a figure behaves over time."""

    COUNTER = "counter"  # never goes down while a load runs
    GAUGE = "gauge"
    INFO = "info"  # always 1; what it tells is in its labels


@dataclass(frozen=True, slots=True)
class Figure:
    """One entry of the catalogue."""

    name: str  # parts with dots between them, as OpenTelemetry has it
    kind: Kind
    unit: str  # UCUM: s, By, 1, or what is counted in braces
    about: str
    labels: tuple[str, ...] = ()


_COUNTER, _GAUGE = Kind.COUNTER, Kind.GAUGE

FIGURES: Final = (
    Figure("documents.read", _COUNTER, "{document}", "Documents read, those of earlier runs included"),
    Figure("documents.settled", _COUNTER, "{document}",
           "Documents whose end is known: loaded, already_loaded, quarantined or skipped", ("state",)),
    Figure("documents.quarantined", _COUNTER, "{document}",
           "Documents that this run put into quarantine, by reason", ("reason",)),
    Figure("documents.changed", _COUNTER, "{document}", "Documents found changed since they were loaded"),
    Figure("documents.replaced", _COUNTER, "{document}", "Changed documents whose old rows were replaced"),
    Figure("values.truncated", _COUNTER, "{value}", "Values that were cut to fit their column"),
    Figure("rows.committed", _COUNTER, "{row}", "Rows committed", ("table",)),
    Figure("batches.committed", _COUNTER, "{batch}", "Batches committed"),
    Figure("retries", _COUNTER, "{transaction}",
           "Transactions beyond one a batch: retries, and searches for documents at fault"),
    Figure("worker.time", _COUNTER, "s", "Time of all workers: parse, map, blocked (queue full), idle",
           ("stage",)),
    Figure("insert.time", _COUNTER, "s",
           "Time of all insert threads: wait (no batch ready), claim (ledger), insert, commit, retry",
           ("stage",)),
    Figure("insert.table.time", _COUNTER, "s", "Time that insert threads spent inserting", ("table",)),
    Figure("cpu.time", _COUNTER, "s", "CPU time of all processes of the load, the database server's not"),
    Figure("throttle.time", _COUNTER, "s", "Time for which the load was held back by --throttle"),
    Figure("documents.in_flight", _GAUGE, "{document}", "Documents dispatched and not settled yet"),
    Figure("queue.documents", _GAUGE, "{document}", "Documents waiting in the insert queue"),
    Figure("queue.size", _GAUGE, "By", "Memory of the documents waiting in the insert queue"),
    Figure("queue.capacity_documents", _GAUGE, "{document}", "Documents that the insert queue takes"),
    Figure("queue.capacity", _GAUGE, "By", "Memory that the insert queue takes"),
    Figure("memory.usage", _GAUGE, "By", "Memory of all processes of the load, shared pages counted once"),
    Figure("workers", _GAUGE, "{worker}", "Workers that parse and map"),
    Figure("insert.threads", _GAUGE, "{thread}", "Threads that insert"),
    Figure("batch.size", _GAUGE, "{document}", "Documents at which a batch closes"),
    Figure("load", Kind.INFO, "1", "How the load runs",
           ("executor", "insert_path", "database_system", "version")),
    Figure("load.id", _GAUGE, "1", "Number of the load in load_runs"),
    Figure("load.duration", _GAUGE, "s", "Time since the start of this run, or from its start to its end"),
    Figure("running", _GAUGE, "1", "Whether the load runs: 1, or 0 before and after it"),
    Figure("start_time", _GAUGE, "s", "When this run began, as seconds since 1970"),
    Figure("heartbeat.timestamp", _GAUGE, "s", "When these figures were taken, as seconds since 1970"),
    Figure("last_commit.timestamp", _GAUGE, "s", "When the last batch was committed, as seconds since 1970"),
    Figure("last_run.timestamp", _GAUGE, "s", "When the last run that ended did so, as seconds since 1970"),
    Figure("last_run.duration", _GAUGE, "s", "How long the last run that ended took"),
    Figure("last_run.exit_code", _GAUGE, "1", "Exit code of the last run that ended"),
    Figure("last_success.timestamp", _GAUGE, "s",
           "When the last run with exit code 0 or 3 ended, as seconds since 1970"),
)  # fmt: skip
"""All figures but the insert latency, which is a histogram (:meth:`LiveFigures.insert_durations`)."""

Values = dict[str, list[tuple[Mapping[str, str], float]]]
"""Name of a figure → its values, each with its labels; a figure of which nothing is known is left out."""

DURATION_BOUNDS: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 25.0, 60.0,
)  # fmt: skip
"""Seconds.  Batches take from a millisecond (a SQLite file, a few documents) to the minute at which a
statement is given up; between two bounds lies a factor of 2 to 2.5, as in Prometheus's own choice."""

MOST_LABELS: Final = 100
"""Different values of one label.  What comes later is counted under :data:`OTHER`: each is a time series to
be kept for weeks, and a contract of hundreds of tables, or a server with codes of its own, must not make
hundreds of them."""

OTHER: Final = "other"


@dataclass(frozen=True, slots=True)
class LastRun:
    """What is known of the last run that ended; times in seconds since 1970."""

    ended_at: float | None = None
    duration: float | None = None
    exit_code: int | None = None
    succeeded_at: float | None = None  # of the last one that succeeded, which may be another


@dataclass(frozen=True, slots=True)
class Durations:
    """A histogram as Prometheus has it."""

    cumulative: tuple[int, ...]  # durations up to each of DURATION_BOUNDS, and then all of them
    total_seconds: float


class LiveFigures(LoadObserver):
    """The values of all figures at any moment of a load.  Thread-safe.

    Nothing is computed until somebody asks, but for three additions a batch.  Counters never go down, in
    whatever order threads add to what they are made from.

    Args:
        last_run: what is known of runs before this one.
        now: the clock, in seconds since 1970.
    """

    def __init__(self, last_run: LastRun | None = None, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._last_run = last_run or LastRun()
        self._load: WatchedLoad | None = None
        self._ended: tuple[LoadProfile | None, LoadSummary] | None = None
        self._started_at = now()
        self._ended_at: float | None = None
        self._last_commit: float | None = None
        self._counts = [0] * (len(DURATION_BOUNDS) + 1)
        self._total_seconds = 0.0
        self._highest: dict[tuple[str, tuple[str, ...]], float] = {}
        self._known_labels: dict[str, dict[str, None]] = {}
        self._batches = threading.Lock()  # the histogram and the last commit
        self._reading = threading.Lock()  # all the rest: one reader at a time

    @property
    def last_run(self) -> LastRun:
        """What is known of the last run that ended: this one, once it has."""
        return self._last_run

    # ---------------------------------------------------------------------------------- the load's calls

    def begin(self, load: WatchedLoad) -> None:
        """The load is about to run."""
        with self._reading:
            self._load = load
            self._started_at = self._now()

    def batch(self, batch: CommittedBatch) -> None:
        """A batch was committed."""
        if not batch.attempts or self._is_dry_run:
            return  # all its documents were only looked at: nothing was inserted
        bucket = bisect_left(DURATION_BOUNDS, batch.seconds)
        with self._batches:
            self._counts[bucket] += 1
            self._total_seconds += batch.seconds
            self._last_commit = max(batch.ended_at, self._last_commit or batch.ended_at)

    def end(self, summary: LoadSummary) -> None:
        """The load has ended; only the first call counts."""
        with self._reading:
            if self._ended is not None:
                return
            profile = summary.profile
            if profile is None and self._load is not None:
                # What failed after the run has summed up nothing; the figures are those of the run.
                profile, figures = self._load.profile(), self._load.summary()
                summary = replace(figures, error=summary.error, error_code=summary.error_code)
            # From now on the load is asked for nothing more.
            ended_at = self._ended_at = self._now()
            self._ended = profile, summary
            code = summary.exit_code
            succeeded = code in (ExitCode.OK, ExitCode.NEEDS_A_LOOK) and not summary.settings.get("dry_run")
            self._last_run = LastRun(
                ended_at=ended_at,
                duration=max(0.0, ended_at - self._started_at),
                exit_code=int(code),
                succeeded_at=ended_at if succeeded else self._last_run.succeeded_at,
            )

    # ---------------------------------------------------------------------------------- figures

    @property
    def outcome(self) -> LoadSummary | None:
        """How the load has ended; None while it has not."""
        return None if self._ended is None else self._ended[1]

    def insert_durations(self) -> Durations:
        """Return how long batches took to insert."""
        with self._batches:
            return Durations(tuple(accumulate(self._counts)), self._total_seconds)

    @property
    def _is_dry_run(self) -> bool:
        return self._load is not None and self._load.dry_run

    def values(self) -> Values:
        """Return the values of all figures now."""
        with self._reading:
            load = self._load
            if self._ended is not None:
                profile, summary = self._ended
            elif load is not None:
                profile, summary = load.profile(), load.summary()
            else:
                profile, summary = None, LoadSummary(DocumentCounts(), {}, {}, 0.0)
            values: Values = {}
            self._add_times(values)
            self._add_summary(values, summary, load)
            if profile is not None:
                self._add_profile(values, profile)
            self._hold_counters(values)
            return values

    def _add_times(self, values: Values) -> None:
        now = self._now() if self._ended_at is None else self._ended_at
        last = self._last_run
        running = self._load is not None and self._ended is None
        with self._batches:
            last_commit = self._last_commit
        for name, value in (
            ("running", float(running)),
            ("start_time", self._started_at),
            ("load.duration", max(0.0, now - self._started_at)),
            ("heartbeat.timestamp", now),
            ("last_commit.timestamp", last_commit),
            ("last_run.timestamp", last.ended_at),
            ("last_run.duration", last.duration),
            ("last_run.exit_code", last.exit_code),
            ("last_success.timestamp", last.succeeded_at),
        ):
            if value is not None:
                values[name] = [({}, value)]

    def _add_summary(self, values: Values, summary: LoadSummary, load: WatchedLoad | None) -> None:
        documents = summary.documents
        for name, count in (
            ("documents.read", documents.read),
            ("documents.in_flight", documents.unfinished),
            ("documents.changed", summary.changed),
            ("documents.replaced", summary.replaced),
            ("values.truncated", summary.truncated_values),
            ("retries", summary.retries),
            ("throttle.time", summary.held_seconds),
            ("workers", summary.workers),
            ("insert.threads", summary.insert_threads),
        ):
            values[name] = [({}, count)]
        values["documents.settled"] = [
            ({"state": state}, getattr(documents, state))
            for state in ("loaded", "already_loaded", "quarantined", "skipped")
        ]
        values["documents.quarantined"] = self._labelled("reason", summary.quarantine_reasons.items())
        if not self._is_dry_run:
            values["batches.committed"] = [({}, summary.batches)]
            values["rows.committed"] = self._labelled("table", summary.rows.items())
        if summary.load_id is not None:
            values["load.id"] = [({}, summary.load_id)]
        from xml_extractor import __version__

        about = {
            "executor": summary.executor,
            "insert_path": summary.insert_path or "",
            "database_system": str(load.database.get("system", "")) if load is not None else "",
            "version": __version__,
        }
        values["load"] = [(about, 1)]

    def _add_profile(self, values: Values, profile: LoadProfile) -> None:
        clocks, inserting = profile.clocks, profile.inserting
        values["worker.time"] = [
            ({"stage": stage}, getattr(clocks, stage)) for stage in ("parse", "map", "blocked", "idle")
        ]
        values["insert.time"] = [
            ({"stage": stage}, seconds)
            for stage, seconds in (
                ("wait", inserting.wait),
                ("claim", inserting.claim),
                ("insert", sum(inserting.tables.values())),
                ("commit", inserting.commit),
                ("retry", inserting.retry),
            )
        ]
        values["insert.table.time"] = self._labelled("table", inserting.tables.items())
        values["cpu.time"] = [({}, profile.cpu_seconds)]
        values["queue.capacity_documents"] = [({}, profile.queue_capacity_documents)]
        values["queue.capacity"] = [({}, profile.queue_capacity_bytes)]
        if profile.samples:
            self._add_sample(values, profile.samples)

    def _add_sample(self, values: Values, samples: tuple[Sample, ...]) -> None:
        last = samples[-1]
        values["queue.documents"] = [({}, last.queue_documents)]
        values["queue.size"] = [({}, last.queue_bytes)]
        values["batch.size"] = [({}, last.batch_size)]
        values["insert.threads"] = [({}, last.insert_threads)]
        memory = next((one.memory_bytes for one in reversed(samples) if one.memory_bytes is not None), None)
        if memory is not None:
            values["memory.usage"] = [({}, memory)]

    def _labelled(
        self, label: str, values: Iterable[tuple[str, float]]
    ) -> list[tuple[Mapping[str, str], float]]:
        """Return the values by label; those of labels beyond the first so many added up."""
        known = self._known_labels.setdefault(label, {})
        sums: dict[str, float] = {}
        for given, value in values:
            if given not in known and len(known) < MOST_LABELS:
                known[given] = None
            shown = given if given in known else OTHER
            sums[shown] = sums.get(shown, 0) + value
        return [({label: shown}, value) for shown, value in sums.items()]

    def _hold_counters(self, values: Values) -> None:
        """Let no counter go down: a document that was counted as read may turn out to have vanished."""
        for figure in FIGURES:
            if figure.kind is not Kind.COUNTER or figure.name not in values:
                continue
            held: list[tuple[Mapping[str, str], float]] = []
            for labels, value in values[figure.name]:
                place = figure.name, tuple(labels.values())
                highest = self._highest[place] = max(value, self._highest.get(place, 0))
                held.append((labels, highest))
            values[figure.name] = held
