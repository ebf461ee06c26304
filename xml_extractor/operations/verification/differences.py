"""What can be found wrong, and where it is written down."""

from __future__ import annotations

import json
import threading
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import IO, Any, Final

from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import Key


class Kind(StrEnum):
    """Kinds of findings."""

    # differences
    NOT_LOADED = "not_loaded"
    LEDGER_ROW_DAMAGED = "ledger_row_damaged"
    DETAIL_MISSING = "quarantine_detail_missing"
    DETAIL_EXTRA = "quarantine_detail_extra"
    ROWS_MISSING = "rows_missing"
    ROWS_EXTRA = "rows_extra"
    UNKNOWN_KEY = "unknown_key"
    ORPHAN = "orphan"
    CONTENT_DIFFERS = "content_differs"
    RANGE_DIFFERS = "range_differs"
    VALUE_DIFFERS = "value_differs"
    ROW_MISSING = "row_missing"
    ROW_EXTRA = "row_extra"
    NOT_MAPPED_AGAIN = "not_mapped_again"
    # notes
    SOURCE_ROW_GONE = "source_row_gone"
    SOURCE_CHANGED = "source_changed"


MEANING: Final = {
    Kind.NOT_LOADED: "source documents that the ledger does not know: pending; load them",
    Kind.LEDGER_ROW_DAMAGED: "ledger rows that cannot be read, or whose load is not in load_runs",
    Kind.DETAIL_MISSING: "quarantined documents without a row in load_quarantine",
    Kind.DETAIL_EXTRA: "rows in load_quarantine of documents that are neither quarantined nor loaded",
    Kind.ROWS_MISSING: "rows that the ledger recorded and the table lacks",
    Kind.ROWS_EXTRA: "rows beyond those that the ledger recorded",
    Kind.UNKNOWN_KEY: "rows of keys that the ledger does not know",
    Kind.ORPHAN: "rows whose parent's row is not there",
    Kind.RANGE_DIFFERS: "finished ranges whose ledger rows are not what load_ranges says",
    Kind.CONTENT_DIFFERS: "tables that do not carry the source key, and hold other values than the documents",
    Kind.VALUE_DIFFERS: "values that are not what the document says",
    Kind.ROW_MISSING: "rows that the document makes and the table lacks",
    Kind.ROW_EXTRA: "rows that the document does not make",
    Kind.NOT_MAPPED_AGAIN: "loaded documents that are refused or skipped when they are mapped again",
    Kind.SOURCE_ROW_GONE: "documents that were settled and are no longer in the source",
    Kind.SOURCE_CHANGED: "documents that were changed in the source since they were loaded; not compared",
}
NOTES: Final = frozenset({Kind.SOURCE_ROW_GONE, Kind.SOURCE_CHANGED})
"""What is no fault of the load: the source has moved on."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One finding; never holds a document's values."""

    kind: Kind
    key: Key | None = None
    """The document's source key; None where the finding is not one document's."""
    table: str | None = None
    column: str | None = None
    count: int = 1
    """Rows, or values, that it is about."""

    def to_json(self) -> dict[str, Any]:
        """Return it as a line of the manifest."""
        return {
            "key": self.key,
            "table": self.table,
            "column": self.column,
            "kind": self.kind.value,
            "count": self.count,
        }


class Differences:
    """Takes findings: counts them by kind, and writes them to the manifest, if there is one.  Thread-safe.

    Args:
        manifest: a file of JSON Lines, written anew.

    Raises:
        UsageError: the manifest cannot be written.
    """

    def __init__(self, manifest: Path | None = None) -> None:
        self._path = manifest
        self._lock = threading.Lock()
        self._file: IO[str] | None = None
        self.counts: Counter[Kind] = Counter()
        """Rows, values or documents, by kind."""
        self.named: Counter[Kind] = Counter()
        """Lines of the manifest, by kind."""
        if manifest is not None:
            with self._writing():
                self._file = manifest.open("w", encoding="utf-8", newline="\n")

    def add(self, difference: Difference) -> None:
        """Take one finding."""
        with self._lock:
            self.counts[difference.kind] += difference.count
            self.named[difference.kind] += 1
            if self._file is not None:
                with self._writing():
                    self._file.write(json.dumps(difference.to_json(), ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Finish the manifest."""
        file, self._file = self._file, None
        if file is not None:
            with self._writing():
                file.close()

    def _writing(self) -> _Writing:
        return _Writing(self._path)


class _Writing:
    def __init__(self, path: Path | None) -> None:
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise UsageError(f"--manifest {self._path} cannot be written: {error.strerror}") from error
