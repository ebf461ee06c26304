"""Expressions give T-SQL's documented results."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.expressions.cases import BINARY_CONDITIONS, CONDITIONS, EVALUATION_ERRORS, VALUES
from tests.unit.expressions.support import CAPTURED, ENVIRONMENT, ROW, Scope, frame, parse, truth_of, value_of
from xml_extractor.contract.expression import ExpressionError
from xml_extractor.contract.expression_parser import assign, parse_condition, parse_expression
from xml_extractor.contract.types import parse_type
from xml_extractor.mapping.expression_runtime import EvaluationError, compile_condition, compile_expression


@pytest.mark.parametrize(("text", "type_", "expected"), VALUES, ids=[case[0] for case in VALUES])
def test_value(text: str, type_: str | None, expected: Any) -> None:
    expression = parse(text)
    assert (None if expression.type is None else str(expression.type)) == type_
    result = value_of(text)
    assert result == expected
    # 1 == 1.0 == True == Decimal(1) in Python: the canonical type and the digits must be right too.
    assert type(result) is type(expected)
    assert str(result) == str(expected)


@pytest.mark.parametrize(("text", "expected"), CONDITIONS, ids=[case[0] for case in CONDITIONS])
def test_condition(text: str, expected: bool | None) -> None:
    assert truth_of(text) is expected


@pytest.mark.parametrize(("text", "expected"), BINARY_CONDITIONS, ids=[case[0] for case in BINARY_CONDITIONS])
def test_condition_under_a_binary_collation(text: str, expected: bool | None) -> None:
    assert truth_of(text, binary=True) is expected


@pytest.mark.parametrize(("text", "code"), EVALUATION_ERRORS, ids=[case[0] for case in EVALUATION_ERRORS])
def test_evaluation_error(text: str, code: str) -> None:
    try:
        evaluate: Any = compile_expression(parse_expression(text, Scope()), ENVIRONMENT)
    except ExpressionError:
        evaluate = compile_condition(parse_condition(text, Scope()), ENVIRONMENT)
    with pytest.raises(EvaluationError) as caught:
        evaluate(frame())
    assert caught.value.code == code
    # Messages go to logs and reports: nothing of the row may be in them.
    for value in [v for _, v in ROW.values()] + list(CAPTURED.values()):
        if value is not None and len(str(value).strip()) > 3:
            assert str(value) not in str(caught.value)


def test_an_error_in_a_branch_that_is_not_taken_does_not_matter() -> None:
    text = "CASE WHEN five = 5 THEN 1 ELSE 1 / 0 END"
    assert value_of(text) == 1
    with pytest.raises(EvaluationError):
        value_of(text, {"five": 6})


def test_constants_are_computed_when_compiled_and_columns_when_evaluated() -> None:
    evaluate = compile_expression(parse("five + CAST('2' AS int)"), ENVIRONMENT)
    assert [evaluate(frame({"five": n})) for n in (1, None, 10)] == [3, None, 12]


@pytest.mark.parametrize(
    ("text", "column", "expected"),
    [
        ("1.005", "decimal(5,2)", "1.01"),
        ("five", "varchar(5)", "5"),
        ("'ab   '", "varchar(3)", "ab "),
        ("'ab'", "char(4)", "ab  "),
        ("'2024-05-06'", "date", "2024-05-06"),
        ("yes", "int", "1"),
        ("NULL", "int", "None"),
        ("2.9", "int", "2"),
        ("name", "nvarchar(20)", "Smith  "),
    ],
)
def test_assignment_to_a_column(text: str, column: str, expected: str) -> None:
    expression = assign(parse(text), parse_type(column))
    assert str(compile_expression(expression, ENVIRONMENT)(frame())) == expected


@pytest.mark.parametrize(
    ("text", "column", "code"),
    [
        ("'abcd'", "varchar(3)", "too_long"),
        ("N'😀😀'", "nvarchar(3)", "too_long"),
        ("0x0102", "varbinary(1)", "too_long"),
        ("300", "tinyint", "overflow"),
        ("unicode", "varchar(30)", "not_in_code_page"),
    ],
)
def test_assignment_never_loses_data(text: str, column: str, code: str) -> None:
    expression = assign(parse(text), parse_type(column))
    with pytest.raises(EvaluationError) as caught:
        compile_expression(expression, ENVIRONMENT)(frame())
    assert caught.value.code == code


def test_assignment_without_an_implicit_conversion_is_refused() -> None:
    with pytest.raises(ExpressionError, match="CAST"):
        assign(parse("five"), parse_type("date"))
