"""Mapped row → written → read back: the same row, for any value of any type, on every engine."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import closing
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.integration.engines.test_round_trip import CASES, can_be
from tests.support.mssql_gaps import SIX_DIGITS
from tests.support.mssql_run import has_gap
from tests.support.plans import column, plan, table
from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import INTEGER_RANGES, MONEY_RANGES, Family, SqlType, parse_type
from xml_extractor.engines.base import Engine, Session
from xml_extractor.engines.read_back import RowForm, canonical
from xml_extractor.mapping.records import Row
from xml_extractor.target.content_digest import TableDigest, read_table

Create = Callable[[Plan], None]

TYPES = [
    "bit", "tinyint", "smallint", "int", "bigint", "decimal(12,2)", "decimal(38,0)", "decimal(38,38)",
    "decimal(20,7)", "money", "smallmoney", "float", "real", "date", "time(0)", "time(3)", "time(6)",
    "time(7)", "datetime2(0)", "datetime2(3)", "datetime2(6)", "datetime2(7)", "datetime", "smalldatetime",
    "datetimeoffset(0)", "datetimeoffset(7)", "char(8)", "nchar(3)", "varchar(20)", "nvarchar(max)", "xml",
    "uniqueidentifier", "binary(4)", "varbinary(max)",
]  # fmt: skip
ALL = plan(
    table(
        "t",
        column("n", "bigint", nullable=False, server_generated=True),
        *(column(f"c{i}", kind) for i, kind in enumerate(TYPES)),
        primary_key=(0,),
    )
)
TEXT = st.characters(exclude_categories=["Cs"], exclude_characters="\0")


def decimals(kind: SqlType) -> st.SearchStrategy[Decimal]:
    digits = kind.scale or 0
    low, high = MONEY_RANGES.get(kind.name, (None, None))
    most = 10 ** (kind.precision or 0) - 1
    bounds = (-most, most) if low is None or high is None else (int(low.scaleb(4)), int(high.scaleb(4)))
    return st.integers(*bounds).map(lambda number: Decimal(f"{number}E-{digits}"))


def moments(kind: SqlType) -> st.SearchStrategy[str]:
    digits = kind.scale or 0
    fraction = st.integers(0, 10**digits - 1).map(lambda f: f".{f:0{digits}d}") if digits else st.just("")
    if kind.name == "datetime":
        fraction = st.sampled_from([".000", ".003", ".007", ".010", ".997"])
    clock = st.tuples(st.times(), fraction).map(lambda at: f"{at[0]:%H:%M}:{at[0]:%S}{at[1]}")
    if kind.name == "smalldatetime":
        clock = clock.map(lambda text: f"{text[:5]}:00")
    if kind.family is Family.TIME:
        return clock
    first = "1753-01-01" if kind.name == "datetime" else "1900-01-01" if kind.scale == 0 else "0002-01-01"
    years = st.integers(int(first[:4]), 2078 if kind.name == "smalldatetime" else 9998)
    day = st.tuples(years, st.integers(1, 12), st.integers(1, 28)).map(
        lambda d: "{:04}-{:02}-{:02}".format(*d)
    )
    whole = st.tuples(day, clock).map(" ".join)
    if kind.family is Family.DATETIME:
        return whole
    offset = st.tuples(st.sampled_from("+-"), st.integers(0, 13), st.sampled_from((0, 15, 30, 59)))
    return st.tuples(whole, offset.map(lambda o: "{}{:02}:{:02}".format(*o))).map("".join)


def values(text: str) -> st.SearchStrategy[Any]:
    kind = parse_type(text)
    length = kind.length or 30
    made: dict[Family, Callable[[], st.SearchStrategy[Any]]] = {
        Family.BIT: st.booleans,
        Family.INTEGER: lambda: st.integers(*INTEGER_RANGES[kind.name]),
        Family.DECIMAL: lambda: decimals(kind),
        Family.FLOAT: lambda: st.floats(
            allow_nan=False, allow_infinity=False, width=32 if text == "real" else 64
        ),
        Family.DATE: lambda: st.dates().map(str),
        Family.TIME: lambda: moments(kind),
        Family.DATETIME: lambda: moments(kind),
        Family.DATETIMEOFFSET: lambda: moments(kind),
        Family.TEXT: lambda: st.text(TEXT, max_size=length).map(
            lambda t: t.ljust(length) if kind.is_fixed_length else t
        ),
        Family.GUID: lambda: st.uuids().map(str),
        Family.XML: lambda: st.sampled_from(["<a/>", "<a b='1'>\n <c>ä</c>\t</a>", "<x>&amp;</x>"]),
        Family.BINARY: lambda: st.binary(
            min_size=length if kind.is_fixed_length else 0, max_size=length
        ),
    }  # fmt: skip
    return st.none() | made[kind.family]()


ROWS = st.lists(st.tuples(st.none(), *map(values, TYPES)), min_size=1, max_size=4)


@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)
def test_any_row_comes_back(engine: Engine, session: Session, create: Create) -> None:
    create(ALL)
    encode, form = engine.encoder(ALL), RowForm.of(engine, ALL.tables[0])
    assert "n" not in form.select.replace('"', " ").split()

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(rows=ROWS)
    def holds(rows: list[tuple[Any, ...]]) -> None:
        session.begin()
        session.write_rows(ALL.tables[0], [encode((rows,))[0][0]])
        with closing(session.stream(f"{form.statement(session)} ORDER BY n")) as stream:  # type: ignore[type-var]
            found = [row for some in stream for row in some]
        assert list(map(form.of_read, found)) == list(map(form.of_mapped, rows))
        kinds = [ALL.tables[0].columns[i].type for i in form.columns]
        for row, mapped in zip(found, rows, strict=True):
            read = [canonical(value, kind) for value, kind in zip(row, kinds, strict=True)]
            assert read == list(mapped[1:])
            # Of one type, and with all digits: 1.1 equals 1.10, and True equals 1.
            assert [(v.__class__, str(v).lstrip("-")) for v in read] == [
                (v.__class__, str(v).lstrip("-")) for v in mapped[1:]
            ]
        mapped_digest = TableDigest(form)
        mapped_digest.add_mapped(rows)
        assert read_table(session, form) == mapped_digest
        session.rollback()

    holds()


@pytest.mark.parametrize(("type_", "cases"), CASES, ids=[case[0] for case in CASES])
def test_extremes_come_back(
    engine: Engine, session: Session, create: Create, type_: str, cases: list[Any],
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    cases = [value for value in cases if can_be(engine, type_, value)]
    if engine.name == "mssql" and type_.endswith("(7)") and has_gap(request, SIX_DIGITS):
        pytest.skip("the server keeps six digits of a second")
    written = plan(table("t", column("id", "int", nullable=False), column("value", type_)))
    create(written)
    rows: list[Row] = [(i, value) for i, value in enumerate([*cases, None])]
    session.write_rows(written.tables[0], [engine.encoder(written)((rows,))[0][0]])
    form = RowForm.of(engine, written.tables[0])
    found = session.query(f"{form.statement(session)} ORDER BY id")
    assert list(map(form.of_read, found)) == list(map(form.of_mapped, rows))
    mapped = TableDigest(form)
    mapped.add_mapped(rows[::-1])
    assert read_table(session, form) == mapped


@pytest.mark.parametrize(
    ("type_", "read", "expected"),
    [
        ("bit", 1, True),
        ("bit", 7, 7),
        ("int", Decimal("5"), 5),
        ("int", "five", "five"),
        ("int", 5.5, 5.5),
        ("decimal(12,2)", "1.1", Decimal("1.10")),
        ("decimal(12,2)", 3, Decimal("3.00")),
        ("decimal(12,2)", "1.115", Decimal("1.115")),
        ("decimal(12,2)", "much", "much"),
        ("decimal(38,38)", "9" * 38, Decimal("9" * 38 + "." + "0" * 38)),
        ("float", 1, 1.0),
        ("float", "x", "x"),
        ("time(3)", "12:00:00", "12:00:00.000"),
        ("time(3)", "12:00:00.1234", "12:00:00.1234"),
        ("time(0)", "12:00:00.000", "12:00:00"),
        ("datetime2(7)", "2024-01-01 00:00:00.5", "2024-01-01 00:00:00.5000000"),
        ("datetime", b"\xff", b"\xff"),
        ("datetimeoffset(3)", "2024-01-01 00:00:00.1230000 +01:00", "2024-01-01 00:00:00.123+01:00"),
        ("datetimeoffset(0)", "x", "x"),
        ("uniqueidentifier", "6F9619FF-8B86-D011-B42D-00C04FC964FF", "6f9619ff-8b86-d011-b42d-00c04fc964ff"),
        ("varbinary(4)", memoryview(b"ab"), b"ab"),
        ("varbinary(4)", "text", "text"),
    ],
)  # fmt: skip
def test_what_others_wrote_is_read_too(type_: str, read: Any, expected: Any) -> None:
    found = canonical(read, parse_type(type_))
    assert (found, type(found), str(found)) == (expected, type(expected), str(expected))


def test_a_server_that_rewrites_values(monkeypatch: pytest.MonkeyPatch) -> None:
    from xml_extractor.engines import open_engine

    engine = open_engine("sqlite:///x.db")
    monkeypatch.setattr(type(engine), "rewrites", frozenset({"xml", "real"}))
    form = RowForm.of(engine, table("t", column("x", "xml"), column("r", "real"), column("f", "float")))
    kept = struct.unpack("f", struct.pack("f", 0.1))[0]
    assert form.of_mapped(("<a c='2' b='1'></a>", 0.1, 0.1)) == form.of_read(('<a b="1" c="2"/>', kept, 0.1))
    assert form.of_mapped(("<a>", 1e300, -0.0)) == ("<a>", 1e300, 0.0)
    assert str(form.of_mapped(("<a/>", -0.0, -0.0))[1:]) == "(0.0, 0.0)"
