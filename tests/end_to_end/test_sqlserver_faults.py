"""The whole program against a SQL Server that fails: nothing lost, nothing twice, no waiting for ever."""

from __future__ import annotations

import contextlib
import secrets
import signal
import socket
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
from sqlalchemy.engine import make_url

from tests.end_to_end.test_interrupted import POSIX, expect_whole
from tests.end_to_end.test_sqlserver import CONTRACT, contract, note
from tests.support.mssql_servers import MssqlServer
from tests.support.program import Program, run_program
from tests.support.tables import Tables, ledger, read_tables
from tests.support.tcp_proxy import Moment, TcpProxy
from xml_extractor import LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Privileges
from xml_extractor.target.bookkeeping import bookkeeping_specs

if TYPE_CHECKING:
    import pyodbc

DOCUMENTS = 300
WAIT_SECONDS = 90.0
NOTES = contract()
BODIES = {
    key: note(f"n {key}", *("abc"[: key % 4])) if key % 50 else "<Note>broken" for key in range(DOCUMENTS)
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Holds the contract and a source that does not fail."""
    folder = tmp_path_factory.mktemp("notes")
    (folder / "notes.yaml").write_text(CONTRACT.replace("KEY", "int"), encoding="utf-8")
    with contextlib.closing(sqlite3.connect(folder / "source.db")) as connection:
        connection.execute("CREATE TABLE app_xml (id INTEGER NOT NULL PRIMARY KEY, body TEXT)")
        connection.executemany("INSERT INTO app_xml VALUES (?, ?)", BODIES.items())
        connection.commit()
    return folder


@pytest.fixture(scope="module")
def source(folder: Path) -> str:
    return f"sqlite:///{(folder / 'source.db').as_posix()}"


@pytest.fixture(scope="module")
def undisturbed(folder: Path, source: str) -> tuple[Tables, dict[str, str]]:
    url = f"sqlite:///{(folder / 'whole.db').as_posix()}"
    load(source, url, NOTES, LoadOptions(create_tables=True, executor="serial"))
    return read_tables(url, NOTES.plan), ledger(url)


@pytest.fixture
def sql(mssql: MssqlServer, mssql_url: str) -> Iterator[pyodbc.Connection]:
    """A connection past the program, to look what is there and to stand in its way."""
    with contextlib.closing(mssql.connect(mssql_url)) as connection:
        yield connection


@pytest.fixture
def proxied(mssql_url: str) -> Iterator[tuple[TcpProxy, str]]:
    """A proxy before the test's database, and the URL through it."""
    place = make_url(mssql_url)
    assert place.host is not None
    proxy = TcpProxy(place.host, place.port or 1433)
    url = place.set(host="127.0.0.1", port=proxy.port).update_query_dict({"Encrypt": "no"})
    yield proxy, url.render_as_string(hide_password=False)
    proxy.close()


@pytest.fixture
def prepared(mssql_url: str, source: str) -> None:
    """The tables, and one document."""
    load(source, mssql_url, NOTES, LoadOptions(create_tables=True, limit=1, executor="serial"))


Start = Callable[..., Program]


@pytest.fixture
def start(folder: Path, source: str, tmp_path: Path) -> Iterator[Start]:
    """Starts the program on the source that does not fail; none of it outlives the test."""
    programs: list[Program] = []

    def program(target: str, *arguments: object) -> Program:
        programs.append(
            Program(
                "--contract", folder / "notes.yaml", "--source", source, "--target", target,
                "--executor", "thread", "--workers", 2, "--create-tables", "--batch-size", 20,
                "--connect-seconds", 30, *arguments, folder=tmp_path,
            )
        )  # fmt: skip
        return programs[-1]

    yield program
    for started in programs:
        if started.process.poll() is None:
            started.process.kill()
        if started.process.stdout is not None and not started.process.stdout.closed:
            started.wait()


def committed(sql: pyodbc.Connection) -> int:
    """Ledger rows so far; 0 while there is no ledger yet."""
    import pyodbc

    with contextlib.suppress(pyodbc.Error):
        return int(sql.execute("SELECT COUNT(*) FROM load_ledger").fetchval())
    return 0


def wait_until_committed(program: Program, sql: pyodbc.Connection, at_least: int) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while (count := committed(sql)) < at_least:
        assert program.process.poll() is None, program.wait() or program.errors
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert count < DOCUMENTS, "the load was over too soon to prove anything"


def expect_one_sentence(program: Program, code: int) -> str:
    """The program ended with this code, its cause last and no traceback; returns what it said last."""
    assert program.process.returncode == code, program.errors
    assert "Traceback" not in program.errors
    said = program.errors.strip().splitlines()[-1]
    assert said
    return said


def finish(start: Start, url: str, undisturbed: tuple[Tables, dict[str, str]], *arguments: object) -> None:
    """The same command again completes the job."""
    again = start(url, *arguments)
    assert again.wait() == 3, again.errors
    expect_whole(url, NOTES, undisturbed)


# ---------------------------------------------------------------------------------------- connections cut


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_connections_cut_again_and_again_cost_nothing(
    executor: str, proxied: tuple[TcpProxy, str], mssql: MssqlServer, mssql_url: str, source: str,
    sql: pyodbc.Connection, undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    """Source and target on the one server: cut at reads, at every moment of commits, and all at once."""
    proxy, url = proxied
    sql.execute("CREATE TABLE app_xml (id int NOT NULL PRIMARY KEY, body nvarchar(max))")
    cursor = sql.cursor()
    cursor.fast_executemany = True
    cursor.executemany("INSERT INTO app_xml VALUES (?, ?)", list(BODIES.items()))
    load(mssql_url, None, NOTES, LoadOptions(create_tables=True, limit=1, executor="serial"))
    traps = [
        *(proxy.cut_at("COMMIT TRANSACTION", moment, passes=number) for number, moment in enumerate(Moment)),
        proxy.cut_at("SELECT [id], [body]", Moment.ANSWERED, passes=1),
        proxy.cut_at("INSERT INTO [note]", Moment.DURING, passes=4),
    ]
    done = threading.Event()
    cuts: list[int] = []

    def cut() -> None:
        seen = 1
        while not done.wait(0.1) and len(cuts) < 3:
            if (now := committed(sql)) > seen + 40:
                seen = now
                cuts.append(now)
                proxy.cut()

    cutter = threading.Thread(target=cut, daemon=True)
    cutter.start()
    try:
        options = LoadOptions(
            batch_size=20, executor=executor, workers=2, insert_threads=2, retry_seconds=90, throttle=60.0
        )
        load(url, None, NOTES, options)
    finally:
        done.set()
        cutter.join(30)
    assert [trap.count for trap in traps] == [1] * len(traps)
    assert cuts
    expect_whole(mssql_url, NOTES, undisturbed)


@pytest.mark.usefixtures("prepared")
def test_cut_while_arrays_of_parameters_are_sent(
    proxied: tuple[TcpProxy, str], mssql_url: str, start: Start, undisturbed: tuple[Tables, dict[str, str]]
) -> None:
    """A program of its own, as pyodbc keeps other threads from running while it has parameters described:
    a proxy in the same process would never get to pass that on."""
    proxy, url = proxied
    traps = [
        proxy.cut_at("n 155"),
        proxy.cut_at("COMMIT TRANSACTION", Moment.DURING, passes=1),
        proxy.cut_at("COMMIT TRANSACTION", Moment.ANSWERED, passes=3),
    ]
    program = start(url, "--insert-path", "fast-executemany", "--retry-seconds", 60)
    assert program.wait() == 3, program.errors
    assert [trap.count for trap in traps] == [1, 1, 1]
    expect_whole(mssql_url, NOTES, undisturbed)


@pytest.mark.usefixtures("prepared")
def test_a_target_that_goes_away_ends_the_run_in_time(
    proxied: tuple[TcpProxy, str], mssql_url: str, sql: pyodbc.Connection, start: Start,
    undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    """Law 6: retried for --retry-seconds, then the run ends within 10 s, with exit code 5 and the cause."""
    proxy, url = proxied
    program = start(url, "--throttle", 50, "--retry-seconds", 3)
    wait_until_committed(program, sql, 21)
    proxy.cut(refuse=True)
    gone = time.monotonic()
    program.wait(60)
    assert time.monotonic() - gone < 3 + 10
    assert "--retry-seconds" in expect_one_sentence(program, 5)
    finish(start, mssql_url, undisturbed)


@pytest.mark.usefixtures("prepared")
def test_a_target_that_stalls_is_given_up(
    proxied: tuple[TcpProxy, str], mssql_url: str, sql: pyodbc.Connection, start: Start,
    undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    proxy, url = proxied
    limits = ("--statement-seconds", 8, "--connect-seconds", 8, "--retry-seconds", 2)
    program = start(url, "--throttle", 50, *limits)
    wait_until_committed(program, sql, 21)
    children = psutil.Process(program.process.pid).children(recursive=True)
    proxy.stall()
    stalled = time.monotonic()
    program.wait(90)
    # The statement that waits, and a last attempt that begins within the window and cannot connect.
    assert time.monotonic() - stalled < 8 + 2 + 8 + 10
    assert "--retry-seconds" in expect_one_sentence(program, 5)
    assert not psutil.wait_procs(children, timeout=10)[1]
    # Until the server hears that its client is gone, the client's open transaction keeps its keys locked.
    proxy.cut(refuse=True)
    finish(start, mssql_url, undisturbed)


# ------------------------------------------------------------------------------------- killed and stopped


@POSIX
@pytest.mark.usefixtures("prepared")
def test_killed_in_mid_load_then_resumed(
    mssql_url: str, sql: pyodbc.Connection, start: Start, undisturbed: tuple[Tables, dict[str, str]]
) -> None:
    program = start(mssql_url, "--throttle", 50, "--insert-threads", 2)
    wait_until_committed(program, sql, 41)
    started = sql.execute("SELECT load_id, started_at FROM load_runs").fetchall()
    program.process.kill()
    program.wait()
    finish(start, mssql_url, undisturbed)
    assert sql.execute("SELECT load_id, started_at FROM load_runs").fetchall() == started


@pytest.fixture
def in_the_way(mssql: MssqlServer, mssql_url: str, prepared: None) -> Iterator[pyodbc.Connection]:
    """A transaction of somebody else's that holds the row of a document in the middle."""
    with contextlib.closing(mssql.connect(mssql_url, autocommit=False)) as rival:
        rival.execute("INSERT INTO note (id, text) VALUES (151, 'in the way')")
        yield rival
        rival.rollback()


def wait_until_held_up(program: Program, sql: pyodbc.Connection) -> None:
    """Until all batches before the one that waits for the lock are in, and nothing moves any more."""
    wait_until_committed(program, sql, 100)
    deadline = time.monotonic() + WAIT_SECONDS
    before = -1
    while (now := committed(sql)) != before:
        assert time.monotonic() < deadline
        before = now
        time.sleep(2)


@POSIX
def test_a_signal_drains_what_waits_for_a_lock(
    in_the_way: pyodbc.Connection, mssql_url: str, sql: pyodbc.Connection, start: Start,
    undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    program = start(mssql_url)
    wait_until_held_up(program, sql)
    program.process.send_signal(signal.SIGINT)
    time.sleep(2)
    assert program.process.poll() is None, "draining waits for the lock"
    in_the_way.rollback()
    assert program.wait(60) == 130, program.errors
    assert "Traceback" not in program.errors
    documents = program.summary()["documents"]
    assert documents["unfinished"] == 0, "what was in flight is drained"
    settled = documents["loaded"] + documents["already_loaded"] + documents["quarantined"]
    assert settled == documents["read"] == committed(sql)
    finish(start, mssql_url, undisturbed)


@POSIX
def test_a_second_signal_does_not_wait_for_a_lock(
    in_the_way: pyodbc.Connection, mssql_url: str, sql: pyodbc.Connection, start: Start,
    undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    program = start(mssql_url)
    wait_until_held_up(program, sql)
    program.process.send_signal(signal.SIGINT)
    time.sleep(1)
    assert program.process.poll() is None
    program.process.send_signal(signal.SIGINT)
    assert program.wait(12) == 130, program.errors
    assert "Traceback" not in program.errors
    in_the_way.rollback()
    finish(start, mssql_url, undisturbed)


# ------------------------------------------------------------------------------------------ many at once


def test_four_insert_threads_do_not_deadlock_each_other(
    mssql_url: str, start: Start, undisturbed: tuple[Tables, dict[str, str]]
) -> None:
    program = start(mssql_url, "--insert-threads", 4, "--workers", 4, "--log-level", "debug")
    assert program.wait() == 3, program.errors
    assert "deadlock" not in program.errors.lower()
    assert "1205" not in program.errors
    assert "attempt" not in program.errors
    expect_whole(mssql_url, NOTES, undisturbed)


@pytest.mark.usefixtures("prepared")
def test_two_loaders_whose_sessions_are_killed_load_nothing_twice(
    mssql: MssqlServer, mssql_url: str, sql: pyodbc.Connection, start: Start,
    undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    programs = [start(mssql_url, "--insert-threads", 4, "--throttle", 40) for _ in range(2)]
    mine = int(sql.execute("SELECT @@SPID").fetchval())
    for wanted in (41, 121):
        wait_until_committed(programs[0], sql, wanted)
        for session in mssql.sessions(str(make_url(mssql_url).database)):
            if session != mine:
                mssql.kill(session)
    for program in programs:
        assert program.wait() == 3, program.errors
    expect_whole(mssql_url, NOTES, undisturbed)
    loaded = [program.summary()["documents"]["loaded"] for program in programs]
    # The document that was there before is one that is quarantined.
    assert sum(loaded) == list(undisturbed[1].values()).count("loaded")


# ------------------------------------------------------------------------------------- what ends a load


@pytest.mark.usefixtures("prepared")
def test_a_table_that_is_dropped_in_mid_load(mssql_url: str, sql: pyodbc.Connection, start: Start) -> None:
    program = start(mssql_url, "--throttle", 50)
    wait_until_committed(program, sql, 41)
    sql.execute("DROP TABLE tag")
    program.wait(60)
    said = expect_one_sentence(program, 5)
    assert "tag" in said
    assert "mend the cause" in said
    assert committed(sql) < DOCUMENTS


PASSWORD = "Geheim-" + secrets.token_hex(8) + "Aa1"


@pytest.fixture
def login(mssql: MssqlServer, mssql_url: str, prepared: None, sql: pyodbc.Connection) -> Iterator[str]:
    """A login with the rights that ``doctor`` asks for, and no others."""
    name = f"loader_{secrets.token_hex(6)}"
    mssql.administer(f"CREATE LOGIN {name} WITH PASSWORD = '{PASSWORD}'")
    privileges = Privileges(
        name, None, tuple(table.name for table in NOTES.plan.tables),
        tuple(spec.name for spec in bookkeeping_specs()),
    )  # fmt: skip
    script = [line for line in open_engine(mssql_url).grant_statements(privileges) if line[:2] != "--"]
    for statement in script:
        sql.execute(statement)
    yield name
    mine = int(sql.execute("SELECT @@SPID").fetchval())
    for session in mssql.sessions(str(make_url(mssql_url).database)):
        if session != mine:
            mssql.kill(session)
    for statement in script:
        if statement.startswith("GRANT "):
            sql.execute(statement.replace("GRANT ", "REVOKE ", 1).replace(" TO ", " FROM "))
    sql.execute(f"DROP USER {name}")
    mssql.administer(f"DROP LOGIN {name}")


def as_login(url: str, login: str) -> str:
    return make_url(url).set(username=login, password=PASSWORD).render_as_string(hide_password=False)


def test_a_right_that_is_taken_away_in_mid_load(
    mssql_url: str, sql: pyodbc.Connection, login: str, start: Start,
    undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    program = start(as_login(mssql_url, login), "--throttle", 50)
    wait_until_committed(program, sql, 41)
    sql.execute(f"REVOKE INSERT ON tag FROM {login}")
    program.wait(60)
    said = expect_one_sentence(program, 5)
    assert "tag" in said
    assert "permission" in said
    assert PASSWORD not in program.errors
    finish(start, mssql_url, undisturbed)


def test_a_login_that_is_refused_only_when_it_connects_again(
    proxied: tuple[TcpProxy, str], mssql: MssqlServer, mssql_url: str, sql: pyodbc.Connection, login: str,
    start: Start, undisturbed: tuple[Tables, dict[str, str]],
) -> None:  # fmt: skip
    """Trying again cannot mend a password, and may lock the account: the run ends at once."""
    proxy, url = proxied
    program = start(as_login(url, login), "--throttle", 50, "--retry-seconds", 60)
    wait_until_committed(program, sql, 41)
    mssql.administer(f"ALTER LOGIN {login} WITH PASSWORD = '{PASSWORD}2'")
    proxy.cut()
    changed = time.monotonic()
    program.wait(60)
    assert time.monotonic() - changed < 40, "it was not tried again for all of --retry-seconds"
    said = expect_one_sentence(program, 5)
    assert "ogin failed" in said or "password" in said
    assert PASSWORD not in program.errors
    finish(start, mssql_url, undisturbed)


@pytest.mark.parametrize("side", ["--source", "--target"])
@pytest.mark.parametrize("wrong", ["password", "database", "port"])
def test_a_first_connection_that_fails(
    wrong: str, side: str, mssql: MssqlServer, folder: Path, source: str, tmp_path: Path
) -> None:
    place = make_url(mssql.url)
    if wrong == "password":
        place = place.set(password=PASSWORD)
    elif wrong == "database":
        place = place.set(database="no_such_thing")
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            place = place.set(port=listener.getsockname()[1])
    url = place.render_as_string(hide_password=False)
    urls = (
        ("--source", url, "--target", source) if side == "--source" else ("--source", source, "--target", url)
    )
    started = time.monotonic()
    program = run_program("--contract", folder / "notes.yaml", *urls, folder=tmp_path)
    # 10 s from connecting on; the rest is the interpreter's start.
    assert time.monotonic() - started < 10 + 5
    said = expect_one_sentence(program, 4 if side == "--source" else 5)
    assert program.errors.strip().count("\n") == 0, program.errors
    assert (
        str(place.port) if wrong == "port" else "no_such_thing" if wrong == "database" else "ogin"
    ) in said
    assert PASSWORD not in program.errors
