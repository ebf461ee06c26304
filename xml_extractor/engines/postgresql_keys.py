"""Building keys on PostgreSQL's filled tables.

A primary key is added by ALTER TABLE, which sorts the rows once with all the memory and workers that index
builds get; to create a unique index first would come to the same, in two steps.  A foreign key is added NOT
VALID, which needs the two tables for a moment only, and validated afterwards: that takes locks under which
several tables can be validated, and filled, at once.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import psycopg

from xml_extractor.engines.base import Engine, Session, TableSpec
from xml_extractor.engines.ddl import quote_identifier
from xml_extractor.engines.late_keys import KeyPart, KeyStep, LateKeys

MEMORY_BYTES: Final = 256 * 2**20
"""What an index may be sorted in, where the server's maintenance_work_mem allows less (64 MB by default):
enough for some ten million integer keys without a file, little enough beside a few others."""

CHECK_SECONDS: Final = 5
"""How often the server looks, while it builds, whether whoever asked for it is still there; without it, the
index would be built to its end, and its table kept locked, for a loader that was killed long ago."""

_LOOK_FOR_HOLDER: Final = (
    # As the connection looks for the server: one that was cut off holds its locks for two hours else.
    "SELECT set_config('tcp_keepalives_idle', '10', false), "
    "set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '4', false)"
)


class PostgresqlLateKeys(LateKeys):
    """See :class:`LateKeys`.

    Args:
        engine: for the sessions; its limits are those of building.
        lock_seconds: how long to wait for another session's lock.
        quote_table: quotes a table's name, in the schema that was set.
    """

    def __init__(self, engine: Engine, lock_seconds: float, quote_table: Callable[[str], str]) -> None:
        self.engine = engine
        self._lock_milliseconds = max(1, round(lock_seconds * 1000))
        self._quote_table = quote_table

    def statements(self, step: KeyStep) -> list[str]:
        """Return the SQL of a step; the check's is the foreign key's own, as a script has no use for two."""
        table = step.table
        if step.part is KeyPart.PRIMARY:
            columns = ", ".join(map(quote_identifier, table.primary_key))
            return [f"ALTER TABLE {self._quote_table(table.name)} ADD PRIMARY KEY ({columns})"]
        return [self._foreign_key(table)] if step.part is KeyPart.FOREIGN else []

    def _foreign_key(self, table: TableSpec) -> str:
        assert table.parent is not None
        own = ", ".join(quote_identifier(column) for column, _ in table.foreign_key)
        theirs = ", ".join(quote_identifier(column) for _, column in table.foreign_key)
        return (
            f"ALTER TABLE {self._quote_table(table.name)} ADD FOREIGN KEY ({own}) "
            f"REFERENCES {self._quote_table(table.parent)} ({theirs})"
        )

    def is_built(self, session: Session, step: KeyStep) -> bool | None:
        """Whether the catalogue has the key."""
        table = step.table
        if not session.query("SELECT 1 WHERE to_regclass(?) IS NOT NULL", (self._quote_table(table.name),)):
            return None
        if step.part is KeyPart.PRIMARY:
            return bool(
                session.query(
                    "SELECT 1 FROM pg_constraint WHERE conrelid = to_regclass(?) AND contype = 'p'",
                    (self._quote_table(table.name),),
                )
            )
        known = self._known_foreign_keys(session, table)
        return any(valid for _, valid in known) if step.part is KeyPart.CHECKED else bool(known)

    def _known_foreign_keys(self, session: Session, table: TableSpec) -> list[tuple[str, bool]]:
        """The constraints that are this foreign key, and whether the rows were held against each."""
        assert table.parent is not None
        found: dict[tuple[str, bool], set[tuple[str, str]]] = {}
        for name, valid, own, theirs in session.query(
            "SELECT c.conname, c.convalidated, a.attname, p.attname FROM pg_constraint c "
            "CROSS JOIN LATERAL unnest(c.conkey, c.confkey) AS pair(own, theirs) "
            "JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = pair.own "
            "JOIN pg_attribute p ON p.attrelid = c.confrelid AND p.attnum = pair.theirs "
            "WHERE c.contype = 'f' AND c.conrelid = to_regclass(?) AND c.confrelid = to_regclass(?)",
            (self._quote_table(table.name), self._quote_table(table.parent)),
        ):
            found.setdefault((name, valid), set()).add((own, theirs))
        return [constraint for constraint, pairs in found.items() if pairs == set(table.foreign_key)]

    def build(self, session: Session, step: KeyStep) -> None:
        """Build it; the lock comes first, so that what the catalogue says then is what holds."""
        name = self._quote_table(step.table.name)
        with self._transaction(session):
            if step.part is KeyPart.CHECKED:
                for constraint, valid in self._known_foreign_keys(session, step.table):
                    if not valid:
                        quoted = quote_identifier(constraint)
                        session.execute(f"ALTER TABLE {name} VALIDATE CONSTRAINT {quoted}")
                return
            primary = step.part is KeyPart.PRIMARY
            mode = "ACCESS EXCLUSIVE" if primary else "SHARE ROW EXCLUSIVE"
            session.execute(f"LOCK TABLE {name} IN {mode} MODE")
            if self.is_built(session, step):
                return
            (statement,) = self.statements(step)
            session.execute(statement if primary else f"{statement} NOT VALID")

    @contextmanager
    def _transaction(self, session: Session) -> Iterator[None]:
        _ask_to_be_looked_for(session)
        session.begin()
        session.query(
            # Memory in kilobytes; never less than the server's own setting.
            "SELECT set_config('lock_timeout', ?, true), set_config('maintenance_work_mem', "
            "greatest(setting::bigint, ?::bigint)::text || 'kB', true) "
            "FROM (SELECT setting FROM pg_settings WHERE name = 'maintenance_work_mem') AS own",
            (str(self._lock_milliseconds), MEMORY_BYTES // 1024),
        )
        yield
        session.commit()

    def hold(self, session: Session, name: str, *, shared: bool) -> bool:
        """Take an advisory lock; the server is to let go of it when nobody is there any more."""
        session.query(_LOOK_FOR_HOLDER)
        suffix = "_shared" if shared else ""
        return bool(self._ask(session, f"pg_try_advisory_lock{suffix}(?::bigint)", name))

    def let_go(self, session: Session, name: str, *, shared: bool) -> None:
        """Give the advisory lock back."""
        suffix = "_shared" if shared else ""
        self._ask(session, f"pg_advisory_unlock{suffix}(?::bigint)", name)

    def _ask(self, session: Session, call: str, name: str) -> Any:
        (schema,) = session.query("SELECT current_schema()")[0]
        digest = hashlib.blake2b(f"{schema} {name}".encode(), digest_size=8).digest()
        return session.query(f"SELECT {call}", (int.from_bytes(digest, "big", signed=True),))[0][0]


def _ask_to_be_looked_for(session: Session) -> None:
    """Have a statement end with the connection of whoever waits for it."""
    with contextlib.suppress(psycopg.errors.InvalidParameterValue):  # a system that cannot tell
        session.query(
            "SELECT set_config(name, ?, false) FROM pg_settings "
            "WHERE name = 'client_connection_check_interval'",  # PostgreSQL 14 and later
            (f"{CHECK_SECONDS}s",),
        )
