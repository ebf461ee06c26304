"""How an older layout of the loader's own tables becomes the present one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from xml_extractor.engines.base import Engine, FaultKind, Session
from xml_extractor.errors import LoaderError, TargetSchemaError, UsageError
from xml_extractor.target.bookkeeping import (
    LEDGER,
    OWED_KEYS,
    QUARANTINE,
    RANGES,
    RUNS,
    SCHEMA,
    bookkeeping_specs,
    installed_version,
)
from xml_extractor.target.ledger import DocumentDigests, candidates
from xml_extractor.target.timestamps import timestamp

ROWS_AT_ONCE: Final = 10_000
"""Rows that are read, and changed, at a time."""


def digests_in_key_order(session: Session) -> None:
    """Version 4: give documents whose keys are whole numbers digests in the order of these keys.

    What the ranges of loads have summed up of the old ones goes; the next run compares keys instead.

    Raises:
        TargetSchemaError: nobody can tell which source a document is of.
    """
    of_load = {
        int(load_id): DocumentDigests(source_name, contract)
        for load_id, source_name, contract in session.query(
            f"SELECT load_id, source_name, contract FROM {session.table(RUNS)}"
        )
    }
    for name in (LEDGER, QUARANTINE):
        table, after = session.table(name), b""
        while rows := _next_rows(session, table, after):
            after = bytes(rows[-1][0])
            changed = []
            for raw, load_id, text in rows:
                digest = _in_key_order(of_load, int(load_id), bytes(raw), str(text))
                if digest is None:
                    raise TargetSchemaError(
                        f"{name} cannot be upgraded: the document with key {text} is of load {load_id}, and "
                        f"{RUNS} knows neither that load nor any of the same source and contract. Put its "
                        "row back, or load everything anew into another, empty target; nothing was changed"
                    )
                if digest != raw:
                    changed.append((digest, bytes(raw)))
            if changed:
                session.execute_many(f"UPDATE {table} SET digest = ? WHERE digest = ?", changed)
    session.execute(f"DELETE FROM {session.table(RANGES)}")


def _next_rows(session: Session, table: str, after: bytes) -> list[tuple[Any, ...]]:
    sql = f"SELECT digest, load_id, source_key FROM {table} WHERE digest > ? ORDER BY digest"
    return session.first_rows(sql, (after,), ROWS_AT_ONCE)


def _in_key_order(
    of_load: dict[int, DocumentDigests], load_id: int, digest: bytes, text: str
) -> bytes | None:
    """Return the digest that a document has now; None where its old one is of no source that is known."""
    own = of_load.get(load_id)
    for digests in of_load.values() if own is None else (own, *of_load.values()):
        for key in candidates(text):
            # The second: changed already, and met again further on.
            if digest in (digests.hashed_digest(key), digests.digest(key)):
                return digests.digest(key)
    return None


@dataclass(frozen=True, slots=True)
class UpgradeStep:
    """What turns the layout before ``version`` into ``version``, in the engine's own SQL.

    ``statements`` is asked outside a transaction, and leaves out what somebody has changed by hand already.
    """

    version: int
    statements: Callable[[Engine, Session], Sequence[str]]
    change_rows: Callable[[Session], None] | None = None
    """What is to be done to rows besides, in the same transaction."""


def _to_version_2(engine: Engine, session: Session) -> list[str]:
    specs = {spec.name: spec for spec in bookkeeping_specs()}
    statements = [
        engine.add_column_statement(specs[table], column)
        for table, column in ((QUARANTINE, "document_hash"), (RUNS, "ranges_epoch"))
        if not _is_there(engine, session, table, column)
    ]
    if not _is_there(engine, session, RANGES, "range_key"):
        statements += engine.create_statements([specs[RANGES]])
    return statements


def _to_version_3(engine: Engine, session: Session) -> list[str]:
    if _is_there(engine, session, OWED_KEYS, "table_digest"):
        return []
    return engine.create_statements([spec for spec in bookkeeping_specs() if spec.name == OWED_KEYS])


def _no_statements(_: Engine, __: Session) -> list[str]:
    return []


UPGRADE_STEPS: tuple[UpgradeStep, ...] = (
    UpgradeStep(2, _to_version_2),
    UpgradeStep(3, _to_version_3),
    UpgradeStep(4, _no_statements, digests_in_key_order),
)
"""Steps in ascending order; version 1 was the first layout."""


def _is_there(engine: Engine, session: Session, table: str, column: str) -> bool:
    try:
        session.query(f"SELECT {column} FROM {session.table(table)} WHERE 1 = 0")
    except Exception as error:
        session.rollback()
        if engine.classify(error).code in ("no_such_table", "no_such_schema", "no_such_column"):
            return False
        raise
    return True


def upgrade(engine: Engine, session: Session, now: datetime, *, dry_run: bool) -> list[int]:
    """Bring an older layout to the present version, one step a transaction; return the versions reached.

    Another loader that upgrades at the same moment is waited for: each step starts by claiming its row
    in ``load_schema``, and is left out where the row is already there.

    Raises:
        UsageError: the layout is newer than this program knows, or older in a dry run.
        TargetSchemaError: the database refuses; it lists the statements.
    """
    version = installed_version(session)
    pending = [step for step in UPGRADE_STEPS if step.version > version]
    if pending and dry_run:
        raise UsageError(
            f"the bookkeeping tables (load_…) have version {version} and would be upgraded to "
            f"{pending[-1].version}; a dry run writes nothing, so run without --dry-run first"
        )
    reached = []
    for step in pending:
        statements = step.statements(engine, session)
        session.begin()
        try:
            refused = session.insert_new(SCHEMA, ("version", "applied_at"), [(step.version, timestamp(now))])
            if not refused:
                for statement in statements:
                    session.execute(statement)
                if step.change_rows is not None:
                    step.change_rows(session)
                reached.append(step.version)
            session.commit()
        except LoaderError:
            session.rollback()
            raise
        except Exception as error:
            session.rollback()
            fault = engine.classify(error)
            if fault.kind is FaultKind.FATAL:
                raise _not_upgraded(session, step, statements, fault.message) from error
            raise
        except BaseException:
            session.rollback()
            raise
    return reached


def _not_upgraded(
    session: Session, step: UpgradeStep, statements: Sequence[str], why: str
) -> TargetSchemaError:
    """Say what an administrator can do for a user who may not change tables."""
    refused = f"the bookkeeping tables (load_…) cannot be upgraded to version {step.version}: {why}. "
    if step.change_rows is not None:
        return TargetSchemaError(
            f"{refused}Have a load run once by somebody who may change rows of {LEDGER} and {QUARANTINE} and "
            f"delete those of {RANGES}; with --limit 1 it does little else"
        )
    script = [
        *statements,
        f"INSERT INTO {session.table(SCHEMA)} (version, applied_at) "
        f"VALUES ({step.version}, CURRENT_TIMESTAMP)",
    ]
    return TargetSchemaError(
        f"{refused}Have these statements run by somebody who may change the tables, then run the same "
        "command again:\n" + "\n".join(f"{statement};" for statement in script)
    )
