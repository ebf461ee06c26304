"""What runs inside a worker process."""

from __future__ import annotations

import contextlib
import pickle
import signal
from dataclasses import dataclass
from multiprocessing.connection import Connection

from xml_extractor import failpoints
from xml_extractor.errors import LoaderError, WorkerError
from xml_extractor.mapping.records import DocumentRecord, Key
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.document_fetcher import FETCH_BYTES, DocumentFetcher, FetchedDocuments
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.processing.thread_workers import map_in_blocks
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.profiling.clocks import StageClocks, WorkerClock


@dataclass(frozen=True, slots=True)
class Ready:
    """The process has started and can map documents."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Records of documents of the oldest chunk that is out."""

    records: list[DocumentRecord]
    vanished: tuple[Key, ...]
    is_last: bool
    clocks: StageClocks


@dataclass(frozen=True, slots=True)
class Failed:
    """The process cannot go on, and no document is at fault."""

    error: LoaderError


def run_worker_process(setup: WorkerSetup, chunks: Connection, records: Connection) -> None:
    """Map chunks until told to stop, or until the parent is gone.

    Signals that stop a load are the parent's to handle: a Ctrl-C reaches every process of the terminal,
    and the parent lets the workers finish what is in flight.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    state = PipelineState()
    fetched: Channel[FetchedDocuments] = Channel(state, capacity_items=2, capacity_bytes=2 * FETCH_BYTES)
    fetcher = DocumentFetcher(setup.make_reader(), lambda: _next_chunk(chunks), fetched, state)
    try:
        failpoints.hit("worker_start")
        worker = setup.make_worker()
        records.send_bytes(_pack(Ready()))
        fetcher.thread.start()
        clock = worker.clock
        while True:
            slice_ = fetched.get()
            clock.charge_idle()
            if slice_ is None:
                return
            for block in map_in_blocks(worker, slice_):
                _send(records, clock, Mapped(block, (), False, clock.clocks()))
            if slice_.is_last or slice_.vanished:
                _send(records, clock, Mapped([], slice_.vanished, slice_.is_last, clock.clocks()))
    except PipelineStopped:
        _report(records, state.failure)
    except OSError:
        return  # the parent is gone, and with it all reason to go on
    except Exception as error:  # noqa: BLE001 - the parent decides what to do about it
        _report(records, error)


def _report(records: Connection, error: BaseException | None) -> None:
    if not isinstance(error, LoaderError):
        error = WorkerError(f"A worker process failed: {type(error).__name__}")
    with contextlib.suppress(OSError):
        records.send_bytes(_pack(Failed(error)))


def _next_chunk(chunks: Connection) -> Chunk | None:
    try:
        chunk = chunks.recv()
    except (EOFError, OSError):
        return None  # the parent is gone: the next attempt to send to it ends this process
    assert chunk is None or isinstance(chunk, Chunk)
    return chunk


def _send(records: Connection, clock: WorkerClock, message: Mapped) -> None:
    """Send records; packing counts as mapping, waiting while the pipe is full as blocked."""
    packed = _pack(message)
    clock.charge_map()
    failpoints.hit("worker_send")
    records.send_bytes(packed)
    clock.charge_blocked()


def _pack(message: Ready | Mapped | Failed) -> bytes:
    return pickle.dumps(message, protocol=5)
