"""What is made of a value that a policy has changed is made of what the table then holds."""

from __future__ import annotations

from tests.support.interpreters import BothMappers
from tests.unit.contract.contracts import plan_of, with_columns
from tests.unit.mapping.test_row_ways import STARTED
from xml_extractor.mapping.records import SourceDocument


def test_expressions_are_computed_from_what_is_stored() -> None:
    plan = plan_of(
        with_columns(
            "more: {expr: 'n + 1', type: tinyint}",
            "most: {expr: 'COALESCE(more, -1)', type: int}",
            "n: {from: '@n', type: tinyint, on_overflow: null}",
            "none: {expr: 'COALESCE(n, -1)', type: int}",
            "g: {from: '@g', type: varchar(3), on_overflow: truncate}",
            "tail: {expr: 'RIGHT(g, 2)', type: varchar(2)}",
        )
    )
    mapper = BothMappers(plan, STARTED)
    document = SourceDocument(1, '<Application n="300" g="abcdef"/>')
    mapped = mapper.map(mapper.parse(document), document)
    assert mapped.rows == ([(1, None, -1, None, -1, "abc", "bc")],)
    assert mapped.truncated_values == 1
