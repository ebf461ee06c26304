"""What a process holds: threads, processes, descriptors, connections, temporary files and shared memory."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

import psutil

from tests.support.tables import dialect_of, query

SETTLING_SECONDS = 10.0
"""A server notices the end of a connection, and the system that of a process, a little later."""

_KEPT_AT_SERVER = {
    "sqlite": [],
    "postgresql": [
        "SELECT pid, application_name, state FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND backend_type = 'client backend'",
        "SELECT relname FROM pg_class WHERE relpersistence = 't'",
        "SELECT gid FROM pg_prepared_xacts",
    ],
    "mssql": [
        "SELECT session_id, program_name FROM sys.dm_exec_sessions "
        "WHERE database_id = DB_ID() AND session_id <> @@SPID AND is_user_process = 1"
    ],
}
"""Sessions but for the one that asks, temporary tables, and transactions left prepared."""


@dataclass(frozen=True)
class Held:
    """What is held at one moment, by name, so that a failing comparison says what is left."""

    threads: frozenset[str]
    processes: frozenset[str]
    files: frozenset[str]
    descriptors: int
    shared_memory: frozenset[str]
    at_server: tuple[str, ...]


def held(url: str, pid: int | None = None) -> Held:
    """Look at this process (or another, whose threads are its own affair) and at the database's sessions."""
    gc.collect()
    process = psutil.Process(pid)
    return Held(
        frozenset(thread.name for thread in threading.enumerate()),
        frozenset(_children(process)),
        frozenset(file.path for file in process.open_files()),
        process.num_fds(),
        frozenset(path.name for path in Path("/dev/shm").glob("*") if _is_ours(path)),
        at_server(url),
    )


def _children(process: psutil.Process) -> Iterator[str]:
    for child in process.children(recursive=True):
        try:
            line = " ".join(child.cmdline())
        except psutil.Error:
            continue
        # Python's own helper: one a process, for as long as that lives, whoever uses multiprocessing.
        if "resource_tracker" not in line and "postgres" not in line and child.status() != "zombie":
            yield f"{child.pid} {line}"


def _is_ours(path: Path) -> bool:
    return path.name.startswith(("sem.mp-", "psm_", "wnsm_"))


def at_server(url: str) -> tuple[str, ...]:
    """What the database still holds for somebody."""
    return tuple(sorted(repr(row) for sql in _KEPT_AT_SERVER[dialect_of(url)] for row in query(url, sql)))


def _more(after: Held, before: Held) -> list[str]:
    """Say what is held after, and was not before; what has gone meanwhile was left by an earlier test."""
    found = []
    for what in (field.name for field in fields(Held)):
        was, is_now = getattr(before, what), getattr(after, what)
        if isinstance(is_now, int):
            if is_now > was:
                found.append(f"{what}: {is_now}, and {was} before")
        else:
            found += [f"{what}: {one}" for one in is_now if one not in was]
    return found


@contextmanager
def nothing_left(url: str, temporary: Path) -> Iterator[None]:
    """Fail if what runs inside leaves anything behind."""
    before = held(url)
    yield
    deadline = time.monotonic() + SETTLING_SECONDS
    while (more := _more(held(url), before)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not more
    assert not list(temporary.iterdir()), "temporary files"
