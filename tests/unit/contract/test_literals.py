from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.contract.literals import parse_literal
from xml_extractor.contract.types import Value, parse_type


@pytest.mark.parametrize(
    ("sql_type", "text", "value"),
    [
        ("bit", "1", True),
        ("bit", "False", False),
        ("tinyint", "255", 255),
        ("bigint", "-9223372036854775808", -(2**63)),
        ("decimal(5,2)", "1.5", Decimal("1.50")),
        ("decimal(5,2)", "1.5000", Decimal("1.50")),
        ("decimal(5,2)", "-0", Decimal("0.00")),
        ("decimal(5,2)", "999.99", Decimal("999.99")),
        ("decimal(5,0)", "100", Decimal("100")),
        ("money", "922337203685477.5807", Decimal("922337203685477.5807")),
        ("float", "1.5", 1.5),
        ("varchar(3)", "abc", "abc"),
        ("char(4)", "ab", "ab  "),
        ("nvarchar(2)", "😀", "😀"),
        ("varbinary(3)", "AQID", b"\x01\x02\x03"),
        ("binary(4)", "AQID", b"\x01\x02\x03\x00"),
        (
            "uniqueidentifier",
            "{6F9619FF-8B86-D011-B42D-00CF4FC964FF}",
            "6f9619ff-8b86-d011-b42d-00cf4fc964ff",
        ),
        ("date", "2024-02-29", "2024-02-29"),
        ("time(3)", "10:20", "10:20:00.000"),
        ("time(0)", "10:20:30", "10:20:30"),
        ("datetime2(3)", "2024-01-02", "2024-01-02 00:00:00.000"),
        ("datetime2(7)", "2024-01-02T03:04:05.1234567", "2024-01-02 03:04:05.1234567"),
        ("datetimeoffset(0)", "2024-01-02 03:04:05Z", "2024-01-02 03:04:05+00:00"),
    ],
)
def test_constants_become_canonical_values(sql_type: str, text: str, value: Value) -> None:
    result = parse_literal(text, parse_type(sql_type), "cp1252")
    assert result == value
    assert type(result) is type(value)
    assert str(result) == str(value)


@pytest.mark.parametrize(
    ("sql_type", "text", "words"),
    [
        ("bit", "yes", "is not a bit"),
        ("int", "1.0", "not a whole number"),
        ("int", "١", "not a whole number"),
        ("tinyint", "256", "out of range for tinyint (0 to 255)"),
        ("decimal(5,2)", "1.234", "more than the 2 decimal places"),
        ("decimal(5,2)", "1000", "out of range"),
        ("decimal(5,2)", "1e2", "not a decimal number"),
        ("smallmoney", "214748.3648", "out of range"),
        ("float", "nan", "not a finite number"),
        ("varchar(2)", "abc", "3 bytes"),
        ("varchar(9)", "Ж", "code page cp1252 lacks"),
        ("nvarchar(1)", "😀", "2 UTF-16 units"),
        ("varbinary(2)", "AQID", "3 bytes"),
        ("varbinary(2)", "?", "not base64"),
        ("uniqueidentifier", "x", "not a uniqueidentifier"),
        ("date", "2023-02-29", "write it as 2024-12-31"),
        ("date", "2024-01-02 00:00", "write it as"),
        ("time(0)", "25:00", "write it as"),
        ("time(0)", "10:00:00.5", "more than the 0 fractional digits"),
        ("datetime2(3)", "2024-01-02 00:00Z", "write it as"),
        ("datetimeoffset(3)", "2024-01-02 00:00", "write it as"),
        ("datetime2(3)", "", "write it as"),
    ],
)
def test_what_is_no_value_of_the_type_is_told(sql_type: str, text: str, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        parse_literal(text, parse_type(sql_type), "cp1252")
    assert words in str(caught.value)


def test_lengths_count_bytes_of_the_code_page() -> None:
    assert parse_literal("ü", parse_type("varchar(1)"), "cp1252") == "ü"
    with pytest.raises(ValueError, match="2 bytes"):
        parse_literal("ü", parse_type("varchar(1)"), "utf-8")


def test_hex() -> None:
    assert parse_literal("0x0aFF", parse_type("varbinary(2)"), "cp1252", binary_format="hex") == b"\x0a\xff"
    with pytest.raises(ValueError, match="not hex"):
        parse_literal("AQID", parse_type("varbinary(3)"), "cp1252", binary_format="hex")


@given(st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**12), max_value=10**12))
def test_decimals_keep_their_value_and_get_the_scale(number: Decimal) -> None:
    result = parse_literal(f"{number:f}", parse_type("decimal(38,6)"), "cp1252")
    assert isinstance(result, Decimal)
    assert result == number
    assert result.as_tuple().exponent == -6
