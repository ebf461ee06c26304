"""Spans and metrics of a load by OpenTelemetry: what ``--telemetry`` sends.

A span for the load, and below it one for each committed batch, by the stable conventions for database
clients, as is the histogram ``db.client.operation.duration``; beside them all figures that the metrics for
Prometheus have.  Only OpenTelemetry's API is used here: what becomes of spans and metrics is up to the
providers (:mod:`xml_extractor.profiling.telemetry_setup`).
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from opentelemetry.context import Context
from opentelemetry.metrics import CallbackOptions, MeterProvider, Observation
from opentelemetry.trace import Span, SpanKind, Status, StatusCode, TracerProvider, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from xml_extractor.profiling.live_figures import FIGURES, Figure, Kind, LiveFigures, Values
from xml_extractor.profiling.observer import CommittedBatch, LoadObserver, WatchedLoad
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary

DURATION_BOUNDS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
"""Seconds; what the conventions advise for ``db.client.operation.duration``."""

PREFIX: Final = "xml_extractor."

_SCOPE: Final = "xml_extractor"
_SCHEMA: Final = "https://opentelemetry.io/schemas/1.44.0"

_FRESH_SECONDS: Final = 0.5
"""All instruments that are read within this time are read from one look at the load."""


class Telemetry(LoadObserver):
    """Spans and metrics of one load.  Thread-safe.

    A batch is taken as the conventions take a batch of operations: one operation a document.  The parent of
    the load's span, if there is one, stands in the environment (``TRACEPARENT``, ``TRACESTATE``).

    Args:
        contract: name of the load's contract.
        tracers: where spans go.
        meters: where metrics go.
        close: called at the end of the load, to send what is left; must have a bound.
    """

    def __init__(
        self,
        contract: str,
        tracers: TracerProvider,
        meters: MeterProvider,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        from xml_extractor import __version__

        self._contract = contract
        self._close = close
        self._figures = LiveFigures()
        self._tracer = tracers.get_tracer(_SCOPE, __version__, schema_url=_SCHEMA)
        self._database: dict[str, Any] = {}
        self._is_dry_run = False
        self._span: Span | None = None
        self._context: Context | None = None
        self._ended = False
        self._values: Values = {}
        self._values_at: float | None = None
        self._lock = threading.Lock()
        meter = meters.get_meter(_SCOPE, __version__, schema_url=_SCHEMA)
        self._durations = meter.create_histogram(
            "db.client.operation.duration",
            unit="s",
            description="Duration of database client operations.",
            explicit_bucket_boundaries_advisory=list(DURATION_BOUNDS),
        )
        for figure in FIGURES:
            name = f"{PREFIX}{figure.name}" + (".info" if figure.kind is Kind.INFO else "")
            create = (
                meter.create_observable_counter
                if figure.kind is Kind.COUNTER
                else meter.create_observable_gauge
            )
            create(name, [self._reader(figure)], unit=figure.unit, description=figure.about)

    # ---------------------------------------------------------------------------------- the load's calls

    def begin(self, load: WatchedLoad) -> None:
        """Start the load's span."""
        self._figures.begin(load)
        self._database = _database(load.database)
        self._is_dry_run = load.dry_run
        self._span = self._start()
        self._context = set_span_in_context(self._span)

    def batch(self, batch: CommittedBatch) -> None:
        """Record the batch as a database operation, or where there is no database as a step of our own."""
        self._figures.batch(batch)
        if not batch.attempts or self._is_dry_run:
            return  # all its documents were only looked at: nothing was inserted
        own: dict[str, Any] = {
            f"{PREFIX}contract": self._contract,
            f"{PREFIX}rows": sum(batch.rows.values()),
            f"{PREFIX}documents.loaded": batch.loaded,
            f"{PREFIX}documents.quarantined": batch.quarantined,
            f"{PREFIX}attempts": batch.attempts,
            "thread.name": batch.thread,
        }
        name, kind, attributes = "commit batch", SpanKind.INTERNAL, self._database
        if self._database:
            attributes = {**self._database, **_operation(batch)}
            name, kind = _span_name(attributes), SpanKind.CLIENT
            self._durations.record(batch.seconds, attributes)
            if batch.documents != 1:
                attributes = {**attributes, "db.operation.batch.size": batch.documents}
        ended_at = round(batch.ended_at * 1e9)
        span = self._tracer.start_span(
            name,
            context=self._context,
            kind=kind,
            attributes={**attributes, **own},
            start_time=ended_at - round(batch.seconds * 1e9),
        )
        span.end(ended_at)

    def end(self, summary: LoadSummary) -> None:
        """End the load's span and send what is left; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        try:
            self._tell_end(summary)
        finally:
            self._close()

    def _tell_end(self, summary: LoadSummary) -> None:
        self._figures.end(summary)
        with self._lock:
            self._values_at = None  # the last look at the figures is to find the last figures
        span = self._span or self._start()  # a load that fails before it begins is seen, too
        summary = self._figures.outcome or summary
        span.set_attributes(_outcome(summary))
        if self._is_dry_run:
            span.set_attribute(f"{PREFIX}dry_run", True)
        if summary.error is not None:
            span.set_attribute("error.type", summary.exit_code.name.lower())
            span.set_status(Status(StatusCode.ERROR, summary.error))
        span.end()

    def _start(self) -> Span:
        carrier = {name: os.environ.get(name.upper(), "") for name in ("traceparent", "tracestate")}
        return self._tracer.start_span(
            f"load {self._contract}",
            context=TraceContextTextMapPropagator().extract(carrier),
            kind=SpanKind.INTERNAL,
            attributes={**self._database, f"{PREFIX}contract": self._contract},
        )

    # ---------------------------------------------------------------------------------- metrics

    def _reader(self, figure: Figure) -> Callable[[CallbackOptions], Iterable[Observation]]:
        def read(_: CallbackOptions) -> Iterable[Observation]:
            return [
                Observation(value, {"contract": self._contract, **labels})
                for labels, value in self._now().get(figure.name, [])
            ]

        return read

    def _now(self) -> Values:
        with self._lock:
            now = time.monotonic()
            if self._values_at is None or now - self._values_at > _FRESH_SECONDS:
                self._values, self._values_at = self._figures.values(), now
            return self._values


def _database(database: Mapping[str, Any]) -> dict[str, Any]:
    """Return the attributes that all operations on a database have; none for a target that is no database."""
    if not database.get("system"):
        return {}
    attributes = {
        "db.system.name": database["system"],
        "db.namespace": database.get("name"),
        "server.address": database.get("server"),
        "server.port": database.get("port") if database.get("server") else None,
    }
    return {name: value for name, value in attributes.items() if value is not None}


def _operation(batch: CommittedBatch) -> dict[str, str]:
    """Return the attributes that say what was done.

    By the conventions, a batch has the name of its operations, which are the same, behind BATCH; what has one
    operation is no batch; and a table is named only where there is one.
    """
    attributes = {"db.operation.name": "INSERT" if batch.documents == 1 else "BATCH INSERT"}
    tables = [table for table, rows in batch.rows.items() if rows]
    if len(tables) == 1:
        attributes["db.collection.name"] = tables[0]
    return attributes


def _span_name(attributes: Mapping[str, Any]) -> str:
    """Return the name of a database span: the operation, and what it was done to."""
    target = attributes.get("db.collection.name") or attributes.get("db.namespace")
    if target is None and "server.address" in attributes:
        port = attributes.get("server.port")
        target = attributes["server.address"] + ("" if port is None else f":{port}")
    name = attributes["db.operation.name"]
    return f"{name} {target}" if target else str(name)


def _outcome(summary: LoadSummary) -> dict[str, Any]:
    """Return what the load's span tells of its end."""
    attributes: dict[str, Any] = {
        f"{PREFIX}exit_code": int(summary.exit_code),
        f"{PREFIX}executor": summary.executor,
        f"{PREFIX}workers": summary.workers,
        f"{PREFIX}insert_threads": summary.insert_threads,
        f"{PREFIX}rows": sum(summary.rows.values()),
        f"{PREFIX}batches": summary.batches,
    }
    for state in DocumentCounts.__slots__:
        attributes[f"{PREFIX}documents.{state}"] = getattr(summary.documents, state)
    if summary.load_id is not None:
        attributes[f"{PREFIX}load.id"] = summary.load_id
    return attributes
