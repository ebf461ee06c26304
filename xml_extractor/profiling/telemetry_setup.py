"""Sets OpenTelemetry's SDK up by its own variables, for ``--telemetry``.

Whatever becomes of spans and metrics, the load does not wait for them: they go out from threads of the SDK,
and the end of the load waits for a set time at most, and not at all where nobody takes them.
"""

from __future__ import annotations

import logging
import os
import time
from typing import Final

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import MetricReader, PeriodicExportingMetricReader
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from xml_extractor.errors import UsageError
from xml_extractor.profiling.telemetry import Telemetry
from xml_extractor.settings import hide_password
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 3.0
"""How long the end of a load waits for what is still to be sent.  A collector that is there takes far less;
the SDK itself would wait for half a minute."""

_RECENT_SECONDS: Final = 15.0
"""Of complaints: somewhat longer than the exporters themselves try again."""

_POLL_SECONDS: Final = 0.01
_SIGNALS: Final = ("traces", "metrics")
_PROTOCOL: Final = "http/protobuf"


def telemetry(contract: str, flush_seconds: float = FLUSH_SECONDS) -> Telemetry:
    """Return an observer that sends what ``OTEL_EXPORTER_OTLP_ENDPOINT`` and its kin say, and to whom.

    Args:
        contract: name of the load's contract.

    Raises:
        UsageError: a variable asks for what is not offered, or cannot be used.
    """
    wanted = {signal: _exporter(signal) for signal in _SIGNALS}
    try:
        return _SetUp(wanted, flush_seconds).telemetry(contract)
    except Exception as error:  # noqa: BLE001 - the SDK raises bare ones, too
        # Not the error's own words: one of the variables holds headers, which are secret.
        given = ", ".join(sorted(name for name in os.environ if name.startswith("OTEL_"))) or "none is set"
        raise UsageError(
            f"--telemetry: OpenTelemetry cannot be set up ({type(error).__name__}); look at its variables: "
            f"{given}"
        ) from None


def _exporter(signal: str) -> bool:
    """Whether a signal is to be sent.

    Raises:
        UsageError: in another way than OTLP over HTTP.
    """
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    exporter = os.environ.get(variable, "").strip() or "otlp"
    if exporter == "none":
        return False
    if exporter != "otlp":
        raise UsageError(f"{variable}: {exporter!r} is not offered; otlp and none are")
    for variable in (f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        protocol = os.environ.get(variable, "").strip()
        if not protocol:
            continue
        if protocol != _PROTOCOL:
            raise UsageError(
                f"{variable}: {protocol!r} is not offered; set it to {_PROTOCOL} (a collector takes that at "
                "port 4318)"
            )
        break
    return True


class _SetUp:
    """The SDK's parts, and how they end."""

    def __init__(self, wanted: dict[str, bool], flush_seconds: float) -> None:
        from xml_extractor import __version__

        self._flush_seconds = flush_seconds
        self._complaints = _Complaints()
        self._complaints.listen()
        resource = Resource.create()
        if str(resource.attributes["service.name"]).startswith("unknown_service"):
            resource = resource.merge(Resource({"service.name": "xml-extractor"}))
        resource = Resource({"service.version": __version__}).merge(resource)
        self._spans = OTLPSpanExporter() if wanted["traces"] else None
        self._metrics = OTLPMetricExporter() if wanted["metrics"] else None
        # Ended by us, with a bound, and not once more when the interpreter ends.
        self._tracers = TracerProvider(resource=resource, shutdown_on_exit=False)
        readers: list[MetricReader] = []
        try:
            if self._spans is not None:
                self._tracers.add_span_processor(BatchSpanProcessor(self._spans))
            if self._metrics is not None:
                readers.append(PeriodicExportingMetricReader(self._metrics))
        except BaseException:
            self._tracers.shutdown()  # nothing is in it that would have to be sent
            raise
        self._meters = MeterProvider(readers, resource=resource, shutdown_on_exit=False)

    def telemetry(self, contract: str) -> Telemetry:
        """Return the observer that records what these parts send."""
        self._complaints.forget()
        return Telemetry(contract, self._tracers, self._meters, self._close)

    def _close(self) -> None:
        """Send what is left: for as long as somebody takes it, and for a few seconds at most."""
        threads = [
            Thread(self._tracers.shutdown, name="telemetry-spans-end"),
            Thread(self._end_metrics, name="telemetry-metrics-end"),
        ]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + self._flush_seconds
        while any(thread.is_alive() for thread in threads):
            if time.monotonic() >= deadline:
                logger.warning("the last spans or metrics were not taken in %g s", self._flush_seconds)
                break
            if self._complaints.are_recent:
                break  # it has been said already, and the next attempts would go the same way
            time.sleep(_POLL_SECONDS)
        self._complaints.mute()
        if any(thread.is_alive() for thread in threads):
            for exporter in (self._spans, self._metrics):
                if exporter is not None:
                    exporter.shutdown()  # ends its waiting for a next attempt

    def _end_metrics(self) -> None:
        try:
            self._meters.shutdown(self._flush_seconds * 1e3)
        except Exception as error:  # the SDK says by a bare Exception that time was up
            logger.debug("metrics were not all sent", exc_info=error)


class _Complaints(logging.Handler):
    """Hears the SDK complain: the first time it becomes a warning of ours, later ones are for debugging."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._heard_at: float | None = None
        self._level = logging.WARNING
        self._muted = False

    @property
    def are_recent(self) -> bool:
        """Whether one was heard a short while ago."""
        return self._heard_at is not None and time.monotonic() - self._heard_at < _RECENT_SECONDS

    def listen(self) -> None:
        """Begin to listen, instead of whoever listened for an earlier load."""
        sdk = logging.getLogger("opentelemetry")
        for handler in list(sdk.handlers):
            if isinstance(handler, _Complaints):
                sdk.removeHandler(handler)
        sdk.addHandler(self)

    def forget(self) -> None:
        """Take what was heard so far for complaints of variables, which say nothing of a collector."""
        self._heard_at = None
        self._level = logging.WARNING

    def mute(self) -> None:
        """Say nothing more.  It stays where it is: threads of the SDK that end later would else find no
        handler at all, and Python would print what they say."""
        self._muted = True

    def emit(self, record: logging.LogRecord) -> None:
        """Pass a complaint on, without tracebacks, and without passwords of URLs."""
        if self._muted:
            return
        level, self._level = self._level, logging.DEBUG
        logger.log(level, "telemetry: %s (the load goes on all the same)", hide_password(record.getMessage()))
        self._heard_at = time.monotonic()  # last: the end of the load, which waits for it, mutes it
