"""Workers as threads of this process: one fetcher, N mappers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

from xml_extractor.mapping.records import DocumentRecord
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.document_fetcher import FETCH_BYTES, DocumentFetcher, FetchedDocuments
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.processing.insert_queue import InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.clocks import StageClocks

BLOCK_DOCUMENTS = 16
"""Records handed to the queue at once: its lock is then taken once for so many documents."""


class ThreadWorkers:
    """N worker threads fed by one fetcher thread.

    ``startup_seconds`` is 0: threads can map as soon as they are made.

    Args:
        count: worker threads.
        setup: what a worker needs to know.
        chunks: pending keys; closed by whoever fills it.
        queue: where the records go.
        on_vanished: told the number of keys that were gone from the source when their documents were
            read; called from worker threads.
    """

    def __init__(
        self,
        count: int,
        setup: WorkerSetup,
        chunks: Channel[Chunk],
        queue: InsertQueue,
        state: PipelineState,
        on_vanished: Callable[[int], None],
    ) -> None:
        self.startup_seconds = 0.0
        self._queue = queue
        self._state = state
        self._on_vanished = on_vanished
        self._fetched: Channel[FetchedDocuments] = Channel(
            state, capacity_items=2 * count, capacity_bytes=(count + 1) * FETCH_BYTES
        )
        fetcher = DocumentFetcher(setup.make_reader(), chunks.get, self._fetched, state)
        self._workers = [setup.make_worker() for _ in range(count)]
        self.threads = [fetcher.thread] + [
            threading.Thread(
                target=self._run, args=(worker,), name=f"xml-extractor-worker-{number}", daemon=True
            )
            for number, worker in enumerate(self._workers, start=1)
        ]

    def start(self) -> None:
        """Start all threads."""
        for thread in self.threads:
            thread.start()

    def clocks(self) -> list[StageClocks]:
        """Return what is on the clock of each worker."""
        return [worker.clock.clocks() for worker in self._workers]

    def _run(self, worker: DocumentWorker) -> None:
        clock = worker.clock
        try:
            while True:
                fetched = self._fetched.get()
                clock.charge_idle()
                if fetched is None:
                    return
                if fetched.vanished:
                    self._on_vanished(len(fetched.vanished))
                for block in map_in_blocks(worker, fetched):
                    clock.charge_map(blocked_seconds=self._queue.put(block))
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)


def map_in_blocks(worker: DocumentWorker, fetched: FetchedDocuments) -> Iterator[list[DocumentRecord]]:
    """Map the documents of a slice, yielding their records in blocks."""
    previous = fetched.chunk.previous
    block: list[DocumentRecord] = []
    for document in fetched.documents:
        block.append(worker.process(document, previous.get(document.key)))
        if len(block) == BLOCK_DOCUMENTS:
            yield block
            block = []
    if block:
        yield block
