"""What ``doctor`` looks at on SQL Server.

Only what a plain user may ask, or may be told that it may not: a look that fails is a finding and does
not end the others.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from xml_extractor.contract.plan import Plan, SourcePlan
from xml_extractor.engines.base import (
    BatchEstimate,
    EngineOptions,
    Fault,
    FaultKind,
    Finding,
    Health,
    Session,
    TableSpec,
)
from xml_extractor.engines.mssql import catalogue, effects, names, rights
from xml_extractor.engines.mssql.path_choice import openjson_problem

_RELEASES: Final = {13: "2016", 14: "2017", 15: "2019", 16: "2022", 17: "2025"}
_CLOUDS: Final = {5: "Azure SQL Database", 8: "Azure SQL Managed Instance", 9: "Azure SQL Edge"}
"""By SERVERPROPERTY('EngineEdition'); their version number says nothing of their age."""

OLDEST_RELEASE: Final = 13
OPENJSON_LEVEL: Final = 130
"""The compatibility level from which a database has OPENJSON."""


def examine_source(
    session: Session, source: SourcePlan, options: EngineOptions, classify: Callable[[BaseException], Fault]
) -> Iterator[Finding]:
    """Look at the database as a source."""
    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("server", lambda: _server(session)),
        ("login", lambda: _login(session)),
        ("encryption", lambda: _encryption(session)),
        ("reading", lambda: _reading(_database(session), options)),
        (
            "permissions",
            lambda: rights.examine(session, {source.table: rights.SOURCE_RIGHTS}, options.schema),
        ),
        (f"index of {source.table}", lambda: _key_index(session, source, options.schema)),
        (f"{source.document}", lambda: _document(session, source, options.schema)),
    ]
    return _all(looks, classify)


def examine_target(
    session: Session,
    plan: Plan,
    tables: Sequence[TableSpec],
    batch: BatchEstimate | None,
    options: EngineOptions,
    classify: Callable[[BaseException], Fault],
) -> Iterator[Finding]:
    """Look at the database as a target."""
    schema = options.schema

    def permissions() -> Iterator[Finding]:
        yield from rights.examine(session, rights.needed(session, plan, tables, schema), schema)
        if any(catalogue.describe(session, spec.name, schema) is None for spec in tables):
            yield from rights.examine_creating(session, schema)

    looks: list[tuple[str, Callable[[], Iterator[Finding]]]] = [
        ("server", lambda: _server(session)),
        ("login", lambda: _login(session)),
        ("encryption", lambda: _encryption(session)),
        ("database", lambda: _writing(session, _database(session))),
        ("permissions", permissions),
        ("triggers", lambda: effects.triggers(session, plan, schema)),
        ("foreign keys", lambda: effects.foreign_keys(session, plan, schema)),
        ("log", lambda: effects.log(session, batch)),
        ("locks", lambda: effects.locks(session, plan, batch, options)),
    ]
    return _all(looks, classify)


def _all(
    looks: Sequence[tuple[str, Callable[[], Iterator[Finding]]]], classify: Callable[[BaseException], Fault]
) -> Iterator[Finding]:
    """Take each look; one that the server refuses is a note."""
    for subject, look in looks:
        try:
            yield from look()
        except Exception as error:
            fault = classify(error)
            if fault.kind is FaultKind.DISCONNECTED or fault.code == "unexpected":
                raise
            yield Finding(Health.NOTE, subject, f"could not be looked at: {fault.message}")


# ------------------------------------------------------------------------------------------ server


def _server(session: Session) -> Iterator[Finding]:
    ((version, edition, engine, update),) = session.query(
        "SELECT CAST(SERVERPROPERTY('ProductVersion') AS nvarchar(128)), "
        "CAST(SERVERPROPERTY('Edition') AS nvarchar(128)), CAST(SERVERPROPERTY('EngineEdition') AS int), "
        "CAST(SERVERPROPERTY('ProductUpdateLevel') AS nvarchar(128))"
    )
    update = f" {update}" if update else ""
    if engine in _CLOUDS:
        yield Finding(Health.GOOD, "server", f"{_CLOUDS[engine]} {version}{update}")
        return
    release = int(str(version).split(".")[0])
    name = f"SQL Server {_RELEASES.get(release, '')}".rstrip()
    text = f"{name} {version}{update}, {edition}"
    # Servers that speak for SQL Server call themselves older than they are: what they can do counts.
    if release >= OLDEST_RELEASE or openjson_problem(session) is None:
        yield Finding(Health.GOOD, "server", text)
    else:
        yield Finding(
            Health.WARNING,
            "server",
            f"{text}: older than SQL Server 2016, for which this program is made: no fast way in",
            "load into a newer server",
        )


def _login(session: Session) -> Iterator[Finding]:
    ((login, user, application, owner),) = session.query(
        "SELECT SUSER_SNAME(), USER_NAME(), APP_NAME(), IS_ROLEMEMBER('db_owner')"
    )
    text = f"{login}, in the database {user}; a DBA sees program_name {str(application).strip()!r}"
    if owner == 1:
        yield Finding(
            Health.NOTE, "login", f"{text}. It owns the database, which is more than a load needs",
            "doctor --grant-script prints what a user of its own needs",
        )  # fmt: skip
    else:
        yield Finding(Health.GOOD, "login", text)


def _encryption(session: Session) -> Iterator[Finding]:
    """Whether this connection is encrypted; asking takes VIEW SERVER STATE, or its newer kin."""
    rows = session.query(
        "SELECT encrypt_option, client_net_address FROM sys.dm_exec_connections WHERE session_id = @@SPID"
    )
    if not rows:
        yield Finding(
            Health.NOTE, "encryption", "the server does not say whether the connection is encrypted"
        )
        return
    encrypted, address = str(rows[0][0]).upper() == "TRUE", str(rows[0][1] or "")
    if encrypted:
        yield Finding(Health.GOOD, "encryption", "the connection is encrypted")
    elif address in ("<local machine>", "127.0.0.1", "::1"):
        yield Finding(Health.GOOD, "encryption", "none; the connection does not leave this machine")
    else:
        yield Finding(
            Health.WARNING, "encryption", "none: documents can be read on their way through the network",
            "--encrypt yes; a certificate that is self-signed takes --trust-server-certificate too",
        )  # fmt: skip


# ------------------------------------------------------------------------------------------ database


@dataclass(frozen=True, slots=True)
class _Database:
    """How a database is set, by sys.databases."""

    name: str
    level: int
    collation: str
    code_page: int | None
    committed_snapshot: bool
    snapshot: bool
    read_only: bool
    updatable: bool  # here: a database of a readable secondary is not read-only, and cannot be written to

    @property
    def alter(self) -> str:
        """The beginning of a statement that changes a setting."""
        return f"ALTER DATABASE {names.quote_identifier(self.name)} SET"


def _database(session: Session) -> _Database:
    ((name, level, collation, page, committed, snapshot, read_only, updatability),) = session.query(
        "SELECT name, compatibility_level, collation_name, "
        "CAST(COLLATIONPROPERTY(collation_name, 'CodePage') AS int), is_read_committed_snapshot_on, "
        "snapshot_isolation_state, is_read_only, "
        "CAST(DATABASEPROPERTYEX(DB_NAME(), 'Updateability') AS nvarchar(60)) "
        "FROM sys.databases WHERE database_id = DB_ID()"
    )
    return _Database(
        name, int(level), str(collation), page, bool(committed), snapshot == 1, bool(read_only),
        str(updatability).upper() != "READ_ONLY",
    )  # fmt: skip


def _reading(database: _Database, options: EngineOptions) -> Iterator[Finding]:
    """Who waits for whom when the source is read."""
    allow = f"{database.alter} ALLOW_SNAPSHOT_ISOLATION ON;"
    if options.snapshot and not database.snapshot and database.updatable:
        yield Finding(
            Health.PROBLEM, "isolation", "--snapshot was asked for, and the database does not allow it", allow
        )
    elif options.snapshot:
        yield Finding(Health.GOOD, "isolation", "snapshot: nobody waits for the loader, nor it for anybody")
    elif database.committed_snapshot:
        yield Finding(
            Health.GOOD, "isolation", "READ_COMMITTED_SNAPSHOT is on: readers and writers do not wait"
        )
    elif not database.updatable:
        yield Finding(Health.GOOD, "isolation", "the database cannot be written to here: nobody waits")
    else:
        yield Finding(
            Health.NOTE,
            "isolation",
            "READ_COMMITTED_SNAPSHOT is off: the loader waits for those who change the table, and they wait "
            "for each of its reads",
            f"read with --snapshot{'' if database.snapshot else f', after {allow}'}",
        )
    if options.read_only_intent and database.updatable:
        yield Finding(
            Health.NOTE, "secondary", "despite --read-only-intent a server that can be written to answers",
            "name the availability group's listener, and see to its read-only routing",
        )  # fmt: skip


def _writing(session: Session, database: _Database) -> Iterator[Finding]:
    if database.read_only or not database.updatable:
        yield Finding(
            Health.PROBLEM,
            "database",
            "it is read-only"
            if database.read_only
            else "it cannot be written to here: this is a secondary of an availability group",
            f"{database.alter} READ_WRITE;" if database.read_only else "name the primary, or its listener",
        )
    no_json = openjson_problem(session)
    if no_json is None:
        yield Finding(Health.GOOD, "compatibility", f"level {database.level}; OPENJSON, a fast way in, works")
    else:
        yield Finding(
            Health.WARNING,
            "compatibility",
            f"level {database.level}: {no_json}",
            f"{database.alter} COMPATIBILITY_LEVEL = {OPENJSON_LEVEL}; (or a higher one, after a look at the "
            "applications that use the database)",
        )
    page = "UTF-8" if database.code_page == 65001 else f"code page {database.code_page}"
    yield Finding(
        Health.GOOD,
        "collation",
        f"{database.collation}, {page}; varchar columns are compared with the contract",
    )
    if database.committed_snapshot:
        text = "READ_COMMITTED_SNAPSHOT is on: who reads the tables does not wait for a batch"
        yield Finding(Health.GOOD, "isolation", text)
    else:
        yield Finding(
            Health.NOTE,
            "isolation",
            "READ_COMMITTED_SNAPSHOT is off: who reads the rows of a batch waits until it is committed",
            f"{database.alter} READ_COMMITTED_SNAPSHOT ON; (once nobody else is connected)",
        )


# ------------------------------------------------------------------------------------------ source table


def _key_index(session: Session, source: SourcePlan, schema: str | None) -> Iterator[Finding]:
    key, subject = catalogue.key_column(session, source, schema), f"index of {source.table}"
    if key is None:
        return  # said by key_problem
    table, column = names.quote_table(source.table, schema), names.quote_identifier(key.name)
    what = f"{source.key} is {key.type_sql}"
    if key.collation is not None:
        what += f", compared by {key.collation}"
    if key.unique_index:
        yield Finding(Health.GOOD, subject, f"{what}, unique by an index")
        return
    if session.query("SELECT 1 FROM sys.views WHERE object_id = OBJECT_ID(?)", (table,)):
        yield Finding(Health.NOTE, subject, f"{what}; of a view, whose tables' indexes decide")
        return
    leads = session.query(
        "SELECT 1 FROM sys.index_columns AS k JOIN sys.columns AS c "
        "ON c.object_id = k.object_id AND c.column_id = k.column_id "
        "JOIN sys.indexes AS i ON i.object_id = k.object_id AND i.index_id = k.index_id "
        "WHERE k.object_id = OBJECT_ID(?) AND c.name = ? AND k.key_ordinal = 1 "
        "AND i.has_filter = 0 AND i.is_disabled = 0",
        (table, key.name),
    )
    index = names.quote_identifier(f"UX_{names.table_parts(source.table)[-1]}_{source.key}")
    cure = f"CREATE UNIQUE INDEX {index} ON {table} ({column});"
    if leads:
        yield Finding(
            Health.WARNING, subject, f"{what}: indexed, but nothing keeps it unique while it is read", cure
        )
    else:
        yield Finding(
            Health.WARNING,
            subject,
            f"{what}, without an index: every page of keys reads the whole table",
            cure,
        )


def _document(session: Session, source: SourcePlan, schema: str | None) -> Iterator[Finding]:
    table = catalogue.describe(session, source.table, schema)
    column = None if table is None else table.column(source.document, ignore_case=True)
    if column is None:
        return
    text = column.type_text
    if column.kind == "xml":
        text += ": comes as the server writes it, without declaration and insignificant blanks"
    elif column.kind in ("text", "ntext", "image"):
        text += ": a type that SQL Server is going to give up, and that is read more slowly"
    yield Finding(Health.GOOD, f"column {source.document}", text)
