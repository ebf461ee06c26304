from __future__ import annotations

import threading

import pytest

from xml_extractor.profiling.memory import MemoryPeak, memory_bytes


def test_the_peak_sees_what_was_let_go_of_again() -> None:
    before = memory_bytes()
    with MemoryPeak(interval_seconds=0.01) as memory:
        ballast = bytearray(b"x" * (64 * 2**20))
        seen = threading.Event()
        seen.wait(0.3)
        del ballast
    assert memory.peak_bytes > before + 48 * 2**20


def test_a_short_load_is_sampled_before_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its worker processes are not there yet when it begins, and not any more when it ends."""
    samples = iter([1, 7, 2])
    sampled = threading.Event()

    def memory() -> int:
        taken = next(samples)
        if taken == 7:
            sampled.set()
        return taken

    monkeypatch.setattr("xml_extractor.profiling.memory.memory_bytes", memory)
    with MemoryPeak(interval_seconds=60) as peak:
        assert sampled.wait(5)
    assert peak.peak_bytes == 7


def test_its_thread_ends_with_it() -> None:
    with MemoryPeak(interval_seconds=60):
        assert "memory-peak" in {thread.name for thread in threading.enumerate()}
    assert "memory-peak" not in {thread.name for thread in threading.enumerate()}
