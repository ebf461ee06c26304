from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.source.column_text import column_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, None),
        ("  as it stands ", "  as it stands "),
        ("", ""),
        (True, "1"),
        (False, "0"),
        (-42, "-42"),
        (Decimal("1E+5"), "100000"),
        (Decimal("0.00000001"), "0.00000001"),
        (Decimal("12.340"), "12.340"),
        (0.1, "0.1"),
        (datetime(2024, 3, 5, 14, 7, 9, 120000), "2024-03-05 14:07:09.120000"),
        (datetime(2024, 3, 5, tzinfo=UTC), "2024-03-05 00:00:00+00:00"),
        (date(2024, 3, 5), "2024-03-05"),
        (time(23, 59, 1), "23:59:01"),
        (UUID("C7756C4C-01C3-4612-A7FA-8485D40D11A2"), "c7756c4c-01c3-4612-a7fa-8485d40d11a2"),
        (b"\x00\xff", "00ff"),
        (memoryview(b"\x01"), "01"),
    ],
)
def test_values_of_drivers(value: Any, text: str | None) -> None:
    assert column_text(value) == text


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_decimals_lose_nothing(value: Decimal) -> None:
    text = column_text(value)
    assert text is not None
    assert "E" not in text
    assert Decimal(text) == value


@given(st.floats(allow_nan=False))
def test_floats_lose_nothing(value: float) -> None:
    assert float(column_text(value) or "") == value


@pytest.mark.parametrize("value", [timedelta(1), {"a": 1}, [1]])
def test_other_types_are_refused_by_their_name(value: Any) -> None:
    with pytest.raises(TypeError, match=type(value).__name__):
        column_text(value)
