"""Channel and PipelineState: closing, bounds, and the end of the pipeline."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from xml_extractor.processing.channel import Channel
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped


def in_thread(call: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    outcome: list[object] = []

    def run() -> None:
        try:
            outcome.append(call())
        except BaseException as error:  # noqa: BLE001
            outcome.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, outcome


def test_items_come_out_in_order_and_then_none() -> None:
    channel: Channel[int] = Channel(PipelineState(), 10, 100)
    for item in (1, 2, 3):
        channel.put(item)
    channel.close()
    assert [channel.get(), channel.get(), channel.get(), channel.get(), channel.get()] == [
        1,
        2,
        3,
        None,
        None,
    ]


def test_get_nowait_does_not_wait() -> None:
    channel: Channel[int] = Channel(PipelineState(), 10, 100)
    assert channel.get_nowait() is None
    channel.put(5)
    assert channel.get_nowait() == 5


@pytest.mark.parametrize(("items", "size_bytes"), [(2, 1), (100, 50)])
def test_a_full_channel_blocks(items: int, size_bytes: int) -> None:
    channel: Channel[int] = Channel(PipelineState(), items, 100)
    channel.put(1, size_bytes)
    channel.put(2, size_bytes)
    thread, outcome = in_thread(lambda: channel.put(3, size_bytes))
    thread.join(0.1)
    assert thread.is_alive()
    assert channel.get() == 1
    thread.join(10)
    assert outcome == [None]


def test_an_item_larger_than_the_bound_passes_when_the_channel_is_empty() -> None:
    channel: Channel[str] = Channel(PipelineState(), 10, 100)
    channel.put("large", 10_000)
    assert channel.get() == "large"


@pytest.mark.parametrize("end", ["fail", "abort"])
def test_the_end_of_the_pipeline_wakes_both_sides(end: str) -> None:
    state = PipelineState()
    full: Channel[int] = Channel(state, 1, 100)
    full.put(1)
    empty: Channel[int] = Channel(state, 1, 100)
    waiting = [in_thread(lambda: full.put(2)), in_thread(empty.get)]
    if end == "fail":
        state.fail(ValueError("first"))
        state.fail(ValueError("second"))
        assert str(state.failure) == "first"
    else:
        state.abort()
        assert state.failure is None
    for thread, outcome in waiting:
        thread.join(10)
        assert isinstance(outcome[0], PipelineStopped)


def test_a_waker_registered_after_the_end_is_called_at_once() -> None:
    state = PipelineState()
    state.abort()
    called = []
    state.on_end(lambda: called.append(1))
    assert called == [1]
    assert state.stopping.is_set()
