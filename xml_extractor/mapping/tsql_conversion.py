"""CAST and CONVERT between canonical values, by T-SQL's rules.

Where this differs from T-SQL, it refuses instead of guessing or losing data: an integer too long for its
varchar is an error (T-SQL gives ``*``); a character that the code page lacks is an error (T-SQL gives
``?``); a zone in a text that becomes a type without one is an error; ``3/4/2020`` needs a style (T-SQL goes
by the session's language).  ``datetime`` becomes ``datetime2`` digit by digit (.003, not .0033333).
"""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable
from decimal import ROUND_DOWN, ROUND_HALF_UP, Context, Decimal, InvalidOperation
from typing import Any, Final

from xml_extractor.contract.types import INTEGER_RANGES, MONEY_RANGES, Family, SqlType
from xml_extractor.mapping import tsql_date_styles as date_styles
from xml_extractor.mapping import tsql_temporal as temporal
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.tsql_text import from_units, is_basic, to_units

Converter = Callable[[Any], Any]
"""Canonical value of the source type (never None) to canonical value of the target type."""

DECIMALS: Final = Context(prec=120, rounding=ROUND_HALF_UP, Emax=10_000, Emin=-10_000)
"""Wide enough that + - * and % of two decimal(38) are exact, and a quotient has digits to spare."""
_INTEGER_DIGITS: Final = 19  # of a bigint
_WHOLE: Final = re.compile(r" *[+-]?\d+ *")
# A run of digits can be matched in one way only: else each document could make the search take for ever.
_DECIMAL: Final = re.compile(r" *[+-]?(?:\d+(?:\.\d*)?|\.\d+) *")
_FLOAT: Final = re.compile(r" *[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][+-]?\d+)? *")
_GUID: Final = re.compile(
    r"\{?([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(.*)", re.I | re.S
)


def not_convertible(source: SqlType, target: SqlType) -> EvaluationError:
    """The error for a value of no form that the target type takes."""
    return EvaluationError("not_convertible", f"a value of type {source} cannot be converted to {target}")


def overflow(target: SqlType) -> EvaluationError:
    """The error for a value outside the target type's range."""
    return EvaluationError("overflow", f"a value is out of the range of {target}")


def conversion(
    source: SqlType, target: SqlType, *, style: int | None = None, assignment: bool = False, code_page: str
) -> Converter:
    """Return the conversion between two types that may be converted.

    Args:
        style: CONVERT's third argument.
        assignment: text too long for the target is an error instead of being cut.
        code_page: Python's name of the codec of char and varchar.

    Raises:
        ValueError: there is no such conversion (the parser has refused it before).
    """
    if target.family is Family.TEXT:
        return _to_text(source, target, style, assignment=assignment, code_page=code_page)
    if source.family is Family.TEXT:
        return _from_text(source, target, style, code_page)
    if target.family in (Family.BIT, Family.INTEGER, Family.DECIMAL, Family.FLOAT):
        return _number_to_number(source, target)
    if target.family is Family.BINARY:
        return _fit_binary(target, assignment=assignment)
    if target.family in (Family.DATE, Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        return _moment_to_moment(source, target)
    if source.family is target.family:
        return lambda value: value
    raise ValueError(f"{source} cannot be converted to {target}")


# ------------------------------------------------------------------------------------------ numbers


def quantizer(target: SqlType, rounding: str = ROUND_HALF_UP) -> Callable[[Decimal], Decimal]:
    """The function that rounds to a decimal type's scale and checks its range; never gives -0."""
    unit = Decimal(1).scaleb(-(target.scale or 0))
    zero = Decimal(0).quantize(unit)
    quantize = DECIMALS.quantize
    low, high = decimal_range(target)
    half_up = rounding == ROUND_HALF_UP

    def round_and_check(value: Decimal) -> Decimal:
        try:
            result = quantize(value, unit) if half_up else value.quantize(unit, rounding, DECIMALS)
        except InvalidOperation:  # more digits than any decimal type has
            raise overflow(target) from None
        if not low <= result <= high:
            raise overflow(target)
        return result or zero

    return round_and_check


def decimal_range(type_: SqlType) -> tuple[Decimal, Decimal]:
    """The least and the greatest value of decimal, money or smallmoney."""
    if type_.name in MONEY_RANGES:
        return MONEY_RANGES[type_.name]
    scale = type_.scale or 0
    limit = Decimal(10 ** (type_.precision or 0) - 1).scaleb(-scale, DECIMALS)
    return limit.copy_negate(), limit  # not -limit: that rounds to the 28 digits of the thread's own context


def integer_checker(target: SqlType) -> Callable[[int], int]:
    """The function that refuses integers outside the type's range."""
    low, high = INTEGER_RANGES[target.name]

    def check(value: int) -> int:
        if low <= value <= high:
            return value
        raise overflow(target)

    return check


def float_checker(target: SqlType) -> Callable[[float], float]:
    """The function that rounds to ``real`` where that is the type, and refuses infinity."""
    if target.name == "real":
        pack = struct.Struct("<f")  # in standard mode, which refuses what does not fit

        def check_real(value: float) -> float:
            try:
                result: float = pack.unpack(pack.pack(value))[0]
            except OverflowError:
                raise overflow(target) from None
            return result

        return check_real

    def check(value: float) -> float:
        if math.isfinite(value):
            return value
        raise overflow(target)

    return check


def _number_to_number(source: SqlType, target: SqlType) -> Converter:
    if target.family is Family.BIT:
        return bool
    if target.family is Family.FLOAT:
        check_float = float_checker(target)
        return lambda value: check_float(float(value))
    if target.family is Family.DECIMAL:
        fit = quantizer(target)
        if source.family is Family.FLOAT:
            return lambda value: fit(Decimal(repr(value)))
        return lambda value: fit(Decimal(value))
    check = integer_checker(target)
    if source.name in ("money", "smallmoney"):
        # Money rounds where decimal and float are cut off ("CAST and CONVERT", truncating and rounding).
        return lambda value: check(int(value.quantize(Decimal(1), ROUND_HALF_UP)))
    return lambda value: check(int(value))


# ------------------------------------------------------------------------------------------ dates and times


def _moment_to_moment(source: SqlType, target: SqlType) -> Converter:
    if target.family is Family.DATETIMEOFFSET:
        write_offset = temporal.offset_writer(target)
        if source.family is Family.DATETIMEOFFSET:
            return lambda value: write_offset(temporal.local_ticks(value), temporal.offset_minutes(value))
        read = temporal.reader(source)
        base = temporal.EPOCH_1900 if source.family is Family.TIME else 0
        return lambda value: write_offset(read(value) + base, 0)
    if source.family is Family.DATETIME and target.family is Family.DATE:
        return lambda value: value[:10]
    if source.family is Family.DATE and target.name == "datetime2":
        midnight = f" {temporal.time_text(0, target.scale or 0)}"
        return lambda value: value + midnight
    read, write = temporal.reader(source), temporal.writer(target)
    if source.family is Family.TIME and target.family is not Family.TIME:
        return lambda value: write(read(value) + temporal.EPOCH_1900)
    return lambda value: write(read(value))


# ------------------------------------------------------------------------------------------ from text


def _from_text(source: SqlType, target: SqlType, style: int | None, code_page: str) -> Converter:
    family = target.family
    if family is Family.BIT:
        return lambda value: _bit(value, source, target)
    if family is Family.INTEGER:
        check = integer_checker(target)

        def to_integer(value: str) -> int:
            if _WHOLE.fullmatch(value) and value.isascii():
                if len(value) > 100:  # Python's int refuses thousands of digits, leading zeros included
                    number = Decimal(value.strip(" "))
                    if number.adjusted() > _INTEGER_DIGITS:
                        raise overflow(target)
                    return check(int(number))
                return check(int(value))
            if not value.strip(" "):
                return 0  # T-SQL: CAST('' AS int) is 0
            raise not_convertible(source, target)

        return to_integer
    if family is Family.FLOAT:
        check_float = float_checker(target)

        def to_float(value: str) -> float:
            if _FLOAT.fullmatch(value) and value.isascii():
                return check_float(float(value.lower().replace("d", "e")))
            if not value.strip(" "):
                return 0.0
            raise not_convertible(source, target)

        return to_float
    if family is Family.DECIMAL:
        return _text_to_decimal(source, target)
    if family is Family.GUID:
        return lambda value: _guid(value, source, target)
    if family is Family.BINARY:
        return _text_to_binary(source, target, style, code_page)
    if family in (Family.DATE, Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        return date_styles.text_reader(source, target, style)
    raise ValueError(f"{source} cannot be converted to {target}")


def _bit(value: str, source: SqlType, target: SqlType) -> bool:
    word = value.strip(" ").lower()
    if word in ("true", "false"):
        return word == "true"
    if word.isascii() and (not word or _WHOLE.fullmatch(word)):
        return bool(word.strip("+-0"))
    raise not_convertible(source, target)


def _text_to_decimal(source: SqlType, target: SqlType) -> Converter:
    fit = quantizer(target)
    is_money = target.name in MONEY_RANGES

    def to_decimal(value: str) -> Decimal:
        text = value
        if is_money:
            # Money takes thousands separators and a currency sign in front, and '' as 0.
            text = re.sub(r"^( *[+-]?)[$£€¥] *", r"\1", value).replace(",", "") or "0"
            if not text.strip(" "):
                text = "0"
        if _DECIMAL.fullmatch(text) and text.isascii():
            return fit(Decimal(text.strip(" ")))
        raise not_convertible(source, target)

    return to_decimal


def _guid(value: str, source: SqlType, target: SqlType) -> str:
    match = _GUID.fullmatch(value)
    # T-SQL ignores what comes after the 36 characters.
    if match is None or (value.startswith("{") and not match[2].startswith("}")):
        raise not_convertible(source, target)
    return match[1].lower()


def _text_to_binary(source: SqlType, target: SqlType, style: int | None, code_page: str) -> Converter:
    fit = _fit_binary(target, assignment=False)
    if style in (1, 2):

        def from_hex(value: str) -> bytes:
            digits = value.rstrip(" ")
            if style == 1:
                if digits[:2].lower() != "0x":
                    raise not_convertible(source, target)
                digits = digits[2:]
            if len(digits) % 2 or not re.fullmatch("[0-9a-fA-F]*", digits):
                raise not_convertible(source, target)
            return bytes(fit(bytes.fromhex(digits)))

        return from_hex
    codec = "utf-16-le" if source.is_unicode else code_page
    return lambda value: fit(encoded(value, codec))


def _fit_binary(target: SqlType, *, assignment: bool) -> Converter:
    length = target.length

    def fit(value: bytes) -> bytes:
        if length is not None and len(value) > length:
            if assignment:
                raise EvaluationError("too_long", f"a value is too long for {target}")
            value = value[:length]
        return value.ljust(length or 0, b"\0") if target.is_fixed_length else value

    return fit


# ------------------------------------------------------------------------------------------ to text


def encoded(value: str, codec: str) -> bytes:
    """The bytes of a text, or an error where the code page lacks a character."""
    try:
        return value.encode(codec)
    except UnicodeEncodeError:
        raise EvaluationError(
            "not_in_code_page", f"a text has a character that code page {codec} lacks; use nvarchar"
        ) from None


def _to_text(
    source: SqlType, target: SqlType, style: int | None, *, assignment: bool, code_page: str
) -> Converter:
    render = _renderer(source, target, style, code_page)
    # What is no text by nature must not lose digits; text and dates are cut, as T-SQL cuts them.
    cut = not assignment and source.family not in (
        Family.BIT, Family.INTEGER, Family.DECIMAL, Family.FLOAT, Family.GUID,
    )  # fmt: skip
    fit = _fit_unicode(target, cut=cut) if target.is_unicode else _fit_bytes(target, code_page, cut=cut)
    if source.family in (Family.TEXT, Family.XML):
        return fit
    return lambda value: fit(render(value))


def _too_long(target: SqlType) -> EvaluationError:
    return EvaluationError("too_long", f"a value is too long for {target}")


def _fit_unicode(target: SqlType, *, cut: bool) -> Converter:
    length = target.length
    pad = target.is_fixed_length

    def fit(value: str) -> str:
        if length is None:
            return value
        if is_basic(value):
            if len(value) > length:
                if not cut and value[length:].strip(" "):
                    raise _too_long(target)
                value = value[:length]
            return value.ljust(length) if pad else value
        units = to_units(value)
        if len(units) > length:
            if not cut and units[length:].strip(" "):
                raise _too_long(target)
            units = to_units(from_units(units[:length]))
        return from_units(units.ljust(length) if pad else units)

    return fit


def _fit_bytes(target: SqlType, code_page: str, *, cut: bool) -> Converter:
    length = target.length

    def fit(value: str) -> str:
        if value.isascii():
            size = len(value)
            if length is not None and size > length:
                if not cut and value[length:].strip(" "):
                    raise _too_long(target)
                return value[:length]
        else:
            data = encoded(value, code_page)
            size = len(data)
            if length is not None and size > length:
                if not cut and data[length:].strip(b" "):
                    raise _too_long(target)
                value = data[:length].decode(code_page, "ignore")  # half a character is dropped
                size = len(value.encode(code_page))
        return value + " " * (length - size) if target.is_fixed_length and length is not None else value

    return fit


def _renderer(source: SqlType, target: SqlType, style: int | None, code_page: str) -> Converter:
    family = source.family
    if family is Family.BIT:
        return lambda value: "1" if value else "0"
    if family is Family.INTEGER:
        return str
    if family is Family.DECIMAL:
        if source.name in MONEY_RANGES:
            pattern = {1: "{:,.2f}", 2: "{:.4f}"}.get(style or 0, "{:.2f}").format
            cents = Decimal("0.01")
            if style == 2:
                return pattern
            return lambda value: pattern(value.quantize(cents, ROUND_HALF_UP))
        return lambda value: format(value, "f")
    if family is Family.FLOAT:
        return _float_renderer(source, style or 0)
    if family is Family.GUID:
        return str.upper
    if family is Family.BINARY:
        if style in (1, 2):
            prefix = "0x" if style == 1 else ""
            return lambda value: prefix + value.hex().upper()
        codec = "utf-16-le" if target.is_unicode else code_page
        return lambda value: _decoded(value, codec, source, target)
    if family in (Family.DATE, Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        return date_styles.text_writer(source, style)
    return lambda value: value


def _decoded(value: bytes, codec: str, source: SqlType, target: SqlType) -> str:
    try:
        text = value.decode(codec)
    except UnicodeDecodeError:
        raise not_convertible(source, target) from None
    if "\0" in text:  # which PostgreSQL cannot store: one document, one outcome, whatever the target
        raise not_convertible(source, target)
    return text


def _float_renderer(source: SqlType, style: int) -> Converter:
    """Style 0: six digits at most; 1: eight; 2: sixteen; 3: enough to read the same number back."""
    if style == 3:
        digits = "{:.8e}" if source.name == "real" else "{:.16e}"
    else:
        digits = {0: "{:.6g}", 1: "{:.7e}", 2: "{:.15e}"}[style]

    def render(value: float) -> str:
        text = digits.format(value + 0.0)
        mantissa, _, exponent = text.partition("e")
        # SQL Server writes exponents with three digits: 1e+006.
        return f"{mantissa}e{exponent[0]}{int(exponent[1:]):03}" if exponent else mantissa

    return render


def truncate_division(target: SqlType) -> Callable[[Decimal, Decimal], Decimal]:
    """Division of decimals: the quotient is cut off at the result's scale, not rounded."""
    fit = quantizer(target, ROUND_DOWN)
    context = Context(prec=120, rounding=ROUND_DOWN, Emax=10_000, Emin=-10_000)

    def divide(left: Decimal, right: Decimal) -> Decimal:
        if not right:
            raise EvaluationError("division_by_zero", "division by zero")
        return fit(context.divide(left, right))

    return divide
