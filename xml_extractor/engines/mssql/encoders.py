"""Encoders: the rows of one document as JSON for OPENJSON, or as tuples for parameters.

Both stop at texts that the server must not get.  SQL Server takes half of a surrogate pair and a NUL into
nvarchar without a word, and no other engine could ever hold what was stored.  An encoder runs in a worker,
where no document may fail, so it leaves :class:`Unstorable` in place of the table's rows; whoever writes
rows passes them through :func:`storable`, which raises what makes it a fault of that document's data.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final, TypeVar

from xml_extractor.contract.plan import Plan, Table
from xml_extractor.contract.types import Family, Value
from xml_extractor.engines.encoding import pick_of, picked, value_layout, values_bytes, written_columns
from xml_extractor.engines.mssql.errors import UnstorableText
from xml_extractor.engines.mssql.types import text_form
from xml_extractor.mapping.layouts import Layout, LayoutEncoder, TableLayout, decimal_text
from xml_extractor.mapping.records import Row

T = TypeVar("T")

_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]").search


@dataclass(frozen=True, slots=True)
class Unstorable:
    """Stands in place of a table's rows of one document: one of them holds a text that must not be stored."""

    table: str
    column: str


def storable(pieces: Iterable[T | Unstorable]) -> list[T]:
    """Return what an encoder made of a table's rows, document by document, without empty pieces.

    Raises:
        UnstorableText: a piece cannot be stored.
    """
    found: list[T] = []
    for piece in pieces:
        if isinstance(piece, Unstorable):
            raise UnstorableText(piece.table, piece.column)
        if piece:
            found.append(piece)
    return found


def utf16_problem(text: str) -> bool:
    """Whether a text holds what no server is to be given: a NUL, or half of a surrogate pair."""
    return "\0" in text or not (text.isascii() or _encodable(text))


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


@dataclass(frozen=True, slots=True)
class Texts:
    """The columns of a table that can hold any character, as (position among the written, name)."""

    table: str
    columns: tuple[tuple[int, str], ...]

    @classmethod
    def of(cls, table: Table) -> Texts:
        written = [table.columns[i] for i in written_columns(table)]
        return cls(
            table.name,
            tuple(
                (i, column.name)
                for i, column in enumerate(written)
                if column.type.family in (Family.TEXT, Family.XML)
            ),
        )

    def unstorable_in(self, rows: Sequence[Row]) -> Unstorable | None:
        """Name the first column with a text that must not be stored."""
        # All texts at once: two looks at one long text are quicker than two at each.
        if not utf16_problem("".join([row[i] or "" for row in rows for i, _ in self.columns])):  # type: ignore[misc]
            return None
        return self.unstorable(rows)

    def unstorable(self, rows: Iterable[Row]) -> Unstorable | None:
        """Name the first column with a text that must not be stored, looking at each."""
        for row in rows:
            for i, name in self.columns:
                value = row[i]
                if value is not None and _UNSTORABLE(value):  # type: ignore[arg-type]
                    return Unstorable(self.table, name)
        return None


def _converted(rows: Sequence[Row], conversions: tuple[tuple[int, Callable[[Any], Value]], ...]) -> list[Row]:
    """The rows with some columns' values, where they are not NULL, put through functions."""
    out = []
    for row in rows:
        values = list(row)
        for i, convert in conversions:
            if values[i] is not None:
                values[i] = convert(values[i])
        out.append(tuple(values))
    return out


def _moments(table: Table) -> tuple[tuple[int, Callable[[Any], Value]], ...]:
    """The written columns whose canonical text is not the one to send, and what makes the one that is."""
    forms = (text_form(table.columns[i].type) for i in written_columns(table))
    return tuple((i, form) for i, form in enumerate(forms) if form is not None)


# ------------------------------------------------------------------------------------- JSON


def _json_text(value: Decimal | bytes) -> str:
    """What JSON has no type for: decimals as digits, so that no reader rounds them, and bytes as hex."""
    return decimal_text(value) if isinstance(value, Decimal) else value.hex()


_ENCODE: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, separators=(",", ":"), default=_json_text
).encode


def fragment(rows: Sequence[Sequence[Any]]) -> str:
    """Return rows as JSON arrays with commas between, ``[1,"a",null],[2,"b",true]``; "" for no rows."""
    return _ENCODE(rows)[1:-1]


def json_value(value: Any) -> str:
    """One value as :func:`fragment` has it."""
    return _ENCODE(value)


def fragment_rows(text: str) -> list[list[Any]]:
    """Return a fragment's rows, their values as JSON has them; :func:`fragment` makes the same of them."""
    rows: list[list[Any]] = json.loads(f"[{text}]")
    return rows


@dataclass(frozen=True, slots=True)
class JsonTable:
    """Makes JSON of one table's rows.  Picklable, thread-safe."""

    pick: tuple[int, ...] | None
    written: tuple[int, ...]
    texts: Texts
    moments: tuple[tuple[int, Callable[[Any], Value]], ...]

    @classmethod
    def of(cls, table: Table) -> JsonTable:
        """Build it for a table of a plan."""
        return cls(pick_of(table), written_columns(table), Texts.of(table), _moments(table))

    @property
    def layout(self) -> TableLayout | None:
        """How the rows are laid out; None where values have to be put into another form first."""
        if self.moments:
            return None
        return TableLayout(Layout.JSON_ARRAYS, self.written, json_value, checks_text=True)

    def encode(self, rows: Sequence[Row]) -> tuple[str | Unstorable, int]:
        """Return (rows as JSON, see :func:`fragment`, and what that takes in memory).

        Args:
            rows: canonical values of all columns.
        """
        text = self.fragment(picked(rows, self.pick)) if rows else ""
        return text, sys.getsizeof(text)

    def fragment(self, rows: Sequence[Row]) -> str | Unstorable:
        """Return rows as JSON, see :func:`fragment`.

        Args:
            rows: canonical values of the written columns alone, in their order.
        """
        if not rows:
            return ""
        text = fragment(_converted(rows, self.moments) if self.moments else rows)
        # Looking through the whole is quicker than through each value.  An escaped backslash before "u0000"
        # is a false alarm, which the second look settles.
        if "\\u0000" in text or not (text.isascii() or _encodable(text)):
            return self.texts.unstorable(rows) or text
        return text


@dataclass(frozen=True, slots=True)
class JsonEncoder(LayoutEncoder):
    """Rows as JSON for OPENJSON: a ``str`` per table, see :meth:`JsonTable.fragment`.

    Integers and floats are numbers (floats in the fewest digits that stand for them), bits are true and
    false; all else is text.
    """

    tables: tuple[JsonTable, ...]

    @classmethod
    def of(cls, plan: Plan) -> JsonEncoder:
        """Build the encoder of a plan's rows."""
        return cls(tuple(JsonTable.of(table) for table in plan.tables))

    @property
    def layouts(self) -> tuple[TableLayout | None, ...]:
        """JSON, but for tables with values that have to be put into another form first."""
        return tuple(table.layout for table in self.tables)

    def encode_table(self, index: int, rows: Sequence[Row]) -> tuple[Any, int]:
        """Return (a str or :class:`Unstorable`, the bytes it takes in memory)."""
        return self.tables[index].encode(rows)


# ------------------------------------------------------------------------------------- parameters


@dataclass(frozen=True, slots=True)
class _TupleTable:
    layout: TableLayout
    pick: tuple[int, ...] | None
    texts: Texts
    moments: tuple[tuple[int, Callable[[Any], Value]], ...]
    conversions: tuple[tuple[int, Callable[[Any], Value]], ...]


@dataclass(frozen=True, slots=True)
class TextTupleEncoder(LayoutEncoder):
    """Rows as parameters: a list of tuples per table, of ``int``, ``float``, ``bytes``, ``str`` and ``None``.

    A bit is 0 or 1; decimals, temporals and GUIDs are text, which SQL casts: no driver guesses a type or
    cuts digits off.
    """

    tables: tuple[_TupleTable, ...]

    @classmethod
    def of(cls, plan: Plan) -> TextTupleEncoder:
        """Build the encoder of a plan's rows."""
        tables = []
        for table in plan.tables:
            types = [table.columns[i].type for i in written_columns(table)]
            plain: list[tuple[int, Callable[[Any], Value]]] = [
                (i, int if kind.family is Family.BIT else decimal_text)
                for i, kind in enumerate(types)
                if kind.family in (Family.BIT, Family.DECIMAL)
            ]
            moments = _moments(table)
            tables.append(
                _TupleTable(
                    value_layout(table, Layout.PARAMETERS, checks_text=True),
                    pick=pick_of(table),
                    texts=Texts.of(table),
                    moments=moments,
                    conversions=(*plain, *moments),
                )
            )
        return cls(tuple(tables))

    @property
    def layouts(self) -> tuple[TableLayout | None, ...]:
        """Parameters, but for tables with values that have to be put into another form first."""
        return tuple(None if table.moments else table.layout for table in self.tables)

    def encode_table(self, index: int, rows: Sequence[Row]) -> tuple[Any, int]:
        """Return (a list of tuples or :class:`Unstorable`, estimate of their size in bytes)."""
        if not rows:
            return (), 0
        table = self.tables[index]
        out = picked(rows, table.pick)
        unstorable = table.texts.unstorable_in(out)
        if unstorable is not None:
            return unstorable, 0
        if table.conversions:
            out = _converted(out, table.conversions)
        return out, values_bytes(table.layout, out)
