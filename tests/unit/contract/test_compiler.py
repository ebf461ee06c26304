from __future__ import annotations

import pickle
from decimal import Decimal

import pytest

from tests.unit.contract.contracts import (
    HEAD,
    column_of,
    mistakes,
    only_mistake,
    plan_of,
    table_of,
    warnings,
    with_columns,
)
from xml_extractor.contract.expression import ColumnRef, PathRef, walk
from xml_extractor.contract.plan import Leaf, Path, Pick, SourceKind, Table
from xml_extractor.contract.types import Family

TREE = (
    HEAD
    + """\
tables:
  address:
    parent: contact
    rows: Address
    primary_key: [id, contact_id, number]
    columns:
      id: {from: $parent}
      contact_id: {from: $parent}
      number: {from: $position, type: int}
      city: {from: City, type: nvarchar(50)}
      label: {expr: "CONCAT(base.name, ' ', contact.name, ' ', city)", type: nvarchar(200)}
  base:
    primary_key: id
    columns:
      id: {from: $key, type: bigint}
      name: {from: "@name", type: nvarchar(50)}
      received: {from: $source.received_at, type: datetime2(3)}
      raw: {from: $document, type: nvarchar(max)}
  contact:
    parent: base
    rows: Contacts/Contact
    primary_key: [id, contact_id]
    columns:
      id: {from: $parent}
      contact_id: {from: "@id", type: int, required: true}
      name: {from: [Name, Alias, "@name"], type: nvarchar(50), pick: last, skip_blank: true}
      remarks: {xml: Remarks, type: xml}
  contact_flag:
    parent: contact
    columns:
      id: {from: $parent}
      contact_id: {from: $parent}
      vip: {from: "@vip", type: bit}
    primary_key: [id, contact_id]
  contact_again:
    parent: base
    rows: ./Contacts/Contact
    primary_key: [id, n]
    columns:
      id: {from: $parent}
      n: {from: $position, type: int}
      name: {from: Name, type: nvarchar(50)}
"""
)


def names(table: Table) -> list[str]:
    return [column.name for column in table.columns]


def test_parents_come_before_their_children() -> None:
    plan = plan_of(TREE)
    assert [t.name for t in plan.tables] == ["base", "contact", "address", "contact_flag", "contact_again"]
    assert [t.parent for t in plan.tables] == [None, 0, 1, 1, 0]


def test_scopes_are_shared_by_tables_whose_rows_come_from_the_same_elements() -> None:
    plan = plan_of(TREE)
    assert [t.scope for t in plan.tables] == [0, 1, 2, 1, 1]
    assert [(s.parent, s.path.steps if s.path else None) for s in plan.scopes] == [
        (None, None),
        (0, ("Contacts", "Contact")),
        (1, ("Address",)),
    ]


def test_each_path_is_captured_once_a_scope() -> None:
    text = with_columns(
        "a: {from: B/@x, type: int}",
        "b: {from: ./B/@x, type: int}",
        "c: {expr: \"COALESCE(path('B/@x', 'int'), a)\", type: int}",
        "d: {from: /Application/B/@x, type: int}",
        "e: {from: B/@x, type: int, pick: first}",
    )
    (scope,) = plan_of(text).scopes
    assert [(c.path.steps, c.path.attribute, c.pick) for c in scope.captures] == [
        (("B",), "x", Pick.ONLY),
        (("B",), "x", Pick.FIRST),
    ]
    expression = column_of(text, "c").source.expression
    assert expression is not None
    assert [node.capture for node in walk(expression) if isinstance(node, PathRef)] == [0]


def test_foreign_keys_are_the_columns_that_carry_the_parents_primary_key() -> None:
    plan = plan_of(TREE)
    assert [t.foreign_key for t in plan.tables] == [
        (),
        ((0, 0),),
        ((0, 0), (1, 1)),
        ((0, 0), (1, 1)),
        ((0, 0),),
    ]


def test_a_child_that_takes_the_source_key_itself_refers_to_its_parent_too() -> None:
    text = (
        with_columns()
        + "  u:\n    parent: t\n    primary_key: id\n    columns: {id: {from: $key, type: int}}\n"
    )
    assert table_of(text, "u").foreign_key == ((0, 0),)
    other = text.replace("{id: {from: $key, type: int}}", "{id: {from: $key, type: bigint}}")
    assert table_of(other, "u").foreign_key == ()


def test_key_column_and_reach() -> None:
    plan = plan_of(TREE)
    assert [t.key_column for t in plan.tables] == [0] * 5
    assert all(t.key_reaches_source for t in plan.tables)
    text = with_columns("a: {from: '@a', type: int, required: true}").replace(
        "primary_key: id", "primary_key: a"
    )
    assert table_of(text).key_column == 0
    assert not table_of(text).key_reaches_source


@pytest.mark.parametrize("option", ["apply: digits", "on_overflow: truncate", "on_invalid: null"])
def test_a_key_that_may_be_changed_does_not_reach_the_source(option: str) -> None:
    text = with_columns().replace("type: int}", f"type: varchar(9), required: true, {option}}}")
    assert not table_of(text).key_reaches_source


def test_types_are_inherited_from_the_parent() -> None:
    assert str(column_of(TREE, "id", "address").type) == "bigint"
    assert column_of(TREE, "id", "address").nullable is False
    assert column_of(TREE, "contact_id", "address").source.parent_column == 1


def test_sources_of_columns() -> None:
    base = table_of(TREE, "base")
    assert [c.source.kind for c in base.columns] == [
        SourceKind.KEY, SourceKind.CAPTURES, SourceKind.SOURCE_COLUMN, SourceKind.DOCUMENT,
    ]  # fmt: skip
    assert plan_of(TREE).source.columns == ("received_at",)
    assert base.columns[2].source.source_column == 0
    contact = plan_of(TREE).scopes[1]
    name = column_of(TREE, "name", "contact").source
    assert [contact.captures[i].path.text for i in name.captures] == ["Name", "Alias", "@name"]
    assert {contact.captures[i].pick for i in name.captures} == {Pick.LAST}
    assert all(contact.captures[i].blank_is_absent for i in name.captures)
    remarks = column_of(TREE, "remarks", "contact").source
    assert contact.captures[remarks.captures[0]].path == Path("Remarks", Leaf.XML, ("Remarks",))


def test_join_has_a_separator() -> None:
    text = with_columns(
        "a: {from: B, type: nvarchar(9), pick: join}", "b: {from: B, type: int, pick: join, separator: ''}"
    )
    assert [c.separator for c in plan_of(text).scopes[0].captures] == [", ", ""]


def test_expressions_see_columns_of_the_row_and_of_its_ancestors() -> None:
    expression = column_of(TREE, "label", "address").source.expression
    assert expression is not None
    references = [(n.table, n.column) for n in walk(expression) if isinstance(n, ColumnRef)]
    assert references == [(0, 1), (1, 2), (None, 3)]


def test_columns_are_ordered_by_what_their_expressions_read() -> None:
    text = with_columns(
        "c: {expr: b + a, type: int}",
        "b: {expr: T.A + 1, type: int}",
        "a: {from: '@a', type: int}",
        "n: {server_generated: true, type: bigint}",
    )
    table = table_of(text)
    assert [names(table)[i] for i in table.order] == ["id", "a", "b", "c"]


def test_columns_that_refer_to_each_other_are_a_mistake() -> None:
    found = mistakes(
        with_columns(
            "a: {expr: b + 1, type: int}",
            "b: {expr: c, type: int}",
            "c: {expr: a, type: int}",
            "d: {expr: d, type: int}",
        )
    )
    assert found == [
        "10:17: column 'a' is part of a circle: a → b → c → a",
        "13:17: column 'd' refers to itself",
    ]


def test_required_columns_can_still_be_null_when_expressions_see_them() -> None:
    text = with_columns("a: {from: '@a', type: int, required: true}", "b: {expr: a + id, type: int}")
    expression = column_of(text, "b").source.expression
    assert expression is not None
    assert [n.nullable for n in walk(expression) if isinstance(n, ColumnRef)] == [True, False]


def test_expressions_are_assigned_to_their_column() -> None:
    expression = column_of(with_columns("a: {expr: 1.255, type: 'decimal(9,2)'}"), "a").source.expression
    assert expression is not None
    assert str(expression.type) == "decimal(9,2)"
    found = only_mistake(with_columns("a: {expr: \"path('x', 'date')\", type: int}"))
    assert "use CAST" in found


@pytest.mark.parametrize(
    ("expression", "words"),
    [
        ("nam", "10:17: 't' has no column 'nam'; did you mean 'name'?"),
        ("name + nme", "10:25: 't' has no column 'nme'"),
        ("u.x", "table 'u' is no ancestor of 't'; within reach: t"),
        ("v.x", "10:17: there is no table 'v'; there are t"),
        ("number + 1", "column 'number' is numbered by the server"),
        ("path('a[')", "no closing ]"),
        ("UPER(name)", "UPPER"),
        ("name = 'x'", "10:"),
        ("name +", "10:"),
    ],
)
def test_mistakes_in_expressions(expression: str, words: str) -> None:
    text = with_columns(
        f'a: {{expr: "{expression}", type: nvarchar(50)}}'.replace('expr: "', 'expr: "'),
        "name: {from: N, type: nvarchar(50)}",
        "number: {server_generated: true, type: int}",
    )
    text += (
        "  u:\n    parent: t\n    primary_key: id\n    columns: {id: {from: $parent}, x: {from: x, type: "
        "int}}\n"
    )
    assert words in only_mistake(text)


def test_an_ancestors_column_needs_its_tables_name() -> None:
    text = TREE.replace("CONCAT(base.name, ' ', contact.name", "CONCAT(received, ' ', contact.name")
    assert "its ancestor has: write base.received" in only_mistake(text)


def test_the_condition_on_the_document_knows_paths_only() -> None:
    head = HEAD.replace("{root: /Application}", "{root: /Application, where: \"path('@type') = 'X'\"}")
    plan = plan_of(with_columns("a: {from: '@type', type: varchar(9)}", head=head))
    assert plan.document_where is not None
    assert [c.path.attribute for c in plan.scopes[0].captures] == ["type"]
    wrong = HEAD.replace("{root: /Application}", '{root: /Application, where: "id = 1"}')
    assert "comes before any row" in only_mistake(with_columns(head=wrong))


def test_conditions_of_tables() -> None:
    table = table_of(
        TREE.replace("    rows: Address\n", "    rows: Address\n    where: city <> base.name\n"), "address"
    )
    assert table.where is not None
    assert table.where_text == "city <> base.name"
    assert only_mistake(
        TREE.replace("    rows: Address\n", "    rows: Address\n    where: city\n")
    ).startswith("9:12: ")


def test_unique_rows() -> None:
    unique = "    unique: {by: [city, NUMBER], keep: last, prefer: {column: price, values: [1.5, 2]}}\n"
    price = "    columns:\n      price: {from: P, type: 'decimal(9,2)'}\n"
    text = TREE.replace("    rows: Address\n", "    rows: Address\n" + unique, 1)
    text = text.replace("    columns:\n", price, 1)
    table = table_of(text, "address")
    assert table.unique is not None
    assert [names(table)[i] for i in table.unique.by] == ["city", "number"]
    assert table.unique.keep_last
    assert table.unique.prefer_values == (Decimal("1.50"), Decimal("2.00"))
    assert [str(v) for v in table.unique.prefer_values] == ["1.50", "2.00"]
    broken = text.replace("by: [city, NUMBER]", "by: [citty]").replace("column: price", "column: prize")
    assert [m.split(": ", 1)[1] for m in mistakes(broken)] == [
        "table 'address' has no column 'citty'; did you mean 'city'?",
        "table 'address' has no column 'prize'; did you mean 'price'?",
    ]
    assert "'x' is not a decimal number" in only_mistake(text.replace("1.5, 2", "1.5, x"))


ITEMS = (
    with_columns()
    + """\
  score:
    parent: t
    items:
      into: {name: code, value: score}
      values: {TU: Bureau/@tu, EX: Bureau/@ex, "NO": Bureau/@no}
"""
)


def test_items_without_columns_get_the_parents_key_and_plain_columns() -> None:
    table = table_of(ITEMS, "score")
    assert [(c.name, str(c.type), c.source.kind) for c in table.columns] == [
        ("id", "int", SourceKind.PARENT),
        ("code", "varchar(2)", SourceKind.ITEM_NAME),
        ("score", "nvarchar(max)", SourceKind.ITEM_VALUE),
    ]
    assert table.primary_key == (0, 1)
    assert table.foreign_key == ((0, 0),)
    assert table.scope == 0
    captures = plan_of(ITEMS).scopes[0].captures
    assert [(i.name, captures[i.capture].path.attribute) for i in table.items] == [
        ("TU", "tu"),
        ("EX", "ex"),
        ("NO", "no"),
    ]


def test_items_with_columns_of_their_own() -> None:
    text = ITEMS + (
        "    primary_key: [id, code]\n    columns:\n      id: {from: $parent}\n      score: {type: "
        "int, on_invalid: null}\n"
        "      code: {type: 'char(3)'}\n      doubled: {expr: score * 2, type: int}\n"
    )
    table = table_of(text, "score")
    assert names(table) == ["id", "score", "code", "doubled"]
    assert str(table.columns[2].type) == "char(3)"
    assert "does not fit 'code'" in mistakes(text.replace("char(3)", "char(1)"))[0]
    assert "takes no from" in only_mistake(text.replace("score: {type: int,", "score: {from: x, type: int,"))


def test_name_and_value_of_items_are_two_columns() -> None:
    assert "give them two" in only_mistake(ITEMS.replace("name: code", "name: SCORE"))


RECURSIVE = (
    HEAD
    + """\
tables:
  r:
    primary_key: id
    columns: {id: {from: $key, type: int}}
  track:
    parent: r
    rows: tracklist/track
    recurse: sub_tracks/track
    primary_key: [id, position]
    columns:
      id: {from: $parent}
      position: {from: $position, type: int}
      parent_position: {from: $parent_position, type: int}
"""
)


def test_recursive_elements() -> None:
    plan = plan_of(RECURSIVE)
    scope = plan.scopes[plan.tables[1].scope]
    assert scope.path is not None
    assert scope.recurse is not None
    assert (scope.path.steps, scope.recurse.steps) == (("tracklist", "track"), ("sub_tracks", "track"))
    assert [c.nullable for c in plan.tables[1].columns] == [False, False, True]


def test_recursion_must_go_down() -> None:
    assert only_mistake(RECURSIVE.replace("sub_tracks/track", "../track")).startswith("12:14: ")
    assert "needs `rows`" in " ".join(mistakes(RECURSIVE.replace("    rows: tracklist/track\n", "")))
    without = RECURSIVE.replace("    recurse: sub_tracks/track\n", "")
    assert "$parent_position needs a table with `recurse`" in only_mistake(without)


def test_nested_elements_cannot_be_found_twice() -> None:
    twice = RECURSIVE.replace("rows: tracklist/track", "rows: //track")
    assert twice != RECURSIVE
    assert "a second time" in only_mistake(twice)


def test_recursive_rows_do_not_share_a_scope_with_others() -> None:
    plain = "  top: {parent: r, rows: tracklist/track, columns: {title: {from: T, type: int}}}\n"
    plan = plan_of(RECURSIVE + plain)
    assert [table.scope for table in plan.tables] == [0, 1, 2]


def test_rows_of_the_same_element_share_its_scope() -> None:
    assert table_of(TREE.replace("    rows: Address\n", "    rows: .\n"), "address").scope == 1


@pytest.mark.parametrize("rows", ["'@x'", "x/text()"])
def test_rows_come_from_elements(rows: str) -> None:
    assert "must arrive at elements" in only_mistake(TREE.replace("rows: Address", f"rows: {rows}"))


def test_namespaces_and_case() -> None:
    head = HEAD.replace(
        "{root: /Application}",
        "{root: [/Application, 'd:App'], namespaces: {d: 'u:D', '': 'u:E'}, ignore_case: true}",
    )
    plan = plan_of(
        with_columns("a: {from: 'Foo/d:Bar[1]', type: int}", "b: {from: Foo, type: int}", head=head)
    )
    assert plan.roots == ("{u:E}application", "{u:D}app")
    assert plan.namespaces == (("d", "u:D"), ("default", "u:E"))
    assert plan.scopes[0].captures[1].path.steps == ("{u:E}foo",)


def test_staging() -> None:
    plan = plan_of("stage: {record: Application, key: Head/@id}\n" + with_columns())
    assert plan.stage.record == "Application"
    assert plan.stage.key is not None
    assert (plan.stage.key.steps, plan.stage.key.attribute) == (("Head",), "id")
    absolute = plan_of("stage: {record: Application, key: /Application/@id}\n" + with_columns())
    assert absolute.stage.key is not None
    assert absolute.stage.key.attribute == "id"
    (warning,) = warnings("stage: {record: Loan}\n" + with_columns())
    assert "every document staged would be skipped" in warning
    assert len(mistakes("stage: {record: a/b, key: '['}\n" + with_columns())) == 2


def test_server_generated_columns_are_never_computed() -> None:
    table = table_of(with_columns("n: {server_generated: true, type: bigint}"))
    column = table.columns[1]
    assert column.server_generated
    assert not column.nullable
    assert (column.source.kind, column.source.constant) == (SourceKind.CONSTANT, None)
    assert 1 not in table.order


def test_a_server_generated_column_cannot_be_carried_down() -> None:
    text = with_columns("n: {server_generated: true, type: bigint}") + (
        "  u:\n    parent: t\n    unique: {by: m}\n    columns: {n: {from: $parent}, m: "
        "{server_generated: true, type: int}}\n"
    )
    found = mistakes(text)
    assert len(found) == 2
    assert "is numbered by the server" in found[0]
    assert "is numbered by the server" in found[1]


def test_settings_of_the_contract() -> None:
    plan = plan_of(
        "collation: binary\nunknown_elements: report\ncode_page: latin-1\n"
        + with_columns("a: {from: a, type: 'varchar(9)'}")
    )
    assert plan.binary_collation
    assert plan.report_unknown
    assert plan.tables[0].columns[1].conversion.code_page == "iso8859-1"
    assert plan.tables[0].columns[1].type.family is Family.TEXT


def test_a_plan_can_be_pickled() -> None:
    plan = plan_of(TREE)
    assert pickle.loads(pickle.dumps(plan)) == plan
