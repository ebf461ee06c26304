"""Writes a load's metrics into a file for node_exporter's textfile collector: ``--metrics-textfile``.

The file outlives the load.  What concerns the last run that ended (exit code, duration, last success) is
kept from one run to the next, so that an alert can ask for it at any time; a run that dies leaves a file
that says ``running`` with a heartbeat that grows old.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path
from typing import Final

from prometheus_client.parser import text_string_to_metric_families

from xml_extractor.errors import UsageError
from xml_extractor.profiling.live_figures import FIGURES, LastRun, LiveFigures
from xml_extractor.profiling.metrics import PREFIX, Metrics, metric_name
from xml_extractor.profiling.observer import CommittedBatch, LoadObserver, WatchedLoad
from xml_extractor.profiling.summary import LoadSummary
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 15.0
"""Between two writings: Prometheus's usual interval, so that each of its looks finds something new."""

END_SECONDS: Final = 5.0
"""How long a file system that does not answer may hold up the end of the load."""

_MOST_BYTES: Final = 4 * 2**20  # a file of ours is far below; what is larger is another's


class MetricsTextfile(LoadObserver):
    """Writes the metrics when it is made, every 15 seconds, and at the end of the load.

    Each writing replaces the file at once: a reader never sees half of one.

    Args:
        path: the file; its name has to end in ``.prom``, or node_exporter does not read it.
        contract: name of the load's contract, which labels every metric, as the file's name does: files of
            several loads in one folder must not hold the same time series.

    Raises:
        UsageError: the file cannot be written, or holds what this program did not write.
    """

    def __init__(self, path: Path, contract: str, interval_seconds: float = INTERVAL_SECONDS) -> None:
        self._path = path
        self._interval_seconds = interval_seconds
        self._figures = LiveFigures(_earlier(path))
        self._metrics = Metrics(self._figures, {"contract": contract, "textfile": path.stem})
        self._finished = threading.Event()
        self._thread = Thread(self._run, name="metrics-textfile")
        self._ended = False
        self._warned = False
        try:
            self._replace()
        except OSError as error:
            raise UsageError(
                f"--metrics-textfile {path} cannot be written ({error.strerror}); name a file in a folder "
                "that can"
            ) from None

    @property
    def last_run(self) -> LastRun:
        """What the file says of the last run that ended."""
        return self._figures.last_run

    def begin(self, load: WatchedLoad) -> None:
        """The load is about to run."""
        self._figures.begin(load)
        self._write()
        self._thread.start()

    def batch(self, batch: CommittedBatch) -> None:
        """A batch was committed."""
        self._figures.batch(batch)

    def end(self, summary: LoadSummary) -> None:
        """Write how the load has ended; only the first call counts."""
        if self._ended:
            return
        self._ended = True
        try:
            self._figures.end(summary)
        finally:
            self._finished.set()
        if self._thread.ident is None:
            self._write()  # the load never began
            return
        self._thread.join(END_SECONDS)
        if self._thread.is_alive():
            logger.warning("--metrics-textfile %s: the file system does not answer", self._path)

    def _run(self) -> None:
        while not self._finished.wait(self._interval_seconds):
            self._write()
        self._write()

    def _write(self) -> None:
        try:
            self._replace()
        except Exception as error:  # noqa: BLE001 - the load is worth more than what is told of it
            if not self._warned:
                self._warned = True
                reason = error.strerror if isinstance(error, OSError) else type(error).__name__
                logger.warning(
                    "--metrics-textfile %s cannot be written any more (%s); it is tried again",
                    self._path, reason,
                )  # fmt: skip

    def _replace(self) -> None:
        # Not ending in .prom, so that node_exporter never reads it.
        partial = self._path.with_name(f"{self._path.name}.{os.getpid()}.partial")
        try:
            partial.write_bytes(self._metrics.text())
            partial.replace(self._path)
        except BaseException:
            partial.unlink(missing_ok=True)
            raise


def _earlier(path: Path) -> LastRun:
    """Return what the file of an earlier run says of the last run that ended.

    Raises:
        UsageError: it is no file of this program, or cannot be read.
    """
    named = f"--metrics-textfile {path}"
    if path.suffix != ".prom":
        raise UsageError(f"{named}: node_exporter reads files whose names end in .prom only; name it so")
    if path.is_dir():
        raise UsageError(f"{named} is a folder; name a file in it")
    if not path.parent.is_dir():
        raise UsageError(
            f"{named}: there is no folder {path.parent}; name a file in the folder that node_exporter's "
            "--collector.textfile.directory names"
        )
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES).decode("utf-8", errors="replace")
    except FileNotFoundError:
        return LastRun()
    except OSError as error:
        raise UsageError(f"{named} cannot be read ({error.strerror}); name another file") from None
    if content.strip() and f"# TYPE {PREFIX}" not in content:
        raise UsageError(f"{named} holds something else than this program's metrics; name another file")
    return _last_run(content, path)


def _last_run(content: str, path: Path) -> LastRun:
    names = {figure.name: metric_name(figure) for figure in FIGURES}
    found: dict[str, float] = {}
    try:
        for family in text_string_to_metric_families(content):
            found.update((sample.name, sample.value) for sample in family.samples)
        code = found.get(names["last_run.exit_code"])
        return LastRun(
            ended_at=found.get(names["last_run.timestamp"]),
            duration=found.get(names["last_run.duration"]),
            exit_code=None if code is None else int(code),
            succeeded_at=found.get(names["last_success.timestamp"]),
        )
    except Exception as error:  # noqa: BLE001 - the parser raises all kinds
        logger.warning(
            "--metrics-textfile %s is damaged (%s): what it said of earlier runs is lost",
            path, type(error).__name__,
        )  # fmt: skip
        return LastRun()
