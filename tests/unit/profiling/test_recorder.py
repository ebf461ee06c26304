"""The profile in the making: what is kept of a load, however long it is, and who is told of it."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Collection, Sequence
from itertools import pairwise
from subprocess import PIPE
from typing import Any

import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xml_extractor.errors import UsageError
from xml_extractor.profiling.clocks import SLOWEST, DocumentTimes, StageClocks, WorkerClock
from xml_extractor.profiling.cpu import CpuMeter
from xml_extractor.profiling.document_latency import DocumentLatency
from xml_extractor.profiling.observer import CommittedBatch, LoadObserver, WatchedLoad
from xml_extractor.profiling.observers import Observers
from xml_extractor.profiling.percentiles import LatencyHistogram
from xml_extractor.profiling.profile import InsertClocks, Latency, LoadProfile, Sample, WorkerProfile
from xml_extractor.profiling.recorder import Recorder, Standing
from xml_extractor.profiling.samples import MOST_SAMPLES, SampleSeries
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary

DURATIONS = st.lists(st.floats(1e-6, 1e4), max_size=30)
BUSY_MACHINE = settings(deadline=None, max_examples=15)
BATCH = CommittedBatch(
    "insert-1", 0.0, 0.25, InsertClocks(1, 2, {"base": 3}, 4, 5), 10, {"base": 10}, 1, 10, 0
)


class FakePipeline:
    """A load that stands as a test says."""

    def __init__(self) -> None:
        self.now = Standing(queue_capacity_documents=7, queue_capacity_bytes=8)
        self.times = DocumentLatency()

    def standing(self) -> Standing:
        return self.now

    def workers(self) -> Sequence[WorkerProfile]:
        return [
            WorkerProfile("one", 1, StageClocks(1, 2, 3, 4)),
            WorkerProfile("two", 2, StageClocks(1, 0, 0, 0)),
        ]

    def document_latency(self) -> DocumentLatency:
        return self.times

    def process_ids(self) -> Collection[int]:
        return []


# ------------------------------------------------------------------------------------ histograms


@BUSY_MACHINE
@given(st.lists(DURATIONS, max_size=4))
def test_merged_histograms_are_the_histogram_of_all(parts: list[list[float]]) -> None:
    whole, merged, by_wire = LatencyHistogram(), LatencyHistogram(), LatencyHistogram()
    for part in parts:
        one = LatencyHistogram()
        for seconds in part:
            one.record(seconds)
            whole.record(seconds)
        merged.add(one)
        by_wire.add_encoded(one.encode())
    assert merged.latency() == by_wire.latency() == whole.latency()
    assert merged.buckets() == by_wire.buckets() == whole.buckets()


@BUSY_MACHINE
@given(DURATIONS)
def test_buckets_hold_all_durations_and_leave_no_gap(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    for seconds in durations:
        histogram.record(seconds)
    buckets = histogram.buckets()
    assert sum(bucket.count for bucket in buckets) == len(durations)
    for before, after in pairwise(buckets):
        assert before.high_ms == after.low_ms
    if durations:
        assert buckets[0].count
        assert buckets[-1].count
        # Within the 0.1 % to which durations are kept.
        assert buckets[0].low_ms <= max(min(durations) * 1e3, 1e-3) * 1.001
        assert buckets[-1].high_ms >= max(durations) * 1e3 * 0.999


@BUSY_MACHINE
@given(st.lists(st.lists(st.integers(0, 3 * 10**6), max_size=80), max_size=6))
def test_document_times_of_all_workers_are_those_of_one(workers: list[list[int]]) -> None:
    together = DocumentLatency()
    alone = LatencyHistogram()
    slow: list[tuple[float, str]] = []
    for number, times in enumerate(workers):
        now = 0.0

        def clock_time() -> float:
            return now  # noqa: B023 - called in this round only

        clock = WorkerClock(clock_time)
        for index, microseconds in enumerate(times):
            now += microseconds / 1e6
            clock.charge_map()
            clock.document_done(f"{number}-{index}")
            if index % 7 == 6:  # as a worker does after each chunk
                together.add(clock.take_documents())
        together.add(clock.take_documents())
        assert clock.documents == len(times)
        slow += [(us / 1e6, f"{number}-{index}") for index, us in enumerate(times)]
        for us in times:
            alone.record(us / 1e6)
    told = together.histogram().latency()
    expected = alone.latency()
    assert told.count == expected.count
    for name in ("p50", "p95", "p99", "max"):
        # A worker's clock adds up seconds in floating point, and cuts off a part of a microsecond.
        assert getattr(told, name) == pytest.approx(getattr(expected, name), rel=0.002, abs=0.003)
    slowest = together.slowest()
    assert len(slowest) == min(SLOWEST, len(slow))
    seconds = [document.seconds for document in slowest]
    assert seconds == sorted(seconds, reverse=True)
    assert seconds == pytest.approx(sorted((s for s, _ in slow), reverse=True)[:SLOWEST], abs=2e-6)


def test_document_times_take_no_more_memory_for_more_documents() -> None:
    latency = DocumentLatency()
    for start in range(0, 50_000, 100):
        latency.add(DocumentTimes(list(range(start, start + 100)), [(start / 1e6, start)]))
        assert len(latency._counts) <= 4_096 + 100
        assert len(latency._slowest) <= SLOWEST
    assert latency.histogram().latency().count == 50_000


# --------------------------------------------------------------------------------------- clocks


@BUSY_MACHINE
@given(
    st.lists(st.tuples(st.sampled_from(["idle", "parse", "map", "blocked", "document"]), st.integers(0, 999)))
)
def test_a_workers_clocks_sum_to_its_wall_and_its_documents_to_its_work(steps: list[tuple[str, int]]) -> None:
    now = 0

    def clock_time() -> float:
        return float(now)  # whole numbers add up exactly

    clock = WorkerClock(clock_time)
    last = 0
    for step, seconds in steps:
        now += seconds
        if step == "document":
            clock.charge_map()
            clock.document_done(now)
            last = clock.documents
        else:
            getattr(clock, f"charge_{step}")()
    charged = clock.clocks()
    assert charged.seconds <= now
    clock.charge_idle()
    assert clock.clocks().seconds == now
    times = clock.take_documents()
    assert len(times.microseconds) == clock.documents == last
    assert sum(times.microseconds) <= round((charged.parse + charged.map) * 1e6)


def test_what_lies_between_blocks_is_no_documents() -> None:
    now = 0.0
    clock = WorkerClock(lambda: now)
    now = 1.0
    clock.charge_map()
    clock.document_done(1)
    now = 5.0
    clock.charge_map()  # packing the block
    clock.begin_documents()
    now = 7.0
    clock.charge_parse()
    clock.document_done(2)
    assert clock.take_documents().microseconds == [1_000_000, 2_000_000]


# -------------------------------------------------------------------------------------- samples


def sample(at: float, **changes: Any) -> Sample:
    given: dict[str, Any] = {
        "seconds": at, "documents": int(at), "batches": 1, "queue_documents": 2, "queue_bytes": 3,
        "memory_bytes": None, "cpu_seconds": at, "insert": Latency(), "clocks": StageClocks(),
        "batch_size": 5, "insert_threads": 1,
    }  # fmt: skip
    return Sample(**{**given, **changes})


@pytest.mark.parametrize("hours", [0.001, 0.03, 2])
def test_samples_are_bounded_and_evenly_spaced_however_long_the_load(hours: float) -> None:
    series = SampleSeries()
    at, taken = 0.0, 0
    while at <= hours * 3600:
        latencies = series.latencies()
        latencies.record(0.001 * (1 + taken % 10))
        series.add(sample(at, memory_bytes=taken if taken % 8 == 0 else None), latencies)
        assert len(series.samples()) < MOST_SAMPLES
        taken += 1
        at += series.interval_seconds
    samples = series.samples()
    assert samples[0].seconds == 0
    if hours >= 1:
        assert len(samples) >= MOST_SAMPLES // 2
    gaps = {round(b.seconds - a.seconds, 6) for a, b in pairwise(samples)}
    assert gaps == {round(series.interval_seconds, 6)}
    assert sum(one.insert.count for one in samples) == taken  # no latency is lost by thinning out
    assert max(one.memory_bytes or 0 for one in samples) == (taken - 1) // 8 * 8


def test_two_intervals_that_become_one_keep_their_latencies() -> None:
    series = SampleSeries(most=3)
    everything = series.latencies()
    for at, durations in ((0.0, []), (1.0, [0.1] * 9), (2.0, [0.9])):
        latencies = series.latencies()
        for seconds in durations:
            latencies.record(seconds)
            everything.record(seconds)
        series.add(sample(at), latencies)
    first, merged = series.samples()
    assert merged.insert == everything.latency()
    assert merged.seconds == 2.0
    assert first.insert == Latency()


# ------------------------------------------------------------------------------------- recorder


def wait_until(condition: Any) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_recorder_fills_a_profile_and_leaves_no_thread() -> None:
    pipeline = FakePipeline()
    memory = iter([100, None, 300])
    recorder = Recorder(memory=lambda: next(memory, None))
    recorder.begin(pipeline)
    recorder.batch(BATCH)
    recorder.charge(InsertClocks(wait=10, claim=20))
    pipeline.now = Standing(10, 1, 3, 4, 7, 8, 100, 2)
    pipeline.times.add(DocumentTimes([1000, 3000], [(0.003, "k")]))
    assert not recorder.has_ended
    wait_until(lambda: len(recorder.profile().samples) >= 3)
    recorder.end()
    profile = recorder.profile()
    assert recorder.has_ended
    assert "xml-extractor-sampler" not in {thread.name for thread in threading.enumerate()}
    assert profile.inserting == InsertClocks(11, 22, {"base": 3}, 4, 5)
    assert profile.insert_latency.count == 1
    assert profile.insert_latency.max == 250
    assert profile.document_latency.count == 2
    assert profile.slowest[0].key == "k"
    assert [worker.documents for worker in profile.workers] == [1, 2]
    assert profile.clocks == StageClocks(2, 2, 3, 4)
    assert profile.samples[0].seconds == pytest.approx(0, abs=0.2)
    assert profile.samples[0].memory_bytes == 100
    last = profile.samples[-1]
    assert (last.documents, last.queue_documents, last.queue_bytes, last.insert_threads) == (10, 3, 4, 2)
    assert last.seconds == profile.seconds
    assert sum(one.insert.count for one in profile.samples) == 1
    assert (profile.queue_capacity_documents, profile.queue_capacity_bytes) == (7, 8)
    assert recorder.profile() == profile  # it stands still
    recorder.end()
    assert recorder.profile() == profile


def test_a_batch_that_was_only_looked_at_has_no_latency() -> None:
    recorder = Recorder()
    recorder.batch(CommittedBatch("t", 0.0, 0.5, InsertClocks(claim=0.5), 3, {}, 0, 0, 0))
    assert recorder.insert_latency.latency() == Latency()
    assert recorder.inserting().claim == 0.5


def test_a_recorder_that_never_began_has_an_empty_profile() -> None:
    recorder = Recorder()
    recorder.end()
    profile = recorder.profile()
    assert not profile.samples
    assert not profile.workers
    assert not profile.slowest
    assert profile.seconds == 0


def test_a_system_without_threads_only_costs_the_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder()

    def refuse() -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(recorder._thread, "start", refuse)
    recorder.begin(FakePipeline())
    recorder.end()
    assert len(recorder.profile().samples) == 2  # the first and the last


def test_a_sampler_that_fails_says_so_and_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    pipeline = FakePipeline()
    recorder = Recorder()
    recorder.begin(pipeline)

    def fail() -> Standing:
        raise ZeroDivisionError

    pipeline.standing = fail  # type: ignore[method-assign]
    with caplog.at_level(logging.WARNING):
        wait_until(lambda: "no more samples" in caplog.text)
        recorder.end()
    assert "ZeroDivisionError" in caplog.text
    assert recorder.has_ended


def test_cpu_counts_work_of_this_process_and_never_falls() -> None:
    meter = CpuMeter(list)
    before = meter.seconds()
    started = time.process_time()
    while time.process_time() - started < 0.05:
        sum(range(1000))
    after = meter.seconds()
    assert before >= 0
    assert 0.03 <= after - before < 5


@pytest.mark.skipif(os.name != "posix", reason="the system adds up processes that have ended")
def test_cpu_counts_a_process_once_that_has_been_waited_for_and_is_listed_still() -> None:
    work = "import sys, time\nwhile time.process_time() < 0.5: pass\nprint(flush=True)\nsys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", work], stdin=PIPE, stdout=PIPE) as process:
        assert process.stdout is not None
        listed = [process.pid]
        meter = CpuMeter(lambda: listed)
        process.stdout.readline()
        running = meter.seconds()
        process.communicate()
    assert 0.4 < running <= meter.seconds() < 1.8 * running


def test_cpu_outlives_a_process_that_ends_before_it_was_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = [os.getpid()]
    meter = CpuMeter(lambda: listed)
    with monkeypatch.context() as patch:

        def ended(process: psutil.Process) -> None:
            raise psutil.NoSuchProcess(process.pid)

        patch.setattr(psutil.Process, "cpu_times", ended)
        meter.seconds()
    listed.clear()
    assert meter.seconds() >= 0


# ------------------------------------------------------------------------------------ observers


class Watcher(LoadObserver):
    def __init__(self, fails_at: str = "") -> None:
        self.calls: list[str] = []
        self._fails_at = fails_at

    def _called(self, name: str) -> None:
        self.calls.append(name)
        if name == self._fails_at:
            raise ValueError("a value of a document")

    def begin(self, load: WatchedLoad) -> None:
        self._called("begin")

    def batch(self, batch: CommittedBatch) -> None:
        self._called("batch")

    def end(self, summary: LoadSummary) -> None:
        self._called("end")


@pytest.mark.parametrize(
    ("fails_at", "calls"),
    [
        ("", ["begin", "batch", "batch", "end"]),
        ("begin", ["begin", "end"]),
        ("batch", ["begin", "batch", "end"]),
        ("end", ["begin", "batch", "batch", "end"]),
    ],
)
def test_an_observer_that_raises_is_left_out_and_told_of_once(
    fails_at: str, calls: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    broken, sound = Watcher(fails_at), Watcher()
    observers = Observers([broken, sound])
    summary = LoadSummary(DocumentCounts(), {}, {}, 0.0)
    with caplog.at_level(logging.WARNING):
        observers.begin(WatchedLoad(lambda: Recorder().profile(), lambda: summary, {}))
        observers.batch(BATCH)
        observers.batch(BATCH)
        observers.end(summary)
        observers.end(summary)
    assert broken.calls == calls
    assert sound.calls == ["begin", "batch", "batch", "end"]
    told = [record for record in caplog.records if "is left out" in record.getMessage()]
    assert len(told) == (1 if fails_at else 0)
    assert all("a value of a document" not in record.getMessage() for record in told)


# ----------------------------------------------------------------------------------------- JSON


def full_profile() -> LoadProfile:
    pipeline = FakePipeline()
    pipeline.times.add(DocumentTimes([1000, 3000], [(0.003, "kß")]))
    recorder = Recorder(memory=lambda: 5)
    recorder.begin(pipeline)
    recorder.batch(BATCH)
    recorder.end()
    return recorder.profile()


def test_a_profile_survives_json() -> None:
    profile = full_profile()
    assert LoadProfile.from_json(json.loads(json.dumps(profile.to_json()))) == profile
    nothing = Recorder().profile()
    assert LoadProfile.from_json(json.loads(json.dumps(nothing.to_json()))) == nothing


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda data: [], "no profile"),
        (lambda data: None, "no profile"),
        (lambda data: {}, "no profile"),
        (lambda data: {**data, "version": 2}, "version 2"),
        (lambda data: {**data, "seconds": "long"}, "seconds"),
        (lambda data: {**data, "workers": [{"name": "x"}]}, "workers.0.documents"),
        (lambda data: {**data, "samples": 3}, "samples"),
        (lambda data: {**data, "samples": {**data["samples"], "seconds": []}}, "differ in length"),
        (lambda data: {**data, "samples": {"seconds": [1.0]}}, "samples.0"),
        (lambda data: {key: value for key, value in data.items() if key != "slowest"}, "slowest"),
    ],
)
def test_what_is_no_profile_is_refused_with_the_place(spoil: Any, words: str) -> None:
    data = json.loads(json.dumps(full_profile().to_json()))
    with pytest.raises(UsageError, match=words):
        LoadProfile.from_json(spoil(data))
