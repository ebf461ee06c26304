"""Errors that are hard to provoke, by their codes."""

from __future__ import annotations

import sqlite3

import psycopg
import pytest

from xml_extractor.engines import postgresql_errors, sqlite_errors
from xml_extractor.engines.base import FaultKind

SECRET = "Geheimnis"


@pytest.mark.parametrize(
    ("state", "kind", "code"),
    [
        ("08006", FaultKind.DISCONNECTED, "connection_lost"),
        ("57P01", FaultKind.DISCONNECTED, "server_shutdown"),
        ("57P02", FaultKind.DISCONNECTED, "server_crash"),
        ("57P03", FaultKind.DISCONNECTED, "server_not_ready"),
        ("25P03", FaultKind.DISCONNECTED, "idle_in_transaction_timeout"),
        ("57P04", FaultKind.FATAL, "database_dropped"),
        ("53100", FaultKind.FATAL, "disk_full"),
        ("53200", FaultKind.TRANSIENT, "out_of_memory"),
        ("53300", FaultKind.TRANSIENT, "too_many_connections"),
        ("40001", FaultKind.TRANSIENT, "serialization_failure"),
        ("40P01", FaultKind.TRANSIENT, "deadlock"),
        ("55P03", FaultKind.TRANSIENT, "lock_not_available"),
        ("57014", FaultKind.TRANSIENT, "statement_timeout"),
        ("28P01", FaultKind.FATAL, "authentication_failed"),
        ("3D000", FaultKind.FATAL, "no_such_database"),
        ("42501", FaultKind.FATAL, "permission_denied"),
        ("42P01", FaultKind.FATAL, "no_such_table"),
        ("25006", FaultKind.FATAL, "read_only"),
        ("58030", FaultKind.FATAL, "io_error"),
        ("XX000", FaultKind.FATAL, "database_error"),
        ("23505", FaultKind.DATA, "unique_violation"),
        ("23P01", FaultKind.DATA, "exclusion_violation"),
        ("22012", FaultKind.DATA, "data_exception"),
        ("23001", FaultKind.DATA, "constraint_violation"),
        ("54000", FaultKind.DATA, "too_long"),
    ],
)
def test_states(state: str, kind: FaultKind, code: str) -> None:
    error = type("Error", (psycopg.DatabaseError,), {"sqlstate": state})("ERROR: " + SECRET)
    fault = postgresql_errors.classify(error, "PostgreSQL database d")
    assert (fault.kind, fault.code, fault.native_code) == (kind, code, state)
    assert SECRET not in fault.message


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        (
            'connection failed: FATAL:  password authentication failed for user "u"',
            FaultKind.FATAL,
            "authentication_failed",
        ),
        ("connection failed: fe_sendauth: no password supplied", FaultKind.FATAL, "authentication_failed"),
        ('FATAL:  no pg_hba.conf entry for host "1.2.3.4"', FaultKind.FATAL, "authentication_failed"),
        ('FATAL:  database "d" does not exist', FaultKind.FATAL, "no_such_database"),
        ('FATAL:  role "u" does not exist', FaultKind.FATAL, "authentication_failed"),
        ("FATAL:  sorry, too many clients already", FaultKind.TRANSIENT, "too_many_connections"),
        ("FATAL:  the database system is starting up", FaultKind.DISCONNECTED, "server_not_ready"),
        (
            "failed to resolve host 'nowhere': Name or service not known",
            FaultKind.DISCONNECTED,
            "no_such_host",
        ),
        ("server does not support SSL, but SSL was required", FaultKind.FATAL, "tls_failed"),
        (
            "consuming input failed: SSL connection has been closed unexpectedly",
            FaultKind.DISCONNECTED,
            "connection_lost",
        ),
        (
            "consuming input failed: SSL error: unexpected eof while reading",
            FaultKind.DISCONNECTED,
            "connection_lost",
        ),
        (
            "server closed the connection unexpectedly\n\tThis probably means",
            FaultKind.DISCONNECTED,
            "connection_lost",
        ),
        ("the connection is closed", FaultKind.DISCONNECTED, "connection_lost"),
    ],
)
def test_errors_of_the_connection(text: str, kind: FaultKind, code: str) -> None:
    fault = postgresql_errors.classify(psycopg.OperationalError(text), "PostgreSQL database d")
    assert (fault.kind, fault.code) == (kind, code)
    assert "\n" not in fault.message


def test_broken_pipes_are_lost_connections() -> None:
    fault = postgresql_errors.classify(BrokenPipeError(32, "Broken pipe"), "d")
    assert fault.kind is FaultKind.DISCONNECTED


@pytest.mark.parametrize(
    ("name", "kind", "code"),
    [
        ("SQLITE_BUSY", FaultKind.TRANSIENT, "locked"),
        ("SQLITE_BUSY_SNAPSHOT", FaultKind.TRANSIENT, "locked"),
        ("SQLITE_LOCKED_SHAREDCACHE", FaultKind.TRANSIENT, "locked"),
        ("SQLITE_FULL", FaultKind.FATAL, "disk_full"),
        ("SQLITE_IOERR_WRITE", FaultKind.FATAL, "io_error"),
        ("SQLITE_CORRUPT_INDEX", FaultKind.FATAL, "corrupt"),
        ("SQLITE_READONLY_DIRECTORY", FaultKind.FATAL, "read_only"),
        ("SQLITE_CANTOPEN", FaultKind.FATAL, "cannot_open"),
        ("SQLITE_NOMEM", FaultKind.FATAL, "out_of_memory"),
        ("SQLITE_TOOBIG", FaultKind.DATA, "too_long"),
        ("SQLITE_MISMATCH", FaultKind.DATA, "wrong_type"),
        ("SQLITE_CONSTRAINT_TRIGGER", FaultKind.DATA, "raised_by_trigger"),
        ("SQLITE_CONSTRAINT_DATATYPE", FaultKind.DATA, "wrong_type"),
        ("SQLITE_CONSTRAINT_SOMETHING_NEW", FaultKind.DATA, "constraint_violation"),
    ],
)
def test_sqlite_names(name: str, kind: FaultKind, code: str) -> None:
    error = sqlite3.DatabaseError(SECRET)
    error.sqlite_errorname = name  # type: ignore[misc]
    fault = sqlite_errors.classify(error, "x.db")
    assert (fault.kind, fault.code, fault.native_code) == (kind, code, name)
    assert SECRET not in fault.message


@pytest.mark.parametrize(
    ("text", "table", "column"),
    [
        ("UNIQUE constraint failed: t.a", "t", "a"),
        ("UNIQUE constraint failed: t.a, t.b", "t", None),
        ("NOT NULL constraint failed: odd name.the column", "odd name", "the column"),
    ],
)
def test_sqlite_tables_and_columns(text: str, table: str, column: str | None) -> None:
    error = sqlite3.IntegrityError(text)
    error.sqlite_errorname = "SQLITE_CONSTRAINT_UNIQUE"  # type: ignore[misc]
    fault = sqlite_errors.classify(error, "x.db")
    assert (fault.table, fault.column) == (table, column)
