"""Positions spread over a range of keys: within it, different, in order where order is known."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.processing.key_positions import positions

TEXTS = st.text(st.characters(min_codepoint=1, exclude_categories=["Cs"]), max_size=20)


@given(st.integers(), st.integers(), st.integers(1, 60))
def test_whole_numbers_stay_in_the_range_and_ascend(first: int, last: int, count: int) -> None:
    found = positions(first, last, count)
    assert len(found) <= count
    assert found == sorted(set(found))
    assert all(first <= key < last for key in found)
    if last - first >= count:
        assert len(found) == count


@given(TEXTS, TEXTS, st.integers(1, 60))
def test_texts_stay_in_the_range_of_code_points_and_can_be_sent(first: str, last: str, count: int) -> None:
    low, high = sorted((first, last))
    found = positions(first, last, count)
    assert len(found) == len(set(found)) <= count
    for key in found:
        assert isinstance(key, str)
        key.encode()  # no half of a surrogate pair
        assert key < high
        assert key >= low or low.startswith(key), "only shorter than the first, never in front of it"


def test_numbered_texts_are_spread_as_their_numbers_are() -> None:
    found = positions("APP-000100", "APP-900100", 90)
    numbers = [int(str(key)[4:].ljust(6, "0")) for key in found]
    assert len(numbers) == 90
    for number, wanted in zip(numbers, range(100, 900_100, 10_000), strict=True):
        assert abs(number - wanted) < 20_000


def test_letters_outside_of_the_first_plane_and_beside_the_surrogates() -> None:
    found = positions("\ud7fe", "\U0001f600", 40)
    assert len(found) > 30
    assert all(str(key).encode() for key in found)


def test_guids_stay_guids() -> None:
    found = positions("00000000-0000-0000-0000-000000000000", "FFFFFFFF-ffff-ffff-ffff-ffffffffffff", 16)
    numbers = [uuid.UUID(str(key)).int for key in found]
    assert len(numbers) == 16
    assert all(abs((number >> 120) - 16 * index) <= 1 for index, number in enumerate(numbers))


@pytest.mark.parametrize(("first", "last"), [(1, "a"), ("a", 1), ("a", "a"), (5, 5), (9, 2)])
def test_where_nothing_lies_between_there_is_no_position(first: int | str, last: int | str) -> None:
    assert positions(first, last, 10) == []
