"""CREATE TABLE statements and names."""

from __future__ import annotations

import pytest

from tests.support.plans import SOURCE, column, plan, table
from xml_extractor.contract.types import TYPE_NAMES, parse_type
from xml_extractor.engines import dialect_engine
from xml_extractor.engines.base import table_specs
from xml_extractor.engines.ddl import split_name
from xml_extractor.engines.postgresql import column_type
from xml_extractor.engines.sqlite import COLUMN_TYPES, affinity

STANDARD_QUOTES = ("postgresql", "sqlite")
"""The engines that quote names as the standard does; SQL Server's statements have tests of their own."""


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("app_xml", ("app_xml",)), ("dbo.app_xml", ("dbo", "app_xml")), ('"a.b"', ("a.b",)),
        ('x."a""b"', ("x", 'a"b')), ("[a.b].[c]]d]", ("a.b", "c]d")),
        ('we"ird', ('we"ird',)), ("a b", ("a b",)),
    ],
)  # fmt: skip
def test_split_name(name: str, parts: tuple[str, ...]) -> None:
    assert split_name(name) == parts


@pytest.mark.parametrize("name", ["", ".", "a.", ".a", "a..b", '"a"b'])
def test_what_is_not_a_name(name: str) -> None:
    with pytest.raises(ValueError, match="not a table name"):
        split_name(name)


@pytest.mark.parametrize("dialect", STANDARD_QUOTES)
def test_quotes_cannot_be_broken_out_of(dialect: str) -> None:
    assert dialect_engine(dialect).quote('x" (a); DROP TABLE y; --') == '"x"" (a); DROP TABLE y; --"'
    assert dialect_engine(dialect).quote("dbo.t") == '"dbo"."t"'


def test_sqlite_has_no_numeric_affinity() -> None:
    assert {affinity(declared) for declared in COLUMN_TYPES.values()} == {"INTEGER", "REAL", "TEXT", "BLOB"}
    assert affinity(COLUMN_TYPES[parse_type("decimal(9,2)").family]) == "TEXT"


@pytest.mark.parametrize(
    ("declared", "expected"),
    [
        ("INT", "INTEGER"), ("CHARINT", "INTEGER"), ("FLOATING POINT", "INTEGER"), ("VARCHAR(9)", "TEXT"),
        ("CLOB", "TEXT"), ("", "BLOB"), ("BLOB", "BLOB"), ("DOUBLE", "REAL"), ("DECIMAL(9,2)", "NUMERIC"),
        ("DATETIME", "NUMERIC"), ("STRING", "NUMERIC"),
    ],
)  # fmt: skip
def test_affinity(declared: str, expected: str) -> None:
    assert affinity(declared) == expected


@pytest.mark.parametrize(
    ("type_", "expected"),
    [
        ("bit", "boolean"), ("tinyint", "smallint"), ("bigint", "bigint"),
        ("decimal(38,10)", "numeric(38,10)"),
        ("money", "numeric(19,4)"), ("smallmoney", "numeric(10,4)"), ("real", "double precision"),
        ("time(6)", "time(6)"), ("time(7)", "varchar(16)"), ("datetime2(0)", "timestamp(0)"),
        ("datetime2(7)", "varchar(27)"), ("datetime", "timestamp(3)"), ("datetimeoffset(0)", "varchar(25)"),
        ("datetimeoffset(7)", "varchar(33)"), ("char(5)", "varchar(5)"), ("nvarchar(max)", "text"),
        ("varbinary(9)", "bytea"), ("xml", "text"), ("uniqueidentifier", "uuid"),
    ],
)  # fmt: skip
def test_postgresql_types(type_: str, expected: str) -> None:
    assert column_type(parse_type(type_)) == expected


def test_every_type_has_a_column_type() -> None:
    for name in TYPE_NAMES:
        kind = parse_type(f"{name}(5)" if name.endswith(("char", "binary")) else name)
        assert column_type(kind)
        assert COLUMN_TYPES[kind.family]


CHILD_FIRST = plan(
    table(
        "child",
        column("k", "char(3)"),
        column("n", "int"),
        primary_key=(0, 1),
        parent=1,
        foreign_key=((0, 0),),
    ),
    table("parent", column("k", "char(3)"), column("v", "xml")),
)


@pytest.mark.parametrize("dialect", STANDARD_QUOTES)
def test_parents_come_first(dialect: str) -> None:
    statements = dialect_engine(dialect).create_statements(table_specs(CHILD_FIRST))
    assert [statement.split('"')[1] for statement in statements] == ["parent", "child"]
    assert 'FOREIGN KEY ("k") REFERENCES "parent" ("k")' in statements[1]
    assert '"k" TEXT NOT NULL' in statements[0] or '"k" varchar(3) COLLATE "C" NOT NULL' in statements[0]


def test_postgresql_tables_go_into_the_schema_that_is_named() -> None:
    parent, child = dialect_engine("postgresql", schema='a"b').create_statements(table_specs(CHILD_FIRST))
    assert parent.startswith('CREATE TABLE "a""b"."parent"')
    assert 'REFERENCES "a""b"."parent"' in child
    named = plan(table("other.t", column("k", "int")))
    (statement,) = dialect_engine("postgresql", schema="mine").create_statements(table_specs(named))
    assert statement.startswith('CREATE TABLE "other"."t"')


@pytest.mark.parametrize("dialect", STANDARD_QUOTES)
def test_staging(dialect: str) -> None:
    (statement,) = dialect_engine(dialect).staging_statements(SOURCE, parse_type("bigint"))
    assert statement.startswith('CREATE TABLE "app_xml"')
    assert statement.count(",") == 1


def test_what_cannot_be_numbered() -> None:
    pair = plan(table("t", column("a", "int"), column("no", "int", server_generated=True)))
    assert dialect_engine("postgresql").unsupported(pair) == []
    assert "t.no" in dialect_engine("sqlite").unsupported(pair)[0]
    text = plan(table("t", column("a", "nvarchar(9)", server_generated=True)))
    assert "t.a" in dialect_engine("postgresql").unsupported(text)[0]
    assert "t.a" in dialect_engine("sqlite").unsupported(text)[0]


def test_names_that_postgresql_would_cut_off() -> None:
    long = plan(table("ä" * 32, column("a" * 64, "int"), column("b" * 63, "int")))
    problems = dialect_engine("postgresql").unsupported(long)
    assert len(problems) == 2
    assert dialect_engine("sqlite").unsupported(long) == []
