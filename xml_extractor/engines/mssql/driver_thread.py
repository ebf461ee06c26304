"""A thread that makes a session's driver calls, so that nobody waits for a driver for ever.

A driver that waits for a server which neither answers nor closes the connection does not come back, and
there is no socket to shut that would bring it back.  So the session's own thread waits for an answer and
not for the driver; when it has waited long enough, the driver's thread is left behind: it is a daemon,
closes the connection as soon as its call does return, and ends.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, TypeVar

from xml_extractor.engines.mssql.errors import Aborted, CoreFailure, NoAnswer
from xml_extractor.engines.mssql.wires import Wire
from xml_extractor.threads import Thread

T = TypeVar("T")
W = TypeVar("W", bound=Wire)

GRACE_SECONDS: Final = 1.0
"""How long a call may take to come back once it was cancelled, or a connection to be closed."""

SIGNAL_SECONDS: Final = 0.5
"""A signal that the system hands to another thread does not wake the main one: Python looks for it when a
wait ends, so no wait is longer than this."""


class DriverThread:
    """Makes one session's driver calls, one at a time.

    The calls belong to one thread, the session's; :meth:`abandon` may come from any.
    """

    def __init__(self, application: str) -> None:
        self._tasks: SimpleQueue[Callable[[], Any] | None] = SimpleQueue()
        self._answers: SimpleQueue[tuple[Any, BaseException | None] | None] = SimpleQueue()
        self._wire: Wire | None = None
        self._stopped: Exception | None = None
        self._thread = Thread(self._work, name=f"{application} driver")
        self._thread.start()

    # ---- the session's side

    def open(self, connect: Callable[[], W], seconds: float) -> W:
        """Make the connection, in the thread that is going to use it.

        Raises:
            NoAnswer: it took longer than ``seconds``.
            BaseException: what ``connect`` raised.
        """

        def keep() -> W:
            self._wire = wire = connect()
            return wire

        return self.call(keep, seconds)

    def call(self, function: Callable[[], T], seconds: float) -> T:
        """Have a function called and return what it returns, or raise what it raises.

        Args:
            seconds: how long to wait, counted anew from each request that the function sends.  After that,
                or when the wait is broken off, the call is cancelled; if it does not come back soon, the
                thread and its connection are left behind.

        Raises:
            NoAnswer: it took longer.
            Aborted: :meth:`abandon` was called, now or earlier.
            CoreFailure: a library panicked.
        """
        if self._stopped is not None:
            raise self._stopped
        try:
            started = monotonic()
            self._tasks.put(function)
            answer = self._answer(started, seconds)
        except BaseException:  # Ctrl-C while waiting: what the call is doing nobody knows any more
            self._stop(Aborted("the session was given up while it waited for the server"))
            raise
        if answer is None:
            assert self._stopped is not None
            raise self._stopped
        result, error = answer
        if error is None:
            return result  # type: ignore[no-any-return]
        try:
            raise error
        finally:
            del answer, error  # a traceback that refers to itself would keep the connection's objects

    @property
    def stopped(self) -> bool:
        """Whether no call will be made any more."""
        return self._stopped is not None

    def abandon(self) -> None:
        """Give the present call up, and all that might follow; from any thread; returns at once."""
        self._stop(Aborted("the session was aborted"))
        self._answers.put(None)

    def close(self) -> None:
        """Close the connection and end the thread; waits for it only briefly; never raises."""
        if self._stopped is None:
            self._stopped = Aborted("the session was closed")
            self._tasks.put(None)
        if threading.current_thread() is not self._thread:
            self._thread.join(GRACE_SECONDS)

    def _answer(self, started: float, seconds: float) -> tuple[Any, BaseException | None] | None:
        left = seconds
        while True:
            try:
                return self._answers.get(timeout=min(left, SIGNAL_SECONDS))
            except Empty:
                asked = started if self._wire is None else max(started, self._wire.asked_at)
                left = asked + seconds - monotonic()
                if left <= 0:
                    return self._late(seconds)

    def _late(self, seconds: float) -> tuple[Any, BaseException | None] | None:
        """Wait a little for a call that was too slow; what it achieved after all counts."""
        self._cancel()
        with contextlib.suppress(Empty):
            answer = self._answers.get(timeout=GRACE_SECONDS)
            if answer is not None and answer[1] is None:
                return answer
        self._leave(NoAnswer(f"no answer within {seconds:g} s"))
        return None

    def _stop(self, reason: Exception) -> None:
        """Give up whatever is being called, and all that might follow."""
        self._cancel()
        self._leave(reason)

    def _leave(self, reason: Exception) -> None:
        """Make no more calls; the thread closes the connection when it is done with what it is doing."""
        if self._stopped is None:
            self._stopped = reason
        self._tasks.put(None)

    def _cancel(self) -> None:
        wire = self._wire
        if wire is not None:
            # A driver manager may make even this call wait for the one that it is to break off.
            Thread(wire.cancel, name=f"{self._thread.name} cancel").start()

    # ---- the driver's side

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            self._answers.put(_called(task))
            del task
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()


def _called(task: Callable[[], Any]) -> tuple[Any, BaseException | None]:
    try:
        return task(), None
    except Exception as error:  # noqa: BLE001 - it is raised again where the call came from
        return None, error
    except BaseException as error:  # noqa: BLE001 - so is this
        # A library in Rust panics with a class of its own, which is no Exception.
        if type(error).__name__ != "PanicException":
            return None, error
        failure = CoreFailure("a library beneath the driver failed inside")
        failure.__cause__ = error
        return None, failure
