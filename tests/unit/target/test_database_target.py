from __future__ import annotations

import logging
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support import target_plans
from tests.support.fake_engine import FakeEngine, Injected
from tests.support.target_plans import loaded, refused
from tests.support.target_plans import plan as two_tables
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, FaultKind, Session
from xml_extractor.errors import TargetError, TargetSchemaError, UsageError
from xml_extractor.mapping.records import State
from xml_extractor.target import bookkeeping, open_target, runs, upgrading
from xml_extractor.target.base import LoadHandle, RunState
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.timestamps import utc_now


@pytest.fixture
def empty(sqlite_url: str) -> FakeEngine:
    """A fake engine over a database without tables."""
    return FakeEngine(open_engine(sqlite_url))


def prepare(engine: Engine, plan: Plan | None = None, **more: Any) -> LoadHandle:
    arguments: dict[str, Any] = {
        "source_name": target_plans.SOURCE,
        "source_name_explicit": False,
        "create_tables": True,
        "dry_run": False,
        "on_plan_change": "report",
        "settings": {"workers": 4},
        **more,
    }
    return DatabaseTarget(engine, retry_seconds=5).prepare(plan or two_tables(), **arguments)


def query(engine: FakeEngine, sql: str) -> list[tuple[Any, ...]]:
    session = engine.inner.connect(write=True, application="test")
    try:
        return session.query(sql)
    finally:
        session.close()


def execute(engine: FakeEngine, *statements: str) -> None:
    session = engine.inner.connect(write=True, application="test")
    try:
        for statement in statements:
            session.execute(statement)
    finally:
        session.close()


def load(engine: FakeEngine, plan: Plan, keys: Sequence[int | str], **more: Any) -> int:
    """Load documents and finish; return the load's id."""
    handle = prepare(engine, plan, **more)
    writer = handle.writer(1)
    result = writer.commit_batch([loaded(engine.encoder(plan), key) for key in keys])
    assert result.loaded == len(keys)
    writer.close()
    handle.finish(RunState.FINISHED, {})
    handle.close()
    return handle.load_id


# -------------------------------------------------------------------------------------- the schema


def test_all_that_is_missing_is_listed_at_once(empty: FakeEngine) -> None:
    execute(empty, "CREATE TABLE base (id INTEGER NOT NULL, extra TEXT NOT NULL)")
    with pytest.raises(TargetSchemaError) as raised:
        prepare(empty, create_tables=False)
    text = str(raised.value)
    for said in (
        "column base.name does not exist", "column base.amount does not exist", "base.extra is NOT NULL",
        "table contact does not exist", "load_schema", "load_runs", "load_ledger", "load_quarantine",
        "load_ranges", "contract ddl", "--create-tables",
    ):  # fmt: skip
        assert said in text
    assert raised.value.exit_code == 2
    assert query(empty, "SELECT name FROM sqlite_master") == [("base",)]


def test_tables_are_created_where_missing_and_kept_where_present(empty: FakeEngine) -> None:
    execute(
        empty,
        "CREATE TABLE base (id INTEGER NOT NULL PRIMARY KEY, name TEXT NOT NULL, amount TEXT, note TEXT)",
        "INSERT INTO base VALUES (7, 'kept', NULL, 'kept')",
    )
    prepare(empty).close()
    names = {name for (name,) in query(empty, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert {"base", "contact", *bookkeeping.TABLES} <= names
    assert query(empty, "SELECT * FROM base") == [(7, "kept", None, "kept")]
    assert query(empty, "SELECT version FROM load_schema") == [(bookkeeping.SCHEMA_VERSION,)]
    prepare(empty, create_tables=False).close()


def test_nothing_is_created_beside_tables_that_do_not_fit(empty: FakeEngine) -> None:
    execute(empty, "CREATE TABLE contact (id INTEGER)")
    with pytest.raises(TargetSchemaError, match=r"contact\.no does not exist"):
        prepare(empty)
    assert query(empty, "SELECT name FROM sqlite_master") == [("contact",)]


def test_types_that_the_engine_lacks_are_listed_with_the_rest(empty: FakeEngine) -> None:
    plan = two_tables()
    numbered = target_plans.column("line", "int", server_generated=True)
    contact = replace(plan.tables[1], columns=(*plan.tables[1].columns, numbered))
    with pytest.raises(TargetSchemaError, match=r"contact\.line") as raised:
        prepare(empty, replace(plan, tables=(plan.tables[0], contact)), create_tables=False)
    assert "load_ledger" in str(raised.value)


def test_tables_that_another_loader_creates_meanwhile_are_taken(empty: FakeEngine) -> None:
    def interfere(step: str) -> None:
        if step == "begin":
            empty.before = lambda _: None
            prepare(empty.inner).close()

    empty.before = interfere
    handle = prepare(empty)
    handle.close()
    assert handle.load_id == 1
    assert handle.resumed  # the other one's load is unfinished


def test_bookkeeping_of_a_newer_version_is_refused(engine: FakeEngine) -> None:
    newer = bookkeeping.SCHEMA_VERSION + 1
    execute(engine, f"INSERT INTO load_schema VALUES ({newer}, '2030-01-01 00:00:00.000000')")
    with pytest.raises(UsageError, match="newer release"):
        prepare(engine)


def test_bookkeeping_of_an_older_version_is_upgraded_once(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    steps = (
        upgrading.UpgradeStep(5, lambda *_: ["ALTER TABLE load_ledger ADD COLUMN four TEXT"]),
        upgrading.UpgradeStep(6, lambda *_: ["ALTER TABLE load_ledger ADD COLUMN five TEXT"]),
    )
    monkeypatch.setattr(upgrading, "UPGRADE_STEPS", steps)
    monkeypatch.setattr(bookkeeping, "SCHEMA_VERSION", 6)
    with pytest.raises(UsageError, match="without --dry-run"):
        prepare(engine, dry_run=True)
    with caplog.at_level(logging.INFO):
        prepare(engine, create_tables=False).close()
        prepare(engine, create_tables=False).close()
    assert query(engine, "SELECT version FROM load_schema ORDER BY version") == [(4,), (5,), (6,)]
    assert query(engine, "SELECT four, five FROM load_ledger") == []
    assert sum("upgraded" in message for message in caplog.messages) == 2


def test_a_failed_upgrade_leaves_the_older_version(
    engine: FakeEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = (
        upgrading.UpgradeStep(5, lambda *_: ["ALTER TABLE load_ledger ADD COLUMN four TEXT", "nonsense"]),
    )
    monkeypatch.setattr(upgrading, "UPGRADE_STEPS", steps)
    monkeypatch.setattr(bookkeeping, "SCHEMA_VERSION", 5)
    with pytest.raises(TargetSchemaError, match="ADD COLUMN four TEXT;") as raised:
        prepare(engine)
    assert "INSERT INTO" in str(raised.value), "the whole script, for somebody who may run it"
    assert query(engine, "SELECT version FROM load_schema") == [(4,)]
    columns = {row[1] for row in query(engine, "PRAGMA table_info(load_ledger)")}
    assert "four" not in columns


# ------------------------------------------------------------------------------------- connecting


def test_a_target_that_cannot_be_reached_ends_the_run_without_retry(engine: FakeEngine) -> None:
    engine.fail_times("connect", FaultKind.DISCONNECTED, 10, code="connection_refused")
    with pytest.raises(TargetError, match=r"cannot be opened.*connection_refused"):
        prepare(engine)
    assert engine.steps == ["connect"]


def test_a_target_that_is_lost_or_locked_while_the_load_is_prepared_is_retried(empty: FakeEngine) -> None:
    failed: list[str] = []

    def each_step_once(step: str) -> None:
        if step not in ("connect", *failed):
            failed.append(step)
            raise Injected(FaultKind.DISCONNECTED if len(failed) % 2 else FaultKind.TRANSIENT)

    empty.before = each_step_once
    handle = prepare(empty)
    assert handle.load_id == 1
    assert {"table_names", "begin", "execute", "insert_new:load_runs"} <= set(failed)
    assert query(empty, "SELECT COUNT(*) FROM load_runs") == [(1,)]


def test_open_target_names_its_forms(sqlite_url: str) -> None:
    target = open_target(sqlite_url)
    assert isinstance(target, DatabaseTarget)
    assert target.max_insert_threads == 1
    assert "database.db" in target.display
    with pytest.raises(UsageError):
        open_target("nonsense")
    with pytest.raises(UsageError):
        open_target("jsonl:")


# ------------------------------------------------------------------------------- loads and resuming


def test_an_unfinished_load_is_resumed_with_its_start_time(empty: FakeEngine) -> None:
    first = prepare(empty)
    first.close()
    second = prepare(empty, settings={"workers": 8})
    second.close()
    assert not first.resumed
    assert second.resumed
    assert second.load_id == first.load_id == 1
    assert second.started_at == first.started_at
    assert first.started_at.utcoffset() is not None
    assert query(empty, "SELECT COUNT(*) FROM load_runs") == [(1,)]


@pytest.mark.parametrize("state", [RunState.STOPPED, RunState.FAILED])
def test_a_load_that_did_not_finish_is_resumed(empty: FakeEngine, state: RunState) -> None:
    first = prepare(empty)
    first.finish(state, {"documents": 3})
    assert query(empty, "SELECT state, finished_at, summary FROM load_runs") == [
        (state.value, None, '{"documents": 3}')
    ]
    assert prepare(empty).load_id == first.load_id
    assert query(empty, "SELECT state FROM load_runs") == [("running",)]


def test_a_finished_load_is_followed_by_a_new_one(empty: FakeEngine) -> None:
    first = prepare(empty)
    first.finish(RunState.FINISHED, {"documents": 3})
    second = prepare(empty)
    assert (second.load_id, second.resumed) == (2, False)
    rows = query(
        empty,
        "SELECT load_id, source_name, contract, contract_version, plan_digest, tables, state, settings, "
        "finished_at IS NULL FROM load_runs ORDER BY load_id",
    )
    common = (target_plans.SOURCE, target_plans.CONTRACT, 1, target_plans.DIGEST, '["base", "contact"]')
    assert rows == [
        (1, *common, "finished", '{"workers": 4}', 0),
        (2, *common, "running", '{"workers": 4}', 1),
    ]


@pytest.mark.parametrize(
    ("plan", "source_name"),
    [
        (two_tables(target_plans.OTHER_DIGEST), target_plans.SOURCE),
        (two_tables(contract="other"), target_plans.SOURCE),
        (two_tables(), "elsewhere"),
    ],
    ids=["plan", "contract", "source"],
)
def test_a_load_of_something_else_is_not_resumed(empty: FakeEngine, plan: Plan, source_name: str) -> None:
    prepare(empty).close()
    handle = prepare(empty, plan, source_name=source_name)
    assert (handle.load_id, handle.resumed) == (2, False)


def test_load_numbers_are_unique_among_loaders_that_start_together(engine: FakeEngine) -> None:
    session = engine.inner.connect(write=True, application="test")
    ids: list[int] = []

    def take_a_number_first(step: str) -> None:
        if step == "insert_new:load_runs" and len(ids) < 3:
            ids.append(runs.start(session, two_tables(), f"other {len(ids)}", {}, utc_now()).load_id)

    engine.before = take_a_number_first
    handle = prepare(engine, source_name="mine")
    session.close()
    assert handle.load_id not in ids
    assert query(engine, "SELECT COUNT(DISTINCT load_id), COUNT(*) FROM load_runs") == [(5, 5)]


def test_finish_survives_a_lost_connection_and_an_abort(engine: FakeEngine) -> None:
    handle = prepare(engine)
    handle.abort()
    engine.fail_once("connect", FaultKind.DISCONNECTED)
    handle.finish(RunState.FAILED, {})
    assert query(engine, "SELECT state FROM load_runs") == [("failed",)]


# ---------------------------------------------------------------------------------- source names


def test_the_same_contract_under_another_source_name_is_refused(engine: FakeEngine) -> None:
    load(engine, two_tables(), [1])
    with pytest.raises(UsageError, match=r"'lending'.*'renamed'.*--source-name"):
        prepare(engine, source_name="renamed")
    handle = prepare(engine, source_name="renamed", source_name_explicit=True)
    assert handle.lookup([1]) == {}
    # The first name is as good as ever, said or not: nothing was loaded under the other.
    assert prepare(engine, source_name_explicit=True).lookup([1])[1].state is State.LOADED


def test_another_name_that_never_loaded_anything_is_no_obstacle(engine: FakeEngine) -> None:
    prepare(engine).finish(RunState.FINISHED, {})
    assert prepare(engine, source_name="renamed").load_id == 2


def test_another_contract_under_another_name_is_no_obstacle(engine: FakeEngine) -> None:
    load(engine, two_tables(), [1])
    prepare(engine, two_tables(contract="other"), source_name="elsewhere").close()


# ------------------------------------------------------------------------------------------ lookup


def test_lookup_tells_state_plan_and_counts_of_known_documents_only(engine: FakeEngine) -> None:
    load(engine, two_tables(), ["1"])
    handle = prepare(engine, two_tables(target_plans.OTHER_DIGEST))
    assert handle.lookup([1, 2, 3]) == {}  # the integer 1 is not the text '1'
    assert handle.lookup([]) == {}
    writer = handle.writer(1)
    writer.commit_batch([refused(2), refused(3, State.SKIPPED)])
    found = handle.lookup(["1", 2, 3, 4])
    assert {key: (entry.state, entry.load_id, entry.plan_digest) for key, entry in found.items()} == {
        "1": (State.LOADED, 1, target_plans.DIGEST),
        2: (State.QUARANTINED, 2, target_plans.OTHER_DIGEST),
        3: (State.SKIPPED, 2, target_plans.OTHER_DIGEST),
    }
    one = found["1"]
    assert one.document_hash is None, "read only where documents are compared"
    assert one.previous.state is State.LOADED
    assert one.previous.batch == one.batch
    assert one.previous.plan_digest == target_plans.DIGEST
    writer.close()
    handle.close()


def test_lookup_reconnects(engine: FakeEngine) -> None:
    load(engine, two_tables(), [1])
    handle = prepare(engine)
    handle.lookup([1])
    engine.fail_once("existing:load_ledger", FaultKind.DISCONNECTED)
    assert set(handle.lookup([1])) == {1}
    handle.close()


def test_lookup_gives_up_after_the_retry_time(engine: FakeEngine) -> None:
    handle = DatabaseTarget(engine, retry_seconds=0.2).prepare(
        two_tables(),
        source_name=target_plans.SOURCE,
        source_name_explicit=False,
        create_tables=False,
        dry_run=False,
        on_plan_change="report",
        settings={},
    )
    engine.fail_times("existing:load_ledger", FaultKind.TRANSIENT, 10**6, code="locked")
    with pytest.raises(TargetError, match="reading the ledger failed: the test says locked"):
        handle.lookup([1])
    handle.close()


def test_abort_ends_a_lookup_that_waits(engine: FakeEngine) -> None:
    handle = prepare(engine)
    engine.fail_times("existing:load_ledger", FaultKind.TRANSIENT, 10**6)
    timer = threading.Timer(0.3, handle.abort)
    timer.start()
    started = time.monotonic()
    with pytest.raises(TargetError, match="run ended"):
        handle.lookup([1])
    assert time.monotonic() - started < 3
    timer.join()
    handle.close()


# ----------------------------------------------------------------------------------------- dry run


def test_a_dry_run_writes_nothing_and_knows_the_ledger(engine: FakeEngine) -> None:
    load(engine, two_tables(), [1])
    before = {table: query(engine, f"SELECT * FROM {table}") for table in (*bookkeeping.TABLES, "base")}
    handle = prepare(engine, dry_run=True)
    assert (handle.load_id, handle.resumed) == (0, False)
    assert set(handle.lookup([1, 2])) == {1}
    handle.finish(RunState.FINISHED, {})
    handle.close()
    assert {table: query(engine, f"SELECT * FROM {table}") for table in before} == before


def test_a_dry_run_does_not_touch_the_load_that_it_would_resume(engine: FakeEngine) -> None:
    prepare(engine).finish(RunState.STOPPED, {})
    handle = prepare(engine, dry_run=True)
    assert handle.resumed
    assert query(engine, "SELECT state FROM load_runs") == [("stopped",)]


def test_a_dry_run_creates_no_tables(empty: FakeEngine) -> None:
    execute(empty, "CREATE TABLE app_xml (app_id INTEGER)")
    handle = prepare(empty, dry_run=True)
    assert handle.lookup([1]) == {}
    handle.close()
    assert query(empty, "SELECT name FROM sqlite_master") == [("app_xml",)]
    with pytest.raises(TargetSchemaError, match="load_ledger"):
        prepare(empty, dry_run=True, create_tables=False)


def test_a_dry_run_takes_a_file_that_is_to_be_created_for_empty(
    empty: FakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        handle = prepare(empty, dry_run=True)
    assert handle.lookup([1]) == {}
    handle.finish(RunState.FINISHED, {})
    assert list(tmp_path.iterdir()) == []
    assert "takes the target for empty" in caplog.text
    with pytest.raises(TargetError, match="cannot be opened"):
        prepare(empty, dry_run=True, create_tables=False)


# -------------------------------------------------------------------------------------- plan change


def test_reload_is_refused_where_old_rows_cannot_be_found(engine: FakeEngine) -> None:
    load(engine, two_tables(), [1])
    changed = target_plans.without_key(two_tables(target_plans.OTHER_DIGEST))
    with pytest.raises(UsageError, match=r"contact.*carries the source key.*--on-plan-change report"):
        prepare(engine, changed, on_plan_change="reload")
    prepare(engine, changed, on_plan_change="report").close()


def test_reload_is_refused_where_a_table_left_the_contract(engine: FakeEngine) -> None:
    load(engine, two_tables(), [1])
    smaller = two_tables(target_plans.OTHER_DIGEST)
    smaller = replace(smaller, tables=smaller.tables[:1])
    with pytest.raises(UsageError, match=r"contact may hold rows of an earlier version"):
        prepare(engine, smaller, on_plan_change="reload")


def test_reload_with_nothing_loaded_under_another_plan_is_no_question(engine: FakeEngine) -> None:
    same = target_plans.without_key(two_tables())
    load(engine, same, [1])
    prepare(engine, same, on_plan_change="reload").close()
    prepare(engine, two_tables(target_plans.OTHER_DIGEST), on_plan_change="reload").close()


# ------------------------------------------------------------------------------------------ status


def test_status_counts_documents_by_load_and_state(engine: FakeEngine) -> None:
    load(engine, two_tables(), [1, 2])
    handle = prepare(engine)
    writer = handle.writer(1)
    writer.commit_batch([refused(3), refused(4, State.SKIPPED), loaded(engine.encoder(two_tables()), 5)])
    writer.close()
    handle.close()
    session: Session = engine.inner.connect(write=False, application="test")
    status = runs.status(session)
    session.close()
    assert [(item.run.load_id, item.run.state, item.documents) for item in status] == [
        (1, RunState.FINISHED, {State.LOADED: 2}),
        (2, RunState.RUNNING, {State.QUARANTINED: 1, State.SKIPPED: 1, State.LOADED: 1}),
    ]
    assert status[0].run.finished_at is not None
    assert status[0].run.finished_at >= status[0].run.started_at
