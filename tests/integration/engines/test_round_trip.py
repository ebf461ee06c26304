"""What is written comes back as it was: every type at its limits, by each engine's own DDL and encoder."""

from __future__ import annotations

import re
import struct
import sys
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.support.mssql_gaps import SIX_DIGITS
from tests.support.mssql_run import has_gap
from tests.support.plans import column, plan, table
from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import MONEY_RANGES, Family, parse_type
from xml_extractor.engines.base import Engine, Session

Create = Callable[[Plan], None]

TEXTS = [
    "", " ", "  x  ", "plain", "007", "1e5", "1.10", "NULL", "None", "\\N", "\\.", "\\", "\\\\", "a\tb",
    "a\nb", "a\r\nb", "\\n", "\\t", "it's", '"quoted"', "%s", "?", "$1", "{a,b}", "é", "ß", "Ω", "漢字", "🎵",
    "\ufeffx", "\u2028", "\x01\x7f",
]  # fmt: skip
CASES: list[tuple[str, list[Any]]] = [
    ("bit", [True, False]),
    ("tinyint", [0, 255]),
    ("smallint", [-(2**15), 2**15 - 1]),
    ("int", [-(2**31), 2**31 - 1]),
    ("bigint", [-(2**63), 2**63 - 1]),
    ("decimal(12,2)", [Decimal("1.10"), Decimal("-9999999999.99"), Decimal("0.00"), Decimal("100.00")]),
    ("decimal(38,0)", [Decimal("9" * 38), Decimal("-" + "9" * 38)]),
    ("decimal(38,38)", [Decimal("0." + "9" * 38), Decimal("0E-38"), Decimal("1E-38")]),
    ("money", list(MONEY_RANGES["money"])),
    ("smallmoney", list(MONEY_RANGES["smallmoney"])),
    ("float", [0.1, -1.7976931348623157e308, 5e-324, 1.0, 1e16, 123456789.12345679]),
    ("real", [0.1, 0.10000000149011612, 3.4028234663852886e38]),
    ("date", ["0001-01-01", "9999-12-31", "2024-02-29"]),
    ("time(0)", ["00:00:00", "23:59:59"]),
    ("time(3)", ["12:00:00.120"]),
    ("time(6)", ["23:59:59.999999"]),
    ("time(7)", ["23:59:59.9999999"]),
    ("datetime2(0)", ["0001-01-01 00:00:00", "9999-12-31 23:59:59"]),
    ("datetime2(3)", ["2024-02-29 12:34:56.100"]),
    ("datetime2(6)", ["9999-12-31 23:59:59.999999"]),
    ("datetime2(7)", ["9999-12-31 23:59:59.9999999"]),
    ("datetime", ["1753-01-01 00:00:00.000", "9999-12-31 23:59:59.997"]),
    ("smalldatetime", ["2079-06-06 23:59:00"]),
    ("datetimeoffset(0)", ["2024-01-01 00:00:00+00:00"]),
    ("datetimeoffset(7)", ["2024-01-01 00:00:00.1234567-14:00"]),
    ("char(8)", ["abc     ", "        "]),
    ("nchar(2)", ["é ", "🎵"]),
    ("varchar(50)", TEXTS),
    ("nvarchar(50)", TEXTS),
    ("varchar(max)", [*TEXTS, "x" * 100_000]),
    ("nvarchar(max)", [*TEXTS, "漢" * 100_000]),
    ("xml", ["<a b='1'>\n  <c/>\\\t</a>", "<x/>"]),
    ("uniqueidentifier", ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"]),
    ("binary(4)", [b"\x00\x01\xff\\"]),
    ("varbinary(16)", [b"", b"\\x00", bytes(range(16))]),
    ("varbinary(max)", [bytes(range(256)) * 100]),
]  # fmt: skip


def canonical(value: Any, type_: str) -> Any:
    """Undo what drivers and servers differ in: SQLite's bits and decimals, zeros that are cut off, how
    SQL Server writes an XML value and a ``real``."""
    kind = parse_type(type_)
    if value is None:
        return None
    if kind.family is Family.XML:
        return etree.tostring(etree.fromstring(value), method="c14n").decode()
    if kind.name == "real":
        return struct.unpack("f", struct.pack("f", value))[0]
    if kind.family is Family.BIT:
        return bool(value)
    if kind.family is Family.DECIMAL:
        return Decimal(value)
    if kind.family in (Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET) and kind.scale:
        offset = value[-6:] if kind.family is Family.DATETIMEOFFSET else ""
        whole, _, digits = value.removesuffix(offset).partition(".")
        return f"{whole}.{digits.ljust(kind.scale, '0')}{offset}"
    return value


def can_be(engine: Engine, type_: str, value: Any) -> bool:
    """Whether a column can hold a value; on SQL Server varchar has a code page, and float no subnormals."""
    if engine.name != "mssql":
        return True
    if type_.startswith("varchar"):
        return all(is_in_code_page(character) for character in value)
    return type_ != "float" or abs(value) >= sys.float_info.min


def is_in_code_page(character: str) -> bool:
    try:
        return bool(character.encode("cp1252"))
    except UnicodeEncodeError:
        return False


@pytest.mark.parametrize(("type_", "values"), CASES, ids=[case[0] for case in CASES])
def test_values_come_back(
    engine: Engine, session: Session, create: Create, type_: str, values: list[Any],
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    values = [value for value in values if can_be(engine, type_, value)]
    if engine.name == "mssql" and type_.endswith("(7)") and has_gap(request, SIX_DIGITS):
        values = [re.sub(r"(\.\d{6})\d", r"\g<1>0", value) for value in values]
    written = plan(table("t", column("id", "int", nullable=False), column("value", type_)))
    create(written)
    rows = [(i, value) for i, value in enumerate([*values, None])]
    encoded, size = engine.encoder(written)((rows,))
    assert size > 0
    session.begin()
    assert session.write_rows(written.tables[0], [encoded[0]]) == len(rows)
    session.commit()
    found = session.query('SELECT id, "value" FROM t ORDER BY id')
    expected = [(i, canonical(value, type_)) for i, value in rows]
    assert [(i, canonical(value, type_)) for i, value in found] == expected
    # Exact to the last digit, where equality would let 1.1 pass for 1.10.
    assert [str(canonical(v, type_)) for _, v in found] == [str(v) for _, v in expected]


@pytest.mark.parametrize("type_", ["int", "char(6)", "nvarchar(20)", "uniqueidentifier", "varbinary(16)"])
def test_any_key_type(engine: Engine, session: Session, create: Create, type_: str) -> None:
    values = {
        "int": [1, -5], "char(6)": ["a     ", "A     "], "nvarchar(20)": ["straße", "STRASSE", "strasse "],
        "uniqueidentifier": ["00000000-0000-0000-0000-00000000000a"],
        # SQL Server takes zeros at the end for padding.
        "varbinary(16)": [b"\x00\x01", b"\x01"] if engine.name == "mssql" else [b"\x00", b"\x00\x00"],
    }[type_]  # fmt: skip
    written = plan(table("t", column("key", type_, nullable=False)))
    create(written)
    encoded, _ = engine.encoder(written)(([(value,) for value in values],))
    assert session.write_rows(written.tables[0], [encoded[0]]) == len(values)
    assert {row[0] for row in session.query('SELECT "key" FROM t')} == set(values)


def test_several_documents_and_tables(engine: Engine, session: Session, create: Create) -> None:
    parent = table("app_base", column("app_id", "int", nullable=False), column("name", "nvarchar(20)"))
    child = table(
        "app_contact", column("app_id", "int", nullable=False), column("n", "int", nullable=False),
        primary_key=(0, 1), parent=0, foreign_key=((0, 0),),
    )  # fmt: skip
    written = plan(parent, child)
    create(written)
    encode = engine.encoder(written)
    documents = [encode(([(key, f"n{key}")], [(key, i) for i in range(key)]))[0] for key in range(300)]
    session.begin()
    assert session.write_rows(parent, [rows[0] for rows in documents]) == 300
    assert session.write_rows(child, [rows[1] for rows in documents]) == sum(range(300))
    session.commit()
    assert session.query("SELECT count(*), count(DISTINCT n) FROM app_contact") == [(44850, 299)]


@pytest.mark.parametrize("columns", [1, 3, 400])
@pytest.mark.parametrize("rows", [1, 99, 100, 101, 250])
def test_any_number_of_rows(
    engine: Engine, session: Session, create: Create, columns: int, rows: int
) -> None:
    """More and fewer than one statement takes, of tables from narrow to wide."""
    further = [column(f"c{i}", "int") for i in range(1, columns)]
    written = plan(table("t", column("id", "int", nullable=False), *further))
    create(written)
    given = [(row, *range(row, row + columns - 1)) for row in range(rows)]
    encode = engine.encoder(written)
    pieces = [encode((given[first : first + 7],))[0][0] for first in range(0, rows, 7)]
    session.begin()
    assert session.write_rows(written.tables[0], pieces) == rows
    session.commit()
    assert session.query("SELECT * FROM t ORDER BY id") == given


def test_no_rows_are_no_rows(engine: Engine, session: Session, create: Create) -> None:
    written = plan(table("t", column("id", "int", nullable=False)))
    create(written)
    encoded, _ = engine.encoder(written)(([],))
    assert session.write_rows(written.tables[0], [encoded[0]]) == 0
    assert session.write_rows(written.tables[0], []) == 0


def test_columns_that_the_server_numbers(engine: Engine, session: Session, create: Create) -> None:
    written = plan(
        table(
            "t", column("row_id", "bigint", nullable=False, server_generated=True), column("v", "varchar(9)")
        )
    )
    assert engine.unsupported(written) == []
    create(written)
    encoded, _ = engine.encoder(written)(([(None, "a"), (None, "b")],))
    assert session.write_rows(written.tables[0], [encoded[0]]) == 2
    assert session.query("SELECT row_id, v FROM t ORDER BY row_id") == [(1, "a"), (2, "b")]
    assert engine.table_problems(session, written) == []


def test_odd_names(engine: Engine, session: Session, create: Create) -> None:
    odd = table('"odd.table ""x"""', column("select", "int", nullable=False), column('a"b?%s', "varchar(9)"))
    written = plan(odd)
    create(written)
    encoded, _ = engine.encoder(written)(([(1, "x")],))
    assert session.write_rows(odd, [encoded[0]]) == 1
    assert list(session.table_names()) == ['odd.table "x"']
    assert session.query(f"SELECT * FROM {engine.quote(odd.name)}") == [(1, "x")]
    assert session.existing(odd.name, ['a"b?%s'], "select", [1]) == [("x",)]
    assert engine.table_problems(session, written) == []


CELLS = st.one_of(st.none(), st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.tuples(CELLS, CELLS, CELLS), max_size=6))
def test_any_text(engine: Engine, session: Session, rows: list[tuple[Any, ...]]) -> None:
    written = plan(
        table("t", column("n", "int"), *(column(name, "nvarchar(max)") for name in "abc"), primary_key=(0,))
    )
    session.begin()
    for statement in engine.create_statements([_spec(written)]):
        session.execute(statement)
    numbered = [(i, *row) for i, row in enumerate(rows)]
    encoded, _ = engine.encoder(written)((numbered,))
    assert session.write_rows(written.tables[0], [encoded[0]]) == len(rows)
    assert session.query("SELECT * FROM t ORDER BY n") == numbered
    session.rollback()


def _spec(written: Plan) -> Any:
    from xml_extractor.engines.base import table_specs

    return table_specs(written)[0]
