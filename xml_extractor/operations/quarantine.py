"""Looks into quarantine, and names the documents that are to be tried again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from xml_extractor.contract import Contract
from xml_extractor.engines.base import Session
from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import Key, Previous, State
from xml_extractor.operations import opening
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.settings import LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE, RUNS
from xml_extractor.target.ledger import DocumentDigests
from xml_extractor.target.timestamps import from_database

_COLUMNS: Final = (
    "q.digest", "q.source_key", "q.stage", "q.code", "q.message", "q.table_name", "q.column_name", "q.path",
    "q.load_id", "r.contract", "r.source_name", "q.quarantined_at", "l.batch", "r.plan_digest",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which quarantined documents are meant; what is ``None`` does not restrict."""

    code: str | None = None
    stage: str | None = None
    keys: tuple[str, ...] = ()
    contract: str | None = None
    source_name: str | None = None

    def where(self) -> tuple[str, list[Any]]:
        """Return a WHERE clause and its parameters."""
        conditions = ["l.state = ?"]
        parameters: list[Any] = [State.QUARANTINED.value]
        for column, value in (
            ("q.code", self.code),
            ("q.stage", self.stage),
            ("r.contract", self.contract),
            ("r.source_name", self.source_name),
        ):
            if value is not None:
                conditions.append(f"{column} = ?")
                parameters.append(value)
        if self.keys:
            conditions.append(f"q.source_key IN ({', '.join('?' * len(self.keys))})")
            parameters += self.keys
        return "WHERE " + " AND ".join(conditions), parameters


@dataclass(frozen=True, slots=True)
class QuarantinedDocument:
    """One quarantined document: why, and since when.  Holds no value of the document."""

    key: str
    stage: str
    code: str
    message: str
    table: str | None
    column: str | None
    path: str | None
    load_id: int
    contract: str
    source_name: str
    quarantined_at: str

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def _from(session: Session) -> str:
    return (
        f"FROM {session.table(QUARANTINE)} q JOIN {session.table(LEDGER)} l ON l.digest = q.digest "
        f"JOIN {session.table(RUNS)} r ON r.load_id = l.load_id"
    )


def count_quarantined(bookkeeping: Bookkeeping, wanted: QuarantineFilter) -> int:
    """Return how many documents are in quarantine."""
    where, parameters = wanted.where()
    rows = bookkeeping.ask(
        lambda session: session.query(f"SELECT COUNT(*) {_from(session)} {where}", parameters)
    )
    return int(rows[0][0])


def list_quarantined(
    bookkeeping: Bookkeeping, wanted: QuarantineFilter, limit: int | None = None
) -> list[QuarantinedDocument]:
    """Return quarantined documents, the latest first, at most ``limit`` of them."""
    rows = _rows(bookkeeping, wanted)
    documents = [
        QuarantinedDocument(
            str(row[1]),
            str(row[2]),
            str(row[3]),
            str(row[4]),
            row[5],
            row[6],
            row[7],
            int(row[8]),
            str(row[9]),
            str(row[10]),
            from_database(row[11]).isoformat(),
        )
        for row in rows
    ]
    # Sorted here: timestamps and texts sort differently from engine to engine.
    documents.sort(key=lambda document: (len(document.key), document.key))
    documents.sort(key=lambda document: document.quarantined_at, reverse=True)
    return documents if limit is None else documents[:limit]


def quarantined_keys(
    bookkeeping: Bookkeeping, wanted: QuarantineFilter, *, source_name: str, contract: str
) -> list[tuple[Key, Previous]]:
    """Return the keys of quarantined documents in key order, with what the ledger says of each.

    Only those of this source under this contract: they alone can be loaded by it.
    """
    digests = DocumentDigests(source_name, contract)
    keys = []
    for row in _rows(bookkeeping, wanted):
        key = digests.key(bytes(row[0]), str(row[1]))
        if key is not None:
            keys.append((key, Previous(State.QUARANTINED, int(row[12]), str(row[13]))))
    return sorted(keys, key=lambda item: (isinstance(item[0], str), item[0]))


def source_document(source: str, contract: Contract, key: str, options: LoadOptions | None = None) -> str:
    """Return the text of a source document, for whoever asks for it by its key.

    Raises:
        SourceError: the source cannot be read.
        UsageError: it has no such document.
    """
    reader = SourceReader(opening.source_engine(source, options or LoadOptions()), contract.plan.source)
    try:
        reader.open()
        reader.check()
        first = next(reader.key_pages(page_size=1), None)
        wanted: Key = key
        if first is not None and isinstance(first[0], int) and key.lstrip("-").isdecimal():
            wanted = int(key)
        documents = reader.documents([wanted])
    finally:
        reader.close()
    if not documents:
        raise UsageError(f"the source holds no document with key {key!r} any more")
    content = documents[0].content
    if isinstance(content, bytes):
        return content.decode("utf-8", "backslashreplace")
    return content if content is not None else "(NULL)"


def _rows(bookkeeping: Bookkeeping, wanted: QuarantineFilter) -> Sequence[tuple[Any, ...]]:
    where, parameters = wanted.where()
    return bookkeeping.ask(
        lambda session: session.query(f"SELECT {', '.join(_COLUMNS)} {_from(session)} {where}", parameters)
    )
