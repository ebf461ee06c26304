"""What SQLite's errors mean.  Names are those of https://sqlite.org/rescode.html."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path
from typing import Final

from xml_extractor.engines.base import Fault, FaultKind

_CONSTRAINTS: Final = {
    "SQLITE_CONSTRAINT_UNIQUE": ("unique_violation", "a row with the same key is already there"),
    "SQLITE_CONSTRAINT_PRIMARYKEY": ("unique_violation", "a row with the same key is already there"),
    "SQLITE_CONSTRAINT_ROWID": ("unique_violation", "a row with the same key is already there"),
    "SQLITE_CONSTRAINT_NOTNULL": ("not_null_violation", "a column that must be given is NULL"),
    "SQLITE_CONSTRAINT_FOREIGNKEY": ("foreign_key_violation", "a row refers to a parent that is not there"),
    "SQLITE_CONSTRAINT_CHECK": ("check_violation", "a value breaks a CHECK constraint"),
    "SQLITE_CONSTRAINT_DATATYPE": ("wrong_type", "a value is not of its column's type"),
    "SQLITE_CONSTRAINT_TRIGGER": ("raised_by_trigger", "a trigger refuses the row"),
}
_COLUMNS: Final = re.compile(r"constraint failed: ([^,]+?)\.([^.,]+)(,|$)")
_CHECK: Final = re.compile(r"CHECK constraint failed: (\w+)$")


class Aborted(sqlite3.OperationalError):
    """The session was aborted and cannot be used any more."""


class StatementTimeout(sqlite3.OperationalError):
    """A statement took longer than its limit."""


def classify(error: BaseException, path: str) -> Fault:
    """Say what an error raised by a session on the file ``path`` means."""
    if isinstance(error, Aborted):
        return Fault(FaultKind.DISCONNECTED, "aborted", "the connection was broken off")
    if isinstance(error, StatementTimeout):
        return Fault(FaultKind.TRANSIENT, "statement_timeout", f"{error}", "SQLITE_INTERRUPT")
    if isinstance(error, UnicodeEncodeError):
        return Fault(
            FaultKind.DATA, "not_encodable", "a text holds half of a surrogate pair and has no UTF-8 form"
        )
    if isinstance(error, OverflowError):
        return Fault(FaultKind.DATA, "out_of_range", "a number is beyond the 64 bits that SQLite holds")
    if isinstance(error, sqlite3.Error):
        return _of_name(getattr(error, "sqlite_errorname", None), error, path)
    return Fault(FaultKind.FATAL, "unexpected", f"unexpected {type(error).__name__} from the SQLite driver")


def _of_name(name: str | None, error: sqlite3.Error, path: str) -> Fault:
    text = str(error)
    if name is None:
        # The driver's own errors carry no result code.
        if isinstance(error, sqlite3.DataError):
            return Fault(FaultKind.DATA, "too_long", "a value is longer than SQLite takes")
        if isinstance(error, sqlite3.ProgrammingError) and "closed" in text:
            return Fault(FaultKind.DISCONNECTED, "connection_lost", "the connection is closed")
        if isinstance(error, sqlite3.ProgrammingError) and "binding" in text and "supported" in text:
            return Fault(FaultKind.DATA, "wrong_type", "a value is of a type that SQLite does not take")
        return Fault(FaultKind.FATAL, "driver_error", f"the SQLite driver refuses: {text}")
    if name.startswith("SQLITE_CONSTRAINT"):
        return _constraint(name, text)
    if name == "SQLITE_TOOBIG":
        return Fault(FaultKind.DATA, "too_long", "a value or row is longer than SQLite takes", name)
    if name == "SQLITE_MISMATCH":
        return Fault(FaultKind.DATA, "wrong_type", "a value is not of its column's type", name)
    if name.startswith(("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")):
        return Fault(
            FaultKind.TRANSIENT, "locked", f"{path} is locked by another connection that is writing", name
        )
    if name == "SQLITE_INTERRUPT":
        return Fault(FaultKind.DISCONNECTED, "aborted", "the connection was broken off", name)
    if name == "SQLITE_NOMEM":
        return Fault(FaultKind.FATAL, "out_of_memory", "SQLite has no memory left", name)
    return _fatal(name, text, path)


def _constraint(name: str, text: str) -> Fault:
    code, message = _CONSTRAINTS.get(name, ("constraint_violation", "a constraint refuses the row"))
    table = column = None
    found = _COLUMNS.search(text)
    if found is not None:
        table = found[1]
        if not found[3]:
            column = found[2]
        message = f"{message}: {table}" + (f".{column}" if column else "")
    elif (check := _CHECK.search(text)) is not None:
        message = f"{message}: {check[1]}"
    return Fault(FaultKind.DATA, code, message, name, table, column)


def _fatal(name: str, text: str, path: str) -> Fault:
    code, message = "database_error", f"SQLite refuses: {text}"
    if name == "SQLITE_FULL":
        code, message = "disk_full", f"the disk of {path} is full, or the file has reached its set size"
    elif name.startswith("SQLITE_IOERR"):
        code, message = "io_error", f"reading or writing {path} fails ({name}): check the disk"
    elif name.startswith("SQLITE_CORRUPT"):
        code, message = "corrupt", f"{path} is damaged: restore it, or try .recover in the sqlite3 shell"
    elif name == "SQLITE_NOTADB":
        code, message = "not_a_database", f"{path} is not a SQLite database"
    elif name.startswith("SQLITE_READONLY"):
        code, message = "read_only", f"{path} or its folder cannot be written: check its permissions"
    elif name in ("SQLITE_PERM", "SQLITE_AUTH"):
        code, message = "permission_denied", f"access to {path} is denied"
    elif name.startswith("SQLITE_CANTOPEN"):
        code, message = "cannot_open", _cannot_open(Path(path))
    elif "already exists" in text:
        code = "table_exists"
    elif "no such table" in text:
        code = "no_such_table"
    elif "no such column" in text or "has no column named" in text:
        code = "no_such_column"
    return Fault(FaultKind.FATAL, code, message, name)


def _cannot_open(path: Path) -> str:
    if path.is_dir():
        return f"{path} is a folder, not a SQLite file"
    if not path.parent.is_dir():
        return f"the folder {path.parent} does not exist: create it, or correct the URL"
    if not path.exists():
        return f"there is no file {path}: correct the URL"
    return f"{path} cannot be opened: check the permissions of the file and its folder"
