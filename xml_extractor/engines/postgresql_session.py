"""One open PostgreSQL connection (psycopg 3).

Every call is bounded twice: by the server's ``statement_timeout``, and by this process's watchdog, which
shuts the socket down when not even the server answers.  The shutdown is done on a duplicate of the
socket that the session keeps for itself, so that it can never hit a file number that has been given to
somebody else in the meantime.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any, Final, TypeVar

import psycopg
from psycopg.adapt import Loader
from psycopg.pq import TransactionStatus

from xml_extractor.contract.plan import SourcePlan, Table
from xml_extractor.engines.base import STREAM_ROWS, Session, TimeLimits
from xml_extractor.engines.ddl import quote_identifier, split_name
from xml_extractor.engines.encoding import written_columns
from xml_extractor.engines.markers import split_at_markers
from xml_extractor.engines.postgresql_arrays import array_text
from xml_extractor.engines.postgresql_copy import copy_all
from xml_extractor.engines.postgresql_documents import DocumentReading
from xml_extractor.engines.postgresql_errors import Aborted, NoAnswer, copied_line
from xml_extractor.engines.watchdog import WATCHDOG
from xml_extractor.mapping.records import Key, SourceDocument

T = TypeVar("T")

GRACE_SECONDS: Final = 2.0
"""How much longer than the server's own time limit the watchdog waits, so that a server that lives can
say why it gave up."""

COPY_PIECES: Final = 256
"""Documents whose rows are joined into one message to the server: few calls, and no second copy of a whole
batch in memory."""

COPY_FROM_ROWS: Final = 16
"""Fewer rows than this are inserted by one statement: one round trip to the server instead of four."""

CALLS_WITHOUT_COPY: Final = 16
"""After one that failed: it then costs a tenth of what inserting does, where all calls meet keys."""

KEYS_AT_ONCE: Final = 10_000
_INTEGERS: Final = frozenset({"smallint", "integer", "bigint"})
_TEXTS: Final = frozenset({"text", "character varying", "bpchar", "name", "citext"})


class _TextLoader(Loader):
    """Gives a value as the server's text, which is the canonical form of temporals and GUIDs here."""

    def load(self, data: Any) -> str:
        return bytes(data).decode()


class PostgresqlSession(Session):
    """See :class:`xml_extractor.engines.base.Session`."""

    def __init__(
        self,
        connection: psycopg.Connection[tuple[Any, ...]],
        *,
        write: bool,
        limits: TimeLimits,
        schema: str | None,
    ) -> None:
        """Prepare a connection that has just been opened in autocommit mode."""
        libpq = psycopg.pq.version_pretty(psycopg.pq.version())
        self.driver = f"psycopg {psycopg.__version__}, libpq {libpq}"
        self._connection = connection
        self._limits = limits
        self.deadline = 0.0
        self._expired = False
        self._aborted = False
        self._gate = threading.Lock()  # guards _socket between abort() and close()
        # The family does not matter: the duplicate is only ever shut down.
        self._socket: socket.socket | None = socket.fromfd(
            connection.fileno(), socket.AF_INET, socket.SOCK_STREAM
        )
        self._types: dict[tuple[str, str], str] = {}
        self._readings: dict[SourcePlan, DocumentReading] = {}
        self._copies: dict[str, str] = {}
        self._no_copies = 0  # calls of insert_mostly_new that are not to try COPY
        self._stopped = False
        connection.cursor_factory = psycopg.RawCursor
        # Statements here are few and large: preparing them gains nothing, and poolers need not support it.
        connection.prepare_threshold = None
        for name in ("date", "time", "timetz", "timestamp", "timestamptz", "interval", "uuid"):
            connection.adapters.register_loader(name, _TextLoader)
        WATCHDOG.watch(self)
        try:
            settings = {
                "statement_timeout": str(max(1, int(limits.statement_seconds * 1000))),
                "DateStyle": "ISO, YMD",
                "extra_float_digits": "1",
                "bytea_output": "hex",
                "standard_conforming_strings": "on",
                # Streams are read to their end: plan them for that, and not for the first tenth of the rows.
                "cursor_tuple_fraction": "1",
            }
            if schema is not None:
                settings["search_path"] = quote_identifier(schema)
            if not write:
                settings["default_transaction_read_only"] = "on"
            calls = ", ".join(f"set_config(${2 * i + 1}, ${2 * i + 2}, false)" for i in range(len(settings)))
            self._run(
                lambda: self._connection.execute(
                    f"SELECT {calls}", [text for pair in settings.items() for text in pair]
                )
            )
        except BaseException:
            self.close()
            raise

    # ---- waiting

    def _run(self, call: Callable[[], T]) -> T:
        """Run one call under the time limits."""
        if self._stopped:
            raise self._stop_error()
        self.deadline = time.monotonic() + self._limits.statement_seconds + GRACE_SECONDS
        try:
            return call()
        except psycopg.Error as error:
            if self._stopped:
                raise self._stop_error() from error
            raise
        finally:
            self.deadline = 0.0

    def _stop_error(self) -> psycopg.OperationalError:
        if self._expired:
            return NoAnswer(f"no answer within {self._limits.statement_seconds + GRACE_SECONDS:g} s")
        return Aborted("the session was aborted")

    def expire(self) -> None:
        """Give up the statement that is past its deadline (the watchdog's call)."""
        self._expired = True
        self.abort()

    def abort(self) -> None:
        """Shut the connection's socket down: whoever waits on it fails at once."""
        self._stopped = True
        with self._gate:
            if self._socket is not None:
                with contextlib.suppress(OSError):
                    self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Close the connection; never raises."""
        WATCHDOG.release(self)
        with contextlib.suppress(Exception):
            self._connection.close()
        with self._gate:
            if self._socket is not None:
                self._socket.close()
                self._socket = None

    # ---- statements

    def table(self, name: str) -> str:
        """Return a table's name, quoted."""
        return quote_table(name)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT and return all its rows.

        Dates, times and GUIDs come as text, as they do from SQLite (fractions of a second without trailing
        zeros); decimals as ``Decimal``, bit as ``bool``.
        """
        return self._run(
            lambda: self._connection.execute(numbered(sql), tuple(parameters) or None).fetchall()
        )

    def stream(
        self, sql: str, parameters: Sequence[Any] = (), *, rows_per_chunk: int = STREAM_ROWS
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a SELECT in lists, out of a cursor that the server keeps; see
        :meth:`Session.stream`."""
        own = self._connection.info.transaction_status is TransactionStatus.IDLE
        if own:
            self._run(lambda: self._connection.execute("BEGIN READ ONLY"))
        try:
            declared = f"DECLARE load_stream NO SCROLL CURSOR FOR {numbered(sql)}"
            self._run(lambda: self._connection.execute(declared, tuple(parameters) or None))
            while rows := self.query(f"FETCH FORWARD {rows_per_chunk} FROM load_stream"):
                yield rows
        finally:
            if own:  # the cursor goes with its transaction
                self.rollback()
            elif self._connection.info.transaction_status is TransactionStatus.INTRANS and not self._stopped:
                self._run(lambda: self._connection.execute("CLOSE load_stream"))

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it touched."""
        return self._run(
            lambda: max(self._connection.execute(numbered(sql), tuple(parameters) or None).rowcount, 0)
        )

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per parameter tuple; all or none of them outside a transaction too."""

        def run() -> None:
            with self._transaction(), self._connection.cursor() as cursor:
                cursor.executemany(numbered(sql), parameters)

        self._run(run)

    def begin(self) -> None:
        """Start a transaction."""
        self._run(lambda: self._connection.execute("BEGIN"))

    def commit(self) -> None:
        """Commit the transaction.

        Raises:
            psycopg.Error: also where the server answers with ROLLBACK, because a statement had failed.
        """
        status = self._run(lambda: self._connection.execute("COMMIT").statusmessage)
        if status != "COMMIT":
            raise psycopg.errors.InFailedSqlTransaction(f"COMMIT was answered with {status}")

    def rollback(self) -> None:
        """Roll back whatever is open; harmless when nothing is, or when the connection is lost (the
        server has rolled back then)."""
        if self._stopped or self._connection.closed:
            return
        if self._connection.info.transaction_status is TransactionStatus.IDLE:
            return
        with contextlib.suppress(psycopg.OperationalError):
            self._run(lambda: self._connection.execute("ROLLBACK"))

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[None]:
        """A transaction around several statements, unless the caller has one open."""
        if self._connection.info.transaction_status is not TransactionStatus.IDLE:
            yield
            return
        self._connection.execute("BEGIN")
        try:
            yield
        except BaseException:
            self.rollback()
            raise
        self._connection.execute("COMMIT")

    def _type(self, table: str, column: str) -> str:
        """The type of a column, without its length, as a cast names it."""
        found = self._types.get((table, column))
        if found is None:
            rows = self.query(
                # -1: "bpchar" and not "character", which as a cast would mean character(1).
                "SELECT format_type(atttypid, -1) FROM pg_attribute "
                "WHERE attrelid = to_regclass(?) AND attname = ? AND NOT attisdropped",
                (quote_table(table), column),
            )
            if not rows:
                raise psycopg.errors.UndefinedColumn(f"there is no column {table}.{column}")
            found = self._types[table, column] = rows[0][0]
        return found

    def _key_type(self, source: SourcePlan) -> str:
        """The type that keys are compared as: bigint for all integers (an index on a shorter one serves it
        too, and a bound beyond the shorter type's range is no error)."""
        name = self._type(source.table, source.key)
        return "bigint" if name in _INTEGERS else name

    # ---- source side

    def key_page(
        self, source: SourcePlan, after: Key | None, start: Key | None, end: Key | None, limit: int
    ) -> list[Key | None]:
        """Return up to ``limit`` keys in key order.  NULL sorts last, and is outside of any range.

        Text keys are compared and sorted by COLLATE "C", which no locale, no version of the system's
        library and no collation that takes two keys for one can change.  An index of another collation
        does not serve that: on a large table with text keys one on ``(key COLLATE "C")`` pays.
        """
        where, parameters, key = self._range(source, after, start, end)
        sql = (
            f"SELECT {quote_identifier(source.key)} FROM {quote_table(source.table)}{where} "
            f"ORDER BY {key} LIMIT {int(limit)}"
        )
        rows = self._run(lambda: self._connection.execute(sql, parameters or None).fetchall())
        return [value for (value,) in rows]

    def count_keys(self, source: SourcePlan, start: Key | None, end: Key | None) -> int:
        """Return the number of source rows from ``start`` to ``end`` inclusive."""
        where, parameters, _ = self._range(source, None, start, end)
        sql = f"SELECT count(*) FROM {quote_table(source.table)}{where}"
        rows = self._run(lambda: self._connection.execute(sql, parameters or None).fetchall())
        count: int = rows[0][0]
        return count

    def last_key(self, source: SourcePlan, start: Key | None, end: Key | None) -> Key | None:
        """Return the last key from ``start`` to ``end`` inclusive; NULLs are passed over."""
        where, parameters, key = self._range(source, None, start, end)
        where += f"{' AND' if where else ' WHERE'} {key} IS NOT NULL"
        # The reverse of key_page's order, so that its index serves; without a NULL it is the same order.
        sql = (
            f"SELECT {quote_identifier(source.key)} FROM {quote_table(source.table)}{where} "
            f"ORDER BY {key} DESC LIMIT 1"
        )
        rows = self._run(lambda: self._connection.execute(sql, parameters or None).fetchall())
        return rows[0][0] if rows else None

    def _range(
        self, source: SourcePlan, after: Key | None, start: Key | None, end: Key | None
    ) -> tuple[str, list[Any], str]:
        """The WHERE clause of a range of keys, its parameters, and the key as it is sorted."""
        cast = self._key_type(source)
        key = quote_identifier(source.key) + (' COLLATE "C"' if cast in _TEXTS else "")
        conditions = [f"({source.where})"] if source.where else []
        parameters: list[Any] = []
        for operator, bound in ((">", after), (">=", start), ("<=", end)):
            if bound is not None:
                parameters.append(bound)
                conditions.append(f"{key} {operator} ${len(parameters)}::{cast}")
        return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), parameters, key

    def documents(
        self, source: SourcePlan, keys: Sequence[Key], most_bytes: int | None = None
    ) -> list[SourceDocument]:
        """Return the documents with these keys, in key order."""
        reading = self._readings.get(source)
        if reading is None:
            key_type = self._key_type(source)
            reading = self._readings[source] = DocumentReading(
                self._connection,
                source,
                quote_table(source.table),
                key_type=key_type,
                document_type=self._type(source.table, source.document),
                column_types=[self._type(source.table, name) for name in source.columns],
                collation=' COLLATE "C"' if key_type in _TEXTS else "",
                run=self._run,
            )
        return reading.read(keys, most_bytes)

    # ---- target side

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
        """Insert rows whose key is not there yet, in one statement; return the keys that are."""
        if not rows:
            return set()
        names = ", ".join(quote_identifier(name) for name in columns)
        arrays = ", ".join(f"${i + 1}::{self._type(table, name)}[]" for i, name in enumerate(columns))
        key = quote_identifier(columns[0])
        # Sorted by the order given, so that two loaders take the keys' locks in the same order.
        sql = (
            f"INSERT INTO {quote_table(table)} ({names}) "
            f"SELECT {names} FROM unnest({arrays}) WITH ORDINALITY AS given({names}, load_ordinality) "
            f"ORDER BY load_ordinality ON CONFLICT ({key}) DO NOTHING RETURNING {key}"
        )
        parameters = [array_text(column) for column in zip(*rows, strict=True)]
        inserted = {row[0] for row in self._run(lambda: self._connection.execute(sql, parameters).fetchall())}
        return {row[0] for row in rows} - inserted

    def insert_mostly_new(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> set[Any]:
        """Try COPY first, which takes all rows or none: it costs client and server half of what
        :meth:`insert_new` does, takes the keys' locks in the same order, and waits for them likewise.

        Where it has met a key that is there, the next calls do without: another loader is probably at the
        same documents, and rows that COPY has to take back leave dead ones behind.
        """
        if len(rows) < COPY_FROM_ROWS or self._no_copies:
            self._no_copies = max(0, self._no_copies - 1)
            return self.insert_new(table, columns, rows)
        sql = _copy_sql(table, columns)
        if self._run(lambda: copy_all(self._connection, sql, rows)):
            return set()
        self._no_copies = CALLS_WITHOUT_COPY
        return self.insert_new(table, columns, rows)

    def existing(
        self, table: str, columns: Sequence[str], key_column: str, keys: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """Return ``columns`` of the rows with these keys."""
        names = ", ".join(quote_identifier(name) for name in columns)
        found: list[tuple[Any, ...]] = []
        for chunk, condition in self._key_lists(table, key_column, keys):
            found.extend(self.query(f"SELECT {names} FROM {quote_table(table)} WHERE {condition}", chunk))
        return found

    def count_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> dict[Any, int]:
        """Return key → number of rows."""
        column = quote_identifier(key_column)
        sql = f"SELECT {column}, count(*) FROM {quote_table(table)} WHERE {{}} GROUP BY {column}"
        counts: dict[Any, int] = {}
        for chunk, condition in self._key_lists(table, key_column, keys):
            counts.update(self.query(sql.format(condition), chunk))
        return counts

    def delete_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> int:
        """Delete the rows with these keys."""
        return sum(
            self.execute(f"DELETE FROM {quote_table(table)} WHERE {condition}", chunk)
            for chunk, condition in self._key_lists(table, key_column, keys)
        )

    def _key_lists(self, table: str, key_column: str, keys: Sequence[Any]) -> Iterator[tuple[list[str], str]]:
        """Cut keys into lists; yield each as parameters, with the condition that a key is one of them."""
        if keys:
            condition = f"{quote_identifier(key_column)} = ANY (?::{self._type(table, key_column)}[])"
            for first in range(0, len(keys), KEYS_AT_ONCE):
                yield [array_text(keys[first : first + KEYS_AT_ONCE])], condition

    def write_rows(self, table: Table, encoded: Sequence[Any]) -> int:
        """Insert one table's rows by COPY: ``encoded`` holds COPY text per document."""
        sql = self._copies.get(table.name)
        if sql is None:
            sql = _copy_sql(table.name, [table.columns[i].name for i in written_columns(table)])
            self._copies[table.name] = sql
        pieces = [piece for piece in encoded if piece]
        if not pieces:
            return 0

        def run() -> int:
            with self._connection.cursor() as cursor:
                with cursor.copy(sql) as copy:
                    for first in range(0, len(pieces), COPY_PIECES):
                        copy.write(b"".join(pieces[first : first + COPY_PIECES]))
                return cursor.rowcount

        self.refused_row = None
        try:
            return self._run(run)
        except psycopg.Error as error:
            line = copied_line(error)
            if line is not None:
                self.refused_row = table.name, line - 1
            raise

    def table_names(self) -> Collection[str]:
        """Return the names of the tables and views in the default schema."""
        rows = self.query(
            "SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname = current_schema() AND c.relkind IN ('r', 'p', 'v', 'm', 'f')"
        )
        return {name for (name,) in rows}


def _copy_sql(table: str, columns: Sequence[str]) -> str:
    names = ", ".join(map(quote_identifier, columns))
    return f"COPY {quote_table(table)} ({names}) FROM STDIN (FORMAT text, ENCODING 'UTF8')"


def quote_table(name: str) -> str:
    """Quote a table name as the contract writes it."""
    return ".".join(quote_identifier(part) for part in split_name(name))


@lru_cache(maxsize=512)
def numbered(sql: str) -> str:
    """Turn ``?`` into ``$1``, ``$2`` …, but not inside of literals, quoted names and comments."""
    first, *rest = split_at_markers(sql)
    return first + "".join(f"${number}{piece}" for number, piece in enumerate(rest, start=1))
