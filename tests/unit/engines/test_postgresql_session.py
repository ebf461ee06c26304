"""Parameters."""

from __future__ import annotations

import pytest

from xml_extractor.engines.postgresql_session import numbered


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("SELECT 1", "SELECT 1"),
        ("a = ? AND b = ?", "a = $1 AND b = $2"),
        ("a = '?' AND b = ?", "a = '?' AND b = $1"),
        ("a = 'it''s ?' AND b = ?", "a = 'it''s ?' AND b = $1"),
        ('"odd?" = ?', '"odd?" = $1'),
        ('"a""?" = ?', '"a""?" = $1'),
        ("? -- why?\n+ ?", "$1 -- why?\n+ $2"),
        ("? /* why? */ + ?", "$1 /* why? */ + $2"),
        ("? + 'unfinished ?", "$1 + 'unfinished ?"),
        ("? /* unfinished ?", "$1 /* unfinished ?"),
        ("?, ?, ?", "$1, $2, $3"),
    ],
)
def test_numbered(sql: str, expected: str) -> None:
    assert numbered(sql) == expected
