"""Bulk copy inside the transaction, and the proofs that it stored what it was given.

The library beneath (:mod:`.core_wire`) reads a table's columns from the server and matches names by what it
read.  A server that describes its tables otherwise than the library expects makes it put values into
the wrong columns without an error, and the interface is not documented.  So nothing is taken for granted:

* Before a load, :func:`try_out` copies values of every type of the plan into a table of its own, the
  columns named in another order than they were created in, and reads them back.  Tables with a
  column of a type that does not come back as it was are written by OPENJSON, over the same connection.
* The first copy into each table over each connection is read back by primary key, within the transaction,
  and compared value by value.  What differs rolls the batch back, and the connection goes on by OPENJSON.
* A copy that the server refuses for its data costs the connection, so the document at fault is looked for by
  OPENJSON, over the next one.
* What the server's protocol or the library itself stumbles over is not taken for the data's fault: the batch
  is tried again by OPENJSON, which says what is wrong with the data, if anything is.  Connections
  that are lost twice in the middle of a copy are not made again; the load goes on without bulk copy.
* The server, not the library, says how many rows each copy added: by @@ROWCOUNT, or, where that was
  found to be wrong, by counting the rows of the batch's keys.
"""

from __future__ import annotations

import logging
import secrets
import struct
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from time import perf_counter
from typing import Any, Final

from xml_extractor.contract.plan import Plan, Table
from xml_extractor.contract.types import INTEGER_RANGES, MONEY_RANGES, Family, SqlType
from xml_extractor.engines.base import FaultKind
from xml_extractor.engines.encoding import pick_of, picked, value_layout, values_bytes, written_columns
from xml_extractor.engines.mssql.core_wire import CoreWire
from xml_extractor.engines.mssql.encoders import JsonTable, Texts, Unstorable, storable
from xml_extractor.engines.mssql.errors import BulkCopyMisread, classify
from xml_extractor.engines.mssql.insert_paths import LOCK_ESCALATION_ROWS, RowWriter
from xml_extractor.engines.mssql.literals import literal
from xml_extractor.engines.mssql.names import quote_identifier, quote_table
from xml_extractor.engines.mssql.types import column_type
from xml_extractor.engines.mssql.wires import Wire
from xml_extractor.mapping.layouts import Layout, LayoutEncoder, TableLayout
from xml_extractor.mapping.records import Row

logger = logging.getLogger(__name__)

VERIFIED_ROWS: Final = 25
"""Rows of a first copy that are read back, evenly spread: columns that were exchanged show in one."""

COUNTED_KEYS: Final = 1000
"""Keys in one statement; a list much longer than some thousand is more than the server's parser likes."""

MOST_LOST: Final = 2
"""Connections of one load that may be lost in a copy before the load goes on without bulk copy: one may be
the network's doing."""

CAREFUL_WRITES: Final = 40
"""Writes that go by OPENJSON after the server refused a copy for its data: the document at fault among 1,000
is found in some 20, and each copy that fails costs the connection, which a failed INSERT does not."""

TRIAL_SECONDS: Final = 10.0
"""The most that a copy of a few sample rows may take; a server that is slower is not worth waiting for."""

TRIAL: Final = "xml_extractor_trial"
"""A temporary table of this name, or one with a random number behind it that is never committed."""

_NEVER_SERVED: Final = frozenset({Family.XML})
"""The library refuses xml columns."""


# ------------------------------------------------------------------------------- comparing what was stored


def _selected(kind: SqlType, column: str) -> str:
    """A column as a query gives it back in full: temporals as text, because Python's have six digits."""
    if kind.family in (Family.DATE, Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        return f"CONVERT(varchar(40), {column}, 121)"  # 121: ODBC canonical, with all digits
    return column


def _comparable(kind: SqlType, value: Any) -> Any:
    """A value as given to the copy, or as selected, in the one form in which the two are equal."""
    if value is None:
        return None
    family = kind.family
    if family in (Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        text = str(value).replace("T", " ").replace(" +", "+").replace(" -", "-")
        clock, sign, offset = text, "", ""
        if family is Family.DATETIMEOFFSET:
            clock, sign, offset = text[:-6], text[-6], text[-5:]
        if "." in clock:
            clock = clock.rstrip("0").rstrip(".")
        return clock + sign + offset
    if family is Family.BIT:
        return bool(value)
    if family is Family.DECIMAL:
        return Decimal(value)
    if family is Family.FLOAT:
        return struct.pack("f", value) if kind.name == "real" else float(value)
    if family is Family.BINARY:
        return bytes(value)
    if family is Family.GUID:
        return str(value).lower()
    return value


# ------------------------------------------------------------------------------- trying a server out

_TEXT: Final = "a'\t\n 漢🎵"
_DATE, _CLOCK, _FRACTION, _OFFSET = "2024-02-29", "23:59:58", "1234567", "-13:59"


def _samples(kind: SqlType) -> list[Any]:
    """Values of a type that a server which misreads it cannot all give back."""
    family, scale = kind.family, kind.scale or 0
    clock = _CLOCK if kind.name != "smalldatetime" else "23:59:00"
    digits = f".{_FRACTION[:scale]}" if scale else ""
    if kind.name == "datetime":
        digits = ".997"  # its clock ticks in steps of 1/300 s
    if family is Family.BIT:
        return [True, False]
    if family is Family.INTEGER:
        low, high = INTEGER_RANGES[kind.name]
        return [low, high, 7]
    if family is Family.DECIMAL:
        if kind.name in MONEY_RANGES:
            return [*MONEY_RANGES[kind.name], Decimal("1.2345")]
        most = Decimal(10 ** (kind.precision or 18) - 1).scaleb(-scale)
        return [most, -most, Decimal(1).scaleb(-scale), Decimal(0).scaleb(-scale)]
    if family is Family.FLOAT:
        return [0.5, -1.0] if kind.name == "real" else [0.1, -1.7976931348623157e308, 123456789.12345679]
    if family is Family.DATE:
        return [_DATE, "0001-01-01"]
    if family is Family.TIME:
        return [f"{_CLOCK}{digits}"]
    if family is Family.DATETIME:
        return [f"{_DATE} {clock}{digits}"]
    if family is Family.DATETIMEOFFSET:
        return [f"{_DATE} {clock}{digits}{_OFFSET}"]
    if family is Family.GUID:
        return ["0e984725-c51c-4bf4-9960-e1c80e27aba0"]
    length = kind.length or 9000  # beyond what fits into a row's page
    if family is Family.BINARY:
        return [bytes(i % 256 for i in range(length))] + ([] if kind.is_fixed_length else [b""])
    text = (_TEXT if kind.is_unicode else "a'\t\n b") * length
    text = text[: length // 2 if kind.is_unicode else length]
    if kind.is_fixed_length:
        units = len(text.encode("utf-16-le")) // 2
        return [text + " " * (length - units)]
    return [text, "", " "]


@dataclass(frozen=True, slots=True)
class Service:
    """What a server's bulk copy can be relied upon for."""

    types: frozenset[SqlType] = frozenset()
    """Values of these come back as they were."""
    counts_rows: bool = False
    """Whether @@ROWCOUNT says how many rows a copy added."""


def try_out(
    connect: Callable[[], CoreWire],
    kinds: Collection[SqlType],
    timeout_seconds: float,
    schema: str | None = None,
) -> Service:
    """Find out what bulk copy on this server can be relied upon for.

    Everything is done in a temporary table, or, where the server cannot copy into one, in a table of
    the schema (the login has to be allowed to create it), and in transactions that are rolled back.

    Args:
        connect: opens a connection; called again after each failure, which may leave one out of step.

    Raises:
        Exception: a connection cannot be opened.
    """
    places = (f"#{TRIAL}", quote_table(f"{TRIAL}_{secrets.token_hex(4)}", schema))
    with _Trial(connect, timeout_seconds) as trial:
        place = next((name for name in places if trial.comes_back(name, [])), None)
        if place is None:
            return Service()
        served = [kind for kind in kinds if kind.family not in _NEVER_SERVED]
        if not trial.comes_back(place, served):
            # One of them spoils the copy of all: find which.
            served = [kind for kind in served if trial.comes_back(place, [kind])]
        return Service(frozenset(served), trial.counts_rows)


class _Trial:
    """Copies samples and reads them back, over one connection after the other."""

    def __init__(self, connect: Callable[[], CoreWire], timeout_seconds: float) -> None:
        self._connect = connect
        self._timeout_seconds = timeout_seconds
        self._wire: CoreWire | None = None
        self.counts_rows = True

    def __enter__(self) -> _Trial:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def _close(self) -> None:
        if self._wire is not None:
            self._wire.close()  # what is open on it is rolled back
            self._wire = None

    def comes_back(self, table: str, kinds: Sequence[SqlType]) -> bool:
        """Whether values of these types, and two integers that must not be exchanged, come back true."""
        if self._wire is None:
            self._wire = self._connect()
        try:
            given, found, counted = _copied(self._wire, table, kinds, self._timeout_seconds)
        except Exception as error:  # noqa: BLE001 - whatever it is: these types are not served
            logger.debug("bulk copy of %s fails: %s", ", ".join(map(str, kinds)), type(error).__name__)
            self._close()
            return False
        self.counts_rows = self.counts_rows and counted == len(given)
        return _all_equal([None, None, *kinds], given, found)


def _copied(
    wire: CoreWire, table: str, kinds: Sequence[SqlType], timeout_seconds: float
) -> tuple[list[tuple[Any, ...]], list[tuple[Any, ...]], int]:
    """Copy samples into a table that is then forgotten; return them, what was found there, and the count."""
    names = [f"c{index}" for index in range(len(kinds))]
    samples = [_samples(kind) for kind in kinds]
    height = max(map(len, samples), default=1)
    given: list[tuple[Any, ...]] = [
        (number, -number - 1, *(column[number % len(column)] for column in samples))
        for number in range(height)
    ]
    given.append((height, 0, *(None for _ in kinds)))
    columns = "".join(f", {name} {column_type(kind)} NULL" for name, kind in zip(names, kinds, strict=True))
    wire.run("BEGIN TRANSACTION")
    wire.run(f"CREATE TABLE {table} (id int NOT NULL, other int NOT NULL{columns})")
    # Named last to first: a library or server that goes by position puts them into the wrong columns.
    wire.bulk_copy(
        table,
        [*reversed(names), "other", "id"],
        [tuple(reversed(row)) for row in given],
        timeout_seconds=timeout_seconds,
    )
    counted = int(wire.query("SELECT @@ROWCOUNT")[0][0])
    selected = ["id", "other", *(_selected(kind, name) for name, kind in zip(names, kinds, strict=True))]
    found = wire.query(f"SELECT {', '.join(selected)} FROM {table} ORDER BY id")
    wire.run("ROLLBACK TRANSACTION")
    return given, found, counted


def _all_equal(
    kinds: Sequence[SqlType | None], given: Sequence[Sequence[Any]], found: Sequence[Sequence[Any]]
) -> bool:
    return len(given) == len(found) and all(
        (one if kind is None else _comparable(kind, one))
        == (other if kind is None else _comparable(kind, other))
        for row, stored in zip(given, found, strict=True)
        for kind, one, other in zip(kinds, row, stored, strict=True)
    )


def reasons_against(plan: Plan, served: Collection[SqlType]) -> dict[str, str]:
    """Return by table why its rows have to be written by OPENJSON; tables not named can be copied."""
    reasons = {}
    for table in plan.tables:
        written = written_columns(table)
        unserved = sorted({str(table.columns[i].type) for i in written} - {str(kind) for kind in served})
        if unserved:
            reasons[table.name] = f"bulk copy does not keep {', '.join(unserved)} as it is"
        elif table.key_column not in written:
            reasons[table.name] = "no column carries the source key, by which rows could be counted"
        elif not table.primary_key or not set(table.primary_key) <= set(written):
            reasons[table.name] = (
                "its primary key is not among what is written, so nothing could be read back"
            )
    return reasons


# ------------------------------------------------------------------------------------- encoding


@dataclass(frozen=True, slots=True)
class _CopiedTable:
    layout: TableLayout
    pick: tuple[int, ...] | None
    texts: Texts

    def encode(self, rows: Sequence[Row]) -> tuple[Sequence[Row] | Unstorable, int]:
        if not rows:
            return (), 0
        out = picked(rows, self.pick)
        return self.texts.unstorable_in(out) or out, values_bytes(self.layout, out)


@dataclass(frozen=True, slots=True)
class BulkEncoder(LayoutEncoder):
    """Rows for bulk copy: a list of tuples of canonical values per table, or JSON for the tables that are
    written by OPENJSON.  Picklable, thread-safe.  Texts that must not be stored are found as elsewhere."""

    tables: tuple[JsonTable | _CopiedTable, ...]

    @classmethod
    def of(cls, plan: Plan, by_json: Collection[str]) -> BulkEncoder:
        """Build the encoder of a plan's rows."""
        return cls(
            tuple(
                JsonTable.of(table)
                if table.name in by_json
                else _CopiedTable(
                    value_layout(table, Layout.CANONICAL, checks_text=True), pick_of(table), Texts.of(table)
                )
                for table in plan.tables
            )
        )

    @property
    def layouts(self) -> tuple[TableLayout | None, ...]:
        """Tuples of canonical values, or JSON."""
        return tuple(table.layout for table in self.tables)

    def encode_table(self, index: int, rows: Sequence[Row]) -> tuple[Any, int]:
        """Return (tuples, JSON or :class:`Unstorable`, estimate of their size in bytes)."""
        return self.tables[index].encode(rows)


# ------------------------------------------------------------------------------------- writing

_lost: Final[Counter[str]] = Counter()
"""Connections lost in the middle of a copy, by load (:attr:`.path_choice.PathChoice.load`)."""

_careful: Final[Counter[str]] = Counter()
"""Writes that are still to go by OPENJSON, by load."""


def is_trusted(load: str) -> bool:
    """Whether a load, in this process, has found nothing against bulk copy so far.  Thread-safe."""
    return _lost[load] < MOST_LOST


class BulkCopyWriter:
    """Writes rows by bulk copy, parents' tables first.  One session's; see the module's text.

    Args:
        by_json: writes the tables that bulk copy does not serve, and all tables once it is given up.
        load: what :func:`is_trusted` is asked about.
        schema: of tables named without one.
        keep_identity: tables into whose identity column the contract puts values.
        counts_rows: whether @@ROWCOUNT can be relied upon (:class:`Service`).
        avoid_lock_escalation: keep each statement below the rows at which a table is locked as a whole.
    """

    def __init__(
        self,
        by_json: RowWriter,
        *,
        load: str,
        counts_rows: bool,
        schema: str | None,
        keep_identity: Collection[str],
        avoid_lock_escalation: bool,
        timeout_seconds: float,
    ) -> None:
        self.table_seconds: dict[str, float] = {}
        self._by_json = by_json
        self._load = load
        self._counts_rows = counts_rows
        self._schema = schema
        self._rows_per_statement = LOCK_ESCALATION_ROWS if avoid_lock_escalation else 0
        self._timeout_seconds = timeout_seconds
        self._keep_identity = frozenset(keep_identity)
        self._verified: set[str] = set()

    def write_tables(self, wire: Wire, tables: Sequence[tuple[Table, Sequence[Any]]]) -> list[int]:
        """Insert the rows of several tables; see :class:`RowWriter`.

        Raises:
            BulkCopyMisread: the copy failed by no fault of the data, or what was stored is not what was
                given; the transaction has to be rolled back, and the next attempt goes by OPENJSON.
        """
        in_bulk = isinstance(wire, CoreWire) and is_trusted(self._load) and not _careful[self._load]
        if _careful[self._load]:
            _careful[self._load] -= 1
        self.table_seconds.clear()
        counts: list[int] = []
        waiting: list[tuple[Table, Sequence[Any]]] = []  # tables for OPENJSON, which takes several at once
        for table, pieces in tables:
            given = storable(pieces)
            if given and isinstance(given[0], str):
                waiting.append((table, given))
            elif not in_bulk:
                to_json = JsonTable.of(table)
                waiting.append((table, [to_json.fragment(rows) for rows in given]))
            else:
                assert isinstance(wire, CoreWire)
                counts += self._flushed(wire, waiting)
                started = perf_counter()
                try:
                    counts.append(self._copy(wire, table, list(chain.from_iterable(given))))
                except BulkCopyMisread:
                    raise
                except Exception as error:  # a copy may also fail with the statement after it
                    self._judge(error, table)
                    raise
                self.table_seconds[table.name] = perf_counter() - started
        return counts + self._flushed(wire, waiting)

    def _flushed(self, wire: Wire, waiting: list[tuple[Table, Sequence[Any]]]) -> list[int]:
        if not waiting:
            return []
        counts = self._by_json.write_tables(wire, waiting)
        waiting.clear()
        return counts

    def _copy(self, wire: CoreWire, table: Table, rows: list[Row]) -> int:
        name = quote_table(table.name, self._schema)
        columns = [table.columns[i].name for i in written_columns(table)]
        step = self._rows_per_statement or len(rows)
        count = 0
        for first in range(0, len(rows), step):
            wire.bulk_copy(
                name,
                columns,
                rows[first : first + step],
                timeout_seconds=self._timeout_seconds,
                keep_identity=table.name in self._keep_identity,
            )
            if self._counts_rows:
                # The library returns what it sent; this is what the server took.
                count += int(wire.query("SELECT @@ROWCOUNT")[0][0])
        if not self._counts_rows:
            count = self._counted(wire, name, table, rows)
            if count != len(rows):
                # Rows of another source may carry the same keys: OPENJSON counts its own.
                raise self._gives_up(
                    f"{table.name} holds {count} rows of the documents that brought {len(rows)}, and this "
                    "server does not tell how many a bulk copy added"
                )
        if table.name not in self._verified:
            self._verify(wire, name, table, rows)
            self._verified.add(table.name)
        return count

    def _counted(self, wire: CoreWire, name: str, table: Table, rows: Sequence[Row]) -> int:
        """Return how many rows of these rows' documents the table holds."""
        assert table.key_column is not None
        column = table.columns[table.key_column]
        position = written_columns(table).index(table.key_column)
        total = 0
        keys = sorted({row[position] for row in rows})  # type: ignore[type-var]
        for first in range(0, len(keys), COUNTED_KEYS):
            listed = ", ".join(
                # Constants of integers are compared as they are; texts have to have the column's type.
                literal(key)
                if column.type.family is Family.INTEGER
                else f"CAST({literal(key)} AS {column_type(column.type)})"
                for key in keys[first : first + COUNTED_KEYS]
            )
            sql = f"SELECT COUNT_BIG(*) FROM {name} WHERE {quote_identifier(column.name)} IN ({listed})"
            total += int(wire.query(sql)[0][0])
        return total

    def _verify(self, wire: CoreWire, name: str, table: Table, rows: Sequence[Row]) -> None:
        """Read some of the rows back by their primary keys and compare every value."""
        written = written_columns(table)
        kinds = [table.columns[i].type for i in written]
        columns = [quote_identifier(table.columns[i].name) for i in written]
        keys = [written.index(i) for i in table.primary_key]
        step = max(1, len(rows) // VERIFIED_ROWS)
        sample = rows[::step][:VERIFIED_ROWS]
        conditions = " OR ".join(
            "("
            + " AND ".join(f"{columns[i]} = CAST({literal(row[i])} AS {column_type(kinds[i])})" for i in keys)
            + ")"
            for row in sample
        )
        selected = ", ".join(_selected(kind, column) for kind, column in zip(kinds, columns, strict=True))
        found = wire.query(f"SELECT {selected} FROM {name} WHERE {conditions}")

        def compared(row: Sequence[Any]) -> tuple[Any, ...]:
            return tuple(_comparable(kind, value) for kind, value in zip(kinds, row, strict=True))

        if {*map(compared, found)} != {*map(compared, sample)}:
            raise self._gives_up(f"bulk copy into {table.name} stored other values than it was given")

    def _judge(self, error: Exception, table: Table) -> None:
        """Draw conclusions from a copy that failed.

        Raises:
            BulkCopyMisread: it is the copy's own fault, as far as can be told.
        """
        fault = classify(error, "SQL Server")
        if fault.kind is FaultKind.FATAL:
            raise self._gives_up(f"bulk copy into {table.name} fails: {fault.message}") from error
        if fault.kind is FaultKind.DATA:
            _careful[self._load] = CAREFUL_WRITES
        if fault.kind is FaultKind.DISCONNECTED:
            _lost[self._load] += 1
            if not is_trusted(self._load):
                logger.warning("%d connections were lost in bulk copies; %s", MOST_LOST, _GOES_ON)

    def _gives_up(self, why: str) -> BulkCopyMisread:
        _lost[self._load] += MOST_LOST
        logger.warning("%s; nothing of it is kept, and %s", why, _GOES_ON)
        return BulkCopyMisread(why)


_GOES_ON: Final = "this load goes on by OPENJSON. --insert-path openjson does so from the start"
