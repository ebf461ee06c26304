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
"""How long more are looked for once one has been found: where few are new among millions that are loaded,
finding so many means reading all keys, and what was found is not to wait for that."""

SAMPLE_BYTES: Final = 8 * 2**20
"""The most that the documents timed for the choice of executor may hold."""


@dataclass(slots=True)
class LookAhead:
    """The chunks that will be dispatched first, and whether they are all there are."""

    chunks: list[Chunk] = field(default_factory=list)
    is_all: bool = False


def look_ahead(chunks: Iterator[Chunk], documents: int = 0) -> LookAhead:
    """Take the first chunks, of :data:`LOOK_AHEAD_DOCUMENTS` or as many as are asked for, if that is more;
    fewer where they cannot be found in :data:`LOOK_AHEAD_SECONDS`.

    Args:
        chunks: with an empty one for each page of keys of which nothing is pending.
    """
    ahead = LookAhead()
    wanted, seen = max(LOOK_AHEAD_DOCUMENTS, documents), 0
    deadline: float | None = None
    for chunk in chunks:
        now = time.monotonic()
        if chunk.keys:
            ahead.chunks.append(chunk)
            seen += len(chunk.keys)
            deadline = now + LOOK_AHEAD_SECONDS if deadline is None else deadline
        if seen >= wanted or (deadline is not None and now >= deadline):
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
