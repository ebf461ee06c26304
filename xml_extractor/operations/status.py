"""What was loaded into a target, from its own bookkeeping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from xml_extractor.mapping.records import State
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.settings import LoadOptions
from xml_extractor.target import runs
from xml_extractor.target.bookkeeping import QUARANTINE
from xml_extractor.target.runs import RunStatus


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """Loads, documents by state, and quarantined documents by reason."""

    target: str
    loads: list[RunStatus]
    quarantine_reasons: dict[str, int]

    @property
    def documents(self) -> dict[State, int]:
        """Documents in the ledger, by state."""
        return {state: sum(load.documents.get(state, 0) for load in self.loads) for state in State}

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain data."""
        return {
            "target": self.target,
            "documents": {state.value: count for state, count in self.documents.items()},
            "quarantine_reasons": dict(self.quarantine_reasons),
            "loads": [
                {
                    "load_id": load.run.load_id,
                    "state": load.run.state.value,
                    "source_name": load.run.source_name,
                    "contract": load.run.contract,
                    "contract_version": load.run.contract_version,
                    "started_at": load.run.started_at.isoformat(),
                    "finished_at": None if load.run.finished_at is None else load.run.finished_at.isoformat(),
                    "documents": {state.value: load.documents.get(state, 0) for state in State},
                }
                for load in self.loads
            ],
        }


def read_status(target: str, options: LoadOptions | None = None) -> TargetStatus:
    """Read the status of the target with this URL.

    Raises:
        TargetError: it cannot be reached.
        UsageError: nothing was loaded into it yet.
    """
    with Bookkeeping(target, options) as bookkeeping:
        loads = bookkeeping.ask(runs.status)
        reasons = bookkeeping.ask(
            lambda session: session.query(
                f"SELECT code, COUNT(*) FROM {session.table(QUARANTINE)} "
                "GROUP BY code ORDER BY COUNT(*) DESC, code"
            )
        )
        return TargetStatus(
            bookkeeping.engine.display, loads, {str(code): int(count) for code, count in reasons}
        )
