"""What was loaded into a target, from its own bookkeeping, and what is left in the source."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xml_extractor.contract import Contract
from xml_extractor.engines.base import Session
from xml_extractor.errors import LoaderError
from xml_extractor.mapping.records import State
from xml_extractor.operations import opening
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.load import source_name
from xml_extractor.settings import LoadOptions
from xml_extractor.source.reader import SourceReader
from xml_extractor.target import owed_keys, ranges, runs
from xml_extractor.target.bookkeeping import QUARANTINE
from xml_extractor.target.ledger import newer_in_quarantine
from xml_extractor.target.ranges import RangeFigures
from xml_extractor.target.runs import Run


@dataclass(frozen=True, slots=True)
class LoadStatus:
    """One load: what the ledger holds of it, how fast it was, and how far it has come."""

    run: Run
    documents: dict[State, int]
    documents_per_second: float | None
    """Of its last run, or since its first commit; see :class:`~xml_extractor.target.runs.RunStatus`."""
    ranges: RangeFigures
    quarantine_reasons: dict[str, int]
    newer_in_quarantine: int
    """Of the loaded documents, such as have a newer version in quarantine."""

    @property
    def is_unfinished(self) -> bool:
        """Whether the same command would go on with it."""
        return self.run.finished_at is None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        run = self.run
        return {
            "load_id": run.load_id,
            "state": run.state.value,
            "source_name": run.source_name,
            "contract": run.contract,
            "contract_version": run.contract_version,
            "started_at": run.started_at.isoformat(),
            "finished_at": None if run.finished_at is None else run.finished_at.isoformat(),
            "documents": {state.value: self.documents.get(state, 0) for state in State},
            "documents_per_second": _rounded(self.documents_per_second),
            "ranges": {
                "finished": self.ranges.finished,
                "documents": self.ranges.documents,
                "recent_documents_per_second": _rounded(self.ranges.recent_per_second),
            },
            "quarantine_reasons": dict(self.quarantine_reasons),
            "newer_in_quarantine": self.newer_in_quarantine,
        }


@dataclass(frozen=True, slots=True)
class Left:
    """How many documents of a source are not in the ledger, or why that is not known."""

    contract: str
    source_name: str
    documents: int | None
    """Source rows less ledger rows; not exact where source rows have been deleted since they were loaded."""
    why_unknown: str | None = None

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "contract": self.contract,
            "source_name": self.source_name,
            "documents": self.documents,
            "why_unknown": self.why_unknown,
        }


@dataclass(frozen=True, slots=True)
class TargetStatus:
    """Loads, documents by state, quarantined documents by reason, and what is left."""

    target: str
    loads: list[LoadStatus]
    quarantine_reasons: dict[str, int]
    left: Left
    owed_keys: list[str]
    """Tables that have yet to get their keys, which the next load that comes to its end builds."""

    @property
    def documents(self) -> dict[State, int]:
        """Documents in the ledger, by state."""
        return {state: sum(load.documents.get(state, 0) for load in self.loads) for state in State}

    @property
    def newer_in_quarantine(self) -> int:
        """Of the loaded documents, such as have a newer version in quarantine."""
        return sum(load.newer_in_quarantine for load in self.loads)

    def to_json(self) -> dict[str, Any]:
        """Return the status as plain data."""
        return {
            "target": self.target,
            "documents": {state.value: count for state, count in self.documents.items()},
            "quarantine_reasons": dict(self.quarantine_reasons),
            "newer_in_quarantine": self.newer_in_quarantine,
            "left": self.left.to_json(),
            "owed_keys": list(self.owed_keys),
            "loads": [load.to_json() for load in self.loads],
        }


def read_status(
    target: str,
    options: LoadOptions | None = None,
    *,
    source: str | None = None,
    contract: Contract | None = None,
) -> TargetStatus:
    """Read the status of the target with this URL.

    Args:
        source: URL of the database that holds the documents; None = what is left is not asked for.
        contract: by which the source's table and name are known.

    Raises:
        TargetError: it cannot be reached.
        UsageError: nothing was loaded into it yet.
    """
    options = options or LoadOptions()
    with Bookkeeping(target, options) as bookkeeping:
        loads = bookkeeping.ask(_loads)
        return TargetStatus(
            bookkeeping.engine.display,
            loads,
            _sum_of_reasons(loads),
            _left(loads, source, contract, options),
            [table.spec.name for table in bookkeeping.ask(owed_keys.read)],
        )


def _loads(session: Session) -> list[LoadStatus]:
    by_reason = session.query(
        f"SELECT load_id, code, {session.count} FROM {session.table(QUARANTINE)} GROUP BY load_id, code"
    )
    reasons: dict[int, dict[str, int]] = {}
    for load_id, code, number in sorted(by_reason, key=lambda row: (-int(row[2]), str(row[1]))):
        reasons.setdefault(int(load_id), {})[str(code)] = int(number)
    newer = newer_in_quarantine(session)
    return [
        LoadStatus(
            load.run,
            load.documents,
            load.documents_per_second,
            ranges.figures(session, load.run.load_id),
            reasons.get(load.run.load_id, {}),
            newer.get(load.run.load_id, 0),
        )
        for load in runs.status(session)
    ]


def _sum_of_reasons(loads: Sequence[LoadStatus]) -> dict[str, int]:
    total: dict[str, int] = {}
    for load in loads:
        for code, number in load.quarantine_reasons.items():
            total[code] = total.get(code, 0) + number
    return dict(sorted(total.items(), key=lambda pair: (-pair[1], pair[0])))


def _left(
    loads: Sequence[LoadStatus], source: str | None, contract: Contract | None, options: LoadOptions
) -> Left:
    if source is None or contract is None:
        return Left("", "", None, "no source was named (--source, --contract)")
    engine = opening.source_engine(source, options)
    plan = contract.plan
    name = source_name(options, contract, engine)
    known = [load for load in loads if (load.run.contract, load.run.source_name) == (plan.contract, name)]
    if not known:
        return Left(
            plan.contract, name, None,
            f"no load of contract {plan.contract} from {name} is known here (--contract, --source-name)",
        )  # fmt: skip
    reader = SourceReader(engine, plan.source, retry_seconds=0)
    try:
        reader.open()
        rows = reader.count()
    except LoaderError as error:
        return Left(plan.contract, name, None, f"the source cannot be reached: {error}")
    finally:
        reader.close()
    settled = sum(sum(load.documents.values()) for load in known)
    return Left(plan.contract, name, max(0, rows - settled))


def _rounded(rate: float | None) -> float | None:
    return None if rate is None else round(rate, 1)
