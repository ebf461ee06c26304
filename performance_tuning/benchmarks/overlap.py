"""How much two stages overlap: one load by the product's queue, and the same load batch by batch.

Of the times of both stages alone follow the bounds that no arrangement can beat::

    slower stage   max(making ÷ workers, inserting), and CPU ÷ cores where CPU is measured
    efficiency     slower stage ÷ wall of the load with the queue
    gain           wall batch-sequential ÷ wall with the queue − 1
    most           wall batch-sequential ÷ slower stage − 1, the gain at an efficiency of 1
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

import batch_sequential
import psutil
from slow_target import Pace, TimedEncoder, TimedTarget, timed_plan, write_documents
from support import BenchmarkError

from performance_tuning.measuring.machine_watch import MachineWatch
from performance_tuning.measuring.servers import Databases
from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, EngineOptions, TimeLimits
from xml_extractor.processing.parallel_coordinator import ParallelCoordinator
from xml_extractor.settings import ExecutorChoice, LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target import open_target
from xml_extractor.target.base import LoadHandle, RunState, Target

BATCH_DOCUMENTS: Final = 10
"""Documents in a batch of the target whose latency is set."""

_LOOKUP_KEYS: Final = 5_000


@dataclass(frozen=True, slots=True)
class Overlap:
    """One load each way.  Seconds."""

    queue: float  # wall with the queue
    sequential: float  # wall batch by batch, in rounds that divide evenly among the workers
    single: float | None  # wall batch by batch, one batch a round; None: the same thing, or not measured
    making: float  # what making all documents takes, ÷ workers
    inserting: float  # what inserting all of them takes
    cpu: float = 0.0  # CPU of both ÷ cores; 0: not measured
    others: float = 0.0  # share of the machine that other programs took meanwhile, at the worse of both times

    @property
    def slower(self) -> float:
        """The wall that cannot be beaten."""
        return max(self.making, self.inserting, self.cpu)

    @property
    def efficiency(self) -> float:
        """1: the slower stage never waited for the other."""
        return self.slower / self.queue

    @property
    def gain(self) -> float:
        """How much faster the queue is: 0.25 = a quarter more documents in the same time."""
        return self.sequential / self.queue - 1

    @property
    def most(self) -> float:
        """The gain at an efficiency of 1."""
        return self.sequential / self.slower - 1

    @property
    def single_gain(self) -> float | None:
        """The gain over rounds of one batch."""
        return None if self.single is None else self.single / self.queue - 1


@dataclass(frozen=True, slots=True)
class Case:
    """All measurements of one setting."""

    name: str
    documents: int
    runs: tuple[Overlap, ...]

    def median(self, name: str) -> float:
        """Return the median over all runs of one of the figures of :class:`Overlap`, by its name."""
        return float(median(getattr(run, name) for run in self.runs))

    def spread(self, name: str) -> tuple[float, float]:
        """Return the least and the largest value of such a figure."""
        values = [getattr(run, name) for run in self.runs]
        return min(values), max(values)

    def as_json(self) -> dict[str, Any]:
        """Return every run with what follows from it."""
        return {
            "name": self.name,
            "documents": self.documents,
            "runs": [
                {
                    "queue_seconds": run.queue,
                    "sequential_seconds": run.sequential,
                    "sequential_single_batch_seconds": run.single,
                    "making_seconds": run.making,
                    "inserting_seconds": run.inserting,
                    "cpu_seconds_per_core": run.cpu or None,
                    "others_share": run.others,
                    "efficiency": run.efficiency,
                    "gain": run.gain,
                    "most": run.most,
                }
                for run in self.runs
            ],
        }


# ----------------------------------------------------------------------------- a target with a latency


def latency_cases(
    latencies_ms: Sequence[float],
    documents: int,
    parse_seconds: float,
    workers: int,
    repeat: int,
    folder: Path,
) -> Iterator[Case]:
    """Measure each latency, both ways by turns, and yield what came of it.

    Raises:
        BenchmarkError: a document was not committed exactly once.
    """
    plan = timed_plan()
    source = write_documents(folder / "timed.db", documents)
    options = LoadOptions.model_validate(
        {
            "workers": workers,
            "batch_size": BATCH_DOCUMENTS,
            "executor": ExecutorChoice.THREAD,
            "drift_sample": 0,
        }
    )
    for latency_ms in latencies_ms:
        pace = Pace(latency_ms / 1000)
        runs = tuple(
            _latency_run(source, plan, options, pace, parse_seconds, documents, turn)
            for turn in range(repeat)
        )
        yield Case(f"{latency_ms:g} ms a batch", documents, runs)


def _latency_run(
    source: Engine,
    plan: Plan,
    options: LoadOptions,
    pace: Pace,
    parse_seconds: float,
    documents: int,
    turn: int,
) -> Overlap:
    even = batch_sequential.even_round(options.batch_size, options.workers)
    making = inserting = 0.0

    def by_queue() -> float:
        nonlocal making, inserting
        target = TimedTarget(pace, TimedEncoder(parse_seconds))
        summary = ParallelCoordinator(source, target, target.prepare(plan), plan, options).run()
        target.commits.check(documents)
        making = (summary.clocks.parse + summary.clocks.map) / options.workers
        inserting = target.commits.seconds
        return summary.seconds

    def in_rounds(size: int) -> float:
        target = TimedTarget(pace, TimedEncoder(parse_seconds))
        load = target.prepare(plan)
        run = batch_sequential.run(source, target, load, plan, options, round_documents=size)
        target.commits.check(documents)
        return run.wall

    ways: dict[str, Callable[[], float]] = {"queue": by_queue, "sequential": lambda: in_rounds(even)}
    if even != options.batch_size:
        ways["single"] = lambda: in_rounds(options.batch_size)
    walls = _by_turns(ways, turn)
    return Overlap(walls["queue"], walls["sequential"], walls.get("single"), making, inserting)


def _by_turns(ways: dict[str, Callable[[], float]], turn: int) -> dict[str, float]:
    """Measure all ways, in the other order every other turn, so that a drift hits them alike."""
    names = list(ways) if turn % 2 == 0 else list(reversed(ways))
    return {name: ways[name]() for name in names}


# --------------------------------------------------------------------------------------- real engines


def engine_case(
    databases: Databases,
    source_url: str,
    contract: Path,
    documents: int,
    options: LoadOptions,
    repeat: int,
    cores: int,
) -> Case:
    """Load a filled source into fresh databases, both ways by turns.

    Raises:
        BenchmarkError: the ledger does not have every document, or a batch had one twice.
    """
    plan = read_contract(contract).plan
    runs = tuple(
        _engine_run(databases, source_url, plan, documents, options, cores, turn) for turn in range(repeat)
    )
    name = f"{databases.name}, {options.executor.value} workers"
    return Case(name, documents, runs)


def _engine_run(
    databases: Databases,
    source_url: str,
    plan: Plan,
    documents: int,
    options: LoadOptions,
    cores: int,
    turn: int,
) -> Overlap:
    stages: list[batch_sequential.SequentialRun] = []
    rows: dict[str, int] = {}
    others: list[float] = []

    def by_queue(source: Engine, target: Target, load: LoadHandle) -> float:
        summary = ParallelCoordinator(source, target, load, plan, options).run()
        rows["queue"] = sum(summary.rows.values())
        return summary.seconds - summary.startup_seconds

    def in_rounds(source: Engine, target: Target, load: LoadHandle) -> float:
        run = batch_sequential.run(
            source, target, load, plan, options,
            cpu_seconds=lambda: own_cpu_seconds() + databases.server_cpu_seconds(),
        )  # fmt: skip
        stages.append(run)
        rows["sequential"] = run.rows
        return run.wall

    def measured(way: Callable[[Engine, Target, LoadHandle], float]) -> float:
        with databases.database() as url, MachineWatch(databases.server_cpu_seconds) as machine:
            wall = _into_database(url, source_url, plan, documents, options, way)
        others.append(machine.others_share)
        return wall

    walls = _by_turns({"queue": lambda: measured(by_queue), "sequential": lambda: measured(in_rounds)}, turn)
    if rows["queue"] != rows["sequential"]:
        raise BenchmarkError(f"the two ways committed different rows: {rows}; no figure is to be believed")
    [alone] = stages
    return Overlap(
        queue=walls["queue"],
        sequential=walls["sequential"],
        single=None,
        making=alone.producing,
        inserting=alone.inserting,
        cpu=alone.cpu / cores,
        others=max(others),
    )


def _into_database(
    url: str,
    source_url: str,
    plan: Plan,
    documents: int,
    options: LoadOptions,
    way: Callable[[Engine, Target, LoadHandle], float],
) -> float:
    limits = EngineOptions(TimeLimits(statement_seconds=options.statement_seconds))
    source = open_engine(source_url, options=limits)
    target = open_target(url, options=limits, retry_seconds=options.retry_seconds)
    load = target.prepare(
        plan,
        source_name="benchmark",
        source_name_explicit=True,
        create_tables=True,
        dry_run=False,
        on_plan_change="report",
        settings={},
    )
    try:
        wall = way(source, target, load)
        load.finish(RunState.FINISHED, {})
        _check_ledger(load, source, plan, documents)
    finally:
        load.close()
    return wall


def _check_ledger(load: LoadHandle, source: Engine, plan: Plan, documents: int) -> None:
    """See that the ledger, which has one row a document at most, has one for each of the source's keys."""
    reader = SourceReader(source, plan.source)
    reader.open()
    try:
        settled = sum(len(load.lookup(page)) for page in reader.key_pages(page_size=_LOOKUP_KEYS))
    finally:
        reader.close()
    if settled != documents:
        raise BenchmarkError(
            f"the ledger has {settled:,} of {documents:,} documents; no figure is to be believed"
        )


def own_cpu_seconds() -> float:
    """Return the CPU time so far of this process and of its children that are running."""
    own = psutil.Process()
    seconds = 0.0
    for process in [own, *own.children(recursive=True)]:
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            seconds += times.user + times.system
    return seconds
