"""Expressions over the columns of ``table.py``, compared on each of its rows."""

from __future__ import annotations

from typing import Final

_NUMBERS: Final = ("a", "long", "byte", "short", "d52", "d94", "d11", "d180", "d3818", "d380", "m", "f", "r")
_EXACT: Final = ("b", "short", "d52", "d94", "d3818", "d380")

_ARITHMETIC: Final = (
    *(f"{left} {sign} {right}" for left in _EXACT for right in _EXACT for sign in "+-*/%"),
    *(f"long {sign} {right}" for right in ("b", "byte", "d52") for sign in "+-*/%"),
    *(f"byte {sign} byte" for sign in "+-*/%"),
    *(f"byte {sign} short" for sign in "+-*/%"),
    *(f"m {sign} {right}" for right in ("m", "b", "d52", "f") for sign in "+-*/"),
    *(f"f {sign} {right}" for right in ("f", "b", "d94", "r") for sign in "+-*/"),
    *(f"r {sign} r" for sign in "+-*/"),
    *(f"b {sign} num" for sign in "+-*/"),
    "flag + b", "b * flag", "flag * d52", "-a", "-long", "-short", "-d52", "-d3818", "-m", "-f", "a + b * b",
    "(a + b) * b", "a - b - 1", "a / b / 2", "a % b + 1", "d52 * d52 * d52", "d94 / d52 / b",
    "(d52 + d94) * d11",
    "num + b", "dec + d94", "d52 * num",
)  # fmt: skip

_FUNCTIONS_OF_NUMBERS: Final = (
    *(f"{name}({column})" for name in ("ABS", "SIGN", "FLOOR", "CEILING") for column in _NUMBERS),
    *(f"ROUND({column}, {digits})" for column in ("a", "short", "d52", "d94", "m", "f") for digits in (0, 1,
      -1)),
    *(f"ROUND({column}, {digits}, 1)" for column in ("d52", "d94", "a", "m") for digits in (0, 1, -2)),
    "ROUND(d94, b)", "ROUND(d52, 2)", "ROUND(d52, 3)", "ROUND(a, 2)", "ROUND(d52, -3)", "ROUND(f, 2)",
)  # fmt: skip

_CONVERSIONS: Final = (
    *(
        f"CAST({column} AS {target})"
        for column in ("a", "long", "d52", "d3818", "m", "f", "flag")
        for target in (
            "bigint", "int", "smallint", "tinyint", "bit", "decimal(38,4)", "decimal(9,2)", "decimal(3,3)",
            "float", "real",
        )
    ),
    *(f"CAST({column} AS money)" for column in ("a", "d52", "d94", "d3818", "f", "num")),
    *(f"CAST({column} AS {target})" for column in ("num", "dec", "v", "n")
      for target in ("int", "bigint", "decimal(9,2)", "float", "bit", "smallint")),
    *(f"TRY_CAST({column} AS {target})" for column in ("num", "dec", "v", "n", "c")
      for target in ("int", "decimal(9,2)", "float", "date", "datetime2(0)", "uniqueidentifier")),
    *(f"TRY_CAST({column} AS {target})" for column in ("a", "d94", "d380", "f") for target in ("tinyint",
      "decimal(4,1)")),
    *(f"CAST({column} AS varchar(50))"
      for column in ("a", "long", "byte", "short", "flag", "d52", "d94", "d180", "d3818", "d380", "v", "n",
                     "c", "day", "t0", "dt", "dt0", "dt3", "zone", "uid")),
    *(f"CAST({column} AS nvarchar(5))" for column in ("v", "n", "c", "nc")),
    *(f"CAST({column} AS {target}(5))" for column in ("v", "w", "c") for target in ("char", "nchar",
      "varchar")),
    "CAST(v AS varchar)", "CAST(f AS varchar(30))", "CAST(r AS varchar(30))", "CAST(m AS varchar(30))",
    "CONVERT(varchar(40), f, 3)", "CONVERT(varchar(40), f, 2)", "CONVERT(varchar(40), m, 1)",
    "CONVERT(varchar(40), m, 2)", "CONVERT(varchar(20), raw, 1)", "CONVERT(varchar(20), raw, 2)",
    "CAST(raw AS varchar(10))", "CAST(v AS varbinary(20))", "CAST(c AS varbinary(20))",
    "CAST(CAST(uid AS varchar(36)) AS uniqueidentifier)",
    *(f"CAST({column} AS {target})" for column in ("day", "dt", "dt0", "dt3", "zone")
      for target in ("date", "datetime", "smalldatetime", "datetime2(0)", "datetime2(3)",
      "datetimeoffset(3)")),
    *(f"CAST({column} AS {target})" for column in ("t0", "dt", "dt0", "dt3", "zone")
      for target in ("time(0)", "time(3)")),
    "CAST(t0 AS datetime)", "CAST(t0 AS datetime2(0))",
    *(f"CONVERT(varchar(40), {column}, {style})" for column in ("dt",)
      for style in (0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 20, 21, 23, 24, 100, 101, 102, 103, 104,
                    105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 120, 121, 126, 127)),
    *(f"CONVERT(varchar(40), day, {style})" for style in (1, 3, 4, 23, 101, 103, 104, 106, 107, 112, 120,
      126)),
    *(f"CONVERT(varchar(40), t0, {style})" for style in (8, 14, 108, 114, 120)),
    *(f"CONVERT(date, CONVERT(varchar(10), day, {style}), {style})" for style in (101, 102, 103, 104, 105,
      110, 111, 112, 120)),
    "CONVERT(varchar(40), zone, 121)", "CONVERT(varchar(40), zone, 126)", "CONVERT(varchar(40), zone, 127)",
)  # fmt: skip

_TEXT: Final = (
    *(f"{name}({column})" for name in ("LEN", "UPPER", "LOWER", "LTRIM", "RTRIM", "TRIM")
      for column in ("v", "w", "n", "c", "nc")),
    *(f"{name}({column}, {count})" for name in ("LEFT", "RIGHT") for column in ("v", "n", "c")
      for count in (0, 1, 3, 20, "byte", "b")),
    *(f"SUBSTRING({column}, {start}, {count})" for column in ("v", "n", "c")
      for start, count in ((1, 3), (0, 3), (-1, 3), (3, 100), (20, 2), (2, 0), ("b", 2), (2, "b"))),
    *(f"CHARINDEX({searched}, {column})" for searched in ("w", "'o'", "'Z'", "''", "' '",
      "'HELLO'") for column in ("v", "c")),
    "CHARINDEX(N'ß', n)", "CHARINDEX(N'Ü', n)", "CHARINDEX(w, v, 6)", "CHARINDEX('o', v, b)",
    "CHARINDEX('o', v, -3)",
    "CHARINDEX('o', v, 100)", "REPLACE(v, w, '-')", "REPLACE(v, 'O', '')", "REPLACE(v, ' ', '')",
    "REPLACE(v, 'l', 'LL')", "REPLACE(n, N'ü', N'ue')", "REPLACE(v, w, w)", "REPLACE(c, ' ', '.')",
    "TRIM('Hd ' FROM v)", "TRIM(w FROM v)",
    "v + w", "v + '|' + c + '|'", "c + '|'", "n + v", "v + NULL", "nc + '|'", "v + CAST(a AS varchar(12))",
    "CONCAT(v, w)", "CONCAT(v, a, d52, flag)", "CONCAT(n, c, '|')", "CONCAT(day, '/', t0)",
    "CONCAT(long, NULL)",
    "CONCAT_WS('-', v, w, n)", "CONCAT_WS(', ', a, NULL, d52)",
    "LEN(v + '|')", "LEN(a)", "LEN(d52)", "LEFT(a, 2)", "RIGHT(d94, 3)",
    "SUBSTRING(CAST(day AS varchar(10)), 1, 4)",
)  # fmt: skip

_CHOICE: Final = (
    "CASE WHEN a > b THEN a ELSE b END", "CASE WHEN a > b THEN d52 ELSE d94 END",
    "CASE WHEN flag = 1 THEN d3818 ELSE d180 END", "CASE WHEN flag = 1 THEN a ELSE d52 END",
    "CASE WHEN flag = 0 THEN f ELSE d52 END", "CASE WHEN flag = 1 THEN byte ELSE short END",
    "CASE WHEN flag = 1 THEN v ELSE n END", "CASE WHEN flag = 1 THEN c ELSE v END",
    "CASE WHEN flag = 1 THEN day ELSE dt END", "CASE WHEN flag = 1 THEN dt ELSE dt3 END",
    "CASE WHEN flag = 1 THEN dt0 ELSE dt3 END", "CASE WHEN flag = 1 THEN m ELSE d94 END",
    "CASE WHEN flag = 1 THEN m ELSE a END", "CASE WHEN flag = 1 THEN r ELSE f END",
    "CASE WHEN flag = 1 THEN day ELSE zone END",
    "CASE b WHEN 5 THEN 'five' WHEN 0 THEN 'zero' WHEN -1 THEN 'minus' END",
    "CASE v WHEN 'hello world' THEN 1 ELSE 0 END",
    "CASE WHEN a / NULLIF(b, 0) > 3 THEN 1 ELSE 0 END", "CASE WHEN b = 0 THEN 0 ELSE a / b END",
    "IIF(a > b, d52, d94)", "IIF(no_int IS NULL, a, long)", "IIF(v = w, 1, 0)",
    "COALESCE(no_int, b)", "COALESCE(no_decimal, d52)", "COALESCE(d52, d94)", "COALESCE(byte, a)",
    "COALESCE(no_text, v)", "COALESCE(no_text, n)", "COALESCE(no_date, day)", "COALESCE(no_date, dt3)",
    "COALESCE(flag, b)", "COALESCE(no_int, num)", "COALESCE(no_int, NULL, b, a)",
    "ISNULL(no_int, b)", "ISNULL(no_int, d94)", "ISNULL(no_decimal, d94)", "ISNULL(byte, a)",
    "ISNULL(no_text, v)",
    "ISNULL(no_bit, b)", "ISNULL(no_date, dt)", "ISNULL(d52, d94)", "ISNULL(c, v)", "ISNULL(v, 'x')",
    "NULLIF(a, b)", "NULLIF(b, 0)", "NULLIF(d52, 0)", "NULLIF(v, '')", "NULLIF(v, 'HELLO WORLD')",
    "NULLIF(c, 'AB')", "NULLIF(d52, d94)", "NULLIF(flag, 0)", "NULLIF(day, dt)",
)  # fmt: skip

_PARTS: Final = (
    "year",
    "quarter",
    "month",
    "dayofyear",
    "day",
    "week",
    "hour",
    "minute",
    "second",
    "millisecond",
)
_DATES: Final = (
    *(f"DATEPART({part}, dt)" for part in _PARTS), *(f"DATEPART({part}, dt3)" for part in _PARTS),
    *(f"DATEPART({part}, zone)" for part in ("hour", "minute", "day", "tz", "dayofyear")),
    *(f"DATEPART({part}, t0)" for part in ("hour", "minute", "second")),
    *(f"DATEPART({part}, day)" for part in ("weekday", "iso_week", "week", "quarter", "dayofyear")),
    *(f"{name}({column})" for name in ("YEAR", "MONTH", "DAY") for column in ("day", "dt", "dt3", "zone")),
    *(f"DATEADD({part}, {number}, {column})" for part in _PARTS for number in (1, "b") for column in ("dt",
      "dt3")),
    *(f"DATEADD({part}, {number}, day)" for part in _PARTS[:6] for number in (-1, 13, "b")),
    *(f"DATEADD({part}, {number}, t0)" for part in _PARTS[6:9] for number in (1, -1, "b")),
    *(f"DATEADD({part}, 1, zone)" for part in _PARTS[:9]), *(f"DATEADD({part}, 1, dt0)" for part in _PARTS),
    "DATEADD(month, a, day)", "DATEADD(day, long, day)", "DATEADD(day, d52, day)",
    "DATEADD(millisecond, 1, dt)",
    "DATEADD(millisecond, 2, dt)", "DATEADD(day, byte, '20240101')", "DATEADD(year, NULL, day)",
    *(f"DATEDIFF({part}, {start}, {end})" for part in _PARTS[:6]
      for start, end in (("day", "dt"), ("dt3", "day"), ("dt", "dt3"), ("zone", "dt3"), ("day",
      "'2024-03-01'"))),
    *(f"DATEDIFF({part}, {start}, {end})" for part in _PARTS[6:]
      for start, end in (("dt", "dt3"), ("t0", "'12:34:56.789'"), ("dt3", "DATEADD(day, 1, dt3)"))),
    "DATEDIFF_BIG(second, day, dt3)", "DATEDIFF_BIG(millisecond, dt, dt3)",
    "DATEDIFF_BIG(microsecond, day, dt)",
    "EOMONTH(day)", "EOMONTH(dt)", "EOMONTH(dt3, 1)", "EOMONTH(day, -1)", "EOMONTH(day, b)",
    "EOMONTH('2024-02-10')",
    "DATEFROMPARTS(2024, byte, 1)", "DATEFROMPARTS(YEAR(day), MONTH(day), 1)", "DATEFROMPARTS(b, b, b)",
)  # fmt: skip

VALUES: Final[tuple[str, ...]] = tuple(
    dict.fromkeys((*_ARITHMETIC, *_FUNCTIONS_OF_NUMBERS, *_CONVERSIONS, *_TEXT, *_CHOICE, *_DATES))
)

_SIGNS: Final = ("=", "<>", "<", ">=")
CONDITIONS: Final[tuple[str, ...]] = (
    *(f"{left} {sign} {right}" for sign in _SIGNS
      for left, right in (
          ("a", "b"), ("a", "long"), ("byte", "short"), ("a", "d52"), ("d52", "d94"), ("d3818", "d380"),
          ("f", "b"),
          ("f", "d94"), ("m", "d52"), ("flag", "b"), ("num", "b"), ("d94", "dec"), ("day", "dt"), ("dt",
          "dt3"),
          ("dt0", "dt3"), ("zone", "dt3"), ("day", "'2024-01-31'"), ("t0", "'10:20:30'"), ("r", "f"), ("v",
          "''"),
          ("c", "'AB'"), ("c", "v"),
      )),
    "v = 'HELLO WORLD'", "v = 'hello world   '", "v = '  hello world'", "v <> w", "n = N'GRÜSSE ÜNÏ'",
    "n = N'grüße ünï'", "c = 'ab'", "nc = N'É'", "w = 'O '", "v > 'h'", "v < 'HELLO WORLDS'",
    "c IN ('AB', 'x')",
    "v IN ('Hello World', 'x')", "v NOT IN ('x', NULL)", "a IN (17, 0, NULL)", "b NOT IN (5, 3)",
    "d52 IN (12.35, 0)",
    "day IN ('2024-01-31', '1900-01-01')", "b IN ('5', '-1')", "flag IN (1)",
    "a BETWEEN b AND 100", "b NOT BETWEEN 1 AND 5", "d52 BETWEEN -1 AND d94", "v BETWEEN 'a' AND 'i'",
    "day BETWEEN '2023-01-01' AND dt3", "a BETWEEN NULL AND 5", "dt BETWEEN day AND dt3",
    *(f"{column} LIKE {pattern}" for column in ("v", "c", "w")
      for pattern in ("'%'", "''", "'%o%'", "'H%D'", "'_____ %'", "'[h-z]%'", "'[^h]%'", "'ab'", "'%[%]%'",
                      "'%[_]c%'", "'% '", "w + '%'", "'%' + w + '%'", "'Hello World'", "'[A-Z]%'")),
    "v LIKE '%!%%' ESCAPE '!'", "v LIKE '%!_c%' ESCAPE '!'", "v LIKE '%![d]%' ESCAPE '!'", "v LIKE '%[[]d%'",
    "v LIKE '%]^-%'", "v LIKE '%[%^-]%'", "v NOT LIKE '%o%'", "v LIKE NULL", "n LIKE N'%ß%'",
    "n LIKE N'GR_SSE%'",
    "n LIKE N'%Ü%'", "a LIKE '1%'", "num LIKE '[0-9]%'", "num LIKE '%[^0-9]%'", "d52 LIKE '%.35'", "v LIKE v",
    "a > b AND flag = 1", "a > b OR flag = 1", "NOT (a > b)", "NOT a > b OR v IS NULL",
    "no_int = 1 OR flag = 1",
    "no_int = 1 AND flag = 0", "NOT (no_int = 1 AND flag = 0)",
    "(a > 0 OR b > 0) AND NOT (d52 < 0 AND f < 0)",
    "v IS NULL", "v IS NOT NULL", "a + b IS NULL", "NULLIF(b, 0) IS NULL", "b <> 0 AND b = b",
    "a = 1 OR a = 17 OR a IN (0, -5)", "LEN(v) > 3 AND LEFT(v, 1) = 'h'", "YEAR(day) = 2024", "d52 = '12.35'",
    "uid = '11111111-0000-0000-0000-000000000001'", "uid < 'FFFFFFFF-0000-0000-0000-00000000000F'",
    "raw = 0x4E616D65",
    "raw < 0x4F", "ISNULL(a, 0) = COALESCE(a, 0)",
)  # fmt: skip
