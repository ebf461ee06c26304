"""What has to hold for every document, whatever it is; the fuzzers and the tests ask for the same."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from lxml import etree

from tests.fuzz.conformity import problems
from tests.support.interpreters import BothMappers
from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan, SourceKind
from xml_extractor.engines import open_engine
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.records import MappedDocument, Rejection, SourceDocument, State
from xml_extractor.mapping.rejection import DocumentRejected, DocumentSkipped
from xml_extractor.processing.document_worker import DocumentWorker

STARTED_AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)
_PROJECT = Path(__file__).parents[2]
CONTRACTS = {
    "loan_application": _PROJECT / "config/loan_application.yaml",
    "discogs_releases": _PROJECT / "config/discogs_releases.yaml",
    "everything": Path(__file__).with_name("everything.yaml"),
}


class Broken(AssertionError):
    """An invariant that does not hold; the message never quotes the document."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a document: exactly one member is filled."""

    mapped: MappedDocument | None = None
    rejected: Rejection | None = None
    skipped: Rejection | None = None


def outcome(mapper: DataMapper | BothMappers, document: SourceDocument) -> Outcome:
    """Map one document; anything raised but a refusal goes through to the caller."""
    try:
        return Outcome(mapped=mapper.map(mapper.parse(document), document))
    except DocumentRejected as rejected:
        return Outcome(rejected=rejected.rejection)
    except DocumentSkipped as skipped:
        return Outcome(skipped=skipped.rejection)


class Checked:
    """One contract with a mapper that is kept and a worker, as a load has them.  Not thread-safe."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._mapper = BothMappers(plan, STARTED_AT)
        self._workers = [
            DocumentWorker(plan, STARTED_AT, open_engine(url).encoder(plan), needs_hash=True)
            for url in ("sqlite:///unused.db", "postgresql://unused/unused")
        ]
        self._keeps_text = any(
            column.source.kind is SourceKind.DOCUMENT for table in plan.tables for column in table.columns
        )

    def check(self, content: str | bytes | None, key: int | str = 7) -> Outcome:
        """Map a document and look at everything that has to hold.

        Raises:
            Broken: something does not hold.
        """
        document = SourceDocument(key, content)
        first = outcome(self._mapper, document)
        if first.rejected is not None and first.rejected.code == "internal_error":
            raise Broken(first.rejected.message)
        if outcome(self._mapper, document) != first:
            raise Broken("the same document gave another result the second time")
        for worker in self._workers:
            record = worker.process(document)
            state = State.LOADED if first.mapped else State.QUARANTINED if first.rejected else State.SKIPPED
            if record.state is not state:
                raise Broken(f"the worker says {record.state} and the mapper {state}")
        if first.mapped is not None:
            found = problems(self.plan, first.mapped)
            if found:
                raise Broken("; ".join(found[:5]))
            if not self._keeps_text:
                self._check_serialised(document, first)
        return first

    def _check_serialised(self, document: SourceDocument, first: Outcome) -> None:
        """Written out as the parser understood it and read again, a document is the same document."""
        root = self._mapper.parse(document)
        text = etree.tostring(root, encoding="unicode")
        for content in (text, etree.tostring(root, encoding="utf-16")):
            if outcome(self._mapper, SourceDocument(document.key, content)) != first:
                raise Broken(f"written as {type(content).__name__} and read again it is another document")


@cache
def checked(name: str) -> Checked:
    """The checker of one of :data:`CONTRACTS`, made once."""
    return Checked(read_contract(CONTRACTS[name]).plan)
