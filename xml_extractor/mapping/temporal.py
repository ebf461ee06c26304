"""Texts to dates and times, in the canonical text forms of :mod:`xml_extractor.contract.types`.

Accepted without a format: ISO 8601 in its extended form, ``YYYY-MM-DD``, ``HH:MM[:SS[.f…]]``, both with
``T`` or one blank between them, and a zone ``Z`` or ``±HH:MM`` behind.  A date alone is midnight where a
time is wanted; a date column takes a time only if it is midnight.  Digits of a second beyond those that
the type holds must be zeros unless the column states a rounding.

``datetime`` holds three hundredths of a second; as SQL Server does, values are rounded to the nearest
one, shown as .000, .003 or .007, whatever the column states.  ``smalldatetime`` holds minutes; seconds
must be zero unless the column states a rounding.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Final, NamedTuple

from xml_extractor.contract.plan import Conversion, Rounding
from xml_extractor.contract.types import Family, SqlType, Value
from xml_extractor.mapping.conversion_error import ConversionError, not_convertible
from xml_extractor.mapping.numbers import XML_BLANKS, out_of_range

datetime.strptime("1", "%d")  # imports what it needs lazily, which is not safe in threads
_DATE: Final = r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
_TIME: Final = r"([0-9]{2}):([0-9]{2})(?::([0-9]{2})(?:\.([0-9]+))?)?"
_ZONE: Final = r"(Z|[+-][0-9]{2}:[0-9]{2})?"
_DATE_TIME: Final = re.compile(f"{_DATE}(?:[T ]{_TIME})?{_ZONE}")
_TIME_ONLY: Final = re.compile(f"{_TIME}{_ZONE}")
_OFFSET: Final = re.compile(r"([+-])([0-9]{2}):([0-9]{2})")

_SECOND: Final = 10**7
"""Times are counted in ticks of 100 ns, the finest that SQL Server's types hold."""
_MINUTE: Final = 60 * _SECOND
_DAY: Final = 86_400 * _SECOND
_MAX_OFFSET_MINUTES: Final = 14 * 60
_LAST_ORDINAL: Final = date.max.toordinal()

# SQL Server's documented ranges.
_DATETIME_FIRST: Final = date(1753, 1, 1).toordinal()
_SMALLDATETIME_FIRST: Final = date(1900, 1, 1).toordinal()
_SMALLDATETIME_LAST: Final = date(2079, 6, 6).toordinal()
_DATETIME_TICKS_PER_SECOND: Final = 300


class _Moment(NamedTuple):
    """A date and time as written, not yet fitted to a type."""

    day: int  # proleptic ordinal; 0 where the text holds no date
    ticks: int  # since midnight
    finer: str  # digits of the second beyond the seventh
    offset: int | None  # minutes east of UTC; None where the text holds no zone


def offset_minutes(text: str) -> int | None:
    """Read ``Z`` or ``±HH:MM`` within SQL Server's ±14:00; ``None`` where it is neither."""
    if text == "Z":
        return 0
    match = _OFFSET.fullmatch(text)
    if match is None or int(match[3]) > 59:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    if minutes > _MAX_OFFSET_MINUTES:
        return None
    return -minutes if match[1] == "-" else minutes


def temporal_converter(conversion: Conversion) -> Callable[[str], Value]:
    """Return the converter of a date or time type.

    Raises:
        ValueError: ``default_zone`` is no offset.
    """
    sql_type = conversion.type
    name = str(sql_type)
    read = _format_reader(conversion.formats, name) if conversion.formats else _iso_reader(sql_type)
    finish = _finisher(conversion)
    shortcut = _shortcut(sql_type)
    if shortcut is not None and conversion.formats:
        shortcut = _format_shortcut(conversion.formats[0], sql_type, shortcut)
    if shortcut is not None and not conversion.formats and sql_type.name == "datetime2":
        shortcut = _with_zone(shortcut, conversion.zone)

    def convert(text: str) -> Value:
        if shortcut is not None and (value := shortcut(text)) is not None:
            return value
        stripped = text.strip(XML_BLANKS)
        if not stripped:
            return None
        moment = read(stripped)
        if moment is None:
            raise not_convertible(name)
        return finish(moment)

    return convert


# ------------------------------------------------------------------------------------------ shortcut


def _shortcut(sql_type: SqlType) -> Callable[[str], str | None] | None:
    """Return the quick way for texts that are all but canonical already; it says ``None`` to all others.

    Most dates in most documents are such texts, and the careful way costs ten times as much.  The
    standard library checks the calendar; what it takes beyond ``YYYY-MM-DDTHH:MM:SS`` (weeks, zones,
    24:00, other separators, all of them depending on its version) is kept away from it.
    """
    if sql_type.name == "date":
        return _plain_date
    if sql_type.name != "datetime2":
        return None
    digits = sql_type.scale or 0
    tail = "." + "0" * digits if digits else ""

    def plain_date_time(text: str) -> str | None:
        if len(text) < 19 or text[10] not in "T " or text[13] != ":" or text[16] != ":" or text[11:13] > "23":
            return None
        if len(text) == 19:
            fraction = tail
        else:
            fraction = text[19:]
            given = fraction[1:]
            if len(given) > digits or fraction[0] != "." or not (given.isdigit() and given.isascii()):
                return None
            fraction += tail[len(fraction) :]
        if text[4] != "-" or text[7] != "-":
            return None
        try:
            datetime.fromisoformat(text[:19])
        except ValueError:
            return None
        return f"{text[:10]} {text[11:19]}{fraction}"

    return plain_date_time


def _plain_date(text: str) -> str | None:
    if len(text) != 10 or text[4] != "-" or text[7] != "-":
        return None
    try:
        date.fromisoformat(text)
    except ValueError:
        return None
    return text


def _with_zone(plain: Callable[[str], str | None], rule: str | None) -> Callable[[str], str | None]:
    """Let the quick way take a zone too, where the column says what to do with it."""
    if rule is None:
        return plain

    def plain_or_with_zone(text: str) -> str | None:
        if text[-3:-2] != ":" or text[-6:-5] not in ("+", "-"):
            return plain(text[:-1] if text[-1:] == "Z" else text)
        offset, local = offset_minutes(text[-6:]), plain(text[:-6])
        if offset is None or local is None or rule == "drop":
            return None if offset is None else local
        try:
            moment = datetime.fromisoformat(local[:19]) - timedelta(minutes=offset)
        except OverflowError:
            return None
        return moment.isoformat(sep=" ") + local[19:]

    return plain_or_with_zone


def full_width_parts(form: str, sql_type: SqlType) -> list[tuple[str, str]] | None:
    """Take apart a format whose texts can be read without a choice: directives and the words between them.

    ``None`` where it is not of year, month, day and perhaps a time, or where the type wants something else.
    """
    parts = [(directive, blanks + words) for directive, blanks, words in _FORMAT_PART.findall(form)]
    order = "".join(directive for directive, _ in parts)
    rebuilt = "".join((f"%{directive}" if directive else "") + words for directive, words in parts)
    wanted = ["Ymd"] if sql_type.family is Family.DATE else ["Ymd", "YmdHMS"]
    if sorted(order) not in map(sorted, wanted) or rebuilt != form or form != form.strip():
        return None
    return None if _OTHER_DIGIT.search(form) is not None else parts


def _format_shortcut(
    form: str, sql_type: SqlType, plain: Callable[[str], str | None]
) -> Callable[[str], str | None] | None:
    """Return the quick way for a format of year, month, day and perhaps a time, all in their full width.

    Texts with all their digits have one reading: ``plain``, the quick way of ISO texts, checks it.
    """
    parts = full_width_parts(form, sql_type)
    if parts is None:
        return None
    order = "".join(directive for directive, _ in parts)
    pattern = "".join(
        (("([0-9]{4})" if directive == "Y" else "([0-9]{2})") if directive else "") + re.escape(words)
        for directive, words in parts
    )
    matches = re.compile(pattern).fullmatch
    year, month, day = (order.index(directive) + 1 for directive in "Ymd")
    if sql_type.family is Family.DATE:

        def read_date(text: str) -> str | None:
            match = matches(text)
            return None if match is None else plain(f"{match[year]}-{match[month]}-{match[day]}")

        return read_date
    if len(order) == len("Ymd"):
        time = "00:00:00"

        def read_midnight(text: str) -> str | None:
            match = matches(text)
            return None if match is None else plain(f"{match[year]}-{match[month]}-{match[day]} {time}")

        return read_midnight
    hour, minute, second = (order.index(directive) + 1 for directive in "HMS")

    def read_moment(text: str) -> str | None:
        match = matches(text)
        if match is None:
            return None
        return plain(
            f"{match[year]}-{match[month]}-{match[day]} {match[hour]}:{match[minute]}:{match[second]}"
        )

    return read_moment


# ------------------------------------------------------------------------------------------ reading


def _iso_reader(sql_type: SqlType) -> Callable[[str], _Moment | None]:
    return _read_time if sql_type.family is Family.TIME else _read_date_time


def _read_date_time(text: str) -> _Moment | None:
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, zone = match.groups()
    try:
        ordinal = date(int(year), int(month), int(day)).toordinal()
    except ValueError:
        return None
    return _moment(ordinal, hour, minute, second, fraction, zone)


def _read_time(text: str) -> _Moment | None:
    match = _TIME_ONLY.fullmatch(text)
    return None if match is None else _moment(0, *match.groups())


def _moment(
    ordinal: int, hour: str | None, minute: str | None, second: str | None, fraction: str | None,
    zone: str | None,
) -> _Moment | None:  # fmt: skip
    ticks, finer = 0, ""
    if hour is not None and minute is not None:
        hours, minutes, seconds = int(hour), int(minute), int(second or 0)
        if hours > 23 or minutes > 59 or seconds > 59:
            return None
        ticks = ((hours * 60 + minutes) * 60 + seconds) * _SECOND
        if fraction is not None:
            ticks += int(fraction[:7].ljust(7, "0"))
            finer = fraction[7:]
    offset = None
    if zone is not None:
        offset = offset_minutes(zone)
        if offset is None:
            return None
    return _Moment(ordinal, ticks, finer, offset)


_ADJACENT: Final = re.compile("%[dfGHIjmMSuVyY](?=%[dfGHIjmMSuVyY])")
_WIDTHS: Final = {"Y": "{4}", "G": "{4}", "j": "{3}", "u": "{1}", "f": "{1,6}"}
_FORMAT_PART: Final = re.compile(r"%(.)|(\s+)|([^%\s]+)", re.DOTALL)
_OTHER_DIGIT: Final = re.compile(r"[^\D0-9]")


def _outline(form: str) -> re.Pattern[str] | None:
    """Return what texts must look like where numbers of a format follow each other without a separator.

    ``strptime`` finds some way to share out too few digits: it takes 2024111 for %Y%m%d.
    """
    if _ADJACENT.search(form) is None:
        return None
    pattern = ""
    for directive, blanks, words in _FORMAT_PART.findall(form):
        if words:
            pattern += re.escape(words)
        elif blanks:
            pattern += r"\s+"
        elif directive == "%":
            pattern += "%"
        elif directive in "aAbBpz":
            pattern += ".+?"
        else:
            pattern += "[0-9]" + _WIDTHS.get(directive, "{2}")
    return re.compile(pattern, re.IGNORECASE)


def _format_reader(formats: tuple[str, ...], name: str) -> Callable[[str], _Moment | None]:
    outlines = [(form, _outline(form)) for form in formats]

    def read(text: str) -> _Moment | None:
        if _OTHER_DIGIT.search(text) is not None:
            return None  # digits of other scripts, which strptime reads
        for form, outline in outlines:
            if outline is not None and outline.fullmatch(text) is None:
                continue
            try:
                parsed = datetime.strptime(text, form)
            except ValueError:
                continue
            since_midnight = timedelta(
                hours=parsed.hour, minutes=parsed.minute, seconds=parsed.second,
                microseconds=parsed.microsecond,
            )  # fmt: skip
            ticks = since_midnight // timedelta(microseconds=1) * 10
            zone = parsed.utcoffset()
            offset = None
            if zone is not None:
                offset, rest = divmod(zone, timedelta(minutes=1))
                if rest or abs(offset) > _MAX_OFFSET_MINUTES:
                    raise not_convertible(name)
            return _Moment(parsed.toordinal(), ticks, "", offset)
        return None

    return read


# ------------------------------------------------------------------------------------------ fitting


def _finisher(conversion: Conversion) -> Callable[[_Moment], Value]:
    """Apply the zone's rule, round to the type's digits, check its range and write the text."""
    sql_type = conversion.type
    family = sql_type.family
    has_zone = family is Family.DATETIMEOFFSET
    settle_zone = _zone_keeper(conversion) if has_zone else _zone_remover(conversion)
    rounded = _rounder(sql_type, conversion.rounding)
    write = _writer(sql_type)
    first, last = date_range(sql_type)

    def finish(moment: _Moment) -> Value:
        moment = settle_zone(moment)
        days, ticks = divmod(rounded(moment.ticks, moment.finer), _DAY)
        if family is Family.TIME:
            if days:
                raise out_of_range(sql_type)  # 23:59:59.9… rounded up has no value of its own
            return write(0, ticks, None)
        if family is Family.DATE:
            if ticks:
                raise ConversionError(
                    "not_convertible", "the value has a time of day and its column holds only a date"
                )
            return write(moment.day, 0, None)
        day = moment.day + days
        if not first <= day <= last:
            raise out_of_range(sql_type)
        if has_zone:
            # SQL Server keeps UTC inside: that too must be a date it has.
            assert moment.offset is not None
            utc_day = day + (ticks - moment.offset * _MINUTE) // _DAY
            if not 1 <= utc_day <= _LAST_ORDINAL:
                raise out_of_range(sql_type)
        return write(day, ticks, moment.offset)

    return finish


def date_range(sql_type: SqlType) -> tuple[int, int]:
    """Return the first and the last day that a type holds, as proleptic ordinals (1 is 0001-01-01)."""
    if sql_type.name == "datetime":
        return _DATETIME_FIRST, _LAST_ORDINAL
    if sql_type.name == "smalldatetime":
        return _SMALLDATETIME_FIRST, _SMALLDATETIME_LAST
    return 1, _LAST_ORDINAL


def _zone_keeper(conversion: Conversion) -> Callable[[_Moment], _Moment]:
    default = None
    if conversion.default_zone is not None:
        default = offset_minutes(conversion.default_zone)
        if default is None:
            raise ValueError(f"default_zone {conversion.default_zone!r} is not an offset such as +01:00")

    def settle(moment: _Moment) -> _Moment:
        if moment.offset is not None:
            return moment
        if default is None:
            raise ConversionError(
                "zone_missing",
                f"the value has no zone and {conversion.type} needs one; state `default_zone` for the column",
            )
        return moment._replace(offset=default)

    return settle


def _zone_remover(conversion: Conversion) -> Callable[[_Moment], _Moment]:
    rule, sql_type = conversion.zone, conversion.type

    def settle(moment: _Moment) -> _Moment:
        if moment.offset is None or rule == "drop":
            return moment
        if rule is None:
            raise ConversionError(
                "zone_present",
                f"the value has a zone and {sql_type} holds none; state `zone: utc` or `zone: drop`",
            )
        days, ticks = divmod(moment.ticks - moment.offset * _MINUTE, _DAY)
        if sql_type.family is Family.TIME:
            return moment._replace(ticks=ticks)
        day = moment.day + days
        if not 1 <= day <= _LAST_ORDINAL:
            raise out_of_range(sql_type)
        if sql_type.family is Family.DATE:
            # A date with a zone is the day that begins there: its UTC day, whatever the hour.
            return moment._replace(day=day, ticks=0) if moment.ticks == 0 else moment
        return moment._replace(day=day, ticks=ticks)

    return settle


def _rounder(sql_type: SqlType, rounding: Rounding) -> Callable[[int, str], int]:
    """Return a function of (ticks, finer digits) that gives ticks the type can hold."""
    if sql_type.name == "smalldatetime":
        unit = _MINUTE
    elif sql_type.family is Family.DATE:
        unit = 1
    else:
        assert sql_type.scale is not None
        unit = 10 ** (7 - sql_type.scale)

    def to_unit(ticks: int, finer: str) -> int:
        rest = ticks % unit
        if not rest and not finer.strip("0"):
            return ticks
        if rounding is Rounding.REJECT:
            raise ConversionError(
                "too_many_digits",
                f"the value has finer parts of a second than {sql_type} holds; "
                "state `rounding` for the column if they may go",
            )
        down = ticks - rest
        if rounding is Rounding.DOWN:
            return down
        double = 2 * rest
        if double > unit or (double == unit and finer.strip("0")):
            return down + unit
        if unit == 1:
            # The rest is below one tick: its first digit decides.
            up = finer[0] > "5" or (finer[0] == "5" and bool(finer[1:].strip("0")))
            tie = finer[0] == "5" and not up
        else:
            up, tie = False, double == unit
        if tie:
            up = rounding is Rounding.HALF_UP or (down // unit) % 2 == 1
        return down + unit if up else down

    if sql_type.name != "datetime":
        return to_unit

    def to_datetime(ticks: int, finer: str) -> int:
        milliseconds = to_unit(ticks, finer) // 10**4
        seconds, rest = divmod(milliseconds, 1000)
        three_hundredths = (rest * _DATETIME_TICKS_PER_SECOND + 500) // 1000
        seconds += three_hundredths // _DATETIME_TICKS_PER_SECOND
        three_hundredths %= _DATETIME_TICKS_PER_SECOND
        shown = (three_hundredths * 1000 + _DATETIME_TICKS_PER_SECOND // 2) // _DATETIME_TICKS_PER_SECOND
        return seconds * _SECOND + shown * 10**4

    return to_datetime


def _writer(sql_type: SqlType) -> Callable[[int, int, int | None], str]:
    family = sql_type.family
    digits = sql_type.scale or 0

    def write(day: int, ticks: int, offset: int | None) -> str:
        text = ""
        if family is not Family.TIME:
            text = date.fromordinal(day).isoformat()
            if family is Family.DATE:
                return text
            text += " "
        seconds, fraction = divmod(ticks, _SECOND)
        minutes, seconds = divmod(seconds, 60)
        hours, minutes = divmod(minutes, 60)
        text += f"{hours:02}:{minutes:02}:{seconds:02}"
        if digits:
            text += "." + f"{fraction:07}"[:digits]
        if offset is not None and family is Family.DATETIMEOFFSET:
            sign, offset = ("-", -offset) if offset < 0 else ("+", offset)
            text += f"{sign}{offset // 60:02}:{offset % 60:02}"
        return text

    return write
