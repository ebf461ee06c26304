"""How fast settings are compared with each other, the machine's drift taken out.

A machine's speed drifts by more than most settings differ.  So settings are measured in rounds (blocks of a
few minutes), each with the leader of that moment in it, and only what was measured in the same block is
compared::

    log rate = setting + block + noise

solved by least squares: what statistics calls the intra-block analysis of an incomplete block design (Cochran
and Cox, Experimental Designs, chapter 9).  Logarithms, because noise and drift act as factors on a rate.
All settings are taken to have the same noise, so that a few measurements of each say how large it is.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
from scipy import stats

from performance_tuning.optimizing.measurements import Ending, Measurement
from performance_tuning.optimizing.space import Setting

LEAST_NOISE: Final = 0.002
"""Two equal loads differ by more than this on any machine; keeps a lucky few from looking exact."""


@dataclass(frozen=True, slots=True)
class Difference:
    """How much faster one setting is than another, as a logarithm of the ratio."""

    log_ratio: float
    standard_error: float | None
    """``None`` where nothing was measured often enough to say how large the noise is."""
    freedom: int

    @property
    def share(self) -> float:
        """As a share: -0.31 is 31 % slower."""
        return math.expm1(self.log_ratio)

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the confidence interval of :attr:`share`."""
        if self.standard_error is None:
            return None
        reach = float(stats.t.ppf(0.5 + confidence / 2, self.freedom)) * self.standard_error
        return math.expm1(self.log_ratio - reach), math.expm1(self.log_ratio + reach)

    def p_slower(self) -> float | None:
        """Return the probability of so large a lag, or a larger one, if the setting were not slower."""
        if self.standard_error is None:
            return None
        if self.standard_error == 0:
            return 1.0 if self.log_ratio >= 0 else 0.0
        return float(stats.t.cdf(self.log_ratio / self.standard_error, self.freedom))


class Effects:
    """Estimates of all settings that can be compared with each other.  Made by :func:`estimate`."""

    def __init__(
        self, settings: list[Setting], effects: np.ndarray, unscaled: np.ndarray, noise: float | None,
        freedom: int,
    ) -> None:  # fmt: skip
        self._index = {setting: index for index, setting in enumerate(settings)}
        self._effects = effects
        self._unscaled = unscaled  # covariance of the effects for a noise of 1
        self.noise = noise
        """Standard deviation of the logarithm of one measurement; ``None`` = not known yet."""
        self.freedom = freedom

    def __contains__(self, setting: Setting) -> bool:
        return setting in self._index

    def settings(self) -> list[Setting]:
        """Return the settings that there are estimates of, the fastest first."""
        return sorted(self._index, key=self._sort_key)

    def difference(self, setting: Setting, base: Setting) -> Difference:
        """Return how much faster ``setting`` is than ``base``."""
        one, other = self._index[setting], self._index[base]
        log_ratio = float(self._effects[one] - self._effects[other])
        if one == other:
            return Difference(0.0, 0.0, max(1, self.freedom))
        if self.noise is None:
            return Difference(log_ratio, None, 0)
        variance = self._unscaled[one, one] + self._unscaled[other, other] - 2 * self._unscaled[one, other]
        return Difference(log_ratio, self.noise * math.sqrt(max(0.0, float(variance))), self.freedom)

    def _sort_key(self, setting: Setting) -> tuple[float, Setting]:
        return -float(self._effects[self._index[setting]]), setting


def estimate(measurements: Iterable[Measurement], around: Setting | None = None) -> Effects | None:
    """Estimate how fast settings are, from the loads that came to their end.

    Args:
        around: only settings that are connected with this one, by blocks they shared, can be held against
            each other; ``None`` = the one that was measured most often.

    Returns:
        ``None`` where nothing was measured, or not ``around``.
    """
    made = [one for one in measurements if one.outcome.ending is Ending.MEASURED and one.outcome.rate > 0]
    if around is None:
        counts: dict[Setting, int] = {}
        for one in made:
            counts[one.setting] = counts.get(one.setting, 0) + 1
        around = max(counts, key=lambda setting: counts[setting], default=None)
    if around is None:
        return None
    connected = _connected(made, around)
    made = [one for one in made if one.setting in connected]
    if not made:
        return None
    return _solve(made)


def _connected(made: Collection[Measurement], around: Setting) -> set[Setting]:
    """Return the settings that share a block with this one, or with one that does, and so on."""
    by_block: dict[tuple[int, int], set[Setting]] = {}
    by_setting: dict[Setting, set[tuple[int, int]]] = {}
    for one in made:
        by_block.setdefault(one.block, set()).add(one.setting)
        by_setting.setdefault(one.setting, set()).add(one.block)
    found: set[Setting] = set()
    ahead = {around}
    while ahead:
        setting = ahead.pop()
        found.add(setting)
        for block in by_setting.get(setting, ()):
            ahead |= by_block[block] - found
    return found


def _solve(made: list[Measurement]) -> Effects:
    """Solve the least squares with the blocks eliminated: a system as large as there are settings."""
    settings = sorted({one.setting for one in made})
    blocks = sorted({one.block for one in made})
    setting_index = {setting: index for index, setting in enumerate(settings)}
    block_index = {block: index for index, block in enumerate(blocks)}
    rows = np.array([setting_index[one.setting] for one in made])
    columns = np.array([block_index[one.block] for one in made])
    logs = np.log([one.outcome.rate for one in made])
    times = np.zeros((len(settings), len(blocks)))  # how often each setting is in each block
    np.add.at(times, (rows, columns), 1.0)
    sizes = times.sum(axis=0)
    block_sums = np.bincount(columns, weights=logs, minlength=len(blocks))
    setting_sums = np.bincount(rows, weights=logs, minlength=len(settings))
    information = np.diag(times.sum(axis=1)) - (times / sizes) @ times.T
    adjusted = setting_sums - times @ (block_sums / sizes)
    # Only differences are known: the first setting is the zero of the scale.
    unscaled = np.zeros_like(information)
    if len(settings) > 1:
        unscaled[1:, 1:] = np.linalg.inv(information[1:, 1:])
    # Rounded, so that equal measurements in another order give the same estimates, to the last digit.
    effects = np.round(unscaled @ adjusted, 9)
    block_effects = (block_sums - times.T @ effects) / sizes
    residuals = logs - effects[rows] - block_effects[columns]
    freedom = len(made) - (len(settings) - 1) - len(blocks)
    noise = max(LEAST_NOISE, math.sqrt(float(residuals @ residuals) / freedom)) if freedom > 0 else None
    return Effects(settings, effects, unscaled, noise, max(0, freedom))
