"""CREATE TABLE statements, the same shape on every engine; what differs comes from the engine."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from xml_extractor.engines.base import ColumnSpec, TableSpec

_NAME_PART: Final = re.compile(r'"((?:[^"]|"")+)"|\[((?:[^\]]|\]\])+)\]|([^.]+)')


def split_name(name: str) -> tuple[str, ...]:
    """Split a table name as a contract writes it into its parts, unquoted.

    Parts are separated by dots; a part that holds a dot itself is written in double quotes or square
    brackets (``"odd.name"``, ``dbo.[odd.name]``).

    Raises:
        ValueError: an empty part or an unfinished quotation.
    """
    parts = []
    position = 0
    while True:
        match = _NAME_PART.match(name, position)
        if match is None or (match.end() < len(name) and name[match.end()] != "."):
            raise ValueError(f"{name!r} is not a table name")
        quoted, bracketed, plain = match.groups()
        if quoted is not None:
            parts.append(quoted.replace('""', '"'))
        elif bracketed is not None:
            parts.append(bracketed.replace("]]", "]"))
        else:
            parts.append(plain)
        if match.end() == len(name):
            return tuple(parts)
        position = match.end() + 1


def quote_identifier(name: str) -> str:
    """Quote one identifier as standard SQL does."""
    return '"' + name.replace('"', '""') + '"'


def parents_first(tables: Sequence[TableSpec]) -> list[TableSpec]:
    """Order tables so that each comes after the parent that its foreign key refers to."""
    by_name = {table.name: table for table in tables}
    done: dict[str, TableSpec] = {}

    def place(table: TableSpec) -> None:
        if table.name in done:
            return
        parent = by_name.get(table.parent) if table.parent is not None else None
        if parent is not None and parent is not table:
            place(parent)
        done[table.name] = table

    for table in tables:
        place(table)
    return list(done.values())


def create_statement(
    table: TableSpec,
    *,
    quote_table: Callable[[str], str],
    column_definition: Callable[[TableSpec, ColumnSpec], str],
    quote: Callable[[str], str] = quote_identifier,
    primary_key: str = "PRIMARY KEY",
    inline_key: bool = False,
    suffix: str = "",
    keys: bool = True,
) -> str:
    """Write one CREATE TABLE statement.

    With ``inline_key`` the column definitions already say what the primary key is; without ``keys`` there are
    none, and the columns are as they are with them.
    """
    lines = [f"    {column_definition(table, column)}" for column in table.columns]
    if keys and table.primary_key and not inline_key:
        lines.append(f"    {primary_key} ({', '.join(map(quote, table.primary_key))})")
    if keys and table.foreign_key and table.parent is not None:
        own = ", ".join(quote(c) for c, _ in table.foreign_key)
        theirs = ", ".join(quote(c) for _, c in table.foreign_key)
        lines.append(f"    FOREIGN KEY ({own}) REFERENCES {quote_table(table.parent)} ({theirs})")
    body = ",\n".join(lines)
    return f"CREATE TABLE {quote_table(table.name)} (\n{body}\n){suffix}"


def add_column_statement(
    table: TableSpec,
    column: str,
    *,
    quote_table: Callable[[str], str],
    column_definition: Callable[[TableSpec, ColumnSpec], str],
) -> str:
    """Write one ALTER TABLE statement that adds a column of the specification."""
    added = next(spec for spec in table.columns if spec.name == column)
    return f"ALTER TABLE {quote_table(table.name)} ADD {column_definition(table, added)}"
