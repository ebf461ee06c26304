"""Finds what is left to load: the source's keys, less what the ledger already knows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from xml_extractor.mapping.records import Key, Previous, Renewal, State
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.throttle import Throttle
from xml_extractor.settings import LoadOptions, OnChange, OnPlanChange
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LedgerEntry, LoadHandle


@dataclass(slots=True)
class KeyCounts:
    """What the ledger said of the keys that were read; written by the dispatching thread only."""

    read: int = 0
    already_loaded: int = 0
    quarantined: int = 0
    skipped: int = 0
    dispatched: int = 0
    looks: int = 0  # of those dispatched, known ones that are only looked at: have they changed?
    other_plan: int = 0  # loaded or skipped under another version of the contract, and left as they are


class PendingKeys:
    """Pages through the source's keys, asks the ledger for each page, and cuts what is pending into chunks.

    Not thread-safe: it is iterated by one thread.
    """

    def __init__(
        self, reader: SourceReader, load: LoadHandle, options: LoadOptions, plan_digest: str,
        state: PipelineState, throttle: Throttle,
    ) -> None:  # fmt: skip
        self.counts = KeyCounts()
        self._reader = reader
        self._load = load
        self._options = options
        self._plan_digest = plan_digest
        self._state = state
        self._throttle = throttle

    def __iter__(self) -> Iterator[Chunk]:
        options = self._options
        pages = self._reader.key_pages(options.app_id_start, options.app_id_end, self._throttle.key_page)
        number = 0
        for page in pages:
            for keys, previous in self._pending_of(page):
                number += 1
                yield Chunk(number, keys, previous)
            if self._state.stopping.is_set() or self._limit_reached():
                return

    def _limit_reached(self) -> bool:
        # Documents that are only looked at do not count: each run would else look at the same ones again,
        # and never come to those behind them.
        pending = self.counts.dispatched - self.counts.looks
        return self._options.limit is not None and pending >= self._options.limit

    def _pending_of(self, page: list[Key]) -> Iterator[tuple[tuple[Key, ...], dict[Key, Previous]]]:
        counts = self.counts
        entries = self._load.lookup(page)
        keys: list[Key] = []
        previous: dict[Key, Previous] = {}
        for key in page:
            if self._limit_reached() or self._state.stopping.is_set():
                break
            counts.read += 1
            entry = entries.get(key)
            if entry is not None:
                known = self._to_be_renewed(entry)
                if known is None:
                    self._count_known(entry.counts_as, entry.plan_digest != self._plan_digest)
                    continue
                previous[key] = known
                counts.looks += known.renewal is not Renewal.RELOAD
            keys.append(key)
            counts.dispatched += 1
            if len(keys) == self._throttle.chunk_documents:
                yield tuple(keys), previous
                keys, previous = [], {}
        if keys:
            yield tuple(keys), previous

    def _to_be_renewed(self, entry: LedgerEntry) -> Previous | None:
        """Say what is to be done with a document that the ledger knows; None = it is left as it is."""
        options = self._options
        if entry.plan_digest != self._plan_digest and options.on_plan_change is OnPlanChange.RELOAD:
            return entry.previous
        if options.on_change is OnChange.IGNORE:
            return None
        return entry.to_look_at(Renewal(options.on_change.value), self._plan_digest)

    def _count_known(self, state: State, other_plan: bool) -> None:
        counts = self.counts
        # What is in quarantine waits for a replay anyway, under whatever version it got there.
        counts.other_plan += other_plan and state is not State.QUARANTINED
        if state is State.LOADED:
            counts.already_loaded += 1
        elif state is State.QUARANTINED:
            counts.quarantined += 1
        else:
            counts.skipped += 1


class GivenKeys:
    """Chunks of keys named by the caller (replay from quarantine), with what the ledger says of them."""

    def __init__(
        self, keys: Iterable[tuple[Key, Previous]], state: PipelineState, throttle: Throttle
    ) -> None:
        self.counts = KeyCounts()
        self._keys = keys
        self._state = state
        self._chunk_documents = throttle.chunk_documents

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
