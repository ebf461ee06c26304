"""Who is let through by the dispatcher, and when."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, Protocol

from xml_extractor.processing.pipeline_state import PipelineState

LOOK_SECONDS: Final = 0.02
"""How often the depth is looked at while the dispatcher waits: about what four workers take for a chunk."""


class Feed(Protocol):
    """Asked by the dispatcher before each chunk."""

    def take(self, documents: int) -> bool:
        """Wait until so many documents may be handed out; false: the run is to stop."""


class OpenFeed:
    """Lets everything through: other things in the pipeline hold the dispatcher back."""

    def __init__(self, state: PipelineState) -> None:
        self._state = state

    def take(self, documents: int) -> bool:
        """See :class:`Feed`."""
        return not self._state.stopping.is_set()


class ProportionalFeed:
    """Hands out documents at a rate in proportion to what is free below a set depth of the queue.

    ``rate = gain * (set_depth - depth)``, in documents a second, and none at or beyond the set depth.  The
    controller sees the queue alone.  What was handed out and is still being read or parsed it does not see,
    so the queue can get deeper than was set, by as much as is on its way: a bound that holds on average only.

    Without an integral part the depth settles below what was set, at the rate that the target takes; this is
    wanted here, because the rest is the room for what is on its way.

    Args:
        depth: returns the documents in the queue.
        gain: in 1/s.  High enough that an empty queue lets workers run free, for the controller is to limit
            nothing but the queue.
    """

    def __init__(
        self,
        state: PipelineState,
        depth: Callable[[], int],
        set_depth: int,
        gain: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._state = state
        self._depth = depth
        self._set_depth = set_depth
        self._gain = gain
        self._now = now
        self._last = now()

    def take(self, documents: int) -> bool:
        """See :class:`Feed`."""
        while not self._state.stopping.is_set():
            rate = self._gain * (self._set_depth - self._depth())
            due = self._last + documents / rate if rate > 0 else float("inf")
            now = self._now()
            if now >= due:
                # Being late is not made up for: the queue was fuller in that time.
                self._last = now
                return True
            self._state.stopping.wait(min(LOOK_SECONDS, due - now))
        return False
