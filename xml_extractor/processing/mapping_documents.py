"""Maps fetched documents one by one, so that not even the memory that one of them takes stops a load."""

from __future__ import annotations

import gc
import logging
from collections.abc import Iterator
from typing import Final

from xml_extractor.mapping.records import (
    DocumentRecord,
    Previous,
    Rejection,
    SourceDocument,
    Stage,
    State,
)
from xml_extractor.processing.document_fetcher import FetchedDocuments
from xml_extractor.processing.document_worker import RECORD_OVERHEAD_BYTES, DocumentWorker
from xml_extractor.processing.pulse import Pulse

logger = logging.getLogger(__name__)

BLOCK_DOCUMENTS: Final = 64
"""Records handed on at once: the queue's lock is then taken once for so many documents, and a worker's
process and its feeder wake one another as rarely."""

BLOCK_BYTES: Final = 2**20
"""The most that the records of a block hold, but for the last of them, so that blocks are bounded, too."""


def map_in_blocks(
    worker: DocumentWorker, fetched: FetchedDocuments, pulse: Pulse
) -> Iterator[list[DocumentRecord]]:
    """Map the documents of a slice, yielding their records in blocks."""
    previous = fetched.chunk.previous
    worker.clock.begin_documents()
    block: list[DocumentRecord] = []
    block_bytes = 0
    for document in fetched.documents:
        record = map_document(worker, document, previous.get(document.key), pulse)
        block.append(record)
        block_bytes += record.size_bytes
        if len(block) == BLOCK_DOCUMENTS or block_bytes >= BLOCK_BYTES:
            yield block
            block, block_bytes = [], 0
            worker.clock.begin_documents()
    if block:
        yield block


def map_document(
    worker: DocumentWorker, document: SourceDocument, previous: Previous | None, pulse: Pulse
) -> DocumentRecord:
    """Return the document's record; one that takes more memory than there is, is refused.

    It is tried twice: others may have taken the memory the first time.  What a document leaves behind in
    its worker does not outlast it, so the next one is mapped as if nothing had been.
    """
    pulse.begin(document.key)
    try:
        for attempt in (1, 2):
            try:
                return worker.process(document, previous)
            except MemoryError:
                logger.warning("out of memory over document %r (attempt %d of 2)", document.key, attempt)
            gc.collect()
        return refused(
            document.key, previous, "out_of_memory",
            "the memory that was left did not do to map it, twice; replay it with fewer --workers, or with "
            "more memory",
        )  # fmt: skip
    finally:
        pulse.end()
        worker.clock.document_done(document.key)


def refused(key: int | str, previous: Previous | None, code: str, message: str) -> DocumentRecord:
    """Return the record of a document that goes to quarantine for what it does to its worker."""
    return DocumentRecord(
        key=key,
        state=State.QUARANTINED,
        document_hash=b"",
        size_bytes=RECORD_OVERHEAD_BYTES,
        rejection=Rejection(Stage.WORKER, code, message),
        previous=previous,
    )


OUT_OF_MEMORY: Final = (
    "The program got no more memory, and no single document is known to be the cause. What is committed "
    "stays, and the same command goes on from there; give it more memory, or run it with fewer --workers, a "
    "smaller --batch-bytes and a lower --memory-limit"
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is, or was caused by, the lack of memory."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if isinstance(current, MemoryError):
            return True
        seen.add(id(current))
        current = current.__cause__ or current.__context__
    return False
