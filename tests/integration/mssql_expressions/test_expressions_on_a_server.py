"""Expressions mean on a server what they mean to the loader: their values, their errors, their types.

The expressions of the unit tests and those of ``cases.py`` are evaluated by the loader and by the server,
over the same rows.  Where the two differ on purpose, or the server is not SQL Server and differs from it,
``exceptions.py`` says so; anything else is a failure, and so is an exception that is none any more.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.integration.mssql_expressions import cases, exceptions
from tests.integration.mssql_expressions.comparison import types_agree, values_agree
from tests.integration.mssql_expressions.exceptions import Exceptions, first_match
from tests.integration.mssql_expressions.server import (
    ExpressionServer,
    Failure,
    Question,
    expression_server,
)
from tests.integration.mssql_expressions.table import (
    COLUMNS,
    ROWS,
    evaluated,
    on_a_server,
    parsed,
    type_of,
)
from tests.support.mssql_gaps import SIX_DIGITS, Gap
from tests.support.mssql_run import has_gap
from tests.support.mssql_servers import MssqlServer
from tests.unit.expressions import cases as unit_cases
from xml_extractor.contract.expression import ColumnRef, Expression, ExpressionError, walk
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping.evaluation_error import EvaluationError

pytestmark = pytest.mark.sqlserver

UNBOUNDED = Gap(
    "expressions: decimals keep more digits than their type until stored; compared to the type's last digit"
)
LISTED = Gap("expressions: single differences, listed in tests/integration/mssql_expressions/exceptions.py")
NO_BINARY = Gap("expressions: no database can have a binary collation")
UNDESCRIBED = Gap(
    "expressions: constants are folded before they have a type (types compared on columns only)"
)


@dataclass(frozen=True)
class Asked:
    """One expression of the tables."""

    text: str
    expression: Expression
    rows: range

    @property
    def on_a_server(self) -> str:
        return on_a_server(self.text, condition=self.expression.is_condition)


def asked(text: str, rows: range, *, binary: bool = False) -> Asked:
    """Parse a value or a condition, whichever it is."""
    try:
        return Asked(text, parsed(text, binary=binary), rows)
    except ExpressionError:
        return Asked(text, parsed(text, condition=True, binary=binary), rows)


def of_unit_tests() -> list[str]:
    texts = [
        str(text) for text, *_ in (*unit_cases.VALUES, *unit_cases.CONDITIONS, *unit_cases.EVALUATION_ERRORS)
    ]
    # Paths are none of the server's, and its clock is not the loader's.
    return [
        t for t in texts if "path(" not in t.lower() and not t.endswith("UTCDATE()") and "SYSUTC" not in t
    ]


GROUPS = {
    "values": (cases.VALUES, range(len(ROWS))),
    "conditions": (cases.CONDITIONS, range(len(ROWS))),
    "unit tests": (tuple(of_unit_tests()), range(1)),
}


@dataclass
class Comparison:
    """The server with its rows, and which exceptions have been met."""

    server: ExpressionServer
    babelfish: bool
    rows: list[dict[str, Value]]
    met: set[str] = field(default_factory=set)
    ran: set[tuple[str, str]] = field(default_factory=set)

    def excuses(self, text: str, ours: Value | EvaluationError, known: tuple[Exceptions, ...]) -> bool:
        """Whether a difference falls under a known exception, which is then noted as met."""
        found = first_match(text, known)
        if found is None or (found[0] in exceptions.SHARPER and not isinstance(ours, EvaluationError)):
            return False
        self.met.add(found[1])
        return True


@pytest.fixture(scope="module")
def comparison(mssql: MssqlServer, server: ExpressionServer, rows: list[dict[str, Value]]) -> Comparison:
    return Comparison(server, mssql.is_babelfish, rows)


def known_differences(babelfish: bool) -> tuple[Exceptions, ...]:
    own = (*exceptions.SHARPER, *exceptions.UNSETTLED)
    return (*own, *exceptions.VALUES) if babelfish else own


@pytest.mark.parametrize("group", GROUPS)
def test_values_and_errors(comparison: Comparison, request: pytest.FixtureRequest, group: str) -> None:
    comparison.ran.add(("values", group))
    texts, rows = GROUPS[group]
    pairs = [(a, row) for a in (asked(text, rows) for text in texts) for row in a.rows]
    ours = [evaluated(a.expression, comparison.rows[row]) for a, row in pairs]
    questions = [Question(a.on_a_server, type_of(a.expression), row) for a, row in pairs]
    # What is to fail would fail its whole batch.
    answers: dict[int, Value | Failure] = {}
    for failing in (False, True):
        chosen = [i for i, value in enumerate(ours) if isinstance(value, EvaluationError) == failing]
        answers.update(
            zip(chosen, comparison.server.values([questions[i] for i in chosen], alone=failing), strict=True)
        )
    unbounded = has_gap(request, UNBOUNDED)
    has_gap(request, SIX_DIGITS)
    has_gap(request, LISTED)
    known, differences = known_differences(comparison.babelfish), []
    for place, (a, row) in enumerate(pairs):
        if values_agree(ours[place], answers[place], type_of(a.expression), unbounded=unbounded):
            continue
        if not comparison.excuses(f"{a.text} #{row}", ours[place], known):
            differences.append(f"{a.text} #{row}: loader {ours[place]!r}, server {answers[place]!r}")
    assert not differences, "\n".join([f"{len(differences)} of {len(pairs)} differ:", *differences])


@pytest.mark.parametrize("group", GROUPS)
def test_types(comparison: Comparison, request: pytest.FixtureRequest, group: str) -> None:
    comparison.ran.add(("types", group))
    texts, rows = GROUPS[group]
    compared = [a for a in (asked(text, rows) for text in texts) if a.expression.type is not None]
    if has_gap(request, UNDESCRIBED):
        compared = [
            a for a in compared if not any(character in a.text for character in "'.") and has_column(a)
        ]
    # What cannot be evaluated cannot always be described either.
    compared = [
        a for a in compared if not isinstance(evaluated(a.expression, comparison.rows[0]), EvaluationError)
    ]
    # What has no type on this server would fail its whole batch.
    compared.sort(key=lambda a: first_match(a.text, (exceptions.UNDECLARED,)) is not None)
    together = sum(first_match(a.text, (exceptions.UNDECLARED,)) is None for a in compared)
    questions = [a.on_a_server for a in compared]
    declared = comparison.server.types(questions[:together])
    declared += comparison.server.types(questions[together:], alone=True)
    known = exceptions.TYPES if comparison.babelfish else ()
    has_gap(request, LISTED)
    differences = []
    for a, theirs in zip(compared, declared, strict=True):
        if not isinstance(theirs, Failure) and types_agree(a.expression.type, theirs):
            continue
        if not comparison.excuses(a.text, None, known):
            differences.append(f"{a.text}: loader {a.expression.type}, server {theirs}")
    assert not differences, "\n".join([f"{len(differences)} of {len(compared)} differ:", *differences])


def has_column(a: Asked) -> bool:
    return any(isinstance(node, ColumnRef) for node in walk(a.expression))


def test_exceptions_are_needed(comparison: Comparison) -> None:
    if comparison.ran < {(kind, group) for kind in ("values", "types") for group in GROUPS}:
        pytest.skip("only after all the others of this file")
    listed = [*exceptions.SHARPER]
    if comparison.babelfish:
        listed += [*exceptions.UNSETTLED, *exceptions.VALUES, *exceptions.TYPES]
    unmet = [
        pattern for exception in listed for pattern in exception.patterns if pattern not in comparison.met
    ]
    assert not unmet, "no difference any more: " + "; ".join(unmet)


def test_a_binary_collation(mssql: MssqlServer, request: pytest.FixtureRequest) -> None:
    if has_gap(request, NO_BINARY):
        pytest.skip(f"this server: {NO_BINARY.reason}")
    texts = [text for text, _ in unit_cases.BINARY_CONDITIONS]
    conditions = [parsed(text, condition=True, binary=True) for text in texts]
    questions = [Question(on_a_server(text, condition=True), parse_type("int"), 0) for text in texts]
    with expression_server(mssql, COLUMNS, ROWS, options="COLLATE Latin1_General_BIN2") as server:
        assert server.values(questions) == [evaluated(condition, ROWS[0]) for condition in conditions]
