"""What a contract's types are on SQL Server, and how values in text form become them.

The contract's types are SQL Server's own, so a column is declared as the contract says.  On the way in
values travel as text and are typed by SQL, never by a driver's guess:

========================  =====================  ==================================================
type                      JSON column            becomes the value by
========================  =====================  ==================================================
char varchar              nvarchar               the assignment to the column, in the column's code page.
                                                 Typed as varchar it would first go through the
                                                 database's, where what that lacks turns into ``?``
binary varbinary          varchar, hexadecimal   CONVERT(varbinary(n), …, 2)
xml                       nvarchar(max)          CONVERT(xml, …, 1), which keeps blanks between tags
money smallmoney          decimal(19,4) (10,4)   the assignment: exact, and free of currency signs
all others                as declared            the WITH clause
========================  =====================  ==================================================
"""

from __future__ import annotations

import codecs
from collections.abc import Callable
from typing import Final

from xml_extractor.contract.types import Family, SqlType

_LARGEST_NVARCHAR: Final = 4000
"""The n of the longest nvarchar(n); longer is max."""
_LARGEST_VARCHAR: Final = 8000


def column_type(kind: SqlType) -> str:
    """The type of a column that holds a contract's type."""
    return str(kind)


def json_type(kind: SqlType) -> str:
    """The type of a value in the WITH clause of OPENJSON, or of a parameter that is sent as text."""
    family = kind.family
    if family is Family.TEXT:
        # A UTF-16 unit is a byte or more in every code page, so n units are always enough.
        return f"nvarchar({_up_to(kind.length, _LARGEST_NVARCHAR)})"
    if family is Family.BINARY:
        digits = None if kind.length is None else 2 * kind.length
        return f"varchar({_up_to(digits, _LARGEST_VARCHAR)})"
    if family is Family.XML:
        return "nvarchar(max)"
    if kind.name in ("money", "smallmoney"):
        return f"decimal({kind.precision},{kind.scale})"
    return column_type(kind)


def from_json(kind: SqlType, column_sql: str) -> str:
    """The expression that makes the column's value out of a value of :func:`json_type`.

    Args:
        column_sql: the column of OPENJSON … WITH, or ``?``, as SQL.
    """
    if kind.family is Family.BINARY:
        return f"CONVERT({column_type(kind)}, {column_sql}, 2)"  # 2: hexadecimal without 0x
    if kind.family is Family.XML:
        return f"CONVERT(xml, {column_sql}, 1)"  # 1: insignificant blanks are kept
    return column_sql


def text_form(kind: SqlType) -> Callable[[str], str] | None:
    """How a canonical temporal text has to be written so that no language or DATEFORMAT changes it.

    With a blank between date and time, ``datetime`` and ``smalldatetime`` are read by DATEFORMAT: day and
    month are exchanged under SET LANGUAGE British.  ``datetimeoffset`` has no documented form with a blank
    before the time and none before the offset.  With a ``T`` all three are ISO 8601.

    Returns:
        The function to apply, or None where the canonical value can be sent as it is.
    """
    if kind.name in ("datetime", "smalldatetime", "datetimeoffset"):
        return _with_t
    return None


def _with_t(text: str) -> str:
    return f"{text[:10]}T{text[11:]}"


def _up_to(length: int | None, largest: int) -> int | str:
    return "max" if length is None or length > largest else length


# ------------------------------------------------------------------------------------ code pages

UTF_8: Final = 65001
"""The code page of collations whose names end in _UTF8 (SQL Server 2019)."""

_CODE_PAGES: Final = {
    "utf-8": UTF_8, "cp437": 437, "cp850": 850, "cp874": 874, "cp932": 932, "gbk": 936, "cp949": 949,
    "cp950": 950, **{f"cp{number}": number for number in range(1250, 1259)},
}  # fmt: skip
"""Windows code pages by the name of Python's codec: those that collations of SQL Server have."""

KEY_COLLATION: Final = "Latin1_General_100_BIN2"
"""Keys that differ in case differ: by code points, as on every other engine."""

_KEY_COLLATIONS: Final = {
    437: "SQL_Latin1_General_CP437_BIN2", 850: "SQL_Latin1_General_CP850_BIN2", 874: "Thai_100_BIN2",
    932: "Japanese_XJIS_100_BIN2", 936: "Chinese_Simplified_Pinyin_100_BIN2", 949: "Korean_100_BIN2",
    950: "Chinese_Traditional_Stroke_Order_100_BIN2", 1250: "Polish_100_BIN2",
    1251: "Cyrillic_General_100_BIN2", 1252: KEY_COLLATION, 1253: "Greek_100_BIN2", 1254: "Turkish_100_BIN2",
    1255: "Hebrew_100_BIN2", 1256: "Arabic_100_BIN2", 1257: "Lithuanian_100_BIN2",
    1258: "Vietnamese_100_BIN2", UTF_8: f"{KEY_COLLATION}_UTF8",
}  # fmt: skip
_TEXT_COLLATIONS: Final = {
    437: "SQL_Latin1_General_CP437_CI_AS", 850: "SQL_Latin1_General_CP850_CI_AS",
    UTF_8: "Latin1_General_100_CI_AS_SC_UTF8",
}  # fmt: skip


def is_code_page_text(kind: SqlType) -> bool:
    """Whether values are bytes of a code page: char and varchar."""
    return kind.family is Family.TEXT and not kind.is_unicode


def code_page_number(codec: str) -> int | None:
    """The Windows code page of a Python codec; None where no collation has it, or any has (ASCII)."""
    return _CODE_PAGES.get(codecs.lookup(codec).name)


def is_ascii(codec: str) -> bool:
    """Whether a codec knows ASCII alone, which every code page holds."""
    return codecs.lookup(codec).name == "ascii"


def key_collation(kind: SqlType, codec: str) -> str:
    """The collation of a text column in a key: binary, and of the contract's code page."""
    if not is_code_page_text(kind):
        return KEY_COLLATION
    return _KEY_COLLATIONS.get(code_page_number(codec) or 0, KEY_COLLATION)


def text_collation(kind: SqlType, codec: str) -> str | None:
    """The collation of a text column outside of keys; None = the database's.

    Only where the contract asks for a code page other than the usual one: a collation that is not the
    database's gets in the way of every join with the user's own tables.
    """
    number = code_page_number(codec)
    if not is_code_page_text(kind) or number is None or number == 1252:
        return None
    return _TEXT_COLLATIONS.get(number) or _KEY_COLLATIONS[number].replace("_BIN2", "_CI_AS")
