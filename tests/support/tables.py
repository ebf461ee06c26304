"""Reads target tables back with SQL, in one form whatever the engine: whole tables can be compared."""

from __future__ import annotations

import json
from collections import Counter
from decimal import Decimal
from typing import Any

from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.read_back import canonical

Tables = dict[str, list[tuple[Any, ...]]]

_WORDS = {
    "sqlite": {
        "text": "text", "name": "text", "bytes": "blob", "moment": "timestamp", "unique": "UNIQUE",
        "length": "length", "computed": "integer GENERATED ALWAYS AS", "stored": "STORED",
    },
    "postgresql": {
        "text": "text", "name": "text", "bytes": "bytea", "moment": "timestamp", "unique": "UNIQUE",
        "length": "length", "computed": "integer GENERATED ALWAYS AS", "stored": "STORED",
    },
    "mssql": {
        "text": "nvarchar(max)", "name": "nvarchar(200) COLLATE Latin1_General_BIN2",
        "bytes": "varbinary(max)", "moment": "datetime2(6)", "length": "LEN",
        "unique": "",  # allows one NULL
        "computed": "AS", "stored": "PERSISTED",
    },
}  # fmt: skip


def dialect_of(url: str) -> str:
    """The engine of a URL, as ``Engine.name`` says it."""
    return url.partition(":")[0].partition("+")[0]


def blanks_count(dialect: str) -> bool:
    """Whether texts that differ in nothing but trailing blanks are two; SQL's standard says no."""
    return dialect != "mssql"


def portable(dialect: str, sql: str) -> str:
    """Fill in the words of SQL in which engines differ.

    ``{text}``: unbounded Unicode text; ``{name}``: such as can be a key, compared exactly; ``{bytes}``;
    ``{moment}``: date and time to the microsecond; ``{unique}``: unique, but for any number of NULLs, where
    there is that; ``{length}``: the function; ``{computed} (…) {stored}``: an integer that the
    server computes.
    """
    return sql.format_map(_WORDS[dialect])


def read_tables(url: str, plan: Plan) -> Tables:
    """Return all rows of all tables of the plan, canonical and sorted."""
    engine = open_engine(url)
    session = engine.connect(write=False, application="tests")
    try:
        tables: Tables = {}
        for table in plan.tables:
            columns = [column for column in table.columns if not column.server_generated]
            names = ", ".join(engine.exact(column.name, column.type) for column in columns)
            types = [column.type for column in columns]
            rows = session.query(f"SELECT {names} FROM {engine.quote(table.name)}")
            tables[table.name] = sorted(
                (
                    tuple(exact(canonical(value, type_)) for value, type_ in zip(row, types, strict=True))
                    for row in rows
                ),
                key=repr,
            )
        return tables
    finally:
        session.close()


def exact(value: Any) -> Any:
    """Decimals as text, to the last digit: Python takes 1.1 for 1.10."""
    return str(value) if isinstance(value, Decimal) else value


def ledger(url: str) -> dict[str, str]:
    """Return source key → state of all ledger rows; a key that is there twice fails."""
    rows = query(url, "SELECT source_key, state FROM load_ledger")
    twice = [key for key, count in Counter(key for key, _ in rows).items() if count > 1]
    assert not twice, f"in the ledger more than once: {twice}"
    return {str(key): str(state) for key, state in rows}


def query(url: str, sql: str) -> list[tuple[Any, ...]]:
    """Run a SELECT on a connection of its own."""
    session = open_engine(url).connect(write=False, application="tests")
    try:
        return session.query(sql)
    finally:
        session.close()


def execute(url: str, *statements: str) -> None:
    """Run statements on a connection of its own."""
    session = open_engine(url).connect(write=True, application="tests")
    try:
        for statement in statements:
            session.execute(statement)
    finally:
        session.close()


def ledger_rows_match_tables(url: str, plan: Plan) -> None:
    """Compare, per document and table, the rows that the ledger recorded with the rows that are there."""
    loads = {
        int(load_id): json.loads(tables)
        for load_id, tables in query(url, "SELECT load_id, tables FROM load_runs")
    }
    recorded: Counter[tuple[str, str]] = Counter()
    for key, state, load_id, counts in query(
        url, "SELECT source_key, state, load_id, row_counts FROM load_ledger"
    ):
        if state == "loaded":
            for table, count in zip(loads[int(load_id)], str(counts).split(","), strict=True):
                recorded[table, str(key)] += int(count)
    found: Counter[tuple[str, str]] = Counter()
    tables = read_tables(url, plan)
    for table in plan.tables:
        assert table.key_column is not None
        names = [index for index, column in enumerate(table.columns) if not column.server_generated]
        position = names.index(table.key_column)
        for row in tables[table.name]:
            found[table.name, str(row[position])] += 1
    assert +recorded == +found
