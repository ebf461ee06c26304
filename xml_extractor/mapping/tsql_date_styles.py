"""Dates and times as text: CONVERT's styles, read and written.

Reading: ISO 8601 and SQL's own form (``2024-05-31``, ``20240531``, ``2024-05-31T10:00:00.5``), a time alone,
and month names (``May 31 2024 10:00AM``, ``31 May 2024``) under any style; the other numeric orders only
under the style that names them.  ``''`` is 1900-01-01, as in T-SQL.  A two-digit year means 1950–2049.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date
from typing import Final

from xml_extractor.contract.types import Family, SqlType
from xml_extractor.mapping import tsql_temporal as temporal
from xml_extractor.mapping.evaluation_error import EvaluationError

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH_NUMBERS: Final = {name.lower(): number for number, name in enumerate(MONTHS, 1)}
_FULL_NAMES: Final = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september", "october",
    "november", "december",
)  # fmt: skip
_MONTH_NUMBERS.update({name: number for number, name in enumerate(_FULL_NAMES, 1)})

_TIME: Final = (
    r"(?P<hour>\d{1,2})(?::(?P<minute>\d{2})(?::(?P<second>\d{2})"
    r"(?:(?P<point>[.:])(?P<fraction>\d{1,7}))?)?)?(?: ?(?P<half>[AaPp][Mm]))?"
)
_ZONE: Final = r"(?: ?(?P<zone>Z|[+-]\d{2}:\d{2}))?"
_AFTER_DATE: Final = rf"(?:(?:T| +){_TIME}{_ZONE})?"
_ISO: Final = re.compile(
    rf"(?P<year>\d{{4}})(?P<s>[-/.])(?P<month>\d{{1,2}})(?P=s)(?P<day>\d{{1,2}}){_AFTER_DATE}"
)
_COMPACT: Final = re.compile(rf"(?P<year>\d{{4}})(?P<month>\d{{2}})(?P<day>\d{{2}}){_AFTER_DATE}")
_COMPACT_SHORT: Final = re.compile(rf"(?P<year>\d{{2}})(?P<month>\d{{2}})(?P<day>\d{{2}}){_AFTER_DATE}")
_TIME_ALONE: Final = re.compile(_TIME + _ZONE)
_MONTH_FIRST: Final = re.compile(
    rf"(?P<name>[A-Za-z]+) +(?P<day>\d{{1,2}}),? +(?P<year>\d{{4}}|\d{{2}}){_AFTER_DATE}"
)
_DAY_FIRST: Final = re.compile(
    rf"(?P<day>\d{{1,2}}) +(?P<name>[A-Za-z]+),? +(?P<year>\d{{4}}|\d{{2}}){_AFTER_DATE}"
)


def _ordered(first: str, second: str, third: str) -> re.Pattern[str]:
    digits = {"year": r"(?P<year>\d{4}|\d{2})", "month": r"(?P<month>\d{1,2})", "day": r"(?P<day>\d{1,2})"}
    return re.compile(f"{digits[first]}(?P<s>[-/.]){digits[second]}(?P=s){digits[third]}{_AFTER_DATE}")


_MONTH_DAY_YEAR: Final = _ordered("month", "day", "year")
_DAY_MONTH_YEAR: Final = _ordered("day", "month", "year")
_YEAR_MONTH_DAY: Final = _ordered("year", "month", "day")
_STYLE_PATTERNS: Final = {
    1: _MONTH_DAY_YEAR, 10: _MONTH_DAY_YEAR, 22: _MONTH_DAY_YEAR,
    3: _DAY_MONTH_YEAR, 4: _DAY_MONTH_YEAR, 5: _DAY_MONTH_YEAR,
    2: _YEAR_MONTH_DAY, 11: _YEAR_MONTH_DAY, 12: _COMPACT_SHORT,
}  # fmt: skip


def text_reader(source: SqlType, target: SqlType, style: int | None) -> Callable[[str], str]:
    """The function from text to a canonical value of a temporal type.

    It raises :class:`EvaluationError` for a text of no form known, for a date that does not exist, and for
    a zone that the target type cannot hold.
    """
    patterns = [_ISO, _COMPACT, _TIME_ALONE, _MONTH_FIRST, _DAY_FIRST]
    if style is not None and (extra := _STYLE_PATTERNS.get(style % 100)) is not None:
        patterns.insert(0, extra)
    zoned = target.family is Family.DATETIMEOFFSET
    write_offset = temporal.offset_writer(target)
    write = temporal.writer(target) if not zoned else None
    # datetime and smalldatetime know milliseconds only; a text with more digits is an error for them.
    finest = 3 if target.name in ("datetime", "smalldatetime") else 7

    def refused() -> EvaluationError:
        return EvaluationError("not_convertible", f"a value of type {source} cannot be converted to {target}")

    def read(value: str) -> str:
        text = value.strip(" ")
        if not text:
            ticks, minutes = temporal.EPOCH_1900, None
        else:
            match = next((m for p in patterns if (m := p.fullmatch(text)) is not None), None)
            if match is None or not text.isascii():
                raise refused()
            try:
                ticks, minutes = _ticks(match, finest)
            except ValueError:
                raise refused() from None
        if write is None:
            return write_offset(ticks, minutes or 0)
        if minutes is not None:
            raise EvaluationError(
                "not_convertible",
                f"a text with a time zone cannot become {target}; CAST it AS datetimeoffset first",
            )
        return write(ticks)

    return read


def _ticks(match: re.Match[str], finest: int) -> tuple[int, int | None]:
    """Ticks and offset in minutes (None without a zone); ValueError if there is no such moment."""
    found = match.groupdict()
    ticks = temporal.EPOCH_1900
    if found.get("year"):
        year = int(found["year"])
        if len(found["year"]) == 2:
            year += 2000 if year <= 49 else 1900  # SQL Server's default two digit year cutoff, 2049
        month = int(found["month"]) if found.get("month") else _MONTH_NUMBERS.get(found["name"].lower(), 0)
        ticks = (date(year, month, int(found["day"])).toordinal() - 1) * temporal.TICKS_PER_DAY
    elif not (found["minute"] or found["half"]):
        raise ValueError("a number alone is no time")
    if found["hour"]:
        ticks += _time_of_day(found, finest)
    zone = found["zone"]
    if zone is None:
        return ticks, None
    if zone == "Z":
        return ticks, 0
    minutes = int(zone[1:3]) * 60 + int(zone[4:6])
    if minutes > 14 * 60 or int(zone[4:6]) > 59:
        raise ValueError("no such offset")
    return ticks, -minutes if zone[0] == "-" else minutes


def _time_of_day(found: dict[str, str], finest: int) -> int:
    hour, minute, second = int(found["hour"]), int(found["minute"] or 0), int(found["second"] or 0)
    if found["half"]:
        if not 1 <= hour <= 12:
            raise ValueError("no such hour")
        hour = hour % 12 + (12 if found["half"].lower() == "pm" else 0)
    elif not found["minute"]:
        raise ValueError("an hour alone is no time")
    if hour > 23 or minute > 59 or second > 59:
        raise ValueError("no such time")
    ticks = (
        hour * temporal.TICKS_PER_HOUR
        + minute * temporal.TICKS_PER_MINUTE
        + second * temporal.TICKS_PER_SECOND
    )
    fraction = found["fraction"]
    if fraction:
        if len(fraction) > finest:
            raise ValueError("too many digits")
        if found["point"] == ":":  # hh:mi:ss:mmm counts thousandths, however few its digits
            if len(fraction) > 3:
                raise ValueError("too many digits")
            return ticks + int(fraction) * 10_000
        ticks += int(fraction.ljust(7, "0"))
    return ticks


# ------------------------------------------------------------------------------------------ writing

# {y} year, {yy} its last two digits, {m} {d} {H} {M} {S} two digits each; {mon} month name; {e} day and
# {h} hour of twelve, blank-padded; {f} fraction with its point as the type has it; {ms} milliseconds;
# {half} AM or PM.
_FORMATS: Final = {
    0: "{mon} {e} {y} {h}:{M}{half}", 1: "{m}/{d}/{yy}", 2: "{yy}.{m}.{d}", 3: "{d}/{m}/{yy}",
    4: "{d}.{m}.{yy}", 5: "{d}-{m}-{yy}", 6: "{d} {mon} {yy}", 7: "{mon} {d}, {yy}", 8: "{H}:{M}:{S}",
    9: "{mon} {e} {y} {h}:{M}:{S}:{ms}{half}", 10: "{m}-{d}-{yy}", 11: "{yy}/{m}/{d}", 12: "{yy}{m}{d}",
    13: "{d} {mon} {y} {H}:{M}:{S}:{ms}", 14: "{H}:{M}:{S}:{ms}", 20: "{y}-{m}-{d} {H}:{M}:{S}",
    21: "{y}-{m}-{d} {H}:{M}:{S}{f}", 22: "{m}/{d}/{yy} {h}:{M}:{S} {half}", 23: "{y}-{m}-{d}",
    24: "{H}:{M}:{S}", 25: "{y}-{m}-{d} {H}:{M}:{S}{f}",
    100: "{mon} {e} {y} {h}:{M}{half}", 101: "{m}/{d}/{y}", 102: "{y}.{m}.{d}", 103: "{d}/{m}/{y}",
    104: "{d}.{m}.{y}", 105: "{d}-{m}-{y}", 106: "{d} {mon} {y}", 107: "{mon} {d}, {y}", 108: "{H}:{M}:{S}",
    109: "{mon} {e} {y} {h}:{M}:{S}:{ms}{half}", 110: "{m}-{d}-{y}", 111: "{y}/{m}/{d}", 112: "{y}{m}{d}",
    113: "{d} {mon} {y} {H}:{M}:{S}:{ms}", 114: "{H}:{M}:{S}:{ms}", 120: "{y}-{m}-{d} {H}:{M}:{S}",
    121: "{y}-{m}-{d} {H}:{M}:{S}{f}", 126: "{y}-{m}-{d}T{H}:{M}:{S}{F}", 127: "{y}-{m}-{d}T{H}:{M}:{S}{F}",
}  # fmt: skip
_DATE_WORDS: Final = ("{mon}", "{e}", "{y}", "{yy}", "{m}", "{d}")
_TIME_WORDS: Final = ("{h}", "{half}", "{H}", "{M}", "{S}", "{f}", "{F}", "{ms}")


def text_writer(source: SqlType, style: int | None) -> Callable[[str], str]:
    """The function from a canonical temporal value to its text in a style; None = CAST's."""
    has_date, has_time = source.family is not Family.TIME, source.family is not Family.DATE
    zoned = source.family is Family.DATETIMEOFFSET
    if style is None:
        if source.name not in ("datetime", "smalldatetime"):
            if zoned:
                return lambda value: f"{value[:-6]} {value[-6:]}"
            return lambda value: value
        style = 0
    pattern = _FORMATS[style]
    if not has_time:
        pattern = _without(pattern, _TIME_WORDS)
    if not has_date:
        pattern = _without(pattern, _DATE_WORDS)
    base = "{}" if has_date else "1900-01-01 {}"
    suffix = zoned and style in (0, 9, 13, 20, 21, 25, 100, 109, 113, 120, 121, 126, 127)
    separator = "" if style in (126, 127) else " "

    def write(value: str) -> str:
        text, zone = (value[:-6], value[-6:]) if zoned else (value, "")
        if suffix and style == 127:
            text, zone = _to_utc(value), "Z"
        text = base.format(text)
        hour, fraction = int(text[11:13] or 0), text[20:]
        result = pattern.format(
            y=text[:4], yy=text[2:4], m=text[5:7], d=text[8:10], mon=MONTHS[int(text[5:7]) - 1],
            e=f"{int(text[8:10]):2}", H=text[11:13], M=text[14:16], S=text[17:19],
            h=f"{(hour + 11) % 12 + 1:2}", half="PM" if hour >= 12 else "AM",
            f=f".{fraction}" if fraction else "",
            # ISO 8601 leaves out a fraction of zero where the type is datetime.
            F=f".{fraction}" if fraction and not (source.name == "datetime" and not int(fraction)) else "",
            ms=fraction if source.scale and source.scale > 3 else fraction.ljust(3, "0"),
        )  # fmt: skip
        return result + separator + zone if suffix else result

    return write


def _to_utc(value: str) -> str:
    digits = len(value[20:-6])
    ticks = temporal.utc_ticks(value)
    days, rest = divmod(ticks, temporal.TICKS_PER_DAY)
    return f"{date.fromordinal(days + 1).isoformat()} {temporal.time_text(rest, digits)}"


def _without(pattern: str, words: tuple[str, ...]) -> str:
    """The part of a pattern that has none of the words, with no separators left at its ends."""
    for word in words:
        pattern = pattern.replace(word, "\0")
    kept = max(re.split(r"[ T:.,/-]*\0+[ :.,/-]*(?:\0+[ :.,/-]*)*", pattern), key=len)
    return kept.strip(" T:.,/-\0")
