"""Servers that are not there, refuse, or stop answering: nothing waits longer than its limit."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.plans import column, plan, table
from tests.support.servers import PostgresqlServer
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, EngineOptions, Fault, FaultKind, Session, TimeLimits


def fault_of(engine: Engine, call: Callable[[], Any]) -> Fault:
    with pytest.raises(Exception) as caught:
        call()
    return engine.classify(caught.value)


def connecting(url: str, *, seconds: float = 2, password: str | None = None) -> Fault:
    engine = open_engine(url, password=password, options=EngineOptions(TimeLimits(connect_seconds=seconds)))
    return fault_of(engine, lambda: engine.connect(write=False, application="tests"))


def test_nobody_listens() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        fault = connecting(f"postgresql://u@127.0.0.1:{unused.getsockname()[1]}/d", password="s3cret")
    assert (fault.kind, fault.code) == (FaultKind.DISCONNECTED, "connection_refused")
    assert "s3cret" not in fault.message


def test_a_server_that_accepts_and_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        started = time.monotonic()
        fault = connecting(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/d")
        assert time.monotonic() - started < 8
    assert (fault.kind, fault.code) == (FaultKind.DISCONNECTED, "connect_timeout")


def test_unknown_database_and_role(postgresql: PostgresqlServer) -> None:
    fault = connecting(postgresql.url_of("there_is_none"))
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "no_such_database")
    fault = connecting(postgresql.url_of("postgres", username="there_is_none", password="s3cret"))
    assert (fault.kind, fault.code) == (FaultKind.FATAL, "authentication_failed")
    assert "s3cret" not in fault.message


def test_the_application_names_itself(postgresql_url: str) -> None:
    session = open_engine(postgresql_url).connect(write=False, application="xml-extractor reader")
    assert session.query(
        "SELECT current_setting('application_name'), current_setting('statement_timeout')"
    ) == [("xml-extractor reader", "1min")]
    session.close()


def test_the_schema_is_the_default_schema(postgresql_url: str) -> None:
    plain = open_engine(postgresql_url).connect(write=True, application="tests")
    plain.execute('CREATE SCHEMA "My Schema"')
    session = open_engine(postgresql_url, options=EngineOptions(schema="My Schema")).connect(
        write=True, application="tests"
    )
    session.execute("CREATE TABLE t (a integer)")
    assert (list(session.table_names()), list(plain.table_names())) == (["t"], [])
    assert plain.query('SELECT count(*) FROM "My Schema".t') == [(0,)]
    session.close()
    plain.close()


@pytest.fixture
def stalled(postgresql: PostgresqlServer, postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A session whose server process is stopped: the connection stays open, and nothing answers."""
    if not postgresql.local:
        pytest.skip("the server's processes are out of reach")
    monkeypatch.setattr("xml_extractor.engines.postgresql_session.GRACE_SECONDS", 0.2)
    engine = open_engine(
        postgresql_url, options=EngineOptions(TimeLimits(connect_seconds=5, statement_seconds=1))
    )
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE t (a integer, b text)")
    pid = session.query("SELECT pg_backend_pid()")[0][0]
    yield engine, session, lambda: os.kill(pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGCONT)
    session.close()


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
@pytest.mark.parametrize("statement", ["query", "commit", "copy", "insert_new", "begin"])
def test_a_server_that_stops_answering(
    stalled: tuple[Engine, Session, Callable[[], None]], statement: str
) -> None:
    engine, session, stop = stalled
    one = table("t", column("a", "int"), column("b", "nvarchar(max)"))
    # More than the socket's buffers hold, so that sending itself comes to a halt.
    encoded, _ = engine.encoder(plan(one))(([(i, "x" * 10_000) for i in range(2000)],))
    calls: dict[str, Callable[[], Any]] = {
        "query": lambda: session.query("SELECT 1"),
        "commit": session.commit,
        "copy": lambda: session.write_rows(one, [encoded[0]] * 3),
        "insert_new": lambda: session.insert_new("t", ("a", "b"), [(1, "x")]),
        "begin": session.begin,
    }
    if statement == "commit":
        session.begin()
    stop()
    started = time.monotonic()
    fault = fault_of(engine, calls[statement])
    assert time.monotonic() - started < 6
    assert (fault.kind, fault.code) == (FaultKind.DISCONNECTED, "no_answer")
    started = time.monotonic()
    session.rollback()
    session.close()
    assert time.monotonic() - started < 2


@pytest.mark.skipif(not hasattr(signal, "SIGSTOP"), reason="processes cannot be stopped here")
def test_abort_frees_a_session_whose_server_is_stalled(
    postgresql: PostgresqlServer, postgresql_url: str
) -> None:
    if not postgresql.local:
        pytest.skip("the server's processes are out of reach")
    engine = open_engine(postgresql_url)
    session = engine.connect(write=True, application="tests")
    pid = session.query("SELECT pg_backend_pid()")[0][0]
    os.kill(pid, signal.SIGSTOP)
    try:
        timer = threading.Timer(0.5, session.abort)
        timer.start()
        started = time.monotonic()
        fault = fault_of(engine, lambda: session.query("SELECT 1"))
        assert time.monotonic() - started < 3
        assert (fault.kind, fault.code) == (FaultKind.DISCONNECTED, "aborted")
        timer.join()
    finally:
        os.kill(pid, signal.SIGCONT)
        session.close()
