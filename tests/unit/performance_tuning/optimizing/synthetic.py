"""A machine that is not there: a surface whose optimum is known, with noise, drift and a clock."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from performance_tuning.optimizing.measurements import Ending, History, Measurement, Outcome, Round
from performance_tuning.optimizing.search import Plan
from performance_tuning.optimizing.space import SERIAL, Setting, Space, make_space
from performance_tuning.optimizing.standing import Standing
from performance_tuning.optimizing.sweep import run_sweep

DOCUMENTS = 10_000
OVERHEAD_SECONDS = 1.0


def full_space() -> Space:
    return make_space({}, documents=DOCUMENTS, max_insert_threads=None, insert_paths=())


@dataclass
class Surface:
    """Throughput by setting: a smooth hill in logarithms, somewhere else for each seed."""

    seed: int

    def __post_init__(self) -> None:
        dice = random.Random(self.seed)
        self.workers = dice.choice((3.0, 4.0, 6.0, 7.0))
        self.batch = dice.choice((150.0, 400.0, 900.0, 1600.0))
        self.executor = dice.choice(("thread", "process", SERIAL))
        self.slopes = [dice.uniform(*ends) for ends in ((0.2, 0.6), (0.02, 0.1), (0.05, 0.2), (0.1, 0.3))]

    def log_rate(self, setting: Setting) -> float:
        of_workers, of_queue, of_threads, of_batch = self.slopes
        height = math.log(3000) - of_batch * abs(math.log(setting.batch_size / self.batch))
        height -= 0.2 * (setting.executor != self.executor)
        if setting.executor == SERIAL:
            return height - 0.25
        height -= of_workers * abs(math.log(setting.workers / self.workers))
        height -= of_queue * abs(math.log(setting.queue_size / (4 * setting.batch_size)))
        return height - of_threads * abs(math.log(setting.insert_threads / 2))

    def best(self, space: Space) -> Setting:
        return max(space.settings(), key=self.log_rate)

    def loss(self, setting: Setting, space: Space) -> float:
        """How much slower than the best a setting truly is, as a share."""
        return -math.expm1(self.log_rate(setting) - self.log_rate(self.best(space)))


@dataclass
class Machine:
    """Measures settings on a surface; equal seeds give equal measurements, whatever came between."""

    surface: Surface
    noise: float = 0.05
    drift: float = 0.1
    period: float = 40.0  # loads in which the drift goes on by one radian
    seed: int = 1
    measured: list[Setting] = field(default_factory=list)
    failing: Sequence[str] = ()  # executors whose loads fail
    stop_after: int | None = None

    def __call__(self, setting: Setting, limit_seconds: float | None) -> Outcome:
        if self.stop_after is not None and len(self.measured) >= self.stop_after:
            raise KeyboardInterrupt
        number = self.measured.count(setting)
        self.measured.append(setting)
        if setting.executor in self.failing:
            return Outcome(Ending.FAILED, 1.0, message="out of order", status=1)
        dice = random.Random(f"{self.seed} {setting} {number}")
        rate = math.exp(
            self.surface.log_rate(setting)
            + dice.gauss(0, self.noise)
            + self.drift * math.sin(len(self.measured) / self.period)
        )
        seconds = DOCUMENTS / rate
        if limit_seconds is not None and seconds + OVERHEAD_SECONDS > limit_seconds:
            return Outcome(Ending.CUT_OFF, limit_seconds)
        return Outcome(
            Ending.MEASURED, seconds + OVERHEAD_SECONDS, rate, seconds, memory_bytes=memory_of(setting)
        )


def memory_of(setting: Setting) -> int:
    if setting.executor == SERIAL:
        return 70_000_000
    each = 60_000_000 if setting.executor == "process" else 5_000_000
    return 70_000_000 + each * setting.workers + 5_000 * setting.queue_size


class Kept:
    """A study in memory."""

    def __init__(self, history: History | None = None, session: int = 1) -> None:
        self.history = history or History()
        self.session = session

    def keep_round(self, one: Round) -> None:
        self.history.rounds.append(one)

    def keep(self, one: Measurement) -> None:
        self.history.measurements.append(one)


class Silent:
    def round_begins(self, one: Round, standing: Standing) -> None: ...

    def measuring(self, setting: Setting, limit_seconds: float | None) -> None: ...

    def measured(self, one: Measurement) -> None: ...


def swept(machine: Machine, space: Space, plan: Plan, kept: Kept | None = None) -> tuple[Kept, Standing]:
    kept = kept or Kept()
    return kept, run_sweep(kept, space, plan, machine, Silent())
