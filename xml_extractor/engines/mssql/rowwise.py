"""Rows as parameters: one INSERT a row, sent one by one or as arrays, or many rows an INSERT.

Two things are known of arrays, and both are guarded against by the statement itself:

* **The server goes on after a row that failed.**  An array travels as one call a row in one request; the
  first error undoes the transaction (XACT_ABORT), and the rows behind it are then inserted outside of any
  transaction and stay.  So each call first looks whether the transaction is still there.
* **The driver's count of rows means nothing.**  So each call looks itself whether its row was taken.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from xml_extractor.contract.plan import Table
from xml_extractor.contract.types import Family, SqlType
from xml_extractor.engines.encoding import LONG_TEXT, written_columns
from xml_extractor.engines.mssql.encoders import Unstorable, storable
from xml_extractor.engines.mssql.error_texts import ROW_NOT_TAKEN, TRANSACTION_GONE
from xml_extractor.engines.mssql.given import from_parameter
from xml_extractor.engines.mssql.insert_paths import RowWriter
from xml_extractor.engines.mssql.names import quote_identifier, quote_table
from xml_extractor.engines.mssql.wires import MOST_BYTES, MOST_CHARACTERS, Size, Wire

MOST_PARAMETERS: Final = 2_000
"""Parameters of a statement; SQL Server takes 2,100."""

MOST_VALUES: Final = 100
"""Rows of an INSERT … VALUES.  SQL Server takes 1,000, but plans long lists slowly."""

ARRAY_BYTES: Final = 32 * 1024 * 1024
"""Memory of one array of parameters: the driver reserves every column's declared size in every row."""

# ODBC's numbers of types, from sql.h and sqlext.h.
SQL_BIGINT: Final = -5
SQL_DOUBLE: Final = 8
SQL_WVARCHAR: Final = -9
SQL_VARBINARY: Final = -3

_UNLIMITED: Final = 0
"""The size of a parameter of a (max) type."""

_SHORT_CHARACTERS: Final = 36
"""Enough for a GUID, and for any date or time: 2024-01-01T00:00:00.1234567+00:00 has 33."""

_LEAST_SIZE: Final = 64
"""Sizes are rounded up to powers of two, so that few of them occur: each new one makes the server prepare the
statement anew."""


class IdentityInsert:
    """Lets values be given for the identity columns of some tables; a session can for one table at a time.

    Args:
        schema: where tables named without a schema are.
        tables: their names as the contract writes them.
    """

    def __init__(self, schema: str | None, tables: Collection[str]) -> None:
        self._tables = {name: quote_table(name, schema) for name in sorted(tables)}

    def around(self, table: Table, sql: str) -> list[str]:
        """Return the statements to run instead of ``sql``, which inserts into the table."""
        if table.name not in self._tables:
            return [sql]
        return [*self.before(table), sql, *self.after(table)]

    def before(self, table: Table) -> list[str]:
        """What to run before rows are inserted.

        A statement that failed may have left the setting on for another table: it does not end with the
        transaction.
        """
        if table.name not in self._tables:
            return []
        others = [name for name in self._tables if name != table.name]
        return [
            *(f"SET IDENTITY_INSERT {self._tables[name]} OFF;" for name in others),
            f"SET IDENTITY_INSERT {self._tables[table.name]} ON;",
        ]

    def after(self, table: Table) -> list[str]:
        """What to run after rows were inserted."""
        return [f"SET IDENTITY_INSERT {self._tables[table.name]} OFF;"] if table.name in self._tables else []


@dataclass(frozen=True, slots=True)
class _Parameter:
    """How one column's values are declared to the driver."""

    odbc_type: int
    declared: int
    """Units (UTF-16 units, bytes) of the longest value; unlimited = 0."""
    is_long: bool = False
    """Whether room for the longest value would nearly always be a waste."""

    @property
    def most(self) -> int:
        """Units of the longest value that can be declared."""
        return MOST_BYTES if self.odbc_type == SQL_VARBINARY else MOST_CHARACTERS

    def bytes(self, size: int) -> int:
        """Memory of one value in an array, with the driver's length of it."""
        if self.odbc_type in (SQL_BIGINT, SQL_DOUBLE):
            return 16
        return (size if self.odbc_type == SQL_VARBINARY else 2 * size) + 8

    def room(self, longest: int) -> int:
        """The size to declare in an array where no value is longer than so many units."""
        rounded = 1 << (max(longest, _LEAST_SIZE) - 1).bit_length()
        return min(rounded, self.declared or self.most)

    @classmethod
    def of(cls, kind: SqlType) -> _Parameter:
        if kind.family in (Family.BIT, Family.INTEGER):
            return cls(SQL_BIGINT, 19)
        if kind.family is Family.FLOAT:
            return cls(SQL_DOUBLE, 53)
        if kind.family is Family.BINARY:
            return cls._of_length(SQL_VARBINARY, kind.length, MOST_BYTES)
        if kind.family in (Family.TEXT, Family.XML):
            return cls._of_length(SQL_WVARCHAR, kind.length, MOST_CHARACTERS)
        if kind.family is Family.DECIMAL:
            assert kind.precision is not None
            return cls(SQL_WVARCHAR, kind.precision + 3)  # a sign, a point, a zero before it
        return cls(SQL_WVARCHAR, _SHORT_CHARACTERS)

    @classmethod
    def _of_length(cls, odbc_type: int, length: int | None, most: int) -> _Parameter:
        if length is None or length > most:
            return cls(odbc_type, _UNLIMITED, is_long=True)
        return cls(odbc_type, length, is_long=length > LONG_TEXT)


@dataclass(frozen=True, slots=True)
class _Target:
    """A table as rows are inserted into it."""

    insert: str
    values: str
    parameters: tuple[_Parameter, ...]

    def sql(self, rows: int = 1) -> str:
        """The statement that inserts so many rows, and looks whether it may and did."""
        values = ", ".join([f"({self.values})"] * rows)
        return (
            f"IF @@TRANCOUNT = 0 THROW {TRANSACTION_GONE}, N'the transaction is gone', 1;\n"
            f"{self.insert} VALUES {values};\n"
            f"IF @@ROWCOUNT <> {rows} THROW {ROW_NOT_TAKEN}, N'a row was not taken', 1;"
        )


class _ParameterWriter(RowWriter, ABC):
    """Writes the tuples of :class:`~xml_extractor.engines.mssql.encoders.TextTupleEncoder`.

    Args:
        schema: where tables named without a schema are.
        keep_identity: tables, named as the contract does, into whose identity column it puts values.
    """

    def __init__(self, schema: str | None = None, *, keep_identity: Collection[str] = ()) -> None:
        self._schema = schema
        self._identity = IdentityInsert(schema, keep_identity)
        self.table_seconds: dict[str, float] = {}
        self._targets: dict[str, _Target] = {}

    @abstractmethod
    def _send(self, wire: Wire, target: _Target, rows: Sequence[tuple[Any, ...]]) -> None:
        """Insert rows, of which there is one at least."""

    def write_tables(
        self, wire: Wire, tables: Sequence[tuple[Table, Sequence[Sequence[tuple[Any, ...]] | Unstorable]]]
    ) -> list[int]:
        """Insert the rows of several tables, parents first; return the rows that each table took.

        Raises:
            UnstorableText: a text that must not be stored; nothing was sent to the server.
            Exception: the driver's.
        """
        all_rows = [[row for piece in storable(pieces) for row in piece] for _, pieces in tables]
        self.table_seconds.clear()
        taken = []
        for (table, _), rows in zip(tables, all_rows, strict=True):
            started = perf_counter()
            taken.append(self.write_table(wire, table, rows))
            self.table_seconds[table.name] = perf_counter() - started
        return taken

    def write_table(self, wire: Wire, table: Table, rows: Sequence[tuple[Any, ...]]) -> int:
        """Insert rows of parameters into one table; return how many, each of which the server has taken."""
        if not rows:
            return 0
        before, after = self._identity.before(table), self._identity.after(table)
        if before:
            wire.execute(" ".join(before))
        self._send(wire, self._target(table), rows)
        if after:
            wire.execute(" ".join(after))
        return len(rows)

    def _target(self, table: Table) -> _Target:
        target = self._targets.get(table.name)
        if target is None:
            columns = [table.columns[i] for i in written_columns(table)]
            names = ", ".join(quote_identifier(column.name) for column in columns)
            target = self._targets[table.name] = _Target(
                f"INSERT INTO {quote_table(table.name, self._schema)} ({names})",
                ", ".join(from_parameter(column.type) for column in columns),
                tuple(_Parameter.of(column.type) for column in columns),
            )
        return target


class ExecuteManyWriter(_ParameterWriter):
    """One INSERT a row; see :class:`_ParameterWriter`.

    Args:
        fast: send arrays, else one row after the other.
    """

    def __init__(self, schema: str | None = None, *, keep_identity: Collection[str] = (), fast: bool) -> None:
        super().__init__(schema, keep_identity=keep_identity)
        self._fast = fast

    def _send(self, wire: Wire, target: _Target, rows: Sequence[tuple[Any, ...]]) -> None:
        narrow, wide = _by_width(rows, target.parameters) if self._fast else ((), rows)
        if narrow:
            for sizes, array in _arrays(narrow, target.parameters):
                wire.execute_many(target.sql(), array, sizes=sizes, fast=True)
        if wide:
            wire.execute_many(target.sql(), wide, sizes=_declared(target.parameters))


class ValuesWriter(_ParameterWriter):
    """Many rows an INSERT; see :class:`_ParameterWriter`.  For a few rows among many that go otherwise."""

    def _send(self, wire: Wire, target: _Target, rows: Sequence[tuple[Any, ...]]) -> None:
        sizes = _declared(target.parameters)
        step = max(1, min(MOST_VALUES, MOST_PARAMETERS // len(sizes)))
        for first in range(0, len(rows), step):
            chunk = rows[first : first + step]
            flat = [value for row in chunk for value in row]
            wire.execute_many(target.sql(len(chunk)), [flat], sizes=sizes * len(chunk))


def _declared(parameters: Sequence[_Parameter]) -> list[Size]:
    return [(parameter.odbc_type, parameter.declared, 0) for parameter in parameters]


def _by_width(
    rows: Sequence[tuple[Any, ...]], parameters: Sequence[_Parameter]
) -> tuple[Sequence[tuple[Any, ...]], Sequence[tuple[Any, ...]]]:
    """Divide rows into those that arrays can hold, and those with a value beyond any declared size."""
    unlimited = [(i, p.most) for i, p in enumerate(parameters) if p.declared == _UNLIMITED]
    if not unlimited:
        return rows, ()
    narrow: list[tuple[Any, ...]] = []
    wide: list[tuple[Any, ...]] = []
    for row in rows:
        (wide if any(_units(row[i]) > most for i, most in unlimited) else narrow).append(row)
    return narrow, wide


def _arrays(
    rows: Sequence[tuple[Any, ...]], parameters: Sequence[_Parameter]
) -> Iterator[tuple[list[Size], Sequence[tuple[Any, ...]]]]:
    """Cut rows into arrays of bounded memory, with the sizes to declare.

    Room is reserved for the longest value that there is, not for the longest that its column could hold.
    """
    long = [i for i, parameter in enumerate(parameters) if parameter.is_long]
    sizes, row_bytes = _sizes(rows, parameters, long)
    step = max(1, ARRAY_BYTES // row_bytes)
    for first in range(0, len(rows), step):
        yield sizes, rows[first : first + step]


def _sizes(
    rows: Sequence[tuple[Any, ...]], parameters: Sequence[_Parameter], long: Sequence[int]
) -> tuple[list[Size], int]:
    """The sizes to declare for rows, and the memory of one row."""
    sizes = _declared(parameters)
    for i in long:
        room = parameters[i].room(max(_units(row[i]) for row in rows))
        sizes[i] = (parameters[i].odbc_type, room, 0)
    return sizes, sum(
        parameter.bytes(size) for parameter, (_, size, _) in zip(parameters, sizes, strict=True)
    )


def _units(value: str | bytes | None) -> int:
    """How many units a value has at most: characters outside of ASCII may be two."""
    if value is None:
        return 0
    return len(value) if isinstance(value, bytes) or value.isascii() else 2 * len(value)
