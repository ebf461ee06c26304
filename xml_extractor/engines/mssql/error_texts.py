"""What an error's words tell where its number does not: which error it is, and which table it names.

mssql-python by itself does not pass the server's number on; the network's and the driver's own errors have
none; a server that only speaks SQL Server's protocol may give one number for all.  Every pattern for the
server's words fits from their start and stops before the first value that they can quote.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from xml_extractor.engines.base import FaultKind
from xml_extractor.engines.mssql.native_errors import NativeError

TRANSACTION_GONE: Final = 51_701
ROW_NOT_TAKEN: Final = 51_702
"""Numbers of the errors by which our own statements say that a row must not, or did not, go in."""

_NUMBERS: Final = tuple(
    (re.compile(pattern), number)
    for pattern, number in (
        (r"the transaction is gone$", TRANSACTION_GONE),
        (r"a row was not taken$", ROW_NOT_TAKEN),
        (r"Violation of (?:PRIMARY|UNIQUE) KEY constraint ", 2627),
        (r"Cannot insert duplicate key row in object ", 2601),
        (r"Cannot insert the value NULL into column ", 515),
        (r"The \w+ statement conflicted with the ", 547),
        (r"String or binary data would be truncated", 8152),
        (r"Arithmetic overflow error ", 8115),
        (r"The conversion of an? \S+ (?:data type|value) ", 242),
        (r"Conversion failed when converting ", 245),
        (r"Error converting data type ", 8114),
        (r"Adding a value to a '\w+' column caused an overflow", 517),
        (r"Cannot create a row of size ", 511),
        (r"XML parsing: ", 9400),
        (r"XML Validation: ", 6901),
        (r"JSON text is not properly formatted", 13609),
        (r"The transaction ended in the trigger", 3609),
        (r"Transaction \(Process ID \d+\) was deadlocked ", 1205),
        (r"Lock request time out period exceeded", 1222),
        (r"Snapshot isolation transaction (?:aborted|failed) ", 3960),
        (r"The current transaction cannot be committed", 3930),
        (r"The COMMIT TRANSACTION request has no corresponding", 3902),
        (r"There is insufficient system memory ", 701),
        (r"A time ?out occurred while waiting for memory resources", 8645),
        (r"The service has encountered an error processing your request", 40197),
        (r"The service is currently busy", 40501),
        (r"Resource ID ?: ", 10928),
        (r"Cannot process (?:request|create or update request)", 49918),
        (r"Database '[^']*' on server '[^']*' is not currently available", 40613),
        (r"Cannot open database \"", 4060),
        (r"Login failed for user ", 18456),
        (r"Cannot continue the execution because the session is in the kill state", 596),
        (r"SHUTDOWN is in progress", 6005),
        (r"SQL Server service has been paused", 17142),
        (r"Could not allocate (?:space for object|a new page) ", 1105),
        (r"The transaction log for database ", 9002),
        (r"The \w+(?: \w+)* permission was denied on the (?:object|column|schema|database) ", 229),
        (r"\w+(?: \w+)* permission (?:was )?denied ", 262),
        (r"Invalid object name ", 208),
        (r"Invalid column name ", 207),
        (r"There is already an object named ", 2714),
        (r"The specified schema name ", 2760),
        (r"Database '[^']*' does not exist", 911),
        (r"Failed to update database .* because the database is read-only", 3906),
        (r"Incorrect syntax near ", 102),
    )
)
"""The beginnings of sys.messages' English texts, where the SQLSTATE alone does not tell what to do."""

_OTHER_SERVERS: Final = tuple(
    (re.compile(pattern, re.I), kind, code)
    for pattern, kind, code in (
        (r"duplicate key value violates unique constraint", FaultKind.DATA, "unique_violation"),
        (r"null value in column .+? violates not-null constraint", FaultKind.DATA, "not_null_violation"),
        (r"(?:insert or update|update or delete) on table .+? violates foreign key constraint",
         FaultKind.DATA, "foreign_key_violation"),
        (r"new row for relation .+? violates check constraint|value for domain \S+ violates check constraint",
         FaultKind.DATA, "check_violation"),
        (r"value too long for type|row is too big|index row size", FaultKind.DATA, "too_long"),
        (r"numeric field overflow|(?:integer|smallint|bigint|tinyint|money) out of range"
         r"|value .*? is out of range for type|date/time field value out of range|data out of range for",
         FaultKind.DATA, "out_of_range"),
        (r"invalid input syntax for type|invalid XML content", FaultKind.DATA, "not_convertible"),
        (r"invalid (?:UTF16 )?byte sequence", FaultKind.DATA, "not_encodable"),
        (r"division by zero", FaultKind.DATA, "data_exception"),
        (r"relation \"[^\"]*\" does not exist|table \"[^\"]*\" does not exist",
         FaultKind.FATAL, "no_such_table"),
        (r"column \"[^\"]*\" (?:of relation \"[^\"]*\" )?does not exist", FaultKind.FATAL, "no_such_column"),
        (r"schema \"[^\"]*\" does not exist", FaultKind.FATAL, "no_such_schema"),
        (r"database \"[^\"]*\" does not exist", FaultKind.FATAL, "no_such_database"),
        (r"relation \"[^\"]*\" already exists", FaultKind.FATAL, "table_exists"),
        (r"permission denied|must be owner of", FaultKind.FATAL, "permission_denied"),
        (r"could not extend file|could not write .*: No space left", FaultKind.FATAL, "disk_full"),
        (r"cannot execute .* in a read-only transaction", FaultKind.FATAL, "read_only"),
        (r"deadlock detected", FaultKind.TRANSIENT, "deadlock"),
        (r"could not serialize access", FaultKind.TRANSIENT, "serialization_failure"),
        (r"canceling statement due to lock timeout", FaultKind.TRANSIENT, "lock_timeout"),
        (r"canceling statement due to", FaultKind.TRANSIENT, "statement_timeout"),
        (r"current transaction is aborted", FaultKind.TRANSIENT, "transaction_rollback"),
        (r"sorry, too many clients|remaining connection slots", FaultKind.TRANSIENT, "too_many_connections"),
        (r"out of memory", FaultKind.TRANSIENT, "out_of_memory"),
        (r"COMMIT can only be used in transaction blocks", FaultKind.DISCONNECTED, "transaction_lost"),
        (r"terminating connection", FaultKind.DISCONNECTED, "server_shutdown"),
        # What was still on the line when an error ended a copy is taken for the next request.
        (r"The incoming tabular data stream \(TDS\) Bulk Load Request",
         FaultKind.DISCONNECTED, "connection_lost"),
        (r"the database system is (?:starting|shutting|in recovery|not)",
         FaultKind.DISCONNECTED, "server_not_ready"),
    )
)  # fmt: skip
"""What servers say that speak SQL Server's protocol and are PostgreSQL underneath."""

_DRIVER: Final = tuple(
    (re.compile(pattern, re.I), kind, code)
    for pattern, kind, code in (
        (r"certificate verify failed|certificate chain|principal name is incorrect|Encryption not supported"
         r"|does not support encryption|wrong version number|unsupported protocol|handshake failure",
         FaultKind.FATAL, "tls_failed"),
        (r"Packet size too large for SSL", FaultKind.FATAL, "packet_too_large"),
        (r"Can't open lib|Data source name not found", FaultKind.FATAL, "driver_missing"),
        (r"String data, right truncation|Invalid string or buffer length", FaultKind.DATA, "too_long"),
        (r"Login timeout expired|Connect timeout expired|Connection timeout",
         FaultKind.DISCONNECTED, "connect_timeout"),
        (r"0x2AF9\b|0x2AFC\b|failed to lookup address|Name or service not known|No such host"
         r"|Temporary failure in name resolution|DNS resolution", FaultKind.DISCONNECTED, "no_such_host"),
        (r"Error Locating Server/Instance|Server is not found or not accessible",
         FaultKind.DISCONNECTED, "no_such_instance"),
        (r"0x2749\b|0x274D\b|0x6F\b|refused|Could not open a connection",
         FaultKind.DISCONNECTED, "connection_refused"),
        (r"Query timeout expired|timed out|Timeout Error", FaultKind.DISCONNECTED, "statement_timeout"),
        (r"Error code 0x|IO error|TLS handshake failed|SSL routines|Connection reset"
         r"|Broken pipe|Connection closed|Connection is (?:closed|dead)|closed connection"
         r"|connection has been closed|cursor is closed|Communication link failure|severe error occurred"
         r"|TDS (?:stream|packet)|did not supply an error",
         FaultKind.DISCONNECTED, "connection_lost"),
    )
)  # fmt: skip
"""What drivers, network and TLS library say."""


def number_by_text(text: str) -> int | None:
    """Return the number of the error in sys.messages whose English text begins like this one."""
    return next((number for pattern, number in _NUMBERS if pattern.match(text)), None)


def of_other_server(text: str) -> tuple[FaultKind, str] | None:
    """Return kind and code of an error in the words of a server that is not SQL Server itself."""
    return next(((kind, code) for pattern, kind, code in _OTHER_SERVERS if pattern.match(text)), None)


def of_driver(record: NativeError) -> tuple[FaultKind, str] | None:
    """Return kind and code of an error that driver, network or TLS library raised."""
    for pattern, kind, code in _DRIVER:
        if pattern.search(record.text):
            early = record.connecting and code == "statement_timeout"
            return kind, "connect_timeout" if early else code
    return None


@dataclass(frozen=True, slots=True)
class Names:
    """What an error's words name."""

    code: str | None = None
    """A more exact code than the number gives."""
    table: str | None = None
    column: str | None = None
    constraint: str | None = None
    other: str | None = None
    """The table at the other end of a foreign key: SQL Server names this one, and not the row's own."""


_NAMING: Final = tuple(
    (re.compile(pattern), code)
    for pattern, code in (
        (r"Cannot insert the value NULL into column '(?P<column>.+?)', table '(?P<full>.+?)'; ", None),
        (r"String or binary data would be truncated in table '(?P<full>.+?)', "
         r"column '(?P<column>.+?)'\. ", None),
        (r"Violation of (?:PRIMARY|UNIQUE) KEY constraint '(?P<constraint>.+?)'\. "
         r"Cannot insert duplicate key in object '(?P<table>.+?)'\.", None),
        (r"Cannot insert duplicate key row in object '(?P<table>.+?)' "
         r"with unique index '(?P<constraint>.+?)'\.", None),
        (r"The \w+ statement conflicted with the CHECK constraint \"(?P<constraint>.+?)\"\. "
         r"The conflict occurred in database \".+?\", table \"(?P<table>.+?)\""
         r"(?:, column '(?P<column>.+?)')?\.",
         "check_violation"),
        (r"The \w+ statement conflicted with the (?:\w+ )*?(?:FOREIGN KEY|REFERENCE)(?: \w+)* constraint "
         r"\"(?P<constraint>.+?)\"\. The conflict occurred in database \".+?\", table \"(?P<other>.+?)\"",
         "foreign_key_violation"),
        (r'null value in column "(?P<column>.+?)" of relation "(?P<table>.+?)" violates not-null', None),
        (r'(?:insert or update|update or delete) on table "(?P<table>.+?)" violates foreign key constraint '
         r'"(?P<constraint>.+?)"', "foreign_key_violation"),
        (r'new row for relation "(?P<table>.+?)" violates check constraint "(?P<constraint>.+?)"',
         "check_violation"),
        (r'duplicate key value violates unique constraint "(?P<constraint>.+?)"', None),
    )
)  # fmt: skip


def names(text: str) -> Names:
    """Return the table, column and constraint that the words of a data error name; never a value."""
    for pattern, code in _NAMING:
        found = pattern.match(text)
        if found is not None:
            part = found.groupdict()
            table = part.get("table")
            if table is None and part.get("full") is not None:
                table = part["full"].partition(".")[2] or part["full"]  # database.schema.table
            return Names(code, table, part.get("column"), part.get("constraint"), part.get("other"))
    return Names()
