"""Where the workers' time goes: parsing, mapping, blocked on a full queue, idle for want of documents."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StageClocks:
    """Seconds of wall clock that workers spent in each stage.

    Plain numbers: they cross process borders, and clocks of several workers are added up with ``+``.
    """

    parse: float = 0.0  # bytes to lxml tree
    map: float = 0.0  # tree to rows, with conversions, hash and encoding for the target
    blocked: float = 0.0  # waiting to put on the full queue
    idle: float = 0.0  # waiting for documents

    def __add__(self, other: StageClocks) -> StageClocks:
        return StageClocks(
            self.parse + other.parse,
            self.map + other.map,
            self.blocked + other.blocked,
            self.idle + other.idle,
        )

    @property
    def seconds(self) -> float:
        """All the time on the clocks."""
        return self.parse + self.map + self.blocked + self.idle

    def shares(self) -> dict[str, float]:
        """Return each stage's share of the time; they sum to 1, or are all 0 where no time was spent."""
        total = self.seconds
        if total <= 0.0:
            return {"parse": 0.0, "map": 0.0, "blocked": 0.0, "idle": 0.0}
        return {
            "parse": self.parse / total,
            "map": self.map / total,
            "blocked": self.blocked / total,
            "idle": self.idle / total,
        }


class WorkerClock:
    """One worker's clock: every moment since it was made is charged to exactly one stage.

    Each ``charge_…`` call charges the time since the previous call, so the stages cannot overlap and
    their sum is the worker's wall clock.  For one thread only.
    """

    __slots__ = ("_blocked", "_idle", "_last", "_map", "_now", "_parse")

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._last = now()
        self._parse = self._map = self._blocked = self._idle = 0.0

    def charge_parse(self) -> None:
        """Charge the time since the last charge to parsing."""
        now = self._now()
        self._parse += now - self._last
        self._last = now

    def charge_map(self, blocked_seconds: float = 0.0) -> None:
        """Charge the time since the last charge to mapping, less ``blocked_seconds`` of it spent blocked."""
        now = self._now()
        self._map += now - self._last - blocked_seconds
        self._blocked += blocked_seconds
        self._last = now

    def charge_blocked(self) -> None:
        """Charge the time since the last charge to waiting on the full queue."""
        now = self._now()
        self._blocked += now - self._last
        self._last = now

    def charge_idle(self) -> None:
        """Charge the time since the last charge to waiting for documents."""
        now = self._now()
        self._idle += now - self._last
        self._last = now

    def clocks(self) -> StageClocks:
        """Return what has been charged so far."""
        return StageClocks(self._parse, self._map, self._blocked, self._idle)

    def take(self) -> StageClocks:
        """Return what has been charged since the last ``take`` and start again from zero."""
        clocks = self.clocks()
        self._parse = self._map = self._blocked = self._idle = 0.0
        return clocks
