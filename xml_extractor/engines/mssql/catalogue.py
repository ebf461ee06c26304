"""What SQL Server's catalogue says of existing tables: their columns, keys, triggers.

Only documented columns of the catalogue views of SQL Server 2016 and later are asked.  Names are compared
by the server, so that a database that ignores case finds a table however the contract writes it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from xml_extractor.contract.plan import Plan, SourcePlan
from xml_extractor.contract.types import INTEGER_RANGES
from xml_extractor.engines import checks
from xml_extractor.engines.base import Session
from xml_extractor.engines.mssql import names
from xml_extractor.engines.mssql.fitting import DEPRECATED, ENCRYPTED, type_problem
from xml_extractor.engines.mssql.types import is_code_page_text

_TEXTS: Final = ("char", "varchar", "nchar", "nvarchar")
_BINARIES: Final = ("binary", "varbinary")
_WITH_DIGITS: Final = ("time", "datetime2", "datetimeoffset")


# ------------------------------------------------------------------------------------------ tables


@dataclass(frozen=True, slots=True)
class _Object:
    """A table or view by its number, and the catalogue that knows it: ``[database].``, or nothing."""

    number: int
    catalogue: str


def _find(session: Session, table: str, schema: str | None) -> _Object | None:
    """Find a table or view, or what a synonym stands for; None = there is none that this login may see."""
    parts = names.table_parts(table, schema)
    if len(parts) > names.MOST_PARTS:
        return None
    catalogue = f"{names.quote_identifier(parts[0])}." if len(parts) == names.MOST_PARTS else ""
    name = names.quote_table(table, schema)
    found = _object_number(session, name, catalogue)
    if found is not None or catalogue:
        return found
    synonyms = session.query(
        "SELECT base_object_name, PARSENAME(base_object_name, 3), PARSENAME(base_object_name, 4) "
        "FROM sys.synonyms WHERE object_id = OBJECT_ID(?)",
        (name,),
    )
    if not synonyms or synonyms[0][2] is not None:  # a linked server's catalogue is out of reach
        return None
    base, database, _ = synonyms[0]
    return _object_number(session, base, f"{names.quote_identifier(database)}." if database else "")


def _object_number(session: Session, name: str, catalogue: str) -> _Object | None:
    rows = session.query(
        f"SELECT object_id FROM {catalogue}sys.objects WHERE object_id = OBJECT_ID(?) AND type IN ('U', 'V')",
        (name,),
    )
    return _Object(rows[0][0], catalogue) if rows else None


def describe(session: Session, table: str, schema: str | None) -> checks.ExistingTable | None:
    """Describe a table, a view or what a synonym stands for; None if there is none of this name.

    Args:
        schema: where a table named without a schema is looked for; None = where the server looks.
    """
    found = _find(session, table, schema)
    return None if found is None else _described(session, found)


def _described(session: Session, found: _Object) -> checks.ExistingTable:
    rows = session.query(
        "SELECT c.name, t.name, b.name, c.max_length, c.precision, c.scale, c.is_nullable, "
        "CASE WHEN c.default_object_id <> 0 OR c.is_identity = 1 THEN 1 ELSE 0 END, "
        "CASE WHEN c.is_computed = 1 OR c.generated_always_type <> 0 OR c.is_hidden = 1 "
        "OR c.is_column_set = 1 THEN 1 ELSE 0 END, "
        "CASE WHEN c.encryption_type IS NOT NULL THEN 1 ELSE 0 END, c.xml_collection_id, "
        "c.collation_name, CAST(COLLATIONPROPERTY(c.collation_name, 'CodePage') AS int) "
        f"FROM {found.catalogue}sys.columns AS c "
        f"JOIN {found.catalogue}sys.types AS t ON t.user_type_id = c.user_type_id "
        # The base of an alias type; CLR types (geography and the like) have none.
        f"LEFT JOIN {found.catalogue}sys.types AS b ON b.user_type_id = c.system_type_id "
        "WHERE c.object_id = ? ORDER BY c.column_id",
        (found.number,),
    )
    return checks.ExistingTable(tuple(_column(*row) for row in rows))


def _column(
    name: str, declared: str, base: str | None, max_length: int, precision: int, scale: int, nullable: bool,
    has_default: int, generated: int, encrypted: int, xml_collection: int, collation: str | None,
    code_page: int | None,
) -> checks.ExistingColumn:  # fmt: skip
    kind = "decimal" if base == "numeric" else base or declared
    size = digits = None
    if kind in (*_TEXTS, *_BINARIES):
        # max_length is in bytes, -1 for max.
        size = None if max_length < 0 else max_length // 2 if kind.startswith("n") else max_length
    elif kind == "decimal":
        size, digits = precision, scale
    elif kind in _WITH_DIGITS:
        digits = scale
    # timestamp is the catalogue's name for rowversion.
    text = "rowversion" if kind == "timestamp" else _type_sql(kind, size, digits)
    if xml_collection:
        text += " with a schema collection"
    if encrypted:
        text += ", encrypted"
    if base not in (None, declared):
        text = f"{declared} ({text})"
    never_written = bool(generated) or kind == "timestamp"
    return checks.ExistingColumn(
        name=name,
        type_text=text,
        nullable=bool(nullable),
        has_default=bool(has_default) or never_written,
        never_written=never_written,
        kind=ENCRYPTED if encrypted else kind,
        size=size,
        scale=digits,
        collation=collation,
        code_page=code_page,
    )


def _type_sql(kind: str, size: int | None, digits: int | None) -> str:
    if kind in (*_TEXTS, *_BINARIES):
        return f"{kind}({'max' if size is None else size})"
    if kind == "decimal":
        return f"decimal({size},{digits})"
    return f"{kind}({digits})" if kind in _WITH_DIGITS else kind


def own_type(column: checks.ExistingColumn) -> str:
    """A column's type as SQL, an alias type's by its base."""
    return _type_sql(column.kind, column.size, column.scale)


def ignores_case(session: Session) -> bool:
    """Whether the database takes names that differ in case alone for one."""
    rows = session.query(
        "SELECT CASE WHEN N'a' COLLATE CATALOG_DEFAULT = N'A' COLLATE CATALOG_DEFAULT THEN 1 ELSE 0 END"
    )
    return bool(rows[0][0])


def schema_problem(session: Session, schema: str | None) -> str | None:
    """Say that the schema which was set is not in the database; None = it is, or none was set."""
    if schema is None or session.query("SELECT 1 WHERE SCHEMA_ID(?) IS NOT NULL", (schema,)):
        return None
    return (
        f"schema {schema} does not exist in the database: create it (CREATE SCHEMA "
        f"{names.quote_identifier(schema)}), or name one that does"
    )


def table_problems(session: Session, plan: Plan, schema: str | None) -> list[str]:
    """Compare existing tables with the plan; one sentence a problem, empty = all fits."""
    problem = schema_problem(session, schema)
    if problem is not None:
        return [problem]
    # Of the whole contract, so any column's will do.
    codec = next(
        (c.conversion.code_page for t in plan.tables for c in t.columns if is_code_page_text(c.type)), "ascii"
    )
    return checks.table_problems(
        plan,
        lambda name: describe(session, name, schema),
        lambda kind, column: type_problem(kind, column, codec),
        ignore_case=ignores_case(session),
    )


def identity_columns(session: Session, table: str, schema: str | None) -> set[str]:
    """The columns that the server numbers: to write them takes IDENTITY_INSERT, and to leave them nothing.

    At most one in a table; empty too where the table is not there.
    """
    found = _find(session, table, schema)
    if found is None:
        return set()
    sql = f"SELECT name FROM {found.catalogue}sys.columns WHERE object_id = ? AND is_identity = 1"
    return {name for (name,) in session.query(sql, (found.number,))}


@dataclass(frozen=True, slots=True)
class Trigger:
    """An enabled trigger that an INSERT fires."""

    name: str
    instead_of: bool
    """It runs in place of the INSERT: whether a row gets into the table is its decision."""
    sets_nocount: bool | None
    """Whether SET NOCOUNT ON stands in it, without which it adds counts to the INSERT's own; None = its
    text may not be seen."""


def triggers(session: Session, table: str, schema: str | None) -> list[Trigger]:
    """The enabled triggers that an INSERT into a table fires, by name."""
    found = _find(session, table, schema)
    if found is None:
        return []
    rows = session.query(
        "SELECT t.name, t.is_instead_of_trigger, CASE WHEN m.definition IS NULL THEN NULL "
        "WHEN UPPER(m.definition) LIKE N'%SET NOCOUNT ON%' THEN 1 ELSE 0 END "
        f"FROM {found.catalogue}sys.triggers AS t "
        f"JOIN {found.catalogue}sys.trigger_events AS e ON e.object_id = t.object_id "
        f"LEFT JOIN {found.catalogue}sys.sql_modules AS m ON m.object_id = t.object_id "
        "WHERE t.parent_id = ? AND t.is_disabled = 0 AND e.type_desc = 'INSERT' ORDER BY t.name",
        (found.number,),
    )
    return [
        Trigger(name, bool(instead_of), None if nocount is None else bool(nocount))
        for name, instead_of, nocount in rows
    ]


# ----------------------------------------------------------------------------------------- source key


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """The key column of a source table: all that paging by it has to know."""

    name: str
    """As the catalogue writes it."""
    type_sql: str
    """Its own type, alias types resolved: ``bigint``, ``varchar(50)``, ``decimal(18,0)``."""
    collation: str | None
    is_integer: bool
    """A whole number, though the driver may hand it over as a Decimal."""
    is_guid: bool
    nullable: bool
    unique_index: bool
    """Whether an index keeps it unique in all rows, so that the table need not be searched for doubles."""

    @classmethod
    def of(cls, column: checks.ExistingColumn, *, unique_index: bool = False) -> KeyColumn:
        """What the catalogue's description of a column says of it as a key."""
        return cls(
            name=column.name,
            type_sql=own_type(column),
            collation=column.collation if column.kind in _TEXTS else None,
            is_integer=column.kind in INTEGER_RANGES or (column.kind == "decimal" and column.scale == 0),
            is_guid=column.kind == "uniqueidentifier",
            nullable=column.nullable,
            unique_index=unique_index,
        )

    @property
    def parameter(self) -> str:
        """A parameter to compare the column with: ``?``, cast to the column's type and collation.

        Sent as nvarchar and compared as it is, a parameter would turn a varchar column's comparison into
        one by other rules than ORDER BY's.  Of the column's type it is as long as can be, so that a longer
        key is not cut into one that is there.  The inner COLLATE makes the text be read by the column's
        code page and not by the database's.
        """
        if self.collation is None:
            return f"CAST(? AS {self.type_sql})"
        wide = "nvarchar" if self.type_sql.startswith("n") else "varchar"
        length = "max" if self.type_sql.endswith("(max)") else 4000 if wide == "nvarchar" else 8000
        return f"CAST(? COLLATE {self.collation} AS {wide}({length})) COLLATE {self.collation}"


def key_column(session: Session, source: SourcePlan, schema: str | None) -> KeyColumn | None:
    """Describe the key column of a source; None = no such table, or no such column in it."""
    found = _find(session, source.table, schema)
    if found is None:
        return None
    column = _described(session, found).column(source.key, ignore_case=ignores_case(session))
    if column is None:
        return None
    return KeyColumn.of(column, unique_index=_has_unique_index(session, found, column.name))


def _has_unique_index(session: Session, found: _Object, column: str) -> bool:
    """Whether a unique index of all rows has this column as its only key column."""
    return bool(
        session.query(
            f"SELECT 1 FROM {found.catalogue}sys.indexes AS i "
            f"JOIN {found.catalogue}sys.index_columns AS k "
            "ON k.object_id = i.object_id AND k.index_id = i.index_id AND k.key_ordinal > 0 "
            f"JOIN {found.catalogue}sys.columns AS c "
            "ON c.object_id = k.object_id AND c.column_id = k.column_id "
            "WHERE i.object_id = ? AND i.is_unique = 1 AND i.has_filter = 0 AND i.is_disabled = 0 "
            "AND i.is_hypothetical = 0 "
            "GROUP BY i.index_id HAVING COUNT(*) = 1 AND MAX(c.name) = ?",
            (found.number, column),
        )
    )


def key_problem(session: Session, source: SourcePlan, display: str, schema: str | None) -> str | None:
    """Say why the source table cannot be read safely, with the cure; None = it can.

    Args:
        display: the database in words.
    """
    found = _find(session, source.table, schema)
    existing = None if found is None else _described(session, found)
    if existing is not None and ignores_case(session):
        existing = _renamed(existing, source)
    problem = checks.source_columns_problem(source, existing, display)
    if problem is not None or existing is None or found is None:
        return problem
    column = existing.column(source.key, ignore_case=False)
    assert column is not None
    key = KeyColumn.of(column, unique_index=_has_unique_index(session, found, column.name))
    if not (key.is_integer or key.is_guid or column.kind in _TEXTS):
        return _key_type_problem(source, column)
    where = f" WHERE ({source.where})" if source.where else ""
    quoted, table = names.quote_identifier(source.key), names.quote_table(source.table, schema)
    if key.nullable:
        null = f"{where} AND {quoted} IS NULL" if where else f" WHERE {quoted} IS NULL"
        count = int(session.query(f"SELECT COUNT_BIG(*) FROM {table}{null}")[0][0])
        if count:
            return checks.null_key_problem(source, count)
    return None if key.unique_index else _duplicates_problem(session, source, key, f"{table}{where}", quoted)


def _renamed(existing: checks.ExistingTable, source: SourcePlan) -> checks.ExistingTable:
    """The table with the columns that the source names written as the source writes them."""
    wanted = {name.lower(): name for name in (source.key, source.document, *source.columns)}
    return checks.ExistingTable(
        tuple(replace(c, name=wanted.get(c.name.lower(), c.name)) for c in existing.columns)
    )


def _key_type_problem(source: SourcePlan, column: checks.ExistingColumn) -> str:
    where = f"key column {source.table}.{source.key} is {column.type_text}"
    if column.kind in DEPRECATED:
        return (
            f"{where}, a deprecated type that can be neither sorted nor compared: ALTER TABLE … ALTER COLUMN "
            f"to {DEPRECATED[column.kind]}, or better to one with a length, or read from a view that casts it"
        )
    return (
        f"{where}; a key has to be an integer (tinyint to bigint, decimal without decimal places), a text "
        "(char, varchar, nchar, nvarchar) or uniqueidentifier: convert the column, or read from a view that "
        "does"
    )


def _duplicates_problem(
    session: Session, source: SourcePlan, key: KeyColumn, rows: str, quoted: str
) -> str | None:
    count = _repeated(session, rows, quoted)
    if not count:
        return None
    # Byte by byte, what is one key to the collation may be several.
    width = "max" if key.type_sql.endswith("(max)") else "8000"
    in_bytes = f"{quoted}, CAST({quoted} AS varbinary({width}))"
    if key.collation is None or _repeated(session, rows, in_bytes):
        return checks.duplicate_key_problem(source, count)
    keys = "1 key of" if count == 1 else f"{count} keys of"
    return (
        f"{keys} column {source.table}.{source.key} stand for several rows that differ only in case, accents "
        f"or trailing blanks: they are equal under the column's collation {key.collation}, and only one of "
        "their documents could be loaded; give the column a collation that tells them apart (a binary one "
        "does, but for trailing blanks), or name a column that is unique as source.key in the contract"
    )


def _repeated(session: Session, rows: str, grouping: str) -> int:
    """The number of groups of more than one row."""
    grouped = f"SELECT 1 AS one FROM {rows} GROUP BY {grouping} HAVING COUNT_BIG(*) > 1"
    return int(session.query(f"SELECT COUNT_BIG(*) FROM ({grouped}) AS repeated")[0][0])
