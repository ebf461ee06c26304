"""Documents and a target whose times are set, for benchmarks of what lies between them.

*Documents* are small and real: they lie in a SQLite file, are read, parsed and mapped by the product.  What
parsing takes is set by a sleep in the encoder, the last thing that a worker does with a document: like lxml
and like a driver it lets go of Python's lock, and to the pipeline it is one time with parsing and mapping.

*The target* takes a set time for a batch, whatever its size, as one with a commit over a network does.  It
keeps nothing but how often each document was committed, which :meth:`Commits.check` holds against the source.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from support import BenchmarkError

from xml_extractor.contract import check_text
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine
from xml_extractor.errors import TargetError
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import DocumentRecord, Key, Row
from xml_extractor.target.base import BatchResult, BatchWriter, LedgerEntry, LoadHandle, RunState, Target
from xml_extractor.target.files import count_batch

CONTRACT: Final = """
contract: timed_notes
version: 1
source: {table: app_xml, key: app_id, document: app_xml}
document: {root: Note}
tables:
  note:
    primary_key: [app_id]
    columns:
      app_id: {from: $key, type: int}
      text: {from: ".", type: nvarchar(100)}
"""


def timed_plan() -> Plan:
    """Return the compiled contract of the documents that :func:`write_documents` makes."""
    checked = check_text(CONTRACT)
    if checked.contract is None:
        raise BenchmarkError(f"the benchmark's own contract has mistakes: {checked.mistakes}")
    return checked.contract.plan


def write_documents(path: Path, documents: int) -> Engine:
    """Make a SQLite file with so many documents, keys from 1 on, and return it as a source."""
    connection = sqlite3.connect(path)
    try:
        with connection:
            connection.execute("CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml TEXT NOT NULL)")
            connection.executemany(
                "INSERT INTO app_xml VALUES (?, ?)",
                ((key, f"<Note>number {key}</Note>") for key in range(1, documents + 1)),
            )
    finally:
        connection.close()
    return open_engine(f"sqlite:///{path.as_posix()}")


# ------------------------------------------------------------------------------------------ times


@dataclass(frozen=True, slots=True)
class Pace:
    """How long a target takes for each batch, by the batch's number, counted from 0."""

    seconds: float
    first_batches: int = 0
    first_seconds: float = 0.0  # for each of the first batches, instead
    stalled_batch: int | None = None
    stall_seconds: float = 0.0  # on top, for that one batch

    def seconds_for(self, batch: int) -> float:
        """Return the seconds that this batch takes."""
        seconds = self.first_seconds if batch < self.first_batches else self.seconds
        return seconds + (self.stall_seconds if batch == self.stalled_batch else 0.0)


class TimedEncoder:
    """Takes a set time for each document, and makes rows of a set size.  Thread-safe.

    Args:
        seconds: for a document.
        row_bytes: the size of its rows; 0: as they were mapped, which is next to nothing.
    """

    def __init__(self, seconds: float, row_bytes: int = 0) -> None:
        self.documents = 0  # made so far
        self._seconds = seconds
        self._row_bytes = row_bytes
        self._lock = threading.Lock()

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return the document's rows and their size; see ``RowEncoder``."""
        if self._seconds:
            time.sleep(self._seconds)
        with self._lock:
            self.documents += 1
        if not self._row_bytes:
            return rows, 0
        return (b"x" * self._row_bytes,), self._row_bytes


# -------------------------------------------------------------------------------------- the target


@dataclass
class Commits:
    """What a target was given, and how long it took.  Thread-safe."""

    times: Counter[Key] = field(default_factory=Counter)  # how often each document was committed
    order: list[Key] = field(default_factory=list)
    batches: int = 0
    seconds: float = 0.0  # of all batches, as measured
    last: float = 0.0  # perf_counter of the last commit
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def begin(self) -> int:
        """Return the number of the batch that begins, counted from 0."""
        with self._lock:
            self.batches += 1
            return self.batches - 1

    def add(self, records: Sequence[DocumentRecord], seconds: float) -> None:
        """Count a batch that was committed just now."""
        keys = [record.key for record in records]
        with self._lock:
            self.times.update(keys)
            self.order += keys
            self.seconds += seconds
            self.last = time.perf_counter()

    @property
    def documents(self) -> int:
        """How many different documents were committed."""
        return len(self.times)

    def check(self, documents: int, *, complete: bool = True) -> None:
        """See that the documents 1 to ``documents`` were committed, each once.

        Args:
            complete: false where the run was ended before its end: then some may be missing.

        Raises:
            BenchmarkError: one is missing, or was committed more than once, or is none of them.
        """
        twice = [key for key, times in self.times.items() if times > 1]
        unknown = [key for key in self.times if not (isinstance(key, int) and 1 <= key <= documents)]
        missing = documents - self.documents
        if twice or unknown or (complete and missing):
            raise BenchmarkError(
                f"not every document was committed exactly once: of {documents:,}, {missing:,} were not, "
                f"{len(twice):,} more than once, and {len(unknown):,} others were; no figure holds"
            )


class TimedTarget(Target):
    """Takes the time that its pace says for each batch, and counts the documents.

    Args:
        pace: seconds for each batch.
        encoder: what parsing takes.
        fails_at: the batch, counted from 0, at which the target is gone for good.
    """

    def __init__(self, pace: Pace, encoder: TimedEncoder, fails_at: int | None = None) -> None:
        self.commits = Commits()
        self.failed_at: float | None = None  # perf_counter
        self.pace = pace
        self.encoder = encoder
        self.fails_at = fails_at

    @property
    def display(self) -> str:
        """The target in words."""
        return "a target whose times are set"

    def prepare(
        self,
        plan: Plan,
        *,
        source_name: str = "benchmark",
        source_name_explicit: bool = True,
        create_tables: bool = False,
        dry_run: bool = False,
        on_plan_change: str = "report",
        settings: Mapping[str, Any] | None = None,
        on_change: str = "ignore",
        keys_after: bool = False,
    ) -> TimedLoad:
        """Begin a load; nothing is connected."""
        return TimedLoad(self, len(plan.tables))


class TimedLoad(LoadHandle):
    """A load of which nothing is known before."""

    load_id = 1
    resumed = False

    def __init__(self, target: TimedTarget, tables: int) -> None:
        self.started_at = datetime.now(UTC)
        self.encoder: RowEncoder = target.encoder
        self._target = target
        self._tables = tables

    def lookup(self, keys: Sequence[Key]) -> dict[Key, LedgerEntry]:
        """No document is known."""
        return {}

    def writer(self, index: int) -> BatchWriter:
        """Return a writer; see ``LoadHandle``."""
        return _TimedWriter(self._target, self._tables)

    def finish(self, state: RunState, summary: Mapping[str, Any]) -> None:
        """Nothing is written down."""

    def abort(self) -> None:
        """Nothing here waits."""

    def close(self) -> None:
        """Nothing is open."""


class _TimedWriter(BatchWriter):
    def __init__(self, target: TimedTarget, tables: int) -> None:
        self._target = target
        self._tables = tables
        self._aborted = threading.Event()

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        started = time.perf_counter()
        target = self._target
        number = target.commits.begin()
        if number == target.fails_at:
            target.failed_at = started
            raise TargetError("the benchmark's target is gone, as it was told to be")
        seconds = target.pace.seconds_for(number)
        if (seconds and self._aborted.wait(seconds)) or self._aborted.is_set():
            raise TargetError("the batch was broken off")
        result = count_batch(records, self._tables)
        result.seconds = time.perf_counter() - started
        target.commits.add(records, result.seconds)
        return result

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        """Nothing is open."""
