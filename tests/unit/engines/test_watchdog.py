"""The clock over statements."""

from __future__ import annotations

import gc
import threading
import time

from xml_extractor.engines.watchdog import TICK_SECONDS, Watchdog


class Waiting:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.expired = threading.Event()

    def expire(self) -> None:
        self.deadline = 0.0
        self.expired.set()


def test_only_what_is_late_expires() -> None:
    watchdog = Watchdog()
    now = time.monotonic()
    late, waiting, resting = Waiting(now + 0.1), Waiting(now + 60), Waiting(0.0)
    for session in (late, waiting, resting):
        watchdog.watch(session)
    assert late.expired.wait(10 * TICK_SECONDS)
    assert not waiting.expired.is_set()
    assert not resting.expired.is_set()


def test_the_thread_ends_with_the_last_session_and_starts_again() -> None:
    watchdog = Watchdog()
    released, forgotten = Waiting(0.0), Waiting(0.0)
    watchdog.watch(released)
    watchdog.watch(forgotten)
    thread = watchdog._thread
    assert thread is not None
    watchdog.release(released)
    del forgotten
    gc.collect()
    thread.join(10 * TICK_SECONDS)
    assert not thread.is_alive()
    late = Waiting(time.monotonic())
    watchdog.watch(late)
    assert late.expired.wait(10 * TICK_SECONDS)
