"""The rights that a load needs on SQL Server: what they are, whether they are held, and how to give them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Final

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Finding, Health, Privileges, Session, TableSpec
from xml_extractor.engines.mssql import catalogue, names

Rights = tuple[str, ...]

SOURCE_RIGHTS: Final[Rights] = ("SELECT",)
DATA_RIGHTS: Final[Rights] = ("SELECT", "INSERT", "DELETE")
"""On the contract's tables; DELETE, and the SELECT that its WHERE takes, for documents loaded anew."""
OWN_RIGHTS: Final[Rights] = ("SELECT", "INSERT", "UPDATE", "DELETE")
"""On the loader's own tables."""

DEFAULT_SCHEMA: Final = "dbo"
"""The default schema of a user that is made without naming one."""


def needed(
    session: Session, plan: Plan, tables: Sequence[TableSpec], schema: str | None
) -> dict[str, Rights]:
    """Return the rights that a load takes on each of its tables.

    To write a value into an identity column takes IDENTITY_INSERT, and that takes ALTER.
    """
    rights: dict[str, Rights] = {spec.name: OWN_RIGHTS for spec in tables}
    for table in plan.tables:
        rights[table.name] = DATA_RIGHTS
        written = {column.name for column in table.columns if not column.server_generated}
        if written & catalogue.identity_columns(session, table.name, schema):
            rights[table.name] = (*DATA_RIGHTS, "ALTER")
    return rights


def examine(session: Session, wanted: Mapping[str, Rights], schema: str | None) -> Iterator[Finding]:
    """Compare the rights that are held on tables with those that are needed."""
    ((user, sees_all),) = session.query(
        "SELECT USER_NAME(), HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), 'DATABASE', 'VIEW DEFINITION')"
    )
    grants, hidden = [], False
    for table, rights in wanted.items():
        name = names.quote_table(table, schema)
        asked = ", ".join(f"HAS_PERMS_BY_NAME(?, 'OBJECT', '{right}')" for right in rights)
        # The schema by which this user finds a table named without one may not be an administrator's.
        found, *held = session.query(
            f"SELECT OBJECT_SCHEMA_NAME(OBJECT_ID(?)), {asked}", (name, *(name for _ in rights))
        )[0]
        if found is None:
            hidden = sees_all != 1
            continue
        lacking = [right for right, has in zip(rights, held, strict=True) if has != 1]
        if lacking:
            grants.append(_on(lacking, table, schema or found, user))
    if grants:
        number = f"{len(grants)} table{'' if len(grants) == 1 else 's'}"
        yield Finding(
            Health.PROBLEM, "permissions", f"user {user} lacks rights on {number}", "\n".join(grants)
        )
    elif hidden:
        yield Finding(
            Health.NOTE,
            "permissions",
            f"user {user} lacks none on the tables that it can see; one on which a user has no right at all "
            "looks to it as if it were not there",
        )
    else:
        yield Finding(Health.GOOD, "permissions", f"user {user} lacks none on the tables that are there")


def examine_creating(session: Session, schema: str | None) -> Iterator[Finding]:
    """Whether tables that are missing could be created."""
    ((user, default),) = session.query("SELECT USER_NAME(), SCHEMA_NAME()")
    place = names.quote_identifier(schema or default or DEFAULT_SCHEMA)
    ((create, alter),) = session.query(
        "SELECT HAS_PERMS_BY_NAME(QUOTENAME(DB_NAME()), 'DATABASE', 'CREATE TABLE'), "
        "HAS_PERMS_BY_NAME(?, 'SCHEMA', 'ALTER')",
        (place,),
    )
    if create == 1 and alter == 1:
        yield Finding(Health.GOOD, "new tables", f"user {user} may create tables in schema {place}")
        return
    grants = [_grant(["CREATE TABLE"], None, user)] if create != 1 else []
    grants += [_grant(["ALTER"], f"SCHEMA::{place}", user)] if alter != 1 else []
    yield Finding(
        Health.WARNING,
        "new tables",
        f"user {user} may not create tables in schema {place}",
        "have an administrator run what `contract ddl --dialect mssql` prints, or\n" + "\n".join(grants),
    )


def grant_statements(privileges: Privileges, database: str, schema: str | None) -> list[str]:
    """Return the script that gives a database user what a load takes, and no more.

    Args:
        schema: of the tables that name none; None = the default schema of new users.
    """
    user, home = names.quote_identifier(privileges.user), schema or DEFAULT_SCHEMA
    text = privileges.user.replace("'", "''")
    lines = [
        f"USE {names.quote_identifier(database)};",
        f"-- The login comes first: CREATE LOGIN {user} WITH PASSWORD = …, or FROM WINDOWS.",
        f"IF DATABASE_PRINCIPAL_ID(N'{text}') IS NULL CREATE USER {user} FOR LOGIN {user};",
    ]
    if privileges.source is not None:
        lines.append(_on(SOURCE_RIGHTS, privileges.source.table, home, privileges.user))
    written = (*privileges.data_tables, *privileges.own_tables)
    if privileges.create_tables and written:
        lines.append(
            "-- To create tables takes ALTER on their schema, and with it on every table there: better"
        )
        lines.append(
            "-- in a schema of the loader's own, or by an administrator (`contract ddl --dialect mssql`)."
        )
        lines.append(_grant(["CREATE TABLE"], None, privileges.user))
        schemas = dict.fromkeys(names.table_parts(table, home)[-2] for table in written)
        rights = ["ALTER", "REFERENCES", *OWN_RIGHTS]
        lines += [
            _grant(rights, f"SCHEMA::{names.quote_identifier(name)}", privileges.user) for name in schemas
        ]
        return lines
    if written:
        lines.append("-- A table into whose identity column the contract puts values takes ALTER as well.")
    lines += [_on(DATA_RIGHTS, table, home, privileges.user) for table in privileges.data_tables]
    lines += [_on(OWN_RIGHTS, table, home, privileges.user) for table in privileges.own_tables]
    return lines


def _on(rights: Sequence[str], table: str, schema: str, user: str) -> str:
    return _grant(rights, f"OBJECT::{names.quote_table(table, schema)}", user)


def _grant(rights: Sequence[str], securable: str | None, user: str) -> str:
    on = "" if securable is None else f" ON {securable}"
    return f"GRANT {', '.join(rights)}{on} TO {names.quote_identifier(user)};"
