"""SQL Server by Microsoft's drivers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, ClassVar, Final

from xml_extractor.contract.plan import Plan, SourcePlan, Table
from xml_extractor.contract.types import Family, SqlType
from xml_extractor.engines.base import (
    BatchEstimate,
    Engine,
    EngineOptions,
    Fault,
    Finding,
    Privileges,
    Session,
    TableSpec,
)
from xml_extractor.engines.encoding import written_columns
from xml_extractor.engines.mssql import connection, ddl, errors, names, path_choice
from xml_extractor.engines.mssql.connection import ConnectionSettings
from xml_extractor.engines.mssql.insert_paths import BULKCOPY, INSERT_PATHS, RowWriter
from xml_extractor.engines.mssql.path_choice import UNSETTLED, PathChoice
from xml_extractor.engines.mssql.server_url import parse_server
from xml_extractor.engines.mssql.wires import Wire
from xml_extractor.mapping.layouts import RowEncoder

if TYPE_CHECKING:
    from xml_extractor.engines.late_keys import LateKeys
    from xml_extractor.engines.mssql.bulkcopy import Service
    from xml_extractor.engines.mssql.core_wire import CoreWire

_FREETDS: Final = ("freetds", "tdsodbc")


@dataclass(frozen=True)
class MssqlEngine(Engine):
    """One SQL Server database.  Imports drivers only to connect."""

    name: ClassVar[str] = "mssql"
    system: ClassVar[str] = "microsoft.sql_server"
    usual_port: ClassVar[int | None] = 1433
    max_insert_threads: ClassVar[int | None] = None
    insert_paths: ClassVar[tuple[str, ...]] = INSERT_PATHS
    rewrites: ClassVar[frozenset[str]] = frozenset({"xml", "real"})

    settings: ConnectionSettings
    options: EngineOptions = field(default_factory=EngineOptions)
    choice: PathChoice | None = None
    """The way in that was settled on."""

    @property
    def display(self) -> str:
        """The database in words for messages, without a password."""
        return connection.display(self.settings)

    @property
    def database(self) -> str:
        """The database's own name."""
        return self.settings.database

    @property
    def namespace(self) -> str:
        """The database, behind its instance where that has a name."""
        try:
            instance = parse_server(self.settings.server).instance
        except ValueError:
            instance = None
        return f"{instance}|{self.database}" if instance else self.database

    @property
    def server(self) -> tuple[str | None, int | None]:
        """Host and port; no port where an instance is named, as the server's browser service tells it, and
        neither where a data source names them."""
        try:
            named = parse_server(self.settings.server)
        except ValueError:
            return None, None
        return named.host, named.port or (None if named.instance else self.usual_port)

    # ---- connecting

    def connect(self, *, write: bool, application: str) -> Session:
        """Open a connection."""
        from xml_extractor.engines.mssql.session import MssqlSession

        def wire() -> Wire:
            if write and self._copies_in_bulk():
                return self._core_wire(application)
            return self._driver_wire(application, write=write)

        def row_writer(gaps: frozenset[str]) -> RowWriter:
            return path_choice.row_writer(self.choice or replace(UNSETTLED, gaps=gaps), self.options)

        return MssqlSession(
            wire,
            application=application,
            write=write,
            options=self.options,
            row_writer=row_writer,
            classify=self.classify,
        )

    def _copies_in_bulk(self) -> bool:
        if self.choice is None or self.choice.path != BULKCOPY:
            return False
        from xml_extractor.engines.mssql.bulkcopy import is_trusted

        return is_trusted(self.choice.load)

    def _driver_wire(self, application: str, *, write: bool) -> Wire:
        """A connection by the Python driver that is used here; called in the thread that uses it."""
        from xml_extractor.engines.mssql.drivers import choose_driver
        from xml_extractor.engines.mssql.mssqlpython_wire import MssqlPythonWire
        from xml_extractor.engines.mssql.pyodbc_wire import PyodbcWire

        limits = self.options.limits
        kind: type[PyodbcWire] | type[MssqlPythonWire]
        kind = PyodbcWire if choose_driver(self.settings) == "pyodbc" else MssqlPythonWire
        return kind.open(
            self.settings,
            application=application,
            connect_seconds=limits.connect_seconds,
            statement_seconds=limits.statement_seconds,
            read_only_intent=self.options.read_only_intent and not write,
        )

    def _core_wire(self, application: str) -> CoreWire:
        """A held connection for bulk copy; called in the thread that uses it."""
        from xml_extractor.engines.mssql.core_wire import CoreWire

        return CoreWire.open(
            self.settings, application=application, connect_seconds=self.options.limits.connect_seconds
        )

    def classify(self, error: BaseException) -> Fault:
        """Say what an error of a session means."""
        return errors.classify(error, self.display)

    def quote(self, name: str) -> str:
        """Quote a table or column name."""
        return names.quote_table(name)

    def exact(self, column: str, kind: SqlType) -> str:
        """Return what reads a column: text where a driver would cut the seventh digit of a second off."""
        name = self.quote_column(column)
        temporal = kind.family in (Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET)
        return f"CONVERT(varchar(34), {name}, 121)" if temporal and kind.scale == 7 else name

    # ---- DDL

    def create_statements(self, tables: Sequence[TableSpec], *, keys: bool = True) -> list[str]:
        """Return CREATE TABLE statements, parents first."""
        return ddl.create_statements(tables, self.options.schema, keys=keys)

    def late_keys(self) -> LateKeys:
        """Return how keys are built on filled tables."""
        from xml_extractor.engines.late_keys import BUILD_SECONDS
        from xml_extractor.engines.mssql.late_keys import MssqlLateKeys

        limits = self.options.limits
        patient = replace(
            limits,
            statement_seconds=BUILD_SECONDS,
            lock_seconds=limits.lock_seconds or limits.statement_seconds,
        )
        return MssqlLateKeys(
            replace(self, options=replace(self.options, limits=patient)), self.options.schema
        )

    def add_column_statement(self, table: TableSpec, column: str) -> str:
        """Return the statement that adds a column."""
        return ddl.add_column_statement(table, column, self.options.schema)

    def staging_statements(self, source: SourcePlan, key_type: SqlType) -> list[str]:
        """Return the statement that creates an empty source table."""
        return ddl.staging_statements(source, key_type, self.options.schema)

    def grant_statements(self, privileges: Privileges) -> list[str]:
        """Return the script that gives a user just these privileges."""
        from xml_extractor.engines.mssql import rights

        return rights.grant_statements(privileges, self.database, self.options.schema)

    def unsupported(self, plan: Plan) -> list[str]:
        """Name what SQL Server cannot hold."""
        return ddl.unsupported(plan)

    # ---- checks

    def table_problems(self, session: Session, plan: Plan) -> list[str]:
        """Compare existing tables with the plan."""
        from xml_extractor.engines.mssql import catalogue

        return catalogue.table_problems(session, plan, self.options.schema)

    def key_problem(self, session: Session, source: SourcePlan) -> str | None:
        """Say why the source table cannot be read safely."""
        from xml_extractor.engines.mssql import catalogue

        return catalogue.key_problem(session, source, self.display, self.options.schema)

    def examine_source(self, session: Session, source: SourcePlan) -> Iterator[Finding]:
        """Look at the database as a source."""
        from xml_extractor.engines.mssql import examination

        return examination.examine_source(session, source, self.options, self.classify)

    def examine_target(
        self, session: Session, plan: Plan, tables: Sequence[TableSpec], batch: BatchEstimate | None = None
    ) -> Iterator[Finding]:
        """Look at the database as a target."""
        from xml_extractor.engines.mssql import examination

        return examination.examine_target(session, plan, tables, batch, self.options, self.classify)

    # ---- the way in

    def settled(self, session: Session, plan: Plan) -> Engine:
        """Return the engine with the insert path that this server, plan and distance call for.

        Raises:
            UsageError: the path that was asked for is not to be had here.
        """
        from xml_extractor.engines.mssql import catalogue

        def writes_identity(table: Table) -> bool:
            identity = catalogue.identity_columns(session, table.name, self.options.schema)
            written = {table.columns[i].name.lower() for i in written_columns(table)}
            return any(name.lower() in written for name in identity)

        keep_identity = frozenset(table.name for table in plan.tables if writes_identity(table))
        choice = path_choice.settle(
            session,
            plan,
            self.options,
            keep_identity=keep_identity,
            fast_problem=self._fast_problem(),
            try_bulk_copy=self._try_bulk_copy,
        )
        return replace(self, choice=choice)

    def _fast_problem(self) -> str | None:
        driver = (self.settings.odbc_driver or "").lower()
        if any(word in driver for word in _FREETDS):
            return "FreeTDS's driver is known to crash in it; use Microsoft's"
        return None

    def _try_bulk_copy(self, kinds: frozenset[SqlType]) -> Service | str:
        """Try bulk copy out on this server, on connections of its own; see :func:`.path_choice.settle`."""
        from xml_extractor.engines.mssql import bulkcopy, core_wire
        from xml_extractor.engines.mssql.driver_thread import DriverThread
        from xml_extractor.engines.mssql.session import GRACE_SECONDS

        problem = core_wire.why_not(self.settings)
        if problem is not None:
            return problem
        limits = self.options.limits
        application = "xml_extractor bulk copy trial"
        driver = DriverThread(application)
        try:
            return driver.call(
                lambda: bulkcopy.try_out(
                    lambda: self._core_wire(application),
                    kinds,
                    min(bulkcopy.TRIAL_SECONDS, limits.statement_seconds),
                    self.options.schema,
                ),
                limits.connect_seconds + limits.statement_seconds + GRACE_SECONDS,
            )
        except Exception as error:  # noqa: BLE001 - whatever goes wrong here, there are other ways in
            return f"trying it out failed: {self.classify(error).message}"
        finally:
            driver.close()

    @property
    def insert_path(self) -> str | None:
        """The way in that was settled on."""
        return None if self.choice is None else self.choice.path

    @property
    def insert_path_reason(self) -> str | None:
        """Why that one."""
        return None if self.choice is None else self.choice.reason

    def encoder(self, plan: Plan) -> RowEncoder:
        """Return the encoder of the insert path."""
        return path_choice.encoder(self.choice or UNSETTLED, plan)
