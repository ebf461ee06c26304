"""Tells observers what they are to know, and lets none of them harm the load."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from xml_extractor.profiling.observer import CommittedBatch, LoadObserver, WatchedLoad
from xml_extractor.profiling.summary import LoadSummary

logger = logging.getLogger(__name__)


class Observers:
    """All observers of one load.  Thread-safe.

    One that raises is told of once in the log and is then left out, but for :meth:`end`, by which it may
    let go of what it holds.
    """

    def __init__(self, observers: Sequence[LoadObserver] = ()) -> None:
        self._all = tuple(observers)
        self._working = list(self._all)
        self._ended = False
        self._lock = threading.Lock()

    def begin(self, load: WatchedLoad) -> None:
        """The load is about to run."""
        self._tell(lambda observer: observer.begin(load))

    def batch(self, batch: CommittedBatch) -> None:
        """A batch was committed."""
        if self._working:
            self._tell(lambda observer: observer.batch(batch))

    def end(self, summary: LoadSummary) -> None:
        """The load has ended; only the first call counts."""
        with self._lock:
            if self._ended:
                return
            self._ended = True
        for observer in self._all:
            try:
                observer.end(summary)
            except Exception as error:  # noqa: BLE001 - whatever it is, the load has nothing to do with it
                self._leave_out(observer, error)

    def _tell(self, call: Callable[[LoadObserver], None]) -> None:
        for observer in tuple(self._working):
            try:
                call(observer)
            except Exception as error:  # noqa: BLE001 - whatever it is, the load has nothing to do with it
                self._leave_out(observer, error)

    def _leave_out(self, observer: LoadObserver, error: Exception) -> None:
        with self._lock:
            if observer not in self._working:
                return
            self._working.remove(observer)
        logger.warning(
            "%s failed (%s) and is left out; the load goes on without it",
            type(observer).__name__, type(error).__name__, exc_info=error,
        )  # fmt: skip
