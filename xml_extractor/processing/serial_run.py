"""Fetches, maps and commits in turn, in one thread (``--executor serial``)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from xml_extractor import failpoints
from xml_extractor.mapping.records import DocumentRecord, Key
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.document_fetcher import fetch
from xml_extractor.processing.insert_queue import BatchSettings
from xml_extractor.processing.mapping_documents import map_document
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.pulse import ThreadPulse
from xml_extractor.processing.thread_watch import WatchedThread
from xml_extractor.processing.throttle import Throttle
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.document_latency import DocumentLatency
from xml_extractor.profiling.profile import InsertClocks, WorkerProfile
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import BatchResult, BatchWriter
from xml_extractor.target.ranges import FinishedRange
from xml_extractor.threads import Thread


@dataclass(frozen=True, slots=True)
class SerialCalls:
    """What a serial run tells, and asks, the coordinator."""

    open_writer: Callable[[], BatchWriter]
    on_dispatched: Callable[[int], None]
    on_vanished: Callable[[Collection[Key]], None]
    on_commit: Callable[[BatchResult, float, float], None]  # with the time of the commit, perf_counter, and 0
    on_bookkeeping: Callable[[InsertClocks], None]  # told what was spent outside of batches
    take_finished: Callable[[], list[FinishedRange]]


class SerialRun:
    """One batch after another, in a thread of its own, so that one that is stuck does not hold the program.

    Args:
        reader: open; reads the documents, between the pages of keys that ``chunks`` reads with it.
        chunks: pending keys.
        settings: when a batch closes; read for each document.
    """

    def __init__(
        self,
        setup: WorkerSetup,
        reader: SourceReader,
        chunks: Iterable[Chunk],
        settings: BatchSettings,
        state: PipelineState,
        throttle: Throttle,
        watch: Watch,
        calls: SerialCalls,
    ) -> None:
        self._reader = reader
        self._chunks = chunks
        self._state = state
        self._throttle = throttle
        self._watch = watch
        self._calls = calls
        self._settings = settings
        self._worker = setup.make_worker()
        self.document_latency = DocumentLatency()
        self.startup_seconds = 0.0
        self._pulse = ThreadPulse()
        self._batch: list[DocumentRecord] = []
        self._batch_bytes = 0
        self._batch_due = 0.0  # when the batch is old enough to be committed, perf_counter
        self.thread = Thread(self.run, name="xml-extractor-serial")

    def profiles(self) -> list[WorkerProfile]:
        """Return what the one worker did; it is blocked while it inserts."""
        clock = self._worker.clock
        return [WorkerProfile(self.thread.name, clock.documents, clock.clocks())]

    def last_process_ids(self) -> list[int]:
        """There are no worker processes."""
        return []

    def run(self) -> None:
        """Load everything; what goes wrong ends the pipeline."""
        timeout = self._watch.timeout_seconds
        watched = WatchedThread(threading.current_thread(), self._pulse, timeout, self._state)
        self._watch.add(watched)
        try:
            writer = self._calls.open_writer()
            self._state.on_end(writer.abort)
            try:
                self._load(writer)
            finally:
                writer.close()
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            self._watch.discard(watched)

    def _load(self, writer: BatchWriter) -> None:
        clock = self._worker.clock
        for chunk in self._chunks:
            clock.charge_idle()  # finding out what is pending, before a commit that is due
            failpoints.hit("dispatcher")
            if time.perf_counter() + self._throttle.due_in() >= self._batch_due:
                self._commit(writer)
            if not chunk.keys:
                continue
            if not self._throttle.take(len(chunk.keys)):
                if self._state.ended.is_set():
                    raise PipelineStopped
                break
            self._calls.on_dispatched(len(chunk.keys))
            for fetched in fetch(self._reader, chunk):
                clock.charge_idle()
                if fetched.vanished:
                    self._calls.on_vanished(fetched.vanished)
                for document in fetched.documents:
                    previous = chunk.previous.get(document.key)
                    clock.begin_documents()
                    self._add(map_document(self._worker, document, previous, self._pulse), writer)
                    if self._state.ended.is_set():
                        raise PipelineStopped
            if self._state.stopping.is_set():
                break
        clock.charge_idle()
        self._commit(writer)

    def _add(self, record: DocumentRecord, writer: BatchWriter) -> None:
        limits = self._settings.limits
        if self._batch and self._batch_bytes + record.size_bytes > limits.size_bytes:
            self._commit(writer)
        if not self._batch:
            self._batch_due = time.perf_counter() + limits.seconds
        self._batch.append(record)
        self._batch_bytes += record.size_bytes
        if len(self._batch) >= limits.documents or time.perf_counter() >= self._batch_due:
            self._commit(writer)

    def _commit(self, writer: BatchWriter) -> None:
        if not self._batch:
            return
        clock = self._worker.clock
        clock.charge_map()
        self.document_latency.add(clock.take_documents())
        self._calls.on_commit(writer.commit_batch(self._batch), time.perf_counter(), 0.0)
        if finished := self._calls.take_finished():
            started = time.perf_counter()
            writer.record_ranges(finished)
            self._calls.on_bookkeeping(InsertClocks(claim=time.perf_counter() - started))
        failpoints.hit("after_acknowledge")
        clock.charge_blocked()
        self._batch, self._batch_bytes = [], 0
