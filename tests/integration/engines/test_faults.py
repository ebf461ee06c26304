"""Errors provoked for real, and what the engines say of them."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.support.mssql_gaps import UNNAMED_TABLES
from tests.support.mssql_run import has_gap
from tests.support.plans import column, plan, table
from tests.support.tables import dialect_of, portable
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, EngineOptions, Fault, FaultKind, Session, TimeLimits

Create = Callable[[Plan], None]
Connect = Callable[..., Session]

PARENT = table(
    "app_base", column("app_id", "int", nullable=False), column("name", "nvarchar(10)", nullable=False)
)
CHILD = table(
    "app_contact", column("app_id", "int", nullable=False), column("n", "int", nullable=False),
    primary_key=(0, 1), parent=0, foreign_key=((0, 0),),
)  # fmt: skip
PLAN = plan(PARENT, CHILD)
SECRET = "Geheimnis"


def fault_of(engine: Engine, call: Callable[[], Any]) -> Fault:
    with pytest.raises(Exception) as caught:
        call()
    fault = engine.classify(caught.value)
    assert SECRET not in repr(fault)
    assert "4711" not in repr(fault)
    return fault


def write(engine: Engine, session: Session, parents: list[Any], children: list[Any]) -> None:
    encoded, _ = engine.encoder(PLAN)((parents, children))
    session.begin()
    try:
        session.write_rows(PARENT, [encoded[0]])
        session.write_rows(CHILD, [encoded[1]])
        session.commit()
    except BaseException:
        session.rollback()
        raise


@pytest.mark.parametrize(
    ("parents", "children", "code", "table_name", "column_name"),
    [
        ([(4711, SECRET), (4711, "b")], [], "unique_violation", "app_base", None),
        ([(1, SECRET)], [(1, 4711), (1, 4711)], "unique_violation", "app_contact", None),
        ([(4711, None)], [], "not_null_violation", "app_base", "name"),
        ([(None, SECRET)], [], "not_null_violation", "app_base", "app_id"),
        ([(1, SECRET)], [(4711, 1)], "foreign_key_violation", "app_contact", None),
    ],
)
def test_rows_that_a_constraint_refuses(
    engine: Engine, session: Session, create: Create, parents: list[Any], children: list[Any],
    code: str, table_name: str, column_name: str | None, request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    create(PLAN)
    fault = fault_of(engine, lambda: write(engine, session, parents, children))
    assert (fault.kind, fault.code) == (FaultKind.DATA, code)
    unnamed = engine.name == "sqlite" and code == "foreign_key_violation"  # SQLite does not say which
    if engine.name == "mssql" and code == "unique_violation":
        unnamed = has_gap(request, UNNAMED_TABLES)
    if not unnamed:
        assert fault.table == table_name
        assert table_name in fault.message
    if column_name is not None:
        assert fault.column == column_name
    # The session is fit for the next batch.
    write(engine, session, [(1, "a")], [(1, 1)])
    assert session.query("SELECT count(*) FROM app_base") == [(1,)]


def test_checks_and_triggers_are_data(engine: Engine, session: Session) -> None:
    ddl = "CREATE TABLE t (a integer, b {text}, CONSTRAINT b_short CHECK ({length}(b) <= 3))"
    session.execute(portable(engine.name, ddl))
    fault = fault_of(engine, lambda: session.execute("INSERT INTO t VALUES (1, ?)", (SECRET,)))
    assert (fault.kind, fault.code) == (FaultKind.DATA, "check_violation")
    assert "b_short" in fault.message


def test_what_is_not_there_is_fatal(engine: Engine, session: Session) -> None:
    session.execute("CREATE TABLE t (a integer)")
    for sql, code in [
        ("SELECT * FROM nowhere", "no_such_table"),
        ("SELECT b FROM t", "no_such_column"),
        ("CREATE TABLE t (a integer)", "table_exists"),
        ("SELECT FROM WHERE", "database_error"),
    ]:
        fault = fault_of(engine, lambda sql=sql: session.query(sql))  # type: ignore[misc]
        assert (fault.kind, fault.code) == (FaultKind.FATAL, code)


def test_text_without_a_utf8_form_is_data(engine: Engine, session: Session, create: Create) -> None:
    create(PLAN)
    fault = fault_of(engine, lambda: write(engine, session, [(1, "\ud83c")], []))
    assert (fault.kind, fault.code) == (FaultKind.DATA, "not_encodable")
    fault = fault_of(engine, lambda: session.insert_new("app_base", ("app_id", "name"), [(1, "\ud83c")]))
    assert (fault.kind, fault.code) == (FaultKind.DATA, "not_encodable")


def test_a_slow_statement_is_given_up(database_url: str) -> None:
    engine = open_engine(database_url, options=EngineOptions(TimeLimits(statement_seconds=1)))
    session = engine.connect(write=True, application="tests")
    try:
        slow = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"
        if dialect_of(database_url) == "mssql":
            slow = "SELECT COUNT_BIG(*) FROM " + ", ".join(f"sys.all_columns c{i}" for i in range(6))
        fault = fault_of(engine, lambda: session.query(slow))
        if dialect_of(database_url) == "mssql":
            # What was cancelled in mid-flight is not trusted any more; a busy server may not even say so.
            assert fault.kind is FaultKind.DISCONNECTED
            assert fault.code in ("statement_timeout", "no_answer")
            return
        assert (fault.kind, fault.code) == (FaultKind.TRANSIENT, "statement_timeout")
        assert session.query("SELECT 1") == [(1,)]
    finally:
        session.close()


def test_an_unexpected_error_is_fatal(engine: Engine) -> None:
    fault = engine.classify(ValueError(SECRET))
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "unexpected")
    assert SECRET not in fault.message


# ------------------------------------------------------------------------------------- SQLite


def sqlite_fault(engine: Engine, *, write: bool = True) -> Fault:
    return fault_of(engine, lambda: engine.connect(write=write, application="tests"))


def test_sqlite_files_that_cannot_be_opened(tmp_path: Path) -> None:
    missing = open_engine(f"sqlite:///{tmp_path}/missing.db")
    fault = sqlite_fault(missing, write=False)
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "cannot_open")
    assert "there is no file" in fault.message
    assert not (tmp_path / "missing.db").exists()
    fault = sqlite_fault(open_engine(f"sqlite:///{tmp_path}/no/folder/x.db"))
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "cannot_open")
    assert "does not exist" in fault.message
    fault = sqlite_fault(open_engine(f"sqlite:///{tmp_path}"))
    assert "is a folder" in fault.message
    other = tmp_path / "other.db"
    other.write_bytes(b"This is a letter, not a database." * 100)
    for writes in (True, False):
        fault = sqlite_fault(open_engine(f"sqlite:///{other}"), write=writes)
        assert (fault.kind, fault.code) == (FaultKind.FATAL, "not_a_database")
    assert other.read_bytes().startswith(b"This is a letter")


def test_sqlite_full_disk(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE app_base (app_id INT NOT NULL, name TEXT NOT NULL)")
    session.execute("CREATE TABLE app_contact (app_id INT NOT NULL, n INT NOT NULL)")
    session.query("PRAGMA max_page_count = 10")
    rows = [(i, SECRET * 100) for i in range(100)]
    fault = fault_of(engine, lambda: write(engine, session, rows, []))
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "disk_full")
    assert session.query("SELECT count(*) FROM app_base") == [(0,)]
    session.close()


def test_sqlite_file_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'x.db'}")
    engine.connect(write=True, application="tests").close()
    real = sqlite3.connect
    # Permissions bind nobody who runs the tests as root: have SQLite itself refuse.
    monkeypatch.setattr(
        sqlite3, "connect", lambda file, **rest: real(file.replace("mode=rwc", "mode=ro"), **rest)
    )
    session = engine.connect(write=True, application="tests")
    fault = fault_of(engine, lambda: session.execute("CREATE TABLE t (a)"))
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "read_only")
    session.close()


def test_sqlite_lock_held_too_long(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from xml_extractor.engines import sqlite_session

    monkeypatch.setattr(sqlite_session, "BUSY_SECONDS", 0.3)
    engine = open_engine(sqlite_url)
    holder, waiter = (engine.connect(write=True, application="tests") for _ in range(2))
    holder.begin()
    fault = fault_of(engine, waiter.begin)
    assert (fault.kind, fault.code) == (FaultKind.TRANSIENT, "locked")
    holder.rollback()
    waiter.begin()
    waiter.rollback()
    holder.close()
    waiter.close()


def test_sqlite_integers_beyond_64_bits(sqlite_url: str) -> None:
    engine = open_engine(sqlite_url)
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE t (a)")
    fault = fault_of(engine, lambda: session.execute("INSERT INTO t VALUES (?)", (2**63,)))
    assert (fault.kind, fault.code) == (FaultKind.DATA, "out_of_range")
    session.close()


def test_sqlite_null_is_not_numbered(sqlite_url: str) -> None:
    """INTEGER PRIMARY KEY would number a NULL in spite of NOT NULL: no shape of our tables may have it."""
    engine = open_engine(sqlite_url)
    session = engine.connect(write=True, application="tests")
    for other in ("int", "nvarchar(max)"):
        one = plan(table(f"t_{other[:3]}", column("id", "int", nullable=False), column("v", other)))
        from xml_extractor.engines.base import table_specs

        for statement in engine.create_statements(table_specs(one)):
            session.execute(statement)
        encoded, _ = engine.encoder(one)(([(None, None)],))
        fault = fault_of(engine, lambda one=one, e=encoded: session.write_rows(one.tables[0], [e[0]]))  # type: ignore[misc]
        assert fault.code == "not_null_violation"
    session.close()


# ------------------------------------------------------------------------------------- PostgreSQL


@pytest.fixture
def pg(postgresql_url: str) -> Engine:
    return open_engine(
        postgresql_url, options=EngineOptions(TimeLimits(connect_seconds=5, statement_seconds=20))
    )


@pytest.mark.parametrize(
    ("declared", "value", "code"),
    [
        ("varchar(3)", SECRET, "too_long"),
        ("smallint", "4711000", "out_of_range"),
        ("integer", SECRET, "not_convertible"),
        ("date", SECRET, "not_convertible"),
        ("date", "4711-13-01", "out_of_range"),
        ("numeric(4,2)", "4711.00", "out_of_range"),
        ("boolean", SECRET, "not_convertible"),
        ("uuid", SECRET, "not_convertible"),
        ("text", f"{SECRET}\0", "not_encodable"),
    ],
)
def test_postgresql_values_that_do_not_fit(pg: Engine, declared: str, value: str, code: str) -> None:
    session = pg.connect(write=True, application="tests")
    try:
        session.execute(f'CREATE TABLE "odd, table" ("the column" {declared})')
        one = table("odd, table", column("the column", "nvarchar(max)"))
        encoded, _ = pg.encoder(plan(one))(([(None,), (value,)],))
        fault = fault_of(pg, lambda: session.write_rows(one, [encoded[0]]))
        assert (fault.kind, fault.code) == (FaultKind.DATA, code)
        if code != "not_encodable":
            assert (fault.table, fault.column) == ("odd, table", "the column")
    finally:
        session.close()


def test_postgresql_value_too_long_for_an_index(pg: Engine) -> None:
    session = pg.connect(write=True, application="tests")
    session.execute("CREATE TABLE t (a text PRIMARY KEY)")
    noise = "".join(chr(0x4E00 + (i * 7919) % 20_000) for i in range(20_000))
    fault = fault_of(pg, lambda: session.execute("INSERT INTO t VALUES (?)", (noise,)))
    assert (fault.kind, fault.code) == (FaultKind.DATA, "too_long")
    session.close()


def test_postgresql_trigger_does_not_tell_values(pg: Engine) -> None:
    session = pg.connect(write=True, application="tests")
    session.execute("CREATE TABLE t (a text)")
    session.execute(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'not %', NEW.a; END $$"
    )
    session.execute("CREATE TRIGGER r BEFORE INSERT ON t FOR EACH ROW EXECUTE FUNCTION refuse()")
    fault = fault_of(pg, lambda: session.execute("INSERT INTO t VALUES (?)", (SECRET,)))
    assert (fault.kind, fault.code) == (FaultKind.DATA, "raised_by_trigger")
    session.close()


def test_postgresql_deadlock_is_transient(pg: Engine) -> None:
    sessions = [pg.connect(write=True, application="tests") for _ in range(2)]
    sessions[0].execute("CREATE TABLE t (a integer PRIMARY KEY)")
    errors: list[BaseException] = []
    met = threading.Barrier(2, timeout=10)

    def work(session: Session, keys: tuple[int, int]) -> None:
        session.begin()
        session.insert_new("t", ("a",), [(keys[0],)])
        met.wait()
        try:
            session.insert_new("t", ("a",), [(keys[1],)])
            session.commit()
        except Exception as error:  # noqa: BLE001 - whatever the driver raises
            errors.append(error)
            session.rollback()

    threads = [
        threading.Thread(target=work, args=pair) for pair in zip(sessions, [(1, 2), (2, 1)], strict=True)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert [(pg.classify(e).kind, pg.classify(e).code) for e in errors] == [(FaultKind.TRANSIENT, "deadlock")]
    assert sessions[0].query("SELECT a FROM t ORDER BY a") == [(1,), (2,)]
    for session in sessions:
        session.close()


def test_postgresql_lock_timeout_is_transient(pg: Engine) -> None:
    holder, waiter = (pg.connect(write=True, application="tests") for _ in range(2))
    holder.execute("CREATE TABLE t (a integer)")
    holder.begin()
    holder.execute("LOCK TABLE t")
    waiter.execute("SET lock_timeout = '50ms'")
    fault = fault_of(pg, lambda: waiter.execute("INSERT INTO t VALUES (1)"))
    assert (fault.kind, fault.code) == (FaultKind.TRANSIENT, "lock_not_available")
    holder.close()
    waiter.close()


def test_postgresql_backend_killed(pg: Engine) -> None:
    administrator, victim = (pg.connect(write=True, application="tests") for _ in range(2))
    pid = victim.query("SELECT pg_backend_pid()")[0][0]
    victim.begin()
    administrator.query("SELECT pg_terminate_backend(?)", (pid,))
    fault = fault_of(pg, lambda: victim.query("SELECT 1"))
    assert fault.kind is FaultKind.DISCONNECTED
    fault = fault_of(pg, lambda: victim.query("SELECT 1"))
    assert (fault.kind, fault.code) == (FaultKind.DISCONNECTED, "connection_lost")
    victim.rollback()
    victim.close()
    administrator.close()


def test_postgresql_failed_transaction_cannot_pass_for_committed(pg: Engine) -> None:
    session = pg.connect(write=True, application="tests")
    session.begin()
    with suppress(Exception):
        session.query("SELECT 1 / 0")
    fault = fault_of(pg, session.commit)
    assert fault.kind is FaultKind.FATAL
    session.close()


def test_postgresql_permission_denied(pg: Engine) -> None:
    session = pg.connect(write=True, application="tests")
    session.execute("CREATE TABLE t (a integer)")
    session.begin()
    session.execute("CREATE ROLE nobody_special_here")
    session.execute("SET LOCAL ROLE nobody_special_here")
    fault = fault_of(pg, lambda: session.query("SELECT * FROM t"))
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "permission_denied")
    session.rollback()
    session.close()
