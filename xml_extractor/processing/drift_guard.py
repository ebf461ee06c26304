"""The drift guard: before the first document is dispatched, a sample says whether the load makes sense.

When a source changes its documents, or a wrong contract is named, each document would be refused by
itself, and a night's load would end with a full quarantine.  So documents from across the key range are
mapped first, and nothing is written: if too many of them would be refused, or hold elements that the
contract does not know and asks to be told of, the load halts with what differs.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final

from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.expected_paths import ExpectedPaths
from xml_extractor.mapping.records import DocumentRecord, Stage, State
from xml_extractor.mapping.rejection import DocumentRejected
from xml_extractor.mapping.unknown_elements import UnknownElements
from xml_extractor.mapping.xml_parser import DocumentParser
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.drift_report import DriftReport, Refusals
from xml_extractor.processing.drift_sample import PendingSample, try_documents
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.throttle import Throttle
from xml_extractor.processing.worker_setup import WorkerSetup
from xml_extractor.settings import MIN_DRIFT_SAMPLE, LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LoadHandle

logger = logging.getLogger(__name__)

EXAMPLE_KEYS: Final = 3
"""Keys named for each reason."""

MAX_THROTTLED_SECONDS: Final = 60.0
"""A load held back so much that a sample takes longer starts without one: it does harm as slowly, and
``--max-quarantined`` can halt it."""


class DriftGuard:
    """Tries a sample of the pending documents.  For one thread, once a load.

    Args:
        setup: as the load's workers have it.
        reader: open; used by the calling thread alone.
        state: of the load's pipeline.
    """

    def __init__(
        self, setup: WorkerSetup, reader: SourceReader, load: LoadHandle, options: LoadOptions,
        state: PipelineState, throttle: Throttle,
    ) -> None:  # fmt: skip
        self._setup = setup
        self._plan: Plan = setup.plan
        self._reader = reader
        self._options = options
        self._state = state
        self._throttle = throttle
        self._sample = PendingSample(reader, load, options, self._plan.digest, state)

    def judge(self, looked_at: Sequence[Chunk], *, is_all: bool) -> DriftReport | None:
        """Return what speaks against the load; ``None`` = nothing, or too few documents to say.

        Args:
            looked_at: what will be dispatched first.
            is_all: whether nothing else will be.

        Raises:
            PipelineStopped: the pipeline has ended.
            SourceError, TargetError: the sample cannot be read.
        """
        options = self._options
        seconds = options.drift_sample / options.throttle if options.throttle else 0.0
        if seconds > MAX_THROTTLED_SECONDS:
            logger.info(
                "drift guard: no sample is tried, because it would take %.0f s at --throttle %g",
                seconds, options.throttle,
            )  # fmt: skip
            return None
        keys = self._sample.keys(looked_at, is_all=is_all, wanted=options.drift_sample)
        if not keys or (len(keys) < MIN_DRIFT_SAMPLE and not self._plan.halt_unknown):
            logger.debug(
                "drift guard: a sample of %d pending documents is too small to judge by (%d)",
                len(keys), MIN_DRIFT_SAMPLE,
            )  # fmt: skip
            return None
        records = try_documents(self._setup, keys, options, self._state, self._throttle)
        if self._state.stopping.is_set():
            return None  # nothing will be dispatched
        refused = [record for record in records if record.state is State.QUARANTINED]
        too_many = len(records) >= MIN_DRIFT_SAMPLE and 100 * len(refused) > options.max_drift * len(records)
        unknown = any(record.unknown_elements for record in records) if self._plan.halt_unknown else False
        logger.debug("drift guard: %d of %d sampled documents would be refused", len(refused), len(records))
        if not too_many and not unknown:
            return None
        return self._compared(records, too_many=too_many)

    def _compared(self, records: Sequence[DocumentRecord], *, too_many: bool) -> DriftReport:
        """Read the sample once more and say in what it differs from the contract."""
        refusals: dict[tuple[str | None, ...], Refusals] = {}
        for record in records:
            why = record.rejection
            if record.state is not State.QUARANTINED or why is None:
                continue
            group = refusals.setdefault(
                (why.stage.value, why.code, why.table, why.column, why.path), Refusals(why)
            )
            group.documents += 1
            if len(group.keys) < EXAMPLE_KEYS:
                group.keys.append(record.key)
        report = DriftReport(
            self._plan,
            max_drift=self._options.max_drift if too_many else None,
            sampled=len(records),
            refused=sum(record.state is State.QUARANTINED for record in records),
            skipped=sum(record.state is State.SKIPPED for record in records),
            refusals=sorted(refusals.values(), key=lambda group: -group.documents),
        )
        self._compare_paths(records, report)
        return report

    def _compare_paths(self, records: Sequence[DocumentRecord], report: DriftReport) -> None:
        # What a worker could not parse, or did not survive, is not tried here.
        keys = [
            record.key
            for record in records
            if record.rejection is None or record.rejection.stage is Stage.MAP
        ]
        other_contract = {
            record.key
            for record in records
            if record.rejection is not None and record.rejection.code == "document_where"
        }
        expected, unknown, parser = ExpectedPaths(self._plan), UnknownElements(self._plan), DocumentParser()
        for slice_ in self._reader.slices(keys):
            for document in slice_.documents:
                try:
                    root = parser.parse(document.content, is_text=document.is_text)
                except DocumentRejected:  # changed since
                    continue
                if not expected.root_fits(root):
                    report.other_roots[root.tag.rpartition("}")[2]] += 1
                elif document.key not in other_contract:
                    report.compared += 1
                    report.absent.update(expected.absent(root))
                    report.unknown.update(unknown.find(root))
        report.never_seen = expected.never_seen() if report.compared else []
