"""How documents are read out of PostgreSQL: as bytes, no more at once than asked for, large ones in pieces.

A text comes over the wire as UTF-8, which is what parser and hash take: decoded, it would only have to be
encoded again.  One large value costs libpq several times its size (a receive buffer that doubles, and is kept
as long as the connection; the result; what is made of it); in pieces it costs its size once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from io import BytesIO
from typing import Any, Final, Protocol, TypeVar

import psycopg
from psycopg.types.string import ByteaBinaryLoader

from xml_extractor.contract.plan import SourcePlan
from xml_extractor.engines.base import RepeatedKey
from xml_extractor.engines.ddl import quote_identifier
from xml_extractor.engines.postgresql_arrays import array_text
from xml_extractor.mapping.records import Key, SourceDocument

T = TypeVar("T")

LARGE_BYTES: Final = 16 * 2**20
"""Documents beyond this are read in pieces, each by a statement of its own."""

PIECE_BYTES: Final = 4 * 2**20
KEYS_AT_ONCE: Final = 10_000

_NO_LIMIT: Final = 2**62
_TEXTS: Final = ("text", "character varying", "bpchar")
"""Types whose binary form is the text itself.  That of xml has a declaration, which is not in the row."""

_UNCHECKED: Final = "SQL_ASCII"
"""The encoding of a database that keeps whatever bytes it is given."""


class Run(Protocol):
    """Runs a call under a session's time limits."""

    def __call__(self, call: Callable[[], T]) -> T: ...


class DocumentReading:
    """Reads documents of one source table.  For one connection, in one thread.

    Args:
        table: quoted.
        key_type: what keys are compared as.
        document_type: of the document column, without its length.
        column_types: the same, of the further columns.
        collation: by which keys are sorted, as SQL; empty = their own.
        run: runs a call that is one statement, under the session's time limits.
    """

    def __init__(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        source: SourcePlan,
        table: str,
        *,
        key_type: str,
        document_type: str,
        column_types: Sequence[str],
        collation: str,
        run: Run,
    ) -> None:
        self._connection = connection
        self._run = run
        key, document = quote_identifier(source.key), quote_identifier(source.document)
        is_text = document_type in _TEXTS
        # A server whose encoding is SQL_ASCII takes any bytes for text, and gives no result in which one
        # is not UTF-8: there texts are read as their bytes, for the parser and the mapper to judge.
        is_unchecked = connection.info.parameter_status("server_encoding") == _UNCHECKED
        encoding = _UNCHECKED if is_unchecked else "UTF8"
        size = "0"
        if document_type in (*_TEXTS, "bytea"):
            size = f"coalesce(octet_length({document}), 0)"
        elif document_type == "xml":
            size = f"coalesce(octet_length({document}::text), 0)"
        # OFFSET 0: the value is made once, whole, in the server's memory, and the pieces are cut from that.
        whole = f"convert_to({document}, '{encoding}')" if is_text else f"{document} || ''::bytea"
        if is_text and is_unchecked:
            document = whole
        # Further columns are taken as the server writes them, and a result has but one format.
        self._is_raw = not source.columns and document_type in (*_TEXTS, "bytea")
        self._is_text = is_text and (self._is_raw or is_unchecked)
        further = [quote_identifier(name) for name in source.columns]
        # Not char(n), which would lose its trailing blanks.
        self._in_bytes = [is_unchecked and kind in ("text", "character varying") for kind in column_types]
        for i, in_bytes in enumerate(self._in_bytes):
            if in_bytes:
                further[i] = f"convert_to({further[i]}, '{_UNCHECKED}')"
        inner = "".join(f", {name} AS further_{i}" for i, name in enumerate(further))
        outer = "".join(f", further_{i}" for i in range(len(further)))
        wanted = f"FROM {table} WHERE {key} = ANY ($1::{key_type}[])"
        order = f"{key}{collation}"
        value = f"CASE WHEN size <= {LARGE_BYTES} THEN document END" if self._is_raw else "document"
        # The server knows sizes without reading the values.  ``so_far`` has the document's own in it.
        # Only integers and texts are keys: what else there is comes as text, in either format.
        shown = "key::text AS shown" if key_type == "uuid" else "key"
        self._documents = (
            f"SELECT {shown}, {value}, size{outer} FROM (SELECT {key} AS key, {document} AS document{inner}, "
            f"{size} AS size, sum({size}) OVER (ORDER BY {order} ROWS UNBOUNDED PRECEDING) AS so_far "
            f"{wanted}) AS wanted WHERE so_far - size < $2::bigint ORDER BY key{collation}"
        )
        # The key exactly: its own collation may take another row's for equal.
        exactly = f"{wanted} AND {key}{collation} = ANY ($1::{key_type}[])" if collation else wanted
        self._pieces = (
            f"SELECT number, substr(whole, number * {PIECE_BYTES} + 1, {PIECE_BYTES}) FROM "
            f"(SELECT {whole} AS whole {exactly} OFFSET 0) AS document, "
            f"generate_series(0, (octet_length(whole) - 1) / {PIECE_BYTES}) AS number"
        )

    def read(self, keys: Sequence[Key], most_bytes: int | None) -> list[SourceDocument]:
        """Return the documents with these keys; see :meth:`xml_extractor.engines.base.Session.documents`.

        Raises:
            RepeatedKey: a large document's key is that of another row, too.
        """
        found: list[SourceDocument] = []
        left = _NO_LIMIT if most_bytes is None else most_bytes
        for first in range(0, len(keys), KEYS_AT_ONCE):
            documents = self._read(keys[first : first + KEYS_AT_ONCE], left)
            found += documents
            left -= sum(len(document.content or b"") for document in documents)
            if left <= 0:
                break
        return found

    def _read(self, keys: Sequence[Key], most_bytes: int) -> list[SourceDocument]:
        found: list[SourceDocument] = []
        # Again where all that there was room for has gone while it was read: there may be others.
        while not found and (rows := self._run(lambda: self._rows(keys, most_bytes))):
            for key, document, size, *further in rows:
                key_ = key.decode() if isinstance(key, bytes) else key
                content = _content(document)
                if self._is_raw and size > LARGE_BYTES:
                    content = self._run(lambda key=key_: self._in_pieces(key))  # type: ignore[misc]
                    if content is None:  # it has gone since
                        continue
                is_text = self._is_text and content is not None
                columns = tuple(map(_column, further, self._in_bytes))
                found.append(SourceDocument(key_, content, columns, is_text))
        return found

    def _rows(self, keys: Sequence[Key], most_bytes: int) -> list[tuple[Any, ...]]:
        with self._connection.cursor() as cursor:
            if self._is_raw:
                for name in ("text", "varchar", "bpchar"):
                    cursor.adapters.register_loader(name, ByteaBinaryLoader)
            given = (array_text(keys), most_bytes)
            return cursor.execute(self._documents, given, binary=self._is_raw).fetchall()

    def _in_pieces(self, key: Key) -> bytes | None:
        """Read one document, in the version of this statement; None where there is none any more."""
        content = BytesIO()
        expected = 0
        with self._connection.cursor() as cursor:
            for number, piece in cursor.stream(self._pieces, (array_text([key]),), binary=True):
                if number != expected:  # pieces of one row come in their order
                    raise RepeatedKey(key)
                content.write(piece)
                expected += 1
        return content.getvalue() if expected else None


def _content(value: Any) -> str | bytes | None:
    return value if value is None or isinstance(value, str | bytes) else str(value)


def _column(value: Any, is_text_in_bytes: bool) -> Any:
    """A further column's value; of a text that is not UTF-8, bytes that are not come as halves of surrogate
    pairs, which no target takes."""
    return value.decode(errors="surrogateescape") if is_text_in_bytes and value is not None else value
