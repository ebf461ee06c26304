"""Which way in a load takes: what the server and the driver offer, and what ``auto`` makes of that."""

from __future__ import annotations

import logging
import secrets
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from xml_extractor.contract.plan import Plan
from xml_extractor.contract.types import SqlType
from xml_extractor.engines.base import AUTO, EngineOptions, FaultKind
from xml_extractor.engines.encoding import written_columns
from xml_extractor.engines.mssql.errors import classify
from xml_extractor.engines.mssql.insert_paths import (
    BULKCOPY,
    EXECUTEMANY,
    FAST_EXECUTEMANY,
    INSERT_PATHS,
    OPENJSON,
    RowWriter,
)
from xml_extractor.engines.mssql.wires import Queryable
from xml_extractor.errors import UsageError
from xml_extractor.mapping.layouts import RowEncoder

if TYPE_CHECKING:
    from xml_extractor.engines.mssql.bulkcopy import Service

logger = logging.getLogger(__name__)

ROUND_TRIP_SAMPLES: Final = 7

ROWS_PER_TABLE: Final = 2.5
"""Rows that a document is reckoned to have per table: 30 in 12 tables, as in the measurements."""


@dataclass(frozen=True, slots=True)
class _Cost:
    """What a path costs: rows per second next to the server, and round trips per batch and per table."""

    rows_per_second: float
    trips_per_batch: float
    trips_per_table: float

    def seconds(self, documents: int, tables: int, round_trip_seconds: float) -> float:
        trips = self.trips_per_batch + self.trips_per_table * tables
        return documents * tables * ROWS_PER_TABLE / self.rows_per_second + trips * round_trip_seconds


_COSTS: Final = {
    # Measured with batches of 1,000 documents (performance_tuning/benchmarks/benchmark_insert_paths.py, see
    # docs/sql-server.md); only the ratios matter.  Begin, ledger and commit are three of the trips.
    BULKCOPY: _Cost(145_000, 3, 4),
    OPENJSON: _Cost(60_000, 4, 0),
    # pyodbc asks what each parameter is before every array: five trips, counted on the connection.
    FAST_EXECUTEMANY: _Cost(23_000, 3, 5),
    EXECUTEMANY: _Cost(3_000, 3, ROWS_PER_TABLE * 1000),
}


@dataclass(frozen=True, slots=True)
class PathChoice:
    """A path, and what has to be known to write by it.  Picklable."""

    path: str
    reason: str
    keep_identity: frozenset[str] = frozenset()
    """Tables into whose identity column the contract puts values."""
    gaps: frozenset[str] = frozenset()
    """What this server's OPENJSON does not keep (:func:`.openjson.openjson_gaps`)."""
    by_json: frozenset[str] = frozenset()
    """With bulk copy: tables that are written by OPENJSON all the same."""
    bulk_counts_rows: bool = True
    """With bulk copy: whether @@ROWCOUNT can be relied upon."""
    load: str = ""
    """Tells the loads of one process apart, whose bulk copies are trusted or not."""


def choose(
    wanted: str,
    unavailable: Mapping[str, str],
    *,
    documents: int,
    tables: int,
    round_trip_seconds: float,
) -> tuple[str, str]:
    """Choose a path and say why.

    Args:
        wanted: a path, or ``auto``.
        unavailable: why a path cannot be taken, by path; those not named can.
        documents: in a batch.

    Raises:
        UsageError: the wanted path, or every path, is not to be had.
    """
    if wanted != AUTO:
        if wanted in unavailable:
            raise UsageError(f"--insert-path {wanted}: {unavailable[wanted]}; use --insert-path auto")
        return wanted, "as set"
    costs = {
        path: _COSTS[path].seconds(documents, tables, round_trip_seconds)
        for path in INSERT_PATHS
        if path not in unavailable
    }
    if not costs:
        raise UsageError("; ".join(f"--insert-path {path}: {why}" for path, why in unavailable.items()))
    best = min(costs, key=costs.__getitem__)
    reason = (
        f"the fastest for batches of {documents:,} documents in {tables} tables "
        f"at {round_trip_seconds * 1000:.1f} ms a round trip"
    )
    faster = [path for path in INSERT_PATHS[: INSERT_PATHS.index(best)] if path in unavailable]
    if faster:
        reason += "; " + "; ".join(f"not {path}: {unavailable[path]}" for path in faster)
    elif best != BULKCOPY:
        reason += f"; {BULKCOPY} makes more round trips"
    return best, reason


def measured_round_trip(session: Queryable) -> float:
    """Return the median time of a round trip that asks the server for nothing, in seconds."""
    times = []
    for _ in range(ROUND_TRIP_SAMPLES):
        started = time.perf_counter()
        session.query("SELECT 1")
        times.append(time.perf_counter() - started)
    return statistics.median(times)


def openjson_problem(session: Queryable) -> str | None:
    """Say why OPENJSON cannot be used; None = it can."""
    rows = session.query("SELECT compatibility_level, name FROM sys.databases WHERE database_id = DB_ID()")
    if not rows or int(rows[0][0]) >= OPENJSON_LEVEL:
        return None
    # Servers that only speak SQL Server's language may have it whatever level they call theirs: try.
    try:
        session.query("SELECT [value] FROM OPENJSON(N'[1]')")
    except Exception as error:
        if classify(error, "").kind is FaultKind.DISCONNECTED:
            raise
        return (
            f"OPENJSON needs compatibility level {OPENJSON_LEVEL}, and the database has {rows[0][0]} "
            f"(ALTER DATABASE … SET COMPATIBILITY_LEVEL = {OPENJSON_LEVEL})"
        )
    return None


OPENJSON_LEVEL: Final = 130
"""SQL Server 2016."""


def worth_trying_bulk_copy(options: EngineOptions, tables: int, round_trip_seconds: float) -> bool:
    """Whether bulk copy, should the server serve it, would be taken."""
    if options.insert_path != AUTO:
        return options.insert_path == BULKCOPY
    documents = options.batch_documents
    return _COSTS[BULKCOPY].seconds(documents, tables, round_trip_seconds) < _COSTS[OPENJSON].seconds(
        documents, tables, round_trip_seconds
    )


def settle(
    session: Queryable,
    plan: Plan,
    options: EngineOptions,
    *,
    keep_identity: frozenset[str],
    fast_problem: str | None,
    try_bulk_copy: Callable[[frozenset[SqlType]], Service | str],
) -> PathChoice:
    """Look at the server and choose.

    Args:
        session: any connection to the database.
        keep_identity: tables into whose identity column the contract puts values.
        fast_problem: why the driver has no fast_executemany; None = it has.
        try_bulk_copy: asked only if bulk copy would be taken: what it can be relied upon for with these
            types (:func:`.bulkcopy.try_out`), or a sentence that says why it cannot be used at all.

    Raises:
        UsageError: the path that was asked for is not to be had.
    """
    from xml_extractor.engines.mssql.bulkcopy import reasons_against
    from xml_extractor.engines.mssql.openjson import openjson_gaps

    tables = len(plan.tables)
    round_trip = measured_round_trip(session)
    unavailable: dict[str, str] = {}
    gaps: frozenset[str] = frozenset()
    no_json = openjson_problem(session)
    if no_json is not None:
        unavailable[OPENJSON] = no_json
        unavailable[BULKCOPY] = f"it needs OPENJSON to fall back on; {no_json}"
    else:
        gaps = openjson_gaps(session)
    if fast_problem is not None:
        unavailable[FAST_EXECUTEMANY] = fast_problem
    by_json: frozenset[str] = frozenset()
    counts_rows = True
    if BULKCOPY not in unavailable and worth_trying_bulk_copy(options, tables, round_trip):
        kinds = frozenset(table.columns[i].type for table in plan.tables for i in written_columns(table))
        service = try_bulk_copy(kinds)
        if isinstance(service, str):
            unavailable[BULKCOPY] = service
        else:
            counts_rows = service.counts_rows
            reasons = reasons_against(plan, service.types)
            by_json = frozenset(reasons)
            for table, reason in sorted(reasons.items()):
                logger.debug("rows of %s go by OPENJSON: %s", table, reason)
            if len(reasons) == tables:
                unavailable[BULKCOPY] = next(iter(reasons.values()))
    path, reason = choose(
        options.insert_path,
        unavailable,
        documents=options.batch_documents,
        tables=tables,
        round_trip_seconds=round_trip,
    )
    if path != BULKCOPY:
        by_json = frozenset()
    return PathChoice(path, reason, keep_identity, gaps, by_json, counts_rows, secrets.token_hex(8))


def encoder(choice: PathChoice, plan: Plan) -> RowEncoder:
    """Return the encoder of a path."""
    from xml_extractor.engines.mssql.bulkcopy import BulkEncoder
    from xml_extractor.engines.mssql.encoders import JsonEncoder, TextTupleEncoder

    if choice.path == BULKCOPY:
        return BulkEncoder.of(plan, choice.by_json)
    if choice.path == OPENJSON:
        return JsonEncoder.of(plan)
    return TextTupleEncoder.of(plan)


def row_writer(choice: PathChoice, options: EngineOptions) -> RowWriter:
    """Return what writes rows by a path; one for each session."""
    from xml_extractor.engines.mssql.bulkcopy import BulkCopyWriter
    from xml_extractor.engines.mssql.openjson import OpenJsonWriter
    from xml_extractor.engines.mssql.rowwise import ExecuteManyWriter

    if choice.path in (FAST_EXECUTEMANY, EXECUTEMANY):
        return ExecuteManyWriter(
            options.schema, fast=choice.path == FAST_EXECUTEMANY, keep_identity=choice.keep_identity
        )
    by_json = OpenJsonWriter(
        options.schema,
        keep_identity=choice.keep_identity,
        avoid_lock_escalation=options.avoid_lock_escalation,
        gaps=choice.gaps,
    )
    if choice.path == OPENJSON:
        return by_json
    return BulkCopyWriter(
        by_json,
        load=choice.load,
        counts_rows=choice.bulk_counts_rows,
        schema=options.schema,
        keep_identity=choice.keep_identity,
        avoid_lock_escalation=options.avoid_lock_escalation,
        timeout_seconds=options.limits.statement_seconds,
    )


UNSETTLED: Final = PathChoice(OPENJSON, "not settled")
"""Before a load has looked at the server (a dry run, tests of single sessions)."""
