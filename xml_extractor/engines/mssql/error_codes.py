"""Which kind of error each of SQL Server's numbers and SQLSTATEs is.

The numbers to try again are Microsoft's list for connections and commands (20 numbers:
https://learn.microsoft.com/sql/connect/ado-net/configurable-retry-logic-core-apis-sqlclient) and the
additions of Entity Framework Core's execution strategy; all others are from sys.messages.
"""

from __future__ import annotations

from typing import Final

# A row of the batch is at fault.  The sentences are ours: the server's quote values.
DATA: Final = {
    2627: ("unique_violation", "a row with the same key is already there"),
    2601: ("unique_violation", "a row with the same key is already there"),
    1505: ("unique_violation", "two rows have the same key"),  # where the key is built on rows
    515: ("not_null_violation", "a column that must be given is NULL"),
    547: ("constraint_violation", "a constraint refuses the row"),  # told apart by its text
    550: ("check_violation", "a row breaks the view's WITH CHECK OPTION"),
    2628: ("too_long", "a text or binary value is longer than its column"),
    8152: ("too_long", "a text or binary value is longer than its column"),
    511: ("too_long", "a row is longer than a page of the database holds (8,060 bytes)"),
    1946: ("too_long", "a value is too long for an index"),
    4815: ("too_long", "a text or binary value is longer than its column"),
    13625: ("too_long", "a value is longer than the column it is read from JSON for"),
    220: ("out_of_range", "a number is beyond its column's range"),
    232: ("out_of_range", "a number is beyond its column's range"),
    234: ("out_of_range", "a number is beyond its column's range"),
    235: ("not_convertible", "a text is not an amount of money"),
    237: ("out_of_range", "a number is beyond its column's range"),
    238: ("out_of_range", "a number is beyond its column's range"),
    244: ("out_of_range", "a number is beyond its column's range"),
    248: ("out_of_range", "a number is beyond its column's range"),
    8115: ("out_of_range", "a number is beyond its column's range"),
    242: ("out_of_range", "a date or time is beyond its column's range"),
    296: ("out_of_range", "a date or time is beyond its column's range"),
    517: ("out_of_range", "a date or time is beyond its column's range"),
    241: ("not_convertible", "a date or time is not one"),
    295: ("not_convertible", "a date or time is not one"),
    245: ("not_convertible", "a value is not of its column's type"),
    8114: ("not_convertible", "a value is not of its column's type"),
    8169: ("not_convertible", "a value is not a uniqueidentifier"),
    8023: ("not_convertible", "a value is not of its parameter's type"),
    4863: ("too_long", "a text or binary value is longer than its column"),
    4864: ("not_convertible", "a value is not of its column's type"),
    8134: ("data_exception", "a trigger, constraint or computed column divides by zero"),
    9803: ("not_convertible", "a value is not of its column's type"),
    13608: ("not_convertible", "a value is missing in the JSON that the rows travel in"),
    13609: ("not_convertible", "the JSON that the rows travel in is not well-formed"),
    512: ("cardinality_violation", "a trigger found several rows for one"),
    3609: ("raised_by_trigger", "a trigger ended the transaction"),
    3616: ("raised_by_trigger", "a trigger ended the transaction"),
}
DATA_RANGES: Final = (
    # 6300-6399 and 9400-9499: XML parsing and conversion; 6900-6999: validation by an XML schema.
    (6300, 6399, ("not_convertible", "an XML value is not acceptable to its column")),
    (6900, 6999, ("not_convertible", "an XML value is not acceptable to its column's schema")),
    (9400, 9499, ("not_convertible", "an XML value is not well-formed")),
)
FIRST_RAISED: Final = 50_000
"""From here on the numbers are those of RAISERROR and THROW: a trigger or procedure of the database's own."""
RAISED: Final = ("raised_by_trigger", "a trigger or procedure refuses the row")

CONNECTION_GONE: Final = 20
"""From this severity ("class") on the server ends the connection."""

FOREIGN: Final = 33_557_097
"""What a server that only speaks SQL Server's protocol gives for errors that it has no number for."""

TRANSIENT: Final = {
    1205: "deadlock",
    1222: "lock_timeout",
    1204: "out_of_locks",
    3960: "serialization_failure",
    3961: "serialization_failure",
    3966: "serialization_failure",
    41301: "serialization_failure",
    41302: "serialization_failure",
    41305: "serialization_failure",
    41325: "serialization_failure",
    41839: "serialization_failure",
    3930: "transaction_rollback",  # doomed by an earlier error; a new transaction is not
    601: "transaction_rollback",  # data moved under a scan
    701: "out_of_memory",
    802: "out_of_memory",
    8628: "server_busy",  # no time to plan the statement
    8645: "out_of_memory",
    8651: "out_of_memory",
    924: "object_in_use",  # single-user database
    5061: "object_in_use",
    17809: "too_many_connections",
    10922: "transaction_rollback",  # "Rerun the statement"
    35216: "server_not_ready",
}
THROTTLED: Final = frozenset({10928, 10929, 10930, 10936, 40501, 49918, 49919, 49920, 42108, 42109})
"""The server asks for patience: too many requests, or a pool that is being resumed."""

DISCONNECTED: Final = {
    20: "connection_lost",
    64: "connection_lost",
    121: "connection_lost",
    233: "connection_lost",
    997: "connection_lost",
    10053: "connection_lost",
    10054: "connection_lost",
    10060: "connect_timeout",
    11001: "no_such_host",
    40143: "connection_lost",
    40197: "connection_lost",  # failover or upgrade; a permanent error has been seen wearing it
    40540: "connection_lost",
    40613: "server_not_ready",
    4221: "server_not_ready",
    921: "server_not_ready",
    922: "server_not_ready",
    927: "server_not_ready",
    976: "server_not_ready",
    983: "server_not_ready",
    17142: "server_not_ready",  # paused
    18401: "server_not_ready",  # upgrade scripts are running
    # While a database fails over it cannot be opened; a first connection is not tried again anyway.
    4060: "no_such_database",
    596: "session_killed",
    40549: "session_killed",
    40550: "session_killed",
    40551: "session_killed",
    40552: "session_killed",
    40553: "session_killed",
    6001: "server_shutdown",
    6002: "server_shutdown",
    6005: "server_shutdown",
    6006: "server_shutdown",
    17147: "server_shutdown",
    17148: "server_shutdown",
    3902: "transaction_lost",  # COMMIT without a transaction: the ledger knows what became of it
}

FATAL: Final = {
    1105: "disk_full",
    1101: "disk_full",
    40544: "disk_full",  # the database has reached its size quota
    9002: "log_full",
    229: "permission_denied",
    230: "permission_denied",
    262: "permission_denied",
    297: "permission_denied",
    300: "permission_denied",
    916: "permission_denied",
    4834: "permission_denied",
    8104: "permission_denied",
    15247: "permission_denied",
    18456: "authentication_failed",
    18452: "authentication_failed",
    18450: "authentication_failed",
    18470: "authentication_failed",
    18486: "authentication_failed",
    18487: "authentication_failed",
    18488: "authentication_failed",
    40615: "authentication_failed",  # the firewall of Azure SQL
    208: "no_such_table",
    3701: "no_such_table",
    1088: "no_such_table",
    4701: "no_such_table",
    4902: "no_such_table",
    207: "no_such_column",
    4104: "no_such_column",
    2714: "table_exists",
    2760: "no_such_schema",
    2797: "no_such_schema",
    911: "no_such_database",
    942: "no_such_database",  # offline
    3906: "read_only",
    3908: "read_only",
    978: "read_only",
    823: "io_error",
    824: "io_error",
    945: "io_error",
    5120: "io_error",
    605: "corrupt",
    8621: "statement_too_complex",
    8623: "statement_too_complex",
    8631: "statement_too_complex",
    8632: "statement_too_complex",
    102: "syntax_error",
    105: "syntax_error",
    156: "syntax_error",
    266: "transaction_count",
    3903: "transaction_count",
    544: "column_not_insertable",  # IDENTITY_INSERT is OFF
    545: "column_not_insertable",
    271: "column_not_insertable",  # computed
    273: "column_not_insertable",  # rowversion
    2705: "database_error",
    1701: "database_error",
    195: "no_such_function",
    2812: "no_such_function",
    4121: "no_such_function",
}
ADVICE: Final = {
    "disk_full": "make room in its filegroup (free disk space, let its files grow, or add one)",
    "log_full": "back up or shrink the log, or let it grow; log_reuse_wait_desc in sys.databases names what "
    "holds it, and a smaller --batch-size needs less of it",
    "connection_refused": "nothing listens there: check host and port, and that TCP/IP is enabled",
    "connect_timeout": "nothing answered in time: check host and port, and any firewall on the way",
    "no_such_host": "no machine of that name is known",
    "no_such_instance": "name its port, or see to it that SQL Server Browser answers there (UDP 1434)",
    "statement_timeout": "it may have taken effect all the same, which the ledger knows",
    "packet_too_large": "the server's network packet size is more than an encrypted connection takes; add "
    "PacketSize=8000 to the URL",
    "tls_failed": "if the server's certificate is not trusted, install its CA's certificate on this machine "
    "or, if you know the network, use --trust-server-certificate",
}

ACCOMPANYING: Final = frozenset({3621, 5701, 5703, 8153, 3606, 3607, 3622, 1750, 266, 3902, 3903, 3609, 3616})
"""Records that tell only what followed from another error: "The statement has been terminated" and the like.

They count where they are alone.
"""

# By SQLSTATE, where the server's number is unknown.
STATE_DATA: Final = {
    "22001": ("too_long", "a text or binary value is longer than its column"),
    "22003": ("out_of_range", "a number is beyond its column's range"),
    "22007": ("not_convertible", "a date or time is not one"),
    "22008": ("out_of_range", "a date or time is beyond its column's range"),
    "22018": ("not_convertible", "a value is not of its column's type"),
    "44000": ("check_violation", "a row breaks the view's WITH CHECK OPTION"),
}
STATE_DATA_CLASSES: Final = {
    "22": ("data_exception", "a value is not acceptable"),
    "23": ("constraint_violation", "a constraint refuses the row"),
}
STATE_DISCONNECTED: Final = {
    "01002": "connection_lost",
    "08001": "connection_lost",
    "08003": "connection_lost",
    "08004": "connection_lost",
    "08007": "connection_lost",
    "08S01": "connection_lost",
    "08S02": "connection_lost",
    "25000": "transaction_lost",
    "40003": "completion_unknown",
    "HY008": "aborted",
    "HY010": "connection_lost",
    "HYT00": "statement_timeout",
    "HYT01": "connect_timeout",
}
STATE_FATAL: Final = {
    "28000": "authentication_failed",
    "3D000": "no_such_database",
    "3F000": "no_such_schema",
    "42S01": "table_exists",
    "42S02": "no_such_table",
    "42S22": "no_such_column",
    "HY001": "out_of_memory",
    "HY013": "out_of_memory",
    "IM002": "driver_missing",
    "IM003": "driver_missing",
    "IM004": "driver_missing",
}
