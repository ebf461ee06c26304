"""Workers as processes: each fetches, maps and encodes its own chunks, and may die without harm.

Every worker process has one thread in this process that feeds it (*its feeder*).  The feeder knows which
documents it has sent out and which have come back, so that a process that dies, for whatever reason,
costs nothing: what had not come back is sent again, one document at a time, to a new process.  A document
that kills two processes while it is the only one in flight is quarantined.
"""

from __future__ import annotations

import logging
import multiprocessing
import pickle
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import TYPE_CHECKING

from xml_extractor.errors import WorkerError
from xml_extractor.mapping.records import DocumentRecord, Key, Rejection, Stage, State
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.document_worker import RECORD_OVERHEAD_BYTES
from xml_extractor.processing.insert_queue import InsertQueue
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.worker_process import Failed, Mapped, Ready, run_worker_process
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.clocks import StageClocks

if TYPE_CHECKING:
    from multiprocessing.context import SpawnProcess

logger = logging.getLogger(__name__)

CHUNKS_IN_FLIGHT = 2
"""Chunks a process has at once: one to map, one whose documents it fetches meanwhile."""

START_ATTEMPTS = 3
"""Processes that may die in a row before the first word from one; then it is not a document's fault."""

DEATHS_ALONE = 2
"""A document that was alone in flight when this many processes died is what kills them."""

EXIT_SECONDS = 5.0
"""How long a process that has been told to go may take before it is killed."""


@dataclass(slots=True)
class _InFlight:
    """A chunk that has been sent out, and what has not come back of it (in order)."""

    chunk: Chunk
    remaining: dict[Key, None]


class ProcessWorkers:
    """N worker processes, each with its feeder thread.  Arguments as for ``ThreadWorkers``."""

    def __init__(
        self,
        count: int,
        setup: WorkerSetup,
        chunks: Channel[Chunk],
        queue: InsertQueue,
        state: PipelineState,
        on_vanished: Callable[[int], None],
    ) -> None:
        self._feeders = [
            _Feeder(number, setup, chunks, queue, state, on_vanished) for number in range(1, count + 1)
        ]
        self.threads = [feeder.thread for feeder in self._feeders]

    def start(self) -> None:
        """Start all feeders; each starts its process."""
        for feeder in self._feeders:
            feeder.thread.start()

    def clocks(self) -> list[StageClocks]:
        """Return what is on the clock of each worker, over all the processes that it has been."""
        return [feeder.clocks() for feeder in self._feeders]

    @property
    def startup_seconds(self) -> float:
        """How long it took from the start until the first process could map documents."""
        return min((feeder.startup_seconds for feeder in self._feeders), default=0.0)

    def process_ids(self) -> list[int]:
        """Return the ids of the processes that are running."""
        return [pid for feeder in self._feeders if (pid := feeder.process_id()) is not None]


class _Feeder:
    def __init__(
        self,
        number: int,
        setup: WorkerSetup,
        chunks: Channel[Chunk],
        queue: InsertQueue,
        state: PipelineState,
        on_vanished: Callable[[int], None],
    ) -> None:
        self._name = f"xml-extractor-worker-{number}"
        self._setup = setup
        self._chunks = chunks
        self._queue = queue
        self._state = state
        self._on_vanished = on_vanished
        self._process: SpawnProcess | None = None
        self._to_worker: Connection | None = None
        self._from_worker: Connection | None = None
        self._ready = False
        self._start_failures = 0
        self._in_flight: deque[_InFlight] = deque()
        self._again: deque[Chunk] = deque()  # sent before to a process that has died
        self._deaths_alone: dict[Key, int] = {}
        self.startup_seconds = 0.0  # until the first process was ready
        self._started = 0.0
        self._clocks = StageClocks()  # of the process that runs
        self._past_clocks = StageClocks()  # of those that have died
        self.thread = threading.Thread(target=self._run, name=f"{self._name}-feeder", daemon=True)
        state.on_end(self._kill)

    def clocks(self) -> StageClocks:
        return self._past_clocks + self._clocks

    def process_id(self) -> int | None:
        process = self._process
        return process.pid if process is not None and process.is_alive() else None

    # ------------------------------------------------------------------------------ the feeder's thread

    def _run(self) -> None:
        self._started = time.perf_counter()
        _block_signals()
        try:
            self._start_process()
            while self._send_chunks():
                self._receive()
            self._dismiss()
        except PipelineStopped:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            self._kill()
            self._bury()

    def _send_chunks(self) -> bool:
        """Keep the process busy; return False when there is nothing left to do."""
        while len(self._in_flight) < CHUNKS_IN_FLIGHT:
            if self._again:
                # After a death only one chunk is out at a time, so that the culprit can be known.
                if self._in_flight:
                    break
                chunk: Chunk | None = self._again.popleft()
            elif self._in_flight:
                chunk = self._chunks.get_nowait()
            else:
                chunk = self._chunks.get()
            if chunk is None:
                break
            self._in_flight.append(_InFlight(chunk, dict.fromkeys(chunk.keys)))
            if not self._send(chunk):
                self._replace_process()
            elif self._is_careful(chunk):
                break
        return bool(self._in_flight)

    def _is_careful(self, chunk: Chunk) -> bool:
        return any(key in self._deaths_alone for key in chunk.keys)

    def _receive(self) -> None:
        assert self._from_worker is not None
        try:
            message = pickle.loads(self._from_worker.recv_bytes())
        except (EOFError, OSError):
            self._replace_process()
            return
        if isinstance(message, Ready):
            self._ready = True
            self._start_failures = 0
            self.startup_seconds = self.startup_seconds or time.perf_counter() - self._started
        elif isinstance(message, Failed):
            raise message.error
        elif isinstance(message, Mapped):
            self._take_in(message)
        else:
            raise TypeError(f"unexpected message from a worker process: {type(message).__name__}")

    def _take_in(self, message: Mapped) -> None:
        current = self._in_flight[0]
        self._clocks = message.clocks
        for record in message.records:
            del current.remaining[record.key]
            self._deaths_alone.pop(record.key, None)
        for key in message.vanished:
            del current.remaining[key]
        if message.vanished:
            self._on_vanished(len(message.vanished))
        if message.is_last:
            self._in_flight.popleft()
        if message.records:
            self._queue.put(message.records)

    # ------------------------------------------------------------------------------ the process

    def _start_process(self) -> None:
        context = multiprocessing.get_context("spawn")
        chunks_out, self._to_worker = context.Pipe(duplex=False)
        self._from_worker, records_in = context.Pipe(duplex=False)
        self._ready = False
        process = context.Process(
            target=run_worker_process,
            args=(self._setup, chunks_out, records_in),
            name=self._name,
            daemon=True,
        )
        process.start()
        # Our copies of the process's ends: while they are open its death would not end our reading.
        chunks_out.close()
        records_in.close()
        self._process = process
        if self._state.ended.is_set():  # ended while we were starting: nobody else will kill it
            raise PipelineStopped

    def _send(self, chunk: Chunk) -> bool:
        assert self._to_worker is not None
        try:
            self._to_worker.send(chunk)
        except OSError:
            return False
        return True

    def _replace_process(self) -> None:
        """Bury a process that has died and send out again what has not come back from it."""
        if self._state.ended.is_set():
            raise PipelineStopped
        exit_code = self._bury()
        if not self._ready:
            self._start_failures += 1
            if self._start_failures >= START_ATTEMPTS:
                raise WorkerError(
                    f"Worker processes die before they have started (exit code {exit_code}, "
                    f"{self._start_failures} in a row). Run with --executor thread, and with "
                    "--log-level debug to see why."
                )
        self._past_clocks = self._past_clocks + self._clocks
        self._clocks = StageClocks()
        unfinished = [out for out in self._in_flight if out.remaining]
        self._in_flight.clear()
        logger.warning(
            "%s died (exit code %s) with %d documents in hand; a new one takes them up",
            self._name, exit_code, sum(len(out.remaining) for out in unfinished),
        )  # fmt: skip
        if self._ready and unfinished:
            self._suspect(unfinished[0], exit_code)
            unfinished = unfinished[1:]
        again = [_part(out.chunk, tuple(out.remaining)) for out in unfinished]
        # What the process was working on comes first, then what it had not begun.
        self._again.extend(again)
        self._start_process()

    def _suspect(self, out: _InFlight, exit_code: int | None) -> None:
        """Deal with the chunk that a process died on: one document at a time from now on."""
        remaining = tuple(out.remaining)
        if len(remaining) > 1 or len(out.chunk.keys) > 1:
            for key in remaining:
                self._deaths_alone.setdefault(key, 0)
            self._again.extendleft(_part(out.chunk, (key,)) for key in reversed(remaining))
            return
        key = remaining[0]
        self._deaths_alone[key] = self._deaths_alone.get(key, 0) + 1
        if self._deaths_alone[key] < DEATHS_ALONE:
            self._again.appendleft(out.chunk)
            return
        del self._deaths_alone[key]
        logger.warning("document %r ended %d worker processes; it goes to quarantine", key, DEATHS_ALONE)
        self._queue.put(
            [
                DocumentRecord(
                    key=key,
                    state=State.QUARANTINED,
                    document_hash=b"",
                    size_bytes=RECORD_OVERHEAD_BYTES,
                    rejection=Rejection(
                        Stage.WORKER,
                        "worker_died",
                        f"the worker process died {DEATHS_ALONE} times while it had only this document "
                        f"(last exit code {exit_code})",
                    ),
                    previous=out.chunk.previous.get(key),
                )
            ]
        )

    def _dismiss(self) -> None:
        """Tell the process to go, and see it off."""
        assert self._to_worker is not None
        try:
            self._to_worker.send(None)
        except OSError:
            return
        self._bury()

    def _bury(self) -> int | None:
        """Wait until the process is gone and return its exit code."""
        process = self._process
        if process is None:
            return None
        process.join(EXIT_SECONDS)
        if process.is_alive():
            process.kill()
            process.join()
        self._close_pipes()
        return process.exitcode

    def _close_pipes(self) -> None:
        for pipe in (self._to_worker, self._from_worker):
            if pipe is not None:
                pipe.close()

    def _kill(self) -> None:
        """End the process at once; called from any thread when the pipeline ends."""
        process = self._process
        if process is not None and process.is_alive():
            process.kill()


def _block_signals() -> None:
    """Keep signals that stop a load from this thread, and so from the processes that it starts.

    A Ctrl-C reaches all processes of the terminal, and would end with a traceback those that are just
    starting and cannot have said yet that they leave signals to the parent.  Where threads have no signal
    masks (Windows), that moment remains.
    """
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        # The helper process of multiprocessing is started with the first worker, and starting it clears
        # the mask again; so it has to be there before.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})


def _part(chunk: Chunk, keys: Sequence[Key]) -> Chunk:
    return Chunk(
        chunk.number, tuple(keys), {key: chunk.previous[key] for key in keys if key in chunk.previous}
    )
