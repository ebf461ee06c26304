"""A real SQL Server for the tests, from wherever one can be had.

In this order: the server that ``XML_EXTRACTOR_TEST_MSSQL_URL`` names (its login may create databases);
Microsoft's container, where docker runs.  Where neither is to be had the tests are not run, and the run
says so in one line (:mod:`tests.support.mssql_run`).
"""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import subprocess
import threading
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.engine import URL, make_url

from tests.support.servers import NotToBeHad
from xml_extractor.engines.mssql.connection import from_url, odbc_string
from xml_extractor.engines.mssql.drivers import find_driver, odbc_driver
from xml_extractor.errors import UsageError

if TYPE_CHECKING:  # needs a library of the system, which a machine without SQL Server need not have
    import pyodbc

ENVIRONMENT = "XML_EXTRACTOR_TEST_MSSQL_URL"
IMAGE = "mcr.microsoft.com/mssql/server:2022-latest"
CONNECT_SECONDS = 15
DROP_SECONDS = 20.0

_OBJECTS = (
    "SELECT RTRIM(type), SCHEMA_NAME(schema_id), name, COALESCE(OBJECT_NAME(parent_object_id), '') "
    "FROM sys.objects WHERE type IN ('F', 'V', 'U', 'P', 'FN', 'IF', 'TF', 'SN', 'SO') AND is_ms_shipped = 0"
)
_DROPS = {
    "F": "ALTER TABLE [{0}].[{2}] DROP CONSTRAINT [{1}]",
    "V": "DROP VIEW [{0}].[{1}]",
    "U": "DROP TABLE [{0}].[{1}]",
    "P": "DROP PROCEDURE [{0}].[{1}]",
    **dict.fromkeys(("FN", "IF", "TF"), "DROP FUNCTION [{0}].[{1}]"),
}
_SCHEMAS = "SELECT name FROM sys.schemas WHERE name NOT IN ('dbo', 'guest', 'sys', 'information_schema')"

_emptied: list[str] = []
"""Databases of this process that are as good as new."""

_ADMINISTERING = threading.Lock()
_administrators: dict[str, pyodbc.Connection] = {}
"""One connection a process and server, kept open: most tests need but two statements of it."""


@dataclass(frozen=True)
class MssqlServer:
    """A running server."""

    url: str
    origin: str
    version: str
    """All of ``@@VERSION``."""

    @property
    def is_babelfish(self) -> bool:
        """Babelfish for PostgreSQL: Microsoft's protocol and language, with gaps (mssql_gaps.py)."""
        return "Babelfish" in self.version

    @property
    def display(self) -> str:
        """The server in a line, without a password."""
        lines = [line.strip() for line in self.version.splitlines() if line.strip()]
        return f"{lines[-1] if self.is_babelfish else lines[0]} ({self.origin})"

    @contextlib.contextmanager
    def database(self, *, options: str = "") -> Iterator[str]:
        """A fresh, empty database: yields its URL, drops it afterwards.

        Args:
            options: what follows the name in CREATE DATABASE, such as ``COLLATE Latin1_General_BIN2``.
        """
        again = (
            self.is_babelfish and not options
        )  # where a new database and the first look at it cost seconds
        if again and _emptied:
            name = _emptied.pop()
        else:
            name = f"test_{uuid.uuid4().hex[:16]}"
            self._create(name, options)
        try:
            yield self.url_of(name)
        finally:
            if again and self._empty(name):
                _emptied.append(name)
            else:
                self._drop(name)

    def close(self) -> None:
        """Drop what this process has kept."""
        while _emptied:
            self._drop(_emptied.pop())
        for connection in _administrators.values():
            connection.close()
        _administrators.clear()

    def connect(self, url: str | None = None, *, autocommit: bool = True) -> pyodbc.Connection:
        """A connection of the tests' own, past the product's sessions; by default to the server's URL."""
        import pyodbc

        settings = from_url(make_url(url or self.url))
        text = odbc_string(settings, application="tests", driver=odbc_driver(settings))
        return pyodbc.connect(text, autocommit=autocommit, timeout=CONNECT_SECONDS)

    def administer(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run one statement as the login of the server's URL; return its rows, if it has any."""
        with _ADMINISTERING:
            connection = _administrators.get(self.url)
            if connection is None:
                connection = _administrators[self.url] = self.connect()
            try:
                cursor = connection.execute(sql, *parameters)
                return [tuple(row) for row in cursor.fetchall()] if cursor.description else []
            except BaseException:
                # It may have been cut, or killed by a test.
                del _administrators[self.url]
                connection.close()
                raise

    def sessions(self, database: str) -> list[int]:
        """The ids of all sessions that are in a database."""
        rows = self.administer(
            "SELECT session_id FROM sys.dm_exec_sessions "
            "WHERE database_id = DB_ID(?) AND session_id IS NOT NULL AND session_id <> @@SPID",
            database,
        )
        return [int(session) for (session,) in rows]

    def kill(self, session: int) -> None:
        """End a session; one that has ended by itself is fine."""
        import pyodbc

        with contextlib.suppress(pyodbc.Error):
            self.administer(f"KILL {int(session)}")

    def url_of(self, database: str, **changes: Any) -> str:
        """The URL of another database on this server."""
        return make_url(self.url).set(database=database, **changes).render_as_string(hide_password=False)

    def _create(self, name: str, options: str) -> None:
        import pyodbc

        # Databases are copies of one model, which only one statement can have at a time (error 1807).
        for attempt in range(60):
            try:
                self.administer(f"CREATE DATABASE [{name}] {options}")
                return
            except pyodbc.Error as error:
                if "1807" not in str(error) or attempt == 59:
                    raise
                time.sleep(random.uniform(0.1, 0.5))

    def _empty(self, name: str) -> bool:
        """Drop all that is in a database; whether it is as good as new afterwards."""
        import pyodbc

        for session in self.sessions(name):
            self.kill(session)
        try:
            with contextlib.closing(self.connect(self.url_of(name))) as connection:
                found = [tuple(map(str, row)) for row in connection.execute(_OBJECTS).fetchall()]
                if {kind for kind, *_ in found} - _DROPS.keys():
                    return False
                for kind, *names in sorted(found, key=lambda row: list(_DROPS).index(row[0])):
                    connection.execute(_DROPS[kind].format(*(name.replace("]", "]]") for name in names)))
                for (schema,) in connection.execute(_SCHEMAS).fetchall():
                    connection.execute(f"DROP SCHEMA [{schema.replace(']', ']]')}]")
        except pyodbc.Error:
            return False
        return True

    def _drop(self, name: str) -> None:
        import pyodbc

        deadline = time.monotonic() + DROP_SECONDS
        while True:
            try:
                if not self.is_babelfish:
                    self.administer(f"ALTER DATABASE [{name}] SET SINGLE_USER WITH ROLLBACK IMMEDIATE")
                self.administer(f"DROP DATABASE [{name}]")
                return
            except pyodbc.Error:
                if time.monotonic() > deadline:
                    raise
                if self.is_babelfish:
                    for session in self.sessions(name):
                        self.kill(session)
                time.sleep(0.1)


@functools.cache
def why_none() -> str | None:
    """Say why no server can be had, without starting one; None = one can, as far as can be seen."""
    try:
        find_driver()
    except UsageError as error:
        return str(error)
    if os.environ.get(ENVIRONMENT):
        return None
    if shutil.which("docker") is None:
        return "there is no docker"
    try:
        answer = subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return "docker does not answer"
    if answer.returncode != 0:
        return "docker does not run"
    try:
        _container_class()
    except ImportError as error:
        return f"testcontainers cannot be imported ({error})"
    return None


@contextlib.contextmanager
def mssql_server() -> Iterator[MssqlServer]:
    """A running SQL Server.

    Raises:
        NotToBeHad: there is none to be had, it cannot be reached, or the container does not start.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        # No way round: somebody who names a server wants that one.
        yield known(given, ENVIRONMENT)
        return
    reason = why_none()
    if reason is not None:
        raise NotToBeHad(reason)
    with contextlib.ExitStack() as stack:
        try:
            container = stack.enter_context(_container_class()(IMAGE))
        except Exception as error:  # whatever keeps docker from fetching or starting the image
            raise NotToBeHad(f"the container {IMAGE} does not start: {error}") from error
        url = URL.create(
            "mssql+pyodbc",
            container.username,
            container.password,
            container.get_container_host_ip(),
            int(container.get_exposed_port(container.port)),
            "master",
            # The container makes its own certificate.
            {"Encrypt": "yes", "TrustServerCertificate": "yes"},
        )
        yield known(url.render_as_string(hide_password=False), f"container {IMAGE}")


def known(url: str, origin: str) -> MssqlServer:
    """The server behind a URL, asked for its version.

    Raises:
        NotToBeHad: it cannot be reached.
    """
    import pyodbc

    unknown = MssqlServer(url, origin, "")
    try:
        [(version,)] = unknown.administer("SELECT @@VERSION")
    except pyodbc.Error as error:
        raise NotToBeHad(f"the server of {origin} cannot be reached: {error}") from error
    return MssqlServer(url, origin, str(version))


def _container_class() -> Any:
    try:
        from testcontainers.community.mssql import SqlServerContainer
    except ImportError:  # releases before the community packages
        from testcontainers.mssql import SqlServerContainer
    return SqlServerContainer
