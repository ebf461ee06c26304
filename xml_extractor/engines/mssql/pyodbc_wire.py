"""A connection by pyodbc.

Values are taken from the driver as it has them, not by way of Python's own types, which stop at six digits
of a second; text of code pages is taken as UTF-16, because on Linux the driver would otherwise convert it
to whatever the process's locale says.
"""

from __future__ import annotations

import math
import struct
import uuid
from collections.abc import Callable, Sequence
from datetime import date, timedelta
from typing import Any, Final

from xml_extractor.engines.mssql import drivers
from xml_extractor.engines.mssql.connection import ConnectionSettings, odbc_string
from xml_extractor.engines.mssql.dbapi_wire import DbapiWire
from xml_extractor.engines.mssql.wires import fraction
from xml_extractor.errors import UsageError

_WHOLE: Final = 2**31 - 1
"""Bytes of the longest value that the server takes, and so of any parameter."""

# ODBC's numbers of the types whose values are taken as raw bytes (sql.h, sqlext.h, msodbcsql.h).
_TYPE_DATE: Final = 91
_TYPE_TIMESTAMP: Final = 93
_GUID: Final = -11
_TIME2: Final = -154
_DATETIMEOFFSET: Final = -155

_DATE: Final = struct.Struct("=hHH")
_TIME: Final = struct.Struct("=HHHxxI")
_TIMESTAMP: Final = struct.Struct("=hHHHHHI")
_OFFSET: Final = struct.Struct("=hHHHHHIhh")
_OLD_DATETIME: Final = struct.Struct("=iI")
_OLD_SMALLDATETIME: Final = struct.Struct("=HH")
_OLD_EPOCH: Final = date(1900, 1, 1)


class PyodbcWire(DbapiWire):
    """See :class:`.wires.Wire`."""

    def __init__(self, connection: Any, null: Any) -> None:
        """Use :meth:`open`.

        Args:
            null: pyodbc's NULL that needs not be described by the server.
        """
        super().__init__(connection)
        self._null = null

    @classmethod
    def open(
        cls,
        settings: ConnectionSettings,
        *,
        application: str,
        connect_seconds: float,
        statement_seconds: float,
        read_only_intent: bool = False,
    ) -> PyodbcWire:
        """Connect.

        Args:
            application: the program's name, as the server's administrator sees it.
            connect_seconds: how long the login may take.
            statement_seconds: after how long the driver cancels a statement on a server that lives; whole
                seconds, rounded up.

        Raises:
            UsageError: pyodbc or an ODBC driver is missing, or a library that it needs.
            pyodbc.Error: the connection was refused.
        """
        pyodbc = drivers.import_pyodbc()
        # The driver manager's own pool (on Windows) would hand out another session's settings.
        pyodbc.pooling = False
        text = odbc_string(
            settings,
            application=application,
            driver=drivers.odbc_driver(settings),
            read_only_intent=read_only_intent,
        )
        try:
            connection = pyodbc.connect(text, autocommit=True, timeout=max(1, math.ceil(connect_seconds)))
        except pyodbc.Error as error:
            advice = drivers.advice_on(str(error))
            if advice is None:
                raise
            raise UsageError(advice) from None
        try:
            connection.timeout = math.ceil(statement_seconds)
            # Else anything longer than 4,000 characters is sent piece by piece, which takes a request more.
            connection.maxwrite = _WHOLE
            connection.setencoding("utf-16le", ctype=pyodbc.SQL_WCHAR)
            for kind in (pyodbc.SQL_CHAR, pyodbc.SQL_WCHAR):
                connection.setdecoding(kind, encoding="utf-16le", ctype=pyodbc.SQL_WCHAR)
            for number, converter in _CONVERTERS.items():
                connection.add_output_converter(number, converter)
        except BaseException:
            connection.close()
            raise
        wire = cls(connection, pyodbc.BinaryNull)
        library, version = (
            connection.getinfo(what) for what in (pyodbc.SQL_DRIVER_NAME, pyodbc.SQL_DRIVER_VER)
        )
        wire.driver = f"pyodbc {pyodbc.version}, {library} {version}"
        return wire

    def _bind(self, values: Sequence[Any]) -> Sequence[Any]:
        # Of None pyodbc would have the server say what type it should be.
        return [self._null if value is None else value for value in values]

    def _canonical_rows(self, rows: list[Any]) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in rows]

    def _as_arrays(self, cursor: Any) -> None:
        cursor.fast_executemany = True

    def _break_off(self, cursor: Any) -> None:
        cursor.cancel()


# --------------------------------------------------------------------------- values as the driver has them


def _date(raw: bytes | None) -> str | None:
    """SQL_DATE_STRUCT."""
    return None if raw is None else "{:04d}-{:02d}-{:02d}".format(*_DATE.unpack(raw))


def _time(raw: bytes | None) -> str | None:
    """SQL_SS_TIME2_STRUCT."""
    if raw is None:
        return None
    hour, minute, second, nanoseconds = _TIME.unpack(raw)
    return f"{hour:02d}:{minute:02d}:{second:02d}{fraction(nanoseconds)}"


def _timestamp(raw: bytes | None) -> str | None:
    """datetime2 as SQL_TIMESTAMP_STRUCT; datetime and smalldatetime as the server stores them: days since
    1900 and 1/300 s, days and minutes."""
    if raw is None:
        return None
    if len(raw) == _TIMESTAMP.size:
        return _moment(*_TIMESTAMP.unpack(raw))
    if len(raw) == _OLD_DATETIME.size:
        days, ticks = _OLD_DATETIME.unpack(raw)
        seconds, thirds = divmod(ticks, 300)
        # .003, .007 and .010 for one, two and three ticks, as the server writes them.
        milliseconds = (thirds * 10 + 1) // 3
    else:
        days, minutes = _OLD_SMALLDATETIME.unpack(raw)
        seconds, milliseconds = minutes * 60, 0
    day = _OLD_EPOCH + timedelta(days=days)
    minutes, second = divmod(seconds, 60)
    return _moment(
        day.year, day.month, day.day, minutes // 60, minutes % 60, second, milliseconds * 1_000_000
    )


def _datetimeoffset(raw: bytes | None) -> str | None:
    """SQL_SS_TIMESTAMPOFFSET_STRUCT: the local time and its distance from UTC."""
    if raw is None:
        return None
    *moment, hours, minutes = _OFFSET.unpack(raw)
    sign = "-" if hours < 0 or minutes < 0 else "+"
    return f"{_moment(*moment)}{sign}{abs(hours):02d}:{abs(minutes):02d}"


def _moment(
    year: int, month: int, day: int, hour: int, minute: int, second: int, nanoseconds: int
) -> str:  # fmt: skip
    return f"{year:04d}-{month:02d}-{day:02d} {hour:02d}:{minute:02d}:{second:02d}{fraction(nanoseconds)}"


def _guid(raw: bytes | None) -> str | None:
    return None if raw is None else str(uuid.UUID(bytes_le=raw))


_CONVERTERS: Final[dict[int, Callable[[bytes | None], str | None]]] = {
    _TYPE_DATE: _date,
    _TIME2: _time,
    _TYPE_TIMESTAMP: _timestamp,
    _DATETIMEOFFSET: _datetimeoffset,
    _GUID: _guid,
}
