"""Worker pools: every document comes back exactly once, whatever dies."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Collection
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.fake_workers import FakeSetup
from xml_extractor.errors import SourceError
from xml_extractor.mapping.records import DocumentRecord, Key, Previous, State
from xml_extractor.processes import ALLOCATOR, TUNABLES
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.insert_queue import BatchLimits, InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.process_workers import ProcessWorkers
from xml_extractor.processing.thread_workers import ThreadWorkers
from xml_extractor.processing.watch import Watch
from xml_extractor.processing.worker_process import NICE

BOUND_SECONDS = 60.0
POOLS = {"thread": ThreadWorkers, "process": ProcessWorkers}


class Run:
    """A pool with its channels, fed with keys 1…n in chunks."""

    def __init__(
        self, pool: str, setup: FakeSetup, documents: int, *, workers: int = 2, chunk: int = 10,
        capacity: int = 10_000, timeout: float = 60.0,
    ) -> None:  # fmt: skip
        self.state = PipelineState()
        self.queue = InsertQueue(self.state, capacity, 10**9)
        self.vanished = 0
        self._lock = threading.Lock()
        keys = range(1, documents + 1)
        chunks = [keys[start : start + chunk] for start in range(0, documents, chunk)]
        channel: Channel[Chunk] = Channel(self.state, len(chunks) + 1, 10**9)
        for number, part in enumerate(chunks):
            channel.put(Chunk(number, tuple(part), {key: PREVIOUS for key in part if key == 7}), 1)
        channel.close()
        any_setup: Any = setup
        self.notes: list[str] = []
        self.watch = Watch(timeout, self.state)
        self.pool = POOLS[pool](
            workers, any_setup, channel, self.queue, self.state, self._gone, self.watch, self.notes.append
        )
        self.watch.__enter__()
        self.pool.start()

    def _gone(self, keys: Collection[Key]) -> None:
        with self._lock:
            self.vanished += len(keys)

    def join(self) -> None:
        deadline = time.monotonic() + BOUND_SECONDS
        for thread in self.pool.threads:
            thread.join(max(0.0, deadline - time.monotonic()))
            assert not thread.is_alive(), f"{thread.name} hangs"
        self.watch.__exit__()

    def records(self) -> list[DocumentRecord]:
        self.join()
        assert self.state.failure is None, self.state.failure
        self.queue.close()
        return self.queue.take_batch(BatchLimits(10**6, 10**9, 1)) or []


PREVIOUS = Previous(State.QUARANTINED, 5, "digest")


def sorted_keys(records: list[DocumentRecord]) -> list[Any]:
    return sorted(record.key for record in records)  # type: ignore[type-var]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_worker_processes_step_back_and_have_an_allocator_fit_for_trees(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(TUNABLES, raising=False)
    run = Run("process", FakeSetup(tmp_path, stalling=frozenset({1})), documents=1)
    assert isinstance(run.pool, ProcessWorkers)
    # glibc ends each setting with a zero where it stands, so that only the first is there to be seen.
    expected = f"{TUNABLES}={ALLOCATOR.split(':')[0]}".encode()
    own = psutil.Process().nice()

    def has_both(process_id: int) -> bool:
        environment = Path(f"/proc/{process_id}/environ").read_bytes().split(b"\0")
        is_told = any(entry.startswith(expected) for entry in environment)
        return is_told and psutil.Process(process_id).nice() == min(own + NICE, 19)

    try:
        deadline = time.monotonic() + BOUND_SECONDS
        while not ((ids := run.pool.process_ids()) and all(map(has_both, ids))):
            assert time.monotonic() < deadline, f"worker processes {ids} do not have both"
            time.sleep(0.05)
    finally:
        run.state.fail(SourceError("enough"))
        run.join()
    assert psutil.Process().nice() == own


@pytest.mark.parametrize("pool", POOLS)
def test_every_document_comes_back_once_with_what_the_ledger_said_of_it(pool: str, tmp_path: Path) -> None:
    run = Run(pool, FakeSetup(tmp_path), 1000, workers=3)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 1001))
    assert {record.key: record.previous for record in records if record.previous} == {7: PREVIOUS}
    workers = run.pool.profiles()
    assert len(workers) == 3
    assert sum(worker.documents for worker in workers) == 1000
    assert sum(worker.clocks.seconds for worker in workers) > 0
    assert run.pool.document_latency.histogram().latency().count == 1000


@pytest.mark.parametrize("pool", POOLS)
def test_documents_that_have_left_the_source_are_counted_not_waited_for(pool: str, tmp_path: Path) -> None:
    gone = frozenset({1, 5, 15, 16, 17, 18, 19, 20, 11, 12, 13, 14, 100})
    run = Run(pool, FakeSetup(tmp_path, gone=gone), 100)
    assert sorted_keys(run.records()) == [key for key in range(1, 101) if key not in gone]
    assert run.vanished == len(gone)


@pytest.mark.parametrize("pool", POOLS)
def test_a_source_that_fails_ends_the_pipeline_with_its_cause(pool: str, tmp_path: Path) -> None:
    run = Run(pool, FakeSetup(tmp_path, broken=frozenset({55})), 100)
    run.join()
    assert isinstance(run.state.failure, SourceError)


def test_a_worker_that_dies_once_costs_nothing(tmp_path: Path) -> None:
    run = Run("process", FakeSetup(tmp_path, deadly_once=frozenset({3, 44, 45, 99})), 100)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 101))
    assert sum(worker.documents for worker in run.pool.profiles()) == 100
    assert run.pool.document_latency.histogram().latency().count <= 100
    assert all(record.state is State.LOADED for record in records)


def test_what_came_back_before_a_worker_died_is_not_sent_again(tmp_path: Path) -> None:
    """Records come back in blocks: the first two of this chunk are in when its process dies."""
    run = Run("process", FakeSetup(tmp_path, deadly_once=frozenset({40})), 64, workers=1, chunk=64)
    assert sorted_keys(run.records()) == list(range(1, 65))


def test_a_document_that_kills_workers_is_quarantined_and_no_other_is(tmp_path: Path) -> None:
    run = Run("process", FakeSetup(tmp_path, deadly=frozenset({7, 23})), 60)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 61))
    refused = {record.key: record for record in records if record.state is State.QUARANTINED}
    assert sorted(refused) == [7, 23]  # type: ignore[type-var]
    assert refused[7].previous == PREVIOUS
    rejection = refused[23].rejection
    assert rejection is not None
    assert rejection.code == "worker_died"
    assert "exit code 11" in rejection.message


def test_a_document_that_left_the_source_while_it_was_suspected_is_counted(tmp_path: Path) -> None:
    run = Run("process", FakeSetup(tmp_path, deadly_once=frozenset({2}), gone=frozenset({3, 4})), 10)
    assert sorted_keys(run.records()) == [1, 2, 5, 6, 7, 8, 9, 10]
    assert run.vanished == 2


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs SIGKILL")
def test_workers_killed_from_outside_lose_and_repeat_nothing(tmp_path: Path) -> None:
    run = Run("process", FakeSetup(tmp_path, document_seconds=0.002), 1500, workers=2)
    assert isinstance(run.pool, ProcessWorkers)
    deadline = time.monotonic() + BOUND_SECONDS
    # Each kill waits for new records: a process killed before its first word is another case.
    for number in range(1, 5):
        while run.queue.depth().now < 200 * number:
            assert time.monotonic() < deadline
            time.sleep(0.005)
        process_ids = run.pool.process_ids()
        os.kill(process_ids[number % len(process_ids)], signal.SIGKILL)
    records = run.records()
    assert sorted_keys(records) == list(range(1, 1501))
    assert all(record.state is State.LOADED for record in records)


def test_the_end_of_the_pipeline_ends_a_worker_that_is_busy_with_a_document(tmp_path: Path) -> None:
    run = Run("process", FakeSetup(tmp_path, document_seconds=BOUND_SECONDS), 1, workers=1)
    assert isinstance(run.pool, ProcessWorkers)
    deadline = time.monotonic() + BOUND_SECONDS
    while run.pool.startup_seconds == 0:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    started = time.monotonic()
    run.state.abort()
    run.join()
    assert time.monotonic() - started < 8
    assert run.pool.process_ids() == []


@pytest.mark.parametrize("pool", POOLS)
def test_the_end_of_the_pipeline_ends_workers_that_are_blocked(pool: str, tmp_path: Path) -> None:
    run = Run(pool, FakeSetup(tmp_path), 5000, capacity=5)
    deadline = time.monotonic() + BOUND_SECONDS
    while run.queue.depth().now < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.3)
    started = time.monotonic()
    run.state.fail(RuntimeError("the target has died"))
    run.join()
    assert time.monotonic() - started < 8
    if isinstance(run.pool, ProcessWorkers):
        assert run.pool.process_ids() == []
