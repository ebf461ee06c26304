"""A mapper that runs both interpreters of the plan and holds them against each other."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import pytest
from lxml import etree

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.encoding import CopyEncoder, ParameterEncoder
from xml_extractor.engines.mssql.bulkcopy import BulkEncoder
from xml_extractor.engines.mssql.encoders import JsonEncoder, TextTupleEncoder
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected, DocumentSkipped
from xml_extractor.mapping.encoded import encoded
from xml_extractor.mapping.interpreter_choice import InterpreterChoice, encoder_of, why_not_native
from xml_extractor.mapping.layouts import LayoutEncoder
from xml_extractor.mapping.records import EncodedDocument, MappedDocument, Rejection, SourceDocument

# Where it has to be there, tests/conftest.py sees to that.
needs_native = pytest.mark.skipif(
    why_not_native() is not None, reason=f"the native interpreter is not there: {why_not_native()}"
)

Outcome = MappedDocument | DocumentRejected | DocumentSkipped


class BothMappers:
    """Maps as :class:`DataMapper`; an assertion fails where the two interpreters differ.

    What the native one makes of a document for each kind of target is held against what that target's
    encoder makes of the Python interpreter's rows.  Where the native one was not built it is a plain Python
    mapper.
    """

    def __init__(self, plan: Plan, load_started_at: datetime) -> None:
        self.python = DataMapper(plan, load_started_at, InterpreterChoice.PYTHON)
        self.native: DataMapper | None = None
        self.encoding: list[tuple[LayoutEncoder, DataMapper]] = []
        if why_not_native() is None:
            self.native = DataMapper(plan, load_started_at, InterpreterChoice.NATIVE)
            for encoder in _encoders(plan):
                mapper = DataMapper(plan, load_started_at, InterpreterChoice.NATIVE, encoder)
                assert encoder_of(mapper._interpreter) is not None, "it does not encode natively"
                self.encoding.append((encoder, mapper))

    def parse(self, document: SourceDocument) -> etree._Element:
        """Parse once: the tree serves both."""
        return self.python.parse(document)

    def map(self, tree: etree._Element, document: SourceDocument) -> MappedDocument:
        """Map by both, and answer as both do."""
        expected = _outcome(self.python, tree, document)
        if self.native is not None:
            found = _outcome(self.native, tree, document)
            assert _plain(found) == _plain(expected), "the interpreters differ (native, Python)"
        for encoder, mapper in self.encoding:
            assert _encoded(mapper, tree, document) == _encoded_rows(expected, encoder), (
                f"what the native interpreter writes is not what {type(encoder).__name__} makes of the rows"
            )
        if isinstance(expected, MappedDocument):
            return expected
        raise expected


def _encoders(plan: Plan) -> list[LayoutEncoder]:
    names = [table.name for table in plan.tables]
    return [
        CopyEncoder.of(plan), ParameterEncoder.of(plan), JsonEncoder.of(plan), TextTupleEncoder.of(plan),
        BulkEncoder.of(plan, names[::2]),
    ]  # fmt: skip


def _encoded(mapper: DataMapper, tree: etree._Element, document: SourceDocument) -> tuple[Any, ...]:
    try:
        return _seen(mapper.encode(tree, document))
    except (DocumentRejected, DocumentSkipped) as refused:
        return _plain(refused)


def _encoded_rows(expected: Outcome, encoder: LayoutEncoder) -> tuple[Any, ...]:
    return _seen(encoded(expected, encoder)) if isinstance(expected, MappedDocument) else _plain(expected)


def _seen(document: EncodedDocument) -> tuple[Any, ...]:
    return (repr([piece or None for piece in document.rows]), *document[1:])


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
