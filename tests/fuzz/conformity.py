"""Whether a mapped value is one of its column's type, judged by the type's description alone.

Nothing of the mapper is used: what it lets through is held against
:mod:`xml_extractor.contract.types`, as a database would.
"""

from __future__ import annotations

import datetime
import math
import re
import struct
from decimal import Decimal

from lxml import etree

from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import INTEGER_RANGES, MONEY_RANGES, Family, SqlType, Value
from xml_extractor.mapping.records import MappedDocument

_DATE = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_TIME = r"[0-9]{2}:[0-9]{2}:[0-9]{2}"
_GUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")
_YEARS = {"datetime": (1753, 9999), "smalldatetime": (1900, 2079)}


def problem(value: Value, type_: SqlType, code_page: str = "cp1252") -> str | None:
    """Say what makes a value none of the type; ``None`` where it is one.  NULL is a value of each."""
    if value is None:
        return None
    family = type_.family
    expected: type | tuple[type, ...] = {
        Family.BIT: bool,
        Family.INTEGER: int,
        Family.DECIMAL: Decimal,
        Family.FLOAT: float,
        Family.BINARY: bytes,
    }.get(family, str)
    if type(value) is not expected:
        return f"a {type(value).__name__} in a column of type {type_}"
    if isinstance(value, str) and _NOT_TEXT.search(value):
        return "text with NUL or half of a surrogate pair"
    sound = {
        Family.BIT: lambda: True,
        Family.INTEGER: lambda: _is_integer(value, type_),
        Family.DECIMAL: lambda: _is_decimal(value, type_),
        Family.FLOAT: lambda: _is_float(value, type_),
        Family.DATE: lambda: _is_moment(value, type_),
        Family.TIME: lambda: _is_moment(value, type_),
        Family.DATETIME: lambda: _is_moment(value, type_),
        Family.DATETIMEOFFSET: lambda: _is_moment(value, type_),
        Family.TEXT: lambda: _is_text(value, type_, code_page),
        Family.BINARY: lambda: _fits(len(value), type_),  # type: ignore[arg-type]
        Family.GUID: lambda: _GUID.fullmatch(value) is not None,  # type: ignore[arg-type]
        Family.XML: lambda: _is_xml(value),
    }[family]()
    return None if sound else f"no value of {type_}"


def _is_integer(value: Value, type_: SqlType) -> bool:
    low, high = INTEGER_RANGES[type_.name]
    assert isinstance(value, int)
    return low <= value <= high


def _is_decimal(value: Value, type_: SqlType) -> bool:
    assert isinstance(value, Decimal)
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int) or -exponent != (type_.scale or 0):
        return False
    if sign and not any(digits):
        return False
    if type_.name in MONEY_RANGES:
        low, high = MONEY_RANGES[type_.name]
        return low <= value <= high
    return len(str(int("".join(map(str, digits))))) <= (type_.precision or 0)


def _is_float(value: Value, type_: SqlType) -> bool:
    assert isinstance(value, float)
    if not math.isfinite(value) or (value == 0 and math.copysign(1, value) < 0):
        return False
    return type_.name != "real" or struct.unpack("<f", struct.pack("<f", value))[0] == value


def _is_moment(value: Value, type_: SqlType) -> bool:
    assert isinstance(value, str)
    family, digits = type_.family, type_.scale or 0
    time = _TIME + (rf"\.[0-9]{{{digits}}}" if digits else "")
    pattern = {
        Family.DATE: _DATE,
        Family.TIME: time,
        Family.DATETIME: f"{_DATE} {time}",
        Family.DATETIMEOFFSET: f"{_DATE} {time}[+-][0-9]{{2}}:[0-9]{{2}}",
    }[family]
    if re.fullmatch(pattern, value, re.ASCII) is None:
        return False
    try:
        if family is not Family.TIME:
            day = datetime.date.fromisoformat(value[:10])
            low, high = _YEARS.get(type_.name, (1, 9999))
            if not low <= day.year <= high:
                return False
        if family is not Family.DATE:
            clock = value if family is Family.TIME else value[11:]
            datetime.time.fromisoformat(clock[:8])
        if family is Family.DATETIMEOFFSET:
            hours, minutes = int(value[-5:-3]), int(value[-2:])
            return minutes < 60 and hours * 60 + minutes <= 14 * 60
    except ValueError:
        return False
    return True


def _is_text(value: Value, type_: SqlType, code_page: str) -> bool:
    assert isinstance(value, str)
    try:
        size = len(value.encode("utf-16-le")) // 2 if type_.is_unicode else len(value.encode(code_page))
    except UnicodeError:
        return False
    return _fits(size, type_)


def _fits(size: int, type_: SqlType) -> bool:
    if type_.length is None:
        return True
    return size == type_.length if type_.is_fixed_length else size <= type_.length


def _is_xml(value: Value) -> bool:
    assert isinstance(value, str)
    try:
        etree.fromstring(f"<x>{value}</x>", etree.XMLParser(resolve_entities=False, no_network=True))
    except etree.XMLSyntaxError:
        return False
    return True


def problems(plan: Plan, mapped: MappedDocument) -> list[str]:
    """List all that is wrong with a document's rows, by the plan's tables and columns."""
    found: list[str] = []
    assert len(mapped.rows) == len(plan.tables)
    for table, rows in zip(plan.tables, mapped.rows, strict=True):
        for row in rows:
            if len(row) != len(table.columns):
                found.append(f"{table.name}: a row of {len(row)} values")
                continue
            for column, value in zip(table.columns, row, strict=True):
                if column.server_generated:
                    continue
                if value is None and not column.nullable:
                    found.append(f"{table.name}.{column.name}: NULL, and it is required")
                wrong = problem(value, column.type, column.conversion.code_page)
                if wrong is not None:
                    found.append(f"{table.name}.{column.name}: {wrong}")
        if table.unique is not None:
            found += _unique_problems(plan, mapped, table.name)
    return found


def _unique_problems(plan: Plan, mapped: MappedDocument, name: str) -> list[str]:
    index = next(i for i, table in enumerate(plan.tables) if table.name == name)
    table = plan.tables[index]
    assert table.unique is not None
    parents = {own for own, _ in table.foreign_key}
    seen: set[tuple[Value, ...]] = set()
    for row in mapped.rows[index]:
        key = tuple(row[i] for i in (*sorted(parents), *table.unique.by))
        if None in key[len(parents) :]:
            continue
        if parents and key in seen and _parent_is_known(plan, index):
            return [f"{name}: two rows that `unique` makes one"]
        seen.add(key)
    return []


def _parent_is_known(plan: Plan, index: int) -> bool:
    """Whether the parent's columns that the rows carry tell its rows apart."""
    table = plan.tables[index]
    assert table.parent is not None
    parent = plan.tables[table.parent]
    return bool(parent.primary_key) and set(parent.primary_key) <= {theirs for _, theirs in table.foreign_key}
