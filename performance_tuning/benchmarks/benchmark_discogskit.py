"""Discogs releases into PostgreSQL, all committed with the ledger, against discogskit's load of the same.

Both are whole programs, timed from their start to their end, with the same number of workers, into logged
tables of fresh databases on one server.  What comes before is timed on neither side: our documents are staged
in a table, and discogskit's dump has been decompressed (it keeps the XML by its own ``--keep-xml``).

The keys are the same too: as discogskit does without ``--fk``, no keys while loading, and primary keys and an
index on the release's id in every table after it.  Our primary keys begin with that id and serve as such an
index.  For this the contract that ships with the product is taken with its foreign keys left out; with them,
as it is, it is printed apart, after the load (against discogskit's ``--fk``) and during it, and so is a
source in PostgreSQL. Rows are counted on both sides and have to be the same in every table that both fill.

discogskit is looked for in a Python of its own: ``python -m venv peers && peers/bin/pip install discogskit
xml2db psycopg2-binary``, then ``--peers peers/bin/python``.
"""

from __future__ import annotations

import argparse
import gzip
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import support
import yaml
from peers.peer_python import PeerPython, add_peer_argument, peer_environment, peers_of

from performance_tuning.measuring.product import run_to_end
from xml_extractor.resources import shipped_config

AT_LEAST: Final = 1.5
"""Our documents/s ÷ those of discogskit, keys after the load on both sides."""
COPIES: Final = 100
DUMP: Final = "discogs_20260301_releases.xml.gz"
"""discogskit sees by the name what a dump holds."""

TABLES: Final = {
    "releases": "release",
    "release_artists": "release_artist",
    "release_extraartists": "release_extra_artist",
    "release_labels": "release_label",
    "release_series": "release_series",
    "release_formats": "release_format",
    "release_identifiers": "release_identifier",
    "release_videos": "release_video",
    "release_companies": "release_company",
    "release_tracks": "release_track",
    "release_track_artists": "release_track_artist",
    "release_track_extraartists": "release_track_extra_artist",
}
"""discogskit's tables, and ours that hold the same rows."""
ARRAYS: Final = {
    "release_genre": "SELECT coalesce(sum(cardinality(genres)), 0) FROM releases",
    "release_style": "SELECT coalesce(sum(cardinality(styles)), 0) FROM releases",
    "release_format_description": "SELECT coalesce(sum(cardinality(descriptions)), 0) FROM release_formats",
}
"""Our tables whose rows are elements of arrays there, and how many those are."""


@dataclass(frozen=True, slots=True)
class Run:
    """One program from its start to its end; seconds."""

    wall: float
    cpu: float  # of the program and its children
    server_cpu: float
    others_share: float  # of the machine, taken by other programs meanwhile
    workers: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "discogs", nargs="?", type=Path, metavar="DUMP",
        help=f"Discogs releases, .xml or .xml.gz {support.DISCOGS_DEFAULTS}",
    )  # fmt: skip
    parser.add_argument(
        "--documents", type=support.positive, metavar="N",
        help=f"documents, each with an id of its own (default: {COPIES} times those of the sample)",
    )  # fmt: skip
    parser.add_argument(
        "--workers", type=support.positive, default=2, metavar="N",
        help="workers on both sides (default %(default)s)",
    )  # fmt: skip
    parser.add_argument("--executor", choices=("auto", "thread", "process", "serial"), default="auto")
    parser.add_argument(
        "--batch-size", type=support.positive, default=1000, metavar="N", help="ours (default %(default)s)"
    )
    parser.add_argument(
        "--chunk-mb", type=support.positive, default=32, metavar="N",
        help="discogskit's (default %(default)s: its own default of 256 leaves a dump of this size in two "
        "pieces, with nothing to overlap)",
    )  # fmt: skip
    parser.add_argument(
        "--repeat", type=support.positive, default=3, metavar="N",
        help="runs of each side, by turns; the median counts (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--only-bound", action="store_true", help="measure the two sides of the bound, and nothing apart"
    )
    parser.add_argument(
        "--postgresql", metavar="URL", help="a server to make databases on [default: start one]"
    )
    add_peer_argument(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Stage the documents, let all sides take turns, compare what they have written, and report."""
    peers = peers_of(arguments, ["discogskit"])
    records = support.discogs_documents(support.discogs_file(arguments.discogs))
    documents = arguments.documents or COPIES * len(records)
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        server = stack.enter_context(support.postgresql(arguments.postgresql, folder))
        shipped = shipped_config("discogs_releases.yaml")
        plain = without_foreign_keys(shipped, folder)
        dump = folder / DUMP
        write_dump(records, documents, dump)
        source = stack.enter_context(support.SqliteFolder(folder).database())
        support.stage_dump(source, shipped, dump, folder)
        ours = partial(_load, server, arguments, folder, source)
        theirs = partial(_load_with_discogskit, server, arguments, peers, dump)
        sides: dict[str, Callable[[], tuple[Run, Written]]] = {
            OURS: partial(ours, plain, "after"),
            THEIRS: theirs,
        }
        if not arguments.only_bound:
            sides[OURS_FOREIGN] = partial(ours, shipped, "after")
            sides[THEIRS_FOREIGN] = partial(theirs, "--fk")
            sides[OURS_DURING] = partial(ours, shipped, "during")
            staged = stack.enter_context(server.database())
            support.stage_dump(staged, shipped, dump, folder)
            sides[OURS_POSTGRESQL] = partial(_load, server, arguments, folder, staged, plain, "after")
        theirs()  # decompresses the dump, and keeps it
        runs: dict[str, list[Run]] = {side: [] for side in sides}
        written: dict[str, Written] = {}
        for number in range(arguments.repeat):
            order = list(sides) if number % 2 == 0 else list(reversed(sides))
            for side in order:
                run, written[side] = sides[side]()
                runs[side].append(run)
    check_written(written, documents)
    figures = figures_of(documents, arguments.workers, runs, written, peers.versions["discogskit"])
    return support.report("Discogs releases into PostgreSQL, against discogskit", figures, arguments.json)


OURS: Final = "ours, keys after the load"
THEIRS: Final = "discogskit"
OURS_FOREIGN: Final = "ours, keys after the load, foreign keys too"
THEIRS_FOREIGN: Final = "discogskit --fk"
OURS_DURING: Final = "ours, primary and foreign keys during the load"
OURS_POSTGRESQL: Final = "ours, keys after the load, from PostgreSQL"
COMPARED: Final = {OURS: THEIRS, OURS_FOREIGN: THEIRS_FOREIGN, OURS_DURING: THEIRS, OURS_POSTGRESQL: THEIRS}


def figures_of(
    documents: int,
    workers: int,
    runs: Mapping[str, Sequence[Run]],
    written: Mapping[str, Written],
    version: str,
) -> list[support.Figure]:
    """Return our rate over discogskit's, run by run, and every side's own rate."""
    figures = []
    for side, other in COMPARED.items():
        if side in runs:
            pairs = list(zip(runs[side], runs[other], strict=True))
            ratios = [its.wall / mine.wall for mine, its in pairs]
            by_cpu = median((its.cpu + its.server_cpu) / (mine.cpu + mine.server_cpu) for mine, its in pairs)
            figures.append(
                support.Figure(
                    f"{side}: documents/s ÷ those of {other.replace(THEIRS, f'{THEIRS} {version}')}",
                    median(ratios),
                    "×",
                    AT_LEAST if side == OURS else None,
                    f"{documents:,} documents, {workers} workers each; ratios "
                    + " ".join(f"{ratio:.2f}" for ratio in ratios)
                    + f"; by CPU of program and server alone {by_cpu:.2f} ×",
                    at_least=True,
                )
            )
    for side, its_runs in runs.items():
        middle = sorted(its_runs, key=lambda run: run.wall)[len(its_runs) // 2]
        figures.append(
            support.Figure(
                side,
                documents / middle.wall,
                "documents/s",
                None,
                f"{middle.wall:.2f} s from start to end; {middle.workers}CPU "
                f"{middle.cpu / documents * 1e6:.0f} µs a document and the server's "
                f"{middle.server_cpu / documents * 1e6:.0f}; other programs meanwhile "
                f"{middle.others_share:.0%} of the machine; {written[side].described}",
            )
        )
    return figures


# ------------------------------------------------------------------------------------------ the documents


def write_dump(records: Sequence[str], documents: int, path: Path) -> None:
    """Write as many records as one compressed dump, each with an id of its own."""
    # Fast: nobody's time is measured by how small it is.
    with gzip.open(path, "wt", compresslevel=1, encoding="utf-8") as file:
        file.write("<releases>\n")
        for record in support.numbered_records(records, documents):
            file.write(record + "\n")
        file.write("</releases>\n")


def without_foreign_keys(contract: Path, folder: Path) -> Path:
    """Write the contract once more, so that no table refers to another: the keys that discogskit has.

    The id of the release comes to each table from the source's key, and not by way of the parent's; as what
    is of the parent's type would still be taken for a reference, every other generation has it as bigint.
    """
    content = yaml.safe_load(contract.read_text(encoding="utf-8"))
    generations: dict[str, int] = {}
    for name, table in content["tables"].items():
        generations[name] = generations[table["parent"]] + 1 if "parent" in table else 0
        types = ("int", "bigint")
        if generations[name]:
            column = {"from": "$key", "type": types[generations[name] % 2]}
            table["columns"] = table["columns"] | {"release_id": column}
    path = folder / "discogs_releases_without_foreign_keys.yaml"
    path.write_text(yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8")
    return path


# ------------------------------------------------------------------------------------------ running


def _load(
    server: support.PostgresqlServer,
    arguments: argparse.Namespace,
    folder: Path,
    source: str,
    contract: Path,
    keys: str,
) -> tuple[Run, Written]:
    """Load as the product's users do, into a new database."""
    command = support.load_arguments(
        contract,
        workers=arguments.workers,
        executor=arguments.executor,
        batch_size=arguments.batch_size,
        folder=folder,
    )
    with server.database() as target:
        with support.MachineWatch(server.server_cpu_seconds) as machine:
            support.run_product(
                [*command, "--keys", keys], {"XML_EXTRACTOR_SOURCE": source, "XML_EXTRACTOR_TARGET": target}
            )
        summary = support.read_summary(folder)
        return _run(machine, f"{summary['workers']} × {summary['executor']}; "), look(target)


def _load_with_discogskit(
    server: support.PostgresqlServer,
    arguments: argparse.Namespace,
    peers: PeerPython,
    dump: Path,
    *flags: str,
) -> tuple[Run, Written]:
    """Load as discogskit's README says, into a new database; the decompressed dump is kept for the next."""
    command = [
        str(peers.program("discogskit")),
        "load",
        *("--parse-workers", str(arguments.workers)),
        *("--pg-index-workers", str(arguments.workers)),
        *("--chunk-mb", str(arguments.chunk_mb)),
        "--keep-xml",
        "--no-progress",
        *flags,
        str(dump),
    ]
    with server.database() as target:
        with support.MachineWatch(server.server_cpu_seconds) as machine:
            # By the environment, as its README advises: a command line can be read by everybody.
            ended = run_to_end(command, peer_environment() | {"DATABASE_URL": target}, folder=dump.parent)
        if ended.status != 0:
            raise support.BenchmarkError(f"discogskit ended with {ended.status}:\n{ended.output}")
        return _run(machine), look(target)


def _run(machine: support.MachineWatch, workers: str = "") -> Run:
    return Run(
        machine.wall, machine.cpu - machine.server_cpu, machine.server_cpu, machine.others_share, workers
    )


# ------------------------------------------------------------------------------------------ what was written


@dataclass(frozen=True, slots=True)
class Written:
    """What a load has left in its database, the loader's own tables apart."""

    rows: Mapping[str, int]  # per table of ours; elements of arrays under the table that holds them here
    unlogged: Sequence[str]
    unindexed: Sequence[str]  # tables without an index that begins with the release's id
    primary_keys: int
    indexes: int  # those of primary keys not counted
    foreign_keys: int

    @property
    def described(self) -> str:
        """Keys and indexes in a line."""
        return (
            f"{self.primary_keys} primary keys, {self.indexes} other indexes, {self.foreign_keys} foreign "
            f"keys, {sum(self.rows.values()):,} rows"
        )


_TABLES: Final = """
SELECT t.relname, t.relpersistence = 'p',
       EXISTS (SELECT 1 FROM pg_index i JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
               WHERE i.indrelid = t.oid AND i.indisvalid AND a.attname IN ('release_id', 'id'))
FROM pg_class t WHERE t.relnamespace = 'public'::regnamespace AND t.relkind = 'r' AND t.relname !~ '^load_'
"""
_KEYS: Final = """
SELECT count(*) FILTER (WHERE c.contype = 'p'), count(*) FILTER (WHERE c.contype = 'f')
FROM pg_constraint c JOIN pg_class t ON t.oid = c.conrelid
WHERE t.relnamespace = 'public'::regnamespace AND t.relname !~ '^load_'
"""
_INDEXES: Final = """
SELECT count(*) FROM pg_index i JOIN pg_class t ON t.oid = i.indrelid
WHERE t.relnamespace = 'public'::regnamespace AND t.relname !~ '^load_' AND NOT i.indisprimary
"""


def look(url: str) -> Written:
    """Count what a load has left, in our tables or in discogskit's."""
    import psycopg

    with psycopg.connect(url) as connection:

        def ask(sql: str) -> list[tuple[Any, ...]]:
            return connection.execute(sql).fetchall()

        tables = ask(_TABLES)
        rows = {}
        for name, _, _ in tables:
            [(rows[TABLES.get(name, name)],)] = ask(f'SELECT count(*) FROM "{name}"')
        if "releases" in {name for name, _, _ in tables}:
            for table, sql in ARRAYS.items():
                [(count,)] = ask(sql)
                rows[table] = int(count)
        [(primary_keys, foreign_keys)] = ask(_KEYS)
        [(indexes,)] = ask(_INDEXES)
    return Written(
        rows,
        [name for name, logged, _ in tables if not logged],
        [name for name, _, indexed in tables if not indexed],
        primary_keys,
        indexes,
        foreign_keys,
    )


def check_written(written: Mapping[str, Written], documents: int) -> None:
    """Refuse to compare times of loads that did not write the same, or not as durably, or with fewer keys.

    Raises:
        BenchmarkError: with what differs.
    """
    differences = []
    expected = written[THEIRS].rows
    for side, its in written.items():
        if its.rows.get("release") != documents:
            differences.append(f"{side} wrote {its.rows.get('release'):,} releases of {documents:,}")
        differences += [
            f"{side} wrote {its.rows.get(table):,} rows of {table}, {THEIRS} {expected[table]:,}"
            for table in expected
            if its.rows.get(table) != expected[table]
        ]
        differences += [f"{side} has {table} unlogged" for table in its.unlogged]
        differences += [f"{side} has no index on the release's id in {table}" for table in its.unindexed]
    if differences:
        raise support.BenchmarkError("the loads are not comparable: " + "; ".join(differences))


if __name__ == "__main__":
    sys.exit(main())
