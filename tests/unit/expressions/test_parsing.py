"""Mistakes in expressions are found when they are parsed, with their place; what is parsed is plain data."""

from __future__ import annotations

import pickle

import pytest

from tests.unit.expressions.cases import CONDITIONS, VALUES
from tests.unit.expressions.support import ENVIRONMENT, Scope, frame, parse
from xml_extractor.contract.expression import (
    And,
    ColumnRef,
    Comparison,
    ExpressionError,
    Literal,
    Or,
    PathRef,
    walk,
)
from xml_extractor.contract.expression_parser import parse_condition, parse_expression
from xml_extractor.mapping.expression_runtime import compile_condition, compile_expression

# (text, whether a condition is wanted, what points at the place, a part of the message)
MISTAKES = [
    # names
    ("five + fife", False, "fife", "there is no column fife"),
    ("five + other.id", False, "other", "there is no column id"),
    ("LENN(name)", False, "LENN", "did you mean LEN?"),
    ("five + LENGTH(name)", False, "LENGTH", "write LEN"),
    ("GETDATE()", False, "GETDATE", "GETUTCDATE()"),
    ("CURRENT_TIMESTAMP", False, "CURRENT", "GETUTCDATE()"),
    ("pth('@role')", False, "pth", "did you mean path?"),
    ("XYZZY(1)", False, "XYZZY", "there are path, ABS"),
    ("DATEADD(dya, 1, born)", False, "dya", "not a datepart"),
    ("DATEADD('day', 1, born)", False, "'day'", "not a datepart"),
    ("five + path('nowhere')", False, "'nowhere'", "cannot be read"),
    ("path('@role', 'dcimal(3,2)')", False, "'dcimal", "unknown type"),
    ("path(name)", False, "path", "in quotes"),
    ("path()", False, "path", "in quotes"),
    ("CAST(five AS intt)", False, "intt", "unknown type"),
    ("CAST(five AS float(60))", False, "float", "53"),
    # argument counts
    ("1 + LEFT(name)", False, "LEFT", "LEFT cannot have 1 argument; write LEFT(text, length)"),
    ("LEN(name, 1)", False, "LEN", "2 arguments"),
    ("GETUTCDATE(1)", False, "GETUTCDATE", "1 argument"),
    ("TRIM()", False, "TRIM", "missing"),
    ("COALESCE(five)", False, "COALESCE", "1 argument"),
    ("CONVERT(int)", False, "CONVERT", "1 argument"),
    # values and conditions are different things
    ("five = 5", False, "five", "cannot be used as a value"),
    ("five", True, "five", "a condition is needed"),
    ("five = 5 AND yes", True, "yes", "a condition is needed"),
    ("IIF(five, 1, 2)", False, "five", "a condition is needed"),
    ("1 + (five = 5)", False, "five", "cannot be used as a value"),
    ("five = 5 = 5", True, "five", "cannot be used as a value"),
    ("COALESCE(five = 1, 2)", False, "five", "cannot be used as a value"),
    ("NOT five", True, "five", "a condition is needed"),
    ("CASE five WHEN five = 5 THEN 1 END", False, "five = 5", "cannot be used as a value"),
    ("TRUE", True, "TRUE", "no TRUE and FALSE"),
    # types
    ("five + born", False, "five", "use DATEADD"),
    ("born = 5", True, "born", "cannot be combined"),
    ("guid = 5", True, "guid", "cannot be combined"),
    ("bytes = 'a'", True, "bytes", "cannot be combined"),
    ("at = born", True, "at", "cannot be combined"),
    ("yes + no", False, "yes", "two bits"),
    ("name - name", False, "name", "two strings"),
    ("-name", False, "-name", "unary minus"),
    ("ratio % 2", False, "ratio", "CAST it to decimal"),
    ("CAST(five AS date)", False, "five", "cannot be converted"),
    ("CAST(born AS int)", False, "born", "cannot be converted"),
    ("CASE WHEN yes = 1 THEN five ELSE born END", False, "CASE", "cannot be combined"),
    ("CASE WHEN yes = 1 THEN NULL END", False, "CASE", "other than NULL"),
    ("COALESCE(NULL, NULL)", False, "COALESCE", "other than NULL"),
    ("NULLIF(NULL, 1)", False, "NULLIF", "cannot be NULL"),
    ("LEFT(name, -1)", False, "-1", "negative"),
    ("YEAR(five)", False, "five", "date or time"),
    ("DATEADD(hour, 1, born)", False, "hour", "does not take the datepart hour for date"),
    ("DATEADD(day, 1, at)", False, "day", "does not take"),
    ("DATEADD(ns, 1, stamp)", False, "ns", "does not take"),
    ("DATEPART(tz, stamp)", False, "tz", "does not take"),
    ("DATEDIFF(iso_week, born, born)", False, "iso_week", "does not take"),
    ("CONVERT(varchar(10), born, 999)", False, "999", "style 999"),
    ("CONVERT(varchar(10), born, 108)", False, "108", "style 108"),
    ("CONVERT(varchar(10), born, five)", False, "five", "written out"),
    # syntax, where sqlglot alone is more lenient, too
    ("", False, "", "empty"),
    ("   ", False, "", "empty"),
    ("five +", False, "+", "operand is missing"),
    ("(five", False, "five", "Expecting )"),
    ("five)", False, ")", "unexpected ')'"),
    ("five name", False, "name", "unexpected 'name'"),
    ("five; yes", False, ";", "semicolon"),
    ("five, yes", False, ",", "unexpected ','"),
    ("'abc", False, "'abc", "not closed"),
    ("five + 'abc", False, "'abc", "not closed"),
    ("[five", False, "[five", "not closed"),
    ("COALESCE(five,, 1)", False, ", 1", "missing"),
    ("COALESCE(five, 1,)", False, ")", "missing"),
    ("CASE WHEN five = 5 1 END", False, "1 END", "THEN is missing"),
    ("CASE WHEN five = 5 THEN 1", False, "1", "END is missing"),
    ("CASE five END", False, "END", "needs WHEN"),
    ("CAST(five int)", False, "int", "AS and a type"),
    ("CAST(five AS int", False, "int", "parenthesis is missing"),
    ("CAST(five AS)", False, ")", "type is missing"),
    ("five BETWEEN 1 5", True, "5", "AND is missing"),
    ("five IN ()", True, "five", "list of values"),
    ("five IN (SELECT 1)", True, "five", "queries"),
    ("five IS 5", True, "five", "NULL"),
    ("name LIKE 'a' ESCAPE 'ab'", True, "name", "one character"),
    ("SELECT 1", False, "SELECT", "unexpected"),
    ("(SELECT 1)", False, "1", "queries"),
    ("EXISTS (SELECT 1)", True, "1", "queries"),
    ("five AS x", False, "AS", "unexpected"),
    ("LEN(name AS x)", False, "name", "a name cannot be given"),
    ("name || name", False, "name", "use + or CONCAT"),
    ("'a' 'b'", False, "'a'", "join them with +"),
    ("name COLLATE Latin1_General_BIN = 'x'", True, "name", "COLLATE"),
    ("born AT TIME ZONE 'UTC'", False, "born", "AT TIME ZONE"),
    ("@five", False, "", "variables"),
    ("$1.50", False, "$1", "money"),
    ("five & 1", False, "five", "BitwiseAnd"),
    ("1a", False, "a", "unexpected"),
    ("99999999999999999999999999999999999999999", False, "9", "38 digits"),
    ("COUNT(*)", False, "COUNT", "unknown function"),
    ("LEN(DISTINCT name)", False, "name", "Distinct"),
    ("LEFT(name, 1) OVER (ORDER BY five)", False, "LEFT", "Window"),
    ("name::int", False, "name", "not part of the expressions"),
    ("five IS DISTINCT FROM 5", True, "five", "not part of the expressions"),
]


@pytest.mark.parametrize(("text", "condition", "place", "part"), MISTAKES, ids=[m[0] for m in MISTAKES])
def test_mistake(text: str, condition: bool, place: str, part: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        (parse_condition if condition else parse_expression)(text, Scope())
    assert part in caught.value.message
    expected = text.find(place)
    assert caught.value.offset == expected, f"{caught.value.offset} instead of {expected}: {caught.value}"


def test_the_place_is_counted_over_lines() -> None:
    text = "five +\n  COALESCE(yes,\n    fife)"
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, Scope())
    assert caught.value.offset == text.index("fife")
    text = "five +\n  (yes"
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, Scope())
    assert caught.value.offset == text.index("yes")


def test_comments_are_skipped() -> None:
    assert parse("five -- the number\n + /* one */ 1") == parse("five + 1")


def test_deep_nesting_is_an_error_and_long_chains_are_none() -> None:
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse("(" * 150 + "five" + ")" * 150)
    with pytest.raises(ExpressionError, match="nested too deeply"):
        parse("(" * 5000 + "five" + ")" * 5000)
    chain = parse_condition(" OR ".join(f"five = {n}" for n in range(300)), Scope())
    assert isinstance(chain, Or)
    assert len(chain.operands) == 300
    assert compile_condition(chain, ENVIRONMENT)(frame()) is True


def test_nodes_for_names_and_paths() -> None:
    column, path = parse("five"), parse("path('@income', 'decimal(12,2)')")
    assert isinstance(column, ColumnRef)
    assert (column.table, column.column, str(column.type)) == (None, 0, "int")
    assert isinstance(path, PathRef)
    assert (path.capture, str(path.type)) == (1, "decimal(12,2)")
    parent = parse("parent.label")
    assert isinstance(parent, ColumnRef)
    assert (parent.table, parent.column, parent.nullable) == (3, 1, False)


def test_walk_reaches_every_node() -> None:
    text = (
        "CASE WHEN five IN (1, parent.id) AND name LIKE path('@role') THEN COALESCE(no_int, -tiny) ELSE 0 END"
    )
    names = {type(node).__name__ for node in walk(parse(text))}
    assert names == {
        "Case", "And", "In", "ColumnRef", "Literal", "Like", "PathRef", "Coalesce", "Negate",
    }  # fmt: skip


def test_between_is_two_comparisons() -> None:
    node = parse_condition("five BETWEEN 1 AND 3", Scope())
    assert isinstance(node, And)
    assert [c.operator for c in node.operands if isinstance(c, Comparison)] == [">=", "<="]


@pytest.mark.parametrize("text", [case[0] for case in VALUES])
def test_values_survive_pickling(text: str) -> None:
    expression = parse(text)
    copy = pickle.loads(pickle.dumps(expression))
    assert copy == expression
    assert str(compile_expression(copy, ENVIRONMENT)(frame())) == str(
        compile_expression(expression, ENVIRONMENT)(frame())
    )


@pytest.mark.parametrize("text", [case[0] for case in CONDITIONS])
def test_conditions_survive_pickling(text: str) -> None:
    condition = parse_condition(text, Scope())
    assert pickle.loads(pickle.dumps(condition)) == condition


def test_a_literal_keeps_its_own_type() -> None:
    # True == 1 == 1.0 in Python; nodes that differ in type must not be taken for each other.
    assert parse("1") != parse("1.0")
    assert parse("'a'") != parse("N'a'")
    assert isinstance(parse("NULL"), Literal)
