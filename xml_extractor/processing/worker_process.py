"""What runs inside a worker process."""

from __future__ import annotations

import contextlib
import faulthandler
import gc
import multiprocessing
import os
import pickle
import signal
import sys
import threading
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Final

import psutil

from xml_extractor import failpoints
from xml_extractor.errors import LoaderError, WorkerError
from xml_extractor.mapping.records import DocumentRecord, Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.document_fetcher import DocumentFetcher, FetchedDocuments
from xml_extractor.processing.endings import EXIT_OUT_OF_MEMORY
from xml_extractor.processing.mapping_documents import is_out_of_memory, map_in_blocks
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.pulse import ProcessPulse
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.clocks import DocumentTimes, StageClocks, WorkerClock
from xml_extractor.source.reader import FETCH_BYTES
from xml_extractor.threads import Thread

NICE: Final = 10
"""By how much workers step back; with 5 the insert thread still waited noticeably for its core."""


class Message:
    """What a worker process tells its parent."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Ready(Message):
    """The process has started and can map documents."""


@dataclass(frozen=True, slots=True)
class NotStarted(Message):
    """The process cannot start, for a reason that lies in the machine."""

    reason: str


@dataclass(frozen=True, slots=True)
class Mapped(Message):
    """Records of documents of the oldest chunk that is out."""

    records: list[DocumentRecord]
    vanished: tuple[Key, ...]
    is_last: bool
    clocks: StageClocks
    times: DocumentTimes | None  # of the documents since they were last told


@dataclass(frozen=True, slots=True)
class Failed(Message):
    """The process cannot go on, and no document is at fault."""

    error: LoaderError


def run_worker_process(
    chunks: Connection,
    messages: Connection,
    pulse: ProcessPulse,
    stacks: Connection,
    tick_seconds: float,
) -> None:
    """Map chunks until told to stop, or until the parent is gone.

    Signals that stop a load are the parent's to handle: a Ctrl-C reaches every process of the terminal,
    and the parent lets the workers finish what is in flight.  A process that can get no more memory, other
    than for a single document, ends: so its memory is free, and what it had in hand is tried again.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    _step_back()
    if hasattr(faulthandler, "register"):
        # In C: shows where the process is, although Python itself may not get to run.
        faulthandler.register(signal.SIGUSR1, file=stacks.fileno(), all_threads=True)
    try:
        setup = chunks.recv()
        worker = _Worker(setup, chunks, messages, pulse)
        done = threading.Event()
        ticker = Thread(_tick, args=(pulse, tick_seconds, done), name="ticker")
        try:
            failpoints.hit("worker_start")
            worker.prepare()
            ticker.start()
            # What has come to be so far stays: the garbage collector need not go through it again and again.
            gc.freeze()
        except RuntimeError as error:  # no thread can be started
            _send(messages, NotStarted(f"{type(error).__name__}: {error}"))
            return
        _send(messages, Ready())
        worker.run()
        done.set()
    except PipelineStopped:
        _report(messages, worker.failure)
    except (OSError, EOFError):
        return  # the parent is gone, and with it all reason to go on
    except BaseException as error:  # noqa: BLE001 - the parent decides what to do about it
        _report(messages, error)


def _step_back() -> None:
    """Leave the processor to whoever inserts: to the thread that does, and to a server on this machine.

    Workers that are ahead only wait for a full queue.  Where there are more of them than cores, they would
    otherwise keep the one that everybody waits for from its core for a fifth of the time.
    """
    with contextlib.suppress(OSError, psutil.Error):  # not allowed: then it is as it was
        if sys.platform == "win32":
            psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
        else:
            os.nice(NICE)


class _Worker:
    def __init__(
        self, setup: WorkerSetup, chunks: Connection, messages: Connection, pulse: ProcessPulse
    ) -> None:
        self._setup = setup
        self._messages = messages
        self._pulse = pulse
        self._state = PipelineState()
        self._fetched: Channel[FetchedDocuments] = Channel(
            self._state, capacity_items=2, capacity_bytes=2 * FETCH_BYTES
        )
        self._fetcher = DocumentFetcher(
            setup.make_reader(), lambda: _next_chunk(chunks), self._fetched, self._state
        )

    @property
    def failure(self) -> BaseException | None:
        """Why the fetcher has ended the process's work."""
        return self._state.failure

    def prepare(self) -> None:
        """Make what maps documents and what fetches them."""
        self._worker = self._setup.make_worker()
        self._fetcher.thread.start()

    def run(self) -> None:
        """Map what the fetcher fetches, to the end."""
        worker, pulse = self._worker, self._pulse
        clock = worker.clock
        begins = True
        while True:
            slice_ = self._fetched.get()
            clock.charge_idle()
            if slice_ is None:
                return
            if begins:
                pulse.take(slice_.chunk.keys)
            begins = slice_.is_last
            for block in map_in_blocks(worker, slice_, pulse):
                self._send(clock, Mapped(block, (), False, clock.clocks(), None))
            if slice_.is_last:
                pulse.chunk_done()
            if slice_.is_last or slice_.vanished:
                times = clock.take_documents()
                self._send(clock, Mapped([], slice_.vanished, slice_.is_last, clock.clocks(), times))

    def _send(self, clock: WorkerClock, message: Mapped) -> None:
        """Send records; packing counts as mapping, waiting while the pipe is full as blocked."""
        packed = _pack(message)
        clock.charge_map()
        failpoints.hit("worker_send")
        self._messages.send_bytes(packed)
        clock.charge_blocked()


def _tick(pulse: ProcessPulse, tick_seconds: float, done: threading.Event) -> None:
    parent = multiprocessing.parent_process()
    while not done.wait(tick_seconds):
        if parent is not None and not parent.is_alive():
            os._exit(1)  # killed: a worker that is stuck would never come to notice it
        pulse.tick()


def _report(messages: Connection, error: BaseException | None) -> None:
    if error is not None and is_out_of_memory(error):
        # Not by the interpreter's own way out, which needs memory.
        os._exit(EXIT_OUT_OF_MEMORY)
    if not isinstance(error, LoaderError):
        error = WorkerError(f"A worker process failed: {type(error).__name__}")
    with contextlib.suppress(OSError):
        _send(messages, Failed(error))


def _next_chunk(chunks: Connection) -> Chunk | None:
    try:
        chunk = chunks.recv()
    except (EOFError, OSError):
        return None  # the parent is gone: the next attempt to send to it ends this process
    assert chunk is None or isinstance(chunk, Chunk)
    return chunk


def _send(messages: Connection, message: Message) -> None:
    messages.send_bytes(_pack(message))


def _pack(message: Message) -> bytes:
    return pickle.dumps(message, protocol=5)
