"""What profiling costs: clocks, histograms, samples and memory measurements, as a share of a load's CPU time.

Wall-clock runs with and without would have to be told apart by two per cent, which other work on a machine
shakes more than that.  So the share is put together from what can be measured firmly, all of it CPU time:

    documents   what the clocks of a worker do for one document, in a loop (the least of several rounds),
                times the load's documents
    chunks      handing over and merging the times of a chunk's documents, likewise
    batches     the clocks of an insert thread and the recorder, likewise
    samples     the sampler's thread, measured in the load itself
    memory      the thread that adds up the processes' memory, measured in the load itself

over the CPU time of all processes of the same load.  With ``--pairs`` loads on one thread are run in turn
with and without all of this, too; the median of their ratios is shown as a check, and has no bound.
"""

from __future__ import annotations

import argparse
import gc
import pickle
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Final
from unittest.mock import patch

import support

from xml_extractor import Contract, LoadOptions, LoadSummary, load
from xml_extractor.contract.plan import Plan
from xml_extractor.processing.chunks import CHUNK_DOCUMENTS
from xml_extractor.processing.load_figures import committed_batch
from xml_extractor.processing.mapping_documents import BLOCK_DOCUMENTS
from xml_extractor.profiling import memory
from xml_extractor.profiling.clocks import DocumentTimes, WorkerClock
from xml_extractor.profiling.document_latency import DocumentLatency
from xml_extractor.profiling.recorder import Recorder
from xml_extractor.resources import shipped_config
from xml_extractor.settings import ExecutorChoice
from xml_extractor.target.base import BatchResult

BOUND_PERCENT: Final = 2.0
DOCUMENTS: Final = 20_000
BATCH_SIZE: Final = 1000
ROUNDS: Final = 9
EXECUTORS: Final = ("serial", "thread", "process")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N", help="default %(default)s"
    )
    parser.add_argument(
        "--executor", choices=EXECUTORS, action="append", help="this one (default: all of them in turn)"
    )
    parser.add_argument(
        "--pairs", type=int, default=0, metavar="N", help="loads with and without, in turn (default: none)"
    )
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure loads into SQLite, which costs the least CPU time and so leaves the largest share."""
    contract = Contract.read(shipped_config("loan_application.yaml"))
    figures = []
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        databases = support.SqliteFolder(folder)
        source = stack.enter_context(databases.database())
        support.stage_applications(source, arguments.documents, folder)
        costs = document_seconds(), chunk_seconds(), batch_seconds(contract.plan)
        for executor in arguments.executor or EXECUTORS:
            with databases.database() as target:
                figures.append(share(source, target, contract, executor, *costs))
        if arguments.pairs:
            ratios = []
            for number in range(arguments.pairs):
                seconds: dict[bool, float] = {}
                for on in (True, False) if number % 2 else (False, True):
                    with databases.database() as target:
                        seconds[on] = one_thread_seconds(source, target, contract, on=on)
                ratios.append(100 * (seconds[True] / seconds[False] - 1))
            shown = ", ".join(f"{ratio:+.2f}" for ratio in sorted(ratios))
            figures.append(
                support.Figure(
                    "more CPU time with than without", statistics.median(ratios), "%",
                    detail=f"serial; median of {arguments.pairs} pairs of loads: {shown}",
                )
            )  # fmt: skip
    return support.report("What profiling costs, of a load's CPU time", figures, arguments.json)


def share(
    source: str, target: str, contract: Contract, executor: str,
    per_document: float, per_chunk: float, per_batch: float,
) -> support.Figure:  # fmt: skip
    """Load once, and return the share that profiling took of it."""
    with threads_timed() as seconds:
        summary = run(source, target, contract, executor)
    profile = summary.profile
    assert profile is not None
    documents = profile.document_latency.count
    parts = {
        "documents": per_document * documents,
        "chunks": per_chunk * documents / CHUNK_DOCUMENTS,
        "batches": per_batch * summary.batches,
        "samples": seconds["samples"],
        "memory": seconds["memory"],
    }
    whole = profile.cpu_seconds
    detail = ", ".join(f"{name} {100 * part / whole:.2f} %" for name, part in parts.items())
    return support.Figure(
        f"profiling: {executor}", 100 * sum(parts.values()) / whole, "%", BOUND_PERCENT,
        f"{detail}; {1e6 * per_document:.2f} µs a document, {1e6 * per_chunk:.0f} a chunk, "
        f"{1e6 * per_batch:.0f} a batch, {1e6 * whole / max(documents, 1):.0f} µs a document in all",
    )  # fmt: skip


def run(source: str, target: str, contract: Contract, executor: str) -> LoadSummary:
    """Load all documents."""
    options = LoadOptions(
        executor=ExecutorChoice(executor), workers=2, batch_size=BATCH_SIZE, create_tables=True,
        source_name="benchmark",
    )  # fmt: skip
    summary = load(source, target, contract, options)
    counts = summary.documents
    if counts.read != counts.loaded + counts.quarantined:
        raise support.BenchmarkError(f"not every document was loaded: {counts}")
    return summary


# ------------------------------------------------------------------------------------- one event


def least(call: Callable[[], None], events: int) -> float:
    """Return the CPU seconds of one event: of the fastest of several rounds of so many events."""
    fastest = float("inf")
    gc.disable()
    try:
        for _ in range(ROUNDS):
            started = time.thread_time()
            call()
            fastest = min(fastest, time.thread_time() - started)
    finally:
        gc.enable()
    return fastest / events


def document_seconds() -> float:
    """What the clock of a worker costs for one document, its part of a block and of a chunk included."""
    clock = WorkerClock()
    events = 300 * CHUNK_DOCUMENTS

    def documents() -> None:
        for number in range(events):
            if number % BLOCK_DOCUMENTS == 0:
                clock.begin_documents()
                clock.charge_map()
                clock.charge_blocked()
            clock.charge_parse()
            clock.charge_map()
            clock.document_done(number)
            if number % CHUNK_DOCUMENTS == 0:
                clock.take_documents()
                clock.charge_idle()
                clock.clocks()

    return least(documents, events)


def chunk_seconds() -> float:
    """What it costs to send a chunk's times from a worker process and to merge them."""
    latency = DocumentLatency()
    events = 300
    times = [
        DocumentTimes([100 + 7 * (number * event % 400) for number in range(CHUNK_DOCUMENTS)], [])
        for event in range(events)
    ]

    def chunks() -> None:
        for one in times:
            latency.add(pickle.loads(pickle.dumps(one, protocol=5)))

    return least(chunks, events)


def batch_seconds(plan: Plan) -> float:
    """What it costs to time a batch with rows in all tables, and to take it into the profile."""
    recorder = Recorder()
    rows = (5,) * len(plan.tables)
    events = 200

    def batches() -> None:
        for _ in range(events):
            result = BatchResult(rows=rows, document_rows=rows, attempts=1, loaded=5)
            for table in plan.tables:
                result.table_seconds[table.name] = time.perf_counter()
            for _ in range(8):  # begin and end of the wait, the attempts, the commit and the whole
                result.commit_seconds = time.perf_counter()
            result.seconds = 0.01
            recorder.batch(committed_batch(result, 0.01, plan))

    return least(batches, events)


@contextmanager
def threads_timed() -> Iterator[dict[str, float]]:
    """Add up the CPU seconds of the threads that take samples and measure memory."""
    seconds = {"samples": 0.0, "memory": 0.0}
    lock = threading.Lock()

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any) -> Any:
            started = time.thread_time()
            try:
                return function(*given)
            finally:
                with lock:
                    seconds[name] += time.thread_time() - started

        return call

    with (
        patch.object(Recorder, "_sample", timed("samples", Recorder._sample)),
        patch.object(memory, "memory_bytes", timed("memory", memory.memory_bytes)),
    ):
        yield seconds
    if not seconds["samples"] or not seconds["memory"]:
        raise support.BenchmarkError("no sample was taken, or no memory measured: there is nothing to judge")


# --------------------------------------------------------------------------------- with and without


def one_thread_seconds(source: str, target: str, contract: Contract, *, on: bool) -> float:
    """Return the CPU time of a serial load, with profiling or without."""
    nothing: dict[Any, tuple[str, ...]] = {
        WorkerClock: ("charge_parse", "charge_map", "charge_blocked", "charge_idle", "begin_documents"),
        Recorder: ("begin", "batch", "charge", "end"),
    }
    with ExitStack() as stack:
        if not on:
            for owner, names in nothing.items():
                for name in names:
                    stack.enter_context(patch.object(owner, name, lambda *_, **__: None))
            stack.enter_context(patch.object(WorkerClock, "document_done", lambda *_: None))
            stack.enter_context(patch.object(memory, "memory_bytes", lambda: 0))
        gc.collect()
        started = time.process_time()
        run(source, target, contract, "serial")
        return time.process_time() - started


if __name__ == "__main__":
    sys.exit(main())
