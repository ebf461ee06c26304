"""Whether an existing column holds every value of a contract's type as it is.

The loader hands SQL Server values typed by the contract, and an assignment to a column of another type
converts them: a ``datetime`` in a varchar becomes ``May 31 2024 10:11AM``, a GUID gets upper case.  So a
column has to be of the same kind of type, and wide enough.
"""

from __future__ import annotations

from typing import Final

from xml_extractor.contract.types import INTEGER_RANGES, Family, SqlType
from xml_extractor.engines.checks import ExistingColumn
from xml_extractor.engines.mssql.types import UTF_8, code_page_number

ENCRYPTED: Final = "encrypted"
"""The kind of a column under Always Encrypted, whatever its type."""
DEPRECATED: Final = {"text": "varchar(max)", "ntext": "nvarchar(max)", "image": "varbinary(max)"}
"""Types that SQL Server has deprecated, with what to use."""

_INTEGER_DIGITS: Final = {"tinyint": 2, "smallint": 4, "int": 9, "bigint": 18}
"""Decimal digits that always fit."""
_MONEY_DIGITS: Final = {"money": 14, "smallmoney": 5}
"""Digits before the point that always fit; both have four behind it."""
_BYTES_IN_UTF_8: Final = 3
"""The most bytes in UTF-8 that a UTF-16 unit, or a byte of another code page, stands for."""


def type_problem(kind: SqlType, column: ExistingColumn, codec: str) -> str | None:
    """Say why a column cannot hold every value of a contract's type as it is; None = it can.

    Args:
        codec: the contract's code page for char and varchar, by the name of Python's codec.
    """
    actual = column.kind
    if actual == ENCRYPTED:
        return "Always Encrypted is not supported; load into another column"
    if actual in DEPRECATED:
        return f"a deprecated type, which the loader does not write; ALTER COLUMN to {DEPRECATED[actual]}"
    if actual == "sql_variant":
        return "each value there has a type of its own; give the column the contract's type"
    family = kind.family
    if family is Family.BIT:
        return None if actual == "bit" or actual in INTEGER_RANGES else "not a bit"
    if family is Family.INTEGER:
        return _integer_problem(kind, column)
    if family is Family.DECIMAL:
        return _decimal_problem(kind, column)
    if family is Family.FLOAT:
        if actual == "float" or (actual == "real" and kind.name == "real"):
            return None
        return "not a floating point number wide enough"
    if family is Family.GUID:
        return None if actual == "uniqueidentifier" else "not uniqueidentifier"
    if family is Family.XML:
        return None if actual == "xml" else "not xml; if this type is meant, say so in the contract"
    if family is Family.BINARY:
        return _binary_problem(kind, column)
    if family is Family.TEXT:
        return _text_problem(kind, column, codec)
    return _temporal_problem(kind, column)


def _integer_problem(kind: SqlType, column: ExistingColumn) -> str | None:
    low, high = INTEGER_RANGES[kind.name]
    if column.kind in INTEGER_RANGES:
        lowest, highest = INTEGER_RANGES[column.kind]
        return None if lowest <= low and high <= highest else "too small"
    if column.kind == "decimal":
        return None if (column.size or 0) - (column.scale or 0) >= len(str(high)) else "too small"
    return "not an integer"


def _decimal_problem(kind: SqlType, column: ExistingColumn) -> str | None:
    precision, digits = kind.precision or 0, kind.scale or 0
    actual = column.kind
    if actual == kind.name and actual in _MONEY_DIGITS:
        return None
    if actual in _INTEGER_DIGITS:
        return None if digits == 0 and precision <= _INTEGER_DIGITS[actual] else "too small"
    if actual in _MONEY_DIGITS:
        size, scale = _MONEY_DIGITS[actual] + 4, 4
        if (actual, kind.name) == ("money", "smallmoney"):
            return None
    elif actual == "decimal":
        size, scale = column.size or 0, column.scale or 0
    else:
        return "not an exact decimal"
    if scale < digits:
        return "has fewer decimal places, so that values would be rounded"
    return None if size - scale >= precision - digits else "too small"


def _binary_problem(kind: SqlType, column: ExistingColumn) -> str | None:
    if column.kind == "binary":
        same = kind.is_fixed_length and column.size == kind.length
        return None if same else "values are cut or filled up with zeros there; use varbinary"
    if column.kind != "varbinary":
        return "not varbinary"
    return _length_problem(kind.length, column.size)


def _text_problem(kind: SqlType, column: ExistingColumn, codec: str) -> str | None:
    if column.kind in ("char", "nchar"):
        if not kind.is_fixed_length or column.size != kind.length:
            return "values are cut or filled up with blanks there; use varchar or nvarchar"
    elif column.kind not in ("varchar", "nvarchar"):
        return "not a text"
    if column.kind in ("nchar", "nvarchar"):
        # A UTF-16 unit is a byte or more in every code page, so a length in bytes is always enough.
        return _length_problem(kind.length, column.size)
    page = column.code_page
    longest = kind.length
    if kind.is_unicode:
        if page != UTF_8:
            return f"characters that {_page_text(column)} lacks would be lost; make it nvarchar"
        longest = None if longest is None else _BYTES_IN_UTF_8 * longest
    else:
        wanted = code_page_number(codec)
        if page == UTF_8 and wanted is not None and wanted != UTF_8:
            longest = None if longest is None else _BYTES_IN_UTF_8 * longest
        elif wanted is not None and page is not None and page != wanted:
            return (
                f"its text is kept in {_page_text(column)}, and the contract's code_page is {codec}: "
                "characters would be lost; make the column nvarchar, or set "
                f"code_page: {_codec_of(page)} in the contract"
            )
    problem = _length_problem(longest, column.size)
    if problem is not None and longest != kind.length:
        problem += f", as a character can take {_BYTES_IN_UTF_8} bytes in UTF-8 ({column.collation})"
    return problem


def _temporal_problem(kind: SqlType, column: ExistingColumn) -> str | None:
    actual = column.kind
    if kind.name == actual and actual in ("date", "datetime", "smalldatetime"):
        return None
    if kind.name in ("datetime", "smalldatetime") and actual == "datetime":
        return None  # smalldatetime: whole minutes between 1900 and 2079
    fits = {Family.TIME: "time", Family.DATETIME: "datetime2", Family.DATETIMEOFFSET: "datetimeoffset"}
    if actual != fits.get(kind.family):
        if kind.family is Family.DATETIMEOFFSET:
            return "the offset would be lost; use datetimeoffset"
        if actual in ("datetime", "smalldatetime") and kind.name == "datetime2":
            return "holds fewer digits and fewer years, so that values would be rounded; use datetime2"
        return "not of a fitting date or time type"
    if (kind.scale or 0) > (column.scale or 0):
        return "has fewer digits of a second, so that values would be rounded"
    return None


def _length_problem(length: int | None, size: int | None) -> str | None:
    if size is None or (length is not None and size >= length):
        return None
    return "too short"


def _page_text(column: ExistingColumn) -> str:
    page = "the code page" if column.code_page is None else f"code page {column.code_page}"
    return f"{page} of its collation {column.collation}"


def _codec_of(page: int) -> str:
    return "utf-8" if page == UTF_8 else f"cp{page}"
