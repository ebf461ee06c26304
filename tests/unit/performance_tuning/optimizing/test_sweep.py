"""Whole sweeps on a machine that is not there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from performance_tuning.measuring.errors import MeasuringError
from performance_tuning.optimizing.effects import estimate
from performance_tuning.optimizing.findings import findings
from performance_tuning.optimizing.measurements import Ending, History, Outcome
from performance_tuning.optimizing.search import Plan, Search, Stage
from performance_tuning.optimizing.space import SERIAL, Setting, Space, make_space
from performance_tuning.optimizing.standing import standing_of
from performance_tuning.optimizing.sweep import LoadsFailError, limit_of
from tests.unit.performance_tuning.optimizing.synthetic import (
    DOCUMENTS,
    Kept,
    Machine,
    Surface,
    full_space,
    swept,
)

BUDGET = Plan(budget_seconds=600)


def small_space() -> Space:
    asked = {"workers": ["2", "4"], "batch_size": ["100", "1000"], "executor": ["thread", "process"]}
    asked |= {"queue_size": ["1000", "2000"], "insert_threads": ["1"]}
    return make_space(asked, documents=DOCUMENTS, max_insert_threads=None, insert_paths=())


def settings_of(history: History) -> list[Setting]:
    return [made.setting for made in history.measurements]


def test_the_adaptive_search_comes_within_5_percent_of_the_optimum_with_a_tenth_of_the_grids_loads() -> None:
    space = full_space()
    grid = 3 * len(space.settings())
    losses = []
    for seed in range(8):
        surface = Surface(seed)
        kept, standing = swept(Machine(surface, noise=0.03, seed=seed), space, replace(BUDGET, seed=seed))
        assert len(kept.history.measurements) < grid / 10
        assert standing.leader is not None
        losses.append(surface.loss(standing.leader, space))
    assert sum(loss <= 0.05 for loss in losses) >= 7, losses
    assert max(losses) < 0.1, losses


def test_what_is_recommended_is_close_to_the_fastest_and_takes_no_more_memory() -> None:
    space = full_space()
    for seed in (1, 2):
        surface = Surface(seed)
        kept, standing = swept(Machine(surface, noise=0.03), space, BUDGET)
        found = findings(kept.history, space, BUDGET)
        assert found is not None
        assert found.sure
        assert surface.loss(found.recommended.setting, space) < 0.1
        [fastest] = [tie for tie in found.ties if tie.setting == found.fastest]
        assert (found.recommended.memory_bytes or 0) <= (fastest.memory_bytes or 0)
        assert found.recommended.setting == standing.recommended


def test_the_leader_takes_part_in_every_round_and_orders_are_mixed() -> None:
    kept, _ = swept(Machine(Surface(1)), full_space(), BUDGET)
    rounds = kept.history.rounds
    assert all(one.leader in one.settings for one in rounds)
    places = Counter(one.settings.index(one.leader) for one in rounds)
    assert len(places) >= 3, places
    assert {Stage.EXPLORE, Stage.RACE, Stage.COSTS} <= {Stage(one.stage) for one in rounds}


def test_close_contenders_are_measured_more_often_than_the_rest() -> None:
    space = full_space()
    surface = Surface(0)
    kept, standing = swept(Machine(surface, noise=0.03), space, BUDGET)
    counts = Counter(settings_of(kept.history))
    by_loss = sorted(counts, key=lambda setting: surface.loss(setting, space))
    close, far = by_loss[:5], by_loss[-15:]
    assert sum(counts[s] for s in close) / 5 > 2 * sum(counts[s] for s in far) / 15
    assert standing.recommended is not None
    # What each choice costs was measured for most of them, too.
    deviations = space.deviations(standing.recommended)
    assert sum(deviation.setting in counts for deviation in deviations) >= 0.7 * len(deviations)


def test_the_grid_measures_everything_and_the_close_ones_again() -> None:
    space = small_space()
    surface = Surface(3)
    plan = Plan(Search.GRID, None, repeat=2, most_repeats=5)
    kept, standing = swept(Machine(surface, noise=0.02), space, plan)
    counts = Counter(settings_of(kept.history))
    assert set(counts) == set(space.settings())
    assert standing.leader is not None
    assert surface.loss(standing.leader, space) < 0.05
    assert min(counts[setting] for setting in counts if not standing.is_out(setting)) >= 2
    assert max(counts.values()) >= 5
    found = findings(kept.history, space, plan)
    assert found is not None
    assert found.complete


def test_the_costs_are_those_of_the_surface() -> None:
    space = small_space()
    surface = Surface(3)
    surface.slopes = [0.08, 0.02, 0.0, 0.03]  # so close that few are given up
    plan = Plan(Search.GRID, None, repeat=8, most_repeats=8)
    kept, _ = swept(Machine(surface, noise=0.02, drift=0.4, period=60.0), space, plan)
    found = findings(kept.history, space, plan)
    assert found is not None
    chosen = found.recommended.setting
    for cost in found.costs:
        truth = (1 - surface.loss(cost.setting, space)) / (1 - surface.loss(chosen, space)) - 1
        assert cost.difference is not None
        assert cost.difference.share == pytest.approx(truth, abs=0.05)
        low, high = cost.difference.interval(0.999) or (0.0, 0.0)
        assert low <= truth <= high
    assert found.drift is not None
    assert found.drift[1] - found.drift[0] > 0.1  # told, though it did no harm


def test_importance_is_that_of_the_surface_not_of_the_search() -> None:
    kept, _ = swept(Machine(Surface(0), noise=0.03), full_space(), BUDGET)
    found = findings(kept.history, full_space(), BUDGET)
    assert found is not None
    assert next(iter(found.importance)) == "batch_size"
    assert sum(found.importance.values()) == pytest.approx(1)
    assert found.importance["queue_size"] < 0.1


def test_the_map_shows_what_was_measured_and_where_the_recommended_setting_is() -> None:
    space = small_space()
    kept, _ = swept(Machine(Surface(3)), space, Plan(Search.GRID, None, repeat=2))
    found = findings(kept.history, space, Plan(Search.GRID))
    assert found is not None
    assert found.map.rows == ("2", "4")
    assert found.map.columns == (100, 1000)
    row, column = found.map.recommended
    chosen = found.recommended.setting
    assert (found.map.rows[row], found.map.columns[column]) == (str(chosen.workers), chosen.batch_size)
    assert all(cell is not None for cells in found.map.cells for cell in cells)


# --------------------------------------------------------------------------------------- early stop


def test_hopeless_loads_are_ended_before_their_time_and_not_tried_again() -> None:
    surface = Surface(0)
    surface.slopes = [0.9, 0.02, 0.2, 0.8]  # some settings take twenty times as long as others
    space = full_space()
    kept, standing = swept(Machine(surface, noise=0.03), space, BUDGET)
    cut = [made for made in kept.history.measurements if made.outcome.ending is Ending.CUT_OFF]
    assert cut
    assert all(made.limit_seconds is not None for made in cut)
    counts = Counter(settings_of(kept.history))
    lost = [made for made in cut if standing.tally[made.setting].measured == 0]
    assert lost
    assert all(counts[made.setting] == 1 for made in lost)
    assert standing.leader is not None
    for made in lost:
        truth = surface.loss(made.setting, space)
        known = standing.tally[made.setting].rate
        assert known is not None
        assert truth > 0.3
        # The most that it can be, were the machine as fast as it ever is.
        assert known > 3000 * (1 - truth) * 0.8


def test_a_machine_that_becomes_slower_does_not_make_everything_hopeless() -> None:
    space = small_space()
    surface = Surface(3)

    class Slower(Machine):
        def __call__(self, setting: Setting, limit_seconds: float | None) -> Outcome:
            outcome = super().__call__(setting, None)
            if len(self.measured) > 12:  # four times as slow from here on
                seconds = outcome.load_seconds * 4
                if limit_seconds is not None and seconds + 1 > limit_seconds:
                    return Outcome(Ending.CUT_OFF, limit_seconds)
                return replace(outcome, seconds=seconds + 1, load_seconds=seconds, rate=outcome.rate / 4)
            return outcome

    plan = Plan(Search.GRID, None, repeat=3)
    kept, standing = swept(Slower(surface, noise=0.02), space, plan)
    assert standing.leader is not None
    assert surface.loss(standing.leader, space) < 0.05
    late = kept.history.measurements[-8:]
    assert any(made.outcome.ending is Ending.MEASURED for made in late)


def test_no_limit_without_anything_to_judge_by() -> None:
    space = small_space()
    setting = space.settings()[0]
    assert limit_of(setting, setting, History(), standing_of(History(), space, 8)) is None


# ------------------------------------------------------------------------------------------ failures


def test_settings_that_fail_are_left_out_and_named() -> None:
    space = full_space()
    machine = Machine(Surface(1), failing=[SERIAL])
    kept, standing = swept(machine, space, Plan(budget_seconds=300))
    found = findings(kept.history, space, BUDGET)
    assert found is not None
    assert found.failures
    assert all(setting.executor == SERIAL for setting in found.failures)
    assert all(
        count == 1 for setting, count in Counter(machine.measured).items() if setting.executor == SERIAL
    )
    assert found.recommended.setting.executor != SERIAL
    assert standing.lost >= set(found.failures)


def test_where_everything_fails_the_sweep_ends_and_says_why() -> None:
    machine = Machine(Surface(1), failing=["thread", "process", SERIAL])
    with pytest.raises(LoadsFailError, match="out of order") as failed:
        swept(machine, full_space(), BUDGET)
    assert len(machine.measured) <= 3
    assert isinstance(failed.value, MeasuringError)


# --------------------------------------------------------------------------------------- resuming


def interrupted(machine: Machine, space: Space, plan: Plan, after: int) -> Kept:
    """Interrupt a sweep after so many loads; the machine then goes on as if nothing had been."""
    kept = Kept()
    machine.stop_after = after
    with pytest.raises(KeyboardInterrupt):
        swept(machine, space, plan, kept)
    machine.stop_after = None
    assert len(kept.history.measurements) == after
    return Kept(kept.history, session=2)


@pytest.mark.parametrize("rounds", [1, 2, 3])
def test_a_study_that_was_interrupted_goes_on_as_it_would_have_gone(rounds: int) -> None:
    space, plan = full_space(), Plan(budget_seconds=250)
    whole, expected = swept(Machine(Surface(2)), space, plan)
    after = sum(len(one.settings) for one in whole.history.rounds[:rounds])
    machine = Machine(Surface(2))
    kept, standing = swept(machine, space, plan, interrupted(machine, space, plan, after))
    assert kept.history.rounds == whole.history.rounds
    assert [(made.setting, made.outcome) for made in kept.history.measurements] == [
        (made.setting, made.outcome) for made in whole.history.measurements
    ]
    assert standing.ties == expected.ties
    assert {made.session for made in kept.history.measurements} == {1, 2}


@pytest.mark.parametrize("after", [1, 6, 7, 10, 26])
def test_a_round_that_was_interrupted_is_finished_and_tied_to_its_beginning(after: int) -> None:
    space, plan = full_space(), Plan(budget_seconds=250)
    machine = Machine(Surface(2), noise=0.0, drift=0.0)
    kept = interrupted(machine, space, plan, after)
    begun = kept.history.rounds[-1]
    had_leader = begun.leader in [
        made.setting for made in kept.history.measurements if made.round == begun.number
    ]
    left = kept.history.remaining()
    kept, standing = swept(machine, space, plan, kept)
    later = [made.setting for made in kept.history.measurements if made.block == (begun.number, 2)]
    if not left:
        assert later == []
    elif had_leader:
        assert later == [begun.leader, *left]  # nothing but the leader is measured twice
    else:
        assert later == list(begun.settings)  # there was nothing to hold the first ones against
    assert standing.effects is not None
    measured = {made.setting for made in kept.history.measurements if made.outcome.ending is Ending.MEASURED}
    assert set(standing.effects.settings()) == measured
    whole, expected = swept(Machine(Surface(2), noise=0.0, drift=0.0), space, plan)
    assert whole.history.rounds[: begun.number] == kept.history.rounds[: begun.number]
    assert expected.leader is not None
    assert standing.leader is not None
    losses = [Surface(2).loss(found, space) for found in (standing.leader, expected.leader)]
    assert losses[0] == pytest.approx(losses[1], abs=0.05)


def test_sessions_are_compared_by_the_leader_that_both_measured() -> None:
    space = small_space()
    surface = Surface(3)
    plan = Plan(Search.GRID, None, repeat=2)
    kept = Kept()
    with pytest.raises(KeyboardInterrupt):
        swept(Machine(surface, noise=0.0, drift=0.0, stop_after=3), space, plan, kept)
    # Another day the machine is twice as fast.
    surface_today = Surface(3)
    base = surface_today.log_rate
    surface_today.log_rate = lambda setting: base(setting) + 0.7  # type: ignore[method-assign]
    kept, standing = swept(
        Machine(surface_today, noise=0.0, drift=0.0), space, plan, Kept(kept.history, session=2)
    )
    blocks = {made.block for made in kept.history.measurements if made.round == 1}
    assert blocks == {(1, 1), (1, 2)}
    effects = estimate(kept.history.measurements)
    assert effects is not None
    assert set(effects.settings()) == set(space.settings())
    assert standing.leader == surface.best(space)


def test_a_longer_budget_goes_on_where_the_shorter_ended() -> None:
    space = full_space()
    kept, _ = swept(Machine(Surface(1)), space, Plan(budget_seconds=100))
    made = len(kept.history.measurements)
    again, _ = swept(Machine(Surface(1)), space, Plan(budget_seconds=100), Kept(kept.history, 2))
    assert len(again.history.measurements) == made  # the budget is that of all sessions together
    longer, _ = swept(Machine(Surface(1)), space, Plan(budget_seconds=300), Kept(kept.history, 3))
    assert len(longer.history.measurements) > 2 * made


def test_equal_seeds_propose_equal_settings_and_others_do_not() -> None:
    space = full_space()
    one, two, other = (
        [one.settings for one in swept(Machine(Surface(1)), space, Plan(budget_seconds=100, seed=seed))[0]
         .history.rounds]
        for seed in (1, 1, 2)
    )  # fmt: skip
    assert one == two != other
