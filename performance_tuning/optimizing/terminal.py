"""A sweep on the terminal: what it is about to do, how far it has come, what it found."""

from __future__ import annotations

from types import TracebackType
from typing import Final

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from performance_tuning.optimizing import words
from performance_tuning.optimizing.findings import Cell, Findings
from performance_tuning.optimizing.measurements import Ending, History, Measurement, Round
from performance_tuning.optimizing.search import Plan, Search, Stage
from performance_tuning.optimizing.space import Setting, Space
from performance_tuning.optimizing.standing import Standing
from xml_extractor.cli_output import Output
from xml_extractor.profiling.report.formats import rate

_STAGES: Final = {
    Stage.EXPLORE: "looking for fast settings",
    Stage.GRID: "measuring the grid",
    Stage.RACE: "measuring those that may be the best again",
    Stage.COSTS: "measuring what each choice costs",
    Stage.MAP: "filling the map",
}
_SHADES: Final = (
    ("#ffffff", "#7f1d1d"), ("#ffffff", "#9a3412"), ("#000000", "#d97706"), ("#000000", "#eab308"),
    ("#000000", "#a3e635"), ("#000000", "#22c55e"),
)  # fmt: skip
"""Text and ground from the slowest to the fastest; every cell says its figure in digits, too."""

_SHADE_AT: Final = (-0.5, -0.3, -0.15, -0.07, -0.03)
_MOST_TIES: Final = 12


class TerminalWatcher:
    """Shows each load as a line, and on a terminal a bar below."""

    def __init__(self, output: Output, history: History, space: Space, plan: Plan) -> None:
        self._output = output
        self._history = history
        self._space = space
        self._plan = plan
        self._stage = ""
        self._progress: Progress | None = None
        if output.err.is_terminal:
            self._progress = Progress(
                TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
                console=output.err, transient=True,
            )  # fmt: skip
            self._task = self._progress.add_task("", total=1.0)

    def __enter__(self) -> TerminalWatcher:
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def round_begins(self, one: Round, standing: Standing) -> None:
        """Say what comes next where that is something else than before."""
        if one.stage != self._stage:
            self._stage = one.stage
            self._say(f"{_STAGES[Stage(one.stage)]} (so far the leader: {one.leader.shown})")

    def measuring(self, setting: Setting, limit_seconds: float | None) -> None:
        """Show which load runs."""
        if self._progress is not None:
            self._progress.update(self._task, description=setting.shown, completed=self._done())

    def measured(self, one: Measurement) -> None:
        """Show what it did."""
        self._say(f"  {len(self._history.measurements):4}  {one.setting.shown}: {words.outcome(one.outcome)}")
        if self._progress is not None:
            self._progress.update(self._task, completed=self._done())

    def _done(self) -> float:
        """Return the share that is done: of the budget, or of the grid."""
        if self._plan.budget_seconds is not None:
            return min(1.0, self._history.spent_seconds / self._plan.budget_seconds)
        if self._plan.search is Search.GRID:
            wanted = len(self._space.settings()) * self._plan.repeat
            return min(
                1.0, sum(m.outcome.ending is Ending.MEASURED for m in self._history.measurements) / wanted
            )
        return 0.0

    def _say(self, text: str) -> None:
        if self._progress is not None:
            self._progress.console.print(Text(text), soft_wrap=True)
        else:
            self._output.say(text)
            self._output.err.file.flush()


def print_findings(output: Output, found: Findings, command: str, hints: list[str]) -> None:
    """Print the result.

    Args:
        command: the recommended command line.
        hints: what has to be known to run it.
    """
    output.line()
    output.line(f"Recommended: {words.headline(found)}")
    output.line()
    if output.out.is_terminal:
        output.out.print(Text(f"    {command}", style="bold"))  # in no frame: it is there to be copied
    else:
        output.line(f"    {command}")
    for hint in hints:
        output.line(f"    ({hint})")
    output.line()
    _print_ties(output, found)
    _print_costs(output, found)
    _print_importance(output, found)
    _print_map(output, found)
    output.line(words.effort(found))
    for caveat in words.caveats(found):
        output.line(f"- {caveat}")


def _print_ties(output: Output, found: Findings) -> None:
    output.line("Within noise of the fastest, with the memory they take")
    rows = [
        [
            "→" if tie.setting == found.recommended.setting else "",
            tie.setting.shown,
            "fastest" if tie.setting == found.fastest else words.difference(tie.difference),
            words.megabytes(tie.memory_bytes),
            str(tie.measured),
        ]
        for tie in found.ties
    ]
    shown = [row for number, row in enumerate(rows) if number < _MOST_TIES or row[0]]
    output.table(["", "setting", "speed", "memory", "loads"], shown, right=("speed", "memory", "loads"))
    if len(shown) < len(rows):
        output.line(f"and {len(rows) - len(shown)} more")
    output.line()


def _print_costs(output: Output, found: Findings) -> None:
    if not found.costs:
        return
    output.line("What it costs to choose otherwise, one setting at a time (95 % interval)")
    rows = [
        [
            words.NAMES_SHOWN[cost.name], str(cost.value), words.cost(cost),
            words.megabytes(cost.memory_bytes), str(cost.measured), cost.note,
        ]
        for cost in found.costs
    ]  # fmt: skip
    output.table(
        ["setting", "value", "speed", "memory", "loads", ""],
        rows,
        right=("value", "speed", "memory", "loads"),
    )
    output.line()


def _print_importance(output: Output, found: Findings) -> None:
    if not found.importance:
        return
    output.line("How much each setting matters, over its whole range")
    rows = [
        [words.NAMES_SHOWN[name], f"{share * 100:.0f} %", "█" * max(1, round(share * 30))]
        for name, share in found.importance.items()
    ]
    output.table(["setting", "share", ""], rows, right=("share",))
    output.line()


def _print_map(output: Output, found: Findings) -> None:
    table = found.map
    if len(table.rows) * len(table.columns) < 2:
        return
    output.line("Documents per second of the fastest setting that was measured, workers by batch size")
    heads = ["workers", *(f"{batch:,}" for batch in table.columns)]
    rows = [
        [name, *(_cell(cell, (at, column) == table.recommended) for column, cell in enumerate(cells))]
        for at, (name, cells) in enumerate(zip(table.rows, table.cells, strict=True))
    ]
    if not output.out.is_terminal:
        output.table(heads, rows, right=heads)
    else:
        heat = Table(box=None, pad_edge=False, padding=(0, 0))
        for head in heads:
            heat.add_column(Text(f"{head} "), justify="right")
        for row, cells in zip(rows, table.cells, strict=True):
            heat.add_row(
                Text(row[0] + " "),
                *(Text(f" {text} ", style=_style(cell)) for text, cell in zip(row[1:], cells, strict=True)),
            )
        output.out.print(heat, soft_wrap=False)
    output.line("→ recommended; < ended before its time, at most so fast; · not measured")
    output.line()


def _cell(cell: Cell | None, recommended: bool) -> str:
    if cell is None:
        return "·"
    return ("→ " if recommended else "") + ("< " if cell.cut_off else "") + rate(cell.rate)


def _style(cell: Cell | None) -> str:
    if cell is None:
        return "dim"
    text, ground = _SHADES[sum(cell.share >= bound for bound in _SHADE_AT)]
    return f"{text} on {ground}"
