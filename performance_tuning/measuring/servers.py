"""Where fresh databases come from: a folder for SQLite, servers for the others.

What is made here is named so that everybody sees whose it is, and removed at the end because it was made here
and for no other reason.  What a killed run left behind is only reported (:meth:`Databases.leftovers`):
it may as well belong to a run that is at work.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, Final, Protocol

import psutil
from sqlalchemy.engine import make_url

from performance_tuning.measuring.errors import MeasuringError
from performance_tuning.measuring.interrupting import signals_held
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Session

DATABASE_PREFIX: Final = "xml_extractor_measuring_"
SQLITE_SUFFIXES: Final = ("", "-wal", "-shm", "-journal")

_CONNECT_SECONDS: Final = 8
_DROP_ATTEMPTS: Final = 10
_DROP_WAIT_SECONDS: Final = 0.5
"""A server takes a moment to see that a killed client has gone; till then its database is in use."""


class MayNotCreateError(MeasuringError):
    """The login may not create databases."""


class Databases(Protocol):
    """Where fresh databases come from."""

    name: str

    def database(self) -> AbstractContextManager[str]:
        """A context that yields the URL of a new database, password included.

        Raises:
            MayNotCreateError: the login is not allowed to.
            MeasuringError: the server refuses, or the database could not be dropped; with its name.
        """

    def server_cpu_seconds(self) -> float:
        """CPU time of the engine's own processes so far; 0 where they cannot be seen."""

    def leftovers(self) -> list[str]:
        """Databases of this kind that are there already, of runs that were killed or are at work."""


def new_name() -> str:
    """Return a name for a database that says whose and how old it is."""
    return f"{DATABASE_PREFIX}{time.strftime('%Y%m%d_%H%M%S')}_{secrets.token_hex(4)}"


class SqliteFolder:
    """Fresh SQLite databases in a folder."""

    name = "SQLite"

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database's URL; the database is removed at the end."""
        path = self._folder / f"{new_name()}.db"
        try:
            yield f"sqlite:///{path.as_posix()}"
        finally:
            with signals_held():
                remove_sqlite_files(path)

    def server_cpu_seconds(self) -> float:
        """SQLite has no server."""
        return 0.0

    def leftovers(self) -> list[str]:
        """Files of this kind in the folder."""
        return sorted(path.name for path in self._folder.glob(f"{DATABASE_PREFIX}*.db"))


def remove_sqlite_files(path: Path) -> None:
    """Remove a SQLite database with the files that belong to it."""
    for suffix in SQLITE_SUFFIXES:
        path.with_name(path.name + suffix).unlink(missing_ok=True)


class PostgresqlServer:
    """Fresh databases on a PostgreSQL server, beside whatever else it holds.

    Args:
        url: of a database that is there; the login comes by it.
        named_by: where the URL was given, for messages: ``--target``.

    Raises:
        MeasuringError: it cannot be reached.
    """

    name = "PostgreSQL"

    def __init__(self, url: str, named_by: str) -> None:
        self._url = make_url(url).set(drivername="postgresql")
        self._named_by = named_by
        with self._administrator() as connection:
            self._postmaster = _postmaster(connection)

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database's URL; the database is dropped at the end."""
        name = new_name()
        made = False
        try:
            with signals_held():
                self._create(name)
                made = True
            yield self._url.set(database=name).render_as_string(hide_password=False)
        finally:
            if made:
                with signals_held():
                    _drop(lambda: self._execute(f'DROP DATABASE "{name}" WITH (FORCE)'), name, self.name)

    def _create(self, name: str) -> None:
        # Made as the named one is: how texts are compared decides what keys and indexes cost.
        with self._administrator() as connection:
            row = connection.execute(
                "SELECT quote_literal(pg_encoding_to_char(encoding)), quote_literal(datcollate), "
                "quote_literal(datctype), datlocprovider::text FROM pg_database "
                "WHERE datname = current_database()"
            ).fetchone()
        options = ""
        if row is not None and row[3] == "c":
            options = f" TEMPLATE template0 ENCODING {row[0]} LC_COLLATE {row[1]} LC_CTYPE {row[2]}"
        self._execute(f'CREATE DATABASE "{name}"{options}')

    def server_cpu_seconds(self) -> float:
        """CPU time that the server has taken so far, if it runs on this machine: all its processes, those
        that have ended included."""
        return _family_seconds(self._postmaster)

    def leftovers(self) -> list[str]:
        """Databases of this kind on the server."""
        with self._administrator() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s) ORDER BY datname",
                (DATABASE_PREFIX,),
            ).fetchall()
        return [name for (name,) in rows]

    @contextmanager
    def _administrator(self) -> Iterator[Any]:
        # A connection for each statement: between two of them loads run, for minutes.
        import psycopg

        try:
            connection = psycopg.connect(
                self._url.render_as_string(hide_password=False), autocommit=True,
                connect_timeout=_CONNECT_SECONDS,
            )  # fmt: skip
        except psycopg.Error as error:
            why = open_engine(self._url.render_as_string(hide_password=False)).classify(error)
            raise MeasuringError(f"cannot connect to {why.message}; check {self._named_by}") from None
        with connection:
            yield connection

    def _execute(self, sql: str) -> None:
        import psycopg

        try:
            with self._administrator() as connection:
                connection.execute(sql)
        except psycopg.Error as error:
            raise _refused(self._url.render_as_string(hide_password=False), error, self._named_by) from None


class MssqlServer:
    """Fresh databases on a SQL Server, beside whatever else it holds.

    Args:
        url: of a database that is there; the login comes by it.
        named_by: where the URL was given, for messages.
    """

    name = "SQL Server"

    def __init__(self, url: str, named_by: str) -> None:
        self._url = make_url(url)
        self._named_by = named_by
        self._server = self._find_server()

    @contextmanager
    def database(self) -> Iterator[str]:
        """A new database's URL; the database is dropped at the end."""
        name = new_name()
        made = False
        try:
            with signals_held():
                self._execute(f"CREATE DATABASE {name}")
                made = True
            yield self._url.set(database=name).render_as_string(hide_password=False)
        finally:
            if made:
                with signals_held():
                    _drop(lambda: self._execute(f"DROP DATABASE {name}"), name, self.name)

    def _execute(self, sql: str) -> None:
        with self._administrator() as session:
            try:
                session.execute(sql)
            except Exception as error:  # noqa: BLE001 - whatever the driver raises, the engine knows it
                raise _refused(self._master, error, self._named_by) from None

    def server_cpu_seconds(self) -> float:
        """CPU time that the server has taken so far, if it runs on this machine and may be looked at."""
        return _family_seconds(self._server)

    def leftovers(self) -> list[str]:
        """Databases of this kind on the server."""
        with self._administrator() as session:
            rows = session.query("SELECT name FROM sys.databases ORDER BY name")
        return [name for (name,) in rows if str(name).startswith(DATABASE_PREFIX)]

    def address(self) -> tuple[str, int]:
        """Return host and port, for a proxy in between."""
        return self._url.host or "127.0.0.1", self._url.port or 1433

    @property
    def _master(self) -> str:
        return self._url.set(database="master").render_as_string(hide_password=False)

    @contextmanager
    def _administrator(self) -> Iterator[Session]:
        engine = open_engine(self._master)
        try:
            session = engine.connect(write=True, application="xml_extractor measuring")
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, the engine knows it
            raise MeasuringError(f"{engine.classify(error).message}; check {self._named_by}") from None
        try:
            yield session
        finally:
            session.close()

    def _find_server(self) -> psutil.Process | None:
        """Return the local process that listens on the server's port; its children serve connections."""
        host, port = self.address()
        if host not in ("127.0.0.1", "localhost", "::1"):
            return None
        try:
            found = [
                connection.pid
                for connection in psutil.net_connections("tcp")
                if connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ]
            return psutil.Process(min(found)) if found else None
        except psutil.Error:
            return None


def databases_beside(url: str, named_by: str) -> Databases:
    """Return where fresh databases beside the one of this URL come from.

    For SQLite they are files in the folder of the named one, so that the disk is the same.

    Raises:
        MeasuringError: the server cannot be reached, or the folder is not there.
        UsageError: the URL is wrong.
    """
    open_engine(url)  # connects to nothing, but says what is wrong with a URL
    parsed = make_url(url)
    backend = parsed.get_backend_name()
    if backend == "sqlite":
        folder = Path(parsed.database or "").absolute().parent
        if not folder.is_dir():
            raise MeasuringError(
                f"{named_by}: there is no folder {folder} to make databases in; make it first"
            )
        return SqliteFolder(folder)
    return MssqlServer(url, named_by) if backend == "mssql" else PostgresqlServer(url, named_by)


_CPU_TIMES: Final = ("user", "system", "children_user", "children_system")


def _family_seconds(process: psutil.Process | None) -> float:
    """Return the CPU seconds of a process, its children, and those of them that have ended."""
    if process is None:
        return 0.0
    with suppress(psutil.Error):
        times = process.cpu_times()
        # A process that ends hands its time over to the first one's children_… .
        seconds = sum(getattr(times, name, 0.0) for name in _CPU_TIMES)
        for child in process.children():
            with suppress(psutil.NoSuchProcess):
                times = child.cpu_times()
                seconds += times.user + times.system
        return float(seconds)
    return 0.0


def _postmaster(connection: Any) -> psutil.Process | None:
    """Return the server's first process, or ``None`` where it runs on another machine."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    try:
        backend = psutil.Process(row[0]) if row is not None else None
        if backend is None or not backend.name().startswith("postgres"):
            return None
        return backend.parent()
    except psutil.Error:
        return None


def _refused(url: str, error: BaseException, named_by: str) -> MeasuringError:
    fault = open_engine(url).classify(error)
    if fault.code == "permission_denied":
        return MayNotCreateError(
            f"{named_by}: the login may not create databases; let it, or name an empty database to measure in"
        )
    return MeasuringError(f"{named_by}: the server refuses to make or drop a database: {fault.message}")


def _drop(drop: Callable[[], None], name: str, server: str) -> None:
    for attempt in range(1, _DROP_ATTEMPTS + 1):
        try:
            drop()
        except MeasuringError as error:
            if attempt == _DROP_ATTEMPTS:
                raise MeasuringError(
                    f"database {name}, which this program made on {server}, could not be dropped; drop it "
                    f"yourself: {error}"
                ) from None
            time.sleep(_DROP_WAIT_SECONDS)
        else:
            return
