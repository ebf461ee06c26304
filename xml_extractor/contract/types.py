"""SQL types as a contract names them, and the Python values that stand for them in a mapped row.

The names are SQL Server's.  A mapped row holds one canonical Python value per column:

=====================================  ====================================================
type                                   value
=====================================  ====================================================
bit                                    ``bool``
tinyint smallint int bigint            ``int``
decimal(p,s) money smallmoney          ``decimal.Decimal`` with exactly the type's scale
float real                             ``float``
date                                   ``str`` ``YYYY-MM-DD``
time(n)                                ``str`` ``HH:MM:SS[.f…]`` with exactly n digits
datetime2(n) datetime smalldatetime    ``str`` ``YYYY-MM-DD HH:MM:SS[.f…]`` with exactly n digits
datetimeoffset(n)                      as datetime2(n), then ``+HH:MM`` (``+00:00`` for UTC)
char varchar nchar nvarchar xml        ``str``
uniqueidentifier                       ``str``, lower case, with hyphens
binary varbinary                       ``bytes``
=====================================  ====================================================

Temporal values are text because Python's own types stop at six digits and SQL Server's go to seven;
text in this form is what every engine takes, exactly.  NULL is ``None`` for all of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from enum import Enum
from typing import Final

Value = None | bool | int | float | Decimal | str | bytes
"""A canonical value in a mapped row."""


class Family(Enum):
    """Types that are converted, compared and stored alike."""

    BIT = "bit"
    INTEGER = "integer"
    DECIMAL = "decimal"
    FLOAT = "float"
    DATE = "date"
    TIME = "time"
    DATETIME = "datetime"
    DATETIMEOFFSET = "datetimeoffset"
    TEXT = "text"
    BINARY = "binary"
    GUID = "guid"
    XML = "xml"


@dataclass(frozen=True, slots=True)
class SqlType:
    """One column type.

    ``length`` is bytes of the code page for char/varchar, UTF-16 units for nchar/nvarchar, bytes for
    binary/varbinary, and ``None`` for ``max`` or where the type has none.  ``precision`` and ``scale``
    are a decimal's; ``scale`` is also the number of fractional digits of a second in temporal types.
    """

    name: str
    family: Family
    length: int | None = None
    precision: int | None = None
    scale: int | None = None

    @property
    def is_unicode(self) -> bool:
        """Whether text of this type is measured in UTF-16 units rather than code page bytes."""
        return self.name in ("nchar", "nvarchar", "xml")

    @property
    def is_fixed_length(self) -> bool:
        """Whether values are padded to ``length`` (char, nchar, binary)."""
        return self.name in ("char", "nchar", "binary")

    def __str__(self) -> str:
        if self.name == "decimal":
            return f"decimal({self.precision},{self.scale})"
        if self.name in ("time", "datetime2", "datetimeoffset"):
            return f"{self.name}({self.scale})"
        if self.name in ("char", "varchar", "nchar", "nvarchar", "binary", "varbinary"):
            return f"{self.name}({'max' if self.length is None else self.length})"
        return self.name


INTEGER_RANGES: Final = {
    "tinyint": (0, 255),
    "smallint": (-(2**15), 2**15 - 1),
    "int": (-(2**31), 2**31 - 1),
    "bigint": (-(2**63), 2**63 - 1),
}
MONEY_RANGES: Final = {
    # money is a 64-bit and smallmoney a 32-bit count of ten-thousandths.
    "money": (Decimal(-(2**63)).scaleb(-4), Decimal(2**63 - 1).scaleb(-4)),
    "smallmoney": (Decimal(-(2**31)).scaleb(-4), Decimal(2**31 - 1).scaleb(-4)),
}

_ALIASES: Final = {"numeric": "decimal", "dec": "decimal", "integer": "int", "guid": "uniqueidentifier"}
_FAMILIES: Final = {
    "bit": Family.BIT,
    "tinyint": Family.INTEGER,
    "smallint": Family.INTEGER,
    "int": Family.INTEGER,
    "bigint": Family.INTEGER,
    "decimal": Family.DECIMAL,
    "money": Family.DECIMAL,
    "smallmoney": Family.DECIMAL,
    "float": Family.FLOAT,
    "real": Family.FLOAT,
    "date": Family.DATE,
    "time": Family.TIME,
    "datetime2": Family.DATETIME,
    "datetime": Family.DATETIME,
    "smalldatetime": Family.DATETIME,
    "datetimeoffset": Family.DATETIMEOFFSET,
    "char": Family.TEXT,
    "varchar": Family.TEXT,
    "nchar": Family.TEXT,
    "nvarchar": Family.TEXT,
    "binary": Family.BINARY,
    "varbinary": Family.BINARY,
    "uniqueidentifier": Family.GUID,
    "xml": Family.XML,
}
TYPE_NAMES: Final = tuple(_FAMILIES)
_MAX_LENGTHS: Final = {
    "char": 8000, "varchar": 8000, "nchar": 4000, "nvarchar": 4000, "binary": 8000, "varbinary": 8000,
}  # fmt: skip
_TYPE_TEXT: Final = re.compile(r"\s*([a-z_][a-z0-9_]*)\s*(?:\(\s*(\d+|max)\s*(?:,\s*(\d+)\s*)?\))?\s*", re.I)


def parse_type(text: str) -> SqlType:
    """Read a type as a contract writes it, such as ``decimal(12,2)`` or ``nvarchar(max)``.

    Raises:
        ValueError: with a sentence that names the mistake; the caller adds the place.
    """
    match = _TYPE_TEXT.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a type; write one such as int, decimal(12,2) or nvarchar(50)")
    name = match[1].lower()
    name = _ALIASES.get(name, name)
    first, second = match[2], match[3]
    family = _FAMILIES.get(name)
    if family is None:
        raise ValueError(f"unknown type {match[1]!r}; known are {', '.join(TYPE_NAMES)}")
    if name == "decimal":
        return _decimal(text, first, second)
    if second is not None:
        raise ValueError(f"{name} takes at most one number in parentheses, not {text!r}")
    if name in ("time", "datetime2", "datetimeoffset"):
        digits = 7 if first is None else int(first) if first.isdigit() else -1
        if not 0 <= digits <= 7:
            raise ValueError(f"{text!r}: a second has 0 to 7 fractional digits")
        return SqlType(name, family, scale=digits)
    if name in _MAX_LENGTHS:
        return SqlType(name, family, length=_length(name, text, first))
    if first is not None:
        raise ValueError(f"{name} takes no number in parentheses, not {text!r}")
    if name in MONEY_RANGES:
        return SqlType(name, family, precision=19 if name == "money" else 10, scale=4)
    if family is Family.DATETIME:
        return SqlType(name, family, scale=3 if name == "datetime" else 0)
    return SqlType(name, family)


def _decimal(text: str, first: str | None, second: str | None) -> SqlType:
    if first is not None and not first.isdigit():
        raise ValueError(f"{text!r}: a decimal's precision is a number from 1 to 38")
    precision = 18 if first is None else int(first)
    scale = 0 if second is None else int(second)
    if not 1 <= precision <= 38:
        raise ValueError(f"{text!r}: a decimal's precision is a number from 1 to 38")
    if scale > precision:
        raise ValueError(f"{text!r}: a decimal's scale cannot exceed its precision")
    return SqlType("decimal", Family.DECIMAL, precision=precision, scale=scale)


def _length(name: str, text: str, first: str | None) -> int | None:
    if first is None:
        raise ValueError(f"{name} needs a length, such as {name}(50)")
    if not first.isdigit():
        if name in ("varchar", "nvarchar", "varbinary"):
            return None
        raise ValueError(f"{text!r}: only varchar, nvarchar and varbinary can be (max)")
    length = int(first)
    if not 1 <= length <= _MAX_LENGTHS[name]:
        raise ValueError(f"{text!r}: the length of {name} is 1 to {_MAX_LENGTHS[name]}, or max where allowed")
    return length
