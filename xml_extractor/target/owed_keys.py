"""Tables that a load created without their keys, and what they are owed (``--keys after``).

A row of ``load_owed_keys`` is written in the transaction that creates the table, and goes when the catalogue
has all of its keys: so whatever becomes of the program in between, the next one knows what is left to do.
The row says what to build, so that a contract that has changed since makes no difference, and whose table it
is: until it has its keys only documents of that source and contract go into it.  A row that is in the way of
a key can then be told by the source key that it carries.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import Family, parse_type
from xml_extractor.engines.base import ColumnSpec, Session, TableSpec, table_specs
from xml_extractor.errors import UsageError
from xml_extractor.target.bookkeeping import OWED_KEYS, OWED_KEYS_COLUMNS
from xml_extractor.target.replacement import key_values
from xml_extractor.target.timestamps import timestamp, utc_now


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose documents are in the tables that owe keys."""

    source_name: str
    contract: str


@dataclass(frozen=True, slots=True)
class OwedTable:
    """A table that has yet to get its keys."""

    spec: TableSpec
    """Its name and keys; of its columns, those of the primary key."""
    key_column: str
    """The column that carries the source key."""
    origin: Origin


def refuse_late_keys(plan: Plan) -> None:
    """Refuse to build keys after the load where a row in their way could not be traced to its document.

    Raises:
        UsageError: naming the tables.
    """
    untraced = [
        table.name
        for table in plan.tables
        if (table.primary_key and not table.key_reaches_source)
        or ((table.primary_key or table.foreign_key) and key_values(plan, table) is None)
    ]
    if untraced:
        raise UsageError(
            f"--keys after cannot be had with {', '.join(untraced)}: the primary key there does not contain "
            "the source key as it is (from: $key, an integer or varchar type, unchanged), so that of two "
            "rows with one key nobody could tell which document is to go into quarantine. Use --keys "
            "during, or change the contract"
        )


def refuse_text_keys(plan: Plan) -> None:
    """Refuse the same where the source's keys are texts and a table keeps them as numbers, in which '7' and
    '07' would be one.

    Raises:
        UsageError: naming the tables.
    """
    numbered = [
        table.name
        for table in plan.tables
        if table.key_column is not None and table.columns[table.key_column].type.family is Family.INTEGER
    ]
    if numbered:
        raise UsageError(
            f"--keys after cannot be had with {', '.join(numbered)}: the source's keys are texts, and the "
            "table keeps them as numbers, so that two of them could be one there. Use --keys during"
        )


def key_tables(plan: Plan) -> list[str]:
    """Name the tables of a plan that have keys at all."""
    return [table.name for table in plan.tables if table.primary_key or table.foreign_key]


def write(session: Session, plan: Plan, origin: Origin | None, created: Iterable[str]) -> None:
    """Note what tables of a plan, that are being created, are owed; in the transaction that creates them.

    Args:
        origin: whose documents will be in them; None = they are created with their keys.
    """
    names = set(created)
    specs = {place: spec for place, spec in enumerate(table_specs(plan)) if spec.name in names}
    # A table of that name may have been dropped by hand before it got its keys.
    session.delete_rows(OWED_KEYS, "table_digest", [_digest(spec.name) for spec in specs.values()])
    if origin is None:
        return
    now = timestamp(utc_now())
    rows = [
        (
            _digest(spec.name),
            spec.name,
            origin.source_name,
            origin.contract,
            json.dumps(_owed(plan, place, spec)),
            now,
        )
        for place, spec in specs.items()
        if spec.primary_key or spec.foreign_key
    ]
    if rows:
        session.insert_new(OWED_KEYS, OWED_KEYS_COLUMNS, rows)


def read(session: Session) -> list[OwedTable]:
    """Return all tables that are owed keys, parents first."""
    rows = session.query(
        f"SELECT table_name, source_name, contract, owed FROM {session.table(OWED_KEYS)} "
        "ORDER BY created_at, table_digest"
    )
    tables = []
    for name, source_name, contract, text in rows:
        owed = json.loads(text)
        spec = TableSpec(
            name=str(name),
            columns=tuple(
                ColumnSpec(column, parse_type(kind), nullable=False) for column, kind in owed["columns"]
            ),
            primary_key=tuple(owed["primary_key"]),
            foreign_key=tuple((own, theirs) for own, theirs in owed["foreign_key"]),
            parent=owed["parent"],
        )
        tables.append((owed["place"], OwedTable(spec, owed["key_column"], Origin(source_name, contract))))
    return [table for _, table in sorted(tables, key=lambda pair: pair[0])]


def settled(session: Session, names: Sequence[str]) -> None:
    """Note that these tables have all of their keys, or are no more."""
    session.delete_rows(OWED_KEYS, "table_digest", [_digest(name) for name in names])


def _owed(plan: Plan, place: int, spec: TableSpec) -> dict[str, Any]:
    """What is to be built, as plain data; read by later versions of this program, too."""
    key_column = plan.tables[place].key_column
    assert key_column is not None, "refuse_late_keys has seen to it"
    return {
        "place": place,
        "columns": [
            [column.name, str(column.type)] for column in spec.columns if column.name in spec.primary_key
        ],
        "primary_key": spec.primary_key,
        "foreign_key": spec.foreign_key,
        "parent": spec.parent,
        "key_column": plan.tables[place].columns[key_column].name,
    }


def _digest(table: str) -> bytes:
    return hashlib.blake2b(table.encode("utf-8", "surrogatepass"), digest_size=16).digest()
