"""What the tables hold: rows by source key, and rows without their parents."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

from xml_extractor.contract.plan import Plan, Table
from xml_extractor.engines.base import Engine, Session
from xml_extractor.operations.verification.subject import Subject
from xml_extractor.target.content_digest import BucketSums, column_key, key_hash, pieces

ROWS: Final = 10_000
"""Keys read at once; a row is one value."""


def count_by_key(session: Session, subject: Subject, table: Table, read: Callable[[int], None]) -> BucketSums:
    """Add up the rows of a table that carries the source key, by that key, in one pass.

    The server is not asked to group: it hands out the keys as they come, needs no memory for them and sends
    the first one at once.

    Args:
        read: told how many rows were read, after each piece.
    """
    sums = BucketSums()
    for counts in _keys(session, subject, table, read):
        for value, count in counts.items():
            sums.add_keyed(key_hash(column_key(value)), count)
    return sums


def counts_of(
    session: Session,
    subject: Subject,
    table: Table,
    wanted: Callable[[str], bool],
    read: Callable[[int], None],
) -> Counter[str]:
    """Return the number of rows by what the key column holds, as text, for the keys that are wanted."""
    found: Counter[str] = Counter()
    for counts in _keys(session, subject, table, read):
        for value, count in counts.items():
            text = column_key(value)
            if wanted(text):
                found[text] += count
    return found


def _keys(
    session: Session, subject: Subject, table: Table, read: Callable[[int], None]
) -> Iterator[Counter[Any]]:
    column = subject.target.quote_column(subject.key_column(table))
    for rows in pieces(session, f"SELECT {column} FROM {session.table(table.name)}", ROWS):
        yield Counter([value for (value,) in rows])
        read(len(rows))


def total(session: Session, table: Table) -> int:
    """Return the number of rows of a table."""
    return int(session.query(f"SELECT {session.count} FROM {session.table(table.name)}")[0][0])


# ------------------------------------------------------------------------------------------ orphans


def has_parent(table: Table) -> bool:
    """Whether rows of a table refer to a parent's."""
    return table.parent is not None and bool(table.foreign_key)


def orphans(
    session: Session, subject: Subject, table: Table, most: int, read: Callable[[int], None]
) -> tuple[Counter[Any], int]:
    """Return the rows of a table whose parent's row is not there, by what the key column holds, and how many
    there are in all.

    Rows with NULL in the reference refer to nothing, as SQL has it.

    Args:
        most: different keys that are told at most; the rows of further ones are counted only.
    """
    sql = orphan_statement(subject.target, session, subject.plan, table, subject.keyed_tables.keys())
    by_key: Counter[Any] = Counter()
    number = 0
    for rows in pieces(session, sql, ROWS):
        number += len(rows)
        for (value,) in rows:
            if value in by_key or len(by_key) < most:
                by_key[value] += 1
        read(len(rows))
    return by_key, number


def orphan_statement(engine: Engine, session: Session, plan: Plan, table: Table, keyed: Any) -> str:
    """Return the SELECT of the source keys of all orphans: NULL where the table does not carry the key."""
    assert table.parent is not None
    parent, quote = plan.tables[table.parent], engine.quote_column
    pairs = [
        (f"c.{quote(table.columns[own].name)}", f"p.{quote(parent.columns[theirs].name)}")
        for own, theirs in table.foreign_key
    ]
    key = "NULL"
    if table.name in keyed and table.key_column is not None:
        key = f"c.{quote(table.columns[table.key_column].name)}"
    return (
        f"SELECT {key} FROM {session.table(table.name)} c "
        f"WHERE {' AND '.join(f'{own} IS NOT NULL' for own, _ in pairs)} AND NOT EXISTS "
        f"(SELECT 1 FROM {session.table(parent.name)} p "
        f"WHERE {' AND '.join(f'{theirs} = {own}' for own, theirs in pairs)})"
    )
