"""A load into SQLite against nothing but inserting the same rows, prepared beforehand.

The load is the product's own program, ledger and all; its time is what its summary says, from the first read
to the last commit, start-up apart.  The rows that it has written are then read back and inserted once more
into a new file: tuples that lie ready in memory, by plain ``executemany``, one transaction for each
batch of documents, with the same tables, primary and foreign keys, and the same pragmas, but without a
ledger.  Nothing is parsed, mapped, converted or fetched in that time, and Python's garbage collector is off.
Both take turns.
"""

from __future__ import annotations

import argparse
import gc
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import support

from xml_extractor.engines import open_engine
from xml_extractor.processing.executor_choice import available_cores

AT_LEAST: Final = 0.7
"""Rate of the load ÷ rate of inserting the prepared rows alone."""
DOCUMENTS: Final = 40_000
PRAGMAS: Final = (
    "journal_mode",
    "synchronous",
    "wal_autocheckpoint",
    "cache_size",
    "temp_store",
    "foreign_keys",
    "page_size",
)
"""What a connection is set to for writing: read from one of the product's, set on the bare one."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load and the bare insertion of its rows; seconds."""

    load: float
    bare: float
    executor: str
    rows: int
    cpu: float  # of the load's program, start-up included
    others_share: float  # of the machine, taken by other programs during the load

    @property
    def ratio(self) -> float:
        """The load's rate over that of the bare insertion."""
        return self.bare / self.load


Prepared = list[list[tuple[str, list[tuple[Any, ...]]]]]
"""Per batch and table, the statement that inserts a row, and the rows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N",
        help="documents of each kind (default %(default)s)",
    )  # fmt: skip
    support.add_worker_arguments(parser)
    parser.add_argument(
        "--batch-size", type=support.positive, default=1000, metavar="N",
        help="documents a transaction, on both sides (default %(default)s)",
    )  # fmt: skip
    support.add_repeat_argument(parser)
    support.add_kinds_arguments(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure what was asked for."""
    figures: list[support.Figure] = []
    with support.temporary_folder() as folder:
        databases = support.SqliteFolder(folder)
        for name, contract, stage in support.both_kinds(arguments, folder):
            with databases.database() as source:
                stage(source)
                runs = [
                    measure(databases, source, contract, arguments, folder) for _ in range(arguments.repeat)
                ]
            figures.append(as_figure(name, arguments.documents, runs))
    return support.report("A load into SQLite against inserting its rows alone", figures, arguments.json)


def as_figure(name: str, documents: int, runs: Sequence[Run]) -> support.Figure:
    """Return the run with the median ratio as a figure."""
    middle = sorted(runs, key=lambda run: run.ratio)[len(runs) // 2]
    return support.Figure(
        f"{name}: rate of the load ÷ inserting the prepared rows alone",
        median(run.ratio for run in runs),
        "×",
        AT_LEAST,
        f"load {middle.load:.2f} s ({documents / middle.load:,.0f} documents/s, {middle.executor}), rows "
        f"alone {middle.bare:.2f} s ({documents / middle.bare:,.0f}/s, {middle.rows:,} rows); CPU of the "
        f"load's program {middle.cpu:.2f} s ÷ {available_cores()} cores; other programs "
        f"during the load {middle.others_share:.0%} of the machine; ratios "
        + " ".join(f"{run.ratio:.2f}" for run in runs),
        at_least=True,
    )


def measure(
    databases: support.SqliteFolder,
    source: str,
    contract: Path,
    arguments: argparse.Namespace,
    folder: Path,
) -> Run:
    """Load once as the product does, then insert its rows alone into another new file."""
    command = support.load_arguments(
        contract,
        workers=arguments.workers,
        executor=arguments.executor,
        batch_size=arguments.batch_size,
        folder=folder,
    )
    with databases.database() as target:
        with support.MachineWatch() as machine:
            support.run_product(command, {"XML_EXTRACTOR_SOURCE": source, "XML_EXTRACTOR_TARGET": target})
        pragmas = pragmas_of(target)
        tables, prepared = prepare(Path(target.removeprefix("sqlite:///")), arguments.batch_size)
    summary = support.read_summary(folder)
    rows = sum(len(rows) for batch in prepared for _, rows in batch)
    if rows != sum(summary["rows"].values()):
        raise support.BenchmarkError(f"{rows:,} rows were read back, not {sum(summary['rows'].values()):,}")
    with databases.database() as target:
        bare = insert(Path(target.removeprefix("sqlite:///")), pragmas, tables, prepared)
    return Run(
        summary["seconds"] - summary["startup_seconds"],
        bare,
        f"{summary['workers']} × {summary['executor']}",
        rows,
        machine.cpu,
        machine.others_share,
    )


def pragmas_of(url: str) -> dict[str, Any]:
    """Return what the product sets a connection to before it writes."""
    with closing(open_engine(url).connect(write=True, application="xml_extractor benchmark")) as session:
        return {name: session.query(f"PRAGMA {name}")[0][0] for name in PRAGMAS}


def prepare(path: Path, batch_size: int) -> tuple[list[str], Prepared]:
    """Return the statements that make a load's tables, and its rows in batches of whole documents.

    Every table's key has to begin with the document's, as in the contracts that ship with the product.

    Raises:
        BenchmarkError: one's does not.
    """
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
        made = connection.execute(
            "SELECT name, sql FROM sqlite_master WHERE type = 'table' AND name NOT GLOB 'load_*' "
            "AND name NOT GLOB 'sqlite_*' ORDER BY rowid"
        ).fetchall()
        root = made[0][0]
        key = _first_key(connection, root)
        keys = [found for (found,) in connection.execute(f'SELECT {key} FROM "{root}" ORDER BY {key}')]
        batch_of = {found: number // batch_size for number, found in enumerate(keys)}
        prepared: Prepared = [[] for _ in range(max(batch_of.values(), default=-1) + 1)]
        for name, _ in made:
            columns = [column[1] for column in connection.execute(f'PRAGMA table_info("{name}")')]
            place = columns.index(_first_key(connection, name).strip('"'))
            sql = f'INSERT INTO "{name}" VALUES ({", ".join("?" * len(columns))})'
            batches: list[list[tuple[Any, ...]]] = [[] for _ in prepared]
            for row in connection.execute(f'SELECT * FROM "{name}"'):
                if row[place] not in batch_of:
                    raise support.BenchmarkError(f"the key of {name} does not begin with the key of {root}")
                batches[batch_of[row[place]]].append(row)
            for batch, rows in zip(prepared, batches, strict=True):
                if rows:
                    batch.append((sql, rows))
        return [sql for _, sql in made], prepared


def _first_key(connection: sqlite3.Connection, table: str) -> str:
    """Return the first column of a table's primary key, quoted."""
    for _, name, _, _, _, place in connection.execute(f'PRAGMA table_info("{table}")'):
        if place == 1:
            return f'"{name}"'
    raise support.BenchmarkError(f"{table} has no primary key")


def insert(path: Path, pragmas: dict[str, Any], tables: Sequence[str], prepared: Prepared) -> float:
    """Insert what is prepared into a new file; return the seconds from the first row to the last commit."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        for name, value in pragmas.items():
            connection.execute(f"PRAGMA {name} = {value}")
        for sql in tables:
            connection.execute(sql)
        gc.collect()
        gc.disable()
        started = perf_counter()
        for batch in prepared:
            connection.execute("BEGIN IMMEDIATE")
            for sql, rows in batch:
                connection.executemany(sql, rows)
            connection.execute("COMMIT")
        return perf_counter() - started
    finally:
        gc.enable()
        connection.close()


if __name__ == "__main__":
    sys.exit(main())
