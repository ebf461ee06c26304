"""A whole load, everything committed, against the slower of its halves.

The load is the product's own program; its wall is what its summary says, from the first read to the last
commit.  The halves are measured right after it on the same documents, on one thread and one batch at a
time, never both at once: *producing* is reading, parsing, mapping and handing over; *inserting* is
committing the prepared records with their ledger rows.  The slower half, which no arrangement of threads
and processes can beat, is the largest of

    producing alone ÷ workers,  inserting alone,  CPU time of both (a local server's included) ÷ cores.

Source and target are two databases of the same engine, both made for the benchmark and removed by it;
releases go from SQLite into PostgreSQL too.  Load and halves map with the same interpreter, whatever the
environment says, and the halves with the allocator that worker processes have.
"""

from __future__ import annotations

import argparse
import os
import pickle
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter, process_time
from typing import Final
from unittest import mock

import support

from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import EngineOptions, TimeLimits
from xml_extractor.mapping.interpreter_choice import VARIABLE as INTERPRETER_VARIABLE
from xml_extractor.mapping.interpreter_choice import InterpreterChoice
from xml_extractor.mapping.records import DocumentRecord
from xml_extractor.processes import TUNABLES, allocator_told
from xml_extractor.processing.document_fetcher import FetchedDocuments
from xml_extractor.processing.executor_choice import available_cores
from xml_extractor.processing.insert_queue import BatchLimits, InsertQueue
from xml_extractor.processing.mapping_documents import map_in_blocks
from xml_extractor.processing.pending_keys import PendingKeys
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.pulse import ThreadPulse
from xml_extractor.processing.ranges import RangeTracker
from xml_extractor.processing.throttle import Throttle
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.settings import LoadOptions
from xml_extractor.target import open_target
from xml_extractor.target.base import LoadHandle, RunState

BOUND: Final = 1.15
_TUNABLES_BEFORE: Final = os.environ.get(TUNABLES)
DOCUMENTS: Final = 40_000
BATCH_SIZE: Final = 1000


@dataclass(frozen=True, slots=True)
class Halves:
    """Seconds of each half alone, and of CPU of both together."""

    producing: float
    inserting: float
    cpu: float

    def slower(self, workers: int, cores: int) -> float:
        """The wall that cannot be beaten, in seconds."""
        return max(self.producing / workers, self.inserting, self.cpu / cores)


@dataclass(frozen=True, slots=True)
class Run:
    """One load and its halves, measured one after the other."""

    wall: float
    executor: str
    workers: int
    halves: Halves
    cpu: float  # of the whole program, start-up included, and of a local server
    others_share: float  # of the machine, taken by other programs meanwhile

    def ratio(self, cores: int) -> float:
        """Wall over the slower half."""
        return self.wall / self.halves.slower(self.workers, cores)

    def left_ratio(self, cores: int) -> float:
        """Machine time that other programs left to the load, over the CPU time of both halves.

        The same as :meth:`ratio` where CPU is what limits and nothing else runs; on a busy machine it
        still shows what the load wasted.
        """
        return self.wall * cores * (1 - min(self.others_share, 1.0)) / self.halves.cpu


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N",
        help="documents of each kind (default %(default)s; figures are defined from 20,000 on)",
    )  # fmt: skip
    support.add_worker_arguments(parser)
    support.add_repeat_argument(parser)
    support.add_kinds_arguments(parser)
    parser.add_argument(
        "--interpreter", choices=tuple(InterpreterChoice), default=InterpreterChoice.AUTO,
        help="what maps documents, in the load and in its halves (default %(default)s)",
    )  # fmt: skip
    support.add_engine_arguments(parser)
    parsed = parser.parse_args(arguments)
    if arguments is None:
        start_again_as_workers_are()
    return support.run_benchmark(benchmark, parsed)


def start_again_as_workers_are() -> None:
    """Replace this program by itself with the allocator of worker processes, which is set at a start only."""
    with allocator_told():
        if os.environ.get(TUNABLES) != _TUNABLES_BEFORE:
            os.execv(sys.executable, [sys.executable, *sys.argv])


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure what was asked for."""
    figures: list[support.Figure] = []
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        kinds = list(support.both_kinds(arguments, folder))
        for databases in support.engines_of(arguments, stack, folder):
            for name, contract, stage in kinds:
                beside: list[support.Databases] = []
                if databases.name == support.PostgresqlServer.name and name == support.DISCOGS:
                    beside.append(support.SqliteFolder(folder))
                for sources in (databases, *beside):
                    with sources.database() as source:
                        stage(source)
                        runs = [
                            measure(databases, source, contract, arguments, folder)
                            for _ in range(arguments.repeat)
                        ]
                    way = "" if sources is databases else f" from {sources.name}"
                    figures.append(as_figure(f"{name}{way} into {databases.name}", arguments.documents, runs))
    return support.report("A whole load against the slower of its halves", figures, arguments.json)


def as_figure(name: str, documents: int, runs: Sequence[Run]) -> support.Figure:
    """Return the run with the median ratio as a figure."""
    cores = available_cores()
    ratios = sorted(run.ratio(cores) for run in runs)
    middle = min(runs, key=lambda run: abs(run.ratio(cores) - median(ratios)))
    halves = middle.halves
    return support.Figure(
        f"{name}: wall ÷ slower half",
        median(ratios),
        "×",
        BOUND,
        f"wall {middle.wall:.2f} s ({documents / middle.wall:,.0f} documents/s, {middle.executor}); "
        f"producing {halves.producing:.2f} s ÷ {middle.workers} = {halves.producing / middle.workers:.2f} s, "
        f"inserting {halves.inserting:.2f} s, CPU {halves.cpu:.2f} s ÷ {cores} = {halves.cpu / cores:.2f} s; "
        f"CPU of the load {middle.cpu:.2f} s, of other programs meanwhile {middle.others_share:.0%} of the "
        f"machine (what they left ÷ CPU of both = {middle.left_ratio(cores):.2f} ×); ratios "
        + " ".join(f"{ratio:.2f}" for ratio in ratios),
    )


# ---------------------------------------------------------------------------------------- measuring


def measure(
    databases: support.Databases, source: str, contract: Path, arguments: argparse.Namespace, folder: Path
) -> Run:
    """Load once as the product does, then once by halves, each into a new database."""
    command = support.load_arguments(
        contract,
        workers=arguments.workers,
        executor=arguments.executor,
        batch_size=BATCH_SIZE,
        folder=folder,
    )
    with (
        databases.database() as target,
        support.MachineWatch(databases.server_cpu_seconds) as machine,
    ):
        variables = {
            "XML_EXTRACTOR_SOURCE": source,
            "XML_EXTRACTOR_TARGET": target,
            INTERPRETER_VARIABLE: arguments.interpreter,
        }
        support.run_product(command, variables)
    summary = support.read_summary(folder)
    counts = summary["documents"]
    if counts["loaded"] + counts["quarantined"] != arguments.documents:
        raise support.BenchmarkError(f"not every document was loaded: {counts}")
    interpreter = {INTERPRETER_VARIABLE: str(arguments.interpreter)}
    with databases.database() as target, mock.patch.dict(os.environ, interpreter):
        halves = measure_halves(
            source, target, read_contract(contract).plan, summary["executor"], databases.server_cpu_seconds
        )
    return Run(
        # Wall is defined with start-up apart.
        summary["seconds"] - summary["startup_seconds"],
        summary["executor"],
        summary["workers"],
        halves,
        machine.cpu,
        machine.others_share,
    )


class Stopwatch:
    """Wall and CPU seconds of what is done while it is entered, over any number of times."""

    def __init__(self, server_cpu_seconds: Callable[[], float]) -> None:
        self.wall = 0.0
        self.cpu = 0.0
        self._server_cpu_seconds = server_cpu_seconds

    def __enter__(self) -> Stopwatch:
        self._cpu = process_time() + self._server_cpu_seconds()
        self._wall = perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.wall += perf_counter() - self._wall
        self.cpu += process_time() + self._server_cpu_seconds() - self._cpu


def measure_halves(
    source: str, target: str, plan: Plan, executor: str, server_cpu_seconds: Callable[[], float]
) -> Halves:
    """Produce and insert by turns, a batch at a time, on this thread, with the product's own parts."""
    options = LoadOptions.model_validate({"batch_size": BATCH_SIZE})
    limits = TimeLimits(statement_seconds=options.statement_seconds)
    opened = open_target(target, options=EngineOptions(limits), retry_seconds=options.retry_seconds)
    handle = opened.prepare(
        plan,
        source_name="benchmark",
        source_name_explicit=True,
        create_tables=True,
        dry_run=False,
        on_plan_change="report",
        settings={},
    )
    setup = WorkerSetup(
        source=open_engine(source, options=EngineOptions(limits)),
        plan=plan,
        load_started_at=handle.started_at,
        encoder=handle.encoder,
        needs_hash=opened.needs_hash,
        retry_seconds=options.retry_seconds,
    )
    producing, inserting = Stopwatch(server_cpu_seconds), Stopwatch(server_cpu_seconds)
    state = PipelineState()
    # Room for a batch, and for the rest of the chunk that filled it.
    queue = InsertQueue(state, 2 * options.batch_size, 2**40)
    batch_limits = BatchLimits(options.batch_size, options.batch_bytes, options.batch_seconds)
    writer = handle.writer(1)
    try:
        producer = _produce(setup, handle, options, state, queue, by_pipe=executor == "process")
        more = True
        while more:
            with producing:
                more = next(producer, None) is not None
            if not more:
                queue.close()
            while queue.depth().now >= options.batch_size or not more:
                with inserting:
                    batch = queue.take_batch(batch_limits)
                    if batch is None:
                        break
                    writer.commit_batch(batch)
        handle.finish(RunState.FINISHED, {})
    finally:
        writer.close()
        handle.close()
    return Halves(producing.wall, inserting.wall, producing.cpu + inserting.cpu)


def _produce(
    setup: WorkerSetup,
    handle: LoadHandle,
    options: LoadOptions,
    state: PipelineState,
    queue: InsertQueue,
    *,
    by_pipe: bool,
) -> Iterator[int]:
    """Read, parse, map and hand over; yield whenever a batch is ready.

    Args:
        by_pipe: hand over as worker processes do, packed and unpacked.
    """
    reader = setup.make_reader()
    worker = setup.make_worker()
    reader.open()
    try:
        for chunk in PendingKeys(
            reader, handle, options, setup.plan.digest, state, Throttle(None, state.stopping.wait),
            RangeTracker(),
        ):  # fmt: skip
            fetched = FetchedDocuments(chunk, reader.documents(chunk.keys), (), True)
            for block in map_in_blocks(worker, fetched, ThreadPulse()):
                queue.put(_through_a_pipe(block) if by_pipe else block)
            if (depth := queue.depth().now) >= options.batch_size:
                yield depth
    finally:
        reader.close()


def _through_a_pipe(block: list[DocumentRecord]) -> list[DocumentRecord]:
    unpacked = pickle.loads(pickle.dumps(block, protocol=5))
    assert isinstance(unpacked, list)
    return unpacked


if __name__ == "__main__":
    sys.exit(main())
