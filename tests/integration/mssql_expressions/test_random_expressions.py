"""Random expressions give the same on a server, value for value, error for error."""

from __future__ import annotations

import time
from typing import Final

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.integration.mssql_expressions.comparison import values_agree
from tests.integration.mssql_expressions.random_expressions import texts
from tests.integration.mssql_expressions.server import ExpressionServer, Question
from tests.integration.mssql_expressions.table import (
    ROWS,
    evaluated,
    on_a_server,
    parsed,
    type_of,
)
from tests.integration.mssql_expressions.test_expressions_on_a_server import UNBOUNDED
from tests.support.mssql_run import has_gap
from xml_extractor.contract.expression import Expression, ExpressionError
from xml_extractor.contract.types import Value
from xml_extractor.mapping.evaluation_error import EvaluationError

pytestmark = pytest.mark.sqlserver

SECONDS: Final = 20.0
LEAST: Final = 2
"""The row of least values: its dates cannot be moved on every server."""


def read(text: str) -> tuple[Expression, bool]:
    try:
        return parsed(text), False
    except ExpressionError:
        return parsed(text, condition=True), True


def test_random_expressions(
    server: ExpressionServer, rows: list[dict[str, Value]], request: pytest.FixtureRequest
) -> None:
    unbounded = has_gap(request, UNBOUNDED)
    until = time.monotonic() + SECONDS
    compared, differs = 0, False

    @settings(
        max_examples=100,
        phases=[Phase.generate],  # to make a failure shorter would take more than the time there is
        deadline=None,
        database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(st.lists(texts(), min_size=5, max_size=10, unique=True), st.sampled_from(range(len(ROWS))))
    def compare(asked: list[str], row: int) -> None:
        nonlocal compared, differs
        if time.monotonic() > until and not differs:  # a failure is run once more, to be shown
            return
        questions, ours = [], []
        for text in asked:
            if row == LEAST and "DATE" in text:
                continue
            expression, condition = read(text)
            value = evaluated(expression, rows[row])
            if isinstance(value, EvaluationError) and (" AND " in text or " OR " in text):
                continue  # which side of AND and OR comes first is nobody's promise
            ours.append(value)
            questions.append(Question(on_a_server(text, condition=condition), type_of(expression), row))
        failing = [isinstance(value, EvaluationError) for value in ours]
        for alone in (False, True):
            places = [place for place, fails in enumerate(failing) if fails == alone]
            answers = server.values([questions[place] for place in places], alone=alone)
            for place, answer in zip(places, answers, strict=True):
                question = questions[place]
                agrees = values_agree(ours[place], answer, question.type, unbounded=unbounded)
                differs = differs or not agrees
                assert agrees, (
                    f"{question.text} #{row} ({question.type}): loader {ours[place]!r}, server {answer!r}"
                )
        compared += len(questions)

    compare()
    assert compared, f"not one expression in {SECONDS} s"
    request.node.user_properties.append(("expressions compared", compared))
