"""Building keys on SQL Server's filled tables.

A clustered primary key sorts the table's rows into its index.  A foreign key is added WITH CHECK, so that the
server has held the rows against it and trusts it afterwards; that needs both tables for itself.
"""

from __future__ import annotations

import hashlib
from typing import Final

from xml_extractor.engines.base import Engine, Session, TableSpec
from xml_extractor.engines.late_keys import KeyPart, KeyStep, LateKeys
from xml_extractor.engines.mssql import names
from xml_extractor.engines.mssql.ddl import primary_key_words

_RESOURCE_LENGTH: Final = 255
"""What sp_getapplock takes of a name."""


class MssqlLateKeys(LateKeys):
    """See :class:`LateKeys`.

    Args:
        engine: for the sessions; its limits are those of building.
        schema: of tables that are named without one; None = the server's choice.
    """

    def __init__(self, engine: Engine, schema: str | None) -> None:
        self.engine = engine
        self._schema = schema

    def _quote_table(self, name: str) -> str:
        return names.quote_table(name, self._schema)

    def statements(self, step: KeyStep) -> list[str]:
        """Return the SQL of a step."""
        table = step.table
        name = self._quote_table(table.name)
        if step.part is KeyPart.PRIMARY:
            columns = ", ".join(map(names.quote_identifier, table.primary_key))
            return [f"ALTER TABLE {name} ADD {primary_key_words(table)} ({columns})"]
        if step.part is KeyPart.CHECKED:
            return []
        assert table.parent is not None
        own = ", ".join(names.quote_identifier(column) for column, _ in table.foreign_key)
        theirs = ", ".join(names.quote_identifier(column) for _, column in table.foreign_key)
        return [
            f"ALTER TABLE {name} WITH CHECK ADD FOREIGN KEY ({own}) "
            f"REFERENCES {self._quote_table(table.parent)} ({theirs})"
        ]

    def is_built(self, session: Session, step: KeyStep) -> bool | None:
        """Whether the catalogue has the key."""
        table = step.table
        name = self._quote_table(table.name)
        if not session.query("SELECT 1 FROM sys.tables WHERE object_id = OBJECT_ID(?)", (name,)):
            return None
        if step.part is KeyPart.PRIMARY:
            return bool(
                session.query(
                    "SELECT 1 FROM sys.key_constraints WHERE parent_object_id = OBJECT_ID(?) AND type = 'PK'",
                    (name,),
                )
            )
        # It is held against the rows by whoever adds it: there is nothing left to be checked.
        return step.part is KeyPart.CHECKED or self._has_foreign_key(session, table)

    def _has_foreign_key(self, session: Session, table: TableSpec) -> bool:
        assert table.parent is not None
        found: dict[int, set[tuple[str, str]]] = {}
        for number, own, theirs in session.query(
            "SELECT k.object_id, a.name, p.name FROM sys.foreign_keys k "
            "JOIN sys.foreign_key_columns c ON c.constraint_object_id = k.object_id "
            "JOIN sys.columns a ON a.object_id = c.parent_object_id AND a.column_id = c.parent_column_id "
            "JOIN sys.columns p "
            "ON p.object_id = c.referenced_object_id AND p.column_id = c.referenced_column_id "
            "WHERE k.parent_object_id = OBJECT_ID(?) AND k.referenced_object_id = OBJECT_ID(?)",
            (self._quote_table(table.name), self._quote_table(table.parent)),
        ):
            found.setdefault(int(number), set()).add((own.lower(), theirs.lower()))
        wanted = {(own.lower(), theirs.lower()) for own, theirs in table.foreign_key}
        return wanted in found.values()

    def build(self, session: Session, step: KeyStep) -> None:
        """Build it; the lock comes first, so that what the catalogue says then is what holds."""
        session.begin()
        name = self._quote_table(step.table.name)
        # One row, as for none the server would not touch the table, and so not lock it.
        session.query(f"SELECT TOP (1) 1 FROM {name} WITH (TABLOCKX, HOLDLOCK)")
        if not self.is_built(session, step):
            for statement in self.statements(step):
                session.execute(statement)
        session.commit()

    def hold(self, session: Session, name: str, *, shared: bool) -> bool:
        """Take an application lock."""
        mode = "Shared" if shared else "Exclusive"
        rows = session.query(
            "SET NOCOUNT ON; DECLARE @held int; EXEC @held = sp_getapplock @Resource = ?, "
            f"@LockMode = '{mode}', @LockOwner = 'Session', @LockTimeout = 0; SET NOCOUNT OFF; SELECT @held",
            (self._resource(session, name),),
        )
        return int(rows[0][0]) >= 0

    def let_go(self, session: Session, name: str, *, shared: bool) -> None:
        """Give the application lock back, if this session has it."""
        resource = self._resource(session, name)
        session.execute(
            "IF APPLOCK_MODE('public', ?, 'Session') <> 'NoLock' "
            "EXEC sp_releaseapplock @Resource = ?, @LockOwner = 'Session'",
            (resource, resource),
        )

    def _resource(self, session: Session, name: str) -> str:
        """Return the lock's name: by database and schema as the server calls them, however this loader was
        told of them; a name that is too long for a lock is not to be another's."""
        schema = "SCHEMA_NAME()" if self._schema is None else "SCHEMA_NAME(SCHEMA_ID(?))"
        given = () if self._schema is None else (self._schema,)
        ((place, schema),) = session.query(f"SELECT DB_NAME(), {schema}", given)
        digest = hashlib.blake2b(f"{place} {schema} {name}".encode(), digest_size=16).hexdigest()
        return f"{name[: _RESOURCE_LENGTH - len(digest) - 1]} {digest}"
