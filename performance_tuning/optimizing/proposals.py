"""What is worth trying next: by Optuna's tree-structured Parzen estimator, and around the leader."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution, IntDistribution
from optuna.trial import create_trial

from performance_tuning.optimizing.space import Setting, Space
from performance_tuning.optimizing.standing import Standing

RANDOM_FIRST: Final = 10
"""Settings that are drawn blindly before the sampler judges by what was measured; Optuna's default."""

_ASKS: Final = 40
"""How often the sampler is asked before blind drawing takes over: what it likes most may all be measured."""

_WORST: Final = -5.0
"""The logarithm by which a setting that failed counts as slower than the leader: a factor of 150."""

optuna.logging.set_verbosity(optuna.logging.WARNING)


def propose(space: Space, standing: Standing, count: int, around: int, seed: str) -> list[Setting]:
    """Return settings that were not measured yet.

    The same standing and seed give the same settings, so an interrupted study goes on as it would have.

    Args:
        count: how many, at most; fewer where no more are left.
        around: of these, how many differ from the leader in one value only.
        seed: any text.
    """
    dice = random.Random(seed)
    fresh = {setting for setting in space.settings() if setting not in standing.tally}
    chosen: list[Setting] = []

    def take(candidates: Iterator[Setting], most: int) -> None:
        for setting in candidates:
            if len(chosen) >= most:
                return
            if setting in fresh:
                fresh.discard(setting)
                chosen.append(setting)

    take(_neighbours(space, standing, dice), min(around, count))
    take(_sampled(space, standing, dice.randrange(2**32)), count)
    left = sorted(fresh)
    dice.shuffle(left)
    take(iter(left), count)
    return chosen


def _neighbours(space: Space, standing: Standing, dice: random.Random) -> Iterator[Setting]:
    if standing.leader is None:
        return
    neighbours = space.deviations(standing.leader)
    dice.shuffle(neighbours)
    # Another executor or way in is another program, and no values between say how it does.
    neighbours.sort(key=lambda deviation: isinstance(deviation.value, int))
    yield from (deviation.setting for deviation in neighbours)


def _sampled(space: Space, standing: Standing, seed: int) -> Iterator[Setting]:
    """Ask the sampler again and again; what it has been asked for it takes to be on its way."""
    distributions = _distributions(space)
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM_FIRST)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    for setting in standing.tally:
        study.add_trial(
            create_trial(
                params=_parameters(space, setting),
                distributions=distributions,
                value=_value(standing, setting),
            )
        )
    for _ in range(_ASKS):
        asked = _setting(space, study.ask(distributions).params)
        if asked is not None:
            yield asked


def _value(standing: Standing, setting: Setting) -> float:
    height = standing.height(setting)
    return _WORST if height is None else height


def _distributions(space: Space) -> dict[str, BaseDistribution]:
    """Numbers by their place in the range, so that the sampler knows that 500 lies between 200 and 1000."""
    found: dict[str, BaseDistribution] = {}
    for name, values in space.ranges.items():
        if isinstance(values[0], int):
            found[name] = IntDistribution(0, len(values) - 1)
        else:
            found[name] = CategoricalDistribution(values)
    return found


def _parameters(space: Space, setting: Setting) -> dict[str, Any]:
    parameters: dict[str, Any] = {}
    for name, values in space.ranges.items():
        value = getattr(setting, name)
        parameters[name] = values.index(value) if isinstance(value, int) else value
    return parameters


def _setting(space: Space, parameters: dict[str, Any]) -> Setting | None:
    chosen = {
        item.name: space.ranges[item.name][parameters[item.name]]
        if isinstance(parameters[item.name], int)
        else parameters[item.name]
        for item in fields(Setting)
    }
    return space.with_room(Setting(**chosen))
