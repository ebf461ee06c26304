"""One open SQLite connection.

Waiting for locks is done here and not by SQLite's own busy handler, which sleeps up to its whole timeout
without looking whether the connection is meant to be broken off.  SQLite waits in short slices, and
between them :meth:`SqliteSession.abort` and the deadline are heeded.
"""

from __future__ import annotations

import contextlib
import platform
import sqlite3
import sys
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial
from itertools import chain
from typing import Any, Final, TypeVar

from xml_extractor.contract.plan import SourcePlan, Table
from xml_extractor.engines.base import STREAM_ROWS, Session, TimeLimits
from xml_extractor.engines.ddl import quote_identifier, split_name
from xml_extractor.engines.encoding import unpickled_values, written_columns
from xml_extractor.engines.sqlite_errors import Aborted, StatementTimeout
from xml_extractor.mapping.records import Key, SourceDocument

T = TypeVar("T")

BUSY_SLICE_MS: Final = 100
BUSY_SECONDS: Final = 10.0
"""How long a lock held by another connection is waited for; then the error is transient and the caller
decides.  A batch commits in far less, so that this is met only where another program holds the file."""

PROGRESS_STEPS: Final = 100_000
"""Virtual machine steps between two looks at the clock: some milliseconds."""

WAL_PAGES: Final = 8192
"""Pages (of 4 KiB) in the write-ahead log before it is folded into the file: 32 MiB instead of SQLite's 4,
so that pages touched by many batches are written home once."""

CACHE_KIB: Final = 32_768
VARIABLES: Final = 900
"""Parameters per statement: SQLite before 3.32 takes no more than 999."""

INSERT_ROWS: Final = 100
"""Rows that one statement inserts: 1.8 us a row of six values instead of 3.3; more gain nothing."""

UNPICKLED_BYTES: Final = 65_536
"""Encoded values that become Python's at once, just before they are inserted: while the processor's cache
still holds them, and without keeping the interpreter's lock for more than some tenths of a millisecond."""


class SqliteSession(Session):
    """See :class:`xml_extractor.engines.base.Session`."""

    def __init__(self, connection: sqlite3.Connection, *, write: bool, limits: TimeLimits) -> None:
        """Prepare a connection that has just been opened in autocommit mode."""
        self.driver = f"sqlite3 of Python {platform.python_version()}"
        self._connection = connection
        self._write = write
        self._limits = limits
        self._aborted = False
        self._deadline = 0.0
        self._inserts: dict[str, tuple[int, int, str, str]] = {}
        self._source_columns: dict[tuple[str, str], str] = {}
        self._is_utf8: bool | None = None  # whether the file holds its text as that; None: not looked at yet
        connection.text_factory = _text
        connection.set_progress_handler(self._progress, PROGRESS_STEPS)
        self._do(lambda: connection.execute(f"PRAGMA busy_timeout = {BUSY_SLICE_MS}"))
        # The first statement that looks into the file: finds out whether it is a database at all.
        self.query("SELECT count(*) FROM sqlite_master")
        if not write:
            self.query("PRAGMA query_only = ON")
            return
        # A reader of the same file (the source) and the writer do not block one another in WAL mode.
        self.query("PRAGMA journal_mode = WAL")
        # NORMAL syncs the log whenever it is folded into the file, and after a power cut the file is whole
        # and the last batches are there together with their ledger rows, or neither.  close() folds the
        # log, so that what a finished run has reported is on the disk.  OFF would let a power cut tear the
        # file; FULL would sync at every commit for nothing that the ledger does not give.
        self.query("PRAGMA synchronous = NORMAL")
        self.query(f"PRAGMA wal_autocheckpoint = {WAL_PAGES}")
        self.query(f"PRAGMA cache_size = -{CACHE_KIB}")
        self.query("PRAGMA temp_store = MEMORY")
        self.query("PRAGMA foreign_keys = ON")

    # ---- waiting

    def _progress(self) -> int:
        return 1 if self._aborted or 0.0 < self._deadline < time.monotonic() else 0

    def _do(self, call: Callable[[], T], *, wait: bool = True) -> T:
        """Run one call under the time limit; with ``wait`` it is repeated while the file is locked."""
        started = time.monotonic()
        self._deadline = started + self._limits.statement_seconds
        give_up = started + min(BUSY_SECONDS, self._limits.statement_seconds)
        try:
            while True:
                if self._aborted:
                    raise Aborted("the session was aborted")
                try:
                    return call()
                except sqlite3.OperationalError as error:
                    name = getattr(error, "sqlite_errorname", "") or ""
                    if name == "SQLITE_INTERRUPT":
                        if self._aborted:
                            raise Aborted("the session was aborted") from error
                        seconds = self._limits.statement_seconds
                        raise StatementTimeout(
                            f"a statement was given up after {seconds:g} s without a result"
                        ) from error
                    # BUSY_SNAPSHOT: waiting cannot help, the transaction has to be started anew.
                    if not wait or name == "SQLITE_BUSY_SNAPSHOT" or not name.startswith("SQLITE_BUSY"):
                        raise
                    if time.monotonic() > give_up:
                        raise
        finally:
            self._deadline = 0.0

    @property
    def _alone(self) -> bool:
        """Whether a statement is a transaction of its own, and can be repeated while the file is locked."""
        return not self._connection.in_transaction

    # ---- statements

    def table(self, name: str) -> str:
        """Return a table's name, quoted."""
        return _quote_table(name)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT and return all its rows."""
        return self._do(lambda: self._connection.execute(sql, parameters).fetchall(), wait=self._alone)

    def stream(
        self, sql: str, parameters: Sequence[Any] = (), *, rows_per_chunk: int = STREAM_ROWS
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Yield the rows of a SELECT in lists; see :meth:`Session.stream`."""
        cursor = self._do(lambda: self._connection.execute(sql, parameters), wait=self._alone)
        try:
            while rows := self._do(lambda: cursor.fetchmany(rows_per_chunk), wait=False):
                yield rows
        finally:
            with contextlib.suppress(sqlite3.ProgrammingError):  # closed with its connection
                cursor.close()

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it touched."""
        return self._do(lambda: max(self._connection.execute(sql, parameters).rowcount, 0), wait=self._alone)

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per parameter tuple; all or none of them outside a transaction too."""
        with self._transaction():
            self._do(lambda: self._connection.executemany(sql, parameters), wait=False)

    def begin(self) -> None:
        """Start a transaction and take the write lock at once: taking it later can end in a deadlock."""
        self._do(lambda: self._connection.execute("BEGIN IMMEDIATE" if self._write else "BEGIN"))

    def commit(self) -> None:
        """Commit the transaction."""
        self._do(lambda: self._connection.execute("COMMIT"))

    def rollback(self) -> None:
        """Roll back whatever is open; harmless when nothing is, or when the session was aborted."""
        with contextlib.suppress(sqlite3.ProgrammingError):  # closed
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _transaction(self) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext() if self._connection.in_transaction else _Transaction(self)

    def close(self) -> None:
        """Close the connection; a writer first folds its log into the file, synced to disk."""
        with contextlib.suppress(sqlite3.Error):
            self.rollback()
            if self._write and not self._aborted:
                # With readers in the way SQLite does what it can, and syncs the log in any case.
                self._deadline = time.monotonic() + self._limits.statement_seconds
                self._connection.execute("PRAGMA busy_timeout = 1000")
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        with contextlib.suppress(sqlite3.Error):
            self._connection.close()

    def abort(self) -> None:
        """Break off the statement that runs, and refuse all further ones."""
        self._aborted = True
        with contextlib.suppress(sqlite3.ProgrammingError):  # closed already
            self._connection.interrupt()

    # ---- source side

    def key_page(
        self, source: SourcePlan, after: Key | None, start: Key | None, end: Key | None, limit: int
    ) -> list[Key | None]:
        """Return up to ``limit`` keys in key order.  NULL sorts first, and is outside of any range."""
        where, parameters = _range(source, after, start, end)
        key = quote_identifier(source.key)
        rows = self.query(
            f"SELECT {key} FROM {_quote_table(source.table)}{where} "
            f"ORDER BY {key} COLLATE BINARY LIMIT {int(limit)}",
            parameters,
        )
        keys = [value for (value,) in rows]
        if not all(value is None or isinstance(value, int | str) for value in keys) or not _are_utf8(keys):
            raise sqlite3.DataError(
                f"a key in {source.table}.{source.key} is neither an integer nor text in UTF-8"
            )
        return keys

    def count_keys(self, source: SourcePlan, start: Key | None, end: Key | None) -> int:
        """Return the number of source rows from ``start`` to ``end`` inclusive."""
        where, parameters = _range(source, None, start, end)
        count: int = self.query(f"SELECT count(*) FROM {_quote_table(source.table)}{where}", parameters)[0][0]
        return count

    def last_key(self, source: SourcePlan, start: Key | None, end: Key | None) -> Key | None:
        """Return the last key from ``start`` to ``end`` inclusive; NULL sorts first."""
        where, parameters = _range(source, None, start, end)
        key = quote_identifier(source.key)
        rows = self.query(
            f"SELECT {key} FROM {_quote_table(source.table)}{where} "
            f"ORDER BY {key} COLLATE BINARY DESC LIMIT 1",
            parameters,
        )
        return rows[0][0] if rows else None

    def documents(
        self, source: SourcePlan, keys: Sequence[Key], most_bytes: int | None = None
    ) -> list[SourceDocument]:
        """Return the documents with these keys, in key order, text as the bytes that the file holds."""
        key, order = self._compared_key(source), f"{quote_identifier(source.key)} COLLATE BINARY"
        document, is_text = self._raw_text(quote_identifier(source.document))
        further = "".join(f", {quote_identifier(name)}" for name in source.columns)
        selected = f"{quote_identifier(source.key)}, {document}, {is_text}{further}"
        found: list[SourceDocument] = []
        left = sys.maxsize if most_bytes is None else most_bytes
        for first in range(0, len(keys), VARIABLES):
            chunk = keys[first : first + VARIABLES]
            marks = ", ".join("?" * len(chunk))
            sql = (
                f"SELECT {selected} FROM {_quote_table(source.table)} WHERE {key} IN ({marks}) "
                f"ORDER BY {order}"
            )
            read, size = self._do(partial(self._documents, sql, chunk, left), wait=self._alone)
            found += read
            left -= size
            if left <= 0:
                break
        return found

    def _documents(self, sql: str, keys: Sequence[Key], most_bytes: int) -> tuple[list[SourceDocument], int]:
        """Read documents, row by row, until they come to so many bytes; return them and their size."""
        found = []
        size = 0
        with contextlib.closing(self._connection.execute(sql, keys)) as rows:
            for key, document, is_text, *further in rows:
                content = _content(document)
                found.append(SourceDocument(key, content, tuple(further), bool(is_text)))
                size += len(content or b"")
                if size >= most_bytes:
                    break
        return found, size

    def _raw_text(self, column: str) -> tuple[str, str]:
        """Return the SQL that reads a column, text as its bytes in UTF-8, and the one that says which is.

        Nothing is decoded then only to be encoded again for the parser and the hash, and text that is not
        UTF-8 comes as it is, too, for the parser to judge.
        """
        if self._is_utf8 is None:
            self._is_utf8 = self.query("PRAGMA encoding")[0][0] == "UTF-8"
        if not self._is_utf8:  # bytes of such a file's text are UTF-16
            return column, "0"
        is_text = f"typeof({column}) = 'text'"
        return f"CASE WHEN {is_text} THEN CAST({column} AS BLOB) ELSE {column} END", is_text

    def is_rowid(self, source: SourcePlan) -> bool:
        """Whether the source key is the table's rowid: an integer, never NULL, and unique."""
        *schema, table = split_name(source.table)
        of = schema[0] if schema else None
        columns = self.query("SELECT name, type FROM pragma_table_info(?, ?) WHERE pk > 0", (table, of))
        if len(columns) != 1 or columns[0][1].upper() != "INTEGER":
            return False
        # Not the rowid in a table WITHOUT ROWID, nor with PRIMARY KEY DESC: those have an index for the key.
        indexes = "SELECT 1 FROM pragma_index_list(?, ?) WHERE origin = 'pk'"
        return columns[0][0].lower() == source.key.lower() and not self.query(indexes, (table, of))

    def unique_collation(self, source: SourcePlan) -> str | None:
        """The collation under which an index keeps the source key unique; ``None`` = no such index."""
        if self.is_rowid(source):
            return "BINARY"
        *schema, table = split_name(source.table)
        of = schema[0] if schema else None
        wanted = source.key.lower()
        indexes = self.query(
            'SELECT name FROM pragma_index_list(?, ?) WHERE "unique" = 1 AND partial = 0', (table, of)
        )
        found = None
        for (index,) in indexes:
            parts = self.query("SELECT name, coll FROM pragma_index_xinfo(?, ?) WHERE key = 1", (index, of))
            if len(parts) == 1 and parts[0][0] is not None and parts[0][0].lower() == wanted:
                collation: str = parts[0][1]
                if collation.upper() == "BINARY":
                    return "BINARY"
                found = collation
        return found

    def _compared_key(self, source: SourcePlan) -> str:
        """The key with the collation by which a document is looked up.

        It must be one under which keys are unique: the unique index's own, so that the index serves;
        BINARY without one.
        """
        at = (source.table, source.key)
        if at not in self._source_columns:
            collation = self.unique_collation(source) or "BINARY"
            self._source_columns[at] = f"{quote_identifier(source.key)} COLLATE {quote_identifier(collation)}"
        return self._source_columns[at]

    # ---- target side

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
        """Insert rows whose key is not there yet; return the keys that are."""
        if not rows:
            return set()
        sql = self._insert_sql(table, columns)
        with self._transaction():
            # The transaction holds the write lock: nobody can add a key between the two statements.
            present = {
                row[0] for row in self.existing(table, columns[:1], columns[0], [row[0] for row in rows])
            }
            new = [row for row in rows if row[0] not in present] if present else rows
            self._do(lambda: self._connection.executemany(sql, new), wait=False)
        return present

    def insert_mostly_new(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> set[Any]:
        """Insert without a look beforehand, up to the first row that is refused; the rest after a look."""
        with self._transaction():
            refused = self._insert_until_refused(table, columns, rows)
            if refused is None:
                return set()
            inserted = {row[0] for row in rows[:refused]}
            rest = rows[refused:]
            keys = [row[0] for row in rest]
            present = {row[0] for row in self.existing(table, columns[:1], columns[0], keys)} - inserted
            new = [row for row in rest if row[0] not in present]
            sql = self._insert_sql(table, columns)
            self._do(lambda: self._connection.executemany(sql, new), wait=False)
            return present

    def _insert_until_refused(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> int | None:
        """Insert rows up to the first that a constraint refuses; return its place, None if there is none."""
        at_once = VARIABLES // len(columns)
        for first in range(0, len(rows), at_once):
            piece = rows[first : first + at_once]
            # FAIL keeps what the statement has inserted so far.  The usual ABORT would take it back, and to
            # be able to, would put a copy of each page aside: of as many as rows, where keys are random.
            sql = self._insert_sql(table, columns, len(piece), "INSERT OR FAIL")
            values = list(chain.from_iterable(piece))
            try:
                self._do(partial(self._connection.execute, sql, values), wait=False)
            except sqlite3.IntegrityError:
                inserted: int = self.query("SELECT changes()")[0][0]
                return first + inserted
        return None

    def existing(
        self, table: str, columns: Sequence[str], key_column: str, keys: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """Return ``columns`` of the rows with these keys."""
        found: list[tuple[Any, ...]] = []
        names = ", ".join(quote_identifier(name) for name in columns)
        for chunk, condition in _key_lists(quote_identifier(key_column), keys):
            found.extend(self.query(f"SELECT {names} FROM {_quote_table(table)} WHERE {condition}", chunk))
        return found

    def count_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> dict[Any, int]:
        """Return key → number of rows."""
        column = quote_identifier(key_column)
        counts: dict[Any, int] = {}
        select = f"SELECT {column}, COUNT(*) FROM {_quote_table(table)}"
        for chunk, condition in _key_lists(column, keys):
            counts.update(self.query(f"{select} WHERE {condition} GROUP BY {column}", chunk))
        return counts

    def delete_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> int:
        """Delete the rows with these keys."""
        return sum(
            self.execute(f"DELETE FROM {_quote_table(table)} WHERE {condition}", chunk)
            for chunk, condition in _key_lists(quote_identifier(key_column), keys)
        )

    def write_rows(self, table: Table, encoded: Sequence[bytes]) -> int:
        """Insert one table's rows: ``encoded`` holds the values of row after row, a piece per document."""
        prepared = self._inserts.get(table.name)
        if prepared is None:
            names = [table.columns[i].name for i in written_columns(table)]
            most = self._connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER)
            rows_at_once = max(1, min(INSERT_ROWS, most // len(names)))
            prepared = self._inserts[table.name] = (
                len(names), rows_at_once, self._insert_sql(table.name, names, rows_at_once),
                self._insert_sql(table.name, names),
            )  # fmt: skip
        self.refused_row = None
        with self._transaction():
            return self._do(partial(self._insert, table.name, *prepared, encoded), wait=False)

    def _insert(
        self, table: str, width: int, rows_at_once: int, many: str, one: str, encoded: Sequence[bytes]
    ) -> int:
        """Insert rows of so many values, as many with one statement as it takes, and the rest one by one.

        Returns how many the table took, which a trigger can make fewer.
        """
        step = width * rows_at_once
        done = inserted = 0
        for values in _in_steps(encoded, step):
            if len(values) < step:
                return inserted + self._insert_singly(table, width, one, values, done)
            before = self._connection.total_changes
            try:
                inserted += self._connection.execute(many, values).rowcount
            except sqlite3.IntegrityError:
                # ON CONFLICT ROLLBACK and FAIL, or a trigger that says so: all is undone, or some is done.
                if not self._connection.in_transaction or self._connection.total_changes != before:
                    raise
                # Nothing of that statement was done; row by row it is seen which one is refused.
                inserted += self._insert_singly(table, width, one, values, done)
            done += rows_at_once
        return inserted

    def _insert_singly(self, table: str, width: int, one: str, values: list[Any], done: int) -> int:
        """Insert rows one by one; ``done`` is how many of the table came before them."""
        inserted = 0
        for first in range(0, len(values), width):
            try:
                inserted += self._connection.execute(one, values[first : first + width]).rowcount
            except sqlite3.IntegrityError:
                self.refused_row = table, done + first // width
                raise
        return inserted

    def table_names(self) -> Collection[str]:
        """Return the names of the tables and views in the file."""
        rows = self.query(
            "SELECT name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite\\_%' "
            "ESCAPE '\\'"
        )
        return {name for (name,) in rows}

    @staticmethod
    def _insert_sql(table: str, columns: Sequence[str], rows: int = 1, verb: str = "INSERT") -> str:
        names = ", ".join(quote_identifier(name) for name in columns)
        row = f"({', '.join('?' * len(columns))})"
        return f"{verb} INTO {_quote_table(table)} ({names}) VALUES {', '.join([row] * rows)}"


class _Transaction:
    """A transaction around several statements that the caller did not put into one."""

    def __init__(self, session: SqliteSession) -> None:
        self._session = session

    def __enter__(self) -> None:
        self._session.begin()

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if kind is not None:
            self._session.rollback()
            return
        try:
            self._session.commit()
        except BaseException:
            self._session.rollback()
            raise


def _in_steps(pieces: Iterable[bytes], step: int) -> Iterator[list[Any]]:
    """Yield the values of all pieces in lists of ``step``, and those that are left over in one that is
    shorter; that one may be empty."""
    values: list[Any] = []
    for group in _of_size(pieces, UNPICKLED_BYTES):
        values += unpickled_values(group)
        whole = len(values) - len(values) % step
        for first in range(0, whole, step):
            yield values[first : first + step]
        del values[:whole]
    yield values


def _of_size(pieces: Iterable[bytes], size_bytes: int) -> Iterator[list[bytes]]:
    """Yield pieces in groups of at least so many bytes; the last may have less."""
    group: list[bytes] = []
    size = 0
    for piece in pieces:
        group.append(piece)
        size += len(piece)
        if size >= size_bytes:
            yield group
            group, size = [], 0
    yield group


def _text(raw: bytes) -> str:
    """Text as ``str``.  Bytes in it that are not UTF-8 come as halves of surrogate pairs, which no key may
    hold and no target takes: one bad value must not make a whole page unreadable, nor pass for a good one."""
    return raw.decode(errors="surrogateescape")


def _are_utf8(values: Iterable[Any]) -> bool:
    """Whether what is text among some values holds no half of a surrogate pair."""
    try:
        "".join(value for value in values if isinstance(value, str)).encode()
    except UnicodeEncodeError:
        return False
    return True


def _content(value: Any) -> str | bytes | None:
    return value if value is None or isinstance(value, str | bytes) else str(value)


def _range(
    source: SourcePlan, after: Key | None, start: Key | None, end: Key | None
) -> tuple[str, list[Any]]:
    """The WHERE clause of a range of keys, and its parameters.  Keys are compared in binary order, as they
    are sorted: a page must not step over keys that a coarser collation takes for equal."""
    key = f"{quote_identifier(source.key)} COLLATE BINARY"
    conditions = [f"({source.where})"] if source.where else []
    parameters: list[Any] = []
    for operator, bound in ((">", after), (">=", start), ("<=", end)):
        if bound is not None:
            conditions.append(f"{key} {operator} ?")
            parameters.append(bound)
    return (f" WHERE {' AND '.join(conditions)}" if conditions else ""), parameters


def _key_lists(column: str, keys: Sequence[Any]) -> Iterator[tuple[Sequence[Any], str]]:
    """Cut keys into lists; yield each as parameters, with the condition that a key is one of them."""
    for first in range(0, len(keys), VARIABLES):
        chunk = keys[first : first + VARIABLES]
        yield chunk, f"{column} IN ({', '.join('?' * len(chunk))})"


def _quote_table(name: str) -> str:
    return ".".join(quote_identifier(part) for part in split_name(name))
