"""All that a worker needs to know, in a form that can be sent to another process."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.source.reader import SourceReader


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """What a worker needs to know.  Picklable, immutable."""

    source: Engine
    plan: Plan
    load_started_at: datetime
    encoder: RowEncoder | None
    needs_hash: bool
    retry_seconds: float

    def make_reader(self) -> SourceReader:
        """Return a reader of the source, not yet open."""
        return SourceReader(self.source, self.plan.source, retry_seconds=self.retry_seconds)

    def make_worker(self) -> DocumentWorker:
        """Return a worker that makes records for the target."""
        return DocumentWorker(self.plan, self.load_started_at, self.encoder, self.needs_hash)
