"""One open SQL Server connection.

Every call is bounded twice: the driver cancels a statement that takes too long on a server that lives, and
the session gives up a call that does not come back at all (:mod:`.driver_thread`).

The connection is in autocommit mode and transactions are statements, so that the driver begins none by
itself.  XACT_ABORT is on: any error undoes the whole transaction, on the server, at once.  What is run
after that would be committed statement by statement, so after a failure inside a transaction the session
refuses everything but :meth:`~MssqlSession.rollback`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from time import perf_counter
from typing import Any, Final, TypeVar

from xml_extractor import failpoints
from xml_extractor.contract.plan import SourcePlan, Table
from xml_extractor.engines import checks
from xml_extractor.engines.base import STREAM_ROWS, EngineOptions, Fault, FaultKind, Session, Written
from xml_extractor.engines.mssql import catalogue, names
from xml_extractor.engines.mssql.claims import Claims, Json
from xml_extractor.engines.mssql.driver_thread import DriverThread
from xml_extractor.engines.mssql.errors import ClaimConflict, CoreFailure, SessionError
from xml_extractor.engines.mssql.insert_paths import RowWriter
from xml_extractor.engines.mssql.key_pages import SourceTable
from xml_extractor.engines.mssql.wires import Wire
from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import Key, SourceDocument

T = TypeVar("T")

GRACE_SECONDS: Final = 2.0
"""How much longer than the driver's own time limit the session waits, so that a server that lives can say
why it gave up."""

_SETTINGS: Final = (
    # The server needs these as they are for indexed views, computed columns and filtered indexes, and with
    # them the same SQL means the same under every login's and database's defaults.
    "SET ANSI_NULLS, ANSI_PADDING, ANSI_WARNINGS, ARITHABORT, CONCAT_NULL_YIELDS_NULL, QUOTED_IDENTIFIER ON;",
    "SET NUMERIC_ROUNDABORT, IMPLICIT_TRANSACTIONS, NOCOUNT OFF;",
    "SET XACT_ABORT ON;",
    "SET ROWCOUNT 0;",
    "SET TEXTSIZE 2147483647;",
    # The server's messages are read for the names in them; the language comes first, as it sets DATEFORMAT.
    "SET LANGUAGE us_english;",
    "SET DATEFORMAT ymd;",
    # A loader tries again; whoever else is in a deadlock with it may not.
    "SET DEADLOCK_PRIORITY LOW;",
)


class ReadOnlySession(SessionError):
    """A session that was opened for reading was asked to write."""

    kind = FaultKind.FATAL
    code = "read_only"


class FailedTransaction(SessionError):
    """A statement was run in a transaction that had failed and was not rolled back."""

    kind = FaultKind.FATAL
    code = "failed_transaction"


class MssqlSession(Session):
    """See :class:`xml_extractor.engines.base.Session`.

    Args:
        connect: opens the connection; called in the thread that is going to use it.
        write: whether anything may be written.
        row_writer: makes what :meth:`write_tables` writes by, out of what this server's OPENJSON does not
            keep (:func:`.openjson.openjson_gaps`).
        classify: :meth:`Engine.classify`.
    """

    count = "COUNT_BIG(*)"  # COUNT is an int, and fails beyond 2,147,483,647

    def __init__(
        self,
        connect: Callable[[], Wire],
        *,
        application: str,
        write: bool,
        options: EngineOptions,
        row_writer: Callable[[frozenset[str]], RowWriter],
        classify: Callable[[BaseException], Fault],
    ) -> None:
        self._options = options
        self._write = write
        self._row_writer = row_writer
        self._writer: RowWriter | None = None
        self._classify = classify
        self._in_transaction = False
        self._failed = False
        self._tables: dict[str, checks.ExistingTable] = {}
        self._sources: dict[SourcePlan, SourceTable] = {}
        self._claims: dict[str, Claims] = {}
        self._json: Json | None = None
        self._seconds = options.limits.statement_seconds + GRACE_SECONDS
        self._driver = DriverThread(application)
        try:
            self._wire = self._driver.open(connect, options.limits.connect_seconds + GRACE_SECONDS)
            self.driver = self._wire.driver
            self._prepare()
        except BaseException:
            self._driver.close()
            raise

    def _prepare(self) -> None:
        limits = self._options.limits
        # -1: as long as the statement may take.
        milliseconds = -1 if limits.lock_seconds is None else max(1, round(limits.lock_seconds * 1000))
        snapshot = self._options.snapshot and not self._write
        level = "SNAPSHOT" if snapshot else "READ COMMITTED"
        self._run(
            lambda: self._wire.execute(
                " ".join(
                    (
                        *_SETTINGS,
                        f"SET LOCK_TIMEOUT {milliseconds};",
                        f"SET TRANSACTION ISOLATION LEVEL {level};",
                    )
                )
            )
        )
        if snapshot:
            # Without this the first SELECT would fail, in the server's words.
            rows = self.query(
                "SELECT snapshot_isolation_state FROM sys.databases WHERE database_id = DB_ID()"
            )
            if not rows or int(rows[0][0]) != 1:
                raise UsageError(
                    "the source database does not allow snapshots: ALTER DATABASE … SET "
                    "ALLOW_SNAPSHOT_ISOLATION ON, or leave the snapshot option out"
                )

    # ---- waiting

    def _run(self, call: Callable[[], T], seconds: float | None = None) -> T:
        """Have one call made, under the time limit; a failure inside a transaction ends the transaction."""
        if self._failed and not self._driver.stopped:
            raise FailedTransaction("the transaction has failed; roll it back first")
        try:
            return self._driver.call(call, self._seconds if seconds is None else seconds)
        except BaseException:
            self._failed = self._in_transaction
            raise

    def _writing(self) -> None:
        if not self._write:
            raise ReadOnlySession("this is a read-only session")

    def abort(self) -> None:
        """Give the present statement up, from any thread: whoever waits for it fails at once.

        The connection is closed as soon as the driver lets go of it.
        """
        self._driver.abandon()

    def close(self) -> None:
        """Close the connection; never raises."""
        self._driver.close()

    @property
    def round_trips(self) -> int:
        """Requests that waited for an answer, since the connection was opened; for the benchmarks."""
        return self._wire.round_trips

    # ---- statements

    def table(self, name: str) -> str:
        """Return a table's name, quoted, in the schema that was set."""
        return names.quote_table(name, self._options.schema)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT and return all its rows; see :class:`.wires.Wire` for their values."""
        return self._run(lambda: self._wire.query(sql, parameters))

    def stream(
        self, sql: str, parameters: Sequence[Any] = (), *, rows_per_chunk: int = STREAM_ROWS
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a SELECT in lists; see :meth:`Session.stream`."""
        unread = self._run(lambda: self._wire.rows(sql, parameters))
        try:
            while rows := self._run(lambda: unread.fetch(rows_per_chunk)):
                yield rows
        finally:
            # In the driver's thread, and not when that was left behind: it may still be in a call.
            if not self._driver.stopped:
                self._driver.call(unread.close, self._seconds)

    def first_rows(self, sql: str, parameters: Sequence[Any], most: int) -> list[tuple[Any, ...]]:
        """Run a SELECT that ends with its ORDER BY, and return its first rows."""
        return self.query(f"{sql} OFFSET 0 ROWS FETCH NEXT {most} ROWS ONLY", parameters)

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it touched."""
        self._writing()
        return self._run(lambda: self._wire.execute(sql, parameters))

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per parameter tuple; all or none of them outside a transaction too."""
        self._in_one_transaction(lambda: self._wire.execute_many(sql, parameters))

    def _in_one_transaction(self, call: Callable[[], T]) -> T:
        """Have a call made in a transaction: the one that is open, else one of its own."""
        own = not self._in_transaction
        if own:
            self.begin()
        try:
            result = self._run(call)
            if own:
                self.commit()
        except BaseException:
            if own:
                self.rollback()
            raise
        return result

    def begin(self) -> None:
        """Start a transaction."""
        self._writing()
        if self._in_transaction:
            raise FailedTransaction("a transaction is open already")
        self._learn_json()
        self._run(lambda: self._wire.execute("BEGIN TRANSACTION"))
        self._in_transaction = True

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            Exception: the driver's; also where the server has no transaction any more.
        """
        self._run(lambda: self._wire.execute("COMMIT TRANSACTION"))
        self._in_transaction = False

    def rollback(self) -> None:
        """Roll back whatever is open; harmless when nothing is, or when the connection is lost (the
        server has rolled back then)."""
        if not self._in_transaction:
            return
        self._in_transaction = self._failed = False
        try:
            self._run(lambda: self._wire.execute("IF @@TRANCOUNT > 0 ROLLBACK TRANSACTION"))
        except CoreFailure:
            raise  # after a copy that failed: the caller is to connect anew
        except Exception as error:
            if self._classify(error).kind is not FaultKind.DISCONNECTED:
                raise

    # ---- what the catalogue says

    def _existing(self, table: str) -> checks.ExistingTable:
        found = self._tables.get(table)
        if found is None:
            described = catalogue.describe(self, table, self._options.schema)
            if described is None:
                raise UsageError(f"there is no table {table}, or the login may not see it")
            found = self._tables[table] = described
        return found

    def _source(self, source: SourcePlan) -> SourceTable:
        found = self._sources.get(source)
        if found is None:
            found = self._sources[source] = SourceTable(
                source, self.table(source.table), self._existing(source.table)
            )
        return found

    def _claims_on(self, table: str) -> Claims:
        found = self._claims.get(table)
        if found is None:
            found = self._claims[table] = Claims(
                self.query,
                self._learn_json(),
                self.table(table),
                self._existing(table),
                avoid_lock_escalation=self._options.avoid_lock_escalation,
            )
        return found

    def _learn_json(self) -> Json:
        """What OPENJSON is good for here; asked before a transaction, which a refusal would undo."""
        if self._json is None:
            self._json = Json.of(self)
        return self._json

    def table_names(self) -> Collection[str]:
        """Return the names of the tables and views in the default schema."""
        schema = self._options.schema
        rows = self.query(
            "SELECT name FROM sys.objects WHERE type IN ('U', 'V') AND schema_id = "
            + ("SCHEMA_ID()" if schema is None else "SCHEMA_ID(?)"),
            () if schema is None else (schema,),
        )
        return {name for (name,) in rows}

    # ---- source side

    def key_page(
        self, source: SourcePlan, after: Key | None, start: Key | None, end: Key | None, limit: int
    ) -> list[Key | None]:
        """Return up to ``limit`` keys in the order of the key column's type and collation."""
        return self._source(source).key_page(self.query, after, start, end, limit)

    def count_keys(self, source: SourcePlan, start: Key | None, end: Key | None) -> int:
        """Return the number of source rows from ``start`` to ``end`` inclusive."""
        return self._source(source).count_keys(self.query, start, end)

    def last_key(self, source: SourcePlan, start: Key | None, end: Key | None) -> Key | None:
        """Return the last key from ``start`` to ``end`` inclusive."""
        return self._source(source).last_key(self.query, start, end)

    def documents(
        self, source: SourcePlan, keys: Sequence[Key], most_bytes: int | None = None
    ) -> list[SourceDocument]:
        """Return the documents with these keys, in key order."""
        return self._source(source).documents(self.query, keys, most_bytes)

    # ---- target side

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
        """Insert rows whose key is not there yet; return the keys that are.

        Raises:
            ClaimConflict: another session committed one of the keys in the meantime; the transaction is
                undone and is to be tried again, and will then see it.
        """
        self._writing()
        if not rows:
            return set()
        claims = self._claims_on(table)
        try:
            return claims.insert_new(columns, rows)
        except Exception as error:
            if self._classify(error).code != "unique_violation" or not self._is_taken(
                claims, columns[0], rows
            ):
                raise
            raise ClaimConflict(
                f"another session has put rows with the same keys into {table} in the meantime"
            ) from error

    def _is_taken(self, claims: Claims, key: str, rows: Sequence[Sequence[Any]]) -> bool:
        """Whether any of the keys is in the table now; else some other index refused the rows."""
        in_transaction = self._in_transaction
        self.rollback()
        try:
            return bool(claims.existing((key,), key, [row[0] for row in rows]))
        finally:
            # The caller knows of a transaction, and that it failed; it is to roll it back.
            self._in_transaction = self._failed = in_transaction

    def existing(
        self, table: str, columns: Sequence[str], key_column: str, keys: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """Return ``columns`` of the rows with these keys."""
        if not keys:
            return []
        return self._claims_on(table).existing(columns, key_column, keys)

    def count_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> dict[Any, int]:
        """Return key → number of rows."""
        return self._claims_on(table).counts(key_column, keys) if keys else {}

    def delete_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> int:
        """Delete the rows with these keys."""
        self._writing()
        return self._claims_on(table).delete(key_column, keys) if keys else 0

    def write_rows(self, table: Table, encoded: Sequence[Any]) -> int:
        """Insert one table's encoded rows."""
        return self.write_tables([(table, encoded)])[0].rows

    def write_tables(self, tables: Sequence[tuple[Table, Sequence[Any]]]) -> list[Written]:
        """Insert the encoded rows of several tables, parents first, by the insert path.

        The time of what OPENJSON writes is divided by rows, as it takes all tables in one request.
        """
        self._writing()
        writer = self._writer
        if writer is None:
            writer = self._writer = self._row_writer(self._learn_json().gaps)
        failpoints.hit("between_tables", self)
        started = perf_counter()
        inserted = self._in_one_transaction(lambda: writer.write_tables(self._wire, tables))
        seconds = perf_counter() - started
        failpoints.hit("between_tables", self)
        known = writer.table_seconds
        names = [table.name for table, _ in tables]
        others = sum(rows for name, rows in zip(names, inserted, strict=True) if name not in known)
        per_row = max(0.0, seconds - sum(known.values())) / max(1, others)
        return [
            Written(rows, known.get(name, rows * per_row)) for name, rows in zip(names, inserted, strict=True)
        ]
