"""The loader's own tables: what they look like, and which layout a database has.

``load_schema``      the layout's version, one row per upgrade
``load_runs``        one row a load: what was loaded from where under which plan
``load_ledger``      one row a document: the one place that says whether it is loaded (laws 1 and 2)
``load_quarantine``  one row a quarantined document: stage, reason, place
``load_ranges``      one row a finished stretch of source keys: what a resumed load need not look at again
``load_owed_keys``   one row a data table that was created without its keys, and has yet to get them

The names of columns are no reserved words on any engine, so that statements can be written without quotes.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from xml_extractor.contract.types import parse_type
from xml_extractor.engines.base import ColumnSpec, Session, TableSpec
from xml_extractor.errors import UsageError
from xml_extractor.target.timestamps import timestamp

SCHEMA: Final = "load_schema"
RUNS: Final = "load_runs"
LEDGER: Final = "load_ledger"
QUARANTINE: Final = "load_quarantine"
RANGES: Final = "load_ranges"
OWED_KEYS: Final = "load_owed_keys"
TABLES: Final = (SCHEMA, RUNS, LEDGER, QUARANTINE, RANGES, OWED_KEYS)

SCHEMA_VERSION: Final = 4
"""The layout that this program writes."""

TABLES_SINCE: Final = {RANGES: 2, OWED_KEYS: 3}
"""The version that brought a table, where that was not the first."""


def _column(name: str, type_text: str, nullable: bool = False) -> ColumnSpec:
    return ColumnSpec(name, parse_type(type_text), nullable)


def bookkeeping_specs() -> list[TableSpec]:
    """The bookkeeping tables of the present version, as specifications to create."""
    return [
        TableSpec(
            SCHEMA,
            (_column("version", "int"), _column("applied_at", "datetime2(6)")),
            primary_key=("version",),
        ),
        TableSpec(
            RUNS,
            (
                _column("load_id", "int"),
                _column("source_name", "nvarchar(max)"),
                _column("contract", "nvarchar(max)"),
                _column("contract_version", "int"),
                _column("plan_digest", "varchar(64)"),
                _column("tables", "nvarchar(max)"),
                _column("started_at", "datetime2(6)"),
                _column("finished_at", "datetime2(6)", nullable=True),
                _column("state", "varchar(16)"),
                _column("settings", "nvarchar(max)"),
                _column("summary", "nvarchar(max)", nullable=True),
                # Ranges of another epoch than this one (NULL = 0) are not to be relied on.
                _column("ranges_epoch", "int", nullable=True),
            ),
            primary_key=("load_id",),
        ),
        TableSpec(
            LEDGER,
            (
                _column("digest", "binary(16)"),
                _column("source_key", "nvarchar(max)"),
                _column("state", "varchar(16)"),
                _column("load_id", "int"),
                _column("batch", "bigint"),
                _column("document_hash", "binary(16)", nullable=True),
                _column("row_counts", "varchar(max)"),
                _column("committed_at", "datetime2(6)"),
            ),
            primary_key=("digest",),
        ),
        TableSpec(
            QUARANTINE,
            (
                _column("digest", "binary(16)"),
                _column("load_id", "int"),
                _column("source_key", "nvarchar(max)"),
                _column("stage", "varchar(16)"),
                _column("code", "varchar(100)"),
                _column("message", "nvarchar(max)"),
                _column("table_name", "nvarchar(max)", nullable=True),
                _column("column_name", "nvarchar(max)", nullable=True),
                _column("path", "nvarchar(max)", nullable=True),
                _column("quarantined_at", "datetime2(6)"),
                # Of the content that was refused: the ledger may keep that of an older one, which is loaded.
                _column("document_hash", "binary(16)", nullable=True),
            ),
            primary_key=("digest",),
        ),
        TableSpec(
            RANGES,
            (
                _column("range_key", "binary(16)"),
                _column("load_id", "int"),
                _column("scope", "nvarchar(max)"),
                _column("epoch", "int"),
                _column("range_number", "bigint"),
                _column("after_key", "nvarchar(max)", nullable=True),
                _column("last_key", "nvarchar(max)"),
                _column("loaded", "int"),
                _column("quarantined", "int"),
                _column("skipped", "int"),
                _column("other_plan", "int"),
                _column("content", "binary(16)"),
                _column("finished_at", "datetime2(6)"),
            ),
            primary_key=("range_key",),
        ),
        TableSpec(
            OWED_KEYS,
            (
                _column("table_digest", "binary(16)"),
                _column("table_name", "nvarchar(max)"),
                # Whose documents alone may be in the table until it has its keys.
                _column("source_name", "nvarchar(max)"),
                _column("contract", "nvarchar(max)"),
                _column("owed", "nvarchar(max)"),
                _column("created_at", "datetime2(6)"),
            ),
            primary_key=("table_digest",),
        ),
    ]


LEDGER_COLUMNS: Final = tuple(column.name for column in bookkeeping_specs()[2].columns)
QUARANTINE_COLUMNS: Final = tuple(column.name for column in bookkeeping_specs()[3].columns)
RANGES_COLUMNS: Final = tuple(column.name for column in bookkeeping_specs()[4].columns)
OWED_KEYS_COLUMNS: Final = tuple(column.name for column in bookkeeping_specs()[5].columns)


def installed_version(session: Session) -> int:
    """Return the version of the layout in the database; 0 where ``load_schema`` is empty.

    Raises:
        UsageError: it is newer than this program knows.
    """
    rows = session.query(f"SELECT MAX(version) FROM {session.table(SCHEMA)}")
    version = int(rows[0][0] or 0)
    if version > SCHEMA_VERSION:
        raise UsageError(
            f"the bookkeeping tables (load_…) have version {version}, and this program knows versions up to "
            f"{SCHEMA_VERSION}: a newer release has loaded into this database; upgrade the program"
        )
    return version


def come_with_upgrade(session: Session) -> set[str]:
    """Name the tables that an upgrade of the layout in the database will create."""
    version = installed_version(session)
    return {name for name, since in TABLES_SINCE.items() if 0 < version < since}


def record_version(session: Session, now: datetime) -> None:
    """Write down that the present layout has just been created; harmless when that is known already."""
    session.insert_new(SCHEMA, ("version", "applied_at"), [(SCHEMA_VERSION, timestamp(now))])
