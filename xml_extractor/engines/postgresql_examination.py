"""What ``doctor`` looks at in a PostgreSQL database, and the rights that a load needs there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from xml_extractor.contract.plan import Plan, SourcePlan
from xml_extractor.engines.base import Finding, Health, Privileges, Session, TableSpec
from xml_extractor.engines.ddl import quote_identifier, split_name
from xml_extractor.engines.postgresql_session import quote_table

OLDEST_VERSION: Final = 120000
"""server_version_num of the oldest release that generated columns (which table checks ask for) are in."""

DATA_RIGHTS: Final[tuple[str, ...]] = ("SELECT", "INSERT", "DELETE")
"""On the contract's tables; DELETE for documents that are loaded anew."""

OWN_RIGHTS: Final[tuple[str, ...]] = ("SELECT", "INSERT", "UPDATE", "DELETE")


def examine_source(session: Session, source: SourcePlan) -> Iterator[Finding]:
    """Look at the database as a source."""
    yield from _server(session)
    yield from _rights(session, {source.table: ("SELECT",)})
    yield from _key_index(session, source)


def examine_target(session: Session, plan: Plan, tables: Sequence[TableSpec]) -> Iterator[Finding]:
    """Look at the database as a target."""
    yield from _server(session)
    yield from _writable(session)
    data = {table.name for table in plan.tables}
    rights = {table.name: DATA_RIGHTS if table.name in data else OWN_RIGHTS for table in tables}
    yield from _rights(session, rights)
    if any(_oid(session, table.name) is None for table in tables):
        yield from _may_create(session)


def grant_statements(privileges: Privileges, database: str, schema: str | None) -> list[str]:
    """Return the GRANT statements that give a role just these privileges."""
    user = quote_identifier(privileges.user)
    written = dict.fromkeys(privileges.data_tables, DATA_RIGHTS)
    written |= dict.fromkeys(privileges.own_tables, OWN_RIGHTS)
    read = {} if privileges.source is None else {privileges.source.table: ("SELECT",)}
    lines = [
        f"-- once, if the role is not there yet: CREATE ROLE {user} LOGIN;",
        f"GRANT CONNECT ON DATABASE {quote_identifier(database)} TO {user};",
    ]
    for name in sorted({_schema(table, schema) for table in (*read, *written)}):
        create = privileges.create_tables and any(_schema(table, schema) == name for table in written)
        rights = "USAGE, CREATE" if create else "USAGE"
        lines.append(f"GRANT {rights} ON SCHEMA {quote_identifier(name)} TO {user};")
    if privileges.create_tables:
        lines.append("-- The tables that the role creates are its own: it needs no rights on them.")
        written = {}
    return lines + [
        f"GRANT {', '.join(rights)} ON TABLE {_qualified(table, schema)} TO {user};"
        for table, rights in {**read, **written}.items()
    ]


def _schema(table: str, schema: str | None) -> str:
    parts = split_name(table)
    return parts[-2] if len(parts) > 1 else schema or "public"


def _qualified(table: str, schema: str | None) -> str:
    return f"{quote_identifier(_schema(table, schema))}.{quote_identifier(split_name(table)[-1])}"


def _server(session: Session) -> Iterator[Finding]:
    version, number, encoding, user, encrypted = session.query(
        "SELECT current_setting('server_version'), current_setting('server_version_num')::int, "
        "current_setting('server_encoding'), current_user, "
        "coalesce((SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()), false)"
    )[0]
    if number >= OLDEST_VERSION:
        yield Finding(Health.GOOD, "server", f"PostgreSQL {version}")
    else:
        yield Finding(
            Health.PROBLEM, "server", f"PostgreSQL {version} is too old", "use PostgreSQL 12 or later"
        )
    if encoding == "UTF8":
        yield Finding(Health.GOOD, "encoding", "UTF8: every character of a document has a place")
    else:
        yield Finding(
            Health.WARNING, "encoding", f"{encoding}: documents with characters that it lacks are refused",
            "create the database with ENCODING 'UTF8' and load into that",
        )  # fmt: skip
    wire = "encrypted" if encrypted else "not encrypted"
    yield Finding(Health.GOOD, "login", f"role {user}; the connection is {wire}")


def _writable(session: Session) -> Iterator[Finding]:
    ((standby,),) = session.query("SELECT pg_is_in_recovery()")
    if standby:
        yield Finding(
            Health.PROBLEM, "database", "this server is a standby: it can only be read",
            "name the primary server with --target",
        )  # fmt: skip
    # The role's and the database's settings: that of this session is its own, as it only reads.
    rows = session.query(
        "SELECT 1 FROM pg_settings WHERE name = 'default_transaction_read_only' AND reset_val = 'on'"
    )
    if rows:
        yield Finding(
            Health.PROBLEM, "database", "default_transaction_read_only is on for this role or database",
            "ALTER ROLE … (or ALTER DATABASE …) SET default_transaction_read_only = off",
        )  # fmt: skip


def _oid(session: Session, table: str) -> int | None:
    rows = session.query("SELECT to_regclass(?)::oid", (quote_table(table),))
    oid: int | None = rows[0][0]
    return oid


def _rights(session: Session, wanted: dict[str, tuple[str, ...]]) -> Iterator[Finding]:
    """Compare the rights on tables that are there with those that are needed."""
    ((user,),) = session.query("SELECT current_user")
    grants = []
    for table, rights in wanted.items():
        oid = _oid(session, table)
        if oid is None:
            continue
        checks = ", ".join("has_table_privilege(?::oid, ?)" for _ in rights)
        held = session.query(f"SELECT {checks}", [part for right in rights for part in (oid, right)])[0]
        lacking = [right for right, has in zip(rights, held, strict=True) if not has]
        if lacking:
            grants.append(
                f"GRANT {', '.join(lacking)} ON TABLE {quote_table(table)} TO {quote_identifier(user)};"
            )
    if grants:
        yield Finding(
            Health.PROBLEM, "permissions", f"role {user} lacks rights on {len(grants)} tables",
            "\n".join(grants),
        )  # fmt: skip
    else:
        yield Finding(Health.GOOD, "permissions", f"role {user} has the rights it needs on the tables there")


def _may_create(session: Session) -> Iterator[Finding]:
    ((user, schema),) = session.query("SELECT current_user, current_schema()")
    if schema is None:
        yield Finding(
            Health.PROBLEM, "schema", "the schema for new tables is not there, or may not be used",
            "create it, or name another with --target-schema",
        )  # fmt: skip
        return
    ((may,),) = session.query("SELECT has_schema_privilege(?, 'CREATE')", (schema,))
    if may:
        yield Finding(Health.GOOD, "schema", f"role {user} may create tables in schema {schema}")
    else:
        yield Finding(
            Health.WARNING, "schema", f"role {user} may not create tables in schema {schema}",
            "have an administrator create what `contract ddl --dialect postgresql` prints, or run\n"
            f"GRANT CREATE ON SCHEMA {quote_identifier(schema)} TO {quote_identifier(user)};",
        )  # fmt: skip


def _key_index(session: Session, source: SourcePlan) -> Iterator[Finding]:
    """Whether an index serves the pages of keys: for text one under COLLATE "C", as they are sorted."""
    table, subject = quote_table(source.table), f"index of {source.table}"
    oid = _oid(session, source.table)
    rows = session.query(
        "SELECT a.attcollation <> 0, c.relkind IN ('v', 'f') FROM pg_attribute a "
        "JOIN pg_class c ON c.oid = a.attrelid WHERE a.attrelid = ?::oid AND a.attname = ?",
        (oid, source.key),
    )
    if oid is None or not rows:
        return
    is_text, is_view = rows[0]
    if is_view:
        yield Finding(Health.NOTE, subject, f"{source.table} is a view: its tables' indexes decide")
        return
    served = session.query(
        "SELECT coalesce(l.collname, '') FROM pg_index i "
        "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
        # PostgreSQL goes by the collation's identity: an index under a default that is C does not serve.
        "LEFT JOIN pg_collation l ON l.oid = i.indcollation[0] "
        "WHERE i.indrelid = ?::oid AND a.attname = ? AND i.indisvalid AND i.indpred IS NULL",
        (oid, source.key),
    )
    key = quote_identifier(source.key)
    if not is_text and served:
        yield Finding(Health.GOOD, subject, f"{source.key} is indexed")
    elif is_text and ("C",) in served:
        yield Finding(Health.GOOD, subject, f'{source.key} is indexed in the order of COLLATE "C"')
    else:
        order = ' COLLATE "C"' if is_text else ""
        yield Finding(
            Health.WARNING,
            subject,
            f"no index serves the order of {source.key}{order}: each page of keys sorts the whole table",
            f"CREATE UNIQUE INDEX ON {table} ({key}{order});",
        )
