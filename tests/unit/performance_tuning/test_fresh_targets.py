"""Fresh targets: what is made is removed, and nothing else is."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from performance_tuning.measuring import fresh_targets
from performance_tuning.measuring.errors import MeasuringError, TargetNotEmptyError
from performance_tuning.measuring.fresh_targets import Way, open_targets
from performance_tuning.measuring.servers import DATABASE_PREFIX
from tests.support.servers import PostgresqlServer
from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Session
from xml_extractor.resources import shipped_config


@pytest.fixture(scope="module")
def plan() -> Plan:
    return read_contract(shipped_config("loan_application.yaml")).plan


@contextlib.contextmanager
def session_of(url: str) -> Iterator[Session]:
    with contextlib.closing(open_engine(url).connect(write=True, application="tests")) as session:
        yield session


def execute(url: str, *statements: str) -> None:
    with session_of(url) as session:
        for statement in statements:
            session.execute(statement)


def tables(url: str) -> set[str]:
    with session_of(url) as session:
        return set(session.table_names())


def rows(url: str, table: str) -> list[tuple[object, ...]]:
    with session_of(url) as session:
        return session.query(f"SELECT * FROM {session.table(table)}")


def test_without_a_target_each_run_has_a_new_file(plan: Plan, tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.touch()
    targets = open_targets(None, plan, tmp_path)
    assert targets.way is Way.NEW_FILE
    seen = []
    for _ in range(2):
        with targets.fresh() as target:
            assert target.create_tables
            execute(target.url, "CREATE TABLE t (a integer)")
            seen.append(target.url)
            assert len(list(tmp_path.glob("*.db"))) == 2
    assert len(set(seen)) == 2
    assert list(tmp_path.iterdir()) == [other]


def test_a_database_is_made_beside_the_named_one(database_url: str, plan: Plan, tmp_path: Path) -> None:
    execute(database_url, "CREATE TABLE app_base (a integer)", "INSERT INTO app_base VALUES (7)")
    targets = open_targets(database_url, plan, tmp_path)
    assert targets.way in (Way.NEW_FILE, Way.NEW_DATABASE)
    with targets.fresh() as target:
        assert target.create_tables
        assert target.url != database_url
        assert tables(target.url) == set()
        execute(target.url, "CREATE TABLE t (a integer)")
        made = target.url
    assert rows(database_url, "app_base") == [(7,)]
    assert tables(database_url) == {"app_base"}
    if database_url.startswith("sqlite"):
        assert [path.name for path in tmp_path.glob("*.db")] == ["database.db"]
    else:
        with pytest.raises(Exception, match=r"does not exist|Cannot open database|4060"):
            tables(made)


def test_what_killed_runs_left_is_told_and_left(sqlite_url: str, plan: Plan, tmp_path: Path) -> None:
    left = tmp_path / f"{DATABASE_PREFIX}20260101_000000_abcd.db"
    left.write_bytes(b"")
    targets = open_targets(sqlite_url, plan, tmp_path)
    [note] = targets.notes
    assert left.name in note
    with targets.fresh():
        pass
    assert left.exists()


def test_databases_that_killed_runs_left_on_a_server_are_told_and_left(
    postgresql: PostgresqlServer, postgresql_url: str, plan: Plan, tmp_path: Path
) -> None:
    name = f"{DATABASE_PREFIX}20260101_000000_abcd"
    postgresql.administer(f"CREATE DATABASE {name}")
    try:
        [note] = open_targets(postgresql_url, plan, tmp_path).notes
        assert name in note
        assert tables(postgresql.url_of(name)) == set()  # it is there
    finally:
        postgresql.administer(f"DROP DATABASE {name} WITH (FORCE)")


def test_a_login_that_may_not_create_databases_measures_in_the_named_one(
    postgresql: PostgresqlServer, postgresql_url: str, plan: Plan, tmp_path: Path
) -> None:
    name = make_url(postgresql_url).database
    role = f"{name}_role"
    postgresql.administer(f"CREATE ROLE {role} LOGIN")
    try:
        postgresql.administer(f"ALTER DATABASE {name} OWNER TO {role}")
        url = make_url(postgresql_url).set(username=role).render_as_string(hide_password=False)
        targets = open_targets(url, plan, tmp_path)
        assert targets.way is Way.IN_PLACE
        assert "may not create databases" in targets.notes[-1]
        with targets.fresh() as target:
            assert target.url == url
            assert not target.create_tables
            assert "app_base" in tables(url)
        assert tables(url) == set()
    finally:
        postgresql.administer(f"ALTER DATABASE {name} OWNER TO postgres")
        postgresql.administer(f"DROP ROLE {role}")


def test_in_place_the_tables_are_made_and_dropped_and_others_left(
    database_url: str, plan: Plan, tmp_path: Path
) -> None:
    execute(database_url, "CREATE TABLE unrelated (a integer)", "INSERT INTO unrelated VALUES (7)")
    targets = open_targets(database_url, plan, tmp_path, in_place=True)
    assert targets.way is Way.IN_PLACE
    for _ in range(2):
        with targets.fresh() as target:
            assert not target.create_tables
            assert {"app_base", "app_note", "load_ledger"} <= tables(database_url)
        assert tables(database_url) == {"unrelated"}
    assert rows(database_url, "unrelated") == [(7,)]


def test_a_file_that_was_not_there_is_not_there_afterwards(
    sqlite_url: str, plan: Plan, tmp_path: Path
) -> None:
    targets = open_targets(sqlite_url, plan, tmp_path, in_place=True)
    with targets.fresh() as target:
        assert "app_base" in tables(target.url)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("table", ["app_note", "load_ledger", "load_something_of_mine"])
def test_a_target_that_is_not_empty_is_refused_and_left_as_it_is(
    database_url: str, plan: Plan, tmp_path: Path, table: str
) -> None:
    execute(database_url, f"CREATE TABLE {table} (a integer)", f"INSERT INTO {table} VALUES (7)")
    with pytest.raises(TargetNotEmptyError, match=rf"not empty, it holds {table}\. Nothing was touched"):
        open_targets(database_url, plan, tmp_path, in_place=True)
    assert tables(database_url) == {table}
    assert rows(database_url, table) == [(7,)]


def test_a_table_that_somebody_creates_at_the_same_moment_is_not_dropped(
    database_url: str, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    targets = open_targets(database_url, plan, tmp_path, in_place=True)
    monkeypatch.setattr(fresh_targets._GivenDatabase, "check_empty", lambda self: None)
    execute(database_url, "CREATE TABLE app_note (a integer)", "INSERT INTO app_note VALUES (7)")
    with pytest.raises(MeasuringError) as refusal, targets.fresh():
        pytest.fail("a target was given although it is not empty")
    assert "load_runs" not in str(refusal.value), "it went on to drop what it had not created"
    assert tables(database_url) == {"app_note"}
    assert rows(database_url, "app_note") == [(7,)]


def record_loads(url: str, *numbers: int) -> None:
    with session_of(url) as session:
        columns = [row[1] for row in session.query("PRAGMA table_info(load_runs)")]
    for number in numbers:
        values = ", ".join(str(number) if name == "load_id" else "'1'" for name in columns)
        execute(url, f"INSERT INTO load_runs VALUES ({values})")


def test_tables_that_somebody_else_loaded_into_are_left(sqlite_url: str, plan: Plan, tmp_path: Path) -> None:
    targets = open_targets(sqlite_url, plan, tmp_path, in_place=True)

    with pytest.raises(MeasuringError, match="somebody else loaded"):  # noqa: SIM117 - raised by the inner one
        with targets.fresh() as target:
            record_loads(target.url, 1, 2)
    assert "load_runs" in tables(sqlite_url)


def test_what_is_no_database_is_refused_and_null_is_not(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(MeasuringError, match="JSON Lines"):
        open_targets("jsonl:out", plan, tmp_path)
    with open_targets("null:", plan, tmp_path).fresh() as target:
        assert target.url == "null:"
    with pytest.raises(MeasuringError, match="no folder"):
        open_targets(f"sqlite:///{tmp_path}/absent/file.db", plan, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_is_not_there_is_told_without_its_password(plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(MeasuringError, match="cannot connect") as refusal:
        open_targets("postgresql://user:secretword@127.0.0.1:1/db", plan, tmp_path)
    assert "secretword" not in str(refusal.value)
