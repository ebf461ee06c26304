"""The bounded queue between the workers and the insert threads."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from xml_extractor import failpoints
from xml_extractor.mapping.records import DocumentRecord
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped


@dataclass(frozen=True, slots=True)
class BatchLimits:
    """A batch closes at whichever of these comes first."""

    documents: int
    size_bytes: int
    seconds: float


@dataclass(slots=True)
class BatchSettings:
    """What is in force just now.  Insert threads read it for each batch; it may be changed at any time from
    any thread (``--auto-tune``)."""

    limits: BatchLimits
    insert_threads: int


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """How full the queue is and was, in documents where nothing else is said."""

    now: int
    maximum: int
    mean: float  # over time, from the first record to the last
    capacity: int
    size_bytes: int = 0  # now
    capacity_bytes: int = 0


class InsertQueue:
    """Document records on their way to the target, bounded in documents and in bytes.

    A full queue blocks the workers, and through them the reader: this is the product's backpressure.
    Nothing here can wait for ever: the end of the pipeline, for whatever reason, wakes producers and
    consumers alike.  Thread-safe, any number of producers and consumers.
    """

    def __init__(self, state: PipelineState, capacity_documents: int, capacity_bytes: int) -> None:
        self._state = state
        self._capacity_documents = capacity_documents
        self._capacity_bytes = capacity_bytes
        self._records: deque[DocumentRecord] = deque()
        self._bytes = 0
        self._closed = False
        lock = threading.Lock()
        self._not_full = threading.Condition(lock)
        self._not_empty = threading.Condition(lock)
        self._max_depth = 0
        self._depth_seconds = 0.0  # integral of the depth over time
        self._first_change: float | None = None
        self._last_change = 0.0
        state.on_end(self.wake)

    def put(self, records: Iterable[DocumentRecord]) -> float:
        """Add records in order, waiting whenever the queue is full; return the seconds spent waiting.

        Raises:
            PipelineStopped: the pipeline has ended; records not yet added are the caller's to forget,
                because their documents are still pending in the source.
        """
        failpoints.hit("queue_put")
        waited = 0.0
        with self._not_full:
            for record in records:
                if self._is_full(record.size_bytes):
                    self._not_empty.notify()
                    started = time.perf_counter()
                    while self._is_full(record.size_bytes) and not self._state.ended.is_set():
                        self._not_full.wait()
                    waited += time.perf_counter() - started
                if self._state.ended.is_set():
                    raise PipelineStopped
                self._note_depth()
                self._records.append(record)
                self._bytes += record.size_bytes
                self._max_depth = max(self._max_depth, len(self._records))
            self._not_empty.notify()
        return waited

    def take_batch(
        self, limits: BatchLimits, leaving: threading.Event | None = None
    ) -> list[DocumentRecord] | None:
        """Take the next batch, waiting for it to fill; ``None`` once the queue is closed and empty.

        Args:
            leaving: once it is set (and :meth:`wake` called) nothing more is taken: what has been taken is
                the batch, if only a part of one, or there is none.

        Raises:
            PipelineStopped: the pipeline has ended; records taken so far are dropped, their documents
                are still pending in the source.
        """
        batch: list[DocumentRecord] = []
        batch_bytes = 0
        deadline: float | None = None
        with self._not_empty:
            while True:
                if self._state.ended.is_set():
                    raise PipelineStopped
                if leaving is not None and leaving.is_set():
                    # Who leaves may be the one that was told of records that have come.
                    self._not_empty.notify()
                    return batch or None
                took = False
                while self._records and len(batch) < limits.documents:
                    size_bytes = self._records[0].size_bytes
                    if batch and batch_bytes + size_bytes > limits.size_bytes:
                        self._after_take()
                        return batch
                    self._note_depth()
                    batch.append(self._records.popleft())
                    self._bytes -= size_bytes
                    batch_bytes += size_bytes
                    took = True
                if took:
                    self._after_take()
                if len(batch) >= limits.documents or (self._closed and not self._records):
                    return batch or None
                now = time.monotonic()
                if batch:
                    deadline = now + limits.seconds if deadline is None else deadline
                    if now >= deadline:
                        return batch
                self._not_empty.wait(None if deadline is None else deadline - now)

    def close(self) -> None:
        """Say that no more records will come; consumers drain what is there."""
        with self._not_empty:
            self._closed = True
            self._not_empty.notify_all()

    def wake(self) -> None:
        """Have everybody who waits look again at what they wait for."""
        with self._not_empty:
            self._not_empty.notify_all()
            self._not_full.notify_all()

    def make_room(self, capacity_documents: int) -> None:
        """Let at least so many documents wait; the bound in bytes stays."""
        with self._not_full:
            self._capacity_documents = max(self._capacity_documents, capacity_documents)
            self._not_full.notify_all()

    def depth(self) -> QueueDepth:
        """Return how full the queue is and was."""
        with self._not_empty:
            self._note_depth()
            elapsed = 0.0 if self._first_change is None else self._last_change - self._first_change
            mean = self._depth_seconds / elapsed if elapsed > 0 else 0.0
            return QueueDepth(
                len(self._records), self._max_depth, mean, self._capacity_documents,
                self._bytes, self._capacity_bytes,
            )  # fmt: skip

    def _is_full(self, size_bytes: int) -> bool:
        # A record larger than the whole byte bound is let in when the queue is empty.
        return bool(self._records) and (
            len(self._records) >= self._capacity_documents or self._bytes + size_bytes > self._capacity_bytes
        )

    def _after_take(self) -> None:
        self._not_full.notify_all()
        if self._records:
            self._not_empty.notify()

    def _note_depth(self) -> None:
        now = time.perf_counter()
        if self._first_change is None:
            self._first_change = now
        else:
            self._depth_seconds += len(self._records) * (now - self._last_change)
        self._last_change = now
