"""A tuner that never settles: it wants another batch size and other insert threads all the time."""

from __future__ import annotations

import random

from xml_extractor.processing.hill_climb import Bounds, HillClimber, Setting
from xml_extractor.processing.tuning_windows import BatchTimes


class Restless(HillClimber):
    """Takes the place of the climber in ``processing/auto_tune.py``; measures nothing."""

    changes = 0
    most_threads = 5

    def __init__(self, start: Setting, bounds: Bounds) -> None:
        super().__init__(start, bounds)
        self._random = random.Random(7)

    def add(self, batch: BatchTimes) -> list[str]:
        if batch.began_at < self._since:
            return []
        most = min(self._most_threads, type(self).most_threads)
        setting = Setting(self._random.choice([1, 3, 10, 40]), self._random.randint(1, most))
        if setting == self.setting:
            return []
        type(self).changes += 1
        self._held = setting
        self._want(setting)
        return [f"wants {setting}"]
