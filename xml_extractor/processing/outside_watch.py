"""Ends a program whose interpreter is held by C code for ever, from outside, naming the document.

A plug-in can call C code that never comes back and lets no other thread run: a regular expression that
explodes.  In a worker process the parent deals with that.  In threads nothing in the program can: no
watch, no signal handler.  So where a contract has plug-ins, a small process watches the program: a ticker
thread counts in memory that both share, and the workers write there which documents they have in hand.
When the count stands still for too long, it says on standard error where that was and ends the program;
what is committed stays.  On Windows, which has no such descriptors to hand on, nobody watches.

This file is also what runs in that process, as a script: it imports the standard library alone.
"""

from __future__ import annotations

import contextlib
import faulthandler
import logging
import mmap
import os
import select
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xml_extractor.contract.plan import Plan

logger = logging.getLogger(__name__)

INTERVAL_SECONDS = 1.0
GRACE = 1.25
"""Times the timeout: a thread that is stuck and lets others run is the watch's inside of the program."""

EXIT_SECONDS = 5.0
_SLOTS = 600
"""Worker threads, of which there may be 256, and those that time documents before."""
_SLOT_BYTES = 256
_HEAD = struct.Struct("=QB")  # beats, odd while a document is in hand; length of its key
_COUNT = struct.Struct("=Q")
_current: list[OutsideWatch] = []  # the one that is at work


class Slot:
    """Where one worker thread writes what it has in hand."""

    __slots__ = ("_memory", "_start")

    def __init__(self, memory: mmap.mmap, start: int) -> None:
        self._memory = memory
        self._start = start

    def write(self, beats: int, key: object) -> None:
        """Write that this document is in hand, or, at an even number, that none is."""
        text = str(key).encode("utf-8", "replace")[: _SLOT_BYTES - _HEAD.size]
        with contextlib.suppress(ValueError):  # the load has ended without this thread, which was stuck
            start = self._start + _HEAD.size
            self._memory[start : start + len(text)] = text
            _HEAD.pack_into(self._memory, self._start, beats, len(text))


def watched_from_outside(plan: Plan, timeout_seconds: float) -> contextlib.AbstractContextManager[object]:
    """Watch the program from outside while the context lasts, where its contract calls for it."""
    has_plugins = any(
        step.name == "plugin"
        for table in plan.tables
        for column in table.columns
        for step in column.conversion.apply
    )
    if has_plugins and os.name == "posix" and not _current:
        return _if_possible(OutsideWatch(timeout_seconds))
    return contextlib.nullcontext()


@contextlib.contextmanager
def _if_possible(watch: OutsideWatch) -> Iterator[None]:
    """Watch; where no process or thread can be had for it, go on unwatched, and say so."""
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(watch)
        except (OSError, RuntimeError) as error:
            logger.warning(
                "a plug-in that holds the interpreter for ever would not be noticed: no process to watch the "
                "program can be started (%s)",
                type(error).__name__,
            )
        yield


def slot() -> Slot | None:
    """Return a place for one worker thread to write to; ``None`` where nobody watches."""
    return _current[0].slot() if _current else None


class OutsideWatch:
    """A process that watches this one while used as a context; one at a time in a program.

    Args:
        timeout_seconds: how long the program may stand still, times :data:`GRACE`.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self._timeout_seconds = timeout_seconds
        self._interval_seconds = min(INTERVAL_SECONDS, timeout_seconds / 8)
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._slots = 0

    def slot(self) -> Slot | None:
        """Return the next free place; ``None``: there is none left."""
        with self._lock:
            if self._slots == _SLOTS:
                return None
            self._slots += 1
            return Slot(self._memory, self._slots * _SLOT_BYTES)

    def __enter__(self) -> OutsideWatch:
        with tempfile.TemporaryFile() as file:
            file.truncate((_SLOTS + 1) * _SLOT_BYTES)
            self._memory = mmap.mmap(file.fileno(), 0)
            arguments = [str(file.fileno()), str(self._timeout_seconds), str(self._interval_seconds)]
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", __file__, *arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                pass_fds=[file.fileno()],
            )
        self._enables_faulthandler = not faulthandler.is_enabled()
        if self._enables_faulthandler:
            with contextlib.suppress(ValueError, OSError):  # a host program may have no standard error
                faulthandler.enable()
        # Here and not above: the small process runs this file by itself, with the standard library alone.
        from xml_extractor.threads import Thread

        self._thread = Thread(self._tick, name="xml-extractor-ticker")
        try:
            self._thread.start()
        except (RuntimeError, MemoryError):
            self._end_process()
            raise
        _current.append(self)
        return self

    def __exit__(self, *_: object) -> None:
        _current.clear()
        self._done.set()
        self._thread.join()
        if self._enables_faulthandler:
            faulthandler.disable()
        self._end_process()
        self._memory.close()

    def _end_process(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()  # tells it to go
        try:
            self._process.wait(EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _tick(self) -> None:
        count = 0
        while not self._done.wait(self._interval_seconds):
            count += 1
            _COUNT.pack_into(self._memory, 0, count)


# ------------------------------------------------------------------------------ in the process beside


def _watch(descriptor: int, timeout_seconds: float, interval_seconds: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the program says when to go
    parent = os.getppid()
    memory = mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ)
    last, silent, looked_at = -1, 0.0, time.monotonic()
    while not select.select([0], [], [], interval_seconds)[0]:
        now = time.monotonic()
        # Only watched time counts: this process may have been stopped together with the program.
        seconds, looked_at = min(now - looked_at, 2 * interval_seconds), now
        (count,) = _COUNT.unpack_from(memory, 0)
        silent = 0.0 if count != last or _is_stopped(parent) else silent + seconds
        last = count
        if silent >= timeout_seconds * GRACE:
            _end(parent, silent, _keys(memory))
            return


def _is_stopped(process_id: int) -> bool:
    """Whether somebody has stopped the program, which is his business (Linux; elsewhere nobody knows)."""
    try:
        text = Path(f"/proc/{process_id}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] in ("T", "t")


def _keys(memory: mmap.mmap) -> list[str]:
    found = []
    for number in range(1, _SLOTS + 1):
        beats, length = _HEAD.unpack_from(memory, number * _SLOT_BYTES)
        if beats % 2:
            start = number * _SLOT_BYTES + _HEAD.size
            found.append(memory[start : start + length].decode("utf-8", "replace"))
    return found


def _end(process_id: int, silent: float, keys: list[str]) -> None:
    named = ", ".join(map(repr, keys)) or "none"
    sys.stderr.write(
        f"error: the program has stood still for {silent:.0f} s (--worker-timeout): a plug-in holds Python's "
        f"interpreter, and no thread can run. Documents in hand: {named}. The program is ended; what is "
        "committed stays, and the same command goes on from there. Run it with --executor process, which "
        "puts such a document into quarantine and goes on. Its threads are here:\n"
    )
    sys.stderr.flush()
    with contextlib.suppress(ProcessLookupError):
        os.kill(process_id, signal.SIGABRT)  # faulthandler shows where all threads are, and lets it die
        deadline = time.monotonic() + EXIT_SECONDS
        while os.getppid() == process_id:
            if time.monotonic() > deadline:
                os.kill(process_id, signal.SIGKILL)
            time.sleep(0.05)


if __name__ == "__main__":
    _watch(int(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]))
