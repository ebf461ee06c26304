"""The throttle: an even pace, on a clock of the tests' own, and woken when the load is to stop."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.processing.chunks import CHUNK_DOCUMENTS, KEY_PAGE
from xml_extractor.processing.throttle import Throttle


class Clock:
    """A clock that only waiting moves, each wait by a little more than was asked for."""

    def __init__(self, overshoot: float = 0.0) -> None:
        self.now = 1000.0
        self.overshoot = overshoot
        self.stop_at: float | None = None
        self.longest_wait = 0.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> bool:
        self.longest_wait = max(self.longest_wait, seconds)
        self.now += seconds + self.overshoot
        return self.stop_at is not None and self.now >= self.stop_at


@pytest.mark.parametrize(
    ("rate", "chunk", "page"),
    [
        (None, CHUNK_DOCUMENTS, KEY_PAGE),
        (0.001, 1, 1),
        (0.5, 1, 30),
        (4, 1, 240),
        (20, 5, 1200),
        (100, 25, KEY_PAGE),
        (1e9, CHUNK_DOCUMENTS, KEY_PAGE),
    ],
)
def test_chunks_and_pages_of_keys_shrink_with_the_rate(rate: float | None, chunk: int, page: int) -> None:
    throttle = Throttle(rate, Clock().wait)

    assert (throttle.chunk_documents, throttle.key_page) == (chunk, page)


@given(
    rate=st.floats(0.01, 5000),
    idle=st.lists(st.floats(0, 30), min_size=1, max_size=60),
    overshoot=st.floats(0, 0.02),
)
def test_no_stretch_of_time_has_more_than_the_rate_and_one_chunk(
    rate: float, idle: list[float], overshoot: float
) -> None:
    clock = Clock(overshoot)
    throttle = Throttle(rate, clock.wait, clock)
    dispatched = []
    for pause in idle:
        clock.now += pause if pause > 10 else 0  # the dispatcher was busy elsewhere, now and then
        assert throttle.take(throttle.chunk_documents)
        dispatched.append(clock.now)

    size = throttle.chunk_documents
    # A wait that overshoots is made up for, which may bring two chunks closer by the overshoot.
    slack = overshoot * rate + 1e-6
    for first, start in enumerate(dispatched):
        for last, end in enumerate(dispatched[first:], start=first):
            documents = (last - first + 1) * size
            assert documents <= (end - start) * rate + size + slack


@pytest.mark.parametrize("rate", [0.5, 7, 300])
def test_the_rate_is_kept_although_every_wait_overshoots(rate: float) -> None:
    clock = Clock(overshoot=0.001)
    throttle = Throttle(rate, clock.wait, clock)
    started, chunks = clock.now, 200
    for _ in range(chunks):
        throttle.take(throttle.chunk_documents)

    expected = (chunks - 1) * throttle.chunk_documents / rate
    assert clock.now - started == pytest.approx(expected, abs=0.02)
    assert throttle.held_seconds == pytest.approx(clock.now - started)


def test_time_in_which_nothing_was_ready_is_not_made_up_for() -> None:
    clock = Clock()
    throttle = Throttle(10, clock.wait, clock)
    throttle.take(2)
    clock.now += 60
    throttle.take(2)
    before = clock.now
    throttle.take(2)

    assert clock.now - before == pytest.approx(0.2)


def test_a_long_wait_is_cut_short_by_the_end_of_the_load() -> None:
    clock = Clock()
    throttle = Throttle(0.001, clock.wait, clock)
    assert throttle.take(1)
    clock.stop_at = clock.now + 3
    before = clock.now

    assert not throttle.take(1)
    assert clock.now - before == pytest.approx(3, abs=0.2)
    assert clock.longest_wait <= 0.1  # a signal must get through to the thread that waits
    assert throttle.held_seconds == pytest.approx(3, abs=0.2)


def test_due_in_tells_the_next_wait() -> None:
    clock = Clock()
    throttle = Throttle(2, clock.wait, clock)
    assert throttle.due_in() <= 0
    throttle.take(1)

    assert throttle.due_in() == pytest.approx(0.5)
    assert Throttle(None, clock.wait, clock).due_in() == 0


def test_without_a_rate_nothing_waits() -> None:
    clock = Clock()
    throttle = Throttle(None, clock.wait, clock)

    assert all(throttle.take(64) for _ in range(1000))
    assert (clock.now, throttle.held_seconds) == (1000.0, 0)
