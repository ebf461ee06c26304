"""Which keys a sample is made of."""

from __future__ import annotations

import bisect
from collections import Counter
from collections.abc import Sequence
from typing import Any, cast

import pytest

from xml_extractor.mapping.records import Key, Previous, Renewal, State
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.drift_sample import PendingSample, evenly
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.settings import LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LoadHandle


class Source:
    """A sorted list of keys in the place of a reader, and of a ledger."""

    def __init__(self, keys: Sequence[Key], known: dict[Key, str] | None = None) -> None:
        self.keys = list(keys)
        self.known = known or {}
        self.questions = 0

    def last_key(self, start: Key | None, end: Key | None) -> Key | None:
        self.questions += 1
        inside = bisect.bisect_right(self.keys, end) if end is not None else len(self.keys)
        last = self.keys[inside - 1] if inside else None
        return last if last is None or start is None or last >= start else None

    def keys_after(self, after: Key, end: Key | None, limit: int) -> list[Key]:
        self.questions += 1
        start = bisect.bisect_right(self.keys, after)
        found = self.keys[start : start + limit]
        return [key for key in found if end is None or key <= end]

    def lookup(self, keys: Sequence[Key]) -> dict[Key, Any]:
        class Entry:
            def __init__(self, plan_digest: str) -> None:
                self.plan_digest = plan_digest

        return {key: Entry(self.known[key]) for key in keys if key in self.known}


def sampled(
    source: Source,
    front: int,
    *,
    is_all: bool = False,
    wanted: int = 200,
    previous: Any = None,
    **options: Any,
) -> list[Any]:
    sample = PendingSample(
        cast(SourceReader, source), cast(LoadHandle, source), LoadOptions(**options), "mine", PipelineState()
    )
    pending = [key for key in source.keys if key not in source.known or previous]
    chunk = Chunk(1, tuple(pending[:front]), previous or {})
    return sample.keys([chunk] if chunk.keys else [], is_all=is_all, wanted=wanted)


@pytest.mark.parametrize(
    "keys",
    [
        range(100_000),
        range(0, 100_000_000, 997),
        [f"APP-{number:07}" for number in range(100_000)],
        [*range(50_000), *range(10**12, 10**12 + 50_000)],
        [*range(99_999), 10**15],
    ],
    ids=["numbers", "gaps", "texts", "two heaps", "one far away"],
)
def test_a_sample_is_taken_from_across_the_range(keys: Sequence[Key]) -> None:
    source = Source(keys)
    found = sampled(source, 2_000)
    assert len(found) == len(set(found)) == 200
    place = {key: index for index, key in enumerate(source.keys)}
    assert source.questions <= 110
    assert sum(place[key] < 2_000 for key in found) == 20
    tenths = Counter(place[key] * 10 // len(source.keys) for key in found)
    assert all(tenths[tenth] >= 8 for tenth in range(10)), tenths


def test_what_the_ledger_knows_is_left_out() -> None:
    source = Source(range(10_000), {key: "mine" for key in range(10_000) if key % 3})
    found = sampled(source, 500)
    assert len(found) == 200
    assert not source.known.keys() & set(found)
    assert max(found) > 9_000


@pytest.mark.parametrize("new", [200, 1_000, 3_000])
@pytest.mark.parametrize(
    "name", [lambda number: number, lambda number: f"APP-{number:09}"], ids=["numbers", "texts"]
)
def test_what_is_new_at_the_end_of_many_that_are_loaded_is_found(new: int, name: Any) -> None:
    """A night's new rows behind millions, and a few older ones that are pending again."""
    loaded = 200_000
    keys = [name(number) for number in range(loaded + new)]
    known = dict.fromkeys(keys[:loaded], "mine")
    for number in (0, 17, 99):
        del known[keys[number]]
    source = Source(keys, known)
    found = sampled(source, 3)
    assert len(found) == len(set(found)) == 200
    assert sum(key >= keys[loaded] for key in found) >= 197
    assert not known.keys() & set(found)
    assert source.questions <= 110


def test_documents_to_be_reloaded_are_pending_too() -> None:
    source = Source(range(10_000), {key: "other" if key % 2 else "mine" for key in range(10_000)})
    previous = {key: Previous(State.LOADED, 1, "other") for key in range(1, 500, 2)}
    found = sampled(source, 500, previous=previous, on_plan_change="reload")
    assert all(source.known[key] == "other" for key in found if key >= 500)
    assert max(found) > 9_000
    assert sampled(Source(range(10_000), dict.fromkeys(range(2000, 10000), "other")), 2_000)[-1] < 2_000


def test_known_documents_that_are_only_looked_at_are_not_sampled() -> None:
    source = Source(range(10_000), dict.fromkeys(range(9000), "mine"))
    looks = {key: Previous(State.LOADED, 1, "mine", renewal=Renewal.REPLACE) for key in range(9_000)}
    found = sampled(source, 2_000, previous=looks)
    assert found
    assert min(found) >= 9_000


def test_gaps_are_topped_up_from_the_first_documents() -> None:
    # One key far away: every place that is computed leads to it.
    source = Source([*range(5_000), 10**15])
    found = sampled(source, 2_000)
    assert len(found) == len(set(found)) == 200
    assert 10**15 in found


def test_where_all_are_known_the_sample_is_evenly_spread_and_nobody_is_asked() -> None:
    source = Source(range(1_000))
    found = sampled(source, 1_000, is_all=True)
    assert found == list(range(0, 1_000, 5))
    assert source.questions == 0
    assert sampled(Source(range(150)), 150, is_all=True) == list(range(150))


def test_the_range_of_keys_and_a_limit_are_kept() -> None:
    source = Source(range(100_000))
    assert max(sampled(source, 2_000, app_id_end=50_000)) <= 50_000
    limited = sampled(source, 2_000, limit=3_000)
    assert len(limited) == 200
    assert max(limited) < 2_000


def test_keys_of_two_kinds_are_sampled_from_the_first() -> None:
    class Mixed(Source):
        def last_key(self, start: Key | None, end: Key | None) -> Key | None:
            return "z"

    assert len(sampled(Mixed(range(5_000)), 2_000)) == 200


def test_a_stop_ends_the_search() -> None:
    source = Source(range(100_000))
    state = PipelineState()
    state.stopping.set()
    sample = PendingSample(cast(SourceReader, source), cast(LoadHandle, source), LoadOptions(), "mine", state)
    sample.keys([Chunk(1, tuple(range(2_000)), {})], is_all=False, wanted=200)
    assert source.questions <= 1


def test_evenly() -> None:
    assert evenly([1, 2, 3], 5) == [1, 2, 3]
    assert evenly(list(range(10)), 5) == [0, 2, 4, 6, 8]
    assert evenly([], 5) == []
    assert evenly([1, 2], 0) == []
