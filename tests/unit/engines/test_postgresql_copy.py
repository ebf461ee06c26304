"""Rows of the loader's own tables as COPY text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.engines.encoding import copy_text
from xml_extractor.engines.postgresql_copy import copy_lines

CELLS = (
    st.none()
    | st.binary(max_size=4)
    | st.integers()
    | st.text(max_size=5)
    | st.sampled_from("\\\t\n\r\ud83cN")
)


@given(st.integers(1, 4).flatmap(lambda width: st.lists(st.tuples(*[CELLS] * width), min_size=1, max_size=6)))
def test_by_columns_is_what_by_rows_is(rows: list[tuple[object, ...]]) -> None:
    assert copy_lines(rows) == copy_text(rows)  # type: ignore[arg-type]


@given(CELLS, st.lists(CELLS, min_size=1, max_size=6))
def test_a_column_of_one_value(constant: object, others: list[object]) -> None:
    rows = [(constant, other, constant) for other in others]
    assert copy_lines(rows) == copy_text(rows)  # type: ignore[arg-type]
