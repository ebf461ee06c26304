"""Holds a load back to so many documents a second (``--throttle``)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from xml_extractor.processing.chunks import CHUNK_DOCUMENTS, KEY_PAGE

_CHUNK_SECONDS: Final = 0.25
"""A chunk holds what may be dispatched in this time, so that the servers see a trickle and not bursts;
at one query a chunk, this costs the source four small queries a second."""

_PAGE_SECONDS: Final = 60.0
"""A page of keys holds what may be dispatched in this time: the ledger's answer is then fresh, and no
connection is left without a word for so long that a firewall forgets it."""

_SLICE_SECONDS: Final = 0.1
"""The longest single wait: on some platforms a signal does not reach a main thread that is waiting."""


class Throttle:
    """Says when the next chunk may be dispatched.  For one thread; without a rate it never waits.

    In any ``t`` seconds at most ``t`` times the rate, and one chunk, is dispatched.  Time in which nothing
    was ready to be dispatched is not made up for.

    Args:
        per_second: documents a second; ``None`` = as fast as they go.
        wait: waits so many seconds and returns at once, with ``True``, when the load is to stop.
        now: a clock in seconds.
    """

    def __init__(
        self,
        per_second: float | None,
        wait: Callable[[float], bool],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_second = per_second
        self.held_seconds = 0.0  # waited so far
        self.chunk_documents = CHUNK_DOCUMENTS
        self.key_page = KEY_PAGE
        if per_second is not None:
            self.chunk_documents = max(1, min(CHUNK_DOCUMENTS, int(per_second * _CHUNK_SECONDS)))
            self.key_page = max(self.chunk_documents, min(KEY_PAGE, int(per_second * _PAGE_SECONDS)))
        self._wait = wait
        self._now = now
        self._free_at = now()

    def due_in(self) -> float:
        """Return the seconds until the next chunk may be dispatched; 0 or less: now."""
        return self._free_at - self._now() if self.per_second is not None else 0.0

    def take(self, documents: int) -> bool:
        """Wait until the next chunk, of so many documents, may be dispatched; false: the load is to stop."""
        if self.per_second is None:
            return True
        started = self._now()
        # What a wait overshoots is made up for by the next one; coming late is not.
        self._free_at = max(self._free_at, started)
        now = started
        try:
            while now < self._free_at:
                if self._wait(min(_SLICE_SECONDS, self._free_at - now)):
                    return False
                now = self._now()
        finally:
            self.held_seconds += self._now() - started
        self._free_at += documents / self.per_second
        return True
