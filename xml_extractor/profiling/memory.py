"""The most memory that a load took, over all its processes."""

from __future__ import annotations

import threading
from typing import Final

import psutil

from xml_extractor.threads import Thread

SAMPLE_SECONDS: Final = 2.0
"""Between two samples.  One makes the kernel add up every page of every process (a millisecond for one of
100 MB, more for larger ones) and go through all processes for the children: time taken from the load."""

FIRST_SAMPLE_SECONDS: Final = 0.5
"""Before the first of them: a load of a second or two is to be sampled while its workers are there."""


def memory_bytes() -> int:
    """Return the memory of this process and its children, in bytes, shared pages counted once.

    Proportional set sizes where the system knows them (Linux), else unique set sizes (Windows, macOS),
    else resident ones.
    """
    own = psutil.Process()
    return sum(_one(process) for process in [own, *own.children(recursive=True)])


def _one(process: psutil.Process) -> int:
    try:
        memory = process.memory_full_info()
        return int(getattr(memory, "pss", memory.uss))
    except psutil.AccessDenied:
        return _resident(process)
    except psutil.NoSuchProcess:
        return 0  # it has ended since the list was made


def _resident(process: psutil.Process) -> int:
    try:
        return int(process.memory_info().rss)
    except (psutil.AccessDenied, psutil.NoSuchProcess):
        return 0


class MemoryPeak:
    """Samples :func:`memory_bytes` in a thread of its own while used as a context.

    Once at the beginning and once at the end, after half a second, and then every two seconds: a load's
    memory is bounded and soon level, so that rarer samples find the same peak and cost a quarter.
    """

    def __init__(self, interval_seconds: float = SAMPLE_SECONDS) -> None:
        self._interval_seconds = interval_seconds
        self._finished = threading.Event()
        self._thread = Thread(self._run, name="memory-peak")
        self.peak_bytes = 0
        self._latest: int | None = None

    def take(self) -> int | None:
        """Return the latest measurement; None: there has been none since it was last asked for."""
        latest, self._latest = self._latest, None
        return latest

    def __enter__(self) -> MemoryPeak:
        self._sample()
        try:
            self._thread.start()
        except BaseException:  # a Ctrl-C while the thread starts: nobody would end it
            self._finished.set()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._finished.set()
        self._thread.join()
        self._sample()

    def _run(self) -> None:
        wait_seconds = min(FIRST_SAMPLE_SECONDS, self._interval_seconds)
        while not self._finished.wait(wait_seconds):
            self._sample()
            wait_seconds = self._interval_seconds

    def _sample(self) -> None:
        self._latest = measured = memory_bytes()
        self.peak_bytes = max(self.peak_bytes, measured)
