"""Where the loader and a server differ, each with its reason: the one list of all exceptions.

Patterns stand for ``expression #row`` (rows are counted from 0; 5 is the row of NULLs), types' patterns for
the expression alone; ``*`` and ``?`` are the only wildcards.  What does not differ any more comes off.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Exceptions:
    """One reason, and the expressions that it holds for."""

    reason: str
    patterns: tuple[str, ...]


def first_match(text: str, exceptions: Iterable[Exceptions]) -> tuple[Exceptions, str] | None:
    """The first exception that a text falls under, with its pattern."""
    for exception in exceptions:
        for pattern in exception.patterns:
            # Square brackets are part of an expression, not sets of characters.
            if fnmatch.fnmatchcase(text, pattern.replace("[", "[[]")):
                return exception, pattern
    return None


SHARPER: Final = (
    # Of the loader's own, on any server: it gives an error where T-SQL gives a value.  See
    # mapping/tsql_conversion.py and docs/contract-reference.md.
    Exceptions(
        "a number or GUID too long for its text is an error; T-SQL gives * or cuts it",
        ("CAST(12345 AS varchar(3)) *", "CAST(guid AS varchar(30)) *", "CAST(price AS char(2)) *"),
    ),
    Exceptions(
        "a character that the code page lacks is an error; T-SQL gives ?",
        ("CAST(n AS varchar(50)) #4", "CAST(N'Ł' AS varchar(5)) *"),
    ),
    Exceptions(
        "a date whose order of day and month the session's language decides is an error",
        ("CAST('3/4/2020' AS date) *",),
    ),
    Exceptions(
        "a zone in a text that becomes a type without one is an error; T-SQL drops it",
        ("CAST('2024-01-01T00:00:00+02:00' AS datetime2) *",),
    ),
)

UNSETTLED: Final = (
    # Of the loader's own too: what Microsoft's reference does not settle, or no other program could read.
    Exceptions(
        "a character that would be cut in two is dropped, on purpose",
        ("CAST(astral AS nvarchar(2)) *", "LEFT(astral, 2) *"),
    ),
    Exceptions(
        "rounding up beyond 9999-12-31 23:59:59 is an overflow to the loader",
        ("CAST(dt AS datetime2(0)) #1", "CAST(dt3 AS datetime2(0)) #1"),
    ),
    Exceptions("blanks and a sign around the digits that become a bit", ("CAST(num AS bit) #4",)),
    Exceptions("TRIM's characters are compared by the collation", ("TRIM(w FROM v) #1",)),
    Exceptions("the milliseconds of a time(0) in styles 14 and 114",
               ("CONVERT(varchar(40), t0, 14) *", "CONVERT(varchar(40), t0, 114) *")),
)  # fmt: skip

_NUMERIC: Final = "Precision, scale, and length"

VALUES: Final = (
    # Of Babelfish's: what SQL Server does instead stands in Microsoft's reference, on the page that is named.
    Exceptions(
        "decimals between the steps of a calculation are not held to their types, nor to 38 digits "
        f"({_NUMERIC}: each operation has a type of its own)",
        ("d94 / d52 / b *", "30 * (0.15 / 360) *", "* / d380 *", "d380 / b #1", "long / d52 *", "m / d52 *"),
    ),
    Exceptions(
        "unary minus binds closer than * and / (Operator precedence)",
        ("-100 / -100 * 10 *", "-100.0 / -100.0 * 10.0 *"),
    ),
    Exceptions("minus a tinyint is a tinyint (- (Negative): it becomes smallint)", ("-tiny *",)),
    Exceptions(
        "constants with an exponent are decimals (Constants: they are float)",
        ("CAST(1234567e0 AS varchar(20)) *", "CONVERT(varchar(30), 1e0, 1) *", "1e308 ? 10 *"),
    ),
    Exceptions(
        "ABS, FLOOR and CEILING of a smallint are a smallint (ABS: they are int)",
        ("ABS(short) #2", "ABS(CAST(-32768 AS smallint)) *", "CEILING(small) + CEILING(small) *"),
    ),
    Exceptions("SIGN of NULL is 0 (SIGN; NULL in, NULL out)", ("SIGN(long) #5", "SIGN(m) #5")),
    Exceptions(
        "FLOOR, CEILING and ROUND of integers and money are decimal or float, without a limit (ROUND, FLOOR)",
        ("FLOOR(m) #2", "CEILING(m) #1", "ROUND(a, *", "ROUND(short, 1) *", "ROUND(m, *", "ROUND(five, 3) *"),
    ),
    Exceptions(
        "ROUND to more places than a number has before its point fails (ROUND: it returns 0)",
        ("ROUND(d94, -1) *", "ROUND(f, -1) *", "ROUND(748, -3) *", "ROUND(tiny, -3) *"),
    ),
    Exceptions("ROUND of float near its limit is infinite (float and real)", ("ROUND(f, *) #1",
    "ROUND(f, *) #2")),
    Exceptions(
        "money is cut to an integer (CAST and CONVERT: money to int is rounded)",
        ("CAST(m AS bigint) #4", "CAST(m AS *int) #4", "CAST(CAST(10.5000 AS money) AS int) *"),
    ),
    Exceptions(
        "money to bit, and bit to float or real, are refused (Data type conversion: both are implicit)",
        ("CAST(m AS bit) *", "CAST(flag AS float) *", "CAST(flag AS real) *"),
    ),
    Exceptions(
        "money as text has four decimals, or blanks around it (CAST and CONVERT, money styles)",
        ("CAST(m AS varchar(30)) *", "CAST(cash AS varchar(20)) *", "CONVERT(varchar(40), m, *",
         "CONVERT(varchar(20), CAST(* AS money)*"),
    ),
    Exceptions(
        "float as text has all digits, or blanks around it (CAST and CONVERT, float styles)",
        ("CAST(f AS varchar(30)) *", "CAST(r AS varchar(30)) *", "CONVERT(varchar(40), f, ?) *"),
    ),
    Exceptions(
        "TRY_CAST gives NULL where CAST succeeds (TRY_CAST)",
        ("TRY_CAST(* AS int) *", "TRY_CAST(* AS float) *", "TRY_CAST(* AS date) *",
         "TRY_CAST(* AS datetime2(0)) *", "TRY_CAST(* AS tinyint) *"),
    ),
    Exceptions("'' is no date (CAST and CONVERT: it is 1900-01-01)", ("CAST('' AS date) *",)),
    Exceptions(
        "styles of binary are not heeded, bytes of 0 and UTF-16 not kept (CAST and CONVERT)",
        ("CONVERT(varchar(*), raw, *", "CAST(raw AS varchar(10)) *", "CONVERT(varchar(*), 0x4E616d65, ?) *",
         "CONVERT(varbinary(8), '0x4E616D65', 1) *", "CONVERT(binary(6), *", "CAST(N'A' AS varbinary(4)) *"),
    ),
    Exceptions(
        "datetime is written in style 121, and zeros at its end are cut (CAST and CONVERT, style 0)",
        ("CAST(dt AS varchar(50)) *", "CAST(stamp AS varchar(30)) *", "CAST(dt3 AS varchar(50)) *"),
    ),
    Exceptions(
        "styles 126 and 127 write milliseconds of 0, and no T and Z for datetimeoffset (CAST and CONVERT)",
        ("CONVERT(varchar(40), dt, 126) *", "CONVERT(varchar(40), dt, 127) *",
         "CONVERT(varchar(40), zone, 12?) *", "CONVERT(varchar(40), zoned, 127) *",
         "CONVERT(varchar(30), CAST('2007-05-10' AS datetime), 126) *"),
    ),
    Exceptions(
        "styles 103, 104, 105 and 126 are not read (CAST and CONVERT)",
        ("CONVERT(date, CONVERT(varchar(10), day, 10?), 10?) *",
         "CONVERT(datetime, '2024-12-31T10:11:12.130', 126) *"),
    ),
    Exceptions(
        "times are rounded up to 24:00, which is none (time: 00:00:00 to 23:59:59.9999999)",
        ("CAST(dt AS time(0)) *", "CAST(dt3 AS time(0)) *", "CAST(zone AS time(?)) *",
         "CAST('23:59:59.9999' AS time(3)) *"),
    ),
    Exceptions(
        "six digits of a second (datetime2, time, datetimeoffset: seven)",
        ("CAST('2007-05-08 12:35:29.1234567* AS *", "CAST(moment AS varchar(30)) *",
         "CONVERT(varchar(30), moment, 121) *", "DATEADD(nanosecond, *50, moment) *",
         "DATEADD(ns, -150, moment) *",
         "DATEDIFF(*, '2005-12-31 23:59:59.9999999', *", "DATEPART(microsecond, '*",
         "DATEPART(nanosecond, '*"),
    ),
    Exceptions("texts count whole characters, as under a collation of …_SC (LEN)",
               ("CAST(astral AS nvarchar(3)) *", "SUBSTRING(astral, 4, 1) *", "LEN(astral) *",
                "CHARINDEX('b', astral) *", "astral LIKE N'a__b' *")),
    Exceptions("UPPER turns ß into SS (UPPER: character by character)", ("UPPER(n) #0",
    "UPPER(N'straße łódź') *")),
    Exceptions("TRIM with a side is a mistake (TRIM, since SQL Server 2022)", ("TRIM(LEADING *",
    "TRIM(TRAILING *", "TRIM(BOTH *")),
    Exceptions("CONCAT_WS without a separator is NULL (CONCAT_WS ignores NULLs)",
    ("CONCAT_WS(NULL, 'a', 'b') *",)),
    Exceptions("ISNULL does not cut to the first argument's type (ISNULL)", ("ISNULL(no_text, *",)),
    Exceptions("NULLIF has the common type of both (NULLIF: that of the first)", ("NULLIF(day, dt) *",)),
    Exceptions(
        "dates before 1753 cannot be moved or compared with datetime (DATEADD, DATEDIFF)",
        ("DATEADD(*, 1, dt?) #2", "DATEADD(*, 13, day) #2", "DATEADD(millisecond, b, dt) #2",
         "DATEDIFF*(*, day, dt) #2", "DATEDIFF(*, dt3, DATEADD(day, 1, dt3)) #2"),
    ),
    Exceptions("years beyond 9999 wrap around (DATEADD: an error)",
               ("DATEADD(year, b, dt*) #1", "DATEADD(year, b, day) #1")),
    Exceptions("a time that passes midnight by many days overflows (time)", ("DATEADD(hour, b, t0) #1",)),
    Exceptions("DATEADD gives datetime2(7) for any datetime2 (DATEADD: the type of its argument)",
               ("DATEADD(millisecond, 1, dt0) *",)),
    Exceptions("weeks begin on other days than Sunday (DATEDIFF)", ("DATEDIFF(week, *",)),
    Exceptions("quarters of a datetimeoffset are not counted in UTC, as months are (DATEDIFF)",
               ("DATEDIFF(quarter, zone, dt3) #0",)),
    Exceptions("DATEDIFF with a time and a date, DAY of a text: refused (DATEDIFF, DAY)",
               ("DATEDIFF(quarter, at, '1900-12-31') *", "DAY('2015-04-30 01:01:01.1234567') *")),
    Exceptions("an int compared with a bit becomes a bit (Data type precedence: the bit becomes int)",
               ("flag = b *", "flag <> b *", "flag < b *", "flag >= b *")),
    Exceptions("LIKE with ESCAPE finds nothing without regard to case (LIKE)", ("v LIKE '*' ESCAPE '!' #4",)),
    Exceptions("blanks at the end do not count in LIKE of Unicode (LIKE)", ("title LIKE N'Smith' *",)),
    Exceptions("uniqueidentifiers are ordered from their first byte (Comparing GUID values)",
               ("guid > 'FFFFFFFF-FFFF-FFFF-FFFF-000000000000' *",)),
    Exceptions("a text compared with a decimal is not rounded to its scale (Data type precedence)",
               ("'1.256' = 1.26 *",)),
)  # fmt: skip

UNDECLARED: Final = Exceptions(
    f"scales are not cut for decimals of 38 digits, and most then cannot be declared ({_NUMERIC}); "
    "nor can conversions that are refused",
    ("* ? d380", "d380 ? *", "CAST(m AS bit)", "CAST(flag AS float)", "CAST(flag AS real)"),
)
TYPES: Final = (
    Exceptions(
        f"an integer or money with a decimal does not count with its own digits ({_NUMERIC})",
        ("b ? d*", "short ? d*", "long ? d52", "d* ? b", "d* ? short", "flag ? d52", "m ? d52",
         "price ? five"),
    ),
    UNDECLARED,
    Exceptions("functions of numbers give types of their own (ABS, CEILING, FLOOR, ROUND, SIGN)",
               ("ABS(*", "SIGN(*", "FLOOR(*", "CEILING(*", "ROUND(*")),
    Exceptions("CASE, COALESCE, ISNULL take the digits, or the type, of one branch (each one's page)",
               ("CASE WHEN *", "IIF(*", "COALESCE(*", "ISNULL(*")),
    Exceptions("TRY_CAST forgets digits (TRY_CAST)", ("TRY_CAST(*",)),
    Exceptions("CONCAT and CONCAT_WS are text (CONCAT)", ("CONCAT*",)),
    Exceptions("DATEADD forgets digits (DATEADD)", ("DATEADD(*",)),
    Exceptions("NULLIF has the common type of both (NULLIF)", ("NULLIF(day, dt)",)),
    Exceptions("tinyints make a smallint (Data type precedence), or stay tinyint below 0 (- (Negative))",
               ("byte % byte", "-tiny")),
    Exceptions("money % int is int (Data type precedence)", ("cash % 30",)),
)  # fmt: skip
