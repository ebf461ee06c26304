"""Reading the source table: pages of keys, and the documents that belong to them.

A key is compared and sorted by the column's own type, length and collation: then an index on it serves the
pages, and no key is skipped or read twice because two rules disagree.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any, Final

from xml_extractor.contract.plan import SourcePlan
from xml_extractor.engines.checks import ExistingTable
from xml_extractor.engines.mssql.catalogue import KeyColumn
from xml_extractor.engines.mssql.given import column_of, comparable, key_list_condition, key_lists
from xml_extractor.engines.mssql.names import quote_identifier
from xml_extractor.mapping.records import Key, SourceDocument

Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

KEYS_AT_ONCE: Final = 1000
_TEMPORAL: Final = ("time", "datetime2", "datetimeoffset")


class SourceTable:
    """One source table and how its keys are compared.

    Args:
        table: quoted.
        existing: what the catalogue says of it.
    """

    def __init__(self, source: SourcePlan, table: str, existing: ExistingTable) -> None:
        found = column_of(existing, source.key)
        self._source = source
        self._table = table
        self._key: KeyColumn = KeyColumn.of(found)
        self._quoted = quote_identifier(found.name)
        self._columns = ", ".join(_selected(existing, name) for name in source.columns)
        self._mean_bytes: float | None = None  # of documents

    def key_page(
        self, query: Query, after: Key | None, start: Key | None, end: Key | None, limit: int
    ) -> list[Key | None]:
        """Return up to ``limit`` keys in key order.  NULL sorts first, and is outside of any range."""
        where, parameters = self._range(after, start, end)
        sql = f"SELECT TOP (?) {self._quoted} FROM {self._table}{where} ORDER BY {self._quoted}"
        return [_key(value) for (value,) in query(sql, [limit, *parameters])]

    def count_keys(self, query: Query, start: Key | None, end: Key | None) -> int:
        """Return the number of rows from ``start`` to ``end`` inclusive."""
        where, parameters = self._range(None, start, end)
        return int(query(f"SELECT COUNT_BIG(*) FROM {self._table}{where}", parameters)[0][0])

    def last_key(self, query: Query, start: Key | None, end: Key | None) -> Key | None:
        """Return the last key from ``start`` to ``end`` inclusive; NULL sorts first."""
        where, parameters = self._range(None, start, end)
        sql = f"SELECT TOP (1) {self._quoted} FROM {self._table}{where} ORDER BY {self._quoted} DESC"
        rows = query(sql, parameters)
        return _key(rows[0][0]) if rows else None

    def documents(
        self, query: Query, keys: Sequence[Key], most_bytes: int | None = None
    ) -> list[SourceDocument]:
        """Return the documents with these keys, in key order; with a limit, as many as are likely to come to
        that, by the size of those that came before."""
        if most_bytes is None:
            return self._documents(query, keys)
        found: list[SourceDocument] = []
        start = 0
        while start < len(keys) and not found:
            wanted = keys[start : start + max(1, int(most_bytes / (self._mean_bytes or most_bytes / 8)))]
            start += len(wanted)
            found = self._documents(query, wanted)
        if found:
            mean = sum(_size(document) for document in found) / len(found)
            # The mean leans to what came last, so that a stretch of large documents is noticed.
            self._mean_bytes = max(1.0, mean if self._mean_bytes is None else (self._mean_bytes + mean) / 2)
        return found

    def _documents(self, query: Query, keys: Sequence[Key]) -> list[SourceDocument]:
        selected = f"{self._quoted}, {quote_identifier(self._source.document)}"
        if self._columns:
            selected = f"{selected}, {self._columns}"
        found = []
        for chunk in key_lists(keys, KEYS_AT_ONCE):
            sql = (
                f"SELECT {selected} FROM {self._table} "
                f"WHERE {key_list_condition(self._key, len(chunk))} ORDER BY {self._quoted}"
            )
            for key, document, *further in query(sql, chunk):
                found.append(SourceDocument(_key(key), _content(document), tuple(further)))
        return found

    def _range(self, after: Key | None, start: Key | None, end: Key | None) -> tuple[str, list[Key]]:
        """The WHERE clause of a range of keys, and its parameters."""
        conditions = [f"({self._source.where})"] if self._source.where else []
        parameters = []
        for operator, bound in ((">", after), (">=", start), ("<=", end)):
            if bound is not None:
                parameters.append(bound)
                conditions.append(f"{self._quoted} {operator} {comparable(self._key, '?')}")
        return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), parameters


def _selected(existing: ExistingTable, name: str) -> str:
    """A further column; a temporal one as the server writes it, because some drivers drop its last digit."""
    quoted = quote_identifier(name)
    kind = column_of(existing, name).kind
    if kind not in _TEMPORAL:
        return quoted
    text = f"CONVERT(varchar(34), {quoted}, 121)"
    if kind == "datetimeoffset":
        # 2024-01-02 03:04:05.1234567 +05:30 has a blank too many.
        return f"STUFF({text}, LEN({text}) - 6, 1, '')"
    return text


def _key(value: Any) -> Any:
    """Whole numbers of decimal columns come as Decimal."""
    return int(value) if isinstance(value, Decimal) else value


def _size(document: SourceDocument) -> int:
    """Return about how much memory a document takes; text comes as UTF-16."""
    content = document.content or b""
    return 2 * len(content) if isinstance(content, str) else len(content)


def _content(value: Any) -> str | bytes | None:
    return value if value is None or isinstance(value, str | bytes) else str(value)
