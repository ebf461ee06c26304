from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import pytest

from tests.unit.mapping.mapping_support import map_document, plan_of, rejected, skipped
from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.records import Stage


def one(column: str, head: str = "document: {root: /r}") -> Plan:
    """A contract with one root table of the key and one column ``c``."""
    return plan_of(
        f"""
        t:
          primary_key: [id]
          columns:
            id: {{from: $key, type: int}}
            c:  {column}
        """,
        head,
    )


def value(column: str, content: str, head: str = "document: {root: /r}") -> object:
    ((key, result),) = map_document(one(column, head), content)["t"]
    assert key == 1
    return result


# ------------------------------------------------------------------------------------------ values


@pytest.mark.parametrize(
    ("path", "content", "expected"),
    [
        ("'@a'", "<r a='1'/>", "1"),
        ("'@a'", "<r/>", None),
        ("'@a'", "<r a=''/>", ""),
        ("x", "<r><x>1</x></r>", "1"),
        ("x", "<r><x/></r>", ""),
        ("x", "<r/>", None),
        ("x", "<r><y><x>1</x></y></r>", None),
        ("x", "<r><x>a<b>b<c>c</c></b>d</x>e</r>", "abcd"),
        ("x", "<r><x>a<!-- no --><![CDATA[<]]><?pi no?>b</x></r>", "a<b"),
        ("x", "<r><x> a </x></r>", " a "),
        ("x/text()", "<r><x>a<b>b</b>c</x></r>", "ac"),
        ("x/text()", "<r><x><b>b</b></x></r>", None),
        ("x/y/@a", "<r><x><y a='1'/></x></r>", "1"),
        ("x/y", "<r><x/><x><y>1</y></x></r>", "1"),
        (".", "<r>a<x>b</x>c</r>", "abc"),
        ("text()", "<r>a<x>b</x>c</r>", "ac"),
        ("'*/y'", "<r><x><y>1</y></x></r>", "1"),
        ("//y", "<r><x><y>1</y></x></r>", "1"),
        ("x//y/@a", "<r><x><z><y a='1'/></z></x></r>", "1"),
        ("\"x[@k='b']\"", "<r><x k='a'>1</x><x k='b'>2</x></r>", "2"),
        ("'x[2]/@k'", "<r><x k='a'/><x k='b'/></r>", "b"),
        ("'x[last()]'", "<r><x>1</x><x>2</x></r>", "2"),
        ("\"x[@k='a'][last()]\"", "<r><x k='a'>1</x><x k='a'>2</x><x k='b'>3</x></r>", "2"),
        ("\"x[@k='a']/text()\"", "<r><x k='a'>1<!-- c -->2<b/>3</x></r>", "123"),
        ("[x, '@a', y]", "<r a=' '><x/><y>1</y></r>", "1"),
        ("[x, '@a', y]", "<r a=' '><x/></r>", ""),
        ("[y, '@a']", "<r/>", None),
    ],
)
def test_paths(path: str, content: str, expected: str | None) -> None:
    assert value(f"{{from: {path}, type: nvarchar(max)}}", content) == expected


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ("pick: first", "1"),
        ("pick: last", " "),
        ("pick: last, skip_blank: true", "3"),
        ("pick: join", "1, , 3,  "),
        ("pick: join, separator: ''", "13 "),
        ("pick: join, separator: ';', skip_blank: true", "1;3"),
    ],
)
def test_pick(options: str, expected: str) -> None:
    content = "<r><x>1</x><x/><x>3</x><x> </x></r>"
    for path in ("x", "'x[true()]'"):
        assert value(f"{{from: {path}, type: nvarchar(max), {options}}}", content) == expected
    attributes = "<r><x k='1'/><x k=''/><x/><x k='3'/><x k=' '/></r>"
    for path in ("x/@k", "'x[true()]/@k'"):
        assert value(f"{{from: {path}, type: nvarchar(max), {options}}}", attributes) == expected


@pytest.mark.parametrize("path", ["x", "x/@k", "x/text()", "'x[true()]'", "'x[true()]/@k'", "[z, x]"])
def test_several_nodes_for_one_value(path: str) -> None:
    plan = one(f"{{from: {path}, type: nvarchar(max), on_invalid: reject}}")
    rejection = rejected(plan, "<r><x k='1'>SECRET</x><x k='1'>SECRET</x></r>")
    assert (rejection.stage, rejection.code, rejection.table, rejection.column) == (
        Stage.MAP,
        "several_nodes",
        "t",
        "c",
    )
    assert map_document(plan, "<r><x k='1'>1</x></r>")["t"] == [(1, "1")]


def test_an_empty_node_is_one_of_several() -> None:
    assert rejected(one("{from: x, type: nvarchar(max)}"), "<r><x/><x>1</x></r>").code == "several_nodes"


def test_several_nodes_are_never_forgiven() -> None:
    assert (
        rejected(one("{from: x, type: int, on_invalid: 'null'}"), "<r><x>1</x><x>2</x></r>").code
        == "several_nodes"
    )


def test_a_candidate_that_is_not_looked_at_may_have_several_nodes() -> None:
    plan = one("{from: [x, y], type: int}")
    assert map_document(plan, "<r><x>7</x><y>1</y><y>2</y></r>")["t"] == [(1, 7)]
    assert rejected(plan, "<r><x/><y>1</y><y>2</y></r>").code == "several_nodes"


def test_expression_over_several_nodes() -> None:
    plan = one("{expr: \"UPPER(path('x'))\", type: nvarchar(9)}")
    assert map_document(plan, "<r><x>a</x></r>")["t"] == [(1, "A")]
    assert rejected(plan, "<r><x>a</x><x>b</x></r>").code == "several_nodes"


def test_serialised_subtree() -> None:
    assert value("{xml: x, type: xml}", "<r><x a='1'>b<c/></x>tail</r>") == '<x a="1">b<c/></x>'
    assert value("{xml: ., type: nvarchar(max)}", "<r><x/></r>") == "<r><x/></r>"
    assert value("{xml: x, type: xml}", "<r/>") is None


def test_loaders_own_words() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns:
            id:    {from: $key, type: varchar(9)}
            kind:  {from: $source.kind, type: varchar(9)}
            size:  {from: $source.size, type: "decimal(5,2)"}
            doc:   {from: $document, type: nvarchar(max)}
            fixed: {value: "2024-02-01", type: date}
            now:   {expr: "GETUTCDATE()", type: datetime2(0)}
        """
    )
    assert list(plan.source.columns) == ["kind", "size"]
    mapped = map_document(plan, "\ufeff<r> x</r>", key="A7", columns=("k", 1.5))
    assert mapped["t"] == [("A7", "k", Decimal("1.50"), "<r> x</r>", "2024-02-01", "2024-05-06 07:08:09")]
    mapped = map_document(plan, "<r>é<!-- x --></r>".encode("utf-16"), columns=(None, Decimal("2")))
    assert mapped["t"][0][:4] == ("1", None, Decimal("2.00"), "<r>é</r>")


def test_key_that_does_not_fit() -> None:
    plan = one("{from: x, type: int}")
    rejection = rejected(plan, "<r/>", key="SECRET")
    assert (rejection.code, rejection.column) == ("not_convertible", "id")


# ------------------------------------------------------------------------------------------ policies


@pytest.mark.parametrize(
    ("column", "content", "expected"),
    [
        ("{from: x, type: int, on_invalid: 'null'}", "<r><x>SECRET</x></r>", None),
        ("{from: x, type: int, on_invalid: 'null', default: 7}", "<r><x>SECRET</x></r>", 7),
        ("{from: x, type: tinyint, on_overflow: 'null'}", "<r><x>300</x></r>", None),
        ("{from: x, type: tinyint, on_overflow: 'null', default: 7}", "<r><x>300</x></r>", 7),
        ("{from: x, type: tinyint, default: 7}", "<r/>", 7),
        ("{from: x, type: tinyint, default: 7}", "<r><x> </x></r>", 7),
        ("{from: x, type: nvarchar(3), default: abc}", "<r/>", "abc"),
        ("{from: x, type: nvarchar(3), default: abc}", "<r><x/></r>", ""),
        ("{from: x, type: nvarchar(3), default: abc, empty: 'null'}", "<r><x/></r>", "abc"),
        ("{from: x, type: varchar(3), empty: 'null'}", "<r><x/></r>", None),
        ("{from: x, type: nvarchar(max), default: abc}", "<r/>", "abc"),
        ("{from: x, type: varchar(3), default: abc}", "<r/>", "abc"),
        ("{from: x, type: char(3)}", "<r><x>é</x></r>", "é  "),
        ("{from: x, apply: [trim, upper], type: varchar(3)}", "<r><x> ab </x></r>", "AB"),
        ("{expr: \"path('x', 'int') / 0\", type: int, on_invalid: 'null'}", "<r><x>1</x></r>", None),
        ("{expr: \"path('x', 'int')\", type: tinyint, on_overflow: 'null'}", "<r><x>300</x></r>", None),
        ("{expr: \"path('x')\", type: nvarchar(3), default: abc}", "<r/>", "abc"),
        ("{expr: \"path('x')\", type: nvarchar(3), empty: 'null'}", "<r><x/></r>", None),
    ],
)
def test_policies(column: str, content: str, expected: object) -> None:
    assert value(column, content) == expected


@pytest.mark.parametrize(
    ("column", "content", "code"),
    [
        ("{from: x, type: int}", "<r><x>SECRET</x></r>", "not_convertible"),
        ("{from: x, type: tinyint}", "<r><x>300</x></r>", "out_of_range"),
        ("{from: x, type: nvarchar(3)}", "<r><x>SECRET</x></r>", "too_long"),
        ("{from: x, type: nvarchar(3)}", "<r><x>🎵🎵</x></r>", "too_long"),
        ("{from: x, type: varchar(3)}", "<r><x>Ω</x></r>", "not_in_code_page"),
        ("{from: x, type: nvarchar(3), required: true}", "<r/>", "required_missing"),
        ("{from: x, type: int, required: true}", "<r><x> </x></r>", "required_missing"),
        (
            "{from: x, type: int, required: true, on_invalid: 'null'}",
            "<r><x>SECRET</x></r>",
            "required_missing",
        ),
        (
            "{from: x, type: tinyint, required: true, on_overflow: 'null'}",
            "<r><x>300</x></r>",
            "required_missing",
        ),
        ("{expr: \"path('x')\", type: nvarchar(3)}", "<r><x>SECRET</x></r>", "too_long"),
        ("{expr: \"1 / path('x', 'int')\", type: int}", "<r><x>0</x></r>", "division_by_zero"),
    ],
)
def test_refusals(column: str, content: str, code: str) -> None:
    rejection = rejected(one(column), content)
    assert (rejection.stage, rejection.code, rejection.table, rejection.column) == (Stage.MAP, code, "t", "c")
    assert "t.c" in rejection.message


def test_truncation_is_counted() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns:
            id: {from: $key, type: int}
            a:  {from: a, type: nvarchar(3), on_overflow: truncate}
            b:  {from: b, type: varchar(2), on_overflow: truncate}
        """
    )
    mapped = map_document(plan, "<r><a>ab🎵</a><b>xyz</b></r>")
    assert mapped["t"] == [(1, "ab", "xy")]
    assert mapped.result.truncated_values == 2
    assert map_document(plan, "<r><a>abc</a></r>").result.truncated_values == 0


# ------------------------------------------------------------------------------------------ rows

CONTACTS = """
    t:
      primary_key: [id]
      columns:
        id:   {from: $key, type: int}
        base: {from: "@base", type: int}
    contact:
      parent: t
      rows: cs/c
      OPTIONS
      primary_key: [id, n]
      columns:
        id:   {from: $parent}
        n:    {from: $position, type: int}
        cid:  {from: "@id", type: int}
        role: {from: "@role", type: varchar(4)}
    phone:
      parent: contact
      rows: p
      primary_key: [id, n, m]
      columns:
        id:   {from: $parent}
        n:    {from: $parent}
        m:    {from: $position, type: int}
        no:   {from: ., type: varchar(5), required: true}
"""


def contacts(options: str = "") -> Plan:
    return plan_of(CONTACTS.replace("OPTIONS", options))


def test_children_of_children() -> None:
    mapped = map_document(
        contacts(),
        "<r base='5'><cs><c id='7' role='A'><p>1</p><x/><p>2</p></c></cs><z/>"
        "<cs><c/><d/><c id='8'><p>3</p></c></cs></r>",
    )
    assert mapped["t"] == [(1, 5)]
    assert mapped["contact"] == [(1, 1, 7, "A"), (1, 2, None, None), (1, 3, 8, None)]
    assert mapped["phone"] == [(1, 1, 1, "1"), (1, 1, 2, "2"), (1, 3, 1, "3")]


def test_where_keeps_positions_and_drops_children() -> None:
    plan = contacts("where: \"role IN ('A', 'B') AND cid IS NOT NULL AND t.base > 3\"")
    content = (
        "<r base='5'><cs><c id='1' role='X'><p>far too long</p></c><c id='2' role='a'><p>1</p></c>"
        "<c role='B'/><c id='4'/></cs></r>"
    )
    mapped = map_document(plan, content)
    assert mapped["contact"] == [(1, 2, 2, "a")]
    assert mapped["phone"] == [(1, 2, 1, "1")]
    assert map_document(plan, content.replace("'5'", "'3'"))["contact"] == []


@pytest.mark.parametrize(
    "order", ["role = 'A' AND cid > 0", "cid > 0 AND role = 'A'", "(cid > 0 AND n > 0) AND role = 'A'"]
)
def test_what_is_wrong_with_dropped_rows_does_not_matter(order: str) -> None:
    plan = contacts(f'where: "{order}"')
    for wrong in ("id='SECRET' role='B'", "id='99999999999' role='B'", "id='1' role='SECRET'"):
        mapped = map_document(
            plan, f"<r><cs><c {wrong}><p>SECRET SECRET</p></c><c id='3' role='A'/></cs></r>"
        )
        assert mapped["contact"] == [(1, 2, 3, "A")]
    assert rejected(plan, "<r><cs><c id='SECRET' role='A'/></cs></r>").code == "not_convertible"


def test_a_condition_that_cannot_be_judged_is_no_reason_to_drop() -> None:
    plan = contacts('where: "cid IS NOT NULL"')
    rejection = rejected(plan, "<r><cs><c id='SECRET'/></cs></r>")
    assert (rejection.code, rejection.table, rejection.column) == ("not_convertible", "contact", None)
    several = contacts("where: \"path('k') = 'x'\"")
    assert rejected(several, "<r><cs><c><k>x</k><k>y</k></c></cs></r>").code == "several_nodes"
    division = contacts("where: \"1 / cid = 1 AND role = 'A'\"")
    assert rejected(division, "<r><cs><c id='0' role='A'/></cs></r>").code == "division_by_zero"
    assert map_document(division, "<r><cs><c id='0' role='B'/></cs></r>")["contact"] == []


def test_condition_sees_a_value_that_is_too_long_or_out_of_range() -> None:
    plan = contacts('where: "LEN(role) = 6 AND cid > 2147483647"')
    content = "<r><cs><c id='2147483648' role='SECRET'/><c id='1' role='A'/></cs></r>"
    assert rejected(plan, content).code == "out_of_range"
    plan = contacts('where: "LEN(role) < 6"')
    assert map_document(plan, content)["contact"] == [(1, 2, 1, "A")]


@pytest.mark.parametrize(
    ("unique", "kept"),
    [
        ("{by: [cid]}", [1, 2, 4, 5]),
        ("{by: [cid], keep: last}", [3, 4, 5, 6]),
        ("{by: [cid], prefer: {column: role, values: [C, B]}}", [2, 3, 4, 5]),
        ("{by: [cid], keep: last, prefer: {column: role, values: [Z, A]}}", [1, 4, 5, 6]),
        ("{by: [cid, role]}", [1, 2, 3, 4, 5]),
    ],
)
def test_unique(unique: str, kept: list[int]) -> None:
    plan = contacts(f"unique: {unique}")
    content = (
        "<r><cs><c id='7' role='A'/><c id='8' role='B'/><c id='7' role='C'/><c role='A'/><c role='A'/>"
        "<c id='8' role='B'/></cs></r>"
    )
    assert [row[1] for row in map_document(plan, content)["contact"]] == kept


def test_unique_holds_within_one_parent_row() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns: {id: {from: $key, type: int}}
        a:
          parent: t
          rows: a
          primary_key: [id, n]
          columns: {id: {from: $parent}, n: {from: $position, type: int}}
        b:
          parent: a
          rows: b
          unique: {by: v}
          primary_key: [id, n, v]
          columns: {id: {from: $parent}, n: {from: $parent}, v: {from: ., type: int, required: true}}
        """
    )
    mapped = map_document(plan, "<r><a><b>1</b><b>1</b><b>2</b></a><a><b>1</b></a></r>")
    assert mapped["b"] == [(1, 1, 1), (1, 1, 2), (1, 2, 1)]


def test_overflow_and_required_come_after_unique() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns: {id: {from: $key, type: int}}
        c:
          parent: t
          rows: c
          unique: {by: k, keep: last}
          primary_key: [id, n]
          columns:
            id: {from: $parent}
            n:  {from: $position, type: int}
            k:  {from: "@k", type: int}
            v:  {from: "@v", type: varchar(3), required: true}
            w:  {from: "@w", type: tinyint}
        """
    )
    good = "<c k='1' v='abc' w='1'/>"
    for wrong in ("v='SECRET'", "v='a' w='300'", "w='1'"):
        assert map_document(plan, f"<r><c k='1' {wrong}/>{good}</r>")["c"] == [(1, 2, 1, "abc", 1)]
        assert rejected(plan, f"<r>{good}<c k='1' {wrong}/></r>").table == "c"
    # What cannot be converted at all is wrong before that.
    assert rejected(plan, f"<r><c k='1' v='a' w='x'/>{good}</r>").code == "not_convertible"


EMPTY = """
    t:
      primary_key: [id]
      columns: {id: {from: $key, type: int}}
    c:
      parent: t
      rows: c
      drop_empty: true
      primary_key: [id, n]
      columns:
        id: {from: $parent}
        n:  {from: $position, type: int}
        k:  {value: x, type: varchar(1)}
        a:  {from: "@a", type: nvarchar(5), empty: "null"}
        b:  {from: b, type: int, DEFAULT}
"""


@pytest.mark.parametrize(
    ("default", "expected"),
    [
        ("required: false", [(1, 2, "x", "v", None), (1, 4, "x", None, 3)]),
        ("default: 9", [(1, 2, "x", "v", 9), (1, 4, "x", None, 3), (1, 5, "x", None, 9)]),
        (
            "default: 9, default_makes_row: true",
            [
                (1, 1, "x", None, 9),
                (1, 2, "x", "v", 9),
                (1, 3, "x", None, 9),
                (1, 4, "x", None, 3),
                (1, 5, "x", None, 9),
            ],
        ),
    ],
)
def test_drop_empty(default: str, expected: list[object]) -> None:
    content = (
        "<r><c/><c a='v'/><c a=''><b> </b></c><c><b>3</b></c>"
        + ("<c><b>9</b></c>" if "9" in default else "")
        + "</r>"
    )
    if "makes_row" in default:
        content = content.replace("<b>9</b>", "")
    assert map_document(plan_of(EMPTY.replace("DEFAULT", default)), content)["c"] == expected


def test_what_an_enum_puts_where_nothing_is_does_not_keep_a_row() -> None:
    contract = EMPTY.replace("type: int, DEFAULT", "type: int, enum: e")
    content = "<r><c/><c a='v'/><c><b> </b></c><c><b>none</b></c></r>"
    head = "document: {root: /r}\nenums: {e: {values: {none: 0}, missing: 0}}"
    found = map_document(plan_of(contract, head), content)["c"]
    assert found == [(1, 2, "x", "v", 0), (1, 4, "x", None, 0)]


RECURSIVE = """
    t:
      primary_key: [id]
      columns: {id: {from: $key, type: int}}
    k:
      parent: t
      rows: ts/k
      recurse: SUB
      primary_key: [id, n]
      columns:
        id: {from: $parent}
        n:  {from: $position, type: int}
        up: {from: $parent_position, type: int}
        v:  {from: "@v", type: varchar(5)}
    a:
      parent: k
      rows: a
      primary_key: [id, n, m]
      columns:
        id: {from: $parent}
        n:  {from: $parent}
        m:  {from: $position, type: int}
        up: {from: $parent.up}
"""


@pytest.mark.parametrize("recurse", ["sub/k", "'sub[true()]/k'", "'*/k'"])
def test_recursion(recurse: str) -> None:
    plan = plan_of(RECURSIVE.replace("SUB", recurse))
    mapped = map_document(
        plan,
        "<r><ts><k v='1'><sub><k v='11'><sub><k v='111'><a/><a/></k></sub></k><k v='12'/></sub></k>"
        "<k v='2'><a/></k></ts></r>",
    )
    assert mapped["k"] == [
        (1, 1, None, "1"),
        (1, 2, 1, "11"),
        (1, 3, 2, "111"),
        (1, 4, 1, "12"),
        (1, 5, None, "2"),
    ]
    assert mapped["a"] == [(1, 3, 1, 2), (1, 3, 2, 2), (1, 5, 1, None)]


def test_recursion_that_goes_round_ends() -> None:
    plan = plan_of(RECURSIVE.replace("SUB", "'k[true()]'"))
    scopes = list(plan.scopes)
    (place,) = [i for i, scope in enumerate(scopes) if scope.recurse is not None]
    recurse = scopes[place].recurse
    assert recurse is not None
    scopes[place] = replace(scopes[place], recurse=replace(recurse, xpath="//k | .."))
    plan = replace(plan, scopes=tuple(scopes))
    mapped = map_document(plan, "<r><ts><k v='1'><k v='2'/></k></ts></r>")
    assert [row[3] for row in mapped["k"]] == ["1", None, None, "2"]  # ts and r are reached by ..


def test_deep_recursion() -> None:
    depth = 120
    content = "<r><ts><k>" + "<sub><k>" * depth + "</k></sub>" * depth + "</k></ts></r>"
    rows = map_document(plan_of(RECURSIVE.replace("SUB", "sub/k")), content)["k"]
    assert [row[2] for row in rows] == [None, *range(1, depth + 1)]


ITEMS = """
    t:
      primary_key: [id]
      columns: {id: {from: $key, type: int}}
    s:
      parent: t
      items:
        into: {name: code, value: score}
        values: {TU: "b/@tu", EX: "b/@ex", XX: "x"}
      WHERE
      primary_key: [id, code]
      columns:
        id:    {from: $parent}
        code:  {type: varchar(5), required: true}
        score: {type: int, on_overflow: "null"}
"""


def test_items() -> None:
    plan = plan_of(ITEMS.replace("WHERE", ""))
    assert map_document(plan, "<r><b tu='700' ex=' '/><x>5</x></r>")["s"] == [(1, "TU", 700), (1, "XX", 5)]
    assert map_document(plan, "<r/>")["s"] == []
    assert map_document(plan, "<r><b tu='9999999999'/></r>")["s"] == [(1, "TU", None)]
    assert rejected(plan, "<r><x>1</x><x>2</x></r>").code == "several_nodes"
    assert rejected(plan, "<r><x>SECRET</x></r>").column == "score"
    plan = plan_of(ITEMS.replace("WHERE", "where: \"score > 600 OR code = 'XX'\""))
    assert map_document(plan, "<r><b tu='700' ex='500'/><x>5</x></r>")["s"] == [(1, "TU", 700), (1, "XX", 5)]


def test_one_to_one_child_and_scopes_without_a_table() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns: {id: {from: $key, type: int}, v: {from: "@v", type: int}}
        u:
          parent: t
          primary_key: [id]
          columns: {id: {from: $parent}, v: {from: "@v", type: varchar(5)}, w: {from: $parent.v}}
        w:
          parent: u
          rows: w
          primary_key: [id, n]
          columns: {id: {from: $parent}, n: {from: $position, type: int}, s: {expr: "t.v + w.n", type: int}}
        """
    )
    mapped = map_document(plan, "<r v='07'><w/><w/></r>")
    assert mapped.rows == {"t": [(1, 7)], "u": [(1, "07", 7)], "w": [(1, 1, 8), (1, 2, 9)]}


def test_columns_in_any_order() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns:
            c:  {expr: "b + 1", type: int}
            b:  {expr: "a * 2", type: int}
            a:  {from: "@a", type: int, default: 5}
            id: {from: $key, type: int}
        """
    )
    assert map_document(plan, "<r a='2'/>")["t"] == [(5, 4, 2, 1)]
    assert map_document(plan, "<r/>")["t"] == [(11, 10, 5, 1)]
    assert rejected(plan, "<r a='SECRET'/>").column == "a"


# ------------------------------------------------------------------------------------------ documents


def test_another_root_is_skipped() -> None:
    plan = one("{from: x, type: int}", "document: {root: [/r, /s]}")
    assert map_document(plan, "<s><x>1</x></s>")["t"] == [(1, 1)]
    rejection = skipped(plan, "<SECRET/>")
    assert (rejection.stage, rejection.code) == (Stage.MAP, "other_root")
    assert skipped(plan, "<r xmlns='u'/>").code == "other_root"


def test_document_where() -> None:
    plan = one("{from: x, type: int}", "document: {root: /r, where: \"path('@type') = 'LOAN'\"}")
    assert map_document(plan, "<r type='LOAN'><x>1</x></r>")["t"] == [(1, 1)]
    assert skipped(plan, "<r type='SECRET'><x>no number</x></r>").code == "document_where"
    assert skipped(plan, "<r/>").code == "document_where"


def test_document_where_that_cannot_be_judged() -> None:
    plan = one("{from: x, type: int}", "document: {root: /r, where: \"path('k', 'int') > 1\"}")
    assert rejected(plan, "<r><k>SECRET</k></r>").code == "not_convertible"
    assert rejected(plan, "<r><k>1</k><k>2</k></r>").code == "several_nodes"


def test_root_table_without_a_row() -> None:
    tables = """
        t:
          rows: a/b
          WHERE
          primary_key: [id, n]
          columns: {id: {from: $key, type: int}, n: {from: $position, type: int}}
        """
    plan = plan_of(tables.replace("WHERE", ""))
    assert map_document(plan, "<r><a><b/></a><a><b/></a></r>")["t"] == [(1, 1), (1, 2)]
    rejection = rejected(plan, "<r><a/></r>")
    assert (rejection.code, rejection.table) == ("no_rows", "t")
    # A condition that drops them all is what the contract says.
    assert map_document(plan_of(tables.replace("WHERE", 'where: "n > 5"')), "<r><a><b/></a></r>")["t"] == []


NAMESPACES = 'document: {root: /d:r, namespaces: {d: "urn:d", o: "urn:o"}}'


@pytest.mark.parametrize(
    "content",
    [
        "<r xmlns='urn:d'><x o:a='2' xmlns:o='urn:o'>1</x><y xmlns='urn:o'>3</y></r>",
        "<p:r xmlns:p='urn:d' xmlns:q='urn:o'><p:x q:a='2'>1</p:x><q:y>3</q:y></p:r>",
        "<d:r xmlns:d='urn:d'><d:x xmlns:z='urn:o' z:a='2'>1</d:x><d:y>no</d:y><y>no</y>"
        "<y xmlns='urn:o'>3</y></d:r>",
    ],
)
def test_namespaces_with_any_prefix(content: str) -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns:
            id: {from: $key, type: int}
            x:  {from: "d:x", type: int}
            a:  {from: "d:x/@o:a", type: int}
            y:  {from: "o:y[true()]", type: int}
        """,
        NAMESPACES,
    )
    assert map_document(plan, content)["t"] == [(1, 1, 2, 3)]
    assert skipped(plan, "<d:r xmlns:d='urn:other'/>").code == "other_root"


def test_default_namespace() -> None:
    head = 'document: {root: /r, namespaces: {"": "urn:d"}}'
    assert value("{from: x/@a, type: int}", "<p:r xmlns:p='urn:d'><p:x a='1'/><x a='2'/></p:r>", head) == 1
    assert value("{from: 'x[1]/@a', type: int}", "<r xmlns='urn:d'><x a='1'/></r>", head) == 1


def test_names_that_ignore_case() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns:
            id: {from: $key, type: int}
            v:  {from: "Data/@Val", type: int}
            w:  {from: "data/ITEM[@k='1']", type: varchar(5)}
        c:
          parent: t
          rows: Data/Child
          primary_key: [id, n]
          columns: {id: {from: $parent}, n: {from: $position, type: int}, a: {from: "@A", type: int}}
        """,
        "document: {root: /R, ignore_case: true}",
    )
    content = "<r><DATA vAL='1'><Item K='1'>x</Item><CHILD a='5'/><child A='6'/></DATA></r>"
    mapped = map_document(plan, content)
    assert mapped["t"] == [(1, 1, "x")]
    assert mapped["c"] == [(1, 1, 5), (1, 2, 6)]
    assert rejected(plan, content.replace("vAL='1'", "vAL='1' Val='2'")).code == "several_nodes"


def test_unknown_elements() -> None:
    tables = """
        t:
          primary_key: [id]
          columns:
            id: {from: $key, type: int}
            x:  {from: x, type: int}
            s:  {xml: whole, type: xml}
            y:  {from: "y[@k]/z", type: int}
        k:
          parent: t
          rows: ks/k
          recurse: sub/k
          primary_key: [id, n]
          columns: {id: {from: $parent}, n: {from: $position, type: int}, v: {from: v, type: int}}
        """
    content = (
        "<r><x>1</x><whole><any/></whole><y k='1'><z>1</z></y><new><deep/></new><new/>"
        "<ks><k><v>1</v><sub><k><v/><odd/></k></sub></k></ks></r>"
    )
    reporting = plan_of(tables, "document: {root: /r}\nunknown_elements: report")
    assert map_document(reporting, content).result.unknown_elements == ("r/new", "r/ks/k/sub/k/odd")
    assert map_document(plan_of(tables), content).result.unknown_elements == ()
    many = "<r>" + "".join(f"<e{i}/>" for i in range(5000)) + "</r>"
    assert len(map_document(reporting, many).result.unknown_elements) == 100


def test_join_of_very_many_nodes_is_quick() -> None:
    content = "<r>" + "<x>abcdefghij</x>" * 300_000 + "</r>"
    result = value("{from: x, type: nvarchar(max), pick: join, separator: ''}", content)
    assert result == "abcdefghij" * 300_000


def test_candidates_in_a_row_that_is_made_with_care() -> None:
    plan = plan_of(
        """
        t:
          primary_key: [id]
          columns:
            id: {from: $key, type: int}
            c:  {from: [x, "@a"], type: nvarchar(9)}
            d:  {from: d, type: tinyint, on_overflow: "null"}
        """
    )
    assert map_document(plan, "<r a='1'><x> </x><d>300</d></r>")["t"] == [(1, "1", None)]
    assert map_document(plan, "<r><x> </x><d>300</d></r>")["t"] == [(1, " ", None)]
