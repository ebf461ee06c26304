"""Whether a database is ready to be loaded into, and making it so where the user allows that."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from typing import Final

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan, Table
from xml_extractor.engines.base import Engine, FaultKind, Session, TableSpec, table_specs
from xml_extractor.errors import TargetSchemaError
from xml_extractor.target import bookkeeping, ledger, owed_keys, runs, upgrading
from xml_extractor.target.owed_keys import Origin
from xml_extractor.target.timestamps import utc_now

logger = logging.getLogger(__name__)

_CREATE_ATTEMPTS: Final = 5
"""Another loader may create the same tables at the same moment; each attempt looks at what is there."""


def ready(
    engine: Engine,
    session: Session,
    plan: Plan,
    *,
    create_tables: bool,
    dry_run: bool,
    keys_after_for: Origin | None = None,
) -> bool:
    """Check the tables, creating what is missing where allowed; return whether bookkeeping exists.

    It exists always, but for a dry run that would have created it.

    Args:
        keys_after_for: create the contract's tables without their keys, which they owe; the tables belong
            to this source until they have them.  None = with their keys.

    Raises:
        TargetSchemaError: naming all that is missing or does not fit, or what was filled and is missing now.
        UsageError: the bookkeeping tables are of a newer version, or older in a dry run.
    """
    problems = list(engine.unsupported(plan))
    missing = _missing(engine, session, [*bookkeeping.bookkeeping_specs(), *table_specs(plan)])
    if bookkeeping.SCHEMA not in {spec.name for spec in missing}:
        later = bookkeeping.come_with_upgrade(session)
        missing = [spec for spec in missing if spec.name not in later]
    missing_names = {spec.name for spec in missing}
    lost = lost_tables(session, plan, missing_names)
    if lost is not None:
        raise TargetSchemaError(f"{engine.display}: {lost.text}; {lost.cure}")
    if create_tables:
        # What exists must fit before anything is created beside it.
        problems += engine.table_problems(session, _only(plan, missing_names))
    else:
        problems += engine.table_problems(session, plan)
        problems += [
            f"bookkeeping table {name} does not exist" for name in bookkeeping.TABLES if name in missing_names
        ]
    if problems:
        raise _schema_error(engine, problems, may_create=bool(missing) and not create_tables)
    bookkeeping_exists = bookkeeping.SCHEMA not in missing_names and bookkeeping.LEDGER not in missing_names
    if dry_run:
        if bookkeeping_exists:
            upgrading.upgrade(engine, session, utc_now(), dry_run=True)
        return bookkeeping_exists
    # The loader's own first: in them it is written down what the others are created without.
    own = [spec for spec in missing if spec.name in bookkeeping.TABLES]
    if own:
        _create(engine, session, own, engine.create_statements, lambda _: None)
    if bookkeeping.installed_version(session) == 0:
        bookkeeping.record_version(session, utc_now())
    for version in upgrading.upgrade(engine, session, utc_now(), dry_run=False):
        logger.info("upgraded the bookkeeping tables in %s to version %d", engine.display, version)
    if len(own) < len(missing):
        late = keys_after_for is not None
        _create(
            engine,
            session,
            [spec for spec in missing if spec not in own],
            lambda specs: engine.create_statements(specs, keys=not late),
            lambda specs: owed_keys.write(session, plan, keys_after_for, [spec.name for spec in specs]),
        )
        problems = engine.table_problems(session, plan)
        if problems:
            raise _schema_error(engine, problems, may_create=False)
    return True


def compared(engine: Engine, session: Session, plan: Plan) -> tuple[list[str], list[str]]:
    """Look at the tables without touching them.

    Returns:
        The names of the tables that are missing, the loader's own included, save those that the next load
        will add to an older layout; and what keeps those that are there from being filled.
    """
    specs = [*table_specs(plan), *bookkeeping.bookkeeping_specs()]
    missing = [spec.name for spec in _missing(engine, session, specs)]
    if bookkeeping.SCHEMA not in missing:
        later = bookkeeping.come_with_upgrade(session)
        missing = [name for name in missing if name not in later]
    return missing, list(engine.table_problems(session, _only(plan, set(missing))))


@dataclass(frozen=True, slots=True)
class LostTables:
    """Tables that are missing although the ledger records rows in them, in words."""

    names: frozenset[str]
    text: str
    cure: str


def lost_tables(session: Session, plan: Plan, missing: Collection[str]) -> LostTables | None:
    """Return which of the contract's missing tables had been filled; None = none of them.

    To create such a table anew would hide that its rows are gone: their documents count as loaded.  A table
    that the contract has newly gained, or in which no document has a row, is none of them.
    """
    wanted = {table.name for table in plan.tables}.intersection(missing)
    if not wanted or not {bookkeeping.RUNS, bookkeeping.LEDGER}.isdisjoint(missing):
        return None
    tables_of = {run.load_id: run.tables for run in runs.read_runs(session) if run.contract == plan.contract}
    if wanted.isdisjoint(itertools.chain.from_iterable(tables_of.values())):
        return None
    rows = ledger.rows_recorded(session, tables_of)
    names = sorted(wanted & rows.keys())
    if not names:
        return None
    loads = sorted(set().union(*(rows[name] for name in names)))
    said = ", ".join(f"{name} ({sum(rows[name].values()):,} rows)" for name in names)
    return LostTables(
        frozenset(names),
        f"missing, although the ledger records rows in them as loaded: {said}, of load "
        f"{', '.join(map(str, loads))}. Created anew they would stay empty, because their documents count as "
        "loaded; so no load creates them",
        "restore them from a backup; or load everything anew into another, empty target (a database, or a "
        "schema by --target-schema); or, if the rows are not wanted, create them empty yourself with what "
        "`contract ddl` prints. `rollback` leaves documents whose rows are gone",
    )


def _schema_error(engine: Engine, problems: Sequence[str], *, may_create: bool) -> TargetSchemaError:
    cure = "`contract ddl` prints the tables that are needed"
    if may_create:
        cure += ", and --create-tables creates those that are missing"
    lines = "\n".join(f"  - {problem}" for problem in problems)
    return TargetSchemaError(f"{engine.display} is not ready for this contract:\n{lines}\n{cure}")


def _only(plan: Plan, missing: set[str]) -> Plan:
    """The plan without the tables that are missing; good for checking tables one by one only."""
    tables: list[Table] = [
        replace(table, parent=None, foreign_key=()) for table in plan.tables if table.name not in missing
    ]
    return replace(plan, tables=tuple(tables))


def _missing(engine: Engine, session: Session, specs: Sequence[TableSpec]) -> list[TableSpec]:
    names = set(session.table_names())
    return [spec for spec in specs if spec.name not in names and not can_select(engine, session, spec.name)]


def can_select(engine: Engine, session: Session, name: str) -> bool:
    """Whether a table of this name, which may name a schema or differ in case, is there to be read."""
    try:
        session.query(f"SELECT 1 FROM {session.table(name)} WHERE 1 = 0")
    except Exception as error:
        session.rollback()
        if engine.classify(error).code in ("no_such_table", "no_such_schema"):
            return False
        raise
    return True


def _create(
    engine: Engine,
    session: Session,
    missing: Sequence[TableSpec],
    statements: Callable[[Sequence[TableSpec]], list[str]],
    note: Callable[[Sequence[TableSpec]], None],
) -> None:
    """Create tables in one transaction, in which ``note`` may write down that it was done."""
    for attempt in range(1, _CREATE_ATTEMPTS + 1):
        session.begin()
        try:
            for statement in statements(missing):
                session.execute(statement)
            note(missing)
            failpoints.hit("tables_created", session)
            session.commit()
        except Exception as error:
            session.rollback()
            if engine.classify(error).kind is FaultKind.DISCONNECTED or attempt == _CREATE_ATTEMPTS:
                raise
            still_missing = _missing(engine, session, missing)
            if len(still_missing) == len(missing) and engine.classify(error).kind is FaultKind.FATAL:
                raise
            missing = still_missing
            if not missing:
                return
        else:
            logger.info("created %s in %s", ", ".join(spec.name for spec in missing), engine.display)
            return
