"""What all parts of a running pipeline share: whether to go on, and why not."""

from __future__ import annotations

import threading
from collections.abc import Callable


class PipelineStopped(Exception):
    """The pipeline has failed or was aborted; whoever waits on it must return.

    Internal: it unwinds a thread that was waiting and is never shown to an operator, because the cause
    is kept in :attr:`PipelineState.failure`.
    """


class PipelineState:
    """The stop flags of one run and its first failure.  Thread-safe.

    *Stopping* is graceful: nothing new is dispatched, what is in flight is finished and committed.
    *Ended* is not: a stage died or the operator insisted, and every wait in the pipeline ends at once.
    """

    def __init__(self) -> None:
        self.stopping = threading.Event()
        self.ended = threading.Event()
        self.failure: BaseException | None = None
        self._lock = threading.Lock()
        self._wakers: list[Callable[[], None]] = []

    def on_end(self, waker: Callable[[], None]) -> None:
        """Register a call that wakes whoever waits; made at once if the pipeline has already ended."""
        with self._lock:
            if not self.ended.is_set():
                self._wakers.append(waker)
                return
        waker()

    def off_end(self, waker: Callable[[], None]) -> None:
        """Forget a call that :meth:`on_end` registered, if it was not made yet."""
        with self._lock:
            if waker in self._wakers:
                self._wakers.remove(waker)

    def fail(self, error: BaseException) -> None:
        """End the pipeline because of ``error``; only the first failure is kept."""
        self._end(error)

    def abort(self) -> None:
        """End the pipeline at the operator's wish, without a failure."""
        self._end(None)

    def _end(self, error: BaseException | None) -> None:
        with self._lock:
            if self.ended.is_set():
                return
            self.failure = error
            self.stopping.set()
            self.ended.set()
            wakers, self._wakers = self._wakers, []
        for waker in wakers:
            waker()
