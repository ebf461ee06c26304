"""What exactly-once costs: the share of a load that goes into ledger, hashes, ranges and checks.

One load of each kind of documents, with primary and foreign keys, on one thread, so that each second belongs
to one stage and to nothing else.  The stages' own functions are timed where they are called:

    ledger    looking documents up, entering them into the ledger in the batch's transaction
    hash      the 128-bit hash of each document
    ranges    keeping account of ranges of keys, and writing finished ones down
    checks    counting what a batch did, for the sums that the end of a load checks

and their sum is set against the whole of the same run, from the first read to the last commit.  Timing adds
to what it times, so the share is rather too high than too low.  Some of the synthetic applications are
refused by the database: their batches are tried again in parts, so entered into the ledger more than once.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final
from unittest.mock import patch

import support

from xml_extractor import Contract, LoadOptions, load
from xml_extractor.processing import document_worker
from xml_extractor.processing.load_counts import LoadCounts
from xml_extractor.processing.ranges import RangeTracker
from xml_extractor.target import batch_writer
from xml_extractor.target.batch_writer import DatabaseBatchWriter
from xml_extractor.target.database_target import DatabaseLoadHandle

BOUND_PERCENT: Final = 5.0
DOCUMENTS: Final = 20_000
BATCH_SIZE: Final = 1000

STAGES: Final[tuple[tuple[str, Any, str], ...]] = (
    ("ledger", DatabaseLoadHandle, "lookup"),
    ("ledger", DatabaseBatchWriter, "_claim"),
    ("hash", document_worker, "document_hash"),
    ("ranges", RangeTracker, "begin"),
    ("ranges", RangeTracker, "settle"),
    ("ranges", RangeTracker, "take_finished"),
    ("ranges", DatabaseBatchWriter, "record_ranges"),
    ("checks", batch_writer, "count_committed"),
    ("checks", LoadCounts, "add_batch"),
)
"""What is timed.  None of these calls another of them."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load: its seconds, and those of each stage."""

    seconds: float
    stages: dict[str, float]
    documents: int

    @property
    def percent(self) -> float:
        """The share of all stages together."""
        return 100 * sum(self.stages.values()) / self.seconds

    def detail(self) -> str:
        """Return the figures in words."""
        shares = ", ".join(
            f"{stage} {100 * seconds / self.seconds:.2f} % ({self._each(seconds):.1f} µs a document)"
            for stage, seconds in self.stages.items()
        )
        return f"{shares}; {self._each(self.seconds):.0f} µs a document in all"

    def _each(self, seconds: float) -> float:
        return 1e6 * seconds / self.documents


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N",
        help="documents of each kind (default %(default)s)",
    )  # fmt: skip
    support.add_repeat_argument(parser)
    support.add_kinds_arguments(parser)
    support.add_engine_arguments(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure each engine with each kind of documents."""
    figures = []
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        kinds = list(support.both_kinds(arguments, folder))
        for databases in support.engines_of(arguments, stack, folder):
            for name, path, stage in kinds:
                contract = Contract.read(path)
                with databases.database() as source:
                    stage(source)
                    runs = []
                    for _ in range(arguments.repeat):
                        with databases.database() as target:
                            runs.append(measure(source, target, contract))
                runs.sort(key=lambda run: run.percent)
                middle = runs[len(runs) // 2]
                figures.append(
                    support.Figure(
                        f"ledger, hash, ranges and checks: {name} into {databases.name}",
                        middle.percent,
                        "%",
                        BOUND_PERCENT,
                        middle.detail(),
                    )
                )
    return support.report("What exactly-once costs, of the whole load", figures, arguments.json)


def measure(source: str, target: str, contract: Contract) -> Run:
    """Load once, on one thread, with a watch on every stage."""
    options = LoadOptions(
        executor="serial", batch_size=BATCH_SIZE, create_tables=True, source_name="benchmark", drift_sample=0
    )  # type: ignore[arg-type]
    with timed(STAGES) as seconds:
        summary = load(source, target, contract, options)
    counts = summary.documents
    if counts.read != counts.loaded + counts.quarantined:
        raise support.BenchmarkError(f"not every document was loaded: {counts}")
    return Run(summary.seconds, dict(seconds), counts.read)


@contextmanager
def timed(stages: Sequence[tuple[str, Any, str]]) -> Iterator[Counter[str]]:
    """Add up the seconds spent in functions, by stage, while this is entered.

    Raises:
        BenchmarkError: one of them was not called: the figures would say too little.
    """
    seconds: Counter[str] = Counter()
    calls: Counter[str] = Counter()

    def watched(stage: str, place: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            started = perf_counter()
            try:
                return function(*arguments, **named)
            finally:
                seconds[stage] += perf_counter() - started
                calls[place] += 1

        return call

    with ExitStack() as stack:
        for stage, owner, name in stages:
            place = f"{owner.__name__}.{name}"
            calls[place] = 0
            stack.enter_context(patch.object(owner, name, watched(stage, place, getattr(owner, name))))
        yield seconds
    silent = [place for place, number in calls.items() if not number]
    if silent:
        raise support.BenchmarkError(f"never called, and so not measured: {', '.join(silent)}")


if __name__ == "__main__":
    sys.exit(main())
