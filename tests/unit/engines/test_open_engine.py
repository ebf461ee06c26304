"""URLs: what becomes of them, and what is said of those that cannot be used."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from xml_extractor.engines import dialect_engine, dialect_names, open_engine
from xml_extractor.engines.base import EngineOptions, TimeLimits
from xml_extractor.engines.postgresql import PostgresqlEngine
from xml_extractor.engines.sqlite import SqliteEngine, file_uri
from xml_extractor.errors import UsageError


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
        ("mssql+pyodbc://u:s3cret@h/d", "not in this version"),
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
        UsageError, match=r"--dialect .mssql.: this version writes SQL for postgresql, sqlite"
    ):
        dialect_engine("mssql")


def test_opening_loads_no_driver_that_is_not_used() -> None:
    code = (
        "import sys, xml_extractor.engines as e\n"
        "assert 'sqlalchemy' not in sys.modules\n"
        "engine = e.open_engine('sqlite:///x.db')\n"
        "assert 'psycopg' not in sys.modules\n"
        "e.dialect_engine('postgresql').quote('x')\n"
        "assert 'psycopg' not in sys.modules\n"
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
