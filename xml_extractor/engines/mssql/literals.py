"""Values as T-SQL literals, for a connection that takes no parameters, and for NULL."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from typing import Any, Final

from xml_extractor.engines.markers import split_at_markers
from xml_extractor.mapping.layouts import decimal_text


def literal(value: Any) -> str:
    """Return a value as a literal that the server reads back as the same value, of the type it would have
    as a parameter.

    Raises:
        TypeError: the value is of no type that a parameter may have.
    """
    if value is None:
        return "NULL"
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return "0x" + bytes(value).hex()
    if isinstance(value, float):
        # With an exponent it is a float literal; without one it would be a decimal.
        text = repr(value)
        return text if "e" in text else f"{text}e0"
    if isinstance(value, Decimal):
        return decimal_text(value)
    raise TypeError(f"{type(value).__name__} is not a type of parameters")


def _text(value: str) -> str:
    """N and doubled quotes: within a T-SQL literal nothing else has a meaning, but a backslash at the end of
    a line, which joins the next line to it.  There a character that the text lacks is put in between, and
    the server takes it out again; many short literals joined would be more than its parser likes."""
    quoted = value.replace("'", "''")
    if "\\\n" not in quoted and "\\\r" not in quoted:
        return f"N'{quoted}'"
    mark = next(mark for mark in map(chr, _PRIVATE_USE) if mark not in value)
    marked = quoted.replace("\\\n", f"\\{mark}\n").replace("\\\r", f"\\{mark}\r")
    # Compared by code point: to other collations such a character may be nothing at all.
    return f"REPLACE(CAST(N'{marked}' AS nvarchar(max)) COLLATE Latin1_General_BIN2, N'{mark}', N'')"


_PRIVATE_USE: Final = range(0xE000, 0xF900)
"""Characters that stand for nothing in any text but by private agreement; a text that held all of them would
not be one."""


def bound(sql: str, parameters: Sequence[Any]) -> str:
    """Return a statement with literals in place of its ``?`` markers.

    Raises:
        ValueError: there are not as many values as markers.
    """
    pieces = split_at_markers(sql, brackets=True)
    if len(pieces) != len(parameters) + 1:
        raise ValueError(f"{len(pieces) - 1} markers and {len(parameters)} parameters")
    text = [pieces[0]]
    for value, piece in zip(parameters, pieces[1:], strict=True):
        text += (literal(value), piece)
    return "".join(text)


def with_nulls(sql: str, parameters: Sequence[Any]) -> tuple[str, Sequence[Any]]:
    """Return a statement with NULL in place of the markers that stand for it, and the other parameters.

    A parameter has a type even where it is NULL, and there is none that the server takes for every column:
    not varbinary for a datetime2 or a float, and not nvarchar for a varbinary.

    Raises:
        ValueError: there are not as many values as markers.
    """
    if not any(value is None for value in parameters):
        return sql, parameters
    pieces = split_at_markers(sql, brackets=True)
    if len(pieces) != len(parameters) + 1:
        raise ValueError(f"{len(pieces) - 1} markers and {len(parameters)} parameters")
    text = [pieces[0]]
    for value, piece in zip(parameters, pieces[1:], strict=True):
        text += ("NULL" if value is None else "?", piece)
    return "".join(text), [value for value in parameters if value is not None]
