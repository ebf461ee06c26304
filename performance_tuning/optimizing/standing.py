"""How a study stands: who leads, who is out, what all of it says so far."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from performance_tuning.optimizing.effects import Difference, Effects, estimate
from performance_tuning.optimizing.measurements import History, Tally, tallies
from performance_tuning.optimizing.racing import LEAST_TO_RECOMMEND, Tie, hopeless, recommended, ties
from performance_tuning.optimizing.space import Setting, Space


@dataclass(frozen=True, slots=True)
class Standing:
    """What the measurements say at one moment.  Made by :func:`standing_of`."""

    tally: dict[Setting, Tally]
    effects: Effects | None
    leader: Setting | None
    """The one that looks fastest; ``None`` where no load has come to its end."""
    lost: frozenset[Setting] = frozenset()
    """Failed, or cut off."""
    dropped: frozenset[Setting] = frozenset()
    """Slower than the leader beyond doubt."""
    ties: list[Tie] = field(default_factory=list)

    @property
    def recommended(self) -> Setting | None:
        """The one of those as good as the best that takes the least memory."""
        return recommended(self.ties).setting if self.ties else None

    @property
    def is_sure(self) -> bool:
        """Whether the recommended setting was measured often enough, and nothing looks faster than all that
        can be recommended: such a one was measured too seldom to know."""
        return any(tie.setting == self.leader for tie in self.ties) and all(
            tie.measured >= LEAST_TO_RECOMMEND for tie in self.ties if tie.setting == self.recommended
        )

    def is_out(self, setting: Setting) -> bool:
        """Whether a setting is not worth another measurement."""
        return setting in self.lost or setting in self.dropped

    def attempts(self, setting: Setting) -> int:
        """Return how often a setting was tried, however that ended."""
        known = self.tally.get(setting)
        return 0 if known is None else known.measured + known.cut_off + known.failed

    def to_leader(self, setting: Setting) -> Difference | None:
        """Return how much faster a setting is than the leader; ``None`` where that is not known."""
        if self.effects is None or self.leader is None or setting not in self.effects:
            return None
        return self.effects.difference(setting, self.leader)

    def height(self, setting: Setting) -> float | None:
        """Return the logarithm of a setting's rate over the leader's.

        Of one that was always cut off, the most that it can be; ``None`` where nothing is known.
        """
        difference = self.to_leader(setting)
        if difference is not None:
            return difference.log_ratio
        known = self.tally.get(setting)
        best = None if self.leader is None else self.tally[self.leader].rate
        return math.log(known.rate / best) if known is not None and known.rate and best else None

    def upper(self, setting: Setting) -> float:
        """Return how fast a setting may well be, by the leader: its estimate and one standard error more.

        So of two settings that look alike the one that less is known about goes first.
        """
        difference = self.to_leader(setting)
        if difference is None:
            return float("-inf")
        return difference.log_ratio + (difference.standard_error or 0.0)


def standing_of(history: History, space: Space, most_repeats: int) -> Standing:
    """Sum up a study.

    Args:
        most_repeats: how often a contender is measured at most, which bounds the looks of a race.
    """
    tally = tallies(history.measurements)
    lost = frozenset(setting for setting, known in tally.items() if known.is_lost)
    start = history.rounds[0].leader if history.rounds else None
    effects = estimate(history.measurements, start)
    if effects is None:  # the first leader never came to its end
        effects = estimate(history.measurements)
    if effects is None:
        return Standing(tally, None, None, lost)
    alive = [setting for setting in effects.settings() if setting not in lost]
    if not alive:
        return Standing(tally, effects, None, lost)
    leader = alive[0]
    dropped = hopeless(effects, alive, leader, settings=len(space.settings()), looks=most_repeats)
    found = ties(effects, tally, lost | dropped)
    return Standing(tally, effects, leader, lost, frozenset(dropped), found)
