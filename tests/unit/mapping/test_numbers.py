from __future__ import annotations

import math
import struct
import time
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Context, Decimal, Inexact

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.contract.plan import Conversion, Rounding
from xml_extractor.contract.types import INTEGER_RANGES, Value, parse_type
from xml_extractor.mapping.conversion import ConversionError, OverflowConversionError, strict_converter


def convert(type_name: str, text: str, rounding: Rounding = Rounding.REJECT) -> Value:
    return strict_converter(Conversion(parse_type(type_name), rounding=rounding))(text)


def code(type_name: str, text: str, rounding: Rounding = Rounding.REJECT) -> str:
    with pytest.raises(ConversionError) as caught:
        convert(type_name, text, rounding)
    assert text.strip() not in caught.value.message or len(text.strip()) < 3
    return caught.value.code


BLANKS = st.text(" \t\r\n", max_size=3)


@given(
    st.sampled_from(sorted(INTEGER_RANGES)),
    st.integers(-(2**65), 2**65),
    BLANKS,
    st.integers(0, 30),
    st.booleans(),
)
def test_integers_are_exact_within_their_range(
    name: str, value: int, blank: str, zeros: int, plus: bool
) -> None:
    sign = "-" if value < 0 else "+" if plus else ""
    text = f"{blank}{sign}{'0' * zeros}{abs(value)}{blank}"
    low, high = INTEGER_RANGES[name]
    if low <= value <= high:
        result = convert(name, text)
        assert result == value
        assert type(result) is int
    else:
        assert code(name, text) == "out_of_range"


@pytest.mark.parametrize("name", sorted(INTEGER_RANGES))
def test_integer_limits(name: str) -> None:
    low, high = INTEGER_RANGES[name]
    assert (convert(name, str(low)), convert(name, str(high))) == (low, high)
    assert code(name, str(low - 1)) == code(name, str(high + 1)) == "out_of_range"


@pytest.mark.parametrize(
    "text",
    ["1e3", "1.0", "1.", "0x1F", "1_000", "1,000", "٣", "²", "--1", "+", "-", "1 2", "\xa01", "abc", "+ 1"],
)
def test_integers_take_digits_only(text: str) -> None:
    assert code("int", text) == "not_convertible"


def test_integer_from_decimals_needs_a_rounding() -> None:
    assert convert("int", "2.5", Rounding.HALF_UP) == 3
    assert convert("int", "-2.5", Rounding.HALF_UP) == -3
    assert convert("int", "2.5", Rounding.HALF_EVEN) == 2
    assert convert("int", "-2.9", Rounding.DOWN) == -2
    assert code("tinyint", "255.5", Rounding.HALF_UP) == "out_of_range"
    assert code("int", "9" * 200 + ".0", Rounding.DOWN) == "out_of_range"


@pytest.mark.parametrize(
    "name",
    [
        "int",
        "decimal(9,2)",
        "money",
        "float",
        "real",
        "bit",
        "date",
        "time(3)",
        "datetime2(7)",
        "datetime",
        "datetimeoffset(0)",
        "uniqueidentifier",
        "varbinary(9)",
    ],
)  # fmt: skip
@pytest.mark.parametrize("text", ["", " ", "\r\n\t "])
def test_blank_is_missing_for_types_other_than_text(name: str, text: str) -> None:
    assert convert(name, text) is None


def test_overflow_carries_the_value_for_conditions() -> None:
    with pytest.raises(OverflowConversionError) as caught:
        convert("tinyint", "300")
    assert caught.value.value == 300


@st.composite
def decimal_types(draw: st.DrawFn) -> tuple[int, int]:
    precision = draw(st.integers(1, 38))
    return precision, draw(st.integers(0, precision))


MODES = {
    Rounding.HALF_UP: ROUND_HALF_UP,
    Rounding.HALF_EVEN: ROUND_HALF_EVEN,
    Rounding.DOWN: ROUND_DOWN,
}


@given(
    decimal_types(),
    st.integers(-(10**40), 10**40),
    st.integers(0, 45),
    st.sampled_from(list(Rounding)),
)
def test_decimals_are_exact(kind: tuple[int, int], digits: int, scale: int, rounding: Rounding) -> None:
    precision, type_scale = kind
    number = Decimal(digits).scaleb(-scale, Context(prec=100))
    text = format(number, "f")
    name = f"decimal({precision},{type_scale})"
    unit = Decimal(1).scaleb(-type_scale)
    wide = Context(prec=200)
    expected = number.quantize(unit, MODES.get(rounding, ROUND_DOWN), wide)
    if rounding is Rounding.REJECT and expected != number:
        assert code(name, text, rounding) == "too_many_digits"
    elif abs(expected) >= Decimal(10) ** (precision - type_scale):
        assert code(name, text, rounding) == "out_of_range"
    else:
        result = convert(name, text, rounding)
        assert isinstance(result, Decimal)
        assert result == expected
        assert result.as_tuple().exponent == -type_scale
        assert not (result.is_zero() and result.is_signed())


@pytest.mark.parametrize(
    ("name", "text", "rounding", "expected"),
    [
        ("decimal(5,2)", "1.5", Rounding.REJECT, "1.50"),
        ("decimal(5,2)", " +001.50000 ", Rounding.REJECT, "1.50"),
        ("decimal(5,2)", ".5", Rounding.REJECT, "0.50"),
        ("decimal(5,2)", "5.", Rounding.REJECT, "5.00"),
        ("decimal(5,2)", "-0.001", Rounding.HALF_UP, "0.00"),
        ("decimal(5,2)", "2.675", Rounding.HALF_UP, "2.68"),
        ("decimal(5,2)", "-2.675", Rounding.HALF_UP, "-2.68"),
        ("decimal(5,2)", "2.665", Rounding.HALF_EVEN, "2.66"),
        ("decimal(5,2)", "2.679", Rounding.DOWN, "2.67"),
        ("money", "922337203685477.5807", Rounding.REJECT, "922337203685477.5807"),
        ("smallmoney", "-214748.3648", Rounding.REJECT, "-214748.3648"),
    ],
)
def test_decimal_examples(name: str, text: str, rounding: Rounding, expected: str) -> None:
    assert str(convert(name, text, rounding)) == expected


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("decimal(5,2)", "999.995", "too_many_digits"),
        ("decimal(5,2)", "1000", "out_of_range"),
        ("decimal(5,2)", "1e2", "not_convertible"),
        ("decimal(5,2)", "1,5", "not_convertible"),
        ("decimal(5,2)", "NaN", "not_convertible"),
        ("decimal(5,2)", "Infinity", "not_convertible"),
        ("decimal(5,2)", ".", "not_convertible"),
        ("decimal(5,2)", "1_0", "not_convertible"),
        ("decimal(5,2)", "١", "not_convertible"),
        ("money", "922337203685477.5808", "out_of_range"),
        ("money", "$1", "not_convertible"),
        ("smallmoney", "214748.3648", "out_of_range"),
    ],
)
def test_decimals_that_are_refused(name: str, text: str, expected: str) -> None:
    assert code(name, text) == expected


def test_rounding_up_can_overflow() -> None:
    assert code("decimal(5,2)", "999.995", Rounding.HALF_UP) == "out_of_range"


def test_endless_numbers_take_no_time() -> None:
    started = time.perf_counter()
    digits = "9" * 3_000_000
    assert code("bigint", digits) == "out_of_range"
    assert code("int", "0" * 3_000_000 + "x") == "not_convertible"
    assert code("decimal(38,10)", digits) == "out_of_range"
    assert code("decimal(38,10)", "0." + digits) == "too_many_digits"
    assert convert("bigint", "0" * 3_000_000 + "7") == 7
    assert time.perf_counter() - started < 5


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_float_round_trip(value: float) -> None:
    result = convert("float", repr(value))
    assert isinstance(result, float)
    assert result == value


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_real_is_single_precision(value: float) -> None:
    try:
        expected = struct.unpack("<f", struct.pack("<f", value))[0]
    except OverflowError:
        assert code("real", repr(value)) == "out_of_range"
        return
    if math.isinf(expected):
        assert code("real", repr(value)) == "out_of_range"
    else:
        assert convert("real", repr(value)) == expected


@pytest.mark.parametrize("text", ["NaN", "INF", "-Infinity", "0x1p3", "1_0", "1e", "e5", "1,5"])
def test_floats_that_are_no_numbers(text: str) -> None:
    assert code("float", text) == "not_convertible"


def test_float_out_of_range() -> None:
    assert code("float", "1e999") == "out_of_range"
    assert math.copysign(1, convert("float", "-0.0")) == 1  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "expected"), [("0", False), ("1", True), (" true ", True), ("False", False), ("TRUE", True)]
)
def test_bit(text: str, expected: bool) -> None:
    assert convert("bit", text) is expected


@pytest.mark.parametrize("text", ["2", "-1", "yes", "Y", "t", "01", "1.0"])
def test_bit_takes_nothing_else(text: str) -> None:
    assert code("bit", text) == "not_convertible"


def test_inexact_is_not_trapped_elsewhere() -> None:
    # The converters' contexts are their own: the thread's context stays as it was.
    convert("decimal(5,2)", "1.25")
    assert not Context().traps[Inexact]
    assert Decimal(1) / Decimal(3)
