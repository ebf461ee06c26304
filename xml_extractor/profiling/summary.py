"""What a load did: the figures, whether they add up, and how they look."""

from __future__ import annotations

import json
import signal
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xml_extractor.errors import ExitCode, LoaderError
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import LoadProfile


class SumsDifferError(LoaderError):
    """Documents or rows do not add up: a defect in this program, and the target must be compared."""


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """What became of the documents that were read.  Addable."""

    read: int = 0
    loaded: int = 0
    already_loaded: int = 0
    quarantined: int = 0
    skipped: int = 0
    unfinished: int = 0  # in flight when the run was stopped; the next run takes them up

    def __add__(self, other: DocumentCounts) -> DocumentCounts:
        return DocumentCounts(
            self.read + other.read,
            self.loaded + other.loaded,
            self.already_loaded + other.already_loaded,
            self.quarantined + other.quarantined,
            self.skipped + other.skipped,
            self.unfinished + other.unfinished,
        )

    @property
    def settled(self) -> int:
        """How many of the documents read have found their end."""
        return self.loaded + self.already_loaded + self.quarantined + self.skipped


@dataclass(frozen=True, slots=True)
class QueueFigures:
    """How full the insert queue was, in documents; the mean is over time."""

    max_depth: int = 0
    mean_depth: float = 0.0
    capacity: int = 0


@dataclass(slots=True)
class KeyFigures:
    """What a run did about keys that tables were to get after the load."""

    built: int = 0  # primary and foreign keys
    seconds: float = 0.0  # of the run's: building, and looking for documents in the way
    quarantined: int = 0  # documents that were loaded, and were in the way of a key
    elsewhere: int = 0  # of these, documents that this run did not read: they are in no other figure
    owed: list[str] = field(default_factory=list)  # tables that have yet to get their keys


NO_INSERTS: Mapping[str, float | int] = {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0, "count": 0}


@dataclass(slots=True)
class LoadSummary:
    """The outcome of one load.

    ``rows`` are the rows committed per table (mapped, where nothing is written); ``loaded_rows`` the
    rows of the documents counted as loaded: law 3 says that they are the same.
    """

    documents: DocumentCounts
    rows: dict[str, int]
    loaded_rows: dict[str, int]
    seconds: float  # from the first read to the last commit
    startup_seconds: float = 0.0  # of these, waited for the first worker process to start
    held_seconds: float = 0.0  # of these, waited because of --throttle
    clocks: StageClocks = field(default_factory=StageClocks)
    insert_ms: Mapping[str, float | int] = field(default_factory=lambda: dict(NO_INSERTS))
    queue: QueueFigures = field(default_factory=QueueFigures)
    bottleneck: str = ""
    load_id: int | None = None  # None where no ledger is kept
    executor: str = ""  # thread, process or serial: what ran
    executor_reason: str = ""
    workers: int = 0
    insert_threads: int = 0
    insert_path: str | None = None  # the way in that was settled on; None where there is nothing to choose
    batches: int = 0
    retries: int = 0  # transactions beyond one a batch: retries, and searches for documents at fault
    truncated_values: int = 0
    unknown_elements: dict[str, int] = field(default_factory=dict)  # name → documents that have it
    loaded_under_another_plan: int = 0  # of those already loaded
    changed: int = 0  # documents whose content has changed since the ledger took note of it
    replaced: int = 0  # of these, documents whose old rows were deleted and replaced
    changed_keys: list[str] = field(default_factory=list)  # the first of those that were only reported
    quarantine_reasons: dict[str, int] = field(default_factory=dict)  # code → documents of this run
    newer_in_quarantine: int = 0
    """Documents of this source and contract, whatever part of it was read, that are loaded in an older
    version while a newer one is in quarantine; not those that ``documents`` counts as quarantined."""
    keys: KeyFigures = field(default_factory=KeyFigures)
    notes: list[str] = field(default_factory=list)  # what the run decided by itself, for the operator
    peak_memory_bytes: int | None = None
    stopped_by_signal: int | None = None
    error: str | None = None  # why the run failed; its figures are then those of the part that was done
    error_code: ExitCode | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)  # of the product, Python, libraries and drivers
    profile: LoadProfile | None = None  # complete; None while the load runs, and where it never began

    @property
    def documents_per_second(self) -> float:
        """Documents that this run itself found an end for, per second; what was settled before is not."""
        if not self.did_work or self.seconds <= 0:
            return 0.0
        quarantined = sum(self.quarantine_reasons.values())
        return (self.documents.loaded + quarantined + self.documents.skipped) / self.seconds

    @property
    def did_work(self) -> bool:
        """Whether any document went through a worker."""
        return self.clocks.parse + self.clocks.map > 0 or self.documents.loaded > 0

    @property
    def exit_code(self) -> ExitCode:
        """The exit status that the run ends the program with."""
        if self.error_code is not None:
            return self.error_code
        if self.stopped_by_signal is not None:
            return ExitCode.INTERRUPTED if self.stopped_by_signal == signal.SIGINT else ExitCode.TERMINATED
        counts = self.documents.quarantined, self.newer_in_quarantine, self.loaded_under_another_plan
        if any(counts) or self.changed_keys or self.keys.elsewhere:
            return ExitCode.NEEDS_A_LOOK
        return ExitCode.OK

    def check(self, *, complete: bool = False) -> None:
        """Check that the sums hold (law 3).

        Args:
            complete: the run came to its end with nobody stopping it, so that nothing may be unfinished.

        Raises:
            SumsDifferError: with both numbers of each sum that does not hold.
        """
        mistakes = []
        counts = self.documents
        accounted = counts.settled + counts.unfinished
        if counts.read != accounted or (complete and counts.unfinished):
            mistakes.append(
                f"{counts.read:,} documents were read, but loaded {counts.loaded:,} + already loaded "
                f"{counts.already_loaded:,} + quarantined {counts.quarantined:,} + skipped "
                f"{counts.skipped:,} + unfinished {counts.unfinished:,} = {accounted:,}"
            )
        for table in sorted(self.rows.keys() | self.loaded_rows.keys()):
            committed, loaded = self.rows.get(table, 0), self.loaded_rows.get(table, 0)
            if committed != loaded:
                mistakes.append(
                    f"table {table}: {committed:,} rows were committed, "
                    f"but the loaded documents have {loaded:,}"
                )
        if mistakes:
            raise SumsDifferError(
                "the sums do not hold; this is a bug: keep the log, and compare source and target before "
                "relying on this load:\n  " + "\n  ".join(mistakes)
            )

    def to_json(self) -> dict[str, Any]:
        """Return the summary as plain data, without the profile, which is a hundred times as large."""
        return {
            "load_id": self.load_id,
            "documents": asdict(self.documents),
            "rows": dict(self.rows),
            "seconds": round(self.seconds, 3),
            "startup_seconds": round(self.startup_seconds, 3),
            "held_seconds": round(self.held_seconds, 3),
            "documents_per_second": round(self.documents_per_second, 1),
            "insert_ms": dict(self.insert_ms),
            "worker_time": self.clocks.shares(),
            "worker_seconds": round(self.clocks.seconds, 3),
            "queue": asdict(self.queue),
            "bottleneck": self.bottleneck,
            "executor": self.executor,
            "executor_reason": self.executor_reason,
            "workers": self.workers,
            "insert_threads": self.insert_threads,
            "insert_path": self.insert_path,
            "batches": self.batches,
            "retries": self.retries,
            "truncated_values": self.truncated_values,
            "unknown_elements": dict(self.unknown_elements),
            "loaded_under_another_plan": self.loaded_under_another_plan,
            "changed": self.changed,
            "replaced": self.replaced,
            "changed_keys": list(self.changed_keys),
            "quarantine_reasons": dict(self.quarantine_reasons),
            "newer_in_quarantine": self.newer_in_quarantine,
            "keys": {**asdict(self.keys), "seconds": round(self.keys.seconds, 3)},
            "notes": list(self.notes),
            "peak_memory_bytes": self.peak_memory_bytes,
            "stopped_by_signal": self.stopped_by_signal,
            "error": self.error,
            "exit_code": int(self.exit_code),
            "settings": dict(self.settings),
            "versions": dict(self.versions),
        }

    def write(self, path: Path) -> None:
        """Write the summary as JSON, the profile under ``profile``; a reader never sees half a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        text = json.dumps(self.to_json(), indent=2, ensure_ascii=False)
        profile = None if self.profile is None else self.profile.to_json()
        # On one line: indented, its samples would be thousands of lines with one number each.
        text = text.removesuffix("\n}") + f',\n  "profile": {json.dumps(profile, ensure_ascii=False)}\n}}\n'
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
