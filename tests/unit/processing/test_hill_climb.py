"""The climber against response curves, in simulated time: where it ends up, from wherever it begins."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from math import sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.simulated_load import Curve, SimulatedLoad
from xml_extractor.processing.hill_climb import Bounds, HillClimber, Setting, rounded
from xml_extractor.processing.tuning_windows import BatchTimes

BOUNDS = Bounds(batch_size=50_000, insert_threads=16)
TINY, HUGE, USUAL = Setting(10, 1), Setting(20_000, 8), Setting(1000, 1)
UNLIMITED = 1e6  # documents a second: the target is the limit


def local(documents: int, threads: int, now: float) -> float:
    """A database beside the loader: commits cost little, and threads stand in each other's way."""
    return 0.004 + documents * 0.00025 * max(1.0, 0.95 * threads)


def distant(documents: int, threads: int, now: float) -> float:
    """One behind a slow line: a batch costs 100 ms whatever it holds, and threads hardly meet."""
    return 0.1 + documents * 0.0004 * (1 + 0.02 * threads)


def peaked(documents: int, threads: int, now: float) -> float:
    """One that large batches and many threads make slower."""
    return 0.01 + documents * 0.0002 * (1 + (documents / 8000) ** 2) * (1 + 0.15 * (threads - 1) ** 1.5)


def flat(documents: int, threads: int, now: float) -> float:
    """One that takes 4,000 documents a second however they come."""
    return documents / 4000 * threads


CURVES = {curve.__name__: curve for curve in (local, distant, peaked, flat)}
SIZES = [round(1.5**power) for power in range(25)]
SWEEP = [Setting(size, threads) for size in SIZES for threads in (*range(1, 9), 10, 12, 14, 16)]


def share_of_optimum(load: SimulatedLoad, setting: Setting, now: float = 0.0) -> float:
    return load.expected_rate(setting, now) / max(load.expected_rate(each, now) for each in SWEEP)


def climb(load: SimulatedLoad, start: Setting, seconds: float, bounds: Bounds = BOUNDS) -> HillClimber:
    climber = HillClimber(start, bounds)
    load.run(climber, seconds)
    return climber


def warm_up(load: SimulatedLoad, start: Setting, most_seconds: int) -> HillClimber:
    """Climb until the first rest, or for so long at most."""
    climber = HillClimber(start, BOUNDS)
    for second in range(5, most_seconds + 1, 5):
        load.run(climber, second)
        if climber.resting:
            break
    return climber


@pytest.mark.parametrize("noise", [0.0, 0.05])
@pytest.mark.parametrize("start", [TINY, HUGE, USUAL], ids=str)
@pytest.mark.parametrize("curve", CURVES)
def test_it_comes_within_a_tenth_of_the_optimum(curve: str, start: Setting, noise: float) -> None:
    load = SimulatedLoad(CURVES[curve], UNLIMITED, noise)
    climber = warm_up(load, start, 400)
    assert share_of_optimum(load, climber.held) >= 0.9, load.said


@settings(max_examples=12, deadline=None, derandomize=True)
@given(
    start=st.sampled_from([TINY, HUGE, USUAL]),
    commit=st.floats(0.002, 0.3),
    document=st.floats(0.00005, 0.001),
    crowding=st.floats(0.0, 0.3),
    worst_size=st.floats(30_000, 1e6),
    workers=st.floats(500, 50_000),
    noise=st.floats(0.0, 0.03),
    seed=st.integers(0, 1000),
)
def test_it_does_so_on_any_curve(
    start: Setting,
    commit: float,
    document: float,
    crowding: float,
    worst_size: float,
    workers: float,
    noise: float,
    seed: int,
) -> None:
    """``crowding``: by what share of itself each further thread slows all of them down."""

    def curve(documents: int, threads: int, now: float) -> float:
        slower = (1 + crowding * (threads - 1)) * (1 + (documents / worst_size) ** 2)
        return commit + documents * document * slower

    load = SimulatedLoad(curve, workers, noise, seed)
    climber = warm_up(load, start, 900)
    assert share_of_optimum(load, climber.held) >= 0.9, load.said


def test_most_of_the_way_up_takes_seconds() -> None:
    load = SimulatedLoad(local, UNLIMITED, 0.02)
    assert share_of_optimum(load, climb(load, TINY, 6).held) >= 0.8


def test_of_equal_settings_the_least_is_kept() -> None:
    load = SimulatedLoad(flat, UNLIMITED, 0.01)
    climber = climb(load, Setting(8000, 4), 400)
    assert climber.held.insert_threads == 1
    assert climber.held.batch_size <= 2000


# ------------------------------------------------------------------------------- workers are the limit


@pytest.mark.parametrize("start", [TINY, USUAL], ids=str)
def test_where_workers_are_the_limit_nothing_grows(start: Setting) -> None:
    load = SimulatedLoad(local, worker_rate=300, noise=0.05)
    climber = HillClimber(start, BOUNDS)
    tried: set[Setting] = set()
    for second in range(1, 400):
        load.run(climber, second)
        tried.add(climber.setting)
    assert climber.held == start
    assert all(setting.insert_threads == 1 and setting.batch_size <= start.batch_size for setting in tried)
    assert len(load.said) <= 20, load.said
    assert "workers or source are the limit" in climber.waiting


def test_where_workers_are_the_limit_memory_and_connections_are_given_back() -> None:
    load = SimulatedLoad(local, worker_rate=1500, noise=0.05)
    climber = climb(load, HUGE, 600)
    assert climber.held.insert_threads <= 4
    assert climber.held.batch_size <= 4000
    assert share_of_optimum(load, climber.held) >= 0.95


def test_what_has_gathered_in_the_queue_is_not_taken_for_speed() -> None:
    """The target alone could do 1,970 a second, the workers 1,500: a drained queue must not look faster."""
    load = SimulatedLoad(distant, worker_rate=1500)
    climb(load, USUAL, 300)
    assert not [line for _, line in load.said if "anew" in line]


# ---------------------------------------------------------------------------------------- changes


def test_a_target_that_changes_is_followed() -> None:
    """Once while the climber is at it, and once while it rests."""
    for change in (20.0, 250.0):

        def curve(documents: int, threads: int, now: float, change: float = change) -> float:
            return (local if now < change else distant)(documents, threads, now)

        load = SimulatedLoad(curve, UNLIMITED, 0.03)
        climber = HillClimber(USUAL, BOUNDS)
        load.run(climber, change)
        assert climber.resting is (change > 100)
        assert share_of_optimum(load, climber.held, change - 1) >= 0.9
        assert share_of_optimum(load, climber.held, change) < 0.5
        load.run(climber, change + 500)
        assert share_of_optimum(load, climber.held, change) >= 0.9, load.said


def test_it_rests_and_looks_again_ever_more_seldom() -> None:
    load = SimulatedLoad(local, UNLIMITED, 0.02)
    climb(load, Setting(2000, 1), 3000)
    again = [moment for moment, line in load.said if line == "looks again"]
    waits = [later - earlier for earlier, later in pairwise(again)]
    assert 2 <= len(again) <= 12
    assert waits[-1] > 1.5 * waits[0]


# ------------------------------------------------------------------------------- threads at a price


def test_retries_that_come_with_threads_count_against_them() -> None:
    """Two threads are a little faster, but every fifth batch is then the victim of a deadlock."""

    def curve(documents: int, threads: int, now: float) -> float:
        return documents * 0.0003 * (1.0 if threads == 1 else 1.45)

    def chance(threads: int) -> float:
        return 0.0 if threads == 1 else 0.2

    def held(retries: Callable[[int], float]) -> Setting:
        load = SimulatedLoad(curve, UNLIMITED, retries=retries)
        return climb(load, Setting(100, 1), 100, Bounds(batch_size=100, insert_threads=2)).held

    assert held(lambda threads: 0.0).insert_threads > 1
    assert held(chance).insert_threads == 1


def test_what_the_server_refuses_is_not_asked_for_again_in_this_round() -> None:
    load = SimulatedLoad(distant, UNLIMITED, most_threads=3)
    climber = climb(load, TINY, 300)
    assert climber.held.insert_threads == 3
    said = "\n".join(line for _, line in load.said)
    assert "no more than 3 insert threads: the server is full" in said
    rounds = 1 + said.count("looks again\n") + said.count("anew")
    assert said.count("no more than 3") <= rounds


def test_a_start_that_the_server_refuses_is_cut_down() -> None:
    climber = HillClimber(HUGE, BOUNDS)
    climber.refuse_threads(5, "too many connections")
    assert climber.setting == climber.held == Setting(20_000, 5)


def test_the_bounds_are_kept() -> None:
    load = SimulatedLoad(distant, UNLIMITED)
    climber = HillClimber(USUAL, Bounds(batch_size=3000, insert_threads=2))
    for second in range(1, 200):
        load.run(climber, second)
        assert climber.setting.batch_size <= 3000
        assert climber.setting.insert_threads <= 2
    assert climber.held == Setting(3000, 2)


# ------------------------------------------------------------------------------------ small things


def test_batches_of_an_earlier_setting_are_ignored() -> None:
    climber = HillClimber(USUAL, BOUNDS)
    climber.in_force(100.0)
    for moment in range(1, 50):
        climber.add(BatchTimes(1000, 0.1, 0.9, 100.5 + moment / 100))
    assert climber.rate == 0.0


def test_nothing_counts_until_what_is_wanted_is_in_force() -> None:
    climber = HillClimber(TINY, BOUNDS)
    climber.in_force(0.0)
    moment = 0.0
    while climber.setting == TINY:
        moment += 0.1
        climber.add(BatchTimes(10, 0.0, 0.1, moment))
    wanted = climber.setting
    for _ in range(100):
        moment += 0.1
        assert climber.add(BatchTimes(1000, 0.0, 0.1, moment)) == []
    assert climber.setting == wanted
    assert climber.held == TINY


@pytest.mark.parametrize(
    ("size", "to"),
    [(0.3, 1), (7.4, 7), (99.4, 99), (144, 140), (1414.2, 1400), (25_600, 26_000), (99_999, 100_000)],
)
def test_batch_sizes_are_rounded_as_people_would_set_them(size: float, to: int) -> None:
    assert rounded(size) == to


def test_a_curve_may_end_anywhere() -> None:
    """Where the optimum lies on the edge of what is allowed, the climber stops at the edge."""
    curve: Curve = lambda documents, threads, now: 0.001 + documents * 0.001 * sqrt(threads)  # noqa: E731
    load = SimulatedLoad(curve, UNLIMITED)
    assert climb(load, Setting(100, 1), 300).held.insert_threads == 16
