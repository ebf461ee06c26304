"""Workers that die, stall or run out of memory, in the real program: what is not at fault is loaded."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.program import CHECKOUT, Program
from tests.support.tables import query

DOCUMENTS = 400
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="reads what Linux says of processes")
CONTRACT = """
contract: orders
version: 1
source: {table: app_xml, key: id, document: body}
document: {root: Order}
tables:
  orders:
    primary_key: [id]
    columns:
      id: {from: $key, type: int}
      code: {from: Code, type: nvarchar(50)PLUGIN}
  item:
    parent: orders
    rows: Item
    primary_key: [id, no]
    columns:
      id: {from: $key, type: int}
      no: {from: "@no", type: int, required: true}
      name: {from: Name, type: nvarchar(100)}
      amount: {from: Amount, type: "decimal(12,2)"}
"""
PLUGIN = """
import multiprocessing, os, re, signal, time

calls = 0

def work(text):
    global calls
    calls += 1
    in_a_process = multiprocessing.parent_process() is not None
    if text == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if text == "memory":
        bytearray(2**62)
    if text == "sleep":
        time.sleep(600)
    if text == "regex":
        re.match("(a+)+$", "a" * 40 + "b")
    if in_a_process and calls >= int(os.environ.get("LIFETIME", 10**9)):
        os._exit(13)
    return text
"""


def write_source(folder: Path, special: dict[int, str], *, documents: int = DOCUMENTS, items: int = 3) -> str:
    path = folder / "source.db"
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE app_xml (id INTEGER PRIMARY KEY, body TEXT)")
    connection.executemany(
        "INSERT INTO app_xml VALUES (?, ?)",
        ((key, document(key, special.get(key, f"code {key}"), items)) for key in range(1, documents + 1)),
    )
    connection.commit()
    connection.close()
    return f"sqlite:///{path.as_posix()}"


def document(key: int, code: str, items: int) -> str:
    rows = "".join(
        f'<Item no="{number}"><Name>item {number} of order {key}</Name><Amount>{number}.25</Amount></Item>'
        for number in range(items)
    )
    return f"<Order><Code>{code}</Code>{rows}</Order>"


def start(folder: Path, source: str, target: str, *arguments: object, lifetime: int = 10**9) -> Program:
    (folder / "breaking_plugin.py").write_text(PLUGIN, encoding="utf-8")
    contract = folder / "orders.yaml"
    contract.write_text(
        CONTRACT.replace("PLUGIN", ", apply: [{plugin: breaking_plugin:work}]"), encoding="utf-8"
    )
    return Program(
        "--contract", contract, "--source", source, "--target", target, "--create-tables",
        "--drift-sample", 0, "--log-file", folder / "load.log", *arguments, folder=folder,
        extra={"PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(folder)]), "LIFETIME": str(lifetime)},
    )  # fmt: skip


def expect_loaded(url: str, refused: dict[int, str]) -> None:
    """Every document is there once with its rows, or in quarantine with its reason."""
    keys = [key for key in range(1, DOCUMENTS + 1) if key not in refused]
    orders = query(url, "SELECT id, code FROM orders ORDER BY id")
    assert [tuple(row) for row in orders] == [(key, f"code {key}") for key in keys]
    items = query(url, "SELECT id, no, name FROM item ORDER BY id, no")
    assert [tuple(row) for row in items] == [
        (key, number, f"item {number} of order {key}") for key in keys for number in range(3)
    ]
    found = query(url, "SELECT source_key, code FROM load_quarantine")
    assert {int(key): code for key, code in found} == refused
    states = query(url, "SELECT state, COUNT(*) FROM load_ledger GROUP BY state")
    assert {str(state): int(count) for state, count in states} == {
        "loaded": len(keys),
        **({"quarantined": len(refused)} if refused else {}),
    }


@LINUX
def test_deadly_and_greedy_documents_are_quarantined_alone(tmp_path: Path, database_url: str) -> None:
    source = write_source(tmp_path, {50: "kill", 51: "memory", 300: "memory"})
    program = start(tmp_path, source, database_url, "--executor", "process", "--workers", 2)
    assert program.wait() == 3, program.errors
    expect_loaded(database_url, {50: "worker_died", 51: "out_of_memory", 300: "out_of_memory"})
    assert "SIGKILL" in program.errors
    assert program.summary()["notes"] == []


@LINUX
def test_processes_that_keep_dying_give_way_to_threads_and_nothing_is_lost(
    tmp_path: Path, sqlite_url: str
) -> None:
    source = write_source(tmp_path, {})
    program = start(tmp_path, source, sqlite_url, "--executor", "process", "--workers", 2, lifetime=25)
    assert program.wait() == 0, program.errors
    expect_loaded(sqlite_url, {})
    notes = program.summary()["notes"]
    assert notes[0].endswith("going on with 1 worker process of 2")
    assert notes[1].endswith("going on with worker threads")
    assert len(notes) == 2
    assert "Going on with worker threads." in program.output or notes[1][1:] in program.output


@LINUX
def test_a_document_that_stalls_is_quarantined_with_its_place_in_the_log(
    tmp_path: Path, sqlite_url: str
) -> None:
    source = write_source(tmp_path, {200: "regex"})
    program = start(
        tmp_path, source, sqlite_url, "--executor", "process", "--workers", 2, "--worker-timeout", 2
    )
    assert program.wait() == 3, program.errors
    expect_loaded(sqlite_url, {200: "worker_stuck"})
    log = (tmp_path / "load.log").read_text(encoding="utf-8")
    assert "at document 200" in log
    assert 'breaking_plugin.py", line' in log
    assert "in work" in log


@LINUX
@pytest.mark.parametrize("executor", ["thread", "serial"])
def test_a_thread_that_stalls_ends_the_run_and_the_next_one_completes(
    tmp_path: Path, sqlite_url: str, executor: str
) -> None:
    source = write_source(tmp_path, {200: "sleep"})
    program = start(
        tmp_path, source, sqlite_url, "--executor", executor, "--worker-timeout", 2, "--batch-size", 50
    )
    started = time.monotonic()
    assert program.wait(60) == 1, program.errors
    assert time.monotonic() - started < 30
    assert "document 200" in program.errors.strip().splitlines()[-1]
    assert "--executor process" in program.errors
    assert "Traceback" not in program.errors
    assert 'breaking_plugin.py", line' in (tmp_path / "load.log").read_text(encoding="utf-8")
    assert query(sqlite_url, "SELECT COUNT(*) FROM load_ledger")[0][0] >= 100, "committed stays"
    second = start(
        tmp_path, source, sqlite_url, "--executor", "process", "--workers", 2, "--worker-timeout", 2
    )
    assert second.wait() == 3, second.errors
    expect_loaded(sqlite_url, {200: "worker_stuck"})


@LINUX
@pytest.mark.parametrize("executor", ["thread", "serial"])
def test_a_plug_in_that_holds_the_interpreter_in_a_thread_ends_the_program(
    tmp_path: Path, sqlite_url: str, executor: str
) -> None:
    """No thread of the program can do anything about it, nor show where it is; a process beside does."""
    source = write_source(tmp_path, {200: "regex"})
    program = start(
        tmp_path, source, sqlite_url, "--executor", executor, "--worker-timeout", 2, "--batch-size", 50
    )
    children = []
    while program.process.poll() is None and not children:
        children = psutil.Process(program.process.pid).children()
        time.sleep(0.02)
    assert program.wait(60) == -signal.SIGABRT, program.errors
    # Other threads may have been interrupted at a document, too.
    assert "'200'" in program.errors.partition("Documents in hand: ")[2].partition(". ")[0]
    assert "--executor process" in program.errors
    assert 'breaking_plugin.py", line' in program.errors
    if executor == "serial":  # an insert thread stands still with all others, before its first commit
        assert query(sqlite_url, "SELECT COUNT(*) FROM load_ledger")[0][0] >= 50, "committed stays"
    assert not psutil.wait_procs(children, timeout=10)[1]
    second = start(
        tmp_path, source, sqlite_url, "--executor", "process", "--workers", 2, "--worker-timeout", 2
    )
    assert second.wait() == 3, second.errors
    expect_loaded(sqlite_url, {200: "worker_stuck"})


@LINUX
@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_program_that_is_stopped_and_goes_on_has_stuck_nobody(
    tmp_path: Path, sqlite_url: str, executor: str
) -> None:
    """As by Ctrl-Z, for several times the timeout: neither watch may take that for a worker's fault."""
    source = write_source(tmp_path, {})
    program = start(
        tmp_path, source, sqlite_url, "--executor", executor, "--workers", 2, "--worker-timeout", 3,
        "--throttle", 150, "--batch-size", 20,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not (tmp_path / "database.db").exists() or not loaded_so_far(sqlite_url):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    whole = [psutil.Process(program.process.pid)]
    whole += whole[0].children(recursive=True)
    if executor == "thread":
        whole = whole[:1]  # not the process beside, which has to see for itself
    for process in whole:
        process.suspend()
    time.sleep(8)
    for process in reversed(whole):
        process.resume()
    assert program.wait() == 0, program.errors
    expect_loaded(sqlite_url, {})
    assert "stuck" not in program.errors
    assert "silent" not in program.errors


def loaded_so_far(url: str) -> int:
    with contextlib.suppress(Exception):
        return int(query(url, "SELECT COUNT(*) FROM load_ledger")[0][0])
    return 0


# ------------------------------------------------------------------------------------------------ memory


def most_memory(program: Program) -> int:
    """The most that the program's processes took together, until it ended, shared pages counted once."""
    most = 0
    root = psutil.Process(program.process.pid)
    while program.process.poll() is None:
        total = 0
        try:
            for process in [root, *root.children(recursive=True)]:
                total += process.memory_full_info().pss
        except psutil.Error:
            continue  # one has just ended: the next look will be whole
        most = max(most, total)
        time.sleep(0.05)
    return most


@LINUX
def test_a_load_of_large_documents_stays_within_its_memory_limit(tmp_path: Path, sqlite_url: str) -> None:
    """Documents of 1 MB, 60 of them: three times as much as the limit leaves for them."""
    source = write_source(tmp_path, {}, documents=60, items=10_000)
    program = start(
        tmp_path, source, sqlite_url, "--executor", "process", "--workers", 4, "--memory-limit", "200MiB"
    )
    most = most_memory(program)
    assert program.wait() == 0, program.errors
    assert most < 200 * 2**20, f"{most / 2**20:.0f} MiB"
    assert query(sqlite_url, "SELECT COUNT(*) FROM item")[0][0] == 600_000
    summary: dict[str, Any] = program.summary()
    notes = " ".join(summary["notes"])
    assert "--queue-bytes" in notes
    assert "not 4 worker processes" in notes


def test_a_limit_that_is_too_low_is_refused_before_anything_is_touched(
    tmp_path: Path, sqlite_url: str
) -> None:
    source = write_source(tmp_path, {}, documents=1)
    program = start(tmp_path, source, sqlite_url, "--memory-limit", "50MiB")
    assert program.wait() == 2, program.errors
    assert "--memory-limit" in program.errors
    assert "is too little" in program.errors
    assert not Path(sqlite_url.removeprefix("sqlite:///")).exists()
