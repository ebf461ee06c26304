"""One open connection of whichever driver is used, behind one small interface.

A wire does what it is told and knows nothing of tables, retries or time limits: that is the session's.
"""

from __future__ import annotations

import datetime
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from decimal import Decimal
from time import monotonic
from typing import Any, Final, Protocol

MOST_CHARACTERS: Final = 4000
"""UTF-16 units that an nvarchar parameter takes before it has to be declared as nvarchar(max)."""

MOST_BYTES: Final = 8000
"""Bytes that a varbinary parameter takes before it has to be declared as varbinary(max)."""

Size = tuple[int, int, int]
"""A parameter's ODBC type, its size (0 = max) and its decimal digits."""


class Queryable(Protocol):
    """Whatever can be asked: a wire, or a session."""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a batch and return the rows of its first result set."""
        ...


class OpenRows(Protocol):
    """The rows of a SELECT that are still with the server, in its order.  Belongs to the wire's thread."""

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """Return up to so many further rows, canonical; [] = there are no more."""
        ...

    def close(self) -> None:
        """Give up what was not read; never raises."""
        ...


class Wire(ABC):
    """One open driver connection in autocommit mode.  One thread's at a time, but for :meth:`cancel`.

    Parameters are ``None``, ``bool``, ``int``, ``float``, ``Decimal``, ``str`` (sent as nvarchar, however
    long) and ``bytes`` (varbinary); markers are ``?``.  ``None`` is sent as a varbinary NULL, which the
    server turns into any type but float and real by itself.  Results are canonical values: temporals
    (fractions without trailing zeros) and GUIDs as text, decimals as ``Decimal``, bit as ``bool``, binary as
    ``bytes``.  Errors come as the driver raised them.
    """

    driver: str = ""
    """The driver's name and version."""
    asked_at: float = 0.0
    """When the latest request was sent, on ``time.monotonic()``'s clock."""
    _round_trips: int = 0

    @property
    def round_trips(self) -> int:
        """Requests that waited for an answer, since the wire was opened; set before each is sent."""
        return self._round_trips

    @round_trips.setter
    def round_trips(self, count: int) -> None:
        self._round_trips = count
        self.asked_at = monotonic()

    @abstractmethod
    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a batch and return the rows of the first result set in it; [] where there is none.

        The batch is run to its end: an error in a later statement of it is raised too.
        """

    @abstractmethod
    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        """Run one SELECT and return its rows unread; until they are closed the wire does nothing else."""

    @abstractmethod
    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement and return the number of rows it touched, 0 where that has no meaning."""

    def execute_many(
        self, sql: str, rows: Iterable[Sequence[Any]], *, sizes: Sequence[Size] = (), fast: bool = False
    ) -> None:
        """Run one statement once per row of parameters; stops at the first error.

        Args:
            sizes: the parameters' types, one each, where they are not to be guessed from the values.
            fast: send the rows as arrays, many in one request, where the driver can.
        """
        for row in rows:
            self.execute(sql, row)

    @abstractmethod
    def cancel(self) -> None:
        """Ask the server to give the present statement up; from any thread; never waits, never raises."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; never raises."""


def fraction(nanoseconds: int) -> str:
    """A fraction of a second as text, ``.1234567``, without trailing zeros; '' for none.

    SQL Server's clocks tick in steps of 100 ns.
    """
    if not nanoseconds:
        return ""
    return f".{nanoseconds // 100:07d}".rstrip("0")


def utf16_length(text: str) -> int:
    """How many UTF-16 units a text has, as SQL Server counts the length of nvarchar."""
    return len(text) if text.isascii() else len(text) + sum(character > "\uffff" for character in text)


# --------------------------------------------------------------------------------------- parameters

# ODBC's numbers of types (sql.h, sqlext.h).
_BIGINT: Final = -5
_BIT: Final = -7
_DECIMAL: Final = 3
_DOUBLE: Final = 8
_VARBINARY: Final = -3
_WVARCHAR: Final = -9

_BIGINT_RANGE: Final = range(-(2**63), 2**63)


def plain(value: Any) -> Any:
    """A parameter as drivers take it: an integer beyond bigint as a Decimal, all else as it is."""
    if isinstance(value, int) and value not in _BIGINT_RANGE:
        return Decimal(value)
    return value


def declared(value: Any) -> Size:
    """The type that a parameter is declared with: by the kind of its value, not by its length.

    Args:
        value: as :func:`plain` gives it; no NULL, which stands in the statement itself.

    Raises:
        TypeError: the value is of no type that a parameter may have.
    """
    if isinstance(value, str):
        long = len(value) > MOST_CHARACTERS or utf16_length(value) > MOST_CHARACTERS
        return (_WVARCHAR, 0 if long else MOST_CHARACTERS, 0)
    if isinstance(value, bool):
        return (_BIT, 1, 0)
    if isinstance(value, int):
        return (_BIGINT, 19, 0)
    if isinstance(value, bytes | bytearray):
        return (_VARBINARY, MOST_BYTES if len(value) <= MOST_BYTES else 0, 0)
    if isinstance(value, float):
        return (_DOUBLE, 53, 0)
    if isinstance(value, Decimal):
        exponent = value.as_tuple().exponent
        return (_DECIMAL, 38, -exponent if isinstance(exponent, int) and exponent < 0 else 0)
    raise TypeError(f"{type(value).__name__} is not a type of parameters")


# --------------------------------------------------------------------------------------- results


def canonical(value: Any) -> Any:
    """A value that a driver gave as Python's own type, as the canonical text; all else as it is."""
    if value.__class__ in CANONICAL:
        return value
    if isinstance(value, datetime.datetime):
        text = f"{_day(value)} {_clock(value)}"
        if value.tzinfo is None:
            return text
        offset = f"{value:%z}"
        return f"{text}{offset[:3]}:{offset[3:5]}"
    if isinstance(value, datetime.date):
        return _day(value)
    if isinstance(value, datetime.time):
        return _clock(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    return value


def _day(value: datetime.date) -> str:
    return f"{value.year:04d}-{value.month:02d}-{value.day:02d}"


def _clock(value: datetime.datetime | datetime.time) -> str:
    text = f"{value.hour:02d}:{value.minute:02d}:{value.second:02d}"
    return text + fraction(value.microsecond * 1000)


CANONICAL: Final = frozenset({int, str, bytes, float, bool, type(None), Decimal})
"""Types of values that are canonical as a driver gives them."""
