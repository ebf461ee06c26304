"""Tables that get their keys after the load (``--keys after``) end as those that have them from the start."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from string import ascii_letters
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.support.mssql_gaps import UNNAMED_TABLES
from tests.support.mssql_run import has_gap
from tests.support.notes import Notes, note
from tests.support.program import Program
from tests.support.tables import dialect_of, execute, ledger, ledger_rows_match_tables, query, read_tables
from tests.support.tcp_proxy import TcpProxy
from xml_extractor import Contract, LoadOptions, LoadSummary, failpoints, load
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Health
from xml_extractor.errors import HaltedError, TargetError, UsageError
from xml_extractor.operations.doctor import examine
from xml_extractor.operations.load import RunningLoad
from xml_extractor.operations.status import read_status
from xml_extractor.operations.verification.run import VerifyOptions, verify
from xml_extractor.profiling.summary_text import summary_text
from xml_extractor.target.key_work import KeyWorker

CONTRACT = """
contract: notes
version: 1
source: {name: notes, table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  note:
    primary_key: [id]
    columns:
      id: {from: $key, type: int}
      text: {from: Text, type: nvarchar(20), required: true}
      stars: {from: "@stars", type: tinyint}
  tag:
    parent: note
    rows: Tag
    primary_key: [id, name]
    columns:
      id: {from: $parent}
      name: {from: "@n", type: int, required: true}
  letter:
    parent: tag
    rows: L
    primary_key: [id, name, place]
    columns:
      id: {from: $parent}
      name: {from: $parent}
      place: {from: $position, type: int}
      sign: {from: ".", type: nvarchar(1)}
"""
NAME = 'name: {from: "@n", type: int, required: true}'
DOCUMENTS = 400
TWICE = {17, 44, 399}  # two tags of one name, which the table's primary key refuses


def contract(text: str = CONTRACT) -> Contract:
    return Contract.from_text(text, "notes.yaml")


def document(number: int) -> str:
    text = note(f"n{number}", 0)
    tags = [100 + place for place in range(number % 4)] + ([7, 7] if number in TWICE else [])
    inner = "".join(f'<Tag n="{name}"><L>x</L><L>y</L></Tag>' for name in tags)
    return text.replace("</Note>", f"{inner}</Note>")


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    source = Notes(tmp_path)
    source.put({number: document(number) for number in range(1, DOCUMENTS + 1)})
    return source


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("mssql", marks=pytest.mark.sqlserver),
    ]
)
def target(request: pytest.FixtureRequest) -> str:
    """An empty database of each engine that can build keys later."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return url


def notes_load(
    notes: Notes,
    target: str,
    of: Contract | None = None,
    on_start: Callable[[RunningLoad], None] | None = None,
    **options: Any,
) -> LoadSummary:
    settings: dict[str, Any] = {
        "create_tables": True, "executor": "thread", "workers": 2, "batch_size": 50, "drift_sample": 0,
        "keys": "after", **options,
    }  # fmt: skip
    return load(notes.url, target, of or contract(), LoadOptions(**settings), on_start=on_start)


def refusals(url: str) -> list[tuple[Any, ...]]:
    """What quarantine says, but for words, which are not the same before and after."""
    return sorted(
        (key, stage, code, table, bytes(hash_))
        for key, stage, code, table, hash_ in query(
            url, "SELECT source_key, stage, code, table_name, document_hash FROM load_quarantine"
        )
    )


def state(url: str) -> dict[str, Any]:
    """All that a load leaves behind, as far as it does not depend on when and by whom."""
    ledger_rows_match_tables(url, contract().plan)
    return {
        "tables": read_tables(url, contract().plan),
        "ledger": ledger(url),
        "hashes": sorted(query(url, "SELECT source_key, row_counts, document_hash FROM load_ledger")),
        # Whether the message that refuses a row names its table is the server's affair; see during.
        "quarantine": [(*row[:3], row[4]) for row in refusals(url)],
        "catalogue": catalogue(url),
        "owed": query(url, "SELECT table_name FROM load_owed_keys"),
    }


def catalogue(url: str) -> list[tuple[Any, ...]]:
    """Keys, indexes and columns of all tables."""
    if url.startswith("postgresql"):
        return sorted(
            [
                *query(
                    url,
                    "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid), convalidated "
                    "FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
                ),
                *query(
                    url,
                    "SELECT tablename, indexname, indexdef, '' FROM pg_indexes WHERE schemaname = 'public'",
                ),
                *query(
                    url,
                    "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), "
                    "concat(attnotnull, attcollation::regcollation) FROM pg_attribute "
                    "WHERE attrelid::regclass::text IN ('note', 'tag', 'letter') AND attnum > 0",
                ),
            ],
            key=repr,
        )
    return sorted(
        [
            *query(
                url,
                "SELECT OBJECT_NAME(i.object_id), i.type_desc, c.name, k.key_ordinal, i.is_primary_key "
                "FROM sys.indexes i JOIN sys.index_columns k ON k.object_id = i.object_id "
                "AND k.index_id = i.index_id JOIN sys.columns c ON c.object_id = k.object_id "
                "AND c.column_id = k.column_id WHERE OBJECTPROPERTY(i.object_id, 'IsUserTable') = 1",
            ),
            *query(
                url,
                "SELECT OBJECT_NAME(f.parent_object_id), OBJECT_NAME(f.referenced_object_id), c.name, "
                "k.constraint_column_id, f.is_not_trusted FROM sys.foreign_keys f "
                "JOIN sys.foreign_key_columns k ON k.constraint_object_id = f.object_id "
                "JOIN sys.columns c ON c.object_id = k.parent_object_id AND c.column_id = k.parent_column_id",
            ),
        ],
        key=repr,
    )


_DURING: dict[str, dict[str, Any]] = {}


@pytest.fixture
def during(request: pytest.FixtureRequest, notes: Notes, target: str) -> dict[str, Any]:
    """What a load with keys during leaves behind; the database is empty (again)."""
    dialect = dialect_of(target)
    if dialect in _DURING:
        return _DURING[dialect]
    notes_load(notes, target, keys="during")
    unnamed = dialect == "mssql" and has_gap(request, UNNAMED_TABLES)
    assert {row[3] for row in refusals(target)} == {None if unnamed else "tag"}
    left = _DURING[dialect] = state(target)
    tables = [table.name for table in reversed(contract().plan.tables)]
    own = ["load_schema", "load_runs", "load_ledger", "load_quarantine", "load_ranges", "load_owed_keys"]
    execute(target, *(f"DROP TABLE {name}" for name in (*tables, *own)))
    return left


@pytest.fixture
def postgresql_proxy(postgresql_url: str) -> Iterator[tuple[TcpProxy, str]]:
    """A proxy before a fresh database, and the URL through it."""
    parsed = make_url(postgresql_url)
    host = parsed.host or parsed.query.get("host")
    if not isinstance(host, str) or host.startswith("/"):
        pytest.skip("the server listens on a socket only, which no TCP proxy can reach")
    proxy = TcpProxy(host, parsed.port or 5432)
    yield proxy, parsed.set(host="127.0.0.1", port=proxy.port).render_as_string(hide_password=False)
    proxy.close()


class At:
    """Does something at the n-th passing of a failpoint."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, name: str, act: Callable[[], None], number: int = 1):
        self.passed = 0

        def hit(place: str, session: Any = None, *, key: object = None) -> None:
            if place == name:
                self.passed += 1
                if self.passed == number:
                    act()

        monkeypatch.setattr(failpoints, "hit", hit)


def _held(url: str) -> str:
    """What makes a SELECT keep a lock on its table until the transaction ends."""
    return "" if url.startswith("postgresql") else " WITH (TABLOCK, HOLDLOCK)"


def has_keys(url: str) -> bool:
    """Whether any data table has a key."""
    if url.startswith("postgresql"):
        sql = (
            "SELECT 1 FROM pg_constraint WHERE conrelid::regclass::text IN ('note', 'tag', 'letter') "
            "AND contype IN ('p', 'f')"
        )
    else:
        sql = (
            "SELECT 1 FROM sys.key_constraints "
            "WHERE OBJECT_NAME(parent_object_id) IN ('note', 'tag', 'letter')"
        )
    return bool(query(url, sql))


# ------------------------------------------------------------------------------------ the same answer


def test_a_load_with_keys_after_leaves_what_one_with_keys_during_leaves(
    notes: Notes, target: str, during: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    had_keys: list[bool] = []
    At(monkeypatch, "before_keys", lambda: had_keys.append(has_keys(target)))
    summary = notes_load(notes, target, insert_threads=2)

    assert had_keys == [False], "the tables are filled without keys"
    assert state(target) == during
    assert {row[3] for row in refusals(target)} == {"tag"}
    counts = summary.documents
    assert (counts.read, counts.loaded, counts.quarantined) == (DOCUMENTS, DOCUMENTS - len(TWICE), len(TWICE))
    assert summary.quarantine_reasons == {"unique_violation": len(TWICE)}
    assert summary.rows == {name: len(rows) for name, rows in during["tables"].items()}
    assert summary.keys.built == 5
    assert summary.keys.quarantined == len(TWICE)
    assert 0 < summary.keys.seconds < summary.seconds
    assert summary.keys.owed == []
    assert summary.exit_code == 3

    again = notes_load(notes, target)
    assert again.keys.built == 0
    assert any("note, tag, letter were there before" in text for text in again.notes)
    assert state(target) == during


def test_keys_of_texts_are_built_by_the_rules_of_their_columns(notes: Notes, target: str) -> None:
    notes.put({31: document(31).replace("</Note>", '<Tag n="a"/><Tag n="A"/></Note>')})
    summary = notes_load(notes, target, contract(CONTRACT.replace(NAME, NAME.replace("int", "nvarchar(10)"))))
    assert summary.quarantine_reasons == {"unique_violation": len(TWICE)}
    assert (summary.keys.built, summary.keys.owed) == (5, [])
    names = query(target, "SELECT name FROM tag WHERE id = 31")
    assert sorted(names) == [("100",), ("101",), ("102",), ("A",), ("a",)]


def test_documents_of_an_earlier_run_that_are_in_the_way_are_counted_once(
    notes: Notes, target: str, during: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise TargetError("made up")

    with monkeypatch.context() as patch:
        At(patch, "before_keys", fail)
        with pytest.raises(TargetError, match="made up"):
            notes_load(notes, target)
    status = read_status(target)
    assert status.owed_keys == ["note", "tag", "letter"]
    assert not has_keys(target)

    # A document that this run does not read is in the way as well.
    summary = notes_load(notes, target, keys="during", app_id_start=18)
    counts = summary.documents
    assert (counts.read, counts.already_loaded, counts.quarantined) == (383, 381, 2)
    assert (summary.keys.quarantined, summary.keys.elsewhere) == (3, 1)
    assert summary.exit_code == 3
    assert read_status(target).owed_keys == []
    assert state(target) == during
    # All that was claimed of ranges is right, or no longer claimed.
    report = verify(
        notes.url, target, contract(), LoadOptions(executor="thread", workers=1), VerifyOptions(deep=True)
    )
    assert report.is_clean()


def test_what_was_set_aside_before_a_run_failed_is_counted_by_the_next(
    notes: Notes, target: str, during: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise TargetError("made up")

    with monkeypatch.context() as patch:
        At(patch, "between_keys", fail, 2)  # after the first key of which documents were in the way
        with pytest.raises(TargetError, match="made up"):
            notes_load(notes, target)
    assert len(refusals(target)) == len(TWICE)
    summary = notes_load(notes, target)
    counts = summary.documents
    assert f"{summary.keys.built} keys that were owed were built in" in summary_text(summary)
    # The ranges that the first run had finished said that they were loaded.
    assert (counts.already_loaded, counts.quarantined) == (DOCUMENTS - len(TWICE), len(TWICE))
    assert state(target) == during


def test_children_without_parents_are_in_the_way_of_the_foreign_key(
    notes: Notes, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def take_a_parent_away() -> None:
        execute(target, "DELETE FROM note WHERE id = 31", "UPDATE load_ledger SET row_counts = '0,3,6' "
                "WHERE source_key = '31'")  # fmt: skip

    At(monkeypatch, "before_keys", take_a_parent_away)
    summary = notes_load(notes, target)
    assert summary.quarantine_reasons == {"unique_violation": len(TWICE), "foreign_key_violation": 1}
    assert ("31", "target", "foreign_key_violation", "tag") in [row[:4] for row in refusals(target)]
    assert query(target, "SELECT id FROM tag WHERE id = 31") == []
    assert query(target, "SELECT table_name FROM load_owed_keys") == []
    ledger_rows_match_tables(target, contract().plan)


def test_a_value_that_is_too_long_for_a_key_ends_the_load_with_the_reason(
    notes: Notes, postgresql_url: str
) -> None:
    """No search by the key's columns finds it: building the key again and again would never end."""
    long = "".join(Random(1).choices(ascii_letters, k=4000))  # which cannot be compressed
    notes.put({7: document(7).replace("</Note>", f'<Tag n="{long}"/></Note>')})
    wide = contract(CONTRACT.replace(NAME, NAME.replace("int", "nvarchar(4000)")))
    with pytest.raises(TargetError, match=r"building the primary key of tag failed: .*too long for an index"):
        notes_load(notes, postgresql_url, wide)
    assert read_status(postgresql_url).owed_keys == ["tag", "letter"]


def test_what_is_in_the_way_and_cannot_be_found_ends_the_load(
    notes: Notes, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KeyWorker, "_search", lambda *_: [])
    with pytest.raises(TargetError, match=r"primary key of tag cannot be built .*unique_violation"):
        notes_load(notes, target)


# ------------------------------------------------------------------------------------ broken off


def test_killed_at_every_step_the_same_command_goes_on(
    notes: Notes, target: str, during: dict[str, Any], tmp_path: Path
) -> None:
    file = tmp_path / "notes.yaml"
    file.write_text(CONTRACT, encoding="utf-8")
    springs = tmp_path / "springs"
    springs.mkdir()
    kills = ("between_keys", "keys_quarantine")
    extra = {
        "XML_EXTRACTOR_FAILPOINTS": ";".join(f"{name}=kill" for name in kills),
        "XML_EXTRACTOR_FAILPOINTS_DIR": str(springs),
    }
    codes = []
    for _ in range(len(kills) + 1):
        program = Program(
            "--source", notes.url, "--target", target, "--contract", file, "--create-tables",
            "--keys", "after", "--executor", "serial", "--batch-size", 150, "--drift-sample", 0,
            folder=tmp_path, extra=extra,
        )  # fmt: skip
        codes.append(program.wait())
        if codes[-1] == 3:
            break
    assert codes == [-9] * len(kills) + [3], program.errors
    assert len(list(springs.iterdir())) == len(kills)
    assert state(target) == during


def test_stopped_while_a_key_is_built_it_stays_owed(
    notes: Notes, target: str, during: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[RunningLoad] = []
    stopped_at: list[float] = []

    def stop() -> None:
        stopped_at.append(time.monotonic())
        running[0].stop(2)

    somebody = open_engine(target).connect(write=True, application="somebody else")
    stopping = threading.Timer(1.0, stop)

    def hold() -> None:
        somebody.begin()
        somebody.query(f"SELECT COUNT(*) FROM tag{_held(target)}")
        stopping.start()

    with monkeypatch.context() as patch:
        At(patch, "before_keys", hold)
        summary = notes_load(notes, target, on_start=running.append)
    assert time.monotonic() - stopped_at[0] < 20, "the key of tag could not be had for 60 s"
    stopping.join()
    somebody.rollback()
    somebody.close()
    assert summary.stopped_by_signal == 2
    assert summary.documents.unfinished == 0
    assert "tag" in summary.keys.owed
    assert read_status(target).owed_keys == summary.keys.owed
    assert "keys are owed to" in summary_text(summary).lower()
    notes_load(notes, target, keys="during")
    assert state(target) == during


def test_a_server_that_does_not_answer_while_it_builds_is_given_up(
    notes: Notes, postgresql_proxy: tuple[TcpProxy, str], postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    proxy, url = postgresql_proxy
    monkeypatch.setattr("xml_extractor.processing.key_building.LOOK_SECONDS", 0.2)
    started: list[float] = []

    def stall() -> None:
        started.append(time.monotonic())
        proxy.stall()

    with monkeypatch.context() as patch:
        At(patch, "before_keys", stall)
        with pytest.raises(TargetError, match="asking whose turn it is to build keys failed"):
            notes_load(notes, url, statement_seconds=1, retry_seconds=0, connect_seconds=2)
    assert time.monotonic() - started[0] < 20
    assert read_status(postgresql_url).owed_keys


def test_stopped_before_all_is_loaded_no_key_is_built(
    notes: Notes, target: str, during: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    running: list[RunningLoad] = []
    with monkeypatch.context() as patch:
        At(patch, "after_commit", lambda: running[0].stop(2))
        summary = notes_load(notes, target, on_start=running.append, executor="serial")
    assert summary.documents.loaded < DOCUMENTS
    assert summary.keys.owed == ["note", "tag", "letter"]
    assert not has_keys(target)
    notes_load(notes, target)
    assert state(target) == during


def test_connections_that_are_lost_while_keys_are_built_are_made_again(
    notes: Notes, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut() -> None:
        query(
            postgresql_url,
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name LIKE 'xml_extractor%' AND datname = current_database()",
        )

    at = At(monkeypatch, "between_keys", cut)
    summary = notes_load(notes, postgresql_url)
    assert at.passed >= 5
    assert summary.keys.owed == []
    assert summary.exit_code == 3


# ------------------------------------------------------------------------------------ others


def test_two_loaders_at_once_and_the_last_one_builds(
    notes: Notes, target: str, during: dict[str, Any]
) -> None:
    summaries: list[LoadSummary] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            summaries.append(notes_load(notes, target, batch_size=10, throttle=800))
        except BaseException as error:  # noqa: BLE001 - asserted on below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert not errors
    assert sum(summary.keys.built for summary in summaries) == 5
    assert state(target) == during


def test_a_loader_that_ends_first_leaves_the_keys_to_the_other(
    notes: Notes, target: str, during: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    first: list[LoadSummary] = []

    def meanwhile() -> None:
        first.append(notes_load(notes, target))

    with monkeypatch.context() as patch:
        # The other one begins and ends while this one is at its first batch.
        At(patch, "before_claim", meanwhile)
        last = notes_load(notes, target)
    assert first[0].keys.built == 0
    assert any("another loader" in text for text in first[0].notes)
    assert first[0].keys.owed == ["note", "tag", "letter"]
    assert last.keys.built == 5
    assert state(target) == during


def test_locks_are_waited_for_as_long_as_is_set_and_statements_longer(
    notes: Notes, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    held = open_engine(target).connect(write=True, application="somebody else")

    def hold() -> None:
        held.begin()
        held.query(f"SELECT COUNT(*) FROM note{_held(target)}")

    with monkeypatch.context() as patch:
        At(patch, "before_keys", hold)
        with pytest.raises(TargetError, match="building the primary key of note failed"):
            notes_load(notes, target, lock_timeout=0.3, retry_seconds=0)
    held.rollback()
    # What a statement may take: the others of the load have to be done within it, too.
    seconds = 1.0 if target.startswith("postgresql") else 5.0
    letting_go = threading.Timer(seconds + 1.0, held.rollback)

    def hold_for_a_while() -> None:
        hold()
        letting_go.start()

    with monkeypatch.context() as patch:
        At(patch, "before_keys", hold_for_a_while)
        summary = notes_load(notes, target, lock_timeout=30, statement_seconds=seconds, retry_seconds=0)
    letting_go.join()
    held.close()
    assert summary.keys.owed == []


def test_rows_of_somebody_else_in_the_way_end_the_load(
    notes: Notes, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    twice = ["INSERT INTO note (id, text) VALUES (7000, 'theirs')"] * 2
    with monkeypatch.context() as patch:
        At(patch, "before_keys", lambda: execute(target, *twice))
        with pytest.raises(TargetError, match=r"rows of note are in the way.*7000"):
            notes_load(notes, target)
    execute(target, "DELETE FROM note WHERE id = 7000")
    assert notes_load(notes, target).keys.owed == []


# ------------------------------------------------------------------------------------ guards, refusals


def test_too_many_documents_in_the_way_halt_the_load_before_one_is_touched(
    notes: Notes, target: str, during: dict[str, Any]
) -> None:
    with pytest.raises(HaltedError, match="None of them was put into quarantine") as raised:
        notes_load(notes, target, max_quarantined="2")
    assert "3  unique_violation" in str(raised.value)
    assert query(target, "SELECT * FROM load_quarantine") == []
    assert query(target, "SELECT state FROM load_runs") == [("halted",)]
    notes_load(notes, target, max_quarantined="3")
    assert state(target) == during


def test_what_cannot_be_had_is_refused_before_anything_is_created(
    notes: Notes, tmp_path: Path, target: str
) -> None:
    with pytest.raises(UsageError, match=r"--keys after cannot be had here: .*CREATE TABLE"):
        notes_load(notes, f"sqlite:///{tmp_path / 'target.db'}")
    with pytest.raises(UsageError, match="do not go together"):
        notes_load(notes, target, on_change="replace")
    loose = CONTRACT.replace("primary_key: [id, name]\n", "primary_key: [name]\n").partition("  letter:")[0]
    with pytest.raises(UsageError, match="cannot be had with tag: "):
        notes_load(notes, target, contract(loose))
    with pytest.raises(UsageError, match="nothing was loaded into it yet"):
        read_status(target)


def test_keys_as_texts_that_tables_keep_as_numbers_are_refused(notes: Notes, target: str) -> None:
    execute(notes.url, "CREATE TABLE texts (id TEXT NOT NULL PRIMARY KEY, body TEXT)",
            "INSERT INTO texts VALUES ('07', '<Note><Text>x</Text></Note>')")  # fmt: skip
    of_texts = contract(CONTRACT.replace("table: app_xml", "table: texts"))
    with pytest.raises(UsageError, match="the source's keys are texts"):
        notes_load(notes, target, of_texts)
    foreseen = examine(notes.url, target, of_texts, LoadOptions(keys="after", create_tables=True))
    assert any("the source's keys are texts" in finding.text for _, finding in foreseen.to_do())
    assert not foreseen.would_work


def test_doctor_foresees_the_refusal_of_a_database_that_is_not_there_yet(
    notes: Notes, tmp_path: Path
) -> None:
    target = f"sqlite:///{tmp_path / 'not_yet.db'}"
    foreseen = examine(notes.url, target, contract(), LoadOptions(keys="after", create_tables=True))
    assert any("--keys after cannot be had here" in finding.text for _, finding in foreseen.to_do())
    assert not foreseen.would_work


def test_while_keys_are_owed_nobody_else_fills_the_tables_nor_replaces_rows(
    notes: Notes, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise TargetError("made up")

    with monkeypatch.context() as patch:
        At(patch, "before_keys", fail)
        with pytest.raises(TargetError, match="made up"):
            notes_load(notes, target)
    with pytest.raises(UsageError, match="have yet to get their keys"):
        notes_load(notes, target, keys="during", on_change="replace")
    with pytest.raises(UsageError, match="run that load to its end first"):
        notes_load(notes, target, keys="during", source_name="other")
    assert len(query(target, "SELECT load_id FROM load_runs")) == 1
    seen = examine(notes.url, target, contract(), LoadOptions(keys="after"))
    found = [finding for side in seen.sides for finding in side.findings if finding.subject == "keys"]
    said = {finding.text: finding.health for finding in found}
    assert said[next(text for text in said if "note, tag, letter have yet" in text)] is Health.WARNING
    assert said[next(text for text in said if "can get their keys after it" in text)] is Health.GOOD
