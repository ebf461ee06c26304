"""The default run on a fresh copy: generate and stage 10,000 applications, load them, find nothing to do.

The product is copied into a temporary folder and started there as its users start it, with no database
configured, so that it makes its embedded default inside the copy.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any, Final

import support

LOADING_BOUND_SECONDS: Final = 6.0
TOTAL_BOUND_SECONDS: Final = 15.0
SECOND_RUN_BOUND_SECONDS: Final = 2.0
DOCUMENTS: Final = 10_000
COMMAND: Final = ("production_processor.py", "--workers", "4", "--batch-size", "1000")
PARTS: Final = ("production_processor.py", "pyproject.toml", "config", "xml_extractor")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--repeat", type=support.positive, default=3, metavar="N",
        help="measure on so many fresh copies and take medians (default %(default)s)",
    )  # fmt: skip
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Run the default run twice on each of several fresh copies."""
    loading, total, second = [], [], []
    others = []
    executor = ""
    for _ in range(arguments.repeat):
        with support.temporary_folder() as folder:
            copy = fresh_copy(folder / "copy")
            with support.MachineWatch() as machine:
                seconds, summary = run(copy)
            others.append(machine.others_share)
            expect(summary["documents"]["read"] == DOCUMENTS, "the default run did not read 10,000", summary)
            total.append(seconds)
            loading.append(float(summary["seconds"]))
            executor = str(summary["executor"])
            seconds, summary = run(copy)
            expect(summary["documents"]["loaded"] == 0, "the second run found something to do", summary)
            second.append(seconds)
    copies = (
        f"median of {arguments.repeat} fresh copies; other programs took {median(others):.0%} of the machine"
    )
    figures = [
        support.Figure("loading", median(loading), "s", LOADING_BOUND_SECONDS, f"{copies}; {executor}"),
        support.Figure(
            "start, generating and staging", median(map(float.__sub__, total, loading)), "s", None, "the rest"
        ),
        support.Figure(
            "whole first run", median(total), "s", TOTAL_BOUND_SECONDS, "start of the program to its end"
        ),
        support.Figure(
            "second run", median(second), "s", SECOND_RUN_BOUND_SECONDS, "nothing to do; start to end"
        ),
    ]
    return support.report("The default run on a fresh copy", figures, arguments.json)


def fresh_copy(folder: Path) -> Path:
    """Copy the product, without anything that a run left in the checkout."""
    folder.mkdir()
    for part in PARTS:
        original = support.CHECKOUT / part
        if original.is_dir():
            # Users' own settings must not count.
            shutil.copytree(
                original, folder / part, ignore=shutil.ignore_patterns("__pycache__", "settings.yaml")
            )
        else:
            shutil.copy2(original, folder / part)
    return folder


def run(copy: Path) -> tuple[float, dict[str, Any]]:
    """Run the default command in the copy; return the seconds it took and its summary."""
    summary_file = copy / "summary.json"
    command = [sys.executable, *COMMAND, "--summary", str(summary_file)]
    started = time.perf_counter()
    done = subprocess.run(
        command,
        cwd=copy,
        env=support.product_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    seconds = time.perf_counter() - started
    support.check_ended(command, done.returncode, done.stdout)
    summary = json.loads(summary_file.read_text(encoding="utf-8"))
    assert isinstance(summary, dict)
    return seconds, summary


def expect(condition: bool, complaint: str, summary: dict[str, Any]) -> None:
    """Refuse to report figures of a run that did something else than what is measured."""
    if not condition:
        raise support.BenchmarkError(f"{complaint}: {summary['documents']}")


if __name__ == "__main__":
    sys.exit(main())
