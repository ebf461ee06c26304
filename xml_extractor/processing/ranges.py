"""Which ranges of keys are finished while a load runs, and by what numbers they sort."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xml_extractor.mapping.records import Key
from xml_extractor.target.base import Settled
from xml_extractor.target.ranges import FinishedRange, RangeCounts

NUMBER_SPACING: Final = 2**40
"""Between the numbers of neighbouring ranges: room for those that a later run finds between them.  A bigint
then holds 8 million of them, 40 billion keys at 5,000 a page."""

GAP_SHARE: Final = 64
"""A range found between two others takes the next number after this share of what is free there: so even a
gap that is cut into many more pages than before, and again by the next run, does not run out of numbers."""


class RangeTracker:
    """Knows of each range that was begun which documents are not settled yet.  Thread-safe.

    A document counts as settled once, by its key: being told a second time changes nothing, and a document
    of which nothing is ever heard keeps its range unfinished, which costs the next run a look and no more.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._range_of: dict[Key, _OpenRange] = {}
        self._finished: list[FinishedRange] = []

    def begin(
        self,
        number: int,
        after: Key | None,
        last: Key,
        pending: Sequence[Key],
        known: RangeCounts,
    ) -> None:
        """Take note of a range before any of its documents is dispatched.

        Args:
            number: by which ranges sort as their keys do.
            after: the key beyond which the range begins.
            last: the last key of the range.
            pending: documents that will be dispatched; all others between the two keys are settled.
            known: what the ledger says of those that are settled.
        """
        begun = _OpenRange(number, after, last, len(pending), known)
        with self._lock:
            if pending:
                self._range_of.update(dict.fromkeys(pending, begun))
            else:
                self._finished.append(begun.finished())

    def settle(self, documents: Iterable[Settled]) -> None:
        """Take note of documents whose fate has been committed."""
        with self._lock:
            for key, state, mark, other_plan in documents:
                found = self._range_of.pop(key, None)
                if found is not None:
                    found.counts.add(state, mark, other_plan)
                    self._take_off(found)

    def vanish(self, keys: Iterable[Key]) -> None:
        """Take note of documents that were gone from the source when they were to be read."""
        with self._lock:
            for key in keys:
                found = self._range_of.pop(key, None)
                if found is not None:
                    self._take_off(found)

    def take_finished(self) -> list[FinishedRange]:
        """Return the ranges that were finished since the last call."""
        if not self._finished:  # mostly; a look that comes too early is made up for by the next one
            return []
        with self._lock:
            finished, self._finished = self._finished, []
        return finished

    def _take_off(self, found: _OpenRange) -> None:
        found.unsettled -= 1
        if not found.unsettled:
            self._finished.append(found.finished())


@dataclass(slots=True)
class _OpenRange:
    number: int
    after: Key | None
    last: Key
    unsettled: int
    counts: RangeCounts

    def finished(self) -> FinishedRange:
        return FinishedRange(self.number, self.after, self.last, self.counts)


LAST_NUMBER: Final = 2**63 - 1
"""Behind all ranges."""


def numbers_between(low: int, high: int = LAST_NUMBER) -> Iterator[int | None]:
    """Yield ascending numbers for the ranges found between two others; None once no number is left.

    Args:
        low: the number of the range before; 0 at the beginning.
        high: the number of the range behind.
    """
    while high - low > 1:
        low += min(NUMBER_SPACING, max(1, (high - low) // GAP_SHARE))
        yield low
    while True:
        yield None
