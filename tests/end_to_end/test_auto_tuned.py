"""--auto-tune: the same tables whatever is tuned in mid-run, and no hang, whatever ends the run."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import Program, run_program
from tests.support.restless import Restless
from tests.support.tables import Tables, ledger, ledger_rows_match_tables, query, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.errors import TargetError
from xml_extractor.operations.load import RunningLoad
from xml_extractor.processing.tuning_windows import BatchTimes
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import write_sample
from xml_extractor.target.batch_writer import DatabaseBatchWriter
from xml_extractor.target.content_digest import table_digests

DOCUMENTS = 300
SEED = 11


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.read(shipped_config("loan_application.yaml"))


@pytest.fixture(scope="module")
def source_url(tmp_path_factory: pytest.TempPathFactory, contract: Contract) -> str:
    url = f"sqlite:///{(tmp_path_factory.mktemp('source') / 'source.db').as_posix()}"
    write_sample(open_engine(url), contract.plan, DOCUMENTS, SEED)
    return url


Whole = tuple[Tables, dict[str, str], dict[str, str]]


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory, contract: Contract, source_url: str) -> Whole:
    """Tables, ledger and digests of an untuned serial load."""
    url = f"sqlite:///{(tmp_path_factory.mktemp('serial') / 'serial.db').as_posix()}"
    load(source_url, url, contract, LoadOptions(create_tables=True, executor="serial"))
    return read_tables(url, contract.plan), ledger(url), digests(url, contract.plan)


def digests(url: str, plan: Plan) -> dict[str, str]:
    engine = open_engine(url)
    session = engine.connect(write=False, application="tests")
    try:
        return table_digests(engine, session, plan)
    finally:
        session.close()


def expect(url: str, plan: Plan, serial: Whole) -> None:
    assert digests(url, plan) == serial[2]
    found = read_tables(url, plan)
    for name, rows in serial[0].items():
        assert found[name] == rows, f"table {name} differs"
    assert ledger(url) == serial[1]
    ledger_rows_match_tables(url, plan)


@pytest.fixture
def restless(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[Restless]]:
    """Tuning that changes everything all the time."""
    monkeypatch.setattr("xml_extractor.processing.auto_tune.HillClimber", Restless)
    monkeypatch.setattr("xml_extractor.processing.parallel_coordinator.POLL_SECONDS", 0.005)
    monkeypatch.setattr(Restless, "changes", 0)
    yield Restless
    deadline = time.monotonic() + 10
    while any(thread.name.startswith("xml-extractor") for thread in threading.enumerate()):
        assert time.monotonic() < deadline, threading.enumerate()
        time.sleep(0.01)


def options(**given: Any) -> LoadOptions:
    return LoadOptions(
        **{
            "create_tables": True,
            "auto_tune": True,
            "batch_size": 10,
            "drift_sample": 0,
            "workers": 2,
            **given,
        }
    )


@pytest.mark.parametrize("executor", ["thread", "process", "serial"])
def test_a_restlessly_tuned_load_gives_the_same_tables(
    executor: str, database_url: str, contract: Contract, source_url: str, serial: Whole,
    restless: type[Restless],
) -> None:  # fmt: skip
    summary = load(source_url, database_url, contract, options(executor=executor, queue_size=20))
    assert summary.documents.read == DOCUMENTS
    assert restless.changes > 0  # how many depends on how often a busy machine lets the tuner look
    assert summary.profile is not None
    last = summary.profile.samples[-1]
    assert last.insert_threads == summary.insert_threads, "samples show what was in force"
    assert last.batch_size in (1, 3, 10, 40)
    expect(database_url, contract.plan, serial)
    if executor == "serial" or database_url.startswith("sqlite"):
        assert summary.insert_threads == 1


def test_stopped_and_broken_off_again_and_again_it_is_completed(
    database_url: str, contract: Contract, source_url: str, serial: Whole, restless: type[Restless]
) -> None:
    load(source_url, database_url, contract, options(limit=1))
    for attempt in range(4):

        def interrupt(running: RunningLoad, attempt: int = attempt) -> None:
            def act() -> None:
                time.sleep(0.15)
                if attempt % 2:
                    running.abort()
                else:
                    running.stop(2)

            threading.Thread(target=act, daemon=True).start()

        started = time.monotonic()
        load(source_url, database_url, contract, options(executor="thread"), on_start=interrupt)
        assert time.monotonic() - started < 30
    load(source_url, database_url, contract, options(executor="thread"))
    expect(database_url, contract.plan, serial)


def test_a_failure_ends_it_with_its_cause(
    database_url: str, contract: Contract, source_url: str, serial: Whole, restless: type[Restless],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    commit, calls = DatabaseBatchWriter.commit_batch, iter(range(1000))

    def fail(self: DatabaseBatchWriter, records: Any) -> Any:
        if next(calls) == 10:
            raise TargetError("the disk is full")
        return commit(self, records)

    with monkeypatch.context() as context:
        context.setattr(DatabaseBatchWriter, "commit_batch", fail)
        started = time.monotonic()
        with pytest.raises(TargetError, match="disk is full"):
            load(source_url, database_url, contract, options(executor="thread"))
        assert time.monotonic() - started < 30
    load(source_url, database_url, contract, options(executor="thread"))
    expect(database_url, contract.plan, serial)


def test_connections_that_are_refused_do_not_end_it(
    postgresql_url: str, contract: Contract, source_url: str, serial: Whole, restless: type[Restless],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    def refuse(self: DatabaseBatchWriter) -> None:
        raise TargetError("too many connections")

    monkeypatch.setattr(DatabaseBatchWriter, "connect", refuse)
    with caplog.at_level(logging.INFO):
        summary = load(source_url, postgresql_url, contract, options(insert_threads=3))
    assert summary.insert_threads == 1
    assert "no more than 1 insert threads: too many connections" in caplog.text
    expect(postgresql_url, contract.plan, serial)


def test_a_mistake_in_the_tuning_ends_the_tuning_and_not_the_load(
    database_url: str, contract: Contract, source_url: str, serial: Whole, restless: type[Restless],
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    add = Restless.add

    def fail_later(self: Restless, batch: BatchTimes) -> list[str]:
        if restless.changes == 3:
            raise ZeroDivisionError
        return add(self, batch)

    monkeypatch.setattr(Restless, "add", fail_later)
    summary = load(source_url, database_url, contract, options(executor="thread", queue_size=20))
    assert summary.documents.read == DOCUMENTS
    [note] = [note for note in summary.notes if note.startswith("--auto-tune")]
    assert "ended early" in note
    assert caplog.text.count("auto-tune ends (ZeroDivisionError)") == 1
    expect(database_url, contract.plan, serial)


def test_killed_in_mid_load_then_resumed(
    database_url: str, contract: Contract, source_url: str, serial: Whole, tmp_path: Path
) -> None:
    arguments = ["--source", source_url, "--target", database_url, "--create-tables", "--auto-tune"]
    arguments += ["--batch-size", "2", "--executor", "thread"]
    first = Program(*arguments, folder=tmp_path, extra={"XML_EXTRACTOR_FAILPOINTS": "after_commit=kill@30"})
    assert first.wait() != 0
    count = int(query(database_url, "SELECT COUNT(*) FROM load_ledger")[0][0])
    assert 0 < count < DOCUMENTS
    second = run_program(*arguments, folder=tmp_path)
    assert second.process.returncode == 3, second.errors
    expect(database_url, contract.plan, serial)


def test_it_says_what_it_did(
    postgresql_url: str, contract: Contract, source_url: str, caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A real climber, in a great hurry: its changes are in the log, its advice in the summary."""
    monkeypatch.setattr("xml_extractor.processing.tuning_windows.WINDOW_SECONDS", 0.005)
    monkeypatch.setattr("xml_extractor.processing.parallel_coordinator.POLL_SECONDS", 0.005)
    with caplog.at_level(logging.INFO):
        summary = load(
            source_url, postgresql_url, contract, options(batch_size=1, executor="thread", queue_size=10)
        )
    notes = [note for note in summary.notes if note.startswith("--auto-tune")]
    assert len(notes) == 1
    assert "--batch-size" in notes[0]
    assert "auto-tune: tries" in caplog.text
    assert "documents/s" in caplog.text


def test_a_dry_run_has_nothing_to_tune(sqlite_url: str, contract: Contract, source_url: str) -> None:
    summary = load(source_url, sqlite_url, contract, options(dry_run=True, limit=20))
    assert any("a dry run inserts nothing" in note for note in summary.notes)


def test_without_the_flag_nothing_is_tuned(
    sqlite_url: str, contract: Contract, source_url: str, restless: type[Restless]
) -> None:
    load(source_url, sqlite_url, contract, options(auto_tune=False, limit=100))
    assert restless.changes == 0
