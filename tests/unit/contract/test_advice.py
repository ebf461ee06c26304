from __future__ import annotations

import pytest

from tests.unit.contract.contracts import warnings, with_columns


def test_a_sound_contract_has_no_warnings() -> None:
    text = (
        with_columns()
        + "  u: {parent: t, rows: X, primary_key: [id, n], columns: {id: {from: $parent}, n: {from: "
        "$position, type: int}}}\n"
    )
    assert warnings(text) == []


def test_a_key_that_does_not_reach_the_source() -> None:
    text = with_columns("a: {from: '@a', type: int, required: true}").replace(
        "primary_key: id", "primary_key: a"
    )
    assert warnings(text) == [
        "the primary key of 't' does not contain the source key ($key): two documents can write the same row"
    ]


def test_a_table_without_a_key() -> None:
    (warning,) = warnings(with_columns().replace("    primary_key: id\n", ""))
    assert "has no primary key" in warning


def test_a_child_that_does_not_carry_its_parents_key() -> None:
    child = (
        "  u: {parent: t, rows: X, primary_key: [k, n], columns: {k: {from: $key, type: bigint}, n: {from: "
        "$position, type: int}}}\n"
    )
    assert warnings(with_columns() + child) == [
        "table 'u' does not carry its parent's primary key (id): there will be no foreign key"
    ]


@pytest.mark.parametrize("parent", ["parent: t, ", ""])
def test_a_key_that_several_elements_share(parent: str) -> None:
    child = (
        "  u: "
        f"{{{parent}rows: X, primary_key: id, "
        "columns: {id: {from: $key, type: int}, a: {from: A, type: int}}}\n"
    )
    (warning,) = warnings(with_columns() + child)
    assert "`rows` of 'u' can give several rows with the same primary key" in warning
    assert warnings(with_columns() + child.replace("rows: X, ", "")) == []
    assert warnings(with_columns() + child.replace("rows: X", "rows: X, unique: {by: id}")) == []


def test_rows_inside_rows_of_another_table() -> None:
    columns = "primary_key: [id, n], columns: {id: {from: $parent}, n: {from: $position, type: int}}"
    text = (
        with_columns()
        + f"  u: {{parent: t, rows: A/B, {columns}}}\n  v: {{parent: t, rows: A/B/C/D, {columns}}}\n"
    )
    assert warnings(text) == [
        "rows of 'v' lie inside rows of 'u'; if each belongs to one of those, say `parent: u` and `rows: C/D`"
    ]
    assert warnings(text.replace("A/B/C/D", "A/BB/C")) == []


def test_a_table_with_the_name_of_the_source() -> None:
    (warning,) = warnings(with_columns().replace("  t:\n", "  APP_XML:\n"))
    assert "has the name of the source table" in warning
