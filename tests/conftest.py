"""Databases for the tests: one server of each kind, and a fresh database for each test."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mssql_run import NAME, SqlServerRun, run_of
from tests.support.mssql_servers import MssqlServer
from tests.support.servers import NotToBeHad, PostgresqlServer, postgresql_server
from xml_extractor.mapping.interpreter_choice import why_not_native

REQUIRE_NATIVE = "XML_EXTRACTOR_REQUIRE_NATIVE"
"""Set where the native interpreter must be there: without it no test is run."""

# A shell that runs the tests in the background has them ignore Ctrl-C, and all that they start; some send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def postgresql() -> Iterator[PostgresqlServer]:
    """A running PostgreSQL server; under pytest-xdist each worker has its own."""
    with contextlib.ExitStack() as stack:
        try:
            server = stack.enter_context(postgresql_server())
        except NotToBeHad as reason:
            if os.environ.get("CI"):
                pytest.fail(str(reason), pytrace=False)
            pytest.skip(str(reason))
        yield server


@pytest.fixture
def postgresql_url(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL of a fresh, empty PostgreSQL database."""
    with postgresql.database() as url:
        yield url


@pytest.fixture(scope="session")
def mssql(request: pytest.FixtureRequest) -> MssqlServer:
    """A running SQL Server; all of pytest-xdist's workers share one."""
    return run_of(request.config).server()


@pytest.fixture
def mssql_url(mssql: MssqlServer) -> Iterator[str]:
    """The URL of a fresh, empty SQL Server database."""
    with mssql.database() as url:
        yield url


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """The URL of a SQLite file that does not exist yet."""
    return f"sqlite:///{tmp_path / 'database.db'}"


@pytest.fixture(
    params=[
        "sqlite",
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("mssql", marks=pytest.mark.sqlserver),
    ]
)
def database_url(request: pytest.FixtureRequest) -> str:
    """A fresh, empty database on each engine in turn."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def pytest_configure(config: pytest.Config) -> None:
    why_not = why_not_native()
    if why_not is not None and os.environ.get(REQUIRE_NATIVE):
        raise pytest.UsageError(
            f"{REQUIRE_NATIVE} is set, and the native interpreter of contracts cannot be used: {why_not}. "
            "Install a C compiler and build it (`"
            f"{sys.executable} -m pip install -e .`), or set {REQUIRE_NATIVE}= (empty) to do without"
        )
    config.pluginmanager.register(SqlServerRun(config), NAME)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the server, however it asks for it."""
    for item in items:
        if {"postgresql", "postgresql_url"} & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.postgresql)
