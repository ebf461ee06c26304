"""SQL Server's ways in against each other: the same batches, the same server, one run.

A batch is 1,000 documents with 30 rows each in 12 tables, prepared beforehand; what is timed is committing
it as a load does, in one transaction with its ledger rows.  Each path commits into tables of its own
database.  With ``--latency-ms`` a proxy on this machine holds everything back for half of that in each
direction, as a distant server would, and several insert threads are tried.

Shown are ratios: each path against fast_executemany, and with latency against itself without.
"""

from __future__ import annotations

import argparse
import random
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any, Final

import support

from tests.support.tcp_proxy import TcpProxy
from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import EngineOptions
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import DocumentRecord, Row, State
from xml_extractor.target import open_target
from xml_extractor.target.base import LoadHandle
from xml_extractor.target.batch_writer import DatabaseBatchWriter

PATHS: Final = ("bulkcopy", "openjson", "fast-executemany", "executemany")
BASE_PATH: Final = "fast-executemany"
DOCUMENTS: Final = 1000
TABLES: Final = 12
ROWS: Final = 30
"""Rows a document, in all tables."""
OPENJSON_AT_LEAST: Final = 2.0
BULKCOPY_AT_LEAST: Final = 5.0
LATENCY_KEEPS_AT_LEAST: Final = 0.5


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--mssql", metavar="URL", help=f"a SQL Server to make databases on [{support.MSSQL_VARIABLE}]"
    )
    parser.add_argument(
        "--batches", type=support.positive, default=5, metavar="N",
        help="batches that are timed for each path; one more goes before them (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--paths", default=",".join(PATHS), metavar="LIST", help="paths to measure (default %(default)s)"
    )
    parser.add_argument(
        "--latency-ms", type=float, default=0.0, metavar="MS",
        help="add so many milliseconds to each round trip (default %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--threads", default="1", metavar="LIST",
        help="insert threads to try, such as 1,2,4; the best counts (default %(default)s)",
    )  # fmt: skip
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


@dataclass(frozen=True, slots=True)
class Measured:
    """What one path did."""

    path: str
    threads: int
    batch_seconds: float  # median, divided by the threads that worked side by side
    round_trips: float  # per batch

    @property
    def documents_per_second(self) -> float:
        """Documents committed per second."""
        return DOCUMENTS / self.batch_seconds


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure what was asked for."""
    paths = [path for path in arguments.paths.split(",") if path]
    threads = [support.positive(text) for text in arguments.threads.split(",")]
    server = support.mssql(arguments.mssql)
    with support.temporary_folder() as folder:
        plan = twelve_tables(folder)
        near = [best(server, path, plan, threads, arguments.batches, None) for path in paths]
        figures = [*_near_figures(near)]
        if arguments.latency_ms:
            with latency(server, arguments.latency_ms) as port:
                far = [best(server, path, plan, threads, arguments.batches, port) for path in paths]
                chosen = auto_path(server, plan, port)
            figures += _far_figures(near, far, chosen, arguments.latency_ms)
    return support.report("SQL Server's ways in", figures, arguments.json)


def _near_figures(near: Sequence[Measured]) -> Iterator[support.Figure]:
    by_path = {measured.path: measured for measured in near}
    base = by_path.get(BASE_PATH)
    for measured in near:
        yield support.Figure(
            f"{measured.path}: documents committed",
            measured.documents_per_second,
            "documents/s",
            detail=f"{measured.batch_seconds:.3f} s a batch of {DOCUMENTS:,}, {measured.threads} insert "
            f"thread(s), {measured.round_trips:.0f} round trips a batch",
        )
    for path, least in (("openjson", OPENJSON_AT_LEAST), ("bulkcopy", BULKCOPY_AT_LEAST)):
        if base is not None and path in by_path:
            ratio = by_path[path].documents_per_second / base.documents_per_second
            yield support.Figure(
                f"{BASE_PATH} ÷ {path} (time of a batch: {path} ÷ {BASE_PATH})",
                1 / ratio,
                "×",
                1 / least,
                f"{path} is {ratio:.1f} × as fast",
            )


def _far_figures(
    near: Sequence[Measured], far: Sequence[Measured], chosen: str, latency_ms: float
) -> Iterator[support.Figure]:
    kept = {
        slow.path: slow.documents_per_second / quick.documents_per_second
        for quick, slow in zip(near, far, strict=True)
    }
    for slow in far:
        yield support.Figure(
            f"{slow.path}, {latency_ms:g} ms a round trip: documents committed",
            slow.documents_per_second,
            "documents/s",
            detail=f"{slow.threads} insert thread(s), {slow.round_trips:.0f} round trips a batch, keeps "
            f"{kept[slow.path]:.0%} of its rate without",
        )
    most = max(kept, key=kept.__getitem__)
    yield support.Figure(
        f"slowdown of the path that keeps most of its rate at {latency_ms:g} ms",
        1 / kept[most],
        "×",
        1 / LATENCY_KEEPS_AT_LEAST,
        most,
    )
    fastest = max(far, key=lambda slow: slow.documents_per_second)
    taken = next((slow for slow in far if slow.path == chosen), fastest)
    yield support.Figure(
        f"the fastest path there ÷ what auto takes ({chosen})",
        fastest.documents_per_second / taken.documents_per_second,
        "×",
        1.1,
        f"the fastest is {fastest.path}",
    )


# ---------------------------------------------------------------------------------------- measuring


def best(
    server: support.MssqlServer, path: str, plan: Plan, threads: Sequence[int], batches: int, port: int | None
) -> Measured:
    """Measure a path with each number of insert threads, and return the fastest."""
    runs = [measure(server, path, plan, number, batches, port) for number in threads]
    return max(runs, key=lambda run: run.documents_per_second)


def measure(
    server: support.MssqlServer, path: str, plan: Plan, threads: int, batches: int, port: int | None
) -> Measured:
    """Commit batches by one path: each thread its own batches over its own connection."""
    with prepared(server, path, plan, port) as handle:
        keys = count(1)
        encoder = handle.encoder
        assert encoder is not None
        writers = [handle.writer(index) for index in range(threads)]
        work = [[batch(plan, encoder, keys) for _ in range(batches + 1)] for _ in writers]
        for writer, (first, *_) in zip(writers, work, strict=True):
            writer.commit_batch(first)  # connects, and lets server and driver prepare what they keep
        before = [_round_trips(writer) for writer in writers]
        seconds: list[list[float]] = [[] for _ in writers]

        def run(index: int) -> None:
            for records in work[index][1:]:
                started = perf_counter()
                result = writers[index].commit_batch(records)
                seconds[index].append(perf_counter() - started)
                if result.loaded != len(records):
                    raise support.BenchmarkError(f"{path}: {result.loaded} of {len(records)} were loaded")

        running = [
            threading.Thread(target=run, args=(index,), name=f"writer {index}") for index in range(threads)
        ]
        for thread in running:
            thread.start()
        for thread in running:
            thread.join()
        if any(len(times) != batches for times in seconds):
            raise support.BenchmarkError(f"{path}: a batch failed; see above")
        trips = sum(map(_round_trips, writers)) - sum(before)
        for writer in writers:
            writer.close()
    middle = median(second for times in seconds for second in times)
    return Measured(path, threads, middle / threads, trips / (batches * threads))


def _round_trips(writer: Any) -> int:
    assert isinstance(writer, DatabaseBatchWriter)
    # Of no use to anybody but a benchmark, so it has no way of its own.
    return int(writer._connection.session().round_trips)


def auto_path(server: support.MssqlServer, plan: Plan, port: int) -> str:
    """Return what ``auto`` takes at this distance."""
    with prepared(server, "auto", plan, port) as handle:
        return handle.insert_path or ""


@contextmanager
def prepared(server: support.MssqlServer, path: str, plan: Plan, port: int | None) -> Iterator[LoadHandle]:
    """A load into a new database, which is dropped at the end."""
    from sqlalchemy.engine import make_url

    with server.database() as url:
        reached = make_url(url)
        if port is not None:
            reached = reached.set(host="127.0.0.1", port=port)
        url_text = reached.render_as_string(hide_password=False)
        target = open_target(url_text, options=EngineOptions(insert_path=path, batch_documents=DOCUMENTS))
        handle = target.prepare(
            plan,
            source_name="benchmark",
            source_name_explicit=True,
            create_tables=True,
            dry_run=False,
            on_plan_change="report",
            settings={},
        )
        try:
            yield handle
        finally:
            handle.close()


@contextmanager
def latency(server: support.MssqlServer, milliseconds: float) -> Iterator[int]:
    """A proxy to the server that adds so much to each round trip; yields its port."""
    proxy = TcpProxy(*server.address(), latency_ms=milliseconds / 2)
    with ExitStack() as stack:
        stack.callback(proxy.close)
        yield proxy.port


# ---------------------------------------------------------------------------------------- documents

_COLUMNS: Final = """
      status: {from: status, type: varchar(20)}
      amount: {from: amount, type: "decimal(12,2)"}
      changed_at: {from: changed, type: datetime2(3)}
      flag: {from: flag, type: bit}
      note: {from: note, type: nvarchar(200)}
"""


def twelve_tables(folder: Path) -> Plan:
    """Return the plan of app_base and eleven child tables."""
    text = [
        "contract: twelve_tables\nversion: 1\nsource: {table: app_xml, key: app_id, document: app_xml}\n"
        "document: {root: /app}\ntables:\n"
        "  app_base:\n    primary_key: [app_id]\n    columns:\n"
        f"      app_id: {{from: $key, type: bigint}}{_COLUMNS}"
    ]
    text += [
        f"  app_child{number:02}:\n    parent: app_base\n    rows: child{number:02}\n"
        "    primary_key: [app_id, item]\n    columns:\n"
        f"      app_id: {{from: $parent}}\n      item: {{from: $position, type: int}}{_COLUMNS}"
        for number in range(1, TABLES)
    ]
    path = folder / "twelve_tables.yaml"
    path.write_text("".join(text), encoding="utf-8")
    return read_contract(path).plan


def batch(plan: Plan, encoder: RowEncoder, keys: Iterator[int]) -> list[DocumentRecord]:
    """Return a batch of documents with new keys, encoded."""
    records = []
    for _ in range(DOCUMENTS):
        key = next(keys)
        dice = random.Random(key)
        rows: list[list[Row]] = [[(key, *_values(dice))]]
        children = ROWS - 1
        for table in range(1, TABLES):
            share = children // (TABLES - table)
            children -= share
            rows.append([(key, item, *_values(dice)) for item in range(1, share + 1)])
        encoded, size = encoder(tuple(rows))
        records.append(
            DocumentRecord(
                key, State.LOADED, key.to_bytes(16, "big"), encoded, tuple(map(len, rows)), size_bytes=size
            )
        )
    return records


def _values(dice: random.Random) -> Row:
    return (
        dice.choice(("open", "approved", "declined", None)),
        Decimal(dice.randrange(10**9)).scaleb(-2),
        f"2024-02-1{dice.randrange(10)} 1{dice.randrange(10)}:30:00.{dice.randrange(1000):03}",
        dice.random() < 0.5,
        "Grundbuchauszug fehlt – Rückfrage läuft " * dice.randrange(4) or None,
    )


if __name__ == "__main__":
    sys.exit(main())
