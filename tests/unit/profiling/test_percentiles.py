from __future__ import annotations

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xml_extractor.profiling.percentiles import LatencyHistogram


def test_nothing_recorded() -> None:
    assert LatencyHistogram().milliseconds() == {"p50": 0, "p95": 0, "p99": 0, "max": 0, "count": 0}


def test_seconds_in_milliseconds_out() -> None:
    histogram = LatencyHistogram()
    for index in range(1, 101):
        histogram.record(index / 1000)
    figures = histogram.milliseconds()
    assert figures["count"] == 100
    assert figures["max"] == 100.0
    assert figures["p50"] == pytest.approx(50, rel=0.002)
    assert figures["p95"] == pytest.approx(95, rel=0.002)
    assert figures["p99"] == pytest.approx(99, rel=0.002)


@settings(deadline=None)
@given(st.lists(st.floats(min_value=1e-6, max_value=3600), min_size=1, max_size=200))
def test_percentiles_are_those_of_the_sorted_list(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    for seconds in durations:
        histogram.record(seconds)
    figures = histogram.milliseconds()
    ordered = sorted(durations)
    for percentile in (50, 95, 99):
        exact = ordered[max(0, math.ceil(len(ordered) * percentile / 100) - 1)] * 1000
        # Within the histogram's 0.1 % and the microsecond that durations are rounded to.
        assert figures[f"p{percentile}"] == pytest.approx(exact, rel=0.0011, abs=0.0011)
    assert figures["p50"] <= figures["p95"] <= figures["p99"] <= figures["max"]
    assert figures["count"] == len(durations)


def test_one_slow_batch_of_a_few_is_not_hidden() -> None:
    histogram = LatencyHistogram()
    for seconds in [0.01] * 10 + [5.0]:
        histogram.record(seconds)
    figures = histogram.milliseconds()
    assert figures["p50"] == pytest.approx(10, rel=0.002)
    assert figures["p95"] == figures["p99"] == figures["max"] == 5000


def test_out_of_range_counts_at_the_end_of_the_range() -> None:
    histogram = LatencyHistogram()
    histogram.record(0.0)
    histogram.record(10 * 24 * 3600.0)
    figures = histogram.milliseconds()
    assert figures["count"] == 2
    assert figures["max"] == 10 * 24 * 3_600_000.0


def test_several_threads_lose_no_record() -> None:
    histogram = LatencyHistogram()
    threads = [
        threading.Thread(target=lambda: [histogram.record(0.001) for _ in range(2000)]) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert histogram.milliseconds()["count"] == 8000
