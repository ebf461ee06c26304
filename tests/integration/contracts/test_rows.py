"""Which rows documents become: order of the steps, recursion, items, paths, keys; read back with SQL."""

from __future__ import annotations

import pytest

from tests.integration.contracts.support import (
    columns_of,
    contract_of,
    loaded,
    refused,
    rows_of,
    stage_documents,
)
from tests.support.tables import blanks_count, dialect_of
from xml_extractor.mapping.records import Key

ROOT = """
t:
  primary_key: k
  columns: {k: {from: $key, type: int}}
"""


def test_order_of_a_row_group(database_url: str) -> None:
    """Convert → where → unique → required and overflow; positions count before where."""
    contract = contract_of(
        ROOT
        + """
u:
  parent: t
  rows: u
  where: "path('@keep') = 'y'"
  unique: {by: [id], keep: last}
  primary_key: [k, id]
  columns:
    k: {from: $parent}
    id: {from: "@id", type: int, required: true}
    p: {from: $position, type: int}
    s: {from: s, type: varchar(3), required: true}
"""
    )
    documents: dict[Key, str | None] = {
        1: '<r><u id="1" keep="n"/><u id="1" keep="y"><s>long</s></u><u id="1" keep="y"><s>ok</s></u></r>',
        2: '<r><u id="x" keep="n"/><u id="2" keep="y"><s>a</s></u></r>',
        3: '<r><u id="x" keep="y"/><u id="2" keep="y"><s>a</s></u></r>',
        4: '<r><u id="1" keep="y"><s>a</s></u><u id="1" keep="y"/></r>',
        5: '<r><u keep="y"><s>a</s></u></r>',
        6: '<r><u id="1" keep="y"><s>a</s><s>b</s></u><u id="1" keep="y"><s>c</s></u></r>',
        7: '<r><u id="1" keep="n"><s>a</s><s>b</s></u><u id="1" keep="y"><s>c</s></u></r>',
    }
    stage_documents(database_url, documents)
    loaded(database_url, contract)
    assert rows_of(database_url, contract) == {
        "t": [(1,), (2,), (7,)],
        "u": [(1, 1, 3, "ok"), (2, 2, 2, "a"), (7, 1, 2, "c")],
    }
    assert refused(database_url) == {
        "3": "not_convertible", "4": "required_missing", "5": "required_missing", "6": "several_nodes",
    }  # fmt: skip


def test_recursion_with_children_of_nested_rows(database_url: str) -> None:
    contract = contract_of(
        ROOT
        + """
track:
  parent: t
  rows: tl/track
  recurse: sub/track
  primary_key: [k, pos]
  columns:
    k: {from: $parent}
    pos: {from: $position, type: int}
    up: {from: $parent_position, type: int}
    title: {from: title, type: nvarchar(9)}
artist:
  parent: track
  rows: a
  primary_key: [k, pos, n]
  columns:
    k: {from: $parent}
    pos: {from: $parent}
    n: {from: $position, type: int}
    v: {from: ., type: nvarchar(9)}
"""
    )
    stage_documents(
        database_url,
        {
            1: "<r><tl><track><a>x</a><title>1</title><sub><track><title>1.1</title><a>y</a><a>z</a><sub>"
            "<track><title>1.1.1</title></track></sub></track><track><title>1.2</title></track></sub></track>"
            "<track><title>2</title><a>q</a></track></tl></r>"
        },
    )
    loaded(database_url, contract)
    assert rows_of(database_url, contract) == {
        "t": [(1,)],
        "track": [
            (1, 1, None, "1"),
            (1, 2, 1, "1.1"),
            (1, 3, 2, "1.1.1"),
            (1, 4, 1, "1.2"),
            (1, 5, None, "2"),
        ],
        "artist": [(1, 1, 1, "x"), (1, 2, 1, "y"), (1, 2, 2, "z"), (1, 5, 1, "q")],
    }


def test_ancestors_preference_and_rows_of_a_neighbour(database_url: str) -> None:
    contract = contract_of(
        """
t:
  primary_key: k
  columns: {k: {from: $key, type: int}, cut: {from: "@min", type: int}, code: {from: "@c", type: char(4)}}
u:
  parent: t
  rows: u
  where: "v >= t.cut AND t.code = 'AB'"
  unique: {by: [k, kind], keep: last, prefer: {column: role, values: [P, J]}}
  primary_key: [k, kind]
  columns:
    k: {from: $parent}
    kind: {from: "@kind", type: varchar(5), default: none}
    role: {from: "@role", type: char(2)}
    v: {from: "@v", type: int}
w:
  parent: u
  rows: "../x"
  primary_key: [k, kind, n]
  columns:
    k: {from: $parent}
    kind: {from: $parent}
    n: {from: $position, type: int}
    s: {expr: "CONCAT(t.code, u.v, path('.'))", type: varchar(50)}
"""
    )
    # As a key, this is "a" where trailing blanks do not count.
    padded = "a " if blanks_count(dialect_of(database_url)) else "b "
    stage_documents(
        database_url,
        {
            1: '<r min="2" c="AB"><u kind="a" role="J" v="2"/><u kind="a" role="P" v="3"/><u kind="a" '
            'role="P" v="4"/><u kind="a" role="Q" v="5"/><u v="1"/><u v="6"/>'
            '<u v="7" role="J"/><x>q</x><x>s</x></r>',
            2: '<r c="AB"><u v="1"/></r>',
            3: '<r min="1" c="ab"><u kind="A" v="1"/><u kind="a" v="1"/>' + f'<u kind="{padded}" v="2"/></r>',
        },
    )
    loaded(database_url, contract)
    assert rows_of(database_url, contract) == {
        "t": [(1, 2, "AB  "), (2, None, "AB  "), (3, 1, "ab  ")],
        "u": [
            *sorted(
                [(1, "a", "P ", 4), (1, "none", "J ", 7), (3, "A", None, 1), (3, padded, None, 2),
                 (3, "a", None, 1)],
                key=repr,
            ),
        ],
        "w": [
            (1, "a", 1, "AB  4q"), (1, "a", 2, "AB  4s"), (1, "none", 1, "AB  7q"), (1, "none", 2, "AB  7s"),
        ],
    }  # fmt: skip


def test_items(database_url: str) -> None:
    contract = contract_of(
        ROOT
        + """
score:
  parent: t
  items: {into: {name: code, value: score}, values: {TU: "B/@tu", EX: "B/@ex", "É": C}}
  where: "score > 300"
  columns: {score: {type: int}}
"""
    )
    documents: dict[Key, str | None] = {
        1: '<r><B tu="301" ex=" "/><C>400</C></r>', 2: '<r><B tu="1" ex="500"/></r>', 3: '<r><B tu="x"/></r>',
        4: "<r/>", 5: '<r><B tu="301"/><B tu="302"/></r>',
    }  # fmt: skip
    stage_documents(database_url, documents)
    loaded(database_url, contract)
    assert rows_of(database_url, contract) == {
        "t": [(1,), (2,), (4,)],
        "score": [(1, 301, "TU"), (1, 400, "É"), (2, 500, "EX")],
    }
    assert refused(database_url).keys() == {"3", "5"}


def test_paths(database_url: str) -> None:
    contract = columns_of(
        "a: {from: \"p[@t='X'][last()]\", type: varchar(9)}",
        'b: {from: "p[1]", type: varchar(9)}',
        'c: {from: "p[last()]/@n", type: int}',
        'd: {from: "p", type: varchar(9), pick: join}',
        "g: {from: [q, p/@n, z], type: varchar(9), pick: first}",
    )
    stage_documents(
        database_url,
        {
            1: '<r><p t="X" n="1">a</p><p t="X" n="2">b</p><p n="3">c</p></r>', 2: "<r/>",
            3: '<r><q> </q><p n="7"/></r>',
        },
    )  # fmt: skip
    loaded(database_url, contract)
    assert rows_of(database_url, contract)["t"] == [
        (1, "b", "a", 3, "a, b, c", "1"), (2, None, None, None, None, None), (3, None, "", 7, "", "7"),
    ]  # fmt: skip


def test_names_in_any_case(database_url: str) -> None:
    contract = columns_of(
        "v: {from: Name/@ID, type: varchar(9)}",
        "w: {from: \"name[@id='a']\", type: varchar(9)}",
        root="document: {root: /R, ignore_case: true}",
    )
    documents: dict[Key, str | None] = {
        1: '<r><NAME Id="a">x</NAME></r>', 2: '<R><name ID="a" id="b">x</name></R>',
        3: '<R><name iD="b">x</name><NAME/></R>',
    }  # fmt: skip
    stage_documents(database_url, documents)
    loaded(database_url, contract)
    assert rows_of(database_url, contract)["t"] == [(1, "a", "x"), (3, "b", None)]
    assert refused(database_url) == {"2": "several_nodes"}


def test_namespaces_with_any_prefix(database_url: str) -> None:
    contract = columns_of(
        "v: {from: n:a/@x, type: varchar(9)}",
        'w: {from: "n:b[n:c]", type: varchar(9)}',
        "x: {from: n:a/@m:y, type: varchar(9)}",
        root='document: {root: /n:r, namespaces: {n: "urn:N", m: "urn:m"}}',
    )
    documents: dict[Key, str | None] = {
        1: '<r xmlns="urn:N"><a x="1" p:y="2" xmlns:p="urn:m"/><b>q<c/></b></r>',
        2: '<z:r xmlns:z="urn:N"><z:a x="1" y="no"/><a x="none"/></z:r>', 3: '<r xmlns="urn:n"/>', 4: "<r/>",
    }  # fmt: skip
    stage_documents(database_url, documents)
    summary = loaded(database_url, contract)
    assert rows_of(database_url, contract)["t"] == [(1, "1", "q", "2"), (2, "1", None, None)]
    assert summary.documents.skipped == 2


def test_hostile_and_odd_documents(database_url: str) -> None:
    contract = columns_of("v: {from: v, type: nvarchar(50)}", "o: {from: v/text(), type: nvarchar(50)}")
    documents: dict[Key, str | None] = {
        1: "<r><v>a<!-- c -->b<?pi x?>c<![CDATA[<&>]]>d<e>E</e>f&amp;&#65;</v></r>",
        2: "<r><v><![CDATA[]]></v></r>", 3: "<r><v><!-- only --></v></r>",
        4: "<r><v>a&#13;&#10;b\r\nc\td</v></r>", 5: "<!DOCTYPE r><r><v>dt</v></r>", 6: "   \n<r><v>z</v></r>",
        7: "\ufeff<r><v>bom</v></r>", 8: '<?xml version="1.0" encoding="utf-16"?><r><v>é</v></r>',
        11: "<r>&foo;</r>", 12: '<r a="&foo;"/>', 13: '<!DOCTYPE r [<!ENTITY a "b">]><r><v>&a;</v></r>',
        14: '<!DOCTYPE r SYSTEM "http://x/y.dtd"><r><v a="&q;">&q;</v></r>', 15: None, 16: "",
        17: "<r>" + "<a>" * 300 + "</a>" * 300 + "</r>", 18: "<r><v>\x01</v></r>", 19: "<r/><r/>",
    }  # fmt: skip
    stage_documents(database_url, documents)
    loaded(database_url, contract)
    assert rows_of(database_url, contract)["t"] == [
        (1, "abc<&>dEf&A", "abc<&>df&A"), (2, "", ""), (3, "", None), (4, "a\r\nb\nc\td", "a\r\nb\nc\td"),
        (5, "dt", "dt"), (6, "z", "z"), (7, "bom", "bom"), (8, "é", "é"),
    ]  # fmt: skip
    assert refused(database_url) == {
        "11": "entity_declared", "12": "entity_declared", "13": "entity_declared", "14": "entity_declared",
        "15": "null_document", "16": "empty_document", "17": "limit_exceeded", "18": "not_well_formed",
        "19": "not_well_formed",
    }  # fmt: skip


ODD_KEYS: list[list[Key]] = [
    ["a", "o'b", '"q"', "é", "日本", "a ", "A", "Á", " ", "\U0001f600", "a%", "a\\b", "\t", "\\N"],
    [-5, 0, 2**63 - 1, -(2**63)],
]


@pytest.mark.parametrize("keys", ODD_KEYS, ids=["text", "integer"])
def test_odd_keys_stay_apart(keys: list[Key], database_url: str) -> None:
    kind = "bigint" if isinstance(keys[0], int) else "nvarchar(20)"
    if not blanks_count(dialect_of(database_url)):
        keys = [key for key in keys if key != "a "]
    contract = contract_of(
        f"""
t:
  primary_key: k
  columns: {{k: {{from: $key, type: {kind}}}, v: {{from: "@n", type: int}}}}
u:
  parent: t
  rows: x
  primary_key: [k, n]
  columns: {{k: {{from: $parent}}, n: {{from: $position, type: int}}}}
"""
    )
    stage_documents(database_url, {key: f'<r n="{n}"><x/><x/></r>' for n, key in enumerate(keys)})
    loaded(database_url, contract)
    rows = rows_of(database_url, contract)
    assert dict(rows["t"]) == {key: n for n, key in enumerate(keys)}
    assert sorted(rows["u"], key=repr) == sorted(((key, n) for key in keys for n in (1, 2)), key=repr)
    again = loaded(database_url, contract)
    assert (again.documents.loaded, again.documents.already_loaded) == (0, len(keys))


def test_equal_keys_in_one_document(database_url: str) -> None:
    """Texts are compared exactly by every engine, trailing blanks apart, numbers by their value."""
    blanks = blanks_count(dialect_of(database_url))
    contract = contract_of(
        ROOT
        + """
u:
  parent: t
  rows: u
  primary_key: [k, c, d]
  columns:
    k: {from: $parent}
    c: {from: ., type: varchar(9), required: true}
    d: {from: "@d", type: "decimal(9,2)", default: 0}
"""
    )
    documents: dict[Key, str | None] = {
        1: "<r><u>a</u><u>A</u><u> a</u><u>é</u><u/></r>", 2: "<r><u>a</u><u>a</u></r>",
        3: '<r><u d="1"/><u d="1.00"/></r>', 4: '<r><u d="-0"/><u d="1"/></r>', 5: '<r><u d="-0"/><u/></r>',
        6: "<r><u>a</u><u>a </u></r>",
    }  # fmt: skip
    stage_documents(database_url, documents)
    loaded(database_url, contract)
    rows = rows_of(database_url, contract)
    assert rows["t"] == [(1,), (4,), *([(6,)] if blanks else [])]
    assert {(k, c) for k, c, _ in rows["u"]} == {
        (1, ""), (1, "A"), (1, " a"), (1, "a"), (1, "é"), (4, ""), *([(6, "a"), (6, "a ")] if blanks else []),
    }  # fmt: skip
    assert refused(database_url) == dict.fromkeys("235" if blanks else "2356", "unique_violation")


def test_several_root_tables_and_roots(database_url: str) -> None:
    contract = contract_of(
        """
a:
  primary_key: k
  columns: {k: {from: $key, type: int}, v: {from: v, type: varchar(5)}}
b:
  rows: w
  primary_key: [k, n]
  columns: {k: {from: $key, type: int}, n: {from: $position, type: int}, v: {from: ., type: varchar(5)}}
""",
        root="document: {root: [/r, /q], where: \"path('@t') = 'L'\"}",
    )
    documents: dict[Key, str | None] = {
        1: '<r t="L"><v>1</v><w>2</w></r>', 2: '<q t="l "><w>3</w><w>4</w></q>',
        3: '<r t="X"><v>too long</v></r>', 4: "<r/>", 5: '<z t="L"/>', 6: '<r t="L"><v>too long</v></r>',
    }  # fmt: skip
    stage_documents(database_url, documents)
    summary = loaded(database_url, contract)
    assert rows_of(database_url, contract) == {
        "a": [(1, "1"), (2, None)],
        "b": [(1, 1, "2"), (2, 1, "3"), (2, 2, "4")],
    }
    assert summary.documents.skipped == 3
    assert refused(database_url) == {"6": "too_long"}


def test_expressions(database_url: str) -> None:
    contract = columns_of(
        'a: {from: "@a", type: int}',
        'b: {from: "@b", type: varchar(10)}',
        "e1: {type: int, expr: \"CASE WHEN b IN ('x', NULL) THEN 1 WHEN NOT (b IN ('x', NULL)) THEN 2 "
        'ELSE 3 END"}',
        "e2: {expr: \"CASE WHEN b = 'ABC' THEN 1 ELSE 0 END\", type: int}",
        'e3: {expr: "a / 2", type: int}',
        "e4: {expr: \"b + '!'\", type: varchar(30)}",
        'e5: {expr: "LEN(b)", type: int}',
        "e6: {expr: \"DATEADD(month, a, path('@d', 'date'))\", type: date}",
    )
    documents: dict[Key, str | None] = {
        1: '<r a="5" b="abc " d="2024-01-31"/>', 2: "<r/>", 3: '<r a="-7" b="ABC" d="2024-02-29"/>',
        4: '<r a="1" b="ÀBC"/>', 5: '<r a="2147483647" d="2024-01-01"/>', 6: '<r a="1" d="2024-13-01"/>',
    }  # fmt: skip
    stage_documents(database_url, documents)
    loaded(database_url, contract)
    assert rows_of(database_url, contract)["t"] == [
        (1, 5, "abc ", 3, 1, 2, "abc !", 3, "2024-06-30"), (2, None, None, 3, 0, None, None, None, None),
        (3, -7, "ABC", 3, 1, -3, "ABC!", 3, "2023-07-29"), (4, 1, "ÀBC", 3, 0, 0, "ÀBC!", 3, None),
    ]  # fmt: skip
    assert refused(database_url) == {"5": "overflow", "6": "not_convertible"}


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_any_executor(executor: str, database_url: str) -> None:
    contract = columns_of(
        "v: {expr: \"CONCAT(path('@a'), N'é')\", type: nvarchar(9)}",
        'd: {from: "@d", type: "decimal(9,2)"}',
        "x: {xml: ., type: xml}",
    )
    stage_documents(database_url, {1: '<r a="x" d="1"/>', 2: '<r d="q"/>', 3: "<q/>", 4: None})
    summary = loaded(database_url, contract, executor=executor, workers=2)
    assert rows_of(database_url, contract)["t"] == [(1, "xé", "1.00", '<r a="x" d="1"/>')]
    assert refused(database_url) == {"2": "not_convertible", "4": "null_document"}
    assert summary.documents.skipped == 1
