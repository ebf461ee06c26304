"""Databases whose bookkeeping an earlier release made, with data in it, on real servers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support import target_plans
from tests.support.old_bookkeeping import VERSION_1
from tests.support.tables import dialect_of, execute, query
from tests.support.target_plans import plan as two_tables
from tests.support.target_plans import refused
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, Session, table_specs
from xml_extractor.errors import TargetSchemaError, UsageError
from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.target import bookkeeping, schema_check, upgrading
from xml_extractor.target.base import LoadHandle
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.ledger import DocumentDigests, key_text

MOMENT = "2025-01-02 03:04:05.000006"


@pytest.fixture
def old(database_url: str) -> Engine:
    """A database that version 1 loaded into and was interrupted at: two documents loaded, one refused."""
    engine = open_engine(database_url)
    plan = two_tables()
    execute(database_url, *VERSION_1[dialect_of(database_url)], *engine.create_statements(table_specs(plan)))
    known = DocumentDigests(target_plans.SOURCE, plan.contract)
    digests = {key: known.hashed_digest(key) for key in (1, 2, 3)}
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
    assert [row[0] for row in versions] == [1, 2, 3, 4]
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
    assert len(query(database_url, "SELECT version FROM load_schema")) == 4, "upgraded once"


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
    assert query(database_url, "SELECT MAX(version) FROM load_schema") == [(4,)]


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


# ------------------------------------------------------------------------------------- version 4


def digests_of(database_url: str, table: str) -> dict[str, bytes]:
    return {
        text: bytes(digest) for text, digest in query(database_url, f"SELECT source_key, digest FROM {table}")
    }


def test_digests_of_whole_numbers_come_into_the_order_of_the_keys(
    old: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page; texts, and numbers of more than 64 bits, keep theirs; rows of a load that is no longer
    known are told by the sources that are."""
    monkeypatch.setattr(upgrading, "ROWS_AT_ONCE", 3)
    known = DocumentDigests(target_plans.SOURCE, two_tables().contract)
    other = DocumentDigests("elsewhere", "another")
    more: list[tuple[int | str, int]] = [
        *((key, 1) for key in range(10, 30)), (-5, 1), (2**63 - 1, 1), (-(2**63), 1), (2**63, 1), ("7", 1),
        ("a\0b", 1), (40, 99),
    ]  # fmt: skip
    rows = [
        (known.hashed_digest(key), key_text(key), "loaded", load_id, 9, None, "1,0", MOMENT)
        for key, load_id in more
    ]
    rows.append((other.hashed_digest(1), "1", "loaded", 2, 9, None, "", MOMENT))
    run = (2, "elsewhere", "another", 1, "p", "[]", MOMENT, None, "finished", "{}", None)
    session = old.connect(write=True, application="tests")
    try:
        session.insert_new(bookkeeping.RUNS, _columns(bookkeeping.RUNS, without="ranges_epoch"), [run])
        session.insert_new(bookkeeping.LEDGER, bookkeeping.LEDGER_COLUMNS, rows)
    finally:
        session.close()
    before = query(database_url, "SELECT COUNT(*) FROM load_ledger")
    prepare(old).close()
    found = {
        bytes(digest): (text, load_id)
        for digest, text, load_id in query(
            database_url, "SELECT digest, source_key, load_id FROM load_ledger"
        )
    }
    expected = {known.digest(key): (key_text(key), load_id) for key, load_id in more}
    expected |= {known.digest(key): (str(key), 1) for key in (1, 2, 3)}
    expected[other.digest(1)] = ("1", 2)
    assert found == expected
    assert [(len(found),)] == before
    assert digests_of(database_url, "load_quarantine") == {"3": known.digest(3)}
    numbers = [key for key, _ in more if isinstance(key, int) and -(2**63) <= key < 2**63]
    assert sorted(numbers) == sorted(numbers, key=known.digest)
    assert known.digest("7") == known.hashed_digest("7")
    assert known.digest(2**63) == known.hashed_digest(2**63)


def test_a_document_of_no_known_source_stops_the_upgrade(old: Engine, database_url: str) -> None:
    """Its digest could not be made anew, and the document would be loaded a second time."""
    execute(database_url, "DELETE FROM load_runs")
    before = digests_of(database_url, "load_ledger")
    with pytest.raises(TargetSchemaError, match=r"load 1.* nothing was changed"):
        prepare(old)
    assert digests_of(database_url, "load_ledger") == before
    assert query(database_url, "SELECT MAX(version) FROM load_schema") == [(3,)]


def test_finished_ranges_of_before_are_forgotten(old: Engine, database_url: str) -> None:
    """Their contents are sums over the old digests."""
    session = old.connect(write=True, application="tests")
    try:
        steps = upgrading.UPGRADE_STEPS
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(upgrading, "UPGRADE_STEPS", steps[:2])
            upgrading.upgrade(old, session, datetime(2025, 1, 2, tzinfo=UTC), dry_run=False)
        values = (b"r" * 16, 1, "", 0, 1, None, "3", 2, 1, 0, 0, b"c" * 16, MOMENT)
        session.insert_new(bookkeeping.RANGES, bookkeeping.RANGES_COLUMNS, [values])
    finally:
        session.close()
    prepare(old).close()
    assert query(database_url, "SELECT * FROM load_ranges") == []


def test_an_upgrade_that_is_cut_off_changes_nothing_and_is_done_by_the_next(
    old: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = [digests_of(database_url, table) for table in ("load_ledger", "load_quarantine")]
    session = old.connect(write=True, application="tests")

    change = type(session).execute_many

    def cut_off(self: Session, sql: str, parameters: Any) -> None:
        if "load_quarantine" in sql:  # rows of the ledger are changed by then
            raise KeyboardInterrupt
        change(self, sql, parameters)

    try:
        with monkeypatch.context() as context:
            context.setattr(type(session), "execute_many", cut_off)
            with pytest.raises(KeyboardInterrupt):
                upgrading.upgrade(old, session, datetime(2025, 1, 2, tzinfo=UTC), dry_run=False)
    finally:
        session.close()
    assert [digests_of(database_url, table) for table in ("load_ledger", "load_quarantine")] == before
    assert query(database_url, "SELECT MAX(version) FROM load_schema") == [(3,)]
    prepare(old).close()
    known = DocumentDigests(target_plans.SOURCE, two_tables().contract)
    assert digests_of(database_url, "load_ledger") == {str(key): known.digest(key) for key in (1, 2, 3)}
    assert digests_of(database_url, "load_quarantine") == {"3": known.digest(3)}


def test_two_loaders_that_upgrade_at_once_agree(
    old: Engine, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second has seen the old layout before the first commits, and waits for it."""
    both = threading.Barrier(2)
    found = upgrading.installed_version

    def seen_by_both(session: Session) -> int:
        version = found(session)
        both.wait(30)
        return version

    monkeypatch.setattr(upgrading, "installed_version", seen_by_both)
    with ThreadPoolExecutor(2) as threads:
        handles = [future.result(60) for future in [threads.submit(prepare, old) for _ in range(2)]]
    for handle in handles:
        assert handle.lookup([1, 2, 3, 4]).keys() == {1, 2, 3}
        handle.close()
    assert query(database_url, "SELECT version FROM load_schema ORDER BY version") == [(1,), (2,), (3,), (4,)]
    assert len(digests_of(database_url, "load_ledger")) == 3
