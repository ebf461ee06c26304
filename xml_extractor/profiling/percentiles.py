"""Percentiles of durations, in constant memory however many there are."""

from __future__ import annotations

import math
import threading
from bisect import bisect_left
from collections.abc import Mapping
from itertools import accumulate, compress
from typing import Final

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

from xml_extractor.profiling.profile import Bucket, Latency

# One microsecond to one day at three significant digits: a relative error of at most 0.1 %, about 200 kB.
_LOWEST: Final = 1
_HIGHEST: Final = 24 * 3600 * 1_000_000
_SIGNIFICANT_DIGITS: Final = 3

_PERCENTILES: Final = (50, 95, 99)

# Ten buckets a decade (Renard's R10 series, in microseconds): what a plot can show.
_EDGES: Final = tuple(
    step * 10**power
    for power in range(12)
    for step in (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)
)  # fmt: skip


class LatencyHistogram:
    """An HDR histogram of durations: recorded in seconds, reported in milliseconds.  Thread-safe.

    Args:
        digits: significant digits that are kept of each duration: 3 = to within 0.1 %, 200 kB; 2 = to
            within 1 %, 30 kB.
    """

    def __init__(self, digits: int = _SIGNIFICANT_DIGITS) -> None:
        self._histogram = HdrHistogram(_LOWEST, _HIGHEST, digits)
        self._maximum = 0.0
        self._edges: dict[int, int] = {}  # counter → bucket, of those that were asked for
        self._lock = threading.Lock()

    def record(self, seconds: float) -> None:
        """Count one duration; what is out of range counts as the nearest end of it."""
        microseconds = min(max(round(seconds * 1e6), _LOWEST), _HIGHEST)
        with self._lock:
            self._histogram.record_value(microseconds)
            self._maximum = max(self._maximum, seconds)

    def record_counts(self, counts: Mapping[int, int]) -> None:
        """Count many durations: whole microseconds → how many took so long."""
        with self._lock:
            for microseconds, count in counts.items():
                self._histogram.record_value(min(max(microseconds, _LOWEST), _HIGHEST), count)
                self._maximum = max(self._maximum, microseconds / 1e6)

    def add(self, other: LatencyHistogram) -> None:
        """Count what another histogram, with as many digits, has counted."""
        with other._lock:
            encoded, maximum = other._histogram.encode(), other._maximum
        self._add(encoded, maximum)

    def encode(self) -> tuple[bytes, float]:
        """Return the histogram in a form that is small and can be sent to another process."""
        with self._lock:
            return self._histogram.encode(), self._maximum

    def add_encoded(self, encoded: tuple[bytes, float]) -> None:
        """Count what a histogram, with as many digits, had counted when it was encoded."""
        self._add(*encoded)

    def _add(self, encoded: bytes, maximum: float) -> None:
        with self._lock:
            self._histogram.add(HdrHistogram.decode(encoded))
            self._maximum = max(self._maximum, maximum)

    def latency(self) -> Latency:
        """Return p50, p95, p99 and the maximum in milliseconds, and the count; all 0 where there is none.

        A percentile is the smallest duration that at least so many per cent of all durations do not
        exceed, to within the digits that are kept; the maximum is exact.
        """
        filled, counts, maximum = self._filled()
        if not filled:
            return Latency()
        so_far = list(accumulate(counts))
        total = so_far[-1]
        found = []
        for percentile in _PERCENTILES:
            index = filled[bisect_left(so_far, math.ceil(total * percentile / 100))]
            found.append(round(min(self._highest(index) / 1e3, maximum * 1e3), 3))
        p50, p95, p99 = found
        return Latency(p50, p95, p99, round(maximum * 1e3, 3), total)

    def milliseconds(self) -> dict[str, float | int]:
        """Return the same by name: p50, p95, p99, max and count."""
        latency = self.latency()
        return {
            "p50": latency.p50, "p95": latency.p95, "p99": latency.p99,
            "max": latency.max, "count": latency.count,
        }  # fmt: skip

    def buckets(self) -> tuple[Bucket, ...]:
        """Return how many durations there are of each size, ten buckets a decade, from the first that holds
        any to the last one."""
        filled, counts, _ = self._filled()
        if not filled:
            return ()
        sums: dict[int, int] = {}
        for index, count in zip(filled, counts, strict=True):
            edge = self._edges.get(index)
            if edge is None:
                edge = self._edges[index] = min(bisect_left(_EDGES, self._highest(index)), len(_EDGES) - 1)
            sums[edge] = sums.get(edge, 0) + count
        return tuple(
            Bucket(_EDGES[edge - 1] / 1e3 if edge else 0.0, _EDGES[edge] / 1e3, sums.get(edge, 0))
            for edge in range(min(sums), max(sums) + 1)
        )

    def _filled(self) -> tuple[list[int], list[int], float]:
        """Return the indexes of counters that have counted anything, their counts, and the largest duration
        in seconds.

        The library's own way goes through all its counters in Python for each percentile: milliseconds.
        """
        with self._lock:
            counts: list[int] = self._histogram.counts[:]
            maximum = self._maximum
        return list(compress(range(len(counts)), counts)), list(filter(None, counts)), maximum

    def _highest(self, index: int) -> int:
        """Return the longest duration, in microseconds, that a counter counts."""
        histogram = self._histogram
        return int(histogram.get_highest_equivalent_value(histogram.get_value_from_index(index)))
