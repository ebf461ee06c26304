"""Encoders: the rows of one document into what an engine's session writes.

They run in the workers, so that the thread that inserts converts nothing.  Each is built once from a
plan, is picklable, holds no state that changes and may be used by several threads.

Columns that the server numbers are in the rows (as ``None``) but are never written, so they are left
out here.

The native interpreter of the plan makes no rows where it knows the layout of what is to come out: it
writes the same thing straight from the document's tree (``LayoutEncoder``).
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from io import BytesIO
from itertools import chain
from operator import itemgetter
from typing import Any, Final

from xml_extractor.contract.plan import Plan, Table
from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.mapping.layouts import PIECE_BYTES, Layout, LayoutEncoder, TableLayout, decimal_text
from xml_extractor.mapping.records import Row

LONG_TEXT: Final = 256
"""Values of columns that can be longer than this are measured one by one for the size estimate."""


def written_columns(table: Table) -> tuple[int, ...]:
    """The columns that the loader writes: all but those that the server numbers."""
    return tuple(i for i, column in enumerate(table.columns) if not column.server_generated)


def picked(rows: Sequence[Row], pick: tuple[int, ...] | None) -> Sequence[Row]:
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


# ------------------------------------------------------------------------------------- parameters


def pickled_values(values: Sequence[Value]) -> bytes:
    """Values as what ``pickle`` makes of a list's items, so that pieces of it follow one another.

    Compared with the values themselves there is one object instead of one for each value, on the way from a
    worker's process and in the queue, and unpickling many pieces at once is the fastest way to make values
    again that comes with Python.  The memo is left out (``fast``): no value refers to another.
    """
    if not values:
        return b""
    pickled = BytesIO()
    pickler = pickle.Pickler(pickled, _PROTOCOL)
    pickler.fast = True
    pickler.dump(list(values))
    return pickled.getvalue()[len(_LIST) : -len(_END)]


def unpickled_values(pieces: Iterable[bytes]) -> list[Any]:
    """All values of what :func:`pickled_values` and the native interpreter have made."""
    values: list[Any] = pickle.loads(b"".join((_LIST, *pieces, _END)))
    return values


_PROTOCOL: Final = 3
"""Of pickle: the last that puts nothing around its output whose length would have to be known."""
_LIST: Final = b"\x80\x03]"  # PROTO 3, EMPTY_LIST
_END: Final = b"."  # STOP


def parameter(value: Value) -> int | float | str | bytes | None:
    """A canonical value as SQLite takes it: a decimal as plain text, a bit as 0 or 1."""
    if value.__class__ is Decimal:
        return decimal_text(value)
    if value.__class__ is bool:
        return 1 if value else 0
    return value  # type: ignore[return-value]


def _pickled_parameter(value: Value) -> bytes:
    """One value as it stands among others in :func:`pickled_values`."""
    return pickled_values([parameter(value)])[:-1]


@dataclass(frozen=True, slots=True)
class _ParameterTable:
    layout: TableLayout
    pick: tuple[int, ...] | None
    converts: bool  # whether there are bits or decimals


@dataclass(frozen=True, slots=True)
class ParameterEncoder(LayoutEncoder):
    """Rows as parameters for SQLite: ``bytes`` per table, the values of row after row; see
    :func:`pickled_values`.

    SQLite has no decimal: a decimal becomes its plain text, which is what the TEXT columns of our DDL
    keep exactly.  All other canonical values are what the driver takes as they are.
    """

    tables: tuple[_ParameterTable, ...]

    @classmethod
    def of(cls, plan: Plan) -> ParameterEncoder:
        """Build the encoder of a plan's rows."""
        tables = []
        for table in plan.tables:
            written = written_columns(table)
            tables.append(
                _ParameterTable(
                    TableLayout(Layout.PICKLED_PARAMETERS, written, _pickled_parameter),
                    pick=pick_of(table),
                    converts=any(
                        table.columns[i].type.family in (Family.BIT, Family.DECIMAL) for i in written
                    ),
                )
            )
        return cls(tuple(tables))

    @property
    def layouts(self) -> tuple[TableLayout | None, ...]:
        """All tables' rows are parameters."""
        return tuple(table.layout for table in self.tables)

    def encode_table(self, index: int, rows: Sequence[Row]) -> tuple[Any, int]:
        """Return (bytes, what they take in memory)."""
        table = self.tables[index]
        values = list(chain.from_iterable(picked(rows, table.pick)))
        if table.converts:
            values = list(map(parameter, values))
        piece = pickled_values(values)
        return piece, len(piece) + PIECE_BYTES


def value_layout(table: Table, layout: Layout, *, checks_text: bool = False) -> TableLayout:
    """Return the layout of a table whose rows stay Python values."""
    types = [table.columns[i].type for i in written_columns(table)]
    return TableLayout(
        layout,
        written_columns(table),
        checks_text=checks_text,
        long=tuple(i for i, kind in enumerate(types) if is_long(kind)),
        # As CPython lays them out: a tuple's header, and for each value a pointer, an object's header and a
        # short text.
        row_bytes=56 + 80 * len(types),
    )


def values_bytes(layout: TableLayout, rows: Sequence[Sequence[Any]]) -> int:
    """Estimate the size of written rows that stay Python values."""
    size = layout.row_bytes * len(rows)
    for i in layout.long:
        for row in rows:
            if row[i] is not None:
                size += len(row[i])
    return size


def is_long(kind: SqlType) -> bool:
    """Whether values can be so long that they count in an estimate of size."""
    if kind.family is Family.XML:
        return True
    return kind.family in (Family.TEXT, Family.BINARY) and (kind.length is None or kind.length > LONG_TEXT)


# ------------------------------------------------------------------------------------- COPY text


_needs_escape: Final = re.compile(r"[\\\t\n\r]").search
_ESCAPES: Final = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r"})


def _copy_other(value: Value) -> str:
    """The COPY text of the values that are rarer than text and integers."""
    if value.__class__ is Decimal:
        return decimal_text(value)
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
                if kind is int
                else other(value)
                for value in row
            ]
        )
        for row in rows
    ]
    lines.append("")
    return "\n".join(lines).encode("utf-8", "surrogatepass")


def copy_value(value: Value) -> bytes:
    """One value as :func:`copy_text` has it."""
    return copy_text([(value,)])[:-1]


@dataclass(frozen=True, slots=True)
class CopyEncoder(LayoutEncoder):
    """Rows as COPY text for PostgreSQL: ``bytes`` per table, ``b""`` where there are no rows."""

    tables: tuple[tuple[TableLayout, tuple[int, ...] | None], ...]

    @classmethod
    def of(cls, plan: Plan) -> CopyEncoder:
        """Build the encoder of a plan's rows."""
        return cls(
            tuple(
                (TableLayout(Layout.COPY_TEXT, written_columns(table), copy_value), pick_of(table))
                for table in plan.tables
            )
        )

    @property
    def layouts(self) -> tuple[TableLayout | None, ...]:
        """All tables' rows are COPY text."""
        return tuple(layout for layout, _ in self.tables)

    def encode_table(self, index: int, rows: Sequence[Row]) -> tuple[Any, int]:
        """Return (bytes, what they take in memory)."""
        piece = copy_text(picked(rows, self.tables[index][1])) if rows else b""
        return piece, len(piece) + PIECE_BYTES
