"""Failpoints: off, they are nothing; on, they do what is specified, once, and say so."""

from __future__ import annotations

import ast
import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.support.program import environment, run_program
from xml_extractor import failpoints
from xml_extractor.engines import open_engine
from xml_extractor.errors import UsageError
from xml_extractor.failpoints import Failpoint, Failpoints, parse

PACKAGE = Path(failpoints.__file__).parent


def test_off_they_are_an_empty_function() -> None:
    assert failpoints.VARIABLE not in os.environ
    assert failpoints.hit is failpoints._off
    failpoints.hit("before_commit")
    failpoints.announce()


def test_names_are_those_of_the_code() -> None:
    named = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "failpoints.hit":
                name = node.args[0]
                assert isinstance(name, ast.Constant), f"{path}: the name must be there to be found"
                named.add(name.value)
    assert named == failpoints.NAMES


@pytest.mark.parametrize(
    ("text", "name", "action", "seconds", "at", "key"),
    [
        ("before_commit=kill", "before_commit", "kill", 0.0, 1, None),
        ("before_commit=kill@3", "before_commit", "kill", 0.0, 3, None),
        (" retry=stall:0.5@* ;", "retry", "stall", 0.5, None, None),
        ("worker_document=memory@key:a=b:7", "worker_document", "memory", 0.0, None, "a=b:7"),
    ],
)
def test_what_specifications_mean(
    text: str, name: str, action: str, seconds: float, at: int | None, key: str | None
) -> None:
    (spring,) = parse(text)
    assert (spring.name, spring.action, spring.seconds, spring.at, spring.key) == (
        name, action, seconds, at, key,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("before_commit", "is not NAME=ACTION"),
        ("before_commit=kill@", "is not NAME=ACTION"),
        ("before_commit=kill@x", "is not NAME=ACTION"),
        ("before_comit=kill", "there is no failpoint 'before_comit'"),
        ("before_commit=explode", "there is no action 'explode'"),
        ("before_commit=stall", "takes seconds"),
        ("before_commit=kill:3", "takes seconds"),
        ("before_commit=kill@0", "counted from 1"),
    ],
)
def test_a_bad_specification_is_refused(text: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        parse(f"retry=fail;{text}")


def test_the_nth_hit_of_a_name_springs() -> None:
    points = Failpoints(parse("before_commit=fail@3;retry=fail"), None)
    points.hit("before_commit")
    points.hit("after_commit")
    points.hit("before_commit")
    with pytest.raises(Failpoint):
        points.hit("before_commit")
    points.hit("before_commit")
    with pytest.raises(Failpoint):
        points.hit("retry")


def test_each_hit_and_each_hit_of_a_document() -> None:
    points = Failpoints(parse("retry=fail@*;worker_document=memory@key:7"), None)
    for _ in range(3):
        with pytest.raises(Failpoint):
            points.hit("retry")
    for key in (1, 70, "17"):
        points.hit("worker_document", key=key)
    for key in (7, "7"):
        with pytest.raises(MemoryError):
            points.hit("worker_document", key=key)


def test_a_name_that_nobody_knows_is_a_bug() -> None:
    with pytest.raises(ValueError, match="add it to NAMES"):
        Failpoints([], None).hit("befor_commit")


def test_with_a_folder_each_springs_once_over_all_processes(tmp_path: Path) -> None:
    text = "retry=fail;before_commit=disk_full@2"
    with pytest.raises(Failpoint):
        Failpoints(parse(text), tmp_path).hit("retry")
    other = Failpoints(parse(text), tmp_path)  # another process, with counts of its own
    other.hit("retry")
    other.hit("before_commit")
    with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)) as caught:
        other.hit("before_commit")
    assert caught.value.errno == errno.ENOSPC
    notes = {path.name: path.read_text().split() for path in tmp_path.iterdir()}
    assert sorted(notes) == ["1-retry-fail", "2-before_commit-disk_full"]
    for process, moment in notes.values():
        assert int(process) == os.getpid()
        assert abs(float(moment) - time.time()) < 60


def test_stall_waits() -> None:
    started = time.monotonic()
    Failpoints(parse("retry=stall:0.2"), None).hit("retry")
    assert time.monotonic() - started >= 0.2


def test_lost_is_what_the_engine_calls_a_lost_connection(database_url: str) -> None:
    engine = open_engine(database_url)
    session = engine.connect(write=True, application="tests")
    try:
        session.begin()
        with pytest.raises(Exception) as caught:
            Failpoints(parse("before_commit=lost"), None).hit("before_commit", session)
        assert engine.classify(caught.value).kind.name == "DISCONNECTED"
    finally:
        session.close()


def test_lost_without_a_session_is_a_connection_reset() -> None:
    with pytest.raises(ConnectionResetError):
        Failpoints(parse("dispatcher=lost"), None).hit("dispatcher")


def test_kill_ends_the_process_at_once(tmp_path: Path) -> None:
    code = "import atexit; from xml_extractor import failpoints; atexit.register(print, 'cleaned up'); "
    ended = subprocess.run(
        [sys.executable, "-c", code + "failpoints.hit('retry'); failpoints.hit('retry'); print('alive')"],
        env=environment({failpoints.VARIABLE: "retry=kill@2", failpoints.FOLDER_VARIABLE: str(tmp_path)}),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == (-9 if os.name == "posix" else 9)
    assert ended.stdout == ""
    assert [path.name for path in tmp_path.iterdir()] == ["1-retry-kill"]


def test_the_program_warns_that_they_are_on(tmp_path: Path, sqlite_url: str) -> None:
    program = run_program("--source", sqlite_url, folder=tmp_path, extra={failpoints.VARIABLE: "retry=kill"})
    assert "XML_EXTRACTOR_FAILPOINTS is set" in program.errors


@pytest.mark.parametrize(
    ("text", "folder", "said"),
    [("retry=burn", ".", "there is no action 'burn'"), ("retry=kill", "absent", "there is no folder")],
)
def test_the_program_refuses_what_it_cannot_read(
    text: str, folder: str, said: str, tmp_path: Path, sqlite_url: str
) -> None:
    extra = {failpoints.VARIABLE: text, failpoints.FOLDER_VARIABLE: str(tmp_path / folder)}
    program = run_program("--source", sqlite_url, folder=tmp_path, extra=extra)
    assert program.process.returncode == 2
    assert said in program.errors
    assert "Traceback" not in program.errors
