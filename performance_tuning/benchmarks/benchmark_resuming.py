"""What it costs to find out what is left: keys a second, and the account that is kept while a load runs.

Three figures, on documents that are all in the ledger already:

    compared      a new load: pages of source keys against the ledger's, by digest
    passed over   a resumed load whose ranges are all finished: nothing is read but their rows
    account       what the ranges of a running load cost a document: marks and counts

All in seconds of CPU, the database server's on this machine included: what else runs there does not matter.
"""

from __future__ import annotations

import argparse
import secrets
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from statistics import median
from time import process_time
from typing import Any, Final

import support

from xml_extractor import Contract, LoadOptions
from xml_extractor.contract.types import parse_type
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine
from xml_extractor.mapping.records import State
from xml_extractor.processing.chunks import KEY_PAGE
from xml_extractor.processing.pending_keys import PendingKeys
from xml_extractor.processing.pipeline_state import PipelineState
from xml_extractor.processing.ranges import RangeTracker
from xml_extractor.processing.throttle import Throttle
from xml_extractor.resources import shipped_config
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.base import LoadHandle
from xml_extractor.target.bookkeeping import LEDGER, LEDGER_COLUMNS
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.ledger import DocumentDigests
from xml_extractor.target.ranges import RangeCounts, ledger_mark

DOCUMENTS: Final = 200_000
SOURCE_NAME: Final = "benchmark"
COMMITTED_AT: Final = "2026-01-01 00:00:00.000000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table, and return the exit status."""
    parser = support.make_parser(__doc__)
    parser.add_argument(
        "--documents", type=support.positive, default=DOCUMENTS, metavar="N", help="default %(default)s"
    )
    support.add_repeat_argument(parser)
    support.add_engine_arguments(parser)
    return support.run_benchmark(benchmark, parser.parse_args(arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure each engine."""
    plan = Contract.read(shipped_config("loan_application.yaml")).plan
    repeat, documents = range(arguments.repeat), arguments.documents
    figures = []
    with ExitStack() as stack:
        folder = stack.enter_context(support.temporary_folder())
        for databases in support.engines_of(arguments, stack, folder):
            engine = open_engine(stack.enter_context(databases.database()))
            handle = prepare(engine, plan, documents)
            compared = median(
                [look(databases, engine, handle, plan, documents, from_key=-index) for index in repeat]
            )
            look(databases, engine, handle, plan, documents)  # which finishes all ranges
            passed = median([look(databases, engine, handle, plan, documents) for _ in repeat])
            handle.close()
            figures += [
                support.Figure(f"compared: {databases.name}", documents / compared, "documents/s"),
                support.Figure(
                    f"passed over: {databases.name}", 1000 * passed, "ms", None, f"{documents:,} keys"
                ),
            ]
    figures.append(support.Figure("account", median([account(documents) for _ in repeat]), "µs a document"))
    return support.report("Finding out what is left", figures, arguments.json)


def prepare(engine: Engine, plan: Any, documents: int) -> LoadHandle:
    """Make a source of empty documents and a ledger that knows them all; return the load that did."""
    session = engine.connect(write=True, application="benchmark")
    try:
        for statement in engine.staging_statements(plan.source, parse_type("int")):
            session.execute(statement)
        handle = DatabaseTarget(engine, retry_seconds=5).prepare(
            plan, source_name=SOURCE_NAME, source_name_explicit=True, create_tables=True, dry_run=False,
            on_plan_change="report", settings={},
        )  # fmt: skip
        digests = DocumentDigests(SOURCE_NAME, plan.contract)
        columns = f"{engine.quote(plan.source.key)}, {engine.quote(plan.source.document)}"
        for first in range(1, documents + 1, KEY_PAGE):
            keys = range(first, min(documents + 1, first + KEY_PAGE))
            batch = secrets.randbits(63)
            session.begin()
            session.execute_many(
                f"INSERT INTO {session.table(plan.source.table)} ({columns}) VALUES (?, ?)",
                [(key, "") for key in keys],
            )
            session.insert_new(
                LEDGER,
                LEDGER_COLUMNS,
                [
                    (digests.digest(key), str(key), "loaded", 1, batch, b"h" * 16, "1,1,2,0", COMMITTED_AT)
                    for key in keys
                ],
            )
            session.commit()
        session.execute("ANALYZE")
    finally:
        session.close()
    return handle


def look(
    databases: Any, engine: Engine, handle: LoadHandle, plan: Any, documents: int, from_key: int | None = None
) -> float:
    """Find out what is pending; return the seconds that it took.

    Args:
        from_key: below all keys; as a run of its own, which can use and leaves no ranges.
    """
    state, tracker = PipelineState(), RangeTracker()
    reader = SourceReader(engine, plan.source)
    reader.open()
    try:
        started = process_time() + databases.server_cpu_seconds()
        pending = PendingKeys(
            reader, handle, LoadOptions(app_id_start=from_key), plan.digest, state,
            Throttle(None, state.stopping.wait), tracker,
        )  # fmt: skip
        left = sum(len(chunk.keys) for chunk in pending)
        seconds: float = process_time() + databases.server_cpu_seconds() - started
    finally:
        reader.close()
    if left or pending.counts.already_loaded != documents:
        raise support.BenchmarkError(f"the ledger does not know all documents: {pending.counts}")
    if from_key is None:
        handle.record_ranges(tracker.take_finished())
    return seconds


def account(documents: int) -> float:
    """Return the microseconds a document that a load spends on its ranges, but for writing their rows."""
    tracker = RangeTracker()
    digests = [secrets.token_bytes(16) for _ in range(KEY_PAGE)]
    started = process_time()
    for first in range(0, documents, KEY_PAGE):
        keys = list(range(first, first + KEY_PAGE))
        tracker.begin(first + 1, None, keys[-1], keys, RangeCounts())
        for start in range(0, KEY_PAGE, 1000):
            batch = 2**62 + start
            settled = [
                (key, State.LOADED, ledger_mark(digest, State.LOADED, batch), False)
                for key, digest in zip(keys[start : start + 1000], digests[start : start + 1000], strict=True)
            ]
            tracker.settle(settled)
        if len(tracker.take_finished()) != 1:
            raise support.BenchmarkError("a range whose documents are all settled was not finished")
    pages = -(-documents // KEY_PAGE)
    return 1e6 * (process_time() - started) / (pages * KEY_PAGE)


if __name__ == "__main__":
    sys.exit(main())
