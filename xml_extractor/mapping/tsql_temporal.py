"""Exact temporal arithmetic on canonical temporal texts.

Inside, a moment is a count of *ticks* of 100 ns: since 0001-01-01 for anything with a date, since midnight
for a time.  A datetimeoffset is its local ticks with its offset in minutes.  Python's own types stop at
microseconds, SQL Server's go to 100 ns.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import lru_cache
from typing import Final

from xml_extractor.contract.types import Family, SqlType
from xml_extractor.mapping.evaluation_error import EvaluationError

TICKS_PER_SECOND: Final = 10_000_000
TICKS_PER_MINUTE: Final = 60 * TICKS_PER_SECOND
TICKS_PER_HOUR: Final = 60 * TICKS_PER_MINUTE
TICKS_PER_DAY: Final = 24 * TICKS_PER_HOUR
END_OF_TIME: Final = date.max.toordinal() * TICKS_PER_DAY  # the first tick after 9999-12-31
EPOCH_1900: Final = (date(1900, 1, 1).toordinal() - 1) * TICKS_PER_DAY
_DATETIME_START: Final = (date(1753, 1, 1).toordinal() - 1) * TICKS_PER_DAY
_SMALLDATETIME_END: Final = date(2079, 6, 6).toordinal() * TICKS_PER_DAY
_REMEMBERED: Final = 1024  # texts read lately: several expressions of a row and its child rows read one date


def out_of_range(what: str) -> EvaluationError:
    """The error for a result that a temporal type cannot hold."""
    return EvaluationError("overflow", f"a date or time is outside the range of {what}")


# ------------------------------------------------------------------------------------------ reading


@lru_cache(_REMEMBERED)
def date_ticks(text: str) -> int:
    """``YYYY-MM-DD…`` to ticks at its midnight."""
    return (date.fromisoformat(text[:10]).toordinal() - 1) * TICKS_PER_DAY


def time_ticks(text: str) -> int:
    """``HH:MM:SS[.f…]`` to ticks since midnight."""
    fraction = text[9:]
    return (
        int(text[:2]) * TICKS_PER_HOUR
        + int(text[3:5]) * TICKS_PER_MINUTE
        + int(text[6:8]) * TICKS_PER_SECOND
        + (int(fraction.ljust(7, "0")) if fraction else 0)
    )


@lru_cache(_REMEMBERED)
def datetime_ticks(text: str) -> int:
    """``YYYY-MM-DD HH:MM:SS[.f…]`` to ticks."""
    return date_ticks(text) + time_ticks(text[11:])


def offset_minutes(text: str) -> int:
    """The offset at the end of a canonical datetimeoffset, in minutes."""
    minutes = int(text[-5:-3]) * 60 + int(text[-2:])
    return -minutes if text[-6] == "-" else minutes


def local_ticks(text: str) -> int:
    """A canonical datetimeoffset to the ticks of its local date and time."""
    return datetime_ticks(text[:-6])


def utc_ticks(text: str) -> int:
    """A canonical datetimeoffset to the ticks of the same moment in UTC."""
    return local_ticks(text) - offset_minutes(text) * TICKS_PER_MINUTE


def reader(type_: SqlType) -> Callable[[str], int]:
    """The function from canonical text to ticks; local ones for datetimeoffset."""
    readers: dict[Family, Callable[[str], int]] = {
        Family.DATE: date_ticks,
        Family.TIME: time_ticks,
        Family.DATETIME: datetime_ticks,
        Family.DATETIMEOFFSET: local_ticks,
    }
    return readers[type_.family]


# ------------------------------------------------------------------------------------------ writing


def date_text(ticks: int) -> str:
    """Ticks to ``YYYY-MM-DD``; the time is cut off."""
    return date.fromordinal(ticks // TICKS_PER_DAY + 1).isoformat()


def time_text(ticks: int, digits: int) -> str:
    """Ticks since midnight to ``HH:MM:SS[.f…]``; they must be a multiple of the last digit."""
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    minutes, second = divmod(seconds, 60)
    hour, minute = divmod(minutes, 60)
    if digits == 0:
        return f"{hour:02}:{minute:02}:{second:02}"
    return f"{hour:02}:{minute:02}:{second:02}.{fraction // 10 ** (7 - digits):0{digits}}"


def offset_text(minutes: int) -> str:
    """An offset in minutes to ``+HH:MM``."""
    hours, rest = divmod(abs(minutes), 60)
    return f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"


def round_ticks(ticks: int, digits: int) -> int:
    """Round half up to a number of fractional digits of a second."""
    unit: int = 10 ** (7 - digits)
    return (ticks + unit // 2) // unit * unit


def _round_to_datetime(ticks: int) -> int:
    """Round to 1/300 s as ``datetime`` does; the result is in ms (.000, .003, .007)."""
    seconds, fraction = divmod(ticks, TICKS_PER_SECOND)
    units = (fraction * 300 + TICKS_PER_SECOND // 2) // TICKS_PER_SECOND
    milliseconds = (units * 10 + 1) // 3
    return seconds * TICKS_PER_SECOND + milliseconds * 10_000


def datetime_writer(type_: SqlType) -> Callable[[int], str]:
    """The function from ticks to the canonical text of datetime2, datetime or smalldatetime: rounds as the
    type does and raises :class:`EvaluationError` outside its range."""
    name, digits = type_.name, type_.scale or 0

    def write(ticks: int) -> str:
        if name == "datetime":
            ticks = _round_to_datetime(ticks)
            low, high = _DATETIME_START, END_OF_TIME
        elif name == "smalldatetime":
            # 29.998 s and less round down, 29.999 s and more up ("smalldatetime"): through datetime's ms.
            ticks = _round_to_datetime(ticks)
            ticks = (ticks + TICKS_PER_MINUTE // 2) // TICKS_PER_MINUTE * TICKS_PER_MINUTE
            low, high = EPOCH_1900, _SMALLDATETIME_END
        else:
            ticks = round_ticks(ticks, digits)
            low, high = 0, END_OF_TIME
        if not low <= ticks < high:
            raise out_of_range(name)
        days, rest = divmod(ticks, TICKS_PER_DAY)
        return f"{date.fromordinal(days + 1).isoformat()} {time_text(rest, digits)}"

    return write


def writer(type_: SqlType) -> Callable[[int], str]:
    """The function from ticks to the canonical text of any temporal type but datetimeoffset."""
    digits = type_.scale or 0
    if type_.family is Family.DATETIME:
        return datetime_writer(type_)
    if type_.family is Family.TIME:
        return lambda ticks: time_text(round_ticks(ticks % TICKS_PER_DAY, digits) % TICKS_PER_DAY, digits)

    def write_date(ticks: int) -> str:
        if not 0 <= ticks < END_OF_TIME:
            raise out_of_range("date")
        return date_text(ticks)

    return write_date


def offset_writer(type_: SqlType) -> Callable[[int, int], str]:
    """The function from local ticks and offset in minutes to a canonical datetimeoffset."""
    digits = type_.scale or 0

    def write(ticks: int, minutes: int) -> str:
        ticks = round_ticks(ticks, digits)
        if not (0 <= ticks < END_OF_TIME and 0 <= ticks - minutes * TICKS_PER_MINUTE < END_OF_TIME):
            raise out_of_range("datetimeoffset")
        days, rest = divmod(ticks, TICKS_PER_DAY)
        return f"{date.fromordinal(days + 1).isoformat()} {time_text(rest, digits)}{offset_text(minutes)}"

    return write


# ------------------------------------------------------------------------------------------ dateparts

PART_TICKS: Final = {
    "hour": TICKS_PER_HOUR,
    "minute": TICKS_PER_MINUTE,
    "second": TICKS_PER_SECOND,
    "millisecond": 10_000,
    "microsecond": 10,
}
_DAYS: Final = {"dayofyear": 1, "day": 1, "weekday": 1, "week": 7}
_MONTHS: Final = {"year": 12, "quarter": 3, "month": 1}


def add_months(ticks: int, months: int) -> int:
    """Move by months; a day that the month lacks becomes its last day."""
    days, rest = divmod(ticks, TICKS_PER_DAY)
    start = date.fromordinal(days + 1)
    index = start.year * 12 + start.month - 1 + months
    year, month = divmod(index, 12)
    if not 1 <= year <= 9999:
        raise out_of_range("the type after adding to it")
    last = days_in_month(year, month + 1)
    moved = date(year, month + 1, min(start.day, last))
    return (moved.toordinal() - 1) * TICKS_PER_DAY + rest


def days_in_month(year: int, month: int) -> int:
    """The number of days of a month."""
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


def adder(part: str) -> Callable[[int, int], int]:
    """DATEADD on ticks: (ticks, number) -> ticks, possibly out of range."""
    if part in _MONTHS:
        months = _MONTHS[part]
        return lambda ticks, number: add_months(ticks, number * months)
    if part == "nanosecond":
        # Rounded to 100 ns, half away from zero: adding 49 changes nothing, 50 adds a tick ("DATEADD").
        return lambda ticks, number: (
            ticks + ((number + 50) // 100 if number >= 0 else -((50 - number) // 100))
        )
    unit = _DAYS[part] * TICKS_PER_DAY if part in _DAYS else PART_TICKS[part]
    return lambda ticks, number: ticks + number * unit


def differ(part: str) -> Callable[[int, int], int]:
    """DATEDIFF on ticks: the boundaries of the part crossed between start and end."""
    if part in _MONTHS:
        size = _MONTHS[part]

        def months(start: int, end: int) -> int:
            first = date.fromordinal(start // TICKS_PER_DAY + 1)
            last = date.fromordinal(end // TICKS_PER_DAY + 1)
            return (last.year * 12 + last.month - 1) // size - (first.year * 12 + first.month - 1) // size

        return months
    if part == "week":
        # Weeks begin on Sunday whatever DATEFIRST says ("DATEDIFF"); 0001-01-01, day 0, was a Monday.
        return lambda start, end: (end // TICKS_PER_DAY + 1) // 7 - (start // TICKS_PER_DAY + 1) // 7
    if part in _DAYS:
        return lambda start, end: end // TICKS_PER_DAY - start // TICKS_PER_DAY
    if part == "nanosecond":
        return lambda start, end: (end - start) * 100
    unit = PART_TICKS[part]
    return lambda start, end: end // unit - start // unit


def part_of(part: str) -> Callable[[int], int]:
    """DATEPART on ticks (all parts but tzoffset), for DATEFIRST 7: weeks begin on Sunday."""

    def of_date(function: Callable[[date], int]) -> Callable[[int], int]:
        return lambda ticks: function(date.fromordinal(ticks // TICKS_PER_DAY + 1))

    def week(day: date) -> int:
        first_weekday = date(day.year, 1, 1).isoweekday() % 7  # Sunday = 0
        return (day.timetuple().tm_yday - 1 + first_weekday) // 7 + 1

    dates: dict[str, Callable[[date], int]] = {
        "year": lambda day: day.year,
        "quarter": lambda day: (day.month + 2) // 3,
        "month": lambda day: day.month,
        "dayofyear": lambda day: day.timetuple().tm_yday,
        "day": lambda day: day.day,
        "week": week,
        "weekday": lambda day: day.isoweekday() % 7 + 1,
        "iso_week": lambda day: day.isocalendar()[1],
    }
    if part in dates:
        return of_date(dates[part])
    if part == "hour":
        return lambda ticks: ticks % TICKS_PER_DAY // TICKS_PER_HOUR
    if part == "minute":
        return lambda ticks: ticks % TICKS_PER_HOUR // TICKS_PER_MINUTE
    if part == "second":
        return lambda ticks: ticks % TICKS_PER_MINUTE // TICKS_PER_SECOND
    if part == "nanosecond":
        return lambda ticks: ticks % TICKS_PER_SECOND * 100
    unit = PART_TICKS[part]
    return lambda ticks: ticks % TICKS_PER_SECOND // unit
