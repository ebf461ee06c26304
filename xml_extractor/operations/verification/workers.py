"""Threads or processes that read tables and map documents once more."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeVar

from xml_extractor.engines.base import Session
from xml_extractor.engines.read_back import RowForm
from xml_extractor.errors import WorkerError
from xml_extractor.mapping.records import Key
from xml_extractor.operations.verification.mapping_again import (
    MappedKey,
    PageMapper,
    PageSums,
    column_marks,
)
from xml_extractor.operations.verification.subject import Connections, Subject
from xml_extractor.target.content_digest import (
    BucketSums,
    Share,
    TableDigest,
    bucket_of,
    column_key,
    key_hash,
    pieces,
)
from xml_extractor.target.failures import Connection
from xml_extractor.threads import Thread

T = TypeVar("T")


class Counter(Protocol):
    """Counts what was read, in all workers together."""

    def add(self, number: int) -> None:
        """Count so many more."""
        ...


class LocalCounter:
    """A counter for threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.value = 0

    def add(self, number: int) -> None:
        """Count so many more."""
        with self._lock:
            self.value += number


class SharedCounter:
    """A counter for processes; made before they are started."""

    def __init__(self, shared: Any) -> None:
        self._shared = shared

    def add(self, number: int) -> None:
        """Count so many more."""
        with self._shared.get_lock():
            self._shared.value += number

    @property
    def value(self) -> int:
        """The count so far."""
        return int(self._shared.value)


@dataclass(frozen=True, slots=True)
class TableSums:
    """What a table adds up to."""

    rows: int
    keys: list[Share]
    """Rows by source key; empty where the table does not carry it."""
    content: list[Share]
    """Rows with their values."""


class Worker:
    """What one worker has open.  One thread's."""

    def __init__(self, connections: Connections, counter: Counter) -> None:
        self._connections = connections
        self._subject = connections.subject
        self._counter = counter
        self._stack = ExitStack()
        self._connection: Connection | None = None
        self._mapper: PageMapper | None = None

    def close(self) -> None:
        """Close what is open."""
        self._stack.close()

    def _target(self) -> Connection:
        if self._connection is None:
            self._connection = self._stack.enter_context(self._connections.target())
        return self._connection

    def _pages(self) -> PageMapper:
        if self._mapper is None:
            reader = self._stack.enter_context(self._connections.source())
            self._mapper = PageMapper(self._connections, self._target(), reader)
        return self._mapper

    def page_sums(self, keys: Sequence[Key]) -> PageSums:
        """See :meth:`PageMapper.sums`."""
        sums = self._pages().sums(keys)
        self._counter.add(len(keys))
        return sums

    def page_marks(self, keys: Sequence[Key], tables: Collection[str]) -> dict[Key, MappedKey]:
        """See :meth:`PageMapper.marks`."""
        marks = self._pages().marks(keys, tables)
        self._counter.add(len(keys))
        return marks

    def table_sums(self, index: int) -> TableSums:
        """Add up a table, by key and with its values, in one pass."""
        table = self._subject.plan.tables[index]
        form = RowForm.of(self._subject.target, table)
        keyed = table.name in self._subject.keyed_tables

        def read(session: Session) -> TableSums:
            digest, keys = TableDigest(form, by_key=keyed), BucketSums()
            for rows in pieces(session, form.statement(session), form.rows_per_chunk):
                self._connections.check()
                digest.add_read(rows)
                if keyed and form.key_position is not None:
                    counts: dict[Any, int] = defaultdict(int)
                    for row in rows:
                        counts[row[form.key_position]] += 1
                    for value, count in counts.items():
                        keys.add_keyed(key_hash(column_key(value)), count)
                self._counter.add(len(rows))
            return TableSums(digest.rows, keys.shares(), digest.sums.shares())

        return self._connections.ask(self._target(), f"reading {table.name}", read)

    def table_marks(self, index: int, buckets: frozenset[int]) -> dict[str, list[bytes]]:
        """Return the rows of some buckets as hashes, by what the key column holds."""
        table = self._subject.plan.tables[index]
        form = RowForm.of(self._subject.target, table)
        position = form.key_position
        assert position is not None

        def read(session: Session) -> dict[str, list[bytes]]:
            found: dict[str, list[bytes]] = defaultdict(list)
            for rows in pieces(session, form.statement(session), form.rows_per_chunk):
                self._connections.check()
                for row in rows:
                    text = column_key(row[position])
                    if bucket_of(key_hash(text)) in buckets:
                        found[text].append(column_marks(form.of_read(row)))
                self._counter.add(len(rows))
            return dict(found)

        return self._connections.ask(self._target(), f"reading {table.name}", read)


class Workers:
    """Runs a :class:`Worker`'s methods, many at a time.

    Args:
        processes: use processes, else threads.
    """

    def __init__(self, connections: Connections, workers: int, *, processes: bool) -> None:
        self.number = workers
        self.counter: LocalCounter | SharedCounter = LocalCounter()
        self._connections = connections
        self._processes = processes
        self._local = threading.local()
        self._lock = threading.Lock()
        self._made: list[Worker] = []
        self._executor: Executor
        if processes:
            # Spawned, never forked: connections and threads of this process are not theirs.
            context = multiprocessing.get_context("spawn")
            shared = context.Value("q", 0)
            self.counter = SharedCounter(shared)
            # In shared memory: as an argument a large plan would not fit into the pipe by which a process is
            # started, and one that died meanwhile would be waited for without end.
            packed = context.RawArray("c", pickle.dumps(connections.subject))
            self._executor = ProcessPoolExecutor(
                workers, context, initializer=_start, initargs=(packed, shared)
            )
        else:
            self._executor = ThreadPoolExecutor(workers, thread_name_prefix="xml-extractor-verify")

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a method of :class:`Worker` called with these arguments.

        Raises:
            WorkerError: a process died, or could not be started.
        """
        if not self._processes:
            return self._executor.submit(lambda: call(self._worker(), *arguments))
        try:
            return self._executor.submit(_called, call, arguments)
        except (BrokenProcessPool, OSError, ValueError):
            # The pool starts processes here, while a thread of its own closes the pipes that these inherit as
            # soon as another process has died: a closed pipe is then the first that is seen of that death.
            raise self._died() from None

    def result(self, future: Future[T]) -> T:
        """Return a call's result.

        Raises:
            WorkerError: its process died.
        """
        try:
            return future.result()
        except BrokenProcessPool:
            raise self._died() from None

    def _died(self) -> WorkerError:
        self._connections.check()
        return WorkerError(
            "a worker process died while documents were mapped again: killed, or out of memory; run the "
            "same command again with fewer --workers, or with --executor thread"
        )

    def abort(self) -> None:
        """End processes at once; threads end with their connections."""
        if isinstance(self._executor, ProcessPoolExecutor):
            # The pool has no method of its own for that before Python 3.14.
            for process in list((self._executor._processes or {}).values()):
                process.kill()

    def close(self) -> None:
        """Wait for what runs, and close all."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for worker in self._made:
            worker.close()

    def _worker(self) -> Worker:
        worker: Worker | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = Worker(self._connections, self.counter)
            with self._lock:
                self._made.append(worker)
        return worker


_OF_THIS_PROCESS: Final[list[Worker]] = []


def _start(packed: Any, shared: Any) -> None:
    # A Ctrl-C reaches every process of the terminal; the parent says what is to happen.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    Thread(_end_with_parent, name="parent").start()
    subject = pickle.loads(packed.raw)
    assert isinstance(subject, Subject)
    _OF_THIS_PROCESS.append(Worker(Connections(subject), SharedCounter(shared)))


def _end_with_parent() -> None:
    """A pool's process would wait for work for ever where its parent was killed."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)


def _called(call: Callable[..., T], arguments: Sequence[Any]) -> T:
    return call(_OF_THIS_PROCESS[0], *arguments)
