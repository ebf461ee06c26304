"""The queue between workers and target: what it gains, and what it does when the target is too slow.

Three parts, each alone by --only:

latency     Loads into a target that takes a set time for each batch of ten documents, which take a set time
            to parse.  Once with the product's queue, once batch by batch: all workers make a batch, all wait
            until it is inserted.  *Overlap efficiency* is the slower stage ÷ wall.
engines     The same with the sample applications into real databases.
strategies  What to do about a full queue: wait (the product's way), slow the feed, spill to disk.

Every run is checked: each document was committed exactly once, or no figure is printed.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

import support
from backpressure.conclusions import MEGABYTE, conclusions
from backpressure.scenarios import Load, Outcome, compare
from backpressure.strategies import BLOCK
from overlap import BATCH_DOCUMENTS, Case, engine_case, latency_cases
from rich.console import Console
from rich.table import Table
from rich.text import Text

from performance_tuning.measuring.folders import temporary_folder
from xml_extractor.processing.executor_choice import available_cores
from xml_extractor.resources import shipped_config
from xml_extractor.settings import LoadOptions

LATENCIES_MS: Final = (0.0, 10.0, 25.0, 50.0, 100.0, 200.0)
"""25 ms are not among those that were asked for: there both stages take equally long, with four workers and
10 ms a document, which is where a queue has most to gain and is hardest to get right."""

EFFICIENCY_AT_LEAST: Final = 0.9
PROMISED: Final = (0.15, 0.25)
"""What the operators' plan promised of the queue: 15 to 25 per cent more."""

END_SECONDS_AT_MOST: Final = 10.0
"""From a target's failure to the end of the run (law 6)."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the tables, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument("--only", choices=("latency", "engines", "strategies"), help="this part only")
    parser.add_argument(
        "--documents", type=support.positive, default=1000, metavar="N",
        help="documents for each latency (default %(default)s; the workers get them in chunks of 64, so that "
        "with few documents the last chunks show)",
    )  # fmt: skip
    parser.add_argument(
        "--latency-ms", type=_numbers, default=LATENCIES_MS, metavar="MS,MS,…",
        help="what a batch takes (default " + ",".join(f"{ms:g}" for ms in LATENCIES_MS) + ")",
    )  # fmt: skip
    parser.add_argument(
        "--parse-ms", type=float, default=10.0, metavar="MS",
        help="what a document takes to parse (default %(default)g)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=support.positive, default=4, metavar="N", help="default %(default)s"
    )
    parser.add_argument(
        "--repeat", type=support.positive, default=3, metavar="N",
        help="measure so often, by turns, and take the median (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--engine-documents", type=support.positive, default=20_000, metavar="N",
        help="applications for each engine (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--executor", choices=("process", "thread"), default="process",
        help="workers for the engines (default %(default)s, which a long load takes by itself)",
    )  # fmt: skip
    parser.add_argument(
        "--strategy-documents", type=support.positive, default=Load().documents, metavar="N",
        help="documents for each strategy (default %(default)s; a quarter of them may wait in memory)",
    )  # fmt: skip
    support.add_engine_arguments(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure what was asked for."""
    figures: list[support.Figure] = []
    details: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        if arguments.only in (None, "latency"):
            cases = list(
                latency_cases(
                    arguments.latency_ms, arguments.documents, arguments.parse_ms / 1000,
                    arguments.workers, arguments.repeat, folder,
                )
            )  # fmt: skip
            title = (
                f"{arguments.documents:,} documents of {arguments.parse_ms:g} ms, {arguments.workers} workers"
            )
            show_cases(f"Queue against batch by batch: {title}, batches of {BATCH_DOCUMENTS}", cases)
            say([promise(cases)])
            figures += [figure for case in cases for figure in figures_of(case)]
            details["latency"] = [case.as_json() for case in cases]
        if arguments.only in (None, "engines"):
            cases = measure_engines(arguments, stack, folder)
            title = f"{arguments.engine_documents:,} applications, {arguments.workers} workers"
            show_cases(f"Queue against batch by batch: {title}, default batches", cases)
            say([promise(cases)])
            figures += [gain_figure(case) for case in cases]
            details["engines"] = [case.as_json() for case in cases]
        if arguments.only in (None, "strategies"):
            load = Load(
                documents=arguments.strategy_documents,
                parse_seconds=arguments.parse_ms / 1000,
                workers=arguments.workers,
            )
            outcomes = [one for scenario in compare(load, arguments.repeat, folder) for one in scenario]
            show_outcomes(load, outcomes)
            say(conclusions(outcomes, load))
            figures += strategy_figures(outcomes, load)
            details["strategies"] = [one.as_json() for one in outcomes]
    return support.report("The queue between workers and target", figures, arguments.json, details)


def measure_engines(arguments: argparse.Namespace, stack: ExitStack, folder: Path) -> list[Case]:
    """Load the applications into each engine that was asked for, both ways."""
    options = LoadOptions.model_validate(
        {"workers": arguments.workers, "executor": arguments.executor, "drift_sample": 0}
    )
    cases = []
    for databases in support.engines_of(arguments, stack, folder):
        with databases.database() as source:
            support.stage_applications(source, arguments.engine_documents, folder)
            cases.append(
                engine_case(
                    databases, source, shipped_config("loan_application.yaml"), arguments.engine_documents,
                    options, arguments.repeat, available_cores(),
                )
            )  # fmt: skip
    return cases


# ------------------------------------------------------------------------------------------ figures


def figures_of(case: Case) -> list[support.Figure]:
    """Return a latency's figures: how far from a full overlap, with its bound, and the gain."""
    efficiency = case.median("efficiency")
    low, high = case.spread("efficiency")
    return [
        support.Figure(
            f"{case.name}: 1 − overlap efficiency",
            100 * (1 - efficiency),
            "%",
            100 * (1 - EFFICIENCY_AT_LEAST),
            f"efficiency {efficiency:.1%} ({low:.1%} to {high:.1%}); wall {case.median('queue'):.2f} s, "
            f"making {case.median('making'):.2f} s, inserting {case.median('inserting'):.2f} s",
        ),
        gain_figure(case),
    ]


def gain_figure(case: Case) -> support.Figure:
    """Return what the queue gains, beside what it could gain at most."""
    low, high = case.spread("gain")
    others = case.median("others")
    return support.Figure(
        f"{case.name}: gain of the queue",
        100 * case.median("gain"),
        "%",
        detail=f"{low:+.0%} to {high:+.0%}; at most {case.median('most'):+.0%}"
        + (f"; other programs took {others:.0%} of the machine" if others else ""),
    )


def strategy_figures(outcomes: Sequence[Outcome], load: Load) -> list[support.Figure]:
    """Return what the product's way has to keep to."""
    blocking = [one for one in outcomes if one.strategy == BLOCK.name]
    return [
        support.Figure(
            "block: documents that wait ÷ those that were set",
            max(one.most_waiting for one in blocking) / load.bound,
            "×",
            1.0,
            f"the most of all runs, of {load.bound:,}",
        ),
        support.Figure(
            "block: from the target's failure to the end",
            max(one.end for one in blocking),
            "s",
            END_SECONDS_AT_MOST,
            "the slowest scenario",
        ),
    ]


def promise(cases: Sequence[Case]) -> str:
    """Hold the gains against what the operators' plan promised."""
    low, high = PROMISED
    words = []
    for case in cases:
        gain, most = case.median("gain"), case.median("most")
        if gain >= low:
            word = "as promised" if gain <= high else "more than promised"
        elif most < low:
            word = "less, and more is not to be had there"
        else:
            word = "less than promised"
        words.append(f"{case.name} {gain:+.0%} ({word})")
    return f"Promised were {low:+.0%} to {high:+.0%}. Gained: " + "; ".join(words) + "."


# ------------------------------------------------------------------------------------------- tables


def show_cases(title: str, cases: Sequence[Case]) -> None:
    """Print the walls of both ways and what follows from them."""
    columns = ["", "queue", "batch by batch", "one batch a round", "making", "inserting", "CPU ÷ cores"]
    columns += ["efficiency", "gain", "spread", "at most"]
    rows = []
    for case in cases:
        low, high = case.spread("gain")
        singles = [run.single for run in case.runs if run.single is not None]
        cpu = case.median("cpu")
        rows.append(
            [
                case.name,
                *(f"{case.median(value):.2f} s" for value in ("queue", "sequential")),
                f"{sorted(singles)[len(singles) // 2]:.2f} s" if singles else "",
                *(f"{case.median(value):.2f} s" for value in ("making", "inserting")),
                f"{cpu:.2f} s" if cpu else "",
                f"{case.median('efficiency'):.1%}",
                f"{case.median('gain'):+.1%}",
                f"{low:+.1%} … {high:+.1%}",
                f"{case.median('most'):+.1%}",
            ]
        )
    _print_table(title, columns, rows)


def show_outcomes(load: Load, outcomes: Sequence[Outcome]) -> None:
    """Print what each strategy came to in each scenario."""
    columns = ["target", "strategy", "wall", "spread", "memory", "waiting", "disk written"]
    columns += ["Ctrl-C to end", "drained", "failure to end", "thrown away"]
    rows = [
        [
            one.scenario,
            one.strategy,
            f"{one.wall:.2f} s",
            f"{one.spread:.2f} s",
            f"{one.memory / MEGABYTE:,.0f} MB",
            f"{one.most_waiting:,}",
            f"{one.disk / MEGABYTE:,.0f} MB",
            f"{one.stop:.2f} s",
            f"{one.drained:,.0f}",
            f"{one.end:.2f} s",
            f"{one.thrown_away:,.0f}",
        ]
        for one in outcomes
    ]
    title = (
        f"A target that is too slow: {load.documents:,} documents of {1000 * load.parse_seconds:g} ms and "
        f"{load.row_bytes / 1000:,.0f} kB, {load.workers} workers, {load.bound:,} may wait"
    )
    _print_table(title, columns, rows)


_WIDE: Final = 120
"""Columns of a terminal that hold a dozen figures side by side."""


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=150)


def _print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    console = _console()
    lines = [list(columns), *map(list, rows)]
    turned = console.width < _WIDE and len(lines) < len(columns)  # figures have more room then
    if turned:
        lines = [list(line) for line in zip(*lines, strict=True)]
    table = Table(title=title, title_justify="left", title_style="bold", padding=(0, 0) if turned else (0, 1))
    for number, column in enumerate(lines[0]):
        # Folded where there is no room at all: a figure that is cut short says nothing, or something else.
        table.add_column(column, justify="right" if number else "left", overflow="fold")
    for line in lines[1:]:
        table.add_row(*map(Text, line))
    console.print(table)


def say(sentences: Iterable[str]) -> None:
    """Print sentences, one a paragraph."""
    for sentence in sentences:
        _console().print(Text(sentence))
    _console().print()


def _numbers(text: str) -> tuple[float, ...]:
    """Read milliseconds from the command line."""
    numbers = tuple(float(part) for part in text.split(","))
    if min(numbers) < 0:
        raise argparse.ArgumentTypeError("must not be negative")
    return numbers


if __name__ == "__main__":
    sys.exit(main())
