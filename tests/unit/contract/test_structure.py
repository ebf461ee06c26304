from __future__ import annotations

import pytest

from tests.unit.contract.contracts import HEAD, mistakes, only_mistake, with_columns


def test_an_unknown_key_is_told_with_the_closest_known_one() -> None:
    assert only_mistake(with_columns("a: {fromm: '@x', from: '@x', type: int}")) == (
        "10:11: unknown key 'fromm' in tables.t.columns.a; did you mean 'from'?"
    )
    assert only_mistake(HEAD + "tabels: {}\n" + with_columns(head="")) == (
        "5:1: unknown key 'tabels'; did you mean 'tables'?"
    )


def test_an_unknown_key_close_to_none_is_told_with_all_known_ones() -> None:
    text = with_columns().replace("document: app_xml}", "document: app_xml, zzz: 1}")
    assert (
        only_mistake(text)
        == "3:58: unknown key 'zzz' in source; known here are name, table, key, document, where"
    )


def test_an_unknown_key_in_a_step_of_apply() -> None:
    text = with_columns("a: {from: '@x', type: int, apply: [{replce: x}]}")
    assert "unknown key 'replce'" in " ".join(mistakes(text))
    assert "did you mean 'replace'?" in " ".join(mistakes(text))


@pytest.mark.parametrize("key", ["contract", "version", "source", "document", "tables"])
def test_what_no_contract_can_be_without(key: str) -> None:
    lines = with_columns().splitlines(keepends=True)
    kept = lines[:4] if key == "tables" else [line for line in lines if not line.startswith(f"{key}:")]
    assert only_mistake("".join(kept)) == f"1:1: {key!r} is missing in the contract"


def test_a_missing_key_within_a_part_is_told_where_the_part_stands() -> None:
    text = with_columns().replace("table: app_xml, ", "")
    assert only_mistake(text) == "3:1: 'table' is missing in source"


def test_a_word_that_is_none_of_the_allowed_ones() -> None:
    assert only_mistake(with_columns("a: {from: '@x', type: int, pick: frist}")) == (
        "10:40: tables.t.columns.a.pick: 'frist' is not one of first, last or join; did you mean first?"
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("a: {from: '@x', type: int, required: yes}", "write true or false"),
        ("a: {from: '@x', type: datetimeoffset, default_zone: CET}", "write an offset such as '+00:00'"),
        ("a: {from: '@x', type: int, apply: [{plugin: nonsense}]}", "package.module:function"),
        ("a: {from: {x: y}, type: int}", "a list is expected here"),
        ("a: {from: [], type: int}", "must not be empty"),
        ("a: [1, 2]", "a mapping (name: value) is expected here"),
        ("a: {from: [[x]], type: int}", "a text is expected here"),
        ("'a.b': {from: x, type: int}", "cannot be a name"),
    ],
)
def test_values_of_the_wrong_kind(line: str, words: str) -> None:
    message = only_mistake(with_columns(line))
    assert message.startswith("10:")
    assert words in message


@pytest.mark.parametrize("version", ["0", "x", "1.5", "-1"])
def test_a_version_is_a_whole_number_from_one(version: str) -> None:
    assert only_mistake(with_columns().replace("version: 1", f"version: {version}")).startswith(
        "2:10: version: "
    )


@pytest.mark.parametrize("text", ["- a\n", "just text\n", "[]\n"])
def test_what_is_no_mapping_is_no_contract(text: str) -> None:
    assert only_mistake(text) == "1:1: a contract is a mapping that begins with `contract: NAME`"


def test_one_mistake_does_not_hide_another() -> None:
    text = with_columns(
        "a: {from: '@x', type: int, pick: frist, zzzz: 1}",
        "b: {from: '@x', type: itn}",
        "c: {from: 'x[', type: int, apply: [trm, {replace: nowhere}]}",
        "d: {expr: 'nowhere + 1', type: int}",
    ).replace("version: 1\n", "")
    found = " ".join(mistakes(text))
    for words in (
        "'version' is missing", "frist", "zzzz", "itn", "no closing ]", "'trm'", "'nowhere' is not defined",
        "no column 'nowhere'",
    ):  # fmt: skip
        assert words in found


def test_what_follows_from_a_mistake_is_not_told_again() -> None:
    text = with_columns("a: [broken]", "b: {expr: a + 1, type: int}") + (
        "  u:\n    parent: t\n    primary_key: [id, a]\n    columns: {id: {from: $parent}, a: {from: "
        "$parent}}\n"
        "  v: {parent: w, columns: {x: {from: $parent.a}}}\n"
        "  w: []\n"
    )
    assert [m.split(": ", 1)[0] for m in mistakes(text)] == ["10:10", "17:6"]


def test_a_list_that_is_broken_is_told_once() -> None:
    assert len(mistakes(with_columns("a: {from: [x, [y], {z: 1}], type: int}"))) == 2
