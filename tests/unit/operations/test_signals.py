"""First signal drains, second breaks off; before anything runs a signal ends the program at once."""

from __future__ import annotations

import signal
import threading
import time

import pytest

from xml_extractor.errors import StoppedError
from xml_extractor.operations.signals import StopOnSignals


class Running:
    def __init__(self) -> None:
        self.calls: list[object] = []
        self.lock = threading.Lock()

    def stop(self, signal_number: int) -> None:
        with self.lock:
            self.calls.append(signal_number)

    def abort(self) -> None:
        with self.lock:
            self.calls.append("abort")


def wait_for(running: Running, calls: list[object]) -> None:
    deadline = time.monotonic() + 5
    while running.calls != calls:
        assert time.monotonic() < deadline, running.calls
        time.sleep(0.01)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_once_drains_and_twice_breaks_off(number: signal.Signals) -> None:
    running = Running()
    with StopOnSignals() as stop:
        stop.attach(running)
        signal.raise_signal(number)
        wait_for(running, [number])
        signal.raise_signal(signal.SIGINT)
        wait_for(running, [number, "abort"])


def test_a_handler_never_waits_for_a_lock_of_the_thread_that_it_interrupts() -> None:
    running = Running()
    with StopOnSignals() as stop:
        stop.attach(running)
        with running.lock:
            signal.raise_signal(signal.SIGINT)
            time.sleep(0.05)
        wait_for(running, [signal.SIGINT])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_before_anything_runs_a_signal_ends_the_program(number: signal.Signals, code: int) -> None:
    with pytest.raises(StoppedError) as caught, StopOnSignals():
        signal.raise_signal(number)
    assert caught.value.exit_code == code


def test_handlers_and_thread_are_gone_afterwards() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with StopOnSignals():
        assert "signals" in {thread.name for thread in threading.enumerate()}
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert "signals" not in {thread.name for thread in threading.enumerate()}


def test_outside_the_main_thread_nothing_is_touched() -> None:
    before = signal.getsignal(signal.SIGINT)
    inside = []

    def use() -> None:
        with StopOnSignals():
            inside.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    assert inside == [before]
