"""Paths such as ``Phone[@type='HOME'][1]`` are matched in the walk as the XPath engine would match them."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.interpreters import BothMappers
from tests.unit.mapping.mapping_support import STARTED_AT, plan_of
from xml_extractor.contract.plan import Plan
from xml_extractor.mapping import captures
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.mapping.rejection import DocumentRejected

PLAN = plan_of(
    """
    t:
      rows: .
      columns:
        k: {from: $key, type: int}
        plain: {from: "p[@t='H']", type: nvarchar(50)}
        first: {from: "p[@t='H'][1]", type: nvarchar(50)}
        last: {from: "p[@t='H'][last()]", type: nvarchar(50), empty: "null"}
        picked: {from: "p[@t='W']", type: nvarchar(50), pick: last}
        joined: {from: "p[@t='H']", type: nvarchar(50), pick: join, separator: "|"}
        either: {from: ["p[@t='M'][last()]", "p[@t='H'][1]"], type: nvarchar(50)}
        empty: {from: 'p[@t=""][1]', type: nvarchar(50)}
    """
)
PHONES = st.lists(
    st.builds(
        "<{}>{}</p>".format,
        st.sampled_from(["p t='H'", "p t='H'", "p t='M'", "p t='W'", "p t='h'", "p t=''", "p", "p u='H'"]),
        st.sampled_from(["", " ", "1", "2", "a<b>c</b>d", "<b/>", "<p t='H'>inner</p>"]),
    ),
    max_size=5,
)


def outcome(plan: Plan, content: str) -> Any:
    mapper = BothMappers(plan, STARTED_AT)
    document = SourceDocument(1, content)
    try:
        return mapper.map(mapper.parse(document), document).rows
    except DocumentRejected as refused:
        return refused.rejection


@settings(max_examples=300, deadline=None)
@given(phones=PHONES)
def test_the_walk_finds_what_xpath_finds(phones: list[str]) -> None:
    content = f"<r>{''.join(phones)}</r>"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(captures, "_BY_ATTRIBUTE", re.compile("(?!)"))
        by_xpath = outcome(PLAN, content)
    assert outcome(PLAN, content) == by_xpath


def test_the_walk_is_taken() -> None:
    walker = captures.scope_walkers(PLAN)[0]
    assert not walker._complex
