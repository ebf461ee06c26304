"""Who watches a load while it runs, as settings ask for: metrics over HTTP or in a file, telemetry."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from xml_extractor.errors import ExitCode, LoaderError, UsageError
from xml_extractor.profiling.observer import LoadObserver
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary
from xml_extractor.settings import Settings

# What each needs is imported where it is asked for: a plain load has no use for these libraries.


@contextmanager
def live_observers(
    settings: Settings, contract: str, say: Callable[[str], None]
) -> Iterator[Sequence[LoadObserver]]:
    """Open what the settings ask for; the load that is given it ends it, and else the end of the context.

    Args:
        contract: name of the load's contract.
        say: tells the operator something, such as the port that was free.

    Raises:
        UsageError: something cannot be opened; the load has not begun.
    """
    observers: list[LoadObserver] = []
    try:
        for observer in _opened(settings, contract, say):
            observers.append(observer)
        yield observers
    except BaseException as error:
        # Where the load was never told to end: told twice, observers take the first for the truth.
        said = str(error) if isinstance(error, LoaderError) else type(error).__name__
        failed = LoadSummary(DocumentCounts(), {}, {}, 0.0, error=said, error_code=_exit_code(error))
        for observer in observers:
            observer.end(failed)
        raise


def _opened(settings: Settings, contract: str, say: Callable[[str], None]) -> Iterator[LoadObserver]:
    last_run = None
    if settings.metrics_textfile is not None:
        from xml_extractor.profiling.metrics_textfile import MetricsTextfile

        textfile = MetricsTextfile(settings.metrics_textfile, contract)
        last_run = textfile.last_run
        yield textfile
    if settings.metrics_port is not None:
        from xml_extractor.profiling.live_figures import LiveFigures
        from xml_extractor.profiling.metrics_server import MetricsServer

        server = MetricsServer(settings.metrics_host, settings.metrics_port, contract, LiveFigures(last_run))
        yield server
        say(f"metrics at {server.url}")
    if settings.telemetry:
        try:
            from xml_extractor.profiling.telemetry_setup import telemetry
        except ImportError:
            raise UsageError(
                "--telemetry needs OpenTelemetry's libraries, which are not installed: "
                "pip install 'xml-extractor[telemetry]' (in a checkout: -r requirements-telemetry.txt)"
            ) from None
        yield telemetry(contract)


def _exit_code(error: BaseException) -> ExitCode:
    if isinstance(error, LoaderError):
        return error.exit_code
    return ExitCode.INTERRUPTED if isinstance(error, KeyboardInterrupt) else ExitCode.BUG
