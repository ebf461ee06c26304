"""Types of columns and of values under way."""

from __future__ import annotations

import pytest

from xml_extractor.contract.types import TYPE_NAMES, parse_type
from xml_extractor.engines.mssql.types import (
    code_page_number,
    column_type,
    from_json,
    is_ascii,
    json_type,
    key_collation,
    text_collation,
    text_form,
)

LENGTHS = ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary")


def every_type() -> list[str]:
    return [f"{name}(5)" if name in LENGTHS else name for name in TYPE_NAMES]


@pytest.mark.parametrize("type_", [*every_type(), "varchar(max)", "decimal(38,18)", "datetime2(3)"])
def test_columns_are_declared_as_in_the_contract(type_: str) -> None:
    declared = column_type(parse_type(type_))
    assert parse_type(declared) == parse_type(type_)
    assert declared.startswith(type_.split("(", maxsplit=1)[0])


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("bit", "bit"), ("int", "int"), ("decimal(38,18)", "decimal(38,18)"), ("float", "float"),
        ("money", "decimal(19,4)"), ("smallmoney", "decimal(10,4)"), ("date", "date"),
        ("time(7)", "time(7)"), ("datetime", "datetime"), ("datetimeoffset(2)", "datetimeoffset(2)"),
        ("uniqueidentifier", "uniqueidentifier"), ("xml", "nvarchar(max)"),
        ("char(10)", "nvarchar(10)"), ("varchar(4000)", "nvarchar(4000)"), ("varchar(4001)", "nvarchar(max)"),
        ("varchar(max)", "nvarchar(max)"), ("nchar(4)", "nvarchar(4)"), ("nvarchar(max)", "nvarchar(max)"),
        ("binary(16)", "varchar(32)"), ("varbinary(4000)", "varchar(8000)"),
        ("varbinary(4001)", "varchar(max)"), ("varbinary(max)", "varchar(max)"),
    ],
)  # fmt: skip
def test_json_types(type_: str, expected: str) -> None:
    assert json_type(parse_type(type_)) == expected


def test_no_value_goes_through_the_database_code_page() -> None:
    for name in every_type():
        kind = parse_type(name)
        if kind.name in ("char", "varchar", "nchar", "nvarchar", "xml"):
            assert json_type(kind).startswith("nvarchar")


def test_values_out_of_json() -> None:
    assert from_json(parse_type("binary(16)"), "j.[digest]") == "CONVERT(binary(16), j.[digest], 2)"
    assert from_json(parse_type("varbinary(max)"), "?") == "CONVERT(varbinary(max), ?, 2)"
    assert from_json(parse_type("xml"), "j.[x]") == "CONVERT(xml, j.[x], 1)"
    for name in every_type():
        kind = parse_type(name)
        if kind.name not in ("binary", "varbinary", "xml"):
            assert from_json(kind, "j.[a]") == "j.[a]"


@pytest.mark.parametrize(
    ("type_", "text", "sent"),
    [
        ("datetime", "2024-05-31 10:11:12.003", "2024-05-31T10:11:12.003"),
        ("smalldatetime", "2024-05-31 10:11:00", "2024-05-31T10:11:00"),
        ("datetimeoffset(7)", "2024-05-31 10:11:12.1234567+05:30", "2024-05-31T10:11:12.1234567+05:30"),
    ],
)
def test_texts_that_dateformat_could_change(type_: str, text: str, sent: str) -> None:
    form = text_form(parse_type(type_))
    assert form is not None
    assert form(text) == sent


def test_all_other_texts_are_sent_as_they_are() -> None:
    other = [t for t in every_type() if t not in ("datetime", "smalldatetime", "datetimeoffset")]
    assert {text_form(parse_type(t)) for t in other} == {None}


def test_code_pages() -> None:
    numbers = {
        name: code_page_number(name) for name in ("cp1252", "windows-1252", "utf8", "cp936", "latin-1")
    }
    assert numbers == {"cp1252": 1252, "windows-1252": 1252, "utf8": 65001, "cp936": 936, "latin-1": None}
    assert is_ascii("us-ascii")
    assert not is_ascii("cp1252")


def test_collations() -> None:
    varchar, nvarchar, number = parse_type("varchar(9)"), parse_type("nvarchar(9)"), parse_type("char(9)")
    assert key_collation(varchar, "cp1252") == key_collation(nvarchar, "cp1251") == "Latin1_General_100_BIN2"
    assert key_collation(number, "cp1251") == "Cyrillic_General_100_BIN2"
    assert key_collation(varchar, "utf-8") == "Latin1_General_100_BIN2_UTF8"
    assert text_collation(varchar, "cp1252") is text_collation(nvarchar, "cp1251") is None
    assert text_collation(varchar, "ascii") is None
    assert text_collation(varchar, "cp1251") == "Cyrillic_General_100_CI_AS"
    assert text_collation(varchar, "utf-8") == "Latin1_General_100_CI_AS_SC_UTF8"
    assert text_collation(varchar, "cp850") == "SQL_Latin1_General_CP850_CI_AS"
