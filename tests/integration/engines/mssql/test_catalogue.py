"""Existing tables and source keys of a real server, held against the contract."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from tests.support.mssql_gaps import CODE_PAGES_OF_UTF_8, SIX_DIGITS
from tests.support.mssql_run import has_gap
from tests.support.plans import SOURCE, column, plan, table
from xml_extractor.contract.plan import Column, Plan, SourcePlan
from xml_extractor.contract.types import TYPE_NAMES
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import EngineOptions, Session, TimeLimits, table_specs
from xml_extractor.engines.mssql import catalogue
from xml_extractor.engines.mssql.ddl import create_statements, staging_statements
from xml_extractor.target.bookkeeping import bookkeeping_specs

LIMITS = TimeLimits(connect_seconds=8, statement_seconds=20)
Run = Callable[..., None]


@pytest.fixture
def session(mssql_url: str) -> Iterator[Session]:
    session = open_engine(mssql_url, options=EngineOptions(LIMITS)).connect(write=True, application="tests")
    yield session
    session.close()


@pytest.fixture
def run(session: Session) -> Run:
    def run_all(*statements: str) -> None:
        for statement in statements:
            session.execute(statement)

    return run_all


def in_code_page(column: Column, codec: str) -> Column:
    return replace(column, conversion=replace(column.conversion, code_page=codec))


# ------------------------------------------------------------------------------------ own tables


def all_types(digits: int) -> Plan:
    columns = []
    for name in TYPE_NAMES:
        if name in ("char", "nchar", "varchar", "nvarchar", "binary", "varbinary"):
            columns.append(column(f"c_{name}", f"{name}(20)"))
            if "var" in name:
                columns.append(column(f"c_{name}_max", f"{name}(max)"))
        elif name in ("time", "datetime2", "datetimeoffset"):
            columns += [column(f"c_{name}_{n}", f"{name}({n})") for n in range(digits + 1)]
        else:
            columns.append(column(f"c_{name}", name))
    columns += [column(f"c_d{p}_{s}", f"decimal({p},{s})") for p, s in ((1, 0), (38, 38), (38, 0), (12, 2))]
    return plan(table("t", column("id", "int", nullable=False), *columns))


FAMILY = plan(
    table(
        "child",
        column("k", "varchar(9)"),
        column("n", "int"),
        column("wide", "nvarchar(600)"),
        primary_key=(0, 1, 2),
        parent=1,
        foreign_key=((0, 0),),
    ),
    table("parent", column("k", "varchar(9)"), column("no", "bigint", server_generated=True)),
)


def test_our_own_tables_have_no_problems(session: Session, run: Run, request: pytest.FixtureRequest) -> None:
    types = all_types(6 if has_gap(request, SIX_DIGITS) else 7)
    run("CREATE SCHEMA loan", *create_statements(table_specs(types), "loan"))
    assert catalogue.table_problems(session, types, "loan") == []
    assert catalogue.table_problems(session, types, None) == ["table t does not exist"]
    run(*create_statements([*table_specs(FAMILY), *bookkeeping_specs()], "loan"))
    assert catalogue.table_problems(session, FAMILY, "loan") == []


def test_keys_that_differ_in_case_are_two(session: Session, run: Run) -> None:
    run(*create_statements(table_specs(FAMILY), None))
    run("INSERT INTO parent (k) VALUES ('a'), ('A')")
    assert session.query("SELECT k, no FROM parent ORDER BY no") == [("a", 1), ("A", 2)]


def test_foreign_keys_of_text_are_exact(session: Session, run: Run) -> None:
    run(*create_statements(table_specs(FAMILY), None))
    run("INSERT INTO parent (k) VALUES ('a')", "INSERT INTO child VALUES ('a', 1, 'x')")
    with pytest.raises(Exception, match="FOREIGN KEY"):
        run("INSERT INTO child VALUES ('A', 1, 'x')")


def test_a_schema_that_is_not_there(session: Session) -> None:
    (problem,) = catalogue.table_problems(session, FAMILY, "no]where")
    assert problem.startswith("schema no]where does not exist")
    assert "CREATE SCHEMA [no]]where]" in problem


def test_odd_names(session: Session, run: Run) -> None:
    odd = plan(table('dbo.[an "odd". name]', column("a 'b. [c", "int", nullable=False)))
    run(*create_statements(table_specs(odd), None))
    assert catalogue.table_problems(session, odd, None) == []


def test_a_name_with_a_closing_bracket(session: Session, run: Run) -> None:
    odd = plan(table("[dbo].[order]]s]", column("a]", "int", nullable=False)))
    run(*create_statements(table_specs(odd), None))
    assert catalogue.table_problems(session, odd, None) == []


def test_another_database_by_a_name_of_three_parts(session: Session, run: Run) -> None:
    run("CREATE TABLE t (a smallint)")
    (database,) = session.query("SELECT DB_NAME()")[0]
    written = plan(table(f"{database}.dbo.t", column("a", "int")))
    (problem,) = catalogue.table_problems(session, written, None)
    assert "smallint: too small" in problem
    assert catalogue.describe(session, f"server.{database}.dbo.t", None) is None


def test_names_in_another_case(session: Session, run: Run) -> None:
    run("CREATE TABLE Loan_Base (Loan_ID int)")
    assert catalogue.table_problems(session, plan(table("LOAN_BASE", column("loan_id", "int"))), None) == []


# ------------------------------------------------------------------------------- foreign tables


def problems(session: Session, run: Run, ddl: str, *columns: Any) -> list[str]:
    run(ddl)
    return catalogue.table_problems(session, plan(table("t", *columns)), None)


def test_columns_that_are_missing_or_too_many(session: Session, run: Run) -> None:
    found = problems(
        session, run,
        "CREATE TABLE t (a int, b int NOT NULL, c int NOT NULL DEFAULT 1, d int NOT NULL IDENTITY, "
        "e AS (a + 1), f rowversion NOT NULL)",
        column("a", "int"), column("x", "int"),
    )  # fmt: skip
    assert found == [
        "column t.x does not exist",
        "column t.b is NOT NULL without a default, and the contract gives it no value",
    ]


def test_columns_that_the_server_fills(session: Session, run: Run) -> None:
    found = problems(
        session, run, "CREATE TABLE t (a int IDENTITY, b int NOT NULL, c AS (b + 1), d rowversion)",
        column("a", "int"), column("b", "int", server_generated=True), column("c", "int"),
        column("d", "binary(8)"),
    )  # fmt: skip
    assert found == [
        "column t.b should be numbered by the server and is not",
        "column t.c is generated by the server and cannot be written",
        "column t.d is generated by the server and cannot be written",
    ]


def test_identity_columns(session: Session, run: Run) -> None:
    run("CREATE TABLE t (a int, b bigint IDENTITY)", "CREATE TABLE u (a int)")
    assert catalogue.identity_columns(session, "t", "dbo") == {"b"}
    assert catalogue.identity_columns(session, "u", None) == set()
    assert catalogue.identity_columns(session, "v", None) == set()


def test_views(session: Session, run: Run) -> None:
    run("CREATE TABLE t (a int, b varchar(9))", "CREATE VIEW v AS SELECT a, b FROM t")
    assert catalogue.table_problems(session, plan(table("v", column("a", "int"))), None) == []


def test_synonyms(session: Session, run: Run) -> None:
    run("CREATE TABLE t (a smallint, i int IDENTITY)", "CREATE SYNONYM s FOR dbo.t")
    (problem,) = catalogue.table_problems(session, plan(table("s", column("a", "int"))), None)
    assert "smallint: too small" in problem
    assert catalogue.identity_columns(session, "s", None) == {"i"}


def test_triggers(session: Session, run: Run) -> None:
    run(
        "CREATE TABLE t (a int)",
        "CREATE VIEW v AS SELECT a FROM t",
        "CREATE TRIGGER loud ON t AFTER INSERT AS BEGIN DECLARE @x int; SET @x = 1 END",
        "CREATE TRIGGER mute ON t AFTER INSERT AS BEGIN set nocount on; DECLARE @x int; SET @x = 1 END",
        "CREATE TRIGGER other ON t AFTER DELETE AS BEGIN DECLARE @x int; SET @x = 1 END",
        "CREATE TRIGGER instead ON v INSTEAD OF INSERT AS BEGIN DECLARE @x int; SET @x = 1 END",
    )
    assert catalogue.triggers(session, "t", None) == [
        catalogue.Trigger("loud", instead_of=False, sets_nocount=False),
        catalogue.Trigger("mute", instead_of=False, sets_nocount=True),
    ]
    assert catalogue.triggers(session, "v", "dbo") == [
        catalogue.Trigger("instead", instead_of=True, sets_nocount=False)
    ]
    assert catalogue.triggers(session, "w", None) == []


TYPES = [
    ("bit", "bit", True),
    ("bit", "tinyint", True),
    ("bit", "varchar(5)", False),
    ("tinyint", "smallint", True),
    ("smallint", "tinyint", False),
    ("int", "int", True),
    ("bigint", "int", False),
    ("bigint", "numeric(19)", True),
    ("bigint", "numeric(18)", False),
    ("int", "float", False),
    ("int", "nvarchar(20)", False),
    ("decimal(9,2)", "numeric(9,2)", True),
    ("decimal(9,2)", "decimal(9,1)", False),
    ("decimal(9,2)", "decimal(9,3)", False),
    ("decimal(9,2)", "decimal(10,3)", True),
    ("decimal(18,4)", "money", True),
    ("decimal(19,4)", "money", False),
    ("decimal(9,2)", "float", False),
    ("decimal(9,0)", "int", True),
    ("decimal(10,0)", "int", False),
    ("money", "money", True),
    ("money", "decimal(19,4)", True),
    ("money", "decimal(19,2)", False),
    ("smallmoney", "money", True),
    ("money", "smallmoney", False),
    ("float", "float", True),
    ("float", "real", False),
    ("real", "real", True),
    ("real", "float", True),
    ("date", "date", True),
    ("date", "datetime", False),
    ("date", "varchar(10)", False),
    ("time(3)", "time(3)", True),
    ("time(3)", "time(2)", False),
    ("datetime2(3)", "datetime2(6)", True),
    ("datetime2(3)", "datetime2(2)", False),
    ("datetime2(3)", "datetime", False),
    ("datetime2(3)", "datetimeoffset(3)", False),
    ("datetime", "datetime", True),
    ("datetime", "datetime2(3)", True),
    ("datetime", "smalldatetime", False),
    ("smalldatetime", "smalldatetime", True),
    ("smalldatetime", "datetime", True),
    ("datetimeoffset(3)", "datetimeoffset(4)", True),
    ("datetimeoffset(3)", "datetime2(3)", False),
    ("datetimeoffset(3)", "varchar(40)", False),
    ("varchar(9)", "varchar(9)", True),
    ("varchar(9)", "varchar(8)", False),
    ("varchar(9)", "varchar(max)", True),
    ("varchar(max)", "varchar(8000)", False),
    ("varchar(9)", "nvarchar(9)", True),
    ("varchar(9)", "nvarchar(8)", False),
    ("varchar(9)", "char(9)", False),
    ("char(9)", "char(9)", True),
    ("char(9)", "char(10)", False),
    ("char(9)", "varchar(9)", True),
    ("nvarchar(9)", "nvarchar(9)", True),
    ("nvarchar(max)", "nvarchar(max)", True),
    ("nvarchar(9)", "varchar(max)", False),
    ("nvarchar(9)", "sql_variant", False),
    ("nvarchar(max)", "ntext", False),
    ("varchar(max)", "text", False),
    ("varbinary(max)", "image", False),
    ("varchar(9)", "varchar(9) COLLATE Cyrillic_General_CI_AS", False),
    ("varchar(9)", "varchar(9) COLLATE Latin1_General_BIN2", True),
    ("nvarchar(9)", "nvarchar(9) COLLATE Cyrillic_General_CI_AS", True),
    ("varbinary(9)", "varbinary(9)", True),
    ("varbinary(9)", "varbinary(8)", False),
    ("varbinary(9)", "binary(9)", False),
    ("binary(9)", "binary(9)", True),
    ("binary(9)", "varbinary(max)", True),
    ("uniqueidentifier", "uniqueidentifier", True),
    ("uniqueidentifier", "varchar(36)", False),
    ("xml", "xml", True),
    ("xml", "nvarchar(max)", False),
    ("nvarchar(max)", "xml", False),
    ("varchar(5)", "short_text", True),
    ("varchar(6)", "short_text", False),
    ("int", "small_number", False),
]


def test_types(session: Session, run: Run) -> None:
    run("CREATE TYPE short_text FROM varchar(5)", "CREATE TYPE small_number FROM smallint")
    wrong = []
    for number, (type_, declared, fits) in enumerate(TYPES):
        run(f"CREATE TABLE t{number} (a {declared})")
        written = plan(table(f"t{number}", column("a", type_)))
        found = catalogue.table_problems(session, written, None)
        if (found == []) is not fits:
            wrong.append((type_, declared, found))
        elif not fits:
            assert f"(the contract says {column('a', type_).type})" in found[0]
            assert f"column t{number}.a is " in found[0]
    assert wrong == []


def test_a_code_page_other_than_the_contracts(session: Session, run: Run) -> None:
    run("CREATE TABLE t (a varchar(9) COLLATE Cyrillic_General_CI_AS)")
    (problem,) = catalogue.table_problems(session, plan(table("t", column("a", "varchar(9)"))), None)
    assert "code page 1251" in problem
    assert "code_page is cp1252" in problem
    same = plan(table("t", in_code_page(column("a", "varchar(9)"), "windows-1251")))
    assert catalogue.table_problems(session, same, None) == []
    ascii_only = plan(table("t", in_code_page(column("a", "varchar(9)"), "ascii")))
    assert catalogue.table_problems(session, ascii_only, None) == []


def test_type_names_are_told_as_they_are_declared(session: Session, run: Run) -> None:
    run(
        "CREATE TYPE short_text FROM varchar(5)",
        "CREATE TABLE t (a short_text, b nvarchar(7), c varbinary(max), d numeric(9,2), e rowversion, "
        "f time(2), g float, h float(24))",
    )
    found = catalogue.describe(session, "t", None)
    assert found is not None
    assert [c.type_text for c in found.columns] == [
        "short_text (varchar(5))", "nvarchar(7)", "varbinary(max)", "decimal(9,2)", "rowversion", "time(2)",
        "float", "real",
    ]  # fmt: skip


# ------------------------------------------------------------------------------------ source keys


def source(**changes: Any) -> SourcePlan:
    return replace(SOURCE, **changes)


def key_problem(session: Session, source: SourcePlan = SOURCE) -> str | None:
    return catalogue.key_problem(session, source, "the database", None)


KEYS = [
    ("int", "int", True, False), ("bigint", "bigint", True, False),
    ("numeric(12)", "decimal(12,0)", True, False), ("uniqueidentifier", "uniqueidentifier", False, True),
    ("varchar(40)", "varchar(40)", False, False), ("nchar(4)", "nchar(4)", False, False),
    ("key_type", "nvarchar(9)", False, False),
]  # fmt: skip


def test_keys(session: Session, run: Run) -> None:
    run("CREATE TYPE key_type FROM nvarchar(9)")
    for number, (declared, type_sql, is_integer, is_guid) in enumerate(KEYS):
        read = source(table=f"s{number}")
        run(f"CREATE TABLE s{number} (app_id {declared} NOT NULL PRIMARY KEY, app_xml nvarchar(max))")
        assert key_problem(session, read) is None
        key = catalogue.key_column(session, read, None)
        assert key is not None
        assert (key.type_sql, key.is_integer, key.is_guid) == (type_sql, is_integer, is_guid)
        assert key.unique_index
        assert not key.nullable
        assert (key.collation is not None) is ("char" in type_sql)
        some = "6f9619ff-8b86-d011-b42d-00c04fc964ff" if is_guid else 1 if is_integer else "a"
        session.query(f"SELECT app_id FROM s{number} WHERE app_id > {key.parameter}", (some,))


def test_a_staged_source_can_be_read(session: Session, run: Run) -> None:
    for i, type_ in enumerate(("int", "char(9)", "nvarchar(600)", "uniqueidentifier")):
        staged = source(table=f"dbo.staged{i}")
        run(*staging_statements(staged, column("k", type_).type, None))
        assert key_problem(session, staged) is None


def test_a_parameter_is_neither_cut_nor_compared_by_other_rules(session: Session, run: Run) -> None:
    run(
        "CREATE TABLE app_xml (app_id varchar(3) COLLATE Latin1_General_BIN2 PRIMARY KEY, app_xml xml)",
        "INSERT INTO app_xml (app_id) VALUES ('B'), ('a'), ('abc')",
    )
    key = catalogue.key_column(session, SOURCE, None)
    assert key is not None

    def keys(comparison: str, value: str) -> list[str]:
        sql = f"SELECT app_id FROM app_xml WHERE app_id {comparison} {key.parameter} ORDER BY app_id"
        return [found for (found,) in session.query(sql, (value,))]

    assert keys(">", "B") == ["a", "abc"]
    assert keys("=", "abc") == ["abc"]
    assert keys("=", "abcd") == []


def test_absent_tables_and_columns(session: Session, run: Run) -> None:
    assert "app_xml does not exist in the database" in (key_problem(session) or "")
    assert catalogue.key_column(session, SOURCE, None) is None
    run("CREATE TABLE app_xml (app_id int PRIMARY KEY, body xml)")
    assert "no column app_xml" in (key_problem(session) or "")
    assert "no column who" in (key_problem(session, source(document="body", columns=("who",))) or "")
    assert key_problem(session, source(document="BODY", key="APP_ID")) is None


def test_types_that_are_no_keys(session: Session, run: Run) -> None:
    declared = ("float", "datetime2(3)", "xml", "money", "decimal(9,2)", "varbinary(9)")
    for number, type_ in enumerate(declared):
        run(f"CREATE TABLE s{number} (app_id {type_}, app_xml xml)")
        problem = key_problem(session, source(table=f"s{number}")) or ""
        assert f"is {type_}; a key has to be an integer" in problem
    run("CREATE TABLE s (app_id ntext, app_xml xml)")
    assert "ALTER COLUMN to nvarchar(max)" in (key_problem(session, source(table="s")) or "")


def test_null_keys(session: Session, run: Run) -> None:
    run(
        "CREATE TABLE app_xml (app_id int, app_xml xml)",
        "INSERT INTO app_xml (app_id) VALUES (1), (NULL), (NULL)",
    )
    assert "2 rows have NULL" in (key_problem(session) or "")
    assert key_problem(session, source(where="app_id IS NOT NULL OR 1 = 0")) is None


def test_duplicate_keys(session: Session, run: Run) -> None:
    run(
        "CREATE TABLE app_xml (app_id int NOT NULL, app_xml xml)",
        "INSERT INTO app_xml (app_id) VALUES (1), (1), (2), (3), (3)",
    )
    assert "2 keys occur more than once" in (key_problem(session) or "")
    assert key_problem(session, source(where="app_id = 2 OR 1 = 0")) is None
    key = catalogue.key_column(session, SOURCE, None)
    assert key is not None
    assert not key.unique_index


def test_keys_that_the_collation_takes_for_one(session: Session, run: Run) -> None:
    run(
        "CREATE TABLE app_xml (app_id nvarchar(9) COLLATE Latin1_General_CI_AS, app_xml xml)",
        "INSERT INTO app_xml (app_id) VALUES ('a'), ('A'), ('b'), ('c'), ('c ')",
    )
    problem = key_problem(session) or ""
    assert "2 keys of column app_xml.app_id" in problem
    assert "equal under the column's collation" in problem
    run("INSERT INTO app_xml (app_id) VALUES ('b')")
    assert "3 keys occur more than once" in (key_problem(session) or "")


def test_a_binary_collation_tells_keys_apart(session: Session, run: Run) -> None:
    run(
        "CREATE TABLE app_xml (app_id nvarchar(9) COLLATE Latin1_General_BIN2, app_xml xml)",
        "INSERT INTO app_xml (app_id) VALUES ('a'), ('A')",
    )
    assert key_problem(session) is None


def test_indexes_that_make_a_key_unique(session: Session, run: Run) -> None:
    run("CREATE TABLE app_xml (app_id int NOT NULL, other int, app_xml xml)")
    unique = []
    for index in (
        "CREATE INDEX i1 ON app_xml (app_id)",
        "CREATE UNIQUE INDEX i2 ON app_xml (app_id, other)",
        "CREATE UNIQUE INDEX i3 ON app_xml (other)",
        "CREATE UNIQUE INDEX i4 ON app_xml (app_id) INCLUDE (other)",
    ):
        run(index)
        key = catalogue.key_column(session, SOURCE, None)
        assert key is not None
        unique.append(key.unique_index)
    assert unique == [False, False, False, True]


def test_a_filtered_index_makes_no_key_unique(session: Session, run: Run) -> None:
    run(
        "CREATE TABLE app_xml (app_id int NOT NULL, app_xml xml)",
        "CREATE UNIQUE INDEX i ON app_xml (app_id) WHERE app_id > 5",
        "INSERT INTO app_xml (app_id) VALUES (1), (1)",
    )
    assert "1 key occurs more than once" in (key_problem(session) or "")


def test_utf_8_takes_more_bytes(session: Session, run: Run, request: pytest.FixtureRequest) -> None:
    if has_gap(request, CODE_PAGES_OF_UTF_8):
        pytest.skip("no such collation here")
    run("CREATE TABLE t (a varchar(9) COLLATE Latin1_General_100_CI_AS_SC_UTF8)")
    (problem,) = catalogue.table_problems(session, plan(table("t", column("a", "varchar(9)"))), None)
    assert "too short, as a character can take 3 bytes" in problem
    for narrow in (column("a", "varchar(3)"), column("a", "nvarchar(3)"),
                   in_code_page(column("a", "varchar(9)"), "utf-8")):  # fmt: skip
        assert catalogue.table_problems(session, plan(table("t", narrow)), None) == []
