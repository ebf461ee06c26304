"""What is left to load: every key is read or passed over once, whatever claims there are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import count, pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.mapping.records import Key, State
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.look_ahead import look_ahead
from xml_extractor.processing.pending_keys import PendingKeys
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.ranges import RangeTracker
from xml_extractor.processing.throttle import Throttle
from xml_extractor.settings import LoadOptions
from xml_extractor.target.base import BatchWriter, LedgerEntry, LoadHandle, RunState
from xml_extractor.target.ranges import FinishedRange, RangeCounts, Stretch

# A collation that no code point order knows: the program has to ask the source how keys compare.
ORDER: list[Key] = ["b", "A", "a", "C", "ä", "9", "10", "Z", "z ", "z", "é", "É", "m", "M", "0", "k"]
DIGEST = "a" * 64


class Reader:
    """A source whose keys come in an order of its own."""

    def __init__(self, order: Sequence[Key], page_size: int) -> None:
        self.order = list(order)
        self.page_size = page_size
        self.read: list[Key] = []

    def key_pages(
        self, start: Key | None, end: Key | None, page_size: int, *, after: Key | None = None
    ) -> Iterator[list[Key]]:
        keys = self._between(start, end, after)
        size = self.page_size if page_size > 1 else 1
        for first in range(0, len(keys), size):
            page = keys[first : first + size]
            if page_size > 1:
                self.read += page
            yield page

    def count(self, start: Key | None = None, end: Key | None = None) -> int:
        return len(self._between(start, end, None))

    def _between(self, start: Key | None, end: Key | None, after: Key | None) -> list[Key]:
        low = 0 if start is None else self.order.index(start)
        low = max(low, 0 if after is None else self.order.index(after) + 1)
        return self.order[low : None if end is None else self.order.index(end) + 1]


class Load(LoadHandle):
    """A load whose ledger knows some keys, and of which stretches are finished."""

    load_id = 1
    resumed = True
    keeps_ranges = True
    started_at = datetime(2026, 1, 1, tzinfo=UTC)

    def __init__(self, known: Mapping[Key, State], stretches: Sequence[Stretch] = ()) -> None:
        self.known = known
        self.stretches = list(stretches)

    def open_ranges(self, scope: str) -> list[Stretch]:
        self.scope = scope
        return self.stretches

    def lookup(self, keys: Sequence[Key]) -> dict[Key, LedgerEntry]:
        return {
            key: LedgerEntry(key, self.known[key], 1, 1, DIGEST, mark=3) for key in keys if key in self.known
        }

    def writer(self, index: int) -> BatchWriter:
        raise NotImplementedError

    def finish(self, state: RunState, summary: Mapping[str, Any]) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


def pending(
    reader: Reader, load: Load, tracker: RangeTracker | None = None, **options: Any
) -> tuple[PendingKeys, list[Key]]:
    state = PipelineState()
    found = PendingKeys(
        reader,  # type: ignore[arg-type]
        load, LoadOptions(**options), DIGEST, state, Throttle(None, state.stopping.wait),
        tracker or RangeTracker(),
    )  # fmt: skip
    return found, [key for chunk in found for key in chunk.keys]


def stretch(first: int, last: int, number: int) -> Stretch:
    """A claim that ORDER[first:last] has been loaded."""
    after = ORDER[first - 1] if first else None
    return Stretch(number, number, after, ORDER[last - 1], RangeCounts(loaded=last - first))


claims = st.lists(
    st.tuples(st.integers(0, len(ORDER) - 1), st.integers(1, 6), st.integers(1, 1000)), max_size=6
).map(lambda made: [(first, min(len(ORDER), first + size), number) for first, size, number in made])


@given(claims=claims, page_size=st.integers(2, 6))
def test_whatever_is_claimed_every_key_is_read_or_passed_over_once(
    claims: list[tuple[int, int, int]], page_size: int
) -> None:
    """Claims that overlap, come in any order, and lie within each other: as several loaders leave them."""
    stretches = [stretch(*claim) for claim in sorted(claims, key=lambda claim: claim[2])]
    finished = {key for first, last, _ in claims for key in ORDER[first:last]}
    reader = Reader(ORDER, page_size)
    found, dispatched = pending(reader, Load(dict.fromkeys(finished, State.LOADED), stretches))
    assert sorted(map(str, dispatched)) == sorted(str(key) for key in ORDER if key not in finished)
    # Each once: nothing is read that was passed over, unless a claim could not be used.
    assert found.counts.read == len(ORDER)
    assert found.counts.already_loaded == len(finished)
    assert len(reader.read) == len(ORDER) - found.counts.passed_over


@given(cuts=st.sets(st.integers(1, len(ORDER) - 1)), done=st.sets(st.integers(0, len(ORDER))))
def test_of_ranges_that_lie_side_by_side_only_the_gaps_are_read(cuts: set[int], done: set[int]) -> None:
    bounds = [0, *sorted(cuts), len(ORDER)]
    pages = [pair for index, pair in enumerate(pairwise(bounds)) if index in done]
    stretches = [stretch(first, last, 100 * last) for first, last in pages]
    finished = {key for first, last in pages for key in ORDER[first:last]}
    reader = Reader(ORDER, 3)
    found, dispatched = pending(reader, Load(dict.fromkeys(finished, State.LOADED), stretches))
    assert reader.read == dispatched == [key for key in ORDER if key not in finished]
    assert found.counts.passed_over == len(finished)
    assert found.total() == len(ORDER)


@given(claims=claims, page_size=st.integers(2, 6))
def test_the_ranges_of_a_resumed_run_fill_the_gaps(
    claims: list[tuple[int, int, int]], page_size: int
) -> None:
    stretches = [stretch(*claim) for claim in sorted(claims, key=lambda claim: claim[2])]
    tracker = RangeTracker()
    # Nothing is pending: what is read is known, and so each range is finished at once.
    pending(Reader(ORDER, page_size), Load(dict.fromkeys(ORDER, State.LOADED), stretches), tracker)
    made = tracker.take_finished()
    for done in made:
        low = 0 if done.after is None else ORDER.index(done.after) + 1
        assert done.counts == RangeCounts(
            loaded=ORDER.index(done.last) + 1 - low, content=3 * done.counts.loaded
        )
    everything = sorted([*stretches, *map(as_stretch, made)], key=lambda one: one.first_number)
    # With them the next run has nothing to read, unless claims overlapped.
    reader = Reader(ORDER, page_size)
    found, dispatched = pending(reader, Load(dict.fromkeys(ORDER, State.LOADED), everything))
    assert dispatched == []
    assert found.counts.read == len(ORDER)


def as_stretch(done: FinishedRange) -> Stretch:
    return Stretch(done.number, done.number, done.after, done.last, done.counts)


def test_states_of_passed_over_and_known_documents_add_up() -> None:
    counts = RangeCounts(loaded=1, quarantined=2, skipped=1, other_plan=1)
    known = {ORDER[4]: State.QUARANTINED, ORDER[5]: State.SKIPPED, ORDER[6]: State.LOADED}
    found, dispatched = pending(Reader(ORDER, 3), Load(known, [Stretch(1, 1, None, ORDER[3], counts)]))
    assert dispatched == ORDER[7:]
    counted = found.counts
    assert (counted.already_loaded, counted.quarantined, counted.skipped) == (2, 3, 2)
    assert (counted.read, counted.passed_over, counted.other_plan) == (len(ORDER), 4, 1)


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
def test_a_limit_cuts_the_range_at_the_last_key_looked_at(limit: int) -> None:
    tracker = RangeTracker()
    known = {ORDER[1]: State.LOADED}
    found, dispatched = pending(Reader(ORDER, 5), Load(known), tracker, limit=limit)
    assert len(dispatched) == min(limit, len(ORDER) - 1)
    tracker.vanish(dispatched)
    made = tracker.take_finished()
    assert made[-1].last == dispatched[-1]
    assert found.counts.read == ORDER.index(dispatched[-1]) + 1


def test_a_target_that_keeps_no_ranges_leaves_nothing_behind_in_memory() -> None:
    load = Load({})
    load.keeps_ranges = False
    tracker = RangeTracker()
    _, dispatched = pending(Reader(ORDER, 5), load, tracker)
    tracker.vanish(dispatched)
    assert tracker.take_finished() == []


def test_the_scope_says_what_makes_two_runs_settle_the_same() -> None:
    scopes = []
    for options in (
        {}, {"app_id_start": "5"}, {"app_id_end": "5"}, {"on_change": "report"}, {"on_change": "replace"},
        {"on_plan_change": "reload"}, {"app_id_start": 5}, {"limit": 3}, {"workers": 2},
    ):  # fmt: skip
        load = Load({})
        pending(Reader(["5", 5], 5), load, **options)
        scopes.append(load.scope)
    assert len(set(scopes)) == 7
    assert scopes[0] == scopes[-1] == scopes[-2]


def test_the_estimate_of_what_is_pending_leaves_out_what_is_passed_over() -> None:
    half = len(ORDER) // 2
    reader = Reader(ORDER, 4)
    state = PipelineState()
    load = Load({}, [stretch(0, half, 1)])
    found = PendingKeys(
        reader,  # type: ignore[arg-type]
        load, LoadOptions(), DIGEST, state, Throttle(None, state.stopping.wait), RangeTracker(),
    )  # fmt: skip
    next(iter(found))
    assert found.pending_estimate(found.total()) == half


def test_every_page_of_keys_is_shown_also_where_nothing_of_it_is_pending() -> None:
    state = PipelineState()
    shown: list[int] = []
    found = PendingKeys(
        Reader(ORDER, 3),  # type: ignore[arg-type]
        Load(dict.fromkeys(ORDER, State.LOADED)), LoadOptions(), DIGEST, state,
        Throttle(None, state.stopping.wait), RangeTracker(),
        lambda: shown.append(found.counts.already_loaded),
    )  # fmt: skip
    assert [chunk.keys for chunk in found] == [()] * len(shown)
    assert shown == [*range(3, len(ORDER), 3), len(ORDER)]


def test_what_is_found_slowly_does_not_wait_for_more(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=2)
    monkeypatch.setattr("xml_extractor.processing.look_ahead.time.monotonic", lambda: next(clock))
    chunks = (Chunk(number, (number,), {}) for number in range(1000))
    ahead = look_ahead(chunks)
    assert [chunk.number for chunk in ahead.chunks] == [0, 1, 2]
    assert not ahead.is_all
    assert next(chunks).number == 3


def test_what_was_found_does_not_wait_for_pages_of_which_nothing_is_pending(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One new row before millions that are loaded, and others behind them."""
    clock = count()
    monkeypatch.setattr("xml_extractor.processing.look_ahead.time.monotonic", lambda: next(clock))
    keys = range(10_000)
    new = [5, 9_999]
    reader = Reader(keys, 10)
    load = Load({key: State.LOADED for key in keys if key not in new})
    state = PipelineState()
    found = PendingKeys(
        reader,  # type: ignore[arg-type]
        load, LoadOptions(), DIGEST, state, Throttle(None, state.stopping.wait), RangeTracker(),
    )  # fmt: skip
    chunks = iter(found)
    ahead = look_ahead(chunks)
    assert [chunk.keys for chunk in ahead.chunks] == [(5,)]
    assert not ahead.is_all
    assert len(reader.read) < 100
    assert [key for chunk in chunks for key in chunk.keys] == [9_999]


def test_until_something_is_found_the_search_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = count(step=100)
    monkeypatch.setattr("xml_extractor.processing.look_ahead.time.monotonic", lambda: next(clock))
    chunks = (Chunk(number, (number,) if number == 50 else (), {}) for number in range(100))
    ahead = look_ahead(chunks)
    assert [chunk.number for chunk in ahead.chunks] == [50]
