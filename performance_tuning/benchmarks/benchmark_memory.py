"""Peak memory of a load of many documents against that of a load of few, both by four worker processes.

The program is watched from outside: every 100 ms the proportional set sizes (pages that processes share
are counted once) of it and all its children are added up, start to end.  Source and target are SQLite
files in a temporary folder; the longer load needs about 25 kB a document there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import psutil
import support

from xml_extractor.resources import shipped_config

GROWTH_BOUND: Final = 1.2
PEAK_BOUND_MB: Final = 400.0
WORKERS: Final = 4
SAMPLE_SECONDS: Final = 0.1


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=200_000, metavar="N",
        help="documents of the longer load (default %(default)s); the shorter one has a tenth",
    )  # fmt: skip
    parser.add_argument(
        "--executor", choices=("auto", "thread", "process", "serial"), default="process",
        help="default %(default)s, for which the bounds are",
    )  # fmt: skip
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Load a tenth of the documents, then all of them, and compare."""
    few, many = max(1, arguments.documents // 10), arguments.documents
    with support.temporary_folder() as folder:
        peaks = {count: measure(count, arguments.executor, folder) for count in (few, many)}
    figures = [
        support.Figure(
            f"peak of {many:,} ÷ peak of {few:,} documents", peaks[many].megabytes / peaks[few].megabytes,
            "×", GROWTH_BOUND,
        ),
        *(
            support.Figure(
                f"peak memory of {count:,} documents", peak.megabytes, "MB", PEAK_BOUND_MB,
                f"{peak.processes} processes ({arguments.executor}), {peak.samples:,} samples, "
                f"{count / peak.seconds:,.0f} documents/s",
            )
            for count, peak in peaks.items()
        ),
    ]  # fmt: skip
    return support.report("Peak memory, sum of proportional set sizes", figures, arguments.json)


class Peak:
    """The most memory that a process and its children took, sampled in a thread of its own."""

    def __init__(self, process_id: int, sample_seconds: float = SAMPLE_SECONDS) -> None:
        self._sample_seconds = sample_seconds
        self._process = psutil.Process(process_id)
        self._finished = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.bytes = 0
        self.processes = 0
        self.samples = 0
        self.seconds = 0.0

    @property
    def megabytes(self) -> float:
        """The peak in units of 1,000,000 bytes."""
        return self.bytes / 1e6

    def __enter__(self) -> Peak:
        self._started = time.perf_counter()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self._started
        self._finished.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._finished.wait(self._sample_seconds):
            sizes = tree_sizes(self._process)
            self.samples += 1
            self.bytes = max(self.bytes, sum(sizes))
            self.processes = max(self.processes, len(sizes))


def tree_sizes(process: psutil.Process) -> list[int]:
    """Return the proportional set sizes, in bytes, of a process and all its descendants.

    Where the system does not know them (Windows, macOS) the unique set sizes stand in.
    """
    sizes = []
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
    for member in family:
        try:
            memory = member.memory_full_info()
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue  # it has just ended
        sizes.append(int(getattr(memory, "pss", memory.uss)))
    return sizes


def measure(documents: int, executor: str, folder: Path) -> Peak:
    """Load this many applications and return the peak."""
    databases = support.SqliteFolder(folder)
    with databases.database() as source, databases.database() as target:
        support.stage_applications(source, documents, folder)
        arguments = support.load_arguments(
            shipped_config("loan_application.yaml"),
            workers=WORKERS,
            executor=executor,
            batch_size=1000,
            folder=folder,
        )
        variables = {"XML_EXTRACTOR_SOURCE": source, "XML_EXTRACTOR_TARGET": target}
        peak = load_watched(arguments, variables, folder)
    counts = support.read_summary(folder)["documents"]
    if counts["loaded"] + counts["quarantined"] != documents:
        raise support.BenchmarkError(f"not every document was loaded: {counts}")
    return peak


def load_watched(
    arguments: Sequence[str],
    variables: dict[str, str],
    folder: Path,
    sample_seconds: float = SAMPLE_SECONDS,
) -> Peak:
    """Run a load to its end and return the peak of its memory.

    Args:
        arguments: of the product's command line, ``load`` first.
        variables: of its environment, the URLs above all.
        sample_seconds: between two looks: each makes the kernel add up every page of every process.
    """
    command = [sys.executable, "production_processor.py", *arguments[1:]]
    with (folder / "output.txt").open("w+", encoding="utf-8", errors="replace") as output:
        program = subprocess.Popen(
            command,
            cwd=support.CHECKOUT,
            env=support.product_environment() | variables,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        try:
            with Peak(program.pid, sample_seconds) as peak:
                program.wait()
        finally:
            if program.poll() is None:
                program.terminate()
                program.wait()
        output.seek(0)
        support.check_ended(command, program.returncode, output.read())
    return peak


if __name__ == "__main__":
    sys.exit(main())
