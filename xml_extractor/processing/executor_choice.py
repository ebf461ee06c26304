"""Chooses between threads and processes by the load's own first documents: their size, and timing them."""

from __future__ import annotations

import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

from xml_extractor.mapping.records import SourceDocument
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.processing.mapping_documents import map_document
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.pulse import ThreadPulse
from xml_extractor.processing.thread_watch import WatchedThread
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.source.reader import document_bytes
from xml_extractor.threads import Thread

# What it goes by: two workers' speed against one's, on two cores (benchmark_scaling.py; all of a document is
# taken), and at 200 kB with 4 % of it wanted (benchmark_large_documents.py).
#
#   a document           1 kB   4 kB   16 kB  64 kB  200 kB   200 kB, 4 %
#   native, threads      1.0    1.0    1.2    1.2    1.3      1.6
#   native, processes    1.8    2.1    1.8    1.5    1.1
#   Python, threads      1.0    1.0    1.1    1.2    1.0      1.5
#   Python, processes    1.9    1.9    1.6    1.5    1.3
#
# Threads never gain anything on small documents, with either interpreter: each needs Python's lock more often
# than it can be handed over; and processes have an allocator fit for trees (processes.py).  On large ones it
# depends on what the contract takes of them, so that is timed.

SAMPLE_DOCUMENTS = 200
"""The most documents that are timed."""

TRIAL_SECONDS = 0.05
"""How long each of the two timings may take.  Making the workers takes 5 to 15 ms each beside that."""

SMALL_DOCUMENT_BYTES = 96 * 1024
"""Documents below this, on average, are not tried on several threads."""

WORTH_PROCESSES_SECONDS = 2.0
"""Mapping work below which processes do not pay: starting four of them (a new interpreter, lxml and a
driver each) was measured at 0.6 to 1.0 s on two cores."""

GOOD_SCALING = 0.7
"""Threads that reach this share of the ideal speed-up are kept: processes then cost more (memory, start,
records sent through pipes) than they bring."""

WORTH_THREADS = 1.15
"""Several threads that are not this much faster than one are not started: they would take turns, and make
those that insert wait (with four mapping threads instead of one, a batch took twice as long to insert)."""


_POLL_SECONDS = 0.1
_CGROUP_ROOT = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """thread, process or serial, and why, in words."""

    executor: str
    reason: str
    workers: int | None = None
    """How many there are to be, where fewer than were asked for do as well; None = as many as those."""


def choose_executor(
    setup: WorkerSetup,
    sample: Sequence[SourceDocument],
    pending: int,
    workers: int,
    throttle: float | None,
    state: PipelineState,
    watch: Watch,
) -> ExecutorChoice:
    """Time ``sample`` on one thread, where it may help also on several, and choose by that.

    The documents are mapped for the timing only; nothing of it is kept.

    Args:
        sample: the first pending documents, up to :data:`SAMPLE_DOCUMENTS`.
        pending: about how many documents are pending.
        workers: as set by the user.
        throttle: documents a second that the load is held to; ``None`` = as fast as they go.
        state: ended while the documents are timed, if one of them is stuck.
        watch: looks at the threads that time them.

    Raises:
        PipelineStopped: the pipeline has ended.
    """
    cores = available_cores()
    parallel = min(workers, cores)
    if parallel < 2:
        return ExecutorChoice("thread", f"{cores} core(s) for {workers} worker(s)", 1)
    if not sample:
        return ExecutorChoice("thread", "nothing is pending", 1)
    made = [setup.make_worker()]
    one = _documents_per_second(made, sample, state, watch)
    if throttle is not None and throttle <= one:
        return ExecutorChoice(
            "thread", f"--throttle holds the load to {throttle:,g} documents/s; one thread maps {one:,.0f}", 1
        )
    seconds = pending / one
    mean_bytes = sum(map(document_bytes, sample)) / len(sample)
    if mean_bytes < SMALL_DOCUMENT_BYTES:
        speed_up = 1.0
        measured = (
            f"one thread maps {one:,.0f} documents/s, and over documents of {mean_bytes / 1000:.1f} kB "
            "processes are faster than threads"
        )
    else:
        made += [setup.make_worker() for _ in range(parallel - 1)]
        speed_up = _documents_per_second(made, sample, state, watch) / one
        measured = f"{parallel} threads map {speed_up:.1f} times as fast as one ({one:,.0f} documents/s)"
    if speed_up >= GOOD_SCALING * parallel:
        return ExecutorChoice("thread", measured)
    if seconds < WORTH_PROCESSES_SECONDS:
        return ExecutorChoice(
            "thread",
            f"mapping {pending:,} documents takes one core {seconds:.1f} s, "
            f"too little for the start of processes to pay; {measured}",
            None if speed_up >= WORTH_THREADS else 1,
        )
    return ExecutorChoice("process", measured)


def available_cores() -> int:
    """Return the number of cores that this process may use: by its affinity and its container's quota."""
    has_affinity = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1
    quota = container_cores()
    return cores if quota is None else max(1, min(cores, math.ceil(quota)))


def container_cores(root: Path = _CGROUP_ROOT) -> float | None:
    """Return how many cores' time a container may take, as its control group says; ``None`` = no limit.

    Workers beyond that would only take turns, however many cores the machine has.
    """
    # Version 2 has both in one file: "150000 100000", or "max 100000"; version 1 says -1 for no limit.
    for files in (("cpu.max",), ("cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us")):
        try:
            words = " ".join((root / file).read_text(encoding="ascii") for file in files).split()
        except (OSError, UnicodeDecodeError):
            continue
        if len(words) == 2 and all(word.isdecimal() and int(word) > 0 for word in words):
            return int(words[0]) / int(words[1])
    return None


def _documents_per_second(
    workers: Sequence[DocumentWorker], sample: Sequence[SourceDocument], state: PipelineState, watch: Watch
) -> float:
    """Map the sample with each of the workers, in threads, for up to :data:`TRIAL_SECONDS`."""
    done = [0] * len(workers)
    # The first document warms parser and caches.
    _run([_runner(workers[-1], sample[:1], 0, [0], 0.0, state, watch)], state)
    started = perf_counter()
    deadline = started + TRIAL_SECONDS
    runners = [
        _runner(worker, sample, index, done, deadline, state, watch) for index, worker in enumerate(workers)
    ]
    _run(runners, state)
    return sum(done) / (perf_counter() - started)


def _runner(
    worker: DocumentWorker,
    sample: Sequence[SourceDocument],
    index: int,
    done: list[int],
    deadline: float,
    state: PipelineState,
    watch: Watch,
) -> threading.Thread:
    """Return a thread that maps documents until the deadline (``perf_counter``), at least one."""

    def run() -> None:
        pulse = ThreadPulse()
        watched = WatchedThread(threading.current_thread(), pulse, watch.timeout_seconds, state)
        watch.add(watched)
        try:
            for document in sample:
                map_document(worker, document, None, pulse)
                done[index] += 1
                if perf_counter() >= deadline or state.ended.is_set():
                    return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            state.fail(error)
        finally:
            watch.discard(watched)

    return Thread(run, name=f"xml-extractor-trial-{index + 1}")


def _run(runners: Sequence[threading.Thread], state: PipelineState) -> None:
    for runner in runners:
        runner.start()
    for runner in runners:
        while runner.is_alive() and not state.ended.is_set():
            runner.join(_POLL_SECONDS)
    if state.ended.is_set():
        raise PipelineStopped
