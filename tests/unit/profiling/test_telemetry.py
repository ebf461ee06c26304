"""Spans and metrics as OpenTelemetry's conventions for database clients want them."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import Histogram, InMemoryMetricReader, Sum
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv.attributes import db_attributes, error_attributes, server_attributes
from opentelemetry.semconv.metrics.db_metrics import DB_CLIENT_OPERATION_DURATION
from opentelemetry.trace import SpanKind, StatusCode

from tests.support import watched
from xml_extractor.errors import ExitCode
from xml_extractor.profiling.live_figures import FIGURES, LiveFigures
from xml_extractor.profiling.metrics import metric_name
from xml_extractor.profiling.observer import CommittedBatch
from xml_extractor.profiling.summary import LoadSummary
from xml_extractor.profiling.telemetry import Telemetry


class Bench:
    """A load's telemetry, and what comes of it in memory."""

    def __init__(self) -> None:
        self.spans_out = InMemorySpanExporter()
        tracers = TracerProvider(shutdown_on_exit=False)
        tracers.add_span_processor(SimpleSpanProcessor(self.spans_out))
        self.reader = InMemoryMetricReader()
        meters = MeterProvider([self.reader], shutdown_on_exit=False)
        self.closed: list[bool] = []
        self.telemetry = Telemetry("loan", tracers, meters, lambda: self.closed.append(True))

    def run(self, *batches: CommittedBatch, end: LoadSummary | None = None, **database: Any) -> None:
        self.telemetry.begin(watched.watched(database=database or watched.DATABASE))
        for batch in batches:
            self.telemetry.batch(batch)
        self.telemetry.end(end or watched.summary(profile=watched.profile()))

    def spans(self) -> tuple[list[ReadableSpan], ReadableSpan]:
        """The spans of batches, and the load's."""
        *batches, load = self.spans_out.get_finished_spans()
        return list(batches), load

    def metrics(self) -> dict[str, Any]:
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            metric.name: metric
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_batch_is_a_database_operation_below_the_load() -> None:
    bench = Bench()
    bench.run(watched.batch())
    (batch,), load = bench.spans()
    assert load.name == "load loan"
    assert load.kind is SpanKind.INTERNAL
    assert batch.parent is not None
    assert batch.parent.span_id == load.context.span_id
    assert batch.context.trace_id == load.context.trace_id
    assert batch.kind is SpanKind.CLIENT
    assert batch.name == "BATCH INSERT lending"  # operation and what it is done to
    assert batch.status.status_code is StatusCode.UNSET
    assert attributes(batch) == {
        db_attributes.DB_SYSTEM_NAME: "postgresql",
        db_attributes.DB_NAMESPACE: "lending",
        db_attributes.DB_OPERATION_NAME: "BATCH INSERT",
        db_attributes.DB_OPERATION_BATCH_SIZE: 40,
        server_attributes.SERVER_ADDRESS: "db.example",
        server_attributes.SERVER_PORT: 6432,
        "thread.name": "xml-extractor-insert-1",
        "xml_extractor.contract": "loan",
        "xml_extractor.rows": 114,
        "xml_extractor.documents.loaded": 38,
        "xml_extractor.documents.quarantined": 2,
        "xml_extractor.attempts": 1,
    }
    assert (batch.start_time, batch.end_time) == (1_700_000_000_250_000_000, 1_700_000_000_500_000_000)
    assert bench.closed == [True]


def test_a_dry_run_asks_no_database_to_insert_anything() -> None:
    bench = Bench()
    bench.telemetry.begin(watched.watched(dry_run=True))
    bench.telemetry.batch(watched.batch())
    bench.telemetry.end(watched.summary(profile=watched.profile(), settings={"dry_run": True}))
    batches, load = bench.spans()
    assert batches == []
    assert attributes(load)["xml_extractor.dry_run"] is True
    assert DB_CLIENT_OPERATION_DURATION not in bench.metrics()


def test_one_document_is_no_batch_and_one_table_is_named() -> None:
    bench = Bench()
    bench.run(watched.batch(documents=1, rows={"app_base": 1, "app_note": 0}))
    (span,), _ = bench.spans()
    assert span.name == "INSERT app_base"
    told = attributes(span)
    assert told[db_attributes.DB_OPERATION_NAME] == "INSERT"
    assert told[db_attributes.DB_COLLECTION_NAME] == "app_base"
    assert db_attributes.DB_OPERATION_BATCH_SIZE not in told


@pytest.mark.parametrize(
    ("database", "name"),
    [
        ({"system": "sqlite"}, "BATCH INSERT"),
        ({"system": "postgresql", "server": "h"}, "BATCH INSERT h"),
        ({"system": "postgresql", "server": "h", "port": 7}, "BATCH INSERT h:7"),
        ({"system": "sqlite", "name": "main"}, "BATCH INSERT main"),
    ],
)
def test_a_span_is_named_by_what_is_known(database: dict[str, Any], name: str) -> None:
    bench = Bench()
    bench.run(watched.batch(), **database)
    (span,), _ = bench.spans()
    assert span.name == name


def test_what_is_no_database_is_not_told_as_one() -> None:
    bench = Bench()
    bench.run(watched.batch(), name="files")
    (span,), load = bench.spans()
    assert (span.name, span.kind) == ("commit batch", SpanKind.INTERNAL)
    for told in (attributes(span), attributes(load)):
        assert not [name for name in told if name.startswith(("db.", "server."))]
    assert DB_CLIENT_OPERATION_DURATION not in bench.metrics()


def test_a_batch_that_was_only_looked_at_is_no_operation() -> None:
    bench = Bench()
    bench.run(watched.batch(attempts=0))
    assert bench.spans()[0] == []
    assert DB_CLIENT_OPERATION_DURATION not in bench.metrics()


def test_the_duration_of_operations() -> None:
    bench = Bench()
    bench.run(
        watched.batch(seconds=0.25), watched.batch(seconds=0.003), watched.batch(documents=1, seconds=2.0)
    )
    metric = bench.metrics()[DB_CLIENT_OPERATION_DURATION]
    assert metric.unit == "s"
    assert isinstance(metric.data, Histogram)
    batches, single = sorted(metric.data.data_points, key=lambda point: -point.count)
    assert tuple(batches.explicit_bounds) == (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10)
    assert batches.count == 2
    assert batches.sum == pytest.approx(0.253)
    assert batches.attributes == {
        "db.system.name": "postgresql", "db.namespace": "lending", "db.operation.name": "BATCH INSERT",
        "server.address": "db.example", "server.port": 6432,
    }  # fmt: skip
    assert single.attributes is not None
    assert single.attributes["db.operation.name"] == "INSERT"


def test_the_load_says_how_it_ended() -> None:
    bench = Bench()
    bench.run()
    _, load = bench.spans()
    told = attributes(load)
    assert told["xml_extractor.exit_code"] == 3
    assert told["xml_extractor.documents.loaded"] == 80
    assert told["xml_extractor.documents.unfinished"] == 10
    assert told["xml_extractor.load.id"] == 12
    assert load.status.status_code is StatusCode.UNSET
    assert error_attributes.ERROR_TYPE not in told


@pytest.mark.parametrize("begun", [True, False])
def test_a_load_that_fails_says_so(begun: bool) -> None:
    bench = Bench()
    if begun:
        bench.telemetry.begin(watched.watched())
    failed = watched.summary(
        error="the target is gone", error_code=ExitCode.TARGET_FAILED,
        profile=watched.profile() if begun else None,
    )  # fmt: skip
    bench.telemetry.end(failed)
    bench.telemetry.end(watched.summary())  # only the first counts
    spans, load = bench.spans()
    assert not spans
    assert attributes(load)[error_attributes.ERROR_TYPE] == "target_failed"
    assert load.status.status_code is StatusCode.ERROR
    assert load.status.description == "the target is gone"
    assert bench.closed == [True]


def test_figures_that_cannot_be_read_at_the_end_leave_nothing_running() -> None:
    bench = Bench()
    bench.telemetry.begin(watched.unreadable())
    with pytest.raises(ValueError, match="unreadable"):
        bench.telemetry.end(watched.summary(profile=None, error="no target"))
    assert bench.closed == [True]


def test_all_other_figures_have_the_names_that_prometheus_gives_them() -> None:
    bench = Bench()
    bench.run(watched.batch())
    metrics = bench.metrics()
    del metrics[DB_CLIENT_OPERATION_DURATION]
    assert len(metrics) == len(FIGURES)
    units = {"s": "_seconds", "By": "_bytes"}
    for figure in FIGURES:
        name = "xml_extractor." + figure.name + (".info" if figure.kind.value == "info" else "")
        metric = metrics[name]
        assert metric.unit == figure.unit
        assert metric.description == figure.about
        if figure.kind.value == "counter":
            assert isinstance(metric.data, Sum)
            assert metric.data.is_monotonic
        # What OpenTelemetry's rules make of the name in Prometheus.
        translated = name.replace(".", "_") + units.get(metric.unit, "")
        assert translated.removesuffix("_info") == metric_name(figure)
        for point in metric.data.data_points:
            assert set(point.attributes) == {"contract", *figure.labels}


def test_the_parent_is_taken_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    monkeypatch.setenv("TRACEPARENT", f"00-{trace}-{parent}-01")
    bench = Bench()
    bench.run(watched.batch())
    _, load = bench.spans()
    assert load.parent is not None
    assert format(load.parent.span_id, "016x") == parent
    assert format(load.context.trace_id, "032x") == trace
    monkeypatch.setenv("TRACEPARENT", "rubbish")
    bench = Bench()
    bench.run()
    assert bench.spans()[1].parent is None


def test_batches_of_many_threads_all_arrive() -> None:
    bench = Bench()
    bench.telemetry.begin(watched.watched())
    threads = [
        threading.Thread(target=lambda: [bench.telemetry.batch(watched.batch()) for _ in range(50)])
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        bench.metrics()
    bench.telemetry.end(watched.summary(profile=watched.profile()))
    assert len(bench.spans()[0]) == 200


def test_one_look_at_the_load_serves_all_instruments(monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()
    bench.telemetry.begin(watched.watched())
    looks: list[bool] = []
    values = LiveFigures.values
    monkeypatch.setattr(LiveFigures, "values", lambda self: looks.append(True) or values(self))
    bench.metrics()
    assert len(looks) == 1
    bench.telemetry.end(watched.summary(profile=watched.profile(cpu_seconds=77.0)))
    (point,) = bench.metrics()["xml_extractor.cpu.time"].data.data_points
    assert point.value == 77.0  # the last look is a new one
