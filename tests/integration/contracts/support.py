"""Loads a few documents by a contract in a few lines, and reads back what SQL finds."""

from __future__ import annotations

from collections.abc import Mapping
from textwrap import dedent, indent
from typing import Any

from tests.support.tables import Tables, dialect_of, execute, portable, query, read_tables
from xml_extractor import Contract, LoadOptions, LoadSummary, load
from xml_extractor.engines import open_engine
from xml_extractor.mapping.records import Key


def contract_of(tables: str, *, head: str = "", root: str = "document: {root: /r}") -> Contract:
    """A contract over ``app_xml`` with these tables; ``head`` and ``root`` are further top-level lines."""
    return Contract.from_text(
        "contract: t\nversion: 1\nsource: {table: app_xml, key: app_id, document: app_xml}\n"
        + dedent(root).strip("\n")
        + "\n"
        + dedent(head).strip("\n")
        + "\ntables:\n"
        + indent(dedent(tables).strip("\n"), "  ")
        + "\n"
    )


def columns_of(*columns: str, head: str = "", root: str = "document: {root: /r}") -> Contract:
    """A contract with one table ``t``, of the source key and these columns."""
    lines = "".join(f"\n    {column}" for column in columns)
    return contract_of(
        f"t:\n  primary_key: k\n  columns:\n    k: {{from: $key, type: int}}{lines}", head=head, root=root
    )


def stage_documents(
    url: str, documents: Mapping[Key, str | None], *, further: Mapping[str, str] | None = None,
    values: Mapping[Key, tuple[Any, ...]] | None = None,
) -> None:  # fmt: skip
    """Write ``app_xml``; ``further`` are more columns with their types, ``values`` what they hold."""
    further = further or {}
    kind = "{name}" if any(isinstance(key, str) for key in documents) else "BIGINT"
    declared = [f"app_id {kind} NOT NULL PRIMARY KEY", "app_xml {text}"]
    declared += [f"{name} {type_}" for name, type_ in further.items()]
    execute(url, portable(dialect_of(url), f"CREATE TABLE app_xml ({', '.join(declared)})"))
    session = open_engine(url).connect(write=True, application="tests")
    try:
        for key, text in documents.items():
            row = {"app_id": key, "app_xml": text}
            row.update(zip(further, (values or {}).get(key, ()), strict=False))
            # Of a NULL nobody knows the type, and not every server takes it for any.
            row = {name: value for name, value in row.items() if value is not None}
            names, marks = ", ".join(row), ", ".join("?" * len(row))
            session.execute(f"INSERT INTO app_xml ({names}) VALUES ({marks})", list(row.values()))
    finally:
        session.close()


def replace_document(url: str, key: Key, text: str) -> None:
    """Change one document of ``app_xml``."""
    session = open_engine(url).connect(write=True, application="tests")
    try:
        assert session.execute("UPDATE app_xml SET app_xml = ? WHERE app_id = ?", [text, key]) == 1
    finally:
        session.close()


def loaded(url: str, contract: Contract, **options: Any) -> LoadSummary:
    """Load what is pending; all in one database, in the test's own process unless told otherwise."""
    options = {"executor": "serial", "create_tables": True, **options}
    return load(url, None, contract, LoadOptions(**options))


def refused(url: str) -> dict[str, str]:
    """Source key → code of what is in quarantine."""
    return {str(key): str(code) for key, code in query(url, "SELECT source_key, code FROM load_quarantine")}


def rows_of(url: str, contract: Contract) -> Tables:
    """All rows of all tables, sorted."""
    return read_tables(url, contract.plan)
