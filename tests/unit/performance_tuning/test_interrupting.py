"""Signals while something is measured."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from performance_tuning.measuring import servers
from performance_tuning.measuring.folders import temporary_folder
from performance_tuning.measuring.interrupting import Interrupted, interruptible, signals_held
from tests.support.program import CHECKOUT
from tests.support.servers import PostgresqlServer
from tests.support.tables import query

pytestmark = pytest.mark.skipif(os.name != "posix", reason="sends signals as POSIX does")


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_raised_once_and_the_handlers_are_put_back(
    number: int, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    putting_away = []

    def measure() -> None:
        try:
            send(number)
            pytest.fail("nothing was raised")
        finally:
            send(signal.SIGINT)  # a second one does not disturb
            send(signal.SIGTERM)
            putting_away.append("done")

    with interruptible(), pytest.raises(Interrupted) as stop:
        measure()
    assert stop.value.number == number
    assert putting_away == ["done"]
    assert "removing what this run made" in capfd.readouterr().err
    assert signal.getsignal(number) == before


def test_a_signal_waits_until_what_was_made_is_known() -> None:
    known = []

    def make() -> None:
        with signals_held():
            with signals_held():
                send(signal.SIGINT)
                known.append("inner")
            known.append("outer")
        pytest.fail("it was lost")

    with interruptible(), pytest.raises(Interrupted):
        make()
    assert known == ["inner", "outer"]


def test_what_was_raised_is_not_raised_again_while_putting_away() -> None:
    def stop_inside() -> None:
        try:
            send(signal.SIGINT)
        finally:
            with signals_held():
                pass

    with interruptible(), pytest.raises(Interrupted):
        stop_inside()
    with interruptible(), signals_held():
        pass  # the next one starts anew


def test_in_another_thread_it_does_nothing() -> None:
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with interruptible(), signals_held():
                pass
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert not failures


def test_folders_are_removed_and_what_a_killed_run_left_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    with temporary_folder(tmp_path, say=said.append) as first, temporary_folder(tmp_path, say=said.append):
        (first / "file").touch()
    assert list(tmp_path.iterdir()) == []
    assert said == [], "what is this run's own is nothing left behind"

    killed = "import os, pathlib, signal, sys; from performance_tuning.measuring.folders import *\n"
    killed += "with temporary_folder(pathlib.Path(sys.argv[1])) as folder:\n"
    killed += "    (folder / 'big').touch(); os.kill(os.getpid(), signal.SIGTERM)"
    subprocess.run([sys.executable, "-c", killed, tmp_path], cwd=CHECKOUT, timeout=120, check=False)
    (left,) = tmp_path.iterdir()
    with temporary_folder(tmp_path, say=said.append):
        pass
    (note,) = said
    assert f"note: {left}: left behind by a run that was killed, unless one is measuring just now" in note
    assert "delete" in note
    assert [path.name for path in left.iterdir()] == ["big"], "only the operator may delete it"


def test_a_database_whose_making_was_interrupted_is_dropped(
    postgresql: PostgresqlServer, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = servers.PostgresqlServer(postgresql_url, "--target")
    execute, seen = server._execute, []

    def execute_and_stop(sql: str) -> None:
        execute(sql)
        seen.append(sql)
        send(signal.SIGINT)

    monkeypatch.setattr(server, "_execute", execute_and_stop)
    with interruptible(), pytest.raises(Interrupted), server.database():
        pytest.fail("it went on")
    assert [sql.split()[0] for sql in seen] == ["CREATE", "DROP"]
    made = seen[0].split('"')[1]
    assert made.startswith(servers.DATABASE_PREFIX)
    assert (made,) not in query(postgresql.url, "SELECT datname FROM pg_database")
