"""Maps one document by a contract written as YAML."""

from __future__ import annotations

from datetime import UTC, datetime
from textwrap import dedent, indent
from typing import Any

import pytest

from tests.support.interpreters import BothMappers
from xml_extractor.contract import Contract
from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import Value
from xml_extractor.mapping.records import Key, MappedDocument, Rejection, SourceDocument
from xml_extractor.mapping.rejection import DocumentRejected, DocumentSkipped

STARTED_AT = datetime(2024, 5, 6, 7, 8, 9, tzinfo=UTC)

Rows = list[tuple[Value, ...]]


def plan_of(tables: str, head: str = "document: {root: /r}") -> Plan:
    text = (
        "contract: t\nversion: 1\nsource: {table: app_xml, key: id, document: doc}\n"
        + dedent(head).strip()
        + "\ntables:\n"
        + indent(dedent(tables).strip("\n"), "  ")
        + "\n"
    )
    return Contract.from_text(text, "contract").plan


class Mapped:
    """A mapped document, its rows by table."""

    def __init__(self, plan: Plan, result: MappedDocument) -> None:
        self.result = result
        self.rows: dict[str, Rows] = {t.name: r for t, r in zip(plan.tables, result.rows, strict=True)}

    def __getitem__(self, table: str) -> Rows:
        return self.rows[table]


def map_document(plan: Plan, content: str | bytes, key: Key = 1, columns: tuple[Any, ...] = ()) -> Mapped:
    mapper = BothMappers(plan, STARTED_AT)
    document = SourceDocument(key, content, columns)
    tree = mapper.parse(document)
    first = mapper.map(tree, document)
    assert mapper.map(tree, document) == first, "a mapper must keep nothing of a document"
    if isinstance(content, str):
        same = SourceDocument(key, content.encode(), columns, is_text=True)
        assert mapper.map(mapper.parse(same), same) == first, "a text is the same as the bytes of it"
    return Mapped(plan, first)


def rejected(plan: Plan, content: str | bytes, key: Key = 1, columns: tuple[Any, ...] = ()) -> Rejection:
    with pytest.raises(DocumentRejected) as caught:
        map_document(plan, content, key, columns)
    assert "SECRET" not in str(caught.value.rejection)
    return caught.value.rejection


def skipped(plan: Plan, content: str | bytes) -> Rejection:
    with pytest.raises(DocumentSkipped) as caught:
        map_document(plan, content)
    assert "SECRET" not in str(caught.value.rejection)
    return caught.value.rejection
