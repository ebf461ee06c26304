"""PostgreSQL by psycopg 3.

Types; what PostgreSQL cannot hold exactly is kept as text, never rounded:

=====================================  ========================================================
contract                               column
=====================================  ========================================================
bit                                    boolean
tinyint smallint, int, bigint          smallint, integer, bigint
decimal(p,s) money smallmoney          numeric(p,s), numeric(19,4), numeric(10,4)
float real                             double precision (``real`` would round what the mapper gives)
date, time(n), datetime2(n)            date, time(n), timestamp(n) for n up to 6
time(7) datetime2(7)                   varchar: PostgreSQL's clock has six digits
datetime smalldatetime                 timestamp(3), timestamp(0)
datetimeoffset(n)                      varchar: timestamptz keeps the moment and loses the offset
char(n) varchar(n) nchar(n) nvarchar   varchar(n) or text; char(n) arrives padded by the mapper, and
                                       PostgreSQL's own char would take blanks for nothing
xml                                    text, as serialised; the xml type would have to be a build
                                       option of the server, has no comparison and no index
uniqueidentifier                       uuid
binary varbinary                       bytea
=====================================  ========================================================

Text in keys has COLLATE "C": byte order, whatever the server's locale.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final

from xml_extractor.contract.plan import Plan, SourcePlan
from xml_extractor.contract.types import INTEGER_RANGES, Family, SqlType
from xml_extractor.engines import checks
from xml_extractor.engines.base import (
    BatchEstimate,
    ColumnSpec,
    Engine,
    Fault,
    Finding,
    Privileges,
    Session,
    TableSpec,
    TimeLimits,
)
from xml_extractor.engines.ddl import (
    add_column_statement,
    create_statement,
    parents_first,
    quote_identifier,
    split_name,
)
from xml_extractor.engines.encoding import CopyEncoder
from xml_extractor.mapping.layouts import RowEncoder

if TYPE_CHECKING:
    from xml_extractor.engines.late_keys import LateKeys

NAME_BYTES: Final = 63
"""PostgreSQL cuts longer names off in silence (NAMEDATALEN - 1)."""

_INTEGER_TYPES: Final = {"tinyint": "smallint", "smallint": "smallint", "int": "integer", "bigint": "bigint"}
_INTEGER_BYTES: Final = {"int2": 2, "int4": 4, "int8": 8}
_KEY_TYPES: Final = frozenset({"int2", "int4", "int8", "text", "varchar", "bpchar", "uuid", "citext", "name"})


def temporal_length(kind: SqlType) -> int:
    """Characters of a temporal value as text, by the forms in ``contract/types.py``."""
    base = {Family.DATE: 10, Family.TIME: 8, Family.DATETIME: 19, Family.DATETIMEOFFSET: 25}[kind.family]
    return base + (1 + kind.scale if kind.scale else 0)


def column_type(kind: SqlType) -> str:
    """The column type for a contract's type: the one mapping that all DDL goes through."""
    family = kind.family
    if family is Family.BIT:
        return "boolean"
    if family is Family.INTEGER:
        return _INTEGER_TYPES[kind.name]
    if family is Family.DECIMAL:
        return f"numeric({kind.precision},{kind.scale})"
    if family is Family.FLOAT:
        return "double precision"
    if family is Family.DATE:
        return "date"
    if family is Family.BINARY:
        return "bytea"
    if family is Family.GUID:
        return "uuid"
    if family in (Family.TIME, Family.DATETIME) and (kind.scale or 0) <= 6:
        return f"{'time' if family is Family.TIME else 'timestamp'}({kind.scale or 0})"
    if family in (Family.TIME, Family.DATETIME, Family.DATETIMEOFFSET):
        return f"varchar({temporal_length(kind)})"
    if family is Family.TEXT and kind.length is not None:
        return f"varchar({kind.length})"
    return "text"


@dataclass(frozen=True)
class PostgresqlEngine(Engine):
    """One PostgreSQL database.  ``settings`` are libpq's connection parameters, the password apart."""

    name: ClassVar[str] = "postgresql"
    system: ClassVar[str] = "postgresql"
    usual_port: ClassVar[int | None] = 5432
    max_insert_threads: ClassVar[int | None] = None

    settings: tuple[tuple[str, str], ...] = ()
    password: str | None = field(default=None, repr=False)
    schema: str | None = None
    limits: TimeLimits = field(default_factory=TimeLimits)

    def _setting(self, name: str) -> str:
        return dict(self.settings).get(name, "")

    @property
    def display(self) -> str:
        """The database in words for messages, without a password."""
        host, port = self._setting("host"), self._setting("port")
        at = f" on {host}{f':{port}' if port else ''}" if host else ""
        return f"PostgreSQL database {self.database}{at}"

    @property
    def database(self) -> str:
        """The database's own name; libpq's rule where the URL names none."""
        return self._setting("dbname") or self._setting("user") or "postgres"

    @property
    def server(self) -> tuple[str | None, int | None]:
        """Host and port, as far as the URL names one; of several hosts, none."""
        host, port = self._setting("host"), self._setting("port")
        if not host or "," in host:
            return None, None
        return host, int(port) if port.isdecimal() else self.usual_port

    def connect(self, *, write: bool, application: str) -> Session:
        """Open a connection."""
        import psycopg

        from xml_extractor.engines.postgresql_session import PostgresqlSession

        # Settings of the URL win over ours.
        parameters: dict[str, Any] = {
            # libpq takes no less than two seconds.
            "connect_timeout": str(max(2, round(self.limits.connect_seconds))),
            "application_name": application,
            "client_encoding": "UTF8",
            "keepalives": "1",
            "keepalives_idle": "10",
            "keepalives_interval": "5",
            "keepalives_count": "4",
            # Where the system has it: data sent but not acknowledged for so long ends the connection.
            "tcp_user_timeout": str(
                int((self.limits.silence_seconds or self.limits.statement_seconds) * 1000)
            ),
            **dict(self.settings),
        }
        if self.password is not None:
            parameters["password"] = self.password
        connection = psycopg.connect(autocommit=True, **parameters)
        try:
            return PostgresqlSession(connection, write=write, limits=self.limits, schema=self.schema)
        except BaseException:
            connection.close()
            raise

    def classify(self, error: BaseException) -> Fault:
        """Say what an error of a session means."""
        from xml_extractor.engines.postgresql_errors import classify

        return classify(error, self.display)

    def quote(self, name: str) -> str:
        """Quote a table or column name."""
        return ".".join(quote_identifier(part) for part in split_name(name))

    # ---- DDL

    def _quote_in_schema(self, name: str) -> str:
        """Quote a table's name, in the schema that was set where it names none."""
        parts = split_name(name)
        if self.schema is not None and len(parts) == 1:
            parts = (self.schema, *parts)
        return ".".join(quote_identifier(part) for part in parts)

    def create_statements(self, tables: Sequence[TableSpec], *, keys: bool = True) -> list[str]:
        """Return CREATE TABLE statements, parents first."""
        return [
            create_statement(
                table,
                quote_table=self._quote_in_schema,
                column_definition=_column_definition,
                keys=keys,
            )
            for table in parents_first(tables)
        ]

    def late_keys(self) -> LateKeys:
        """Return how keys are built on filled tables."""
        from xml_extractor.engines.late_keys import BUILD_SECONDS
        from xml_extractor.engines.postgresql_keys import PostgresqlLateKeys

        limits = self.limits
        patient = replace(limits, statement_seconds=BUILD_SECONDS, silence_seconds=limits.statement_seconds)
        return PostgresqlLateKeys(
            replace(self, limits=patient),
            limits.lock_seconds or limits.statement_seconds,
            self._quote_in_schema,
        )

    def add_column_statement(self, table: TableSpec, column: str) -> str:
        """Return the statement that adds a column."""
        return add_column_statement(
            table, column, quote_table=self._quote_in_schema, column_definition=_column_definition
        )

    def staging_statements(self, source: SourcePlan, key_type: SqlType) -> list[str]:
        """Return the statement that creates an empty source table."""
        collate = ' COLLATE "C"' if key_type.family is Family.TEXT else ""
        return [
            f"CREATE TABLE {self.quote(source.table)} (\n"
            f"    {quote_identifier(source.key)} {column_type(key_type)}{collate} NOT NULL PRIMARY KEY,\n"
            f"    {quote_identifier(source.document)} text\n)"
        ]

    def unsupported(self, plan: Plan) -> list[str]:
        """Name what PostgreSQL cannot take: names that it would cut off, numbering of a non-integer."""
        problems = []
        for table in plan.tables:
            if any(len(part.encode()) > NAME_BYTES for part in split_name(table.name)):
                problems.append(f"table {table.name}: PostgreSQL's names have at most {NAME_BYTES} bytes")
            for column in table.columns:
                if len(column.name.encode()) > NAME_BYTES:
                    problems.append(
                        f"column {table.name}.{column.name}: names have at most {NAME_BYTES} bytes here"
                    )
                if column.server_generated and column.type.family is not Family.INTEGER:
                    problems.append(
                        f"column {table.name}.{column.name}: PostgreSQL numbers integer columns only, "
                        f"not {column.type}"
                    )
        return problems

    # ---- checks

    def table_problems(self, session: Session, plan: Plan) -> list[str]:
        """Compare existing tables with the plan."""
        return checks.table_problems(
            plan, lambda name: describe(session, name), _type_problem, ignore_case=False
        )

    def key_problem(self, session: Session, source: SourcePlan) -> str | None:
        """Say why the source table cannot be read safely."""
        existing = describe(session, source.table)
        problem = checks.source_columns_problem(source, existing, self.display)
        if problem is not None or existing is None:
            return problem
        column = existing.column(source.key, ignore_case=False)
        assert column is not None
        if column.kind not in _KEY_TYPES:
            return (
                f"key column {source.table}.{source.key} is {column.type_text}; a key has to be an integer "
                "(smallint, integer, bigint), text or uuid: convert the column, or read from a view that does"
            )
        key, table = quote_identifier(source.key), self.quote(source.table)
        where = f" WHERE ({source.where})" if source.where else ""
        if column.nullable:
            null = f"{where} AND {key} IS NULL" if where else f" WHERE {key} IS NULL"
            nulls = session.query(f"SELECT count(*) FROM {table}{null}")
            if nulls[0][0]:
                return checks.null_key_problem(source, nulls[0][0])
        if not _has_unique_index(session, self.quote(source.table), source.key):
            grouped = f"SELECT 1 FROM {table}{where} GROUP BY {key} HAVING count(*) > 1"
            count = session.query(f"SELECT count(*) FROM ({grouped}) AS repeated")[0][0]
            if count:
                return checks.duplicate_key_problem(source, count)
        return None

    def examine_source(self, session: Session, source: SourcePlan) -> Iterator[Finding]:
        """Look at the database as a source."""
        from xml_extractor.engines import postgresql_examination

        return postgresql_examination.examine_source(session, source)

    def examine_target(
        self, session: Session, plan: Plan, tables: Sequence[TableSpec], batch: BatchEstimate | None = None
    ) -> Iterator[Finding]:
        """Look at the database as a target; what a batch brings makes no difference here."""
        from xml_extractor.engines import postgresql_examination

        return postgresql_examination.examine_target(session, plan, tables)

    def grant_statements(self, privileges: Privileges) -> list[str]:
        """Return the GRANT statements that give a role just these privileges."""
        from xml_extractor.engines import postgresql_examination

        return postgresql_examination.grant_statements(privileges, self.database, self.schema)

    def encoder(self, plan: Plan) -> RowEncoder:
        """Return the encoder for ``write_rows``."""
        return CopyEncoder.of(plan)


# ------------------------------------------------------------------------------------- DDL


def _column_definition(table: TableSpec, column: ColumnSpec) -> str:
    definition = f"{quote_identifier(column.name)} {column_type(column.type)}"
    if column.server_generated:
        return f"{definition} GENERATED BY DEFAULT AS IDENTITY NOT NULL"
    key = column.name in table.primary_key
    if column.type.family is Family.TEXT and (key or any(own == column.name for own, _ in table.foreign_key)):
        definition += ' COLLATE "C"'
    return definition + (" NOT NULL" if key or not column.nullable else "")


# ------------------------------------------------------------------------------------- catalogue


def describe(session: Session, table: str) -> checks.ExistingTable | None:
    """Describe a table or view by the catalogue; ``None`` if there is none of this name."""
    quoted = ".".join(quote_identifier(part) for part in split_name(table))
    if not session.query("SELECT 1 WHERE to_regclass(?) IS NOT NULL", (quoted,)):
        return None
    rows = session.query(
        "SELECT a.attname, format_type(a.atttypid, a.atttypmod), "
        "a.attnotnull OR t.typnotnull, a.atthasdef OR a.attidentity <> '' OR t.typdefault IS NOT NULL, "
        "a.attgenerated <> '' OR a.attidentity = 'a', "
        "b.typname, CASE WHEN t.typtype = 'd' THEN t.typtypmod ELSE a.atttypmod END "
        "FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid "
        "JOIN pg_type b ON b.oid = CASE WHEN t.typtype = 'd' THEN t.typbasetype ELSE t.oid END "
        "WHERE a.attrelid = to_regclass(?) AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum",
        (quoted,),
    )
    return checks.ExistingTable(tuple(_column(*row) for row in rows))


def _column(
    name: str, text: str, required: bool, has_default: bool, never_written: bool, kind: str, modifier: int
) -> checks.ExistingColumn:
    size = scale = None
    if modifier >= 0:
        # How pg_attribute.atttypmod packs lengths: 4 bytes of header are counted in for these types.
        if kind in ("varchar", "bpchar"):
            size = modifier - 4
        elif kind == "numeric":
            size, scale = (modifier - 4) >> 16, (modifier - 4) & 0x7FF
        elif kind in ("time", "timestamp", "timetz", "timestamptz"):
            scale = modifier
    return checks.ExistingColumn(name, text, not required, has_default, never_written, kind, size, scale)


def _has_unique_index(session: Session, table: str, key: str) -> bool:
    """Whether a valid unique index has exactly the key column, under whatever collation: keys that it tells
    apart differ in bytes too."""
    return bool(
        session.query(
            "SELECT 1 FROM pg_index i "
            "JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = i.indkey[0] "
            "WHERE i.indrelid = to_regclass(?) AND a.attname = ? AND i.indisunique AND i.indisvalid "
            "AND i.indimmediate AND i.indnkeyatts = 1 AND i.indpred IS NULL AND i.indexprs IS NULL",
            (table, key),
        )
    )


def _type_problem(kind: SqlType, column: checks.ExistingColumn) -> str | None:
    """Say why a column cannot hold every value of a contract's type as it is; ``None`` = it can."""
    actual, size, scale = column.kind, column.size, column.scale
    family = kind.family
    if family is Family.BIT:
        return None if actual in ("bool", *_INTEGER_BYTES) else "not a boolean"
    if family is Family.INTEGER:
        low, high = INTEGER_RANGES[kind.name]
        if actual in _INTEGER_BYTES:
            reach = 2 ** (8 * _INTEGER_BYTES[actual] - 1)
            return None if -reach <= low and high < reach else "too small"
        if actual == "numeric":
            return None if size is None or size - (scale or 0) >= len(str(high)) else "too small"
        return "not an integer"
    if family is Family.DECIMAL:
        return _decimal_problem(kind, actual, size, scale)
    if family is Family.FLOAT:
        if actual == "float8" or (actual == "float4" and kind.name == "real"):
            return None
        return "not a floating point number wide enough"
    if family is Family.BINARY:
        return None if actual == "bytea" else "not bytea"
    if family is Family.GUID:
        return None if actual == "uuid" else _text_problem(actual, size, 36)
    if family is Family.XML:
        return None if actual == "xml" else _text_problem(actual, size, None)
    if family is Family.TEXT:
        if actual == "bpchar" and not kind.is_fixed_length:
            return "trailing blanks are lost there"
        if actual == "bpchar" and kind.length is not None and size is not None and size >= kind.length:
            return None
        return _text_problem(actual, size, kind.length)
    return _temporal_problem(kind, actual, size, scale)


def _decimal_problem(kind: SqlType, actual: str, size: int | None, scale: int | None) -> str | None:
    precision, digits = kind.precision or 0, kind.scale or 0
    if actual in _INTEGER_BYTES:
        # 4, 9 and 18 digits always fit into 2, 4 and 8 bytes.
        if digits == 0 and precision <= {2: 4, 4: 9, 8: 18}[_INTEGER_BYTES[actual]]:
            return None
        return "too small"
    if actual != "numeric":
        return "not an exact decimal"
    if size is None:
        return None
    if (scale or 0) < digits:
        return "has fewer decimal places, so that values would be rounded"
    return None if size - (scale or 0) >= precision - digits else "too small"


def _temporal_problem(kind: SqlType, actual: str, size: int | None, scale: int | None) -> str | None:
    family, digits = kind.family, kind.scale or 0
    if actual in ("text", "varchar"):
        return _text_problem(actual, size, temporal_length(kind))
    if actual in ("timestamptz", "timetz"):
        return "a column with a time zone changes the value by the session's zone; use timestamp or text"
    fits = {
        Family.DATE: ("date",), Family.TIME: ("time",), Family.DATETIME: ("timestamp",),
    }.get(family, ())  # fmt: skip
    if actual not in fits:
        return "not of a fitting date or time type" if fits else "the offset would be lost; use text"
    if digits > (6 if scale is None else scale):
        return "has fewer digits of a second, so that values would be rounded"
    return None


def _text_problem(actual: str, size: int | None, length: int | None) -> str | None:
    if actual in ("text", "citext"):
        return None
    if actual != "varchar":
        return "not a text"
    if size is None or (length is not None and size >= length):
        return None
    return "too short"
