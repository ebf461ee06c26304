"""The loop of a sweep: measure round after round, keep everything, until the study is complete."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final, Protocol

from performance_tuning.measuring.errors import MeasuringError
from performance_tuning.optimizing.measurements import Ending, History, Measure, Measurement, Outcome, Round
from performance_tuning.optimizing.racing import LEADER_CUT_OFF, Limit, time_limit
from performance_tuning.optimizing.search import Plan, next_round
from performance_tuning.optimizing.space import Setting, Space
from performance_tuning.optimizing.standing import Standing, standing_of
from xml_extractor.errors import ExitCode

FAILURES_IN_A_ROW: Final = 3
"""Loads with different settings that fail one after the other: then it is not the settings' fault."""


class LoadsFailError(MeasuringError):
    """Loads fail whatever their settings; ends with the exit status of the last."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        if status in (ExitCode.SOURCE_FAILED, ExitCode.TARGET_FAILED, ExitCode.HALTED):
            self.exit_code = ExitCode(status)


class Keeper(Protocol):
    """Where a study is kept."""

    history: History
    session: int

    def keep_round(self, one: Round) -> None:
        """Keep what is about to be measured, in the history too."""

    def keep(self, one: Measurement) -> None:
        """Keep what was measured, likewise."""


class Watcher(Protocol):
    """Shows how far a sweep has come."""

    def round_begins(self, one: Round, standing: Standing) -> None:
        """A round is about to be measured, or the rest of one."""

    def measuring(self, setting: Setting, limit_seconds: float | None) -> None:
        """A load is about to run."""

    def measured(self, one: Measurement) -> None:
        """It has ended."""


def run_sweep(
    keeper: Keeper, space: Space, plan: Plan, measure: Measure, watcher: Watcher, *,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Standing:  # fmt: skip
    """Measure until nothing more is wanted or the budget is spent; go on where the study was left.

    Returns:
        How the study stands.

    Raises:
        LoadsFailError: loads fail whatever their settings.
        MeasuringError: whatever ``measure`` finds in the way; what was measured is kept.
    """
    todo = keeper.history.remaining()
    if todo:
        # What is measured now is another block than what the round began with, on a machine that may have
        # become faster or slower; the leader ties the two together.  What it was not measured with yet is
        # tied to nothing, and has to be measured again.
        last = keeper.history.rounds[-1]
        todo = list(last.settings) if last.leader in todo else [last.leader, *todo]
    while True:
        if not todo:
            one = next_round(keeper.history, space, plan)
            if one is None:
                return standing_of(keeper.history, space, plan.most_repeats)
            keeper.keep_round(one)
            todo = list(one.settings)
        standing = standing_of(keeper.history, space, plan.most_repeats)
        watcher.round_begins(keeper.history.rounds[-1], standing)
        for setting in todo:
            if plan.budget_seconds is not None and keeper.history.spent_seconds >= plan.budget_seconds:
                return standing_of(keeper.history, space, plan.most_repeats)
            _measure_one(keeper, space, setting, standing, measure, watcher, now)
        todo = []


def _measure_one(
    keeper: Keeper, space: Space, setting: Setting, standing: Standing, measure: Measure, watcher: Watcher,
    now: Callable[[], datetime],
) -> None:  # fmt: skip
    one = keeper.history.rounds[-1]
    limit = limit_of(setting, one.leader, keeper.history, standing)
    limit_seconds = None if limit is None else limit.seconds
    watcher.measuring(setting, limit_seconds)
    began_at = now().isoformat(timespec="seconds")
    outcome = measure(setting, limit_seconds)
    if outcome.ending is Ending.CUT_OFF and limit is not None:
        outcome = replace(outcome, rate=space.documents / limit.load_seconds)
    made = Measurement(one.number, keeper.session, setting, outcome, limit_seconds, began_at)
    keeper.keep(made)
    watcher.measured(made)
    if outcome.ending is Ending.FAILED:
        _check_failures(keeper.history, one.leader, outcome)


def limit_of(setting: Setting, leader: Setting, history: History, standing: Standing) -> Limit | None:
    """Return how long a load may take before it is hopeless; ``None`` = nothing is known to judge by.

    Judged by the leader: its median, or what it took last if that is longer, because then the machine has
    become slower.
    """
    ended = [made for made in history.measurements if made.outcome.ending is Ending.MEASURED]
    of_leader = [made.outcome.load_seconds for made in ended if made.setting == leader]
    if not of_leader:
        return None
    typical = standing.tally[leader].load_seconds if leader in standing.tally else None
    overhead = max(made.outcome.seconds - made.outcome.load_seconds for made in ended)
    noise = None if standing.effects is None else standing.effects.noise
    limit = time_limit(max(of_leader[-1], typical or 0.0), overhead, noise)
    return replace(limit, load_seconds=LEADER_CUT_OFF * limit.load_seconds) if setting == leader else limit


def _check_failures(history: History, leader: Setting, last: Outcome) -> None:
    """End the sweep where it is not the settings that make loads fail.

    Raises:
        LoadsFailError: with the message of the last one.
    """
    latest = history.measurements[-FAILURES_IN_A_ROW:]
    in_a_row = len(latest) == FAILURES_IN_A_ROW and all(m.outcome.ending is Ending.FAILED for m in latest)
    if in_a_row or latest[-1].setting == leader:
        said = f"{FAILURES_IN_A_ROW} loads in a row failed" if in_a_row else "the leading setting failed"
        raise LoadsFailError(
            f"{said}, so it is hardly the settings' fault; the last one: {last.message}", last.status
        )
