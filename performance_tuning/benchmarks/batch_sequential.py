"""The way that a queue replaces: the workers make a batch together, then all wait until it is inserted.

It is built of the product's own parts, the same pools of workers and the same writer, and differs in one
thing alone: nothing is dispatched while a batch is inserted.  It is written to be fast within that rule:

- The next keys are read, and the batch cut, by the same code as in the product.
- A *round* may be more than one batch.  Where a batch does not divide evenly among the workers (ten
  documents, four workers), some would idle while the last documents are made, which has nothing to do with
  queues; with :func:`even_round` all have the same number of documents.
- A round is cut into small chunks, so that no worker is late with a large one.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from math import gcd
from time import perf_counter
from typing import Final

from support import BenchmarkError

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine
from xml_extractor.mapping.records import Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import CHUNK_DOCUMENTS, Chunk
from xml_extractor.processing.insert_queue import BatchLimits, InsertQueue
from xml_extractor.processing.pending_keys import PendingKeys
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.process_workers import ProcessWorkers
from xml_extractor.processing.ranges import RangeTracker
from xml_extractor.processing.thread_workers import ThreadWorkers
from xml_extractor.processing.throttle import Throttle
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.settings import ExecutorChoice, LoadOptions
from xml_extractor.target.base import BatchWriter, LoadHandle, Target

CHUNKS_A_WORKER: Final = 4
"""Chunks that each worker gets of a round, where the round is large enough."""

_UNLIMITED_BYTES: Final = 2**60
_UNLIMITED_SECONDS: Final = 86_400.0

END_SECONDS: Final = 10.0
"""How long the workers may take to end."""


@dataclass(frozen=True, slots=True)
class SequentialRun:
    """What a batch-sequential load came to, in seconds."""

    wall: float  # from the first read to the last commit, the start of worker processes apart
    producing: float  # of the wall: waiting for the workers
    inserting: float  # of the wall: committing
    documents: int
    rows: int  # committed, over all tables
    rounds: int
    cpu: float  # of the whole load, the first round taken to have cost as much as the others


def even_round(batch_size: int, workers: int) -> int:
    """Return the documents of the smallest round, in whole batches, that gives all workers equally many."""
    return batch_size * (workers // gcd(batch_size, workers))


def run(
    source: Engine,
    target: Target,
    load: LoadHandle,
    plan: Plan,
    options: LoadOptions,
    *,
    round_documents: int | None = None,
    cpu_seconds: Callable[[], float] = float,
) -> SequentialRun:
    """Load all pending documents, one round after the other.

    Args:
        options: ``workers``, ``batch_size``, ``executor`` (thread or process) and the timeouts count.
        round_documents: documents that are made before any of them is inserted; a batch by default.
        cpu_seconds: CPU time so far of all that takes part.

    Raises:
        LoaderError: a stage failed.
        BenchmarkError: a document left the source meanwhile.
    """
    state = PipelineState()
    setup = WorkerSetup(
        source=source,
        plan=plan,
        load_started_at=load.started_at,
        encoder=load.encoder,
        needs_hash=target.needs_hash,
        retry_seconds=options.retry_seconds,
    )
    size = round_documents or options.batch_size
    channel: Channel[Chunk] = Channel(state, capacity_items=options.workers, capacity_bytes=options.workers)
    queue = InsertQueue(state, size, _UNLIMITED_BYTES)
    pool_class = ProcessWorkers if options.executor is ExecutorChoice.PROCESS else ThreadWorkers
    watch = Watch(options.worker_timeout, state)
    workers = pool_class(
        options.workers, setup, channel, queue, state, _refuse_vanished, watch, lambda note: None
    )
    tracker = RangeTracker()
    started = perf_counter()
    reader = setup.make_reader()
    writer = load.writer(1)
    state.on_end(writer.abort)
    try:
        reader.open()
        pending = PendingKeys(
            reader, load, options, plan.digest, state, Throttle(None, state.stopping.wait), tracker
        )
        pending.total()  # the product asks, for its progress line
        with watch:
            workers.start()
            rounds = _Rounds(channel, queue, writer, tracker, options, cpu_seconds)
            keys = (key for chunk in pending for key in chunk.keys)
            while wanted := tuple(islice(keys, size)):
                rounds.load(wanted)
            channel.close()
            for thread in workers.threads:
                thread.join(END_SECONDS)
    except PipelineStopped:
        if state.failure is not None:
            raise state.failure from None
        raise
    finally:
        state.abort()
        for thread in workers.threads:
            if thread.ident is not None:
                thread.join(END_SECONDS)
        writer.close()
        reader.close()
    return rounds.result(started, workers.startup_seconds)


class _Rounds:
    """Makes and commits one round after the other, and keeps the times."""

    def __init__(
        self,
        channel: Channel[Chunk],
        queue: InsertQueue,
        writer: BatchWriter,
        tracker: RangeTracker,
        options: LoadOptions,
        cpu_seconds: Callable[[], float],
    ) -> None:
        self._channel = channel
        self._queue = queue
        self._writer = writer
        self._tracker = tracker
        self._options = options
        self._cpu_seconds = cpu_seconds
        self._cpu: list[tuple[int, float]] = []  # after each round: documents so far, CPU so far
        self._last_commit = perf_counter()
        self._documents = 0
        self._rows = 0
        self._chunks = 0
        self._producing = self._inserting = 0.0

    def load(self, keys: tuple[Key, ...]) -> None:
        """Have these documents made, wait for all of them, then commit them batch by batch."""
        started = perf_counter()
        for part in self._parts(keys):
            self._chunks += 1
            self._channel.put(Chunk(self._chunks, part, {}), 1)
        # Waits until the round is complete: the queue is not closed, and nothing else ends this batch.
        records = self._queue.take_batch(BatchLimits(len(keys), _UNLIMITED_BYTES, _UNLIMITED_SECONDS)) or []
        made = perf_counter()
        self._producing += made - started
        size = self._options.batch_size
        for first in range(0, len(records), size):
            result = self._writer.commit_batch(records[first : first + size])
            self._last_commit = perf_counter()
            self._tracker.settle(result.settled)
            self._rows += sum(result.rows)
            if finished := self._tracker.take_finished():
                self._writer.record_ranges(finished)
        self._inserting += perf_counter() - made
        self._documents += len(records)
        self._cpu.append((self._documents, self._cpu_seconds()))

    def result(self, started: float, startup_seconds: float) -> SequentialRun:
        """Return what all rounds came to; the start of worker processes was spent waiting for them."""
        cpu = 0.0
        if len(self._cpu) > 1:
            (first, before), (last, after) = self._cpu[0], self._cpu[-1]
            cpu = (after - before) * last / (last - first)
        return SequentialRun(
            wall=self._last_commit - started - startup_seconds,
            producing=self._producing - startup_seconds,
            inserting=self._inserting,
            documents=self._documents,
            rows=self._rows,
            rounds=len(self._cpu),
            cpu=cpu,
        )

    def _parts(self, keys: tuple[Key, ...]) -> Iterator[tuple[Key, ...]]:
        size = max(1, min(CHUNK_DOCUMENTS, len(keys) // (self._options.workers * CHUNKS_A_WORKER)))
        for first in range(0, len(keys), size):
            yield keys[first : first + size]


def _refuse_vanished(keys: Collection[Key]) -> None:
    raise BenchmarkError(f"{len(keys):,} documents left the benchmark's source while it was read")
