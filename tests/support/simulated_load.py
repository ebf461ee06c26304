"""A load in simulated time: workers that fill a queue, insert threads that empty it, and a curve that says
how long a batch takes."""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

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
    most_threads: int = 64
    documents: int = 0
    now: float = 0.0
    said: list[tuple[float, str]] = field(default_factory=list)

    def expected_rate(self, setting: Setting, now: float = 0.0) -> float:
        """Documents a second under a setting, by the curve alone."""
        size = min(setting.batch_size, BYTES_LET_IN)
        chance = self.retries(setting.insert_threads)
        seconds = self.curve(size, setting.insert_threads, now) * (1 + chance)
        return min(self.worker_rate, setting.insert_threads * size / seconds)

    def run(self, climber: HillClimber, until: float) -> None:
        """Load until this moment; what the climber wants is in force at once."""
        chance = random.Random(self.seed)
        climber.in_force(self.now)
        # A thread's next moment: it has done with a batch, if it had one, and takes the next.
        events: list[tuple[float, int, tuple[int, float, float, int] | None]] = [
            (self.now, thread, None) for thread in range(climber.setting.insert_threads)
        ]
        room, level, level_at = (
            0,
            0.0,
            self.now,
        )  # documents in the queue; below 0: promised to who waits for them
        while events and events[0][0] < until:
            now, thread, done = heapq.heappop(events)
            setting = climber.setting
            size = min(setting.batch_size, BYTES_LET_IN)
            room = max(room, (setting.insert_threads + 1) * size)  # the queue never gets smaller
            level = min(room, level + (now - level_at) * self.worker_rate)
            level_at = self.now = now
            if done is not None:
                documents, waited, worked, retries = done
                self.documents += documents
                batch = BatchTimes(documents, waited, worked, now, round(max(0, level)), retries)
                self.said += [(now, line) for line in climber.add(batch)]
                if climber.setting.insert_threads > self.most_threads:
                    climber.refuse_threads(self.most_threads, "the server has no more connections")
                if climber.setting != setting:
                    for added in set(range(climber.setting.insert_threads)) - {event[1] for event in events}:
                        if added != thread:
                            heapq.heappush(events, (now, added, None))
                    climber.in_force(now)
                    setting = climber.setting
                    size = min(setting.batch_size, BYTES_LET_IN)
            if thread >= setting.insert_threads:
                continue  # it has left
            waited = max(0.0, (size - level) / self.worker_rate)
            if waited > BATCH_SECONDS:
                waited = BATCH_SECONDS
                size = max(1, int(level + waited * self.worker_rate))
            level -= size
            retries = 0
            while chance.random() < self.retries(setting.insert_threads):
                retries += 1
            worked = self.curve(size, setting.insert_threads, now) * (1 + retries)
            worked *= max(0.2, chance.gauss(1.0, self.noise))
            heapq.heappush(events, (now + waited + worked, thread, (size, waited, worked, retries)))
        self.now = until
