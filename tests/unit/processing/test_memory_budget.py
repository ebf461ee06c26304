"""The memory budget: what gives way first, what is refused, and whose limit counts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.errors import UsageError
from xml_extractor.processing import memory_budget
from xml_extractor.processing.memory_budget import (
    BATCH_FLOOR,
    QUEUE_FLOOR,
    Limit,
    Sizes,
    check_memory,
    container_limit,
    fit,
    fitted_options,
    memory_limit,
    processes_fit,
)
from xml_extractor.settings import ExecutorChoice, LoadOptions

MEBIBYTE = 2**20
WANTED = Sizes(ExecutorChoice.PROCESS, 4, 2, 64 * MEBIBYTE, 32 * MEBIBYTE)


def limit_of(sizes: Sizes) -> Limit:
    return Limit(sizes.cost(), "--memory-limit")


def test_what_fits_is_left_alone() -> None:
    assert fit(WANTED, limit_of(WANTED)) == (WANTED, [])


def test_the_queue_gives_way_first_then_batches_then_workers_then_processes() -> None:
    smaller_queue = replace(WANTED, queue_bytes=20 * MEBIBYTE)
    found, steps = fit(WANTED, limit_of(smaller_queue))
    assert found == smaller_queue
    assert len(steps) == 1
    assert "--queue-bytes is 20 MiB, not 64 MiB" in steps[0]

    smaller_batches = replace(WANTED, queue_bytes=QUEUE_FLOOR, batch_bytes=10 * MEBIBYTE)
    found, steps = fit(WANTED, limit_of(smaller_batches))
    assert found == smaller_batches
    assert "--batch-bytes is 10 MiB, not 32 MiB" in steps[1]

    least = replace(WANTED, queue_bytes=QUEUE_FLOOR, batch_bytes=BATCH_FLOOR)
    found, steps = fit(WANTED, limit_of(replace(least, workers=2)))
    assert found == replace(least, workers=2)
    assert "there are 2 worker processes, not 4 worker processes" in steps[2]

    threads = replace(least, executor=ExecutorChoice.THREAD, workers=1)
    found, steps = fit(WANTED, limit_of(threads))
    assert found == threads
    assert "there are 1 worker thread, not 4 worker processes" in steps[2]


def test_the_least_that_would_do_is_named_and_does() -> None:
    with pytest.raises(UsageError, match=r"--memory-limit, 10 MiB, is too little") as told:
        fit(WANTED, Limit(10 * MEBIBYTE, "--memory-limit"))
    assert "--insert-threads" in str(told.value)
    least = int(str(told.value).rpartition("--memory-limit ")[2].removesuffix("MiB"))
    found, _ = fit(WANTED, Limit(least * MEBIBYTE, "--memory-limit"))
    assert (found.workers, found.executor) == (1, ExecutorChoice.THREAD)
    with pytest.raises(UsageError):
        fit(WANTED, Limit((least - 1) * MEBIBYTE, "--memory-limit"))


@given(
    executor=st.sampled_from([ExecutorChoice.PROCESS, ExecutorChoice.THREAD, ExecutorChoice.SERIAL]),
    workers=st.integers(1, 64),
    insert_threads=st.integers(1, 8),
    queue_bytes=st.integers(1, 2**31),
    batch_bytes=st.integers(1, 2**31),
    limit=st.integers(1, 2**34),
)
def test_what_comes_out_fits_and_never_exceeds_what_was_asked_for(
    executor: ExecutorChoice,
    workers: int,
    insert_threads: int,
    queue_bytes: int,
    batch_bytes: int,
    limit: int,
) -> None:
    wanted = Sizes(executor, workers, insert_threads, queue_bytes, batch_bytes)
    try:
        found, steps = fit(wanted, Limit(limit, "a limit"))
    except UsageError:
        assert wanted.cost() > limit
        return
    assert found.cost() <= limit
    assert 1 <= found.workers <= workers
    assert found.queue_bytes <= queue_bytes
    assert found.batch_bytes <= batch_bytes
    assert found.insert_threads == insert_threads
    assert (found == wanted) == (not steps)


def test_options_are_changed_only_where_they_must_be() -> None:
    options = LoadOptions(workers=4)
    same, executor, steps = fitted_options(options, ExecutorChoice.THREAD, 1, Limit(2**33, "a limit"))
    assert same is options
    assert executor is ExecutorChoice.THREAD
    assert steps == []
    less, executor, steps = fitted_options(
        options, ExecutorChoice.PROCESS, 1, Limit(256 * MEBIBYTE, "a limit")
    )
    assert less.queue_bytes < options.queue_bytes
    assert steps


def test_auto_takes_no_processes_where_two_do_not_fit() -> None:
    options = LoadOptions()
    least = Sizes(ExecutorChoice.PROCESS, 2, 1, QUEUE_FLOOR, BATCH_FLOOR).cost()
    assert processes_fit(options, 1, Limit(least, "a limit"))
    assert not processes_fit(options, 1, Limit(least - 1, "a limit"))


def test_a_load_that_cannot_fit_is_refused_before_it_begins() -> None:
    with pytest.raises(UsageError, match="too little"):
        check_memory(LoadOptions(memory_limit=20 * MEBIBYTE))
    check_memory(LoadOptions(memory_limit=2**30))


# --------------------------------------------------------------------------------------- whose limit


def test_the_setting_wins_then_the_container_then_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    free = SimpleNamespace(available=1000 * MEBIBYTE)
    monkeypatch.setattr(memory_budget.psutil, "virtual_memory", lambda: free)
    monkeypatch.setattr(memory_budget, "container_limit", lambda: 300 * MEBIBYTE)
    assert memory_limit(LoadOptions(memory_limit=5 * 2**30)) == Limit(5 * 2**30, "--memory-limit")
    assert memory_limit(LoadOptions()) == Limit(300 * MEBIBYTE, "the container's limit")
    monkeypatch.setattr(memory_budget, "container_limit", lambda: 5000 * MEBIBYTE)
    found = memory_limit(LoadOptions())
    assert found.source == "what is free on this machine"
    assert 1000 * MEBIBYTE < found.size_bytes < 5000 * MEBIBYTE
    monkeypatch.setattr(memory_budget, "container_limit", lambda: None)
    assert memory_limit(LoadOptions()).source == "what is free on this machine"


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text + "\n", encoding="ascii")


def test_limits_of_both_kinds_of_control_groups_are_read(tmp_path: Path) -> None:
    own, root = tmp_path / "cgroup", tmp_path / "fs"
    root.mkdir()
    assert container_limit(root, own) is None
    # Version 2, seen from inside a container: the files lie at the root.
    write(root / "memory.max", "536870912")
    write(own, "0::/")
    assert container_limit(root, own) == 512 * MEBIBYTE
    # Seen from outside of one; the least of all groups around counts.
    write(root / "memory.max", "max")
    write(root / "user.slice" / "memory.max", str(700 * MEBIBYTE))
    write(root / "user.slice" / "job" / "memory.max", str(900 * MEBIBYTE))
    write(own, "0::/user.slice/job")
    assert container_limit(root, own) == 700 * MEBIBYTE
    # Version 1; its "no limit" is a number.
    other = tmp_path / "v1"
    write(other / "memory" / "memory.limit_in_bytes", "9223372036854771712")
    write(other / "memory" / "docker" / "x" / "memory.limit_in_bytes", str(256 * MEBIBYTE))
    write(own, "3:cpu,cpuacct:/docker/x\n4:memory:/docker/x\n0::/")
    assert container_limit(other, own) == 256 * MEBIBYTE
    write(own, "nonsense")
    assert container_limit(other, own) is None
