"""Rows as JSON for OPENJSON and as parameters; texts that must not reach a server."""

from __future__ import annotations

import json
import pickle
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.plans import column, plan, table
from xml_extractor.engines.base import FaultKind
from xml_extractor.engines.mssql.encoders import (
    JsonEncoder,
    JsonTable,
    TextTupleEncoder,
    Unstorable,
    fragment,
    fragment_rows,
    storable,
    utf16_problem,
)
from xml_extractor.engines.mssql.errors import UnstorableText, classify

ROWS = plan(
    table(
        "a",
        column("id", "bigint"),
        column("d", "decimal(9,2)"),
        column("b", "bit"),
        column("f", "float"),
        column("v", "varbinary(9)"),
        column("old", "datetime"),
        column("new", "datetime2(7)"),
        column("zone", "datetimeoffset(0)"),
        column("t", "nvarchar(max)"),
    ),
    table("n", column("no", "int", server_generated=True), column("t", "nvarchar(9)")),
    table("p", column("t", "nvarchar(9)")),
)
FULL = (
    2**63 - 1, Decimal("-0.50"), True, 5e-324, b"\x00\xff", "2024-03-01 12:00:00.003",
    "2024-03-01 12:00:00.0000001", "2024-03-01 12:00:00-14:00", 'é🎵"\\\n',
)  # fmt: skip
EMPTY = (2, *[None] * 8)


def encode(encoder: Any, *rows: Any) -> tuple[Any, ...]:
    encoded, size = pickle.loads(pickle.dumps(encoder))(rows)
    assert size > 0 or any(isinstance(piece, Unstorable) for piece in encoded)
    return tuple(encoded)


def test_json() -> None:
    first, second, third = encode(JsonEncoder.of(ROWS), [FULL, EMPTY], [(None, "t"), (None, "u")], [])
    assert first == (
        '[9223372036854775807,"-0.50",true,5e-324,"00ff","2024-03-01T12:00:00.003",'
        '"2024-03-01 12:00:00.0000001","2024-03-01T12:00:00-14:00","é🎵\\"\\\\\\n"],'
        "[2,null,null,null,null,null,null,null,null]"
    )
    assert (second, third) == ('["t"],["u"]', "")


def test_tuples() -> None:
    first, second, third = encode(TextTupleEncoder.of(ROWS), [FULL, EMPTY], [(None, "t")], [])
    assert list(first) == [
        (
            2**63 - 1, "-0.50", 1, 5e-324, b"\x00\xff", "2024-03-01T12:00:00.003",
            "2024-03-01 12:00:00.0000001", "2024-03-01T12:00:00-14:00", 'é🎵"\\\n',
        ),
        EMPTY,
    ]  # fmt: skip
    assert type(first[0][2]) is int
    assert (list(second), list(third)) == ([("t",)], [])


@pytest.mark.parametrize("encoder", [JsonEncoder, TextTupleEncoder])
def test_long_values_count_in_the_size(encoder: Any) -> None:
    short = encoder.of(ROWS)(([EMPTY], [], []))[1]
    long = encoder.of(ROWS)(([(*EMPTY[:-1], "x" * 1_000_000)], [], []))[1]
    assert 999_000 < long - short < 1_010_000


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("0E-10", "0.0000000000"), ("-0.00", "0.00"), ("1E-7", "0.0000001"), ("1.10", "1.10"),
        ("1E+3", "1000"), ("9" * 38, "9" * 38),
    ],
)  # fmt: skip
def test_decimals_are_plain_digits(value: str, expected: str) -> None:
    one = plan(table("t", column("d", "decimal(38,10)")))
    assert encode(JsonEncoder.of(one), [(Decimal(value),)]) == (f'["{expected}"]',)
    assert encode(TextTupleEncoder.of(one), [(Decimal(value),)]) == ([(expected,)],)


def test_no_float_without_a_value() -> None:
    one = plan(table("t", column("f", "float")))
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError):
            JsonEncoder.of(one)(([(value,)],))


# ------------------------------------------------------------------------------------- texts

PAIR = plan(table("t", column("id", "int"), column("a", "varchar(99)"), column("b", "xml")))


@pytest.mark.parametrize("encoder", [JsonEncoder, TextTupleEncoder])
@pytest.mark.parametrize("text", ["\0", "a\0", "\ud83c", "x\udfb5y", "\udfb5\ud83c"])
def test_what_nobody_could_read_is_marked(encoder: Any, text: str) -> None:
    assert encode(encoder.of(PAIR), [(1, "fine", None), (2, None, text)]) == (Unstorable("t", "b"),)
    assert encode(encoder.of(PAIR), [(1, text, text)]) == (Unstorable("t", "a"),)


@pytest.mark.parametrize("encoder", [JsonEncoder, TextTupleEncoder])
@pytest.mark.parametrize("text", ["\\u0000", "\\\\u0000", "u0000", "\\ud83c", "🎵", "\x01\x7f", ""])
def test_what_only_looks_like_it_is_not(encoder: Any, text: str) -> None:
    (encoded,) = encode(encoder.of(PAIR), [(1, text, None)])
    assert not isinstance(encoded, Unstorable)
    assert (json.loads(encoded)[1] if isinstance(encoded, str) else encoded[0][1]) == text


def test_writing_stops_at_what_is_marked() -> None:
    assert storable(["a", "", "b"]) == ["a", "b"]
    assert storable([[], ()]) == []
    with pytest.raises(UnstorableText) as raised:
        storable(["a", Unstorable("app_note", "text")])
    fault = classify(pickle.loads(pickle.dumps(raised.value)), "the server")
    assert (fault.kind, fault.code, fault.table, fault.column) == (
        FaultKind.DATA, "not_encodable", "app_note", "text",
    )  # fmt: skip
    assert "app_note.text" in fault.message


@given(st.text())
def test_whether_a_text_can_be_stored(text: str) -> None:
    assert utf16_problem(text) == ("\0" in text or any("\ud800" <= c <= "\udfff" for c in text))


@given(
    st.lists(
        st.tuples(
            st.integers(),
            st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))),
        )
    )
)
def test_json_is_json(rows: list[tuple[Any, ...]]) -> None:
    one = table("t", column("id", "bigint"), column("t", "nvarchar(max)"))
    text = JsonTable.of(one).fragment(rows)
    assert isinstance(text, str)
    assert [tuple(row) for row in fragment_rows(text)] == rows
    assert fragment(fragment_rows(text)) == text
    assert "\n" not in text


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_floats_are_written_in_the_fewest_digits(value: float) -> None:
    text = fragment([(value,)])
    assert text == f"[{value!r}]"
