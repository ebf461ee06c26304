"""What is verified: one source under one contract, in one target; and the connections to look at it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Final, TypeVar

from xml_extractor.contract.plan import Plan, Table
from xml_extractor.engines.base import Engine, Session
from xml_extractor.errors import StoppedError
from xml_extractor.mapping.records import Key
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.failures import Connection, retried
from xml_extractor.target.ledger import DocumentDigests
from xml_extractor.target.replacement import key_values
from xml_extractor.target.runs import Run

T = TypeVar("T")

APPLICATION: Final = "xml_extractor verify"

PAGE_KEYS: Final = 5000
"""Source keys read at once."""


@dataclass(frozen=True)
class Subject:
    """What is verified.  Picklable, immutable, thread-safe."""

    source: Engine
    target: Engine
    plan: Plan
    source_name: str
    retry_seconds: float

    @cached_property
    def digests(self) -> DocumentDigests:
        """What the ledger knows this source's documents by."""
        return DocumentDigests(self.source_name, self.plan.contract)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name != "digests"}

    def is_own(self, run: Run) -> bool:
        """Whether a load was of this source under this contract, in whatever version."""
        return run.source_name == self.source_name and run.contract == self.plan.contract

    @cached_property
    def keyed_tables(self) -> dict[str, Callable[[Key], Any]]:
        """Tables whose rows can be told by source key, with what makes the key column's value of a key."""
        found = {table.name: key_values(self.plan, table) for table in self.plan.tables}
        return {name: values for name, values in found.items() if values is not None}

    def key_column(self, table: Table) -> str:
        """The name of the column of a keyed table that carries the source key."""
        assert table.key_column is not None
        return table.columns[table.key_column].name


class Connections:
    """Opens what is read from, and breaks all of it off when told to.  Thread-safe."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.aborted = threading.Event()
        self._lock = threading.Lock()
        self._open: set[Connection | SourceReader] = set()

    @contextmanager
    def target(self, engine: Engine | None = None) -> Iterator[Connection]:
        """A connection to the target for one thread."""
        opened = Connection(engine or self.subject.target, APPLICATION, self.aborted, write=False)
        with opened as connection, self._noted(connection):
            yield connection

    @contextmanager
    def source(self, *, keys_only: bool = False) -> Iterator[SourceReader]:
        """A reader of the source for one thread.

        Args:
            keys_only: documents are read without their content, to see which are there.
        """
        plan = self.subject.plan.source
        if keys_only:
            plan = replace(plan, document=plan.key, columns=())
        reader = SourceReader(
            self.subject.source, plan, retry_seconds=self.subject.retry_seconds, stop_event=self.aborted
        )
        with self._noted(reader):
            try:
                reader.open()
                yield reader
            finally:
                reader.close()

    def ask(self, connection: Connection, doing: str, call: Callable[[Session], T]) -> T:
        """Call with a target's session, trying again from the start what fails for a passing reason."""
        return retried(connection, self.subject.retry_seconds, doing, call)

    def check(self) -> None:
        """End here when told to.

        Raises:
            StoppedError: :meth:`abort` was called.
        """
        if self.aborted.is_set():
            raise StoppedError("stopped; run the same command again, with --checkpoint to go on where it was")

    def abort(self) -> None:
        """Make everything that reads fail at once."""
        self.aborted.set()
        with self._lock:
            for connection in self._open:
                connection.abort()

    @contextmanager
    def _noted(self, connection: Connection | SourceReader) -> Iterator[None]:
        with self._lock:
            self._open.add(connection)
        try:
            yield
        finally:
            with self._lock:
                self._open.discard(connection)
