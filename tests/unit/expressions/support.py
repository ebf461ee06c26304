"""A row to evaluate expressions on, and the shortest way from text to value."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Mapping
from contextlib import suppress
from decimal import Decimal
from typing import Any

from xml_extractor.contract.expression import ColumnRef, Expression
from xml_extractor.contract.expression_parser import parse_condition, parse_expression
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping.conversion import converter
from xml_extractor.mapping.expression_runtime import (
    Environment,
    Frame,
    compile_condition,
    compile_expression,
)
from xml_extractor.mapping.interpreter_choice import why_not_native

STARTED_AT = datetime.datetime(2024, 5, 31, 10, 20, 30, 123456, tzinfo=datetime.UTC)
ENVIRONMENT = Environment(STARTED_AT, converter)

ROW: dict[str, tuple[str, Value]] = {
    "five": ("int", 5),
    "minus": ("int", -7),
    "no_int": ("int", None),
    "tiny": ("tinyint", 200),
    "small": ("smallint", 30000),
    "big": ("bigint", 9_000_000_000),
    "yes": ("bit", True),
    "no": ("bit", False),
    "no_bit": ("bit", None),
    "price": ("decimal(9,2)", Decimal("19.95")),
    "no_decimal": ("decimal(12,2)", None),
    "wide": ("decimal(38,10)", Decimal("1.6757400000")),
    "cash": ("money", Decimal("100.0000")),
    "change": ("smallmoney", Decimal("2.5000")),
    "real_one": ("real", 0.5),
    "ratio": ("float", 2.5),
    "name": ("varchar(20)", "Smith  "),
    "title": ("nvarchar(20)", "Smith  "),
    "code": ("char(5)", "AB   "),
    "digits": ("varchar(10)", " 42 "),
    "blank": ("varchar(10)", ""),
    "no_text": ("varchar(10)", None),
    "unicode": ("nvarchar(30)", "Łódź Ünïcödé"),
    "astral": ("nvarchar(30)", "a😀b"),
    "born": ("date", "2000-02-29"),
    "no_date": ("date", None),
    "at": ("time(3)", "13:45:10.500"),
    "moment": ("datetime2(7)", "2007-01-01 13:10:10.1111111"),
    "stamp": ("datetime", "2007-05-10 10:20:30.997"),
    "rough": ("smalldatetime", "2007-05-10 10:20:00"),
    "zoned": ("datetimeoffset(2)", "2024-01-01 00:30:00.25+02:00"),
    "guid": ("uniqueidentifier", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
    "bytes": ("varbinary(10)", b"\x01\x02\x00"),
}
NAMES = list(ROW)
CAPTURED: dict[str, str | None] = {
    "@role": "PRIMARY",
    "@income": "1234.50",
    "@absent": None,
    "@blank": "  ",
    "@count": "12",
    "@when": "2024-03-10",
    "Name": "  Ann ",
}
PATHS = list(CAPTURED)
PARENT_ROW: tuple[Value, ...] = (77, "parent")


class Scope:
    """:data:`ROW`, :data:`CAPTURED`, and ``id`` and ``label`` of the ancestor ``parent``, table 3."""

    def __init__(self, *, binary_collation: bool = False) -> None:
        self.binary_collation = binary_collation

    def resolve_column(self, table: str | None, column: str) -> ColumnRef:
        if table == "parent" and column in ("id", "label"):
            index = ("id", "label").index(column)
            return ColumnRef(3, index, parse_type(("int", "varchar(10)")[index]), False)
        if table is not None or column not in ROW:
            raise LookupError(f"there is no column {column}")
        return ColumnRef(None, NAMES.index(column), parse_type(ROW[column][0]), True)

    def resolve_path(self, text: str) -> int:
        if text not in CAPTURED:
            raise ValueError("that path cannot be read")
        return PATHS.index(text)


def frame(changes: Mapping[str, Value] | None = None) -> Frame:
    values = {name: value for name, (_, value) in ROW.items()} | dict(changes or {})
    return Frame([values[name] for name in NAMES], [CAPTURED[p] for p in PATHS], {3: PARENT_ROW})


def parse(text: str, *, binary: bool = False) -> Expression:
    return parse_expression(text, Scope(binary_collation=binary))


def value_of(text: str, changes: Mapping[str, Value] | None = None, *, binary: bool = False) -> Any:
    expression = parse(text, binary=binary)
    return both_ways(expression, compile_expression(expression, ENVIRONMENT), frame(changes))


def truth_of(text: str, changes: Mapping[str, Value] | None = None, *, binary: bool = False) -> bool | None:
    condition = parse_condition(text, Scope(binary_collation=binary))
    return both_ways(condition, compile_condition(condition, ENVIRONMENT), frame(changes))


def both_ways(expression: Expression, evaluate: Callable[[Frame], Any], at: Frame) -> Any:
    """Evaluate by the closure, and hold it against the native nodes where these have an answer."""
    answer: Any = LookupError
    if why_not_native() is None:
        from xml_extractor.mapping._native import NativeExpression

        with suppress(LookupError):
            answer = NativeExpression(expression, ENVIRONMENT).evaluate(at)
    if answer is LookupError:
        return evaluate(at)
    value = evaluate(at)  # must not raise: what is wrong is for the closure to say
    assert (type(value), repr(value)) == (type(answer), repr(answer)), "(closure, native)"
    return value
