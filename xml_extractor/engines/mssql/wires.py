"""One open connection of whichever driver is used, behind one small interface.

A wire does what it is told and knows nothing of tables, retries or time limits: that is the session's.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any


class Wire(ABC):
    """One open driver connection in autocommit mode.  One thread's at a time, but for :meth:`cancel`.

    Parameters are ``None``, ``bool``, ``int``, ``float``, ``Decimal``, ``str`` (sent as nvarchar, however
    long) and ``bytes`` (varbinary); markers are ``?``.  Results are canonical values: temporals and
    GUIDs as text, decimals as ``Decimal``, bit as ``bool``, binary as ``bytes``.  Errors come as the driver
    raised them.
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

    @abstractmethod
    def cancel(self) -> None:
        """Ask the server to give the present statement up; from any thread; never waits, never raises."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; never raises."""
