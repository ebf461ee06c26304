"""The quick way of reading dates gives what the careful way gives, or stands back."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xml_extractor.contract.plan import Conversion
from xml_extractor.contract.types import Value, parse_type
from xml_extractor.mapping import temporal
from xml_extractor.mapping.conversion_error import ConversionError

TYPES = ["date", "datetime2(0)", "datetime2(3)", "datetime2(7)"]
DIGITS = st.integers(0, 99).map("{:02}".format)
NEARLY = st.builds(
    "{}{}{}{}{}{}{}{}{}{}{}{}{}".format,
    st.sampled_from(["2024", "0001", "9999", "0000", "2023", "1900", "२०२४"]),
    st.sampled_from(["-", "-", "-", "W", "/"]),
    st.sampled_from(["01", "02", "12", "13", "00", "W1", "٠١"]),
    st.sampled_from(["-", "-", "-", ""]),
    st.sampled_from(["01", "28", "29", "30", "31", "32", "1"]),
    st.sampled_from(["T", " ", "T", "t", "", "  "]),
    st.sampled_from(["00", "12", "23", "24", "-1", "٢٣"]),
    st.sampled_from([":", ":", ""]),
    st.sampled_from(["00", "59", "60"]),
    st.sampled_from([":", ":", "+", ""]),
    st.sampled_from(["00", "59", "60", ""]),
    st.sampled_from(["", "", ".", ".5", ".123", ".1234567", ".12345678", ",5", ".٣", ".1230000000"]),
    st.sampled_from(["", "", "Z", "+01:00", " "]),
)


def outcome(text: str, name: str) -> Value | tuple[str, str]:
    try:
        return temporal.temporal_converter(Conversion(parse_type(name)))(text)
    except ConversionError as error:
        return ("error", error.code)


@settings(max_examples=1500, deadline=None)
@given(
    text=NEARLY | NEARLY.map(lambda text: text[:10]) | NEARLY.map(lambda text: text[:19]),
    name=st.sampled_from(TYPES),
)
def test_the_quick_way_and_the_careful_way_agree(text: str, name: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(temporal, "_shortcut", lambda sql_type: None)
        careful = outcome(text, name)
    assert outcome(text, name) == careful


@pytest.mark.parametrize(
    ("text", "name", "value"),
    [
        ("2024-02-29", "date", "2024-02-29"),
        ("2024-02-29T23:59:59", "datetime2(0)", "2024-02-29 23:59:59"),
        ("2024-02-29 23:59:59.5", "datetime2(3)", "2024-02-29 23:59:59.500"),
        ("2024-02-29T23:59:59.1234567", "datetime2(7)", "2024-02-29 23:59:59.1234567"),
    ],
)
def test_the_quick_way_is_taken(text: str, name: str, value: str) -> None:
    shortcut = temporal._shortcut(parse_type(name))
    assert shortcut is not None
    assert shortcut(text) == value
