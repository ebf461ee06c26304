"""Texts to numbers: integers, exact decimals, money, bit, float and real."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from decimal import (
    MAX_EMAX,
    MIN_EMIN,
    ROUND_DOWN,
    ROUND_HALF_EVEN,
    ROUND_HALF_UP,
    Context,
    Decimal,
    Inexact,
    InvalidOperation,
)
from typing import Final

from xml_extractor.contract.plan import Rounding
from xml_extractor.contract.types import INTEGER_RANGES, MONEY_RANGES, Family, SqlType, Value
from xml_extractor.mapping.conversion_error import (
    ConversionError,
    OverflowConversionError,
    not_convertible,
)

XML_BLANKS: Final = " \t\r\n"
"""White space as XML defines it; no other character is ever trimmed."""

_DECIMAL: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)")
_FLOAT: Final = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_INTEGER: Final = re.compile(r"[+-]?[0-9]+")
_BIGINT_DIGITS: Final = 19
_ONE: Final = Decimal(1)
_WORK_PRECISION: Final = 80  # more than a decimal(38,38) with a carry can need

ROUNDING_MODES: Final = {
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.DOWN: ROUND_DOWN,
}
_EXACT: Final = Context(
    prec=_WORK_PRECISION, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[Inexact, InvalidOperation], clamp=0
)
_INEXACT: Final = Context(
    prec=_WORK_PRECISION, Emax=MAX_EMAX, Emin=MIN_EMIN, traps=[InvalidOperation], clamp=0
)


def out_of_range(sql_type: SqlType, value: Value = None) -> OverflowConversionError:
    """The error for a number or time beyond the type's limits."""
    return OverflowConversionError("out_of_range", f"the value is out of the range of {sql_type}", value)


def safe_digits(sql_type: SqlType) -> int:
    """Return how many digits a number may have to be within the integer type's range for certain."""
    return len(str(INTEGER_RANGES[sql_type.name][1])) - 1


def integer_converter(sql_type: SqlType, rounding: Rounding = Rounding.REJECT) -> Callable[[str], Value]:
    """Convert optional sign and ASCII digits; blanks around them are trimmed, nothing means missing.

    Digits after a point are only taken where a rounding is stated.
    """
    low, high = INTEGER_RANGES[sql_type.name]
    name = str(sql_type)
    few = safe_digits(sql_type)
    mode = ROUNDING_MODES.get(rounding)

    def convert(text: str) -> Value:
        if text.isdigit() and text.isascii() and len(text) <= few:
            return int(text)
        stripped = text.strip(XML_BLANKS)
        if not stripped:
            return None
        match = _INTEGER.fullmatch(stripped)
        if match is None:
            if mode is None or _DECIMAL.fullmatch(stripped) is None:
                raise not_convertible(name)
            try:
                value = int(Decimal(stripped).quantize(_ONE, mode, _INEXACT))
            except InvalidOperation:
                raise out_of_range(sql_type) from None
        else:
            digits = stripped.lstrip("+-").lstrip("0")
            if len(digits) > _BIGINT_DIGITS:
                # Not converted: int() of millions of digits would take minutes.
                raise out_of_range(sql_type)
            value = int(digits or "0")
            if stripped[0] == "-":
                value = -value
        if low <= value <= high:
            return value
        raise out_of_range(sql_type, value)

    return convert


def decimal_fitter(sql_type: SqlType, rounding: Rounding) -> Callable[[Decimal], Decimal]:
    """Bring a number to the type's scale exactly, by the stated rounding, and check its precision."""
    assert sql_type.precision is not None
    assert sql_type.scale is not None
    unit = Decimal(1).scaleb(-sql_type.scale)
    if sql_type.name in MONEY_RANGES:
        low, high = MONEY_RANGES[sql_type.name]
    else:
        high = _INEXACT.subtract(_INEXACT.power(Decimal(10), sql_type.precision - sql_type.scale), unit)
        low = _INEXACT.minus(high)
    mode = ROUNDING_MODES.get(rounding)
    context = _EXACT if mode is None else _INEXACT
    zero = Decimal(0).quantize(unit)

    def fit(value: Decimal) -> Decimal:
        try:
            fitted = value.quantize(unit, mode, context)
        except Inexact:
            raise ConversionError(
                "too_many_digits",
                f"the value has more digits after the point than {sql_type} holds; "
                "state `rounding` for the column if they may go",
            ) from None
        except InvalidOperation:
            raise out_of_range(sql_type) from None
        if not fitted:
            return zero  # there is no negative zero in SQL
        if low <= fitted <= high:
            return fitted
        raise out_of_range(sql_type, fitted)

    return fit


def _plain_decimal(sql_type: SqlType) -> Callable[[str], object]:
    """Match texts that are a value of the type as they stand: its scale, and surely in its range."""
    assert sql_type.precision is not None
    assert sql_type.scale is not None
    # One digit less than the precision allows: money ends at 922337203685477.5807.
    whole = sql_type.precision - sql_type.scale - (sql_type.name in MONEY_RANGES)
    if whole < 1:
        return re.compile("(?!)").fullmatch
    fraction = rf"\.[0-9]{{{sql_type.scale}}}" if sql_type.scale else ""
    return re.compile(f"[0-9]{{1,{whole}}}{fraction}").fullmatch


def decimal_converter(sql_type: SqlType, rounding: Rounding) -> Callable[[str], Value]:
    """Convert sign, digits and point, exactly; no exponent, no thousands separator, no currency."""
    fit = decimal_fitter(sql_type, rounding)
    name = str(sql_type)
    matches = _DECIMAL.fullmatch
    is_plain = _plain_decimal(sql_type)

    def convert(text: str) -> Value:
        if is_plain(text) is not None:
            return Decimal(text)
        stripped = text.strip(XML_BLANKS)
        if not stripped:
            return None
        if matches(stripped) is None:
            raise not_convertible(name)
        return fit(Decimal(stripped))

    return convert


def float_fitter(sql_type: SqlType) -> Callable[[float], float]:
    """Check that a float is finite, and round it to single precision for real."""
    single = sql_type.name == "real"

    def fit(value: float) -> float:
        if single:
            try:
                value = struct.unpack("<f", struct.pack("<f", value))[0]
            except OverflowError:
                raise out_of_range(sql_type, value) from None
        if math.isfinite(value):
            return value + 0.0 if value else 0.0
        raise out_of_range(sql_type)

    return fit


def float_converter(sql_type: SqlType) -> Callable[[str], Value]:
    """Convert decimal or exponent notation; NaN and infinities are not SQL values."""
    fit = float_fitter(sql_type)
    name = str(sql_type)

    def convert(text: str) -> Value:
        stripped = text.strip(XML_BLANKS)
        if not stripped:
            return None
        if _FLOAT.fullmatch(stripped) is None:
            raise not_convertible(name)
        return fit(float(stripped))

    return convert


_BITS: Final = {"1": True, "0": False, "true": True, "false": False}


def bit_converter(sql_type: SqlType) -> Callable[[str], Value]:
    """Convert 0, 1, true and false (in any case)."""
    name = str(sql_type)

    def convert(text: str) -> Value:
        stripped = text.strip(XML_BLANKS)
        if not stripped:
            return None
        value = _BITS.get(stripped)
        if value is None:
            value = _BITS.get(stripped.lower())
            if value is None:
                raise not_convertible(name)
        return value

    return convert


def number_converter(sql_type: SqlType, rounding: Rounding) -> Callable[[str], Value] | None:
    """Return the converter of a numeric type, or ``None`` where the type is not numeric."""
    if sql_type.family is Family.INTEGER:
        return integer_converter(sql_type, rounding)
    if sql_type.family is Family.DECIMAL:
        return decimal_converter(sql_type, rounding)
    if sql_type.family is Family.FLOAT:
        return float_converter(sql_type)
    if sql_type.family is Family.BIT:
        return bit_converter(sql_type)
    return None
