"""Baselines and comparisons as tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from performance_tuning.baseline.comparing import BaselineComparison, FigureComparison
from performance_tuning.baseline.document import Baseline, Circumstances
from performance_tuning.baseline.figures import BY_NAME, FigureKind, number
from performance_tuning.measuring.statistics import Comparison, Estimate

_PLAIN_WIDTH: Final = 118
"""Of tables that go to a file or a pipe."""

_WIDE: Final = 105
"""Terminals from this width on show all columns."""

_STYLES = {"faster": "green", "better": "green", "slower": "bold red", "worse": "bold red"}


def console() -> Console:
    """Return the console that results go to."""
    found = Console(highlight=False)
    return found if found.is_terminal else Console(highlight=False, width=_PLAIN_WIDTH)


def show_baseline(out: Console, baseline: Baseline) -> None:
    """Print the figures of a baseline."""
    count = len(baseline.runs)
    confidence = next(iter(baseline.estimates.values())).confidence
    table = _table(f"Baseline of {count} run{'s' if count != 1 else ''}")
    table.add_column("figure")
    columns = ["median", f"{confidence:.0%} interval", "spread (IQR)", "least", "most", "unit"]
    shown = columns if out.width >= _WIDE else ["median", columns[1], "spread (IQR)", "unit"]
    for column in shown:
        table.add_column(column, justify="left" if column == "unit" else "right", no_wrap=True)
    for name, figure in BY_NAME.items():
        if name in baseline.estimates:
            cells = dict(zip(columns, _estimate_cells(figure, baseline.estimates[name]), strict=True))
            table.add_row(figure.label, *(cells[column] for column in shown))
    out.print(table)
    show_circumstances(out, baseline.circumstances)
    show_remarks(out, baseline.remarks)


def _estimate_cells(figure: FigureKind, estimate: Estimate) -> list[Text]:
    low, high = estimate.low, estimate.high
    interval = "–" if low is None or high is None else f"{number(low, figure)} to {number(high, figure)}"
    spread = number(estimate.iqr, figure)
    if figure.unit != "%" and estimate.median:
        spread += f" ({estimate.relative_spread:.1%})"
    return [
        Text(number(estimate.median, figure), "bold"),
        Text(interval),
        Text(spread),
        Text(number(estimate.minimum, figure)),
        Text(number(estimate.maximum, figure)),
        Text(figure.unit),
    ]


def show_circumstances(out: Console, circumstances: Circumstances) -> None:
    """Print what the figures depend on."""
    versions = ", ".join(f"{name} {version}" for name, version in circumstances.versions.items())
    contract = circumstances.contract
    git = "not known" if circumstances.git is None else circumstances.git.shown
    for name, text in (
        ("documents", circumstances.source.description),
        ("target", f"{circumstances.target.engine or 'none'}: {circumstances.target.way}"),
        ("contract", f"{contract.name}, plan {contract.digest[:12]}"),
        ("machine", circumstances.machine.shown),
        ("commit", git),
        ("versions", versions),
    ):
        out.print(Text.assemble((f"{name:<10}", "dim"), text))


def show_remarks(out: Console, remarks: Iterable[str]) -> None:
    """Print what speaks against the figures."""
    for remark in remarks:
        out.print(Text.assemble(("note: ", "bold yellow"), remark))


def show_comparison(out: Console, comparison: BaselineComparison, max_regression_percent: float) -> None:
    """Print what a comparison says, figure by figure."""
    differences = comparison.differences
    for warning in differences.warnings:
        out.print(Text.assemble(("warning: ", "bold yellow"), warning))
    if differences.changed:
        out.print(Text.assemble(("changed   ", "dim"), "; ".join(differences.changed)))
    if comparison.figures:
        table = _table("Against the earlier baseline")
        table.add_column("figure")
        columns = ["then", "now", "change", "its interval", "p", "verdict"]
        shown = columns if out.width >= _WIDE else ["then", "now", "change", "verdict"]
        for column in shown:
            table.add_column(column, justify="left" if column == "verdict" else "right", no_wrap=True)
        for figure in comparison.figures:
            cells = dict(zip(columns, _comparison_cells(figure), strict=True))
            kind = figure.figure
            label = f"{kind.label} [{kind.unit}]" if kind.unit else kind.label
            table.add_row(Text(label), *(cells[column] for column in shown))
        out.print(table)
    show_remarks(out, comparison.remarks)
    for figure in comparison.regressions:
        out.print(
            Text.assemble(
                ("regression: ", "bold red"),
                f"{figure.figure.label} is {figure.worse_percent:.1f} % worse, more than the "
                f"{max_regression_percent:g} % that are allowed",
            )
        )


def _comparison_cells(figure: FigureComparison) -> list[Text]:
    kind, test = figure.figure, figure.comparison
    unit = " %" if test.relative else ""
    known = test.low is not None and test.high is not None
    interval = f"{_change(test.low, test)} to {_change(test.high, test)}{unit}" if known else "–"
    return [
        Text(number(test.before, kind)),
        Text(number(test.after, kind)),
        Text(_change(test.change, test) + unit),
        Text(interval),
        Text(f"{test.p_value:.3f}" if test.p_value >= 0.0005 else "<0.001"),
        Text(figure.word, _STYLES.get(figure.word, "")),
    ]


def _change(change: float | None, test: Comparison) -> str:
    if change is None:
        return ""
    if not test.relative:
        return f"{change:+.2f}"
    percent = 100 * change
    return f"{percent:+.1f}" if abs(percent) < 100 else f"{percent:+,.0f}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
