"""What ``doctor`` looks at in a SQLite file."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from xml_extractor.contract.plan import SourcePlan
from xml_extractor.engines.base import BatchEstimate, Finding, Health
from xml_extractor.engines.ddl import quote_identifier, split_name
from xml_extractor.engines.sqlite_session import SqliteSession

LITTLE_SPACE: Final = 2**30
"""Bytes free on the file's disk below which a load may well not end."""

BATCHES_OF_SPACE: Final = 100
"""The space for so many batches should be there: a batch takes up to three times its bytes (file, its
indexes, and the log that is folded into it later)."""


def examine_source(session: SqliteSession, path: str, source: SourcePlan) -> Iterator[Finding]:
    """Look at the file as a source."""
    yield _file(path)
    yield from _key_index(session, source)


def examine_target(session: SqliteSession, path: str, batch: BatchEstimate | None) -> Iterator[Finding]:
    """Look at the file as a target."""
    yield _file(path)
    yield _writable(Path(path))
    yield _journal(session)
    yield _space(Path(path), batch)


def _file(path: str) -> Finding:
    size = Path(path).stat().st_size / 2**20
    return Finding(
        Health.GOOD,
        "server",
        f"none: SQLite {sqlite3.sqlite_version} in this process, file of {size:,.1f} MiB",
    )


def _key_index(session: SqliteSession, source: SourcePlan) -> Iterator[Finding]:
    subject, key = f"index of {source.table}", quote_identifier(source.key)
    collation = session.unique_collation(source)
    if collation is not None and collation.upper() == "BINARY":
        yield Finding(Health.GOOD, subject, f"{source.key} is the table's key, or has a unique index")
        return
    if session.query("SELECT 1 FROM sqlite_master WHERE type = 'view' AND name = ?", (source.table,)):
        yield Finding(Health.NOTE, subject, f"{source.table} is a view: its tables' indexes decide")
        return
    why = (
        "no unique index" if collation is None else f"a unique index under {collation}, and keys are in bytes"
    )
    *schema, table = split_name(source.table)
    names = session.query("SELECT name FROM pragma_table_xinfo(?, ?)", (table, schema[0] if schema else None))
    if source.key.lower() not in {name.lower() for (name,) in names}:
        return  # what is not there needs no index; the finding on the key says that it is missing
    place = f"{quote_identifier(schema[0])}." if schema else ""
    index = quote_identifier(f"{table}_{source.key}_unique")
    yield Finding(
        Health.WARNING,
        subject,
        f"{source.key} has {why}: each page of keys sorts the whole table",
        f"CREATE UNIQUE INDEX {place}{index} ON {quote_identifier(table)} ({key} COLLATE BINARY)",
    )


def _writable(path: Path) -> Finding:
    # SQLite keeps its log in a second file beside the first.
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            return Finding(
                Health.PROBLEM, "permissions", f"{place} cannot be written to by this user",
                f"give the user that runs the loader the right to write to {place}",
            )  # fmt: skip
    return Finding(Health.GOOD, "permissions", "file and folder can be written to")


def _journal(session: SqliteSession) -> Finding:
    mode = str(session.query("PRAGMA journal_mode")[0][0]).lower()
    if mode == "wal":
        return Finding(Health.GOOD, "journal", "WAL: readers and the writer do not wait for one another")
    return Finding(
        Health.NOTE, "journal", f"{mode}; a load changes it to WAL, so that reading goes on while it writes"
    )


def _space(path: Path, batch: BatchEstimate | None) -> Finding:
    free = shutil.disk_usage(path.parent).free
    wanted = max(LITTLE_SPACE, 0 if batch is None else 3 * BATCHES_OF_SPACE * batch.size_bytes)
    text = f"{free / 2**30:,.1f} GiB free on the file's disk"
    if free >= wanted:
        return Finding(Health.GOOD, "disk", text)
    return Finding(
        Health.WARNING,
        "disk",
        f"{text}: little for a large load",
        "make room, or move the file to another disk",
    )
