from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from tests.support import target_plans
from tests.support.fake_engine import FakeEngine, Injected
from tests.support.target_plans import loaded, refused
from tests.unit.target.conftest import make_writer
from xml_extractor.engines.base import FaultKind, Session
from xml_extractor.errors import TargetError
from xml_extractor.mapping.records import DocumentRecord, Key, Look, Previous, Renewal, State
from xml_extractor.target.base import BatchResult
from xml_extractor.target.batch_writer import DatabaseBatchWriter
from xml_extractor.target.ledger import document_digest


@pytest.fixture
def session(engine: FakeEngine) -> Iterator[Session]:
    """A connection that sees what was committed, past the fake."""
    session = engine.inner.connect(write=True, application="test")
    yield session
    session.close()


@pytest.fixture
def record(engine: FakeEngine) -> Any:
    encoder = engine.encoder(target_plans.plan())
    return lambda key, contacts=2, **more: loaded(encoder, key, contacts, **more)


def content(session: Session) -> dict[str, list[tuple[Any, ...]]]:
    """All tables, whole, save for what differs from run to run."""
    return {
        "base": session.query("SELECT id, name, amount FROM base ORDER BY id"),
        "contact": session.query("SELECT id, no, phone FROM contact ORDER BY id, no"),
        "ledger": session.query(
            "SELECT source_key, state, load_id, document_hash, row_counts FROM load_ledger "
            "ORDER BY CAST(source_key AS INTEGER)"
        ),
        "quarantine": session.query(
            "SELECT source_key, load_id, stage, code, message, table_name, column_name, path "
            "FROM load_quarantine ORDER BY CAST(source_key AS INTEGER)"
        ),
    }


def expected(
    keys: dict[int, int], quarantined: list[tuple[Any, ...]] | None = None, skipped: tuple[int, ...] = ()
) -> dict[str, list[tuple[Any, ...]]]:
    """The tables after documents {key: contacts} were loaded and others put aside."""
    quarantined = quarantined or []
    ledger: list[tuple[Any, ...]] = [
        (str(key), "loaded", 1, b"h" * 16, f"1,{contacts}") for key, contacts in keys.items()
    ]
    for row in quarantined:
        hashed = b"h" * 16 if row[2] == "target" else None
        ledger.append((row[0], "quarantined", 1, hashed, ""))
    ledger += [(str(key), "skipped", 1, None, "") for key in skipped]
    return {
        "base": [(key, f"n{key}", "1.10") for key in sorted(keys)],
        "contact": [
            (key, number, f"0{number}") for key in sorted(keys) for number in range(1, keys[key] + 1)
        ],
        "ledger": sorted(ledger, key=lambda row: int(row[0])),
        "quarantine": sorted(quarantined, key=lambda row: int(row[0])),
    }


def sums(result: BatchResult) -> tuple[int, int, int, int]:
    return result.loaded, result.already_loaded, result.quarantined, result.skipped


def previous_of(session: Session, key: Key) -> Previous:
    rows = session.query(
        "SELECT state, batch FROM load_ledger WHERE digest = ?",
        (document_digest(target_plans.SOURCE, target_plans.CONTRACT, key),),
    )
    return Previous(State(rows[0][0]), rows[0][1], target_plans.DIGEST)


# --------------------------------------------------------------------------------- the common case


def test_a_batch_is_one_transaction_with_ledger_rows_first(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    result = writer.commit_batch([record(2, 1), record(1, 3), refused(4), refused(3, State.SKIPPED)])
    assert content(session) == expected(
        {1: 3, 2: 1},
        [("4", 1, "parse", "not_well_formed", "it is no XML", None, None, "a/b")],
        skipped=(3,),
    )
    assert sums(result) == (2, 0, 1, 1)
    assert result.rows == result.document_rows == (2, 4)
    assert result.attempts == 1
    assert result.seconds > 0
    assert result.rejected == []
    assert dict(result.quarantine_reasons) == {"not_well_formed": 1}
    assert engine.steps == [
        "connect", "begin", "insert_new:load_ledger", "write_rows:base", "write_rows:contact",
        "delete_rows:load_quarantine", "insert_new:load_quarantine", "commit",
    ]  # fmt: skip
    batches = session.query("SELECT DISTINCT batch FROM load_ledger")
    assert len(batches) == 1
    assert 0 <= batches[0][0] < 2**63


def test_ledger_rows_go_in_in_key_order(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([record(key) for key in (5, 1, 4, 2, 3)])
    inserted = session.query("SELECT source_key FROM load_ledger ORDER BY rowid")
    assert [row[0] for row in inserted] == ["1", "2", "3", "4", "5"]


def test_the_connection_is_kept_for_the_next_batch(
    engine: FakeEngine, writer: DatabaseBatchWriter, record: Any
) -> None:
    writer.commit_batch([record(1)])
    writer.commit_batch([record(2)])
    assert engine.steps.count("connect") == 1


def test_tables_without_rows_are_not_touched(
    engine: FakeEngine, writer: DatabaseBatchWriter, record: Any
) -> None:
    assert writer.commit_batch([record(1, 0)]).rows == (1, 0)
    assert "write_rows:contact" not in engine.steps


# ------------------------------------------------------------------------------------ exactly once


def test_documents_of_another_loader_are_left_out_and_counted_by_their_state(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    other = make_writer(engine)
    other.commit_batch([record(1, 3), refused(2), refused(3, State.SKIPPED)])
    other.close()
    before = content(session)
    result = writer.commit_batch([record(key) for key in (1, 2, 3, 4)])
    assert sums(result) == (1, 1, 1, 1)
    assert result.rows == (1, 2)
    assert dict(result.quarantine_reasons) == {}
    after = content(session)
    assert [row for row in after["ledger"] if row[0] != "4"] == before["ledger"]
    assert after["base"] == [(1, "n1", "1.10"), (4, "n4", "1.10")]
    assert after["quarantine"] == before["quarantine"]


STEPS = ["begin", "insert_new:load_ledger", "write_rows:base", "write_rows:contact", "commit"]


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("kind", [FaultKind.TRANSIENT, FaultKind.DISCONNECTED])
def test_whatever_fails_for_a_moment_the_batch_is_in_once(
    engine: FakeEngine,
    writer: DatabaseBatchWriter,
    session: Session,
    record: Any,
    step: str,
    after: bool,
    kind: FaultKind,
) -> None:
    engine.fail_once(step, kind, after=after)
    result = writer.commit_batch([record(1, 3), record(2, 1), refused(3)])
    assert content(session) == expected(
        {1: 3, 2: 1}, [("3", 1, "parse", "not_well_formed", "it is no XML", None, None, "a/b")]
    )
    # Also where the commit had happened and only its answer was lost: it is ours, not another loader's.
    assert sums(result) == (2, 0, 1, 0)
    assert result.rows == result.document_rows == (2, 4)
    assert dict(result.quarantine_reasons) == {"not_well_formed": 1}
    assert result.attempts == 2
    reconnected = kind is FaultKind.DISCONNECTED
    assert engine.steps.count("connect") == (2 if reconnected else 1)


def test_a_lost_answer_is_told_from_another_loaders_commit(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    """The answer is lost, the commit did not happen, and another loader takes one of the documents."""
    other = make_writer(engine)

    def interfere(step: str) -> None:
        if step == "commit":
            engine.before = lambda _: None
            writer._connection._session.inner.rollback()  # type: ignore[union-attr]
            other.commit_batch([record(2, 3)])
            raise Injected(FaultKind.DISCONNECTED)

    engine.before = interfere
    result = writer.commit_batch([record(1), record(2)])
    other.close()
    assert sums(result) == (1, 1, 0, 0)
    assert result.rows == result.document_rows == (1, 2)
    assert content(session)["contact"] == expected({1: 2, 2: 3})["contact"]


def test_a_first_connection_is_retried_too(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    engine.fail_times("connect", FaultKind.DISCONNECTED, 2)
    assert writer.commit_batch([record(1)]).loaded == 1
    assert content(session) == expected({1: 2})


def test_a_target_that_stays_away_ends_the_run_with_cause_and_advice(
    engine: FakeEngine, session: Session, record: Any
) -> None:
    writer = make_writer(engine, retry_seconds=0.3)
    engine.fail_times("write_rows:contact", FaultKind.DISCONNECTED, 10**6, code="connection_lost")
    started = time.monotonic()
    with pytest.raises(TargetError, match=r"the test says connection_lost.*same command again") as raised:
        writer.commit_batch([record(1)])
    assert 0.3 <= time.monotonic() - started < 3
    assert raised.value.exit_code == 5
    assert content(session) == expected({})


@pytest.mark.parametrize("step", STEPS)
def test_what_no_retry_can_cure_ends_the_run_at_once(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any, step: str
) -> None:
    engine.fail_once(step, FaultKind.FATAL, code="disk_full")
    with pytest.raises(TargetError, match="disk_full"):
        writer.commit_batch([record(1), record(2)])
    assert engine.steps.count("begin") == 1
    assert content(session) == expected({})


def test_a_mistake_of_this_program_is_not_blamed_on_the_target(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    def stumble(step: str) -> None:
        if step == "write_rows:base":
            raise KeyError(step)

    engine.before = stumble
    with pytest.raises(KeyError):
        writer.commit_batch([record(1)])
    assert content(session) == expected({})


# ---------------------------------------------------------------------------------- poison documents


def poison(record: Any, key: int) -> DocumentRecord:
    """A document that the database refuses: its name is NULL."""
    return record(key, document_rows=([(key, None, Decimal("1.10"))], [(key, 1, "01")]))  # type: ignore[no-any-return]


def quarantine_row(key: int) -> tuple[Any, ...]:
    return (
        str(key), 1, "target", "not_null_violation", "a column that must be given is NULL: base.name",
        "base", "name", None,
    )  # fmt: skip


@pytest.mark.parametrize(
    "bad",
    [{0}, {31}, {7, 8}, {0, 15, 31}, set(range(32))],
    ids=lambda bad: str(sorted(bad)),  # sets made in other ways have other orders
)
def test_poison_documents_go_to_quarantine_and_their_neighbours_in(
    writer: DatabaseBatchWriter, session: Session, record: Any, bad: set[int]
) -> None:
    records = [poison(record, key) if key in bad else record(key) for key in range(32)]
    result = writer.commit_batch(records)
    good = {key: 2 for key in range(32) if key not in bad}
    assert content(session) == expected(good, [quarantine_row(key) for key in bad])
    assert sums(result) == (32 - len(bad), 0, len(bad), 0)
    assert result.rows == result.document_rows == (len(good), 2 * len(good))
    assert sorted(item.key for item in result.rejected) == sorted(bad)
    assert {item.rejection.column for item in result.rejected} == {"name"}
    assert result.quarantine_reasons == {"not_null_violation": len(bad)}
    k = len(bad)
    assert result.attempts <= 2 + 2 * k * (math.log2(32 / k) + 1) + k


def test_one_poison_document_in_a_thousand_costs_about_log_n_attempts(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    records = [poison(record, key) if key == 613 else record(key, 1) for key in range(1000)]
    result = writer.commit_batch(records)
    assert sums(result) == (999, 0, 1, 0)
    assert result.attempts <= 2 + 2 * 10
    assert len(session.query("SELECT DISTINCT batch FROM load_ledger")) <= 11
    assert session.query("SELECT COUNT(*) FROM base")[0][0] == 999


def test_a_fault_that_shows_at_commit_is_bisected_too(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    session.execute("ALTER TABLE contact RENAME TO old_contact")
    session.execute(
        "CREATE TABLE contact (id INTEGER NOT NULL, no INTEGER NOT NULL, phone TEXT, PRIMARY KEY (id, no), "
        "FOREIGN KEY (id) REFERENCES base (id) DEFERRABLE INITIALLY DEFERRED)"
    )
    orphan = record(5, document_rows=([], [(99, 1, "01")]))
    result = writer.commit_batch([record(key) if key != 5 else orphan for key in range(8)])
    assert engine.steps.count("commit") > 1
    assert sums(result) == (7, 0, 1, 0)
    assert [item.rejection.code for item in result.rejected] == ["foreign_key_violation"]
    assert content(session)["base"] == expected({key: 2 for key in range(8) if key != 5})["base"]
    assert content(session)["contact"] == expected({key: 2 for key in range(8) if key != 5})["contact"]


def test_faults_that_pass_do_not_disturb_bisection(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    calls = 0

    def every_third_commit_loses_its_answer(step: str) -> None:
        nonlocal calls
        calls += step == "commit"
        if step == "commit" and calls % 3 == 0:
            raise Injected(FaultKind.DISCONNECTED)

    engine.after = every_third_commit_loses_its_answer
    bad = {3, 20, 21}
    result = writer.commit_batch([poison(record, k) if k in bad else record(k) for k in range(32)])
    assert sums(result) == (29, 0, 3, 0)
    assert result.rows == result.document_rows == (29, 58)
    good = {key: 2 for key in range(32) if key not in bad}
    assert content(session) == expected(good, [quarantine_row(key) for key in bad])


def test_a_duplicate_in_the_data_is_bad_data_and_not_another_loader(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    session.execute("INSERT INTO base VALUES (2, 'foreign', NULL)")
    result = writer.commit_batch([record(1), record(2), record(3)])
    assert sums(result) == (2, 0, 1, 0)
    assert [item.key for item in result.rejected] == [2]
    names = session.query("SELECT name FROM base ORDER BY id")
    assert names == [("n1",), ("foreign",), ("n3",)]


def test_quarantine_that_is_refused_itself_ends_the_run(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    session.execute(
        "CREATE TRIGGER no_quarantine BEFORE INSERT ON load_quarantine BEGIN SELECT RAISE(ABORT, 'no'); END"
    )
    with pytest.raises(TargetError, match=r"bookkeeping of 1 document.*key 2.*load_ tables"):
        writer.commit_batch([record(1), poison(record, 2), record(3)])
    assert content(session)["ledger"] == expected({1: 2, 3: 2})["ledger"]
    with pytest.raises(TargetError, match=r"bookkeeping of 1 document.*key 4"):
        writer.commit_batch([refused(4)])


def test_a_rejection_with_characters_that_cannot_be_stored_is_stored(
    writer: DatabaseBatchWriter, session: Session
) -> None:
    record_ = refused(1)
    assert record_.rejection is not None
    object.__setattr__(record_.rejection, "message", "nul \0 and \ud800")
    writer.commit_batch([record_])
    assert content(session)["quarantine"][0][4] == r"nul \x00 and \ud800"


# ------------------------------------------------------------------------------------------ law 3


def test_a_database_that_eats_rows_is_found_out(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    engine.row_counts_off_by = -1
    with pytest.raises(TargetError, match=r"took 1 of 2 rows for table base .*trigger"):
        writer.commit_batch([record(1), record(2)])
    assert content(session) == expected({})


# ------------------------------------------------------------------- documents that are known already


def test_a_quarantined_document_that_is_replayed_leaves_quarantine(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([refused(1), refused(2)])
    result = writer.commit_batch(
        [record(1, 3, previous=previous_of(session, 1)), refused(2, previous=previous_of(session, 2))]
    )
    assert sums(result) == (1, 0, 1, 0)
    assert content(session) == expected(
        {1: 3}, [("2", 1, "parse", "not_well_formed", "it is no XML", None, None, "a/b")]
    )


def test_a_replayed_document_that_the_target_refuses_is_quarantined_anew(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([refused(1)])
    bad = poison(record, 1)
    bad.previous = previous_of(session, 1)
    result = writer.commit_batch([bad])
    assert sums(result) == (0, 0, 1, 0)
    assert content(session) == expected({}, [quarantine_row(1)])


def test_a_loaded_document_that_is_reloaded_has_its_old_rows_replaced(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([record(1, 5), record(2, 5)])
    result = writer.commit_batch([record(1, 2, name="anew", previous=previous_of(session, 1))])
    assert sums(result) == (1, 0, 0, 0)
    assert result.rows == (1, 2)
    tables = content(session)
    assert tables["base"] == [(1, "anew", "1.10"), (2, "n2", "1.10")]
    assert tables["contact"] == expected({1: 2, 2: 5})["contact"]
    assert tables["ledger"] == expected({1: 2, 2: 5})["ledger"]


@pytest.mark.parametrize("state", [State.QUARANTINED, State.SKIPPED])
def test_a_loaded_document_that_is_put_aside_on_reload_leaves_no_rows(
    writer: DatabaseBatchWriter, session: Session, record: Any, state: State
) -> None:
    writer.commit_batch([record(1, 5)])
    writer.commit_batch([refused(1, state, previous=previous_of(session, 1))])
    tables = content(session)
    assert tables["base"] == tables["contact"] == []
    assert [row[1] for row in tables["ledger"]] == [state.value]
    assert len(tables["quarantine"]) == (state is State.QUARANTINED)


def test_a_known_document_that_another_loader_has_settled_meanwhile_is_left_to_it(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([refused(1)])
    seen = previous_of(session, 1)
    other = make_writer(engine)
    other.commit_batch([record(1, 4, previous=seen)])
    other.close()
    result = writer.commit_batch([record(1, 2, previous=seen), record(2)])
    assert sums(result) == (1, 1, 0, 0)
    assert content(session) == expected({1: 4, 2: 2})


@pytest.mark.parametrize("step", ["commit", "execute_many", "delete_rows:contact", "write_rows:base"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_reload_whose_answer_is_lost_is_done_once(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any, step: str, after: bool
) -> None:
    writer.commit_batch([record(1, 5), refused(2)])
    seen = {key: previous_of(session, key) for key in (1, 2)}
    engine.fail_once(step, FaultKind.DISCONNECTED, after=after)
    result = writer.commit_batch([record(1, 1, previous=seen[1]), record(2, 3, previous=seen[2])])
    assert sums(result) == (2, 0, 0, 0)
    assert result.rows == result.document_rows == (2, 4)
    assert content(session) == expected({1: 1, 2: 3})


@pytest.mark.parametrize("step", ["commit", "execute_many", "delete_rows:load_quarantine"])
@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_refused_new_version_changes_quarantine_alone_and_so_does_its_end(
    engine: FakeEngine, writer: DatabaseBatchWriter, session: Session, record: Any, step: str, after: bool
) -> None:
    writer.commit_batch([record(1, 5)])
    before = content(session)

    def known(**more: Any) -> Previous:
        return replace(previous_of(session, 1), renewal=Renewal.REPLACE, **more)

    engine.fail_once(step, FaultKind.DISCONNECTED, after=after)
    result = writer.commit_batch([refused(1, previous=known())])
    assert sums(result) == (0, 0, 1, 0)
    assert (result.changed, result.replaced) == (1, 0)
    assert result.rows == result.document_rows == (0, 0)
    row = ("1", 1, "parse", "not_well_formed", "it is no XML", None, None, "a/b")
    assert content(session) == {**before, "quarantine": [row]}
    engine.fail_once(step, FaultKind.DISCONNECTED, after=after)
    restored = DocumentRecord(
        1, State.LOADED, b"h" * 16, look=Look.RESTORED, previous=known(has_refused=True)
    )
    result = writer.commit_batch([restored])
    assert sums(result) == (0, 1, 0, 0)
    assert result.rows == result.document_rows == (0, 0)
    assert content(session) == before


def test_documents_that_are_only_looked_at_need_no_connection(
    engine: FakeEngine, writer: DatabaseBatchWriter
) -> None:
    previous = Previous(State.LOADED, 1, target_plans.DIGEST, b"h" * 16)
    looks = (
        (Look.UNCHANGED, State.LOADED), (Look.CHANGED, State.LOADED), (Look.STILL_REFUSED, State.QUARANTINED),
        (Look.UNCHANGED, State.SKIPPED),
    )  # fmt: skip
    result = writer.commit_batch(
        [
            DocumentRecord(key, state, b"", look=look, previous=previous)
            for key, (look, state) in enumerate(looks)
        ]
    )
    assert sums(result) == (0, 2, 1, 1)
    assert (result.changed, result.changed_keys, result.attempts) == (1, [1], 0)
    assert engine.steps == []


def test_rows_that_the_ledger_does_not_know_of_are_never_deleted(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([record(1, 1)])
    session.execute("INSERT INTO contact VALUES (1, 77, 'foreign')")
    before = content(session)
    with pytest.raises(TargetError, match=r"contact holds 2 rows of key 1, and 1 were loaded"):
        writer.commit_batch([record(1, 1, previous=previous_of(session, 1))])
    assert content(session) == before


def test_old_rows_that_cannot_be_found_stop_a_reload(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([record(1, 1)])
    session.execute("PRAGMA foreign_keys = OFF")
    session.execute("UPDATE contact SET id = 9")
    session.execute("UPDATE base SET id = 9")
    before = content(session)
    with pytest.raises(TargetError, match="of the 2 rows that were loaded for key 1 none is in"):
        writer.commit_batch([record(1, 1, previous=previous_of(session, 1))])
    assert content(session) == before


def test_a_ledger_row_that_disappears_is_not_taken_for_loaded(
    writer: DatabaseBatchWriter, session: Session, record: Any
) -> None:
    writer.commit_batch([refused(1)])
    seen = previous_of(session, 1)
    session.execute("DELETE FROM load_ledger")
    with pytest.raises(TargetError, match="the ledger row of key 1 disappeared"):
        writer.commit_batch([record(1, previous=seen)])


# ----------------------------------------------------------------------------------------- clocks


@pytest.mark.parametrize("kind", [None, FaultKind.TRANSIENT, FaultKind.DATA])
def test_a_batchs_seconds_are_those_of_its_parts_and_failed_attempts_are_retries(
    engine: FakeEngine, record: Any, kind: FaultKind | None
) -> None:
    writer = make_writer(engine)
    if kind is not None:
        engine.fail_once("commit", kind)
    result = writer.commit_batch([record(1), record(2)])
    parts = result.claim_seconds + result.commit_seconds + result.retry_seconds
    assert parts + sum(result.table_seconds.values()) == pytest.approx(result.seconds, abs=1e-6)
    assert set(result.table_seconds) == {"base", "contact"}
    assert result.commit_seconds > 0
    if kind is FaultKind.TRANSIENT:
        assert result.retry_seconds >= 0.05  # half of the first wait, at the least
    elif kind is FaultKind.DATA:
        assert result.retry_seconds > 0
    else:
        assert result.retry_seconds < 0.5 * result.seconds


# ------------------------------------------------------------------------------------------ abort


def test_abort_ends_a_batch_that_waits_between_attempts(
    engine: FakeEngine, record: Any, caplog: pytest.LogCaptureFixture
) -> None:
    writer = make_writer(engine, retry_seconds=60)
    engine.fail_times("write_rows:base", FaultKind.TRANSIENT, 10**6)
    failed = threading.Event()
    errors: list[BaseException] = []

    def commit() -> None:
        try:
            writer.commit_batch([record(1)])
        except BaseException as error:  # noqa: BLE001 - looked at below
            errors.append(error)
        failed.set()

    with caplog.at_level(logging.CRITICAL):
        thread = threading.Thread(target=commit)
        thread.start()
        time.sleep(0.3)
        assert not failed.is_set()
        writer.abort()
        assert failed.wait(2)
        thread.join()
    writer.close()
    assert [type(error) for error in errors] == [TargetError]


def test_an_aborted_writer_takes_no_further_batch(engine: FakeEngine, record: Any) -> None:
    writer = make_writer(engine)
    writer.abort()
    with pytest.raises(TargetError, match="run ended"):
        writer.commit_batch([record(1)])
    assert engine.steps == []


def test_abort_while_connecting_is_not_forgotten(engine: FakeEngine, session: Session, record: Any) -> None:
    writer = make_writer(engine)
    engine.after = lambda step: writer.abort() if step == "connect" else None
    with pytest.raises(TargetError, match="run ended"):
        writer.commit_batch([record(1)])
    writer.close()
    assert content(session) == expected({})
