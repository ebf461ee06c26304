"""A clock that watches statements which no server may be left to answer.

A driver that waits for a server which neither answers nor closes the connection (a stopped process, a
machine cut off behind a firewall) would wait for ever.  Every session notes the moment by which its
present call must be back; one thread for the whole process looks at these notes and aborts the sessions
that are late.
"""

from __future__ import annotations

import threading
import time
import weakref
from typing import Final, Protocol

from xml_extractor.threads import Thread

TICK_SECONDS: Final = 0.25
"""How often the notes are looked at: the most by which a statement overstays its limit."""


class Watched(Protocol):
    """A session under watch.  ``deadline`` is on ``time.monotonic()``'s clock; 0.0 = not waiting."""

    deadline: float

    def expire(self) -> None:
        """Give the present call up; called from the watchdog's thread, must not block or raise."""


class Watchdog:
    """Aborts sessions that are past their deadline.  Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sessions: weakref.WeakSet[Watched] = weakref.WeakSet()
        self._thread: threading.Thread | None = None

    def watch(self, session: Watched) -> None:
        """Watch a session until it is released or garbage."""
        with self._lock:
            self._sessions.add(session)
            if self._thread is None:
                self._thread = Thread(self._run, name="statement-watchdog")
                self._thread.start()

    def release(self, session: Watched) -> None:
        """Stop watching; the thread ends with the last session."""
        with self._lock:
            self._sessions.discard(session)

    def _run(self) -> None:
        while True:
            time.sleep(TICK_SECONDS)
            with self._lock:
                sessions = list(self._sessions)
                if not sessions:
                    self._thread = None
                    return
            now = time.monotonic()
            for session in sessions:
                if 0.0 < session.deadline < now:
                    session.expire()
            del sessions


WATCHDOG: Final = Watchdog()
"""The one watchdog of this process."""
