"""A million documents, into SQLite and into PostgreSQL: memory that does not grow, and time that stays flat.

The documents are small readings, made straight into a SQLite source before anything is timed; the load is the
product's own program with its default settings.  What its profile has sampled says when each tenth of the
documents had been committed: the last tenth of them is to take no longer than the first, counted from the
first commit.  The bound leaves 15 %: indexes, the ledger's above all, become a level deeper within a million
rows and outgrow the caches, which costs more per row but may not go on growing; and 10 % either way is how
far equal loads of seconds lie apart on machines such as those of docs/benchmarks.md.

Memory is the sum of the proportional set sizes of the program's processes.  The most after the first tenth
is held against the most within it, from the profile, and the whole peak is watched from outside too.
"""

from __future__ import annotations

import argparse
import shutil
import sqlite3
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import support
from benchmark_memory import GROWTH_BOUND, PEAK_BOUND_MB, load_watched

DOCUMENTS: Final = 1_000_000
FLAT_BOUND: Final = 1.15
"""Time of the last tenth ÷ time of the first."""
TENTHS: Final = 10
BYTES_A_DOCUMENT: Final = 2_500
"""On the disk, at most at once: source, target with ledger and indexes, and the engine's log."""
SAMPLE_SECONDS: Final = 1.0
CONTRACT: Final = """
contract: readings
version: 1
source: {table: reading_xml, key: reading_id, document: reading_xml}
document: {root: /reading}
tables:
  reading:
    primary_key: [reading_id]
    columns:
      reading_id: {from: $key, type: int}
      station:    {from: "@station", type: varchar(20), required: true}
      taken_at:   {from: taken, type: datetime2(0)}
  reading_value:
    parent: reading
    rows: value
    primary_key: [reading_id, position]
    columns:
      reading_id: {from: $parent}
      position:   {from: $position, type: int}
      unit:       {from: "@unit", type: varchar(10)}
      amount:     {from: ., type: "decimal(9,2)"}
"""
Samples = Mapping[str, Sequence[Any]]
"""The columns of a profile's samples: ``seconds``, ``documents``, ``memory_bytes`` and others."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N",
        help="documents (default %(default)s, for which the bounds are)",
    )  # fmt: skip
    support.add_worker_arguments(parser)
    support.add_engine_arguments(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Make the source once, and load it into each engine that was asked for."""
    figures: list[support.Figure] = []
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        check_space(folder, arguments.documents)
        contract = folder / "readings.yaml"
        contract.write_text(CONTRACT, encoding="utf-8")
        source = stack.enter_context(support.SqliteFolder(folder).database())
        fill(source, arguments.documents)
        for databases in support.engines_of(arguments, stack, folder):
            figures += measure(databases, source, contract, arguments, folder)
    return support.report(f"{arguments.documents:,} documents", figures, arguments.json)


def check_space(folder: Path, documents: int) -> None:
    """Refuse to begin what would fill the disk.

    Raises:
        BenchmarkError: there is too little room, with how much is wanted and how to have it elsewhere.
    """
    free, wanted = shutil.disk_usage(folder).free, documents * BYTES_A_DOCUMENT
    if free < wanted:
        raise support.BenchmarkError(
            f"{documents:,} documents want about {wanted / 1e9:.1f} GB where temporary files are ({folder}), "
            f"and {free / 1e9:.1f} GB are free: make room, name another folder by TMPDIR, or load fewer with "
            "--documents"
        )


def fill(url: str, documents: int) -> None:
    """Put readings into the source table."""
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as connection, connection:
        connection.execute("PRAGMA synchronous = OFF")  # it is made anew for each run
        connection.execute("CREATE TABLE reading_xml (reading_id INTEGER PRIMARY KEY, reading_xml TEXT)")
        connection.executemany("INSERT INTO reading_xml VALUES (?, ?)", readings(documents))


def readings(documents: int) -> Iterator[tuple[int, str]]:
    """Yield readings with their keys."""
    for key in range(1, documents + 1):
        yield (
            key,
            f'<reading station="ST-{key % 997:04d}"><taken>2026-{key % 12 + 1:02d}-{key % 28 + 1:02d}'
            f'T{key % 24:02d}:{key % 60:02d}:00</taken><value unit="C">{key % 40}.{key % 10}</value>'
            f'<value unit="hPa">{980 + key % 50}.{key % 100:02d}</value></reading>',
        )


def measure(
    databases: support.Databases, source: str, contract: Path, arguments: argparse.Namespace, folder: Path
) -> list[support.Figure]:
    """Load everything once, watched from outside, and read what the load's own profile says."""
    command = support.load_arguments(
        contract, workers=arguments.workers, executor=arguments.executor, batch_size=1000, folder=folder
    )
    with (
        databases.database() as target,
        support.MachineWatch(databases.server_cpu_seconds) as machine,
    ):
        variables = {"XML_EXTRACTOR_SOURCE": source, "XML_EXTRACTOR_TARGET": target}
        peak = load_watched(command, variables, folder, SAMPLE_SECONDS)
    summary = support.read_summary(folder)
    if summary["documents"]["loaded"] != arguments.documents:
        raise support.BenchmarkError(f"not every document was loaded: {summary['documents']}")
    samples: Samples = summary["profile"]["samples"]
    tenths = tenth_seconds(samples, arguments.documents)
    early, late = memory_peaks(samples, arguments.documents)
    into = f"into {databases.name}"
    return [
        support.Figure(
            f"{into}: time of the last tenth ÷ the first",
            tenths[-1] / tenths[0],
            "×",
            FLAT_BOUND,
            f"seconds of each tenth: {' '.join(f'{seconds:.1f}' for seconds in tenths)}; "
            f"{arguments.documents / summary['seconds']:,.0f} documents/s ({summary['executor']}); CPU "
            f"{machine.cpu / arguments.documents * 1e6:.0f} µs a document, the server's "
            f"{machine.server_cpu / arguments.documents * 1e6:.0f} included; other programs meanwhile "
            f"{machine.others_share:.0%} of the machine",
        ),
        support.Figure(
            f"{into}: peak after the first tenth ÷ peak within it",
            late / early,
            "×",
            GROWTH_BOUND,
            f"{late / 1e6:.0f} MB and {early / 1e6:.0f} MB, {len(samples['seconds'])} samples of the profile",
        ),
        support.Figure(
            f"{into}: peak memory",
            peak.megabytes,
            "MB",
            PEAK_BOUND_MB,
            f"{peak.processes} processes, {peak.samples:,} samples from outside",
        ),
    ]


def tenth_seconds(samples: Samples, documents: int) -> list[float]:
    """Return how long each tenth of the documents took, from the last moment before the first was settled.

    Between two samples documents are taken to be settled evenly.

    Raises:
        BenchmarkError: the samples lie too far apart for that.
    """
    moments = list(zip(samples["documents"], samples["seconds"], strict=True))
    first = next(place for place, (settled, _) in enumerate(moments) if settled)
    moments = moments[max(first - 1, 0) :]
    if len(moments) <= TENTHS:
        raise support.BenchmarkError(
            f"the load was too short to be divided into tenths ({len(moments)} samples): ask for more "
            "--documents"
        )
    ends = [moments[0][1]]
    place = 1
    for tenth in range(1, TENTHS + 1):
        wanted = documents * tenth / TENTHS
        while moments[place][0] < wanted:
            place += 1
        (before, earlier), (after, later) = moments[place - 1], moments[place]
        ends.append(earlier + (later - earlier) * (wanted - before) / (after - before))
    return [end - start for start, end in pairwise(ends)]


def memory_peaks(samples: Samples, documents: int) -> tuple[int, int]:
    """Return the most memory until a tenth of the documents were settled, and after that, in bytes."""
    measured = [
        (settled, size)
        for settled, size in zip(samples["documents"], samples["memory_bytes"], strict=True)
        if size is not None
    ]
    early = [size for settled, size in measured if settled <= documents / TENTHS]
    late = [size for settled, size in measured if settled > documents / TENTHS]
    if not early or not late:
        raise support.BenchmarkError("the load was too short for its memory to be compared")
    return max(early), max(late)


if __name__ == "__main__":
    sys.exit(main())
