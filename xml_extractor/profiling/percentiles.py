"""Percentiles of insert latency, in constant memory however many batches a load has."""

from __future__ import annotations

import math
import threading
from typing import Final

from hdrh.histogram import HdrHistogram  # type: ignore[import-untyped]

# One microsecond to one day at three significant digits: a relative error of at most 0.1 %, about 200 kB.
_LOWEST: Final = 1
_HIGHEST: Final = 24 * 3600 * 1_000_000
_SIGNIFICANT_DIGITS: Final = 3


class LatencyHistogram:
    """An HDR histogram of durations: recorded in seconds, reported in milliseconds.  Thread-safe."""

    def __init__(self) -> None:
        self._histogram = HdrHistogram(_LOWEST, _HIGHEST, _SIGNIFICANT_DIGITS)
        self._maximum = 0.0
        self._lock = threading.Lock()

    def record(self, seconds: float) -> None:
        """Count one duration; what is out of range counts as the nearest end of it."""
        microseconds = min(max(round(seconds * 1e6), _LOWEST), _HIGHEST)
        with self._lock:
            self._histogram.record_value(microseconds)
            self._maximum = max(self._maximum, seconds)

    def milliseconds(self) -> dict[str, float | int]:
        """Return p50, p95, p99 and max in milliseconds and the count; all 0 where nothing was recorded.

        A percentile is the smallest duration that at least so many per cent of all durations do not
        exceed, to within 0.1 %; the maximum is exact.
        """
        with self._lock:
            count = int(self._histogram.get_total_count())
            if count == 0:
                return {"p50": 0.0, "p95": 0.0, "p99": 0.0, "max": 0.0, "count": 0}
            maximum = self._maximum * 1e3
            figures: dict[str, float | int] = {
                f"p{percentile}": round(min(self._at_percentile(percentile, count) / 1e3, maximum), 3)
                for percentile in (50, 95, 99)
            }
        figures["max"] = round(maximum, 3)
        figures["count"] = count
        return figures

    def _at_percentile(self, percentile: int, count: int) -> float:
        # The library rounds to the nearest rank, which for few durations can leave the largest out of
        # the 99th percentile; asked for a percentile that is exactly a rank it has nothing to round.
        rank = math.ceil(count * percentile / 100)
        return float(self._histogram.get_value_at_percentile(100 * rank / count))
