"""Chooses between threads and processes by timing the load's own first documents."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

from xml_extractor.mapping.records import SourceDocument
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.processing.mapping_documents import map_document
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.pulse import ThreadPulse
from xml_extractor.processing.thread_watch import WatchedThread
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.threads import Thread

SAMPLE_DOCUMENTS = 200
"""The most documents that are timed."""

TRIAL_SECONDS = 0.1
"""How long each of the two timings may take."""

WORTH_PROCESSES_SECONDS = 2.0
"""Mapping work below which processes do not pay: starting four of them (a new interpreter, lxml and a
driver each) was measured at 0.6 to 1.0 s on two cores."""

GOOD_SCALING = 0.7
"""Threads that reach this share of the ideal speed-up are kept: processes then cost more (memory, start,
records sent through pipes) than they bring."""


_POLL_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ExecutorChoice:
    """thread, process or serial, and why, in words."""

    executor: str
    reason: str


def choose_executor(
    setup: WorkerSetup,
    sample: Sequence[SourceDocument],
    pending: int,
    workers: int,
    throttle: float | None,
    state: PipelineState,
    watch: Watch,
) -> ExecutorChoice:
    """Time ``sample`` on one thread and on several, and choose by that.

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
        return ExecutorChoice("thread", f"{cores} core(s) for {workers} worker(s)")
    if not sample:
        return ExecutorChoice("thread", "nothing is pending")
    one = _documents_per_second(setup, sample, 1, state, watch)
    if throttle is not None and throttle <= one:
        return ExecutorChoice(
            "thread", f"--throttle holds the load to {throttle:,g} documents/s; one thread maps {one:,.0f}"
        )
    seconds = pending / one
    if seconds < WORTH_PROCESSES_SECONDS:
        return ExecutorChoice(
            "thread",
            f"mapping {pending:,} documents takes one core {seconds:.1f} s, "
            "too little for the start of processes to pay",
        )
    several = _documents_per_second(setup, sample, parallel, state, watch)
    speed_up = several / one
    measured = f"{parallel} threads map {speed_up:.1f} times as fast as one ({one:,.0f} documents/s)"
    if speed_up >= GOOD_SCALING * parallel:
        return ExecutorChoice("thread", measured)
    return ExecutorChoice("process", measured)


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _documents_per_second(
    setup: WorkerSetup, sample: Sequence[SourceDocument], threads: int, state: PipelineState, watch: Watch
) -> float:
    """Map the sample on each of ``threads`` threads for up to :data:`TRIAL_SECONDS`."""
    done = [0] * threads
    workers = [setup.make_worker() for _ in range(threads)]
    # The first document warms parser and caches.
    _run([_runner(workers[0], sample[:1], 0, [0], 0.0, state, watch)], state)
    started = perf_counter()
    deadline = started + TRIAL_SECONDS
    _run(
        [_runner(workers[index], sample, index, done, deadline, state, watch) for index in range(threads)],
        state,
    )
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
