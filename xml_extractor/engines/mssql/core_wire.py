"""A held connection of ``mssql_py_core``, the library beneath mssql-python: bulk copy in a transaction.

``cursor.bulkcopy()`` of mssql-python opens a connection of its own for every call, so that what it copies
is committed apart.  The class underneath can be held open, and a bulk copy on it belongs to whatever
transaction is open there.  Its interface is not documented: nothing but this module touches it, and
before the path is used it is tried out on the server at hand (:mod:`.bulkcopy`).

It takes no parameters; they are written into the statement as literals.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, TypeVar

from xml_extractor.engines.mssql.connection import ConnectionSettings
from xml_extractor.engines.mssql.errors import CoreFailure
from xml_extractor.engines.mssql.literals import bound
from xml_extractor.engines.mssql.wires import CANONICAL, OpenRows, Wire, canonical

T = TypeVar("T")

PACKET_BYTES: Final = 8000
"""The library panics in its packet writer where it is left to its own default of 4,096 (seen in 0.3.0)."""

_KEYWORDS: Final = {
    "multisubnetfailover": "multi_subnet_failover",
    "hostnameincertificate": "host_name_in_certificate",
    "servercertificate": "server_certificate",
    "serverspn": "server_spn",
    "ipaddresspreference": "ip_address_preference",
}
"""ODBC keywords that the library knows, and what it calls them."""
_HARMLESS: Final = frozenset({"packetsize", "wsid", "language", "connectretrycount", "connectretryinterval",
                              "keepalive", "keepaliveinterval", "mars_connection", "quotedid", "regional",
                              "ansinpw", "description", "logintimeout"})  # fmt: skip
"""ODBC keywords that change neither where the connection goes, nor who logs in, nor how it is protected."""


def why_not(settings: ConnectionSettings) -> str | None:
    """Say why the library cannot make a connection as these settings ask for; ``None`` = it can.

    A keyword that is not known is a reason: a connection must never be made to another place, by another
    user or with less protection than was asked for.
    """
    try:
        import mssql_py_core
    except ImportError as error:
        return f"the package mssql-python, which brings it, cannot be imported ({error})"
    for name in ("PyCoreConnection", "PyCoreCursor"):
        if not hasattr(mssql_py_core, name):
            return f"this version of mssql-python has no {name}"
    if not hasattr(mssql_py_core.PyCoreCursor, "bulkcopy"):
        return "this version of mssql-python has no bulk copy on a held connection"
    if settings.dsn or not settings.server:
        return "the server is named by an ODBC data source"
    for name, _ in settings.keywords:
        if name.lower() not in _KEYWORDS and name.lower() not in _HARMLESS:
            return f"it does not know the connection keyword {name}"
    if settings.user is None and not settings.trusted:
        return "it needs a user's name and password, or a trusted connection"
    return None


class CoreWire(Wire):
    """See :class:`Wire`.  A connection that panicked or broke is of no further use."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._cursor = connection.cursor()
        self._given_up = False

    @classmethod
    def open(cls, settings: ConnectionSettings, *, application: str, connect_seconds: float) -> CoreWire:
        """Connect.

        Args:
            application: the library cannot set the program's name; it stands in the session's
                CONTEXT_INFO instead (``sys.dm_exec_sessions.context_info``).

        Raises:
            Exception: the library's own; ``CoreFailure`` where it panics.
        """
        import mssql_py_core

        context: dict[str, Any] = {
            "server": settings.server,
            "database": settings.database,
            "packet_size": PACKET_BYTES,
            "connect_timeout": max(1, round(connect_seconds)),
            # Driver 18's own default, so that both connections are protected alike.
            "encryption": settings.encrypt or "mandatory",
        }
        if settings.trusted:
            context["trusted_connection"] = "yes"
        else:
            context |= {"user_name": settings.user, "password": settings.password or ""}
        if settings.trust_server_certificate is not None:
            context["trust_server_certificate"] = "yes" if settings.trust_server_certificate else "no"
        for name, value in settings.keywords:
            if name.lower() in _KEYWORDS:
                context[_KEYWORDS[name.lower()]] = value
        wire = cls(_guarded(lambda: mssql_py_core.PyCoreConnection(context)))
        wire.driver = "mssql_py_core, of mssql-python"
        program = application.encode("ascii", "replace")[:128]
        wire.run(f"SET CONTEXT_INFO 0x{program.hex()}")
        return wire

    def run(self, sql: str) -> None:
        """Run a batch as it is."""
        self._check()
        self.round_trips += 1
        _guarded(lambda: self._cursor.execute(sql))

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a batch and return the rows of its first result set.

        Temporals have six digits of a second here, as Python's own types do: a query that needs the seventh
        has to convert to text itself.
        """
        self.run(bound(sql, parameters) if parameters else sql)
        return _canonical_rows(_guarded(self._cursor.fetchall))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        """Run one SELECT and return its rows unread."""
        self.run(bound(sql, parameters) if parameters else sql)
        return _Unread(self, self._cursor)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run one statement and return the number of rows it touched."""
        rows = self.query(f"{sql}\n;SELECT @@ROWCOUNT", parameters)
        return int(rows[0][0]) if rows else 0

    def bulk_copy(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[tuple[Any, ...]],
        *,
        timeout_seconds: float,
        keep_identity: bool = False,
    ) -> None:
        """Copy rows into a table, within the transaction that is open.

        Constraints are checked, triggers fire, and NULL stays NULL: the library's defaults are the opposite.

        Args:
            table: quoted, as in a statement.
            columns: the names of the columns that the rows hold values of, unquoted, in the rows' order.
            keep_identity: the rows hold values for an identity column.

        Raises:
            Exception: the library's own.  The connection is closed, with which the server rolls back what
                was open on it.
        """
        self._check()
        # Metadata of the table, the statement and the rows themselves.
        self.round_trips += 3
        try:
            self._copy(table, columns, rows, timeout_seconds, keep_identity=keep_identity)
        except Exception:
            # Library and server may be out of step now, and each next answer another question's.
            self._given_up = True
            self.close()
            raise

    def _check(self) -> None:
        if self._given_up:
            raise CoreFailure("the connection was given up after a copy that failed")

    def _copy(
        self,
        table: str,
        columns: Sequence[str],
        rows: Iterable[tuple[Any, ...]],
        timeout_seconds: float,
        *,
        keep_identity: bool,
    ) -> None:
        _guarded(
            lambda: self._cursor.bulkcopy(
                table,
                iter(rows),
                batch_size=0,  # all in one statement
                timeout=max(1, round(timeout_seconds)),
                column_mappings=list(columns),
                keep_identity=keep_identity,
                check_constraints=True,
                table_lock=False,
                keep_nulls=True,
                fire_triggers=True,
                use_internal_transaction=False,
            )
        )

    def cancel(self) -> None:
        """The library cannot break a call off; it has its own timeouts."""

    def close(self) -> None:
        """Close the connection; never raises."""
        for part in (self._cursor, self._connection):
            with contextlib.suppress(Exception, CoreFailure):
                _guarded(part.close)


class _Unread:
    """The rows of what was just run; see :class:`.wires.OpenRows`."""

    def __init__(self, wire: CoreWire, cursor: Any) -> None:
        self._wire = wire
        self._cursor = cursor

    def fetch(self, count: int) -> list[tuple[Any, ...]]:
        """Return up to so many further rows."""
        self._wire.round_trips += 1
        return _canonical_rows(_guarded(lambda: self._cursor.fetchmany(count)))

    def close(self) -> None:
        """Read what was not read: the connection has one cursor, and the library no other way to free it."""
        with contextlib.suppress(Exception, CoreFailure):
            while _guarded(lambda: self._cursor.fetchmany(_DISCARDED)):
                pass


_DISCARDED: Final = 10_000
"""Rows thrown away at once."""


def _canonical_rows(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    # Every row is looked at: where the first one holds NULL, the next may hold what is not canonical.
    return [row if CANONICAL.issuperset(map(type, row)) else tuple(map(canonical, row)) for row in rows]


def _guarded(call: Callable[[], T]) -> T:
    """Call into the library; a panic of it, which is no ``Exception``, becomes one."""
    try:
        return call()
    except Exception:
        raise
    except BaseException as error:
        if type(error).__name__ == "PanicException":
            raise CoreFailure("mssql_py_core failed inside") from error
        raise
