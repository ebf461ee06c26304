"""The tests' own SQL Server: each test has a database of its own, which is gone afterwards."""

from __future__ import annotations

import contextlib

from sqlalchemy.engine import make_url

from tests.support.mssql_servers import MssqlServer


def test_a_database_is_fresh_and_goes_away_with_its_connections(mssql: MssqlServer) -> None:
    with mssql.database() as url:
        name = make_url(url).database
        left_open = mssql.connect(url)
        left_open.execute("CREATE TABLE t (a int)")
        assert left_open.execute("SELECT DB_NAME(), COUNT(*) FROM sys.tables").fetchone()[0] == name
        assert mssql.sessions(str(name))
    assert mssql.administer("SELECT name FROM sys.databases WHERE name = ?", name) == []
    with contextlib.suppress(Exception):
        left_open.close()


def test_two_databases_know_nothing_of_each_other(mssql: MssqlServer, mssql_url: str) -> None:
    with mssql.database() as other:
        for url in (mssql_url, other):
            with contextlib.closing(mssql.connect(url)) as connection:
                connection.execute("CREATE TABLE t (a int)")
