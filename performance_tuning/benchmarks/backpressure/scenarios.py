"""Targets that are too slow in three ways, and each strategy under them, in a process of its own."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from enum import Enum
from multiprocessing import get_context
from pathlib import Path
from statistics import median
from typing import Any, Final

from slow_target import Pace, TimedEncoder, TimedTarget, timed_plan, write_documents

from backpressure.pipeline import PipelineRun, run_pipeline
from backpressure.strategies import STRATEGIES, Bounds, Strategy
from xml_extractor.engines import open_engine
from xml_extractor.profiling.memory import MemoryPeak, memory_bytes

_SAMPLE_SECONDS: Final = 0.05
_DISK_BYTES: Final = 2**30


class Ending(Enum):
    """How a run ends."""

    END = "end"  # all is loaded
    CTRL_C = "Ctrl-C"
    FAILURE = "failure"  # the target is gone for good


@dataclass(frozen=True, slots=True)
class Load:
    """What is loaded, in every scenario.

    A quarter of the documents may wait in memory: far fewer than would be needed to swallow any of the
    scenarios whole, as in a load of millions.
    """

    documents: int = 800
    parse_seconds: float = 0.01
    row_bytes: int = 64 * 1024
    workers: int = 4
    batch_documents: int = 10

    @property
    def making(self) -> float:
        """Seconds that the workers take, if nobody holds them back."""
        return self.documents * self.parse_seconds / self.workers

    @property
    def batches(self) -> int:
        """Batches, the last one perhaps not full."""
        return -(-self.documents // self.batch_documents)

    @property
    def bound(self) -> int:
        """Documents that may wait in memory."""
        return max(self.batch_documents, self.documents // 4)


@dataclass(frozen=True, slots=True)
class Scenario:
    """A target, and when a run of it is broken off."""

    name: str
    pace: Pace
    stop_after: float  # seconds
    fails_at: int  # batch


def scenarios(load: Load) -> tuple[Scenario, ...]:
    """Return the three scenarios.  All times follow from what the workers take, so that they keep their shape
    whatever the load."""
    making, batches = load.making, load.batches
    even = making / batches  # seconds a batch at which the target is as fast as the workers
    quarter = batches // 4
    return (
        Scenario("slow all the time", Pace(2 * even), 0.8 * making, (2 * batches) // 5),
        Scenario(
            "stalls once",
            Pace(0.4 * even, stalled_batch=quarter, stall_seconds=making),
            # In the middle of the stall, and right behind it.
            0.75 * making,
            quarter + 1,
        ),
        Scenario(
            "slow at first, fast later",
            Pace(0.2 * even, first_batches=quarter, first_seconds=4 * even),
            0.75 * making,
            max(1, quarter - 2),
        ),
    )


@dataclass(frozen=True, slots=True)
class Measured:
    """One run in a process of its own."""

    run: PipelineRun
    memory_bytes: int  # by which the process grew at most


@dataclass(frozen=True, slots=True)
class Outcome:
    """All runs of a strategy under a scenario."""

    scenario: str
    strategy: str
    complete: tuple[Measured, ...]
    stopped: tuple[Measured, ...]
    failed: tuple[Measured, ...]

    @property
    def wall(self) -> float:
        """Seconds of a complete run."""
        return median(one.run.wall for one in self.complete)

    @property
    def spread(self) -> float:
        """Between the fastest and the slowest complete run, in seconds."""
        walls = [one.run.wall for one in self.complete]
        return max(walls) - min(walls)

    @property
    def memory(self) -> float:
        """Bytes by which a complete run made its process grow."""
        return median(one.memory_bytes for one in self.complete)

    @property
    def most_waiting(self) -> int:
        """The most documents that waited in memory, in any run."""
        return max(one.run.most_waiting for one in (*self.complete, *self.stopped, *self.failed))

    @property
    def disk(self) -> float:
        """Bytes written to disk by a complete run."""
        return median(one.run.disk_bytes for one in self.complete)

    @property
    def stop(self) -> float:
        """Seconds from Ctrl-C to the end."""
        return median(one.run.ending for one in self.stopped)

    @property
    def drained(self) -> float:
        """Documents committed after Ctrl-C."""
        return median(one.run.drained for one in self.stopped)

    @property
    def end(self) -> float:
        """Seconds from the failure to the end."""
        return median(one.run.ending for one in self.failed)

    @property
    def thrown_away(self) -> float:
        """Documents that had been made for nothing when the target failed."""
        return median(one.run.thrown_away for one in self.failed)

    def as_json(self) -> dict[str, Any]:
        """Return every run."""
        kinds = {"complete": self.complete, "stopped": self.stopped, "failed": self.failed}
        return {"scenario": self.scenario, "strategy": self.strategy} | {
            kind: [asdict(one.run) | {"memory_bytes": one.memory_bytes} for one in runs]
            for kind, runs in kinds.items()
        }


def compare(load: Load, repeat: int, folder: Path) -> Iterator[list[Outcome]]:
    """Measure every strategy under every scenario, by turns; yield each scenario's outcomes.

    Raises:
        BenchmarkError: a document was lost or committed twice, or a stage did not end.
    """
    write_documents(folder / DOCUMENTS, load.documents)
    for number, scenario in enumerate(scenarios(load)):
        runs: dict[tuple[str, Ending], list[Measured]] = {}
        for turn in range(repeat):
            for strategy in STRATEGIES if turn % 2 == 0 else tuple(reversed(STRATEGIES)):
                for ending in Ending:
                    one = in_own_process(load, number, strategy, ending, folder)
                    runs.setdefault((strategy.name, ending), []).append(one)
        yield [
            Outcome(
                scenario.name,
                strategy.name,
                tuple(runs[strategy.name, Ending.END]),
                tuple(runs[strategy.name, Ending.CTRL_C]),
                tuple(runs[strategy.name, Ending.FAILURE]),
            )
            for strategy in STRATEGIES
        ]


DOCUMENTS: Final = "documents.db"
"""The file that :func:`run_case` finds its documents in."""


def in_own_process(load: Load, scenario: int, strategy: Strategy, ending: Ending, folder: Path) -> Measured:
    """Run :func:`run_case` in a new process: memory that an earlier run has left behind is not counted."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run_case, load, scenario, STRATEGIES.index(strategy), ending, folder).result()


def run_case(load: Load, scenario: int, strategy: int, ending: Ending, folder: Path) -> Measured:
    """Run a strategy, by its number, under a scenario, by its number."""
    chosen = scenarios(load)[scenario]
    source = open_engine(f"sqlite:///{(folder / DOCUMENTS).as_posix()}")
    target = TimedTarget(
        chosen.pace,
        TimedEncoder(load.parse_seconds, load.row_bytes),
        chosen.fails_at if ending is Ending.FAILURE else None,
    )
    before = memory_bytes()
    with MemoryPeak(_SAMPLE_SECONDS) as peak:
        run = run_pipeline(
            source,
            timed_plan(),
            target,
            load.documents,
            STRATEGIES[strategy],
            Bounds(load.bound, _DISK_BYTES, folder),
            workers=load.workers,
            batch_documents=load.batch_documents,
            stop_after=chosen.stop_after if ending is Ending.CTRL_C else None,
        )
    return Measured(run, peak.peak_bytes - before)
