"""How fast a load is proved: ``verify`` against the load of the same documents, in the same run.

Synthetic applications are loaded with default settings, and the target is then verified, both in this
process and one after the other.  The figure is the verification's time as a share of the load's: at most a
third, for a load must be proved at three times its speed or faster.  The deep verification, which maps each
document again, is shown beside it and has no bound.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import support

from xml_extractor import Contract, LoadOptions, load
from xml_extractor.operations.verification import VerifyOptions, verify
from xml_extractor.resources import shipped_config

DOCUMENTS: Final = 20_000
TIMES_FASTER: Final = 3.0
"""How many times as fast as the load a verification must be."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load and its verifications, in seconds."""

    load: float
    verify: float
    deep: float

    @property
    def percent(self) -> float:
        """The verification's time as a share of the load's."""
        return 100 * self.verify / self.load

    @property
    def deep_percent(self) -> float:
        """The deep verification's time as a share of the load's."""
        return 100 * self.deep / self.load


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N", help="default %(default)s"
    )
    support.add_repeat_argument(parser)
    support.add_engine_arguments(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure each engine."""
    contract = Contract.read(shipped_config("loan_application.yaml"))
    figures = []
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        for databases in support.engines_of(arguments, stack, folder):
            with databases.database() as source:
                support.stage_applications(source, arguments.documents, folder)
                runs = []
                for _ in range(arguments.repeat):
                    with databases.database() as target:
                        runs.append(measure(source, target, contract))
            figures += figures_of(databases.name, arguments.documents, runs)
    return support.report("Proving a load, against the load itself", figures, arguments.json)


def figures_of(engine: str, documents: int, runs: Sequence[Run]) -> list[support.Figure]:
    """Return the figures of the median run."""
    ordered = sorted(runs, key=lambda run: run.percent)
    middle = ordered[len(ordered) // 2]
    deep = statistics.median(run.deep_percent for run in runs)
    return [
        support.Figure(
            f"verify: {engine}",
            middle.percent,
            "%",
            100 / TIMES_FASTER,
            f"{middle.load / middle.verify:.1f} times as fast as the load: {documents / middle.verify:,.0f} "
            f"documents/s, loaded at {documents / middle.load:,.0f}/s; "
            f"shares {' '.join(f'{run.percent:.1f}' for run in ordered)}",
        ),
        support.Figure(
            f"verify --deep: {engine}", deep, "%", None, f"{documents / middle.deep:,.0f} documents/s"
        ),
    ]


def measure(source: str, target: str, contract: Contract) -> Run:
    """Load once and verify twice."""
    options = LoadOptions(create_tables=True, source_name="benchmark", drift_sample=0)
    summary = load(source, target, contract, options)
    seconds = []
    for deep in (False, True):
        started = perf_counter()
        report = verify(source, target, contract, options, VerifyOptions(deep=deep))
        seconds.append(perf_counter() - started)
        if not report.is_clean():
            raise support.BenchmarkError(f"the load is not clean: {report.verdict}")
    return Run(summary.seconds, *seconds)


if __name__ == "__main__":
    sys.exit(main())
