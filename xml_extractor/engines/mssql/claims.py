"""Rows that are inserted only where their key is not there yet, and rows looked up by many keys.

One statement inserts and says what it inserted; a key that another session has inserted and not committed
is waited for, as the primary key has it.  Rows are sorted by key, so that all sessions take the locks in
one order and none waits for another in a circle.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from xml_extractor.contract.types import SqlType
from xml_extractor.engines.checks import ExistingColumn, ExistingTable
from xml_extractor.engines.mssql.catalogue import KeyColumn, own_type
from xml_extractor.engines.mssql.given import (
    Given,
    as_json,
    as_parameters,
    column_of,
    comparable,
    key_list_condition,
    key_lists,
    value_type,
)
from xml_extractor.engines.mssql.insert_paths import LOCK_ESCALATION_ROWS
from xml_extractor.engines.mssql.names import quote_identifier
from xml_extractor.engines.mssql.openjson import ESCAPES, LONG_TEXTS, openjson_gaps
from xml_extractor.engines.mssql.path_choice import openjson_problem
from xml_extractor.engines.mssql.wires import MOST_CHARACTERS, Queryable
from xml_extractor.errors import TargetError

Query = Callable[[str, Sequence[Any]], list[tuple[Any, ...]]]

KEYS_AT_ONCE: Final = 10_000
"""Keys looked up in one request, where they travel as JSON."""


@dataclass(frozen=True, slots=True)
class Json:
    """What a server's OPENJSON is good for."""

    is_there: bool
    gaps: frozenset[str] = frozenset()

    @classmethod
    def of(cls, session: Queryable) -> Json:
        """Ask the server."""
        if openjson_problem(session) is not None:
            return cls(is_there=False)
        return cls(is_there=True, gaps=openjson_gaps(session))

    def serves(self, rows: Sequence[Sequence[Any]], given: Sequence[Given]) -> bool:
        """Whether rows, and the JSON that was made of them, arrive as they were sent."""
        # In JSON a backslash begins an escape, whatever it stands before.
        if ESCAPES in self.gaps and any("\\" in part.parameters[-1] for part in given):
            return False
        return LONG_TEXTS not in self.gaps or all(
            not isinstance(value, str) or len(value) <= MOST_CHARACTERS for row in rows for value in row
        )


class Claims:
    """One table's rows by their keys.

    Args:
        table: quoted.
        existing: what the catalogue says of it.
        avoid_lock_escalation: delete so many rows at once that no statement takes the locks of a whole table.
    """

    def __init__(
        self,
        query: Query,
        json: Json,
        table: str,
        existing: ExistingTable,
        *,
        avoid_lock_escalation: bool = False,
    ) -> None:
        self._query = query
        self._json = json
        self._table = table
        self._existing = existing
        self._most_deleted = LOCK_ESCALATION_ROWS if avoid_lock_escalation else None

    def insert_new(self, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
        """Insert rows whose first column's value is not there yet; return the values that are.

        Raises:
            TargetError: the key column holds other values than it was given.
        """
        found = [column_of(self._existing, name) for name in columns]
        key, quoted = KeyColumn.of(found[0]), quote_identifier(found[0].name)
        names = ", ".join(quote_identifier(column.name) for column in found)
        values = ", ".join(f"c{i}" for i in range(len(found)))
        collate = f" COLLATE {key.collation}" if key.collation is not None else ""
        inserted: set[Any] = set()
        for given in self._given([value_type(column) for column in found], sorted(rows, key=_first)):
            # Into a table variable, as a table with triggers allows no other OUTPUT; TOP, because without it
            # a derived table has no order.
            sql = (
                f"{given.before}DECLARE @new TABLE (k {own_type(found[0])}{collate});\n"
                f"INSERT INTO {self._table} ({names}) OUTPUT inserted.{quoted} INTO @new\n"
                f"SELECT {values}\n"
                f"FROM (SELECT TOP (2147483647) {values} FROM {given.sql} ORDER BY c0) AS sorted\n"
                f"WHERE NOT EXISTS (SELECT 1 FROM {self._table} AS present "
                f"WHERE present.{quoted} = {comparable(key, 'sorted.c0')});\n"
                "SELECT k FROM @new"
            )
            inserted |= {_canonical(found[0], value) for (value,) in self._query(sql, given.parameters)}
        refused = {row[0] for row in rows if _canonical(found[0], row[0]) not in inserted}
        if len(inserted) != len(rows) - len(refused):
            raise TargetError(
                f"column {found[0].name} of {self._table} does not keep the keys that it is given; give it "
                "the type that `contract ddl` prints, and look for triggers that change rows"
            )
        return refused

    def existing(self, columns: Sequence[str], key_column: str, keys: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return ``columns`` of the rows with these keys."""
        names = ", ".join(f"present.{self._quoted(name)}" for name in columns)
        return self._by_keys(f"SELECT {names} FROM {self._table} AS present", key_column, keys)

    def counts(self, key_column: str, keys: Sequence[Any]) -> dict[Any, int]:
        """Return key, as it is stored → number of rows."""
        name = f"present.{self._quoted(key_column)}"
        select = f"SELECT {name}, COUNT_BIG(*) FROM {self._table} AS present"
        found = self._by_keys(select, key_column, keys, f" GROUP BY {name}")
        return {int(key) if isinstance(key, Decimal) else key: int(number) for key, number in found}

    def delete(self, key_column: str, keys: Sequence[Any]) -> int:
        """Delete the rows with these keys; return how many they were."""
        most = self._most_deleted
        deleted = 0
        for sql, parameters in self._deletions(key_column, keys):
            number = int(self._query(sql, parameters)[0][0])
            deleted += number
            if number != most:
                continue
            # As many more statements as the rows that are left take, and not until none is: under a trigger
            # INSTEAD OF DELETE they may stay for ever.
            left = sum(self.counts(key_column, keys).values())
            for _ in range(left // most + 1):
                number = int(self._query(sql, parameters)[0][0])
                deleted += number
                if number < most:
                    break
        return deleted

    def _deletions(self, key_column: str, keys: Sequence[Any]) -> Iterator[tuple[str, Sequence[Any]]]:
        """Requests that delete rows with these keys and say how many, each with its parameters."""
        column = column_of(self._existing, key_column)
        key, kind = KeyColumn.of(column), value_type(column)
        top = "" if self._most_deleted is None else f" TOP ({self._most_deleted})"
        delete = f"DELETE{top} FROM {self._table} WHERE"
        # Not by OUTPUT, which a table with triggers does not allow.
        count = ";\nSELECT ROWCOUNT_BIG()"
        if self._json.is_there:
            for given in self._given_keys(kind, keys):
                wanted = f"SELECT {comparable(key, 'given.c0')} FROM {given.sql}"
                condition = f"{quote_identifier(key.name)} IN ({wanted})"
                yield f"{given.before}{delete} {condition}{count}", given.parameters
            return
        for chunk in key_lists(keys):
            yield f"{delete} {key_list_condition(key, len(chunk))}{count}", chunk

    def _quoted(self, column: str) -> str:
        return quote_identifier(column_of(self._existing, column).name)

    def _by_keys(
        self, select: str, key_column: str, keys: Sequence[Any], after: str = ""
    ) -> list[tuple[Any, ...]]:
        """Select of the rows ``present`` with these keys, in as few parts as it takes.

        Args:
            after: what follows the condition.
        """
        column = column_of(self._existing, key_column)
        key, kind = KeyColumn.of(column), value_type(column)
        found: list[tuple[Any, ...]] = []
        if self._json.is_there:
            for given in self._given_keys(kind, keys):
                wanted = f"SELECT DISTINCT {comparable(key, 'given.c0')} AS k FROM {given.sql}"
                sql = (
                    f"{given.before}{select} JOIN ({wanted}) AS wanted "
                    f"ON present.{quote_identifier(key.name)} = wanted.k{after}"
                )
                found += self._query(sql, given.parameters)
            return found
        for chunk in key_lists(keys):
            condition = key_list_condition(key, len(chunk))
            found += self._query(f"{select} WHERE {condition}{after}", chunk)
        return found

    def _given_keys(self, kind: SqlType, keys: Sequence[Any]) -> Iterator[Given]:
        for first in range(0, len(keys), KEYS_AT_ONCE):
            yield from self._given([kind], [(value,) for value in keys[first : first + KEYS_AT_ONCE]])

    def _given(self, kinds: Sequence[SqlType], rows: Sequence[Sequence[Any]]) -> Iterator[Given]:
        if self._json.is_there:
            given = list(as_json(kinds, rows))
            if self._json.serves(rows, given):
                return iter(given)
        return as_parameters(kinds, rows)


def _first(row: Sequence[Any]) -> Any:
    return row[0]


def _canonical(column: ExistingColumn, value: Any) -> Any:
    """A key so that a given one and the one that was stored are equal."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    if isinstance(value, str):
        if column.kind == "uniqueidentifier":
            return value.lower()
        return value.rstrip(" ") if column.kind in ("char", "nchar") else value
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).rstrip(b"\0") if column.kind == "binary" else bytes(value)
    return value
