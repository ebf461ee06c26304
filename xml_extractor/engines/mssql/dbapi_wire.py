"""What a wire over a DB-API driver is, whichever the driver.

A statement with parameters is prepared by its first execution and costs another request when it is let go
of, so statements are kept, each with its own cursor.  For that to help, a parameter is declared by the
kind of its value and not by its length: the driver prepares anew when declarations change, and the server
would keep a plan for each.
"""

from __future__ import annotations

import contextlib
import threading
from abc import abstractmethod
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final, TypeVar

from xml_extractor.engines.mssql.literals import with_nulls
from xml_extractor.engines.mssql.wires import OpenRows, Size, Wire, declared, plain

T = TypeVar("T")

KEPT_STATEMENTS: Final = 32
"""A load uses about a dozen statements again and again; one that is kept holds little on either side."""


class DbapiWire(Wire):
    """See :class:`Wire`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._kept: OrderedDict[str, tuple[str, Any]] = OrderedDict()
        self._running: Any = None
        self._gate = threading.Lock()
        """Held while a statement is cancelled: its handle must not be freed under the driver's hands."""

    # ---- what differs

    @abstractmethod
    def _bind(self, values: Sequence[Any]) -> Sequence[Any]:
        """Return values in the form in which the driver takes them."""

    @abstractmethod
    def _canonical_rows(self, rows: list[Any]) -> list[tuple[Any, ...]]:
        """Return rows as the driver gave them, canonical."""

    @abstractmethod
    def _as_arrays(self, cursor: Any) -> None:
        """Have a cursor send the rows of ``executemany`` as arrays."""

    @abstractmethod
    def _break_off(self, cursor: Any) -> None:
        """Cancel what runs on a cursor."""

    def _cursor(self) -> Any:
        """Return a new cursor."""
        return self._connection.cursor()

    def _complete(self, error: Exception, cursor: Any) -> None:
        """Give an error what the driver knows of it and does not tell."""

    # ---- the interface

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a batch and return the rows of the first result set in it; [] where there is none."""

        def rows(cursor: Any) -> list[tuple[Any, ...]]:
            found: list[tuple[Any, ...]] | None = None
            while True:
                if found is None and cursor.description:
                    found = self._canonical_rows(cursor.fetchall())
                if not cursor.nextset():
                    return found or []

        return self._run(sql, parameters, rows)

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        """Run one SELECT on a cursor of its own and return its rows unread."""
        self.round_trips += 1
        sql, parameters = with_nulls(sql, parameters)
        cursor = self._cursor()
        try:
            with self._cancellable(cursor):
                self._start(cursor, sql, parameters)
        except BaseException:
            with contextlib.suppress(Exception):
                cursor.close()
            raise
        return _Unread(self, cursor)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement and return the number of rows it touched, 0 where that has no meaning."""

        return self._run(sql, parameters, self._count)

    def execute_many(
        self, sql: str, rows: Iterable[Sequence[Any]], *, sizes: Sequence[Size] = (), fast: bool = False
    ) -> None:
        """Run one statement once per row of parameters."""
        if not fast:
            for row in rows:
                self._run(sql, row, self._count, sizes)
            return
        given = list(rows)
        if not given:
            return
        self.round_trips += 1
        with contextlib.closing(self._cursor()) as cursor:
            self._as_arrays(cursor)
            cursor.setinputsizes(list(sizes))
            with self._cancellable(cursor):
                cursor.executemany(sql, given)
                while cursor.nextset():
                    pass

    def cancel(self) -> None:
        """Ask the server to give the present statement up."""
        with self._gate:
            if self._running is not None:
                with contextlib.suppress(Exception):
                    self._break_off(self._running)

    def close(self) -> None:
        """Close the connection; never raises."""
        self._kept.clear()
        with contextlib.suppress(Exception):
            self._connection.close()

    # ---- one statement

    def _run(
        self, sql: str, parameters: Sequence[Any], take: Callable[[Any], T], sizes: Sequence[Size] = ()
    ) -> T:
        self.round_trips += 1
        if not sizes:
            sql, parameters = with_nulls(sql, parameters)
        # Drivers know a prepared statement again by its text; pyodbc by the very object.
        text, cursor = self._kept.pop(sql, (sql, None))
        if cursor is None:
            cursor = self._cursor()
        try:
            with self._cancellable(cursor):
                self._start(cursor, text, parameters, sizes)
                result = take(cursor)
        except BaseException:
            # What was not read, and what was half prepared, goes with the cursor.
            with contextlib.suppress(Exception):
                cursor.close()
            raise
        if parameters:
            self._keep(text, cursor)
        else:
            cursor.close()
        return result

    def _start(self, cursor: Any, sql: str, parameters: Sequence[Any], sizes: Sequence[Size] = ()) -> None:
        if not parameters:
            cursor.execute(sql)
            return
        values = [plain(value) for value in parameters]
        cursor.setinputsizes(list(sizes) or [declared(value) for value in values])
        cursor.execute(sql, self._bind(values))

    @contextlib.contextmanager
    def _cancellable(self, cursor: Any) -> Iterator[None]:
        """Let :meth:`cancel` reach what runs on a cursor."""
        self._running = cursor
        try:
            yield
        except Exception as error:
            self._complete(error, cursor)
            raise
        finally:
            with self._gate:
                self._running = None

    def _count(self, cursor: Any) -> int:
        """Read all results and return the number of rows touched."""
        touched = 0
        while True:
            # What triggers touched is told first, the statement's own count last.
            if not cursor.description and (count := self._touched(cursor)) >= 0:
                touched = count
            if not cursor.nextset():
                return touched

    def _touched(self, cursor: Any) -> int:
        """The count of rows of the present result; negative = it has none."""
        count: int = cursor.rowcount
        return count

    def _keep(self, sql: str, cursor: Any) -> None:
        self._kept[sql] = (sql, cursor)
        if len(self._kept) > KEPT_STATEMENTS:
            _, (_, oldest) = self._kept.popitem(last=False)
            self.round_trips += 1
            oldest.close()


class _Unread:
    """The rows of a cursor that was just executed; see :class:`.wires.OpenRows`."""

    def __init__(self, wire: DbapiWire, cursor: Any) -> None:
        self._wire = wire
        self._cursor = cursor

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """Return up to so many further rows."""
        self._wire.round_trips += 1
        with self._wire._cancellable(self._cursor):
            return self._wire._canonical_rows(self._cursor.fetchmany(count))

    def close(self) -> None:
        """Give up what was not read: the driver has the server stop sending."""
        with contextlib.suppress(Exception):
            self._cursor.close()
