"""Turns the memory that a load may take into queue, batch and worker sizes, before it starts.

What a load takes is counted from these figures::

    BASE_BYTES      the program itself with its drivers, before any document
    FETCH_BYTES     what one fetcher thread holds: slices that wait, one in hand, one being read
    THREAD_BYTES    a worker thread: the slice in hand, one tree, its rows
    PROCESS_BYTES   a worker process: an interpreter with lxml and a driver, a fetcher and a worker; and in
                    the parent the records that are on their way from it
    HELPER_BYTES    multiprocessing's helper process
    RECORD_FACTOR   what records take in the queue and in a batch for each byte that they are estimated at,
                    the driver's copy included

They were measured as proportional set sizes, sampled every 80 ms, of loads of 60 documents of 1 MB (8,000
rows each) from SQLite to SQLite (CPython 3.11, lxml 6.1, Linux): with nothing to load 62 MiB; one thread
143 MiB, four 195 MiB, a process 62 MiB, its parent 110 MiB, at a queue of 8 MiB and batches of 4 MiB.
Documents of a few kilobytes take a worker a tenth of that.  Not bounded is a single document that is
larger: mapping it takes about twenty times its size, in each worker that has such a one at that moment.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import psutil
from pydantic import ByteSize

from xml_extractor.errors import UsageError
from xml_extractor.settings import ExecutorChoice, LoadOptions

_MEBIBYTE: Final = 2**20

BASE_BYTES: Final = 70 * _MEBIBYTE
FETCH_BYTES: Final = 40 * _MEBIBYTE
THREAD_BYTES: Final = 20 * _MEBIBYTE
PROCESS_BYTES: Final = 80 * _MEBIBYTE
HELPER_BYTES: Final = 8 * _MEBIBYTE
RECORD_FACTOR: Final = 1.3

QUEUE_FLOOR: Final = 4 * _MEBIBYTE
BATCH_FLOOR: Final = 4 * _MEBIBYTE
"""Below these a load gets slow and saves next to nothing."""

_UNLIMITED: Final = 2**60
"""What cgroup v1 says where there is no limit is larger than this."""

_CGROUP_FILES: Final = ("memory.max", "memory/memory.limit_in_bytes")
_CGROUP_ROOT: Final = Path("/sys/fs/cgroup")
_OWN_CGROUPS: Final = Path("/proc/self/cgroup")


@dataclass(frozen=True, slots=True)
class Limit:
    """The memory that a load may take, and who says so."""

    size_bytes: int
    source: str


@dataclass(frozen=True, slots=True)
class Sizes:
    """What of a load's shape costs memory."""

    executor: ExecutorChoice  # never auto
    workers: int
    insert_threads: int
    queue_bytes: int
    batch_bytes: int

    def cost(self) -> int:
        """Return the memory that such a load takes, in bytes."""
        records = self.insert_threads * self.batch_bytes
        if self.executor is ExecutorChoice.SERIAL:
            return BASE_BYTES + int(self.batch_bytes * RECORD_FACTOR) + FETCH_BYTES + THREAD_BYTES
        cost = BASE_BYTES + int((records + self.queue_bytes) * RECORD_FACTOR)
        if self.executor is ExecutorChoice.PROCESS:
            return cost + HELPER_BYTES + self.workers * PROCESS_BYTES
        return cost + FETCH_BYTES + self.workers * THREAD_BYTES


def memory_limit(options: LoadOptions) -> Limit:
    """Return what a load may take: as set, else the container's limit, else what the machine has free."""
    if options.memory_limit is not None:
        return Limit(options.memory_limit, "--memory-limit")
    free = psutil.virtual_memory().available + psutil.Process().memory_info().rss
    container = container_limit()
    if container is not None and container <= free:
        return Limit(container, "the container's limit")
    return Limit(free, "what is free on this machine")


def container_limit(root: Path = _CGROUP_ROOT, own: Path = _OWN_CGROUPS) -> int | None:
    """Return the least memory limit of the control groups that this process is in; ``None`` = none."""
    limits = [_read_limit(root / name) for name in _CGROUP_FILES]
    try:
        lines = own.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            hierarchy, name = root, "memory.max"
        elif "memory" in controllers.split(","):
            hierarchy, name = root / "memory", "memory.limit_in_bytes"
        else:
            continue
        group = hierarchy / path.lstrip("/")
        # A group is bound by the limits of all those that it lies in.
        while group.is_relative_to(root):
            limits.append(_read_limit(group / name))
            group = group.parent
    found = [limit for limit in limits if limit is not None]
    return min(found, default=None)


def _read_limit(file: Path) -> int | None:
    try:
        text = file.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        return None
    if not text.isdecimal() or int(text) >= _UNLIMITED:  # "max"
        return None
    return int(text)


def fitted_options(
    options: LoadOptions, executor: ExecutorChoice, insert_threads: int, limit: Limit
) -> tuple[LoadOptions, ExecutorChoice, list[str]]:
    """Make a load fit; return its options, its executor, and what was changed, in words.

    Args:
        executor: what was chosen; not auto.
        insert_threads: how many there will be.

    Raises:
        UsageError: not even the least fits.
    """
    wanted = Sizes(executor, options.workers, insert_threads, options.queue_bytes, options.batch_bytes)
    sizes, steps = fit(wanted, limit)
    changes: dict[str, int] = {
        "workers": sizes.workers,
        "queue_bytes": ByteSize(sizes.queue_bytes),
        "batch_bytes": ByteSize(sizes.batch_bytes),
    }
    return (options.model_copy(update=changes) if steps else options), sizes.executor, steps


def check_memory(options: LoadOptions) -> None:
    """Refuse a load that cannot fit, before anything is touched.

    Raises:
        UsageError: not even the least fits.
    """
    serial = options.executor is ExecutorChoice.SERIAL
    executor = ExecutorChoice.SERIAL if serial else ExecutorChoice.THREAD
    fitted_options(options, executor, options.insert_threads, memory_limit(options))


def fit(sizes: Sizes, limit: Limit) -> tuple[Sizes, list[str]]:
    """Make a load fit: first a smaller queue, then smaller batches, then fewer workers, then threads.

    Returns:
        What fits, and the steps by which that was reached.

    Raises:
        UsageError: not even the least fits; names the limit that would do.
    """
    shown = f"{limit.source}, {_mebibytes(limit.size_bytes)}"
    steps: list[str] = []
    for name, floor, threads in (
        ("queue_bytes", QUEUE_FLOOR, 1),
        ("batch_bytes", BATCH_FLOOR, sizes.insert_threads),
    ):
        now: int = getattr(sizes, name)
        excess = sizes.cost() - limit.size_bytes
        if excess <= 0 or now <= floor or (sizes.executor is ExecutorChoice.SERIAL and name == "queue_bytes"):
            continue
        # Whole mebibytes read better.
        less = max(floor, int(now - excess / (RECORD_FACTOR * threads)) // _MEBIBYTE * _MEBIBYTE)
        is_queue = name == "queue_bytes"
        sizes = replace(sizes, queue_bytes=less) if is_queue else replace(sizes, batch_bytes=less)
        steps.append(
            f"to stay within {shown}, --{name.replace('_', '-')} is {_mebibytes(less)}, not {_mebibytes(now)}"
        )
    workers = _workers_that_fit(sizes, limit)
    if (workers.workers, workers.executor) != (sizes.workers, sizes.executor):
        steps.append(f"to stay within {shown}, there are {_workers(workers)}, not {_workers(sizes)}")
        sizes = workers
    if sizes.cost() > limit.size_bytes:
        advice = "; fewer --insert-threads take less" if sizes.insert_threads > 1 else ""
        raise UsageError(
            f"{limit.source}, {_mebibytes(limit.size_bytes)}, is too little: even with one worker, the "
            f"smallest queue and the smallest batches a load takes {_mebibytes(sizes.cost())}{advice}. Give "
            f"it that much, and say --memory-limit {-(-sizes.cost() // _MEBIBYTE)}MiB"
        )
    return sizes, steps


def _workers_that_fit(sizes: Sizes, limit: Limit) -> Sizes:
    """Return as many workers as fit, at most those wanted and at least one; threads, if no process fits."""
    if sizes.executor is ExecutorChoice.SERIAL or sizes.cost() <= limit.size_bytes:
        return sizes
    one = replace(sizes, workers=1)
    each = PROCESS_BYTES if sizes.executor is ExecutorChoice.PROCESS else THREAD_BYTES
    fewer = 1 + (limit.size_bytes - one.cost()) // each
    if fewer >= 1 or sizes.executor is ExecutorChoice.THREAD:
        return replace(sizes, workers=max(1, fewer))
    return _workers_that_fit(replace(sizes, executor=ExecutorChoice.THREAD), limit)


def insert_threads_that_fit(
    options: LoadOptions, executor: ExecutorChoice, limit: Limit, least: int, most: int
) -> int:
    """Return how many insert threads a load may come to have: at most ``most``, and never below ``least``.

    Args:
        options: as they were made to fit.
        executor: what is used; not auto.
        least: how many it begins with.
    """
    one = Sizes(executor, options.workers, 1, options.queue_bytes, options.batch_bytes)
    fit_beside = (limit.size_bytes - one.cost()) // max(1, int(options.batch_bytes * RECORD_FACTOR))
    return max(least, min(most, 1 + fit_beside))


def processes_fit(options: LoadOptions, insert_threads: int, limit: Limit) -> bool:
    """Whether at least two worker processes fit: fewer are no faster than threads."""
    least = Sizes(
        ExecutorChoice.PROCESS, 2, insert_threads,
        min(options.queue_bytes, QUEUE_FLOOR), min(options.batch_bytes, BATCH_FLOOR),
    )  # fmt: skip
    return least.cost() <= limit.size_bytes


def _workers(sizes: Sizes) -> str:
    process = sizes.executor is ExecutorChoice.PROCESS
    word, plural = ("process", "es") if process else ("thread", "s")
    return f"{sizes.workers} worker {word}{plural if sizes.workers > 1 else ''}"


def _mebibytes(size_bytes: int) -> str:
    return f"{size_bytes / _MEBIBYTE:,.0f} MiB"
