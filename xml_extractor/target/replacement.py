"""Rows that a document left in the data tables when it was loaded before, and their removal.

They are found by the column that carries the source key, in every table.  The ledger says how many rows
were loaded; more of them now means that somebody else's rows carry the same key, and nothing is deleted.
Used to load documents anew (changed, or under a changed contract) and to roll a load back.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from xml_extractor.contract.plan import Column, Plan, SourceKind, Table
from xml_extractor.contract.types import Family
from xml_extractor.engines.base import Engine, Session
from xml_extractor.errors import TargetError
from xml_extractor.mapping.records import Key
from xml_extractor.target import ledger
from xml_extractor.target.bookkeeping import LEDGER, RUNS

RowCounts = Mapping[str, int]
"""Rows by table name."""

GROUP_DOCUMENTS: Final = 500
GROUP_ROWS: Final = 20_000
"""What one statement deletes at most, but for a document that is larger by itself: well within the time
that a statement may take, and few round trips a document."""


NAMED: Final = 20
"""Documents that a message names at most: enough to see what they have in common."""


@dataclass(frozen=True, slots=True)
class Difference:
    """Why the rows of a document are not deleted."""

    what: str
    """A clause that names the key, the table and the numbers of rows."""
    remedy: str


class RowsDifferError(TargetError):
    """The data tables hold other rows of some documents than the ledger recorded; nothing was deleted.

    Args:
        differences: by source key; never empty.
    """

    def __init__(self, differences: Mapping[Key, Difference]) -> None:
        self.differences = dict(differences)
        key, first = next(iter(self.differences.items()))
        others = [ledger.key_text(other) for other in self.differences if other != key]
        also = ""
        if others:
            named = ", ".join(others[: NAMED - 1]) + (", …" if len(others) >= NAMED else "")
            also = f" The same batch holds {len(others):,} more documents that differ, with key {named}."
        super().__init__(
            f"{first.what}. Nothing of this batch was changed; {first.remedy}.{also}".rstrip(".")
        )


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
    is_changed = conversion.apply or conversion.enum is not None or conversion.protection is not None
    if column.source.kind is not SourceKind.KEY or is_changed:
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
    """Deletes what documents have in the data tables: before they are loaded anew, or for good.

    Belongs to one thread.  Every call must be in a transaction that is rolled back if it raises.

    Args:
        plan: of the contract that the documents were loaded with.
        advice: what the operator may do instead, for messages.
    """

    def __init__(self, engine: Engine, plan: Plan, advice: str) -> None:
        self._engine = engine
        self._advice = advice
        self._tables_of_loads: dict[int, tuple[str, ...]] = {}
        self._tables: list[tuple[str, str, Callable[[Key], Any]]] = []
        """Name, key column, and what makes the column's value of a key; children first."""
        for table in reversed(plan.tables):
            values = key_values(plan, table)
            if values is not None:
                assert table.key_column is not None
                self._tables.append((table.name, table.columns[table.key_column].name, values))
        self._reachable = {name for name, _, _ in self._tables}

    def recorded(self, session: Session, loaded: Iterable[tuple[Key, int, str]]) -> dict[Key, RowCounts]:
        """Return the rows per table of loaded documents, as the ledger knows them.

        Args:
            loaded: of each document its key, and ``load_id`` and ``row_counts`` of its ledger row.
        """
        documents = list(loaded)
        if any(load_id not in self._tables_of_loads for _, load_id, _ in documents):
            self._tables_of_loads = {
                int(load_id): tuple(json.loads(tables))
                for load_id, tables in session.query(f"SELECT load_id, tables FROM {session.table(RUNS)}")
            }
        return {
            key: dict(
                zip(
                    self._tables_of_loads.get(load_id, ()),
                    ledger.counts_from_text(row_counts),
                    strict=False,  # a run whose row was deleted: no counts to compare with
                )
            )
            for key, load_id, row_counts in documents
        }

    def delete(self, session: Session, documents: Mapping[Key, RowCounts], *, exact: bool = False) -> int:
        """Delete the rows of documents, children first; return how many they were.

        Args:
            documents: with the rows per table that were loaded for each.
            exact: refuse where fewer rows are there than were loaded, too.  Without it, only where there is
                none: what was taken away from a document that is loaded anew comes back.

        Raises:
            RowsDifferError: there are more rows of a key than the ledger says were loaded, or too few.
            TargetError: a document's rows cannot be found for certain, or another program changes them.
        """
        for key, counts in documents.items():
            unreachable = [name for name, number in counts.items() if number and name not in self._reachable]
            if unreachable:
                raise TargetError(
                    f"the rows of key {ledger.key_text(key)} in {', '.join(unreachable)} cannot be found, "
                    "because no column there carries the source key as it is, or the contract does not have "
                    f"that table any more; {self._advice}"
                )
        return sum(self._delete_group(session, group, exact) for group in _groups(documents))

    def _delete_group(self, session: Session, documents: Mapping[Key, RowCounts], exact: bool) -> int:
        there = {
            name: self._counted(session, name, column, values, documents)
            for name, column, values in self._tables
        }
        differences = {}
        for key, counts in documents.items():
            found = {name: by_key.get(key, 0) for name, by_key in there.items()}
            difference = self._difference(key, counts, found, exact)
            if difference is not None:
                differences[key] = difference
        if differences:
            raise RowsDifferError(differences)
        deleted = 0
        for name, column, values in self._tables:
            wanted = sum(there[name].values())
            if not wanted:
                continue
            keys = [values(key) for key in there[name]]
            number = session.delete_rows(name, column, keys)
            if number != wanted:
                raise TargetError(
                    f"{name} held {wanted} rows of {len(keys)} documents, the first with key "
                    f"{ledger.key_text(next(iter(there[name])))}, and {number} were deleted: another program "
                    "changes these rows. Nothing of this batch was changed; end it, then run the same "
                    "command again"
                )
            deleted += number
        return deleted

    def _counted(
        self,
        session: Session,
        table: str,
        column: str,
        values: Callable[[Key], Any],
        documents: Iterable[Key],
    ) -> dict[Key, int]:
        """Return key → rows in a table."""
        by_value = {values(key): key for key in documents}
        found = session.count_rows(table, column, list(by_value))
        strange = [value for value in found if value not in by_value]
        if strange:
            raise TargetError(
                f"{table} holds rows of key {ledger.key_text(strange[0])}, which {column} there does not "
                "tell from the key of a document whose rows are to be deleted. Nothing of this batch was "
                f"changed; {self._advice}"
            )
        return {by_value[value]: number for value, number in found.items()}

    def _difference(self, key: Key, loaded: RowCounts, there: RowCounts, exact: bool) -> Difference | None:
        text = ledger.key_text(key)
        for name, number in there.items():
            recorded = loaded.get(name, 0)
            if number > recorded:
                return Difference(
                    f"{name} holds {number} rows of key {text}, and {recorded} were loaded: rows of another "
                    "source or program would be deleted with them",
                    f"move those rows, or {self._advice}",
                )
            if exact and number < recorded:
                return Difference(
                    f"{name} holds {number} rows of key {text}, and {recorded} were loaded: it is not known "
                    "what became of the others",
                    f"restore them, or {self._advice}",
                )
        total = sum(loaded.values())
        if total and not sum(there.values()):
            return Difference(
                f"of the {total} rows that were loaded for key {text} none is in "
                f"{self._engine.display} any more: it is not known what became of them",
                f"restore them, or delete the document's row from {LEDGER} to load it as a new one",
            )
        return None


def _groups(documents: Mapping[Key, RowCounts]) -> Iterator[dict[Key, RowCounts]]:
    """Cut documents into groups of which all rows can be deleted by one statement a table."""
    group: dict[Key, RowCounts] = {}
    rows = 0
    for key, counts in documents.items():
        number = sum(counts.values())
        if group and (len(group) >= GROUP_DOCUMENTS or rows + number > GROUP_ROWS):
            yield group
            group, rows = {}, 0
        group[key] = counts
        rows += number
    if group:
        yield group
