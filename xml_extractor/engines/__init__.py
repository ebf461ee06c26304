"""The database engines: everything that differs between them, one engine a module.

This module names them all, and nothing outside of it and ``settings.py`` does.  Drivers and SQLAlchemy
(which only takes URLs apart) are imported where they are first needed, so that a worker process loads no
more than the driver that it uses.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

from xml_extractor.engines.base import Engine, EngineOptions
from xml_extractor.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

EXAMPLES: Final = (
    "sqlite:///data/loader.db (a file, relative), sqlite:////srv/loader.db (absolute), "
    "sqlite:///C:\\data\\loader.db (Windows), postgresql://user@host:5432/database, "
    "mssql://user@host:1433/database, mssql://host%5Cinstance/database?Trusted_Connection=yes"
)
_NAMES: Final = ("mssql", "postgresql", "sqlite")
_DRIVERS: Final = {
    "sqlite": ("", "pysqlite"), "postgresql": ("", "psycopg"), "mssql": ("", "pyodbc", "mssqlpython"),
}  # fmt: skip


def dialect_names() -> tuple[str, ...]:
    """The engines of this version, as ``contract ddl --dialect`` names them."""
    return _NAMES


def dialect_engine(name: str, *, schema: str | None = None) -> Engine:
    """An engine without a database, for writing DDL.

    Args:
        schema: where tables that are named without one go; ``None`` = the server's choice.

    Raises:
        UsageError: there is no such engine, or it has no schemas.
    """
    if name == "sqlite":
        from xml_extractor.engines.sqlite import SqliteEngine

        if schema is not None:
            raise UsageError("SQLite has no schemas: leave the schema out")
        return SqliteEngine(path="")
    if name == "postgresql":
        from xml_extractor.engines.postgresql import PostgresqlEngine

        return PostgresqlEngine(schema=schema)
    if name == "mssql":
        from xml_extractor.engines.mssql.connection import ConnectionSettings
        from xml_extractor.engines.mssql.engine import MssqlEngine

        return MssqlEngine(ConnectionSettings(server="", database=""), EngineOptions(schema=schema))
    raise UsageError(f"--dialect {name!r}: this version writes SQL for {', '.join(_NAMES)}; name one of them")


def open_engine(
    url: str,
    *,
    password: str | None = None,
    options: EngineOptions | None = None,
) -> Engine:
    """Read a database URL (SQLAlchemy's form) into an engine.  Connects to nothing.

    Args:
        url: such as ``sqlite:///file.db``, ``postgresql://user@host/database?sslmode=require`` or
            ``mssql://user@host/database?Encrypt=strict``.
        password: the password, kept out of the URL; it wins over one in the URL.
        options: how the database is to be used.

    Raises:
        UsageError: the URL is not one, or names what this version has not; never shows a password.
    """
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        # The text is not shown: it may hold a password.
        raise UsageError(f"the database URL cannot be read; write one such as {EXAMPLES}") from None
    if parsed.host and "@" in parsed.host:
        # What stands before the last "@" is the rest of the password, and messages name the host.
        raise UsageError(
            "the database URL holds more than one '@': write one in the user's name or password as %40, or "
            "give the password apart (XML_EXTRACTOR_SOURCE_PASSWORD, --source-password-file, or the target's)"
        )
    dialect, _, driver = parsed.drivername.partition("+")
    if dialect not in _NAMES:
        raise UsageError(f"unknown database {dialect!r}; known are {', '.join(_NAMES)}: {EXAMPLES}")
    if driver not in _DRIVERS[dialect]:
        raise UsageError(
            f"driver {driver!r} of {dialect} is not used here; leave it out of the URL: {dialect}://…"
        )
    options = options or EngineOptions()
    if dialect == "sqlite":
        return _sqlite(parsed, options)
    if dialect == "mssql":
        return _mssql(parsed, password, options)
    return _postgresql(parsed, password, options)


def takes_password(url: str) -> bool:
    """Whether a password that was told apart from a database URL is of use to it: somebody logs in, and the
    URL holds no password yet.  False for what is no database URL."""
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return False
    dialect = parsed.get_backend_name()
    if dialect == "postgresql":
        return parsed.password is None and "password" not in parsed.query
    if dialect != "mssql":
        return False
    from xml_extractor.engines.mssql.connection import from_url

    try:
        settings = from_url(parsed)
    except UsageError:
        return False  # whoever opens it says what is wrong
    return settings.user is not None and settings.password is None


def loaded_drivers() -> dict[str, str]:
    """Return names and versions of the database drivers that this process has in use; it loads none."""
    found = {}
    for module, attribute, name in (
        ("psycopg", "__version__", "psycopg"),
        ("pyodbc", "version", "pyodbc"),
        ("mssql_python", "__version__", "mssql-python"),
        ("sqlite3", "sqlite_version", "SQLite"),
    ):
        version = getattr(sys.modules.get(module), attribute, None)
        if version is not None:
            found[name] = str(version)
    return found


def _sqlite(url: URL, options: EngineOptions) -> Engine:
    from xml_extractor.engines.sqlite import SqliteEngine

    if url.host or url.username:
        raise UsageError(
            "a SQLite URL has three slashes before a relative path and four before an absolute one: "
            "sqlite:///data/loader.db"
        )
    if not url.database or url.database == ":memory:":
        raise UsageError(
            "a SQLite database in memory cannot be used: each connection would see one of its own. "
            "Name a file: sqlite:///data/loader.db"
        )
    if url.query or url.database.startswith("file:"):
        raise UsageError("a SQLite URL takes a plain file name and no options: sqlite:///data/loader.db")
    if options.schema is not None:
        raise UsageError("SQLite has no schemas: leave the schema out")
    # Absolute from here on: a worker process may have another working directory.
    return SqliteEngine(path=str(Path(url.database).absolute()), limits=options.limits)


def _postgresql(url: URL, password: str | None, options: EngineOptions) -> Engine:
    try:
        from psycopg import ProgrammingError
        from psycopg.conninfo import make_conninfo
    except ImportError as error:
        raise UsageError(
            f"PostgreSQL needs psycopg, which cannot be imported ({error}): pip install 'psycopg[binary]'"
        ) from None
    from xml_extractor.engines.postgresql import PostgresqlEngine

    settings: dict[str, str] = {}
    if url.host:
        settings["host"] = url.host
    if url.port:
        settings["port"] = str(url.port)
    if url.username:
        settings["user"] = url.username
    if url.database:
        settings["dbname"] = url.database
    for name, value in url.query.items():
        if name == "host":
            # Several hosts, each with its port: host=a:5432&host=b (SQLAlchemy's form).
            values = (value,) if isinstance(value, str) else value
            pairs = [(h, p) if p.isdigit() else (v, "") for v in values for h, _, p in (v.rpartition(":"),)]
            settings["host"] = ",".join(h for h, _ in pairs)
            if any(p for _, p in pairs):
                settings["port"] = ",".join(p for _, p in pairs)
        else:
            settings[name] = value if isinstance(value, str) else value[-1]
    in_url = settings.pop("password", None) or (str(url.password) if url.password is not None else None)
    try:
        make_conninfo("", **settings)
    except ProgrammingError:
        known = ", ".join(sorted(url.query))
        raise UsageError(f"the PostgreSQL URL has an option unknown to libpq, among: {known}") from None
    return PostgresqlEngine(
        settings=tuple(sorted(settings.items())),
        password=password if password is not None else in_url or None,
        schema=options.schema,
        limits=options.limits,
    )


def _mssql(url: URL, password: str | None, options: EngineOptions) -> Engine:
    from xml_extractor.engines.mssql.connection import from_url
    from xml_extractor.engines.mssql.drivers import choose_driver
    from xml_extractor.engines.mssql.engine import MssqlEngine

    settings = from_url(url, password)
    # Settled here, so that what is missing is told before anything is begun, and all connections are alike.
    return MssqlEngine(replace(settings, driver=choose_driver(settings)), options)
