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
from xml_extractor.engines.encoding import decimal_text, is_long, pick_of, picked, written_columns
from xml_extractor.engines.mssql.errors import UnstorableText
from xml_extractor.engines.mssql.types import text_form
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


def fragment_rows(text: str) -> list[list[Any]]:
    """Return a fragment's rows, their values as JSON has them; :func:`fragment` makes the same of them."""
    rows: list[list[Any]] = json.loads(f"[{text}]")
    return rows


@dataclass(frozen=True, slots=True)
class JsonTable:
    """Makes JSON of one table's rows.  Picklable, thread-safe."""

    texts: Texts
    moments: tuple[tuple[int, Callable[[Any], Value]], ...]

    @classmethod
    def of(cls, table: Table) -> JsonTable:
        """Build it for a table of a plan."""
        return cls(Texts.of(table), _moments(table))

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
class JsonEncoder:
    """Rows as JSON for OPENJSON: a ``str`` per table, see :meth:`JsonTable.fragment`.

    Integers and floats are numbers (floats in the fewest digits that stand for them), bits are true and
    false; all else is text.
    """

    tables: tuple[tuple[tuple[int, ...] | None, JsonTable], ...]

    @classmethod
    def of(cls, plan: Plan) -> JsonEncoder:
        """Build the encoder of a plan's rows."""
        return cls(tuple((pick_of(table), JsonTable.of(table)) for table in plan.tables))

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return (a str or :class:`Unstorable` per table, the bytes they take in memory)."""
        encoded = tuple(
            [
                table.fragment(picked(table_rows, pick)) if table_rows else ""
                for (pick, table), table_rows in zip(self.tables, rows, strict=True)
            ]
        )
        return encoded, sum(map(sys.getsizeof, encoded))


# ------------------------------------------------------------------------------------- parameters


@dataclass(frozen=True, slots=True)
class _TupleTable:
    pick: tuple[int, ...] | None
    texts: Texts
    conversions: tuple[tuple[int, Callable[[Any], Value]], ...]
    long: tuple[int, ...]
    row_bytes: int


@dataclass(frozen=True, slots=True)
class TextTupleEncoder:
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
            tables.append(
                _TupleTable(
                    pick=pick_of(table),
                    texts=Texts.of(table),
                    conversions=(*plain, *_moments(table)),
                    long=tuple(i for i, kind in enumerate(types) if is_long(kind)),
                    # As CPython lays them out: a tuple's header, and for each value a pointer, an object's
                    # header and a short text.
                    row_bytes=56 + 80 * len(types),
                )
            )
        return cls(tuple(tables))

    def __call__(self, rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
        """Return (a list of tuples or :class:`Unstorable` per table, estimate of their size in bytes)."""
        encoded: list[Sequence[Row] | Unstorable] = []
        size = 0
        for table, table_rows in zip(self.tables, rows, strict=True):
            if not table_rows:
                encoded.append(())
                continue
            out = picked(table_rows, table.pick)
            unstorable = table.texts.unstorable_in(out)
            if unstorable is not None:
                encoded.append(unstorable)
                continue
            if table.conversions:
                out = _converted(out, table.conversions)
            size += table.row_bytes * len(out)
            size += sum(len(row[i]) for row in out for i in table.long if row[i] is not None)  # type: ignore[arg-type, misc]
            encoded.append(out)
        return tuple(encoded), size
