"""OpenTelemetry by its own variables: what reaches a collector, and that no collector holds up a load."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support import watched
from tests.support.collector import Collector
from xml_extractor.errors import UsageError
from xml_extractor.profiling.telemetry_setup import telemetry

LOGGER = "xml_extractor.profiling.telemetry_setup"


OURS = ("Otel", "telemetry-")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in list(os.environ):
        if name.startswith("OTEL_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    yield
    # What a collector that fails leaves behind ends soon, too; the next test would hear it complain.
    deadline = time.monotonic() + 30
    while any(thread.name.startswith(OURS) for thread in threading.enumerate()):
        assert time.monotonic() < deadline, "threads outlive the load"
        time.sleep(0.01)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    made.close()


def run(**given: Any) -> float:
    """Run a load, and return how long its end took."""
    sending = telemetry("loan", **given)
    sending.begin(watched.watched())
    for _ in range(3):
        sending.batch(watched.batch())
    began = time.monotonic()
    sending.end(watched.summary(profile=watched.profile()))
    return time.monotonic() - began


def resource(request: Any) -> dict[str, str]:
    (told,) = getattr(request, "resource_spans", None) or request.resource_metrics
    return {attribute.key: attribute.value.string_value for attribute in told.resource.attributes}


def test_a_collector_gets_all_spans_and_metrics_by_the_end(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20abc")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    assert run() < 10
    spans = [
        span
        for request in collector.traces()
        for part in request.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]
    assert sorted(span.name for span in spans) == ["BATCH INSERT lending"] * 3 + ["load loan"]
    names = {
        metric.name
        for request in collector.metrics()
        for part in request.resource_metrics
        for scope in part.scope_metrics
        for metric in scope.metrics
    }
    assert {"db.client.operation.duration", "xml_extractor.documents.settled"} <= names
    told = resource(collector.traces()[0])
    assert told["service.name"] == "xml-extractor"
    assert told["service.version"]
    assert told["deployment.environment.name"] == "test"
    assert {headers["authorization"] for _, headers, _ in collector.received} == {"Bearer abc"}
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert not [thread.name for thread in threading.enumerate() if thread.name.startswith(OURS)]


def test_the_service_is_named_as_the_variable_says(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_SERVICE_NAME", "nightly")
    run()
    assert resource(collector.metrics()[0])["service.name"] == "nightly"


def test_a_signal_can_be_left_out(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_METRICS_EXPORTER", "none")
    run()
    assert collector.traces()
    assert not collector.metrics()
    collector.received.clear()
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "none")
    run()
    assert not collector.received


def test_the_whole_can_be_disabled(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    run()
    assert not [path for path, _, body in collector.received if body]


# ------------------------------------------------------------------------------------- collectors that fail


def test_a_collector_that_is_not_there_costs_nothing_and_is_said_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://user:secret-word@127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "100")  # its six attempts take half a minute
    with caplog.at_level(logging.WARNING, LOGGER):
        took = run(flush_seconds=100.0)
    assert took < 20  # what is refused is not waited for
    warnings = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert len(warnings) == 1
    assert "the load goes on" in warnings[0]
    assert "secret-word" not in caplog.text
    assert capfd.readouterr().err == ""


def test_a_collector_that_says_nothing_is_waited_for_so_long_and_no_longer(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    silent = Collector(silent=True)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", silent.url)
    try:
        took = run(flush_seconds=0.3)
    finally:
        silent.close()
    assert 0.3 <= took < 9  # the exporter itself would wait for ten seconds
    assert "were not taken in 0.3 s" in caplog.text


def test_complaints_are_passed_on_without_passwords(
    collector: Collector, caplog: pytest.LogCaptureFixture
) -> None:
    sending = telemetry("loan")
    sdk = logging.getLogger("opentelemetry.exporter.x")
    with caplog.at_level(logging.WARNING, LOGGER):
        sdk.error("no way to http://user:secret-word@collector/v1/traces")
    sending.end(watched.summary())
    (said,) = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    assert "http://user:***@collector" in said
    sdk.error("told after the end")
    assert "told after the end" not in [r.getMessage() for r in caplog.records if r.name == LOGGER]


def test_a_collector_that_refuses_is_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    refusing = Collector(status=401)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", refusing.url)
    try:
        run()
    finally:
        refusing.close()
    assert "401" in caplog.text


# ------------------------------------------------------------------------------------- wrong variables


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("OTEL_TRACES_EXPORTER", "console", "OTEL_TRACES_EXPORTER: 'console' is not offered"),
        ("OTEL_METRICS_EXPORTER", "prometheus", "OTEL_METRICS_EXPORTER"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0", "OTEL_METRIC_EXPORT_INTERVAL"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "9999999", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    name: str, value: str, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=secret-word")
    before = threading.active_count()
    with pytest.raises(UsageError) as caught:
        telemetry("loan")
    assert said in str(caught.value)
    assert "secret-word" not in str(caught.value)
    assert threading.active_count() <= before


def test_what_the_sdk_itself_finds_wrong_is_said_and_no_sign_of_a_collector_that_fails(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "soon")
    run()
    assert "telemetry: Invalid timeout value" in caplog.text
    assert collector.traces()
    assert collector.metrics()


def test_the_protocol_of_one_signal_wins(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")
    for signal in ("TRACES", "METRICS"):
        monkeypatch.setenv(f"OTEL_EXPORTER_OTLP_{signal}_PROTOCOL", "http/protobuf")
    run()
    assert collector.traces()
