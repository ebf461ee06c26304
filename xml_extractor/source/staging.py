"""Puts XML files, folders, zip archives and dumps into the source table, each document once.

Where the contract names a key in the record (``stage.key``), that key says what is there already.  Else
documents are numbered in order of arrival, and ``load_staged``, beside the source table, remembers which
record of which file each is: by a digest of the file's base name, the record's number in it and its
text.  So a file staged again adds nothing, be it compressed or packed differently, moved, or completed
after a download that had been cut short.  Documents and what is remembered of them commit together.

Memory is bounded by one batch (``batch_documents`` or 32 MiB) and one document.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, NamedTuple

from xxhash import xxh3_128_digest

from xml_extractor.contract.plan import Plan, fold_name
from xml_extractor.contract.types import parse_type
from xml_extractor.engines.base import ColumnSpec, Engine, TableSpec
from xml_extractor.errors import LoaderError, SourceError
from xml_extractor.mapping.records import Key
from xml_extractor.source.decoding import NotDecodable, decode_document
from xml_extractor.source.input_files import InputFile, find_inputs
from xml_extractor.source.record_key import KeyFinder, KeyNotFound, staging_key_type
from xml_extractor.source.record_splitter import Root, read_broken_tree, read_root, serialize, split_records
from xml_extractor.source.staging_table import StagingTable

logger = logging.getLogger(__name__)

BATCH_BYTES: Final = 32 * 2**20
MAX_DOCUMENT_BYTES: Final = 512 * 2**20
"""A file that is one document is read whole; engines take no text beyond 1 GB."""
NAMED: Final = 100
"""How many keys and refusals a summary names; all are counted, and each refusal is logged."""

BOOKKEEPING: Final = "load_staged"
_LAYOUT: Final = 1
_NAME_LENGTH: Final = 400
_ATTEMPTS: Final = 5
"""How often numbers are taken anew when another stager has taken the same ones."""


class Refused(NamedTuple):
    """A document that was not staged."""

    file: str
    record: int  # counted from 1 within the file
    reason: str


class RefusedFile(NamedTuple):
    """A file that could not be read to its end; the records before that place were staged."""

    file: str
    reason: str


@dataclass(slots=True)
class StageSummary:
    """What staging did.  documents = staged + already_staged + differing + refused."""

    files: int = 0
    documents: int = 0
    staged: int = 0
    already_staged: int = 0
    differing: int = 0
    """Documents whose key is there with other content, which was left as it is."""
    refused: int = 0
    """Documents that have no text or no key and so cannot be staged."""
    differing_keys: list[Key] = field(default_factory=list)
    """The first of them (NAMED)."""
    refusals: list[Refused] = field(default_factory=list)
    """The first of them (NAMED)."""
    files_refused: int = 0
    """Files that could not be read, or not to their end."""
    refused_files: list[RefusedFile] = field(default_factory=list)
    """The first of them (NAMED)."""

    @property
    def needs_a_look(self) -> bool:
        """Whether there is anything that the operator should look at."""
        return bool(self.differing or self.refused or self.files_refused)


def stage(
    engine: Engine,
    plan: Plan,
    paths: Sequence[Path | str],
    *,
    batch_documents: int = 1000,
    progress: Callable[[StageSummary], None] | None = None,
) -> StageSummary:
    """Stage everything under ``paths`` into the plan's source table, which is created if absent.

    A file whose root element is ``stage.record`` or one of the contract's roots is one document and goes
    in as it stands, well-formed or not: what cannot be parsed is quarantined when it is loaded.  Any other
    file is a dump and is split.  Without ``stage.record`` each file is one document.

    Where there are several files, one that cannot be read to its end is refused and counted, and the others
    are staged all the same.

    Args:
        batch_documents: documents a transaction.
        progress: called after each transaction with the figures so far.

    Raises:
        UsageError: a path does not exist or holds no XML.
        SourceError: the only file cannot be read or is broken, or the database refuses.  What was committed
            before stays; the same call goes on from there.
    """
    summary = StageSummary()
    unreadable: list[tuple[Path, LoaderError]] = []
    files = list(find_inputs([Path(path) for path in paths], lambda *refused: unreadable.append(refused)))
    alone = len(files) + len(unreadable) == 1
    for path, reason in unreadable:
        if alone:
            raise reason
        summary.files += 1
        _refuse_file(summary, str(path), reason)
    key_type = staging_key_type(plan)
    finder = KeyFinder(plan, plan.stage.key, key_type) if plan.stage.key is not None else None
    with StagingTable(engine, plan.source, key_type) as table:
        writer = (
            _KeyedWriter(table, summary) if finder is not None else _NumberingWriter(table, plan, summary)
        )
        batch: list[_Document] = []
        size = 0

        def flush() -> None:
            nonlocal size
            if batch:
                documents = batch.copy()
                batch.clear()  # first: what the database refuses is not to be tried again on the way out
                size = 0
                writer.write(documents)
                if progress is not None:
                    progress(summary)

        try:
            for file in files:
                summary.files += 1
                for document in _documents_of(file, plan, finder, summary, alone=alone):
                    batch.append(document)
                    size += len(document.text)
                    if len(batch) >= batch_documents or size >= BATCH_BYTES:
                        flush()
        except SourceError as error:
            flush()  # what came before the broken place is sound
            if summary.documents:
                raise SourceError(
                    f"{error} (documents staged until then: {summary.staged:,}; the rest was not looked at)"
                ) from error
            raise
        flush()
    return summary


class _Document(NamedTuple):
    key: Key | None  # None = to be numbered
    text: str
    file: str  # base name
    record: int


# ------------------------------------------------------------------------------------------ reading


def _documents_of(
    file: InputFile, plan: Plan, finder: KeyFinder | None, summary: StageSummary, *, alone: bool
) -> Iterator[_Document]:
    """Yield the documents of a file; where it is not alone, what is wrong with it ends only this."""
    try:
        yield from _documents(file, plan, finder, summary)
    except SourceError as error:  # of reading: what the database refuses is not raised in here
        if alone:
            raise
        _refuse_file(summary, file.name, error)


def _documents(
    file: InputFile, plan: Plan, finder: KeyFinder | None, summary: StageSummary
) -> Iterator[_Document]:
    record = plan.stage.record
    root = None
    if record is not None:
        with file.open() as content:
            root = read_root(content)
    if record is None or root is None or _is_document(root, plan):
        yield from _whole_file(file, finder, summary)
        return
    with file.open(ahead=True) as content:
        elements = split_records(content, file.name, root, record, ignore_case=plan.ignore_case)
        for number, element in enumerate(elements, 1):
            summary.documents += 1
            key: Key | None = None
            if finder is not None:
                try:
                    key = finder.find(element)
                except KeyNotFound as error:
                    _refuse(summary, file, number, str(error))
                    continue
            yield _Document(key, serialize(element), file.base_name, number)


def _is_document(root: Root, plan: Plan) -> bool:
    tag = fold_name(root.tag) if plan.ignore_case else root.tag
    return tag == plan.stage.record or tag in plan.roots


def _whole_file(file: InputFile, finder: KeyFinder | None, summary: StageSummary) -> Iterator[_Document]:
    with file.open() as content:
        data = content.read(MAX_DOCUMENT_BYTES + 1)
    summary.documents += 1
    if len(data) > MAX_DOCUMENT_BYTES:
        _refuse(summary, file, 1, f"it is larger than {MAX_DOCUMENT_BYTES // 2**20} MiB")
        return
    key: Key | None = None
    try:
        text = decode_document(data)
        if finder is not None:
            root = read_broken_tree(data)
            if root is None:
                raise KeyNotFound("it is not XML, so that no key can be found in it")
            key = finder.find(root)
    except (NotDecodable, KeyNotFound) as error:
        _refuse(summary, file, 1, str(error))
        return
    yield _Document(key, text, file.base_name, 1)


def _refuse(summary: StageSummary, file: InputFile, record: int, reason: str) -> None:
    summary.refused += 1
    if len(summary.refusals) < NAMED:
        summary.refusals.append(Refused(file.name, record, reason))
    logger.warning("not staged: %s, record %d: %s", file.name, record, reason)


def _refuse_file(summary: StageSummary, name: str, error: LoaderError) -> None:
    reason = str(error)
    for prefix in (f"{name} ", f"archive {name} ", f"folder {name} "):
        reason = reason.removeprefix(prefix)
    summary.files_refused += 1
    if len(summary.refused_files) < NAMED:
        summary.refused_files.append(RefusedFile(name, reason))
    logger.warning("not staged, or not to its end: %s: %s", name, reason)


# ------------------------------------------------------------------------------------------ writing


class _KeyedWriter:
    """Writes documents under their own keys."""

    def __init__(self, table: StagingTable, summary: StageSummary) -> None:
        self._table = table
        self._summary = summary

    def write(self, batch: Sequence[_Document]) -> None:
        """Write one batch in a transaction of its own."""
        table = self._table
        new: dict[Key, str] = {}
        repeated: list[tuple[Key, str]] = []
        for document in batch:
            assert document.key is not None
            if document.key in new:
                repeated.append((document.key, document.text))
            else:
                new[document.key] = document.text
        table.begin()
        present = table.insert_new(list(new.items()))
        there = table.documents(list(present)) if present else {}
        table.commit()
        self._summary.staged += len(new) - len(present)
        for key in present:
            self._compare(key, new[key], there.get(key))
        for key, text in repeated:
            self._compare(key, text, there[key] if key in there else new[key])

    def _compare(self, key: Key, text: str, there: object) -> None:
        summary = self._summary
        if there == text:
            summary.already_staged += 1
            return
        summary.differing += 1
        if len(summary.differing_keys) < NAMED:
            summary.differing_keys.append(key)
        logger.warning("key %r is in the source already with other content, which was left as it is", key)


class _NumberingWriter:
    """Numbers documents in order of arrival and remembers them in ``load_staged``."""

    def __init__(self, table: StagingTable, plan: Plan, summary: StageSummary) -> None:
        self._table = table
        self._source = plan.source.table
        self._summary = summary
        self._bookkeeping = bookkeeping_table()
        self._columns = [column.name for column in self._bookkeeping.columns]
        self._created = False

    def write(self, batch: Sequence[_Document]) -> None:
        """Write one batch in a transaction of its own."""
        documents = {self._digest(document): document for document in batch}
        for _ in range(_ATTEMPTS):
            staged = self._try(documents)
            if staged is not None:
                self._summary.staged += staged
                self._summary.already_staged += len(batch) - staged
                return
        raise SourceError(
            f"numbers for {self._source} are taken by another program that writes to it: "
            "stage when it has finished"
        )

    def _try(self, documents: dict[bytes, _Document]) -> int | None:
        """Write what is new; return how many, or ``None`` if another stager has taken the same numbers."""
        table = self._table
        table.begin()
        if not self._created:
            table.create_bookkeeping(self._bookkeeping)
            self._created = True
        known = table.guard(
            f"read {BOOKKEEPING}",
            lambda: table.session.existing(BOOKKEEPING, ["digest"], "digest", list(documents)),
        )
        present = {bytes(row[0]) for row in known}
        first = table.largest_key() + 1
        now = datetime.now(UTC).replace(tzinfo=None).isoformat(sep=" ", timespec="milliseconds")
        new = [digest for digest in documents if digest not in present]
        rows = [
            (digest, self._source, first + i, documents[digest].file[:_NAME_LENGTH], documents[digest].record,
             _LAYOUT, now)
            for i, digest in enumerate(new)
        ]  # fmt: skip
        taken = table.guard(
            f"write {BOOKKEEPING}",
            lambda: table.session.insert_new(BOOKKEEPING, self._columns, sorted(rows)) if rows else set(),
        )
        taken = {bytes(digest) for digest in taken}
        numbered = [(first + i, documents[d].text) for i, d in enumerate(new) if d not in taken]
        if numbered and table.insert_new(numbered):
            table.rollback()
            return None
        table.commit()
        return len(numbered)

    def _digest(self, document: _Document) -> bytes:
        head = f"{self._source}\0{document.file}\0{document.record}\0"
        return xxh3_128_digest(f"{head}{document.text}".encode())


def bookkeeping_table() -> TableSpec:
    """Return the table that remembers what was numbered; it stands beside the source table."""
    columns = {
        "digest": "binary(16)", "source_table": "nvarchar(257)", "source_key": "bigint",
        "file_name": f"nvarchar({_NAME_LENGTH})", "record_number": "bigint", "schema_version": "smallint",
        "staged_at": "datetime2(3)",
    }  # fmt: skip
    return TableSpec(
        name=BOOKKEEPING,
        columns=tuple(ColumnSpec(name, parse_type(type_), nullable=False) for name, type_ in columns.items()),
        primary_key=("digest",),
    )
