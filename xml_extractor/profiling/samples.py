"""How a load stood, moment after moment: evenly spaced, and bounded however long it takes."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from xml_extractor.profiling.percentiles import LatencyHistogram
from xml_extractor.profiling.profile import Latency, Sample

FIRST_INTERVAL_SECONDS: Final = 0.25
"""Between two samples at first: a load of a few seconds has a curve, and one costs about a millisecond."""

MOST_SAMPLES: Final = 401
"""The one at the start, and then so many that a plot as wide as a page shows each of them."""

_DIGITS: Final = 2
"""Of the latencies of one interval: within 1 %."""

Encoded = tuple[bytes, float] | None


class SampleSeries:
    """The samples of one load.  When there are too many, each two neighbours become one, and the next ones
    are twice as far apart.  For one thread at a time."""

    def __init__(self, interval_seconds: float = FIRST_INTERVAL_SECONDS, most: int = MOST_SAMPLES) -> None:
        self.interval_seconds = interval_seconds
        """How far apart samples are to be from now on."""
        self._most = most
        self._samples: list[tuple[Sample, Encoded]] = []

    @staticmethod
    def latencies() -> LatencyHistogram:
        """Return a new histogram for the latencies of one interval."""
        return LatencyHistogram(_DIGITS)

    def add(self, sample: Sample, latencies: LatencyHistogram) -> None:
        """Add a sample; its ``insert`` is made from the interval's latencies."""
        latency = latencies.latency()
        encoded = latencies.encode() if latency.count else None
        self._samples.append((replace(sample, insert=latency), encoded))
        if len(self._samples) >= self._most:
            self._thin_out()

    def samples(self) -> tuple[Sample, ...]:
        """Return all samples, the earliest first."""
        return tuple(sample for sample, _ in self._samples)

    def _thin_out(self) -> None:
        first, *others = self._samples
        pairs = zip(others[::2], others[1::2], strict=False)
        self._samples = [first, *(_merged(earlier, later) for earlier, later in pairs)]
        if len(others) % 2:
            self._samples.append(others[-1])
        self.interval_seconds *= 2


def _merged(earlier: tuple[Sample, Encoded], later: tuple[Sample, Encoded]) -> tuple[Sample, Encoded]:
    """Return one sample for two intervals: how things stood at the end, and the latencies of both."""
    measured = [sample.memory_bytes for sample, _ in (earlier, later) if sample.memory_bytes is not None]
    parts = [encoded for _, encoded in (earlier, later) if encoded is not None]
    histogram = LatencyHistogram(_DIGITS)
    for part in parts:
        histogram.add_encoded(part)
    sample = replace(
        later[0],
        memory_bytes=max(measured, default=None),
        insert=histogram.latency() if parts else Latency(),
    )
    return sample, histogram.encode() if parts else None
