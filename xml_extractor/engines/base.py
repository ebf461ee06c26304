"""What the rest of the product may ask of a database engine.

An :class:`Engine` is a small, picklable description of one database (its URL and time limits) plus
everything that differs between engines: types, DDL, quoting, error codes, encoding.  A
:class:`Session` is one open connection and belongs to one thread at a time; only :meth:`Session.abort`
may be called from another.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from time import perf_counter
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan, SourcePlan, Table
from xml_extractor.contract.types import SqlType
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import Key, SourceDocument

if TYPE_CHECKING:
    from xml_extractor.engines.late_keys import LateKeys

AUTO: Final = "auto"
"""The insert path that an engine chooses by itself."""

STREAM_ROWS: Final = 2000
"""Rows that a stream hands out at once: some hundred kilobytes of short rows, and few calls of the driver."""


class FaultKind(Enum):
    """What to do about a database error."""

    DATA = "data"  # a row of the batch is at fault: find the document
    TRANSIENT = "transient"  # try the transaction again on this connection
    DISCONNECTED = "disconnected"  # reconnect, ask the ledger, try again
    FATAL = "fatal"  # neither retry nor quarantine can cure it


@dataclass(frozen=True, slots=True)
class Fault:
    """A database error, classified, with nothing of the data in it."""

    kind: FaultKind
    code: str  # short and stable: unique_violation, not_null_violation, disk_full, connection_lost, …
    message: str  # for the operator; names tables, columns and constraints, never values
    native_code: str | None = None  # SQLSTATE, SQLite's error name, SQL Server's number
    table: str | None = None
    column: str | None = None
    slow: bool = False
    """The server asks for patience: wait longer between attempts."""


class RepeatedKey(Exception):
    """Several rows of the source have one key."""

    def __init__(self, key: Key) -> None:
        super().__init__(f"several rows have the key {key!r}")
        self.key = key


@dataclass(frozen=True, slots=True)
class TimeLimits:
    """Bounds on waiting for a server, in seconds."""

    connect_seconds: float = 8.0  # a first connection that fails must end the run within 10 s (law 6)
    statement_seconds: float = 60.0
    lock_seconds: float | None = None
    """How long a statement waits for somebody else's lock; None = as long as the statement may take."""
    silence_seconds: float | None = None
    """After how long without an answer from its machine a connection is lost; None = as the statement."""


@dataclass(frozen=True, slots=True)
class EngineOptions:
    """How a database is to be used; what an engine has no choice about it leaves aside."""

    limits: TimeLimits = field(default_factory=TimeLimits)
    schema: str | None = None
    """Where tables named without a schema are; None = the server's choice."""
    read_only_intent: bool = False
    """Reading: tell the server that nothing will be written, so that a readable secondary may answer."""
    snapshot: bool = False
    """Reading: as of the start of each statement, so that writers are neither waited for nor held up."""
    insert_path: str = AUTO
    """Writing: the way in, one of :attr:`Engine.insert_paths`, or ``auto``."""
    batch_documents: int = 1000
    """Writing: documents in a batch, by which ``auto`` weighs round trips against throughput."""
    avoid_lock_escalation: bool = False
    """Writing: keep each statement that inserts or deletes documents' rows below the number of rows at which
    the server locks whole tables."""


class Health(Enum):
    """What a finding means for the operator."""

    GOOD = "good"
    NOTE = "note"  # worth knowing; nothing has to be done
    WARNING = "warning"  # works, but slower or riskier than it could
    PROBLEM = "problem"  # a load would fail or could go wrong


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that ``doctor`` looked at."""

    health: Health
    subject: str  # a few words: "driver", "key of app_xml", "recovery model"
    text: str  # what was found, in one or two sentences; no values, no passwords
    cure: str | None = None  # what to do about it; a statement to run where there is one


@dataclass(frozen=True, slots=True)
class BatchEstimate:
    """What one batch will bring, judged by the first documents of the source."""

    documents: int
    rows: Mapping[str, int]  # by table, as the contract names it
    size_bytes: int  # the rows as they are sent


@dataclass(frozen=True, slots=True)
class Privileges:
    """What a database user is to be allowed, for a script of GRANT statements."""

    user: str
    source: SourcePlan | None = None  # to be read
    data_tables: tuple[str, ...] = ()  # to be written to
    own_tables: tuple[str, ...] = ()  # the loader's bookkeeping
    create_tables: bool = False


@dataclass(frozen=True, slots=True)
class ColumnSpec:
    """A column to be created."""

    name: str
    type: SqlType
    nullable: bool
    server_generated: bool = False
    code_page: str = "cp1252"
    """Python's codec name for char and varchar, on engines where a column has a code page."""


@dataclass(frozen=True, slots=True)
class TableSpec:
    """A table to be created: a contract's table or one of the loader's own."""

    name: str
    columns: tuple[ColumnSpec, ...]
    primary_key: tuple[str, ...]
    foreign_key: tuple[tuple[str, str], ...] = ()  # (own column, parent's column)
    parent: str | None = None


class Written(NamedTuple):
    """What writing to one table came to."""

    rows: int  # that the table took
    seconds: float


class Session(ABC):
    """One open connection.  Statements use ``?`` for parameters on every engine.

    Any driver error comes out as the driver raised it; :meth:`Engine.classify` says what it means.
    Outside ``begin`` … ``commit`` every statement is its own transaction.
    """

    driver: str = ""
    """The driver's name and version, for ``doctor``."""

    refused_row: tuple[str, int] | None = None
    """Which row the database stumbled over in the last :meth:`write_rows`, where that failed and it is known:
    the table's name and the row's place, from 0, among those that it was to be given."""

    count: str = "COUNT(*)"
    """The SQL that counts rows, however many they are."""

    @abstractmethod
    def table(self, name: str) -> str:
        """Return a table's name as a contract writes it, quoted, and in the schema that was set, for SQL."""

    @abstractmethod
    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Run a SELECT and return all its rows."""

    @abstractmethod
    def stream(
        self, sql: str, parameters: Sequence[Any] = (), *, rows_per_chunk: int = STREAM_ROWS
    ) -> Iterator[list[tuple[Any, ...]]]:
        """Run a SELECT when the first rows are wanted, and yield its rows as they come, in lists.

        Memory holds one list, however many rows there are.  The time limit is each list's.  What is seen is
        what one statement sees, but a stream that is read slowly keeps the server at it: row versions are
        kept, or pages locked one after the other.  Until the stream has ended or is closed
        (``contextlib.closing``) nothing else may be run on the session; closing it lets go of the cursor, and
        of the transaction that it needed if none was open.

        Args:
            rows_per_chunk: rows in a list; the last one may be shorter, and none is empty.
        """

    def first_rows(self, sql: str, parameters: Sequence[Any], most: int) -> list[tuple[Any, ...]]:
        """Run a SELECT that ends with its ORDER BY, and return its first rows, ``most`` of them at most.

        The server knows that the others are not wanted, and need neither make nor sort them.
        """
        return self.query(f"{sql} LIMIT {most}", parameters)

    @abstractmethod
    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Run a statement and return the number of rows it touched (0 where that has no meaning)."""

    @abstractmethod
    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        """Run a statement once per parameter tuple."""

    @abstractmethod
    def begin(self) -> None:
        """Start a transaction that is going to write."""

    @abstractmethod
    def commit(self) -> None:
        """Commit the transaction."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll back whatever is open; harmless when nothing is."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection; never raises."""

    @abstractmethod
    def abort(self) -> None:
        """Break the connection from any thread, so that a statement that waits fails at once."""

    # ---- source side

    @abstractmethod
    def key_page(
        self, source: SourcePlan, after: Key | None, start: Key | None, end: Key | None, limit: int
    ) -> list[Key | None]:
        """Return up to ``limit`` keys in key order: > ``after``, >= ``start``, <= ``end``, filtered by
        the contract's ``where``.  The order is total and stable: each engine says by which rules text is
        compared, and :meth:`Engine.key_problem` refuses keys that these rules do not tell apart.  A key
        that is NULL is returned as ``None`` (first or last, as the engine sorts) on the first page only,
        for the caller to refuse."""

    @abstractmethod
    def count_keys(self, source: SourcePlan, start: Key | None, end: Key | None) -> int:
        """Return the number of source rows from ``start`` to ``end`` inclusive, after ``where``."""

    @abstractmethod
    def last_key(self, source: SourcePlan, start: Key | None, end: Key | None) -> Key | None:
        """Return the last key, in the order of :meth:`key_page`, from ``start`` to ``end`` inclusive, after
        ``where``; None where there is none.  NULLs are passed over."""

    @abstractmethod
    def documents(
        self, source: SourcePlan, keys: Sequence[Key], most_bytes: int | None = None
    ) -> list[SourceDocument]:
        """Return the documents with these keys, in key order; keys that have gone are left out.

        Text comes as UTF-8 (``is_text``) from engines whose driver has it as that, else as ``str``.

        Args:
            most_bytes: return no more documents once those found come to so many bytes, so that memory holds
                about that and one document, however large they are; None = return all.  Where any of the
                documents is there, at least one is returned.

        Raises:
            RepeatedKey: several rows have one of the keys, and were not told apart.  Where they were, each is
                returned.
        """

    # ---- target side

    @abstractmethod
    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
        """Insert rows whose first column is the table's primary key, in the order given; return the
        first-column values of those rows that were not inserted because the key already exists.
        Waits for another transaction that is inserting the same key, as the engine's uniqueness does."""

    def insert_mostly_new(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> set[Any]:
        """Do as :meth:`insert_new`, within a transaction, for rows of which hardly any is there yet.

        For the loader's own tables only: their first column is known to be the primary key, and a server's
        log may show a row of theirs.  Engines that have a cheaper way for all rows or none try that first.
        """
        return self.insert_new(table, columns, rows)

    @abstractmethod
    def existing(
        self, table: str, columns: Sequence[str], key_column: str, keys: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        """Return ``columns`` of the rows whose ``key_column`` is one of ``keys`` (any number of them)."""

    @abstractmethod
    def count_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> dict[Any, int]:
        """Return key → number of rows, of those keys (any number of them) that have rows.

        A key comes back as the column holds it: where its collation takes two texts for one, under either.
        """

    @abstractmethod
    def delete_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> int:
        """Delete the rows whose ``key_column`` is one of ``keys`` (any number); return how many they were."""

    @abstractmethod
    def write_rows(self, table: Table, encoded: Sequence[Any]) -> int:
        """Insert one table's encoded rows of several documents; return the number of rows inserted."""

    def write_tables(self, tables: Sequence[tuple[Table, Sequence[Any]]]) -> list[Written]:
        """Insert the encoded rows of several tables, parents first; say of each what it took.

        One :meth:`write_rows` after the other, unless the engine can do it in fewer round trips.  Where one
        request serves several tables, its time is divided among them by their rows.
        """
        written = []
        started = perf_counter()
        for table, encoded in tables:
            rows = self.write_rows(table, encoded)
            ended = perf_counter()
            written.append(Written(rows, ended - started))
            started = ended
            failpoints.hit("between_tables", self)
        return written

    @abstractmethod
    def table_names(self) -> Collection[str]:
        """Return the names of the tables and views in the default schema."""


class Engine(ABC):
    """One database, not yet connected.  Picklable, immutable, thread-safe."""

    name: ClassVar[str]
    system: ClassVar[str] = "other_sql"
    """As OpenTelemetry's conventions for databases name it (``db.system.name``)."""
    usual_port: ClassVar[int | None] = None
    """Where such servers listen unless told otherwise."""
    max_insert_threads: ClassVar[int | None] = None
    """The most writers the engine can use at once, or None for no limit."""
    insert_paths: ClassVar[tuple[str, ...]] = ()
    """The ways in that can be chosen between; empty = there is one, and nothing to choose."""
    rewrites: ClassVar[frozenset[str]] = frozenset()
    """Types of contracts whose values are kept in meaning, but not in the form in which they were mapped."""
    no_late_keys: ClassVar[str | None] = None
    """Why tables cannot get their keys after they have been filled; None = they can."""

    @property
    @abstractmethod
    def display(self) -> str:
        """The database in words for messages, without a password."""

    @property
    @abstractmethod
    def database(self) -> str:
        """The database's own name, the same whatever host, driver or port is used to reach it."""

    @property
    def namespace(self) -> str:
        """The database as OpenTelemetry's conventions have it (``db.namespace``): unique at its server."""
        return self.database

    @property
    def server(self) -> tuple[str | None, int | None]:
        """The server's host and port; None where there is none, or where the driver finds it out."""
        return None, None

    @abstractmethod
    def connect(self, *, write: bool, application: str) -> Session:
        """Open a connection.  With ``write`` false the session can only read.

        Raises:
            Exception: the driver's; :meth:`classify` it.
        """

    @abstractmethod
    def classify(self, error: BaseException) -> Fault:
        """Say what an error raised by a session of this engine means."""

    @abstractmethod
    def quote(self, name: str) -> str:
        """Quote a table or column name as the contract writes it (``schema.table`` allowed for tables)."""

    def quote_column(self, name: str) -> str:
        """Quote a column name; a dot in it is a part of it."""
        return self.quote('"' + name.replace('"', '""') + '"')  # as a contract may write a table's name

    def exact(self, column: str, kind: SqlType) -> str:
        """Return the SQL that reads a column of a contract's type with nothing lost on the way."""
        return self.quote_column(column)

    @abstractmethod
    def create_statements(self, tables: Sequence[TableSpec], *, keys: bool = True) -> list[str]:
        """Return CREATE TABLE statements, in an order in which they can be run.

        Args:
            keys: give the tables their primary and foreign keys; without, columns are as they are with
                them, and :meth:`late_keys` adds the keys later.
        """

    def late_keys(self) -> LateKeys:
        """Return how keys are built on tables that were filled without them.

        Raises:
            NotImplementedError: :attr:`no_late_keys` says why they cannot be.
        """
        raise NotImplementedError(self.no_late_keys)

    @abstractmethod
    def add_column_statement(self, table: TableSpec, column: str) -> str:
        """Return the statement that adds a column, one of the table's specification that may be NULL, to
        an existing table."""

    @abstractmethod
    def unsupported(self, plan: Plan) -> list[str]:
        """Name the columns whose type this engine cannot hold exactly; empty = none."""

    @abstractmethod
    def table_problems(self, session: Session, plan: Plan) -> list[str]:
        """Compare existing tables with the plan: missing table or column, wrong type, too short, NOT
        NULL without a source.  One sentence a problem; empty = all fits."""

    @abstractmethod
    def key_problem(self, session: Session, source: SourcePlan) -> str | None:
        """Say why the source table cannot be read safely (absent table or column, key NULL or not
        unique, key of another type than integer or string), with the cure; None = it can."""

    def settled(self, session: Session, plan: Plan) -> Engine:
        """Return the engine as it is to write this plan's rows, whatever was left to it decided.

        Called once a load, after the tables are known to be there and to fit, and before
        :meth:`encoder`.

        Args:
            session: open for writing, with no transaction begun; what is tried out on it is rolled back.
        """
        return self

    @property
    def insert_path(self) -> str | None:
        """The way in that was settled on, for the summary; None where there is nothing to choose."""
        return None

    @property
    def insert_path_reason(self) -> str | None:
        """Why the way in that was settled on was taken, for ``doctor``; None where nobody chose."""
        return None

    @abstractmethod
    def encoder(self, plan: Plan) -> RowEncoder:
        """Return the encoder for this engine's :meth:`Session.write_rows`."""

    @abstractmethod
    def examine_source(self, session: Session, source: SourcePlan) -> Iterator[Finding]:
        """Look at a database as a source, for ``doctor``: server, permissions, settings, the table's key.

        What cannot be looked at is a finding, not an exception; only a lost connection is raised.
        """

    @abstractmethod
    def examine_target(
        self, session: Session, plan: Plan, tables: Sequence[TableSpec], batch: BatchEstimate | None = None
    ) -> Iterator[Finding]:
        """Look at a database as a target, for ``doctor``; see :meth:`examine_source`.

        Args:
            tables: all that a load writes to, the loader's own tables among them.
            batch: what a batch will bring; None = not known.
        """

    def grant_statements(self, privileges: Privileges) -> list[str]:
        """Return the script that gives a user just these privileges; empty where users have none."""
        return []

    @abstractmethod
    def staging_statements(self, source: SourcePlan, key_type: SqlType) -> list[str]:
        """Return the statement(s) that create an empty source table: the key as primary key and the
        document as unbounded text, nothing else."""


def table_specs(plan: Plan) -> list[TableSpec]:
    """The tables of a plan as specifications to create, parents first."""
    specs = []
    for table in plan.tables:
        parent = plan.tables[table.parent] if table.parent is not None else None
        specs.append(
            TableSpec(
                name=table.name,
                columns=tuple(
                    ColumnSpec(c.name, c.type, c.nullable, c.server_generated, c.conversion.code_page)
                    for c in table.columns
                ),
                primary_key=tuple(table.columns[i].name for i in table.primary_key),
                foreign_key=tuple(
                    (table.columns[own].name, parent.columns[theirs].name)
                    for own, theirs in table.foreign_key
                )
                if parent is not None
                else (),
                parent=parent.name if parent is not None else None,
            )
        )
    return specs
