"""Threads whose start cannot wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

START_SECONDS: Final = 10.0
"""How long a new thread may take to show that it runs: as long as a failed run may take to end (law 6)."""


class Thread(threading.Thread):
    """A daemon thread with a name; every thread of the product is one.

    ``threading.Thread.start`` waits without a bound for the new thread to say that it runs.  Where memory
    ends before it can say so, its first steps raise MemoryError, which nobody sees, and the starting thread
    waits for ever (seen with Python 3.11; later versions are mending it).  Here that wait has a bound.
    """

    def __init__(self, target: Callable[..., Any], *, name: str, args: tuple[Any, ...] = ()) -> None:
        super().__init__(target=target, name=name, args=args, daemon=True)
        self._started = _Started(name)

    def start(self) -> None:
        """Start the thread.

        Raises:
            MemoryError: it does not run; if it comes to run after all, it does so unattended.
            RuntimeError: it was started before, or the system gives no more threads.
        """
        super().start()


class _Started(threading.Event):
    """What ``threading.Thread`` waits for after it has asked the system for a thread."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is not None:
            return super().wait(timeout)
        if not super().wait(START_SECONDS):
            raise MemoryError(f"thread {self._name} did not begin to run within {START_SECONDS:g} s")
        return True
