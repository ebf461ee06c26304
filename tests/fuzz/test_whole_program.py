"""A source full of broken and changed documents through the whole program, each way of running it."""

from __future__ import annotations

import os
import random
import sqlite3
from collections import Counter

import pytest

from tests.fuzz import documents
from tests.fuzz.invariants import CONTRACTS, STARTED_AT, Outcome, outcome
from tests.support.tables import Tables, exact, ledger, ledger_rows_match_tables, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.records import SourceDocument

DOCUMENTS = int(os.environ.get("XML_EXTRACTOR_FUZZ_DOCUMENTS", "150"))
SEED = 11


def contents() -> list[tuple[int, str | bytes | None]]:
    """Sound, changed and hopeless documents, as text and as bytes."""
    originals = documents.applications(40)
    found: list[tuple[int, str | bytes | None]] = [(0, None), (-1, ""), (-2, b"")]
    for key in range(1, DOCUMENTS + 1):
        rng = random.Random(SEED * 1_000_003 + key)
        text = rng.choice(originals)
        content: str | bytes = text
        if key % 3:
            content = documents.mutated(text, rng, documents.GENTLE if key % 2 else documents.MUTATORS)
        if isinstance(content, str) and any("\ud800" <= c <= "\udfff" or c == "\0" for c in content):
            content = content.encode("utf-8", "surrogatepass")  # SQLite ends a text at NUL
        found.append((key, content))
    return found


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A source in a SQLite file that no test writes to."""
    path = tmp_path_factory.mktemp("hostile") / "source.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE app_xml (app_id integer PRIMARY KEY, app_xml text)")
        connection.executemany("INSERT INTO app_xml VALUES (?, ?)", contents())
    connection.close()
    return f"sqlite:///{path.as_posix()}"


def expected(plan: Plan) -> tuple[Tables, dict[str, str]]:
    """What mapping each document alone gives: the tables, and the state of each key."""
    tables: Tables = {table.name: [] for table in plan.tables}
    states: dict[str, str] = {}
    mapper = DataMapper(plan, STARTED_AT)
    for key, content in contents():
        found = outcome(mapper, SourceDocument(key, content))
        states[str(key)] = _state(plan, found)
        if found.mapped is None or states[str(key)] != "loaded":
            continue
        for table, rows in zip(plan.tables, found.mapped.rows, strict=True):
            tables[table.name] += [tuple(map(exact, row)) for row in rows]
    return {name: sorted(rows, key=repr) for name, rows in tables.items()}, states


def _state(plan: Plan, found: Outcome) -> str:
    if found.mapped is None:
        return "quarantined" if found.rejected else "skipped"
    for table, rows in zip(plan.tables, found.mapped.rows, strict=True):
        keys = Counter(tuple(row[i] for i in table.primary_key) for row in rows)
        if any(count > 1 for count in keys.values()):
            return "quarantined"  # by the target: the document holds one key twice
    return "loaded"


@pytest.mark.parametrize(
    "database_url", ["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)], indirect=True
)
@pytest.mark.parametrize(("executor", "workers"), [("serial", 1), ("thread", 3), ("process", 2)])
def test_hostile_source(executor: str, workers: int, database_url: str, source: str) -> None:
    contract = Contract.read(CONTRACTS["loan_application"])
    tables, states = expected(contract.plan)
    options = LoadOptions(
        executor=executor, workers=workers, batch_size=40, create_tables=True, drift_sample=0
    )
    summary = load(source, database_url, contract, options)
    counts = Counter(states.values())
    assert min(counts["loaded"], counts["quarantined"]) > DOCUMENTS / 5
    assert summary.documents.read == DOCUMENTS + 3
    assert summary.documents.unfinished == 0
    assert (summary.documents.loaded, summary.documents.quarantined, summary.documents.skipped) == (
        counts["loaded"], counts["quarantined"], counts["skipped"],
    )  # fmt: skip
    assert ledger(database_url) == states
    ledger_rows_match_tables(database_url, contract.plan)
    found = read_tables(database_url, contract.plan)
    for name, rows in tables.items():
        assert found[name] == rows, f"table {name} differs"
