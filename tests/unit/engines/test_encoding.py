"""Rows as COPY text and as parameters."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import column, plan, table
from xml_extractor.engines.encoding import (
    CopyEncoder,
    ParameterEncoder,
    copy_text,
    pickled_values,
    unpickled_values,
)
from xml_extractor.mapping.layouts import decimal_text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"\\N"), ("", b""), ("\\N", b"\\\\N"), ("\\.", b"\\\\."), ("a\tb\nc\rd", b"a\\tb\\nc\\rd"),
        ("é🎵", "é🎵".encode()), (True, b"1"), (False, b"0"), (-5, b"-5"), (Decimal("1.10"), b"1.10"),
        (0.1, b"0.1"), (1e300, b"1e+300"), (b"", b"\\\\x"), (b"\x00\\", b"\\\\x005c"),
        ("\ud83c", b"\xed\xa0\xbc"),
    ],
)  # fmt: skip
def test_copy_text(value: object, expected: bytes) -> None:
    assert copy_text([(value, 1)]) == expected + b"\t1\n"  # type: ignore[list-item]


def parse_copy(data: bytes) -> list[tuple[str | None, ...]]:
    """The format as PostgreSQL's documentation has it, read by other means than it was written."""
    rows = []
    escapes = {"t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
    assert not data or data.endswith(b"\n")
    for line in data.decode().split("\n")[:-1]:
        cells: list[str | None] = []
        for raw in line.split("\t"):
            if raw == "\\N":
                cells.append(None)
                continue
            cell, characters = "", iter(raw)
            for character in characters:
                cell += escapes[next(characters)] if character == "\\" else character
            cells.append(cell)
        rows.append(tuple(cells))
    return rows


@given(
    st.lists(
        st.tuples(*[st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"])))] * 3), max_size=5
    )
)
def test_copy_text_can_be_read_back(rows: list[tuple[str | None, ...]]) -> None:
    assert parse_copy(copy_text(rows)) == rows


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0E-10", "0.0000000000"), ("0.00", "0.00"), ("-0.00", "0.00"), ("1E-7", "0.0000001"),
        ("-1E-7", "-0.0000001"), ("1.10", "1.10"), ("-12.50", "-12.50"), ("1E+3", "1000"), ("-0", "0"),
    ],
)  # fmt: skip
def test_decimal_text(value: str, expected: str) -> None:
    assert decimal_text(Decimal(value)) == expected


ROWS = plan(
    table(
        "a",
        column("id", "int"),
        column("d", "decimal(9,2)"),
        column("b", "bit"),
        column("t", "nvarchar(max)"),
    ),
    table("n", column("no", "int", server_generated=True), column("t", "nvarchar(9)")),
    table("p", column("t", "nvarchar(9)")),
)


def test_parameters() -> None:
    rows = ([(1, Decimal("0.50"), True, "x"), (2, None, None, None)], [(None, "t")], [])
    encoded, size = ParameterEncoder.of(ROWS)(rows)  # type: ignore[arg-type]
    values = [unpickled_values([piece]) for piece in encoded]
    assert values == [[1, "0.50", 1, "x", 2, None, None, None], ["t"], []]
    assert type(values[0][2]) is int
    longer = ([(1, None, None, "x" * 1_000_000)], [], [])
    assert ParameterEncoder.of(ROWS)(longer)[1] > 1_000_000 > size > 0  # type: ignore[arg-type]


WHOLE = st.one_of(
    st.none(), st.integers(-(2**63), 2**63 - 1), st.integers(-70_000, 70_000), st.floats(allow_nan=False),
    st.text(), st.text(st.characters(categories=["Cs"]), max_size=2), st.binary(),
)  # fmt: skip


@given(st.lists(st.lists(WHOLE, max_size=4), max_size=5), st.sampled_from([0, 1, 999, 1000, 1001, 2001]))
def test_pickled_values_follow_one_another(lists: list[list[Any]], repeated: int) -> None:
    lists.append([lists[0][0] if lists and lists[0] else "same"] * repeated)
    pieces = [pickled_values(values) for values in lists]
    joined = [value for values in lists for value in values]
    assert repr(unpickled_values(pieces)) == repr(joined)
    assert [unpickled_values([piece]) for piece in pieces] == lists


def test_copy() -> None:
    rows = ([(1, Decimal("0.50"), True, "x"), (2, None, None, None)], [(None, "t")], [])
    encoded, size = CopyEncoder.of(ROWS)(rows)  # type: ignore[arg-type]
    assert encoded == (b"1\t0.50\t1\tx\n2\t\\N\\N\\N\n".replace(b"\\N\\N\\N", b"\\N\t\\N\t\\N"), b"t\n", b"")
    assert size >= sum(map(len, encoded))
