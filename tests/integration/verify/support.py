"""A loaded database that tests break, and what ``verify`` makes of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.integration.contracts.support import contract_of, loaded, stage_documents
from tests.support.tables import execute
from xml_extractor import Contract, LoadOptions
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import table_specs
from xml_extractor.mapping.records import Key
from xml_extractor.operations.verification import VerifyOptions, VerifyReport, verify
from xml_extractor.settings import ExecutorChoice

TABLES = """
t:
  primary_key: k
  columns:
    k: {from: $key, type: KEY}
    v: {from: v, type: nvarchar(20)}
    d: {from: d, type: "decimal(12,2)"}
    at: {expr: "GETUTCDATE()", type: datetime2(6)}
u:
  parent: t
  rows: u
  primary_key: [k, n]
  columns:
    k: {from: $parent}
    n: {from: $position, type: int}
    v: {from: ., type: nvarchar(20)}
    e: {from: "@e", type: float}
"""

Finding = tuple[Key | None, str | None, str | None, str, int]
"""(key, table, column, kind, count)"""


def contract(key: str = "int", *, version: str = "") -> Contract:
    """A parent and a child, both with the source key."""
    return contract_of(TABLES.replace("KEY", key) + version)


def document(number: int, children: int | None = None) -> str:
    """A document with a child for each unit of its number, or as many as told."""
    inner = "".join(
        f"<u e='{n}.5'>c{number}.{n}</u>" for n in range(number if children is None else children)
    )
    return f"<r><v>v{number}</v><d>{number}.10</d>{inner}</r>"


DOCUMENTS: dict[Key, str | None] = {
    1: document(1), 2: document(2), 3: document(3), 4: document(4), 5: "<r><d>much</d></r>", 6: "<other/>",
    7: document(7), 8: document(8, 0),
}  # fmt: skip
"""Six are loaded, one is quarantined, one skipped."""


def create_loose_tables(url: str, plan: Plan) -> None:
    """Create the data tables without keys of any kind, so that SQL can do to them what it likes."""
    engine = open_engine(url)
    loose = [
        replace(
            spec,
            columns=tuple(replace(column, nullable=True) for column in spec.columns),
            primary_key=(),
            foreign_key=(),
            parent=None,
        )
        for spec in table_specs(plan)
    ]
    execute(url, *engine.create_statements(loose))


def prepare(url: str, made: Contract, documents: dict[Key, str | None] | None = None, **options: Any) -> None:
    """Stage documents and load them into loose tables."""
    stage_documents(url, DOCUMENTS if documents is None else documents)
    create_loose_tables(url, made.plan)
    loaded(url, made, **options)


def verified(
    url: str, made: Contract, folder: Path, *, deep: bool = False, source: str | None = None, **options: Any
) -> tuple[VerifyReport, list[Finding]]:
    """Verify, and return the report with the manifest."""
    manifest = folder / "manifest.jsonl"
    options = {"workers": 2, "executor": ExecutorChoice.THREAD, **options}
    report = verify(
        source or url, url, made, LoadOptions(**options), VerifyOptions(deep=deep, manifest=manifest)
    )
    lines = [json.loads(line) for line in manifest.read_text(encoding="utf-8").splitlines()]
    found = [(line["key"], line["table"], line["column"], line["kind"], line["count"]) for line in lines]
    assert sum(finding[4] for finding in found) == sum(report.differences.values())
    return report, sorted(found, key=repr)
