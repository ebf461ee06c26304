"""Ctrl-C and termination: the first time the load is drained, the second time it is broken off."""

from __future__ import annotations

import logging
import queue
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn, Protocol

from xml_extractor.errors import ExitCode, StoppedError
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)


class Stoppable(Protocol):
    """What can be stopped: a ``RunningLoad``."""

    def stop(self, signal_number: int) -> None:
        """Finish what is in flight, then end."""

    def abort(self) -> None:
        """End at once."""


class StopOnSignals:
    """While used as a context, in the main thread, SIGINT and SIGTERM stop what is attached.

    Before anything is attached a signal raises :class:`StoppedError`.  A handler interrupts the main
    thread anywhere, perhaps inside a lock that stopping needs; so it only queues the signal, and a thread
    of this class acts on it.  In any other thread than the main one the context does nothing.
    """

    def __init__(self) -> None:
        self.signal_number: int | None = None
        self._attached: Stoppable | None = None
        # SimpleQueue.put is reentrant, and so fit for signal handlers.
        self._requests: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._previous: dict[signal.Signals, Any] = {}
        self._thread = Thread(self._run, name="signals")

    def attach(self, stoppable: Stoppable) -> None:
        """Hand signals to ``stoppable`` from now on."""
        self._attached = stoppable

    def __enter__(self) -> StopOnSignals:
        if threading.current_thread() is threading.main_thread():
            self._thread.start()
            for number in stopping_signals():
                self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, previous in self._previous.items():
            signal.signal(number, previous)
        if self._previous:
            self._requests.put(None)
            self._thread.join()

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        if self._attached is None:
            self.signal_number = number
            raise stopped(number)
        self._requests.put(number)

    def _run(self) -> None:
        while (number := self._requests.get()) is not None:
            attached = self._attached
            if attached is None:
                continue
            name = signal.Signals(number).name
            if self.signal_number is None:
                self.signal_number = number
                logger.warning(
                    "%s: finishing what is in flight; once more breaks off, and loses nothing either", name
                )
                attached.stop(number)
            else:
                logger.warning("%s again: breaking off; what is not committed stays pending", name)
                attached.abort()


def stopped(number: int) -> StoppedError:
    """Return the error that says that this signal stopped the program, with its exit code."""
    error = StoppedError(f"stopped by {signal.Signals(number).name}; run the same command again to go on")
    error.exit_code = ExitCode.INTERRUPTED if number == signal.SIGINT else ExitCode.TERMINATED
    return error


def leave(status: int) -> NoReturn:
    """End the program with this status, also where a signal comes while the interpreter puts itself away:
    by default it would end the program with another status than the one that has just been explained."""
    for number in stopping_signals():
        signal.signal(number, signal.SIG_IGN)
    sys.exit(status)


def stopping_signals() -> list[signal.Signals]:
    """Return the signals that ask a program to end, on this system."""
    # Windows never delivers SIGTERM from outside; there Ctrl-Break is what asks a program to end.
    names = ("SIGINT", "SIGTERM", "SIGBREAK")
    return [getattr(signal, name) for name in names if hasattr(signal, name)]
