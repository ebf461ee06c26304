"""Baselines and comparisons as tables."""

from __future__ import annotations

from collections.abc import Iterable

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from performance_tuning.baseline.comparing import BaselineComparison, FigureComparison
from performance_tuning.baseline.document import Baseline, Circumstances
from performance_tuning.baseline.figures import BY_NAME, FigureKind, number
from performance_tuning.measuring.statistics import Comparison, Estimate

_PLAIN_WIDTH = 118
"""Of tables that go to a file or a pipe."""

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
    table.add_column("figure", no_wrap=True)
    for column in ("median", f"{confidence:.0%} interval", "spread (IQR)", "least", "most"):
        table.add_column(column, justify="right")
    table.add_column("unit", no_wrap=True)
    for name, figure in BY_NAME.items():
        if name in baseline.estimates:
            table.add_row(*_estimate_cells(figure, baseline.estimates[name]))
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
        Text(figure.label),
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
        table.add_column("figure", no_wrap=True)
        for column in ("then", "now"):
            table.add_column(column, justify="right", no_wrap=True)
        table.add_column("change", justify="right", no_wrap=True)
        table.add_column("interval", justify="right", no_wrap=True)
        table.add_column("p", justify="right", no_wrap=True)
        table.add_column("verdict")
        for figure in comparison.figures:
            table.add_row(*_comparison_cells(figure, regressed=figure in comparison.regressions))
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


def _comparison_cells(figure: FigureComparison, *, regressed: bool) -> list[Text]:
    kind, test = figure.figure, figure.comparison
    interval = (
        "–"
        if test.low is None or test.high is None
        else f"{_change(test.low, test)} to {_change(test.high, test)}"
    )
    return [
        Text(f"{kind.label} [{kind.unit}]" if kind.unit else kind.label),
        Text(number(test.before, kind)),
        Text(number(test.after, kind)),
        Text(_change(test.change, test)),
        Text(interval),
        Text(f"{test.p_value:.3f}" if test.p_value >= 0.0005 else "<0.001"),
        Text(figure.word + (", regression" if regressed else ""), _STYLES.get(figure.word, "")),
    ]


def _change(change: float, test: Comparison) -> str:
    return f"{100 * change:+.1f} %" if test.relative else f"{change:+.2f}"


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", title_style="bold", box=box.SIMPLE_HEAD, pad_edge=False)
