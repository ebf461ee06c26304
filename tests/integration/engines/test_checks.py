"""Existing tables held against the contract."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.support.mssql_gaps import SIX_DIGITS
from tests.support.mssql_run import has_gap
from tests.support.plans import column, plan, table
from tests.support.tables import portable
from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import TYPE_NAMES
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, Session, table_specs

Create = Callable[[Plan], None]


def all_types(digits: int = 7) -> Plan:
    columns = []
    for name in TYPE_NAMES:
        if name in ("char", "nchar", "varchar", "nvarchar", "binary", "varbinary"):
            columns.append(column(f"c_{name}", f"{name}(20)"))
            if name.startswith(("var", "nvar")):
                columns.append(column(f"c_{name}_max", f"{name}(max)"))
        elif name in ("time", "datetime2", "datetimeoffset"):
            columns += [column(f"c_{name}_{n}", f"{name}({n})") for n in range(digits + 1)]
        else:
            columns.append(column(f"c_{name}", name))
    columns += [column(f"c_d{p}_{s}", f"decimal({p},{s})") for p, s in ((1, 0), (38, 38), (38, 0), (12, 2))]
    return plan(table("t", column("id", "int", nullable=False), *columns))


def test_our_own_tables_have_no_problems(
    engine: Engine, session: Session, create: Create, request: pytest.FixtureRequest
) -> None:
    written = all_types(6 if engine.name == "mssql" and has_gap(request, SIX_DIGITS) else 7)
    assert engine.unsupported(written) == []
    create(written)
    assert engine.table_problems(session, written) == []
    assert engine.table_problems(session, plan(*written.tables, table("u", column("a", "int")))) == [
        "table u does not exist"
    ]


def problems(engine: Engine, session: Session, ddl: str, *columns: Any) -> list[str]:
    session.execute(portable(engine.name, ddl))
    return engine.table_problems(session, plan(table("t", *columns)))


def test_columns_that_are_missing_or_too_many(engine: Engine, session: Session) -> None:
    found = problems(
        engine, session, "CREATE TABLE t (a integer, b integer NOT NULL, c integer NOT NULL DEFAULT 1)",
        column("a", "int"), column("x", "int"),
    )  # fmt: skip
    assert found == [
        "column t.x does not exist",
        "column t.b is NOT NULL without a default, and the contract gives it no value",
    ]


def test_a_column_that_should_be_numbered(engine: Engine, session: Session) -> None:
    found = problems(
        engine, session, "CREATE TABLE t (a integer NOT NULL, b integer)",
        column("a", "int", server_generated=True), column("b", "int", server_generated=True),
    )  # fmt: skip
    assert len(found) == 1
    assert "t.a should be numbered by the server" in found[0]


def test_a_column_that_cannot_be_written(engine: Engine, session: Session) -> None:
    found = problems(
        engine, session, "CREATE TABLE t (a integer, b {computed} (a + 1) {stored})",
        column("a", "int"), column("b", "int"),
    )  # fmt: skip
    assert len(found) == 1
    assert "t.b is generated" in found[0]


SQLITE = [
    ("decimal(9,2)", "DECIMAL(9,2)", False),
    ("decimal(9,2)", "REAL", False),
    ("decimal(9,2)", "TEXT", True),
    ("varchar(9)", "INTEGER", False),
    ("varchar(9)", "VARCHAR(2)", True),
    ("varchar(9)", "STRING", False),
    ("int", "TEXT", False),
    ("int", "BIGINT", True),
    ("int", "NUMERIC", True),
    ("bit", "BOOLEAN", True),
    ("datetime2(3)", "DATETIME", True),
    ("date", "INTEGER", False),
    ("float", "DOUBLE PRECISION", True),
    ("float", "TEXT", False),
    ("uniqueidentifier", "TEXT", True),
    ("varbinary(9)", "BLOB", True),
    ("xml", "", True),
]


@pytest.mark.parametrize(("type_", "declared", "fits"), SQLITE)
def test_sqlite_types(sqlite_url: str, type_: str, declared: str, fits: bool) -> None:
    engine = open_engine(sqlite_url)
    session = engine.connect(write=True, application="tests")
    found = problems(engine, session, f"CREATE TABLE t (a {declared})", column("A", type_))
    assert (found == []) is fits, found
    session.close()


POSTGRESQL = [
    ("bit", "boolean", True),
    ("bit", "smallint", True),
    ("bit", "text", False),
    ("tinyint", "smallint", True),
    ("smallint", "smallint", True),
    ("int", "smallint", False),
    ("int", "bigint", True),
    ("bigint", "integer", False),
    ("bigint", "numeric(19)", True),
    ("bigint", "numeric(18)", False),
    ("int", "text", False),
    ("int", "double precision", False),
    ("decimal(9,2)", "numeric", True),
    ("decimal(9,2)", "numeric(9,2)", True),
    ("decimal(9,2)", "numeric(9,1)", False),
    ("decimal(9,2)", "numeric(9,3)", False),
    ("decimal(9,2)", "numeric(10,3)", True),
    ("decimal(9,2)", "money", False),
    ("decimal(9,2)", "double precision", False),
    ("decimal(9,0)", "integer", True),
    ("decimal(10,0)", "integer", False),
    ("money", "numeric(19,4)", True),
    ("money", "numeric(19,2)", False),
    ("float", "double precision", True),
    ("float", "real", False),
    ("real", "real", True),
    ("date", "date", True),
    ("date", "timestamp", False),
    ("date", "varchar(10)", True),
    ("date", "varchar(9)", False),
    ("time(3)", "time(3)", True),
    ("time(3)", "time(2)", False),
    ("time(7)", "time", False),
    ("time(7)", "text", True),
    ("datetime2(6)", "timestamp", True),
    ("datetime2(6)", "timestamp(3)", False),
    ("datetime2(7)", "timestamp", False),
    ("datetime2(3)", "timestamptz", False),
    ("datetimeoffset(3)", "timestamptz", False),
    ("datetimeoffset(3)", "varchar(29)", True),
    ("datetimeoffset(3)", "varchar(28)", False),
    ("varchar(9)", "varchar(9)", True),
    ("varchar(9)", "varchar(8)", False),
    ("varchar(9)", "text", True),
    ("varchar(9)", "char(9)", False),
    ("char(9)", "char(9)", True),
    ("char(9)", "char(8)", False),
    ("varchar(max)", "varchar(8000)", False),
    ("varchar(max)", "varchar", True),
    ("varchar(9)", "integer", False),
    ("uniqueidentifier", "uuid", True),
    ("uniqueidentifier", "varchar(36)", True),
    ("uniqueidentifier", "char(9)", False),
    ("varbinary(9)", "bytea", True),
    ("varbinary(9)", "text", False),
    ("xml", "text", True),
    ("xml", "jsonb", False),
    ("int", "small_number", True),
    ("bigint", "small_number", False),
    ("varchar(5)", "short_text", True),
    ("varchar(6)", "short_text", False),
]


def test_postgresql_types(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE DOMAIN small_number AS integer CHECK (VALUE > 0)")
    session.execute("CREATE DOMAIN short_text AS varchar(5)")
    wrong = []
    for number, (type_, declared, fits) in enumerate(POSTGRESQL):
        name = f"t{number}"
        session.execute(f"CREATE TABLE {name} (a {declared})")
        found = engine.table_problems(session, plan(table(name, column("a", type_))))
        if (found == []) is not fits:
            wrong.append((type_, declared, found))
        elif not fits:
            assert f"(the contract says {column('a', type_).type})" in found[0]
    assert wrong == []
    session.close()


def test_postgresql_names_are_exact(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    session = engine.connect(write=True, application="tests")
    found = problems(engine, session, "CREATE TABLE t (loan_id integer)", column("Loan_ID", "int"))
    assert found == ["column t.Loan_ID does not exist (there is loan_id: write it exactly so)"]
    session.close()


def test_a_table_in_another_schema(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE SCHEMA dbo")
    written = plan(table("dbo.t", column("a", "int", nullable=False)))
    for statement in engine.create_statements(table_specs(written)):
        session.execute(statement)
    assert engine.table_problems(session, written) == []
    encoded, _ = engine.encoder(written)(([(1,)],))
    assert session.write_rows(written.tables[0], [encoded[0]]) == 1
    assert session.insert_new("dbo.t", ("a",), [(1,), (2,)]) == {1}
    assert session.existing("dbo.t", ("a",), "a", [2]) == [(2,)]
    session.close()
