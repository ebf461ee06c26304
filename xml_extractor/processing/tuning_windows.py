"""What is measured of a load under one setting, and how sure one can be of it.

Throughput is taken from whole cycles of insert threads: a cycle begins when the thread has done with one
batch and ends when it has done with the next, the wait for it included.  Documents of some cycles, divided
by their seconds, times the threads, is what the load settled in a second of wall clock, without the error
that batches cut by the edges of a time span would bring in.  Some cycles make a window; windows are
compared by their medians, so that a stall of the disk or a pause of the machine spoils one window and not
the comparison.

For a while after a change a load can be settling documents faster than they arrive, out of what has
gathered in the queue, or have them arrive faster than it settles them, into a queue that has become larger.
What the setting can do in the long run is the lesser of the two, so that is its rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import sqrt
from statistics import median
from typing import Final

WINDOW_SECONDS: Final = 0.25
"""A window covers at least so much time: a hundred commits of a local database, two of a distant one."""

KEPT_WINDOWS: Final = 24
"""The last windows of a setting that count: what was long ago says little of now."""

FIRST_NOISE: Final = 0.05
"""What windows are taken to differ by until some have been seen."""

LEAST_NOISE: Final = 0.01
"""Windows that agree better than this do so by chance."""

_SEEN: Final = 40
_ENOUGH_SEEN: Final = 4
_DEVIATION: Final = 1.4826
"""Of normally distributed values, the standard deviation over the median of absolute deviations."""


@dataclass(frozen=True, slots=True)
class BatchTimes:
    """One committed batch and the cycle of the insert thread that ended with it; seconds, one clock."""

    documents: int
    waited: float  # for the batch, until it was closed
    worked: float  # from then until the thread was done with it
    ended_at: float
    left: int = 0  # documents in the queue at that moment
    retries: int = 0  # transactions beyond the first one

    @property
    def began_at(self) -> float:
        """When the cycle began."""
        return self.ended_at - self.worked - self.waited


@dataclass(frozen=True, slots=True)
class Window:
    """Some consecutive cycles under one setting."""

    settled: float  # documents in a second
    arrived: float  # documents in a second, in the queue
    seconds: float  # of wall clock that it covers
    busy: float  # share of the insert threads' time that was not waiting
    batch_documents: float  # on average
    batch_seconds: float  # worked on a batch, on average
    retries: float  # per batch


@dataclass(slots=True)
class Measurement:
    """The windows of one setting.  For one thread only."""

    threads: int
    windows: deque[Window] = field(default_factory=lambda: deque(maxlen=KEPT_WINDOWS))
    fresh: int = 0  # windows since the setting was last put in force
    _cycles: list[BatchTimes] = field(default_factory=list)
    _left_before: int | None = None  # in the window before; None while the first cycles go by

    def put_in_force(self) -> None:
        """The setting is in force from now on: an unfinished window is dropped, and the first cycle of each
        thread, which may have waited for a queue that is changing, shows only where the queue stands."""
        self.fresh = 0
        self._cycles.clear()
        self._left_before = None

    def add(self, batch: BatchTimes) -> Window | None:
        """Add one cycle; return the window that it completes."""
        self._cycles.append(batch)
        cycles = self._cycles
        if self._left_before is None:
            if len(cycles) == self.threads:
                self._left_before, self._cycles = _left(cycles), []
            return None
        seconds = sum(cycle.waited + cycle.worked for cycle in cycles)
        if len(cycles) < self.threads or seconds < WINDOW_SECONDS * self.threads:
            return None
        documents = sum(cycle.documents for cycle in cycles)
        worked = sum(cycle.worked for cycle in cycles)
        left = _left(cycles)
        arrived = documents + left - self._left_before
        window = Window(
            settled=documents * self.threads / seconds,
            arrived=arrived * self.threads / seconds,
            seconds=seconds / self.threads,
            busy=worked / seconds,
            batch_documents=documents / len(cycles),
            batch_seconds=worked / len(cycles),
            retries=sum(cycle.retries for cycle in cycles) / len(cycles),
        )
        self.windows.append(window)
        self.fresh += 1
        self._cycles = []
        self._left_before = left
        return window

    def last(self, count: int) -> Measurement:
        """Return a measurement of the last ``count`` windows."""
        kept = list(self.windows)[-count:] if count else []
        return Measurement(self.threads, deque(kept, maxlen=KEPT_WINDOWS))

    @property
    def fresh_seconds(self) -> float:
        """Wall clock that the windows cover since the setting was last put in force."""
        return sum(window.seconds for window in islice(reversed(self.windows), self.fresh))

    @property
    def rate(self) -> float:
        """Documents that the setting can settle in a second, for long; 0 where nothing was measured."""
        settled = _median(window.settled for window in self.windows)
        return max(0.0, min(settled, _median(window.arrived for window in self.windows)))

    @property
    def busy(self) -> float:
        """Share of the insert threads' time that was not waiting."""
        return _median(window.busy for window in self.windows)

    @property
    def batch_documents(self) -> float:
        """Documents of a batch."""
        return _median(window.batch_documents for window in self.windows)

    @property
    def batch_seconds(self) -> float:
        """Seconds worked on a batch."""
        return _median(window.batch_seconds for window in self.windows)

    @property
    def retries(self) -> float:
        """Retries per batch: the mean, for a median of what is seldom is nothing."""
        return sum(window.retries for window in self.windows) / max(1, len(self.windows))


class Noise:
    """By how much windows of one setting differ, as a share of their rate.

    Taken from differences between neighbours, so that neither the slow drift of a load nor the difference
    between settings is mistaken for noise.  For one thread only.
    """

    def __init__(self) -> None:
        self._differences: deque[float] = deque(maxlen=_SEEN)

    def see(self, measurement: Measurement) -> None:
        """Learn from a measurement that a window has just been added to."""
        if measurement.fresh >= 2:
            before, now = measurement.windows[-2].settled, measurement.windows[-1].settled
            if before + now > 0:
                self._differences.append(2 * abs(now - before) / (before + now))

    @property
    def share(self) -> float:
        """The standard deviation of a window's rate, as a share of it."""
        if len(self._differences) < _ENOUGH_SEEN:
            return FIRST_NOISE
        return max(LEAST_NOISE, _DEVIATION * median(self._differences) / sqrt(2))

    def error(self, *windows: int) -> float:
        """The standard error of a comparison of medians of so many windows each, as a share."""
        # The median of n normal values varies by pi / 2 more than their mean.
        return self.share * sqrt(sum(1.5708 / max(1, count) for count in windows))


def _left(cycles: Iterable[BatchTimes]) -> int:
    """Return how full the queue was: the most that was left, because threads that end together leave less."""
    return max(cycle.left for cycle in cycles)


def _median(values: Iterable[float]) -> float:
    found = list(values)
    return median(found) if found else 0.0
