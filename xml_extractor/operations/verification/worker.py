"""What one worker of a deep verification does: read tables, and map documents once more."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawValue
from typing import Any

from xml_extractor.engines.base import Session
from xml_extractor.engines.read_back import RowForm
from xml_extractor.mapping.records import Key
from xml_extractor.operations.verification.mapping_again import (
    MappedKey,
    PageMapper,
    PageSums,
    column_marks,
)
from xml_extractor.operations.verification.subject import Connections
from xml_extractor.target.content_digest import (
    BucketSums,
    Share,
    TableDigest,
    bucket_of,
    column_key,
    key_hash,
    pieces,
)
from xml_extractor.target.failures import Connection


@dataclass(frozen=True, slots=True)
class TableSums:
    """What a table adds up to."""

    rows: int
    keys: list[Share]
    """Rows by source key; empty where the table does not carry it."""
    content: list[Share]
    """Rows with their values."""


class Worker:
    """What one worker has open.  One thread's; any may ask how much was read.

    Args:
        count: where what was read is counted: a shared number, of which this worker is the only writer.
    """

    def __init__(self, connections: Connections, count: Any = None) -> None:
        self._connections = connections
        self._subject = connections.subject
        self._count = RawValue("q", 0) if count is None else count
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._mapper: PageMapper | None = None

    def close(self) -> None:
        """Close what is open."""
        self._stack.close()

    @property
    def rows_read(self) -> int:
        """How many rows and documents were read so far."""
        return int(self._count.value)

    def _target(self) -> Connection:
        if self._connection is None:
            self._connection = self._stack.enter_context(self._connections.target())
        return self._connection

    def _pages(self) -> PageMapper:
        if self._mapper is None:
            reader = self._stack.enter_context(self._connections.source())
            self._mapper = PageMapper(self._connections, self._target(), reader)
        return self._mapper

    def page_sums(self, keys: Sequence[Key]) -> PageSums:
        """See :meth:`PageMapper.sums`."""
        sums = self._pages().sums(keys)
        self._count.value += len(keys)
        return sums

    def page_marks(self, keys: Sequence[Key], tables: Collection[str]) -> dict[Key, MappedKey]:
        """See :meth:`PageMapper.marks`."""
        marks = self._pages().marks(keys, tables)
        self._count.value += len(keys)
        return marks

    def table_sums(self, index: int) -> TableSums:
        """Add up a table, by key and with its values, in one pass."""
        table = self._subject.plan.tables[index]
        form = RowForm.of(self._subject.target, table)
        keyed = table.name in self._subject.keyed_tables

        def read(session: Session) -> TableSums:
            digest, keys = TableDigest(form, by_key=keyed), BucketSums()
            for rows in pieces(session, form.statement(session), form.rows_per_chunk):
                self._connections.check()
                digest.add_read(rows)
                if keyed and form.key_position is not None:
                    counts: dict[Any, int] = defaultdict(int)
                    for row in rows:
                        counts[row[form.key_position]] += 1
                    for value, count in counts.items():
                        keys.add_keyed(key_hash(column_key(value)), count)
                self._count.value += len(rows)
            return TableSums(digest.rows, keys.shares(), digest.sums.shares())

        return self._connections.ask(self._target(), f"reading {table.name}", read)

    def table_marks(self, index: int, buckets: frozenset[int]) -> dict[str, list[bytes]]:
        """Return the rows of some buckets as hashes, by what the key column holds."""
        table = self._subject.plan.tables[index]
        form = RowForm.of(self._subject.target, table)
        position = form.key_position
        assert position is not None

        def read(session: Session) -> dict[str, list[bytes]]:
            found: dict[str, list[bytes]] = defaultdict(list)
            for rows in pieces(session, form.statement(session), form.rows_per_chunk):
                self._connections.check()
                for row in rows:
                    text = column_key(row[position])
                    if bucket_of(key_hash(text)) in buckets:
                        found[text].append(column_marks(form.of_read(row)))
                self._count.value += len(rows)
            return dict(found)

        return self._connections.ask(self._target(), f"reading {table.name}", read)
