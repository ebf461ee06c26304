"""A process that holds one worker of a deep verification, and the parent's side of it."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import traceback
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from multiprocessing.sharedctypes import RawArray, RawValue
from typing import Any, Final, TypeVar

from xml_extractor.errors import LoaderError
from xml_extractor.operations.verification.subject import Connections, Subject
from xml_extractor.operations.verification.worker import Worker
from xml_extractor.processes import start
from xml_extractor.threads import Thread

T = TypeVar("T")

EXIT_SECONDS: Final = 5.0
"""How long a process that has nothing more to do may take to go before it is killed."""


class ProcessDied(Exception):
    """The process is no more.  Internal: the pool says what to do about it."""


def pack(subject: Subject) -> Any:
    """Return the subject as bytes in shared memory.

    As an argument a large plan would not fit into the pipe by which a process is started, and one that died
    meanwhile would be waited for without end.
    """
    return RawArray("c", pickle.dumps(subject))


class WorkerProcess:
    """One process with a :class:`Worker`.  For one thread; :meth:`kill` and ``rows_read`` are any thread's.

    Raises:
        OSError, MemoryError, RuntimeError: the system would not start a process.
    """

    def __init__(self, packed: Any, name: str) -> None:
        # Spawned, never forked: connections and threads of this process are not its own.
        context = multiprocessing.get_context("spawn")
        self._count = RawValue("q", 0)
        self._link, its_end = context.Pipe()
        try:
            self._process: SpawnProcess = context.Process(
                target=_run, args=(its_end, packed, self._count), name=name, daemon=True
            )
            start(self._process)
        except BaseException:
            self._link.close()
            raise
        finally:
            # While a copy of it is open here, the process's death would not end our reading.
            its_end.close()

    @property
    def rows_read(self) -> int:
        """How many rows and documents it has read so far."""
        return int(self._count.value)

    def call(self, call: Callable[..., T], arguments: Sequence[Any]) -> T:
        """Have a method of :class:`Worker` called with these arguments, and return or raise what it does.

        Raises:
            ProcessDied: there is no answer, and will be none.
        """
        try:
            self._link.send((call, arguments))
            succeeded, answer = pickle.loads(self._link.recv_bytes())
        except (EOFError, OSError):
            raise ProcessDied from None
        if not succeeded:
            raise answer
        result: T = answer
        return result

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def close(self) -> None:
        """Let it go, and wait until it is gone."""
        self._link.close()
        self._process.join(EXIT_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()


def _run(link: Connection, packed: Any, count: Any) -> None:
    # A Ctrl-C reaches every process of the terminal; the parent says what is to happen.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Thread(_end_with_parent, name="parent").start()
    subject = pickle.loads(packed.raw)
    assert isinstance(subject, Subject)
    with closing(Worker(Connections(subject), count)) as worker, suppress(EOFError, OSError):
        while True:
            call, arguments = link.recv()
            link.send(_answer(worker, call, arguments))


def _answer(worker: Worker, call: Callable[..., Any], arguments: Sequence[Any]) -> tuple[bool, Any]:
    try:
        return True, call(worker, *arguments)
    except Exception as error:  # noqa: BLE001 - the parent raises it
        if not isinstance(error, LoaderError):
            # Where it happened is not pickled.
            error.add_note("in a worker process:\n" + "".join(traceback.format_tb(error.__traceback__)))
        return False, error


def _end_with_parent() -> None:
    """In the middle of its work a process would learn of its parent's death only by the next answer."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)
