"""What a load's batches will mean for a SQL Server database: triggers, constraints, log, locks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import BatchEstimate, EngineOptions, Finding, Health, Session
from xml_extractor.engines.mssql import catalogue, names

ESCALATION_LOCKS: Final = 5_000
"""Locks of one statement on one table at which the server tries to lock the whole table instead
(documented under "Lock escalation" in the locking guide)."""

_LOG_RECORD_BYTES: Final = 120
"""Roughly what a logged row costs beside its values."""

_LOG_COPIES: Final = 2
"""The values of a row are logged for the table, and as keys once more for its indexes; rounded up."""


def triggers(session: Session, plan: Plan, schema: str | None) -> Iterator[Finding]:
    """Triggers that an INSERT of the loader fires."""
    found = 0
    for table in plan.tables:
        for trigger in catalogue.triggers(session, table.name, schema):
            found += 1
            name = f"{trigger.name} on {table.name}"
            if trigger.instead_of:
                yield Finding(
                    Health.WARNING, "triggers", f"{name} runs INSTEAD OF the insert: it decides what gets in",
                    f"see that {trigger.name} inserts all the rows of a statement, or disable it",
                )  # fmt: skip
            elif trigger.sets_nocount is False:
                yield Finding(
                    Health.WARNING, "triggers", f"{name} has no SET NOCOUNT ON: it adds counts of its own",
                    f"put SET NOCOUNT ON at the beginning of {trigger.name}",
                )  # fmt: skip
            else:
                yield Finding(
                    Health.NOTE,
                    "triggers",
                    f"{name} is fired once a statement, with the rows of a whole batch",
                )
    if not found:
        yield Finding(Health.GOOD, "triggers", "none on the contract's tables")


def foreign_keys(session: Session, plan: Plan, schema: str | None) -> Iterator[Finding]:
    """Foreign keys of the contract's tables that the server does not rely on."""
    number, mends = 0, []
    for table in plan.tables:
        name = names.quote_table(table.name, schema)
        rows = session.query(
            "SELECT name, is_disabled, is_not_trusted, is_not_for_replication FROM sys.foreign_keys "
            "WHERE parent_object_id = OBJECT_ID(?)",
            (name,),
        )
        number += len(rows)
        mends += [
            f"ALTER TABLE {name} WITH CHECK CHECK CONSTRAINT {names.quote_identifier(key)};"
            for key, disabled, not_trusted, not_for_replication in rows
            if disabled or (not_trusted and not not_for_replication)
        ]
    if mends:
        yield Finding(
            Health.WARNING,
            "foreign keys",
            f"{len(mends)} of {number} are disabled or were not checked when they were enabled: the server "
            "neither guards nor uses them",
            "\n".join(mends),
        )
    elif number:
        yield Finding(Health.GOOD, "foreign keys", f"{number}, enabled and trusted")


def log(session: Session, batch: BatchEstimate | None) -> Iterator[Finding]:
    """What a batch writes to the transaction log, and when its space is free again."""
    ((name, model, wait),) = session.query(
        "SELECT name, recovery_model_desc, log_reuse_wait_desc FROM sys.databases WHERE database_id = DB_ID()"
    )
    written = ""
    if batch is not None:
        size = _LOG_COPIES * batch.size_bytes + _LOG_RECORD_BYTES * sum(batch.rows.values())
        written = f"; a batch of {batch.documents:,} documents writes some {_mib(size)} of log, by estimate"
    if str(model).upper() == "SIMPLE":
        yield Finding(Health.GOOD, "recovery model", f"SIMPLE{written}, free again soon after its commit")
        return
    waits = ", and the log waits for one now" if wait == "LOG_BACKUP" else ""
    yield Finding(
        Health.NOTE,
        "recovery model",
        f"{model}{written}; its space is free again only after a log backup{waits}",
        f"have log backups of {names.quote_identifier(name)} run while it loads, or give the log room for "
        "the whole load",
    )


def locks(
    session: Session, plan: Plan, batch: BatchEstimate | None, options: EngineOptions
) -> Iterator[Finding]:
    """Whether a statement of a batch will lock a whole table."""
    if options.avoid_lock_escalation:
        yield Finding(
            Health.GOOD, "locks", f"--avoid-lock-escalation: no statement takes {ESCALATION_LOCKS:,} locks"
        )
        return
    if batch is None:
        yield Finding(Health.NOTE, "locks", "not judged: nothing is known of the rows that a batch brings")
        return
    disabled = {
        table.name
        for table in plan.tables
        if session.query(
            "SELECT 1 FROM sys.tables WHERE object_id = OBJECT_ID(?) AND lock_escalation_desc = 'DISABLE'",
            (names.quote_table(table.name, options.schema),),
        )
    }
    large = {
        table: rows
        for table, rows in batch.rows.items()
        if rows >= ESCALATION_LOCKS and table not in disabled
    }
    if not large:
        most = max(batch.rows.values(), default=0)
        yield Finding(
            Health.GOOD,
            "locks",
            f"a batch brings {most:,} rows to a table at most, by estimate; a statement locks the whole "
            f"table from {ESCALATION_LOCKS:,} on",
        )
        return
    listed = ", ".join(f"{table} ({rows:,})" for table, rows in sorted(large.items(), key=lambda i: -i[1]))
    fitting = max(1, (ESCALATION_LOCKS - 1) * batch.documents // max(large.values()))
    yield Finding(
        Health.NOTE,
        "locks",
        f"a batch of {batch.documents:,} documents brings, by estimate, {ESCALATION_LOCKS:,} rows or more to "
        f"{listed}: there a statement locks the whole table until the commit, and other insert threads and "
        "readers wait",
        f"--avoid-lock-escalation, or --batch-size {fitting:,} or less, where others use these tables too",
    )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB" if size < 10 * 2**20 else f"{size / 2**20:,.0f} MiB"
