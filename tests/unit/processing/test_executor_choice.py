"""What ``--executor auto`` takes, by what it finds out about the first documents."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import pytest

from tests.support.fake_workers import FakeSetup
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.processing import executor_choice
from xml_extractor.processing.executor_choice import ExecutorChoice, choose_executor
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.watch import Watch

SMALL, LARGE = b"x" * 1000, b"x" * 100_000


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> dict[int, float]:
    """Documents a second by number of threads; what was timed is taken out."""
    left = {1: 1000.0, 2: 1000.0, 4: 1000.0}

    def rate(workers: Sequence[object], *_: object) -> float:
        return left.pop(len(workers))

    monkeypatch.setattr(executor_choice, "_documents_per_second", rate)
    return left


def choose(
    monkeypatch: pytest.MonkeyPatch,
    content: bytes,
    pending: int,
    *,
    cores: int = 2,
    throttle: float | None = None,
) -> ExecutorChoice:
    monkeypatch.setattr(executor_choice, "available_cores", lambda: cores)
    sample = [SourceDocument(key, content) for key in range(10)]
    setup = cast(Any, FakeSetup(Path()))
    state = PipelineState()
    with Watch(60, state) as watch:
        return choose_executor(setup, sample, pending, 4, throttle, state, watch)


def test_small_documents_go_to_processes_without_trying_threads(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float]
) -> None:
    rates[2] = 5000.0  # would be taken for threads that scale
    choice = choose(monkeypatch, SMALL, 10_000)
    assert (choice.executor, choice.workers) == ("process", None)
    assert 2 in rates, "several threads were timed"
    assert "1.0 kB" in choice.reason


def test_few_small_documents_are_mapped_by_one_thread(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float]
) -> None:
    choice = choose(monkeypatch, SMALL, 1000)
    assert (choice.executor, choice.workers) == ("thread", 1)
    assert "too little" in choice.reason


@pytest.mark.parametrize(
    ("several", "pending", "expected"),
    [
        (1900.0, 100_000, ("thread", None)),
        (1300.0, 100_000, ("process", None)),
        (1300.0, 100, ("thread", None)),  # too little for processes, and threads do bring something
        (1100.0, 100, ("thread", 1)),
        (900.0, 100_000, ("process", None)),
    ],
)
def test_large_documents_are_timed(
    several: float, pending: int, expected: tuple[str, int | None],
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float],
) -> None:  # fmt: skip
    rates[2] = several
    choice = choose(monkeypatch, LARGE, pending)
    assert (choice.executor, choice.workers) == expected


def test_threads_are_tried_with_as_many_as_there_are_cores(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float]
) -> None:
    rates[4] = 2500.0
    assert choose(monkeypatch, LARGE, 100_000, cores=16).executor == "process"
    rates |= {1: 1000.0, 4: 2900.0}
    assert choose(monkeypatch, LARGE, 100_000, cores=16).executor == "thread"


def test_one_core_and_a_throttle_need_one_thread(
    monkeypatch: pytest.MonkeyPatch, rates: dict[int, float]
) -> None:
    choice = choose(monkeypatch, LARGE, 100_000, cores=1)
    assert (choice.executor, choice.workers, len(rates)) == ("thread", 1, 3)
    choice = choose(monkeypatch, LARGE, 100_000, throttle=500)
    assert (choice.executor, choice.workers) == ("thread", 1)


def test_documents_are_really_mapped_and_a_pipeline_that_ends_is_heeded(tmp_path: Path) -> None:
    setup = FakeSetup(tmp_path, document_seconds=0.001)
    sample = [SourceDocument(key, SMALL) for key in range(20)]
    state = PipelineState()
    with Watch(60, state) as watch:
        made = [cast(Any, setup.make_worker()) for _ in range(2)]
        rate = executor_choice._documents_per_second(made, sample, state, watch)
        assert 0 < rate <= 2 / 0.001
        state.fail(RuntimeError("for the test"))
        with pytest.raises(PipelineStopped):
            executor_choice._documents_per_second(made, sample, state, watch)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({}, None),
        ({"cpu.max": "max 100000\n"}, None),
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "what is this"}, None),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, None),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "50000\n"}, None),
    ],
)
def test_cores_of_a_container(
    files: dict[str, str], cores: float | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cpu").mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    assert executor_choice.container_cores(tmp_path) == cores
    monkeypatch.setattr(executor_choice, "container_cores", lambda: None)
    without = executor_choice.available_cores()
    monkeypatch.setattr(executor_choice, "container_cores", lambda: cores)
    assert executor_choice.available_cores() == (
        without if cores is None else min(without, 2 if cores > 1 else 1)
    )
