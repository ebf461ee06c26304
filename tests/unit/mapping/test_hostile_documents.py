"""What fuzzing found in the mapper, each as small as it could be made."""

from __future__ import annotations

import time

import pytest
from lxml import etree

from tests.unit.mapping.mapping_support import STARTED_AT, map_document, plan_of, rejected
from xml_extractor.mapping.captures import ScopeWalker
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.interpreter_choice import InterpreterChoice
from xml_extractor.mapping.records import SourceDocument

SECONDS = 10.0


@pytest.mark.parametrize("path", ["../n", "../../p/n", "//n", "/r/p/n", "..//n", "../@k", ".."])
@pytest.mark.parametrize("ignore_case", ["true", "false"])
def test_paths_that_lead_up_do_not_cost_the_square_of_the_siblings(path: str, ignore_case: str) -> None:
    plan = plan_of(
        f"""
        t: {{primary_key: [id], columns: {{id: {{from: $key, type: int}}}}}}
        u:
          parent: t
          rows: p/a
          primary_key: [id, place]
          columns:
            id: {{from: $parent}}
            place: {{from: $position, type: int}}
            v: {{from: "{path}", type: nvarchar(max), pick: last}}
        """,
        f"document: {{root: /r, ignore_case: {ignore_case}}}",
    )
    content = "<r><p k='x'>" + "<a/>" * 12_000 + "<n>x</n></p></r>"
    started = time.perf_counter()
    assert {row[2] for row in map_document(plan, content)["u"]} == {"x"}
    assert (
        time.perf_counter() - started < SECONDS
    )  # it took minutes, and four times as long for twice as many


def test_paths_that_lead_up_are_looked_up_for_each_parent() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns: {id: {from: $key, type: int}, n: {from: "../r/p/n", type: int, pick: last}}
        u:
          parent: t
          rows: p/a
          primary_key: [id, place]
          columns:
            id: {from: $parent}
            place: {from: $position, type: int}
            first: {from: "../n", type: int, pick: first, skip_blank: true}
            last: {from: "../n", type: int, pick: last}
            joined: {from: "../n", type: nvarchar(9), pick: join, separator: "-", skip_blank: true}
            above: {from: "../../@k", type: int}
        """
    )
    mapped = map_document(
        plan, "<r k='9'><p><a/><n/><a/><n>1</n><n>2</n></p><p><a/></p><p><a/><n>3</n></p></r>"
    )
    assert mapped["t"] == [(1, 3)]
    assert mapped["u"] == [
        (1, 1, 1, 2, "1-2", 9),
        (1, 2, 1, 2, "1-2", 9),
        (1, 3, None, None, None, 9),
        (1, 4, 3, 3, "3", 9),
    ]
    several = plan_of(
        """
        t: {primary_key: [id], columns: {id: {from: $key, type: int}}}
        u:
          parent: t
          rows: p/a
          primary_key: [id, place]
          columns: {id: {from: $parent}, place: {from: $position, type: int}, n: {from: "../n", type: int}}
        """
    )
    assert rejected(several, "<r><p><a/><n>1</n><n>2</n></p></r>").code == "several_nodes"


def test_a_path_that_leads_up_keeps_nothing_of_the_document() -> None:
    plan = plan_of(
        "t: {primary_key: [id], columns: {id: {from: $key, type: int}, v: {from: '//a', type: int}}}"
    )
    mapper = DataMapper(plan, STARTED_AT, InterpreterChoice.PYTHON)
    for number in (1, 2):
        document = SourceDocument(1, f"<r><a>{number}</a></r>")
        assert mapper.map(mapper.parse(document), document).rows == ([(1, number)],)
    walker: ScopeWalker = mapper._interpreter._root_walker
    assert [shared._from for shared in walker._shared] == [None]


@pytest.mark.parametrize("expression", ["1 + 1", "GETUTCDATE()", "CONCAT(place, 'x')", "c + 1"])
def test_an_expression_that_reads_nothing_of_the_document_makes_no_row(expression: str) -> None:
    plan = plan_of(
        f"""
        t: {{primary_key: [id], columns: {{id: {{from: $key, type: int}}}}}}
        u:
          parent: t
          rows: a
          drop_empty: true
          primary_key: [id, place]
          columns:
            id: {{from: $parent}}
            place: {{from: $position, type: int}}
            c: {{value: "7", type: int}}
            e: {{expr: "{expression}", type: nvarchar(50)}}
            v: {{from: "@v", type: int}}
        """
    )
    assert [row[1] for row in map_document(plan, "<r><a/><a v='1'/><a/></r>")["u"]] == [2]


def test_an_expression_over_one_that_reads_the_document_makes_a_row() -> None:
    plan = plan_of(
        """
        t: {primary_key: [id], columns: {id: {from: $key, type: int}}}
        u:
          parent: t
          rows: a
          drop_empty: true
          primary_key: [id, place]
          columns:
            id: {from: $parent}
            place: {from: $position, type: int}
            e: {expr: "f + 1", type: int}
            f: {expr: "CAST(path('@v') AS int)", type: int}
        """
    )
    assert [row[1:] for row in map_document(plan, "<r><a/><a v='1'/></r>")["u"]] == [(2, 2, 1)]


def test_a_predicate_with_a_character_that_xml_lacks_is_a_mistake() -> None:
    from xml_extractor.contract import check_text

    text = (
        "contract: t\nversion: 1\nsource: {table: s, key: k, document: d}\ndocument: {root: /r}\ntables:\n"
        "  t: {primary_key: [i], columns: {i: {from: $key, type: int},\n"
        "      a: {from: \"a[.='\\x01']\", type: int},\n"
        '      b: {value: "x\\0", type: varchar(3)}, "c\\0": {value: x, type: varchar(3)}}}\n'
    )
    messages = [str(mistake) for mistake in check_text(text).mistakes]
    assert len(messages) == 3
    assert "a character that XML does not have" in messages[0]
    assert all("NUL" in message for message in messages[1:])


def test_the_etree_of_another_document_is_never_asked() -> None:
    """Rows below one parent share what is found above them; another document's parent is another one."""
    plan = plan_of(
        """
        t: {primary_key: [id], columns: {id: {from: $key, type: int}}}
        u:
          parent: t
          rows: a
          primary_key: [id, place]
          columns: {id: {from: $parent}, place: {from: $position, type: int}, n: {from: "../@n", type: int}}
        """
    )
    mapper = DataMapper(plan, STARTED_AT)
    trees = [etree.fromstring(f"<r n='{number}'><a/><a/></r>") for number in range(50)]
    for number, tree in enumerate(trees):
        assert mapper.map(tree, SourceDocument(1, "")).rows[1] == [(1, 1, number), (1, 2, number)]


@pytest.mark.parametrize("path", ["n:A", "n:A[1]", "n:A[@K='2'][1]", "*[@k][1]/../n:A"])
def test_a_namespace_is_never_folded(path: str) -> None:
    plan = plan_of(
        f"""
        t: {{primary_key: [id], columns: {{id: {{from: $key, type: int}}, a: {{from: "{path}", type: int}}}}}}
        """,
        'document: {root: /r, ignore_case: true, namespaces: {n: "urn:N"}}',
    )
    for tag in ("a", "A"):
        content = f"<R xmlns:x='URI'><x:{tag} k='2'>1</x:{tag}></R>"
        assert map_document(plan, content.replace("URI", "urn:N"))["t"] == [(1, 1)]
        assert map_document(plan, content.replace("URI", "urn:n"))["t"] == [(1, None)]


def test_a_document_with_a_bare_doctype_is_a_value_of_type_xml() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns:
            id: {from: $key, type: int}
            x: {from: $document, type: xml}
            s: {from: $document, type: nvarchar(max)}
        """
    )
    content = "<!DOCTYPE r><r><a/></r>"
    assert map_document(plan, content)["t"] == [(1, "<r><a/></r>", content)]
    assert map_document(plan, "<!-- c --><r/>")["t"] == [(1, "<!-- c --><r/>", "<!-- c --><r/>")]
