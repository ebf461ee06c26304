"""The first pending documents: what guard and choice of executor judge a load by before it begins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from xml_extractor.mapping.records import SourceDocument
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.executor_choice import SAMPLE_DOCUMENTS
from xml_extractor.processing.throttle import Throttle
from xml_extractor.source.reader import SourceReader, document_bytes

LOOK_AHEAD_DOCUMENTS: Final = 2_000
"""Pending documents that are looked for before anything is dispatched."""

LOOK_AHEAD_SECONDS: Final = 3.0
"""How long they are looked for once there are some: where few are new among millions that are loaded, finding
so many means reading all keys, and what was found is not to wait for that."""

SAMPLE_BYTES: Final = 8 * 2**20
"""The most that the documents timed for the choice of executor may hold."""


@dataclass(slots=True)
class LookAhead:
    """The chunks that will be dispatched first, and whether they are all there are."""

    chunks: list[Chunk] = field(default_factory=list)
    is_all: bool = False


def look_ahead(chunks: Iterator[Chunk], documents: int = 0) -> LookAhead:
    """Take the first chunks, of :data:`LOOK_AHEAD_DOCUMENTS` or as many as are asked for, if that is more;
    fewer where they cannot be found in :data:`LOOK_AHEAD_SECONDS`."""
    ahead = LookAhead()
    wanted, seen = max(LOOK_AHEAD_DOCUMENTS, documents), 0
    deadline = time.monotonic() + LOOK_AHEAD_SECONDS
    # A page of keys is read anyway before the first chunk comes out; what else is pending of it costs
    # nothing more.
    for chunk in chunks:
        ahead.chunks.append(chunk)
        seen += len(chunk.keys)
        if seen >= wanted or time.monotonic() >= deadline:
            return ahead
    ahead.is_all = True
    return ahead


def documents_to_time(reader: SourceReader, ahead: LookAhead, throttle: Throttle) -> list[SourceDocument]:
    """Read the documents by which an executor is chosen; bounded in number and in bytes."""
    keys = [key for chunk in ahead.chunks for key in chunk.keys][:SAMPLE_DOCUMENTS]
    if throttle.per_second is not None:
        # They are read once more to be loaded: no more than the first chunk, and counted.
        keys = keys[: throttle.chunk_documents]
        throttle.take(len(keys))
    sample: list[SourceDocument] = []
    for slice_ in reader.slices(keys):
        sample += slice_.documents
        if sum(map(document_bytes, sample)) >= SAMPLE_BYTES:
            break
    return sample
