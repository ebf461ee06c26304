"""Whether a column holds a contract's type, where no server at hand has such a column.

The common pairs of types are held against a real catalogue in tests/integration/engines/mssql.
"""

from __future__ import annotations

from typing import Any

import pytest

from xml_extractor.contract.types import TYPE_NAMES, parse_type
from xml_extractor.engines.checks import ExistingColumn
from xml_extractor.engines.mssql.fitting import ENCRYPTED, type_problem


def existing(kind: str, **changes: Any) -> ExistingColumn:
    return ExistingColumn("a", kind, nullable=True, kind=kind, **changes)


def utf_8(size: int | None) -> ExistingColumn:
    return existing("varchar", size=size, collation="Latin1_General_100_CI_AS_SC_UTF8", code_page=65001)


def problem(type_: str, column: ExistingColumn, codec: str = "cp1252") -> str | None:
    return type_problem(parse_type(type_), column, codec)


@pytest.mark.parametrize(
    ("type_", "codec", "size", "fits"),
    [
        ("varchar(9)", "cp1252", 27, True), ("varchar(9)", "cp1252", 26, False),
        ("varchar(9)", "cp1252", None, True), ("varchar(9)", "utf-8", 9, True),
        ("varchar(9)", "ascii", 9, True), ("nvarchar(9)", "cp1252", 27, True),
        ("nvarchar(9)", "cp1252", 26, False), ("nvarchar(max)", "cp1252", None, True),
        ("varchar(max)", "cp1252", 8000, False),
    ],
)  # fmt: skip
def test_bytes_in_utf_8(type_: str, codec: str, size: int | None, fits: bool) -> None:
    assert (problem(type_, utf_8(size), codec) is None) is fits


def test_utf_8_into_a_code_page() -> None:
    column = existing("varchar", size=9, collation="Latin1_General_CI_AS", code_page=1252)
    told = problem("varchar(9)", column, "utf-8") or ""
    assert "code page 1252 of its collation Latin1_General_CI_AS" in told
    assert "set code_page: cp1252" in told
    assert problem("nvarchar(9)", column) is not None


def test_the_code_page_of_a_unicode_column_does_not_matter() -> None:
    for kind in ("nchar", "nvarchar"):
        column = existing(kind, size=9, collation="Cyrillic_General_CI_AS", code_page=1251)
        assert problem("char(9)", column) is None
        assert problem("nchar(9)", column) is None


def test_a_code_page_that_is_not_told_is_not_judged() -> None:
    assert problem("varchar(9)", existing("varchar", size=9)) is None


@pytest.mark.parametrize("kind", [ENCRYPTED, "sql_variant", "text", "ntext", "image", "geography"])
def test_columns_that_take_nothing(kind: str) -> None:
    for name in TYPE_NAMES:
        type_ = f"{name}(9)" if name.endswith(("char", "binary")) else name
        assert problem(type_, existing(kind)), type_


@pytest.mark.parametrize(
    ("type_", "column", "words"),
    [
        ("nvarchar(max)", existing("ntext"), "ALTER COLUMN to nvarchar(max)"),
        ("varchar(9)", existing("char", size=9), "blanks"),
        ("varbinary(9)", existing("binary", size=9), "zeros"),
        ("datetimeoffset(3)", existing("datetime2", scale=7), "offset would be lost"),
        ("datetime2(3)", existing("datetime"), "use datetime2"),
        ("datetime2(3)", existing("datetime2", scale=2), "rounded"),
        ("decimal(9,2)", existing("decimal", size=9, scale=1), "rounded"),
        ("decimal(9,2)", existing("decimal", size=9, scale=3), "too small"),
        ("xml", existing("nvarchar"), "say so in the contract"),
    ],
)
def test_words(type_: str, column: ExistingColumn, words: str) -> None:
    assert words in (problem(type_, column) or "")
