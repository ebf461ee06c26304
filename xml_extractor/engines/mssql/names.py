"""Names in brackets.

A contract writes a table as ``app_base``, ``dbo.app_base`` or ``archive.dbo.app_base``; odd names stand in
brackets or double quotes (:func:`~xml_extractor.engines.ddl.split_name`).  In SQL every part is bracketed,
so that no name is taken for a keyword or for SQL, whatever QUOTED_IDENTIFIER says.
"""

from __future__ import annotations

from typing import Final

from xml_extractor.engines.ddl import split_name

NAME_LENGTH: Final = 128
"""UTF-16 units of an identifier (sysname is nvarchar(128))."""

MOST_PARTS: Final = 3
"""database.schema.table; a fourth part in front would be a linked server, which no transaction here spans."""


def quote_identifier(name: str) -> str:
    """Quote one identifier."""
    return "[" + name.replace("]", "]]") + "]"


def table_parts(name: str, schema: str | None = None) -> tuple[str, ...]:
    """Split a table name as a contract writes it; ``schema`` is put in front of one that has none.

    Raises:
        ValueError: it is not a name.
    """
    parts = split_name(name)
    return (schema, *parts) if schema is not None and len(parts) == 1 else parts


def quote_table(name: str, schema: str | None = None) -> str:
    """Quote a table name as a contract writes it, for SQL and for OBJECT_ID.

    Args:
        schema: put in front of a name that has none; None = the server's choice.

    Raises:
        ValueError: it is not a name.
    """
    return ".".join(map(quote_identifier, table_parts(name, schema)))


def table_name_problem(name: str) -> str | None:
    """Say why a table cannot have this name; None = it can."""
    parts = split_name(name)
    if len(parts) > MOST_PARTS:
        return (
            f"table {name}: the name has {len(parts)} parts; write table, schema.table or "
            "database.schema.table, and put a part that holds a dot into brackets"
        )
    if parts[-1].startswith("#"):
        return f"table {name}: a name that begins with # is a temporary table, gone with the connection"
    if any(_units(part) > NAME_LENGTH for part in parts):
        return f"table {name}: names have at most {NAME_LENGTH} characters on SQL Server"
    return None


def column_name_problem(table: str, name: str) -> str | None:
    """Say why a column cannot have this name; None = it can."""
    if _units(name) > NAME_LENGTH:
        return f"column {table}.{name}: names have at most {NAME_LENGTH} characters on SQL Server"
    return None


def _units(text: str) -> int:
    return len(text.encode("utf-16-le", "surrogatepass")) // 2
