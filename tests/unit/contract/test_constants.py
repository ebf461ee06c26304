"""Constants, defaults and formats: what the check accepts, a load can use."""

from __future__ import annotations

from datetime import datetime

import pytest

from tests.unit.contract.contracts import HEAD, mistakes, plan_of, with_columns
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.records import SourceDocument


def mapped(text: str, document: str = "<Application/>") -> object:
    mapper = DataMapper(plan_of(text), datetime(2024, 1, 1))
    source = SourceDocument(1, document)
    return mapper.map(mapper.parse(source), source).rows[0][0][1]


@pytest.mark.parametrize(
    "column",
    [
        "{value: x, type: datetime2(0), rounding: half_up}",
        "{value: '', type: int, rounding: half_up}",
        "{value: '31.13.2024', type: date, format: '%d.%m.%Y'}",
        "{value: '2024-12-31', type: date, format: '%d.%m.%Y'}",
        "{from: a, default: x, type: int, rounding: half_up}",
        "{from: a, default: x, type: int, on_invalid: null, rounding: half_up}",
        "{from: a, default: 6f9619ff8b86d011b42d00c04fc964ff, type: uniqueidentifier}",
        "{from: a, default: '1_0', type: float}",
        "{from: a, default: '1752-12-31', type: datetime}",
        "{from: a, default: '2024-01-01 00:00:01', type: smalldatetime}",
        "{value: <a>, type: xml}",
        "{from: a, type: int, rounding: down, enum: e}",
        "{from: a, type: int, on_overflow: null, enum: e}",
    ],
)
def test_constants_that_no_load_could_convert_are_mistakes(column: str) -> None:
    head = HEAD + "enums: {e: {values: {A: x}}}\n" if "enum" in column else HEAD
    found = mistakes(with_columns(f"v: {column}", head=head))
    assert len(found) == 1
    assert found[0].startswith("11:" if "enum" in column else "10:"), found


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ("{value: '1.5', type: int, rounding: half_up}", 2),
        ("{value: '31.12.2024', type: date, format: '%d.%m.%Y'}", "2024-12-31"),
        ("{value: '2024-01-01T01:00:00+01:00', type: datetime2(0), zone: utc}", "2024-01-01 00:00:00"),
        (
            "{value: '2024-01-01', type: datetimeoffset(0), default_zone: '+00:00'}",
            "2024-01-01 00:00:00+00:00",
        ),
        ("{value: '', type: varchar(3)}", ""),
    ],
)
def test_options_that_widen_a_type_hold_for_its_constants(column: str, expected: object) -> None:
    assert mapped(with_columns(f"v: {column}")) == expected


@pytest.mark.parametrize(
    ("kind", "form", "expected"),
    [
        ("date", "%d.%m", "no year"),
        ("date", "%H:%M", "no year"),
        ("date", "%A", "no year"),
        ("date", "%d %Y", "without a month"),
        ("date", "%Y-%W", "%W has no effect"),
        ("date", "%G-%V", "go together"),
        ("date", "%Q", "no directive"),
        ("date", "%Y-%m-%d %", "no directive"),
        ("date", "%Y-%m-%d %Y", "twice"),
        ("date", "%Y %y", "twice"),
        ("date", "%x", "language"),
        ("datetime2(0)", "%Y-%m-%d %I:%M", "go together"),
        ("datetime2(0)", "%Y-%m-%d %H:%M %p", "go together"),
        ("datetime2(0)", "%Y-%m-%d %H:%M %Z", "use %z"),
        ("time(0)", "%Y", "no time"),
    ],
)
def test_formats_that_would_make_up_a_part_of_the_value(kind: str, form: str, expected: str) -> None:
    found = mistakes(with_columns(f"v: {{from: a, type: {kind}, format: '{form}'}}"))
    assert len(found) == 1
    assert expected in found[0]


@pytest.mark.parametrize(
    ("kind", "form", "text", "expected"),
    [
        ("date", "%Y", "1999", "1999-01-01"),
        ("date", "%Y-%m", "1999-07", "1999-07-01"),
        ("date", "%Y%m%d", "20240111", "2024-01-11"),
        ("date", "%d%b%y", "07Mar24", "2024-03-07"),
        ("date", "%y%j", "24060", "2024-02-29"),
        ("date", "%G-W%V-%u", "2024-W09-4", "2024-02-29"),
        ("date", "%a, %d %b %Y", "Thu, 29 Feb 2024", "2024-02-29"),
        ("time(0)", "%I:%M %p", "12:30 AM", "00:30:00"),
        ("datetime2(3)", "%Y%m%d%H%M%S%f", "20240229010203045", "2024-02-29 01:02:03.045"),
        ("datetimeoffset(0)", "%Y%m%dT%H%M%S%z", "20240229T010203+0100", "2024-02-29 01:02:03+01:00"),
    ],
)
def test_formats_that_say_it_all(kind: str, form: str, text: str, expected: str) -> None:
    contract = with_columns(f"v: {{from: a, type: {kind}, format: '{form}'}}")
    assert mapped(contract, f"<Application><a>{text}</a></Application>") == expected
