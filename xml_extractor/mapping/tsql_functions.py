"""T-SQL's scalar functions on canonical values that are not NULL (CONCAT and CONCAT_WS take NULLs)."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import date
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from typing import Any, Final

from xml_extractor.contract.expression import Call
from xml_extractor.contract.types import Family, SqlType
from xml_extractor.mapping import tsql_temporal as temporal
from xml_extractor.mapping import tsql_text as texts
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.tsql_conversion import (
    DECIMALS,
    float_checker,
    integer_checker,
    quantizer,
)

Function = Callable[..., Any]


def function(call: Call) -> Function:
    """Return the Python function for a call: arguments' values to the result, made for their types."""
    return _MAKERS[call.function](call)


def _argument_type(call: Call, index: int) -> SqlType:
    type_ = call.arguments[index].type
    assert type_ is not None  # the parser types every argument of a call
    return type_


# ------------------------------------------------------------------------------------------ text


def _concat(call: Call) -> Function:
    return lambda *values: "".join([v for v in values if v is not None])


def _concat_ws(call: Call) -> Function:
    return lambda separator, *values: (separator or "").join([v for v in values if v is not None])


def _length_checked(name: str, operate: Function) -> Function:
    """Wrap a function whose last argument is a length, which cannot be negative."""

    def evaluate(*arguments: Any) -> Any:
        if arguments[-1] < 0:
            raise EvaluationError("bad_argument", f"{name}: a length is negative")
        return operate(*arguments)

    return evaluate


def _left(call: Call) -> Function:
    return _length_checked("LEFT", texts.left)


def _right(call: Call) -> Function:
    return _length_checked("RIGHT", texts.right)


def _substring(call: Call) -> Function:
    return _length_checked("SUBSTRING", texts.substring)


def _len(call: Call) -> Function:
    return texts.length


def _charindex(call: Call) -> Function:
    binary = call.binary
    return lambda searched, text, start=1: texts.index_of(searched, text, start, binary=binary)


def _replace(call: Call) -> Function:
    binary = call.binary
    return lambda text, searched, replacement: texts.replace(text, searched, replacement, binary=binary)


def _upper(call: Call) -> Function:
    return texts.upper


def _lower(call: Call) -> Function:
    return texts.lower


def _trim(call: Call) -> Function:
    side, binary = call.part or "both", call.binary
    if len(call.arguments) == 1:
        return {
            "both": lambda text: text.strip(" "),
            "leading": lambda text: text.lstrip(" "),
            "trailing": lambda text: text.rstrip(" "),
        }[side]
    return lambda text, characters: texts.trim(text, characters, side, binary=binary)


# ------------------------------------------------------------------------------------------ numbers

_FARTHEST_DIGIT: Final = 400  # no number has digits beyond; keeps ROUND's powers of ten small


def _round(call: Call) -> Function:
    type_ = call.type
    family = type_.family
    if family is Family.FLOAT:
        check_float = float_checker(type_)

        def round_float(value: float, digits: int, cut: int = 0) -> float:
            rounded = _rounded(Decimal(repr(value)), digits, cut)
            return check_float(float(rounded))

        return round_float
    if family is Family.INTEGER:
        check = integer_checker(type_)
        return lambda value, digits, cut=0: check(int(_rounded(Decimal(value), min(digits, 0), cut)))
    fit = quantizer(type_)
    scale = type_.scale or 0
    return lambda value, digits, cut=0: value if digits >= scale else fit(_rounded(value, digits, cut))


def _rounded(value: Decimal, digits: int, cut: int) -> Decimal:
    digits = max(min(digits, _FARTHEST_DIGIT), -_FARTHEST_DIGIT)
    exponent = value.as_tuple().exponent
    if isinstance(exponent, int) and digits >= -exponent:
        return value
    shifted = value.scaleb(digits, DECIMALS)
    whole = shifted.to_integral_value(ROUND_DOWN if cut else ROUND_HALF_UP, DECIMALS)
    return whole.scaleb(-digits, DECIMALS)


def _abs(call: Call) -> Function:
    type_ = call.type
    if type_.family is Family.INTEGER:
        check = integer_checker(type_)
        return lambda value: check(abs(value))
    if type_.family is Family.DECIMAL:
        # Not abs(): that rounds to the precision of the thread's own decimal context.
        fit = quantizer(type_)
        return lambda value: fit(value.copy_abs())
    return abs


def _sign(call: Call) -> Function:
    type_ = call.type
    if type_.family is Family.DECIMAL:
        fit = quantizer(type_)
        return lambda value: fit(Decimal((value > 0) - (value < 0)))
    make: Callable[[int], Any] = float if type_.family is Family.FLOAT else int
    return lambda value: make((value > 0) - (value < 0))


def _whole(call: Call, rounding: str, of_float: Callable[[float], int]) -> Function:
    type_ = call.type
    if type_.family is Family.FLOAT:
        return lambda value: float(of_float(value))
    if type_.family is Family.INTEGER:
        return lambda value: value
    fit = quantizer(type_)
    return lambda value: fit(value.to_integral_value(rounding, DECIMALS))


def _floor(call: Call) -> Function:
    return _whole(call, ROUND_FLOOR, math.floor)


def _ceiling(call: Call) -> Function:
    return _whole(call, ROUND_CEILING, math.ceil)


# ------------------------------------------------------------------------------------------ dates


def _dateadd(call: Call) -> Function:
    type_ = call.type
    add = temporal.adder(call.part or "")
    read = temporal.reader(type_)
    if type_.family is Family.DATETIMEOFFSET:
        write_offset = temporal.offset_writer(type_)
        return lambda number, moment: write_offset(add(read(moment), number), temporal.offset_minutes(moment))
    write = temporal.writer(type_)
    return lambda number, moment: write(add(read(moment), number))


def _ticks_reader(type_: SqlType) -> Callable[[str], int]:
    """For DATEDIFF: ticks of any temporal type, a time being on 1900-01-01 and offsets reckoned to UTC."""
    if type_.family is Family.DATETIMEOFFSET:
        return temporal.utc_ticks
    read = temporal.reader(type_)
    return (lambda value: read(value) + temporal.EPOCH_1900) if type_.family is Family.TIME else read


_MONTHS_IN: Final = {"year": 12, "quarter": 3, "month": 1}


def _datediff(call: Call) -> Function:
    if call.part in _MONTHS_IN and all(
        _argument_type(call, i).family in (Family.DATE, Family.DATETIME) for i in (0, 1)
    ):
        # The most common case, ages in years: the texts' own digits are enough.
        size = _MONTHS_IN[call.part]
        return lambda start, end: (
            (int(end[:4]) * 12 + int(end[5:7]) - 1) // size
            - (int(start[:4]) * 12 + int(start[5:7]) - 1) // size
        )
    differ = temporal.differ(call.part or "")
    read_start, read_end = _ticks_reader(_argument_type(call, 0)), _ticks_reader(_argument_type(call, 1))
    check = integer_checker(call.type)
    return lambda start, end: check(differ(read_start(start), read_end(end)))


def _datepart(call: Call) -> Function:
    type_ = _argument_type(call, 0)
    if call.part == "tzoffset":
        return temporal.offset_minutes if type_.family is Family.DATETIMEOFFSET else (lambda value: 0)
    place = {"year": slice(0, 4), "month": slice(5, 7), "day": slice(8, 10)}.get(call.part or "")
    if place is not None:
        return lambda value: int(value[place])
    read, part = temporal.reader(type_), temporal.part_of(call.part or "")
    return lambda value: part(read(value))


def _eomonth(call: Call) -> Function:
    read = temporal.reader(_argument_type(call, 0))

    def end_of_month(moment: str, months: int = 0) -> str:
        ticks = temporal.add_months(read(moment), months)
        day = date.fromordinal(ticks // temporal.TICKS_PER_DAY + 1)
        return day.replace(day=temporal.days_in_month(day.year, day.month)).isoformat()

    return end_of_month


def _datefromparts(call: Call) -> Function:
    def from_parts(year: int, month: int, day: int) -> str:
        try:
            return date(year, month, day).isoformat()
        except (ValueError, OverflowError):
            raise EvaluationError("bad_argument", "DATEFROMPARTS: there is no such date") from None

    return from_parts


_MAKERS: Final[dict[str, Callable[[Call], Function]]] = {
    "CONCAT": _concat,
    "CONCAT_WS": _concat_ws,
    "LEFT": _left,
    "RIGHT": _right,
    "SUBSTRING": _substring,
    "LEN": _len,
    "CHARINDEX": _charindex,
    "REPLACE": _replace,
    "UPPER": _upper,
    "LOWER": _lower,
    "TRIM": _trim,
    "ROUND": _round,
    "ABS": _abs,
    "SIGN": _sign,
    "FLOOR": _floor,
    "CEILING": _ceiling,
    "DATEADD": _dateadd,
    "DATEDIFF": _datediff,
    "DATEPART": _datepart,
    "EOMONTH": _eomonth,
    "DATEFROMPARTS": _datefromparts,
}
