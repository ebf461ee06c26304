"""Encoders: the rows of one document into what an engine's session writes.

They run in the workers, so that the thread that inserts converts nothing.  Each is built once from a
plan, is picklable, holds no state that changes and may be used by several threads.

Columns that the server numbers are in the rows (as ``None``) but are never written, so they are left
out here.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from operator import itemgetter
from typing import Any, Final

from xml_extractor.contract.plan import Plan, Table
from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.mapping.records import Row

LONG_TEXT: Final = 256
"""Values of columns that can be longer than this are measured one by one for the size estimate."""


def written_columns(table: Table) -> tuple[int, ...]:
    """The columns that the loader writes: all but those that the server numbers."""
    return tuple(i for i, column in enumerate(table.columns) if not column.server_generated)


def picked(rows: list[Row], pick: tuple[int, ...] | None) -> Sequence[Row]:
    """The rows without the columns that are not written; ``pick`` None = all are."""
    if pick is None:
        return rows
    if len(pick) == 1:
        return [(row[pick[0]],) for row in rows]
    return list(map(itemgetter(*pick), rows))


def pick_of(table: Table) -> tuple[int, ...] | None:
    """The written columns for :func:`picked`: None where that is all of them."""
    written = written_columns(table)
    return None if len(written) == len(table.columns) else written


def decimal_text(value: Decimal) -> str:
    """A decimal as plain digits with its whole scale: no exponent, no negative zero."""
    text = str(value)
    if "E" in text:
        text = format(value, "f")
    if text[0] == "-" and not value:
        return text[1:]
    return text


# ------------------------------------------------------------------------------------- parameter tuples


@dataclass(frozen=True, slots=True)
class _TupleTable:
    pick: tuple[int, ...] | None
    bits: tuple[int, ...]  # positions among the written columns
    decimals: tuple[int, ...]
    long: tuple[int, ...]
    row_bytes: int


@dataclass(frozen=True, slots=True)
class TupleEncoder:
    """Rows as parameter tuples for SQLite: a list of tuples per table.

    SQLite has no decimal: a decimal becomes its plain text, which is what the TEXT columns of our DDL
    keep exactly.  All other canonical values are what the driver takes as they are.
    """

    tables: tuple[_TupleTable, ...]

    @classmethod
    def of(cls, plan: Plan) -> TupleEncoder:
        """Build the encoder of a plan's rows."""
        tables = []
        for table in plan.tables:
            types = [table.columns[i].type for i in written_columns(table)]
            tables.append(
                _TupleTable(
                    pick=pick_of(table),
                    bits=tuple(i for i, t in enumerate(types) if t.family is Family.BIT),
                    decimals=tuple(i for i, t in enumerate(types) if t.family is Family.DECIMAL),
                    long=tuple(i for i, t in enumerate(types) if is_long(t)),
                    # An object header and a pointer for each value, as CPython lays them out, and a
                    # short text behind it.
                    row_bytes=56 + 80 * len(types),
                )
            )
        return cls(tuple(tables))

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return (a list of tuples per table, estimate of their size in bytes)."""
        encoded: list[Sequence[Row]] = []
        size = 0
        for table, table_rows in zip(self.tables, rows, strict=True):
            if not table_rows:
                encoded.append(())
                continue
            out = picked(table_rows, table.pick)
            if table.decimals or table.bits:
                out = [_plain(row, table.decimals, table.bits) for row in out]
            size += table.row_bytes * len(out)
            for i in table.long:
                for row in out:
                    value = row[i]
                    if value is not None:
                        size += len(value)  # type: ignore[arg-type]
            encoded.append(out)
        return tuple(encoded), size


def _plain(row: Row, decimals: tuple[int, ...], bits: tuple[int, ...]) -> Row:
    values = list(row)
    for i in decimals:
        value = values[i]
        if value is not None:
            text = str(value)
            # The two forms that are not plain digits, and rare: an exponent, a negative zero.
            values[i] = text if "E" not in text and (text[0] != "-" or value) else decimal_text(value)  # type: ignore[arg-type]
    for i in bits:
        value = values[i]
        if value is not None:
            values[i] = 1 if value else 0
    return tuple(values)


def is_long(kind: SqlType) -> bool:
    """Whether values can be so long that they count in an estimate of size."""
    if kind.family is Family.XML:
        return True
    return kind.family in (Family.TEXT, Family.BINARY) and (kind.length is None or kind.length > LONG_TEXT)


# ------------------------------------------------------------------------------------- COPY text


_needs_escape: Final = re.compile(r"[\\\t\n\r]").search
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_other(value: Value) -> str:
    """The COPY text of the values that are rarer than text, integers and decimals."""
    if value.__class__ is bool:
        return "1" if value else "0"  # read by boolean and by integer columns alike
    if value.__class__ is bytes:
        return "\\\\x" + value.hex()
    if isinstance(value, str):
        return value.translate(_ESCAPES)
    return str(value)


def copy_text(rows: Sequence[Row]) -> bytes:
    r"""Rows in the text format of PostgreSQL's COPY, UTF-8, NULL as ``\N``, each line ended.

    Surrogates without a partner are passed on as they are: the server refuses them, which makes them a
    fault of that document's data like any other.
    """
    # One comprehension a row: each value costs its class's look-up, and a text one search for characters to
    # escape, which are rare.
    search, other = _needs_escape, _copy_other
    lines = [
        "\t".join(
            [
                "\\N"
                if value is None
                else (value if search(value) is None else value.translate(_ESCAPES))  # type: ignore
                if (kind := value.__class__) is str
                else str(value)
                if kind is int or kind is Decimal
                else other(value)
                for value in row
            ]
        )
        for row in rows
    ]
    lines.append("")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


@dataclass(frozen=True, slots=True)
class CopyEncoder:
    """Rows as COPY text for PostgreSQL: ``bytes`` per table, ``b""`` where there are no rows."""

    picks: tuple[tuple[int, ...] | None, ...]

    @classmethod
    def of(cls, plan: Plan) -> CopyEncoder:
        """Build the encoder of a plan's rows."""
        return cls(tuple(pick_of(table) for table in plan.tables))

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return (bytes per table, estimate of their size in bytes)."""
        encoded = tuple(
            [
                copy_text(picked(table_rows, pick)) if table_rows else b""
                for pick, table_rows in zip(self.picks, rows, strict=True)
            ]
        )
        # 33 bytes of object header for each piece.
        return encoded, sum(map(len, encoded)) + 33 * len(encoded)
