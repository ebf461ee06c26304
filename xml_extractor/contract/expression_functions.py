"""The T-SQL functions that expressions may call: their arguments and the types of their results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from xml_extractor.contract.expression import (
    Call,
    Case,
    Coalesce,
    Convert,
    Expression,
    ExpressionError,
    Literal,
    NullIf,
)
from xml_extractor.contract.expression_types import (
    BIGINT,
    DATE,
    DATETIME,
    DATETIME2,
    FLOAT,
    INT,
    MAX_PRECISION,
    NUMERIC,
    TEMPORAL,
    can_convert,
    coerce,
    common_type,
    comparison,
    decimal_type,
    keeps_values,
    text_length,
    text_type,
)
from xml_extractor.contract.types import Family, SqlType, parse_type


class First(Enum):
    """What a function's first argument is, where it is not a value."""

    VALUE = "value"
    CONDITION = "condition"
    PART = "part"  # a datepart's bare name
    TYPE = "type"  # the text of a type, as the syntax gives it
    SIDE = "side"  # TRIM's side, as the syntax gives it


@dataclass(frozen=True, slots=True)
class Arguments:
    """A call as its builder sees it."""

    name: str
    word: str  # the first argument where it is a PART, TYPE or SIDE
    values: Sequence[Expression]  # the other arguments
    offsets: Sequence[int]  # where each of ``values`` begins
    offset: int  # where the call begins
    word_offset: int
    binary: bool

    def error(self, message: str, index: int | None = None) -> ExpressionError:
        """An error at one of the values, or at the whole call."""
        return ExpressionError(
            f"{self.name}: {message}", self.offset if index is None else self.offsets[index]
        )

    def text(self, index: int) -> Expression:
        """A value as text: as it is, or converted to varchar by default style."""
        value = self.values[index]
        try:
            return as_text(value)
        except ValueError as error:
            raise self.error(str(error), index) from None

    def converted(self, index: int, target: SqlType) -> Expression:
        """A value converted implicitly."""
        try:
            return coerce(self.values[index], target)
        except ValueError as error:
            raise self.error(str(error), index) from None

    def whole_number(self, index: int) -> Expression:
        """A value as an integer: any integer as it is, others converted to int."""
        type_ = self.values[index].type
        if type_ is not None and type_.family is Family.INTEGER:
            return self.values[index]
        return self.converted(index, INT)

    def number(self, index: int) -> Expression:
        """A value as a number: short integers as int, bit and text as float ("ABS", "ROUND", "SIGN")."""
        value = self.values[index]
        type_ = value.type
        if type_ is None:
            return self.converted(index, INT)
        if type_.name in ("tinyint", "smallint"):
            return Convert(value, INT)  # not coerce(), which leaves the narrower type to values that fit
        if type_.family in NUMERIC and type_.family is not Family.BIT:
            return value
        return self.converted(index, FLOAT)

    def moment(self, index: int, text_as: SqlType) -> Expression:
        """A value as a date or time; text becomes ``text_as``."""
        type_ = self.values[index].type
        if type_ is not None and type_.family in TEMPORAL:
            return self.values[index]
        if type_ is None or type_.family is Family.TEXT:
            return self.converted(index, text_as)
        raise self.error(f"needs a date or time here, not {type_}", index)


def as_text(value: Expression) -> Expression:
    """A value converted to text by default style, as an implicit conversion does it.

    Raises:
        ValueError: there is no implicit conversion.
    """
    type_ = value.type
    if type_ is not None and type_.family is Family.TEXT:
        return value
    if type_ is None:
        return Literal(None, text_type(is_unicode=False, length=1))
    return coerce(value, text_type(is_unicode=False, length=text_length(type_)))


def _type_of(expression: Expression) -> SqlType:
    if expression.type is None:
        raise ExpressionError("internal: an argument without a type")  # builders type all their arguments
    return expression.type


def _is_max(expression: Expression) -> bool:
    return _type_of(expression).length is None


# ------------------------------------------------------------------------------------------ NULL and choice


def common(arguments: Arguments, values: Sequence[Expression]) -> tuple[list[Expression], SqlType]:
    """Convert all values to their common type.

    Raises:
        ExpressionError: there is none, or all are NULL.
    """
    try:
        target = common_type(values)
        if target is None:
            raise ValueError("at least one of the results must be something other than NULL")
        return [coerce(v, target) for v in values], target
    except ValueError as error:
        raise arguments.error(str(error)) from None


def _coalesce(arguments: Arguments) -> Expression:
    values, type_ = common(arguments, arguments.values)
    return Coalesce(tuple(values), type_)


def _isnull(arguments: Arguments) -> Expression:
    first, second = arguments.values
    type_ = first.type or second.type
    if type_ is None:
        raise arguments.error("one of the arguments must be something other than NULL")
    return Coalesce((arguments.converted(0, type_), arguments.converted(1, type_)), type_)


def _nullif(arguments: Arguments) -> Expression:
    first, second = arguments.values
    if first.type is None:
        raise arguments.error("the first argument cannot be NULL itself", 0)
    try:
        return NullIf(first, comparison("=", first, second, binary=arguments.binary), first.type)
    except ValueError as error:
        raise arguments.error(str(error)) from None


def _iif(arguments: Arguments) -> Expression:
    condition, *results = arguments.values
    (yes, no), type_ = common(arguments, results)
    return Case(((condition, yes),), no, type_)


# ------------------------------------------------------------------------------------------ conversions


def _cast(arguments: Arguments) -> Expression:
    target = _cast_type(arguments)
    style = None
    if len(arguments.values) == 2:
        literal = arguments.values[1]
        if not isinstance(literal, Literal) or type(literal.value) is not int:
            raise arguments.error("the style must be a whole number written out", 1)
        style = literal.value
    value = arguments.values[0]
    if value.type is None:
        return Literal(None, target)
    if not can_convert(value.type, target, implicit=False):
        raise arguments.error(f"{value.type} cannot be converted to {target}", 0)
    if style is not None:
        _check_style(arguments, value.type, target, style)
    if keeps_values(value.type, target) and value.type.family is not Family.TEXT:
        return value if value.type == target else Convert(value, target)
    return Convert(value, target, style, null_on_error=arguments.name.startswith("TRY_"))


DATE_STYLES: Final = frozenset(
    (*range(15), 20, 21, 22, 23, 24, 25, *range(100, 115), 120, 121, 126, 127)
)  # fmt: skip


_ONLY_TIME_STYLES: Final = frozenset((8, 14, 24, 108, 114))
_ONLY_DATE_STYLES: Final = frozenset((*range(1, 8), 10, 11, 12, 23, *range(101, 108), 110, 111, 112))


def _check_style(arguments: Arguments, source: SqlType, target: SqlType, style: int) -> None:
    if source.family in TEMPORAL or target.family in TEMPORAL:
        known: Sequence[int] = sorted(DATE_STYLES)
        if source.family is Family.DATE and target.family is Family.TEXT:
            known = sorted(DATE_STYLES - _ONLY_TIME_STYLES)
        elif source.family is Family.TIME and target.family is Family.TEXT:
            known = sorted(DATE_STYLES - _ONLY_DATE_STYLES)
    elif source.family is Family.FLOAT:
        known = (0, 1, 2, 3)
    elif (
        source.family is Family.BINARY
        or target.family is Family.BINARY
        or source.name in ("money", "smallmoney")
    ):
        known = (0, 1, 2)
    else:
        return  # T-SQL ignores the style here
    if style not in known:
        raise arguments.error(f"style {style} is not supported; known are {', '.join(map(str, known))}", 1)


def _cast_type(arguments: Arguments) -> SqlType:
    text = arguments.word.strip()
    bare = text.lower()
    if bare in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
        text = f"{text}(30)"  # the length that CAST and CONVERT take where none is written
    elif bare.replace(" ", "").startswith("float("):
        digits = bare.replace(" ", "")[6:-1]
        if not digits.isdigit() or not 1 <= int(digits) <= 53:
            raise ExpressionError(f"{text!r}: a float has 1 to 53 bits", arguments.word_offset)
        text = "real" if int(digits) <= 24 else "float"
    try:
        return parse_type(text)
    except ValueError as error:
        raise ExpressionError(str(error), arguments.word_offset) from None


# ------------------------------------------------------------------------------------------ text


def _concat(arguments: Arguments) -> Expression:
    values = [arguments.text(i) for i in range(len(arguments.values))]
    lengths = [_type_of(v).length for v in values]
    known = [n for n in lengths if n is not None]
    total = sum(known) if len(known) == len(lengths) else None
    if arguments.name == "CONCAT_WS" and total is not None:
        total += (lengths[0] or 0) * max(len(values) - 3, 0)
    is_unicode = any(_type_of(v).is_unicode for v in values)
    return Call(arguments.name, tuple(values), text_type(is_unicode=is_unicode, length=total))


def _left_right(arguments: Arguments) -> Expression:
    text, count = arguments.text(0), arguments.whole_number(1)
    return Call(arguments.name, (text, count), _part_type(arguments, text, count, 1))


def _substring(arguments: Arguments) -> Expression:
    text = arguments.text(0)
    start, count = arguments.whole_number(1), arguments.whole_number(2)
    return Call("SUBSTRING", (text, start, count), _part_type(arguments, text, count, 2))


def _part_type(arguments: Arguments, text: Expression, count: Expression, index: int) -> SqlType:
    source = _type_of(text)
    length = source.length
    if isinstance(count, Literal) and isinstance(count.value, int):
        if count.value < 0:
            raise arguments.error("a length cannot be negative", index)
        if length is not None:
            length = min(length, max(count.value, 1))
    return text_type(is_unicode=source.is_unicode, length=length)


def _len(arguments: Arguments) -> Expression:
    text = arguments.text(0)
    return Call("LEN", (text,), BIGINT if _is_max(text) else INT)


def _charindex(arguments: Arguments) -> Expression:
    values = [arguments.text(0), arguments.text(1)]
    if len(arguments.values) == 3:
        values.append(arguments.whole_number(2))
    type_ = BIGINT if _is_max(values[1]) else INT
    return Call("CHARINDEX", tuple(values), type_, binary=arguments.binary)


def _replace(arguments: Arguments) -> Expression:
    values = tuple(arguments.text(i) for i in range(3))
    type_ = text_type(is_unicode=any(_type_of(v).is_unicode for v in values), length=None)
    return Call("REPLACE", values, type_, binary=arguments.binary)


def _same_text(arguments: Arguments) -> Expression:
    text = arguments.text(0)
    return Call(
        arguments.name, (text,), text_type(is_unicode=_type_of(text).is_unicode, length=_type_of(text).length)
    )


def _trim(arguments: Arguments) -> Expression:
    values = [arguments.text(i) for i in range(len(arguments.values))]
    side = {"LTRIM": "leading", "RTRIM": "trailing"}.get(arguments.name, arguments.word)
    source = _type_of(values[0])
    type_ = text_type(is_unicode=source.is_unicode, length=source.length)
    return Call("TRIM", tuple(values), type_, part=side, binary=arguments.binary)


# ------------------------------------------------------------------------------------------ numbers


def _round(arguments: Arguments) -> Expression:
    values = [arguments.number(0)]
    values += [arguments.whole_number(i) for i in range(1, len(arguments.values))]
    return Call("ROUND", tuple(values), _widened(_type_of(values[0])))


def _widened(type_: SqlType) -> SqlType:
    if type_.family is Family.FLOAT:
        return FLOAT
    return parse_type("money") if type_.name == "smallmoney" else type_


def _abs_sign(arguments: Arguments) -> Expression:
    value = arguments.number(0)
    type_ = _type_of(value)
    if type_.name == "decimal":
        type_ = decimal_type(MAX_PRECISION, type_.scale or 0)
    return Call(arguments.name, (value,), _widened(type_))


def _floor_ceiling(arguments: Arguments) -> Expression:
    value = arguments.number(0)
    type_ = _type_of(value)
    if type_.name == "decimal":
        type_ = decimal_type(type_.precision or 0, 0)
    return Call(arguments.name, (value,), _widened(type_))


# ------------------------------------------------------------------------------------------ dates

_PART_NAMES: Final = {
    "year": "yy yyyy", "quarter": "qq q", "month": "mm m", "dayofyear": "dy y", "day": "dd d",
    "week": "wk ww", "weekday": "dw w", "hour": "hh", "minute": "mi n", "second": "ss s",
    "millisecond": "ms", "microsecond": "mcs", "nanosecond": "ns", "tzoffset": "tz",
    "iso_week": "isowk isoww",
}  # fmt: skip
PARTS: Final = {alias: name for name, aliases in _PART_NAMES.items() for alias in (name, *aliases.split())}
_DATE_PARTS: Final = ("year", "quarter", "month", "dayofyear", "day", "week", "weekday", "iso_week")
_FINEST_PARTS: Final = ("microsecond", "nanosecond")


def _reject_part(arguments: Arguments, type_: SqlType) -> ExpressionError:
    return ExpressionError(
        f"{arguments.name} does not take the datepart {arguments.word} for {type_}", arguments.word_offset
    )


def _check_part(arguments: Arguments, type_: SqlType) -> None:
    """Refuse dateparts that values of the type do not have."""
    is_date_part = arguments.word in _DATE_PARTS
    if (type_.family is Family.DATE and not is_date_part) or (type_.family is Family.TIME and is_date_part):
        raise _reject_part(arguments, type_)


def _dateadd(arguments: Arguments) -> Expression:
    moment = arguments.moment(1, DATETIME)
    type_ = _type_of(moment)
    _check_part(arguments, type_)
    if arguments.word in ("tzoffset", "iso_week") or (
        arguments.word in _FINEST_PARTS and type_.name in ("datetime", "smalldatetime")
    ):
        raise _reject_part(arguments, type_)
    return Call("DATEADD", (arguments.whole_number(0), moment), type_, part=arguments.word)


def _datediff(arguments: Arguments) -> Expression:
    if arguments.word in ("tzoffset", "iso_week"):
        raise _reject_part(arguments, DATETIME2)
    start, end = arguments.moment(0, DATETIME2), arguments.moment(1, DATETIME2)
    type_ = BIGINT if arguments.name == "DATEDIFF_BIG" else INT
    return Call("DATEDIFF", (start, end), type_, part=arguments.word)


def _datepart(arguments: Arguments) -> Expression:
    moment = arguments.moment(0, DATETIME2)
    type_ = _type_of(moment)
    _check_part(arguments, type_)
    if arguments.word == "tzoffset" and type_.name not in ("datetimeoffset", "datetime2"):
        raise _reject_part(arguments, type_)
    return Call("DATEPART", (moment,), INT, part=arguments.word)


def _year_month_day(arguments: Arguments) -> Expression:
    moment = arguments.moment(0, DATETIME2)
    if _type_of(moment).family is Family.TIME:
        raise arguments.error("a time has no date in it", 0)
    return Call("DATEPART", (moment,), INT, part=arguments.name.lower())


def _eomonth(arguments: Arguments) -> Expression:
    values = [arguments.moment(0, DATETIME2)]
    if _type_of(values[0]).family is Family.TIME:
        raise arguments.error("a time has no month", 0)
    if len(arguments.values) == 2:
        values.append(arguments.whole_number(1))
    return Call("EOMONTH", tuple(values), DATE)


def _datefromparts(arguments: Arguments) -> Expression:
    return Call("DATEFROMPARTS", tuple(arguments.whole_number(i) for i in range(3)), DATE)


def _now(arguments: Arguments) -> Expression:
    return Call(arguments.name, (), DATETIME if arguments.name == "GETUTCDATE" else DATETIME2)


# ------------------------------------------------------------------------------------------ the table


@dataclass(frozen=True, slots=True)
class Function:
    """A function's arity (the first argument included), usage for messages, and builder."""

    minimum: int
    maximum: int | None
    usage: str
    build: Callable[[Arguments], Expression]
    first: First = First.VALUE


FUNCTIONS: Final[dict[str, Function]] = {
    "COALESCE": Function(2, None, "COALESCE(value, value, …)", _coalesce),
    "ISNULL": Function(2, 2, "ISNULL(value, replacement)", _isnull),
    "NULLIF": Function(2, 2, "NULLIF(value, value)", _nullif),
    "IIF": Function(3, 3, "IIF(condition, value, value)", _iif, First.CONDITION),
    "CAST": Function(2, 2, "CAST(value AS type)", _cast, First.TYPE),
    "TRY_CAST": Function(2, 2, "TRY_CAST(value AS type)", _cast, First.TYPE),
    "CONVERT": Function(2, 3, "CONVERT(type, value [, style])", _cast, First.TYPE),
    "TRY_CONVERT": Function(2, 3, "TRY_CONVERT(type, value [, style])", _cast, First.TYPE),
    "CONCAT": Function(2, 254, "CONCAT(value, value, …)", _concat),
    "CONCAT_WS": Function(3, 254, "CONCAT_WS(separator, value, value, …)", _concat),
    "LEFT": Function(2, 2, "LEFT(text, length)", _left_right),
    "RIGHT": Function(2, 2, "RIGHT(text, length)", _left_right),
    "SUBSTRING": Function(3, 3, "SUBSTRING(text, start, length)", _substring),
    "LEN": Function(1, 1, "LEN(text)", _len),
    "CHARINDEX": Function(2, 3, "CHARINDEX(searched, text [, start])", _charindex),
    "REPLACE": Function(3, 3, "REPLACE(text, searched, replacement)", _replace),
    "UPPER": Function(1, 1, "UPPER(text)", _same_text),
    "LOWER": Function(1, 1, "LOWER(text)", _same_text),
    "TRIM": Function(2, 3, "TRIM([characters FROM] text)", _trim, First.SIDE),
    "LTRIM": Function(1, 2, "LTRIM(text [, characters])", _trim),
    "RTRIM": Function(1, 2, "RTRIM(text [, characters])", _trim),
    "ROUND": Function(2, 3, "ROUND(number, digits [, truncate])", _round),
    "ABS": Function(1, 1, "ABS(number)", _abs_sign),
    "SIGN": Function(1, 1, "SIGN(number)", _abs_sign),
    "FLOOR": Function(1, 1, "FLOOR(number)", _floor_ceiling),
    "CEILING": Function(1, 1, "CEILING(number)", _floor_ceiling),
    "DATEADD": Function(3, 3, "DATEADD(datepart, number, date)", _dateadd, First.PART),
    "DATEDIFF": Function(3, 3, "DATEDIFF(datepart, start, end)", _datediff, First.PART),
    "DATEDIFF_BIG": Function(3, 3, "DATEDIFF_BIG(datepart, start, end)", _datediff, First.PART),
    "DATEPART": Function(2, 2, "DATEPART(datepart, date)", _datepart, First.PART),
    "YEAR": Function(1, 1, "YEAR(date)", _year_month_day),
    "MONTH": Function(1, 1, "MONTH(date)", _year_month_day),
    "DAY": Function(1, 1, "DAY(date)", _year_month_day),
    "EOMONTH": Function(1, 2, "EOMONTH(date [, months])", _eomonth),
    "DATEFROMPARTS": Function(3, 3, "DATEFROMPARTS(year, month, day)", _datefromparts),
    "GETUTCDATE": Function(0, 0, "GETUTCDATE()", _now),
    "SYSUTCDATETIME": Function(0, 0, "SYSUTCDATETIME()", _now),
}
INSTEAD: Final = {
    "GETDATE": "GETUTCDATE()", "CURRENT_TIMESTAMP": "GETUTCDATE()", "SYSDATETIME": "SYSUTCDATETIME()",
    "NOW": "GETUTCDATE()", "LENGTH": "LEN", "SUBSTR": "SUBSTRING", "IFNULL": "ISNULL", "NVL": "ISNULL",
    "INSTR": "CHARINDEX", "CEIL": "CEILING", "IF": "IIF", "TO_CHAR": "CONVERT", "DECODE": "CASE",
}  # fmt: skip
"""What to write instead of functions of other dialects, and of those that depend on the server's zone."""
