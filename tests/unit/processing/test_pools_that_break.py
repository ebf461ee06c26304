"""Pools that go on with less: nothing is lost and nothing comes twice on any step down."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.fake_workers import FakeSetup
from tests.unit.processing.test_worker_pools import BOUND_SECONDS, Run, sorted_keys
from xml_extractor.errors import WorkerError
from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.processing import pool_health, process_workers, worker_link
from xml_extractor.processing.process_workers import ProcessWorkers

POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
STALLS = pytest.mark.parametrize(
    "how", ["sleep", "regex", pytest.param("stop", marks=POSIX)]
)  # waiting, holding the interpreter, not running at all


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Any:
    """No process and no thread of a pool outlives its run."""
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + 10
    while True:
        threads = [thread.name for thread in set(threading.enumerate()) - before]
        processes = multiprocessing.active_children()
        if not threads and not processes:
            return
        assert time.monotonic() < deadline, (threads, processes)
        time.sleep(0.02)


def refused(records: list[DocumentRecord]) -> dict[Any, str]:
    """Keys of quarantined documents with their reasons."""
    return {
        record.key: record.rejection.code
        for record in records
        if record.state is State.QUARANTINED and record.rejection is not None
    }


# -------------------------------------------------------------------------------------- the ladder


def test_processes_that_cannot_start_give_way_to_threads_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_health, "START_ATTEMPTS", 2)
    run = Run("process", FakeSetup(tmp_path, failing_starts=10**6), 500, workers=4)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 501))
    assert not refused(records)
    steps = [note.rpartition(": ")[2] for note in run.notes]
    assert steps == [
        "going on with 2 worker processes of 4",
        "going on with 1 worker process of 2",
        "going on with worker threads",
    ]
    assert "do not start" in run.notes[0]
    assert "exit code 9" in run.notes[0]


def test_two_processes_that_do_not_start_change_nothing(tmp_path: Path) -> None:
    run = Run("process", FakeSetup(tmp_path, failing_starts=2), 100)
    assert sorted_keys(run.records()) == list(range(1, 101))
    assert run.notes == []


def test_a_system_that_starts_no_process_leaves_the_work_to_threads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Any) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    monkeypatch.setattr(multiprocessing.get_context("spawn").Process, "start", full)
    run = Run("process", FakeSetup(tmp_path), 200, workers=1)
    assert sorted_keys(run.records()) == list(range(1, 201))
    assert run.notes == [
        "worker processes do not start (3 in a row; the last: BlockingIOError: Resource temporarily "
        "unavailable): going on with worker threads"
    ]


def test_processes_that_keep_dying_without_a_culprit_give_way_step_by_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each process ends at its tenth document, whichever that is; no document may be blamed for it."""
    monkeypatch.setattr(pool_health, "UNEXPLAINED_DEATHS", 1)
    run = Run("process", FakeSetup(tmp_path, lifetime=10), 300, workers=2, chunk=15)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 301))
    assert not refused(records)
    assert [note.rpartition(": ")[2] for note in run.notes] == [
        "going on with 1 worker process of 2",
        "going on with worker threads",
    ]
    assert "none of these was at fault" in run.notes[0]
    assert "exit code 13" in run.notes[0]
    # The profile counts what came back, from dead processes and threads alike; only times can get lost.
    profiles = run.pool.profiles()
    assert sum(worker.documents for worker in profiles) == 300
    assert [worker.name for worker in profiles if worker.name.endswith("(thread)")]
    assert 0 < run.pool.document_latency.histogram().latency().count <= 300


def test_culprits_stay_in_quarantine_through_all_steps_and_never_meet_a_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deadly document that a thread took would end this very process.

    The first chunk holds one, found among documents at which processes end through no fault of theirs.
    """
    monkeypatch.setattr(pool_health, "UNEXPLAINED_DEATHS", 1)
    run = Run("process", FakeSetup(tmp_path, deadly=frozenset({12}), lifetime=8), 120, workers=1, chunk=20)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 121))
    assert refused(records) == {12: "worker_died"}
    assert run.notes[-1].endswith("going on with worker threads")


def test_deadly_documents_alone_take_no_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six deaths within forty documents, but each of them explained."""
    monkeypatch.setattr(pool_health, "UNEXPLAINED_DEATHS", 1)
    deadly = frozenset({5, 25})
    run = Run("process", FakeSetup(tmp_path, deadly=deadly), 40)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 41))
    assert refused(records) == dict.fromkeys(deadly, "worker_died")
    assert run.notes == []


def test_suspects_that_no_process_can_try_are_refused_not_risked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first process dies over a chunk with a deadly document in it, and no other can be started."""
    process_class = multiprocessing.get_context("spawn").Process
    start = process_class.start
    started: list[Any] = []

    def once(process: Any) -> None:
        if started:
            raise OSError(12, "Cannot allocate memory")
        started.append(process)
        start(process)

    monkeypatch.setattr(process_class, "start", once)
    run = Run("process", FakeSetup(tmp_path, deadly=frozenset({7})), 200, workers=1)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 201))
    found = refused(records)
    # Of the ten documents of the first chunk none had come back.
    assert found == dict.fromkeys(range(1, 11), "worker_died")
    rejection = records[0].rejection
    assert rejection is not None
    assert "no further process could be started" in rejection.message


def test_where_all_documents_seem_to_kill_the_run_ends(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pool_health, "CULPRITS_IN_A_ROW", 3)
    run = Run("process", FakeSetup(tmp_path, deadly=frozenset(range(1, 61))), 60, workers=2, chunk=2)
    run.join()
    assert isinstance(run.state.failure, WorkerError)
    assert "3 documents in a row" in str(run.state.failure)


@POSIX
def test_a_process_killed_from_outside_is_said_to_have_been(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run("process", FakeSetup(tmp_path, document_seconds=0.002), 400, workers=1)
    assert isinstance(run.pool, ProcessWorkers)
    deadline = time.monotonic() + BOUND_SECONDS
    while run.queue.depth().now < 50:
        assert time.monotonic() < deadline
        time.sleep(0.005)
    with caplog.at_level(logging.WARNING, logger="xml_extractor"):
        os.kill(run.pool.process_ids()[0], signal.SIGKILL)
        records = run.records()
    assert sorted_keys(records) == list(range(1, 401))
    assert "SIGKILL" in caplog.text
    assert "--memory-limit" in caplog.text


# --------------------------------------------------------------------------------- no threads to be had


def limited_threads(monkeypatch: pytest.MonkeyPatch, allowed: Any) -> None:
    """Let only threads start whose name is allowed."""
    start = threading.Thread.start

    def limited(thread: threading.Thread) -> None:
        if not allowed(thread.name):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", limited)


def test_fewer_threads_than_asked_for_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limited_threads(monkeypatch, lambda name: name != "xml-extractor-worker-3")
    run = Run("thread", FakeSetup(tmp_path), 300, workers=4)
    assert sorted_keys(run.records()) == list(range(1, 301))
    assert run.notes == ["the system has no more threads: 2 workers, not 4"]


@pytest.mark.parametrize("fetcher", [True, False])
def test_without_worker_threads_the_last_feeder_does_all_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fetcher: bool
) -> None:
    def allowed(name: str) -> bool:
        return name.endswith("-feeder") or (fetcher and name == "xml-extractor-fetcher")

    limited_threads(monkeypatch, allowed)
    gone = frozenset({1, 50, 51})
    run = Run("process", FakeSetup(tmp_path, failing_starts=10**6, gone=gone), 200, workers=2)
    assert sorted_keys(run.records()) == [key for key in range(1, 201) if key not in gone]
    assert run.vanished == 3
    assert run.notes[-1] == "no worker threads can be started: one document after another"
    assert len(run.notes) == 3


# -------------------------------------------------------------------------------------------- heartbeats


@STALLS
def test_a_document_that_stalls_processes_is_quarantined_and_no_other_is(
    tmp_path: Path, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    setup = FakeSetup(tmp_path, stalling=frozenset({27}), how_to_stall=how)
    with caplog.at_level(logging.ERROR, logger="xml_extractor"):
        records = Run("process", setup, 80, timeout=1.5).records()
    assert sorted_keys(records) == list(range(1, 81))
    assert refused(records) == {27: "worker_stuck"}
    reports = [record.getMessage() for record in caplog.records if "27" in record.getMessage()]
    assert len(reports) == 2
    if how == "stop":
        assert "shows no stack" in reports[0]
    else:
        assert "in stall" in reports[0]
        assert 'fake_workers.py", line' in reports[0]


def test_a_document_that_stalled_once_is_loaded(tmp_path: Path) -> None:
    setup = FakeSetup(tmp_path, stalling_once=frozenset({13, 40}))
    records = Run("process", setup, 60, timeout=1.0).records()
    assert sorted_keys(records) == list(range(1, 61))
    assert not refused(records)


def test_clocks_count_processes_that_have_ended_once_at_every_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Metrics are read while a process is replaced, and a counter that was once too high stays so."""
    seen: dict[str, list[float]] = {}

    def spy(self: Any, name: str, value: object) -> None:
        object.__setattr__(self, name, value)
        if name.endswith("clocks") and hasattr(self, "thread"):  # it has been made
            profile = self.profile()
            seen.setdefault(profile.name, []).append(profile.clocks.seconds)

    monkeypatch.setattr(process_workers._Feeder, "__setattr__", spy)
    run = Run("process", FakeSetup(tmp_path, deadly_once=frozenset({13, 40})), 60)
    assert sorted_keys(run.records()) == list(range(1, 61))
    assert seen
    for seconds in seen.values():
        assert seconds == sorted(seconds)
        assert seconds[-1] > 0


@POSIX
def test_an_idle_process_that_is_stopped_is_replaced(tmp_path: Path) -> None:
    """It is waiting for its source, but does not even show that it runs."""
    run = Run("process", FakeSetup(tmp_path, document_seconds=0.005), 400, workers=2, timeout=1.0)
    assert isinstance(run.pool, ProcessWorkers)
    deadline = time.monotonic() + BOUND_SECONDS
    # One that has begun: a process that is still starting is given much longer.
    while not (begun := [f for f in run.pool._feeders if f.profile().documents >= 10]):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    stopped = begun[0].process_id()
    assert stopped is not None
    os.kill(stopped, signal.SIGSTOP)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 401))
    assert not refused(records)
    assert not psutil.pid_exists(stopped)


def test_waiting_for_a_full_queue_is_not_being_stuck(tmp_path: Path) -> None:
    """Nothing is taken from the queue for several timeouts; then all goes on."""
    for pool in ("thread", "process"):
        run = Run(pool, FakeSetup(tmp_path), 3000, capacity=5, timeout=0.5)
        time.sleep(2.5)
        assert run.state.failure is None
        taken: list[DocumentRecord] = []
        taker = threading.Thread(target=take_all, args=(run, taken), daemon=True)
        taker.start()
        run.join()
        run.queue.close()
        taker.join(BOUND_SECONDS)
        assert sorted_keys(taken) == list(range(1, 3001))
        assert not refused(taken)


def take_all(run: Run, taken: list[DocumentRecord]) -> None:
    while (batch := run.queue.take_batch(pool_limits())) is not None:
        taken += batch


def pool_limits() -> Any:
    from xml_extractor.processing.insert_queue import BatchLimits

    return BatchLimits(100, 10**9, 0.05)


def test_documents_that_are_slow_but_not_stuck_are_loaded(tmp_path: Path) -> None:
    """Each takes two thirds of the timeout; a chunk of them takes many times that."""
    for pool in ("thread", "process"):
        records = Run(pool, FakeSetup(tmp_path, document_seconds=0.5), 8, timeout=0.75).records()
        assert sorted_keys(records) == list(range(1, 9))
        assert not refused(records)


def test_a_stuck_thread_ends_the_run_naming_its_document(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # In a process of its own would be truer; here it shall be left behind by the tests only for a while.
    setup = FakeSetup(tmp_path, stalling=frozenset({27}), how_to_stall="nap")
    with caplog.at_level(logging.ERROR, logger="xml_extractor"):
        run = Run("thread", setup, 200, timeout=1.0)
        deadline = time.monotonic() + BOUND_SECONDS
        while run.state.failure is None:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        run.watch.__exit__()
    assert isinstance(run.state.failure, WorkerError)
    assert "27" in str(run.state.failure)
    assert "--executor process" in str(run.state.failure)
    assert "in stall" in caplog.text


# ------------------------------------------------------------------------------------------------ memory


@pytest.mark.parametrize("pool", ["thread", "process"])
def test_a_document_that_takes_too_much_memory_is_refused_and_no_other_is(pool: str, tmp_path: Path) -> None:
    setup = FakeSetup(tmp_path, greedy=frozenset({7, 8}), greedy_once=frozenset({20}))
    records = Run(pool, setup, 60).records()
    assert sorted_keys(records) == list(range(1, 61))
    assert refused(records) == {7: "out_of_memory", 8: "out_of_memory"}


def test_a_stack_is_not_read_from_a_pipe_that_was_closed(tmp_path: Path) -> None:
    run = Run("process", FakeSetup(tmp_path, document_seconds=BOUND_SECONDS), 1, workers=1)
    assert isinstance(run.pool, ProcessWorkers)
    feeder: Any = run.pool._feeders[0]
    deadline = time.monotonic() + BOUND_SECONDS
    while not feeder._is_ready:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    link = feeder._link
    assert "in process" in link.stack()
    run.state.abort()
    run.join()
    assert link.stack() == worker_link.NO_STACK


def test_the_window_of_deaths_forgets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Deaths far apart are bad luck, however many."""
    monkeypatch.setattr(pool_health, "DEATHS_WINDOW", 10)
    monkeypatch.setattr(pool_health, "UNEXPLAINED_DEATHS", 1)
    run = Run("process", FakeSetup(tmp_path, deadly_once=frozenset({10, 25, 40})), 60, workers=1, chunk=5)
    assert sorted_keys(run.records()) == list(range(1, 61))
    assert run.notes == []


def test_a_process_that_took_long_to_start_is_not_silent_once_it_is_there(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its start is no part of the time for which it may be silent."""
    run = Run("process", FakeSetup(tmp_path, start_seconds=4.0), 12, workers=1, timeout=3.0)
    assert sorted_keys(run.records()) == list(range(1, 13))
    assert "killed" not in caplog.text
