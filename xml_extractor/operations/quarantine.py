"""Looks into quarantine: its documents by reason or each, and those that are to be tried again."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

from xml_extractor.contract import Contract
from xml_extractor.engines.base import Session
from xml_extractor.errors import UsageError
from xml_extractor.mapping.document_hash import document_hash
from xml_extractor.mapping.records import Key, Previous, Renewal, SourceDocument, State
from xml_extractor.operations import opening
from xml_extractor.settings import LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE, RUNS
from xml_extractor.target.ledger import DocumentDigests
from xml_extractor.target.timestamps import from_database, timestamp

PAGE_DOCUMENTS: Final = 2_000
"""Documents that are read, loaded again or purged at a time."""

MAX_KEYS: Final = 1_000
"""Keys that may be named: more parameters than about twice that no engine takes in one statement."""

_COLUMNS: Final = (
    "q.digest", "q.source_key", "q.stage", "q.code", "q.message", "q.table_name", "q.column_name", "q.path",
    "q.load_id", "r.contract", "r.source_name", "q.quarantined_at", "q.document_hash",
    "l.state", "l.batch", "l.load_id", "l.document_hash",
)  # fmt: skip

_NUMBERS: Final = re.compile(r"\d+")

Ask = Callable[[Callable[[Session], Any]], Any]
"""Runs a question on a session that is open to the target, and returns its answer."""


@dataclass(frozen=True, slots=True)
class QuarantineFilter:
    """Which quarantined documents are meant; what is ``None`` does not restrict."""

    code: str | None = None
    stage: str | None = None
    keys: tuple[str, ...] = ()
    contract: str | None = None
    source_name: str | None = None
    before: datetime | None = None  # put there earlier than this

    def __post_init__(self) -> None:
        if len(self.keys) > MAX_KEYS:
            raise UsageError(
                f"--key: {len(self.keys):,} keys are named, and at most {MAX_KEYS:,} can be at once; name a "
                "reason (--code) or stage instead"
            )

    def where(self) -> tuple[str, list[Any]]:
        """Return a WHERE clause, which always has a condition, and its parameters."""
        conditions = ["q.digest = l.digest"]
        parameters: list[Any] = []
        for column, operator, value in (
            ("q.code", "=", self.code),
            ("q.stage", "=", self.stage),
            ("r.contract", "=", self.contract),
            ("r.source_name", "=", self.source_name),
            ("q.quarantined_at", "<", None if self.before is None else timestamp(self.before)),
        ):
            if value is not None:
                conditions.append(f"{column} {operator} ?")
                parameters.append(value)
        if self.keys:
            conditions.append(f"q.source_key IN ({', '.join('?' * len(self.keys))})")
            parameters += self.keys
        return "WHERE " + " AND ".join(conditions), parameters

    def named(self, documents: Iterable[QuarantinedDocument]) -> list[QuarantinedDocument]:
        """Return those that have one of the keys, if any are named, to the letter: a server's collation may
        find more."""
        return [document for document in documents if not self.keys or document.key in self.keys]


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
    quarantined_at: datetime
    document_hash: bytes | None
    """Of the content that was refused; None where it was not known."""
    is_newer_version: bool
    """Whether an older version of the document is loaded, and stays so."""
    digest: bytes
    batch: int  # of the ledger's row: it changes whenever that does
    ledger_load_id: int
    ledger_hash: bytes | None

    @property
    def place(self) -> str:
        """Table, column and path, as far as they are known."""
        return place(self.table, self.column, self.path)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        data = asdict(self)
        for internal in ("digest", "batch", "ledger_load_id", "ledger_hash"):
            del data[internal]
        data["quarantined_at"] = self.quarantined_at.isoformat()
        data["document_hash"] = None if self.document_hash is None else self.document_hash.hex()
        return data


@dataclass(frozen=True, slots=True)
class QuarantineGroup:
    """Documents that were refused for one reason at one place."""

    contract: str
    stage: str
    code: str
    table: str | None
    column: str | None
    path: str | None
    message: str
    """The message of all of them; where they differ, that of one with N for its numbers."""
    documents: int
    first_at: datetime
    example_key: str

    @property
    def place(self) -> str:
        """Table, column and path, as far as they are known."""
        return place(self.table, self.column, self.path)

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        data = asdict(self)
        data["first_at"] = self.first_at.isoformat()
        return data


def place(table: str | None, column: str | None, path: str | None) -> str:
    """Return where in table and document something was refused, in one text."""
    name = ".".join(part for part in (table, column) if part)
    return " ".join(part for part in (name, path) if part)


def _from(session: Session) -> str:
    return (
        f"FROM {session.table(QUARANTINE)} q JOIN {session.table(LEDGER)} l ON l.digest = q.digest "
        f"JOIN {session.table(RUNS)} r ON r.load_id = q.load_id"
    )


def count_quarantined(ask: Ask, wanted: QuarantineFilter) -> int:
    """Return how many documents are in quarantine."""
    if wanted.keys:
        return sum(map(len, quarantine_pages(ask, wanted)))
    where, parameters = wanted.where()
    rows = ask(lambda session: session.query(f"SELECT {session.count} {_from(session)} {where}", parameters))
    return int(rows[0][0])


def quarantine_groups(ask: Ask, wanted: QuarantineFilter) -> list[QuarantineGroup]:
    """Return quarantined documents grouped by reason and place, the largest groups first.

    As many groups as the contracts have reasons and places, however many documents.
    """
    where, parameters = wanted.where()
    columns = "r.contract, q.stage, q.code, q.table_name, q.column_name, q.path"
    rows = ask(
        lambda session: session.query(
            f"SELECT {columns}, MIN(q.message), MAX(q.message), {session.count}, MIN(q.quarantined_at), "
            f"MIN(q.source_key) {_from(session)} {where} GROUP BY {columns}",
            parameters,
        )
    )
    groups = [
        QuarantineGroup(
            contract=str(row[0]),
            stage=str(row[1]),
            code=str(row[2]),
            table=row[3],
            column=row[4],
            path=row[5],
            message=str(row[6]) if row[6] == row[7] else _NUMBERS.sub("N", str(row[6])),
            documents=int(row[8]),
            first_at=from_database(row[9]),
            example_key=str(row[10]),
        )
        for row in rows
    ]
    return sorted(groups, key=lambda group: (-group.documents, group.code, group.place, group.contract))


def list_quarantined(ask: Ask, wanted: QuarantineFilter, limit: int) -> list[QuarantinedDocument]:
    """Return quarantined documents, the latest first, at most ``limit`` of them."""

    def first(session: Session) -> list[tuple[Any, ...]]:
        where, parameters = wanted.where()
        sql = (
            f"SELECT {', '.join(_COLUMNS)} {_from(session)} {where} ORDER BY q.quarantined_at DESC, q.digest"
        )
        return session.first_rows(sql, parameters, limit)

    documents = wanted.named(map(_document, ask(first)))
    documents.sort(key=lambda document: (len(document.key), document.key))
    documents.sort(key=lambda document: document.quarantined_at, reverse=True)
    return documents


def quarantine_pages(ask: Ask, wanted: QuarantineFilter) -> Iterator[list[QuarantinedDocument]]:
    """Yield all quarantined documents in lists of up to :data:`PAGE_DOCUMENTS`, each a statement of its own.

    In the order of their digests: a document that is put into quarantine once more, or taken out, while
    this goes on is met once at most, and those that stay are met once.
    """
    after: bytes | None = None
    while True:
        where, parameters = wanted.where()
        if after is not None:
            where, parameters = f"{where} AND q.digest > ?", [*parameters, after]

        def page(session: Session, where: str = where, parameters: list[Any] = parameters) -> Any:
            sql = f"SELECT {', '.join(_COLUMNS)} {_from(session)} {where} ORDER BY q.digest"
            return session.first_rows(sql, parameters, PAGE_DOCUMENTS)

        rows = ask(page)
        documents = wanted.named(map(_document, rows))
        if documents:
            yield documents
        if len(rows) < PAGE_DOCUMENTS:
            return
        after = bytes(rows[-1][0])


def replay_keys(
    ask: Ask, wanted: QuarantineFilter, *, source_name: str, contract: str
) -> Iterator[tuple[Key, Previous]]:
    """Yield the keys of quarantined documents, with what the ledger says of each, reading them page by page.

    Only those of this source under this contract: they alone can be loaded by it.
    """
    digests = DocumentDigests(source_name, contract)
    plan_digests: dict[int, str] = {}
    for documents in quarantine_pages(ask, wanted):
        if not {document.ledger_load_id for document in documents} <= plan_digests.keys():
            plan_digests = dict(
                ask(lambda session: session.query(f"SELECT load_id, plan_digest FROM {session.table(RUNS)}"))
            )
        keys = []
        for document in documents:
            key = digests.key(document.digest, document.key)
            if key is not None:
                keys.append((key, _previous(document, plan_digests.get(document.ledger_load_id, ""))))
        # Near one another in the source, as far as a page reaches.
        yield from sorted(keys, key=lambda item: (isinstance(item[0], str), item[0]))


def _previous(document: QuarantinedDocument, plan_digest: str) -> Previous:
    if not document.is_newer_version:
        return Previous(State.QUARANTINED, document.batch, plan_digest, document.ledger_hash)
    return Previous(
        State.LOADED,
        document.batch,
        plan_digest,
        document.ledger_hash,
        renewal=Renewal.RETRY,
        has_refused=True,
    )


def _document(row: tuple[Any, ...]) -> QuarantinedDocument:
    return QuarantinedDocument(
        key=str(row[1]),
        stage=str(row[2]),
        code=str(row[3]),
        message=str(row[4]),
        table=row[5],
        column=row[6],
        path=row[7],
        load_id=int(row[8]),
        contract=str(row[9]),
        source_name=str(row[10]),
        quarantined_at=from_database(row[11]),
        document_hash=None if row[12] is None else bytes(row[12]),
        is_newer_version=State(row[13]) is State.LOADED,
        digest=bytes(row[0]),
        batch=int(row[14]),
        ledger_load_id=int(row[15]),
        ledger_hash=None if row[16] is None else bytes(row[16]),
    )


# ------------------------------------------------------------------------------------ the documents


class SourceDocuments:
    """The source's documents, for whoever asks for quarantined ones; use it as a context.

    Raises, on entering and when read:
        SourceError: the source cannot be read.
    """

    def __init__(self, source: str, contract: Contract, options: LoadOptions) -> None:
        self._contract = contract.plan.contract
        self._reader = SourceReader(
            opening.source_engine(source, options), contract.plan.source, retry_seconds=options.retry_seconds
        )

    def __enter__(self) -> SourceDocuments:
        self._reader.open()
        try:
            self._reader.check()
        except BaseException:
            self._reader.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def key(self, document: QuarantinedDocument) -> Key | None:
        """Return the document's key as the source has it; None where it is another contract's."""
        if document.contract != self._contract:
            return None
        return DocumentDigests(document.source_name, document.contract).key(document.digest, document.key)

    def of(self, document: QuarantinedDocument) -> SourceDocument | None:
        """Return what the source holds under the document's key now; None where there is no such row."""
        key = self.key(document)
        found = [] if key is None else self.read([key])
        return found[0] if found else None

    def read(self, keys: list[Key]) -> list[SourceDocument]:
        """Return the documents with these keys; those that have gone are left out."""
        return self._reader.documents(keys)


def has_changed(document: QuarantinedDocument, now: SourceDocument) -> bool | None:
    """Whether the source row holds something else than what was refused; None where that is not known."""
    return None if document.document_hash is None else document_hash(now) != document.document_hash


def content_text(document: SourceDocument) -> str:
    """Return a document's content as text; bytes that are no UTF-8 come out escaped."""
    content = document.content
    if isinstance(content, bytes):
        return content.decode("utf-8", "backslashreplace")
    return content if content is not None else "(NULL)"
