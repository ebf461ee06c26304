"""SQLite: the embedded default.

Types.  SQLite's own are few, and its NUMERIC affinity would turn the decimal ``1.10`` into the floating
point number 1.1, so nothing of ours ever has it:

=====================================================  ================================================
contract                                               column
=====================================================  ================================================
bit tinyint smallint int bigint                        INTEGER
float real                                             REAL
decimal money smallmoney                               TEXT, plain digits with the type's whole scale
date time datetime2 datetime smalldatetime             TEXT as in a mapped row
datetimeoffset char varchar nchar nvarchar             TEXT
xml uniqueidentifier                                   TEXT
binary varbinary                                       BLOB
=====================================================  ================================================

Lengths are not repeated as CHECK constraints: the mapper enforces them for every engine alike, in bytes
of a code page or in UTF-16 units, which SQLite's ``length()`` counts neither of.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote as url_quote

from xml_extractor.contract.plan import Plan, SourcePlan
from xml_extractor.contract.types import Family, SqlType
from xml_extractor.engines import checks, sqlite_errors
from xml_extractor.engines.base import (
    BatchEstimate,
    ColumnSpec,
    Engine,
    Fault,
    Finding,
    Session,
    TableSpec,
    TimeLimits,
)
from xml_extractor.engines.ddl import (
    add_column_statement,
    create_statement,
    parents_first,
    quote_identifier,
    split_name,
)
from xml_extractor.engines.encoding import LONG_TEXT, ParameterEncoder
from xml_extractor.engines.sqlite_session import SqliteSession
from xml_extractor.mapping.layouts import RowEncoder

COLUMN_TYPES: Final = {
    Family.BIT: "INTEGER",
    Family.INTEGER: "INTEGER",
    Family.FLOAT: "REAL",
    Family.BINARY: "BLOB",
    Family.DECIMAL: "TEXT",
    Family.DATE: "TEXT",
    Family.TIME: "TEXT",
    Family.DATETIME: "TEXT",
    Family.DATETIMEOFFSET: "TEXT",
    Family.TEXT: "TEXT",
    Family.GUID: "TEXT",
    Family.XML: "TEXT",
}
"""The one table of types that all DDL goes through."""

# Affinities of existing columns in which a family's values come back as they went in.  Temporal texts
# and GUIDs never look like a number, so NUMERIC affinity (which DATE and DATETIME have) leaves them be.
_TEMPORAL: Final = frozenset({"TEXT", "BLOB", "NUMERIC"})
_SAFE_AFFINITIES: Final = {
    Family.BIT: frozenset({"INTEGER", "NUMERIC", "BLOB"}),
    Family.INTEGER: frozenset({"INTEGER", "NUMERIC", "BLOB"}),
    Family.FLOAT: frozenset({"REAL", "NUMERIC", "BLOB"}),
    Family.BINARY: frozenset({"BLOB", "TEXT", "NUMERIC", "INTEGER", "REAL"}),
    Family.DECIMAL: frozenset({"TEXT", "BLOB"}),
    Family.DATE: _TEMPORAL,
    Family.TIME: _TEMPORAL,
    Family.DATETIME: _TEMPORAL,
    Family.DATETIMEOFFSET: _TEMPORAL,
    Family.TEXT: frozenset({"TEXT", "BLOB"}),
    Family.GUID: _TEMPORAL,
    Family.XML: frozenset({"TEXT", "BLOB"}),
}


def affinity(declared: str) -> str:
    """The affinity of a declared type, by the rules of https://sqlite.org/datatype3.html#determination_of_column_affinity."""
    declared = declared.upper()
    if "INT" in declared:
        return "INTEGER"
    if any(word in declared for word in ("CHAR", "CLOB", "TEXT")):
        return "TEXT"
    if "BLOB" in declared or not declared:
        return "BLOB"
    if any(word in declared for word in ("REAL", "FLOA", "DOUB")):
        return "REAL"
    return "NUMERIC"


def file_uri(path: str, mode: str) -> str:
    """The URI by which SQLite opens a file, Windows drives and network shares included."""
    posix = Path(path).as_posix()
    if not posix.startswith("/"):
        posix = "/" + posix  # C:/… becomes file:///C:/…
    return f"file://{url_quote(posix)}?mode={mode}"


@dataclass(frozen=True)
class SqliteEngine(Engine):
    """A SQLite database file; ``path`` is absolute ('' for an engine that only writes DDL)."""

    name: ClassVar[str] = "sqlite"
    system: ClassVar[str] = "sqlite"
    max_insert_threads: ClassVar[int | None] = 1
    no_late_keys: ClassVar[str | None] = (
        "SQLite cannot give a table that is there a primary or a foreign key: they are a part of CREATE TABLE"
    )

    path: str
    limits: TimeLimits = field(default_factory=TimeLimits)

    @property
    def display(self) -> str:
        """The database in words for messages."""
        return f"SQLite file {self.path}"

    @property
    def database(self) -> str:
        """The file's name without its folder, which changes when the file is moved."""
        return Path(self.path).name

    def connect(self, *, write: bool, application: str) -> Session:
        """Open the file; with ``write`` it is created if absent.  ``application`` has no use here."""
        connection = sqlite3.connect(
            file_uri(self.path, "rwc" if write else "ro"),
            uri=True,
            isolation_level=None,
            check_same_thread=False,
            cached_statements=256,
        )
        try:
            return SqliteSession(connection, write=write, limits=self.limits)
        except BaseException:
            connection.close()
            raise

    def classify(self, error: BaseException) -> Fault:
        """Say what an error of a session means."""
        return sqlite_errors.classify(error, self.path)

    def quote(self, name: str) -> str:
        """Quote a table or column name."""
        return ".".join(quote_identifier(part) for part in split_name(name))

    # ---- DDL

    def create_statements(self, tables: Sequence[TableSpec], *, keys: bool = True) -> list[str]:
        """Return CREATE TABLE statements, parents first.

        Raises:
            ValueError: they were to be without keys, which could not be added later.
        """
        if not keys:
            raise ValueError(self.no_late_keys)
        return [
            create_statement(
                table,
                quote_table=self.quote,
                column_definition=_column_definition,
                inline_key=_is_numbered(table),
                suffix=" WITHOUT ROWID" if _is_clustered(table) else "",
            )
            for table in parents_first(tables)
        ]

    def add_column_statement(self, table: TableSpec, column: str) -> str:
        """Return the statement that adds a column."""
        return add_column_statement(
            table, column, quote_table=self.quote, column_definition=_column_definition
        )

    def staging_statements(self, source: SourcePlan, key_type: SqlType) -> list[str]:
        """Return the statement that creates an empty source table."""
        return [
            f"CREATE TABLE {self.quote(source.table)} (\n"
            f"    {quote_identifier(source.key)} {COLUMN_TYPES[key_type.family]} NOT NULL PRIMARY KEY,\n"
            f"    {quote_identifier(source.document)} TEXT\n)"
        ]

    def unsupported(self, plan: Plan) -> list[str]:
        """Name the columns that SQLite cannot number: it does so for a lone integer primary key only."""
        problems = []
        for table in plan.tables:
            for i, column in enumerate(table.columns):
                if not column.server_generated:
                    continue
                if column.type.family is not Family.INTEGER or table.primary_key != (i,):
                    problems.append(
                        f"column {table.name}.{column.name}: SQLite can number a column only if it is of an "
                        "integer type and alone the table's primary key"
                    )
        return problems

    # ---- checks

    def table_problems(self, session: Session, plan: Plan) -> list[str]:
        """Compare existing tables with the plan."""
        return checks.table_problems(
            plan, lambda name: describe(session, name), _type_problem, ignore_case=True
        )

    def key_problem(self, session: Session, source: SourcePlan) -> str | None:
        """Say why the source table cannot be read safely."""
        existing = describe(session, source.table)
        if existing is not None:
            existing = _exact_names(existing, source)
        problem = checks.source_columns_problem(source, existing, self.display)
        if problem is not None:
            return problem
        assert isinstance(session, SqliteSession)
        if session.is_rowid(source):
            return None  # and spares reading the whole table
        key, table = quote_identifier(source.key), self.quote(source.table)
        where = f" WHERE ({source.where})" if source.where else ""
        kinds = dict(session.query(f"SELECT typeof({key}), count(*) FROM {table}{where} GROUP BY 1"))
        if "null" in kinds:
            return checks.null_key_problem(source, kinds["null"])
        other = sorted(set(kinds) - {"integer", "text"})
        if other or len(kinds) > 1:
            return (
                f"key column {source.table}.{source.key} holds values of type {' and '.join(sorted(kinds))}; "
                "a key has to be all integers or all text: convert the column"
            )
        if session.unique_collation(source) is None:
            grouped = f"SELECT 1 FROM {table}{where} GROUP BY {key} COLLATE BINARY HAVING count(*) > 1"
            count = session.query(f"SELECT count(*) FROM ({grouped})")[0][0]
            if count:
                return checks.duplicate_key_problem(source, count)
        return None

    def examine_source(self, session: Session, source: SourcePlan) -> Iterator[Finding]:
        """Look at the file as a source."""
        from xml_extractor.engines import sqlite_examination

        assert isinstance(session, SqliteSession)
        return sqlite_examination.examine_source(session, self.path, source)

    def examine_target(
        self, session: Session, plan: Plan, tables: Sequence[TableSpec], batch: BatchEstimate | None = None
    ) -> Iterator[Finding]:
        """Look at the file as a target."""
        from xml_extractor.engines import sqlite_examination

        assert isinstance(session, SqliteSession)
        return sqlite_examination.examine_target(session, self.path, batch)

    def encoder(self, plan: Plan) -> RowEncoder:
        """Return the encoder for ``write_rows``."""
        return ParameterEncoder.of(plan)


# ------------------------------------------------------------------------------------- DDL


def _is_numbered(table: TableSpec) -> bool:
    return any(column.server_generated for column in table.columns)


def _is_clustered(table: TableSpec) -> bool:
    """Whether rows live in the primary key's own tree (WITHOUT ROWID): one tree to fill instead of two,
    best for short rows.  Long rows stay in a rowid table, where they do not widen the key's tree."""
    if not table.primary_key or _is_numbered(table):
        return False
    for column in table.columns:
        kind = column.type
        if kind.family is Family.XML:
            return False
        if kind.family in (Family.TEXT, Family.BINARY) and not 0 < (kind.length or 0) <= 4 * LONG_TEXT:
            return False
    return True


def _column_definition(table: TableSpec, column: ColumnSpec) -> str:
    name, declared = quote_identifier(column.name), COLUMN_TYPES[column.type.family]
    if column.server_generated:
        # AUTOINCREMENT: a number once given is never given again, as with IDENTITY.
        return f"{name} INTEGER PRIMARY KEY AUTOINCREMENT"
    if table.primary_key == (column.name,) and declared == "INTEGER" and not _is_clustered(table):
        # INTEGER PRIMARY KEY would be the rowid, and SQLite numbers a NULL put there in spite of NOT
        # NULL.  INT has the same affinity and refuses it.
        declared = "INT"
    required = " NOT NULL" if not column.nullable or column.name in table.primary_key else ""
    return f"{name} {declared}{required}"


# ------------------------------------------------------------------------------------- catalogue


def describe(session: Session, table: str) -> checks.ExistingTable | None:
    """Describe a table or view by SQLite's catalogue; ``None`` if there is none of this name."""
    parts = split_name(table)
    if len(parts) > 2:
        return None
    schema = parts[0] if len(parts) == 2 else None
    rows = session.query(
        # hidden: 0 ordinary, 2 and 3 generated columns, 1 a virtual table's hidden column.
        'SELECT name, type, "notnull", dflt_value, pk, hidden '
        "FROM pragma_table_xinfo(?, ?) WHERE hidden <> 1",
        (parts[-1], schema),
    )
    if not rows:
        return None
    keys = [row for row in rows if row[4]]
    columns = []
    for name, declared, not_null, default, key, hidden in rows:
        is_rowid = len(keys) == 1 and bool(key) and declared.upper() == "INTEGER"
        columns.append(
            checks.ExistingColumn(
                name=name,
                type_text=declared or "without a type",
                nullable=not not_null,
                has_default=default is not None or is_rowid or hidden != 0,
                never_written=hidden != 0,
                kind=affinity(declared),
            )
        )
    return checks.ExistingTable(tuple(columns))


def _exact_names(existing: checks.ExistingTable, source: SourcePlan) -> checks.ExistingTable:
    """SQLite finds columns whatever their case: rename them as the contract writes them."""
    wanted = {name.lower(): name for name in (source.key, source.document, *source.columns)}
    return checks.ExistingTable(
        tuple(
            checks.ExistingColumn(wanted.get(c.name.lower(), c.name), c.type_text, c.nullable)
            for c in existing.columns
        )
    )


def _type_problem(kind: SqlType, column: checks.ExistingColumn) -> str | None:
    if column.kind in _SAFE_AFFINITIES[kind.family]:
        return None
    if kind.family is Family.DECIMAL:
        return "SQLite would keep a decimal there as a floating point number; use TEXT"
    return f"SQLite would convert values there; use {COLUMN_TYPES[kind.family]}"
