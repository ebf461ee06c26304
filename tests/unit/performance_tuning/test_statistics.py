"""What repeated measurements say: against scipy, by counting out, and over simulated runs."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from performance_tuning.measuring.statistics import (
    ALPHA,
    Verdict,
    can_tell,
    compare,
    estimate,
    holm,
    runs_needed,
    smallest_p_value,
)

values = st.integers(min_value=1, max_value=12).map(float)
samples = st.lists(values, min_size=1, max_size=5)
distinct = st.lists(
    st.floats(min_value=0.5, max_value=1e6, allow_nan=False), min_size=8, max_size=14, unique=True
)


def counted_p_value(first: Sequence[float], second: Sequence[float]) -> float:
    """The two-sided probability of the rank sum, by dealing the values out in all ways."""
    pooled = [*first, *second]
    ranks = [float(rank) for rank in stats.rankdata(pooled)]
    sums = [
        sum(ranks[i] for i in chosen) for chosen in itertools.combinations(range(len(pooled)), len(first))
    ]
    seen = sum(ranks[: len(first)])
    below = sum(total <= seen + 1e-9 for total in sums) / len(sums)
    above = sum(total >= seen - 1e-9 for total in sums) / len(sums)
    return min(1.0, 2 * min(below, above))


def test_an_estimate_is_of_the_middle_and_not_of_the_outlier() -> None:
    found = estimate([10.0, 11.0, 12.0, 13.0, 1000.0])
    assert (found.median, found.iqr, found.mad) == (12.0, 2.0, 1.0)
    assert (found.minimum, found.maximum, found.count) == (10.0, 1000.0, 5)
    assert found.relative_spread == pytest.approx(2 / 12)


@pytest.mark.parametrize(("values_", "low"), [([3.0], None), ([3.0, 4.0], None), ([5.0, 5.0, 5.0], 5.0)])
def test_few_values_have_no_interval_and_equal_ones_a_point(values_: list[float], low: float | None) -> None:
    found = estimate(values_)
    assert (found.low, found.high) == (low, low)


@pytest.mark.parametrize("wrong", [[], [1.0, math.nan], [math.inf]])
def test_what_is_no_measurement_is_refused(wrong: list[float]) -> None:
    with pytest.raises(ValueError, match=r"no value was measured|not a finite number"):
        estimate(wrong)


@settings(max_examples=10, deadline=None)
@given(distinct)
def test_the_interval_holds_the_median_and_lies_within_the_values(sample: list[float]) -> None:
    found = estimate(sample)
    assert found.low is not None
    assert found.high is not None
    assert min(sample) <= found.low <= found.median <= found.high <= max(sample)


def test_the_interval_covers_the_true_median_about_as_often_as_it_says() -> None:
    draw = np.random.default_rng(5)
    covered = 0
    for _ in range(100):
        found = estimate(list(draw.lognormal(3.0, 0.2, 10)))
        assert found.low is not None
        assert found.high is not None
        covered += found.low <= math.exp(3.0) <= found.high
    assert covered >= 88  # of the 95 that are promised; fewer than 88 would come once in 400 times


@settings(max_examples=60, deadline=None)
@given(samples, samples)
def test_the_p_value_is_that_of_counting_all_ways_out(first: list[float], second: list[float]) -> None:
    expected = 1.0 if len({*first, *second}) == 1 else counted_p_value(first, second)
    assert compare(first, second).p_value == pytest.approx(expected)


@settings(max_examples=30, deadline=None)
@given(distinct, distinct)
def test_without_ties_the_p_value_is_scipys(first: list[float], second: list[float]) -> None:
    if len({*first, *second}) == len(first) + len(second):
        expected = stats.mannwhitneyu(first, second, method="exact").pvalue
        assert compare(first, second).p_value == pytest.approx(min(1.0, expected))


@settings(max_examples=60, deadline=None)
@given(distinct, distinct)
def test_the_interval_of_the_change_and_the_test_agree(first: list[float], second: list[float]) -> None:
    if len({*first, *second}) < len(first) + len(second):
        return  # ties: the interval is then wider than the test
    found = compare(first, second)
    assert found.low is not None
    assert found.high is not None
    assert found.low <= found.change <= found.high
    assert found.distinguishable == (not found.low < 0 < found.high)
    assert found.distinguishable == (found.p_value <= ALPHA)


def test_interval_and_test_agree_however_ten_values_are_dealt_out() -> None:
    """The ends of the interval are single differences: the next one would be wrong."""
    everything = [100.0 + number**1.5 for number in range(10)]
    verdicts = set()
    for chosen in itertools.combinations(range(10), 5):
        first = [everything[index] for index in chosen]
        second = [value for value in everything if value not in first]
        found = compare(first, second)
        assert found.low is not None
        assert found.high is not None
        assert found.distinguishable == (not found.low < 0 < found.high), chosen
        verdicts.add(found.verdict)
    assert verdicts == {Verdict.HIGHER, Verdict.LOWER, Verdict.NOT_DISTINGUISHABLE}


@settings(max_examples=30, deadline=None)
@given(distinct, distinct, st.sampled_from([0.001, 7.0]))
def test_a_relative_change_does_not_depend_on_the_unit(
    first: list[float], second: list[float], factor: float
) -> None:
    once = compare(first, second)
    again = compare([factor * value for value in first], [factor * value for value in second])
    assert again.change == pytest.approx(once.change, rel=1e-6, abs=1e-9)
    assert again.p_value == pytest.approx(once.p_value, rel=1e-6)


def test_zeros_are_compared_by_difference() -> None:
    found = compare([0.0, 0.0, 1.0, 1.0, 0.5], [3.0, 3.5, 4.0, 3.0, 3.2])
    assert not found.relative
    assert found.verdict is Verdict.HIGHER
    assert found.change == pytest.approx(2.7, abs=0.5)


@pytest.mark.parametrize("runs", [5, 10])
def test_equals_are_called_different_as_rarely_as_promised(runs: int) -> None:
    draw = np.random.default_rng(11)
    rounds = 600
    wrong = sum(
        compare(list(draw.lognormal(5, 0.1, runs)), list(draw.lognormal(5, 0.1, runs))).distinguishable
        for _ in range(rounds)
    )
    # The test is exact and discrete: at most alpha.  Four standard deviations above it.
    assert wrong / rounds <= ALPHA + 4 * math.sqrt(ALPHA * (1 - ALPHA) / rounds)
    assert wrong > 0  # a test that never says so would pass, too


def test_a_tenth_more_is_found_in_runs_that_differ_by_three_hundredths() -> None:
    draw = np.random.default_rng(12)
    found = [compare(list(draw.normal(100, 3, 10)), list(draw.normal(110, 3, 10))) for _ in range(100)]
    assert sum(one.verdict is Verdict.HIGHER for one in found) >= 99
    covering = sum(
        one.low is not None and one.high is not None and one.low <= 0.1 <= one.high for one in found
    )
    assert covering >= 88


def test_a_verdict_says_which_way() -> None:
    slow, fast = [10.0, 10.1, 10.2, 10.3], [20.0, 20.1, 20.2, 20.3]
    assert compare(slow, fast).verdict is Verdict.HIGHER
    assert compare(fast, slow).verdict is Verdict.LOWER
    assert compare(slow, slow).verdict is Verdict.NOT_DISTINGUISHABLE


def test_three_against_three_cannot_tell_anything_and_say_so() -> None:
    found = compare([1.0, 1.1, 1.2], [100.0, 101.0, 102.0])
    assert found.verdict is Verdict.TOO_FEW
    assert found.low is None
    assert smallest_p_value(3, 3) == pytest.approx(0.1)
    assert (can_tell(3, 3), can_tell(4, 4), can_tell(3, 5)) == (False, True, True)
    assert [runs_needed(before) for before in (0, 1, 2, 3, 4, 10)] == [None, 39, 8, 5, 4, 2]


def test_many_runs_are_compared_too() -> None:
    draw = np.random.default_rng(13)
    before, after = list(draw.normal(100, 5, 120)), list(draw.normal(103, 5, 110))
    found = compare(before, after)
    assert found.verdict is Verdict.HIGHER
    assert found.low is not None
    assert found.high is not None
    assert 0 < found.low < 0.03 < found.high < 0.06


def test_several_tests_are_held_to_one_alpha_together() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []
    assert holm([0.9, 0.8]) == [1.0, 1.0]
