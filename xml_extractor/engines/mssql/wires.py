"""One open connection of whichever driver is used, behind one small interface.

A wire does what it is told and knows nothing of tables, retries or time limits: that is the session's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, Final

MOST_CHARACTERS: Final = 4000
"""UTF-16 units that an nvarchar parameter takes before it has to be declared as nvarchar(max)."""

MOST_BYTES: Final = 8000
"""Bytes that a varbinary parameter takes before it has to be declared as varbinary(max)."""

Size = tuple[int, int, int]
"""A parameter's ODBC type, its size (0 = max) and its decimal digits."""


class Wire(ABC):
    """One open driver connection in autocommit mode.  One thread's at a time, but for :meth:`cancel`.

    Parameters are ``None``, ``bool``, ``int``, ``float``, ``Decimal``, ``str`` (sent as nvarchar, however
    long) and ``bytes`` (varbinary); markers are ``?``.  ``None`` is sent as a varbinary NULL, which the server
    turns into any type but float and real by itself.  Results are canonical values: temporals (fractions
    without trailing zeros) and GUIDs as text, decimals as ``Decimal``, bit as ``bool``, binary as ``bytes``.
    Errors come as the driver raised them.
    """

    round_trips: int = 0
    """Requests that waited for an answer, since the wire was opened; for the benchmarks."""

    @abstractmethod
    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a batch and return the rows of the first result set in it; [] where there is none.

        The batch is run to its end: an error in a later statement of it is raised too.
        """

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
