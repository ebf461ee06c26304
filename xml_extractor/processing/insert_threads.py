"""The insert threads of a load, which may come and go while it runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Final

from xml_extractor.processing.database_insert_thread import DatabaseInsertThread
from xml_extractor.threads import Thread

Refused = Callable[[Exception], None]

_NOBODY: Final = 0
"""The number of no thread."""


class InsertThreads:
    """As many insert threads as are wanted just now.  All calls from one thread, the coordinator's.

    The first thread is the load's own: what it meets at the target is the load's fate.  Any other one that is
    not let in ends, and the load goes on without it.  Once it takes batches it is as good as the first: its
    documents are nobody else's to commit.

    Args:
        make: returns the thread with a number, not started; with what it is to call if it is refused, or None
            where being refused is the load's failure.
        may_be_refused: whether threads beyond the first may be.
    """

    def __init__(
        self, make: Callable[[int, Refused | None], DatabaseInsertThread], *, may_be_refused: bool
    ) -> None:
        self._make = make
        self._may_be_refused = may_be_refused
        self._working: dict[int, DatabaseInsertThread] = {}  # by number, in the order of their start
        self._leaving: dict[int, DatabaseInsertThread] = {}
        self._refusals: deque[tuple[int, Exception]] = deque()

    @property
    def threads(self) -> list[Thread]:
        """All threads that may be running."""
        return [inserter.thread for inserter in (*self._working.values(), *self._leaving.values())]

    @property
    def count(self) -> int:
        """How many there are, those that are only connecting included."""
        return len(self._working)

    def is_settled(self) -> bool:
        """Whether all that are wanted take batches, and nobody else does."""
        self._forget_ended()
        return not self._leaving and all(inserter.at_work.is_set() for inserter in self._working.values())

    def start(self, wanted: int) -> None:
        """Start the threads that the load begins with.

        Raises:
            RuntimeError, MemoryError: the system has no thread for one of them.
        """
        while self.count < wanted:
            self._start_one()

    def resize(self, wanted: int) -> None:
        """Have as many, at least one; the newest leave first, each after the batch that it has in hand.

        A thread that the system does not start counts as refused.
        """
        while self.count > max(1, wanted):
            self._send_off(next(reversed(self._working)))
        working = set(self._working)
        try:
            self.start(wanted)
        except (RuntimeError, MemoryError) as error:
            # It may come to run after all, where memory was short; or there was not enough even to make it.
            newest = next(reversed(self._working))
            self._refusals.append((_NOBODY if newest in working else newest, error))

    def dismiss_unconnected(self) -> list[Thread]:
        """The queue is closed: have those end that are only connecting, and forget them.

        Returns:
            Their threads.  They take no batch any more, and end when the target lets them in or refuses them.
        """
        dismissed: list[Thread] = []
        for inserters in (self._working, self._leaving):
            for number, inserter in list(inserters.items()):
                if not inserter.at_work.is_set() and inserter.leave_unconnected():
                    dismissed.append(inserters.pop(number).thread)
        return dismissed

    def refusal(self) -> Exception | None:
        """Return why a thread was refused, if one was since this was last asked; it no longer counts."""
        found: Exception | None = None
        while self._refusals:
            number, found = self._refusals.popleft()
            if number in self._working:
                self._send_off(number)
        return found

    def _start_one(self) -> None:
        self._forget_ended()
        number = next(number for number in count(1) if number not in (*self._working, *self._leaving))
        refusable = self._may_be_refused and self._working
        inserter = self._make(number, partial(self._refuse, number) if refusable else None)
        self._working[number] = inserter
        inserter.thread.start()

    def _refuse(self, number: int, error: Exception) -> None:
        """From the thread that was refused."""
        self._refusals.append((number, error))

    def _send_off(self, number: int) -> None:
        inserter = self._leaving[number] = self._working.pop(number)
        inserter.leave()

    def _forget_ended(self) -> None:
        self._leaving = {
            number: inserter for number, inserter in self._leaving.items() if inserter.thread.is_alive()
        }
