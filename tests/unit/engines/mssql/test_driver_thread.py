"""The thread that makes driver calls: nobody waits for it for ever, and nothing of it is left over."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from xml_extractor.engines.mssql import driver_thread
from xml_extractor.engines.mssql.driver_thread import DriverThread
from xml_extractor.engines.mssql.errors import Aborted, CoreFailure, NoAnswer
from xml_extractor.engines.mssql.wires import OpenRows, Wire

LONG = 10.0
"""Seconds that no test should ever wait for."""


class FakeWire(Wire):
    """Notes what is done to it, and by whom."""

    def __init__(self) -> None:
        self.cancelled = threading.Event()
        self.closed = threading.Event()
        self.closed_by = ""

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return []

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        raise AssertionError("nothing is streamed")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return 0

    def cancel(self) -> None:
        self.cancelled.set()

    def close(self) -> None:
        self.closed_by = threading.current_thread().name
        self.closed.set()


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_thread, "GRACE_SECONDS", 0.2)


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """Ends the calls that block; at the test's end at the latest."""
    event = threading.Event()
    yield event
    event.set()


def opened(name: str = "loader") -> tuple[DriverThread, FakeWire]:
    thread = DriverThread(name)
    return thread, thread.open(FakeWire, LONG)


def names() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("loader")]


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 5
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.005)


def blocking(release: threading.Event) -> Callable[[], str]:
    def call() -> str:
        assert release.wait(LONG)
        return "late"

    return call


def test_all_calls_are_made_by_one_thread_that_ends_with_the_session() -> None:
    thread, wire = opened()
    callers = {thread.call(lambda: threading.current_thread().name, LONG) for _ in range(3)}
    assert callers == {"loader driver"}
    thread.close()
    assert wire.closed.is_set()
    assert wire.closed_by == "loader driver"
    assert names() == []
    with pytest.raises(Aborted, match="closed"):
        thread.call(int, LONG)
    thread.close()  # harmless


def test_errors_come_out_as_they_were_raised() -> None:
    thread, wire = opened()
    error = KeyError("x")

    def fail() -> None:
        raise error

    with pytest.raises(KeyError) as caught:
        thread.call(fail, LONG)
    assert caught.value is error
    assert thread.call(lambda: 7, LONG) == 7, "an error does not end the thread"
    assert not wire.cancelled.is_set()
    thread.close()


def test_a_connection_that_is_refused_leaves_no_thread() -> None:
    thread = DriverThread("loader")

    def refuse() -> FakeWire:
        raise ConnectionRefusedError

    with pytest.raises(ConnectionRefusedError):
        thread.open(refuse, LONG)
    thread.close()
    assert names() == []


def test_a_panic_of_a_library_becomes_an_exception() -> None:
    class PanicException(BaseException):  # as pyo3 names it
        pass

    def panic() -> None:
        raise PanicException("index out of bounds")

    thread, _ = opened()
    with pytest.raises(CoreFailure) as caught:
        thread.call(panic, LONG)
    assert isinstance(caught.value.__cause__, PanicException)
    thread.close()


def test_a_call_that_never_returns_is_left_behind(release: threading.Event) -> None:
    thread, wire = opened()
    started = time.monotonic()
    with pytest.raises(NoAnswer, match=r"0\.1 s"):
        thread.call(blocking(release), 0.1)
    assert time.monotonic() - started < 2
    assert wire.cancelled.wait(5)
    assert thread.stopped
    with pytest.raises(NoAnswer):
        thread.call(int, LONG)
    thread.close()  # does not wait for it either
    assert not wire.closed.is_set()
    release.set()
    assert wire.closed.wait(5), "its late return closes the connection"
    wait_for(lambda: names() == [])


def test_a_connection_that_comes_too_late_is_closed(release: threading.Event) -> None:
    thread, wire = DriverThread("loader"), FakeWire()

    def connect() -> FakeWire:
        assert release.wait(LONG)
        return wire

    with pytest.raises(NoAnswer):
        thread.open(connect, 0.05)
    release.set()
    assert wire.closed.wait(5)


def test_what_a_cancelled_call_achieved_after_all_counts(release: threading.Event) -> None:
    """A COMMIT, say, whose answer came in the last moment."""
    thread, wire = opened()

    def call() -> str:
        assert wire.cancelled.wait(LONG)
        return "committed"

    assert thread.call(call, 0.05) == "committed"
    assert not thread.stopped
    assert thread.call(lambda: 1, LONG) == 1
    thread.close()


def test_a_call_that_fails_when_cancelled_has_not_answered() -> None:
    thread, wire = opened()

    def call() -> None:
        assert wire.cancelled.wait(LONG)
        raise OSError("operation cancelled")

    with pytest.raises(NoAnswer):
        thread.call(call, 0.05)
    assert wire.closed.wait(5)


def test_time_is_counted_from_each_request() -> None:
    thread, wire = opened()

    def call() -> int:
        for _ in range(6):
            wire.round_trips += 1
            time.sleep(0.1)
        return wire.round_trips

    assert thread.call(call, 0.4) == 6
    assert not wire.cancelled.is_set()
    thread.close()


def test_abandoning_frees_whoever_waits_at_once(release: threading.Event) -> None:
    thread, wire = opened()
    errors: list[BaseException] = []

    def wait() -> None:
        try:
            thread.call(blocking(release), LONG)
        except Aborted as error:
            errors.append(error)

    caller = threading.Thread(target=wait)
    caller.start()
    time.sleep(0.05)
    thread.abandon()
    caller.join(2)
    assert not caller.is_alive()
    assert len(errors) == 1
    assert wire.cancelled.wait(5)
    release.set()
    assert wire.closed.wait(5)


def test_abandoning_an_idle_session_closes_it() -> None:
    thread, wire = opened()
    thread.abandon()
    assert wire.closed.wait(5)
    with pytest.raises(Aborted, match="abort"):
        thread.call(int, LONG)
    thread.abandon()
    thread.close()


@pytest.mark.parametrize("thread_that_is_hit", ["any", "another"])
def test_ctrl_c_while_waiting_does_not_lose_the_thread(
    release: threading.Event, thread_that_is_hit: str
) -> None:
    def interrupt() -> None:
        if thread_that_is_hit == "any":
            os.kill(os.getpid(), signal.SIGINT)
        else:
            signal.pthread_kill(threading.get_ident(), signal.SIGINT)

    thread, wire = opened()
    timer = threading.Timer(0.1, interrupt)
    started = time.monotonic()
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        thread.call(blocking(release), LONG)
    assert time.monotonic() - started < LONG, "it was noticed only when the wait had ended by itself"
    timer.join()
    assert wire.cancelled.wait(5)
    with pytest.raises(Aborted):
        thread.call(int, LONG)
    release.set()
    assert wire.closed.wait(5)
    wait_for(lambda: names() == [])


def test_handing_a_call_over_costs_little() -> None:
    thread, _ = opened()

    def seconds_a_call(count: int = 200) -> float:
        started = time.perf_counter()
        for _ in range(count):
            thread.call(int, LONG)
        return (time.perf_counter() - started) / count

    # 10 µs where the machine is idle; the best of many, as it may not be.
    assert min(seconds_a_call() for _ in range(20)) < 200e-6
    thread.close()
