"""The strategies of the queue benchmark: nothing is lost or twice, everything ends, no file stays behind."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from backpressure.conclusions import WHY_NO_DROP, compare_walls, conclusions
from backpressure.feed import ProportionalFeed
from backpressure.pipeline import PipelineRun, run_pipeline
from backpressure.scenarios import Ending, Load, Measured, Outcome, in_own_process, run_case, scenarios
from backpressure.spilling_queue import SpillingQueue
from backpressure.strategies import BLOCK, LARGER_QUEUE, SLOW_FEED, SPILL, STRATEGIES, Bounds, Strategy
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from slow_target import Pace, TimedEncoder, TimedTarget, timed_plan, write_documents

from xml_extractor.engines.base import Engine
from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.processing.insert_queue import BatchLimits
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped

DOCUMENTS = 60
ANY_STRATEGY = pytest.mark.parametrize("strategy", STRATEGIES, ids=lambda strategy: strategy.name)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Engine:
    return write_documents(tmp_path_factory.mktemp("source") / "documents.db", DOCUMENTS)


@pytest.fixture
def no_new_threads() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) <= before


def run(
    source: Engine, folder: Path, strategy: Strategy, target: TimedTarget, documents: int = DOCUMENTS,
    *, bound: int = 10, disk: int = 2**20, workers: int = 3, batch: int = 5, stop_after: float | None = None,
) -> PipelineRun:  # fmt: skip
    return run_pipeline(
        source, timed_plan(), target, documents, strategy, Bounds(bound, disk, folder),
        workers=workers, batch_documents=batch, stop_after=stop_after,
    )  # fmt: skip


# ------------------------------------------------------------------------------------ exactly once


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    strategy=st.sampled_from(STRATEGIES),
    documents=st.integers(1, DOCUMENTS),
    bound=st.integers(1, 20),
    batch=st.integers(1, 12),
    workers=st.integers(1, 4),
    disk=st.sampled_from([1, 2_000, 2**20]),
    pace=st.builds(
        Pace,
        seconds=st.floats(0, 0.002),
        first_batches=st.integers(0, 3),
        first_seconds=st.floats(0, 0.01),
        stalled_batch=st.none() | st.integers(0, 5),
        stall_seconds=st.floats(0, 0.05),
    ),
)
def test_every_strategy_commits_every_document_once(
    source: Engine, tmp_path: Path, strategy: Strategy, documents: int, bound: int, batch: int,
    workers: int, disk: int, pace: Pace,
) -> None:  # fmt: skip
    target = TimedTarget(pace, TimedEncoder(0.0005, row_bytes=100))
    found = run(
        source, tmp_path, strategy, target, documents,
        bound=bound, batch=batch, workers=workers, disk=disk,
    )  # fmt: skip
    target.commits.check(documents)  # run_pipeline does, too: this is in case it should forget
    assert found.committed == documents
    assert found.thrown_away == 0
    assert found.ending == 0.0
    if strategy is not SLOW_FEED:
        assert found.most_waiting <= bound * strategy.queue_factor
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------- endings


@ANY_STRATEGY
@pytest.mark.usefixtures("no_new_threads")
def test_a_target_that_fails_ends_every_strategy(source: Engine, tmp_path: Path, strategy: Strategy) -> None:
    target = TimedTarget(Pace(0.01), TimedEncoder(0.0005, row_bytes=1000), fails_at=3)
    found = run(source, tmp_path, strategy, target)
    assert 0.0 < found.ending < 10.0
    assert found.committed == 15
    assert 0 <= found.thrown_away <= DOCUMENTS - 15
    assert list(tmp_path.iterdir()) == []


@ANY_STRATEGY
@pytest.mark.usefixtures("no_new_threads")
def test_ctrl_c_commits_what_is_in_flight_and_nothing_more(
    source: Engine, tmp_path: Path, strategy: Strategy
) -> None:
    target = TimedTarget(Pace(0.05), TimedEncoder(0.03), None)
    found = run(source, tmp_path, strategy, target, workers=1, bound=5, stop_after=0.2)
    assert 0.0 < found.ending < 10.0
    assert 0 < found.committed < DOCUMENTS
    assert 0 < found.drained <= found.committed
    assert found.thrown_away == 0
    assert sorted(target.commits.order) == list(range(1, found.committed + 1))


@pytest.mark.usefixtures("no_new_threads")
def test_a_disk_that_is_full_ends_the_run_with_its_cause(
    source: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: SpillingQueue, data: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SpillingQueue, "_write", full)
    with pytest.raises(OSError, match="No space left"):
        run(source, tmp_path, SPILL, TimedTarget(Pace(0.05), TimedEncoder(0.0)))
    assert list(tmp_path.iterdir()) == []


@ANY_STRATEGY
@pytest.mark.usefixtures("no_new_threads")
def test_a_benchmark_that_is_interrupted_leaves_no_thread_behind(
    source: Engine, tmp_path: Path, strategy: Strategy, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(seconds: float) -> None:
        raise KeyboardInterrupt

    # Only the pipeline's main thread waits by this name.
    monkeypatch.setattr("backpressure.pipeline.sleep", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path, strategy, TimedTarget(Pace(0.05), TimedEncoder(0.001)))
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------- spilling


def record(key: int) -> DocumentRecord:
    return DocumentRecord(key, State.LOADED, b"", rows=(b"x" * 200,), size_bytes=200)


def drained(queue: SpillingQueue) -> list[object]:
    keys: list[object] = []
    while batch := queue.take_batch(BatchLimits(7, 2**40, 5.0)):
        keys += [one.key for one in batch]
    return keys


def test_spilled_records_come_back_in_order(tmp_path: Path) -> None:
    queue = SpillingQueue(PipelineState(), 5, 2**20, tmp_path)
    queue.put(record(key) for key in range(50))
    assert queue.written_documents == queue.spilled() == 45
    assert queue.written_bytes > 45 * 200
    queue.close()
    assert drained(queue) == list(range(50))
    assert queue.depth().maximum <= 5
    assert queue.spilled() == 0
    queue.dispose()
    assert queue._file.closed
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_spilled_while_there_is_room(tmp_path: Path) -> None:
    queue = SpillingQueue(PipelineState(), 50, 2**20, tmp_path)
    queue.put(record(key) for key in range(50))
    queue.close()
    assert queue.written_bytes == 0
    assert drained(queue) == list(range(50))
    queue.dispose()


def test_the_file_is_bounded_and_used_again(tmp_path: Path) -> None:
    bound = 3_000
    queue = SpillingQueue(PipelineState(), 2, bound, tmp_path)
    waited: list[float] = []
    producer = threading.Thread(
        target=lambda: (waited.append(queue.put(map(record, range(100)))), queue.close()), daemon=True
    )
    producer.start()
    time.sleep(0.1)
    assert producer.is_alive()  # it waits for room on the disk
    assert drained(queue) == list(range(100))
    producer.join(10)
    assert waited[0] > 0.05
    assert queue.most_bytes <= bound < queue.written_bytes
    queue.dispose()


def test_who_waits_for_the_disk_is_woken_by_the_end(tmp_path: Path) -> None:
    state = PipelineState()
    queue = SpillingQueue(state, 2, 500, tmp_path)
    outcome: list[str] = []

    def produce() -> None:
        try:
            queue.put(map(record, range(100)))
        except PipelineStopped:
            outcome.append("stopped")

    producer = threading.Thread(target=produce, daemon=True)
    producer.start()
    time.sleep(0.05)
    state.abort()
    producer.join(10)
    assert outcome == ["stopped"]
    queue.dispose()
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------- slowing the feed


class Clock:
    """Moves on by a hundredth of a second whenever it is looked at."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 0.01
        return self.now


@pytest.mark.parametrize(("depth", "seconds"), [(0, 0.1), (50, 0.2), (90, 1.0)])
def test_the_feed_slows_down_in_proportion_to_what_is_free(depth: int, seconds: float) -> None:
    clock = Clock()
    state = PipelineState()
    feed = ProportionalFeed(state, lambda: depth, set_depth=100, gain=1.0, now=clock)
    state.stopping.wait = lambda timeout=None: False  # type: ignore[method-assign]
    begun = clock.now
    assert feed.take(10)
    assert clock.now - begun == pytest.approx(seconds, abs=0.011)


def test_a_full_queue_lets_nothing_through_until_the_run_stops() -> None:
    state = PipelineState()
    feed = ProportionalFeed(state, lambda: 100, set_depth=100, gain=1.0)
    timer = threading.Timer(0.1, state.stopping.set)
    timer.start()
    started = time.monotonic()
    assert not feed.take(1)
    assert 0.05 < time.monotonic() - started < 5.0
    timer.join()


# -------------------------------------------------------------------------- scenarios and conclusions


def test_scenarios_keep_their_shape_whatever_the_load() -> None:
    for documents in (80, 800, 8000):
        load = Load(documents)
        slow, stalling, changing = scenarios(load)
        batches = range(load.batches)
        assert sum(map(slow.pace.seconds_for, batches)) == pytest.approx(2 * load.making)
        assert sum(map(stalling.pace.seconds_for, batches)) == pytest.approx(1.4 * load.making)
        assert sum(map(changing.pace.seconds_for, batches)) == pytest.approx(1.15 * load.making)
        assert all(0 < one.fails_at < load.batches for one in (slow, stalling, changing))


@pytest.mark.parametrize("ending", Ending)
def test_a_case_is_ended_as_it_was_told(ending: Ending, tmp_path: Path) -> None:
    load = Load(documents=60, parse_seconds=0.002, row_bytes=1000)
    write_documents(tmp_path / "documents.db", 60)
    found = run_case(load, 0, STRATEGIES.index(BLOCK), ending, tmp_path).run
    assert (found.committed == 60) is (ending is Ending.END) or ending is Ending.CTRL_C
    assert (found.ending > 0.0) is (ending is not Ending.END)


def test_a_case_runs_in_a_process_of_its_own(tmp_path: Path) -> None:
    load = Load(documents=40, parse_seconds=0.002, row_bytes=100_000)
    write_documents(tmp_path / "documents.db", 40)
    found = in_own_process(load, 0, SPILL, Ending.END, tmp_path)
    assert found.run.committed == 40
    assert 0 < found.memory_bytes < 200_000_000


def outcome(strategy: Strategy, *walls: float, disk: int = 0, waiting: int = 200) -> Outcome:
    runs = tuple(
        Measured(PipelineRun(wall, 1.5, 800, 100, 50, waiting, disk, disk), 20_000_000) for wall in walls
    )
    return Outcome("stalls once", strategy.name, runs, runs, runs)


@pytest.mark.parametrize(
    ("walls", "verdict"),
    [((3.0, 3.1), "faster"), ((5.0, 5.1), "slower"), ((3.95, 3.96), "no faster"), ((3.0, 4.1), "no faster")],
)
def test_walls_within_the_spread_are_no_difference(walls: tuple[float, ...], verdict: str) -> None:
    assert compare_walls(outcome(BLOCK, 4.0, 4.05), outcome(SPILL, *walls)) == verdict


def test_the_conclusion_follows_the_figures() -> None:
    block, slow = outcome(BLOCK, 4.0), outcome(SLOW_FEED, 4.4, waiting=250)
    spill = outcome(SPILL, 3.0, disk=39_000_000)
    told = list(conclusions([block, slow, spill, outcome(LARGER_QUEUE, 3.02, waiting=800)], Load()))
    assert "slow the feed is 10% slower than block (4.40 s against 4.00 s)" in told[0]
    assert "lets 250 documents wait in memory where 200 were set" in told[0]
    assert "spill to disk is 25% faster than block" in told[1]
    assert "writes 39 MB to disk" in told[1]
    assert "wait in memory where" not in told[2]  # 800 are what was set for the larger queue
    assert told[3].startswith("spill to disk: loads faster than to block under these targets: stalls once.")
    assert "A larger queue (--queue-size, --queue-bytes) is as fast there" in told[3]
    assert told[4].startswith("block, queue × 4: loads faster than to block")
    assert told[5] == WHY_NO_DROP


def test_the_conclusion_says_where_a_larger_queue_does_not_do() -> None:
    found = [outcome(BLOCK, 4.0), outcome(SPILL, 3.0, disk=1), outcome(LARGER_QUEUE, 3.9)]
    *_, advice, _ = conclusions(found, Load())
    assert advice.endswith("A larger queue (--queue-size) gains less under these: stalls once.")


def test_the_conclusion_is_to_block_where_nothing_is_faster() -> None:
    found = [outcome(BLOCK, 4.0), outcome(SPILL, 4.0, disk=1), outcome(LARGER_QUEUE, 3.95)]
    *_, advice, _ = conclusions(found, Load())
    assert advice.startswith("No strategy loads faster")
