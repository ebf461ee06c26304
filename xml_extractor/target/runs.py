"""Loads as ``load_runs`` knows them: numbering, resuming, ending."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Session
from xml_extractor.errors import TargetError
from xml_extractor.mapping.records import State
from xml_extractor.target import ledger
from xml_extractor.target.base import RunState
from xml_extractor.target.bookkeeping import RUNS
from xml_extractor.target.timestamps import from_database, timestamp

_COLUMNS: Final = (
    "load_id", "source_name", "contract", "contract_version", "plan_digest", "tables", "started_at",
    "finished_at", "state", "settings", "summary",
)  # fmt: skip

_NUMBERING_ATTEMPTS: Final = 100
"""Each attempt that fails means that another loader has just taken the number: more starts at one moment
than this are no accident."""


@dataclass(frozen=True, slots=True)
class Run:
    """One row of ``load_runs``."""

    load_id: int
    source_name: str
    contract: str
    contract_version: int
    plan_digest: str
    tables: tuple[str, ...]
    started_at: datetime
    finished_at: datetime | None
    state: RunState

    @classmethod
    def unwritten(cls, plan: Plan, source_name: str, now: datetime, load_id: int = 0) -> Run:
        """A load that begins now."""
        tables = tuple(table.name for table in plan.tables)
        return cls(
            load_id=load_id,
            source_name=source_name,
            contract=plan.contract,
            contract_version=plan.version,
            plan_digest=plan.digest,
            tables=tables,
            started_at=now,
            finished_at=None,
            state=RunState.RUNNING,
        )


@dataclass(frozen=True, slots=True)
class RunStatus:
    """A load and the number of documents that the ledger holds of it, by state."""

    run: Run
    documents: dict[State, int]
    documents_per_second: float | None = None
    """Of the last run, as it said itself when it ended; of a load that has not said how it ended, from its
    first commit on, pauses between two runs included.  None = nothing is known that would say much."""


def read_runs(session: Session) -> list[Run]:
    """Return all loads, oldest first."""
    rows = session.query(f"SELECT {', '.join(_COLUMNS[:9])} FROM {session.table(RUNS)} ORDER BY load_id")
    return [
        Run(
            load_id=int(row[0]),
            source_name=str(row[1]),
            contract=str(row[2]),
            contract_version=int(row[3]),
            plan_digest=str(row[4]),
            tables=tuple(json.loads(row[5])),
            started_at=from_database(row[6]),
            finished_at=None if row[7] is None else from_database(row[7]),
            state=RunState(row[8]),
        )
        for row in rows
    ]


def status(session: Session) -> list[RunStatus]:
    """Return all loads with what the ledger holds of them, oldest first."""
    counts = ledger.document_counts(session)
    summaries = {
        int(load_id): summary
        for load_id, summary in session.query(f"SELECT load_id, summary FROM {session.table(RUNS)}")
    }
    return [
        RunStatus(run, counts.get(run.load_id, {}), _rate(session, run, summaries.get(run.load_id)))
        for run in read_runs(session)
    ]


def _rate(session: Session, run: Run, summary: str | None) -> float | None:
    if run.state in (RunState.ROLLING_BACK, RunState.ROLLED_BACK):
        return None
    if run.state is RunState.RUNNING or summary is None:  # what a summary says is of the run before
        return ledger.commit_rate(session, run.load_id)
    said = json.loads(summary)
    rate = said.get("documents_per_second")
    return float(rate) if rate and said.get("seconds", 0) >= ledger.LEAST_SECONDS else None


def unfinished(runs: Sequence[Run], plan: Plan, source_name: str) -> Run | None:
    """Return the youngest load of this source under this very plan that has not finished."""
    for run in reversed(runs):
        if (
            run.finished_at is None
            and run.state not in (RunState.ROLLING_BACK, RunState.ROLLED_BACK)
            and run.source_name == source_name
            and run.contract == plan.contract
            and run.plan_digest == plan.digest
        ):
            return run
    return None


def start(session: Session, plan: Plan, source_name: str, settings: Mapping[str, Any], now: datetime) -> Run:
    """Write a new load down, under the next free number, and return it.

    Safe while other loaders do the same: the primary key decides who has a number.
    """
    for _ in range(_NUMBERING_ATTEMPTS):
        highest = session.query(f"SELECT MAX(load_id) FROM {session.table(RUNS)}")[0][0]
        run = Run.unwritten(plan, source_name, now, int(highest or 0) + 1)
        row = (
            run.load_id, source_name, plan.contract, plan.version, plan.digest, json.dumps(run.tables),
            timestamp(now), None, run.state.value, json.dumps(settings, default=str, sort_keys=True), None,
        )  # fmt: skip
        if not session.insert_new(RUNS, _COLUMNS, [row]):
            return run
    raise TargetError(
        f"no load number could be had in {_NUMBERING_ATTEMPTS} attempts, because other loaders took each one "
        f"first; look for a program that starts loads in a loop, then run the same command again"
    )


def may_replace(settings: Mapping[str, Any]) -> bool:
    """Whether a load with these settings may replace what was loaded before."""
    return settings.get("on_change") == "replace" or settings.get("on_plan_change") == "reload"


def mark_resumed(session: Session, load_id: int, settings: Mapping[str, Any]) -> bool:
    """Note that a load goes on; False: it is being rolled back meanwhile, and must not.

    Its settings stay those with which it was begun, but for what a rollback will want to know.
    """
    if may_replace(settings):
        stored = json.loads(
            session.query(f"SELECT settings FROM {session.table(RUNS)} WHERE load_id = ?", (load_id,))[0][0]
        )
        if not may_replace(stored):
            changed = {name: settings.get(name) for name in ("on_change", "on_plan_change")}
            session.execute(
                f"UPDATE {session.table(RUNS)} SET settings = ? WHERE load_id = ?",
                (json.dumps({**stored, **changed}, default=str, sort_keys=True), load_id),
            )
    return bool(
        session.execute(
            f"UPDATE {session.table(RUNS)} SET state = ? WHERE load_id = ? AND state NOT IN (?, ?)",
            (RunState.RUNNING.value, load_id, RunState.ROLLING_BACK.value, RunState.ROLLED_BACK.value),
        )
    )


def change_state(session: Session, load_id: int, was: RunState, now: RunState) -> bool:
    """Give a load another state, if it has still the one that was read; return whether it had."""
    return bool(
        session.execute(
            f"UPDATE {session.table(RUNS)} SET state = ? WHERE load_id = ? AND state = ?",
            (now.value, load_id, was.value),
        )
    )


def finish(
    session: Session, load_id: int, state: RunState, summary: Mapping[str, Any], now: datetime
) -> None:
    """Note how a load ended.  Only a FINISHED one gets an end time; others can be resumed.

    What is said of a load that is, or was, rolled back stays: a loader that had not ended by then is late.
    """
    session.execute(
        f"UPDATE {session.table(RUNS)} SET state = CASE WHEN finished_at IS NULL THEN ? ELSE state END, "
        "finished_at = COALESCE(finished_at, ?), summary = ? WHERE load_id = ? AND state NOT IN (?, ?)",
        (
            state.value,
            timestamp(now) if state is RunState.FINISHED else None,
            json.dumps(summary, default=str, sort_keys=True),
            load_id,
            RunState.ROLLING_BACK.value,
            RunState.ROLLED_BACK.value,
        ),
    )
