"""What was measured: plain data that a study file keeps."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from statistics import median
from typing import Any

from performance_tuning.optimizing.space import Setting


class Ending(StrEnum):
    """How a measured load ended."""

    MEASURED = "measured"
    CUT_OFF = "cut off"  # it took longer than was worth waiting for
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one load with one setting did."""

    ending: Ending
    seconds: float
    """All that the measurement took, its fresh target included: what the time budget pays for."""
    rate: float = 0.0
    """Documents per second, start-up apart; where it was cut off, the most that it can have been, which the
    sweep fills in."""
    load_seconds: float = 0.0
    """From the first read to the last commit, start-up apart; what ``rate`` is reckoned by."""
    memory_bytes: int | None = None
    """Peak of all its processes."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """More of its summary, for whoever looks into the study: latencies, bottleneck, CPU."""
    message: str = ""
    """Why it failed."""
    status: int | None = None
    """Exit status of a load that failed."""


Measure = Callable[[Setting, float | None], Outcome]
"""Runs one load with a setting, for at most so many seconds (``None`` = unbounded), and says how it went."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """An outcome with its place in the study."""

    round: int
    session: int
    """Programs that worked on the study, one after the other, from 1."""
    setting: Setting
    outcome: Outcome
    limit_seconds: float | None
    began_at: str  # ISO 8601, UTC

    @property
    def block(self) -> tuple[int, int]:
        """Measurements of one block were made one after the other, and are compared with each other."""
        return self.round, self.session


@dataclass(frozen=True, slots=True)
class Round:
    """Settings that are measured one after the other, in this order."""

    number: int
    stage: str
    settings: tuple[Setting, ...]
    leader: Setting
    """The one that all others of the round are held against; measured in it, too."""


@dataclass(slots=True)
class History:
    """All that a study knows."""

    rounds: list[Round] = field(default_factory=list)
    measurements: list[Measurement] = field(default_factory=list)

    @property
    def spent_seconds(self) -> float:
        """What the measurements took; what an interruption made necessary once more is not held against the
        budget."""
        seconds: dict[tuple[int, Setting], float] = {}
        for made in self.measurements:
            seconds.setdefault((made.round, made.setting), made.outcome.seconds)
        return sum(seconds.values())

    def remaining(self) -> list[Setting]:
        """Return what the last round has not measured yet, in order."""
        if not self.rounds:
            return []
        last = self.rounds[-1]
        done = [made.setting for made in self.measurements if made.round == last.number]
        return [setting for setting in last.settings if setting not in done]


@dataclass(frozen=True, slots=True)
class Tally:
    """What is known of one setting alone."""

    measured: int
    cut_off: int
    failed: int
    memory_bytes: float | None
    """Median of the peaks."""
    load_seconds: float | None
    """Median."""
    rate: float | None
    """Median, drift included; the most that it can be where it never came to its end."""
    message: str
    """Of the last failure."""

    @property
    def is_lost(self) -> bool:
        """Whether it failed, or was cut off so often that it is not in the race any more.

        A single cut does not outweigh a measurement: something else may have held the machine up.
        """
        return self.failed > 0 or self.cut_off > self.measured


def tallies(measurements: Iterable[Measurement]) -> dict[Setting, Tally]:
    """Sum up what is known of each setting, in the order in which they were first measured."""
    found: dict[Setting, list[Outcome]] = {}
    for made in measurements:
        found.setdefault(made.setting, []).append(made.outcome)
    return {setting: _tally(outcomes) for setting, outcomes in found.items()}


def _tally(outcomes: Sequence[Outcome]) -> Tally:
    by_ending = {ending: [o for o in outcomes if o.ending is ending] for ending in Ending}
    measured, cut_off, failed = (by_ending[ending] for ending in Ending)
    memory = [outcome.memory_bytes for outcome in measured if outcome.memory_bytes is not None]
    rated = measured or cut_off
    return Tally(
        measured=len(measured),
        cut_off=len(cut_off),
        failed=len(failed),
        memory_bytes=median(memory) if memory else None,
        load_seconds=median(outcome.load_seconds for outcome in measured) if measured else None,
        rate=math.exp(median(math.log(outcome.rate) for outcome in rated)) if rated else None,
        message=failed[-1].message if failed else "",
    )
