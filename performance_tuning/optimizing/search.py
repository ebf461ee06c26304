"""What is measured next: the grid, pass by pass, or the adaptive search, stage by stage.

Both work in rounds of a few settings in random order, the leader always among them, so that whatever the
machine does meanwhile happens to all of a round (see :mod:`.effects`).  The next round follows from what the
study holds and from nothing else; so an interrupted study goes on as it would have gone.

The adaptive search:

``explore``  new settings, each once: what Optuna's sampler proposes, and neighbours of the leader
``race``     those that may be the best, again and again, the doubtful ones first, until they are given up or
             were measured often enough
``costs``    what differs from the recommended setting in one value, so that the cost of each choice is known;
             what turns out better joins the race
``map``      what the heat map lacks

The grid measures every setting once, then those that are left again, and ends with the same race.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from performance_tuning.optimizing.measurements import History, Round
from performance_tuning.optimizing.proposals import propose
from performance_tuning.optimizing.space import SERIAL, Setting, Space
from performance_tuning.optimizing.standing import Standing, standing_of
from xml_extractor.settings import LoadOptions


class Search(StrEnum):
    """What ``--search`` offers."""

    ADAPTIVE = "adaptive"
    GRID = "grid"


class Stage(StrEnum):
    """What a round is for."""

    EXPLORE = "explore"
    GRID = "grid"
    RACE = "race"
    COSTS = "costs"
    MAP = "map"


ROUND: Final = 7
"""Settings of a round beside the leader: enough that the leader's own measurement is a small part of the
cost, few enough that a machine does not drift much meanwhile."""

NEW_IN_ROUND: Final = 6
AROUND_LEADER: Final = 2
"""Of these, neighbours of the leader: the sampler knows nothing of how near it is already."""

PATIENCE: Final = 4
"""Rounds of exploring without a better leader after which it ends, whatever budget there is."""

BETTER: Final = 0.02
"""A leader is better from here on, as a logarithm: below it is noise that wins."""

RACERS: Final = 8
"""Contenders of the last race: those that may be the best are never more than a handful, and each is measured
several times."""

LAST_RACERS: Final = 4
"""Contenders of a race at the very end of a budget: a short round is one that can still be finished."""

COST_REPEATS: Final = 3
"""Measurements of each deviation from the recommended setting."""

EXPLORE_SHARE: Final = 0.45
RACE_SHARE: Final = 0.65
COSTS_SHARE: Final = 0.9
"""Of the time budget, when the stage ends at the latest."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How a study is to be gone about."""

    search: Search = Search.ADAPTIVE
    budget_seconds: float | None = None
    """What all measurements may take; ``None`` = unbounded."""
    repeat: int = 3
    """How often the grid measures each setting that is not given up."""
    most_repeats: int = 8
    """How often a contender is measured at most."""
    seed: int = 1


def next_round(history: History, space: Space, plan: Plan) -> Round | None:
    """Return what is to be measured next; ``None`` = the study is complete, or its budget spent."""
    if _spent(history, plan) >= 1:
        return None
    number = len(history.rounds) + 1
    standing = standing_of(history, space, plan.most_repeats)
    leader = standing.leader or _start(space, standing)
    if leader is None:
        return None
    seed = f"{plan.seed}/{number}"
    for stage in _stages(history, standing, plan):
        settings = _settings(stage, history, space, standing, plan, leader, seed)
        if settings:
            base = (standing.recommended or leader) if stage in (Stage.COSTS, Stage.MAP) else leader
            order = [base, *(setting for setting in settings if setting != base)]
            random.Random(seed).shuffle(order)
            return Round(number, stage.value, tuple(order), base)
    return None


def _spent(history: History, plan: Plan) -> float:
    """Return the share of the budget that is spent."""
    return 0.0 if plan.budget_seconds is None else history.spent_seconds / plan.budget_seconds


def starting_point(space: Space) -> Setting:
    """Return the setting that is closest to the loader's own defaults."""
    return space.nearest(LoadOptions().model_dump())


def _start(space: Space, standing: Standing) -> Setting | None:
    """Return where to begin: the loader's own defaults, or what is not out of the race yet."""
    defaults = starting_point(space)
    others = (setting for setting in space.settings() if not standing.is_out(setting))
    return next(others, None) if standing.is_out(defaults) else defaults


def _stages(history: History, standing: Standing, plan: Plan) -> list[Stage]:
    """Return the stages that may come next, the first one that has something to measure does."""
    if plan.search is Search.GRID:
        return [Stage.GRID, Stage.RACE]
    spent = _spent(history, plan)
    stages = []
    exploring = all(done.stage == Stage.EXPLORE for done in history.rounds)
    if exploring and spent < EXPLORE_SHARE and not _out_of_patience(history, standing):
        stages.append(Stage.EXPLORE)
    if spent < RACE_SHARE:
        stages.append(Stage.RACE)
    # The end of the budget makes the best more certain, and then fills the map; but where another setting has
    # come to be recommended late, each choice is to have a cost at least.
    # One that looks faster than all that can be recommended comes before everything else.
    first = [Stage.RACE] if not stages and not standing.is_sure else stages
    return [*first, Stage.COSTS, Stage.RACE, Stage.MAP]


def _out_of_patience(history: History, standing: Standing) -> bool:
    """Whether the last rounds have brought nothing better than what they began with."""
    if len(history.rounds) < PATIENCE or standing.leader is None:
        return False
    before = standing.to_leader(history.rounds[-PATIENCE].leader)
    return before is not None and before.log_ratio > -BETTER


def _settings(
    stage: Stage, history: History, space: Space, standing: Standing, plan: Plan, leader: Setting, seed: str
) -> Sequence[Setting]:  # fmt: skip
    """Return what a stage wants to have measured next; nothing = it is complete."""
    if stage is Stage.EXPLORE:
        return propose(space, standing, NEW_IN_ROUND, AROUND_LEADER if history.rounds else 0, seed)
    if stage is Stage.GRID:
        return _grid(space, standing, plan, seed)
    if stage is Stage.RACE:
        return _race(standing, plan, leader, RACERS if _spent(history, plan) < COSTS_SHARE else LAST_RACERS)
    if stage is Stage.COSTS:
        return _costs(space, standing, COST_REPEATS if _spent(history, plan) < COSTS_SHARE else 1)
    return _map(space, standing)


def _grid(space: Space, standing: Standing, plan: Plan, seed: str) -> list[Setting]:
    wanted = [setting for setting in space.settings() if not standing.is_out(setting)]
    wanted = [setting for setting in wanted if standing.attempts(setting) < plan.repeat]
    random.Random(seed).shuffle(wanted)
    return sorted(wanted, key=standing.attempts)[:ROUND]


def _race(standing: Standing, plan: Plan, leader: Setting, most: int) -> list[Setting]:
    """Return the contenders that may be the best and were not measured often enough to know."""
    if standing.effects is None:
        return []
    alive = [setting for setting in standing.effects.settings() if not standing.is_out(setting)]
    racers = sorted(alive, key=lambda setting: (-standing.upper(setting), setting))[:most]
    return [
        setting for setting in racers if setting != leader and standing.attempts(setting) < plan.most_repeats
    ]


def _costs(space: Space, standing: Standing, repeats: int) -> list[Setting]:
    base = standing.recommended
    if base is None:
        return []
    wanted = _distinct(deviation.setting for deviation in space.deviations(base))
    wanted = [setting for setting in wanted if setting not in standing.lost]
    wanted = [setting for setting in wanted if standing.attempts(setting) < repeats]
    return sorted(wanted, key=standing.attempts)[:ROUND]


def _map(space: Space, standing: Standing) -> list[Setting]:
    """Return settings of cells of the map, workers by batch size, in which nothing was measured."""
    base = standing.recommended
    if base is None or base.executor == SERIAL:
        return []
    known = {
        (setting.workers, setting.batch_size) for setting in standing.tally if setting.executor != SERIAL
    }
    cells = (
        space.with_room(replace(base, workers=workers, batch_size=batch_size))
        for workers in space.ranges["workers"]
        for batch_size in space.ranges["batch_size"]
        if (workers, batch_size) not in known
    )
    return _distinct(setting for setting in cells if setting is not None and setting not in standing.tally)[
        :ROUND
    ]


def _distinct(settings: Iterable[Setting]) -> list[Setting]:
    return list(dict.fromkeys(settings))
