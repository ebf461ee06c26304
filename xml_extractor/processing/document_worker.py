"""One document's way through a worker: parse, map, hash, encode."""

from __future__ import annotations

from datetime import datetime

import xxhash

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import RowEncoder
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected, DocumentSkipped
from xml_extractor.mapping.records import DocumentRecord, Previous, Rejection, SourceDocument, State
from xml_extractor.profiling.clocks import WorkerClock

RECORD_OVERHEAD_BYTES = 400
"""What a record costs beside its rows: measured as the growth of a process holding 100,000 empty ones."""


class DocumentWorker:
    """Turns source documents into records ready to be committed.  Not thread-safe: one per worker.

    Args:
        plan: the compiled contract.
        load_started_at: what GETUTCDATE() answers, UTC.
        encoder: turns rows into the target's form; ``None`` where the target only counts.
        needs_hash: whether records carry the hash of their document.
    """

    def __init__(
        self, plan: Plan, load_started_at: datetime, encoder: RowEncoder | None, needs_hash: bool
    ) -> None:
        self.clock = WorkerClock()
        self._mapper = DataMapper(plan, load_started_at)
        self._encoder = encoder
        self._needs_hash = needs_hash

    def process(self, document: SourceDocument, previous: Previous | None = None) -> DocumentRecord:
        """Return the document's record, whatever is wrong with the document; never raises for it."""
        failpoints.hit("worker_document", key=document.key)
        clock = self.clock
        try:
            try:
                tree = self._mapper.parse(document)
            finally:
                clock.charge_parse()
            mapped = self._mapper.map(tree, document)
        except DocumentRejected as rejected:
            return self._refused(document, State.QUARANTINED, rejected.rejection, previous)
        except DocumentSkipped as skipped:
            return self._refused(document, State.SKIPPED, skipped.rejection, previous)
        row_counts = tuple(map(len, mapped.rows))
        if self._encoder is None:
            rows: tuple[object, ...] = ()
            size_bytes = 0
        else:
            rows, size_bytes = self._encoder(mapped.rows)
        record = DocumentRecord(
            key=document.key,
            state=State.LOADED,
            document_hash=content_hash(document.content) if self._needs_hash else b"",
            rows=rows,
            row_counts=row_counts,
            size_bytes=size_bytes + RECORD_OVERHEAD_BYTES,
            truncated_values=mapped.truncated_values,
            unknown_elements=mapped.unknown_elements,
            previous=previous,
        )
        clock.charge_map()
        return record

    def _refused(
        self,
        document: SourceDocument,
        state: State,
        rejection: Rejection,
        previous: Previous | None,
    ) -> DocumentRecord:
        record = DocumentRecord(
            key=document.key,
            state=state,
            document_hash=content_hash(document.content) if self._needs_hash else b"",
            size_bytes=RECORD_OVERHEAD_BYTES,
            rejection=rejection,
            previous=previous,
        )
        self.clock.charge_map()
        return record


def content_hash(content: str | bytes | None) -> bytes:
    """Return 16 bytes of XXH3-128 over a document as its driver gave it; ``b""`` for NULL."""
    if content is None:
        return b""
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    return xxhash.xxh3_128_digest(content)
