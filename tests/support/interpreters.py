"""A mapper that runs both interpreters of the plan and holds them against each other."""

from __future__ import annotations

import os
from datetime import datetime
from typing import Any

from lxml import etree

from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected, DocumentSkipped
from xml_extractor.mapping.interpreter_choice import InterpreterChoice, why_not_native
from xml_extractor.mapping.records import MappedDocument, Rejection, SourceDocument

REQUIRE_VARIABLE = "XML_EXTRACTOR_REQUIRE_NATIVE"
"""Set where the native interpreter must be there: its tests fail then, instead of being skipped."""

Outcome = MappedDocument | DocumentRejected | DocumentSkipped


class BothMappers:
    """Maps as :class:`DataMapper`; an assertion fails where the two interpreters differ.

    Where the native one was not built it is a plain Python mapper.
    """

    def __init__(self, plan: Plan, load_started_at: datetime) -> None:
        self.python = DataMapper(plan, load_started_at, InterpreterChoice.PYTHON)
        self.native: DataMapper | None = None
        if why_not_native() is None or os.environ.get(REQUIRE_VARIABLE):
            self.native = DataMapper(plan, load_started_at, InterpreterChoice.NATIVE)

    def parse(self, document: SourceDocument) -> etree._Element:
        """Parse once: the tree serves both."""
        return self.python.parse(document)

    def map(self, tree: etree._Element, document: SourceDocument) -> MappedDocument:
        """Map by both, and answer as both do."""
        expected = _outcome(self.python, tree, document)
        if self.native is not None:
            found = _outcome(self.native, tree, document)
            assert _plain(found) == _plain(expected), "the interpreters differ (native, Python)"
        if isinstance(expected, MappedDocument):
            return expected
        raise expected


def _outcome(mapper: DataMapper, tree: etree._Element, document: SourceDocument) -> Outcome:
    try:
        return mapper.map(tree, document)
    except (DocumentRejected, DocumentSkipped) as refused:
        return refused


def _plain(outcome: Outcome) -> tuple[Any, ...]:
    """All that can be seen of an outcome; values as text, so that 1, True and Decimal('1.0') are three."""
    if isinstance(outcome, MappedDocument):
        return repr(outcome.rows), outcome.truncated_values, outcome.unknown_elements
    rejection: Rejection = outcome.rejection
    return type(outcome), rejection
