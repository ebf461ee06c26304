"""Trying again what failed for a passing reason: one rule for source and target.

Only faults that an engine calls transient or disconnected are tried again, with exponential backoff and
jitter, within a window that opens at the first failure: a statement that ran for a minute before its
connection broke still gets the whole window.  The last attempt starts when the window closes.
"""

from __future__ import annotations

import logging
import random
import threading
from time import monotonic

from tenacity import RetryCallState, Retrying, retry_if_exception

from xml_extractor import failpoints
from xml_extractor.engines.base import Engine, FaultKind
from xml_extractor.errors import LoaderError

logger = logging.getLogger(__name__)

FIRST_WAIT_SECONDS = 0.1
"""A deadlock's victim or a dropped connection usually succeeds at the next attempt."""

LONGEST_WAIT_SECONDS = 5.0
"""A server that restarts is noticed within this time of its coming back."""

FIRST_WAIT_THROTTLED_SECONDS = 5.0
LONGEST_WAIT_THROTTLED_SECONDS = 30.0
"""A server that turns requests away for its load is asked less often: Microsoft advises some ten seconds
for error 40501, and longer each time."""

_DOUBLINGS = 16  # beyond this the wait has long reached its cap; keeps the power from growing for ever


def is_passing(engine: Engine, error: BaseException) -> bool:
    """Whether ``error`` may cure itself: a transient fault or a lost connection, by the engine's codes."""
    if isinstance(error, LoaderError) or not isinstance(error, Exception):
        return False
    return engine.classify(error).kind in (FaultKind.TRANSIENT, FaultKind.DISCONNECTED)


def retrying(
    engine: Engine, retry_seconds: float, stop_event: threading.Event | None = None, *, doing: str
) -> Retrying:
    """Return a retrier for one operation: ``retrying(…, doing="read documents")(function, *arguments)``.

    What fails for good comes out as the driver raised it.  Reconnecting is the function's own business:
    it is called again as it is.  Make one per operation; it is not to be shared between threads.

    Args:
        retry_seconds: how long after the first failure attempts are made; 0 = no second attempt.
        stop_event: once it is set no further attempt is made; a wait between two attempts ends at once.
        doing: what is being tried, in words for the log; no values.
    """
    schedule = _Schedule(engine, retry_seconds, stop_event or threading.Event(), doing)
    return Retrying(
        retry=retry_if_exception(lambda error: is_passing(engine, error)),
        wait=schedule.wait,
        stop=schedule.stop,
        before_sleep=schedule.log,
        sleep=schedule.sleep,
        reraise=True,
    )


class _Schedule:
    """When the next attempt is made, and whether.  tenacity asks ``wait`` before ``stop``."""

    def __init__(self, engine: Engine, retry_seconds: float, stop_event: threading.Event, doing: str) -> None:
        self._engine = engine
        self._retry_seconds = retry_seconds
        self._stop_event = stop_event
        self._doing = doing
        self._closes_at = 0.0
        self._error: BaseException | None = None

    def wait(self, state: RetryCallState) -> float:
        now = monotonic()
        if state.attempt_number == 1:
            self._closes_at = now + self._retry_seconds
        error = state.outcome.exception() if state.outcome is not None else None
        if error is not None and self._engine.classify(error).slow:
            first, cap = FIRST_WAIT_THROTTLED_SECONDS, LONGEST_WAIT_THROTTLED_SECONDS
        else:
            first, cap = FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS
        longest = min(cap, first * 2.0 ** min(state.attempt_number - 1, _DOUBLINGS))
        # Half fixed and half random: victims of one deadlock part, and no wait is next to nothing.
        seconds = longest * random.uniform(0.5, 1.0)
        return max(0.0, min(seconds, self._closes_at - now))

    def stop(self, state: RetryCallState) -> bool:
        return self._stop_event.is_set() or monotonic() >= self._closes_at

    def log(self, state: RetryCallState) -> None:
        self._error = state.outcome.exception() if state.outcome is not None else None
        if self._error is None:
            return
        fault = self._engine.classify(self._error)
        logger.warning(
            "%s: %s (%s); attempt %d follows in %.1f s, giving up after %.0f s",
            self._doing,
            fault.message,
            fault.native_code or fault.code,
            state.attempt_number + 1,
            state.upcoming_sleep,
            self._retry_seconds,
        )

    def sleep(self, seconds: float) -> None:
        failpoints.hit("retry")
        if self._stop_event.wait(seconds) and self._error is not None:
            # Another attempt could wait for a server that does not answer; nobody wants its result.
            raise self._error
