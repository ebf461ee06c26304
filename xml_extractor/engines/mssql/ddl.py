"""CREATE TABLE for SQL Server, and what of a contract it cannot create.

Text in keys has a binary collation, so that keys that differ in case are two keys, as on every other
engine.  Constraints get no names of their own: a constraint's name is taken for a whole schema, and a
table that was renamed keeps the names that its successor would want.

A primary key is clustered while it is short enough for that; a longer one, up to the limit of other
indexes, is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from xml_extractor.contract.plan import Plan, SourcePlan, Table
from xml_extractor.contract.types import Family, SqlType
from xml_extractor.engines import ddl as shared_ddl
from xml_extractor.engines.base import ColumnSpec, TableSpec
from xml_extractor.engines.ddl import create_statement, parents_first
from xml_extractor.engines.mssql import names
from xml_extractor.engines.mssql.types import (
    code_page_number,
    column_type,
    is_ascii,
    is_code_page_text,
    key_collation,
    text_collation,
)

# Documented under "Maximum capacity specifications for SQL Server" (2016 and later).
CLUSTERED_KEY_BYTES: Final = 900
INDEX_KEY_BYTES: Final = 1700
KEY_COLUMNS: Final = 32
TABLE_COLUMNS: Final = 1024
ROW_BYTES: Final = 8060

_ROW_OVERHEAD: Final = 6
"""Bytes of a row beside its values: header 4, number of columns 2; then a bit a column (NULL or not)."""
_FIXED_BYTES: Final = {
    "tinyint": 1, "smallint": 2, "int": 4, "bigint": 8, "money": 8, "smallmoney": 4, "float": 8, "real": 4,
    "date": 3, "datetime": 8, "smalldatetime": 4, "uniqueidentifier": 16,
}  # fmt: skip


# ------------------------------------------------------------------------------------- statements


def create_statements(tables: Sequence[TableSpec], schema: str | None, *, keys: bool = True) -> list[str]:
    """Return CREATE TABLE statements, parents first.

    Args:
        schema: where tables named without a schema go; it has to be there already.
        keys: give them their keys; without, columns are as they are with them.
    """
    return [
        create_statement(
            table,
            quote_table=lambda name: names.quote_table(name, schema),
            column_definition=_column_definition,
            quote=names.quote_identifier,
            primary_key=primary_key_words(table),
            keys=keys,
        )
        for table in parents_first(tables)
    ]


def add_column_statement(table: TableSpec, column: str, schema: str | None) -> str:
    """Return the statement that adds a column of the specification to an existing table."""
    return shared_ddl.add_column_statement(
        table,
        column,
        quote_table=lambda name: names.quote_table(name, schema),
        column_definition=_column_definition,
    )


def staging_statements(source: SourcePlan, key_type: SqlType, schema: str | None) -> list[str]:
    """Return the statement that creates an empty source table.

    The document is nvarchar(max) and not xml: it can then be a broken one.  A text key is never padded,
    and no longer than an index takes.
    """
    kind = key_type
    if kind.family is Family.TEXT:
        width = 2 if kind.is_unicode else 1
        longest = INDEX_KEY_BYTES // width
        length = longest if kind.length is None else min(kind.length, longest)
        kind = replace(kind, name="nvarchar" if kind.is_unicode else "varchar", length=length)
    key = _column_definition_of(ColumnSpec(source.key, kind, nullable=False), in_key=True)
    return [
        f"CREATE TABLE {names.quote_table(source.table, schema)} (\n"
        f"    {key} {_primary_key([kind])},\n"
        f"    {names.quote_identifier(source.document)} nvarchar(max) NULL\n)"
    ]


def _column_definition(table: TableSpec, column: ColumnSpec) -> str:
    in_key = column.name in table.primary_key or any(own == column.name for own, _ in table.foreign_key)
    if column.name in table.primary_key:
        column = replace(column, nullable=False)
    return _column_definition_of(column, in_key=in_key)


def _column_definition_of(column: ColumnSpec, *, in_key: bool) -> str:
    definition = f"{names.quote_identifier(column.name)} {column_type(column.type)}"
    if column.server_generated:
        return f"{definition} IDENTITY(1,1) NOT NULL"
    if column.type.family is Family.TEXT:
        collation = (key_collation if in_key else text_collation)(column.type, column.code_page)
        if collation is not None:
            definition += f" COLLATE {collation}"
    # NULL is said too: what is left out is decided by the session's ANSI_NULL_DFLT_ON.
    return f"{definition} {'NULL' if column.nullable else 'NOT NULL'}"


def primary_key_words(table: TableSpec) -> str:
    """Return the words by which a table's primary key is declared."""
    return _primary_key([column.type for column in table.columns if column.name in table.primary_key])


def _primary_key(kinds: Sequence[SqlType]) -> str:
    sizes = [_most_bytes(kind) for kind in kinds]
    if all(size is not None for size in sizes) and sum(filter(None, sizes)) <= CLUSTERED_KEY_BYTES:
        return "PRIMARY KEY"
    return "PRIMARY KEY NONCLUSTERED"


# -------------------------------------------------------------------------------------------- limits


def unsupported(plan: Plan) -> list[str]:
    """Say what of a plan SQL Server cannot hold; one sentence a problem, empty = all can be created."""
    problems = []
    for table in plan.tables:
        problem = names.table_name_problem(table.name)
        if problem is not None:
            problems.append(problem)
        for column in table.columns:
            problem = names.column_name_problem(table.name, column.name)
            if problem is not None:
                problems.append(problem)
            codec = column.conversion.code_page
            if is_code_page_text(column.type) and code_page_number(codec) is None and not is_ascii(codec):
                problems.append(
                    f"column {table.name}.{column.name}: no collation of SQL Server has code page {codec}; "
                    "make it nvarchar (or nchar), or choose another code_page in the contract"
                )
        problems += _numbering_problems(table)
        problems += _key_problems(table)
        problems += _width_problems(table)
    return problems


def _numbering_problems(table: Table) -> list[str]:
    problems = []
    numbered = [column for column in table.columns if column.server_generated]
    for column in numbered:
        whole = column.type.family is Family.INTEGER or (
            column.type.name == "decimal" and column.type.scale == 0
        )
        if not whole:
            problems.append(
                f"column {table.name}.{column.name}: SQL Server numbers integer columns only, "
                f"not {column.type}"
            )
    if len(numbered) > 1:
        listed = ", ".join(column.name for column in numbered)
        problems.append(f"table {table.name}: SQL Server numbers one column of a table, and not {listed}")
    return problems


def _key_problems(table: Table) -> list[str]:
    problems = []
    foreign = {own for own, _ in table.foreign_key}
    for i in sorted({*table.primary_key, *foreign}):
        column = table.columns[i]
        if _most_bytes(column.type) is None:
            shorter = "varbinary(900)" if column.type.family is Family.BINARY else "nvarchar(450)"
            problems.append(
                f"column {table.name}.{column.name}: {column.type} cannot be in a key of SQL Server; give "
                f"it a length, such as {shorter}, or choose another primary_key"
            )
    if len(table.primary_key) > KEY_COLUMNS:
        problems.append(
            f"table {table.name}: its primary key has {len(table.primary_key)} columns, and SQL Server's "
            f"have at most {KEY_COLUMNS}"
        )
    size = sum(_most_bytes(table.columns[i].type) or 0 for i in table.primary_key)
    if size > INDEX_KEY_BYTES:
        listed = ", ".join(f"{table.columns[i].name} {table.columns[i].type}" for i in table.primary_key)
        problems.append(
            f"table {table.name}: its primary key ({listed}) can have {size} bytes, and SQL Server's have at "
            f"most {INDEX_KEY_BYTES} (an nvarchar takes two bytes a character); shorten its columns, or "
            "choose another primary_key"
        )
    return problems


def _width_problems(table: Table) -> list[str]:
    problems = []
    if len(table.columns) > TABLE_COLUMNS:
        problems.append(
            f"table {table.name}: it has {len(table.columns)} columns, and SQL Server's have at most "
            f"{TABLE_COLUMNS}"
        )
    bits = sum(column.type.family is Family.BIT for column in table.columns)
    fixed = sum(_fixed_bytes(column.type) or 0 for column in table.columns) + -(-bits // 8)
    size = fixed + _ROW_OVERHEAD + -(-len(table.columns) // 8)
    if size > ROW_BYTES:
        widest = max(table.columns, key=lambda column: _fixed_bytes(column.type) or 0)
        problems.append(
            f"table {table.name}: its columns of fixed width make rows of {size} bytes, and SQL Server's "
            f"have at most {ROW_BYTES}; make wide ones such as {widest.name} {widest.type} of variable "
            "length (varchar, nvarchar, varbinary)"
        )
    return problems


def _fixed_bytes(kind: SqlType) -> int | None:
    """Bytes of every value of a fixed width, bits apart, of which eight share a byte; None = variable."""
    if kind.is_fixed_length:
        return (kind.length or 0) * (2 if kind.is_unicode else 1)
    if kind.name == "decimal":
        precision = kind.precision or 0
        return 5 if precision <= 9 else 9 if precision <= 19 else 13 if precision <= 28 else 17
    if kind.name in ("time", "datetime2", "datetimeoffset"):
        digits = kind.scale or 0
        time = 3 if digits <= 2 else 4 if digits <= 4 else 5
        return time + {"time": 0, "datetime2": 3, "datetimeoffset": 5}[kind.name]
    return _FIXED_BYTES.get(kind.name)


def _most_bytes(kind: SqlType) -> int | None:
    """The most bytes of a value in an index; None = it cannot be indexed."""
    if kind.family is Family.BIT:
        return 1
    if kind.family in (Family.TEXT, Family.BINARY):
        return None if kind.length is None else kind.length * (2 if kind.is_unicode else 1)
    return _fixed_bytes(kind)
