"""What a contract may say of private values, and what its check says of it."""

from __future__ import annotations

import pytest

from tests.unit.contract.contracts import (
    column_of,
    mistakes,
    only_mistake,
    plan_of,
    table_of,
    warnings,
    with_columns,
)
from xml_extractor.contract.plan import Hash, Mask, SourceKind


@pytest.mark.parametrize(
    ("said", "kind", "expected"),
    [
        ("mask: last4", "char(4)", Mask("last", 4)),
        ("mask: first2", "nvarchar(max)", Mask("first", 2)),
        ("mask: all", "varchar(9)", Mask("none", 4)),
        ("mask: all", "char(1)", Mask("none", 1)),
        ("hash: true", "char(64)", Hash(32)),
        ("hash: true", "varchar(max)", Hash(32)),
        ("hash: true", "nvarchar(63)", Hash(16)),
        ("hash: true", "varchar(32)", Hash(16)),
        ("hash: true", "binary(32)", Hash(32)),
        ("hash: true", "varbinary(31)", Hash(16)),
        ("hash: true", "binary(16)", Hash(16)),
        ("drop: true", "date", None),
        ("mask: null", "int", None),
        ("hash: false", "int", None),
    ],
)
def test_protections_become_part_of_the_plan(said: str, kind: str, expected: object) -> None:
    column = column_of(with_columns(f"a: {{from: '@a', type: {kind}, {said}}}"), "a")
    assert column.conversion.protection == expected


def test_a_dropped_column_reads_nothing_and_is_null() -> None:
    column = column_of(
        with_columns("a: {from: '@a', type: date, format: '%Y', apply: trim, drop: true}"), "a"
    )
    assert column.source.kind is SourceKind.CONSTANT
    assert column.source.constant is None
    assert column.nullable
    key = column_of(with_columns("k: {from: $key, type: int, drop: true}"), "k")
    assert key.nullable


@pytest.mark.parametrize(
    ("column", "place", "message"),
    [
        ("from: '@a', type: varchar(40), mask: last4, hash: true", "hash", "'a' has mask and hash"),
        ("from: '@a', type: varchar(40), drop: true, mask: all", "drop", "'a' has mask and drop"),
        ("from: '@a', type: int, mask: last4", "mask", "what a mask leaves is text; column 'a' is int"),
        (
            "from: '@a', type: char(3), mask: last4",
            "mask",
            "mask last4 leaves 4 characters; char(3) holds fewer",
        ),
        ("from: '@a', type: date, hash: true", "hash", "a hash is text or bytes; column 'a' is date"),
        (
            "from: '@a', type: char(31), hash: true",
            "hash",
            "of which 32 characters are needed at least, and 64",
        ),
        ("from: '@a', type: binary(15), hash: true", "hash", "of which 16 bytes are needed at least, and 32"),
        (
            "from: '@a', type: int, required: true, drop: true",
            "required",
            "it is always NULL; take 'required' out",
        ),
        ("from: '@a', type: int, default: 1, drop: true", "default", "it is always NULL; take 'default' out"),
        (
            "from: '@a', type: varchar(9), mask: all, empty: 'null'",
            "empty",
            "'empty' means nothing beside `mask`",
        ),
        (
            "from: '@a', type: binary(32), hash: true, binary: hex",
            "binary",
            "'binary' means nothing beside `hash`",
        ),
        ("value: x, type: varchar(9), mask: all", "mask", "'mask' means nothing for a column from value"),
        (
            "from: $position, type: int, drop: true",
            "drop",
            "'drop' means nothing for a column from $position",
        ),
        (
            "server_generated: true, type: int, drop: true",
            "drop",
            "'drop' means nothing for a column from server",
        ),
        ("from: $document, type: xml, mask: all", "mask", "'mask' means nothing for a column from $document"),
    ],
)
def test_what_makes_no_sense_is_told_with_its_place(column: str, place: str, message: str) -> None:
    mistake = next(m for m in mistakes(with_columns(f"a: {{{column}}}")) if message in m)
    assert mistake.startswith(f"10:{11 + column.rindex(f'{place}:')}: ")


def test_a_form_that_is_none() -> None:
    for form in ("last0", "last10", "middle4", "last", "email"):
        assert "mask" in only_mistake(with_columns(f"a: {{from: '@a', type: varchar(9), mask: {form}}}"))


def test_a_dropped_key_column() -> None:
    text = with_columns().replace("{from: $key, type: int}", "{from: $key, type: int, drop: true}")
    assert "primary key column 'id' is dropped; a key has a value: hash it instead" in only_mistake(text)


def test_protections_change_the_digest_and_nothing_else_does() -> None:
    def digest(option: str, kind: str = "varchar(64)") -> str:
        return plan_of(with_columns(f"a: {{from: '@a', type: {kind}{option}}}")).digest

    options = [
        "",
        ", mask: last4",
        ", mask: last3",
        ", mask: first4",
        ", mask: all",
        ", hash: true",
        ", drop: true",
    ]
    assert len({digest(option) for option in options}) == len(options)
    # What loads of earlier versions of the program were recorded under must stay what it is.
    assert digest("") == "d76a49956ced63cfe62f41370fafa8132da8092dca0dafd456c3569b838c7bce"


def test_a_hashed_key_keeps_documents_apart_and_is_no_key_to_find_rows_by() -> None:
    hashed = with_columns().replace("{from: $key, type: int}", "{from: $key, type: char(64), hash: true}")
    child = (
        "  u: {parent: t, rows: X, primary_key: [id, n], "
        "columns: {id: {from: %s}, n: {from: $position, type: int}}}\n"
    )
    text = hashed + child % "$parent"
    assert warnings(text) == []
    for name in ("t", "u"):
        assert table_of(text, name).key_column is None
        assert table_of(text, name).key_reaches_source
    assert table_of(text, "u").foreign_key == ((0, 0),)
    assert table_of(hashed + child % "$key, type: char(64), hash: true", "u").foreign_key == ((0, 0),)
    assert table_of(hashed + child % "$key, type: char(64)", "u").foreign_key == ()


def test_a_masked_key_is_no_key() -> None:
    text = with_columns().replace("{from: $key, type: int}", "{from: $key, type: char(4), mask: last4}")
    table = table_of(text)
    assert table.key_column is None
    assert not table.key_reaches_source
    assert any("id is masked, and different values can look alike" in warning for warning in warnings(text))


SSN = "ssn: {from: Person/Ssn, type: char(4), mask: last4}"


@pytest.mark.parametrize(
    "column",
    [
        "{from: Person/Ssn, type: varchar(9)}",
        "{from: ./Person/Ssn/text(), type: varchar(9)}",
        "{from: [Other, Person/Ssn], type: varchar(9)}",
        "{expr: \"LEFT(path('Person/Ssn'), 5)\", type: varchar(9)}",
        "{from: Person, type: varchar(99)}",
        "{xml: Person, type: xml}",
        "{xml: ., type: xml}",
        "{from: $document, type: xml}",
        "{from: //Ssn, type: varchar(9)}",
        "{from: \"Person[@role='x']/Ssn\", type: varchar(9)}",
    ],
)
def test_a_column_that_holds_what_another_protects(column: str) -> None:
    (warning,) = warnings(with_columns(SSN, f"a: {column}"))
    assert warning == "t.a holds as it is what t.ssn protects; protect it, too, or take it out"


@pytest.mark.parametrize(
    "column",
    [
        "{from: Person/Name, type: varchar(9)}",
        "{from: Person/@Ssn, type: varchar(9)}",
        "{from: Ssn, type: varchar(9)}",
        "{xml: Person/Name, type: xml}",
        "{from: text(), type: varchar(9)}",
        "{from: Person/Ssn, type: varchar(64), hash: true}",
        "{xml: Person, type: xml, drop: true}",
        "{expr: ssn, type: varchar(9)}",
    ],
)
def test_a_column_that_does_not(column: str) -> None:
    found = warnings(with_columns(SSN, f"a: {column}"))
    assert not [warning for warning in found if "holds as it is" in warning]


def test_leaks_are_found_across_tables_and_scopes() -> None:
    child = "columns: {id: {from: $parent}, n: {from: $position, type: int}, s: {from: %s, type: varchar(9)}}"
    text = with_columns(SSN) + f"  u: {{parent: t, rows: Person, primary_key: [id, n], {child}}}\n"
    assert warnings(text % "Ssn") == [
        "u.s holds as it is what t.ssn protects; protect it, too, or take it out"
    ]
    assert warnings(text % "Name") == []
    assert warnings(text % "'@Ssn'") == []


def test_an_attribute_is_held_by_its_elements_xml_and_not_by_their_text() -> None:
    private = "p: {from: Person/@ssn, type: char(64), hash: true}"
    assert warnings(with_columns(private, "a: {from: Person, type: varchar(9)}")) == []
    assert len(warnings(with_columns(private, "a: {xml: Person, type: xml}"))) == 1
    assert len(warnings(with_columns(private, "a: {from: Person/@ssn, type: varchar(9)}"))) == 1


def test_the_source_rows_columns_and_key() -> None:
    text = with_columns("h: {from: $key, type: char(64), hash: true}")
    assert warnings(text) == ["t.id holds as it is what t.h protects; protect it, too, or take it out"]
    text = with_columns(
        "a: {from: $source.iban, type: char(4), mask: last4}", "b: {from: $source.IBAN, type: varchar(40)}",
        "c: {from: $source.bic, type: varchar(40)}",
    )  # fmt: skip
    assert warnings(text) == ["t.b holds as it is what t.a protects; protect it, too, or take it out"]


def test_conditions_that_ask_for_a_value_that_they_do_not_see() -> None:
    where = "    where: \"ssn = '123456789' AND name IS NOT NULL\"\n    columns:\n"
    text = with_columns(SSN, "name: {from: Name, type: char(64), hash: true}").replace(
        "    columns:\n", where
    )
    assert warnings(text) == ["ssn is masked here, as it is stored; path('…') reads the document's own text"]
    text = with_columns("a: {from: A, type: int, drop: true}", 'b: {expr: "a + 1", type: int}')
    assert warnings(text) == [
        "a is NULL (it is dropped) here, as it is stored; path('…') reads the document's own text"
    ]


def test_rows_told_apart_by_what_is_not_there_any_more() -> None:
    def found(column: str, unique: str) -> list[str]:
        text = with_columns(column).replace("    columns:\n", f"    unique: {unique}\n    columns:\n")
        return warnings(text)

    assert "ssn is masked when rows are compared" in found(SSN, "{by: ssn}")[0]
    hashed = "ssn: {from: Person/Ssn, type: char(64), hash: true}"
    assert found(hashed, "{by: ssn}") == []
    assert "ssn is hashed" in found(hashed, "{by: id, prefer: {column: ssn, values: [x]}}")[0]
    assert "is NULL (it is dropped)" in found("ssn: {from: S, type: int, drop: true}", "{by: ssn}")[0]
