"""An insert queue that puts into a file what it has no room for."""

from __future__ import annotations

import pickle
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from xml_extractor.mapping.records import DocumentRecord
from xml_extractor.processing.insert_queue import InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.threads import Thread

_READ_AHEAD: Final = 16
"""Records that are taken from the file at once: what the workers hand over in a block."""

_UNLIMITED_BYTES: Final = 2**60


class SpillingQueue(InsertQueue):
    """The product's queue with a file in front of it.  Thread-safe, as that is.

    While there is room, and nothing in the file, records go to the queue.  Else they are pickled into the
    file, from which a thread of its own moves them on as room comes; so they stay in the order in which they
    were put.  The file is bounded: where it is full, putting waits, as on any full queue.  It is written from
    its beginning again whenever it has been read to its end.

    The file has no name (or loses it when it is closed, on Windows), so nothing stays behind, however the
    program ends.

    Args:
        capacity_documents: documents in memory.
        capacity_disk: bytes in the file.
        folder: where the file is made.
    """

    def __init__(
        self, state: PipelineState, capacity_documents: int, capacity_disk: int, folder: Path
    ) -> None:
        self._capacity_memory = capacity_documents
        self._capacity_disk = capacity_disk
        self._pipeline = state
        self._file = tempfile.TemporaryFile(prefix="spilled_", dir=folder)  # noqa: SIM115 - closed by dispose
        self._sizes: deque[int] = deque()  # of the records in the file that have not been read
        self._moving = 0  # records that were read and are not in the queue yet
        self._read_at = self._write_at = 0
        self._no_more = False
        self._changed = threading.Condition()
        self.written_bytes = 0
        self.written_documents = 0
        self.most_bytes = 0
        self._mover = Thread(self._move, name="spilled-records")
        super().__init__(state, capacity_documents, _UNLIMITED_BYTES)
        state.on_end(self._wake)
        self._mover.start()

    def put(self, records: Iterable[DocumentRecord]) -> float:
        """See :class:`InsertQueue`; returns the seconds spent waiting for room on the disk.

        Raises:
            OSError: the file cannot be written.
        """
        waited = 0.0
        for record in records:
            with self._changed:
                if self._pipeline.ended.is_set():
                    raise PipelineStopped
                # Only what holds this lock adds to the queue while the file is empty: there is room.
                if self._is_drained() and self.depth().now < self._capacity_memory:
                    super().put([record])
                    continue
                data = pickle.dumps(record, protocol=pickle.HIGHEST_PROTOCOL)
                started = time.perf_counter()
                while self._is_disk_full(len(data)) and not self._pipeline.ended.is_set():
                    self._changed.wait()
                waited += time.perf_counter() - started
                if self._pipeline.ended.is_set():
                    raise PipelineStopped
                self._write(data)
        return waited

    def close(self) -> None:
        """Say that no more records will come; the queue is closed when the file has been read."""
        with self._changed:
            self._no_more = True
            self._changed.notify_all()

    def spilled(self) -> int:
        """Return how many documents are in the file, or on their way from it."""
        with self._changed:
            return len(self._sizes) + self._moving

    def dispose(self) -> None:
        """Remove the file; called once the pipeline has ended, well or not."""
        self._mover.join(10.0)
        with self._changed:
            self._file.close()

    def _is_drained(self) -> bool:
        return not self._sizes and not self._moving

    def _is_disk_full(self, size_bytes: int) -> bool:
        # A record larger than the whole bound passes when the file is empty.
        return bool(self._sizes) and self._write_at + size_bytes > self._capacity_disk

    def _write(self, data: bytes) -> None:
        self._file.seek(self._write_at)
        self._file.write(data)
        self._write_at += len(data)
        self._sizes.append(len(data))
        self.written_bytes += len(data)
        self.written_documents += 1
        self.most_bytes = max(self.most_bytes, self._write_at)
        self._changed.notify_all()

    def _move(self) -> None:
        try:
            while records := self._read():
                # Outside of the lock: it waits for room in the queue.
                super().put(records)
                with self._changed:
                    self._moving = 0
            super().close()
        except PipelineStopped:
            return
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._pipeline.fail(error)

    def _read(self) -> list[DocumentRecord]:
        """Return the next records of the file, waiting for some; none once the queue is closed."""
        with self._changed:
            while not self._sizes and not self._no_more and not self._pipeline.ended.is_set():
                self._changed.wait()
            if self._pipeline.ended.is_set():
                raise PipelineStopped
            records: list[DocumentRecord] = []
            self._file.seek(self._read_at)
            while self._sizes and len(records) < _READ_AHEAD:
                size = self._sizes.popleft()
                # Only what this process has written is read.
                records.append(pickle.loads(self._file.read(size)))
                self._read_at += size
            if not self._sizes:
                self._read_at = self._write_at = 0
            self._moving = len(records)
            self._changed.notify_all()
            return records

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
