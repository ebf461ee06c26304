"""Looks at source and target before a load, and says what would go wrong or could go better.

Nothing is changed on either side: what is tried out on the target is rolled back.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from xml_extractor.contract import Contract
from xml_extractor.engines.base import Engine, Finding, Health, Privileges
from xml_extractor.errors import ExitCode
from xml_extractor.operations import opening
from xml_extractor.operations.doctor_looks import Looker, SourceLooker, TargetLooker
from xml_extractor.settings import LoadOptions
from xml_extractor.target import bookkeeping
from xml_extractor.target.database_target import DatabaseTarget

_ORDER: Final = (Health.GOOD, Health.NOTE, Health.WARNING, Health.PROBLEM)


@dataclass(frozen=True, slots=True)
class Side:
    """What was found of the source or of the target; the worst comes last."""

    name: str  # source or target
    display: str
    findings: tuple[Finding, ...]
    failure: ExitCode | None = None  # why it could not be looked at

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "database": self.display,
            "findings": [
                {"health": item.health.value, "subject": item.subject, "text": item.text, "cure": item.cure}
                for item in self.findings
            ],
        }


@dataclass(frozen=True, slots=True)
class Examination:
    """Both sides, and what follows."""

    sides: tuple[Side, ...]

    def to_do(self) -> list[tuple[str, Finding]]:
        """What the operator should do something about, each with its side; the worst first."""
        return [
            (side.name, finding)
            for health in (Health.PROBLEM, Health.WARNING)
            for side in self.sides
            for finding in side.findings
            if finding.health is health
        ]

    @property
    def would_work(self) -> bool:
        """Whether a load can be expected to succeed."""
        return all(finding.health is not Health.PROBLEM for _, finding in self.to_do())

    @property
    def verdict(self) -> str:
        """The outcome in one sentence."""
        number = len(self.to_do())
        things = f"{number} thing{'' if number == 1 else 's'}"
        if not number:
            return "Green: a load would work."
        if self.would_work:
            return f"A load would work; {things} to do to make it safer or faster:"
        return f"{things} to do before a load:"

    @property
    def exit_code(self) -> ExitCode:
        """0 where a load would work; what a load would end with where a side cannot be reached; else 3."""
        failure = next((side.failure for side in self.sides if side.failure is not None), None)
        if failure is not None:
            return failure
        return ExitCode.OK if self.would_work else ExitCode.NEEDS_A_LOOK

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "would_work": self.would_work,
            "to_do": len(self.to_do()),
            "exit_code": int(self.exit_code),
            **{side.name: side.to_json() for side in self.sides},
        }


def examine(
    source: str, target: str, contract: Contract, options: LoadOptions, *, embedded: bool = False
) -> Examination:
    """Look at both sides of a load.

    Args:
        source: SQLAlchemy URL.
        target: SQLAlchemy URL, ``null:`` or ``jsonl:DIR``.
        options: as the load would have them.
        embedded: the source is the embedded default, which the first load fills.

    Raises:
        UsageError: a URL is not one.
    """
    source_engine = opening.source_engine(source, options)
    opened = opening.target_of(target, options)
    looker = SourceLooker(source_engine, contract, options, embedded=embedded)
    sides = [_side(looker)]
    if isinstance(opened, DatabaseTarget):
        sides.append(_side(TargetLooker(source_engine, opened, contract, options, looker.batch)))
    else:
        nothing = Finding(Health.GOOD, "target", "no database: there is nothing to prepare or to look at")
        sides.append(Side("target", opened.display, (nothing,)))
    return Examination(tuple(sides))


def _side(looker: Looker) -> Side:
    failure = looker.look()
    order = sorted(looker.found, key=lambda finding: _ORDER.index(finding.health))
    return Side(looker.name, looker.engine.display, tuple(order), failure)


def grant_script(
    source: str, target: str, contract: Contract, options: LoadOptions, *, user: str
) -> list[str]:
    """Return the statements that let a user load by this contract and do no more; connects to nothing.

    Args:
        user: the database user that the privileges are for.

    Raises:
        UsageError: a URL is not one.
    """
    plan = contract.plan
    reading = Privileges(user, source=plan.source)
    writing = Privileges(
        user,
        data_tables=tuple(table.name for table in plan.tables),
        own_tables=bookkeeping.TABLES,
        create_tables=bool(options.create_tables),
    )
    lines = []
    opened = opening.target_of(target, options)
    sides: list[tuple[str, Engine, Privileges]] = [
        ("source", opening.source_engine(source, options), reading)
    ]
    if isinstance(opened, DatabaseTarget):
        sides.append(("target", opened.engine, writing))
    for name, engine, privileges in sides:
        lines.append(f"-- {name}: {engine.display}")
        lines += engine.grant_statements(privileges) or ["-- has no users; the file's own rights decide"]
        lines.append("")
    return lines[:-1]
