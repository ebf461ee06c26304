"""Rows that are read as they are wanted: all of them, in little memory, and nothing left open."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from xml_extractor.engines.base import Engine, Fault, FaultKind, Session

Connect = Callable[..., Session]

ROWS = 5000


@pytest.fixture
def filled(session: Session) -> Session:
    """A session, and a table ``t`` of many rows."""
    session.execute("CREATE TABLE t (a integer PRIMARY KEY, b varchar(200))")
    session.execute_many("INSERT INTO t (a, b) VALUES (?, ?)", [(n, "x" * 150) for n in range(ROWS)])
    return session


def stream(session: Session, sql: str, *parameters: Any, rows: int = 100) -> Any:
    return closing(session.stream(sql, parameters, rows_per_chunk=rows))  # type: ignore[type-var]


@pytest.mark.parametrize("write", [True, False])
def test_all_rows_come_in_lists(filled: Session, connect: Connect, write: bool) -> None:
    session = connect(write=write)
    with stream(session, "SELECT a FROM t WHERE a >= ? AND b <> ? ORDER BY a", 100, "?") as found:
        pieces = list(found)
    assert [len(piece) for piece in pieces] == [100] * 49
    assert [row for piece in pieces for row in piece] == [(n,) for n in range(100, ROWS)]
    with stream(session, "SELECT a FROM t WHERE a < ?", 0) as found:
        assert list(found) == []
    assert session.query("SELECT count(*) FROM t") == [(ROWS,)]


def test_nothing_runs_before_the_first_row_is_wanted(filled: Session) -> None:
    nothing = filled.stream("SELECT a FROM no_such_table")
    filled.execute("DELETE FROM t WHERE a = 0")
    nothing.close()  # type: ignore[attr-defined]


def test_a_stream_that_is_closed_lets_go(filled: Session, connect: Connect) -> None:
    reader = connect(write=False)
    with stream(reader, "SELECT a, b FROM t ORDER BY a") as found:
        assert len(next(found)) == 100
    # The session is free for other work, and what it read can be changed, and its table dropped, by others.
    assert reader.query("SELECT count(*) FROM t") == [(ROWS,)]
    assert filled.execute("UPDATE t SET b = ?", ("y",)) == ROWS
    assert reader.query("SELECT DISTINCT b FROM t") == [("y",)]
    filled.execute("DROP TABLE t")


def test_in_a_transaction_the_transaction_stays(filled: Session) -> None:
    filled.begin()
    filled.execute("DELETE FROM t WHERE a >= ?", (50,))
    with stream(filled, "SELECT a FROM t ORDER BY a", rows=20) as found:
        assert [len(piece) for piece in found] == [20, 20, 10]
    with stream(filled, "SELECT a FROM t ORDER BY a", rows=20) as found:
        next(found)
    filled.rollback()
    assert filled.query("SELECT count(*) FROM t") == [(ROWS,)]
    filled.begin()
    filled.execute("DELETE FROM t WHERE a >= ?", (50,))
    with stream(filled, "SELECT a FROM t ORDER BY a") as found:
        list(found)
    filled.commit()
    assert filled.query("SELECT count(*) FROM t") == [(50,)]


def test_errors_are_classified_and_the_session_goes_on(engine: Engine, filled: Session) -> None:
    def fault_of(sql: str) -> Fault:
        with pytest.raises(Exception) as caught, stream(filled, sql, rows=2) as found:
            list(found)
        return engine.classify(caught.value)

    assert fault_of("SELECT a FROM no_such_table").kind is FaultKind.FATAL
    if engine.name != "sqlite":  # where a division by zero is NULL
        assert fault_of("SELECT 1 / (3 - a) FROM t ORDER BY a").kind is not FaultKind.DISCONNECTED
    assert filled.query("SELECT count(*) FROM t") == [(ROWS,)]


def test_an_aborted_stream_ends_at_once(engine: Engine, filled: Session, connect: Connect) -> None:
    reader = connect(write=False)
    with stream(reader, "SELECT a, b FROM t") as found:
        next(found)
        reader.abort()
        with pytest.raises(Exception) as caught:
            list(found)
    assert engine.classify(caught.value).kind is FaultKind.DISCONNECTED


def test_memory_holds_one_list(filled: Session, connect: Connect) -> None:
    reader = connect(write=False)
    tracemalloc.start()
    try:
        with stream(reader, "SELECT a, b FROM t", rows=50) as found:
            next(found)
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            assert sum(len(piece) for piece in found) == ROWS - 50
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # All rows hold a megabyte, one list of them ten kilobytes.
    assert peak - before < 200_000
