"""Drift is taken out, the truly best is not thrown away, and of equals the least memory is recommended."""

from __future__ import annotations

import math
import random
from collections.abc import Iterable

import pytest

from performance_tuning.optimizing.effects import Effects, estimate
from performance_tuning.optimizing.measurements import Ending, Measurement, Outcome, tallies
from performance_tuning.optimizing.racing import RACE_ERROR, hopeless, recommended, ties, time_limit
from performance_tuning.optimizing.space import Setting

A, B, C, D = (Setting("thread", workers, 100, 500, 1) for workers in (2, 4, 6, 8))


def measured(
    setting: Setting, rate: float, block: int, memory: int = 100, ending: Ending = Ending.MEASURED
) -> Measurement:
    outcome = Outcome(ending, 1.0, rate, 1.0, memory)
    return Measurement(block, 1, setting, outcome, None, "2026-01-01T00:00:00+00:00")


def effects_of(measurements: Iterable[Measurement]) -> Effects:
    found = estimate(measurements)
    assert found is not None
    return found


def test_what_a_machine_does_to_a_whole_round_is_taken_out() -> None:
    # The machine is half as fast in the round in which C was measured: C is faster than B all the same.
    made = [measured(A, 100, 1), measured(B, 120, 1), measured(A, 50, 2), measured(C, 75, 2)]
    found = effects_of(made)
    assert found.difference(B, A).share == pytest.approx(0.2)
    assert found.difference(C, A).share == pytest.approx(0.5)
    assert found.settings() == [C, B, A]
    assert found.difference(C, B).standard_error is None  # nothing was repeated


def test_noise_and_intervals_are_those_of_the_textbook() -> None:
    # Two settings in n complete blocks: the paired t-test on logarithms.
    logs = [(0.0, 0.10), (0.5, 0.58), (-0.2, -0.06), (0.1, 0.15)]
    made = [measured(s, math.exp(value), block)
            for block, pair in enumerate(logs) for s, value in zip((A, B), pair, strict=True)]  # fmt: skip
    difference = effects_of(made).difference(B, A)
    gaps = [b - a for a, b in logs]
    mean = sum(gaps) / 4
    spread = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / 3)
    assert difference.log_ratio == pytest.approx(mean)
    assert difference.standard_error == pytest.approx(spread / 2)
    assert difference.freedom == 3
    low, high = difference.interval() or (0.0, 0.0)
    assert math.log1p(high) - mean == pytest.approx(3.182446 * spread / 2, rel=1e-6)
    assert math.log1p(low) < mean < math.log1p(high)


def test_settings_that_share_no_round_with_the_others_are_not_compared() -> None:
    made = [measured(A, 100, 1), measured(B, 120, 1), measured(C, 900, 2), measured(D, 990, 2)]
    assert set(effects_of([*made, measured(A, 101, 3), measured(B, 119, 3)]).settings()) == {A, B}


def test_what_was_cut_off_or_failed_is_no_measurement() -> None:
    made = [measured(A, 100, 1), measured(B, 120, 1), measured(B, 10, 1, ending=Ending.CUT_OFF)]
    assert effects_of(made).difference(B, A).share == pytest.approx(0.2)
    assert estimate([measured(A, 10, 1, ending=Ending.FAILED)]) is None
    tally = tallies(made)
    assert not tally[B].is_lost
    assert tallies([measured(A, 10, 1, ending=Ending.CUT_OFF)])[A].is_lost


def race(
    dice: random.Random, heights: list[float], rounds: int, noise: float, disturbed: float = 0.0
) -> tuple[set[int], int]:
    """Run a race; return who is left, and how many measurements that took."""
    settings = [Setting("thread", number, 100, 500, 1) for number in range(1, len(heights) + 1)]
    left, made = set(settings), []
    for block in range(rounds):
        drift = dice.gauss(0, 0.1)
        for setting in sorted(left):
            height = heights[setting.workers - 1] + drift + dice.gauss(0, noise)
            # Now and then something else takes the machine for a while.
            height -= 0.7 * (dice.random() < disturbed)
            made.append(measured(setting, 1000 * math.exp(height), block))
        found = effects_of(made)
        leader = next(setting for setting in found.settings() if setting in left)
        left -= hopeless(found, left, leader, settings=len(settings), looks=rounds)
    return {setting.workers - 1 for setting in left}, len(made)


def test_a_race_throws_the_best_away_no_more_often_than_it_says_and_saves_measurements() -> None:
    dice = random.Random(4)
    thrown_away, spent, races, rounds = 0, 0, 150, 6
    for number in range(races):
        # The best is better by a hair only, which is when it is thrown away most easily.
        heights = [0.0, -0.005, -0.01, -0.02, -0.15, -0.3, -0.6, -0.9]
        dice.shuffle(heights)
        left, made = race(dice, heights, rounds, (0.02, 0.05, 0.1)[number % 3], disturbed=0.01)
        thrown_away += heights.index(0.0) not in left
        spent += made
    # Beyond this many the error would be above RACE_ERROR with a probability of 1 - 0.0003.
    assert thrown_away <= races * RACE_ERROR + 3.4 * math.sqrt(races * RACE_ERROR * (1 - RACE_ERROR))
    assert spent < 0.85 * races * rounds * 8


def test_what_is_far_slower_is_given_up_at_once() -> None:
    left, _ = race(random.Random(1), [0.0, -0.01, -1.0, -1.2], rounds=2, noise=0.02)
    assert left == {0, 1}


def settled(rates: dict[Setting, list[float]], memory: dict[Setting, int]) -> list[Measurement]:
    return [
        measured(setting, rate, block, memory[setting])
        for setting, values in rates.items()
        for block, rate in enumerate(values)
    ]


def test_of_those_within_noise_the_least_memory_is_recommended() -> None:
    made = settled(
        {A: [100, 103, 98, 101], B: [101, 100, 99, 102], C: [60, 61, 62, 60]}, {A: 500, B: 200, C: 10}
    )
    found = ties(effects_of(made), tallies(made), set())
    assert {tie.setting for tie in found} == {A, B}
    assert recommended(found).setting == B


def test_what_looks_far_slower_is_not_recommended_however_little_is_known() -> None:
    made = settled({A: [100, 150, 80], B: [85, 100, 90]}, {A: 500, B: 200})
    found = ties(effects_of(made), tallies(made), set())
    assert {tie.setting for tie in found} == {A, B}  # the noise is that large
    assert recommended(found).setting == A


def test_a_setting_measured_once_is_not_recommended_for_a_lucky_moment() -> None:
    made = [*settled({A: [100, 103, 98], B: [99, 100, 101]}, {A: 500, B: 600}), measured(C, 104, 0, 10)]
    assert recommended(ties(effects_of(made), tallies(made), set())).setting == A
    # But where it is faster beyond noise, it would be foolish to pass it over.
    made = [*made[:-1], measured(C, 160, 0, 10)]
    assert recommended(ties(effects_of(made), tallies(made), set())).setting == C


def test_the_limit_of_a_load_leaves_room_for_noise_and_start_up() -> None:
    assert time_limit(10, 1, None).seconds == 25
    assert time_limit(10, 1, 0.01).seconds == 25
    assert time_limit(10, 1, 0.3).load_seconds == pytest.approx(10 * math.exp(1.8))
    assert time_limit(10, 4, None).overhead_seconds == 8
