"""CPU time of all processes of a load."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection
from typing import Final

import psutil

_WAITED_FOR: Final = os.name == "posix"
"""Whether the system adds up the CPU time of child processes that have ended and been waited for."""


class CpuMeter:
    """Measures what this process and its worker processes have taken since it was made.

    Processes that have ended count with all that they took; where the system does not add that up (Windows),
    with what was last seen of them.  For one thread at a time.

    Args:
        process_ids: the worker processes that are running, or have ended a moment ago.
    """

    def __init__(self, process_ids: Callable[[], Collection[int]]) -> None:
        self._process_ids = process_ids
        self._processes: dict[int, psutil.Process] = {}
        self._seen: dict[int, float] = {}  # running processes, and where nobody adds them up all of them
        self._most = 0.0
        self._before = _own_seconds()

    def seconds(self) -> float:
        """Return the seconds of CPU so far; never less than before."""
        own = _own_seconds() - self._before
        running = set(self._process_ids())
        for process_id in running:
            try:
                if process_id not in self._processes:
                    self._processes[process_id] = psutil.Process(process_id)
                times = self._processes[process_id].cpu_times()
            except psutil.Error:
                # It has been waited for since it was listed, and its time is our children's now.
                if _WAITED_FOR:
                    self._seen.pop(process_id, None)
                continue
            self._seen[process_id] = float(times.user + times.system)
        for process_id in self._processes.keys() - running:
            del self._processes[process_id]
            if _WAITED_FOR:
                self._seen.pop(process_id, None)
        # A process that ends between the two looks is missing for a moment.
        self._most = max(self._most, own + sum(self._seen.values()))
        return self._most


def _own_seconds() -> float:
    """CPU time of this process and of its children that have ended."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system
