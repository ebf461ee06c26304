"""Coverage-guided: an expression and the values that it meets.

The first line is the expression, read both as a value and as a condition; the lines after it are texts,
for the columns and paths of ``tests/unit/expressions/support.py`` that take them.
"""

from __future__ import annotations

import random
import re
import sys

import atheris

with atheris.instrument_imports(include=["xml_extractor"]):
    from tests.fuzz import engine
    from tests.fuzz.conformity import problem
    from tests.fuzz.documents import VALUES
    from tests.unit.expressions import cases, support
    from xml_extractor.contract.expression import ExpressionError
    from xml_extractor.contract.expression_parser import parse_condition, parse_expression
    from xml_extractor.mapping.expression_runtime import (
        EvaluationError,
        Frame,
        compile_condition,
        compile_expression,
    )

_PLACES = ("name", "title", "no_text", "unicode", "blank", "digits")
_WORD = re.compile(r"'[^']*'|[\w.@]+|[^\w\s]")
_NOT_TEXT = re.compile("[\0\ud800-\udfff]")


def test_one_input(data: bytes) -> None:
    """Read, compile and evaluate; only the two errors that these may raise are in order."""
    text, *values = data.decode("utf-8", "replace").replace("\0", "").split("\n")  # no contract holds NUL
    for binary in (False, True):
        scope = support.Scope(binary_collation=binary)
        frame = _frame(values)
        try:
            expression = parse_expression(text, scope)
        except ExpressionError as error:
            assert error.message
            assert 0 <= error.offset <= len(text)
        else:
            evaluate = compile_expression(expression, support.ENVIRONMENT)
            try:
                value = evaluate(frame)
            except EvaluationError as error:
                assert error.code
            else:
                assert evaluate(frame) == value
                assert expression.type is not None or value is None
                if expression.type is not None and value is not None:
                    wrong = problem(value, expression.type)
                    assert wrong is None, f"{wrong} from an expression of type {expression.type}"
        try:
            condition = parse_condition(text, scope)
        except ExpressionError:
            continue
        holds = compile_condition(condition, support.ENVIRONMENT)
        try:
            assert holds(frame) in (True, False, None)
        except EvaluationError as error:
            assert error.code


def _frame(values: list[str]) -> Frame:
    # As the mapper gives them: no text holds NUL or half of a pair, and varchar only what cp1252 has.
    given = [_NOT_TEXT.sub("", value) for value in values]
    changes = {}
    for name, value in zip(_PLACES, given, strict=False):
        is_unicode = support.ROW[name][0].startswith("n")
        changes[name] = value[:20] if is_unicode else value.encode("cp1252", "ignore").decode("cp1252")[:10]
    frame = support.frame(changes)
    captured = list(frame.captured)
    for index, value in enumerate(given[len(_PLACES) :]):
        captured[index % len(captured)] = value
    return Frame(frame.row, captured, frame.ancestor_rows)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Exchange words of expressions and values; else leave it to libFuzzer."""
    rng = random.Random(seed)
    if not data or rng.random() < 0.4:
        return bytes(atheris.Mutate(data, max_size))
    text, *values = data.decode("utf-8", "replace").split("\n")
    how = rng.randrange(5)
    if how == 0:
        values.append(rng.choice(VALUES).replace("\n", ""))
    elif how == 1 and values:
        values[rng.randrange(len(values))] = rng.choice(VALUES).replace("\n", "")
    elif how == 2:
        words = list(_WORD.finditer(text))
        piece = rng.choice(_SNIPPETS)
        if words:
            match = rng.choice(words)
            text = text[: match.start()] + piece + text[match.end() :]
    elif how == 3:
        text = rng.choice(
            [
                "CAST({} AS {})",
                "TRY_CAST({} AS {})",
                "COALESCE({}, {})",
                "{} + {}",
                "{} LIKE {}",
                "IIF({} = 1, {}, 2)",
                "({}) * {}",
            ]
        ).format(text, rng.choice(_SNIPPETS))
    else:
        text = text.replace(*rng.sample(_SNIPPETS, 2), 1)
    return "\n".join([text, *values]).encode("utf-8", "replace")[:max_size]


_TYPES = [
    "int", "tinyint", "bigint", "bit", "decimal(38,0)", "decimal(38,38)", "decimal(5,2)", "money",
    "smallmoney", "real", "float",
    "date", "time(0)", "time(7)", "datetime", "smalldatetime", "datetime2(7)", "datetime2(0)",
    "datetimeoffset(3)", "char(5)",
    "varchar(3)", "nvarchar(max)", "nchar(4)", "binary(4)", "varbinary(max)", "uniqueidentifier", "xml",
]  # fmt: skip
_SNIPPETS = [
    *support.NAMES, *(f"path('{path}')" for path in support.PATHS), "parent.id", "NULL", "''",
    "'%_['", "N'\U0001f3b5'", "0x00FF", *_TYPES,
    "9223372036854775807", "-2147483648", "2147483648", "1e308", "1e-308",
    "99999999999999999999999999999999999999", "0.1",
    "''''", "'9999-12-31'", "'0001-01-01'", "day", "nanosecond", "week", "year", "+", "-", "*",
    "/", "%", "=", "<>", "AND", "OR",
    "NOT", "(", ")", ",", "LEFT", "RIGHT", "REPLACE", "ROUND", "DATEADD", "DATEDIFF", "DATEPART",
    "SUBSTRING", "CHARINDEX", "CONCAT_WS",
    "TRY_CONVERT", "FLOOR", "CEILING", "ABS", "POWER", "STUFF", "REPLICATE", "EOMONTH", "ISNULL",
    "NULLIF", "IIF", "CHOOSE",
]  # fmt: skip


def seeds() -> list[bytes]:
    """The table of cases that the expressions are tested by."""
    return [str(case[0]).encode() for case in cases.VALUES]


if __name__ == "__main__":
    engine.run(sys.argv, test_one_input, mutate)
