"""Maps documents once more and sums up the rows that they should have left, beside what is there.

Used by worker processes, or threads: a :class:`PageMapper` belongs to one of them.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xxhash import xxh3_64_digest

from xml_extractor.engines.base import Session
from xml_extractor.engines.read_back import RowForm
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected, DocumentSkipped
from xml_extractor.mapping.document_hash import document_hash
from xml_extractor.mapping.records import Key, Row, SourceDocument, State
from xml_extractor.operations.verification.subject import Connections
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.bookkeeping import LEDGER
from xml_extractor.target.content_digest import Share, TableDigest
from xml_extractor.target.failures import Connection
from xml_extractor.target.runs import Run, read_runs

Marks = tuple[bytes, ...]
"""Rows as the hashes of their values, eight bytes a column: what is compared without holding any value."""


@dataclass(slots=True)
class PageSums:
    """What the documents of a page of keys add up to."""

    tables: list[list[Share]]
    """Rows that they should have left, in the plan's order of tables."""
    compared: int = 0
    other_plan: int = 0
    """Loaded under another version of the contract: left out."""
    changed: list[Key] = field(default_factory=list)
    """Changed in the source since: left out."""
    refused: list[Key] = field(default_factory=list)
    """Refused or skipped now, though they were loaded."""


@dataclass(slots=True)
class MappedKey:
    """One document, mapped once more."""

    batch: int
    """Of its ledger row, as it was before the document was read."""
    rows: dict[str, Marks]


def column_marks(row: Row) -> bytes:
    """Return the hashes of a row's values, eight bytes each."""
    return b"".join([xxh3_64_digest(ascii(value).encode()) for value in row])


class PageMapper:
    """Maps pages of keys.  One thread's.

    Args:
        connection: to the target.
        reader: of the source.
    """

    def __init__(self, connections: Connections, connection: Connection, reader: SourceReader) -> None:
        self._connections = connections
        self._subject = connections.subject
        self._connection = connection
        self._reader = reader
        self._mappers: dict[datetime, DataMapper] = {}
        self._runs: dict[int, Run] = {}
        self._forms = [RowForm.of(self._subject.target, table) for table in self._subject.plan.tables]

    def sums(self, keys: Sequence[Key]) -> PageSums:
        """Return what the loaded ones of these documents add up to."""
        keyed = self._subject.keyed_tables
        digests = [TableDigest(form, by_key=form.table.name in keyed) for form in self._forms]
        page = PageSums([])
        for _, rows in self._mapped(keys, page):
            for digest, table_rows in zip(digests, rows, strict=True):
                if table_rows:
                    digest.add_mapped(table_rows)
        page.tables = [digest.sums.shares() for digest in digests]
        return page

    def marks(self, keys: Sequence[Key], tables: Collection[str]) -> dict[Key, MappedKey]:
        """Return the rows of the loaded ones of these documents, in some tables, as hashes."""
        made: dict[Key, MappedKey] = {}
        for (key, batch), rows in self._mapped(keys, PageSums([])):
            made[key] = MappedKey(
                batch,
                {
                    form.table.name: tuple([column_marks(form.of_mapped(row)) for row in table_rows])
                    for form, table_rows in zip(self._forms, rows, strict=True)
                    if form.table.name in tables
                },
            )
        return made

    def _mapped(
        self, keys: Sequence[Key], page: PageSums
    ) -> Iterator[tuple[tuple[Key, int], tuple[list[Row], ...]]]:
        entries = self._loaded(keys, page)
        for document in self._documents([key for key in keys if key in entries]):
            run, batch, known_hash = entries[document.key]
            if known_hash is not None and document_hash(document) != known_hash:
                page.changed.append(document.key)
                continue
            mapper = self._mapper(run)
            try:
                mapped = mapper.map(mapper.parse(document), document)
            except (DocumentRejected, DocumentSkipped):
                page.refused.append(document.key)
                continue
            page.compared += 1
            yield (document.key, batch), mapped.rows

    def _loaded(self, keys: Sequence[Key], page: PageSums) -> dict[Key, tuple[Run, int, bytes | None]]:
        """Return the load, batch and hash of those documents that were loaded under this very plan."""
        by_digest = {self._subject.digests.digest(key): key for key in keys}

        def look(session: Session) -> list[tuple[Any, ...]]:
            columns = ("digest", "state", "load_id", "batch", "document_hash")
            found = session.existing(LEDGER, columns, "digest", sorted(by_digest))
            if any(row[2] not in self._runs for row in found):
                self._runs = {run.load_id: run for run in read_runs(session)}
            return found

        entries: dict[Key, tuple[Run, int, bytes | None]] = {}
        for digest, state, load_id, batch, hashed in self._connections.ask(
            self._connection, "reading the ledger", look
        ):
            run = self._runs.get(load_id)
            if state != State.LOADED.value or run is None:
                continue
            if run.plan_digest != self._subject.plan.digest:
                page.other_plan += 1
                continue
            known_hash = None if hashed is None else bytes(hashed)
            entries[by_digest[bytes(digest)]] = (run, batch, known_hash)
        return entries

    def _documents(self, keys: Sequence[Key]) -> Iterator[SourceDocument]:
        for slice_ in self._reader.slices(keys):
            self._connections.check()
            yield from slice_.documents

    def _mapper(self, run: Run) -> DataMapper:
        """The mapper for which GETUTCDATE() is when that load began."""
        mapper = self._mappers.get(run.started_at)
        if mapper is None:
            mapper = self._mappers[run.started_at] = DataMapper(self._subject.plan, run.started_at)
        return mapper


# --------------------------------------------------------------------------------------- comparison


def compare_rows(
    expected: Marks, found: Marks, identity: Sequence[int], columns: int
) -> tuple[Counter[int], int, int]:
    """Compare one document's rows in one table.

    Rows that are not the same are paired by their primary key, else with the row that they have most values
    in common with; what is left over is missing or too many.

    Args:
        identity: positions of the primary key's columns; empty = there is none to go by.
        columns: how many values a row has.

    Returns:
        Differing values by column, rows that are missing, rows that are too many.
    """
    missing = list((Counter(expected) - Counter(found)).elements())
    extra = list((Counter(found) - Counter(expected)).elements())
    values: Counter[int] = Counter()
    if identity:
        by_identity = defaultdict(list)
        for row in extra:
            by_identity[_of(row, identity)].append(row)
        unmatched = []
        for row in missing:
            others = by_identity[_of(row, identity)]
            if others:
                other = others.pop()
                extra.remove(other)
                values.update(_differing(row, other, columns))
            else:
                unmatched.append(row)
        missing = unmatched
    if len(missing) * len(extra) <= _MOST_PAIRS:
        missing, extra = _pair_by_likeness(missing, extra, columns, values)
    return values, len(missing), len(extra)


_MOST_PAIRS = 10_000
"""Pairs of rows that are compared for likeness; beyond that they are told as missing and too many."""


def _pair_by_likeness(
    missing: list[bytes], extra: list[bytes], columns: int, values: Counter[int]
) -> tuple[list[bytes], list[bytes]]:
    unmatched = []
    for row in missing:
        differing = [(len(_differing(row, other, columns)), i) for i, other in enumerate(extra)]
        fewest, i = min(differing, default=(columns, 0))
        if 2 * fewest < columns:
            values.update(_differing(row, extra.pop(i), columns))
        else:
            unmatched.append(row)
    return unmatched, extra


def _of(row: bytes, positions: Sequence[int]) -> bytes:
    return b"".join([row[8 * i : 8 * i + 8] for i in positions])


def _differing(row: bytes, other: bytes, columns: int) -> list[int]:
    return [i for i in range(columns) if row[8 * i : 8 * i + 8] != other[8 * i : 8 * i + 8]]
