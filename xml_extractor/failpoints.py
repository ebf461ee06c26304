"""Named places at which tests make the program fail, stall or die; in production they do nothing.

A place calls ``failpoints.hit("before_commit")``.  Unless the environment variable
``XML_EXTRACTOR_FAILPOINTS`` is set when this module is imported, ``hit`` is an empty function: 45 ns a
call (CPython 3.11), and no place is passed more often than once a document, which takes a hundred
thousand.  Worker processes inherit the environment, and with it the failpoints.

A specification is a list, separated by semicolons, of ``NAME=ACTION[:SECONDS][@WHEN]``::

    before_commit=kill@3;worker_document=stall:30@100;worker_document=kill@key:4711

Actions: ``fail`` raises :class:`Failpoint`, which the program does not know; ``lost`` breaks the connection
off and raises what its engine raises then (where there is none at hand, ConnectionResetError);
``stall:SECONDS`` waits; ``kill`` ends the process at once, as SIGKILL does; ``memory`` raises MemoryError;
``disk_full`` raises OSError (ENOSPC).  WHEN: ``@N`` is the n-th hit of that name in one process, 1 where
none is given; ``@*`` each hit; ``@key:KEY`` each hit for the document with that key.

With ``XML_EXTRACTOR_FAILPOINTS_DIR``, a folder, each specification springs once over all processes and runs
that are given the same folder: whoever is first to create its file there.  The file's name is the
specification's number, place and action; it holds the id of the process and the time.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from xml_extractor.errors import UsageError

logger = logging.getLogger(__name__)

VARIABLE: Final = "XML_EXTRACTOR_FAILPOINTS"
FOLDER_VARIABLE: Final = "XML_EXTRACTOR_FAILPOINTS_DIR"

NAMES: Final = frozenset(
    {
        "run_start",  # before a new load is written into load_runs
        "run_finish",  # before a load's end is written into load_runs
        "reader_keys",  # before each page of keys
        "reader_documents",  # before each slice of documents
        "dispatcher",  # before each chunk is handed to the workers
        "worker_start",  # in a worker process, before it says that it is there
        "worker_document",  # in the worker, before each document
        "worker_send",  # in a worker process, before records are sent to the parent
        "queue_put",  # before records are put into the insert queue
        "queue_take",  # in the insert thread, a batch in hand
        "before_claim",  # in the transaction, before the ledger rows
        "old_rows_deleted",  # in the transaction, when the rows of older versions are gone
        "after_claim",  # in the transaction, after the ledger rows
        "between_tables",  # in the transaction, after each table's rows
        "quarantine_write",  # in the transaction, before quarantine details
        "before_commit",
        "after_commit",  # committed, but nobody knows yet
        "after_acknowledge",  # committed and counted
        "rollback_before_commit",  # in the transaction of a batch that is rolled back
        "rollback_after_commit",
        "tables_created",  # in the transaction, after the tables
        "before_keys",  # before the first key that is owed is built
        "between_keys",  # after each thing that was built
        "keys_quarantine",  # in the transaction, before documents that are in the way of a key are set aside
        "after_keys",  # built, and not yet counted
        "range_write",  # before a finished range is written down
        "retry",  # before each wait between two attempts
    }
)
ACTIONS: Final = ("fail", "lost", "stall", "kill", "memory", "disk_full")

_SPECIFICATION: Final = re.compile(
    r"(?P<name>\w+)=(?P<action>\w+)(?::(?P<seconds>\d+(?:\.\d+)?))?"
    r"(?:@(?:(?P<number>\d+)|(?P<each>\*)|key:(?P<key>.+)))?"
)


class Failpoint(Exception):
    """Raised by the action ``fail``: nothing that the program could foresee."""


class Breakable(Protocol):
    """A connection that a failpoint can break off: a ``Session``."""

    def abort(self) -> None:
        """Break the connection off."""

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        """Run a SELECT; raises the engine's own error once the connection is broken off."""


@dataclass(frozen=True, slots=True)
class Spring:
    """One specification, taken apart."""

    number: int  # its place in the list, from 1
    name: str
    action: str
    seconds: float = 0.0
    at: int | None = 1  # the hit at which it springs; None = each
    key: str | None = None  # only for this document

    @property
    def file_name(self) -> str:
        """The name of the file that says it has sprung."""
        return f"{self.number}-{self.name}-{self.action}"


def parse(text: str) -> list[Spring]:
    """Take a list of specifications apart.

    Raises:
        UsageError: one of them cannot be read.
    """
    springs = []
    for number, part in enumerate(filter(None, map(str.strip, text.split(";"))), start=1):
        found = _SPECIFICATION.fullmatch(part)
        if found is None:
            raise UsageError(
                f"{VARIABLE}: {part!r} is not NAME=ACTION[:SECONDS][@N, @* or @key:KEY]; correct it, or "
                "unset the variable: it is for tests only"
            )
        name, action, seconds = found["name"], found["action"], found["seconds"]
        if name not in NAMES:
            raise UsageError(f"{VARIABLE}: there is no failpoint {name!r}, only {', '.join(sorted(NAMES))}")
        if action not in ACTIONS:
            raise UsageError(f"{VARIABLE}: there is no action {action!r}, only {', '.join(ACTIONS)}")
        if (action == "stall") is (seconds is None):
            raise UsageError(f"{VARIABLE}: {part!r}: stall, and it alone, takes seconds: stall:30")
        at: int | None = int(found["number"] or 1)
        if at == 0:
            raise UsageError(f"{VARIABLE}: {part!r}: hits are counted from 1")
        if found["each"] or found["key"]:
            at = None
        springs.append(Spring(number, name, action, float(seconds or 0), at, found["key"]))
    return springs


class Failpoints:
    """Counts hits and springs what is specified.  Thread-safe.

    Args:
        folder: where each spring is noted, and springs once; ``None`` = nowhere.
    """

    def __init__(self, springs: Sequence[Spring], folder: Path | None) -> None:
        self._springs: dict[str, list[Spring]] = {}
        for spring in springs:
            self._springs.setdefault(spring.name, []).append(spring)
        self._folder = folder
        self._hits: Counter[str] = Counter()
        self._lock = threading.Lock()

    def hit(self, name: str, session: Breakable | None = None, *, key: object = None) -> None:
        """Do what is specified for the place ``name``, if anything is; see the module."""
        if name not in NAMES:
            raise ValueError(f"there is no failpoint {name!r}: add it to NAMES")
        springs = self._springs.get(name)
        if springs is None:
            return
        with self._lock:
            self._hits[name] += 1
            number = self._hits[name]
        for spring in springs:
            if spring.at not in (None, number) or (spring.key is not None and spring.key != str(key)):
                continue
            if self._is_first(spring):
                logger.warning("failpoint %s springs at hit %d: %s", name, number, spring.action)
                _act(spring, session)

    def _is_first(self, spring: Spring) -> bool:
        if self._folder is None:
            return True
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
        try:
            file = os.open(self._folder / spring.file_name, flags)
        except FileExistsError:
            return False
        os.write(file, f"{os.getpid()} {time.time():.6f}".encode())
        os.close(file)
        return True


def _act(spring: Spring, session: Breakable | None) -> None:
    match spring.action:
        case "stall":
            time.sleep(spring.seconds)
        case "kill":
            if hasattr(signal, "SIGKILL"):
                os.kill(os.getpid(), signal.SIGKILL)
            os._exit(9)
        case "memory":
            raise MemoryError
        case "disk_full":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        case "lost":
            if session is not None:
                session.abort()
                session.query("SELECT 1")
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        case _:
            raise Failpoint(f"failpoint {spring.name}")


def _off(name: str, session: Breakable | None = None, *, key: object = None) -> None:
    """Do nothing."""


def _from_environment() -> tuple[Callable[..., None], UsageError | None]:
    """Return what ``hit`` is to be, and what is wrong with the specification."""
    text = os.environ.get(VARIABLE, "")
    if not text.strip():
        return _off, None
    folder = os.environ.get(FOLDER_VARIABLE)
    try:
        if folder and not Path(folder).is_dir():
            raise UsageError(f"{FOLDER_VARIABLE}: there is no folder {folder}; create it")
        return Failpoints(parse(text), Path(folder) if folder else None).hit, None
    except UsageError as error:
        return _off, error


hit, _mistake = _from_environment()
_announced = threading.Event()


def announce() -> None:
    """Warn where failpoints are on: nobody may run a load with them by accident.

    Raises:
        UsageError: the specification cannot be read.
    """
    if _mistake is not None:
        raise _mistake
    if hit is not _off and not _announced.is_set():
        _announced.set()
        logger.warning("%s is set: this program will fail on purpose; unset it", VARIABLE)
