"""What a measured program took of the machine, and what others took of it meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

import psutil


class MachineWatch:
    """What a program run while this is entered took of the machine, and what others took of it.

    Wall-clock figures mean something only where others took little; so they are shown with them.

    Args:
        server_cpu_seconds: CPU time so far of a server whose work counts as the program's own.

    Attributes:
        cpu: seconds of CPU of this process and its children that have ended, the server's included.
        server_cpu: of these, the server's.
        wall: seconds.
        others_share: share of all cores that other programs took.
    """

    def __init__(self, server_cpu_seconds: Callable[[], float] = float) -> None:
        self._server_cpu_seconds = server_cpu_seconds
        self.cpu = 0.0
        self.server_cpu = 0.0
        self.wall = 0.0
        self.others_share = 0.0

    def __enter__(self) -> MachineWatch:
        self._started = self._now()
        return self

    def __exit__(self, *_: object) -> None:
        now = self._now()
        wall, own, server, busy = (after - before for after, before in zip(now, self._started, strict=True))
        self.wall, self.server_cpu, self.cpu = wall, server, own + server
        self.others_share = max(0.0, (busy - self.cpu) / (max(wall, 1e-9) * (os.cpu_count() or 1)))

    def _now(self) -> tuple[float, float, float, float]:
        # Children count once they have ended and been waited for, grandchildren through them.
        own = sum(os.times()[:4])
        times = psutil.cpu_times()
        idle = times.idle + getattr(times, "iowait", 0.0)
        # Guests' time is in user and nice already.
        counted = sum(getattr(times, name, 0.0) for name in ("guest", "guest_nice"))
        return time.perf_counter(), own, self._server_cpu_seconds(), sum(times) - idle - counted
