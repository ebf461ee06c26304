"""Literals say what parameters would have said."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.engines.mssql.literals import bound, literal, with_nulls

REPLACE = "REPLACE(CAST(N'{}' AS nvarchar(max)) COLLATE Latin1_General_BIN2, N'{}', N'')"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "NULL"),
        (True, "1"),
        (False, "0"),
        (-(2**63), "-9223372036854775808"),
        (0.1, "0.1e0"),
        (5e-324, "5e-324"),
        (1e16, "1e+16"),
        (Decimal("-0.00"), "0.00"),
        (Decimal("1E-38"), "0.00000000000000000000000000000000000001"),
        (b"", "0x"),
        (b"\x00\xff", "0x00ff"),
        ("", "N''"),
        ("it's '' 漢", "N'it''s '''' 漢'"),
        ("a\\b\nc", "N'a\\b\nc'"),
        ("a\\\nb", REPLACE.format("a\\\ue000\nb", "\ue000")),
        ("it's\\\r\nb\ue000", REPLACE.format("it''s\\\ue001\r\nb\ue000", "\ue001")),
    ],
)
def test_literals(value: object, text: str) -> None:
    assert literal(value) == text


def read_back(text: str) -> str:
    """What T-SQL makes of the literal of a text, by its own rules."""
    pattern = r"REPLACE\(CAST\((N'.*') AS nvarchar\(max\)\) COLLATE \w+, N'(.)', N''\)"
    marked = re.fullmatch(pattern, text, re.S)
    inner, mark = (marked[1], marked[2]) if marked else (text, "")
    assert inner.startswith("N'")
    assert inner.endswith("'")
    read = re.sub(r"\\(\r\n|\n|\r)", "", inner[2:-1]).replace("''", "'")
    return read.replace(mark, "") if mark else read


@given(st.text(alphabet=st.sampled_from("a'\\\n\r;-?[]漢\ue000"), max_size=30))
def test_any_text_is_read_back_as_it_was(value: str) -> None:
    assert read_back(literal(value)) == value


def test_a_type_that_is_no_parameter_is_a_mistake() -> None:
    with pytest.raises(TypeError, match="object"):
        literal(object())


def test_bound_puts_values_where_the_markers_are() -> None:
    sql = "SELECT '?', [a?] FROM t WHERE b = ? AND c = ? -- ?"
    assert bound(sql, ("x?", 1)) == "SELECT '?', [a?] FROM t WHERE b = N'x?' AND c = 1 -- ?"
    with pytest.raises(ValueError, match="2 markers and 1 parameters"):
        bound(sql, (1,))


def test_null_is_written_out_because_no_type_of_it_fits_every_column() -> None:
    sql = "UPDATE [a?] SET b = ?, c = '?', d = ?, e = ? -- ?\nWHERE f = ?"
    assert with_nulls(sql, ("x", None, None, 1)) == (
        "UPDATE [a?] SET b = ?, c = '?', d = NULL, e = NULL -- ?\nWHERE f = ?",
        ["x", 1],
    )
    assert with_nulls(sql, (1, 2, 3, 4)) == (sql, (1, 2, 3, 4))
    with pytest.raises(ValueError, match="4 markers and 1 parameters"):
        with_nulls(sql, (None,))
