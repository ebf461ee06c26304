"""One document's way through a worker: parse, map, hash, encode."""

from __future__ import annotations

from datetime import datetime

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected, DocumentSkipped
from xml_extractor.mapping.document_hash import document_hash
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import (
    DocumentRecord,
    Key,
    Look,
    Previous,
    Rejection,
    Renewal,
    SourceDocument,
    State,
)
from xml_extractor.profiling.clocks import WorkerClock

RECORD_OVERHEAD_BYTES = 400
"""What a record costs beside its rows: measured as the growth of a process holding 100,000 empty ones."""

_LOOKS_FIRST = (Renewal.REPORT, Renewal.REPLACE)


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
        self._mapper = DataMapper(plan, load_started_at, encoder=encoder)
        self._needs_hash = needs_hash

    def process(self, document: SourceDocument, previous: Previous | None = None) -> DocumentRecord:
        """Return the document's record, whatever is wrong with the document; never raises for it."""
        failpoints.hit("worker_document", key=document.key)
        clock = self.clock
        hashed: bytes | None = None
        if previous is not None and previous.renewal in _LOOKS_FIRST:
            hashed = document_hash(document)
            look = _look(previous, hashed)
            clock.charge_map()
            if look is not None:
                return _left(document.key, previous, look)
        try:
            try:
                tree = self._mapper.parse(document)
            finally:
                clock.charge_parse()
            mapped = self._mapper.encode(tree, document)
        except DocumentRejected as rejected:
            return self._refused(document, State.QUARANTINED, rejected.rejection, previous, hashed)
        except DocumentSkipped as skipped:
            return self._refused(document, State.SKIPPED, skipped.rejection, previous, hashed)
        record = DocumentRecord(
            key=document.key,
            state=State.LOADED,
            document_hash=self._hash(document) if hashed is None else hashed,
            rows=mapped.rows,
            row_counts=mapped.row_counts,
            size_bytes=mapped.size_bytes + RECORD_OVERHEAD_BYTES,
            truncated_values=mapped.truncated_values,
            unknown_elements=mapped.unknown_elements,
            previous=previous,
        )
        clock.charge_map()
        return record

    def _hash(self, document: SourceDocument) -> bytes:
        return document_hash(document) if self._needs_hash else b""

    def _refused(
        self,
        document: SourceDocument,
        state: State,
        rejection: Rejection,
        previous: Previous | None,
        hashed: bytes | None,
    ) -> DocumentRecord:
        record = DocumentRecord(
            key=document.key,
            state=state,
            document_hash=self._hash(document) if hashed is None else hashed,
            size_bytes=RECORD_OVERHEAD_BYTES,
            rejection=rejection,
            previous=previous,
        )
        self.clock.charge_map()
        return record


def _left(key: Key, previous: Previous, look: Look) -> DocumentRecord:
    """Return the record of a document that the ledger knows and that is not mapped."""
    return DocumentRecord(
        key=key,
        state=State.QUARANTINED if look is Look.STILL_REFUSED else previous.state,
        document_hash=previous.document_hash or b"",
        size_bytes=RECORD_OVERHEAD_BYTES,
        previous=previous,
        look=look,
    )


def _look(previous: Previous, hashed: bytes) -> Look | None:
    """Say what comparing a known document's hash shows; None: it has changed and is to be mapped."""
    # A loaded document has a hash; where somebody has removed it, only mapping it anew can settle things.
    if hashed == (previous.document_hash or b"") and (hashed or previous.state is not State.LOADED):
        restored = previous.has_refused and previous.renewal is Renewal.REPLACE
        return Look.RESTORED if restored else Look.UNCHANGED
    if previous.has_refused and hashed == previous.refused_hash:
        return Look.STILL_REFUSED
    return Look.CHANGED if previous.renewal is Renewal.REPORT else None
