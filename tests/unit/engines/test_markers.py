"""Markers are found where they are parameters, and nowhere else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.engines.markers import split_at_markers


@pytest.mark.parametrize(
    ("sql", "pieces"),
    [
        ("SELECT 1", ("SELECT 1",)),
        ("?", ("", "")),
        ("a = ? AND b = ?", ("a = ", " AND b = ", "")),
        ("'?' = ?", ("'?' = ", "")),
        ("'it''s ?', ?", ("'it''s ?', ", "")),
        ('"odd?" = ?', ('"odd?" = ', "")),
        ("-- ?\n ?", ("-- ?\n ", "")),
        ("/* ? */ ? /* ?", ("/* ? */ ", " /* ?")),
        ("'never ended ?", ("'never ended ?",)),
    ],
)
def test_pieces(sql: str, pieces: tuple[str, ...]) -> None:
    assert split_at_markers(sql) == pieces
    assert split_at_markers(sql, brackets=True) == pieces


def test_brackets_quote_names_in_t_sql_only() -> None:
    sql = "[odd?]]s?] = ? AND [b] = ?"
    assert split_at_markers(sql, brackets=True) == ("[odd?]]s?] = ", " AND [b] = ", "")
    assert len(split_at_markers(sql)) == 5
    assert split_at_markers("[never ended ?", brackets=True) == ("[never ended ?",)


@given(st.text(alphabet="?'\"[]-/*\na", max_size=30), st.booleans())
def test_nothing_is_lost(sql: str, brackets: bool) -> None:
    assert "?".join(split_at_markers(sql, brackets=brackets)) == sql
