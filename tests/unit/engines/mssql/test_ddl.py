"""CREATE TABLE, and what cannot be created."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.support.plans import SOURCE, column, plan, table
from xml_extractor.contract.plan import Column
from xml_extractor.contract.types import TYPE_NAMES, parse_type
from xml_extractor.engines.base import table_specs
from xml_extractor.engines.mssql.ddl import create_statements, staging_statements, unsupported
from xml_extractor.target.bookkeeping import bookkeeping_specs


def in_code_page(column: Column, codec: str) -> Column:
    return replace(column, conversion=replace(column.conversion, code_page=codec))


FAMILY = plan(
    table(
        "child",
        column("k", "varchar(9)", nullable=False),
        column("n", "int", nullable=False),
        column("odd] name", "varchar(30)"),
        primary_key=(0, 1),
        parent=1,
        foreign_key=((0, 0),),
    ),
    table(
        "parent",
        column("k", "varchar(9)"),
        column("no", "bigint", server_generated=True),
        column("v", "xml"),
        column("d", "decimal(38,18)", nullable=False),
    ),
)


def test_tables() -> None:
    parent, child = create_statements(table_specs(FAMILY), "loan")
    assert parent == (
        "CREATE TABLE [loan].[parent] (\n"
        "    [k] varchar(9) COLLATE Latin1_General_100_BIN2 NOT NULL,\n"
        "    [no] bigint IDENTITY(1,1) NOT NULL,\n"
        "    [v] xml NULL,\n"
        "    [d] decimal(38,18) NOT NULL,\n"
        "    PRIMARY KEY ([k])\n"
        ")"
    )
    assert child == (
        "CREATE TABLE [loan].[child] (\n"
        "    [k] varchar(9) COLLATE Latin1_General_100_BIN2 NOT NULL,\n"
        "    [n] int NOT NULL,\n"
        "    [odd]] name] varchar(30) NULL,\n"
        "    PRIMARY KEY ([k], [n]),\n"
        "    FOREIGN KEY ([k]) REFERENCES [loan].[parent] ([k])\n"
        ")"
    )


def test_without_a_schema_the_server_chooses() -> None:
    assert create_statements(table_specs(FAMILY), None)[0].startswith("CREATE TABLE [parent] (")


def test_a_table_may_name_its_own_schema() -> None:
    (statement,) = create_statements(table_specs(plan(table("x.t", column("a", "int")))), "loan")
    assert statement.startswith("CREATE TABLE [x].[t] (")


def test_a_foreign_key_outside_of_the_primary_key_has_the_same_collation() -> None:
    child = table("c", column("id", "int"), column("k", "nvarchar(9)"), parent=1, foreign_key=((1, 0),))
    statements = create_statements(table_specs(plan(child, table("p", column("k", "nvarchar(9)")))), None)
    assert all("[k] nvarchar(9) COLLATE Latin1_General_100_BIN2" in statement for statement in statements)
    assert "[k] nvarchar(9) COLLATE Latin1_General_100_BIN2 NULL" in statements[1]


def test_another_code_page_needs_collations_of_its_own() -> None:
    columns = [in_code_page(column(name, "varchar(9)"), "cp1251") for name in ("a", "b")]
    (statement,) = create_statements(table_specs(plan(table("t", *columns))), None)
    assert "[a] varchar(9) COLLATE Cyrillic_General_100_BIN2 NOT NULL" in statement
    assert "[b] varchar(9) COLLATE Cyrillic_General_100_CI_AS NULL" in statement


@pytest.mark.parametrize(
    ("type_", "clustered"),
    [("nvarchar(450)", True), ("nvarchar(451)", False), ("binary(900)", True), ("char(901)", False)],
)
def test_a_long_key_is_not_clustered(type_: str, clustered: bool) -> None:
    (statement,) = create_statements(table_specs(plan(table("t", column("a", type_)))), None)
    assert ("PRIMARY KEY ([a])" in statement) is clustered
    assert ("PRIMARY KEY NONCLUSTERED ([a])" in statement) is not clustered


def test_the_loaders_own_tables() -> None:
    ledger = next(s for s in create_statements(bookkeeping_specs(), "x") if "load_ledger" in s)
    assert "[digest] binary(16) NOT NULL" in ledger
    assert "[committed_at] datetime2(6) NOT NULL" in ledger
    assert "PRIMARY KEY ([digest])" in ledger


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("bigint", "bigint NOT NULL PRIMARY KEY"),
        ("char(5)", "varchar(5) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY"),
        ("nvarchar(450)", "nvarchar(450) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY"),
        ("varchar(2000)", "varchar(1700) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY NONCLUSTERED"),
        ("nvarchar(max)", "nvarchar(850) COLLATE Latin1_General_100_BIN2 NOT NULL PRIMARY KEY NONCLUSTERED"),
    ],
)
def test_staging(type_: str, expected: str) -> None:
    assert staging_statements(SOURCE, parse_type(type_), "x") == [
        f"CREATE TABLE [x].[app_xml] (\n    [app_id] {expected},\n    [app_xml] nvarchar(max) NULL\n)"
    ]


# ------------------------------------------------------------------------------------- limits


def test_every_type_is_supported() -> None:
    lengths = ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary")
    columns = [column(f"c{i}", f"{t}(20)" if t in lengths else t) for i, t in enumerate(TYPE_NAMES)]
    assert unsupported(plan(table("t", column("id", "int"), *columns))) == []
    assert unsupported(FAMILY) == []


@pytest.mark.parametrize(("type_", "fits"), [("int", True), ("decimal(9,0)", True), ("decimal(9,1)", False),
                                             ("nvarchar(9)", False)])  # fmt: skip
def test_numbering(type_: str, fits: bool) -> None:
    numbered = plan(table("t", column("a", "int"), column("no", type_, server_generated=True)))
    assert (unsupported(numbered) == []) is fits


def test_one_numbered_column_a_table() -> None:
    pair = [column(name, "int", server_generated=True) for name in ("b", "c")]
    (problem,) = unsupported(plan(table("t", column("a", "int"), *pair)))
    assert "b, c" in problem


@pytest.mark.parametrize("type_", ["xml", "nvarchar(max)", "varbinary(max)"])
def test_what_cannot_be_in_a_key(type_: str) -> None:
    (problem,) = unsupported(plan(table("t", column("a", type_))))
    assert problem.startswith(f"column t.a: {type_} cannot be in a key")


@pytest.mark.parametrize(("length", "fits"), [(848, True), (849, False)])
def test_the_longest_key(length: int, fits: bool) -> None:
    wide = plan(table("t", column("a", f"nvarchar({length})"), column("b", "int"), primary_key=(0, 1)))
    assert (unsupported(wide) == []) is fits
    if not fits:
        assert f"a nvarchar({length}), b int" in unsupported(wide)[0]
        assert "1702 bytes" in unsupported(wide)[0]


@pytest.mark.parametrize(("length", "fits"), [(53, True), (54, False)])
def test_the_widest_row(length: int, fits: bool) -> None:
    # SQL Server's own words for 54: "the minimum row size would be 8061, including 7 bytes of internal
    # overhead".
    wide = plan(table("t", column("a", "char(8000)"), column("b", f"char({length})"), primary_key=()))
    assert (unsupported(wide) == []) is fits
    if not fits:
        assert "8061 bytes" in unsupported(wide)[0]


def test_eight_bits_share_a_byte() -> None:
    bits = [column(f"b{i}", "bit") for i in range(9)]
    assert unsupported(plan(table("t", column("a", "char(8000)"), column("c", "char(50)"), *bits,
                                  primary_key=()))) == []  # fmt: skip
    assert unsupported(plan(table("t", column("a", "char(8000)"), column("c", "char(51)"), *bits,
                                  primary_key=()))) != []  # fmt: skip


def test_numbers_of_columns() -> None:
    columns = [column(f"c{i}", "int") for i in range(1025)]
    problems = unsupported(plan(table("t", *columns, primary_key=tuple(range(33)))))
    assert len(problems) == 2
    assert "33 columns" in problems[0]
    assert "1025 columns" in problems[1]
    assert unsupported(plan(table("t", *columns[:1024], primary_key=tuple(range(32))))) == []


def test_code_pages_that_no_collation_has() -> None:
    odd = in_code_page(column("a", "varchar(9)"), "iso8859-15")
    (problem,) = unsupported(plan(table("t", column("id", "int"), odd)))
    assert problem.startswith("column t.a: no collation")
    wide = in_code_page(column("a", "nvarchar(9)"), "iso8859-15")
    plain = in_code_page(column("b", "varchar(9)"), "ascii")
    assert unsupported(plan(table("t", column("id", "int"), wide, plain))) == []


def test_names() -> None:
    problems = unsupported(plan(table("#t", column("a" * 129, "int"))))
    assert len(problems) == 2
