from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.target.bisection import Refused, bisect


class Database:
    """Commits groups without a bad item, refuses the others; ``names``: items that it says it was."""

    def __init__(self, bad: set[int], names: set[int] = frozenset()) -> None:  # type: ignore[assignment]
        self.bad = bad
        self.names = names
        self.committed: list[int] = []
        self.transactions: list[int] = []
        self.attempts = 0

    def attempt(self, group: Sequence[int]) -> Refused[str] | None:
        self.attempts += 1
        first_bad = next((item for item in group if item in self.bad), None)
        if first_bad is not None:
            at = next((place for place, item in enumerate(group) if item in self.names), None)
            return Refused(f"bad {first_bad}", at)
        self.committed.extend(group)
        self.transactions.append(len(group))
        return None


@given(
    st.integers(0, 200).flatmap(
        lambda n: st.tuples(
            st.just(n), st.sets(st.integers(0, max(n - 1, 0))), st.sets(st.integers(0, max(n - 1, 0)))
        )
    )
)
def test_every_good_item_is_committed_once_and_every_bad_one_returned(
    case: tuple[int, set[int], set[int]],
) -> None:
    """Whether the database names the right items, wrong ones, or none."""
    n, bad, named = case
    bad = {item for item in bad if item < n}
    database = Database(bad, named)
    refused = bisect(range(n), database.attempt)
    assert database.committed == [item for item in range(n) if item not in bad]
    assert refused == [(item, f"bad {item}") for item in sorted(bad)]


def test_nothing_to_do_is_no_attempt() -> None:
    database = Database(set())
    assert bisect([], database.attempt) == []
    assert database.attempts == 0


def test_a_good_group_is_one_attempt() -> None:
    database = Database(set())
    assert bisect(range(1000), database.attempt) == []
    assert database.transactions == [1000]


@pytest.mark.parametrize("bad", [{0}, {999}, {500}, {499}, {0, 999}, {10, 11, 12}, set(range(0, 1000, 100))])
def test_attempts_grow_with_k_log_n(bad: set[int]) -> None:
    database = Database(bad)
    bisect(range(1000), database.attempt)
    k = len(bad)
    # Per bad item and level at most both halves are tried; below the levels that bad items share.
    assert database.attempts <= 1 + 2 * k * (math.log2(1000 / k) + 1) + k
    assert len(database.transactions) <= k * (math.log2(1000 / k) + 2)


def test_one_bad_item_costs_few_attempts_on_average() -> None:
    attempts = []
    for bad in range(256):
        database = Database({bad})
        bisect(range(256), database.attempt)
        attempts.append(database.attempts)
    # Both halves tried at every level would be 1 + 2·8; where the first half passes the second is not.
    assert sum(attempts) / len(attempts) <= 1 + 1.5 * 8 + 1
    assert max(attempts) <= 1 + 2 * 8


@pytest.mark.parametrize("bad", [{0}, {999}, {500}, {10, 11, 12}, set(range(0, 1000, 100))])
def test_an_item_that_is_named_costs_three_groups(bad: set[int]) -> None:
    database = Database(bad, bad)
    bisect(range(1000), database.attempt)
    assert database.attempts <= 1 + 3 * len(bad)


def test_good_neighbours_are_committed_in_large_groups() -> None:
    database = Database({0})
    bisect(range(1024), database.attempt)
    assert sorted(database.transactions) == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512]


@pytest.mark.parametrize("names", [False, True])
def test_items_that_fail_only_together_are_all_committed(names: bool) -> None:
    """Two documents that write the same row: the second to come is refused, alone, after the first is in."""
    committed: list[int] = []

    def attempt(group: Sequence[int]) -> Refused[str] | None:
        if {3, 6} <= {*group, *committed} and {3, 6} & set(group):
            return Refused("same row", group.index(6) if names else None)
        committed.extend(group)
        return None

    refused = bisect(range(8), attempt)
    assert refused == [(6, "same row")]
    assert sorted(committed) == [0, 1, 2, 3, 4, 5, 7]
