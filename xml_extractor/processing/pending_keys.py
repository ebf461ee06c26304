"""Finds what is left to load: the source's keys, less what the ledger already knows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from xml_extractor.mapping.records import Key, Previous, Renewal, State
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.ranges import LAST_NUMBER, RangeTracker, numbers_between
from xml_extractor.processing.throttle import Throttle
from xml_extractor.settings import LoadOptions, OnChange, OnPlanChange
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LedgerEntry, LoadHandle
from xml_extractor.target.ranges import RangeCounts, Stretch


@dataclass(slots=True)
class KeyCounts:
    """What the ledger said of the keys that were read; written by the dispatching thread only."""

    read: int = 0
    already_loaded: int = 0
    quarantined: int = 0
    skipped: int = 0
    dispatched: int = 0
    passed_over: int = 0  # of those read, documents of ranges that this load had finished before
    looks: int = 0  # of those dispatched, known ones that are only looked at: have they changed?
    other_plan: int = 0  # loaded or skipped under another version of the contract, and left as they are


class PendingKeys:
    """Pages through the source's keys, asks the ledger for each page, and cuts what is pending into chunks.

    What earlier runs of this load have finished is passed over, and counted by what they wrote down of it.
    A page of keys of which nothing is pending gives an empty chunk: whoever holds documents that were found
    before it can then settle them, however long it takes until more are found.

    Not thread-safe: it is iterated by one thread.

    Args:
        tracker: told of each page before its first document is dispatched.
        on_page: called when a page of keys has been counted: of a source in which all is loaded already
            nothing is dispatched, and whoever looks on is to see that the load lives.
    """

    def __init__(
        self, reader: SourceReader, load: LoadHandle, options: LoadOptions, plan_digest: str,
        state: PipelineState, throttle: Throttle, tracker: RangeTracker,
        on_page: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.counts = KeyCounts()
        self._on_page = on_page
        self._reader = reader
        self._load = load
        self._options = options
        self._plan_digest = plan_digest
        self._state = state
        self._throttle = throttle
        self._tracker = tracker
        self._chunks = 0
        self._stretches = load.open_ranges(_scope(options))

    def total(self) -> int | None:
        """About how many documents there are to be read, for the progress line."""
        options = self._options
        total = 0
        after: Key | None = None
        for stretch in self._stretches:
            if stretch.after != after:
                total += self._count(after, stretch.after)
            total += stretch.counts.documents
            after = stretch.last
        total += self._count(after, options.app_id_end)
        return total if options.limit is None else min(total, options.limit)

    def _count(self, after: Key | None, end: Key | None) -> int:
        if after is None:
            return self._reader.count(self._options.app_id_start, end)
        return max(0, self._reader.count(after, end) - 1)  # less ``after`` itself, which is most likely there

    def pending_estimate(self, total: int | None) -> int:
        """About how many documents are pending, from the keys read so far and the number of source rows."""
        counts = self.counts
        looked_at = counts.read - counts.passed_over
        if total is None or not looked_at:
            return counts.dispatched
        left = total - counts.passed_over
        return max(counts.dispatched, round(left * counts.dispatched / looked_at))

    def __iter__(self) -> Iterator[Chunk]:
        options = self._options
        reached: Key | None = None  # everything up to here has been read or passed over
        number = 0
        for stretch in (*self._stretches, None):
            if stretch is not None and self._overlaps(stretch, reached):
                continue
            if stretch is None or stretch.after != reached:
                end = options.app_id_end if stretch is None else stretch.after
                numbers = numbers_between(number, LAST_NUMBER if stretch is None else stretch.first_number)
                page_size = self._throttle.key_page
                for page in self._reader.key_pages(options.app_id_start, end, page_size, after=reached):
                    yield from self._chunks_of(page, reached, next(numbers))
                    if self._state.stopping.is_set() or self._limit_reached():
                        return
                    reached = page[-1]
            if stretch is not None:
                self._pass_over(stretch)
                reached, number = stretch.last, stretch.last_number

    def _overlaps(self, stretch: Stretch, reached: Key | None) -> bool:
        """Whether some of a stretch has been read or passed over already; then it is read, not counted again.

        That can be where two loaders went on with one load at once and cut its keys into different pages.
        """
        if reached is None or stretch.after == reached:
            return False
        # How keys compare only the source knows.
        between = self._reader.key_pages(self._options.app_id_start, reached, 1, after=stretch.after)
        return next(between, None) is not None

    def _pass_over(self, stretch: Stretch) -> None:
        counts, known = self.counts, stretch.counts
        counts.read += known.documents
        counts.passed_over += known.documents
        self._count_known(known)

    def _limit_reached(self) -> bool:
        # Documents that are only looked at do not count: each run would else look at the same ones again,
        # and never come to those behind them.
        pending = self.counts.dispatched - self.counts.looks
        return self._options.limit is not None and pending >= self._options.limit

    def _chunks_of(self, page: list[Key], after: Key | None, number: int | None) -> Iterator[Chunk]:
        """Yield what is pending of a page of keys, which begins beyond ``after``."""
        counts, limited = self.counts, self._options.limit is not None
        entries = self._load.lookup(page)
        known = RangeCounts()
        pending: list[Key] = []
        previous: dict[Key, Previous] = {}
        looked_at = 0
        for key in page:
            if limited and self._limit_reached():
                break
            looked_at += 1
            entry = entries.get(key)
            if entry is not None:
                renewed = self._to_be_renewed(entry)
                if renewed is None:
                    state = entry.counts_as
                    # What is in quarantine waits for a replay anyway, under whatever version it got there.
                    other_plan = entry.plan_digest != self._plan_digest and state is not State.QUARANTINED
                    known.add(state, entry.mark, other_plan)
                    continue
                previous[key] = renewed
                counts.looks += renewed.renewal is not Renewal.RELOAD
            pending.append(key)
            counts.dispatched += 1
        if not looked_at:
            return
        counts.read += looked_at
        self._count_known(known)
        self._on_page()
        if number is not None and self._load.keeps_ranges:
            self._tracker.begin(number, after, page[looked_at - 1], pending, known)
        for start in range(0, max(1, len(pending)), self._throttle.chunk_documents):
            if self._state.stopping.is_set():
                return
            keys = tuple(pending[start : start + self._throttle.chunk_documents])
            self._chunks += 1
            yield Chunk(self._chunks, keys, {key: previous[key] for key in keys if key in previous})

    def _to_be_renewed(self, entry: LedgerEntry) -> Previous | None:
        """Say what is to be done with a document that the ledger knows; None = it is left as it is."""
        options = self._options
        if entry.plan_digest != self._plan_digest and options.on_plan_change is OnPlanChange.RELOAD:
            return entry.previous
        if options.on_change is OnChange.IGNORE:
            return None
        return entry.to_look_at(Renewal(options.on_change.value), self._plan_digest)

    def _count_known(self, known: RangeCounts) -> None:
        counts = self.counts
        counts.already_loaded += known.loaded
        counts.quarantined += known.quarantined
        counts.skipped += known.skipped
        counts.other_plan += known.other_plan


def _scope(options: LoadOptions) -> str:
    """Name what a run settles: another run need not look at a range again if it would settle it just so.

    Nothing where changed documents are only reported: no ledger keeps which they are, so that each run has to
    find them all.
    """
    if options.on_change is OnChange.REPORT:
        return ""
    return json.dumps(
        {
            "start": options.app_id_start,
            "end": options.app_id_end,
            "on_plan_change": options.on_plan_change.value,
            "on_change": options.on_change.value,
        }
    )


class GivenKeys:
    """Chunks of keys named by the caller (replay from quarantine), with what the ledger says of them."""

    def __init__(
        self, keys: Iterable[tuple[Key, Previous]], state: PipelineState, throttle: Throttle
    ) -> None:
        self.counts = KeyCounts()
        self._keys = keys
        self._state = state
        self._chunk_documents = throttle.chunk_documents

    def total(self) -> None:
        """How many there are is not known before they have been given."""

    def pending_estimate(self, _total: int | None) -> int:
        """At least how many documents are pending: those given so far."""
        return self.counts.dispatched

    def __iter__(self) -> Iterator[Chunk]:
        number = 0
        previous: dict[Key, Previous] = {}
        for key, known in self._keys:
            if self._state.stopping.is_set():
                return
            self.counts.read += 1
            self.counts.dispatched += 1
            previous[key] = known
            if len(previous) == self._chunk_documents:
                number += 1
                yield Chunk(number, tuple(previous), previous)
                previous = {}
        if previous:
            yield Chunk(number + 1, tuple(previous), previous)
