"""A source and a mapper without database and XML, for tests of the worker pools.  Picklable."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xml_extractor.errors import SourceError
from xml_extractor.mapping.records import DocumentRecord, Key, Previous, SourceDocument, State
from xml_extractor.profiling.clocks import WorkerClock


@dataclass(frozen=True, slots=True)
class FakeSetup:
    """Stands for WorkerSetup.

    Documents say by their key what happens: ``gone`` have left the source, ``deadly`` end the worker
    process each time, ``deadly_once`` only the first time (remembered by a file in ``folder``), ``broken``
    fails the reader.
    """

    folder: Path
    gone: frozenset[int] = frozenset()
    deadly: frozenset[int] = frozenset()
    deadly_once: frozenset[int] = frozenset()
    broken: frozenset[int] = frozenset()
    document_seconds: float = 0.0
    dies_at_start: bool = False

    def make_reader(self) -> FakeReader:
        return FakeReader(self)

    def make_worker(self) -> FakeWorker:
        if self.dies_at_start:
            os._exit(9)
        return FakeWorker(self)


class FakeReader:
    def __init__(self, setup: FakeSetup) -> None:
        self._setup = setup

    def open(self) -> None:
        pass

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass

    def documents(self, keys: Sequence[Key]) -> list[SourceDocument]:
        if any(key in self._setup.broken for key in keys):
            raise SourceError("the source has failed")
        return [SourceDocument(key, f"<d>{key}</d>") for key in keys if key not in self._setup.gone]


class FakeWorker:
    def __init__(self, setup: FakeSetup) -> None:
        self._setup = setup
        self.clock = WorkerClock()

    def process(self, document: SourceDocument, previous: Previous | None = None) -> DocumentRecord:
        key = document.key
        if key in self._setup.deadly:
            os._exit(11)
        if key in self._setup.deadly_once:
            mark = self._setup.folder / f"died-{key}"
            if not mark.exists():
                mark.touch()
                os._exit(12)
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
