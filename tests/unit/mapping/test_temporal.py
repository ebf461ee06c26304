from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import ROUND_DOWN, ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.contract.plan import Conversion, Rounding
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping.conversion import ConversionError, strict_converter
from xml_extractor.mapping.temporal import offset_minutes


def convert(type_name: str, text: str, **options: Any) -> Value:
    return strict_converter(replace(Conversion(parse_type(type_name)), **options))(text)


def code(type_name: str, text: str, **options: Any) -> str:
    with pytest.raises(ConversionError) as caught:
        convert(type_name, text, **options)
    return caught.value.code


MOMENTS = st.datetimes(datetime(1, 1, 2), datetime(9999, 12, 30))
OFFSETS = st.integers(-14 * 60, 14 * 60)


def offset_text(minutes: int) -> str:
    return f"{'-' if minutes < 0 else '+'}{abs(minutes) // 60:02}:{abs(minutes) % 60:02}"


@given(st.dates(), st.sampled_from(["", "T00:00:00", " 00:00", "T00:00:00.0000000000"]))
def test_date(day: date, tail: str) -> None:
    assert convert("date", f" {day.isoformat()}{tail}\n") == day.isoformat()


@given(MOMENTS, st.integers(0, 7), st.sampled_from("T "), st.integers(0, 12))
def test_datetime2_is_exact(moment: datetime, digits: int, between: str, zeros: int) -> None:
    fraction = f"{moment.microsecond:06}0"
    text = f"{moment:%H:%M:%S}.{fraction}{'0' * zeros}"
    stamp = f"{moment.date().isoformat()}{between}{text}"
    if fraction[digits:].strip("0"):
        assert code(f"datetime2({digits})", stamp) == "too_many_digits"
        return
    expected = f"{moment.date().isoformat()} {moment:%H:%M:%S}"
    expected += f".{fraction[:digits]}" if digits else ""
    assert convert(f"datetime2({digits})", stamp) == expected
    assert convert(f"time({digits})", text) == expected[11:]


@given(
    MOMENTS,
    st.text("0123456789", min_size=1, max_size=12),
    st.integers(0, 7),
    st.sampled_from([Rounding.HALF_UP, Rounding.HALF_EVEN, Rounding.DOWN]),
)
def test_rounding_of_seconds(moment: datetime, fraction: str, digits: int, rounding: Rounding) -> None:
    moment = moment.replace(microsecond=0)
    mode = {
        Rounding.HALF_UP: ROUND_HALF_UP,
        Rounding.HALF_EVEN: ROUND_HALF_EVEN,
        Rounding.DOWN: ROUND_DOWN,
    }[rounding]
    # Half to even looks at the last digit kept, also where that is the second's own.
    second = Decimal(f"{moment.second}.{fraction}").quantize(Decimal(1).scaleb(-digits), mode)
    whole, _, rest = format(second, "f").partition(".")
    shown = moment.replace(second=0) + timedelta(seconds=int(whole))
    expected = f"{shown.date().isoformat()} {shown:%H:%M:%S}" + (f".{rest}" if digits else "")
    text = f"{moment.date().isoformat()}T{moment:%H:%M:%S}.{fraction}"
    assert convert(f"datetime2({digits})", text, rounding=rounding) == expected


@given(MOMENTS, OFFSETS)
def test_datetimeoffset_keeps_its_zone(moment: datetime, minutes: int) -> None:
    text = f"{moment.isoformat(timespec='microseconds')}{offset_text(minutes)}"
    expected = text.replace("T", " ").replace("-00:00", "+00:00") if minutes == 0 else text.replace("T", " ")
    assert convert("datetimeoffset(6)", text) == expected


@given(MOMENTS, OFFSETS)
def test_zone_to_utc_and_dropped(moment: datetime, minutes: int) -> None:
    text = f"{moment.isoformat(timespec='microseconds')}{offset_text(minutes)}"
    assert code("datetime2(6)", text) == "zone_present"
    plain = moment.isoformat(sep=" ", timespec="microseconds")
    assert convert("datetime2(6)", text, zone="drop") == plain
    utc = moment.replace(tzinfo=timezone(timedelta(minutes=minutes))).astimezone(UTC)
    assert convert("datetime2(6)", text, zone="utc") == utc.replace(tzinfo=None).isoformat(
        sep=" ", timespec="microseconds"
    )


def test_default_zone() -> None:
    assert code("datetimeoffset(0)", "2024-02-29T10:00:00") == "zone_missing"
    assert convert(
        "datetimeoffset(0)", "2024-02-29T10:00", default_zone="-05:30"
    ) == "2024-02-29 10:00:00 -05:30".replace(" -05", "-05")
    assert (
        convert("datetimeoffset(0)", "2024-02-29T10:00:00Z", default_zone="-05:30")
        == "2024-02-29 10:00:00+00:00"
    )
    with pytest.raises(ValueError, match="default_zone"):
        strict_converter(Conversion(parse_type("datetimeoffset(0)"), default_zone="CET"))


@pytest.mark.parametrize(
    ("type_name", "text", "expected"),
    [
        ("datetimeoffset(0)", "0001-01-01T00:00:00+01:00", "out_of_range"),
        ("datetimeoffset(0)", "9999-12-31T23:59:59-01:00", "out_of_range"),
        ("datetime2(0)", "0000-01-01T00:00:00", "not_convertible"),
        ("datetime2(0)", "2023-02-29", "not_convertible"),
        ("datetime2(0)", "2024-01-01T24:00:00", "not_convertible"),
        ("datetime2(0)", "2024-01-01T23:60:00", "not_convertible"),
        ("datetime2(0)", "2024-01-01T23:59:60", "not_convertible"),
        ("datetime2(0)", "2024-01-01T10:00:00+15:00", "not_convertible"),
        ("datetime2(0)", "2024-01-01t10:00:00", "not_convertible"),
        ("datetime2(0)", "2024-01-01  10:00:00", "not_convertible"),
        ("datetime2(0)", "2024-1-1", "not_convertible"),
        ("datetime2(0)", "20240101", "not_convertible"),
        ("datetime2(0)", "2024-01-01T10", "not_convertible"),
        ("datetime2(0)", "2024-01-01T10:00:00.", "not_convertible"),
        ("datetime2(0)", "٢٠٢٤-01-01", "not_convertible"),
        ("date", "2024-01-01T00:00:01", "not_convertible"),
        ("date", "2024-01-01Z", "zone_present"),
        ("time(0)", "2024-01-01T10:00:00", "not_convertible"),
        ("time(0)", "10:00:00Z", "zone_present"),
        ("datetime", "1752-12-31T00:00:00", "out_of_range"),
        ("datetime", "2024-01-01T00:00:00.1234", "too_many_digits"),
        ("smalldatetime", "1899-12-31", "out_of_range"),
        ("smalldatetime", "2079-06-07", "out_of_range"),
        ("smalldatetime", "2024-01-01T10:00:30", "too_many_digits"),
    ],
)
def test_refused(type_name: str, text: str, expected: str) -> None:
    assert code(type_name, text) == expected


@pytest.mark.parametrize(
    ("type_name", "text", "options", "expected"),
    [
        ("date", "2024-01-01+02:00", {"zone": "drop"}, "2024-01-01"),
        ("date", "2024-01-01+02:00", {"zone": "utc"}, "2023-12-31"),
        ("time(0)", "01:00:00+02:00", {"zone": "utc"}, "23:00:00"),
        ("time(7)", "23:59:59.9999999", {}, "23:59:59.9999999"),
        ("datetime2(7)", "2024-12-31T23:59:59.99999995", {"rounding": Rounding.HALF_UP},
         "2025-01-01 00:00:00.0000000"),
        ("smalldatetime", "2024-12-31T23:59:30", {"rounding": Rounding.HALF_UP}, "2025-01-01 00:00:00"),
        ("smalldatetime", "2024-12-31T23:59:29.999", {"rounding": Rounding.HALF_UP}, "2024-12-31 23:59:00"),
        ("smalldatetime", "2079-06-06T23:59:00", {}, "2079-06-06 23:59:00"),
        ("datetime", "1753-01-01", {}, "1753-01-01 00:00:00.000"),
        ("date", "31.12.2024", {"formats": ("%Y-%m-%d", "%d.%m.%Y")}, "2024-12-31"),
        ("datetime2(3)", "5/7/2024 3:04:05.678 PM", {"formats": ("%m/%d/%Y %I:%M:%S.%f %p",)},
         "2024-05-07 15:04:05.678"),
        ("datetimeoffset(0)", "2024-05-07 03:04 +0530", {"formats": ("%Y-%m-%d %H:%M %z",)},
         "2024-05-07 03:04:00+05:30"),
    ],
)  # fmt: skip
def test_accepted(type_name: str, text: str, options: dict[str, Any], expected: str) -> None:
    assert convert(type_name, text, **options) == expected


def test_what_rounds_beyond_the_last_value_is_refused() -> None:
    up = Rounding.HALF_UP
    assert code("time(0)", "23:59:59.5", rounding=up) == "out_of_range"
    assert code("datetime2(0)", "9999-12-31T23:59:59.5", rounding=up) == "out_of_range"
    assert code("datetime", "9999-12-31T23:59:59.999") == "out_of_range"
    assert code("smalldatetime", "2079-06-06T23:59:30", rounding=up) == "out_of_range"


def test_formats_do_not_read_what_they_do_not_fit() -> None:
    assert code("date", "2024-12-31", formats=("%d.%m.%Y",)) == "not_convertible"
    assert code("datetimeoffset(0)", "2024-05-07 +15:00", formats=("%Y-%m-%d %z",)) == "not_convertible"


@given(st.integers(0, 999))
def test_datetime_holds_three_hundredths_of_a_second(milliseconds: int) -> None:
    # The nearest count of 1/300 s, shown in whole milliseconds.
    count = (Fraction(milliseconds, 1000) * 300 + Fraction(1, 2)).__floor__()
    shown = (Fraction(count * 1000, 300) + Fraction(1, 2)).__floor__()
    moment = datetime(2024, 1, 1, 10, 0, 0) + timedelta(milliseconds=shown)
    expected = moment.isoformat(sep=" ", timespec="milliseconds")
    assert expected[-1] in "037"
    assert convert("datetime", f"2024-01-01T10:00:00.{milliseconds:03}") == expected
    assert convert("datetime", expected) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("Z", 0), ("+14:00", 840), ("-14:00", -840), ("+14:01", None), ("+01:60", None), ("1", None)],
)
def test_offset_minutes(text: str, expected: int | None) -> None:
    assert offset_minutes(text) == expected
