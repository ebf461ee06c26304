"""What the drivers say of an error, taken apart: number, SQLSTATE and the server's own words.

None of the three drivers gives the server's number as a value, and the words around it are not safe to
search: messages quote keys and texts of documents, with any parentheses, brackets and semicolons in them.
A number is therefore taken only from where the driver itself writes it, at the end (ODBC) or at the start
(TDS library) of a record; where that does not fit exactly, there is none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class NativeError:
    """One record of an error."""

    text: str
    """The words of server or driver, without the driver's prefixes; they may hold values."""
    number: int | None = None
    """The server's number; ``None`` where there is none: an error of the driver or of the network (their
    numbers are of other lists), or a driver that drops it."""
    state: str | None = None
    """The SQLSTATE."""
    severity: int | None = None
    """The server's class, 0 to 25; from 20 on the connection is gone."""
    connecting: bool = False
    """Whether it is known to come from opening a connection."""
    of_server: bool = False
    """Whether the words are the server's; else they are the driver's, the network's or the TLS library's."""


_STATE: Final = re.compile(r"[0-9A-Z]{5}\Z")
# What ODBC's layers put in front: [Microsoft][ODBC Driver 18 for SQL Server][SQL Server]
_LAYERS: Final = re.compile(
    r"(?:\[(?:Microsoft|ODBC Driver [^\]]{1,40}|SQL Server Native Client [^\]]{1,20}|unixODBC"
    r"|Driver Manager)\])+(\[SQL Server\])?\s*"
)
_ODBC_END: Final = re.compile(r" \((-?\d{1,10})\) \((SQL\w{1,40})\)\s*\Z")
_CORE_RECORD: Final = re.compile(
    r"Sql Error: (\d{1,10}): Class (\d{1,3}): State \d{1,3}: (.*?)"
    r"(?: on \S* in [^\n]*? at line \d{1,10})?\Z",
    re.S,
)
_CORE_NEXT: Final = re.compile(
    r"(?<= at line )(\d{1,10})\n(?=Sql Error: \d{1,10}: Class \d{1,3}: State \d{1,3}: )"
)
# The doings that the TDS library names in front of a cause, and what it says of itself.
_CORE_DOING: Final = re.compile(
    r"(?:\w+: )?(?:Query execution failed|Failed to (?:connect to SQL Server|(?:fetch|read|retrieve|resolve"
    r"|open|close|create|execute|begin|commit|get|materialize|convert|extract|serialize)[^:]{0,60})"
    r"|write_to_server\w* failed)(?:: |\Z)"
)
_CORE_OWN: Final = re.compile(
    r"(?:Connection is closed|Connection closed|Cursor is closed|Bulk copy operation timed out"
    r"|IO error: |TLS handshake failed|Timeout Error: |Connection timeout: |Connection is dead)"
)
_UNKNOWN_STATE: Final = re.compile(r"An error occurred with SQLSTATE code: ([0-9A-Z]{5})\Z")
_DIAGNOSTIC: Final = re.compile(r"\[([0-9A-Z]{5})\] \((-?\d{1,10})\)\Z")
_ATTRIBUTE: Final = "mssql_diagnostics"

_STATES: Final = {
    "Disconnect error": "01002",
    "Client unable to establish connection": "08001",
    "Connection not open": "08003",
    "Server rejected the connection": "08004",
    "Connection failure during transaction": "08007",
    "Communication link failure": "08S01",
    "Wrong number of parameters": "07001",
    "COUNT field incorrect": "07002",
    "String data, right-truncated": "22001",
    "Numeric value out of range": "22003",
    "Invalid datetime format": "22007",
    "Datetime field overflow": "22008",
    "Division by zero": "22012",
    "Invalid character value for cast specification": "22018",
    "String data, length mismatch": "22026",
    "Integrity constraint violation": "23000",
    "Invalid cursor state": "24000",
    "Invalid transaction state": "25000",
    "Transaction is rolled back": "25S03",
    "Invalid authorization specification": "28000",
    "Invalid catalog name": "3D000",
    "Invalid schema name": "3F000",
    "Serialization failure": "40001",
    "Statement completion unknown": "40003",
    "Syntax error or access violation": "42000",
    "Base table or view already exists": "42S01",
    "Base table or view not found": "42S02",
    "Column not found": "42S22",
    "WITH CHECK OPTION violation": "44000",
    "General error": "HY000",
    "Memory allocation error": "HY001",
    "Operation canceled": "HY008",
    "Function sequence error": "HY010",
    "Memory management error": "HY013",
    "Invalid precision or scale value": "HY104",
    "Invalid parameter type": "HY105",
    "Timeout expired": "HYT00",
    "Connection timeout expired": "HYT01",
    "Data source name not found and no default driver specified": "IM002",
    "Specified driver could not be loaded": "IM003",
}
"""The words that mssql-python has for a SQLSTATE; the SQLSTATE itself it does not pass on."""


def keep_diagnostics(error: Exception, records: Sequence[tuple[str, str]]) -> None:
    """Give an error of mssql-python the records that tell the server's numbers, which its text lacks.

    ``Cursor.executemany`` leaves them in ``Cursor.messages``; ``Cursor.execute`` loses them.

    Args:
        records: as ``Cursor.messages`` holds them: ``("[23000] (2627)", "[Microsoft]…message")``.
    """
    setattr(error, _ATTRIBUTE, tuple(records))


def native_errors(error: BaseException) -> tuple[NativeError, ...]:
    """Return the records of a driver's error, in its order; empty = it is not a driver's error.

    Never raises, whatever the error holds.
    """
    modules = {kind.__module__.partition(".")[0] for kind in type(error).__mro__}
    if "pyodbc" in modules:
        return _of_pyodbc(error)
    if "mssql_python" in modules:
        return _of_mssql_python(error)
    if "mssql_py_core" in modules:
        return _of_core(_text(error))
    if type(error) is RuntimeError:
        text = _text(error)
        if text.startswith("Sql Error: ") or _CORE_DOING.match(text) or _CORE_OWN.match(text):
            return _of_core(text)
    return ()


def _text(error: BaseException) -> str:
    return error.args[0] if error.args and isinstance(error.args[0], str) else ""


def _of_pyodbc(error: BaseException) -> tuple[NativeError, ...]:
    texts = [argument for argument in error.args if isinstance(argument, str)]
    # Errors of the server come as (SQLSTATE, text), pyodbc's own as (text, SQLSTATE) or (text,).
    state = next((text for text in texts if _STATE.match(text)), None)
    text = next((text for text in texts if not _STATE.match(text)), "")
    end = _ODBC_END.search(text)
    if end is None:
        return (_odbc_record(text, 0, state),)
    function = end[2]
    connecting = function in ("SQLDriverConnect", "SQLDriverConnectW")
    if state is None or not text.startswith(f"[{state}] "):
        return (_odbc_record(text[: end.start()], 0, state, connecting),)
    # Every record ends with its number and the function, which is the same in all of them.
    between = re.compile(rf" \((-?\d{{1,10}})\) \({function}\); (?=\[[0-9A-Z]{{5}}\] \[)")
    found = []
    start = 0
    for match in [*between.finditer(text, 0, end.start()), end]:
        record = text[start : match.start()]
        found.append(_odbc_record(record[8:], int(match[1]), record[1:6], connecting))
        start = match.end()
    return tuple(found)


def _odbc_record(text: str, number: int, state: str | None, connecting: bool = False) -> NativeError:
    layers = _LAYERS.match(text)
    if layers is None:
        return NativeError(text, None, state, connecting=connecting)
    # Without this layer the number is of the operating system or of the TLS library.
    of_server = layers[1] is not None
    number = number if of_server and number > 0 else 0
    return NativeError(text[layers.end() :], number or None, state, None, connecting, of_server)


def _of_mssql_python(error: BaseException) -> tuple[NativeError, ...]:
    found = []
    for record in getattr(error, _ATTRIBUTE, ()):
        head = _DIAGNOSTIC.match(record[0])
        if head is not None:
            found.append(_odbc_record(record[1], int(head[2]), head[1]))
    if found:
        return tuple(found)
    # Not all of its exceptions have these: those of its connection string parser do not.
    driver = getattr(error, "driver_error", None)
    said = getattr(error, "ddbc_error", None)
    if not isinstance(driver, str):
        return (NativeError(_text(error)),)
    unknown = _UNKNOWN_STATE.match(driver)
    state = unknown[1] if unknown is not None else _STATES.get(driver)
    text = said if isinstance(said, str) and said else driver
    return (_odbc_record(text, 0, state, connecting=state == "08001"),)


def _of_core(text: str) -> tuple[NativeError, ...]:
    connecting = text.startswith("Failed to connect to SQL Server")
    doing = _CORE_DOING.match(text)
    if doing is not None and doing.end() < len(text):
        text = text[doing.end() :]
    found = []
    start = 0
    ends = [(match.end(1), match.end()) for match in _CORE_NEXT.finditer(text)]
    for stop, following in [*ends, (len(text), len(text))]:
        record = _CORE_RECORD.match(text[start:stop])
        if record is None:
            return (NativeError(text, connecting=connecting),)
        found.append(
            NativeError(record[3], int(record[1]) or None, None, int(record[2]), connecting, of_server=True)
        )
        start = following
    return tuple(found)
