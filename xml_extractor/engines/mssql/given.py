"""Rows and keys that are given to the server, as a derived table or a list of parameters.

They travel as one JSON parameter, typed by SQL, where the server has OPENJSON and gives back what it was
given; else as one parameter a value, in as many statements as that takes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from xml_extractor.contract.types import Family, SqlType, parse_type
from xml_extractor.engines.checks import ExistingColumn, ExistingTable
from xml_extractor.engines.mssql.catalogue import KeyColumn, own_type
from xml_extractor.engines.mssql.encoders import fragment
from xml_extractor.engines.mssql.names import quote_identifier
from xml_extractor.engines.mssql.types import column_type, from_json, json_type, text_form

MOST_PARAMETERS: Final = 2000
"""SQL Server takes 2,100 parameters a request; a few are left for the statement around."""

MOST_VALUES: Final = 1000
"""Rows that a VALUES list takes."""

REQUEST_CHARACTERS: Final = 16 * 1024 * 1024
"""Characters of values in one request: 32 MiB as UTF-16, held in memory on both sides."""

LIST_SIZES: Final = (1, 10, 100, 500, MOST_PARAMETERS)
"""Lists of parameters have one of these lengths, so that the server keeps a plan for each and no more."""

_NVARCHAR: Final = 4000


@dataclass(frozen=True, slots=True)
class Given:
    """Rows in the form of a FROM clause, with columns c0, c1, …"""

    sql: str
    parameters: tuple[Any, ...]
    """For ``before`` and then for ``sql``."""
    before: str = ""
    """What has to be run before the statement, in the same batch."""


def value_type(column: ExistingColumn) -> SqlType:
    """The type by which a column's values are given: its own, texts and integers as large as can be.

    What is too large for its column is so refused by the column, and neither cut nor refused on the way.

    Raises:
        ValueError: the column is of a type that no contract knows.
    """
    kind = parse_type(own_type(column))
    if kind.family is Family.INTEGER:
        return parse_type("bigint")
    if kind.family is Family.TEXT:
        is_long = kind.length is None or kind.length > _NVARCHAR
        return replace(kind, name="nvarchar", length=None if is_long else _NVARCHAR)
    return kind


def column_of(existing: ExistingTable, name: str) -> ExistingColumn:
    """A table's column by its name, written exactly so or, where there is none, in other case.

    Raises:
        LookupError: there is none.
    """
    found = existing.column(name, ignore_case=False) or existing.column(name, ignore_case=True)
    if found is None:
        names = ", ".join(column.name for column in existing.columns)
        raise LookupError(f"there is no column {name}; there are {names}")
    return found


def comparable(key: KeyColumn, given: str) -> str:
    """A given key as SQL, of a type in which it compares with the column as the column's index does.

    All integers are compared as the widest: an index on a shorter one serves that too, and a key beyond the
    column's range is no error.

    Args:
        given: ``?`` or the column that holds it.
    """
    if key.is_integer:
        return f"CAST({given} AS {'decimal(38,0)' if key.type_sql.startswith('decimal') else 'bigint'})"
    return key.parameter.replace("?", given, 1)


def as_json(kinds: Sequence[SqlType], rows: Sequence[Sequence[Any]]) -> Iterator[Given]:
    """Rows as one JSON parameter; more than one only where they are very long.

    JSON has no bytes: binary values travel side by side in a parameter of their own, and the JSON says where
    each begins and how long it is.
    """
    types, values = [], []
    position = 0
    for i, kind in enumerate(kinds):
        if kind.family is Family.BINARY:
            types += [f"c{i} bigint '$[{position}]'", f"n{i} bigint '$[{position + 1}]'"]
            values.append(f"CAST(SUBSTRING(@bytes, c{i}, n{i}) AS {column_type(kind)}) AS c{i}")
            position += 2
        else:
            types.append(f"c{i} {json_type(kind)} '$[{position}]'")
            values.append(f"{from_json(kind, f'c{i}')} AS c{i}")
            position += 1
    sql = f"(SELECT {', '.join(values)} FROM OPENJSON(?) WITH ({', '.join(types)})) AS given"
    forms = [text_form(kind) for kind in kinds]
    has_binary = any(kind.family is Family.BINARY for kind in kinds)
    for chunk in _chunks(rows):
        sent, pieces, end = [], [], 0
        for row in chunk:
            line: list[Any] = []
            for kind, form, value in zip(kinds, forms, row, strict=True):
                if kind.family is not Family.BINARY:
                    line.append(form(value) if form is not None and value is not None else value)
                elif value is None:
                    line += (None, None)
                else:
                    line += (end + 1, len(value))
                    pieces.append(value)
                    end += len(value)
            sent.append(line)
        text = f"[{fragment(sent)}]"
        if has_binary:
            yield Given(sql, (b"".join(pieces), text), "DECLARE @bytes varbinary(max) = ?;\n")
        else:
            yield Given(sql, (text,))


def _chunks(rows: Sequence[Sequence[Any]]) -> Iterator[Sequence[Sequence[Any]]]:
    """Rows in parts that are not much longer than a request should be."""
    first = characters = 0
    for last, row in enumerate(rows):
        length = _characters(row)
        if last > first and characters + length > REQUEST_CHARACTERS:
            yield rows[first:last]
            first, characters = last, 0
        characters += length
    if first < len(rows):
        yield rows[first:]


def as_parameters(kinds: Sequence[SqlType], rows: Sequence[Sequence[Any]]) -> Iterator[Given]:
    """Rows as one parameter a value, in as few parts as the server's limits make necessary."""
    names = ", ".join(f"c{i}" for i in range(len(kinds)))
    markers = [from_parameter(kind) for kind in kinds]
    nulls = [f"CAST(NULL AS {column_type(kind)})" for kind in kinds]
    forms = [text_form(kind) for kind in kinds]
    most = max(1, min(MOST_VALUES, MOST_PARAMETERS // len(kinds)))
    first = 0
    while first < len(rows):
        lines: list[str] = []
        parameters: list[Any] = []
        characters = 0
        for row in rows[first : first + most]:
            characters += _characters(row)
            if lines and characters > REQUEST_CHARACTERS:
                break
            lines.append(
                ", ".join(n if v is None else m for v, m, n in zip(row, markers, nulls, strict=True))
            )
            parameters += [
                form(v) if form is not None else v
                for v, form in zip(row, forms, strict=True)
                if v is not None
            ]
        first += len(lines)
        text = "), (".join(lines)
        yield Given(f"(VALUES ({text})) AS given ({names})", tuple(parameters))


def from_parameter(kind: SqlType) -> str:
    """The expression that makes a column's value of a parameter; binary goes as it is."""
    if kind.family is Family.BINARY:
        return f"CAST(? AS {column_type(kind)})"
    return from_json(kind, f"CAST(? AS {json_type(kind)})")


def key_lists(keys: Sequence[Any], most: int = MOST_PARAMETERS) -> Iterator[tuple[Any, ...]]:
    """Keys in lists of few different lengths; the last key is repeated to fill the last one up."""
    for first in range(0, len(keys), most):
        chunk = tuple(keys[first : first + most])
        length = min(most, next(size for size in LIST_SIZES if size >= len(chunk)))
        yield chunk + chunk[-1:] * (length - len(chunk))


def key_list_condition(key: KeyColumn, length: int) -> str:
    """The condition that a key is one of so many parameters."""
    return f"{quote_identifier(key.name)} IN ({', '.join([comparable(key, '?')] * length)})"


def _characters(row: Sequence[Any]) -> int:
    return sum(len(value) for value in row if isinstance(value, str | bytes))
