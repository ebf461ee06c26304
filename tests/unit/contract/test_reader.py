from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.contract.reader import read_yaml


def data(text: str) -> object:
    report = read_yaml(text, "f")
    assert report.mistakes == []
    return report.document.data


def problems(text: str) -> list[str]:
    return [str(mistake) for mistake in sorted(read_yaml(text, "f").mistakes)]


@pytest.mark.parametrize(
    "written",
    [
        "yes",
        "NO",
        "on",
        "true",
        "1.10",
        "007",
        "0x1F",
        "1_000",
        "2024-01-01",
        "12:30:45",
        "+02:00",
        "1e3",
        ".5",
        "nan",
    ],
)
def test_plain_scalars_are_the_text_that_stands_there(written: str) -> None:
    assert data(f"a: {written}") == {"a": written}
    assert data(f"{written}: a") == {written: "a"}


@pytest.mark.parametrize("written", ["null", "~", "", "NULL", "Null"])
def test_only_a_plain_null_is_null(written: str) -> None:
    assert data(f"a: {written}") == {"a": None}
    assert data(f"a: '{written}'") == {"a": written}


def test_null_as_a_key_is_a_text() -> None:
    assert data("null: a") == {"null": "a"}


def test_a_key_given_twice_is_told_with_both_places() -> None:
    assert problems("a: 1\nb: 2\na: 3\n") == ["f:3:1: 'a' is given twice; the first is in line 1"]


def test_tags_are_refused() -> None:
    assert problems("a: !!int 3\n") == [
        "f:1:4: tags (!…) are not supported; every scalar is read as the text that stands there"
    ]


def test_a_text_that_begins_with_an_exclamation_mark_in_quotes_is_no_tag() -> None:
    assert data("a: '!x'") == {"a": "!x"}


def test_syntax_errors_have_their_place_and_a_hint() -> None:
    (problem,) = problems("a: 1\nb: @id\n")
    assert problem.startswith("f:2:4: not valid YAML: ")
    assert "best put in quotes" in problem


def test_control_characters_are_told_with_their_place() -> None:
    assert problems("a: 1\nb: x\x01y\n") == ["f:2:5: not valid YAML: the character U+0001 is not allowed"]


def test_an_empty_file_says_how_to_begin() -> None:
    assert "empty" in problems("# nothing\n")[0]


def test_several_documents_are_an_error() -> None:
    assert "not valid YAML" in problems("a: 1\n---\nb: 2\n")[0]


def test_a_comma_in_parentheses_does_not_take_a_type_apart() -> None:
    assert data("a: {type: decimal(12,2), b: c}") == {"a": {"type": "decimal(12,2)", "b": "c"}}
    assert data("a: {b: c, type: decimal(12, 2)}") == {"a": {"b": "c", "type": "decimal(12, 2)"}}
    assert data("a:\n  type: decimal(12,2)\n") == {"a": {"type": "decimal(12,2)"}}


def test_other_values_in_flow_style_are_left_alone() -> None:
    assert data("{a: (x, b: y)}") == {"a": "(x", "b": "y)"}
    assert data("{a: 'f(x', 'y)': }") == {"a": "f(x", "y)": None}


def test_merges_and_aliases() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {z: 9}\nuse: {<<: [*b, *o], y: 3}\nsame: *b\n"
    assert data(text) == {
        "base": {"x": "1", "y": "2"},
        "other": {"z": "9"},
        "use": {"x": "1", "y": "3", "z": "9"},
        "same": {"x": "1", "y": "2"},
    }


def test_an_alias_within_itself_is_told() -> None:
    assert problems("a: &a {b: *a}\n") == ["f:1:4: this alias refers to a node that contains it"]
    assert problems("a: &a {<<: *a}\n") == ["f:1:4: this alias refers to a node that contains it"]


def test_aliases_that_multiply_are_refused_quickly() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]" for i in range(1, 9)]
    assert any("too large" in problem for problem in problems("\n".join(lines)))


def test_json_with_tabs_and_escapes_is_accepted() -> None:
    content = {"a": {"b": ["x", "ü", "😀", "a\tb", "\\", "/"]}, "n": 5}
    expected = {**content, "n": "5"}
    assert data(json.dumps(content, indent="\t")) == expected
    assert data(json.dumps(content, ensure_ascii=False)) == expected


def test_windows_line_ends() -> None:
    assert data("a: 1\r\nb: |\r\n  x\r\n  y\r\n") == {"a": "1", "b": "x\ny\n"}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: {e: abc def}", (1, 12)),
        ("a: {e: 'abc def'}", (1, 13)),
        ('a: {e: "abc def"}', (1, 13)),
        ("a:\n  e: |\n    abc\n    def\n", (4, 5)),
        ("a:\n  e: >-\n    abc\n    def\n", (4, 5)),
        ('a: {e: "a\\u0062c def"}', (1, 18)),
        ("a: {e: 'a''c def'}", (1, 14)),
    ],
)
def test_an_offset_in_a_scalar_is_found_in_the_file(text: str, place: tuple[int, int]) -> None:
    document = read_yaml(text, "f").document
    value = document.data["a"]["e"]
    assert document.place(("a", "e"), offset=value.index("d")) == place


def test_a_place_that_does_not_exist_is_that_of_the_nearest_node_above() -> None:
    document = read_yaml("a:\n  b: {c: 1}\n", "f").document
    assert document.place(("a", "b", "x", 3)) == (2, 6)
    assert document.place(("a", "b", "c"), at_key=True) == (2, 7)
    assert document.place(("a", "b", "c")) == (2, 10)


json_values = st.recursive(
    st.none() | st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"])),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), min_size=1),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(json_values.filter(lambda value: isinstance(value, dict) and value and "<<" not in json.dumps(value)))
def test_whatever_json_writes_is_read_back(value: object) -> None:
    report = read_yaml(json.dumps(value), "f")
    assert report.mistakes == []
    assert report.document.data == value
