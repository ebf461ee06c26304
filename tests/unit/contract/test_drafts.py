from __future__ import annotations

import pytest

from tests.unit.contract.contracts import HEAD, mistakes, only_mistake, table_of, with_columns
from xml_extractor.contract.drafts import suggest


def child(*columns: str, parent: str = "t", more: str = "") -> str:
    return with_columns(
        "name: {from: N, type: nvarchar(9)}", "note: {from: M, type: nvarchar(max), required: true}"
    ) + (f"  u:\n    parent: {parent}\n{more}    columns: {{{', '.join(columns)}}}\n")


def test_a_parent_that_is_not_there() -> None:
    assert (
        only_mistake(child("id: {from: $parent}", parent="tt"))
        == "13:13: there is no table 'tt'; did you mean 't'?"
    )


def test_circles_of_parents() -> None:
    column = "columns: {x: {value: 1, type: int}}"
    text = (
        with_columns()
        + f"  a: {{parent: c, {column}}}\n  b: {{parent: a, {column}}}\n  c: {{parent: b, {column}}}\n"
    )
    assert only_mistake(text) == "10:15: table 'a' is its own ancestor: a → c → b → a"
    assert (
        only_mistake(with_columns() + f"  a: {{parent: a, {column}}}\n")
        == "10:15: table 'a' is its own parent"
    )


def test_at_least_one_table_is_a_root() -> None:
    text = HEAD + "tables:\n  a: {parent: a, columns: {x: {value: 1, type: int}}}\n"
    assert "every table has a parent" in " ".join(mistakes(text))


def test_several_roots_are_allowed() -> None:
    text = with_columns() + "  a: {primary_key: i, columns: {i: {from: $key, type: int}}}\n"
    assert table_of(text, "a").parent is None


def test_names_that_databases_take_for_one() -> None:
    assert only_mistake(with_columns("ID: {from: x, type: int}")) == (
        "10:7: column 'ID' is given twice: databases take it for 'id'"
    )
    assert "table 'T' is given twice" in only_mistake(
        with_columns() + "  T: {columns: {x: {value: 1, type: int}}}\n"
    )


def test_names_of_the_ledger_are_taken() -> None:
    for name in ("load_ledger", "Load_x", "dbo.load_runs"):
        text = with_columns().replace("  t:\n", f"  {name}:\n")
        assert "are the ledger's" in only_mistake(text)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a: {type: int}", "10:7: column 'a' has no origin; give it `from:`, `expr:`, `value:`, `xml:` or"),
        (
            "a: {from: x, value: 1, type: int}",
            "10:7: column 'a' has from and value; a value comes from one of them",
        ),
        ("a: {from: x, server_generated: true, type: int}", "has from and server_generated"),
        ("a: {from: x}", "10:7: column 'a' has no type; give one such as"),
        ("a: {from: x, type: varchr(9)}", "10:26: unknown type 'varchr'; did you mean 'varchar'?"),
        ("a: {from: x, type: varchar}", "10:26: varchar needs a length"),
        ("a: {from: x, type: 'decimal(40,2)'}", "10:26: 'decimal(40,2)': a decimal's precision"),
        (
            "a: {from: $kye, type: int}",
            "10:17: '$kye' is not one of the loader's words; did you mean '$key'?",
        ),
        ("a: {from: $source, type: int}", "write $source.COLUMN"),
        ("a: {from: [x, $key], type: int}", "'$key' stands alone"),
        ("a: {from: $parent, type: int}", "table 't' has no parent"),
        ("a: {from: $position, type: varchar(9)}", "is a whole number; use int or bigint"),
        ("a: {server_generated: true, type: date}", "is a whole number; use int or bigint"),
        ("a: {xml: x, type: int}", "a serialised subtree is text"),
    ],
)
def test_mistakes_about_where_a_column_comes_from(line: str, message: str) -> None:
    assert message in only_mistake(with_columns(line))


@pytest.mark.parametrize(
    ("column", "message"),
    [
        ("x: {from: $parent}", "the parent 't' has no column 'x'; there are id, name, note"),
        ("x: {from: $parent.nme}", "the parent 't' has no column 'nme'; did you mean 'name'?"),
        (
            "id: {from: $parent, type: bigint}",
            "a $parent column has its parent's type, int; leave `type` out",
        ),
    ],
)
def test_mistakes_about_columns_of_the_parent(column: str, message: str) -> None:
    assert message in only_mistake(child(column))


def test_a_parents_column_can_be_renamed_and_required() -> None:
    table = table_of(
        child("key: {from: $parent.ID, type: int}", "n: {from: $parent.name, required: true}"), "u"
    )
    assert [(c.name, str(c.type), c.nullable, c.source.parent_column) for c in table.columns] == [
        ("key", "int", False, 0),
        ("n", "nvarchar(9)", False, 1),
    ]


def test_the_parents_key_is_carried_down_where_nothing_is_said() -> None:
    assert [c.name for c in table_of(child("ID: {from: I, type: int}"), "u").columns] == ["ID"]
    assert [c.name for c in table_of(child("k: {from: $key, type: bigint}"), "u").columns] == ["k"]
    assert [c.name for c in table_of(child("x: {from: X, type: int}"), "u").columns] == ["id", "x"]
    assert [
        c.name for c in table_of(child("x: {from: X, type: int}", "ID: {from: $key, type: int}"), "u").columns
    ] == ["x", "ID"]


@pytest.mark.parametrize(
    ("key", "message"),
    [
        ("idd", "'idd' is not mapped; did you mean 'id'?"),
        ("[id, id]", "'id' is in the primary key twice"),
        ("[id, x]", "'x' can be NULL; say `required: true`"),
        ("[id, n]", "'n' can be NULL"),
        ("[id, long]", "'long' is nvarchar(max); a key needs a bounded type"),
    ],
)
def test_mistakes_about_primary_keys(key: str, message: str) -> None:
    columns = (
        "id: {from: $parent}",
        "x: {from: X, type: int}",
        "n: {from: $parent.name}",
        "long: {from: $parent.note}",
    )
    assert message in only_mistake(child(*columns, more=f"    primary_key: {key}\n"))


@pytest.mark.parametrize(
    "column",
    ["{from: X, type: int, default: 0}", "{from: $position, type: int}", "{value: a, type: char(1)}"],
)
def test_key_columns_that_are_never_null(column: str) -> None:
    table = table_of(child("id: {from: $parent}", f"x: {column}", more="    primary_key: [id, x]\n"), "u")
    assert table.primary_key == (0, 1)


def test_a_table_without_columns() -> None:
    assert only_mistake(HEAD + "tables:\n  t: {}\n") == "6:3: table 't' has no columns"


def test_a_table_that_the_server_fills_alone() -> None:
    numbered = "columns: {n: {server_generated: true, type: int}}"
    told = only_mistake(HEAD + f"tables:\n  t: {{primary_key: [n], {numbered}}}\n")
    assert told.startswith("6:3: every column of table 't' is numbered by the server")
    # A parent's key that is carried down is written.
    assert [c.name for c in table_of(child("n: {server_generated: true, type: int}"), "u").columns] == [
        "id",
        "n",
    ]
    # A column whose mistake is told already may have been the one that is written.
    columns = "columns: {n: {server_generated: true, type: int}, m: {type: int}}"
    assert "has no origin" in only_mistake(HEAD + f"tables:\n  t: {{primary_key: [n], {columns}}}\n")


def test_suggestions() -> None:
    assert suggest("nmae", ["name", "date"]) == "; did you mean 'name'?"
    assert suggest("zzz", ["name", "date"]) == "; there are name, date"
    assert suggest("zzz", []) == "; there are none"
    assert suggest("zzz", map(str, range(20))).endswith("13, 14, …")
