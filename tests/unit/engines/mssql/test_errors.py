"""What SQL Server's errors mean, by messages recorded from the three drivers and by sys.messages' texts."""

from __future__ import annotations

import pickle
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from xml_extractor.engines.base import Fault, FaultKind
from xml_extractor.engines.mssql import error_codes
from xml_extractor.engines.mssql.error_texts import number_by_text
from xml_extractor.engines.mssql.errors import (
    Aborted,
    BulkCopyMisread,
    ClaimConflict,
    CoreFailure,
    NoAnswer,
    classify,
)
from xml_extractor.engines.mssql.native_errors import keep_diagnostics, native_errors

DATA, TRANSIENT = FaultKind.DATA, FaultKind.TRANSIENT
DISCONNECTED, FATAL = FaultKind.DISCONNECTED, FaultKind.FATAL
DISPLAY = "SQL Server database d on h"
SECRET = "Geheimnis"
LAYERS = "[Microsoft][ODBC Driver 18 for SQL Server]"
SERVER = LAYERS + "[SQL Server]"


class PyodbcError(Exception):
    """Stands for pyodbc's: they are known by their module, so that this test needs no ODBC library."""

    __module__ = "pyodbc"


class MssqlPythonError(Exception):
    """Stands for mssql-python's, with its two attributes."""

    __module__ = "mssql_python.exceptions"

    def __init__(self, driver_error: str, ddbc_error: str) -> None:
        self.driver_error = driver_error
        self.ddbc_error = ddbc_error
        super().__init__(f"Driver Error: {driver_error}; DDBC Error: {ddbc_error}")


def pyodbc_error(state: str, *records: tuple[str, int], call: str = "SQLExecDirectW") -> PyodbcError:
    """As pyodbc writes the server's records."""
    text = "; ".join(f"[{state}] {SERVER}{text} ({number}) ({call})" for text, number in records)
    return PyodbcError(state, text)


def core_error(
    *records: tuple[str, int], severity: int = 16, doing: str = "Query execution failed"
) -> Exception:
    """As the TDS library under mssql-python writes the server's records."""
    return RuntimeError(
        f"{doing}: "
        + "\n".join(
            f"Sql Error: {number}: Class {severity}: State 1: {text} on SRV in  at line 1"
            for text, number in records
        )
    )


def of(error: BaseException) -> Fault:
    return classify(error, DISPLAY)


# ------------------------------------------------------------------------------ the server's own texts

# (number, SQLSTATE, text as sys.messages has it, kind, code, table, column)
MESSAGES: list[tuple[int, str, str, FaultKind, str, str | None, str | None]] = [
    (515, "23000", "Cannot insert the value NULL into column 'amount', table 'd.dbo.app_base'; column "
     "does not "
     "allow nulls. INSERT fails.", DATA, "not_null_violation", "dbo.app_base", "amount"),
    (547, "23000", 'The INSERT statement conflicted with the CHECK constraint "ck_q". The conflict '
     'occurred in '
     "database \"d\", table \"dbo.app\", column 'q'.", DATA, "check_violation", "dbo.app", "q"),
    (547, "23000", 'The INSERT statement conflicted with the CHECK constraint "ck_q". The conflict '
     'occurred in '
     'database "d", table "dbo.app".', DATA, "check_violation", "dbo.app", None),
    (547, "23000", 'The INSERT statement conflicted with the FOREIGN KEY constraint "fk_a". The '
     'conflict occurred '
     "in database \"d\", table \"dbo.parent\", column 'id'.", DATA, "foreign_key_violation", None, None),
    (547, "23000", 'The INSERT statement conflicted with the FOREIGN KEY SAME TABLE constraint "fk_a". The '
     "conflict occurred in database \"d\", table \"dbo.parent\", column 'id'.",
     DATA, "foreign_key_violation", None, None),
    (547, "23000", 'The DELETE statement conflicted with the REFERENCE constraint "fk_a". The conflict '
     'occurred '
     "in database \"d\", table \"dbo.child\", column 'id'.", DATA, "foreign_key_violation", None, None),
    (2627, "23000", "Violation of PRIMARY KEY constraint 'PK_app'. Cannot insert duplicate key in object "
     f"'dbo.app'. The duplicate key value is ({SECRET}; (1205) [08S01]).",
     DATA, "unique_violation", "dbo.app", None),
    (2601, "23000", "Cannot insert duplicate key row in object 'dbo.app' with unique index 'ix'. The "
     "duplicate "
     f"key value is (1, {SECRET}).", DATA, "unique_violation", "dbo.app", None),
    (2628, "22001", "String or binary data would be truncated in table 'd.dbo.app', column 'name'. Truncated "
     f"value: '{SECRET}'.", DATA, "too_long", "dbo.app", "name"),
    (8152, "22001", "String or binary data would be truncated.", DATA, "too_long", None, None),
    (220, "22003", "Arithmetic overflow error for data type tinyint, value = 471147.",
     DATA, "out_of_range", None, None),
    (8115, "22003", "Arithmetic overflow error converting nvarchar to data type numeric.",
     DATA, "out_of_range", None, None),
    (241, "22007", "Conversion failed when converting date and/or time from character string.",
     DATA, "not_convertible", None, None),
    (242, "22007", "The conversion of a varchar data type to a datetime data type resulted in an "
     "out-of-range "
     "value.", DATA, "out_of_range", None, None),
    (245, "22018", f"Conversion failed when converting the varchar value '{SECRET}' to data type int.",
     DATA, "not_convertible", None, None),
    (8114, "42000", "Error converting data type nvarchar to numeric.", DATA, "not_convertible", None, None),
    (8169, "42000", "Conversion failed when converting from a character string to uniqueidentifier.",
     DATA, "not_convertible", None, None),
    (9420, "42000", "XML parsing: line 1, character 5, illegal xml character",
     DATA, "not_convertible", None, None),
    (13609, "42000", f"JSON text is not properly formatted. Unexpected character '{SECRET}' is found at "
     f"position 1.",
     DATA, "not_convertible", None, None),
    (50000, "42000", f"{SECRET} is not wanted here", DATA, "raised_by_trigger", None, None),
    (51234, "42000", f"{SECRET} is not wanted here", DATA, "raised_by_trigger", None, None),
    (3609, "42000", "The transaction ended in the trigger. The batch has been aborted.",
     DATA, "raised_by_trigger", None, None),
    (1205, "40001", "Transaction (Process ID 52) was deadlocked on lock resources with another process "
     "and has "
     "been chosen as the deadlock victim. Rerun the transaction.", TRANSIENT, "deadlock", None, None),
    (1222, "42000", "Lock request time out period exceeded.", TRANSIENT, "lock_timeout", None, None),
    (3960, "HY000", "Snapshot isolation transaction aborted due to update conflict.",
     TRANSIENT, "serialization_failure", None, None),
    (3930, "42000", "The current transaction cannot be committed and cannot support operations that "
     "write to the "
     "log file. Roll back the transaction.", TRANSIENT, "transaction_rollback", None, None),
    (701, "42000", "There is insufficient system memory in resource pool 'default' to run this query.",
     TRANSIENT, "out_of_memory", None, None),
    (8645, "42000", "A timeout occurred while waiting for memory resources to execute the query in "
     "resource pool "
     "'default' (2). Rerun the query.", TRANSIENT, "out_of_memory", None, None),
    (40501, "42000", "The service is currently busy. Retry the request after 10 seconds. Incident ID: "
     "1. Code: 2.",
     TRANSIENT, "throttled", None, None),
    (10928, "42000", "Resource ID : 1. The request limit for the database is 60 and has been reached. See "
     "'http://go.microsoft.com/fwlink/?LinkId=267637' for assistance.", TRANSIENT, "throttled", None, None),
    (40197, "42000", "The service has encountered an error processing your request. Please try again. Error "
     "code 40166.", DISCONNECTED, "connection_lost", None, None),
    (40613, "08001", "Database 'd' on server 's' is not currently available.  Please retry the "
     "connection later.",
     DISCONNECTED, "server_not_ready", None, None),
    (596, "HY000", "Cannot continue the execution because the session is in the kill state.",
     DISCONNECTED, "session_killed", None, None),
    (6005, "08001", "SHUTDOWN is in progress.", DISCONNECTED, "server_shutdown", None, None),
    (17142, "08001", "SQL Server service has been paused. No new connections will be allowed.",
     DISCONNECTED, "server_not_ready", None, None),
    (4060, "42000", 'Cannot open database "d" requested by the login. The login failed.',
     DISCONNECTED, "no_such_database", None, None),
    (3902, "25000", "The COMMIT TRANSACTION request has no corresponding BEGIN TRANSACTION.",
     DISCONNECTED, "transaction_lost", None, None),
    (18456, "28000", "Login failed for user 'loader'.", FATAL, "authentication_failed", None, None),
    (911, "08004", "Database 'd' does not exist. Make sure that the name is entered correctly.",
     FATAL, "no_such_database", None, None),
    (208, "42S02", "Invalid object name 'dbo.app'.", FATAL, "no_such_table", None, None),
    (207, "42S22", "Invalid column name 'x'.", FATAL, "no_such_column", None, None),
    (2714, "42S01", "There is already an object named 'app' in the database.",
     FATAL, "table_exists", None, None),
    (2760, "42000", "The specified schema name \"s\" either does not exist or you do not have "
     "permission to use it.",
     FATAL, "no_such_schema", None, None),
    (229, "42000", "The INSERT permission was denied on the object 'app', database 'd', schema 'dbo'.",
     FATAL, "permission_denied", None, None),
    (262, "42000", "CREATE TABLE permission denied in database 'd'.", FATAL, "permission_denied", None, None),
    (3906, "HY000", "Failed to update database \"d\" because the database is read-only.",
     FATAL, "read_only", None, None),
    (1105, "42000", "Could not allocate space for object 'dbo.app'.'PK_app' in database 'd' because the "
     "'PRIMARY' "
     "filegroup is full. Create disk space by deleting unneeded files.", FATAL, "disk_full", None, None),
    (9002, "42000", "The transaction log for database 'd' is full due to 'LOG_BACKUP'.",
     FATAL, "log_full", None, None),
    (102, "42000", "Incorrect syntax near 'FROMM'.", FATAL, "syntax_error", None, None),
]  # fmt: skip


@pytest.mark.parametrize(("number", "state", "text", "kind", "code", "table", "column"), MESSAGES)
def test_the_servers_texts_over_every_driver(
    number: int, state: str, text: str, kind: FaultKind, code: str, table: str | None, column: str | None
) -> None:
    kept = MssqlPythonError("General error", f"[Microsoft][SQL Server]{text}")
    keep_diagnostics(kept, [(f"[{state}] ({number})", SERVER + text)])
    for error in (pyodbc_error(state, (text, number)), core_error((text, number)), kept):
        fault = of(error)
        assert (fault.kind, fault.code, fault.native_code) == (kind, code, str(number))
        assert (fault.table, fault.column) == (table, column)
        assert SECRET not in fault.message
        assert "471147" not in fault.message
        assert fault.slow is (code == "throttled")


# What mssql-python says for the SQLSTATEs in MESSAGES; all of its words are in its exceptions.py.
DRIVER_ERRORS = {
    "08001": "Client unable to establish connection",
    "08004": "Server rejected the connection",
    "22001": "String data, right-truncated",
    "22003": "Numeric value out of range",
    "22007": "Invalid datetime format",
    "22018": "Invalid character value for cast specification",
    "23000": "Integrity constraint violation",
    "25000": "Invalid transaction state",
    "28000": "Invalid authorization specification",
    "40001": "Serialization failure",
    "42000": "Syntax error or access violation",
    "42S01": "Base table or view already exists",
    "42S02": "Base table or view not found",
    "42S22": "Column not found",
    "HY000": "General error",
}


@pytest.mark.parametrize(
    ("number", "state", "text", "kind", "code", "table", "column"),
    [message for message in MESSAGES if message[0] < error_codes.FIRST_RAISED],
)
def test_the_servers_texts_without_their_numbers(
    number: int, state: str, text: str, kind: FaultKind, code: str, table: str | None, column: str | None
) -> None:
    fault = of(MssqlPythonError(DRIVER_ERRORS[state], f"[Microsoft][SQL Server]{text}"))
    assert fault.kind is kind, number
    if kind is not DATA:  # of data errors the SQLSTATE may tell less than the number
        assert fault.code == code
    assert fault.native_code == state  # a number that was not given is not made up
    assert (fault.table, fault.column) == (table, column)
    assert SECRET not in fault.message


def test_without_a_number_unknown_words_are_not_passed_on() -> None:
    fault = of(
        MssqlPythonError("Syntax error or access violation", f"[Microsoft][SQL Server]{SECRET} refused")
    )
    assert (fault.kind, fault.code) == (FATAL, "database_error")
    assert SECRET not in fault.message


@pytest.mark.parametrize(
    "text",
    [
        f"Something new about '{SECRET}'",
        f"Something new about 'it's {SECRET}' here",
        f'Something new about "{SECRET}"',
        f"Something new ({SECRET})",
        f"Something new, value = {SECRET}",
    ],
)
def test_unknown_numbers_keep_quoted_parts_private(text: str) -> None:
    for error in (pyodbc_error("42000", (text, 9999)), core_error((text, 9999))):
        fault = of(error)
        assert (fault.kind, fault.code, fault.native_code) == (FATAL, "database_error", "9999")
        assert "Something new" in fault.message
        assert SECRET not in fault.message


def test_unknown_numbers_go_by_their_sqlstate() -> None:
    assert of(pyodbc_error("22008", (SECRET, 9999))).code == "out_of_range"
    assert of(pyodbc_error("23000", (SECRET, 9999))).code == "constraint_violation"
    assert of(pyodbc_error("08S01", ("gone", 9999))).kind is DISCONNECTED


def test_a_severe_error_ends_the_connection() -> None:
    assert of(core_error(("gone", 9999), severity=20)).kind is DISCONNECTED
    assert of(core_error(("gone", 9999), severity=19)).kind is FATAL


def test_advice_and_names_are_in_the_message() -> None:
    assert "log_reuse_wait_desc" in of(core_error(("The transaction log is full.", 9002))).message
    assert "parent row" in of(pyodbc_error(*_message(547, "FOREIGN KEY constraint"))).message
    assert "constraint fk_a" in of(pyodbc_error(*_message(547, "FOREIGN KEY constraint"))).message
    assert "dbo.parent" in of(pyodbc_error(*_message(547, "FOREIGN KEY constraint"))).message
    assert "'loader'" in of(pyodbc_error(*_message(18456, "Login"))).message


def _message(number: int, part: str) -> tuple[str, tuple[str, int]]:
    return next((state, (text, n)) for n, state, text, *_ in MESSAGES if n == number and part in text)


def test_numbers_stand_in_one_table_only() -> None:
    tables: list[set[int]] = [
        set(error_codes.DATA), set(error_codes.TRANSIENT), set(error_codes.DISCONNECTED),
        set(error_codes.FATAL), set(error_codes.THROTTLED),
    ]  # fmt: skip
    assert sum(map(len, tables)) == len(set().union(*tables))


# Microsoft's list for its drivers, then Entity Framework Core's additions.
RETRIED = [
    233, 997, 1204, 1205, 1222, 4060, 4221, 10060, 10928, 10929, 40143, 40197, 40501, 40540, 40613, 42108,
    42109, 49918, 49919, 49920,
    20, 64, 121, 601, 921, 3960, 3966, 8628, 8645, 8651, 10053, 10054, 10922, 10930, 10936, 11001, 35216,
    41301, 41302, 41305, 41325, 41839,
]  # fmt: skip


@pytest.mark.parametrize("number", RETRIED)
def test_all_that_microsoft_retries_is_retried(number: int) -> None:
    assert of(core_error(("anything", number))).kind in (TRANSIENT, DISCONNECTED)
    assert of(pyodbc_error("42000", ("anything", number))).kind in (TRANSIENT, DISCONNECTED)


# ------------------------------------------------------------------------------ several records


@pytest.mark.parametrize("make", [lambda *r: pyodbc_error("23000", *r), core_error])
def test_several_records(make: Any) -> None:
    terminated = ("The statement has been terminated.", 3621)
    assert of(
        make(("Cannot insert the value NULL into column 'a', table 'd.s.t'; x", 515), terminated)
    ).code == ("not_null_violation")
    assert of(make(terminated, ("", 2627))).code == "unique_violation"
    assert of(make(("no", 50001), ("The transaction ended in the trigger.", 3609))).native_code == "50001"
    assert of(make(("a", 2627), ("kill state", 596))).code == "session_killed"
    assert of(make(("a", 547), ("deadlock", 1205))).code == "deadlock"
    assert (
        of(make(("Login failed for user 'u'.", 18456), ('Cannot open database "d"', 4060))).native_code
        == "4060"
    )
    # A batch that goes on after a refused row, to a COMMIT that finds no transaction any more.
    assert of(make(("a", 547), ("b", 3902))).kind is DATA
    assert of(make(("b", 3902))).kind is DISCONNECTED


@pytest.mark.parametrize("make", [lambda *r: pyodbc_error("42000", *r), core_error])
def test_rows_in_the_way_of_a_key_are_told_from_other_reasons_why_it_is_not_built(make: Any) -> None:
    unbuilt = ("Could not create constraint or index. See previous errors.", 1750)
    repeated = (
        "The CREATE UNIQUE INDEX statement terminated because a duplicate key was found for the object name "
        f"'dbo.tag' and the index name 'PK_tag'. The duplicate key value is (17, {SECRET}; (1205) [08S01]).",
        1505,
    )
    orphan = (
        'The ALTER TABLE statement conflicted with the FOREIGN KEY constraint "FK_tag". The conflict '
        'occurred in database "d", table "dbo.note", column \'id\'.',
        547,
    )
    there = ("Table 'tag' already has a primary key defined on it.", 1779)
    assert (of(make(repeated, unbuilt)).kind, of(make(repeated, unbuilt)).code) == (DATA, "unique_violation")
    assert (of(make(orphan)).kind, of(make(orphan)).code) == (DATA, "constraint_violation")
    assert of(make(there, unbuilt)).kind is FaultKind.FATAL
    assert SECRET not in of(make(repeated, unbuilt)).message


def test_recorded_records_of_the_core() -> None:
    error = RuntimeError(
        "Query execution failed: Sql Error: 50000: Class 17: State 1: hello on BABELFISH in  at line 1\n"
        "Sql Error: 2627: Class 16: State 1: two\nlines on BABELFISH in dbo.p at line 12"
    )
    records = native_errors(error)
    assert [(r.number, r.severity, r.text) for r in records] == [
        (50000, 17, "hello"),
        (2627, 16, "two\nlines"),
    ]


# ------------------------------------------------------------------------------ recorded, Driver 18 on Linux


def driver(state: str, text: str, number: int, call: str = "SQLExecDirectW") -> PyodbcError:
    return PyodbcError(state, f"[{state}] {LAYERS}{text} ({number}) ({call})")


RECORDED: list[tuple[BaseException, FaultKind, str, str | None]] = [
    (driver("HYT00", "Login timeout expired", 0, "SQLDriverConnect"), DISCONNECTED, "connect_timeout",
     "HYT00"),
    (driver("HYT00", "Query timeout expired", 0), DISCONNECTED, "statement_timeout", "HYT00"),
    (driver("08S01", "TCP Provider: Error code 0x68", 104), DISCONNECTED, "connection_lost", "08S01"),
    (driver("08S01", "TCP Provider: Error code 0x2746", 10054), DISCONNECTED, "connection_lost", "08S01"),
    (driver("08S01", "Communication link failure", 0), DISCONNECTED, "connection_lost", "08S01"),
    (driver("08001", "TCP Provider: Error code 0x2AF9", 11001, "SQLDriverConnect"),
     DISCONNECTED, "no_such_host", "08001"),
    (driver("08001", "SSL Provider: [error:0A000086:SSL routines::certificate verify failed:self-signed "
            "certificate]", -1, "SQLDriverConnect"), FATAL, "tls_failed", "08001"),
    (driver("08001", "SSL Provider: The certificate chain was issued by an authority that is not trusted.",
            -2146893019, "SQLDriverConnect"), FATAL, "tls_failed", "08001"),
    (driver("08001", "SSL Provider: Encryption not supported on the client.", 21, "SQLDriverConnect"),
     FATAL, "tls_failed", "08001"),
    (driver("08S01", "SSL Provider: [error:0A000126:SSL routines::unexpected eof while reading]", -1),
     DISCONNECTED, "connection_lost", "08S01"),
    (driver("08001", "Client unable to establish connection because an error was encountered during "
     "handshakes "
            "before login. Common causes include …", 26, "SQLDriverConnect"),
     DISCONNECTED, "connection_lost", "08001"),
    (driver("22018", "Invalid character value for cast specification", 0, "SQLExecute"),
     DATA, "not_convertible", "22018"),
    (PyodbcError("01000", "[01000] [unixODBC][Driver Manager]Can't open lib 'x.so' : file not found (0) "
                 "(SQLDriverConnect)"), FATAL, "driver_missing", "01000"),
    (PyodbcError("HY000", "The driver did not supply an error!"), DISCONNECTED, "connection_lost", "HY000"),
    (PyodbcError("String data, right truncation: length 26 buffer 10", "HY000"), DATA, "too_long", "HY000"),
    (PyodbcError("Invalid parameter type.  param-index=0 param-type=object", "HY105"),
     FATAL, "driver_error", "HY105"),
    (PyodbcError("Attempt to use a closed connection."), DISCONNECTED, "connection_lost", None),
    (PyodbcError("The cursor's connection has been closed."), DISCONNECTED, "connection_lost", None),
    (MssqlPythonError("Client unable to establish connection", "[Microsoft]TCP Provider: Error code 0x2749"),
     DISCONNECTED, "connection_refused", "08001"),
    (MssqlPythonError("Client unable to establish connection", "[Microsoft]TCP Provider: Error code 0x2AF9"),
     DISCONNECTED, "no_such_host", "08001"),
    (MssqlPythonError("Client unable to establish connection", "[Microsoft]SSL Provider: [error:0A000086:SSL "
                      "routines::certificate verify failed:self-signed certificate]"),
     FATAL, "tls_failed", "08001"),
    (MssqlPythonError("Client unable to establish connection", "[Microsoft]SQL Server Network "
     "Interfaces: Error "
                      "Locating Server/Instance Specified [xFFFFFFFF]. "),
     DISCONNECTED, "no_such_instance", "08001"),
    (MssqlPythonError("Communication link failure", "[Microsoft]TCP Provider: Error code 0x68"),
     DISCONNECTED, "connection_lost", "08S01"),
    (MssqlPythonError("Cannot create cursor on closed connection", "Cannot create cursor on closed "
     "connection"),
     DISCONNECTED, "connection_lost", None),
    (MssqlPythonError("Operation cannot be performed: The cursor is closed.", ""),
     DISCONNECTED, "connection_lost", None),
    (MssqlPythonError("Timeout expired", "[Microsoft]Query timeout expired"),
     DISCONNECTED, "statement_timeout", "HYT00"),
    (MssqlPythonError("An error occurred with SQLSTATE code: 08S02", "[Microsoft]gone"),
     DISCONNECTED, "connection_lost", "08S02"),
    (MssqlPythonError("COUNT field incorrect", "[Microsoft]COUNT field incorrect or syntax error"),
     FATAL, "driver_error", "07002"),
    (RuntimeError("Failed to connect to SQL Server: IO error: Connection refused (os error 111)"),
     DISCONNECTED, "connection_refused", None),
    (RuntimeError("Failed to connect to SQL Server: IO error: failed to lookup address information: Name or "
                  "service not known"), DISCONNECTED, "no_such_host", None),
    (RuntimeError("Failed to connect to SQL Server: TLS handshake failed while connecting to '127.0.0.1': "
                  "error:0A000086:SSL routines:tls_post_process_server_certificate:certificate verify failed:"
                  "../ssl/statem/statem_clnt.c:1889: (self-signed certificate). Certificate SANs: "
                  "(unavailable)"),
     FATAL, "tls_failed", None),
    (RuntimeError("Failed to connect to SQL Server: IO error: Connection reset by peer (os error 104)"),
     DISCONNECTED, "connection_lost", None),
    (RuntimeError("Failed to connect to SQL Server: Sql Error: 18456: Class 14: State 1: Login failed "
     "for user "
                  '"u" on BABELFISH in  at line 1'), FATAL, "authentication_failed", "18456"),
    (RuntimeError("Failed to connect to SQL Server: Connection Error: Error Locating Server/Instance "
     "Specified "
                  "[127.0.0.1\\NOPE]. Ensure the instance name is correct"),
     DISCONNECTED, "no_such_instance", None),
    (RuntimeError("Query execution failed: IO error: Connection reset by peer (os error 104)"),
     DISCONNECTED, "connection_lost", None),
    (RuntimeError("Query execution failed: Connection closed: Connection is dead and session recovery is "
                  "unavailable"), DISCONNECTED, "connection_lost", None),
    (RuntimeError("Connection is closed"), DISCONNECTED, "connection_lost", None),
    (RuntimeError("Bulk copy operation timed out after 30 seconds"), DISCONNECTED, "statement_timeout", None),
    (RuntimeError("Failed to retrieve destination metadata: Sql Error: 208: Class 16: State 1: Invalid "
     "object name "
                  "'nope'. on SRV in  at line 1"), FATAL, "no_such_table", "208"),
    (RuntimeError("Unable to cast Python instance of type <class 'str'> to C++ type '?' (#define "
                  "PYBIND11_DETAILED_ERROR_MESSAGES or compile in debug mode for details)"),
     DATA, "not_encodable", None),
    (UnicodeEncodeError("utf-16-le", "\ud800", 0, 1, "surrogates not allowed"), DATA, "not_encodable", None),
    (OverflowError("int too big to convert"), DATA, "out_of_range", None),
    (BrokenPipeError(32, "Broken pipe"), DISCONNECTED, "connection_lost", None),
    (RuntimeError("generator raised StopIteration"), FATAL, "unexpected", None),
    (RuntimeError("Sql Errors are many"), FATAL, "unexpected", None),
    (ValueError("Failed to fetch row: x"), FATAL, "unexpected", None),
    (KeyError("x"), FATAL, "unexpected", None),
    (KeyboardInterrupt(), FATAL, "unexpected", None),
]  # fmt: skip


@pytest.mark.parametrize(("error", "kind", "code", "native"), RECORDED)
def test_recorded_errors_of_drivers_and_network(
    error: BaseException, kind: FaultKind, code: str, native: str | None
) -> None:
    fault = of(error)
    assert (fault.kind, fault.code, fault.native_code) == (kind, code, native)
    assert "\n" not in fault.message
    assert "[Microsoft]" not in fault.message


def test_tls_failures_say_what_to_do() -> None:
    tls = [error for error, _, code, _ in RECORDED if code == "tls_failed"]
    assert tls
    for error in tls:
        assert "--trust-server-certificate" in of(error).message


@pytest.mark.parametrize(
    ("text", "kind", "code"),
    [
        ('relation "nope" does not exist', FATAL, "no_such_table"),
        ('column "nope" does not exist', FATAL, "no_such_column"),
        ('column "nope" of relation "p" does not exist', FATAL, "no_such_column"),
        ('schema "nosch" does not exist', FATAL, "no_such_schema"),
        ('relation "p" already exists', FATAL, "table_exists"),
        ("permission denied for table p", FATAL, "permission_denied"),
        (f'invalid input syntax for type integer: "{SECRET}"', DATA, "not_convertible"),
        (f'date/time field value out of range: "{SECRET}"', DATA, "out_of_range"),
        ("numeric field overflow", DATA, "out_of_range"),
        ("value too long for type character varying(5)", DATA, "too_long"),
        ("invalid UTF16 byte sequence - code point 0 not supported", DATA, "not_encodable"),
        ('invalid byte sequence for encoding "WIN1252": 0x00', DATA, "not_encodable"),
        ('duplicate key value violates unique constraint "p_pkey"', DATA, "unique_violation"),
        ('insert or update on table "k" violates foreign key constraint "f"', DATA, "foreign_key_violation"),
        (
            'null value in column "nn" of relation "p" violates not-null constraint',
            DATA,
            "not_null_violation",
        ),
        ('new row for relation "k" violates check constraint "ck_q"', DATA, "check_violation"),
        ("deadlock detected", TRANSIENT, "deadlock"),
        ("canceling statement due to lock timeout", TRANSIENT, "lock_timeout"),
        ("canceling statement due to statement timeout", TRANSIENT, "statement_timeout"),
        ("terminating connection due to administrator command", DISCONNECTED, "server_shutdown"),
        (f"procedure {SECRET.lower()}(integer) does not exist", FATAL, "database_error"),
    ],
)
def test_servers_that_only_speak_the_protocol(text: str, kind: FaultKind, code: str) -> None:
    """As Babelfish 4.3 says it, under the number that it has for most errors."""
    for error in (
        pyodbc_error("42000", (text, error_codes.FOREIGN)),
        core_error((text, error_codes.FOREIGN)),
    ):
        fault = of(error)
        assert (fault.kind, fault.code, fault.native_code) == (kind, code, "33557097")
        assert SECRET not in fault.message
    fault = of(MssqlPythonError("Syntax error or access violation", f"[Microsoft][SQL Server]{text}"))
    assert (fault.kind, fault.code) == (kind, code)


def test_names_in_the_other_servers_words() -> None:
    text = 'null value in column "nn" of relation "p" violates not-null constraint'
    fault = of(pyodbc_error("23000", (text, 515)))
    assert (fault.table, fault.column) == ("p", "nn")


# ------------------------------------------------------------------------------ the session's own


@pytest.mark.parametrize(
    ("error", "kind", "code"),
    [
        (NoAnswer("no answer within 60 s"), DISCONNECTED, "no_answer"),
        (Aborted(), DISCONNECTED, "aborted"),
        (ClaimConflict("…"), TRANSIENT, "claim_conflict"),
        (BulkCopyMisread("…"), TRANSIENT, "bulk_copy_misread"),
        (CoreFailure("…"), DISCONNECTED, "connection_lost"),
    ],
)
def test_errors_of_the_session(error: Exception, kind: FaultKind, code: str) -> None:
    fault = of(pickle.loads(pickle.dumps(error)))
    assert (fault.kind, fault.code) == (kind, code)
    assert len(fault.message) > len(DISPLAY) + 2


# ------------------------------------------------------------------------------ anything in a message

HOSTILE = st.one_of(
    st.text(),
    st.lists(
        st.sampled_from([
            " (1205)", " (SQLExecDirectW)", "; ", "[40001] ", LAYERS, SERVER, "Sql Error: 1205: Class "
            "13: State 1: ",
            "\n", " on S in P at line 3", "'", '"', "(", "]", "x", " (0) (SQLExecute); [08S01] ", SECRET,
        ]),
        max_size=12,
    ).map("".join),
)  # fmt: skip


def forged(text: str) -> bool:
    """Whether the text holds all that ends one record and begins another: nobody could tell it apart."""
    return " (SQLExecDirectW); [" in text or ("at line 3\nSql Error: " in text)


@given(text=HOSTILE, state=st.from_regex(r"[0-9A-Z]{5}", fullmatch=True))
@example(text="x (1205) (SQLExecute); [40001] [Microsoft]", state="23000")
@example(text="x (1205) (SQLExecDirectW); y", state="23000")
@example(text="[Microsoft]", state="23000")
@example(text="\nSql Error: 1205: Class 13: State 1: a on b in c at line 1", state="23000")
def test_a_number_comes_from_its_place_only(text: str, state: str) -> None:
    if forged(text):
        return
    for error in (pyodbc_error(state, (text, 2627)), core_error((text, 2627))):
        assert [record.number for record in native_errors(error)] == [2627]
        fault = of(error)
        assert (fault.kind, fault.code, fault.native_code) == (DATA, "unique_violation", "2627")
    for number in (record.number for record in native_errors(MssqlPythonError("General error", text))):
        assert number is None


@given(text=HOSTILE)
def test_no_number_is_invented(text: str) -> None:
    for error in (
        PyodbcError(text),
        PyodbcError("23000", text),
        PyodbcError(text, "HY000"),
        driver("HY000", text, 1205),
    ):
        if SERVER not in text:
            assert all(record.number is None for record in native_errors(error))


@given(
    args=st.lists(st.one_of(HOSTILE, st.integers(), st.none(), st.binary(max_size=3)), max_size=3),
    kind=st.sampled_from([PyodbcError, RuntimeError, Exception, ValueError]),
)
def test_nothing_that_an_error_holds_makes_classify_fail(args: list[Any], kind: type[Exception]) -> None:
    fault = of(kind(*args))
    assert len(fault.message) < 1200
    assert "\n" not in fault.message


@given(driver_error=HOSTILE, said=HOSTILE)
def test_mssql_python_errors_never_fail(driver_error: str, said: str) -> None:
    fault = of(MssqlPythonError(driver_error, said))
    assert fault.native_code is None or len(fault.native_code) == 5


@given(value=st.text(min_size=1, alphabet=st.characters(exclude_categories=["Cs"])))
@pytest.mark.parametrize(
    ("template", "number"),
    [
        ("Violation of PRIMARY KEY constraint 'PK'. Cannot insert duplicate key in object 'dbo.t'. "
         "The duplicate key value is ({}).", 2627),
        ("String or binary data would be truncated in table 'd.dbo.t', column 'c'. Truncated value: "
         "'{}'.", 2628),
        ("Conversion failed when converting the varchar value '{}' to data type int.", 245),
        ("Arithmetic overflow error for data type tinyint, value = {}.", 220),
        ("{}", 50000),
    ],
)  # fmt: skip
def test_values_stay_private(template: str, number: int, value: str) -> None:
    marked = f"<<{value}>>"
    for error in (
        pyodbc_error("22018", (template.format(marked), number)),
        core_error((template.format(marked), number)),
    ):
        fault = of(error)
        assert "<<" not in fault.message
        assert "<<" not in (fault.table or "")
        assert "<<" not in (fault.column or "")


def test_a_drivers_own_words_stop_before_a_quoted_value() -> None:
    fault = of(PyodbcError(f"Cannot convert '{SECRET}'", "HY000"))
    assert fault.code == "driver_error"
    assert fault.message == f"{DISPLAY}: Cannot convert"


def test_messages_are_the_first_sentence_on_one_line() -> None:
    fault = of(pyodbc_error("28000", ("Login failed for\nuser 'u'.\nReason: none.", 18456)))
    assert fault.message == f"{DISPLAY}: Login failed for user 'u'"


def test_long_messages_are_cut() -> None:
    fault = of(pyodbc_error("42S02", ("Invalid object name '" + "x" * 5000, 208)))
    assert len(fault.message) < 600


def test_texts_fit_from_their_start_only() -> None:
    assert number_by_text("Lock request time out period exceeded.") == 1222
    assert number_by_text("He said: Lock request time out period exceeded.") is None
