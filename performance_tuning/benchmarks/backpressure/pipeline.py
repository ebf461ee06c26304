"""Runs the product's stages with a strategy of choice between them.

The coordinator of the product has its queue built in, so this starts the same fetcher, workers and insert
thread itself: keys are dispatched through the strategy's feed, records wait in the strategy's queue.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from time import monotonic, perf_counter, sleep
from typing import Final

from slow_target import TimedTarget
from support import BenchmarkError

from backpressure.feed import Feed
from backpressure.spilling_queue import SpillingQueue
from backpressure.strategies import Bounds, Strategy
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine
from xml_extractor.mapping.records import Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import CHUNK_DOCUMENTS, Chunk
from xml_extractor.processing.database_insert_thread import DatabaseInsertThread
from xml_extractor.processing.insert_queue import BatchLimits, BatchSettings
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.thread_workers import ThreadWorkers
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.settings import LoadOptions
from xml_extractor.threads import Thread

CHUNK_SHARE: Final = CHUNK_DOCUMENTS / LoadOptions().queue_size
"""Documents a chunk for each that may wait, as in the product: what is on its way to the workers when a run
is stopped then bears the same proportion to what waits behind them."""

END_SECONDS: Final = 10.0
"""How long the stages may take to end after the pipeline has (law 6)."""

_POLL_SECONDS: Final = 0.01
_BATCH_SECONDS: Final = 5.0  # the product's default
_WORKER_TIMEOUT: Final = 300.0


@dataclass(frozen=True, slots=True)
class PipelineRun:
    """What a run came to."""

    wall: float  # seconds from the start to the last commit
    ending: float  # seconds from Ctrl-C, or from the failure, to the end; 0 for a run that came to its end
    committed: int  # documents, each once
    drained: int  # of those, committed after Ctrl-C
    thrown_away: int  # documents that were made and not committed
    most_waiting: int  # documents in the queue, in memory
    disk_bytes: int  # written
    most_disk_bytes: int  # at once


def run_pipeline(
    source: Engine,
    plan: Plan,
    target: TimedTarget,
    documents: int,
    strategy: Strategy,
    bounds: Bounds,
    *,
    workers: int,
    batch_documents: int,
    stop_after: float | None = None,
) -> PipelineRun:
    """Load the documents 1 to ``documents``.

    Args:
        stop_after: seconds after which Ctrl-C is pressed, once: nothing more is dispatched, and what is in
            flight is committed.

    Raises:
        BenchmarkError: a document was committed twice, or a complete run missed one; or a stage is stuck.
        LoaderError: a stage failed that was not told to.
    """
    state = PipelineState()
    load = target.prepare(plan)
    queue, feed = strategy.make(state, bounds)
    setup = WorkerSetup(
        source=source,
        plan=plan,
        load_started_at=load.started_at,
        encoder=load.encoder,
        needs_hash=target.needs_hash,
        retry_seconds=0.0,
    )
    channel: Channel[Chunk] = Channel(state, capacity_items=workers, capacity_bytes=workers)
    watch = Watch(_WORKER_TIMEOUT, state)
    pool = ThreadWorkers(workers, setup, channel, queue, state, lambda keys: None, watch, lambda note: None)
    inserter = DatabaseInsertThread(
        1,
        lambda: load.writer(1),
        queue,
        BatchSettings(BatchLimits(batch_documents, 2**60, _BATCH_SECONDS), insert_threads=1),
        state,
        lambda result, committed_at, waited: None,
        lambda clocks: None,
        list,
    )
    dispatcher = Thread(_dispatch, args=(_chunks(documents, bounds), feed, channel, state), name="dispatcher")
    commits = target.commits
    started = perf_counter()
    ended_from: float | None = None  # Ctrl-C, or the failure
    before = 0
    threads = [dispatcher, *pool.threads]
    try:
        with watch:
            inserter.thread.start()
            pool.start()
            dispatcher.start()
            closed = False
            while inserter.thread.is_alive() and not state.ended.is_set():
                sleep(_POLL_SECONDS)
                if stop_after is not None and not state.stopping.is_set():
                    now = perf_counter()
                    if now - started >= stop_after:
                        ended_from, before = now, commits.documents
                        state.stopping.set()
                if not closed and not any(thread.is_alive() for thread in threads):
                    queue.close()
                    closed = True
    finally:
        state.abort()
        _see_off([*threads, inserter.thread])
        if isinstance(queue, SpillingQueue):
            queue.dispose()
    ended_from = target.failed_at if target.failed_at is not None else ended_from
    ended = perf_counter()
    if state.failure is not None and target.failed_at is None:
        raise state.failure
    commits.check(documents, complete=ended_from is None)
    spilled = queue if isinstance(queue, SpillingQueue) else None
    return PipelineRun(
        wall=commits.last - started,
        ending=0.0 if ended_from is None else ended - ended_from,
        committed=commits.documents,
        drained=commits.documents - before if stop_after is not None and ended_from is not None else 0,
        thrown_away=target.encoder.documents - commits.documents,
        most_waiting=queue.depth().maximum,
        disk_bytes=0 if spilled is None else spilled.written_bytes,
        most_disk_bytes=0 if spilled is None else spilled.most_bytes,
    )


def _chunks(documents: int, bounds: Bounds) -> Iterator[Chunk]:
    size = max(1, round(bounds.documents * CHUNK_SHARE))
    for number, first in enumerate(range(1, documents + 1, size), start=1):
        keys: tuple[Key, ...] = tuple(range(first, min(first + size, documents + 1)))
        yield Chunk(number, keys, {})


def _dispatch(chunks: Iterable[Chunk], feed: Feed, channel: Channel[Chunk], state: PipelineState) -> None:
    try:
        for chunk in chunks:
            if not feed.take(len(chunk.keys)):
                break
            channel.put(chunk, 1)
        channel.close()
    except PipelineStopped:
        return
    except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
        state.fail(error)


def _see_off(threads: Sequence[Thread]) -> None:
    deadline = monotonic() + END_SECONDS
    for thread in threads:
        if thread.ident is not None:
            thread.join(max(0.0, deadline - monotonic()))
            if thread.is_alive():
                raise BenchmarkError(f"{thread.name} has not ended {END_SECONDS:.0f} s after the pipeline")
