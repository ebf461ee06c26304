"""What a run of the suite says at its end: how many faults struck, when, and what came of them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tests.faults.case import Outcome


class Report:
    """Adds up outcomes."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.outcomes: list[Outcome] = []

    def add(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)

    @property
    def struck(self) -> int:
        """Faults that found something to break."""
        return sum(sum(outcome.struck.values()) for outcome in self.outcomes)

    @property
    def failed(self) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.problems]

    def to_json(self) -> dict[str, Any]:
        struck, between = self._sums()
        return {
            "seed": self.seed,
            "cases": len(self.outcomes),
            "runs": sum(len(outcome.codes) + len(outcome.hangs) for outcome in self.outcomes),
            "faults": sum(struck.values()),
            "between_first_and_last_commit": sum(between.values()),
            **{name: self._documents(name) for name in ("lost", "twice", "wrong", "hangs", "leftovers")},
            "refused_for_want_and_replayed": sum(outcome.for_want for outcome in self.outcomes),
            "cases_by_engine": dict(Counter(outcome.case.engine for outcome in self.outcomes)),
            "cases_by_executor": dict(Counter(outcome.case.executor for outcome in self.outcomes)),
            "cases_by_family": dict(Counter(outcome.case.family for outcome in self.outcomes)),
            "exit_codes": {
                str(code): count
                for code, count in sorted(
                    Counter(code for outcome in self.outcomes for code in outcome.codes).items()
                )
            },
            "faults_by_kind": {
                kind: {"struck": count, "between": between[kind]} for kind, count in sorted(struck.items())
            },
            "failed": [
                {"case": outcome.case.describe(), "problems": outcome.problems} for outcome in self.failed
            ],
        }

    def text(self) -> str:
        """The summary as a table."""
        struck, between = self._sums()
        groups: Counter[str] = Counter()
        in_groups: Counter[str] = Counter()
        for kind, count in struck.items():
            groups[kind.partition(":")[0]] += count
            in_groups[kind.partition(":")[0]] += between[kind]
        rows = [("fault", "struck", "between first and last commit")]
        rows += [(kind, f"{count:,}", f"{in_groups[kind]:,}") for kind, count in sorted(groups.items())]
        rows.append(("all", f"{sum(struck.values()):,}", f"{sum(between.values()):,}"))
        figures = self.to_json()
        counts = ", ".join(
            f"{figures[name]} {word}"
            for name, word in (
                ("lost", "lost"), ("twice", "twice"), ("wrong", "wrong"), ("hangs", "hangs"),
                ("leftovers", "processes left behind"),
            )
        )  # fmt: skip
        return (
            f"{_table(rows)}\n\n{figures['cases']} cases, {figures['runs']} runs of the program, "
            f"{figures['faults']} faults ({figures['between_first_and_last_commit']} of them between the "
            f"first and the last commit): {counts}"
        )

    def _sums(self) -> tuple[Counter[str], Counter[str]]:
        struck: Counter[str] = Counter()
        between: Counter[str] = Counter()
        for outcome in self.outcomes:
            struck.update(outcome.struck)
            between.update(outcome.between)
        return struck, between

    def _documents(self, name: str) -> int:
        return sum(len(getattr(outcome, name)) for outcome in self.outcomes)


def as_json(report: Report) -> str:
    return json.dumps(report.to_json(), indent=2, ensure_ascii=False) + "\n"


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    )
