"""How worker processes are started, and what they inherit."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.context import SpawnProcess
from typing import Final

TUNABLES: Final = "GLIBC_TUNABLES"
"""Variable by which glibc's settings are told to a program that is about to start."""

ALLOCATOR: Final = "glibc.malloc.tcache_count"
"""How many freed pieces of a size (up to 1 kB) each thread keeps for itself."""

KEPT_PIECES: Final = 16_384
"""A document's tree is thousands of small pieces, made and freed for each document anew.  With glibc's 7
nearly all of them are taken from, and given back to, what all threads share; with these, lxml alone parses
releases of 4 kB in 40 to 50 us instead of 60 to 90, and a load into PostgreSQL takes 7 % less time.  At most
as much is kept as the largest document took."""

_starting = threading.Lock()


def start(process: SpawnProcess) -> None:
    """Start a worker process: without signals that stop a run, and with an allocator fit for trees.

    Raises:
        OSError, MemoryError, RuntimeError: the system starts no process.
    """
    _block_stop_signals()
    with _starting, allocator_told():
        process.start()


@contextmanager
def allocator_told() -> Iterator[None]:
    """Set the allocator's variable for as long as a process takes to start; what a user has set stays."""
    before = os.environ.get(TUNABLES)
    if sys.platform != "linux" or ALLOCATOR in (before or ""):
        yield
        return
    os.environ[TUNABLES] = ":".join(filter(None, (before, f"{ALLOCATOR}={KEPT_PIECES}")))
    try:
        yield
    finally:
        if before is None:
            del os.environ[TUNABLES]
        else:
            os.environ[TUNABLES] = before


def _block_stop_signals() -> None:
    """Keep signals that stop a run from this thread, and so from the processes that it starts.

    A Ctrl-C reaches all processes of the terminal, and would end with a traceback those that are just
    starting and cannot have said yet that they leave signals to the parent.  Where threads have no signal
    masks (Windows), that moment remains.
    """
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        # The helper process of multiprocessing is started with the first worker, and starting it clears
        # the mask again; so it has to be there before.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
