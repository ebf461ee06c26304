"""Threads or processes, each with a worker, and calls that are spread over them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from xml_extractor.errors import WorkerError
from xml_extractor.operations.verification.subject import Connections
from xml_extractor.operations.verification.worker import Worker
from xml_extractor.operations.verification.worker_process import ProcessDied, WorkerProcess, pack

T = TypeVar("T")


class Workers:
    """Runs a :class:`Worker`'s methods, many at a time.

    Each of its threads has a worker, or a process that has one.  (The standard library's pool of processes
    starts one while a thread of its own puts away those that died; in Python 3.11 the two do not heed each
    other, so that thread can fail, and who waits for a result may then wait for ever.)

    Args:
        processes: use processes, else threads.
    """

    def __init__(self, connections: Connections, workers: int, *, processes: bool) -> None:
        self.number = workers
        self._connections = connections
        self._local = threading.local()
        self._lock = threading.Lock()
        self._made: list[Worker | WorkerProcess] = []
        self._aborted = False
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="xml-extractor-verify")
        self._packed = pack(connections.subject) if processes else None

    @property
    def rows_read(self) -> int:
        """How many rows and documents all workers have read so far."""
        with self._lock:
            return sum(worker.rows_read for worker in self._made)

    def submit(self, call: Callable[..., T], *arguments: Any) -> Future[T]:
        """Have a method of :class:`Worker` called with these arguments.

        The result raises WorkerError where the process died, or could not be started.
        """
        return self._executor.submit(self._called, call, arguments)

    def abort(self) -> None:
        """End processes at once; threads end with their connections."""
        with self._lock:
            self._aborted = True
            made = list(self._made)
        for worker in made:
            if isinstance(worker, WorkerProcess):
                worker.kill()

    def close(self) -> None:
        """Wait for what runs, and close all."""
        self._executor.shutdown(wait=True, cancel_futures=True)
        for worker in self._made:
            worker.close()

    def _called(self, call: Callable[..., T], arguments: Sequence[Any]) -> T:
        worker: Worker | WorkerProcess | None = getattr(self._local, "worker", None)
        if worker is None:
            worker = self._local.worker = self._make()
        if isinstance(worker, Worker):
            return call(worker, *arguments)
        try:
            return worker.call(call, arguments)
        except ProcessDied:
            self._connections.check()
            raise WorkerError(
                "a worker process died while documents were mapped again: killed, or out of memory; run the "
                "same command again with fewer --workers, or with --executor thread"
            ) from None

    def _make(self) -> Worker | WorkerProcess:
        worker: Worker | WorkerProcess
        if self._packed is None:
            worker = Worker(self._connections)
        else:
            try:
                worker = WorkerProcess(self._packed, threading.current_thread().name)
            except (OSError, MemoryError, RuntimeError) as error:
                raise WorkerError(
                    f"a worker process could not be started ({type(error).__name__}); run the same command "
                    "again with fewer --workers, or with --executor thread"
                ) from error
        with self._lock:
            self._made.append(worker)
            aborted = self._aborted
        if aborted and isinstance(worker, WorkerProcess):
            worker.kill()
        return worker
