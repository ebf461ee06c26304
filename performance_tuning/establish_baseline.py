"""Establish how fast the load is here, and say whether that differs from an earlier time.

Loads the same documents again and again, each time into a fresh target, warm-up apart; keeps throughput,
insert latency, shares of time, queue depth, CPU and memory of each run, with median, spread and confidence
interval, in a file; and compares with an earlier such file by a test, not by a bare difference.

With neither --source nor --target it generates a sample and loads it into new SQLite files.  For a target on
a server a new database is made beside the named one and dropped afterwards; where the login may not do
that, or with --in-place, the named database is used, which must be empty.  Nothing is deleted that this
program did not create.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from time import strftime
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))  # the program runs from a checkout that is not installed

try:
    import scipy  # noqa: F401
except ImportError:
    print("error: scipy is not installed: pip install -r requirements.txt", file=sys.stderr)
    sys.exit(2)

from rich.console import Console  # noqa: E402

from performance_tuning.baseline import remarks as remarks_on  # noqa: E402
from performance_tuning.baseline.comparing import (  # noqa: E402
    MAX_REGRESSION_PERCENT,
    compare_baselines,
    differences,
)
from performance_tuning.baseline.document import (  # noqa: E402
    Baseline,
    Circumstances,
    ContractRecord,
    RunRecord,
    SourceRecord,
    TargetRecord,
    check_place,
    read_baseline,
    write_baseline,
)
from performance_tuning.baseline.figures import BY_NAME  # noqa: E402
from performance_tuning.baseline.running import Measured, utc_now  # noqa: E402
from performance_tuning.baseline.showing import console, show_baseline, show_comparison, show_remarks  # noqa: E402
from performance_tuning.measuring.errors import MeasuringError  # noqa: E402
from performance_tuning.measuring.folders import temporary_folder  # noqa: E402
from performance_tuning.measuring.fresh_targets import open_targets  # noqa: E402
from performance_tuning.measuring.interrupting import Interrupted, interruptible  # noqa: E402
from performance_tuning.measuring.load_flags import add_load_flags, load_settings, named_databases  # noqa: E402
from performance_tuning.measuring.machine import git_state, this_machine, versions  # noqa: E402
from performance_tuning.measuring.one_load import BOUND_SECONDS  # noqa: E402
from performance_tuning.measuring.sources import SEED, open_source  # noqa: E402
from performance_tuning.measuring.statistics import estimate  # noqa: E402
from xml_extractor.cli_output import Output, check_different, use_utf8  # noqa: E402
from xml_extractor.errors import ExitCode, LoaderError  # noqa: E402
from xml_extractor.operations.contracts import contract_path, find_contract  # noqa: E402
from xml_extractor.operations.signals import leave  # noqa: E402

FEWEST_TO_KEEP: Final = 2
"""Runs of a measurement that was stopped: from two on something can be said of them."""

EXIT_CODES: Final = """\
exit codes: 0 all well; 2 usage, a file that is no baseline, a target that is not empty, baselines that cannot
be compared; 3 a regression; 4, 5 source or target of a run failed; 130, 143 stopped by a signal"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure or compare, print what came out, and return the exit status."""
    use_utf8()
    output = Output()
    parser = make_parser()
    parsed = parser.parse_args(arguments)
    try:
        with interruptible():
            return int(run(parsed, output))
    except LoaderError as error:
        output.error(str(error))
        return int(error.exit_code)
    except Interrupted as stop:
        output.error(f"stopped by {stop}; what this run had made was removed")
        return 128 + stop.number


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EXIT_CODES, formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )  # fmt: skip
    parser.add_argument(
        "--runs", type=_positive, default=10, metavar="N", help="measure so many times [default %(default)s]"
    )
    parser.add_argument(
        "--warm-up", type=_count, default=1, metavar="N",
        help="load so many times before, for nothing [default %(default)s]",
    )  # fmt: skip
    parser.add_argument(
        "--documents", type=_positive, metavar="N",
        help="load so many, the first by their keys [default: 10000 of the sample, all of a --source]",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=SEED, metavar="S", help="of the generated sample [default %(default)s]"
    )
    parser.add_argument(
        "--in-place", action="store_true",
        help="measure in the database of --target itself, which must be empty, and not beside it",
    )  # fmt: skip
    parser.add_argument(
        "--folder", type=Path, metavar="DIR",
        help="where the sample and SQLite targets are made, on the disk to be measured [default: where the "
        "system keeps temporary files]",
    )  # fmt: skip
    parser.add_argument(
        "--run-seconds", type=_seconds, default=BOUND_SECONDS, metavar="S",
        help="a run that takes longer is ended, and with it the measurement [default %(default)g]",
    )  # fmt: skip
    parser.add_argument(
        "--json", type=Path, metavar="FILE",
        help="keep the baseline in this file [default: baselines/baseline_DATE_TIME.json]",
    )  # fmt: skip
    parser.add_argument(
        "--compare", type=Path, nargs="+", metavar="FILE",
        help="compare with this earlier baseline; with two files compare them, the earlier first, and "
        "measure nothing",
    )  # fmt: skip
    parser.add_argument(
        "--max-regression", type=_percent, default=MAX_REGRESSION_PERCENT, metavar="PERCENT",
        help="exit 3 where a figure is worse by more than this, and by more than chance explains "
        "[default %(default)g]",
    )  # fmt: skip
    add_load_flags(parser)
    return parser


def run(arguments: argparse.Namespace, output: Output) -> ExitCode:
    """Do what the command line asks."""
    out = console()
    earlier = None
    if arguments.compare is not None:
        if len(arguments.compare) > 2:
            raise MeasuringError(
                "--compare takes one file or two: the earlier baseline, and perhaps a later one"
            )
        earlier = read_baseline(arguments.compare[0])
        if len(arguments.compare) == 2:
            return _compare(
                out, output, earlier, read_baseline(arguments.compare[1]), arguments.max_regression
            )
        # Or a job that runs nightly would compare with the night before, and slow down unseen.
        check_different({"--compare": arguments.compare[0], "--json": arguments.json})
    return _establish(arguments, output, out, earlier)


def _establish(
    arguments: argparse.Namespace, output: Output, out: Console, earlier: Baseline | None
) -> ExitCode:
    settings = load_settings(arguments)
    source_url, target_url = named_databases(settings.all)
    contract = find_contract(settings.all.contract)
    file = arguments.json or Path("baselines") / f"baseline_{strftime('%Y%m%d_%H%M%S')}.json"
    check_place(file)
    if arguments.folder is not None and not arguments.folder.is_dir():
        raise MeasuringError(f"--folder {arguments.folder}: there is no such folder; make it first")
    with temporary_folder(arguments.folder, say=output.say) as folder:
        targets = open_targets(
            target_url, contract.plan, folder, in_place=arguments.in_place,
            schema=settings.load["target_schema"],
        )  # fmt: skip
        for note in targets.notes:
            output.say(f"note: {note}")
        source = open_source(
            source_url, contract.plan, arguments.documents, folder, seed=arguments.seed, say=output.say
        )
        circumstances = Circumstances(
            machine=this_machine(),
            fingerprint=this_machine().fingerprint,
            versions=versions(),
            git=git_state(),
            contract=ContractRecord(
                name=contract.plan.contract, version=contract.plan.version, digest=contract.plan.digest
            ),
            source=SourceRecord(
                description=source.description, documents=source.documents, generated=source.generated
            ),
            target=TargetRecord(engine=targets.engine, way=str(targets.way)),
            settings=settings.load,
        )
        if earlier is not None:
            _refuse_early(earlier, circumstances)
        output.say(
            f"{source.description}, into {targets.way}: {arguments.warm_up} run(s) to warm up, "
            f"{arguments.runs} measured"
        )
        busy = remarks_on.before_measuring()
        show_remarks(output.err, busy)
        measured = Measured(
            source, targets, str(contract_path(settings.all.contract)), settings.load, folder,
            arguments.run_seconds,
        )  # fmt: skip
        keeper = _Keeper(file, circumstances, arguments, busy)
        try:
            measured.repeat(arguments.runs, arguments.warm_up, keeper.runs, output.say)
        except BaseException as error:
            keeper.keep_what_there_is(output, error)
            raise
    baseline = keeper.baseline(())
    write_baseline(baseline, file)
    show_baseline(out, baseline)
    output.say(f"kept in {file}")
    if earlier is None:
        return ExitCode.OK
    out.print()
    return _compare(out, output, earlier, baseline, arguments.max_regression)


@dataclass(frozen=True, slots=True)
class _Keeper:
    """Holds the runs as they come, for the file."""

    file: Path
    circumstances: Circumstances
    arguments: argparse.Namespace
    remarks: list[str]
    runs: list[RunRecord] = field(default_factory=list)

    def baseline(self, notes: Sequence[str]) -> Baseline:
        """Return the runs so far as a baseline."""
        return Baseline(
            recorded_at=utc_now(),
            circumstances=self.circumstances,
            warm_up=self.arguments.warm_up,
            runs_wanted=self.arguments.runs,
            runs=tuple(self.runs),
            estimates={
                name: estimate([run.figures[name] for run in self.runs])
                for name in BY_NAME
                if name in self.runs[0].figures
            },
            remarks=(*notes, *self.remarks, *remarks_on.of_runs(self.runs)),
        )

    def keep_what_there_is(self, output: Output, error: BaseException) -> None:
        """Write the runs of a measurement that ended early, if they say anything."""
        if len(self.runs) < FEWEST_TO_KEEP:
            return
        why = f"stopped by {error}" if isinstance(error, Interrupted) else "a run failed"
        note = f"only {len(self.runs)} of {self.arguments.runs} runs: {why}"
        write_baseline(self.baseline((note,)), self.file)
        output.say(f"{note}; these are kept in {self.file}")


def _refuse_early(earlier: Baseline, circumstances: Circumstances) -> None:
    """Refuse before anything is measured what could not be compared afterwards."""
    refusal = differences(earlier.circumstances, circumstances).refusal
    if refusal is not None:
        raise MeasuringError(f"--compare: {refusal}")


def _compare(
    out: Console, output: Output, earlier: Baseline, later: Baseline, max_regression: float
) -> ExitCode:
    comparison = compare_baselines(earlier, later, max_regression_percent=max_regression)
    show_comparison(out, comparison, max_regression)
    if comparison.differences.refusal is not None:
        output.error(f"--compare: {comparison.differences.refusal}")
    return comparison.exit_code


def _positive(text: str) -> int:
    return _whole(text, 1)


def _count(text: str) -> int:
    return _whole(text, 0)


def _whole(text: str, least: int) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < least:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of {least} or more")
    return int(text)


def _percent(text: str) -> float:
    with suppress(ValueError):
        if 0 <= (number := float(text.removesuffix("%"))) <= 1000:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is no number of per cent from 0 to 1000")


def _seconds(text: str) -> float:
    with suppress(ValueError):
        if 0 < (number := float(text)) < inf:
            return number
    raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds above 0")


if __name__ == "__main__":
    leave(main())
