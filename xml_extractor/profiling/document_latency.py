"""Parse and map times of single documents, put together from all workers."""

from __future__ import annotations

import heapq
import threading
from collections import Counter
from typing import Final

from xml_extractor.profiling.clocks import SLOWEST, DocumentTimes
from xml_extractor.profiling.percentiles import LatencyHistogram
from xml_extractor.profiling.profile import SlowDocument

_MOST_DISTINCT: Final = 4_096
"""Different durations that are kept apart before they go into the histogram.  One entry there takes two
microseconds, which for each document would be a per cent of a load; counting equal ones first, a tenth."""


class DocumentLatency:
    """The durations of all documents, and the slowest documents by key.  Thread-safe."""

    def __init__(self) -> None:
        self._histogram = LatencyHistogram()
        self._counts: Counter[int] = Counter()  # microseconds → documents; not in the histogram yet
        self._slowest: list[tuple[float, str]] = []  # a heap, the fastest of them first
        self._lock = threading.Lock()

    def add(self, times: DocumentTimes) -> None:
        """Count what a worker has measured."""
        with self._lock:
            self._counts.update(times.microseconds)
            if len(self._counts) > _MOST_DISTINCT:
                self._fold()
            for seconds, key in times.slow:
                if len(self._slowest) < SLOWEST:
                    heapq.heappush(self._slowest, (seconds, str(key)))
                elif seconds > self._slowest[0][0]:
                    heapq.heapreplace(self._slowest, (seconds, str(key)))

    def histogram(self) -> LatencyHistogram:
        """Return the histogram of all durations so far; it is this object's own."""
        with self._lock:
            self._fold()
        return self._histogram

    def slowest(self) -> tuple[SlowDocument, ...]:
        """Return the slowest documents, the slowest first."""
        with self._lock:
            slowest = sorted(self._slowest, key=lambda slow: (-slow[0], slow[1]))
        return tuple(SlowDocument(key, seconds) for seconds, key in slowest)

    def _fold(self) -> None:
        self._histogram.record_counts(self._counts)
        self._counts.clear()
