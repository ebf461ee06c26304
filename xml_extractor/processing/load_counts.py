"""What a load has come to so far, added up from several threads."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from typing import Final

from xml_extractor.mapping.records import Key
from xml_extractor.profiling.summary import DocumentCounts
from xml_extractor.target.base import BatchResult

CHANGED_KEYS: Final = 100
"""Keys of changed documents that a summary lists."""


class LoadCounts:
    """The figures of one load that come from committed batches.  Thread-safe."""

    def __init__(self, tables: Sequence[str]) -> None:
        self.rows: Counter[str] = Counter(dict.fromkeys(tables, 0))
        self.loaded_rows: Counter[str] = Counter(dict.fromkeys(tables, 0))
        self.quarantine_reasons: Counter[str] = Counter()
        self.unknown_elements: Counter[str] = Counter()
        self.truncated_values = 0
        self.changed = 0
        self.replaced = 0
        self.other_plan = 0
        self.changed_keys: list[Key] = []  # the first CHANGED_KEYS
        self.batches = 0
        self.extra_attempts = 0  # transactions beyond one a batch: retries and bisection
        self.last_commit: float | None = None  # perf_counter
        self._tables = tuple(tables)
        self._settled = DocumentCounts()
        self._dispatched = 0
        self._vanished = 0
        self._lock = threading.Lock()

    def dispatched(self, documents: int) -> None:
        """Count documents handed to the workers."""
        with self._lock:
            self._dispatched += documents

    def add_vanished(self, documents: int) -> None:
        """Count documents whose source rows were gone when they were to be read."""
        with self._lock:
            self._vanished += documents

    def add_batch(self, result: BatchResult, committed_at: float) -> None:
        """Count a committed batch; ``committed_at`` is perf_counter time."""
        with self._lock:
            self.batches += result.attempts > 0  # else all documents were only looked at
            self.extra_attempts += max(0, result.attempts - 1)
            self.last_commit = max(committed_at, self.last_commit or committed_at)
            self.truncated_values += result.truncated_values
            self.changed += result.changed
            self.replaced += result.replaced
            self.other_plan += result.other_plan
            self.changed_keys += result.changed_keys[: CHANGED_KEYS - len(self.changed_keys)]
            self.unknown_elements.update(result.unknown_elements)
            self.quarantine_reasons.update(result.quarantine_reasons)
            for table, committed, loaded in zip(self._tables, result.rows, result.document_rows, strict=True):
                self.rows[table] += committed
                self.loaded_rows[table] += loaded
            self._settled = self._settled + DocumentCounts(
                loaded=result.loaded,
                already_loaded=result.already_loaded,
                quarantined=result.quarantined,
                skipped=result.skipped,
            )

    def add_keys_built(self, built_at: float) -> None:
        """Count the building of keys as a part of the load; ``built_at`` is perf_counter time."""
        with self._lock:
            self.last_commit = built_at

    def set_aside(self, row_counts: Sequence[int], code: str, *, by_this_run: bool) -> None:
        """Count a document as quarantined that had been counted as loaded.

        Args:
            row_counts: its rows, per table.
            by_this_run: this run had loaded it; else it was counted as already loaded.
        """
        with self._lock:
            self.quarantine_reasons[code] += 1
            change = DocumentCounts(loaded=-by_this_run, already_loaded=-(not by_this_run), quarantined=1)
            self._settled = self._settled + change
            if by_this_run:
                for table, rows in zip(self._tables, row_counts, strict=True):
                    self.rows[table] -= rows
                    self.loaded_rows[table] -= rows

    def add_reason(self, code: str) -> None:
        """Count a document that this run put into quarantine without having read it."""
        with self._lock:
            self.quarantine_reasons[code] += 1

    def refusals(self) -> tuple[Counter[str], int]:
        """Return reasons of documents that this run put into quarantine, and how many it has settled."""
        with self._lock:
            return self.quarantine_reasons.copy(), self._settled.settled

    def names_counted(self) -> tuple[dict[str, int], dict[str, int]]:
        """Return elements that the contract does not know, and reasons for quarantine: name → documents."""
        with self._lock:
            return dict(self.unknown_elements), dict(self.quarantine_reasons)

    def progress(self) -> tuple[int, int]:
        """Return how many documents were loaded, quarantined or skipped, and by how many batches."""
        with self._lock:
            settled = self._settled
            return settled.loaded + settled.quarantined + settled.skipped, self.batches

    @property
    def vanished(self) -> int:
        """Documents whose source rows were gone when they were to be read."""
        with self._lock:
            return self._vanished

    def documents(self) -> DocumentCounts:
        """What became of the documents that were dispatched: ``read`` are those that were still there,
        ``unfinished`` those of them that no batch has settled yet."""
        with self._lock:
            settled = self._settled
            read = self._dispatched - self._vanished
            return DocumentCounts(
                read=read,
                loaded=settled.loaded,
                already_loaded=settled.already_loaded,
                quarantined=settled.quarantined,
                skipped=settled.skipped,
                unfinished=read - settled.settled,
            )
