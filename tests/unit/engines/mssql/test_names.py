"""Quoting: whatever a name holds, it comes out as that name and as nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.engines.ddl import split_name
from xml_extractor.engines.mssql.names import (
    column_name_problem,
    quote_identifier,
    quote_table,
    table_name_problem,
)

parts = st.lists(st.text(min_size=1, max_size=20), min_size=1, max_size=3)


@given(parts)
def test_what_is_quoted_is_split_into_the_same_parts(names: list[str]) -> None:
    assert split_name(".".join(map(quote_identifier, names))) == tuple(names)


@given(parts)
def test_quoting_a_quoted_name_changes_nothing(names: list[str]) -> None:
    quoted = ".".join(map(quote_identifier, names))
    assert quote_table(quoted) == quoted


@given(st.text(min_size=1, max_size=20))
def test_no_name_gets_out_of_its_brackets(name: str) -> None:
    quoted = quote_identifier(name)
    assert quoted[0] == "["
    assert quoted[-1] == "]"
    assert "]" not in quoted[1:-1].replace("]]", "")


@pytest.mark.parametrize(
    ("name", "schema", "quoted"),
    [
        ("app_xml", None, "[app_xml]"),
        ("app_xml", "sta.ging", "[sta.ging].[app_xml]"),
        ("dbo.app_xml", "staging", "[dbo].[app_xml]"),
        ("archive.dbo.app_xml", "staging", "[archive].[dbo].[app_xml]"),
        ("[dbo].[order]]s]", None, "[dbo].[order]]s]"),
        ('dbo."a.b"', None, "[dbo].[a.b]"),
        ("x] (a int); DROP TABLE y; --", None, "[x]] (a int); DROP TABLE y; --]"),
    ],
)
def test_tables(name: str, schema: str | None, quoted: str) -> None:
    assert quote_table(name, schema) == quoted


def test_what_is_not_a_name() -> None:
    with pytest.raises(ValueError, match="not a table name"):
        quote_table("dbo..app_xml")


def test_names_that_a_table_cannot_have() -> None:
    assert table_name_problem("a" * 128) is None
    assert table_name_problem("archive.dbo.[odd.name]") is None
    assert "128" in (table_name_problem("dbo." + "a" * 129) or "")
    # 65 characters, 130 units.
    assert "128" in (table_name_problem("\U0001f600" * 65) or "")
    assert "4 parts" in (table_name_problem("server.archive.dbo.t") or "")
    assert "temporary" in (table_name_problem("dbo.#t") or "")


def test_names_that_a_column_cannot_have() -> None:
    assert column_name_problem("t", "a" * 128) is None
    assert (column_name_problem("t", "a" * 129) or "").startswith("column t.aaa")
