"""Expressions natively: where there is an answer it is the closure's, whatever the values."""

from __future__ import annotations

import datetime
from decimal import Context, Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.interpreters import needs_native
from tests.unit.expressions import support
from tests.unit.expressions.cases import BINARY_CONDITIONS, CONDITIONS, EVALUATION_ERRORS, VALUES
from xml_extractor.contract.expression import Expression, ExpressionError
from xml_extractor.contract.expression_parser import parse_condition, parse_expression
from xml_extractor.mapping.expression_runtime import EvaluationError, Frame, compile_expression

pytestmark = needs_native

MORE = [
    "price * five / wide", "ROUND(wide * price, 3)", "CAST(wide AS decimal(12,2)) + change", "-price - cash",
    "price / cash", "wide / price", "ROUND(price, 1)", "ROUND(price, 5)", "CAST(price AS int) % five",
    "big * small - five", "CAST(no_decimal AS tinyint)", "DATEADD(month, five, born)",
    "DATEADD(year, minus, moment)", "DATEADD(day, big, born)", "DATEDIFF(day, born, moment)",
    "DATEDIFF(quarter, moment, born)", "YEAR(born)", "CAST(moment AS date)", "CAST(born AS datetime2(3))",
    "LEFT(unicode, five)", "RIGHT(unicode, five)", "SUBSTRING(unicode, minus, small)",
    "SUBSTRING(astral, 2, five)",
    "LEN(unicode) + LEN(name)", "UPPER(unicode)", "LOWER(name)", "TRIM(title)", "LTRIM(digits)",
    "RTRIM(code)",
    "REPLACE(name, 'T', title)", "REPLACE(unicode, blank, 'x')", "CONCAT(name, five, no_text, price, title)",
    "name + title", "CAST(name AS char(9))", "CAST(unicode AS nvarchar(3))", "CAST(unicode AS nchar(31))",
    "TRY_CAST(digits AS tinyint)", "TRY_CAST(name AS int)", "CAST(digits AS bigint)",
    "TRY_CAST(name AS date)",
    "path('@income', 'decimal(12,2)') * 2", "path('@count', 'int') / 5", "path('@when', 'date')",
    "COALESCE(no_text, name, 'x')", "NULLIF(name, title)", "ISNULL(no_decimal, price)",
    "CASE WHEN five > minus THEN name WHEN yes = 1 THEN title END", "IIF(name LIKE '%m_th%', 1, 0)",
]  # fmt: skip
MORE_CONDITIONS = [
    "name = title", "name < title", "code >= name", "unicode <> title", "five IN (minus, tiny, 5)",
    "name IN ('smith', title, NULL)", "price BETWEEN five AND wide", "wide >= price", "yes = no",
    "born < '2010-01-01'", "moment >= born", "NOT (five = 5 OR no_int = 1) AND name IS NOT NULL",
    "guid = '6F9619FF-8B86-D011-B42D-00C04FC964FF'",
]  # fmt: skip

NUMBERS = {"tinyint": (0, 255), "smallint": (-(2**15), 2**15 - 1), "int": (-(2**31), 2**31 - 1),
           "bigint": (-(2**63), 2**63 - 1)}  # fmt: skip
TEXT = st.text("aAbBsSmithTZ 0159-+.éİß\u212a🎵_%", max_size=9) | st.sampled_from(
    ["smith", "Smith ", " 42", "7"]
)


def values(name: str) -> st.SearchStrategy[Any]:
    type_ = support.ROW[name][0]
    if type_ in NUMBERS:
        low, high = NUMBERS[type_]
        return st.none() | st.integers(-9, 300).filter(lambda n: low <= n <= high) | st.integers(low, high)
    if type_ == "bit":
        return st.none() | st.booleans()
    if type_.startswith("decimal") or type_ in ("money", "smallmoney"):
        digits, scale = {"money": (18, 4), "smallmoney": (9, 4)}.get(type_) or map(
            int, type_[8:-1].split(",")
        )
        most = 10**digits - 1
        return st.none() | (st.integers(-most, most) | st.integers(-999, 999)).map(
            lambda n: Decimal(n).scaleb(-scale, Context(prec=60))
        )
    if type_ == "date":
        return st.none() | st.dates().map(datetime.date.isoformat)
    if type_ == "datetime2(7)":
        return st.none() | st.datetimes().map(lambda m: m.isoformat(" ", "microseconds") + "0")
    if type_ in ("char(5)", "nchar(5)"):
        return st.none() | st.text("abS ", max_size=5).map(lambda t: t.ljust(5))
    if "char" in type_:
        ascii_only = type_.startswith("varchar")
        return st.none() | TEXT.map(
            lambda t: t.encode("cp1252", "ignore").decode("cp1252") if ascii_only else t
        )
    return st.just(support.ROW[name][1])


ROWS = st.fixed_dictionaries({name: values(name) for name in support.NAMES})
PATHS = st.lists(st.none() | TEXT | st.sampled_from(["1.5", "2024-02-29", "12", " 7 ", "-3", "999999999999"]),
                 min_size=len(support.PATHS), max_size=len(support.PATHS))  # fmt: skip


def expressions(*, binary: bool) -> list[tuple[str, Expression]]:
    scope = support.Scope(binary_collation=binary)
    found: list[tuple[str, Expression]] = []
    for text in [case[0] for case in VALUES] + MORE:
        found.append((text, parse_expression(text, scope)))
    for text in [case[0] for case in (*CONDITIONS, *BINARY_CONDITIONS)] + MORE_CONDITIONS:
        found.append((text, parse_condition(text, scope)))
    for text, _ in EVALUATION_ERRORS:
        try:
            found.append((text, parse_expression(text, scope)))
        except ExpressionError:
            found.append((text, parse_condition(text, scope)))
    return found


def test_answers_are_the_closures() -> None:
    from xml_extractor.mapping._native import NativeExpression

    compiled = [
        (
            text,
            compile_expression(expression, support.ENVIRONMENT),
            NativeExpression(expression, support.ENVIRONMENT),
        )
        for binary in (False, True)
        for text, expression in expressions(binary=binary)
    ]
    compiled = [case for case in compiled if case[2].is_native]
    answered: set[str] = set()

    @settings(max_examples=40, deadline=None)
    @given(ROWS, PATHS)
    def check(row: dict[str, Any], paths: list[str | None]) -> None:
        frame = Frame([row[name] for name in support.NAMES], paths, {3: support.PARENT_ROW})
        for text, evaluate, native in compiled:
            try:
                answer = native.evaluate(frame)
            except LookupError:
                continue
            answered.add(text)
            try:
                expected = evaluate(frame)
            except EvaluationError as error:
                raise AssertionError(f"{text}: {answer!r} where the closure refuses: {error}") from None
            assert (type(answer), repr(answer)) == (type(expected), repr(expected)), text

    check()
    assert answered >= set(MORE_CONDITIONS) | set(MORE) - {"CONCAT(name, five, no_text, price, title)"}
