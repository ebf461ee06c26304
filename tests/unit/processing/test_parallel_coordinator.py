"""The coordinator: what a failing stage, a signal or a stalled target does to a run."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.restless import Restless
from xml_extractor.contract import Contract
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine
from xml_extractor.errors import SourceError, TargetError, WorkerError
from xml_extractor.mapping.records import DocumentRecord, Key, Previous, State
from xml_extractor.processing.executor_choice import ExecutorChoice
from xml_extractor.processing.insert_queue import InsertQueue
from xml_extractor.processing.parallel_coordinator import ParallelCoordinator
from xml_extractor.profiling.summary import LoadSummary, SumsDifferError
from xml_extractor.settings import LoadOptions
from xml_extractor.target.base import BatchResult, BatchWriter, LedgerEntry, LoadHandle, RunState, Target
from xml_extractor.target.files import count_batch

DOCUMENTS = 2_000
CONTRACT = """
contract: notes
version: 1
source: {table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  note:
    primary_key: [id]
    columns:
      id: {from: $key, type: int}
      text: {from: ".", type: nvarchar(100)}
"""


class MemoryTarget(Target):
    """Keeps what is committed, in memory; told when to fail or stall."""

    def __init__(self) -> None:
        self.committed: list[DocumentRecord] = []
        self.lock = threading.Lock()
        self.fail_at_batch: int | None = None
        self.fail_lookup = False
        self.gate = threading.Event()
        self.gate.set()
        self.aborted = threading.Event()
        self.batches = 0
        self.closed_writers = 0
        self.concurrent = 0
        self.most_concurrent = 0

    @property
    def display(self) -> str:
        return "memory"

    def prepare(self, plan: Plan, **_: Any) -> LoadHandle:
        return MemoryHandle(self, plan)


class MemoryHandle(LoadHandle):
    load_id = 1
    resumed = False

    def __init__(self, target: MemoryTarget, plan: Plan) -> None:
        self.started_at = datetime(2026, 1, 1, tzinfo=UTC)
        self._target = target
        self._plan = plan

    def lookup(self, keys: Sequence[Key]) -> dict[Key, LedgerEntry]:
        if self._target.fail_lookup:
            raise TargetError("the ledger cannot be read")
        return {}

    def writer(self, index: int) -> BatchWriter:
        return MemoryWriter(self._target, len(self._plan.tables))

    def finish(self, state: RunState, summary: Mapping[str, Any]) -> None: ...

    def abort(self) -> None: ...

    def close(self) -> None: ...


class MemoryWriter(BatchWriter):
    def __init__(self, target: MemoryTarget, tables: int) -> None:
        self._target = target
        self._tables = tables

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        target = self._target
        with target.lock:
            target.batches += 1
            if target.batches == target.fail_at_batch:
                raise TargetError("the target is gone")
            target.concurrent += 1
            target.most_concurrent = max(target.most_concurrent, target.concurrent)
        while not target.gate.wait(0.05):
            if target.aborted.is_set():
                raise TargetError("aborted")
        with target.lock:
            target.committed += records
            target.concurrent -= 1
        return count_batch(records, self._tables)

    def abort(self) -> None:
        self._target.aborted.set()

    def close(self) -> None:
        with self._target.lock:
            self._target.closed_writers += 1


@pytest.fixture
def plan() -> Plan:
    return Contract.from_text(CONTRACT, "notes.yaml").plan


@pytest.fixture
def source(tmp_path: Path, plan: Plan) -> Engine:
    engine = open_engine(f"sqlite:///{(tmp_path / 'source.db').as_posix()}")
    session = engine.connect(write=True, application="tests")
    session.execute("CREATE TABLE app_xml (id INTEGER PRIMARY KEY, body TEXT)")
    session.begin()
    session.execute_many(
        "INSERT INTO app_xml VALUES (?, ?)", ((key, f"<Note>{key}</Note>") for key in range(1, DOCUMENTS + 1))
    )
    session.commit()
    session.close()
    return engine


def coordinator(
    source: Engine, plan: Plan, target: MemoryTarget, keys: Any = None, **options: Any
) -> ParallelCoordinator:
    settings: dict[str, Any] = {"workers": 2, "batch_size": 20, "queue_size": 40, "executor": "thread"}
    return ParallelCoordinator(
        source, target, target.prepare(plan), plan, LoadOptions(**{**settings, **options}), keys=keys
    )


def run_in_thread(run: ParallelCoordinator) -> tuple[threading.Thread, list[Any]]:
    outcome: list[Any] = []

    def call() -> None:
        try:
            outcome.append(run.run())
        except BaseException as error:  # noqa: BLE001
            outcome.append(error)

    thread = threading.Thread(target=call, daemon=True)
    thread.start()
    return thread, outcome


def no_pipeline_thread_is_left() -> bool:
    deadline = time.monotonic() + 5
    while any(thread.name.startswith("xml-extractor") for thread in threading.enumerate()):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


EXECUTORS = pytest.mark.parametrize("executor", ["thread", "process", "serial"])


@EXECUTORS
def test_everything_arrives_once(executor: str, source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    summary = coordinator(source, plan, target, executor=executor).run()
    assert sorted(record.key for record in target.committed) == list(range(1, DOCUMENTS + 1))  # type: ignore[type-var]
    assert summary.documents.loaded == summary.documents.read == DOCUMENTS
    assert summary.rows == {"note": DOCUMENTS}
    assert summary.batches == target.batches
    assert abs(sum(summary.clocks.shares().values()) - 1) < 1e-9
    assert target.closed_writers == 1
    assert no_pipeline_thread_is_left()


def test_a_document_that_gets_lost_on_the_way_ends_the_run_with_an_error(
    source: Engine, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Law 3: nobody may be told that a load is finished which is not."""
    take_batch = InsertQueue.take_batch
    monkeypatch.setattr(InsertQueue, "take_batch", lambda *given: (take_batch(*given) or [None])[1:] or None)
    target = MemoryTarget()
    with pytest.raises(SumsDifferError, match=r"2,000 documents were read, but .* unfinished") as caught:
        coordinator(source, plan, target).run()
    assert caught.value.exit_code == 1


@EXECUTORS
def test_a_target_that_fails_ends_the_run_with_its_cause(executor: str, source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    target.fail_at_batch = 3
    run = coordinator(source, plan, target, executor=executor)
    started = time.monotonic()
    with pytest.raises(TargetError, match="the target is gone"):
        run.run()
    assert time.monotonic() - started < 10
    summary = run.summary()
    assert summary.documents.loaded == len(target.committed) == 40
    assert summary.documents.unfinished == summary.documents.read - 40
    assert target.closed_writers == 1
    assert no_pipeline_thread_is_left()


@EXECUTORS
def test_a_ledger_that_fails_ends_the_run(executor: str, source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    target.fail_lookup = True
    with pytest.raises(TargetError, match="ledger"):
        coordinator(source, plan, target, executor=executor).run()
    assert no_pipeline_thread_is_left()


@EXECUTORS
def test_a_source_without_its_table_ends_the_run(executor: str, source: Engine, plan: Plan) -> None:
    session = source.connect(write=True, application="tests")
    session.execute("DROP TABLE app_xml")
    session.close()
    with pytest.raises(SourceError, match="app_xml"):
        coordinator(source, plan, MemoryTarget(), executor=executor).run()


def test_a_stop_drains_what_is_in_flight(source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    target.gate.clear()
    run = coordinator(source, plan, target)
    thread, outcome = run_in_thread(run)
    while target.concurrent == 0:
        time.sleep(0.01)
    run.stop(2)
    time.sleep(0.2)
    assert thread.is_alive()
    target.gate.set()
    thread.join(20)
    summary = outcome[0]
    assert summary.stopped_by_signal == 2
    assert summary.documents.unfinished == 0
    assert 0 < summary.documents.loaded == len(target.committed) < DOCUMENTS
    assert no_pipeline_thread_is_left()


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_an_abort_ends_a_run_whose_target_stalls(executor: str, source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    target.gate.clear()
    run = coordinator(source, plan, target, executor=executor)
    thread, outcome = run_in_thread(run)
    while target.concurrent == 0:
        time.sleep(0.01)
    run.stop(2)
    run.abort()
    thread.join(10)
    assert not thread.is_alive()
    summary = outcome[0]
    assert summary.documents.loaded == 0
    assert summary.documents.unfinished == summary.documents.read > 0
    assert no_pipeline_thread_is_left()


def test_several_insert_threads_commit_at_once(source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    target.gate.clear()
    run = coordinator(source, plan, target, insert_threads=3)
    thread, outcome = run_in_thread(run)
    deadline = time.monotonic() + 20
    while target.most_concurrent < 3:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    target.gate.set()
    thread.join(20)
    assert outcome[0].documents.loaded == DOCUMENTS
    assert target.closed_writers == 3


def test_given_keys_are_loaded_with_what_the_ledger_says_of_them(source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    previous = Previous(State.QUARANTINED, 7, "old")
    summary = coordinator(source, plan, target, keys=[(3, previous), (9, previous)]).run()
    assert [(record.key, record.previous) for record in target.committed] == [(3, previous), (9, previous)]
    assert summary.documents.read == 2


def test_keys_that_have_left_the_source_are_not_counted_as_read(source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    previous = Previous(State.QUARANTINED, 7, "old")
    summary = coordinator(source, plan, target, keys=[(3, previous), (9999, previous)]).run()
    assert summary.documents.read == summary.documents.loaded == 1
    assert any("left the source" in note for note in summary.notes)


def test_auto_says_what_it_chose_and_why(source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    summary = coordinator(source, plan, target, executor="auto", workers=4).run()
    assert summary.executor == "thread"
    assert "too little" in summary.executor_reason or "core" in summary.executor_reason
    assert sorted(record.key for record in target.committed) == list(range(1, DOCUMENTS + 1))  # type: ignore[type-var]


def test_auto_judges_by_all_that_is_pending_not_by_the_first_page(
    source: Engine, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []

    def choose(setup: object, sample: Sequence[object], pending: int, *_: object) -> ExecutorChoice:
        seen.append(pending)
        return ExecutorChoice("thread", "for the test")

    monkeypatch.setattr("xml_extractor.processing.parallel_coordinator.choose_executor", choose)
    monkeypatch.setattr("xml_extractor.processing.look_ahead.LOOK_AHEAD_DOCUMENTS", 100)
    coordinator(source, plan, MemoryTarget(), executor="auto").run()
    assert seen == [DOCUMENTS]


class StalledTarget(MemoryTarget):
    """Lets nobody in after the first writer, and does not say so."""

    def __init__(self) -> None:
        super().__init__()
        self.connecting = threading.Event()
        self.may_connect = threading.Event()
        self.let_in = 0

    def prepare(self, plan: Plan, **_: Any) -> LoadHandle:
        return StalledHandle(self, plan)


class StalledHandle(MemoryHandle):
    def writer(self, index: int) -> BatchWriter:
        return StalledWriter(self._target, len(self._plan.tables))


class StalledWriter(MemoryWriter):
    def connect(self) -> None:
        target = self._target
        assert isinstance(target, StalledTarget)
        target.connecting.set()
        target.may_connect.wait(30)
        target.let_in += 1

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        target = self._target
        assert isinstance(target, StalledTarget)
        if len(target.committed) + len(records) >= DOCUMENTS:  # the last: somebody connects by now
            assert target.connecting.wait(30)
        return super().commit_batch(records)


def test_who_still_connects_does_not_hold_up_the_end(
    source: Engine, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("xml_extractor.processing.auto_tune.HillClimber", Restless)
    monkeypatch.setattr("xml_extractor.processing.parallel_coordinator.LET_GO_SECONDS", 0.1)
    target = StalledTarget()
    try:
        summary = coordinator(source, plan, target, executor="thread", auto_tune=True, batch_size=5).run()
        assert target.let_in == 0
    finally:
        target.may_connect.set()
    assert summary.documents.loaded == len(target.committed) == DOCUMENTS
    deadline = time.monotonic() + 30
    while any(thread.name.startswith("xml-extractor-insert") for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert len(target.committed) == DOCUMENTS


SMALL_PAGE = 20


class MostlyLoaded(MemoryTarget):
    """Its ledger knows all but the first document; says what was committed before the last was looked up."""

    def __init__(self) -> None:
        super().__init__()
        self.before_the_last: list[Key] = []

    def prepare(self, plan: Plan, **_: Any) -> LoadHandle:
        return MostlyLoadedHandle(self, plan)


class MostlyLoadedHandle(MemoryHandle):
    def lookup(self, keys: Sequence[Key]) -> dict[Key, LedgerEntry]:
        target = self._target
        assert isinstance(target, MostlyLoaded)
        time.sleep(0.005)  # so that all pages together take longer than a batch may wait
        if DOCUMENTS in keys and len(keys) <= SMALL_PAGE:  # not the guard, which looks at more at once
            deadline = time.monotonic() + 60
            while not target.committed and time.monotonic() < deadline:
                time.sleep(0.01)
            target.before_the_last = [record.key for record in target.committed]
        entry = LedgerEntry(0, State.LOADED, 1, 1, self._plan.digest, mark=3)
        return {key: entry for key in keys if key != 1}


@pytest.mark.parametrize("executor", ["thread", "process", "serial", "auto"])
def test_what_was_found_is_committed_while_more_is_looked_for(
    source: Engine, plan: Plan, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One new document before many that are loaded: neither guard nor choice nor batch waits for another."""
    monkeypatch.setattr("xml_extractor.processing.throttle.KEY_PAGE", SMALL_PAGE)
    monkeypatch.setattr("xml_extractor.processing.look_ahead.LOOK_AHEAD_SECONDS", 0.05)
    target = MostlyLoaded()
    run = coordinator(source, plan, target, executor=executor, batch_seconds=0.1)
    thread, outcome = run_in_thread(run)
    thread.join(90)
    if thread.is_alive():  # a worker process that was given nothing to do would never answer
        run.abort()
        pytest.fail("the load hangs")
    (summary,) = outcome
    assert isinstance(summary, LoadSummary), summary
    assert target.before_the_last == [1]
    assert (summary.documents.loaded, summary.documents.already_loaded) == (1, DOCUMENTS - 1)


@EXECUTORS
def test_where_nothing_is_pending_the_clocks_say_nothing(executor: str, source: Engine, plan: Plan) -> None:
    session = source.connect(write=True, application="tests")
    session.execute("DELETE FROM app_xml")
    session.close()
    summary = coordinator(source, plan, MemoryTarget(), executor=executor).run()
    assert summary.documents.read == 0
    assert set(summary.clocks.shares().values()) == {0.0}
    assert summary.clocks.seconds == 0


# ------------------------------------------------------------------------------------- throttle


@pytest.mark.parametrize("executor", ["serial", "thread", "process", "auto"])
def test_a_throttled_load_keeps_its_rate_and_says_that_it_was_held_back(
    source: Engine, plan: Plan, executor: str
) -> None:
    target = MemoryTarget()
    started = time.monotonic()

    summary = coordinator(source, plan, target, executor=executor, throttle=40, limit=60).run()

    # 60 documents in chunks of 10: the last may go out after 50/40 s.
    assert time.monotonic() - started >= 1.25
    assert summary.documents.loaded == 60
    assert summary.held_seconds > 0.5
    assert "held back by --throttle 40" in summary.bottleneck
    assert summary.notes == ([] if executor != "auto" else [f"executor thread: {summary.executor_reason}"])


def test_a_throttle_that_is_never_reached_is_not_blamed(source: Engine, plan: Plan) -> None:
    summary = coordinator(source, plan, MemoryTarget(), throttle=1e6).run()

    assert summary.documents.loaded == DOCUMENTS
    assert "throttle" not in summary.bottleneck


@pytest.mark.parametrize("executor", ["serial", "thread"])
def test_a_stop_wakes_a_throttled_load_and_what_was_dispatched_is_committed(
    source: Engine, plan: Plan, executor: str
) -> None:
    target = MemoryTarget()
    run = coordinator(source, plan, target, executor=executor, throttle=0.01, batch_seconds=3600)
    thread, outcome = run_in_thread(run)
    deadline = time.monotonic() + 10
    while not run._counts.documents().read and time.monotonic() < deadline:
        time.sleep(0.02)
    run.stop(2)
    thread.join(5)

    assert not thread.is_alive()
    assert [record.key for record in target.committed] == [1]
    assert (outcome[0].documents.loaded, outcome[0].documents.unfinished) == (1, 0)


def test_an_abort_wakes_a_throttled_serial_load_and_nothing_more_is_committed(
    source: Engine, plan: Plan
) -> None:
    target = MemoryTarget()
    run = coordinator(source, plan, target, executor="serial", throttle=0.1, batch_seconds=3600)
    thread, outcome = run_in_thread(run)
    deadline = time.monotonic() + 10
    while not run._counts.documents().read and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.1)
    run.abort()
    thread.join(5)

    assert not thread.is_alive()
    assert not target.committed
    assert outcome[0].documents.unfinished == 1


def test_a_throttled_serial_load_commits_a_batch_when_it_is_old(source: Engine, plan: Plan) -> None:
    target = MemoryTarget()
    options = {"executor": "serial", "throttle": 20, "limit": 20, "batch_seconds": 0.3, "batch_size": 1000}

    summary = coordinator(source, plan, target, **options).run()

    assert summary.documents.loaded == 20
    assert summary.batches >= 2


@pytest.mark.parametrize("executor", ["thread", "serial"])
def test_a_program_that_gets_no_more_memory_says_so(
    source: Engine, plan: Plan, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not over a document, but over a batch: no document is to blame, and it is no bug either."""
    target = MemoryTarget()

    def too_much(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(MemoryWriter, "commit_batch", too_much)
    with pytest.raises(WorkerError, match="got no more memory"):
        coordinator(source, plan, target, executor=executor).run()
    assert no_pipeline_thread_is_left()
