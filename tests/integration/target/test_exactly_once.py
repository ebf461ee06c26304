"""Batches on real databases: whole tables read back after races, lost answers, poison and reloads."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from decimal import Decimal
from typing import Any

import psycopg
import pytest

from tests.support import tables, target_plans
from tests.support.fake_engine import FakeEngine, Injected
from tests.support.target_plans import loaded, refused
from tests.support.target_plans import plan as two_tables
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, FaultKind, Session
from xml_extractor.errors import TargetError, TargetSchemaError
from xml_extractor.mapping.records import DocumentRecord, State
from xml_extractor.target import bookkeeping, runs
from xml_extractor.target.base import BatchResult, BatchWriter, LoadHandle, RunState
from xml_extractor.target.bookkeeping import LEDGER, LEDGER_COLUMNS
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.ledger import document_digest
from xml_extractor.target.timestamps import from_database


def prepare(
    engine: Engine, plan: Plan | None = None, *, retry_seconds: float = 20, **more: Any
) -> LoadHandle:
    arguments: dict[str, Any] = {
        "source_name": target_plans.SOURCE,
        "source_name_explicit": False,
        "create_tables": True,
        "dry_run": False,
        "on_plan_change": "report",
        "settings": {},
        **more,
    }
    return DatabaseTarget(engine, retry_seconds=retry_seconds).prepare(plan or two_tables(), **arguments)


@contextmanager
def writing(handle: LoadHandle, index: int = 1) -> Iterator[BatchWriter]:
    writer = handle.writer(index)
    try:
        yield writer
    finally:
        writer.close()


def contacts_of(key: int) -> int:
    return key % 4


def make(engine: Engine, keys: Sequence[int], plan: Plan | None = None) -> list[DocumentRecord]:
    encoder = engine.encoder(plan or two_tables())
    return [loaded(encoder, key, contacts_of(key)) for key in keys]


def expected_tables(keys: Sequence[int]) -> tables.Tables:
    base: list[tuple[Any, ...]] = [(key, f"n{key}", "1.10") for key in keys]
    contact: list[tuple[Any, ...]] = [
        (key, number, f"0{number}") for key in keys for number in range(1, contacts_of(key) + 1)
    ]
    return {"base": sorted(base, key=repr), "contact": sorted(contact, key=repr)}


def total(results: Sequence[BatchResult]) -> tuple[int, int, int, int]:
    return (
        sum(result.loaded for result in results),
        sum(result.already_loaded for result in results),
        sum(result.quarantined for result in results),
        sum(result.skipped for result in results),
    )


def in_threads(calls: Sequence[Callable[[], None]]) -> None:
    errors: list[BaseException] = []

    def guarded(call: Callable[[], None]) -> None:
        try:
            call()
        except BaseException as error:  # noqa: BLE001 - raised again below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(call,)) for call in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    if errors:
        raise errors[0]


# ------------------------------------------------------------------------------------------- races


def test_loaders_at_once_on_the_same_documents_load_each_once(database_url: str) -> None:
    engine = open_engine(database_url)
    keys = list(range(400))
    results: list[BatchResult] = []
    prepare(engine).close()

    def run(seed: int) -> None:
        handle = prepare(engine)
        order = keys.copy()
        random.Random(seed).shuffle(order)
        with writing(handle, seed) as writer:
            for start in range(0, len(order), 40):
                results.append(writer.commit_batch(make(engine, order[start : start + 40])))
        handle.close()

    in_threads([lambda seed=seed: run(seed) for seed in range(3)])  # type: ignore[misc]
    assert total(results) == (400, 800, 0, 0)
    assert tuple(map(sum, zip(*(result.rows for result in results), strict=True))) == (
        400, sum(map(contacts_of, keys)),
    )  # fmt: skip
    assert tables.read_tables(database_url, two_tables()) == expected_tables(keys)
    assert tables.ledger(database_url) == {str(key): "loaded" for key in keys}


def test_loaders_at_once_on_the_same_quarantine_replay_each_once(database_url: str) -> None:
    engine = open_engine(database_url)
    keys = list(range(60))
    handle = prepare(engine)
    with writing(handle) as writer:
        writer.commit_batch([refused(key) for key in keys])
    known = {key: entry.previous for key, entry in handle.lookup(keys).items()}
    assert len(known) == 60
    results: list[BatchResult] = []

    def run(seed: int) -> None:
        records = make(engine, keys)
        for record in records:
            record.previous = known[record.key]
        random.Random(seed).shuffle(records)
        with writing(handle, seed) as writer:
            for start in range(0, len(records), 20):
                results.append(writer.commit_batch(records[start : start + 20]))

    in_threads([lambda seed=seed: run(seed) for seed in range(3)])  # type: ignore[misc]
    handle.close()
    assert total(results) == (60, 120, 0, 0)
    assert tables.read_tables(database_url, two_tables()) == expected_tables(keys)
    assert tables.ledger(database_url) == {str(key): "loaded" for key in keys}
    assert tables.query(database_url, "SELECT COUNT(*) FROM load_quarantine") == [(0,)]


def test_loaders_that_start_at_once_on_an_empty_database_agree_on_its_tables(database_url: str) -> None:
    engine = open_engine(database_url)
    engine.connect(write=True, application="test").close()
    handles: list[LoadHandle] = []
    in_threads([lambda: handles.append(prepare(engine))] * 4)
    for handle in handles:
        handle.close()
    fresh = [handle.load_id for handle in handles if not handle.resumed]
    assert len(set(fresh)) == len(fresh)
    numbers = tables.query(database_url, "SELECT load_id FROM load_runs ORDER BY load_id")
    assert numbers == [(number,) for number in range(1, len(fresh) + 1)]
    assert tables.query(database_url, "SELECT version FROM load_schema") == [(bookkeeping.SCHEMA_VERSION,)]


# ------------------------------------------------------------------------------------ lost answers


def test_answers_lost_at_random_change_nothing(database_url: str) -> None:
    real = open_engine(database_url)
    engine = FakeEngine(real)
    handle = prepare(engine)
    dice = random.Random(7)

    def lose(step: str) -> None:
        if step.startswith(("commit", "write_rows", "insert_new")) and dice.random() < 0.04:
            raise Injected(FaultKind.DISCONNECTED if dice.random() < 0.7 else FaultKind.TRANSIENT)

    engine.before = engine.after = lose
    keys = list(range(200))
    results = []
    with writing(handle) as writer:
        for start in range(0, 200, 20):
            results.append(writer.commit_batch(make(engine, keys[start : start + 20])))
    handle.close()
    assert total(results) == (200, 0, 0, 0)
    assert sum(result.attempts for result in results) > 10
    assert tables.read_tables(database_url, two_tables()) == expected_tables(keys)
    assert tables.ledger(database_url) == {str(key): "loaded" for key in keys}


@pytest.mark.parametrize("committed", [False, True], ids=["commit lost", "answer lost"])
def test_a_backend_that_is_killed_at_commit(postgresql_url: str, committed: bool) -> None:
    real = open_engine(postgresql_url)
    engine = FakeEngine(real)
    handle = prepare(engine)
    killed: list[str] = []

    def kill(step: str) -> None:
        if step == "commit" and not killed:
            killed.append(step)
            with psycopg.connect(postgresql_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE application_name LIKE '%writer%' AND pid <> pg_backend_pid()"
                )
            if committed:
                raise Injected(FaultKind.DISCONNECTED)

    if committed:
        engine.after = kill
    else:
        engine.before = kill
    with writing(handle) as writer:
        result = writer.commit_batch(make(engine, range(50)))
        again = writer.commit_batch(make(engine, range(50, 60)))
    handle.close()
    assert killed
    assert result.attempts == 2
    assert total([result, again]) == (60, 0, 0, 0)
    assert result.rows == (50, sum(map(contacts_of, range(50))))
    assert tables.read_tables(postgresql_url, two_tables()) == expected_tables(range(60))


def test_a_backend_that_is_killed_while_it_writes(postgresql_url: str) -> None:
    """The connection breaks under a real statement: the driver's own error has to be understood."""
    real = open_engine(postgresql_url)
    engine = FakeEngine(real)
    handle = prepare(engine)
    killed: list[str] = []

    def kill(step: str) -> None:
        if step == "write_rows:contact" and not killed:
            killed.append(step)
            with psycopg.connect(postgresql_url, autocommit=True) as connection:
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
                    "AND datname = current_database()"
                )

    engine.before = kill
    handle.lookup([1])  # whose connection is killed, too
    with writing(handle) as writer:
        result = writer.commit_batch(make(engine, range(50)))
    assert set(handle.lookup(list(range(60)))) == set(range(50))
    handle.close()
    assert (result.loaded, result.attempts) == (50, 2)
    assert tables.read_tables(postgresql_url, two_tables()) == expected_tables(range(50))


def test_a_batch_that_waits_for_another_loaders_lock_is_aborted_at_once(database_url: str) -> None:
    engine = open_engine(database_url)
    handle = prepare(engine, retry_seconds=60)
    writer = handle.writer(1)
    blocker = engine.connect(write=True, application="blocker")
    blocker.begin()
    digest = document_digest(target_plans.SOURCE, target_plans.CONTRACT, 1)
    row = (digest, "1", "loaded", 1, 1, None, "", "2024-01-01 00:00:00.000000")
    blocker.insert_new(LEDGER, LEDGER_COLUMNS, [row])
    ended: list[float] = []

    def commit() -> None:
        with pytest.raises(TargetError, match="run ended"):
            writer.commit_batch(make(engine, [1]))
        ended.append(time.monotonic())

    def abort() -> None:
        time.sleep(0.5)
        assert not ended
        started = time.monotonic()
        writer.abort()
        while not ended and time.monotonic() - started < 10:
            time.sleep(0.01)
        assert ended
        assert ended[0] - started < 2

    in_threads([commit, abort])
    blocker.rollback()
    blocker.close()
    writer.close()
    handle.close()


def test_a_document_that_another_loader_is_committing_is_waited_for(database_url: str) -> None:
    """Neither loaded twice nor taken for bad data: the ledger row is waited for, then respected."""
    real = open_engine(database_url)
    slow = FakeEngine(real)
    handle, other = prepare(slow), prepare(real)
    reached = threading.Event()

    def linger(step: str) -> None:
        if step == "commit":
            reached.set()
            time.sleep(0.5)

    slow.before = linger
    results: dict[str, BatchResult] = {}

    def first() -> None:
        with writing(handle) as writer:
            results["first"] = writer.commit_batch(make(real, range(10)))

    def second() -> None:
        assert reached.wait(60)
        with writing(other) as writer:
            results["second"] = writer.commit_batch(make(real, range(5, 15)))

    in_threads([first, second])
    handle.close()
    other.close()
    assert total([results["first"]]) == (10, 0, 0, 0)
    assert total([results["second"]]) == (5, 5, 0, 0)
    assert tables.read_tables(database_url, two_tables()) == expected_tables(range(15))


# ------------------------------------------------------------------------------------------ poison


def test_poison_documents_are_found_and_their_neighbours_loaded(database_url: str) -> None:
    engine = open_engine(database_url)
    handle = prepare(engine)
    encoder = engine.encoder(two_tables())
    twice = loaded(encoder, 70, document_rows=([(70, "n70", Decimal("1.10"))], [(70, 1, "a"), (70, 1, "b")]))
    nameless = loaded(encoder, 130, document_rows=([(130, None, None)], [(130, 1, "a")]))
    orphan = loaded(encoder, 199, document_rows=([], [(199, 1, "a")]))
    bad = {record.key: record for record in (twice, nameless, orphan)}
    records = [bad.get(record.key, record) for record in make(engine, range(200))]
    with writing(handle) as writer:
        result = writer.commit_batch(records)
    handle.close()
    good = [key for key in range(200) if key not in bad]
    assert total([result]) == (197, 0, 3, 0)
    # Who is told which row it was attempts what lies before it, it, and the rest; who is not, halves.
    named = {"sqlite": 3, "postgresql": 2}.get(engine.name, 0)
    assert result.attempts <= 2 + 3 * named + (3 - named) * (2 * 7 + 3)
    assert {item.key: item.rejection.code for item in result.rejected} == {
        70: "unique_violation", 130: "not_null_violation", 199: "foreign_key_violation",
    }  # fmt: skip
    assert tables.read_tables(database_url, two_tables()) == expected_tables(good)
    assert tables.ledger(database_url) == {
        str(key): "quarantined" if key in bad else "loaded" for key in range(200)
    }
    found = tables.query(
        database_url, "SELECT source_key, stage, code, table_name FROM load_quarantine ORDER BY source_key"
    )
    assert [row[:3] for row in found] == [
        ("130", "target", "not_null_violation"),
        ("199", "target", "foreign_key_violation"),
        ("70", "target", "unique_violation"),
    ]


def test_a_constraint_that_speaks_at_commit_is_bisected(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    handle = prepare(engine)
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute("ALTER TABLE contact DROP CONSTRAINT IF EXISTS contact_id_fkey")
        connection.execute(
            "ALTER TABLE contact ADD CONSTRAINT late FOREIGN KEY (id) REFERENCES base (id) "
            "DEFERRABLE INITIALLY DEFERRED"
        )
    orphan = loaded(engine.encoder(two_tables()), 9, document_rows=([], [(99, 1, "a")]))
    with writing(handle) as writer:
        result = writer.commit_batch([orphan if r.key == 9 else r for r in make(engine, range(32))])
    handle.close()
    assert total([result]) == (31, 0, 1, 0)
    assert [item.rejection.code for item in result.rejected] == ["foreign_key_violation"]
    good = [key for key in range(32) if key != 9]
    assert tables.read_tables(postgresql_url, two_tables()) == expected_tables(good)


def test_rows_that_a_trigger_eats_end_the_run(postgresql_url: str) -> None:
    engine = open_engine(postgresql_url)
    handle = prepare(engine)
    with psycopg.connect(postgresql_url, autocommit=True) as connection:
        connection.execute(
            "CREATE FUNCTION eat() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN IF NEW.no = 2 THEN RETURN NULL; END IF; RETURN NEW; END $$"
        )
        connection.execute("CREATE TRIGGER eat BEFORE INSERT ON contact FOR EACH ROW EXECUTE FUNCTION eat()")
    eaten = r"took \d+ of \d+ rows for table contact"
    with writing(handle) as writer, pytest.raises(TargetError, match=eaten):
        writer.commit_batch(make(engine, range(8)))
    handle.close()
    assert tables.read_tables(postgresql_url, two_tables()) == expected_tables([])
    assert tables.ledger(postgresql_url) == {}


def test_a_table_that_is_gone_ends_the_run_and_quarantines_nobody(database_url: str) -> None:
    engine = open_engine(database_url)
    handle = prepare(engine)
    session = engine.connect(write=True, application="test")
    session.execute("DROP TABLE contact")
    session.close()
    with writing(handle) as writer, pytest.raises(TargetError, match="contact"):
        writer.commit_batch(make(engine, range(8)))
    handle.close()
    assert tables.ledger(database_url) == {}


# ------------------------------------------------------------------------------- resume and reload


def test_a_load_is_resumed_where_it_stopped(database_url: str) -> None:
    engine = open_engine(database_url)
    first = prepare(engine)
    with writing(first) as writer:
        writer.commit_batch(make(engine, range(10)))
    first.close()  # no finish: as after a crash
    second = prepare(engine)
    assert (second.resumed, second.load_id, second.started_at) == (True, first.load_id, first.started_at)
    known = second.lookup(list(range(20)))
    assert set(known) == set(range(10))
    rows = tables.query(database_url, f"SELECT row_counts, committed_at FROM {LEDGER}")
    assert {row_counts for row_counts, _ in rows} == {f"1,{number}" for number in range(4)}
    assert all(from_database(committed_at) >= first.started_at for _, committed_at in rows)
    with writing(second) as writer:
        writer.commit_batch(make(engine, range(10, 20)))
    second.finish(RunState.FINISHED, {"documents": 20})
    second.close()
    assert tables.read_tables(database_url, two_tables()) == expected_tables(range(20))
    started, finished, state = tables.query(
        database_url, "SELECT started_at, finished_at, state FROM load_runs"
    )[0]
    assert from_database(started) == first.started_at
    assert from_database(finished) > first.started_at
    assert state == "finished"
    assert not prepare(engine, dry_run=True).resumed


@pytest.mark.parametrize("key_type", ["int", "varchar(10)"])
def test_documents_are_reloaded_under_a_changed_plan(database_url: str, key_type: str) -> None:
    engine = open_engine(database_url)
    keys: list[int | str] = [1, 2, 3] if key_type == "int" else ["1", "2", "3"]
    old, new = two_tables(key_type=key_type), two_tables(target_plans.OTHER_DIGEST, key_type=key_type)
    encoder = engine.encoder(old)
    first = prepare(engine, old)
    with writing(first) as writer:
        writer.commit_batch([loaded(encoder, keys[0], 5), loaded(encoder, keys[1], 5), refused(keys[2])])
    first.finish(RunState.FINISHED, {})
    first.close()
    second = prepare(engine, new, on_plan_change="reload")
    known = second.lookup(keys)
    assert {entry.plan_digest for entry in known.values()} == {old.digest}
    with writing(second) as writer:
        result = writer.commit_batch(
            [
                loaded(encoder, keys[0], 1, name="anew", previous=known[keys[0]].previous),
                refused(keys[1], previous=known[keys[1]].previous),
                loaded(encoder, keys[2], 2, previous=known[keys[2]].previous),
            ]
        )
    assert total([result]) == (2, 0, 1, 0)
    found = second.lookup(keys)
    assert {entry.plan_digest for entry in found.values()} == {new.digest}
    assert [found[key].state for key in keys] == [State.LOADED, State.QUARANTINED, State.LOADED]
    second.close()
    assert tables.read_tables(database_url, new) == {
        "base": [(keys[0], "anew", "1.10"), (keys[2], f"n{keys[2]}", "1.10")],
        "contact": [(keys[0], 1, "01"), (keys[2], 1, "01"), (keys[2], 2, "02")],
    }
    assert tables.query(database_url, "SELECT source_key, load_id FROM load_quarantine") == [("2", 2)]


# ----------------------------------------------------------------------------- schema and bookkeeping


def test_missing_tables_are_listed_and_created_on_demand(database_url: str) -> None:
    engine = open_engine(database_url)
    engine.connect(write=True, application="test").close()
    with pytest.raises(TargetSchemaError) as raised:
        prepare(engine, create_tables=False)
    for name in ("base", "contact", "load_schema", "load_runs", "load_ledger", "load_quarantine"):
        assert name in str(raised.value)
    prepare(engine, dry_run=True).close()
    with pytest.raises(TargetSchemaError):
        prepare(engine, create_tables=False)
    prepare(engine).close()
    prepare(engine, create_tables=False).close()


def test_strange_keys_are_told_apart_and_found_again(database_url: str) -> None:
    engine = open_engine(database_url)
    handle = prepare(engine)
    keys: list[int | str] = [
        5, -5, 2**62, "5", "a", "A", "a ", "ä", "a\u0308", "漢字", "", "nul\0", "\ud800", "x" * 3000,
        "o'k;--", "\\x00",
    ]  # fmt: skip
    with writing(handle) as writer:
        result = writer.commit_batch([refused(key) for key in keys])
        assert total([result]) == (0, 0, len(keys), 0)
    found = handle.lookup([*keys, "absent"])
    assert set(found) == set(keys)
    assert all(entry.state is State.QUARANTINED and entry.document_hash is None for entry in found.values())
    handle.close()


def test_a_lookup_takes_any_number_of_keys(database_url: str) -> None:
    engine = open_engine(database_url)
    handle = prepare(engine)
    with writing(handle) as writer:
        writer.commit_batch([refused(key) for key in range(0, 12_000, 2)])
    assert set(handle.lookup(list(range(12_000)))) == set(range(0, 12_000, 2))
    handle.close()


def test_status_of_all_loads(database_url: str) -> None:
    engine = open_engine(database_url)
    handle = prepare(engine)
    with writing(handle) as writer:
        writer.commit_batch([*make(engine, range(3)), refused(3), refused(4, State.SKIPPED)])
    handle.close()
    session: Session = engine.connect(write=False, application="test")
    [status] = runs.status(session)
    session.close()
    assert status.documents == {State.LOADED: 3, State.QUARANTINED: 1, State.SKIPPED: 1}
    assert (status.run.state, status.run.finished_at) == (RunState.RUNNING, None)
    assert status.run.tables == ("base", "contact")


def test_a_server_that_is_not_there_ends_the_run_within_ten_seconds() -> None:
    engine = open_engine("postgresql://nobody@127.0.0.1:1/nothing")
    started = time.monotonic()
    with pytest.raises(TargetError, match="cannot be opened"):
        prepare(engine)
    assert time.monotonic() - started < 10
