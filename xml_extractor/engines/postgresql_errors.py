"""What PostgreSQL's errors mean, by SQLSTATE.

The server's own message is passed on only in classes where it names objects (relations, roles, files);
the messages of data errors quote the offending value, and DETAIL and CONTEXT nearly always do, so none of
these ever is.  Codes: https://www.postgresql.org/docs/current/errcodes-appendix.html
"""

from __future__ import annotations

import re
from typing import Final

import psycopg
from psycopg import errors

from xml_extractor.engines.base import Fault, FaultKind

_DATA: Final = {
    "23505": ("unique_violation", "a row with the same key is already there"),
    "23502": ("not_null_violation", "a column that must be given is NULL"),
    "23503": ("foreign_key_violation", "a row refers to a parent row that is not there"),
    "23514": ("check_violation", "a value breaks a CHECK constraint"),
    "23P01": ("exclusion_violation", "a row conflicts with another under an exclusion constraint"),
    "22001": ("too_long", "a text is longer than its column"),
    "22003": ("out_of_range", "a number is beyond its column's range"),
    "22007": ("not_convertible", "a date or time is not one"),
    "22008": ("out_of_range", "a date or time is beyond its column's range"),
    "22P02": ("not_convertible", "a value is not of its column's type"),
    "22P05": ("not_encodable", "a text holds a character that the database's encoding lacks"),
    "22021": ("not_encodable", "a text holds a character that PostgreSQL refuses (NUL, or half a pair)"),
    "22P04": ("bad_copy_data", "a row does not have its table's columns"),
    "2200N": ("not_convertible", "an XML value is not well-formed"),
    "P0001": ("raised_by_trigger", "a trigger refuses the row"),
    "44000": ("check_violation", "a row breaks the view's WITH CHECK OPTION"),
    "21000": ("cardinality_violation", "a rule or trigger found several rows for one"),
}
_DATA_CLASSES: Final = {
    "22": ("data_exception", "a value is not acceptable"),
    "23": ("constraint_violation", "a constraint refuses the row"),
    # "Program limit exceeded": a value too long for an index, a row too wide for a page.
    "54": ("too_long", "a value is too long for an index, or a row for a page"),
    # Errors of PL/pgSQL: an ASSERT, a SELECT INTO STRICT.
    "P0": ("raised_by_trigger", "a trigger refuses the row"),
}
# Classes whose messages name objects, settings and files only.  All others, those that a trigger makes up
# among them, can quote what they like from their first word on.
_NAMING: Final = frozenset({"08", "0A", "25", "28", "3D", "3F", "40", "42", "53", "55", "57", "58"})
_TRANSIENT: Final = {
    "40001": "serialization_failure",
    "40P01": "deadlock",
    "55P03": "lock_not_available",
    "55006": "object_in_use",
    "53200": "out_of_memory",
    "53300": "too_many_connections",
    "57014": "statement_timeout",
}
_DISCONNECTED: Final = {
    "57P01": "server_shutdown",
    "57P02": "server_crash",
    "57P03": "server_not_ready",
    "57P05": "idle_session_timeout",
    "25P03": "idle_in_transaction_timeout",
    "40003": "completion_unknown",
}
_FATAL: Final = {
    "53100": "disk_full",
    "42501": "permission_denied",
    "42P01": "no_such_table",
    "42703": "no_such_column",
    "42P07": "table_exists",
    "3D000": "no_such_database",
    "3F000": "no_such_schema",
    "28000": "authentication_failed",
    "28P01": "authentication_failed",
    "25006": "read_only",
    "57P04": "database_dropped",
    "58030": "io_error",
}
# A refused connection comes without its SQLSTATE, only with the text of the server (in English unless its
# lc_messages says otherwise; a text not found here is taken for a connection that may come back).
_REFUSED: Final = (
    (re.compile(r"password authentication failed|no password supplied|authentication failed", re.I),
     FaultKind.FATAL, "authentication_failed"),
    (re.compile(r"no pg_hba\.conf entry|pg_hba\.conf rejects|is not permitted to log in", re.I),
     FaultKind.FATAL, "authentication_failed"),
    (re.compile(r'role ".*" does not exist', re.I), FaultKind.FATAL, "authentication_failed"),
    (re.compile(r'database ".*" does not exist', re.I), FaultKind.FATAL, "no_such_database"),
    (re.compile(r"could not translate host name|failed to resolve host|Name or service not known", re.I),
     FaultKind.DISCONNECTED, "no_such_host"),
    (re.compile(r"too many clients|too many connections|remaining connection slots", re.I),
     FaultKind.TRANSIENT, "too_many_connections"),
    (re.compile(r"does not support SSL|certificate verify failed|root certificate|server certificate", re.I),
     FaultKind.FATAL, "tls_failed"),
    (re.compile(r"starting up|shutting down|recovery mode", re.I),
     FaultKind.DISCONNECTED, "server_not_ready"),
    (re.compile(r"timeout expired", re.I), FaultKind.DISCONNECTED, "connect_timeout"),
    (re.compile(r"connection refused", re.I), FaultKind.DISCONNECTED, "connection_refused"),
)  # fmt: skip
_COPY_CONTEXT: Final = re.compile(r"^COPY (.+?), line \d+, column ([^:\n]+?)(?::|$)", re.M)

# The first "line": what follows can quote the row, and with it whatever words it holds.
_COPY_LINE: Final = re.compile(r"^COPY .+?, line (\d+)", re.M)


def copied_line(error: psycopg.Error) -> int | None:
    """Return at which line of what was copied, from 1, the server stopped; None where it does not say."""
    found = _COPY_LINE.search(error.diag.context or "")
    return None if found is None else int(found[1])


class NoAnswer(psycopg.OperationalError):
    """The server did not answer within the time limit; the connection was broken off."""


class Aborted(psycopg.OperationalError):
    """The session was aborted and cannot be used any more."""


def classify(error: BaseException, display: str) -> Fault:
    """Say what an error raised by a session on the database ``display`` means."""
    if isinstance(error, NoAnswer):
        return Fault(FaultKind.DISCONNECTED, "no_answer", f"{display}: {error}")
    if isinstance(error, Aborted):
        return Fault(FaultKind.DISCONNECTED, "aborted", "the connection was broken off")
    if isinstance(error, UnicodeEncodeError):
        return Fault(FaultKind.DATA, "not_encodable", "a text has no UTF-8 form: half of a surrogate pair")
    if isinstance(error, psycopg.Error):
        if error.sqlstate is not None:
            return _of_state(error.sqlstate, error, display)
        return _without_state(error, display)
    if isinstance(error, OSError):
        return Fault(FaultKind.DISCONNECTED, "connection_lost", f"{display}: connection lost ({error})")
    return Fault(FaultKind.FATAL, "unexpected", f"unexpected {type(error).__name__} from psycopg")


def _of_state(state: str, error: psycopg.Error, display: str) -> Fault:
    diag = error.diag
    known = _DATA.get(state)
    if known is None and state[:2] in _DATA_CLASSES:
        known = _DATA_CLASSES[state[:2]]
    if known is not None:
        return _data(state, known, diag)
    # Of a lost connection or a deadlock the primary message says all; it never quotes values.
    said = (diag.message_primary or type(error).__name__).strip()
    if state[:2] not in _NAMING:
        said = "an error that is not known here, and whose words could quote a row; the server's log has them"
    if state in _TRANSIENT:
        return Fault(FaultKind.TRANSIENT, _TRANSIENT[state], f"{display}: {said}", state)
    if state in _DISCONNECTED or state[:2] == "08":
        code = _DISCONNECTED.get(state, "connection_lost")
        return Fault(FaultKind.DISCONNECTED, code, f"{display}: {said}", state)
    if state[:2] == "40":
        return Fault(FaultKind.TRANSIENT, "transaction_rollback", f"{display}: {said}", state)
    code = _FATAL.get(state, "database_error")
    return Fault(FaultKind.FATAL, code, f"{display}: {said}", state, diag.table_name)


def _data(state: str, known: tuple[str, str], diag: errors.Diagnostic) -> Fault:
    code, message = known
    table, column = diag.table_name, diag.column_name
    if table is None or column is None:
        context = _COPY_CONTEXT.search(diag.context or "")
        if context is not None and (table is None or table == context[1]):
            table, column = context[1], context[2]
    where = ".".join(part for part in (table, column) if part)
    if where:
        message = f"{message}: {where}"
    if diag.constraint_name:
        message = f"{message} (constraint {diag.constraint_name})"
    return Fault(FaultKind.DATA, code, message, state, table, column)


def _without_state(error: psycopg.Error, display: str) -> Fault:
    text = str(error)
    if isinstance(error, psycopg.DataError):
        # Raised by the driver when it cannot put a value into the protocol: a NUL in a text.
        return Fault(FaultKind.DATA, "not_encodable", "a value has no form that PostgreSQL takes")
    if isinstance(error, psycopg.ProgrammingError | psycopg.NotSupportedError):
        return Fault(FaultKind.FATAL, "driver_error", f"{display}: {_last_line(text)}")
    for pattern, kind, code in _REFUSED:
        if pattern.search(text):
            return Fault(kind, code, f"{display}: {_last_line(text)}")
    return Fault(FaultKind.DISCONNECTED, "connection_lost", f"{display}: {_last_line(text)}")


def _last_line(text: str) -> str:
    """What libpq says, on one line; it names host, port, user and database, never the password."""
    return "; ".join(line.strip() for line in text.splitlines() if line.strip())[:500] or "connection lost"
