"""Rows that a document left in the data tables when it was loaded before, and their removal.

They are found by the column that carries the source key, in every table.  The ledger says how many rows
were loaded; more of them now means that somebody else's rows carry the same key, and nothing is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from xml_extractor.contract.plan import Column, Plan, SourceKind, Table
from xml_extractor.contract.types import Family
from xml_extractor.engines.base import Engine, Session
from xml_extractor.errors import TargetError
from xml_extractor.mapping.records import DocumentRecord, Key, State
from xml_extractor.target import ledger
from xml_extractor.target.bookkeeping import LEDGER, RUNS

RowCounts = Mapping[str, int]
"""Rows by table name."""


def key_values(plan: Plan, table: Table) -> Callable[[Key], Any] | None:
    """Return what turns a source key into the value that the table's key column holds for it.

    None where the table has no such column, or where it holds the key in another form than its plain
    text or number (through an enum, a replacement, a decimal or date type), so that rows cannot be
    found by it for certain.
    """
    if table.key_column is None:
        return None
    column: Column = table.columns[table.key_column]
    kind = column.type
    while column.source.kind is SourceKind.PARENT:
        if table.parent is None or column.source.parent_column is None:
            return None
        table = plan.tables[table.parent]
        column = table.columns[column.source.parent_column]
        if column.type != kind:
            return None
    conversion = column.conversion
    if column.source.kind is not SourceKind.KEY or conversion.apply or conversion.enum is not None:
        return None
    if kind.family is Family.INTEGER:
        return int
    if kind.family is Family.TEXT and not kind.is_fixed_length:
        return str
    return None


def tables_without_key(plan: Plan) -> list[str]:
    """Name the tables in which a document's rows cannot be found by its source key."""
    return [table.name for table in plan.tables if key_values(plan, table) is None]


class OldRows:
    """Deletes what documents that are loaded anew had in the data tables.  One thread's."""

    def __init__(self, engine: Engine, plan: Plan) -> None:
        self._engine = engine
        self._tables_of_loads: dict[int, tuple[str, ...]] = {}
        self._deletes: list[tuple[Table, str, Callable[[Key], Any]]] = []
        self._without_key = tables_without_key(plan)
        for table in reversed(plan.tables):  # children first
            values = key_values(plan, table)
            if values is not None:
                assert table.key_column is not None
                column = engine.quote(table.columns[table.key_column].name)
                self._deletes.append((table, f"{column} = ?", values))

    def expected(
        self, session: Session, records: Sequence[DocumentRecord], digests: ledger.DocumentDigests
    ) -> dict[Key, RowCounts]:
        """Return the rows per table that the ledger knows of those records that are loaded already."""
        by_digest = {
            digests.digest(record.key): record.key
            for record in records
            if record.previous is not None and record.previous.state is State.LOADED
        }
        if not by_digest:
            return {}
        found = session.existing(LEDGER, ("digest", "load_id", "row_counts"), "digest", list(by_digest))
        if any(int(load_id) not in self._tables_of_loads for _, load_id, _ in found):
            self._tables_of_loads = {
                int(load_id): tuple(json.loads(tables))
                for load_id, tables in session.query(f"SELECT load_id, tables FROM {session.table(RUNS)}")
            }
        return {
            by_digest[bytes(digest)]: dict(
                zip(
                    self._tables_of_loads.get(int(load_id), ()),
                    ledger.counts_from_text(row_counts),
                    strict=False,  # a run whose row was deleted: no counts to compare with
                )
            )
            for digest, load_id, row_counts in found
        }

    def delete(self, session: Session, record: DocumentRecord, expected: dict[Key, RowCounts]) -> None:
        """Delete a document's old rows, children first, if it was loaded.

        Raises:
            TargetError: there are more rows of this key than the ledger says were loaded, or none at all.
        """
        counts = expected.get(record.key)
        if counts is None or record.previous is None or record.previous.state is not State.LOADED:
            return
        key = ledger.key_text(record.key)
        unreachable = [name for name in self._without_key if counts.get(name)]
        if unreachable:
            raise TargetError(
                f"the rows of key {key} in {', '.join(unreachable)} cannot be replaced, because no column "
                "there carries the source key as it is; use --on-plan-change report"
            )
        deleted = 0
        loaded = sum(counts.values())
        for table, condition, values in self._deletes:
            sql = f"DELETE FROM {session.table(table.name)} WHERE {condition}"
            number = session.execute(sql, (values(record.key),))
            if number > counts.get(table.name, 0):
                raise TargetError(
                    f"{table.name} holds {number} rows of key {key}, and {counts.get(table.name, 0)} were "
                    "loaded: rows of another source or program would be deleted with them. Nothing was "
                    "changed; move those rows, or use --on-plan-change report"
                )
            deleted += number
        if deleted == 0 and loaded:
            raise TargetError(
                f"of the {loaded} rows that were loaded for key {key} none is in "
                f"{self._engine.display} any more: it is not known what became of them. Nothing was changed; "
                f"restore them, or delete the document's row from {LEDGER} to load it as a new one"
            )
