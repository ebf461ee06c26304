"""The quick ways of conversions give what the careful ways give, or stand back."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xml_extractor.contract.plan import Apply, Conversion, EnumMap
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping import conversion, numbers, temporal
from xml_extractor.mapping.conversion import strict_converter
from xml_extractor.mapping.conversion_error import ConversionError


def outcome(asked: Conversion, text: str) -> Value | tuple[str, str]:
    try:
        value = strict_converter(asked)(text)
    except ConversionError as error:
        return ("error", error.code)
    return value if value is None else (type(value).__name__, str(value))


def careful_outcome(asked: Conversion, text: str) -> Value | tuple[str, str]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporal, "_shortcut", lambda sql_type: None)
        patch.setattr(numbers, "_plain_decimal", lambda sql_type: re.compile("(?!)").fullmatch)
        patch.setattr(conversion, "_at_once", lambda convert, asked, texts: convert)
        return outcome(asked, text)


NUMBERS = st.sampled_from(
    ["1", "01", "02", "12", "13", "00", "28", "29", "30", "31", "32", "59", "60", "61", "2024", "0001", "99"]
)
LOOSE = st.sampled_from(["", ".", "-", "/", " ", "  ", "T", "x", "5", "\u0661", ":", "\n"])
FORMATS = [
    "%d.%m.%Y", "%Y%m%d", "%d%m%Y", "%m/%d/%Y", "%Y-%m-%d %H:%M:%S", "%Y%m%d%H%M%S", "%H:%M:%S x %d.%m.%Y",
    "%d.%m.%Y ", " %d.%m.%Y", "%d.%m.%Y %H:%M", "%d %m %Y", "%d5%m5%Y", "\u0661%d.%m.%Y", "%d.%m.%y",
    "%d.%m.%Y %%", "%d.%m", "X%Y-%m-%d",
]  # fmt: skip


@st.composite
def nearly(draw: st.DrawFn) -> tuple[str, str]:
    """A format, and a text that follows it more or less."""
    form = draw(st.sampled_from(FORMATS))
    text = ""
    for part in re.findall("%.|.", form, re.DOTALL):
        if part[0] != "%":
            text += part if draw(st.integers(0, 30)) else draw(LOOSE)
        elif part == "%Y" and draw(st.integers(0, 10)):
            text += draw(st.sampled_from(["2024", "2023", "1900", "0001", "9999", "0000"]))
        else:
            text += draw(NUMBERS)
    return form, text


@settings(max_examples=2000, deadline=None)
@given(case=nearly(), name=st.sampled_from(["date", "datetime2(0)", "datetime2(3)", "datetime", "time(0)"]))
def test_formats(case: tuple[str, str], name: str) -> None:
    form, text = case
    for forms in ((form,), (form, "%m.%d.%Y"), ("%Y-%m-%d", form)):
        asked = Conversion(parse_type(name), formats=forms)
        assert outcome(asked, text) == careful_outcome(asked, text)


@pytest.mark.parametrize(
    ("form", "text", "name", "value"),
    [
        ("%d.%m.%Y", "29.02.2024", "date", "2024-02-29"),
        ("%m/%d/%Y", "02/03/2024", "datetime2(3)", "2024-02-03 00:00:00.000"),
        ("%d%m%Y%H%M%S", "03022024112233", "datetime2(0)", "2024-02-03 11:22:33"),
    ],
)
def test_the_quick_way_of_formats_is_taken(form: str, text: str, name: str, value: str) -> None:
    plain = temporal._shortcut(parse_type(name))
    assert plain is not None
    shortcut = temporal._format_shortcut(form, parse_type(name), plain)
    assert shortcut is not None
    assert shortcut(text) == value


@settings(max_examples=500, deadline=None)
@given(
    day=st.sampled_from(["2024-02-29", "2023-02-29", "0001-01-01", "9999-12-31", "2024-W1-01", "2024-12-3"]),
    between=st.sampled_from(["T", " ", ""]),
    time=st.sampled_from(["00:00:00", "23:59:59", "24:00:00", "12:30", "23:59:60",
                          "12:30:00.5", "12:30:00.123", ""]),
    zone=st.sampled_from(["", "Z", "z", "ZZ", "+00:00", "-01:00", "+14:00", "-14:01", "+05:60", " Z"]),
    name=st.sampled_from(["date", "datetime2(0)", "datetime2(2)", "datetime2(7)", "datetime",
                          "datetimeoffset(3)"]),
    rule=st.sampled_from([None, "utc", "drop"]),
)  # fmt: skip
def test_zones(day: str, between: str, time: str, zone: str, name: str, rule: str | None) -> None:
    asked = Conversion(parse_type(name), zone=rule)
    text = day + between + time + zone
    assert outcome(asked, text) == careful_outcome(asked, text)


@settings(max_examples=1000, deadline=None)
@given(
    text=st.from_regex(r"[-+ ]?[0-9]{0,16}\.?[0-9]{0,5}[ \n]?", fullmatch=True)
    | st.sampled_from(["0.00", "-0.00", "00012.50", "922337203685477.5808", "922337203685477.5807",
                       "214748.3648", "214748.3647", "1e2", "\u0661.00", "99.9", "9.99", "10.00", "", "."]),
    name=st.sampled_from(["decimal(12,2)", "decimal(3,3)", "decimal(5,0)", "decimal(3,2)", "money",
                          "smallmoney", "decimal(38,4)"]),
)  # fmt: skip
def test_decimals(text: str, name: str) -> None:
    asked = Conversion(parse_type(name))
    assert outcome(asked, text) == careful_outcome(asked, text)


CODES = EnumMap(
    "e", (("A", "1"), (" B ", "2"), ("c", None), ("BAD", "x"), ("0", "300")), False, "1", False, "8"
)


@settings(max_examples=500, deadline=None)
@given(
    text=st.sampled_from(["A", "a", " A ", "B", " B ", "c", "BAD", "0", "", " ", "zzz"]),
    name=st.sampled_from(["tinyint", "varchar(3)", "bit", "char(4)"]),
    apply=st.sampled_from([(), (Apply("upper"),), (Apply("trim"), Apply("lower"))]),
)
def test_enums(text: str, name: str, apply: tuple[Apply, ...]) -> None:
    asked = Conversion(parse_type(name), apply=apply, enum=CODES)
    assert outcome(asked, text) == careful_outcome(asked, text)


@pytest.mark.parametrize(
    "text", ["Y", "y", " YES ", "Yes", "no", "NO", "0", "1", "true", "TRUE", "2", "", "yn"]
)
@pytest.mark.parametrize("apply", [(Apply("yes_no"),), (Apply("digits"),), (Apply("upper"),)])
def test_bits(text: str, apply: tuple[Apply, ...]) -> None:
    asked = Conversion(parse_type("bit"), apply=apply)
    assert outcome(asked, text) == careful_outcome(asked, text)
