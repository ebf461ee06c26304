"""A load in simulated time: workers that fill a queue, insert threads that empty it, and a curve that says
how long a batch takes."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from xml_extractor.processing.hill_climb import HillClimber, Setting
from xml_extractor.processing.tuning_windows import BatchTimes

Curve = Callable[[int, int, float], float]
"""Documents of a batch, insert threads, time → seconds that the batch takes."""

BATCH_SECONDS = 5.0  # a batch closes at this age
BYTES_LET_IN = 20_000  # documents of a batch


@dataclass
class SimulatedLoad:
    """``worker_rate``: documents a second that the workers can make."""

    curve: Curve
    worker_rate: float
    noise: float = 0.0
    seed: int = 1
    retries: Callable[[int], float] = lambda threads: 0.0  # chance of a retry, which takes as long again
    most_threads: int = 64  # that the server lets in
    documents: int = 0
    said: list[tuple[float, str]] = field(default_factory=list)
    _chance: random.Random = field(init=False)
    # A thread's next moment: it has done with a batch, if it had one, and takes the next.
    _events: list[tuple[float, int, _Batch | None]] = field(default_factory=list)
    _level: float = 0.0  # documents in the queue; below 0: promised to who waits for them
    _level_at: float = 0.0
    _room: int = 0

    def __post_init__(self) -> None:
        self._chance = random.Random(self.seed)

    def expected_rate(self, setting: Setting, now: float = 0.0) -> float:
        """Documents a second under a setting, by the curve alone."""
        size = min(setting.batch_size, BYTES_LET_IN)
        tries = 1 / (1 - self.retries(setting.insert_threads))
        seconds = self.curve(size, setting.insert_threads, now) * tries
        return min(self.worker_rate, setting.insert_threads * size / seconds)

    def run(self, climber: HillClimber, until: float) -> None:
        """Load until this moment; what the climber wants is in force at once."""
        if not self._events:
            climber.in_force(0.0)
            self._put_in_force(climber.setting, 0.0)
        while self._events[0][0] < until:
            now, thread, done = heapq.heappop(self._events)
            self._level = min(self._room, self._level + (now - self._level_at) * self.worker_rate)
            self._level_at = now
            if done is not None:
                before = climber.setting
                self._report(climber, done, now)
                if climber.setting != before:
                    if climber.setting.insert_threads > self.most_threads:
                        self._say(now, climber.refuse_threads(self.most_threads, "the server is full"))
                    climber.in_force(now)
                    self._put_in_force(climber.setting, now, besides=thread)
            if thread < climber.setting.insert_threads:  # else it leaves
                self._take(climber.setting, thread, now)

    def _report(self, climber: HillClimber, done: _Batch, now: float) -> None:
        self.documents += done.documents
        left = round(max(0.0, self._level))
        self._say(
            now,
            climber.add(BatchTimes(done.documents, done.waited, done.worked, now, left, done.retries)),
        )

    def _say(self, now: float, lines: list[str]) -> None:
        self.said += [(now, line) for line in lines]

    def _put_in_force(self, setting: Setting, now: float, besides: int = -1) -> None:
        size = min(setting.batch_size, BYTES_LET_IN)
        self._room = max(self._room, (setting.insert_threads + 1) * size)  # it never gets smaller
        there = {event[1] for event in self._events} | {besides}
        for added in set(range(setting.insert_threads)) - there:
            heapq.heappush(self._events, (now, added, None))

    def _take(self, setting: Setting, thread: int, now: float) -> None:
        size = min(setting.batch_size, BYTES_LET_IN)
        waited = max(0.0, (size - self._level) / self.worker_rate)
        if waited > BATCH_SECONDS:
            waited = BATCH_SECONDS
            size = max(1, int(self._level + waited * self.worker_rate))
        self._level -= size
        retries = 0
        while self._chance.random() < self.retries(setting.insert_threads):
            retries += 1
        worked = self.curve(size, setting.insert_threads, now) * (1 + retries)
        worked *= max(0.2, self._chance.gauss(1.0, self.noise))
        heapq.heappush(self._events, (now + waited + worked, thread, _Batch(size, waited, worked, retries)))


class _Batch(NamedTuple):
    documents: int
    waited: float
    worked: float
    retries: int
