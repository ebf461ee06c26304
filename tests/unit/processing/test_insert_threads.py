"""Insert threads that come and go: none takes records with it, none is left behind, none hangs."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from xml_extractor.errors import TargetError
from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.processing.database_insert_thread import DatabaseInsertThread
from xml_extractor.processing.insert_queue import BatchLimits, BatchSettings, InsertQueue
from xml_extractor.processing.insert_threads import InsertThreads, Refused
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.target.base import BatchResult, BatchWriter
from xml_extractor.target.files import count_batch

BOUND_SECONDS = 20.0


class Writer(BatchWriter):
    def __init__(self, target: Target) -> None:
        self._target = target

    def connect(self) -> None:
        target = self._target
        target.connecting.wait(BOUND_SECONDS)
        with target.lock:
            if target.connections >= target.most_connections:
                raise TargetError("the server has no more connections")
            target.connections += 1

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        target = self._target
        with target.lock:
            target.at_work += 1
        assert target.gate.wait(BOUND_SECONDS)
        with target.lock:
            target.at_work -= 1
            target.batches.append([int(record.key) for record in records])
        return count_batch(records, 1)

    def abort(self) -> None:
        self._target.gate.set()
        self._target.connecting.set()

    def close(self) -> None:
        with self._target.lock:
            self._target.closed += 1


class Target:
    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.gate = threading.Event()
        self.gate.set()
        self.connecting = threading.Event()
        self.connecting.set()
        self.batches: list[list[int]] = []
        self.most_connections = 100
        self.connections = 1  # that of the first thread, which connects when it writes
        self.at_work = 0
        self.closed = 0

    @property
    def keys(self) -> list[int]:
        with self.lock:
            return sorted(key for batch in self.batches for key in batch)


class Pool:
    """A pool that writes to a target in memory."""

    def __init__(self) -> None:
        self.state = PipelineState()
        self.queue = InsertQueue(self.state, 1000, 10**9)
        self.settings = BatchSettings(BatchLimits(5, 10**9, 60.0), 1)
        self.target = Target()
        self.writer: type[Writer] = Writer
        self.threads = InsertThreads(self._make, may_be_refused=True)
        self.all: list[threading.Thread] = []

    def _make(self, number: int, on_refused: Refused | None) -> DatabaseInsertThread:
        made = DatabaseInsertThread(
            number, lambda: self.writer(self.target), self.queue, self.settings, self.state,
            lambda *_: None, lambda _: None, list, on_refused,
        )  # fmt: skip
        self.all.append(made.thread)
        return made

    def put(self, keys: Sequence[int]) -> None:
        self.queue.put(DocumentRecord(key, State.LOADED, b"", size_bytes=1) for key in keys)

    def settle(self) -> None:
        wait_until(self.threads.is_settled)

    def finish(self) -> None:
        self.queue.close()
        for thread in self.all:
            thread.join(BOUND_SECONDS)
        assert not any(thread.is_alive() for thread in self.all)


@pytest.fixture
def pool() -> Iterator[Pool]:
    made = Pool()
    yield made
    made.state.abort()
    made.target.gate.set()
    for thread in made.all:
        if thread.ident is not None:
            thread.join(BOUND_SECONDS)
    assert not any(thread.is_alive() for thread in made.all)


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + BOUND_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def keep_three_at_work(pool: Pool) -> None:
    """Three threads, each with a batch in hand that the target does not take yet."""
    pool.target.gate.clear()
    pool.threads.start(1)
    pool.threads.resize(3)
    pool.settle()
    pool.put(range(15))
    wait_until(lambda: pool.target.at_work == 3)


def test_threads_are_added_and_removed_and_every_record_is_committed_once(pool: Pool) -> None:
    pool.threads.start(1)
    for round_, wanted in enumerate([4, 1, 6, 2, 3, 1, 5]):
        pool.put(range(round_ * 100, round_ * 100 + 100))
        pool.threads.resize(wanted)
        pool.settle()
        assert pool.threads.count == wanted
        assert sum(thread.is_alive() for thread in pool.all) == wanted
    pool.finish()
    assert pool.target.keys == list(range(700))
    assert pool.target.closed == len(pool.all)


def test_who_leaves_commits_what_it_has_gathered_at_once(pool: Pool) -> None:
    """Its batch would close by its age after a minute."""
    pool.threads.start(1)
    pool.threads.resize(2)
    pool.settle()
    pool.put([1, 2, 3])  # one of the two gathers them, perhaps both
    wait_until(lambda: pool.queue.depth().now == 0)
    pool.threads.resize(1)
    pool.settle()
    pool.finish()
    assert pool.target.keys == [1, 2, 3]


def test_who_leaves_is_waited_for_with_its_batch_in_hand(pool: Pool) -> None:
    keep_three_at_work(pool)
    pool.threads.resize(1)
    assert not pool.threads.is_settled()
    pool.target.gate.set()
    pool.settle()
    assert len(pool.target.keys) >= 10  # the batches of the two that have left
    pool.finish()
    assert pool.target.keys == list(range(15))


def test_who_leaves_passes_on_that_records_have_come(pool: Pool) -> None:
    """A record wakes one thread; if that one leaves, another has to hear of it."""
    leaving = threading.Event()
    limits = BatchLimits(1, 10**9, 60.0)
    taken: list[object] = []
    for event in (leaving, None):
        thread = threading.Thread(
            target=lambda event=event: taken.append(pool.queue.take_batch(limits, event)),  # type: ignore[misc]
            daemon=True,
        )
        thread.start()
        pool.all.append(thread)
        wait_until(lambda: len(pool.queue._not_empty._waiters) == len(pool.all))  # type: ignore[attr-defined]
    leaving.set()
    pool.put([1])  # wakes the first that waits: the one that leaves
    wait_until(lambda: len(taken) == 2)
    assert None in taken
    assert any(batch is not None for batch in taken)


def test_a_refused_connection_is_not_the_end(pool: Pool) -> None:
    pool.target.most_connections = 3
    pool.threads.start(1)
    pool.threads.resize(5)
    found: list[Exception] = []

    def refused() -> bool:
        found.extend(filter(None, [pool.threads.refusal()]))
        return pool.threads.count == 3 and pool.threads.is_settled()

    wait_until(refused)
    assert "no more connections" in str(found[0])
    assert not pool.state.ended.is_set()
    pool.put(range(100))
    pool.finish()
    assert pool.target.keys == list(range(100))


def test_a_thread_that_cannot_be_started_is_refused(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.threads.start(1)

    def no_more(_: object) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as context:
        context.setattr("xml_extractor.threads.Thread.start", no_more)
        pool.threads.resize(2)
    assert isinstance(pool.threads.refusal(), RuntimeError)
    assert pool.threads.count == 1
    pool.settle()
    pool.all = [thread for thread in pool.all if thread.ident is not None]
    pool.put(range(10))
    pool.finish()
    assert pool.target.keys == list(range(10))


def test_a_thread_that_cannot_even_be_made_costs_no_other(
    pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent off in its stead, the only thread would leave nobody to empty the queue."""
    pool.threads.start(1)

    def no_memory(*_: object) -> None:
        raise MemoryError

    with monkeypatch.context() as context:
        context.setattr(DatabaseInsertThread, "__init__", no_memory)
        pool.threads.resize(2)
    assert isinstance(pool.threads.refusal(), MemoryError)
    assert pool.threads.count == 1
    pool.settle()
    pool.put(range(10))
    pool.finish()
    assert pool.target.keys == list(range(10))


def test_an_end_while_a_thread_connects_is_not_waited_for(pool: Pool) -> None:
    pool.threads.start(1)
    pool.target.connecting.clear()
    pool.threads.resize(3)
    pool.state.abort()
    for thread in pool.all:
        thread.join(BOUND_SECONDS)
        assert not thread.is_alive()
    assert pool.target.keys == []


class Unreachable(Writer):
    """Nothing wakes it while it connects: a server that takes the connection and says no word."""

    def abort(self) -> None:
        """Not heard."""


def test_who_only_connects_when_all_is_done_is_not_waited_for(pool: Pool) -> None:
    pool.writer = Unreachable
    pool.threads.start(1)
    pool.target.connecting.clear()
    pool.threads.resize(4)
    pool.threads.resize(3)  # one was sent off before it was let in
    pool.put(range(20))
    pool.queue.close()
    dismissed = pool.threads.dismiss_unconnected()
    assert set(dismissed) == set(pool.all[1:])
    assert pool.threads.threads == pool.all[:1]
    pool.all[0].join(BOUND_SECONDS)
    assert all(thread.is_alive() for thread in dismissed)
    assert pool.target.keys == list(range(20))
    pool.target.connecting.set()
    for thread in dismissed:
        thread.join(BOUND_SECONDS)
        assert not thread.is_alive()
    assert not pool.state.ended.is_set()


def test_who_is_not_wanted_any_more_before_it_runs_does_not_connect(pool: Pool) -> None:
    late = pool._make(2, lambda error: None)
    assert late.leave_unconnected()
    late.thread.start()
    late.thread.join(BOUND_SECONDS)
    assert not late.thread.is_alive()
    assert (pool.target.connections, pool.target.closed) == (1, 1)


def test_who_may_hold_a_batch_is_waited_for(pool: Pool) -> None:
    keep_three_at_work(pool)
    pool.queue.close()
    assert pool.threads.dismiss_unconnected() == []
    assert pool.threads.threads == pool.all
    pool.target.gate.set()
    pool.finish()
    assert pool.target.keys == list(range(15))


def test_what_has_ended_is_not_kept(pool: Pool) -> None:
    """A load that is tuned for days must not gather what its threads left behind."""
    pool.threads.start(1)
    before = len(pool.state._wakers)
    for _ in range(5):
        pool.threads.resize(4)
        pool.settle()
        pool.threads.resize(1)
        pool.settle()
    assert len(pool.state._wakers) == before
    assert pool.threads.threads == pool.all[:1]
    # Numbers, which name connections, are used again.
    assert {thread.name for thread in pool.all} == {f"xml-extractor-insert-{n}" for n in range(1, 5)}


def test_the_first_thread_is_the_loads_own(pool: Pool) -> None:
    """Its refusal ends the run; and it never leaves."""
    pool.threads.start(2)
    pool.threads.resize(0)
    pool.settle()
    assert pool.threads.threads == pool.all[:1]


def test_the_queue_makes_room_and_keeps_it(pool: Pool) -> None:
    queue = InsertQueue(pool.state, 2, 10**9)
    queue.make_room(5)
    queue.make_room(3)
    assert queue.depth().capacity == 5
    state = pool.state
    done = threading.Event()

    def fill() -> None:
        try:
            queue.put(DocumentRecord(key, State.LOADED, b"", size_bytes=1) for key in range(8))
            done.set()
        except PipelineStopped:
            pass

    thread = threading.Thread(target=fill, daemon=True)
    thread.start()
    wait_until(lambda: queue.depth().now == 5)
    queue.make_room(8)
    assert done.wait(BOUND_SECONDS)
    assert not state.ended.is_set()
