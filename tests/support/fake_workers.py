"""A source and a mapper without database and XML, for tests of the worker pools.  Picklable."""

from __future__ import annotations

import multiprocessing
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from xml_extractor.errors import SourceError
from xml_extractor.mapping.records import DocumentRecord, Key, Previous, SourceDocument, State
from xml_extractor.profiling.clocks import WorkerClock
from xml_extractor.source.reader import DocumentSlice


@dataclass(frozen=True, slots=True)
class FakeSetup:
    """Stands for WorkerSetup.

    Documents say by their key what happens: ``gone`` have left the source, ``deadly`` end the process that
    maps them each time (be it the tests' own), ``deadly_once`` only the first time (remembered by a file in
    ``folder``), ``broken`` fails the reader, ``stalling`` never come to an end, ``stalling_once`` only the
    first time, ``greedy`` and ``greedy_once`` run out of memory.
    """

    folder: Path
    gone: frozenset[int] = frozenset()
    deadly: frozenset[int] = frozenset()
    deadly_once: frozenset[int] = frozenset()
    broken: frozenset[int] = frozenset()
    stalling: frozenset[int] = frozenset()
    stalling_once: frozenset[int] = frozenset()
    greedy: frozenset[int] = frozenset()
    greedy_once: frozenset[int] = frozenset()
    document_seconds: float = 0.0
    how_to_stall: str = "sleep"  # or hold the interpreter in C ("regex"), or be stopped ("stop")
    start_seconds: float = 0.0  # how long a process takes to start, beside what it takes anyway
    failing_starts: int = 0  # so many processes, the first ones, end before their first word
    lifetime: int = 10**9  # a process ends at its so many-th document, whatever that is

    def make_reader(self) -> FakeReader:
        return FakeReader(self)

    def make_worker(self) -> FakeWorker:
        if in_a_worker_process():
            time.sleep(self.start_seconds)
        if in_a_worker_process() and any(
            self.is_first(f"start-{number}") for number in range(self.failing_starts)
        ):
            os._exit(9)
        return FakeWorker(self)

    def is_first(self, name: str) -> bool:
        """Whether nobody has asked for this name before, in whatever process."""
        try:
            (self.folder / name).touch(exist_ok=False)
        except FileExistsError:
            return False
        return True


def in_a_worker_process() -> bool:
    return multiprocessing.parent_process() is not None


def stall(how: str) -> None:
    """Never come back, within a test's bound."""
    if how == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif how == "nap":
        time.sleep(3)  # a thread that never came back would outlive the test
    elif how == "regex":
        re.match(r"(a+)+$", "a" * 40 + "b")  # takes hours, and lets no other thread run
    else:
        time.sleep(600)


class FakeReader:
    def __init__(self, setup: FakeSetup) -> None:
        self._setup = setup

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def slices(self, keys: Sequence[Key]) -> Iterator[DocumentSlice]:
        if any(key in self._setup.broken for key in keys):
            raise SourceError("the source has failed")
        gone = tuple(key for key in keys if key in self._setup.gone)
        there = [SourceDocument(key, f"<d>{key}</d>") for key in keys if key not in gone]
        yield DocumentSlice(there, gone, True)


class FakeWorker:
    def __init__(self, setup: FakeSetup) -> None:
        self._setup = setup
        self.clock = WorkerClock()
        self._documents = 0

    def process(self, document: SourceDocument, previous: Previous | None = None) -> DocumentRecord:
        key = document.key
        if key in self._setup.deadly:
            os._exit(11)
        setup = self._setup
        if key in setup.deadly_once and setup.is_first(f"died-{key}"):
            os._exit(12)
        if key in setup.stalling or (key in setup.stalling_once and setup.is_first(f"stalled-{key}")):
            stall(setup.how_to_stall)
        if key in setup.greedy or (key in setup.greedy_once and setup.is_first(f"greedy-{key}")):
            raise MemoryError
        self._documents += 1
        if self._documents >= setup.lifetime and in_a_worker_process():
            os._exit(13)
        if self._setup.document_seconds:
            time.sleep(self._setup.document_seconds)
        self.clock.charge_map()
        return DocumentRecord(
            key=key,
            state=State.LOADED,
            document_hash=b"",
            rows=(f"row of {key}",),
            row_counts=(1,),
            size_bytes=100,
            previous=previous,
        )
