"""Statements by which documents are read; what they give is tested on servers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.plans import SOURCE
from xml_extractor.engines.postgresql_documents import DocumentReading

CONNECTION: Any = SimpleNamespace(info=SimpleNamespace(parameter_status=lambda name: "UTF8"))


@pytest.mark.parametrize(
    ("key_type", "collation", "exact"),
    [("text", ' COLLATE "C"', ' AND "app_id" COLLATE "C" = ANY ($1::text[])'), ("bigint", "", "")],
)
def test_pieces_are_of_the_one_row_whose_key_is_exactly_that(
    key_type: str, collation: str, exact: str
) -> None:
    """A server on which a column takes two keys for equal is not at hand everywhere (it needs ICU)."""
    reading = DocumentReading(
        CONNECTION, SOURCE, '"app_xml"', key_type=key_type, document_type="text", column_types=[],
        collation=collation, run=lambda call: call(),
    )  # fmt: skip
    wanted = f'FROM "app_xml" WHERE "app_id" = ANY ($1::{key_type}[]){exact} OFFSET 0'
    assert wanted in reading._pieces
