"""URLs: what becomes of them, and what is said of those that cannot be used."""

from __future__ import annotations

import pickle
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from xml_extractor.contract.types import parse_type
from xml_extractor.engines import dialect_engine, dialect_names, open_engine, takes_password
from xml_extractor.engines.base import ColumnSpec, Engine, EngineOptions, TableSpec, TimeLimits
from xml_extractor.engines.mssql import drivers
from xml_extractor.engines.mssql.connection import ConnectionSettings
from xml_extractor.engines.postgresql import PostgresqlEngine
from xml_extractor.engines.sqlite import SqliteEngine, file_uri
from xml_extractor.errors import UsageError
from xml_extractor.target.database_target import DatabaseTarget


def test_sqlite_paths_are_made_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    engine = open_engine("sqlite:///data/x y.db")
    assert isinstance(engine, SqliteEngine)
    assert engine.path == str(tmp_path / "data" / "x y.db")
    assert engine.database == "x y.db"
    absolute = open_engine(f"sqlite:////{str(tmp_path).lstrip('/')}/x.db")
    assert isinstance(absolute, SqliteEngine)
    assert Path(absolute.path) == tmp_path / "x.db"


def test_file_uris(tmp_path: Path) -> None:
    assert file_uri("/srv/a b?#%.db", "ro") == "file:///srv/a%20b%3F%23%25.db?mode=ro"
    assert file_uri("C:/data/x.db", "rwc").startswith("file:///C")
    assert file_uri("//server/share/x.db", "ro") == "file:////server/share/x.db?mode=ro"


def test_a_file_name_full_of_specials_is_opened(tmp_path: Path) -> None:
    # "?" cannot be written in a URL's path, but every other character can be part of a file's name.
    engine = SqliteEngine(path=str(tmp_path / "a b#%41;'ü.db"))
    engine.connect(write=True, application="tests").close()
    assert (tmp_path / "a b#%41;'ü.db").exists()


@pytest.mark.parametrize("driver", ["postgresql", "postgresql+psycopg"])
def test_postgresql_settings(driver: str) -> None:
    engine = open_engine(
        f"{driver}://me:s%40cret@db.example:5433/loans?sslmode=require&options=-cwork_mem%3D1MB"
    )
    assert isinstance(engine, PostgresqlEngine)
    assert dict(engine.settings) == {
        "host": "db.example", "port": "5433", "user": "me", "dbname": "loans", "sslmode": "require",
        "options": "-cwork_mem=1MB",
    }  # fmt: skip
    assert engine.password == "s@cret"
    assert engine.database == "loans"
    assert engine.display == "PostgreSQL database loans on db.example:5433"


def test_several_hosts_and_sockets() -> None:
    engine = open_engine("postgresql://u@/d?host=a:1&host=b:2")
    assert isinstance(engine, PostgresqlEngine)
    assert dict(engine.settings) == {"host": "a,b", "port": "1,2", "user": "u", "dbname": "d"}
    engine = open_engine("postgresql://u@/d?host=/var/run/postgresql")
    assert isinstance(engine, PostgresqlEngine)
    assert dict(engine.settings)["host"] == "/var/run/postgresql"


def test_the_password_given_apart_wins() -> None:
    engine = open_engine("postgresql://u:old@h/d", password="new", options=EngineOptions(TimeLimits(1, 2)))
    assert isinstance(engine, PostgresqlEngine)
    assert engine.password == "new"
    assert engine.limits == TimeLimits(1, 2)
    assert "new" not in repr(engine)
    assert "new" not in engine.display
    assert pickle.loads(pickle.dumps(engine)) == engine


@pytest.mark.parametrize("given", ["s3cret", None])
def test_a_password_as_an_option_is_not_shown_either(given: str | None) -> None:
    engine = open_engine("postgresql://u@h/d?password=s3cret", password=given)
    assert isinstance(engine, PostgresqlEngine)
    assert engine.password == "s3cret"
    assert "s3cret" not in repr(engine)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("", "cannot be read"),
        ("app.db", "cannot be read"),
        ("postgresql://u:s3cret@h:port/d", "cannot be read"),
        ("mysql://u:s3cret@h/d", "unknown database 'mysql'"),
        ("postgres://u:s3cret@h/d", "unknown database 'postgres'"),
        ("mssql+aioodbc://u:s3cret@h/d", "mssql://"),
        ("mssql+pymssql://u:s3cret@h/d", "mssql://"),
        ("mssql://u:s3cret@h", "names no database"),
        ("mssql://u:p@s3cret@h/d", "%40"),
        ("postgresql+asyncpg://u:s3cret@h/d", "postgresql://"),
        ("postgresql://u:s3cret@h/d?no_such_option=1", "no_such_option"),
        ("postgresql://u:p@s3cret@h/d", "%40"),
        ("sqlite://", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:x.db?mode=ro", "plain file name"),
        ("sqlite:///x.db?timeout=5", "plain file name"),
        ("sqlite://data/x.db", "three slashes"),
    ],
)
def test_urls_that_cannot_be_used(url: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_engine(url, password="s3cret")
    assert expected in str(caught.value)
    assert "s3cret" not in str(caught.value)
    assert "s3cret" not in repr(caught.value.__cause__)


def test_sqlite_takes_no_schema() -> None:
    with pytest.raises(UsageError, match="no schemas"):
        open_engine("sqlite:///x.db", options=EngineOptions(schema="dbo"))


def test_dialects() -> None:
    assert {dialect_engine(name).name for name in dialect_names()} == set(dialect_names())
    with pytest.raises(
        UsageError, match=r"--dialect .oracle.: this version writes SQL for mssql, postgresql, sqlite"
    ):
        dialect_engine("oracle")


def test_dialects_in_a_schema() -> None:
    assert '"dbo"."t"' in _create(dialect_engine("postgresql", schema="dbo"))
    assert "[dbo].[t]" in _create(dialect_engine("mssql", schema="dbo"))
    with pytest.raises(UsageError, match="no schemas"):
        dialect_engine("sqlite", schema="dbo")


def _create(engine: Engine) -> str:
    column = ColumnSpec("k", parse_type("int"), nullable=False)
    return engine.create_statements([TableSpec("t", (column,), ("k",))])[0]


# ------------------------------------------------------------------------------------- SQL Server


@pytest.fixture
def choices(monkeypatch: pytest.MonkeyPatch) -> list[ConnectionSettings]:
    """What a driver was to be chosen for; whatever is installed here, it is mssql-python."""
    asked: list[ConnectionSettings] = []

    def choose(settings: ConnectionSettings) -> str:
        asked.append(settings)
        return settings.driver or "mssqlpython"

    monkeypatch.setattr(drivers, "choose_driver", choose)
    return asked


def test_sql_server(choices: list[ConnectionSettings]) -> None:
    options = EngineOptions(TimeLimits(1, 2), schema="dbo")
    engine = open_engine("mssql://u:old@h:1433/d?Encrypt=strict", password="new", options=options)
    assert engine.name == "mssql"
    (asked,) = choices
    assert asked == ConnectionSettings("h,1433", "d", "u", "new", encrypt="strict")
    assert engine.settings == replace(asked, driver="mssqlpython")  # type: ignore[attr-defined]
    assert engine.options == options  # type: ignore[attr-defined]
    assert (engine.database, engine.display) == ("d", "SQL Server database d on h,1433")
    assert "new" not in repr(engine)
    assert pickle.loads(pickle.dumps(engine)) == engine


def test_a_sql_server_driver_that_is_named_is_kept(choices: list[ConnectionSettings]) -> None:
    for name in ("pyodbc", "mssqlpython"):
        engine = open_engine(f"mssql+{name}://u@h/d")
        assert engine.settings.driver == name  # type: ignore[attr-defined]


def test_the_name_of_a_sql_server_database_does_not_depend_on_the_way_to_it(
    choices: list[ConnectionSettings],
) -> None:
    urls = (
        "mssql://u@h/lending", "mssql+pyodbc://v:pw@10.0.0.1:1444/lending?driver=x", "mssql://h%5Ci/lending",
        "mssql+pyodbc://@/?dsn=office&database=lending",
        "mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3BDATABASE%3Dlending",
    )  # fmt: skip
    assert {open_engine(url).database for url in urls} == {"lending"}


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mssql://u@h/d", True),
        ("mssql+pyodbc://u@h/d?Authentication=ActiveDirectoryPassword", True),
        ("mssql://u:s3cret@h/d", False),
        ("mssql://h/d", False),
        ("mssql://h", False),
        ("mssql://h/d?Authentication=ActiveDirectoryMsi", False),
        ("mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3BDATABASE%3Dd%3BUID%3Du", True),
        ("postgresql://u@h/d", True),
        ("postgresql://h/d", True),
        ("postgresql://u:s3cret@h/d", False),
        ("postgresql://u@h/d?password=s3cret", False),
        ("sqlite:///x.db", False),
        ("oracle://u@h/d", False),
        ("null:", False),
        ("jsonl:out", False),
        ("", False),
    ],
)
def test_who_takes_a_password(url: str, expected: bool) -> None:
    assert takes_password(url) is expected


def test_opening_loads_no_driver_that_is_not_used() -> None:
    code = (
        "import sys, xml_extractor.engines as e\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "engine = e.open_engine('sqlite:///x.db')\n"
        "assert 'psycopg' not in sys.modules\n"
        "e.dialect_engine('postgresql').quote('x')\n"
        "assert 'psycopg' not in sys.modules\n"
        "e.dialect_engine('mssql').quote('x')\n"
        "assert not {'pyodbc', 'mssql_python', 'mssql_py_core'} & set(sys.modules)\n"
        "import pickle; print(pickle.dumps(engine).hex())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # What a worker process loads to use a pickled engine: the driver, and not SQLAlchemy.
    code = (
        f"import pickle, sys; engine = pickle.loads(bytes.fromhex('{done.stdout.strip()}'))\n"
        "print(engine.name, 'sqlalchemy' in sys.modules, 'psycopg' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["sqlite", "False", "False"]


@pytest.mark.parametrize(
    ("url", "labels"),
    [
        ("sqlite:///x.db", {"system": "sqlite", "name": "x.db"}),
        ("postgresql://u@h/lending", {"system": "postgresql", "name": "lending", "server": "h"}),
        ("postgresql://u@h:5432/lending", {"system": "postgresql", "name": "lending", "server": "h"}),
        (
            "postgresql://u@h:6432/lending",
            {"system": "postgresql", "name": "lending", "server": "h", "port": 6432},
        ),
        ("mssql://u@h/lending", {"system": "microsoft.sql_server", "name": "lending", "server": "h"}),
        (
            "mssql://u@h:7/lending",
            {"system": "microsoft.sql_server", "name": "lending", "server": "h", "port": 7},
        ),
        (
            "mssql://u@h%5Cprod/lending",
            {"system": "microsoft.sql_server", "name": "prod|lending", "server": "h"},
        ),
    ],
)
def test_a_target_is_labelled_as_the_conventions_for_databases_want_it(
    url: str, labels: dict[str, object]
) -> None:
    assert DatabaseTarget(open_engine(url), retry_seconds=0.0).database == labels
