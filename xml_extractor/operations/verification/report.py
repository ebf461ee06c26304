"""What a verification found, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from xml_extractor.errors import ExitCode
from xml_extractor.mapping.records import State
from xml_extractor.operations.verification.differences import MEANING, NOTES, Kind


@dataclass(slots=True)
class TableReport:
    """One table's rows."""

    name: str
    expected: int = 0
    """By the ledger, of all sources and contracts that load into it."""
    found: int = 0
    by_key: bool = True
    """Whether rows were compared document by document; else in total only."""


@dataclass(slots=True)
class VerifyReport:
    """What was compared, and what was found."""

    target: str
    source_name: str
    contract: str
    deep: bool
    source_documents: int = 0
    documents: dict[State, int] = field(default_factory=dict)
    """This source's documents in the ledger, by state."""
    newer_in_quarantine: int = 0
    """Of those loaded, such as have a newer version in quarantine."""
    tables: list[TableReport] = field(default_factory=list)
    compared: int = 0
    """Documents that were mapped again."""
    other_plan: int = 0
    """Loaded documents that were loaded under another version of the contract: not mapped again."""
    ranges: int = 0
    """Finished ranges of keys of the latest load, compared with what ``load_ranges`` claims of them."""
    others: int = 0
    """Loaded documents of other sources and contracts with rows in the same tables."""
    in_motion: int = 0
    """Documents that were being written at each look; a table that can only be compared whole is one."""
    unlocated: int = 0
    """Documents in places that differ and were not looked into, because enough was found."""
    differences: dict[Kind, int] = field(default_factory=dict)
    """Rows, values or documents by kind, notes among them."""
    untold: list[str] = field(default_factory=list)
    """What could not be compared, and why."""
    since: str | None = None
    """When the oldest of the steps was finished that an earlier, interrupted run had done (UTC)."""
    seconds: float = 0.0

    @property
    def faults(self) -> int:
        """Differences that are no notes."""
        return sum(count for kind, count in self.differences.items() if kind not in NOTES)

    @property
    def notes(self) -> int:
        """What the source has moved on by."""
        return sum(count for kind, count in self.differences.items() if kind in NOTES)

    def is_clean(self, *, strict: bool = False) -> bool:
        """Whether everything agrees; ``strict``: with the source as it is now, and nothing was left out.

        What ``deep`` was asked to compare and could not, because another version of the contract loaded it,
        is not called clean.
        """
        not_settled = self.faults or self.in_motion or self.unlocated or (self.deep and self.other_plan)
        return not (not_settled or (strict and (self.notes or self.untold)))

    def exit_code(self, *, strict: bool = False) -> ExitCode:
        """0 only where it is clean, else 3."""
        return ExitCode.OK if self.is_clean(strict=strict) else ExitCode.NEEDS_A_LOOK

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "clean": self.is_clean(),
            "target": self.target,
            "source_name": self.source_name,
            "contract": self.contract,
            "deep": self.deep,
            "source_documents": self.source_documents,
            "documents": {state.value: self.documents.get(state, 0) for state in State},
            "newer_in_quarantine": self.newer_in_quarantine,
            "tables": [
                {
                    "table": table.name,
                    "expected": table.expected,
                    "found": table.found,
                    "by_key": table.by_key,
                }
                for table in self.tables
            ],
            "compared": self.compared,
            "other_plan": self.other_plan,
            "ranges": self.ranges,
            "others": self.others,
            "in_motion": self.in_motion,
            "unlocated": self.unlocated,
            "differences": {kind.value: count for kind, count in sorted(self.differences.items())},
            "untold": list(self.untold),
            "since": self.since,
            "seconds": round(self.seconds, 3),
        }

    def lines(self) -> list[str]:
        """Return it for people."""
        states = ", ".join(f"{self.documents.get(state, 0):,} {state.value}" for state in State)
        lines = [
            self.target,
            f"source {self.source_name}, contract {self.contract}: {self.source_documents:,} documents in "
            f"the source; in the ledger {states}",
        ]
        if self.newer_in_quarantine:
            lines.append(
                f"of these {self.newer_in_quarantine:,} loaded in an older version, "
                "the newer one in quarantine"
            )
        if self.deep:
            lines.append(f"{self.compared:,} documents mapped again and compared value by value")
        width = max((len(table.name) for table in self.tables), default=0)
        lines += [
            f"  {table.name:<{width}}  {table.found:>12,} rows"
            + ("" if table.expected == table.found else f", and {table.expected:,} recorded")
            for table in self.tables
        ]
        for kind, count in sorted(self.differences.items()):
            if count:
                lines.append(f"{'note: ' if kind in NOTES else ''}{kind.value}: {count:,} {MEANING[kind]}")
        if self.in_motion:
            lines.append(
                f"{self.in_motion:,} documents were being written at each look; verify again when no load "
                "is running"
            )
        if self.unlocated:
            lines.append(
                f"about {self.unlocated:,} more documents are where values differ; they were not looked into "
                "one by one (--most-differences)"
            )
        lines += [f"note: {sentence}" for sentence in self.untold]
        if self.since is not None:
            lines.append(
                f"note: an interrupted run's steps since {self.since} UTC were not done again; what changed "
                "by hand in between is not seen (delete the --checkpoint file to begin anew)"
            )
        lines.append(self.verdict)
        return lines

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        if self.is_clean():
            return f"Clean: everything that was compared agrees ({self.seconds:.1f} s)."
        if self.faults:
            return f"Not clean: {self.faults:,} differences ({self.seconds:.1f} s)."
        return f"Not clean: not everything could be settled ({self.seconds:.1f} s)."
