"""``--auto-tune`` from a bad start, against the best setting of a sweep of batch size × insert threads.

Every load is stopped after a set time, and its throughput is taken from the samples of its profile, start-up
left out.  One round is a load with each setting of the sweep and then a tuned one from each bad start; rounds
are repeated, so that what else the machine does meets all of them alike.  The optimum is the setting with
the best median; a tuned load is judged from the moment at which it first settled, later trials included,
or, where it did not settle, by the last third of its time.

Beside the engines there is a target whose times are set (``--only set``): each batch takes 100 ms and 0.5
ms for each of its documents, whatever other threads do, so that insert threads matter and the machine's
cores do not.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import support
from slow_target import Pace, TimedEncoder, TimedLoad, TimedTarget, timed_plan, write_documents

from xml_extractor import Contract, LoadOptions, load
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine
from xml_extractor.errors import TargetError
from xml_extractor.mapping.records import DocumentRecord
from xml_extractor.processing import auto_tune
from xml_extractor.processing.parallel_coordinator import ParallelCoordinator
from xml_extractor.profiling.profile import LoadProfile
from xml_extractor.profiling.summary import LoadSummary
from xml_extractor.resources import shipped_config
from xml_extractor.target.base import BatchResult, BatchWriter
from xml_extractor.target.files import count_batch

LEAST_SHARE: Final = 0.9
DOCUMENTS: Final = 150_000
SECONDS: Final = 10.0
TUNED_SECONDS: Final = 150.0
START_UP_SECONDS: Final = 2.0
"""Of a load with a fixed setting; its first batches wait for workers."""

SIZES: Final = (10, 100, 300, 1000, 3000, 10_000)
THREADS: Final = (1, 2, 4, 8)
STARTS: Final = ((10, 1), (20_000, 8))
BATCH_SECONDS: Final = 0.1
DOCUMENT_SECONDS: Final = 0.0005
MOST_PER_SECOND: Final = 20_000
"""Documents that go into the target whose times are set: ten threads' worth."""

Stoppable = Callable[[], None]
RunLoad = Callable[[LoadOptions, Callable[[Stoppable], None]], LoadSummary]
"""Loads with these options; tells how it can be stopped, before it begins."""


@dataclass(frozen=True, slots=True)
class Tuned:
    """One tuned load."""

    start: tuple[int, int]
    rate: float  # documents a second after warm-up
    settled_after: float | None  # seconds; None = it did not settle
    note: str  # what it recommends


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N",
        help="of an engine's source; where they run out, the load is over (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--seconds", type=float, default=SECONDS, metavar="S", help="for each setting (default %(default)s)"
    )
    parser.add_argument(
        "--tuned-seconds", type=float, default=TUNED_SECONDS, metavar="S",
        help="for each tuned load (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--sizes", type=support.positive, nargs="+", default=SIZES, metavar="N", help="batch sizes to sweep"
    )
    parser.add_argument(
        "--threads", type=support.positive, nargs="+", default=THREADS, metavar="N",
        help="insert threads to sweep, where the target takes more than one",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=support.positive, default=4, metavar="N", help="default %(default)s"
    )
    parser.add_argument("--executor", choices=("thread", "process"), default="process")
    parser.add_argument(
        "--repeat", type=support.positive, default=3, metavar="N", help="rounds (default %(default)s)"
    )
    parser.add_argument(
        "--only", choices=("engines", "set"), help="engines, or the target whose times are set"
    )
    support.add_engine_arguments(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure what was asked for."""
    figures: list[support.Figure] = []
    details: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        for name, run, threads in _targets(arguments, stack, folder):
            sweep, tuned = rounds(arguments, run, threads)
            figures += as_figures(name, sweep, tuned)
            details[name] = {
                "sweep": [
                    {"batch_size": size, "insert_threads": count, "documents_per_second": rates}
                    for (size, count), rates in sweep.items()
                ],
                "tuned": [asdict(each) for each in tuned],
            }
    title = "--auto-tune from a bad start against the best setting of a sweep"
    return support.report(title, figures, arguments.json, details)


def _targets(
    arguments: argparse.Namespace, stack: ExitStack, folder: Path
) -> Iterator[tuple[str, RunLoad, Sequence[int]]]:
    """Yield (name, what loads into it, insert threads to sweep)."""
    if arguments.only != "engines":
        enough = int(MOST_PER_SECOND * max(arguments.seconds, arguments.tuned_seconds))
        source = write_documents(folder / "notes.db", enough)
        yield "a target whose times are set", _into_set_target(source), arguments.threads
    if arguments.only == "set":
        return
    contract = Contract.read(shipped_config("loan_application.yaml"))
    for databases in support.engines_of(arguments, stack, folder):
        with databases.database() as source_url:
            support.stage_applications(source_url, arguments.documents, folder)
            threads = (1,) if isinstance(databases, support.SqliteFolder) else arguments.threads
            yield databases.name, _into_database(source_url, databases, contract), threads


# ------------------------------------------------------------------------------------------ loading


def _into_database(source: str, databases: support.Databases, contract: Contract) -> RunLoad:
    def run(options: LoadOptions, begins: Callable[[Stoppable], None]) -> LoadSummary:
        with databases.database() as target:
            return load(
                source, target, contract, options.model_copy(update={"create_tables": True}),
                on_start=lambda running: begins(lambda: running.stop(2)),
            )  # fmt: skip

    return run


def _into_set_target(source: Engine) -> RunLoad:
    def run(options: LoadOptions, begins: Callable[[Stoppable], None]) -> LoadSummary:
        plan = timed_plan()
        target = SetTarget()
        coordinator = ParallelCoordinator(source, target, target.prepare(plan), plan, options)
        begins(lambda: coordinator.stop(2))
        return coordinator.run()

    return run


class SetTarget(TimedTarget):
    """Takes a set time for a batch and for each of its documents, in each thread by itself."""

    def __init__(self) -> None:
        super().__init__(Pace(BATCH_SECONDS), TimedEncoder(0.0))

    def prepare(self, plan: Plan, **_: Any) -> TimedLoad:
        """Begin a load; nothing is connected."""
        return _SetLoad(self, len(plan.tables))


class _SetLoad(TimedLoad):
    def writer(self, index: int) -> BatchWriter:
        return _SetWriter(self._tables)


class _SetWriter(BatchWriter):
    def __init__(self, tables: int) -> None:
        self._tables = tables
        self._aborted = threading.Event()

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        started = time.perf_counter()
        if self._aborted.wait(BATCH_SECONDS + DOCUMENT_SECONDS * len(records)):
            raise TargetError("the batch was broken off")
        result = count_batch(records, self._tables)
        result.seconds = time.perf_counter() - started
        return result

    def abort(self) -> None:
        self._aborted.set()

    def close(self) -> None:
        """Nothing is open."""


# ---------------------------------------------------------------------------------------- measuring

Sweep = dict[tuple[int, int], list[float]]


def rounds(arguments: argparse.Namespace, run: RunLoad, threads: Sequence[int]) -> tuple[Sweep, list[Tuned]]:
    """Return documents a second of each setting in each round, and the tuned loads."""
    sweep: Sweep = {(size, count): [] for size in arguments.sizes for count in threads}
    tuned: list[Tuned] = []
    for _ in range(arguments.repeat):
        for (size, count), rates in sweep.items():
            summary = timed(run, options(arguments, size, count), arguments.seconds)
            rates.append(rate(_profile(summary), min(START_UP_SECONDS, arguments.seconds / 2)))
        tuned += [measure_tuned(arguments, run, start) for start in STARTS]
    return sweep, tuned


def measure_tuned(arguments: argparse.Namespace, run: RunLoad, start: tuple[int, int]) -> Tuned:
    """Run one tuned load."""
    with moments_of("settles on") as moments:
        began = time.monotonic()
        summary = timed(run, options(arguments, *start, auto_tune=True), arguments.tuned_seconds)
    profile = _profile(summary)
    settled = moments[0] - began if moments else None
    since = 2 / 3 * profile.seconds if settled is None else min(settled, 0.9 * profile.seconds)
    note = next(note for note in summary.notes if note.startswith("--auto-tune"))
    return Tuned(start, rate(profile, since), settled, note)


def options(
    arguments: argparse.Namespace, size: int, threads: int, *, auto_tune: bool = False
) -> LoadOptions:
    """Return the options of one load."""
    return LoadOptions.model_validate(
        {
            "batch_size": size,
            "queue_size": max(2000, (threads + 1) * size),  # as --auto-tune makes room
            "insert_threads": threads,
            "auto_tune": auto_tune,
            "workers": arguments.workers,
            "executor": arguments.executor,
            "drift_sample": 0,
        }
    )


def timed(run: RunLoad, options: LoadOptions, seconds: float) -> LoadSummary:
    """Load for so long at most."""
    timers: list[threading.Timer] = []

    def begins(stop: Stoppable) -> None:
        timer = threading.Timer(seconds, stop)
        timer.daemon = True
        timers.append(timer)
        timer.start()

    try:
        return run(options, begins)
    finally:
        for timer in timers:
            timer.cancel()
            timer.join()


def rate(profile: LoadProfile, since: float) -> float:
    """Return documents a second from this moment of a load to its last commit, by its samples."""
    samples = profile.samples
    last = next(sample for sample in samples if sample.documents == samples[-1].documents)
    first = next((each for each in samples if since <= each.seconds < last.seconds), samples[0])
    return (last.documents - first.documents) / max(last.seconds - first.seconds, 1e-9)


def _profile(summary: LoadSummary) -> LoadProfile:
    if summary.profile is None or not summary.documents.settled:
        raise support.BenchmarkError("a load ended before it had settled anything; give it more --seconds")
    return summary.profile


@contextmanager
def moments_of(words: str) -> Iterator[list[float]]:
    """Collect the moments (monotonic) at which the tuner says something with these words."""
    moments: list[float] = []

    class Listener(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if words in record.getMessage():
                moments.append(time.monotonic())

    logger = logging.getLogger(auto_tune.__name__)
    listener, level = Listener(), logger.level
    logger.addHandler(listener)
    logger.setLevel(logging.INFO)
    try:
        yield moments
    finally:
        logger.removeHandler(listener)
        logger.setLevel(level)


# ------------------------------------------------------------------------------------------ figures


def as_figures(name: str, sweep: Sweep, tuned: Sequence[Tuned]) -> list[support.Figure]:
    """Return the optimum, and what each start came to, the median of its rounds."""
    medians = {setting: statistics.median(rates) for setting, rates in sweep.items()}
    best = max(medians, key=lambda setting: medians[setting])
    worst = min(medians.values())
    figures = [
        support.Figure(
            f"{name}: best of the sweep", medians[best], "documents/s",
            detail=f"--batch-size {best[0]} --insert-threads {best[1]}; the worst of the sweep {worst:,.0f}; "
            f"rounds {_listed(sweep[best])}",
        )
    ]  # fmt: skip
    for start in dict.fromkeys(each.start for each in tuned):
        of_start = [each for each in tuned if each.start == start]
        rates = [each.rate for each in of_start]
        settled = [each.settled_after for each in of_start if each.settled_after is not None]
        took = f"settled after {_listed(settled)} s" if settled else "did not settle"
        figures.append(
            support.Figure(
                f"{name}: best of the sweep ÷ tuned from --batch-size {start[0]} --insert-threads {start[1]}",
                medians[best] / max(statistics.median(rates), 1e-9), "×", 1 / LEAST_SHARE,
                f"{_listed(rates)} documents/s after warm-up; {took}; {of_start[-1].note}",
            )
        )  # fmt: skip
    return figures


def _listed(values: Sequence[float]) -> str:
    return ", ".join(f"{value:,.0f}" for value in values)


if __name__ == "__main__":
    sys.exit(main())
