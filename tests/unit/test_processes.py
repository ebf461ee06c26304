"""What worker processes inherit."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
from multiprocessing.connection import Connection

import pytest

from xml_extractor.processes import ALLOCATOR, COUNT, TUNABLES, start
from xml_extractor.processing import worker_process

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc and signal masks")


def tell(answers: Connection) -> None:
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    answers.send((os.environ.get(TUNABLES), {signal.SIGINT, signal.SIGTERM} <= masked))


def inherited() -> tuple[str | None, bool]:
    context = multiprocessing.get_context("spawn")
    answers, its_end = context.Pipe(duplex=False)
    process = context.Process(target=tell, args=(its_end,), daemon=True)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        start(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    its_end.close()
    assert answers.poll(30), "the process has not started"
    found: tuple[str | None, bool] = answers.recv()
    process.join(30)
    assert process.exitcode == 0
    return found


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (None, ALLOCATOR),
        ("glibc.malloc.arena_max=2", f"glibc.malloc.arena_max=2:{ALLOCATOR}"),
        (f"{COUNT}=7", f"{COUNT}=7"),
    ],
)
def test_a_process_gets_an_allocator_fit_for_trees_and_no_stop_signals(
    monkeypatch: pytest.MonkeyPatch, before: str | None, expected: str
) -> None:
    monkeypatch.delenv(TUNABLES, raising=False)
    if before is not None:
        monkeypatch.setenv(TUNABLES, before)
    assert inherited() == (expected, True)
    assert os.environ.get(TUNABLES) == before, "the program's own environment is as it was"


def test_where_no_process_starts_the_environment_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TUNABLES, raising=False)
    process = multiprocessing.get_context("spawn").Process(target=tell)

    def refuse() -> None:
        assert os.environ[TUNABLES] == ALLOCATOR
        raise OSError(11, "no more processes")

    monkeypatch.setattr(process, "start", refuse)
    masked = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with pytest.raises(OSError, match="no more processes"):
            start(process)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, masked)
    assert TUNABLES not in os.environ


@pytest.mark.parametrize("refused", [False, True])
def test_a_worker_steps_back_for_who_inserts(monkeypatch: pytest.MonkeyPatch, refused: bool) -> None:
    steps: list[int] = []

    def nice(step: int) -> int:
        steps.append(step)
        if refused:
            raise PermissionError(1, "not allowed")
        return step

    monkeypatch.setattr(os, "nice", nice)
    worker_process._step_back()
    assert steps == [worker_process.NICE]
    assert worker_process.NICE > 0
