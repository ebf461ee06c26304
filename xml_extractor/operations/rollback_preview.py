"""What rolling one load back would take away, and why it may not be."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Session
from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import State
from xml_extractor.target import ledger, owed_keys, runs
from xml_extractor.target.base import RunState
from xml_extractor.target.bookkeeping import LEDGER, RUNS
from xml_extractor.target.replacement import tables_without_key


@dataclass(frozen=True, slots=True)
class Replaced:
    """What is known of older versions of documents that the load replaced, and that nothing brings back."""

    documents: int | None
    """As the load's last run counted them; None = that run did not come to write it down."""


@dataclass(frozen=True, slots=True)
class RollbackPreview:
    """What a rollback would take away."""

    target: str
    run: runs.Run
    documents: dict[State, int]
    rows: dict[str, int]
    """Rows by table, children first, of the documents that are loaded."""
    replaced: Replaced | None
    """None = the load was not told to replace anything."""
    owed_keys: tuple[str, ...] = ()
    """Its tables that have yet to get their keys."""

    @property
    def total(self) -> int:
        """Documents in any state."""
        return sum(self.documents.values())

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.run.state is RunState.ROLLED_BACK and not self.total

    def lines(self) -> list[str]:
        """What the operator is asked about, in sentences."""
        run = self.run
        number = sum(self.rows.values())
        lines = [
            f"Load {run.load_id} of {run.source_name} under contract {run.contract}, started "
            f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC, has {self.documents.get(State.LOADED, 0):,} documents "
            f"loaded, {self.documents.get(State.QUARANTINED, 0):,} in quarantine and "
            f"{self.documents.get(State.SKIPPED, 0):,} skipped in {self.target}.",
            f"Rolling it back deletes {number:,} rows"
            + (f" ({', '.join(f'{name} {count:,}' for name, count in self.rows.items())})" if number else "")
            + f" and what the ledger says of these {self.total:,} documents: they are pending then, and the "
            "next load loads them.",
        ]
        if self.replaced is not None:
            count = self.replaced.documents
            lines.append(
                "This load was told to replace documents that had been loaded before"
                + ("" if count is None else f", and its last run replaced {count:,}")
                + ": their older versions are gone and do not come back."
            )
        if self.owed_keys:
            lines.append(
                f"{', '.join(self.owed_keys)} have yet to get their keys (--keys after): until then each "
                "batch reads these tables whole, which takes long where they are large. A load of the same "
                "source that comes to its end builds the keys."
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return the preview as plain data."""
        return {
            "target": self.target,
            "load_id": self.run.load_id,
            "state": self.run.state.value,
            "source_name": self.run.source_name,
            "contract": self.run.contract,
            "started_at": self.run.started_at.isoformat(),
            "documents": {state.value: self.documents.get(state, 0) for state in State},
            "rows": dict(self.rows),
            "may_have_replaced": self.replaced is not None,
            "replaced": None if self.replaced is None else self.replaced.documents,
            "owed_keys": list(self.owed_keys),
        }


def read_preview(session: Session, target: str, plan: Plan, load_id: int, *, force: bool) -> RollbackPreview:
    """Look at what would be taken away; nothing is changed.

    Args:
        target: the database in words, for messages.
        force: do not refuse because a load of the same source is marked as running.

    Raises:
        UsageError: there is no such load, or it cannot be rolled back, with the reason.
    """
    known = runs.read_runs(session)
    run = next((run for run in known if run.load_id == load_id), None)
    if run is None:
        raise UsageError(
            f"{target} knows no load {load_id}; `python -m xml_extractor status` lists its loads"
        )
    _refuse_what_cannot_be_found(run, plan)
    if not force:
        _refuse_while_loading(known, run)
    documents: Counter[State] = Counter()
    rows: Counter[str] = Counter(dict.fromkeys(reversed(run.tables), 0))
    grouped = session.stream(
        f"SELECT state, row_counts, {session.count} FROM {session.table(LEDGER)} WHERE load_id = ? "
        "GROUP BY state, row_counts",
        (load_id,),
    )
    with closing(grouped):  # type: ignore[type-var]
        for chunk in grouped:
            for state, row_counts, number in chunk:
                documents[State(state)] += int(number)
                for name, count in zip(run.tables, ledger.counts_from_text(row_counts), strict=False):
                    rows[name] += count * int(number)
    owed = tuple(table.spec.name for table in owed_keys.read(session) if table.spec.name in run.tables)
    return RollbackPreview(target, run, dict(documents), dict(rows), _replaced(session, load_id), owed)


def _refuse_what_cannot_be_found(run: runs.Run, plan: Plan) -> None:
    if run.contract != plan.contract:
        raise UsageError(
            f"load {run.load_id} was made with contract {run.contract}, not {plan.contract}; name its file "
            "with --contract"
        )
    gone = sorted(set(run.tables) - {table.name for table in plan.tables})
    if gone:
        raise UsageError(
            f"load {run.load_id} wrote to {', '.join(gone)}, which the contract does not have any more; name "
            "the version of the contract that it was made with by --contract"
        )
    unreachable = [name for name in tables_without_key(plan) if name in run.tables]
    if unreachable:
        raise UsageError(
            f"load {run.load_id} cannot be rolled back: no column of {', '.join(unreachable)} carries the "
            "source key as it is (from: $key, an integer or varchar type, unchanged), so that the rows of "
            "its documents cannot be told from others"
        )


def _refuse_while_loading(known: Sequence[runs.Run], run: runs.Run) -> None:
    """A loader at work would go on adding to the load, or take what is rolled back for loaded."""
    running = [
        other.load_id
        for other in known
        if other.state is RunState.RUNNING
        and (other.source_name, other.contract) == (run.source_name, run.contract)
    ]
    if running:
        raise UsageError(
            f"load {running[0]} of {run.source_name} is marked as running: it is at work now, or was killed. "
            "End it; if there is none at work, say so with --force"
        )


def _replaced(session: Session, load_id: int) -> Replaced | None:
    """Return what a load's settings, and the summary of its last run, say of documents that it replaced."""
    rows = session.query(f"SELECT settings, summary FROM {session.table(RUNS)} WHERE load_id = ?", (load_id,))
    settings, summary = (_json(text) for text in rows[0])
    number = summary.get("replaced")
    if not (number or runs.may_replace(settings) or runs.may_replace(summary.get("settings") or {})):
        return None
    return Replaced(int(number) if isinstance(number, int) else None)


def _json(text: object) -> Mapping[str, Any]:
    if not isinstance(text, str):
        return {}
    found = json.loads(text)
    return found if isinstance(found, dict) else {}
