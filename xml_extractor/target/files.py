"""Targets without a database: nothing at all, and JSON Lines files."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from time import perf_counter
from typing import IO, Any, Final
from urllib.parse import quote

from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import Value
from xml_extractor.errors import TargetError, UsageError
from xml_extractor.mapping.layouts import RowEncoder, decimal_text
from xml_extractor.mapping.records import DocumentRecord, Key, Renewal, Row, State
from xml_extractor.target.base import BatchResult, BatchWriter, LedgerEntry, LoadHandle, RunState, Target
from xml_extractor.target.ledger import storable
from xml_extractor.target.timestamps import utc_now

QUARANTINE_FILE: Final = "_quarantine.jsonl"
FILES: Final = "files"
"""What the time of writing is told under, instead of by table."""
PARTIAL_SUFFIX: Final = ".partial"
"""Added to a file's name until the load has finished: what a crash leaves cannot be taken for a result."""


def count_batch(records: Sequence[DocumentRecord], tables: int) -> BatchResult:
    """Return the result of a batch of which every record is taken as it is."""
    result = BatchResult(rows=(0,) * tables, attempts=1)
    rows = [0] * tables
    for record in records:
        if record.look is not None:
            result.count_look(record)
            continue
        if record.previous is not None and record.previous.renewal is Renewal.REPLACE:
            result.changed += 1
        if record.state is State.LOADED:
            result.loaded += 1
            for index, number in enumerate(record.row_counts):
                rows[index] += number
            result.truncated_values += record.truncated_values
            result.unknown_elements.update(record.unknown_elements)
        elif record.state is State.QUARANTINED:
            result.quarantined += 1
            if record.rejection is not None:
                result.quarantine_reasons[record.rejection.code] += 1
        else:
            result.skipped += 1
    result.rows = result.document_rows = tuple(rows)
    return result


class _UnrecordedLoad(LoadHandle):
    """A load that nothing is remembered of: every document is new."""

    load_id = 0
    resumed = False

    def __init__(
        self,
        writer: Callable[[], BatchWriter],
        finish: Callable[[RunState], None],
        encoder: RowEncoder | None = None,
    ) -> None:
        self.encoder = encoder
        self.started_at: datetime = utc_now()
        self._writer = writer
        self._finish = finish

    def lookup(self, keys: Sequence[Key]) -> dict[Key, LedgerEntry]:
        """Nothing is known of any document."""
        return {}

    def writer(self, index: int) -> BatchWriter:
        """Return the writer."""
        return self._writer()

    def finish(self, state: RunState, summary: Mapping[str, Any]) -> None:
        """End the load."""
        self._finish(state)

    def abort(self) -> None:
        """Nothing here waits."""

    def close(self) -> None:
        """Nothing is open."""


# ------------------------------------------------------------------------------------------- null:


class NullTarget(Target):
    """``null:``, which counts rows and forgets them: parsing and mapping alone."""

    has_keys = False
    needs_hash = False

    @property
    def display(self) -> str:
        """The target in words."""
        return "null: (rows are counted and dropped)"

    def prepare(
        self,
        plan: Plan,
        *,
        source_name: str,
        source_name_explicit: bool,
        create_tables: bool,
        dry_run: bool,
        on_plan_change: str,
        settings: Mapping[str, Any],
        on_change: str = "ignore",
        keys_after: bool = False,
    ) -> LoadHandle:
        """Start counting."""
        return _UnrecordedLoad(lambda: CountingWriter(len(plan.tables)), lambda state: None)


class CountingWriter(BatchWriter):
    """Counts records and forgets them; for ``null:`` and for dry runs."""

    def __init__(self, tables: int) -> None:
        self._tables = tables

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        started = perf_counter()
        result = count_batch(records, self._tables)
        result.seconds = result.claim_seconds = perf_counter() - started
        return result

    def abort(self) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


# ------------------------------------------------------------------------------------------ jsonl:


@dataclass(frozen=True, slots=True)
class JsonLinesEncoder:
    """Rows as JSON Lines: ``bytes`` per table, one object a row, UTF-8.  Picklable, thread-safe.

    Integers and floats are numbers, bits are true and false; decimals, times and GUIDs are strings, so
    that no reader rounds them; binary is base64.  Columns that the server numbers are left out.
    """

    columns: tuple[tuple[tuple[int, str], ...], ...]
    """Per table: index in the row, and the name in JSON with the colon."""

    @classmethod
    def of(cls, plan: Plan) -> JsonLinesEncoder:
        """Build the encoder of a plan's rows."""
        return cls(
            tuple(
                tuple(
                    (index, json.dumps(column.name, ensure_ascii=False) + ": ")
                    for index, column in enumerate(table.columns)
                    if not column.server_generated
                )
                for table in plan.tables
            )
        )

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return (bytes per table, their size)."""
        encoded = tuple(
            "".join(
                "{" + ", ".join([name + _json(row[index]) for index, name in columns]) + "}\n"
                for row in table_rows
            ).encode("utf-8", "surrogatepass")
            for columns, table_rows in zip(self.columns, rows, strict=True)
        )
        return encoded, sum(map(len, encoded))


_ENCODE_STRING: Final = json.JSONEncoder(ensure_ascii=False).encode


def _json(value: Value) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A lone surrogate has no UTF-8 form; its JSON escape is plain ASCII.
        return _ENCODE_STRING(value) if value.isascii() or _encodable(value) else json.dumps(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, Decimal):
        return f'"{decimal_text(value)}"'
    return f'"{base64.b64encode(value).decode("ascii")}"'


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class JsonLinesTarget(Target):
    """``jsonl:DIR``: one file a table in an empty folder.  Keeps no ledger: an interrupted load starts anew.

    While it runs the files' names end in ``.partial``; they get their own names when the load finishes.
    """

    max_insert_threads = 1
    has_keys = False
    needs_hash = False

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def display(self) -> str:
        """The target in words."""
        return f"JSON Lines files in {self._folder}"

    def prepare(
        self,
        plan: Plan,
        *,
        source_name: str,
        source_name_explicit: bool,
        create_tables: bool,
        dry_run: bool,
        on_plan_change: str,
        settings: Mapping[str, Any],
        on_change: str = "ignore",
        keys_after: bool = False,
    ) -> LoadHandle:
        """Create the folder and open its files.

        Raises:
            UsageError: the folder holds something, or is no folder.
            TargetError: it cannot be written.
        """
        encoder = JsonLinesEncoder.of(plan)
        try:
            if self._folder.exists() and not self._folder.is_dir():
                raise UsageError(f"{self._folder} is a file; name an empty folder: --target jsonl:DIR")
            if self._folder.is_dir() and any(self._folder.iterdir()):
                raise UsageError(
                    f"folder {self._folder} is not empty; name an empty or new one, or empty it: each load "
                    "writes all its rows"
                )
            if dry_run:
                return _UnrecordedLoad(lambda: CountingWriter(len(plan.tables)), lambda state: None, encoder)
            self._folder.mkdir(parents=True, exist_ok=True)
            files = _JsonLinesFiles(self._folder, [file_name(table.name) for table in plan.tables])
        except OSError as error:
            raise TargetError(f"{self.display} cannot be written: {error.strerror}; mend that") from error
        return _UnrecordedLoad(lambda: _JsonLinesWriter(files), files.finish, encoder)


def file_name(table: str) -> str:
    """Return the file's name for a table: characters that a file system may refuse are percent-encoded."""
    return quote(table, safe=" ._-()") + ".jsonl"


class _JsonLinesFiles:
    """The open files of one load.  One thread's at a time."""

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        self._folder = folder
        self._names = [*names, QUARANTINE_FILE]
        self._files: list[IO[bytes]] = []
        try:
            for name in self._names:
                self._files.append((folder / (name + PARTIAL_SUFFIX)).open("xb"))
        except BaseException:
            self._close()
            raise

    @property
    def tables(self) -> int:
        return len(self._names) - 1

    def write(self, records: Sequence[DocumentRecord]) -> None:
        for record in records:
            if record.state is State.LOADED:
                for file, rows in zip(self._files, record.rows, strict=False):
                    file.write(rows)
            elif record.state is State.QUARANTINED:
                self._files[-1].write(_quarantine_line(record))

    def flush(self) -> None:
        for file in self._files:
            file.flush()

    def finish(self, state: RunState) -> None:
        """Bring all to the disk; give the files their names if the load is whole."""
        try:
            for file in self._files:
                file.flush()
                os.fsync(file.fileno())
            self._close()
            if state is RunState.FINISHED:
                for name in self._names:
                    (self._folder / (name + PARTIAL_SUFFIX)).replace(self._folder / name)
        except (OSError, ValueError) as error:  # ValueError: closed after an earlier failure
            raise TargetError(
                f"the JSON Lines files in {self._folder} could not be finished: {error}; what is there is "
                "not whole. Empty the folder and run again"
            ) from error

    def _close(self) -> None:
        for file in self._files:
            with suppress(OSError):
                file.close()


class _JsonLinesWriter(BatchWriter):
    def __init__(self, files: _JsonLinesFiles) -> None:
        self._files = files

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        started = perf_counter()
        try:
            self._files.write(records)
            self._files.flush()
        except OSError as error:
            raise TargetError(
                f"writing JSON Lines files failed: {error.strerror}; mend that, empty the folder and run "
                "again"
            ) from error
        result = count_batch(records, self._files.tables)
        result.seconds = perf_counter() - started
        # The files are written document by document, and all at once.
        result.table_seconds = {FILES: result.seconds}
        return result

    def abort(self) -> None:
        """A write to a file is not waited for."""

    def close(self) -> None:
        """The files are closed when the load finishes."""


def _quarantine_line(record: DocumentRecord) -> bytes:
    rejection = record.rejection
    assert rejection is not None, "a quarantined record says why"
    entry = {
        "key": storable(record.key) if isinstance(record.key, str) else record.key,
        "stage": rejection.stage.value,
        "code": rejection.code,
        "message": storable(rejection.message),
        "table": rejection.table,
        "column": rejection.column,
        "path": rejection.path,
    }
    return json.dumps(entry).encode("ascii") + b"\n"
