"""Rows read back from a database, in the form in which the mapper made them.

Drivers and servers differ in how they give a value: zeros at the end of a fraction are left away, a decimal
comes with the scale of its column or as text, a boolean as a number.  Here it becomes the canonical value of
``contract/types.py`` again, so that it can be compared with a mapped one.

A value that is none of its column's type (somebody wrote to the table) stays as the driver gave it: it then
differs from every mapped value, and nothing fails.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation, localcontext
from typing import Any, Final

from lxml import etree

from xml_extractor.contract.plan import Table
from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.engines.base import STREAM_ROWS, Engine, Session
from xml_extractor.engines.encoding import is_long, written_columns
from xml_extractor.mapping.records import Row

Convert = Callable[[Any], Any]
"""Makes a canonical value of one that is not NULL."""

LONG_ROWS: Final = 50
"""Rows of a table with unbounded columns that are read at once: a megabyte each is not rare."""

_DIGITS: Final = 80
"""Precision in which decimals get their scale: more than any column holds, so that nothing is rounded."""

_PARSER: Final = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=True)


def canonical(value: Any, kind: SqlType) -> Any:
    """Return a value that a session read as a mapped row holds it."""
    if value is None:
        return None
    convert = _READ.get(kind.family)
    return value if convert is None else convert(value, kind)


@dataclass(frozen=True)
class RowForm:
    """One form for the rows of a table, whether they were mapped or read back; rows are equal in it if
    and only if the table holds what was mapped.

    Columns that the server numbers are left out.  Where a server keeps a value's meaning but not its form
    (:attr:`Engine.rewrites`), mapped values get the form that both can have.  Thread-safe.
    """

    table: Table
    columns: tuple[int, ...]
    """The table's columns that are compared, by index."""
    select: str
    """What to select, for SQL."""
    key_position: int | None
    """Where the column that carries the source key is in a row of this form."""
    identity: tuple[int, ...]
    """Where the primary key's columns are; empty where rows cannot be told apart by it."""
    rows_per_chunk: int
    _mapped: tuple[tuple[int, Convert], ...]
    _read: tuple[tuple[int, Convert], ...]

    @classmethod
    def of(cls, engine: Engine, table: Table) -> RowForm:
        """Return the form of a table's rows in a database."""
        columns = written_columns(table)
        kinds = [table.columns[i].type for i in columns]
        complete = all(i in columns for i in table.primary_key)
        return cls(
            table=table,
            columns=columns,
            select=", ".join(engine.exact(table.columns[i].name, table.columns[i].type) for i in columns),
            key_position=columns.index(table.key_column) if table.key_column in columns else None,
            identity=tuple(columns.index(i) for i in table.primary_key) if complete else (),
            rows_per_chunk=LONG_ROWS if any(map(is_long, kinds)) else STREAM_ROWS,
            _mapped=_converts(_common(engine, kind) for kind in kinds),
            _read=_converts(_reading(engine, kind) for kind in kinds),
        )

    def of_mapped(self, row: Row) -> Row:
        """Return a mapped row in this form."""
        return _converted([row[i] for i in self.columns], self._mapped)

    def of_read(self, row: Sequence[Any]) -> Row:
        """Return a row that was read by :attr:`select` in this form."""
        return _converted(list(row), self._read)

    def statement(self, session: Session) -> str:
        """Return the SELECT of all rows."""
        return f"SELECT {self.select} FROM {session.table(self.table.name)}"


def _converted(values: list[Any], converts: tuple[tuple[int, Convert], ...]) -> Row:
    for position, convert in converts:
        value = values[position]
        if value is not None:
            values[position] = convert(value)
    return tuple(values)


def _converts(converts: Iterable[Convert | None]) -> tuple[tuple[int, Convert], ...]:
    return tuple((i, convert) for i, convert in enumerate(converts) if convert is not None)


def _reading(engine: Engine, kind: SqlType) -> Convert | None:
    read, common = _READ.get(kind.family), _common(engine, kind)
    if read is None:
        return common
    if common is None:
        return lambda value: read(value, kind)
    return lambda value: common(read(value, kind))


def _common(engine: Engine, kind: SqlType) -> Convert | None:
    """What both mapped and read values are put through."""
    if kind.family is Family.FLOAT:
        return _short if kind.name in engine.rewrites else _without_negative_zero
    if kind.family is Family.DECIMAL:
        return _without_negative_zero
    if kind.family is Family.XML and kind.name in engine.rewrites:
        return _canonical_xml
    return None


# ------------------------------------------------------------------------------------------ values


def _bit(value: Any, _: SqlType) -> Value:
    return bool(value) if value in (0, 1) else value


def _integer(value: Any, _: SqlType) -> Value:
    if value.__class__ is int:
        return value
    try:
        number = int(value)
    except (ValueError, TypeError, OverflowError):
        return value  # type: ignore[no-any-return]
    return number if number == value or isinstance(value, str) else value


def _decimal(value: Any, kind: SqlType) -> Value:
    try:
        with localcontext() as context:
            context.prec = _DIGITS
            exact = Decimal(value)
            scaled = exact.quantize(Decimal(1).scaleb(-(kind.scale or 0)))
    except (InvalidOperation, ValueError, TypeError):
        return value  # type: ignore[no-any-return]
    return scaled if scaled == exact else exact


def _float(value: Any, _: SqlType) -> Value:
    return float(value) if isinstance(value, int | Decimal) else value


def _binary(value: Any, _: SqlType) -> Value:
    return bytes(value) if isinstance(value, bytearray | memoryview) else value


def _guid(value: Any, _: SqlType) -> Value:
    return str(value).lower() if not isinstance(value, bytes) else value


def _moment(value: Any, kind: SqlType) -> Value:
    return _with_all_digits(value, kind.scale or 0) if isinstance(value, str) else value


def _moment_with_offset(value: Any, kind: SqlType) -> Value:
    if not isinstance(value, str):
        return value  # type: ignore[no-any-return]
    # A server may write a blank before the offset.
    return _with_all_digits(value[:-6].rstrip(" "), kind.scale or 0) + value[-6:]


def _with_all_digits(text: str, digits: int) -> str:
    """A time with exactly so many fractional digits: servers leave zeros at the end away, or add some."""
    whole, _, fraction = text.partition(".")
    if len(fraction) == digits:
        return text
    if fraction[digits:].strip("0"):
        return text
    return f"{whole}.{fraction:0<{digits}}"[: len(whole) + 1 + digits] if digits else whole


_READ: Final[dict[Family, Callable[[Any, SqlType], Value]]] = {
    Family.BIT: _bit,
    Family.INTEGER: _integer,
    Family.DECIMAL: _decimal,
    Family.FLOAT: _float,
    Family.BINARY: _binary,
    Family.GUID: _guid,
    Family.TIME: _moment,
    Family.DATETIME: _moment,
    Family.DATETIMEOFFSET: _moment_with_offset,
}
"""Dates and texts come as they are."""


def _without_negative_zero(value: Any) -> Any:
    """Not all engines keep the sign of a zero."""
    if value.__class__ is float or value.__class__ is Decimal:
        return value if value else abs(value)
    return value


def _short(value: Any) -> Any:
    """What 32 bits keep of a floating point number."""
    if value.__class__ is not float:
        return value
    try:
        return _without_negative_zero(struct.unpack("=f", struct.pack("=f", value))[0])
    except OverflowError:
        return value


def _canonical_xml(value: Any) -> Any:
    """An XML value in canonical form (C14N 1.0): attributes in one order, with one kind of quotes."""
    try:
        return etree.tostring(etree.fromstring(value, _PARSER), method="c14n").decode()
    except (etree.XMLSyntaxError, ValueError, TypeError):
        return value
