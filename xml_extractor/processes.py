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

COUNT: Final = "glibc.malloc.tcache_count"
"""How many freed pieces of a size each thread keeps for itself."""

ALLOCATOR: Final = f"{COUNT}=16384:glibc.malloc.tcache_max=256"
"""A document's tree is thousands of small pieces, made and freed for each document anew.  With glibc's 7 of
a size nearly all of them are taken from, and given back to, what all threads share; with these, lxml alone
parses releases of 4 kB in 40 to 50 us instead of 60 to 90, and a load into PostgreSQL takes 7 % less time.

Nodes take 120 bytes, attributes 96.  Pieces beyond 256 bytes are left out: documents of up to 1 kB would
gather in the thread that maps, having been made in the one that reads, to some 35 MB a worker.  As it is, at
most as much is kept as the largest document took in small pieces, and never more than 32 MB."""

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
    if sys.platform != "linux" or COUNT in (before or ""):
        yield
        return
    os.environ[TUNABLES] = ":".join(filter(None, (before, ALLOCATOR)))
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
