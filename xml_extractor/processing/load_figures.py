"""What a load has come to: counts, clocks and queue, put together for progress, summary and profile."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Sequence
from typing import Protocol

from xml_extractor.contract.plan import Plan
from xml_extractor.processing.executor_choice import ExecutorChoice, available_cores
from xml_extractor.processing.insert_queue import BatchSettings, InsertQueue
from xml_extractor.processing.load_counts import LoadCounts
from xml_extractor.processing.pending_keys import GivenKeys, PendingKeys
from xml_extractor.processing.throttle import Throttle
from xml_extractor.profiling.bottleneck import Evidence, bottleneck
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.document_latency import DocumentLatency
from xml_extractor.profiling.observer import CommittedBatch
from xml_extractor.profiling.profile import InsertClocks, WorkerProfile
from xml_extractor.profiling.recorder import Recorder, Standing
from xml_extractor.profiling.summary import DocumentCounts, KeyFigures, LoadSummary, QueueFigures
from xml_extractor.settings import ExecutorChoice as ExecutorSetting
from xml_extractor.settings import LoadOptions
from xml_extractor.target.base import BatchResult, LoadHandle
from xml_extractor.target.ledger import key_text


class WorkerPool(Protocol):
    """What maps documents, of whatever kind.  Its figures may be asked for from any thread."""

    document_latency: DocumentLatency

    @property
    def startup_seconds(self) -> float:
        """How long it took until the first worker could map documents."""

    def profiles(self) -> list[WorkerProfile]:
        """Return what each worker did."""

    def last_process_ids(self) -> list[int]:
        """Return the ids of worker processes that are running, or ended a moment ago."""


class LoadFigures:
    """The figures of one load.  Its coordinator sets the attributes as they come to be; all else is
    thread-safe.

    Args:
        counts: what came of the documents.
        most_insert_threads: that the target can use; None = no limit.
        queue: may be replaced until the stages are started.
        settings: what is in force of batches and insert threads; likewise.
    """

    def __init__(
        self,
        load: LoadHandle,
        options: LoadOptions,
        recorder: Recorder,
        counts: LoadCounts,
        throttle: Throttle,
        most_insert_threads: int | None,
        queue: InsertQueue,
        settings: BatchSettings,
    ) -> None:
        self.options = options  # as they are in force
        self.queue = queue
        self.settings = settings
        self.most_insert_threads = most_insert_threads
        self.choice = ExecutorChoice(options.executor.value, "as set")
        self.pending: PendingKeys | GivenKeys | None = None
        self.pool: WorkerPool | None = None
        self.started = 0.0  # perf_counter; 0 = not yet
        self.newer_in_quarantine = 0
        self.stopped_by: int | None = None  # the signal
        self.notes: list[str] = []
        self.keys = KeyFigures() if load.owed_keys is None else KeyFigures(owed=list(load.owed_keys.tables))
        self._load = load
        self._recorder = recorder
        self._counts = counts
        self._throttle = throttle

    # ---------------------------------------------------------------------------------- for the recorder

    def standing(self) -> Standing:
        """Return how the load stands."""
        documents, batches = self._counts.progress()
        depth = self.queue.depth()
        serial = self._is_serial
        return Standing(
            documents=documents,
            batches=batches,
            queue_documents=depth.now,
            queue_bytes=depth.size_bytes,
            queue_capacity_documents=depth.capacity,
            queue_capacity_bytes=depth.capacity_bytes,
            batch_size=self.settings.limits.documents,
            insert_threads=1 if serial else self.settings.insert_threads,
        )

    def workers(self) -> Sequence[WorkerProfile]:
        """Return what each worker has done with its time."""
        return [] if self.pool is None else self.pool.profiles()

    def document_latency(self) -> DocumentLatency:
        """Return the times of single documents."""
        return DocumentLatency() if self.pool is None else self.pool.document_latency

    def process_ids(self) -> Collection[int]:
        """Return the ids of the worker processes."""
        return [] if self.pool is None else self.pool.last_process_ids()

    # ---------------------------------------------------------------------------------- for the operator

    def documents(self) -> DocumentCounts:
        """All documents so far: those that the ledger settled when their keys were read, and the rest."""
        documents = self._counts.documents()
        if self.pending is None:
            return documents
        known = self.pending.counts
        settled = known.already_loaded + known.quarantined + known.skipped
        return documents + DocumentCounts(
            read=settled,
            already_loaded=known.already_loaded,
            quarantined=known.quarantined,
            skipped=known.skipped,
        )

    def summary(self) -> LoadSummary:
        """Return the figures of the run as it stands; the profile is part of them once it has ended."""
        counts = self._counts
        depth = self.queue.depth()
        clocks = sum((worker.clocks for worker in self.workers()), StageClocks())
        if not clocks.parse and not clocks.map:
            clocks = StageClocks()  # nothing was done: to have waited for it says nothing
        done = counts.documents()
        serial = self._is_serial
        startup_seconds = 0.0 if self.pool is None else self.pool.startup_seconds
        wall = (counts.last_commit or time.perf_counter()) - self.started if self.started else 0.0
        held_seconds = self._throttle.held_seconds
        unknown_elements, quarantine_reasons = counts.names_counted()
        notes = list(self.notes)
        if counts.vanished:
            notes.append(f"{counts.vanished:,} documents left the source while it was being read")
        return LoadSummary(
            documents=self.documents(),
            rows=dict(counts.rows),
            loaded_rows=dict(counts.loaded_rows),
            seconds=wall,
            held_seconds=held_seconds,
            startup_seconds=startup_seconds,
            clocks=clocks,
            insert_ms=self._recorder.insert_latency.milliseconds(),
            queue=QueueFigures(depth.maximum, round(depth.mean, 1), depth.capacity),
            bottleneck=bottleneck(
                Evidence(
                    clocks,
                    workers=1 if serial else self.options.workers,
                    executor=self.choice.executor,
                    documents=done.read - done.unfinished,
                    seconds=wall - self.keys.seconds,
                    startup_seconds=startup_seconds,
                    throttle=self.options.throttle,
                    held_share=held_seconds / max(wall - startup_seconds, held_seconds, 1e-9),
                    inserting=self._recorder.inserting(),
                    insert_threads=1 if serial else self.settings.insert_threads,
                    most_insert_threads=self.most_insert_threads,
                    batch_size=self.settings.limits.documents,
                    batches=counts.batches,
                    cores=available_cores(),
                    is_auto=self.options.executor is ExecutorSetting.AUTO,
                    is_tuned=self.options.auto_tune,
                )
            ),
            load_id=self._load.load_id or None,
            executor=self.choice.executor,
            executor_reason=self.choice.reason,
            workers=1 if serial else self.options.workers,
            insert_threads=1 if serial else self.settings.insert_threads,
            insert_path=self._load.insert_path,
            batches=counts.batches,
            retries=counts.extra_attempts,
            truncated_values=counts.truncated_values,
            unknown_elements=unknown_elements,
            loaded_under_another_plan=counts.other_plan
            + (self.pending.counts.other_plan if self.pending else 0),
            changed=counts.changed,
            replaced=counts.replaced,
            changed_keys=list(map(key_text, tuple(counts.changed_keys))),
            quarantine_reasons=quarantine_reasons,
            newer_in_quarantine=self.newer_in_quarantine,
            keys=self.keys,
            notes=notes,
            stopped_by_signal=self.stopped_by,
            profile=self._recorder.profile() if self._recorder.has_ended else None,
        )

    @property
    def _is_serial(self) -> bool:
        return self.choice.executor == ExecutorSetting.SERIAL.value


def committed_batch(result: BatchResult, waited: float, plan: Plan) -> CommittedBatch:
    """Return what observers learn of a batch that the calling thread has committed just now.

    Args:
        waited: seconds that the thread waited for it.
    """
    return CommittedBatch(
        thread=threading.current_thread().name,
        ended_at=time.time(),
        seconds=result.seconds,
        clocks=InsertClocks(
            wait=waited,
            claim=result.claim_seconds,
            tables=result.table_seconds,
            commit=result.commit_seconds,
            retry=result.retry_seconds,
        ),
        documents=result.loaded + result.already_loaded + result.quarantined + result.skipped,
        rows={table.name: rows for table, rows in zip(plan.tables, result.rows, strict=True)},
        attempts=result.attempts,
        loaded=result.loaded,
        quarantined=result.quarantined,
    )
