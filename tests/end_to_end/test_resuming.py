"""A load that was broken off passes over what it had finished, and what it passes over is true."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from tests.support.notes import BROKEN, OF_ANOTHER_CONTRACT, Notes, contract, note
from tests.support.notes import CONTRACT as NOTES_CONTRACT
from tests.support.program import Program
from tests.support.tables import dialect_of, execute, ledger, portable, query, read_tables
from xml_extractor import Contract, LoadOptions, LoadSummary, load
from xml_extractor.engines import open_engine
from xml_extractor.mapping.records import DocumentRecord, Key, Previous, SourceDocument, State
from xml_extractor.operations.load import RunningLoad
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.processing.mapping_documents import BLOCK_DOCUMENTS
from xml_extractor.processing.ranges import NUMBER_SPACING
from xml_extractor.source.reader import SourceReader
from xml_extractor.target import ranges
from xml_extractor.target.ranges import ledger_mark

PAGE = 64
DOCUMENTS = 1_000
QUARANTINED = {17, 444, 902}
SKIPPED = {18, 700}


@dataclass
class Spy:
    """What was read of the source, and what was mapped."""

    keys: list[Key] = field(default_factory=list)
    counted: int = 0
    mapped: list[Key] = field(default_factory=list)

    def forget(self) -> None:
        self.keys.clear()
        self.mapped.clear()
        self.counted = 0


@pytest.fixture
def spy(monkeypatch: pytest.MonkeyPatch) -> Spy:
    """Pages of 64 keys, every one of which is counted."""
    seen = Spy()
    read, count, process = SourceReader.key_pages, SourceReader.count, DocumentWorker.process

    def key_pages(self: SourceReader, *arguments: Any, **more: Any) -> Iterator[list[Key]]:
        for page in read(self, *arguments, **more):
            seen.keys += page
            yield page

    def counting(self: SourceReader, *arguments: Any) -> int:
        number = count(self, *arguments)
        seen.counted += number
        return number

    def mapping(
        self: DocumentWorker, document: SourceDocument, previous: Previous | None = None
    ) -> DocumentRecord:
        seen.mapped.append(document.key)
        return process(self, document, previous)

    monkeypatch.setattr("xml_extractor.processing.throttle.KEY_PAGE", PAGE)
    monkeypatch.setattr(SourceReader, "key_pages", key_pages)
    monkeypatch.setattr(SourceReader, "count", counting)
    monkeypatch.setattr(DocumentWorker, "process", mapping)
    return seen


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """A thousand documents: some broken, some of another contract.  Keys are even: there is room between."""
    source = Notes(tmp_path)
    source.put({2 * number: document(number) for number in range(1, DOCUMENTS + 1)})
    return source


def document(number: int) -> str:
    if number in QUARANTINED:
        return BROKEN
    return OF_ANOTHER_CONTRACT if number in SKIPPED else note(f"n{number}", number % 3)


def broken_off(notes: Notes, target: str, *, at: int, **options: Any) -> None:
    """Load until so many documents are committed, then stop at once, as a kill does."""
    running: list[RunningLoad] = []
    finished = threading.Event()

    def watch() -> None:
        while not finished.wait(0.002):
            if running and committed(target) >= at:
                running[0].abort()
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        notes_load(notes, target, on_start=running.append, **options)
    finally:
        finished.set()
        watcher.join(30)


def notes_load(
    notes: Notes,
    target: str,
    of: Contract | None = None,
    on_start: Callable[[RunningLoad], None] | None = None,
    **options: Any,
) -> LoadSummary:
    settings: dict[str, Any] = {
        "create_tables": True, "executor": "thread", "workers": 2, "batch_size": 10, "queue_size": 30,
        "drift_sample": 0, **options,
    }  # fmt: skip
    return load(notes.url, target, of or contract(), LoadOptions(**settings), on_start=on_start)


def committed(target: str) -> int:
    try:
        return int(query(target, "SELECT COUNT(*) FROM load_ledger")[0][0])
    except Exception:  # noqa: BLE001 - not there yet, or locked
        return 0


def expect_all(summary: LoadSummary, documents: int = DOCUMENTS) -> None:
    """Every document is accounted for, those that were passed over among them."""
    counts = summary.documents
    assert counts.read == documents
    assert (counts.quarantined, counts.skipped) == (len(QUARANTINED), len(SKIPPED))
    assert counts.loaded + counts.already_loaded == documents - len(QUARANTINED) - len(SKIPPED)
    assert counts.unfinished == 0
    assert summary.exit_code == 3, "quarantined documents need a look, whichever run put them there"


def expect_claims(target: str, notes: Notes) -> int:
    """Every range that is written down says the truth of the ledger; return how many there are."""
    rows = query(target, "SELECT after_key, last_key, loaded, quarantined, skipped, content FROM load_ranges")
    by_key = {
        int(key): (bytes(digest), State(state), int(batch))
        for key, digest, state, batch in query(
            target, "SELECT source_key, digest, state, batch FROM load_ledger"
        )
    }
    for after, last, loaded, quarantined, skipped, content in rows:
        inside = [
            row for key, row in by_key.items() if (after is None or key > int(after)) and key <= int(last)
        ]
        states = [state for _, state, _ in inside]
        assert [states.count(state) for state in State] == [loaded, quarantined, skipped]
        assert sum(ledger_mark(*row) for row in inside) % 2**128 == int.from_bytes(bytes(content), "big")
    return len(rows)


# ---------------------------------------------------------------------------------------- resuming


@pytest.mark.parametrize("executor", ["thread", "serial"])
def test_a_resumed_load_passes_over_what_it_had_finished(
    executor: str, database_url: str, notes: Notes, spy: Spy
) -> None:
    broken_off(notes, database_url, at=DOCUMENTS // 2, executor=executor, throttle=4_000)
    before = committed(database_url)
    assert DOCUMENTS // 2 <= before < DOCUMENTS - 2 * PAGE, "broken off too late to prove anything"
    finished = expect_claims(database_url, notes)
    assert finished >= (before - 100) // PAGE - 2
    spy.forget()
    summary = notes_load(notes, database_url)
    expect_all(summary)
    assert len(spy.keys) <= DOCUMENTS - finished * PAGE
    # Each gap is counted with the key before it, and there is at most one gap more than finished ranges.
    assert spy.counted <= DOCUMENTS - finished * PAGE + finished + 1, "nor does the progress line count them"
    assert len(spy.mapped) == DOCUMENTS - before
    assert summary.documents.already_loaded > 0
    tables, states = read_tables(database_url, contract().plan), ledger(database_url)
    assert tables == notes.fresh()
    assert len(states) == DOCUMENTS
    assert query(database_url, "SELECT COUNT(*) FROM load_runs")[0][0] == 1
    assert expect_claims(database_url, notes) >= DOCUMENTS // PAGE


def test_rows_that_appear_in_a_finished_range_are_found_by_the_next_load(
    database_url: str, notes: Notes, spy: Spy
) -> None:
    broken_off(notes, database_url, at=DOCUMENTS // 2, throttle=4_000)
    assert query(database_url, "SELECT COUNT(*) FROM load_ranges")[0][0] >= 3
    late = {2 * PAGE - 1: note("late"), 7: note("late too")}
    notes.put(dict(late))
    expect_all(notes_load(notes, database_url))
    assert not {str(key) for key in late} & ledger(database_url).keys()
    spy.forget()
    summary = notes_load(notes, database_url)
    assert query(database_url, "SELECT COUNT(*) FROM load_runs")[0][0] == 2
    assert (summary.documents.read, summary.documents.loaded) == (DOCUMENTS + 2, 2)
    assert sorted(spy.mapped, key=str) == sorted(late, key=str)
    assert read_tables(database_url, contract().plan) == notes.fresh()


def test_a_load_repeats_no_more_than_was_in_flight(sqlite_url: str, notes: Notes, spy: Spy) -> None:
    workers, queue, batch = 2, 30, 10
    broken_off(notes, sqlite_url, at=300)
    mapped, kept = len(spy.mapped), committed(sqlite_url)
    assert mapped < DOCUMENTS
    # In the queue, in the hands of the workers in blocks, in the insert thread's batch.
    assert mapped - kept <= queue + workers * BLOCK_DOCUMENTS + batch
    spy.forget()
    expect_all(notes_load(notes, sqlite_url))
    assert len(spy.mapped) == DOCUMENTS - kept


def test_a_limit_cuts_a_range_at_the_last_key_that_was_looked_at(
    sqlite_url: str, notes: Notes, spy: Spy
) -> None:
    # A load that reached its limit has finished; one that a signal stops at the same place has not.
    summary = notes_load(notes, sqlite_url, limit=130, on_start=lambda running: running.stop(15))
    assert summary.stopped_by_signal == 15
    broken_off(notes, sqlite_url, at=10**9, limit=130)
    rows = query(sqlite_url, "SELECT after_key, last_key FROM load_ranges ORDER BY range_number")
    assert rows[-1] == ("256", "260")
    execute(sqlite_url, "UPDATE load_runs SET finished_at = NULL, state = 'stopped'")
    spy.forget()
    expect_all(notes_load(notes, sqlite_url))
    assert min(key for key in spy.keys if isinstance(key, int)) == 262
    assert len(spy.mapped) == DOCUMENTS - 130


def test_another_range_of_keys_or_another_purpose_uses_none_of_it(
    sqlite_url: str, notes: Notes, spy: Spy
) -> None:
    broken_off(notes, sqlite_url, at=DOCUMENTS // 2, throttle=4_000)
    spy.forget()
    changed = dict.fromkeys((4, 6), note("changed"))
    notes.put(dict(changed))
    summary = notes_load(notes, sqlite_url, app_id_end=100, on_change="replace")
    assert (summary.documents.read, summary.documents.loaded) == (50, 2)
    assert set(spy.keys) == set(range(2, 101, 2))
    notes_load(notes, sqlite_url)
    assert read_tables(sqlite_url, contract().plan) == notes.fresh()


def test_a_load_resumed_to_replace_goes_on_behind_what_it_has_compared(
    sqlite_url: str, notes: Notes, spy: Spy
) -> None:
    notes_load(notes, sqlite_url)
    changed = {2 * number: note("changed") for number in range(1, DOCUMENTS, 10)}
    notes.put(dict(changed))
    # Each of its documents is looked at: a third of them, then it is broken off.
    running: list[RunningLoad] = []
    spy.forget()
    stopper = threading.Thread(target=_stop_at, args=(running, spy, 400))
    stopper.start()
    notes_load(
        notes, sqlite_url, on_change="replace", on_start=running.append, throttle=2_000, executor="serial"
    )
    stopper.join(30)
    first = len(spy.mapped)
    assert 400 <= first < DOCUMENTS - PAGE
    spy.forget()
    summary = notes_load(notes, sqlite_url, on_change="replace")
    expect_all(summary)
    assert len(spy.mapped) <= DOCUMENTS - first + PAGE
    assert read_tables(sqlite_url, contract().plan) == notes.fresh()


def _stop_at(running: list[RunningLoad], spy: Spy, mapped: int) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if running and len(spy.mapped) >= mapped:
            running[0].stop(15)
            return
        time.sleep(0.002)


def test_what_a_rollback_or_an_operator_takes_away_is_loaded_again(
    database_url: str, notes: Notes, spy: Spy
) -> None:
    broken_off(notes, database_url, at=DOCUMENTS // 2, throttle=4_000)
    session = open_engine(database_url).connect(write=True, application="tests")
    try:
        session.begin()
        for table in ("tag", "note"):
            session.execute(f"DELETE FROM {table} WHERE id <= 40")
        taken = [str(key) for key in range(2, 42, 2)]
        marks = ", ".join("?" * len(taken))
        session.execute(f"DELETE FROM load_quarantine WHERE source_key IN ({marks})", taken)
        assert session.execute(f"DELETE FROM load_ledger WHERE source_key IN ({marks})", taken) == 20
        ranges.forget(session, "notes", "notes")
        session.commit()
    finally:
        session.close()
    expect_all(notes_load(notes, database_url))
    assert read_tables(database_url, contract().plan) == notes.fresh()


def test_several_loaders_that_resume_one_load_agree(
    database_url: str, notes: Notes, spy: Spy, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken_off(notes, database_url, at=DOCUMENTS // 3, throttle=4_000)
    results: list[LoadSummary] = []

    def go_on(on_start: Callable[[RunningLoad], None] | None = None) -> None:
        results.append(notes_load(notes, database_url, on_start=on_start))

    def other_pages(_: RunningLoad) -> None:
        # The first has settled on its pages; the second cuts the same keys into others.
        monkeypatch.setattr("xml_extractor.processing.throttle.KEY_PAGE", 41)
        loaders[1].start()

    loaders = [threading.Thread(target=go_on, args=(other_pages,)), threading.Thread(target=go_on)]
    loaders[0].start()
    loaders[0].join(120)
    for loader in loaders:
        loader.join(120)
        assert not loader.is_alive()
    assert len(results) == 2
    for summary in results:
        expect_all(summary)
    expect_claims(database_url, notes)
    assert read_tables(database_url, contract().plan) == notes.fresh()
    assert len(ledger(database_url)) == DOCUMENTS


TEXT_KEYED = """
contract: words
version: 1
source: {name: words, table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  word:
    primary_key: [id]
    columns:
      id: {from: $key, type: nvarchar(40)}
      text: {from: Text, type: nvarchar(20), required: true}
"""


def test_text_keys_are_passed_over_in_whatever_order_the_source_has_them(database_url: str, spy: Spy) -> None:
    """Source and target in one database, so that its collation says how the keys come."""
    words = Contract.from_text(TEXT_KEYED, "words.yaml")
    keys = [f"{letter}{number}{end}" for letter in "aAäZz_" for number in range(60) for end in ("", "'x\"")]
    columns = portable(dialect_of(database_url), "id {name} NOT NULL PRIMARY KEY, body {text}")
    execute(database_url, f"CREATE TABLE app_xml ({columns})")
    session = open_engine(database_url).connect(write=True, application="tests")
    try:
        session.begin()
        session.execute_many("INSERT INTO app_xml VALUES (?, ?)", [(key, note("word", 0)) for key in keys])
        session.commit()
    finally:
        session.close()
    options: dict[str, Any] = {
        "create_tables": True, "executor": "serial", "batch_size": 20, "drift_sample": 0, "limit": 300,
    }  # fmt: skip
    load(database_url, None, words, LoadOptions(**options))
    # As if a signal had come when the limit was reached, and one range had not been written down.
    execute(
        database_url,
        "UPDATE load_runs SET finished_at = NULL, state = 'stopped'",
        f"DELETE FROM load_ranges WHERE range_number = {3 * NUMBER_SPACING}",
    )
    spy.forget()
    summary = load(database_url, None, words, LoadOptions(**{**options, "limit": None}))
    assert (summary.documents.read, summary.documents.loaded) == (len(keys), len(keys) - 300)
    assert len(spy.keys) == len(keys) - 300 + PAGE
    assert sorted(ledger(database_url)) == sorted(keys)
    assert sorted(row[0] for row in query(database_url, "SELECT id FROM word")) == sorted(keys)


# ----------------------------------------------------------------------------------- a real kill


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_the_program_is_killed_and_goes_on_behind_what_it_had_finished(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    many = 17_000
    source = Notes(tmp_path)
    source.put({number: note(f"n{number}", 0) for number in range(1, many + 1)})
    (tmp_path / "notes.yaml").write_text(NOTES_CONTRACT, encoding="utf-8")
    arguments = [
        "--source", source.url, "--target", database_url, "--contract", "notes.yaml", "--create-tables",
        "--executor", "thread", "--batch-size", 200,
    ]  # fmt: skip
    first = Program(*arguments, "--throttle", 6_000, folder=tmp_path)
    deadline = time.monotonic() + 90
    while committed(database_url) < many // 2:
        assert first.process.poll() is None, first.wait() or first.errors
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first.process.kill()
    first.wait()
    before = committed(database_url)
    finished = query(database_url, "SELECT SUM(loaded) FROM load_ranges")[0][0]
    assert before < many - 5_000, "the kill came too late to prove anything"
    assert finished >= before - 5_000 - 2_000, "all but the page that was open and what was in flight"
    expect_claims(database_url, source)
    read: list[int] = []
    key_pages = SourceReader.key_pages

    def counting(self: SourceReader, *arguments: Any, **more: Any) -> Iterator[list[Key]]:
        for page in key_pages(self, *arguments, **more):
            read.append(len(page))
            yield page

    monkeypatch.setattr(SourceReader, "key_pages", counting)
    counts = load(source.url, database_url, contract(), LoadOptions(drift_sample=0)).documents
    assert sum(read) == many - finished
    assert (counts.read, counts.loaded) == (many, many - before)
    assert len(ledger(database_url)) == many
    assert query(database_url, "SELECT COUNT(*) FROM note")[0][0] == many
