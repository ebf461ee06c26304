"""What repeated measurements say, and whether two sets of them differ.

Times of programs are skewed and have outliers, so nothing here assumes a normal distribution: the middle is
the median, the spread the interquartile range, and two samples are compared by the Mann-Whitney test on
ranks, exactly where they are small.  The effect is the median of all pairwise differences (Hodges and
Lehmann), with the interval that belongs to that test (Moses).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import numpy as np
from scipy import stats

CONFIDENCE: Final = 0.95
ALPHA: Final = 0.05

_SEED: Final = 20_240_301
"""Equal measurements give equal intervals; the number itself means nothing."""

_RESAMPLES: Final = 9_999
"""scipy's default: the interval's ends are then good to about one in a hundred of its width."""

_MOST_EXACT_PRODUCT: Final = 2_500
"""Up to 50 runs against 50 the distribution of the rank sum is counted out, in a few milliseconds; beyond
that the normal one is as good."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What several measurements of one figure say, in the figure's own unit."""

    count: int
    median: float
    iqr: float
    """From the first quartile to the third."""
    mad: float
    """Median absolute deviation from the median."""
    minimum: float
    maximum: float
    low: float | None
    """Lower end of the confidence interval of the median; ``None`` where fewer than three were measured."""
    high: float | None
    confidence: float = CONFIDENCE

    @property
    def relative_spread(self) -> float:
        """Interquartile range as a share of the median; 0 where the median is 0."""
        return self.iqr / abs(self.median) if self.median else 0.0


def estimate(values: Sequence[float], *, confidence: float = CONFIDENCE) -> Estimate:
    """Return median, spread and a bootstrap interval of the median.

    Args:
        values: one a run, in any order; at least one.
        confidence: of the interval, from 0 to 1.

    Raises:
        ValueError: there are no values, or one is not finite.
    """
    sample = _sample(values)
    first, median, third = (float(value) for value in np.percentile(sample, (25, 50, 75)))
    low: float | None = None
    high: float | None = None
    if len(sample) >= 3:
        low, high = _interval_of_median(sample, confidence)
    return Estimate(
        count=len(sample),
        median=median,
        iqr=third - first,
        mad=float(np.median(np.abs(sample - median))),
        minimum=float(sample.min()),
        maximum=float(sample.max()),
        low=low,
        high=high,
        confidence=confidence,
    )


def _interval_of_median(sample: np.ndarray, confidence: float) -> tuple[float, float]:
    if sample.min() == sample.max():
        return float(sample[0]), float(sample[0])
    # The percentile method: BCa, scipy's default, needs a statistic that is smooth in its sample.
    interval = stats.bootstrap(
        (sample,), np.median, vectorized=True, confidence_level=confidence, n_resamples=_RESAMPLES,
        method="percentile", rng=np.random.default_rng(_SEED),
    ).confidence_interval  # fmt: skip
    return float(interval.low), float(interval.high)


class Verdict(StrEnum):
    """What a comparison of two samples says of the second."""

    HIGHER = "higher"
    LOWER = "lower"
    NOT_DISTINGUISHABLE = "not distinguishable"
    TOO_FEW = "too few runs"
    """So few that not even samples without any overlap could be told from chance."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The second sample against the first."""

    verdict: Verdict
    before: float  # median
    after: float  # median
    change: float
    """How much higher the second is, as a share (0.1 = 10 % more); absolute where ``relative`` is false."""
    low: float | None
    """Lower end of the interval of ``change``; ``None`` where there are too few runs for one."""
    high: float | None
    p_value: float
    """Two-sided probability of ranks at least so uneven if both samples came from one distribution."""
    relative: bool
    alpha: float

    @property
    def distinguishable(self) -> bool:
        """Whether the samples differ by more than chance explains."""
        return self.verdict in (Verdict.HIGHER, Verdict.LOWER)


def compare(before: Sequence[float], after: Sequence[float], *, alpha: float = ALPHA) -> Comparison:
    """Say whether the second sample differs from the first, and by how much.

    The runs of a sample must not depend on each other, nor drift: the test takes a machine that has become
    slower in between for a change of what is measured.

    Args:
        before: one value a run; at least one.
        after: likewise.
        alpha: probability of calling equals different.

    Raises:
        ValueError: a sample is empty, or a value not finite.
    """
    first, second = _sample(before), _sample(after)
    relative = bool(first.min() > 0 and second.min() > 0)
    change, low, high = _effect(first, second, alpha, relative)
    p_value = _p_value(first, second)
    if not can_tell(len(first), len(second), alpha=alpha):
        verdict = Verdict.TOO_FEW
    elif p_value > alpha or change == 0:
        verdict = Verdict.NOT_DISTINGUISHABLE
    else:
        verdict = Verdict.HIGHER if change > 0 else Verdict.LOWER
    return Comparison(
        verdict,
        float(np.median(first)),
        float(np.median(second)),
        change,
        low,
        high,
        p_value,
        relative,
        alpha,
    )


def smallest_p_value(before: int, after: int) -> float:
    """Return the p-value of two samples of these sizes that do not overlap at all: no test by ranks can go
    below it."""
    return min(1.0, 2 / math.comb(before + after, before))


def can_tell(before: int, after: int, *, alpha: float = ALPHA) -> bool:
    """Whether samples of these sizes can be told apart at all: at 0.05 from four runs against four."""
    return smallest_p_value(before, after) <= alpha


def runs_needed(before: int, *, alpha: float = ALPHA) -> int | None:
    """Return how many runs the second sample needs for the test to say anything; ``None`` = no number does,
    because the first has none."""
    if before < 1:
        return None
    after = 1
    while not can_tell(before, after, alpha=alpha):
        after += 1
    return after


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p-values of several tests, raised so that the probability of calling any equals different
    stays alpha over all of them together, where each is held against alpha (Holm)."""
    adjusted = [1.0] * len(p_values)
    highest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        highest = max(highest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = highest
    return adjusted


def _sample(values: Sequence[float]) -> np.ndarray:
    sample = np.asarray(values, dtype=float)
    if sample.ndim != 1 or not len(sample):
        raise ValueError("there is nothing to be judged: no value was measured")
    if not np.isfinite(sample).all():
        raise ValueError("a measured value is not a finite number")
    return sample


def _p_value(first: np.ndarray, second: np.ndarray) -> float:
    """Return the two-sided p-value of the Mann-Whitney test, ties included."""
    pooled = np.concatenate((first, second))
    if pooled.min() == pooled.max():
        return 1.0
    if len(first) * len(second) > _MOST_EXACT_PRODUCT:
        return min(1.0, float(stats.mannwhitneyu(first, second, method="asymptotic").pvalue))
    # Twice the ranks: those of ties are halves, and these are whole numbers.
    ranks = np.rint(2 * stats.rankdata(pooled)).astype(int)
    ways = _ways_by_rank_sum(ranks, len(first))
    seen = int(ranks[: len(first)].sum())
    below, above = ways[: seen + 1].sum(), ways[seen:].sum()
    return min(1.0, float(2 * min(below, above) / ways.sum()))


def _ways_by_rank_sum(ranks: np.ndarray, chosen: int) -> np.ndarray:
    """Return for each sum, the index, in how many ways so many of the ranks have it.

    scipy counts them out too, but takes no ties; where there are some it deals the values out anew thousands
    of times.  As floats, exact to 15 digits: there are more ways than whole numbers of 64 bits.
    """
    ways: np.ndarray = np.zeros((chosen + 1, int(ranks.sum()) + 1))
    ways[0, 0] = 1
    for rank in ranks:
        ways[1:, rank:] += ways[:-1, : ways.shape[1] - rank].copy()
    of_chosen: np.ndarray = ways[chosen]
    return of_chosen


def _effect(
    first: np.ndarray, second: np.ndarray, alpha: float, relative: bool
) -> tuple[float, float | None, float | None]:
    """Return the Hodges-Lehmann shift with its interval, of logarithms where ``relative``."""
    if relative:
        first, second = np.log(first), np.log(second)
    differences = np.sort(np.subtract.outer(second, first), axis=None)
    shift = float(np.median(differences))
    low = high = None
    outside = _differences_outside(len(first), len(second), alpha)
    if outside is not None:
        low, high = float(differences[outside]), float(differences[-1 - outside])
    if not relative:
        return shift, low, high
    return (
        math.expm1(shift),
        None if low is None else math.expm1(low),
        None if high is None else math.expm1(high),
    )


def _differences_outside(first: int, second: int, alpha: float) -> int | None:
    """Return how many of the sorted pairwise differences lie on each side of the interval.

    That is one more than the largest rank-sum statistic U with P(U <= u) <= alpha / 2; ``None`` where not
    even U = 0 is that rare.
    """
    product = first * second
    if product > _MOST_EXACT_PRODUCT:
        deviation = math.sqrt(product * (first + second + 1) / 12)
        return max(0, math.floor(product / 2 + stats.norm.ppf(alpha / 2) * deviation - 0.5) + 1)
    counts = _ways_by_u(first, second)
    allowed = alpha / 2 * math.comb(first + second, first)
    seen = u = 0
    while u < len(counts) and seen + counts[u] <= allowed:
        seen += counts[u]
        u += 1
    # The interval begins at the u-th smallest difference, of which U counts those below the true shift.
    return u - 1 if u > 0 else None


def _ways_by_u(first: int, second: int) -> list[int]:
    """Return for each value of the statistic U in how many ways the ranks give it (Gaussian binomials)."""
    product = first * second
    ways = [1] + [0] * product
    for k in range(1, first + 1):
        upper = second + k
        for u in range(product, upper - 1, -1):  # times (1 - q^upper)
            ways[u] -= ways[u - upper]
        for u in range(k, product + 1):  # divided by (1 - q^k)
            ways[u] += ways[u - k]
    return ways
