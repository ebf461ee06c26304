"""Further columns of the source row (``$source.COLUMN``) as text that a conversion takes exactly."""

from __future__ import annotations

from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from uuid import UUID


def column_text(value: Any) -> str | None:
    """Turn a value as a database driver gives it into raw text, without loss.

    =====================  ==============================================================
    driver's value         text
    =====================  ==============================================================
    ``None``               ``None``
    ``str``                as it stands
    ``bool``               ``1`` or ``0``
    ``int``                its decimal digits
    ``Decimal``            positional notation with the digits it has, never an exponent
    ``float``              the shortest text that reads back as the same number
    ``datetime``           ISO 8601 with a blank between date and time, and the zone if it has one
    ``date``, ``time``     ISO 8601
    ``UUID``               lower case, with hyphens
    ``bytes``              hexadecimal digits, lower case (``binary: hex`` in the contract)
    =====================  ==============================================================

    Raises:
        TypeError: the driver's type has no exact text; the message names the type, not the value.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Decimal):
        return format(value, "f")
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, datetime):
        return value.isoformat(sep=" ")
    if isinstance(value, date | time):
        return value.isoformat()
    if isinstance(value, UUID):
        return str(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return bytes(value).hex()
    raise TypeError(type(value).__name__)
