"""InsertQueue: bounded both ways, batches close for the right reason, and nobody waits for ever."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.processing.insert_queue import BatchLimits, InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped

LONG_SECONDS = 30.0
NO_LIMITS = BatchLimits(documents=10**6, size_bytes=10**9, seconds=LONG_SECONDS)


def record(key: int, size_bytes: int = 10) -> DocumentRecord:
    return DocumentRecord(key=key, state=State.LOADED, document_hash=b"", size_bytes=size_bytes)


def keys(batch: list[DocumentRecord] | None) -> list[int]:
    assert batch is not None
    return [int(item.key) for item in batch]


class Caller:
    """Runs a call in a thread and keeps what came of it."""

    def __init__(self, call: Callable[[], object]) -> None:
        self.result: object = None
        self.error: BaseException | None = None

        def run() -> None:
            try:
                self.result = call()
            except BaseException as error:  # noqa: BLE001
                self.error = error

        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()

    def still_waits(self) -> bool:
        self.thread.join(0.15)
        return self.thread.is_alive()

    def finish(self) -> object:
        self.thread.join(LONG_SECONDS)
        assert not self.thread.is_alive()
        if self.error is not None:
            raise self.error
        return self.result


def test_a_batch_closes_at_its_number_of_documents_and_keeps_their_order() -> None:
    queue = InsertQueue(PipelineState(), 100, 10**6)
    queue.put(record(key) for key in range(7))
    limits = BatchLimits(documents=3, size_bytes=10**6, seconds=LONG_SECONDS)
    assert keys(queue.take_batch(limits)) == [0, 1, 2]
    assert keys(queue.take_batch(limits)) == [3, 4, 5]
    queue.close()
    assert keys(queue.take_batch(limits)) == [6]
    assert queue.take_batch(limits) is None


def test_a_batch_closes_before_it_outgrows_its_bytes() -> None:
    queue = InsertQueue(PipelineState(), 100, 10**6)
    queue.put([record(1, 60), record(2, 40), record(3, 1)])
    limits = BatchLimits(documents=100, size_bytes=100, seconds=LONG_SECONDS)
    assert keys(queue.take_batch(limits)) == [1, 2]


def test_a_record_larger_than_every_bound_passes_alone() -> None:
    queue = InsertQueue(PipelineState(), 2, 50)
    queue.put([record(1, 5000)])
    other = Caller(lambda: queue.put([record(2, 10)]))
    assert other.still_waits()
    limits = BatchLimits(documents=100, size_bytes=100, seconds=0.2)
    assert keys(queue.take_batch(limits))[0] == 1
    other.finish()


def test_a_batch_closes_at_its_age() -> None:
    queue = InsertQueue(PipelineState(), 100, 10**6)
    queue.put([record(1)])
    started = time.monotonic()
    assert keys(queue.take_batch(BatchLimits(100, 10**6, seconds=0.2))) == [1]
    assert time.monotonic() - started >= 0.19


def test_a_full_queue_blocks_the_producer_until_there_is_room_and_says_for_how_long() -> None:
    queue = InsertQueue(PipelineState(), 2, 10**6)
    producer = Caller(lambda: queue.put([record(1), record(2), record(3)]))
    assert producer.still_waits()
    assert queue.depth().now == 2
    assert keys(queue.take_batch(BatchLimits(1, 10**6, LONG_SECONDS))) == [1]
    waited = producer.finish()
    assert isinstance(waited, float)
    assert waited >= 0.1


def test_the_byte_bound_blocks_too() -> None:
    queue = InsertQueue(PipelineState(), 100, 100)
    producer = Caller(lambda: queue.put([record(1, 60), record(2, 60)]))
    assert producer.still_waits()
    queue.take_batch(BatchLimits(1, 10**6, LONG_SECONDS))
    producer.finish()


def test_what_is_taken_gives_its_bytes_back() -> None:
    queue = InsertQueue(PipelineState(), 100, 100)
    queue.put([record(1, 60)])
    queue.take_batch(BatchLimits(1, 10**6, LONG_SECONDS))
    assert not Caller(lambda: queue.put([record(2, 60), record(3, 40)])).still_waits()


def test_a_dead_consumer_wakes_its_producers() -> None:
    state = PipelineState()
    queue = InsertQueue(state, 1, 10**6)
    queue.put([record(0)])
    producers = [Caller(lambda: queue.put([record(1)])) for _ in range(3)]
    assert all(producer.still_waits() for producer in producers)
    state.fail(RuntimeError("the consumer died"))
    for producer in producers:
        with pytest.raises(PipelineStopped):
            producer.finish()


def test_a_dead_producer_wakes_its_consumer() -> None:
    state = PipelineState()
    queue = InsertQueue(state, 1, 10**6)
    consumer = Caller(lambda: queue.take_batch(NO_LIMITS))
    assert consumer.still_waits()
    state.abort()
    with pytest.raises(PipelineStopped):
        consumer.finish()


def test_closing_wakes_a_consumer_that_waits_for_more() -> None:
    queue = InsertQueue(PipelineState(), 10, 10**6)
    queue.put([record(1)])
    consumer = Caller(lambda: queue.take_batch(NO_LIMITS))
    assert consumer.still_waits()
    queue.close()
    assert keys(consumer.finish()) == [1]  # type: ignore[arg-type]


def test_depth_is_weighted_by_time() -> None:
    queue = InsertQueue(PipelineState(), 10, 10**6)
    queue.put([record(1), record(2)])
    time.sleep(0.2)
    queue.take_batch(BatchLimits(2, 10**6, LONG_SECONDS))
    depth = queue.depth()
    assert depth.maximum == 2
    assert depth.now == 0
    assert 1.5 <= depth.mean <= 2.0
    assert depth.capacity == 10


@settings(deadline=None, max_examples=40)
@given(
    sizes=st.lists(st.integers(1, 200), max_size=120),
    capacity=st.integers(1, 20),
    capacity_bytes=st.integers(1, 500),
    batch=st.integers(1, 30),
    batch_bytes=st.integers(1, 500),
    producers=st.integers(1, 4),
    consumers=st.integers(1, 3),
)
def test_every_record_comes_out_once_in_its_producers_order(
    sizes: list[int], capacity: int, capacity_bytes: int, batch: int, batch_bytes: int,
    producers: int, consumers: int,
) -> None:  # fmt: skip
    queue = InsertQueue(PipelineState(), capacity, capacity_bytes)
    limits = BatchLimits(batch, batch_bytes, LONG_SECONDS)
    shares = [
        [record(index, size) for index, size in enumerate(sizes) if index % producers == number]
        for number in range(producers)
    ]
    batches: list[list[DocumentRecord]] = []
    lock = threading.Lock()

    def consume() -> None:
        while (taken := queue.take_batch(limits)) is not None:
            with lock:
                batches.append(taken)

    takers = [Caller(consume) for _ in range(consumers)]
    putters = [Caller(lambda share=share: queue.put(share)) for share in shares]
    for putter in putters:
        putter.finish()
    queue.close()
    for taker in takers:
        taker.finish()
    assert sorted(int(item.key) for taken in batches for item in taken) == list(range(len(sizes)))
    for taken in batches:
        assert len(taken) <= batch
        assert len(taken) == 1 or sum(item.size_bytes for item in taken) <= batch_bytes
        for number in range(producers):
            own = [int(item.key) for item in taken if int(item.key) % producers == number]
            assert own == sorted(own)
