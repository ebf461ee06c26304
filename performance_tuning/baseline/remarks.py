"""What whoever reads the figures of several runs should know about how they came about."""

from __future__ import annotations

import os
from collections.abc import Sequence
from statistics import median
from typing import Final

from performance_tuning.baseline.document import RunRecord
from performance_tuning.baseline.figures import PRIMARY
from performance_tuning.measuring.machine import this_machine
from performance_tuning.measuring.statistics import Verdict, compare, estimate

BUSY_SHARE: Final = 0.10
"""Of the machine, taken by other programs: it costs a load that uses all cores about as much."""

WORTH_SAYING: Final = 0.05
"""A drift of less hardly changes what is concluded."""

UNTESTED_DRIFT: Final = 0.10
"""Where there are too few runs for a test, a difference of the halves is told from here on."""

WIDE_SPREAD: Final = 0.10
"""Interquartile range against median: from here on, differences of a few per cent drown."""


def before_measuring() -> list[str]:
    """Say where the machine has other work to do already."""
    try:
        load = os.getloadavg()[0]
    except (AttributeError, OSError):  # Windows
        return []
    cores = this_machine().cores
    if load <= cores / 2:
        return []
    return [
        f"the machine was busy before anything was measured: {load:.1f} programs wanted its {cores} "
        f"core{'s' if cores != 1 else ''} on average of the last minute"
    ]


def of_runs(runs: Sequence[RunRecord]) -> list[str]:
    """Say what speaks against the figures of these runs: others at work, drift, wide spread, unequal runs."""
    said = []
    others = median(run.others_share for run in runs)
    if others > BUSY_SHARE:
        said.append(
            f"other programs took {others:.0%} of the machine during the runs: measure on a quiet one, or "
            "take only what differs by much for a difference"
        )
    rates = [run.figures[PRIMARY] for run in runs]
    yardsticks = [run.yardstick_us for run in runs]
    said += _drift("throughput", rates)
    said += _drift("the yardstick, a fixed piece of work,", yardsticks)
    spread = estimate(rates)
    if spread.count >= 3 and spread.relative_spread > WIDE_SPREAD:
        said.append(
            f"the runs differ much from one another: the middle half of them by {spread.relative_spread:.0%} "
            "of the median throughput"
        )
    if len({tuple(sorted(run.rows.items())) for run in runs}) > 1:
        said.append(
            "the runs did not commit the same numbers of rows: either the source changed meanwhile, or this "
            "is a bug; do not compare these figures"
        )
    executors = sorted({run.executor for run in runs})
    if len(executors) > 1:
        said.append(
            f"--executor auto did not choose the same in all runs ({', '.join(executors)}): name one of them "
            "to measure like with like"
        )
    return said


def _drift(what: str, values: Sequence[float]) -> list[str]:
    """Compare the first half of the runs with the second."""
    half = len(values) // 2
    if half < 2:
        return []
    drift = compare(values[:half], values[-half:])
    least = UNTESTED_DRIFT if drift.verdict is Verdict.TOO_FEW else WORTH_SAYING
    if abs(drift.change) < least or drift.verdict is Verdict.NOT_DISTINGUISHABLE:
        return []
    tested = " (too few runs to test it)" if drift.verdict is Verdict.TOO_FEW else ""
    return [
        f"{what} drifted: in the second half of the runs it was {drift.change:+.0%} against the first{tested}"
        "; the machine changed meanwhile, so that the interval promises too much"
    ]
