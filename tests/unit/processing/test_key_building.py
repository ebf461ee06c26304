"""How the building of keys waits for its threads."""

from __future__ import annotations

import threading
from typing import Any, cast

from xml_extractor.processing.key_building import KeyBuilding
from xml_extractor.target.key_work import OwedKeys


class Ending(threading.Thread):
    """A thread that ends just after somebody has looked whether it is alive."""

    looks = 0

    def is_alive(self) -> bool:
        self.looks += 1
        return self.looks == 1

    def join(self, timeout: float | None = None) -> None:
        """It has ended."""


class Owed:
    tables = ("t",)


def test_a_thread_may_end_while_the_others_are_looked_at() -> None:
    def unused(*_: Any) -> None:
        raise AssertionError

    building = KeyBuilding(cast(OwedKeys, Owed()), 1, threading.Event(), unused, unused)
    thread = Ending()
    building._wait([thread], [])
    assert thread.looks == 2
