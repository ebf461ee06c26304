"""Turns the typed nodes of an expression into Python closures, once per worker.

Each closure is made for the types at hand and takes a :class:`Frame`; nothing is parsed, looked up by name
or built per row.  NULL is ``None``; a condition gives ``True``, ``False`` or ``None`` (unknown).  What an
expression computes from constants alone is computed here, once; where that fails, it fails for each row
that reaches it, as in T-SQL.  :mod:`~xml_extractor.mapping.tsql_text` lists what of a collation is not done.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from xml_extractor.contract.expression import (
    And,
    Arithmetic,
    Call,
    Case,
    Coalesce,
    ColumnRef,
    Comparison,
    Concatenate,
    Convert,
    Expression,
    In,
    IsNull,
    Like,
    Literal,
    Negate,
    Not,
    NullIf,
    Or,
    PathRef,
    walk,
)
from xml_extractor.contract.plan import Conversion
from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.mapping import tsql_temporal as temporal
from xml_extractor.mapping.conversion_error import ConversionError
from xml_extractor.mapping.evaluation_error import EvaluationError
from xml_extractor.mapping.tsql_arithmetic import arithmetic
from xml_extractor.mapping.tsql_conversion import (
    DECIMALS,
    conversion,
    integer_checker,
    quantizer,
)
from xml_extractor.mapping.tsql_functions import function
from xml_extractor.mapping.tsql_text import comparison_key, like_matcher, without_trailing_blanks

__all__ = [
    "Environment",
    "EvaluationError",
    "Frame",
    "compile_condition",
    "compile_expression",
]


class Frame:
    """What an expression sees of the row that is being made.

    ``row`` holds the row's canonical values so far, by column index; ``captured`` the raw texts of the
    row's scope, by capture index; ``ancestor_rows`` the rows of ancestor tables, by index in
    ``Plan.tables``.  The interpreter may keep one frame per scope and change its members in place.
    """

    __slots__ = ("ancestor_rows", "captured", "row")

    def __init__(
        self,
        row: list[Value] | None = None,
        captured: Sequence[str | None] = (),
        ancestor_rows: Mapping[int, Sequence[Value]] | Sequence[Sequence[Value]] = (),
    ) -> None:
        self.row: list[Value] = [] if row is None else row
        self.captured = captured
        self.ancestor_rows = ancestor_rows


@dataclass(frozen=True, slots=True)
class Environment:
    """What expressions need beside the frame.

    ``load_started_at`` is what GETUTCDATE() and SYSUTCDATETIME() give (aware, or naive in UTC);
    ``converter`` turns a conversion into the function from raw text to canonical value, which raises
    :class:`ConversionError`; ``code_page`` is the codec of char and varchar.
    """

    load_started_at: datetime
    converter: Callable[[Conversion], Callable[[str], Value]]
    code_page: str = "cp1252"


Evaluate = Callable[[Frame], Any]
"""A compiled node."""


def compile_expression(expression: Expression, environment: Environment) -> Callable[[Frame], Value]:
    """Compile an expression that gives a value.

    The closure raises :class:`EvaluationError`.  It is as thread-safe as the frames it is given.
    """
    return _compile(expression, environment)


def compile_condition(expression: Expression, environment: Environment) -> Callable[[Frame], bool | None]:
    """Compile a condition; ``None`` is unknown.  The closure raises :class:`EvaluationError`."""
    return _compile(expression, environment)


class _Constant:
    """A closure that gives the same value for every frame, recognisable as such."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value

    def __call__(self, frame: Frame) -> Any:
        return self.value


def _compile(node: Expression, environment: Environment) -> Evaluate:
    if isinstance(node, Literal):
        return _Constant(node.value)
    evaluate = _COMPILERS[type(node)](node, environment)
    if not isinstance(evaluate, _Constant) and not any(
        isinstance(n, (ColumnRef, PathRef)) for n in walk(node)
    ):
        try:
            return _Constant(evaluate(Frame()))
        except EvaluationError:
            return evaluate  # an error only for the rows that reach it
    return evaluate


# ------------------------------------------------------------------------------------------ references


def _column(node: ColumnRef, environment: Environment) -> Evaluate:
    column, table = node.column, node.table
    if table is None:
        return lambda frame: frame.row[column]
    return lambda frame: frame.ancestor_rows[table][column]


def _path(node: PathRef, environment: Environment) -> Evaluate:
    capture = node.capture
    if node.type.name == "nvarchar" and node.type.length is None:
        return lambda frame: frame.captured[capture]
    convert = environment.converter(Conversion(type=node.type, code_page=environment.code_page))
    blank_is_null = node.type.family is not Family.TEXT

    def evaluate(frame: Frame) -> Value:
        text = frame.captured[capture]
        if text is None or (blank_is_null and not text.strip()):
            return None
        try:
            return convert(text)
        except ConversionError as error:
            raise EvaluationError(error.code, error.message) from None

    return evaluate


# ------------------------------------------------------------------------------------------ values


def _convert(node: Convert, environment: Environment) -> Evaluate:
    operand = _compile(node.operand, environment)
    source = node.operand.type
    if source is None:
        return _Constant(None)
    change = conversion(
        source, node.type, style=node.style, assignment=node.assignment, code_page=environment.code_page
    )
    if node.null_on_error:

        def try_convert(frame: Frame) -> Value:
            value = operand(frame)
            if value is None:
                return None
            try:
                result: Value = change(value)
            except EvaluationError:
                return None
            return result

        return try_convert

    def convert(frame: Frame) -> Value:
        value = operand(frame)
        return None if value is None else change(value)

    return convert


def _binary(left: Evaluate, right: Evaluate, operate: Callable[[Any, Any], Any]) -> Evaluate:
    """``operate`` on two operands, NULL if either is; a constant on the right is taken out of the loop."""
    if isinstance(right, _Constant):
        constant = right.value
        if constant is None:
            return _Constant(None)

        def with_constant(frame: Frame) -> Any:
            value = left(frame)
            return None if value is None else operate(value, constant)

        return with_constant

    def evaluate(frame: Frame) -> Any:
        first = left(frame)
        if first is None:
            return None
        second = right(frame)
        return None if second is None else operate(first, second)

    return evaluate


def _arithmetic(node: Arithmetic, environment: Environment) -> Evaluate:
    left, right = _compile(node.left, environment), _compile(node.right, environment)
    return _binary(left, right, arithmetic(node))


def _negate(node: Negate, environment: Environment) -> Evaluate:
    operand = _compile(node.operand, environment)
    family = node.type.family
    if family is Family.INTEGER:
        check = integer_checker(node.type)
        return _unary(operand, lambda value: check(-value))
    if family is Family.DECIMAL:
        fit = quantizer(node.type)
        return _unary(operand, lambda value: fit(DECIMALS.minus(value)))
    return _unary(operand, lambda value: -value + 0.0)  # no -0


def _unary(operand: Evaluate, change: Callable[[Any], Any]) -> Evaluate:
    def evaluate(frame: Frame) -> Any:
        value = operand(frame)
        return None if value is None else change(value)

    return evaluate


def _concatenate(node: Concatenate, environment: Environment) -> Evaluate:
    operands = tuple(_compile(o, environment) for o in node.operands)
    if len(operands) == 2:
        return _binary(operands[0], operands[1], operator.add)

    def evaluate(frame: Frame) -> str | None:
        text = ""
        for operand in operands:
            value = operand(frame)
            if value is None:
                return None
            text += value
        return text

    return evaluate


def _case(node: Case, environment: Environment) -> Evaluate:
    branches = tuple((_compile(c, environment), _compile(r, environment)) for c, r in node.branches)
    otherwise = _compile(node.otherwise, environment)
    if len(branches) == 1:
        ((condition, result),) = branches
        return lambda frame: result(frame) if condition(frame) else otherwise(frame)

    def evaluate(frame: Frame) -> Any:
        for condition, result in branches:
            if condition(frame):
                return result(frame)
        return otherwise(frame)

    return evaluate


def _coalesce(node: Coalesce, environment: Environment) -> Evaluate:
    operands = tuple(_compile(o, environment) for o in node.operands)
    if len(operands) == 2:
        first, second = operands

        def either(frame: Frame) -> Any:
            value = first(frame)
            return second(frame) if value is None else value

        return either

    def evaluate(frame: Frame) -> Any:
        for operand in operands:
            value = operand(frame)
            if value is not None:
                return value
        return None

    return evaluate


def _null_if(node: NullIf, environment: Environment) -> Evaluate:
    operand, equal = _compile(node.operand, environment), _compile(node.equal, environment)
    return lambda frame: None if equal(frame) else operand(frame)


def _call(node: Call, environment: Environment) -> Evaluate:
    if node.function in ("GETUTCDATE", "SYSUTCDATETIME"):
        return _Constant(_now(node.type, environment.load_started_at))
    arguments = tuple(_compile(a, environment) for a in node.arguments)
    operate = function(node)
    if node.function in ("CONCAT", "CONCAT_WS"):
        return lambda frame: operate(*[argument(frame) for argument in arguments])
    if len(arguments) == 1:
        return _unary(arguments[0], operate)
    if len(arguments) == 2:
        return _binary(arguments[0], arguments[1], operate)

    def evaluate(frame: Frame) -> Any:
        values = []
        for argument in arguments:
            value = argument(frame)
            if value is None:
                return None
            values.append(value)
        return operate(*values)

    return evaluate


def _now(type_: SqlType, moment: datetime) -> str:
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    text = moment.isoformat(sep=" ", timespec="microseconds")
    return temporal.datetime_writer(type_)(temporal.datetime_ticks(text))


# ------------------------------------------------------------------------------------------ conditions

_OPERATORS: Final[dict[str, Callable[[Any, Any], bool]]] = {
    "=": operator.eq, "<>": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


def _comparison_key(
    types: Sequence[SqlType | None], *, binary: bool, ordered: bool
) -> Callable[[Any], Any] | None:
    """The function whose results compare as the values do; ``None`` where the values do so themselves.

    Canonical dates and times of one type do: they have fixed widths, the largest unit first.
    """
    known = [t for t in types if t is not None]
    family = known[0].family if known else None
    if family is Family.TEXT:
        if not binary:
            return comparison_key
        # A binary collation compares exactly; only the padding of char(n) is never part of a value.
        return without_trailing_blanks if any(t.is_fixed_length for t in known) else None
    if family is Family.BINARY:
        return lambda value: value.rstrip(b"\0")
    if family is Family.DATETIMEOFFSET:
        return temporal.utc_ticks
    if family is Family.GUID and ordered:
        return _guid_key
    return None


def _guid_key(value: str) -> str:
    """SQL Server orders uniqueidentifiers by their groups from the last to the first."""
    first, second, third, fourth, fifth = value.split("-")
    return f"{fifth}{fourth}{_swapped(third)}{_swapped(second)}{_swapped(first)}"


def _swapped(group: str) -> str:
    """The bytes of one of the first three groups as they are stored, the lowest first."""
    return bytes.fromhex(group)[::-1].hex()


def _comparison(node: Comparison, environment: Environment) -> Evaluate:
    left, right = _compile(node.left, environment), _compile(node.right, environment)
    compare = _OPERATORS[node.operator]
    key = _comparison_key(
        (node.left.type, node.right.type), binary=node.binary, ordered=node.operator not in ("=", "<>")
    )
    if key is None:
        return _binary(left, right, compare)
    if isinstance(right, _Constant) and right.value is not None:
        constant = key(right.value)

        def with_constant(frame: Frame) -> bool | None:
            value = left(frame)
            return None if value is None else compare(key(value), constant)

        return with_constant
    return _binary(left, right, lambda a, b: compare(key(a), key(b)))


def _in(node: In, environment: Environment) -> Evaluate:
    operand = _compile(node.operand, environment)
    options = tuple(_compile(o, environment) for o in node.options)
    key = _comparison_key(
        (node.operand.type, *(o.type for o in node.options)), binary=node.binary, ordered=False
    ) or (lambda value: value)
    constants = [o for o in options if isinstance(o, _Constant)]
    if len(constants) == len(options):
        values = frozenset(key(o.value) for o in constants if o.value is not None)
        # With a NULL in the list, what is not found is unknown, not false.
        missing = None if any(o.value is None for o in constants) else False

        def among_constants(frame: Frame) -> bool | None:
            value = operand(frame)
            if value is None:
                return None
            return True if key(value) in values else missing

        return among_constants

    def evaluate(frame: Frame) -> bool | None:
        value = operand(frame)
        if value is None:
            return None
        wanted = key(value)
        result: bool | None = False
        for option in options:
            other = option(frame)
            if other is None:
                result = None
            elif key(other) == wanted:
                return True
        return result

    return evaluate


def _like(node: Like, environment: Environment) -> Evaluate:
    operand, pattern = _compile(node.operand, environment), _compile(node.pattern, environment)
    escape, binary = node.escape, node.binary
    types = (node.operand.type, node.pattern.type)
    blanks = not any(t is not None and t.is_unicode for t in types)
    if isinstance(pattern, _Constant):
        if pattern.value is None:
            return _Constant(None)
        matches = like_matcher(pattern.value, escape, binary=binary, ignore_trailing_blanks=blanks)
        return _unary(operand, matches)
    return _binary(
        operand,
        pattern,
        lambda text, wanted: like_matcher(wanted, escape, binary=binary, ignore_trailing_blanks=blanks)(text),
    )


def _is_null(node: IsNull, environment: Environment) -> Evaluate:
    operand = _compile(node.operand, environment)
    if node.negated:
        return lambda frame: operand(frame) is not None
    return lambda frame: operand(frame) is None


def _not(node: Not, environment: Environment) -> Evaluate:
    operand = _compile(node.operand, environment)
    return _unary(operand, operator.not_)


def _and(node: And, environment: Environment) -> Evaluate:
    operands = tuple(_compile(o, environment) for o in node.operands)

    def evaluate(frame: Frame) -> bool | None:
        result: bool | None = True
        for operand in operands:
            value = operand(frame)
            if value is False:
                return False
            if value is None:
                result = None
        return result

    return evaluate


def _or(node: Or, environment: Environment) -> Evaluate:
    operands = tuple(_compile(o, environment) for o in node.operands)

    def evaluate(frame: Frame) -> bool | None:
        result: bool | None = False
        for operand in operands:
            value = operand(frame)
            if value is True:
                return True
            if value is None:
                result = None
        return result

    return evaluate


_COMPILERS: Final[dict[type[Expression], Callable[[Any, Environment], Evaluate]]] = {
    ColumnRef: _column,
    PathRef: _path,
    Convert: _convert,
    Arithmetic: _arithmetic,
    Negate: _negate,
    Concatenate: _concatenate,
    Case: _case,
    Coalesce: _coalesce,
    NullIf: _null_if,
    Call: _call,
    Comparison: _comparison,
    In: _in,
    Like: _like,
    IsNull: _is_null,
    Not: _not,
    And: _and,
    Or: _or,
}
