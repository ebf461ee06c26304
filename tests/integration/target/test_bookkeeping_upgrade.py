"""Databases whose bookkeeping an earlier release made, with data in it, on real servers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support import target_plans
from tests.support.old_bookkeeping import VERSION_1
from tests.support.tables import dialect_of, execute, query
from tests.support.target_plans import plan as two_tables
from tests.support.target_plans import refused
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, table_specs
from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.target import bookkeeping, schema_check
from xml_extractor.target.base import LoadHandle
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.ledger import document_digest

MOMENT = "2025-01-02 03:04:05.000006"


@pytest.fixture
def old(database_url: str) -> Engine:
    """A database that version 1 loaded into and was interrupted at: two documents loaded, one refused."""
    engine = open_engine(database_url)
    plan = two_tables()
    execute(database_url, *VERSION_1[dialect_of(database_url)], *engine.create_statements(table_specs(plan)))
    digests = {key: document_digest(target_plans.SOURCE, plan.contract, key) for key in (1, 2, 3)}
    run = (
        1, target_plans.SOURCE, plan.contract, 1, plan.digest, '["base", "contact"]', MOMENT, None, "running",
        "{}", None,
    )  # fmt: skip
    ledger_rows: list[tuple[Any, ...]] = [
        (digests[1], "1", "loaded", 1, 7, b"h" * 16, "1,0", MOMENT),
        (digests[2], "2", "loaded", 1, 7, None, "1,0", MOMENT),
        (digests[3], "3", "quarantined", 1, 8, b"q" * 16, "", MOMENT),
    ]
    why = (digests[3], 1, "3", "parse", "not_well_formed", "it is no XML", None, None, "a/b", MOMENT)
    session = engine.connect(write=True, application="tests")
    try:
        session.insert_new(bookkeeping.SCHEMA, ("version", "applied_at"), [(1, MOMENT)])
        session.insert_new(bookkeeping.RUNS, _columns(bookkeeping.RUNS, without="ranges_epoch"), [run])
        session.insert_new(bookkeeping.LEDGER, bookkeeping.LEDGER_COLUMNS, ledger_rows)
        session.insert_new(
            bookkeeping.QUARANTINE, _columns(bookkeeping.QUARANTINE, without="document_hash"), [why]
        )
    finally:
        session.close()
    return engine


def _columns(table: str, *, without: str) -> list[str]:
    spec = next(spec for spec in bookkeeping.bookkeeping_specs() if spec.name == table)
    return [column.name for column in spec.columns if column.name != without]


def prepare(engine: Engine, **more: Any) -> LoadHandle:
    arguments: dict[str, Any] = {
        "source_name": target_plans.SOURCE, "source_name_explicit": False, "create_tables": False,
        "dry_run": False, "on_plan_change": "report", "settings": {}, **more,
    }  # fmt: skip
    return DatabaseTarget(engine, retry_seconds=5).prepare(two_tables(), **arguments)


@pytest.mark.parametrize("create_tables", [False, True])
def test_a_database_of_version_1_is_upgraded_and_its_load_goes_on(
    old: Engine, database_url: str, create_tables: bool
) -> None:
    handle = prepare(old, create_tables=create_tables)
    try:
        assert (handle.load_id, handle.resumed) == (1, True)
        known = handle.lookup([1, 2, 3, 4])
        assert {key: entry.state for key, entry in known.items()} == {
            1: State.LOADED, 2: State.LOADED, 3: State.QUARANTINED,
        }  # fmt: skip
        writer = handle.writer(1)
        record = refused(4)
        record.document_hash = b"n" * 16
        assert writer.commit_batch([record]).quarantined == 1
        writer.close()
    finally:
        handle.close()
    versions = query(database_url, "SELECT version FROM load_schema ORDER BY version")
    assert [row[0] for row in versions] == [1, 2, 3]
    refusals = query(
        database_url, "SELECT source_key, code, document_hash FROM load_quarantine ORDER BY source_key"
    )
    assert [(key, code, hash_ and bytes(hash_)) for key, code, hash_ in refusals] == [
        ("3", "not_well_formed", None), ("4", "not_well_formed", b"n" * 16),
    ]  # fmt: skip
    assert query(database_url, "SELECT * FROM load_ranges") == []
    assert query(database_url, "SELECT * FROM load_owed_keys") == []
    assert query(database_url, "SELECT load_id, ranges_epoch FROM load_runs") == [(1, None)]
    prepare(old).close()
    assert len(query(database_url, "SELECT version FROM load_schema")) == 3, "upgraded once"


def test_what_an_administrator_did_by_hand_is_not_done_again(old: Engine, database_url: str) -> None:
    specs = {spec.name: spec for spec in bookkeeping.bookkeeping_specs()}
    execute(
        database_url,
        old.add_column_statement(specs[bookkeeping.QUARANTINE], "document_hash"),
        *old.create_statements([specs[bookkeeping.RANGES]]),
        *old.create_statements([specs[bookkeeping.OWED_KEYS]]),
    )
    prepare(old).close()
    assert query(database_url, "SELECT ranges_epoch FROM load_runs") == [(None,)]
    assert query(database_url, "SELECT MAX(version) FROM load_schema") == [(3,)]


def test_nothing_is_upgraded_by_what_only_looks(old: Engine, database_url: str) -> None:
    with pytest.raises(UsageError, match="without --dry-run"):
        prepare(old, dry_run=True)
    with pytest.raises(UsageError, match="the next load upgrades them"), Bookkeeping(database_url):
        pass
    session = old.connect(write=False, application="tests")
    try:
        assert schema_check.compared(old, session, two_tables()) == ([], [])
    finally:
        session.close()
    assert [row[0] for row in query(database_url, "SELECT version FROM load_schema")] == [1]


def test_what_is_made_from_version_1_is_what_a_new_database_gets(old: Engine, database_url: str) -> None:
    """Whatever is written to a new layout can be written to an upgraded one: every column, in every table."""
    prepare(old).close()
    for spec in bookkeeping.bookkeeping_specs():
        names = ", ".join(column.name for column in spec.columns)
        query(database_url, f"SELECT {names} FROM {spec.name} WHERE 1 = 0")


def test_records_of_the_upgraded_quarantine_can_be_replaced(old: Engine) -> None:
    handle = prepare(old)
    try:
        entry = handle.lookup([3])[3]
        again: DocumentRecord = refused(3, previous=entry.previous)
        writer = handle.writer(1)
        assert writer.commit_batch([again]).quarantined == 1
        writer.close()
    finally:
        handle.close()
