"""Constants that stand in a contract, as canonical values of a column's type.

This is for texts that a person wrote into the contract (orders of preference, defaults, enum values), not
for texts of documents: it knows one way of writing each type, and whatever it refuses is a mistake to be
mended in the contract.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
import uuid
from datetime import date, time
from decimal import Decimal, InvalidOperation
from typing import Final

from xml_extractor.contract.types import INTEGER_RANGES, MONEY_RANGES, Family, SqlType, Value

_BITS: Final = {"0": False, "1": True, "false": False, "true": True}
_MOMENT: Final = re.compile(
    r"(?:(?P<date>\d{4}-\d{2}-\d{2}))?(?:[T ])?"
    r"(?:(?P<time>\d{2}:\d{2}(?::\d{2})?)(?:\.(?P<fraction>\d{1,9}))?)?"
    r"(?P<zone>Z|[+-]\d{2}:\d{2})?"
)


def parse_literal(text: str, sql_type: SqlType, code_page: str, *, binary_format: str = "base64") -> Value:
    """Convert a constant to the canonical value of its type.

    Raises:
        ValueError: with a sentence that says what does not fit.
    """
    family = sql_type.family
    if family in (Family.TEXT, Family.XML):
        return _text(text, sql_type, code_page)
    stripped = text.strip()
    if family is Family.BIT:
        if stripped.lower() not in _BITS:
            raise ValueError(f"{text!r} is not a bit: write 0, 1, true or false")
        return _BITS[stripped.lower()]
    if family is Family.INTEGER:
        return _integer(stripped, sql_type)
    if family is Family.DECIMAL:
        return _decimal(stripped, sql_type)
    if family is Family.FLOAT:
        return _float(stripped)
    if family is Family.BINARY:
        return _binary(stripped, sql_type, binary_format)
    if family is Family.GUID:
        try:
            return str(uuid.UUID(stripped))
        except ValueError:
            raise ValueError(f"{text!r} is not a uniqueidentifier") from None
    return _moment(stripped, sql_type)


def _text(text: str, sql_type: SqlType, code_page: str) -> str:
    if sql_type.is_unicode:
        length = len(text.encode("utf-16-le", "surrogatepass")) // 2
        unit = "UTF-16 units"
    else:
        try:
            length = len(text.encode(code_page))
        except UnicodeEncodeError:
            raise ValueError(f"{text!r} has a character that the code page {code_page} lacks") from None
        unit = "bytes"
    if sql_type.length is None:
        return text
    if length > sql_type.length:
        raise ValueError(f"{text!r} has {length} {unit}; {sql_type} holds {sql_type.length}")
    return text + " " * (sql_type.length - length) if sql_type.is_fixed_length else text


def _integer(text: str, sql_type: SqlType) -> int:
    if not re.fullmatch(r"[+-]?[0-9]+", text):
        raise ValueError(f"{text!r} is not a whole number")
    number = int(text)
    low, high = INTEGER_RANGES[sql_type.name]
    if not low <= number <= high:
        raise ValueError(f"{text} is out of range for {sql_type} ({low} to {high})")
    return number


def _decimal(text: str, sql_type: SqlType) -> Decimal:
    if not re.fullmatch(r"[+-]?([0-9]+(\.[0-9]*)?|\.[0-9]+)", text):
        raise ValueError(f"{text!r} is not a decimal number")
    number = Decimal(text)
    scale, precision = sql_type.scale or 0, sql_type.precision or 38
    sign, digits, exponent = number.as_tuple()
    places = -int(exponent)
    stripped = list(digits)
    while places > scale and stripped and stripped[-1] == 0:
        stripped.pop()
        places -= 1
    if places > scale and any(stripped):
        raise ValueError(f"{text} has more than the {scale} decimal places of {sql_type}")
    significant = "".join(map(str, stripped)).lstrip("0") + "0" * max(0, scale - places)
    if len(significant) > precision:
        raise ValueError(f"{text} is out of range for {sql_type}")
    try:
        exact = Decimal((sign, tuple(map(int, significant or "0")), -scale))
    except InvalidOperation:
        raise ValueError(f"{text} is out of range for {sql_type}") from None
    limits = MONEY_RANGES.get(sql_type.name)
    if limits is not None and not limits[0] <= exact <= limits[1]:
        raise ValueError(f"{text} is out of range for {sql_type}")
    return Decimal((0, exact.as_tuple().digits, -scale)) if not any(exact.as_tuple().digits) else exact


def _float(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a number") from None
    if not math.isfinite(number):
        raise ValueError(f"{text!r} is not a finite number")
    return number


def _binary(text: str, sql_type: SqlType, binary_format: str) -> bytes:
    try:
        if binary_format == "hex":
            content = bytes.fromhex(text.removeprefix("0x"))
        else:
            content = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error):
        raise ValueError(f"{text!r} is not {binary_format}") from None
    if sql_type.length is not None and len(content) > sql_type.length:
        raise ValueError(f"{text!r} has {len(content)} bytes; {sql_type} holds {sql_type.length}")
    if sql_type.is_fixed_length and sql_type.length is not None:
        content = content.ljust(sql_type.length, b"\0")
    return content


def _moment(text: str, sql_type: SqlType) -> str:
    family = sql_type.family
    forms = {
        Family.DATE: "2024-12-31",
        Family.TIME: "23:59:59",
        Family.DATETIME: "2024-12-31 23:59:59",
        Family.DATETIMEOFFSET: "2024-12-31 23:59:59+01:00",
    }
    problem = ValueError(f"{text!r} is not a {sql_type}: write it as {forms[family]}")
    match = _MOMENT.fullmatch(text)
    if match is None:
        raise problem
    day, clock, fraction, zone = match["date"], match["time"], match["fraction"] or "", match["zone"]
    if (day is None) != (family is Family.TIME) or (zone is None) != (family is not Family.DATETIMEOFFSET):
        raise problem
    if family is Family.DATE and clock is not None:
        raise problem
    if family in (Family.TIME, Family.DATETIMEOFFSET) and clock is None:
        raise problem
    try:
        if day is not None:
            date.fromisoformat(day)
        clock = time.fromisoformat(clock or "00:00").isoformat()
    except ValueError:
        raise problem from None
    if family is Family.DATE:
        return str(day)
    scale = sql_type.scale or 0
    if fraction[scale:].strip("0"):
        raise ValueError(f"{text!r} has more than the {scale} fractional digits of {sql_type}")
    clock += f".{fraction[:scale].ljust(scale, '0')}" if scale else ""
    if family is Family.TIME:
        return clock
    offset = "+00:00" if zone in ("Z", "-00:00") else zone or ""
    return f"{day} {clock}{offset}"
