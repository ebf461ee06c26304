"""The parent's side of one worker process: start it, talk to it, ask for its stack, see it off."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import pickle
import select
import signal
import sys
import threading
import time
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING, Final

from xml_extractor.processes import start
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.pulse import ProcessPulse, Reading
from xml_extractor.processing.worker_process import Message, run_worker_process
from xml_extractor.processing.worker_setup import WorkerSetup

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

EXIT_SECONDS: Final = 5.0
"""How long a process that has been told to go may take before it is killed."""

STACK_SECONDS: Final = 2.0
"""How long a process may take to show its stack: a signal handler in C does it, whatever else goes on."""

PIPE_BYTES: Final = 2**20
"""Room in the pipe that records come through: Linux's default for the most that may be asked for."""

STACK_SIGNAL: Final = getattr(signal, "SIGUSR1", None)
"""Asks a worker process for its stacks; ``None`` where processes have no such signal (Windows)."""

NO_STACK: Final = "    it shows no stack: it is stopped, or this system cannot show stacks of other processes"


class CannotStart(Exception):
    """The system would not start a process; says why.  Internal: the pool goes on with less."""


class WorkerLink:
    """One worker process.  For its feeder's thread; :meth:`kill`, :meth:`read_pulse`, :meth:`stack` and
    :attr:`process_id` may be called from any.

    Raises:
        CannotStart: there is no process.
    """

    def __init__(self, name: str, tick_seconds: float) -> None:
        context = multiprocessing.get_context("spawn")
        with contextlib.ExitStack() as on_failure:

            def pipe() -> tuple[Connection, Connection]:
                ends = context.Pipe(duplex=False)
                for end in ends:
                    on_failure.callback(end.close)
                return ends

            try:
                self._pulse = ProcessPulse()
                chunks_out, self._to_worker = pipe()
                self._from_worker, messages_in = pipe()
                _widen(messages_in)
                self._stacks, stacks_in = pipe()
                self._process: SpawnProcess = context.Process(
                    target=run_worker_process,
                    args=(chunks_out, messages_in, self._pulse, stacks_in, tick_seconds),
                    name=name,
                    daemon=True,
                )
                start(self._process)
            except (OSError, MemoryError, RuntimeError) as error:
                raise CannotStart(_reason(error)) from error
            on_failure.pop_all()
        self._stacks_lock = threading.Lock()
        # Our copies of the process's ends: while they are open its death would not end our reading.
        for end in (chunks_out, messages_in, stacks_in):
            end.close()

    @property
    def process_id(self) -> int | None:
        """The process's id while it runs."""
        return self._process.pid if self._process.is_alive() else None

    @property
    def last_process_id(self) -> int | None:
        """The process's id, whether it runs or has ended; asks the system nothing."""
        return self._process.pid

    def send(self, chunk: WorkerSetup | Chunk | None) -> bool:
        """Send a chunk, or ``None``: there are no more; false: the process is no more."""
        try:
            self._to_worker.send(chunk)
        except OSError:
            return False
        return True

    def receive(self) -> Message | None:
        """Wait for what the process says next; ``None``: it is no more."""
        try:
            message = pickle.loads(self._from_worker.recv_bytes())
        except (EOFError, OSError):
            return None
        if not isinstance(message, Message):
            raise TypeError(f"unexpected message from a worker process: {type(message).__name__}")
        return message

    def read_pulse(self) -> Reading:
        """Return what the process shows of itself."""
        return self._pulse.read()

    def stack(self) -> str:
        """Return the stacks of all threads of the process, without values, or why there is none."""
        process_id = self.process_id
        if STACK_SIGNAL is None or process_id is None:
            return NO_STACK
        # Closed in mid-read, the descriptor's number could by then be that of something else.
        with self._stacks_lock, contextlib.suppress(OSError):
            os.kill(process_id, STACK_SIGNAL)
            return _read_text(self._stacks.fileno()) or NO_STACK
        return NO_STACK

    def kill(self) -> None:
        """End the process at once."""
        if self._process.is_alive():
            self._process.kill()

    def bury(self) -> int | None:
        """Wait until the process is gone, end it if that takes long, and return its exit code."""
        self._process.join(EXIT_SECONDS)
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._to_worker.close()
        self._from_worker.close()
        with self._stacks_lock:
            self._stacks.close()
        return self._process.exitcode


def _widen(pipe: Connection) -> None:
    """Give a pipe as much room as Linux allows anybody: a worker then need not stop and wait for its feeder
    at every second message."""
    if sys.platform == "linux":
        import fcntl

        with contextlib.suppress(OSError):  # the user has as many pages in pipes as the system allows
            fcntl.fcntl(pipe.fileno(), fcntl.F_SETPIPE_SZ, PIPE_BYTES)


def _read_text(descriptor: int) -> str:
    """Read what comes within :data:`STACK_SECONDS`, until nothing more follows."""
    parts: list[bytes] = []
    deadline = time.monotonic() + STACK_SECONDS
    wait_seconds = STACK_SECONDS
    while select.select([descriptor], [], [], wait_seconds)[0]:
        part = os.read(descriptor, 65_536)
        if not part or time.monotonic() > deadline:
            break
        parts.append(part)
        wait_seconds = 0.1
    return "".join(f"    {line}\n" for line in b"".join(parts).decode("utf-8", "replace").splitlines())


def _reason(error: BaseException) -> str:
    detail = error.strerror if isinstance(error, OSError) else str(error)
    return f"{type(error).__name__}: {detail}" if detail else type(error).__name__
