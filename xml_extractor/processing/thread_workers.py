"""Workers as threads of this process: one fetcher, N mappers."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Collection
from typing import Final

from xml_extractor.mapping.records import Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.document_fetcher import DocumentFetcher, FetchedDocuments, fetch
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.processing.insert_queue import InsertQueue
from xml_extractor.processing.mapping_documents import map_in_blocks
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.pulse import ThreadPulse
from xml_extractor.processing.thread_watch import WatchedThread
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.document_latency import DocumentLatency
from xml_extractor.profiling.profile import WorkerProfile
from xml_extractor.source.reader import FETCH_BYTES
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

END_SECONDS: Final = 5.0
"""How long threads may take to end after the pipeline has."""


class ThreadWorkers:
    """N worker threads fed by one fetcher thread.

    ``startup_seconds`` is 0: threads can map as soon as they are made.

    Args:
        count: worker threads.
        setup: what a worker needs to know.
        chunks: pending keys; closed by whoever fills it.
        queue: where the records go.
        on_vanished: told the keys that were gone from the source when their documents were
            read; called from worker threads.
        watch: looks at the workers, and ends the run if one of them is stuck.
        note: told what the pool decides by itself, for the operator.
        document_latency: where the times of single documents go.
    """

    def __init__(
        self,
        count: int,
        setup: WorkerSetup,
        chunks: Channel[Chunk],
        queue: InsertQueue,
        state: PipelineState,
        on_vanished: Callable[[Collection[Key]], None],
        watch: Watch,
        note: Callable[[str], None],
        document_latency: DocumentLatency | None = None,
    ) -> None:
        self.startup_seconds = 0.0
        self.document_latency = document_latency or DocumentLatency()
        self._setup = setup
        self._chunks = chunks
        self._queue = queue
        self._state = state
        self._on_vanished = on_vanished
        self._watch = watch
        self._note = note
        self._fetched: Channel[FetchedDocuments] = Channel(
            state, capacity_items=2 * count, capacity_bytes=(count + 1) * FETCH_BYTES
        )
        self._fetcher = DocumentFetcher(setup.make_reader(), chunks.get, self._fetched, state)
        self._workers = [setup.make_worker() for _ in range(count)]
        self.threads = [self._fetcher.thread] + [
            Thread(self._run, args=(worker,), name=f"xml-extractor-worker-{number}")
            for number, worker in enumerate(self._workers, start=1)
        ]

    def start(self) -> None:
        """Start all threads, or as many as the system gives.

        Raises:
            RuntimeError: not even the fetcher and one worker could be started; what was started ends with
                the channel of chunks.
        """
        for number, thread in enumerate(self.threads):
            try:
                thread.start()
            except RuntimeError:
                if number < 2:
                    raise
                self._say(f"the system has no more threads: {number - 1} workers, not {len(self._workers)}")
                del self.threads[number:]
                return

    def run_to_the_end(self) -> None:
        """Start the threads and wait for them; where there are none to be had, do their work here."""
        try:
            self.start()
        except RuntimeError:
            self._say("no worker threads can be started: one document after another")
            if self._fetcher.thread.is_alive():
                self._run(self._workers[0])
                self._fetcher.thread.join(END_SECONDS)
            else:
                self._run_serially()
            return
        for thread in self.threads:
            while thread.is_alive() and not self._state.ended.is_set():
                thread.join(0.1)
            thread.join(END_SECONDS)

    def profiles(self) -> list[WorkerProfile]:
        """Return what each worker did."""
        return [
            WorkerProfile(f"xml-extractor-worker-{number}", worker.clock.documents, worker.clock.clocks())
            for number, worker in enumerate(self._workers, start=1)
        ]

    def last_process_ids(self) -> list[int]:
        """There are no worker processes."""
        return []

    def _run(self, worker: DocumentWorker) -> None:
        clock = worker.clock
        pulse = ThreadPulse()
        watched = WatchedThread(threading.current_thread(), pulse, self._watch.timeout_seconds, self._state)
        self._watch.add(watched)
        try:
            while True:
                fetched = self._fetched.get()
                clock.charge_idle()
                if fetched is None:
                    return
                self._map(worker, fetched, pulse)
                del fetched  # not kept while the next documents are waited for
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            self._watch.discard(watched)

    def _map(self, worker: DocumentWorker, fetched: FetchedDocuments, pulse: ThreadPulse) -> None:
        if fetched.vanished:
            self._on_vanished(fetched.vanished)
        for block in map_in_blocks(worker, fetched, pulse):
            worker.clock.charge_map(blocked_seconds=self._queue.put(block))
        self.document_latency.add(worker.clock.take_documents())

    def _run_serially(self) -> None:
        """Fetch and map in turn, in the calling thread."""
        worker, pulse = self._workers[0], ThreadPulse()
        watched = WatchedThread(threading.current_thread(), pulse, self._watch.timeout_seconds, self._state)
        reader = self._setup.make_reader()
        self._state.on_end(reader.abort)
        self._watch.add(watched)
        try:
            reader.open()
            while (chunk := self._chunks.get()) is not None:
                for fetched in fetch(reader, chunk):
                    worker.clock.charge_idle()
                    self._map(worker, fetched, pulse)
        finally:
            self._watch.discard(watched)
            reader.close()

    def _say(self, text: str) -> None:
        logger.warning("%s", text)
        self._note(text)
