"""Ranges of keys: whatever is heard of documents in whatever order, none is called finished too early."""

from __future__ import annotations

import random
import threading
from itertools import islice

from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.mapping.records import Key, State
from xml_extractor.processing.ranges import (
    LAST_NUMBER,
    NUMBER_SPACING,
    RangeTracker,
    numbers_between,
)
from xml_extractor.target.base import Settled
from xml_extractor.target.ranges import FinishedRange, RangeCounts, ledger_mark

STATES = list(State)


def settled(key: Key, state: State = State.LOADED) -> Settled:
    return key, state, hash((key, state)) % 2**128, False


def begin(tracker: RangeTracker, number: int, keys: list[Key], known: RangeCounts | None = None) -> None:
    tracker.begin(number, None, keys[-1] if keys else number, keys, known or RangeCounts())


# Ranges of one to six keys; then events, each about one key: it is settled, has vanished, is heard of twice,
# or is a key that nobody has begun.
RANGES = st.lists(st.integers(1, 6), min_size=1, max_size=6)
EVENTS = st.lists(
    st.tuples(st.sampled_from(["settle", "vanish", "stranger", "take"]), st.integers(0, 40)), max_size=80
)


@given(sizes=RANGES, events=EVENTS)
def test_a_range_is_finished_when_its_last_document_is_settled_and_never_before(
    sizes: list[int], events: list[tuple[str, int]]
) -> None:
    tracker = RangeTracker()
    range_of: dict[Key, int] = {}
    outstanding: dict[int, set[Key]] = {}
    counts: dict[int, RangeCounts] = {}
    for number, size in enumerate(sizes, start=1):
        keys: list[Key] = list(range(len(range_of), len(range_of) + size))
        range_of.update(dict.fromkeys(keys, number))
        outstanding[number] = set(keys)
        counts[number] = RangeCounts()
        begin(tracker, number, keys)
    taken: list[FinishedRange] = []
    for event, place in events:
        key: Key = place if event != "stranger" else f"stranger {place}"
        number = range_of.get(key, 0)
        state = STATES[place % 3]
        if event == "take":
            taken += tracker.take_finished()
        elif event == "vanish":
            tracker.vanish([key])
        else:
            tracker.settle([settled(key, state)])
            if number and key in outstanding[number]:
                counts[number].add(state, settled(key, state)[2])
        if event in ("settle", "vanish") and number:
            outstanding[number].discard(key)
        assert all(not outstanding[done.number] for done in taken)
    taken += tracker.take_finished()
    assert sorted(done.number for done in taken) == [n for n, keys_ in outstanding.items() if not keys_]
    assert {done.number: done.counts for done in taken} == {
        done.number: counts[done.number] for done in taken
    }


@given(st.permutations(range(12)))
def test_counts_and_content_are_the_same_in_any_order(order: list[int]) -> None:
    documents = [settled(key, STATES[key % 3]) for key in range(12)]
    results = []
    for sequence in (documents, [documents[index] for index in order]):
        tracker = RangeTracker()
        begin(tracker, 1, list(range(12)))
        for document in sequence:
            tracker.settle([document])
        (done,) = tracker.take_finished()
        results.append(done.counts)
    assert results[0] == results[1]
    assert (results[0].loaded, results[0].quarantined, results[0].skipped) == (4, 4, 4)


def test_a_range_of_known_documents_is_finished_at_once() -> None:
    tracker = RangeTracker()
    known = RangeCounts(loaded=3, content=5)
    begin(tracker, 7, [], known)
    (done,) = tracker.take_finished()
    assert (done.number, done.counts) == (7, known)
    assert tracker.take_finished() == []


def test_documents_that_another_version_settled_are_counted_as_such() -> None:
    tracker = RangeTracker()
    begin(tracker, 1, [1, 2])
    tracker.settle([(1, State.LOADED, 1, True), (2, State.LOADED, 2, False)])
    (done,) = tracker.take_finished()
    assert (done.counts.loaded, done.counts.other_plan) == (2, 1)


def test_threads_that_settle_at_once_lose_no_range() -> None:
    tracker = RangeTracker()
    keys: list[Key] = list(range(8_000))
    for number in range(80):
        begin(tracker, number, keys[number * 100 : (number + 1) * 100])
    shuffled = random.Random(3).sample(keys, len(keys))
    taken: list[FinishedRange] = []
    lock = threading.Lock()

    def work(mine: list[Key]) -> None:
        for start in range(0, len(mine), 7):
            tracker.settle([settled(key) for key in mine[start : start + 7]])
            with lock:
                taken.extend(tracker.take_finished())

    threads = [threading.Thread(target=work, args=(shuffled[part::4],)) for part in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()
    taken += tracker.take_finished()
    assert sorted(done.number for done in taken) == list(range(80))
    assert all(done.counts.loaded == 100 for done in taken)


@given(low=st.integers(0, 10**6), room=st.integers(0, 3 * NUMBER_SPACING), wanted=st.integers(1, 300))
def test_numbers_ascend_between_their_neighbours_until_there_are_none(
    low: int, room: int, wanted: int
) -> None:
    numbers = list(islice(numbers_between(low, low + room), wanted))
    given_out = [number for number in numbers if number is not None]
    assert numbers == given_out + [None] * (len(numbers) - len(given_out)), (
        "none after the first that is none"
    )
    assert given_out == sorted(set(given_out))
    assert all(low < number < low + room for number in given_out)
    assert len(given_out) == wanted or room < 10_000


def test_a_gap_takes_ten_times_the_pages_that_it_had_and_so_does_a_gap_in_it() -> None:
    low, high = NUMBER_SPACING, 2 * NUMBER_SPACING
    for _ in range(3):
        found = [number for number in islice(numbers_between(low, high), 200) if number is not None]
        assert len(found) == 200
        low, high = found[4], found[5]


def test_numbers_never_leave_a_bigint() -> None:
    numbers = list(islice(numbers_between(LAST_NUMBER - 5), 8))
    assert numbers[:4] == [LAST_NUMBER - 4, LAST_NUMBER - 3, LAST_NUMBER - 2, LAST_NUMBER - 1]
    assert numbers[4:] == [None] * 4


def test_a_mark_tells_document_state_and_batch_apart() -> None:
    marks = {
        ledger_mark(digest, state, batch)
        for digest in (b"a" * 16, b"b" * 16)
        for state in State
        for batch in (0, 1, 2**63 - 1)
    }
    assert len(marks) == 18
