"""What is given up while measuring, and what in the end is as good as the best.

The rule of giving up: a setting leaves the race when it is slower than the leader by more than noise
explains.  It is looked at again and again, and against many others; so that all of these looks together throw
the truly best setting away with a probability below :data:`RACE_ERROR`, each gets its share of it
(Bonferroni): divided by the settings of the sweep and by the looks that a race can have.  Racing goes back to
Maron and Moore (Hoeffding races); that contenders are measured in common blocks, to F-Race (Birattari and
others, 2002).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Final

from performance_tuning.optimizing.effects import Difference, Effects
from performance_tuning.optimizing.measurements import Tally
from performance_tuning.optimizing.space import Setting

RACE_ERROR: Final = 0.05
"""Probability that a race throws the best setting away."""

TIE_ALPHA: Final = 0.05
"""A setting is as good as the best unless chance would make it look so much slower less often than this."""

TIE_MARGIN: Final = 0.03
"""What looks slower than this is not recommended, however little is known about it."""

LEAST_TO_RECOMMEND: Final = 3
"""Measurements below which a setting is not recommended, unless none has so many."""

CUT_OFF_AT: Final = 2.0
"""A load that takes so many times as long as the leader's is not waited for."""

CUT_OFF_NOISES: Final = 6.0
"""Nor is one that is beyond so many standard deviations of the noise, where that is more: the noise of a
measurement is near normal, but a disturbed machine's is not."""

LEADER_CUT_OFF: Final = 5.0
"""The leader's own limit, in those of the others: it shows whether the machine has become slower."""

START_UP_SECONDS: Final = 5.0
"""Least allowance for what is not load: interpreter, drivers, worker processes, connections."""


def hopeless(
    effects: Effects, contenders: Collection[Setting], leader: Setting, *, settings: int, looks: int
) -> set[Setting]:
    """Return the contenders that are slower than the leader beyond doubt.

    Args:
        settings: how many the sweep has in all.
        looks: how often a race may ask, at most.
    """
    alpha = RACE_ERROR / (max(1, settings - 1) * max(1, looks))
    found = set()
    for setting in contenders:
        if setting == leader or setting not in effects:
            continue
        p_slower = effects.difference(setting, leader).p_slower()
        if p_slower is not None and p_slower < alpha:
            found.add(setting)
    return found


@dataclass(frozen=True, slots=True)
class Limit:
    """How long a measured load may take before it is hopeless, and is ended."""

    load_seconds: float
    overhead_seconds: float
    """Allowed for what is not load."""

    @property
    def seconds(self) -> float:
        """From start to end."""
        return self.load_seconds + self.overhead_seconds


def time_limit(leader_seconds: float, overhead_seconds: float, noise: float | None) -> Limit:
    """Return the limit of a load.

    Args:
        leader_seconds: what the leader's load took, as of late.
        overhead_seconds: the most that anything beside a load took so far.
        noise: standard deviation of a measurement's logarithm, where known.
    """
    factor = CUT_OFF_AT if noise is None else max(CUT_OFF_AT, math.exp(CUT_OFF_NOISES * noise))
    return Limit(factor * leader_seconds, max(START_UP_SECONDS, 2 * overhead_seconds))


@dataclass(frozen=True, slots=True)
class Tie:
    """A setting that cannot be told from the fastest."""

    setting: Setting
    difference: Difference  # to the fastest
    measured: int
    memory_bytes: float | None


def ties(effects: Effects, tally: Mapping[Setting, Tally], lost: Collection[Setting]) -> list[Tie]:
    """Return the fastest setting and those that are not distinguishable from it, the fastest first.

    Of a setting measured too seldom nothing much can be said: it is among them only where all are so, or
    where it is faster than the others beyond noise all the same.
    """
    alive = [setting for setting in effects.settings() if setting not in lost]
    often = [setting for setting in alive if tally[setting].measured >= LEAST_TO_RECOMMEND]
    candidates = often or alive
    if not candidates:
        return []
    if often and alive[0] != often[0]:
        p_slower = effects.difference(often[0], alive[0]).p_slower()
        if p_slower is not None and p_slower < TIE_ALPHA:
            candidates = [alive[0], *often]
    best = candidates[0]
    found = []
    for setting in candidates:
        difference = effects.difference(setting, best)
        p_slower = difference.p_slower()
        if setting == best or (p_slower is not None and p_slower >= TIE_ALPHA):
            known = tally[setting]
            found.append(Tie(setting, difference, known.measured, known.memory_bytes))
    return found


def recommended(found: list[Tie]) -> Tie:
    """Return the one of these that takes the least memory; of equals the faster.

    Args:
        found: as :func:`ties` returns them; at least one.
    """
    close = [tie for tie in found if tie.difference.share >= -TIE_MARGIN]
    return min(close, key=lambda tie: math.inf if tie.memory_bytes is None else tie.memory_bytes)
