"""Where the workers' time goes: parsing, mapping, blocked on a full queue, idle for want of documents."""

from __future__ import annotations

import heapq
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

SLOWEST: Final = 20
"""Slow documents that are remembered by their keys."""


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


@dataclass(frozen=True, slots=True)
class DocumentTimes:
    """How long documents took to parse and map.  Plain data, as it crosses process borders."""

    microseconds: list[int]  # of each document
    slow: list[tuple[float, int | str]]  # seconds and key of those that may be among the slowest


class WorkerClock:
    """One worker's clock: every moment since it was made is charged to exactly one stage.

    Each ``charge_…`` call charges the time since the previous call, so the stages cannot overlap and
    their sum is the worker's wall clock.  What is charged to parsing and mapping between two
    :meth:`document_done` is the later document's.  For one thread only; others may read.
    """

    __slots__ = (
        "_before", "_blocked", "_done", "_idle", "_last", "_map", "_now", "_parse", "_slow", "_slowest",
        "documents",
    )  # fmt: skip

    def __init__(self, now: Callable[[], float] = time.perf_counter) -> None:
        self._now = now
        self._last = now()
        self._parse = self._map = self._blocked = self._idle = 0.0
        self.documents = 0
        """Documents done since the clock was made."""
        self._before = 0.0  # parsing and mapping until the last document
        self._done: list[float] = []  # seconds of each document since they were last taken
        self._slow: list[tuple[float, int | str]] = []  # those of them that may be among the slowest
        self._slowest: list[float] = []  # a heap, the fastest of them first

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

    def begin_documents(self) -> None:
        """What has been charged so far is no part of the next document."""
        self._before = self._parse + self._map

    def document_done(self, key: int | str) -> None:
        """Note that a document is done with, and how long it took to parse and map."""
        worked = self._parse + self._map
        seconds = worked - self._before
        self._before = worked
        self.documents += 1
        self._done.append(seconds)
        if len(self._slowest) < SLOWEST:
            heapq.heappush(self._slowest, seconds)
        elif seconds > self._slowest[0]:
            heapq.heapreplace(self._slowest, seconds)
        else:
            return
        self._slow.append((seconds, key))

    def take_documents(self) -> DocumentTimes:
        """Return the times of the documents done since the last call; to be called every now and then, as
        they are kept until then."""
        times = DocumentTimes([int(seconds * 1e6) for seconds in self._done], self._slow)
        self._done, self._slow = [], []
        return times

    def clocks(self) -> StageClocks:
        """Return what has been charged so far."""
        return StageClocks(self._parse, self._map, self._blocked, self._idle)

    def take(self) -> StageClocks:
        """Return what has been charged since the last ``take`` and start again from zero."""
        clocks = self.clocks()
        self._parse = self._map = self._blocked = self._idle = self._before = 0.0
        return clocks
