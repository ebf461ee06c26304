"""T-SQL's rules for the types of expressions: precedence, common types, arithmetic, conversions.

Sources: "Data type precedence", "Precision, scale, and length" and "Data type conversion" in Microsoft's
Transact-SQL reference.  Where this is stricter than T-SQL, on purpose: no implicit or explicit conversion
between numbers and dates, none between binary and anything but text, and none to xml.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from xml_extractor.contract.expression import Comparison, Convert, Expression, Literal
from xml_extractor.contract.types import INTEGER_RANGES, Family, SqlType, parse_type

BIT: Final = parse_type("bit")
SMALLINT: Final = parse_type("smallint")
INT: Final = parse_type("int")
BIGINT: Final = parse_type("bigint")
FLOAT: Final = parse_type("float")
DATE: Final = parse_type("date")
DATETIME: Final = parse_type("datetime")
DATETIME2: Final = parse_type("datetime2(7)")
NVARCHAR_MAX: Final = parse_type("nvarchar(max)")

MAX_PRECISION: Final = 38
MIN_REDUCED_SCALE: Final = 6  # scale that * and / keep when precision has to be cut to 38
LONGEST_VARCHAR: Final = 8000
LONGEST_NVARCHAR: Final = 4000

NUMERIC: Final = frozenset((Family.BIT, Family.INTEGER, Family.DECIMAL, Family.FLOAT))
EXACT_NUMERIC: Final = frozenset((Family.BIT, Family.INTEGER, Family.DECIMAL))
TEMPORAL: Final = frozenset((Family.DATE, Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET))
_PRECEDENCE: Final = {
    name: rank
    for rank, name in enumerate((
        "xml", "datetimeoffset", "datetime2", "datetime", "smalldatetime", "date", "time", "float", "real",
        "decimal", "money", "smallmoney", "bigint", "int", "smallint", "tinyint", "bit", "uniqueidentifier",
        "nvarchar", "nchar", "varchar", "char", "varbinary", "binary",
    ))
}  # fmt: skip
_INTEGER_DIGITS: Final = {"tinyint": 3, "smallint": 5, "int": 10, "bigint": 19}
# Longest default text of a type that is not text, as an implicit conversion to varchar needs it.
_TEXT_LENGTHS: Final = {
    "bit": 1, "tinyint": 3, "smallint": 6, "int": 11, "bigint": 20, "money": 21, "smallmoney": 12,
    "float": 23, "real": 14, "date": 10, "time": 16, "datetime": 19, "smalldatetime": 19, "datetime2": 27,
    "datetimeoffset": 34, "uniqueidentifier": 36,
}  # fmt: skip
_CONVERTIBLE: Final = {
    Family.BIT: NUMERIC | {Family.TEXT},
    Family.INTEGER: NUMERIC | {Family.TEXT},
    Family.DECIMAL: NUMERIC | {Family.TEXT},
    Family.FLOAT: NUMERIC | {Family.TEXT},
    Family.DATE: frozenset((Family.DATE, Family.DATETIME, Family.DATETIMEOFFSET, Family.TEXT)),
    Family.TIME: frozenset((Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET, Family.TEXT)),
    Family.DATETIME: TEMPORAL | {Family.TEXT},
    Family.DATETIMEOFFSET: TEMPORAL | {Family.TEXT},
    Family.TEXT: frozenset(Family) - {Family.XML},
    Family.GUID: frozenset((Family.GUID, Family.TEXT)),
    Family.BINARY: frozenset((Family.BINARY, Family.TEXT)),
    Family.XML: frozenset((Family.XML, Family.TEXT)),
}
_ONLY_EXPLICIT: Final = frozenset((
    (Family.TEXT, Family.BINARY), (Family.BINARY, Family.TEXT), (Family.XML, Family.TEXT),
))  # fmt: skip


def can_convert(source: SqlType, target: SqlType, *, implicit: bool) -> bool:
    """Whether a value of ``source`` may be converted to ``target`` at all."""
    if implicit and (source.family, target.family) in _ONLY_EXPLICIT:
        return False
    return target.family in _CONVERTIBLE[source.family]


def keeps_values(source: SqlType, target: SqlType) -> bool:
    """Whether every canonical value of ``source`` is, as it stands, the same value of ``target``."""
    if source == target:
        return True
    if source.family is not target.family:
        return False
    if source.family is Family.TEXT:
        if target.is_fixed_length or (source.is_unicode and not target.is_unicode):
            return False
        return target.length is None or (source.length is not None and source.length <= target.length)
    if source.family is Family.INTEGER:
        low, high = INTEGER_RANGES[source.name]
        target_low, target_high = INTEGER_RANGES[target.name]
        return target_low <= low and high <= target_high
    if source.family is Family.DECIMAL:
        return (
            target.name not in ("money", "smallmoney")
            and source.scale == target.scale
            and (source.precision or 0) <= (target.precision or 0)
        )
    if source.family is Family.BINARY:
        return not target.is_fixed_length and (
            target.length is None or (source.length is not None and source.length <= target.length)
        )
    return False


def decimal_type(precision: int, scale: int) -> SqlType:
    """``decimal(precision, scale)``."""
    return SqlType("decimal", Family.DECIMAL, precision=precision, scale=scale)


def text_type(*, is_unicode: bool, length: int | None) -> SqlType:
    """varchar or nvarchar of a length; ``None`` or more than the type can have = max."""
    if length is not None and length > (LONGEST_NVARCHAR if is_unicode else LONGEST_VARCHAR):
        length = None
    return SqlType(
        "nvarchar" if is_unicode else "varchar",
        Family.TEXT,
        length=None if length is None else max(length, 1),
    )


def text_length(type_: SqlType) -> int | None:
    """How long the default text of a value of the type can be; ``None`` = unbounded."""
    if type_.family in (Family.TEXT, Family.XML, Family.BINARY):
        return type_.length
    if type_.name == "decimal":
        return (type_.precision or 0) + 3  # sign, point, and a zero before the point
    return _TEXT_LENGTHS[type_.name]


def shape(expression: Expression) -> tuple[int, int]:
    """Precision and scale with which an exact number enters decimal arithmetic.

    An integer constant counts its own digits, as in T-SQL: ``1.0 / 3`` divides by a decimal(1,0).
    """
    type_ = expression.type
    assert type_ is not None  # callers give untyped NULLs a type first
    if type_.family is Family.BIT:
        return 1, 0
    if type_.family is Family.INTEGER:
        if isinstance(expression, Literal) and isinstance(expression.value, int):
            return len(str(abs(expression.value))), 0
        return _INTEGER_DIGITS[type_.name], 0
    return type_.precision or 0, type_.scale or 0


def highest(types: Iterable[SqlType]) -> SqlType:
    """The type that comes first in T-SQL's data type precedence."""
    return min(types, key=lambda t: _PRECEDENCE[t.name])


def common_type(expressions: Sequence[Expression]) -> SqlType | None:
    """The type to which CASE, COALESCE, IN or a comparison converts all these; ``None`` if all are NULL.

    Raises:
        ValueError: they cannot be converted to one type; the text names the two types that clash.
    """
    typed = [e for e in expressions if e.type is not None]
    types = [e.type for e in typed if e.type is not None]
    if not types:
        return None
    top = highest(types)
    for type_ in types:
        if not can_convert(type_, top, implicit=True):
            raise ValueError(f"{type_} and {top} cannot be combined; convert one of them with CAST")
    if top.family is Family.TEXT:
        return _common_text(types)
    if top.name == "decimal":
        shapes = [shape(e) for e in typed if e.type is not None and e.type.family in EXACT_NUMERIC]
        scale = max(s for _, s in shapes)
        integral = max(p - s for p, s in shapes)
        if integral + scale > MAX_PRECISION:
            scale = max(MAX_PRECISION - integral, 0)
        return decimal_type(min(integral + scale, MAX_PRECISION), scale)
    if top.name in ("datetime2", "datetimeoffset", "time"):
        digits = max(t.scale or 0 for t in types if t.family in TEMPORAL)
        return SqlType(top.name, top.family, scale=digits)
    if top.family is Family.BINARY:
        lengths = [t.length for t in types]
        if all(t == top for t in types):
            return top
        known = [n for n in lengths if n is not None]
        return SqlType("varbinary", Family.BINARY, length=max(known) if len(known) == len(lengths) else None)
    return top


def _common_text(types: Sequence[SqlType]) -> SqlType:
    first = types[0]
    if all(t == first for t in types):
        return first
    lengths = [t.length for t in types]
    known = [n for n in lengths if n is not None]
    return text_type(
        is_unicode=any(t.is_unicode for t in types),
        length=max(known) if len(known) == len(lengths) else None,
    )


def decimal_result(operator: str, left: tuple[int, int], right: tuple[int, int]) -> SqlType:
    """Precision and scale of ``+ - * / %`` on decimals, by the table in "Precision, scale, and length"."""
    (p1, s1), (p2, s2) = left, right
    if operator in "+-":
        scale = max(s1, s2)
        integral = max(p1 - s1, p2 - s2)
        precision = integral + scale + 1
        if precision > MAX_PRECISION:
            # Room for the integral part comes first; what is left is scale.
            precision, scale = MAX_PRECISION, min(scale, max(MAX_PRECISION - integral, 0))
        return decimal_type(precision, scale)
    if operator == "%":
        scale = max(s1, s2)
        # It cannot exceed 38, since neither part exceeds that of one operand; hold to it all the same.
        return decimal_type(min(min(p1 - s1, p2 - s2) + scale, MAX_PRECISION) or 1, scale)
    if operator == "*":
        precision, scale = p1 + p2 + 1, s1 + s2
    else:
        scale = max(MIN_REDUCED_SCALE, s1 + p2 + 1)
        precision = p1 - s1 + s2 + scale
    if precision > MAX_PRECISION:
        integral = precision - scale
        scale = min(scale, max(MAX_PRECISION - integral, min(scale, MIN_REDUCED_SCALE)))
        precision = MAX_PRECISION
    return decimal_type(precision, scale)


def arithmetic_type(operator: str, left: Expression, right: Expression) -> SqlType:
    """The type of ``left operator right``; both are typed, at least one is numeric.

    Raises:
        ValueError: the operator does not take these types.
    """
    types = [e.type for e in (left, right) if e.type is not None]
    for type_ in types:
        if type_.family in TEMPORAL:
            raise ValueError(f"{operator} does not take {type_}; use DATEADD or DATEDIFF")
        if type_.family not in NUMERIC and type_.family is not Family.TEXT:
            raise ValueError(f"{operator} does not take {type_}")
    numeric = [t for t in types if t.family in NUMERIC]
    if all(t.family is Family.BIT for t in types):
        raise ValueError(f"{operator} does not take two bits; CAST one of them AS int")
    if not numeric:
        raise ValueError(f"{operator} does not take two strings; CAST them to a number")
    top = highest(numeric)
    if top.family is Family.FLOAT and operator == "%":
        raise ValueError(f"% does not take {top}; CAST it to decimal")
    if top.family is Family.BIT:  # a bit with a string
        raise ValueError(f"{operator} does not take a bit and a string")
    if top.name == "decimal":
        shapes = [
            shape(e) if e.type is not None and e.type.family in NUMERIC else None for e in (left, right)
        ]
        known = next(s for s in shapes if s is not None)
        first, second = (s if s is not None else known for s in shapes)  # a string takes the other's type
        return decimal_result(operator, first, second)
    return top


def coerce(expression: Expression, target: SqlType) -> Expression:
    """The expression as a value of ``target``, by an implicit conversion where one is needed.

    Raises:
        ValueError: T-SQL has no such implicit conversion, or this loader does not.
    """
    source = expression.type
    if source is None:
        return Literal(None, target)
    if keeps_values(source, target):
        return expression
    if not can_convert(source, target, implicit=True):
        raise ValueError(f"{source} is not converted to {target} by itself; use CAST")
    return Convert(expression, target)


def comparison(operator: str, left: Expression, right: Expression, *, binary: bool) -> Comparison:
    """``left operator right`` with the implicit conversions it needs.

    Exact numbers are compared as they are, whatever their types: no conversion could change the answer.

    Raises:
        ValueError: the two cannot be compared.
    """
    types = [e.type for e in (left, right) if e.type is not None]
    for type_ in types:
        if type_.family is Family.XML:
            raise ValueError("xml cannot be compared; CAST it AS nvarchar(max)")
    families = {t.family for t in types}
    if not (families <= EXACT_NUMERIC or families == {Family.TEXT}):
        target = common_type((left, right))
        if target is not None:
            left, right = coerce(left, target), coerce(right, target)
    if left.type is None:
        left = Literal(None, right.type or INT)
    if right.type is None:
        right = Literal(None, left.type)
    return Comparison(operator, left, right, binary)
