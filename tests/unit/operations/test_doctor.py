"""The doctor: what it makes of databases that fail, are far away, or are not there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from tests.support.fake_engine import FakeEngine, Injected
from tests.support.interpreters import needs_native
from xml_extractor.contract import Contract
from xml_extractor.contract.plan import Plan, SourcePlan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import (
    BatchEstimate,
    Engine,
    FaultKind,
    Finding,
    Health,
    Session,
    TableSpec,
)
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.mapping.interpreter_choice import VARIABLE
from xml_extractor.operations import opening
from xml_extractor.operations.doctor import Examination, Side, examine
from xml_extractor.operations.load import load
from xml_extractor.settings import LoadOptions
from xml_extractor.target.database_target import DatabaseTarget

CONTRACT = Contract.from_text(
    """
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
  word:
    parent: note
    rows: w
    primary_key: [id, number]
    columns:
      id: {from: $parent}
      number: {from: $position, type: int}
""",
    "notes.yaml",
)
OPTIONS = LoadOptions(executor="serial")


class PatientEngine(FakeEngine):
    """A fake engine that may be slow, have ways in, and find what a test says."""

    insert_paths: ClassVar[tuple[str, ...]] = ("swift", "sure")
    findings: tuple[Finding, ...] = ()
    error: Exception | None = None
    batch: BatchEstimate | None = None
    settled_on: str | None = None

    def settled(self, session: Session, plan: Plan) -> Engine:
        session.execute("CREATE TABLE tried_out (a integer)")
        session.execute("DROP TABLE tried_out")
        self.settled_on = "swift"
        return self

    @property
    def insert_path(self) -> str | None:
        return self.settled_on

    @property
    def insert_path_reason(self) -> str | None:
        return "it is the swifter one"

    def examine_source(self, session: Session, source: SourcePlan) -> Iterator[Finding]:
        yield from self.findings
        if self.error is not None:
            raise self.error

    def examine_target(
        self, session: Session, plan: Plan, tables: Sequence[TableSpec], batch: BatchEstimate | None = None
    ) -> Iterator[Finding]:
        self.batch = batch
        yield from self.findings


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database that has been loaded into from itself."""
    url = f"sqlite:///{tmp_path / 'notes.db'}"
    session = open_engine(url).connect(write=True, application="tests")
    session.execute("CREATE TABLE app_xml (id INTEGER PRIMARY KEY, body TEXT)")
    session.execute_many(
        "INSERT INTO app_xml VALUES (?, ?)", [(i, "<Note>é<w/><w/><w/></Note>") for i in range(1, 5)]
    )
    session.close()
    load(url, None, CONTRACT, LoadOptions(create_tables=True, executor="serial"))
    return url


@pytest.fixture
def engine(url: str, monkeypatch: pytest.MonkeyPatch) -> PatientEngine:
    """The engine that the doctor sees, on both sides."""
    engine = PatientEngine(open_engine(url))
    monkeypatch.setattr(opening, "source_engine", lambda *_: engine)
    monkeypatch.setattr(opening, "target_of", lambda *_: DatabaseTarget(engine, retry_seconds=0))
    return engine


def texts(examination: Examination, side: str, subject: str) -> list[str]:
    return [
        finding.text
        for it in examination.sides
        if it.name == side
        for finding in it.findings
        if finding.subject == subject
    ]


def test_each_way_in_that_was_chosen_is_told_with_its_reason(url: str, engine: PatientEngine) -> None:
    examination = examine(url, url, CONTRACT, OPTIONS)
    assert texts(examination, "target", "insert path") == ["swift: it is the swifter one"]
    assert examination.exit_code == ExitCode.OK

    absent = Contract.from_text(CONTRACT_OTHER, "other.yaml")
    engine.settled_on = None
    examination = examine(url, url, absent, OPTIONS)
    assert texts(examination, "target", "insert path") == ["auto: settled when the tables are there and fit"]
    assert engine.settled_on is None


CONTRACT_OTHER = """
contract: other
version: 1
source: {table: app_xml, key: id, document: body}
document: {root: Note}
tables: {elsewhere: {primary_key: [id], columns: {id: {from: $key, type: int}}}}
"""


def test_what_a_batch_will_bring_is_judged_by_the_first_documents(url: str, engine: PatientEngine) -> None:
    examine(url, url, CONTRACT, LoadOptions(batch_size=100))
    assert engine.batch is not None
    assert (engine.batch.documents, dict(engine.batch.rows)) == (100, {"note": 100, "word": 300})
    assert 1_000 < engine.batch.size_bytes < 100_000


def test_a_far_database_is_a_note_with_what_it_costs(url: str, engine: PatientEngine) -> None:
    def slow(step: str) -> None:
        if step == "query":
            time.sleep(0.006)

    engine.before = slow
    examination = examine(url, url, CONTRACT, OPTIONS)
    for side, meaning in (("source", "documents/s at most"), ("target", "a batch waits for about 6,")):
        (text,) = texts(examination, side, "round trip")
        assert "far away" in text
        assert meaning in text
    assert examination.would_work


def test_findings_are_ordered_and_what_is_to_do_has_the_worst_first(url: str, engine: PatientEngine) -> None:
    engine.findings = (
        Finding(Health.PROBLEM, "a", "worst", "mend it"),
        Finding(Health.WARNING, "b", "bad", "see to it"),
        Finding(Health.GOOD, "c", "good"),
        Finding(Health.NOTE, "d", "known"),
    )
    examination = examine(url, url, CONTRACT, OPTIONS)
    for side in examination.sides:
        healths = [finding.health for finding in side.findings]
        assert healths == sorted(healths, key=[*Health].index)
    assert [(side, finding.subject) for side, finding in examination.to_do()] == [
        ("source", "a"), ("target", "a"), ("source", "b"), ("target", "b"),
    ]  # fmt: skip
    assert examination.verdict == "4 things to do before a load:"
    assert examination.exit_code == ExitCode.NEEDS_A_LOOK


def test_warnings_alone_do_not_keep_a_load_from_working(url: str, engine: PatientEngine) -> None:
    engine.findings = (Finding(Health.WARNING, "b", "bad", "see to it"),)
    examination = examine(url, url, CONTRACT, OPTIONS)
    assert examination.exit_code == ExitCode.OK
    assert examination.verdict == "A load would work; 2 things to do to make it safer or faster:"


def test_a_look_that_fails_is_a_finding_beside_what_was_found(url: str, engine: PatientEngine) -> None:
    engine.findings = (Finding(Health.GOOD, "c", "good"),)
    engine.error = Injected(FaultKind.FATAL, "permission_denied")
    examination = examine(url, url, CONTRACT, OPTIONS)
    assert texts(examination, "source", "c") == ["good"]
    assert texts(examination, "source", "source") == [
        "could not be looked at: the test says permission_denied"
    ]
    assert texts(examination, "target", "tables"), "the other side is looked at all the same"
    assert examination.exit_code == ExitCode.NEEDS_A_LOOK


def test_a_mistake_of_ours_is_not_taken_for_the_databases(url: str, engine: PatientEngine) -> None:
    engine.error = LookupError("ours")
    with pytest.raises(LookupError, match="ours"):
        examine(url, url, CONTRACT, OPTIONS)


def test_a_connection_that_is_lost_ends_one_side(url: str, engine: PatientEngine) -> None:
    engine.error = Injected(FaultKind.DISCONNECTED, "connection_lost")
    examination = examine(url, url, CONTRACT, OPTIONS)
    assert examination.exit_code == ExitCode.SOURCE_FAILED
    assert texts(examination, "source", "source") == ["the test says connection_lost"]
    assert texts(examination, "target", "tables")


def test_sides_that_cannot_be_reached_end_with_the_code_of_a_load(tmp_path: Path, url: str) -> None:
    nowhere = f"sqlite:///{tmp_path / 'nowhere.db'}"
    examination = examine(nowhere, url, CONTRACT, OPTIONS)
    assert examination.exit_code == ExitCode.SOURCE_FAILED
    assert "there is no file" in texts(examination, "source", "connection")[0]
    assert examine(url, nowhere, CONTRACT, OPTIONS).exit_code == ExitCode.TARGET_FAILED
    assert examine(nowhere, nowhere, CONTRACT, OPTIONS).exit_code == ExitCode.SOURCE_FAILED
    assert not (tmp_path / "nowhere.db").exists()


def test_what_a_first_load_would_make_is_a_note(tmp_path: Path, url: str) -> None:
    nowhere = f"sqlite:///{tmp_path / 'nowhere.db'}"
    options = LoadOptions(create_tables=True)
    made = examine(url, nowhere, CONTRACT, options)
    assert (made.exit_code, made.verdict) == (ExitCode.OK, "Green: a load would work.")
    embedded = examine(nowhere, nowhere, CONTRACT, options, embedded=True)
    assert embedded.exit_code == ExitCode.OK
    assert "fills it with samples" in texts(embedded, "source", "embedded default")[0]
    assert not (tmp_path / "nowhere.db").exists()


@pytest.mark.parametrize("target", ["null:", "jsonl:out"])
def test_a_target_without_a_database_has_nothing_to_look_at(url: str, target: str) -> None:
    examination = examine(url, target, CONTRACT, OPTIONS)
    assert examination.exit_code == ExitCode.OK
    assert [len(side.findings) for side in examination.sides][1] == 1


@pytest.mark.parametrize("reachable", [True, False])
@pytest.mark.parametrize(
    ("word", "health", "said"),
    [
        pytest.param("native", Health.GOOD, "native: ", marks=needs_native),
        ("python", Health.NOTE, "Python, at a third of the native one's speed: XML_EXTRACTOR_"),
        ("quick", Health.PROBLEM, "XML_EXTRACTOR_INTERPRETER is 'quick'; it can be one of auto, native"),
    ],
)  # fmt: skip
def test_the_interpreter_that_serves_is_told(
    url: str, word: str, health: Health, said: str, reachable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, word)
    source = url if reachable else url.replace("notes.db", "nowhere.db")
    examination = examine(source, url, CONTRACT, OPTIONS)
    (found,) = [it for it in examination.sides[0].findings if it.subject == "interpreter"]
    assert found.health is health
    assert found.text.startswith(said)


def test_a_url_that_is_none_is_the_users_mistake(url: str) -> None:
    with pytest.raises(UsageError):
        examine("nonsense", url, CONTRACT, OPTIONS)


def test_json_has_all_that_is_shown() -> None:
    finding = Finding(Health.PROBLEM, "key", "not unique", "mend it")
    sides = (Side("source", "here", (finding,)), Side("target", "there", (), ExitCode.TARGET_FAILED))
    assert Examination(sides).to_json() == {
        "would_work": False,
        "to_do": 1,
        "exit_code": 5,
        "source": {
            "database": "here",
            "findings": [{"health": "problem", "subject": "key", "text": "not unique", "cure": "mend it"}],
        },
        "target": {"database": "there", "findings": []},
    }
