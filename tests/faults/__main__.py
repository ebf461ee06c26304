"""The long form: ``make faults``, or ``python -m tests.faults --faults 500 --seed 1 --json figures.json``.

Draws cases from the seed until so many faults have struck, two cases at a time, and ends with 1 if one of
them lost a document, loaded one twice or otherwise than an undisturbed load, hung, or left a process
behind.  ``--only 17`` repeats one case.  With XML_EXTRACTOR_TEST_MSSQL_URL set, ``--mssql N`` adds N cases on
that server, which is shared and therefore never killed.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tests.faults.case import Case, Outcome, run_case
from tests.faults.cases import draw_case
from tests.faults.documents import Documents, make_documents
from tests.faults.places import Ground
from tests.faults.report import Report, as_json
from tests.support.mssql_servers import ENVIRONMENT as MSSQL_ENVIRONMENT


def main() -> int:
    arguments = _parser().parse_args()
    report = Report(arguments.seed)
    _say(f"seed {arguments.seed}; the same again: --seed {arguments.seed}")
    started = time.monotonic()
    folder = Path(tempfile.mkdtemp(prefix="xml_extractor_faults_"))
    try:
        documents = make_documents(folder, arguments.documents)
        _run(_cases(arguments), documents, folder, report, arguments)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _say(f"\n{report.text()}\nseed {arguments.seed}, {time.monotonic() - started:,.0f} s")
    for outcome in report.failed:
        _say(f"\nFAILED {outcome.case.describe()}")
        for problem in outcome.shown():
            _say(f"    {problem}")
    if arguments.json is not None:
        arguments.json.write_text(as_json(report), encoding="utf-8")
    return 1 if report.failed else 0


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--faults", metavar="N", type=int, default=500, help="end when so many struck [500]")
    parser.add_argument(
        "--seed", metavar="S", type=int, default=int(os.environ.get("FAULTS_SEED") or time.time()),
        help="what to draw cases from [FAULTS_SEED, else the time]",
    )  # fmt: skip
    parser.add_argument("--only", metavar="N", type=int, action="append", help="these cases alone")
    parser.add_argument("--family", metavar="NAME", help="cases of this family alone")
    parser.add_argument("--mssql", metavar="N", type=int, default=0, help="so many cases on SQL Server [0]")
    parser.add_argument("--jobs", metavar="N", type=int, default=2, help="cases at a time [2]")
    parser.add_argument("--documents", metavar="N", type=int, default=1500, help="documents to load [1500]")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures into this file")
    parser.add_argument("--verbose", action="store_true", help="print each case before it is run")
    return parser


def _cases(arguments: argparse.Namespace) -> Iterator[Case]:
    if arguments.only:
        for number in arguments.only:
            yield draw_case(arguments.seed, number, mssql=arguments.mssql > 0, family=arguments.family)
        return
    for number in range(1, arguments.mssql + 1):
        if not os.environ.get(MSSQL_ENVIRONMENT):
            raise SystemExit(f"--mssql: {MSSQL_ENVIRONMENT} is not set")
        yield draw_case(arguments.seed, number, mssql=True)
    for number in itertools.count(1):
        yield draw_case(arguments.seed, number, family=arguments.family)


def _run(
    cases: Iterator[Case], documents: Documents, folder: Path, report: Report, arguments: argparse.Namespace
) -> None:
    """Run cases, some at a time, until there are no more or enough faults have struck."""
    lock = threading.Lock()
    failures: list[BaseException] = []

    def work() -> None:
        ground = Ground(documents)
        try:
            while not failures:
                with lock:
                    case = next(cases, None) if arguments.only or report.struck < arguments.faults else None
                if case is None:
                    return
                if arguments.verbose:
                    _say(case.describe())
                of_case = folder / f"case-{case.engine}-{case.number}"
                of_case.mkdir()
                outcome = run_case(case, ground, of_case)
                shutil.rmtree(of_case, ignore_errors=True)
                with lock:
                    report.add(outcome)
                    _say(_line(outcome, report))
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)
        finally:
            ground.close()

    threads = [threading.Thread(target=work) for _ in range(arguments.jobs)]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except KeyboardInterrupt as interrupt:
        _say("ending after the cases that are at hand")
        failures.append(interrupt)
        for thread in threads:
            thread.join()
    if failures:
        raise failures[0]


def _line(outcome: Outcome, report: Report) -> str:
    case = outcome.case
    said = "ok" if not outcome.problems else f"FAILED: {outcome.problems[0][:300]}\n    {case.describe()}"
    return (
        f"{report.struck:4} faults; case {case.number:3} {case.family:13} {case.engine:10} {case.executor:7} "
        f"{sum(outcome.struck.values()):2} struck, {sum(outcome.between.values()):2} between commits, "
        f"exits {' '.join(map(str, outcome.codes))}, {outcome.seconds:.1f} s: {said}"
    )


if __name__ == "__main__":
    sys.exit(main())
