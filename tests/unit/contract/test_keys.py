from __future__ import annotations

from tests.unit.contract.contracts import table_of, with_columns

CHAIN = (
    with_columns("spare: {from: $key, type: bigint}", "number: {from: '@n', type: int, required: true}")
    + """\
  u:
    parent: t
    rows: U
    primary_key: [number, n]
    columns: {number: {from: $parent}, owner: {from: $parent.spare}, n: {from: $position, type: int}}
  v:
    parent: u
    rows: V
    primary_key: [owner, n]
    columns: {owner: {from: $parent}, n: {from: $parent}}
"""
)


def test_the_source_key_is_followed_through_the_parents() -> None:
    assert table_of(CHAIN, "u").key_column == 1
    assert not table_of(CHAIN, "u").key_reaches_source
    assert table_of(CHAIN, "v").key_column == 0
    assert table_of(CHAIN, "v").key_reaches_source


def test_a_key_column_in_the_primary_key_comes_before_others() -> None:
    assert table_of(CHAIN).key_column == 0
    assert table_of(CHAIN.replace("primary_key: id", "primary_key: spare")).key_column == 1


def test_a_foreign_key_needs_all_of_the_parents_key() -> None:
    assert table_of(CHAIN, "u").foreign_key == ()
    assert table_of(CHAIN, "v").foreign_key == ()
    whole = CHAIN.replace("primary_key: id", "primary_key: [number, spare]")
    assert table_of(whole, "u").foreign_key == ((0, 2), (1, 1))
