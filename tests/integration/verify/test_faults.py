"""Verifications that meet trouble: lost connections, more differences than anybody wants to read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.integration.verify.support import contract, document, prepare, verified
from tests.support.fake_engine import FakeEngine
from tests.support.tables import execute
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import FaultKind
from xml_extractor.errors import TargetError
from xml_extractor.operations import opening
from xml_extractor.operations.verification import VerifyOptions, verify
from xml_extractor.operations.verification.content import ContentLocator
from xml_extractor.operations.verification.locating import RowLocator
from xml_extractor.settings import ExecutorChoice, LoadOptions


@pytest.fixture
def fake(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> FakeEngine:
    """The target's engine, which fails when told to."""
    engine = FakeEngine(open_engine(sqlite_url))
    monkeypatch.setattr(opening, "target_engine", lambda url, options: engine)
    return engine


@pytest.mark.parametrize("kind", [FaultKind.DISCONNECTED, FaultKind.TRANSIENT])
@pytest.mark.parametrize(("step", "after"), [("stream", 4), ("query", 4), ("existing:load_ledger", 1)])
def test_what_passes_is_tried_again(
    step: str, after: int, kind: FaultKind, fake: FakeEngine, sqlite_url: str, tmp_path: Path
) -> None:
    made = contract()
    prepare(sqlite_url, made)
    execute(sqlite_url, "UPDATE t SET v = '-' WHERE k = 1", "DELETE FROM u WHERE k = 2")
    failed = []

    def fail(called: str) -> None:
        # Not the first calls: those are the connection's, which is tried once.
        if called == step and fake.steps.count(step) > after and len(failed) < 2:
            failed.append(called)
            raise_fault(kind)

    fake.before = fail
    _, found = verified(sqlite_url, made, tmp_path, deep=True)
    assert found == [
        (1, "t", "v", "value_differs", 1), (2, "u", None, "row_missing", 2),
        (2, "u", None, "rows_missing", 2),
    ]  # fmt: skip
    assert len(failed) == 2


def raise_fault(kind: FaultKind) -> None:
    from tests.support.fake_engine import Injected

    raise Injected(kind)


def test_what_does_not_pass_ends_it(fake: FakeEngine, sqlite_url: str, tmp_path: Path) -> None:
    made = contract()
    prepare(sqlite_url, made)
    fake.fail_times("stream", FaultKind.FATAL, 10**6)
    with pytest.raises(TargetError, match="reading"):
        verified(sqlite_url, made, tmp_path)


def test_many_documents_that_differ(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All are told, a group of buckets at a time, or as many as were asked for."""
    made = contract()
    prepare(database_url, made, {key: document(2) for key in range(300)})
    execute(
        database_url,
        "UPDATE t SET v = '-'",
        "DELETE FROM u WHERE n = 1",
        "DELETE FROM load_ledger WHERE 1 = 0",
    )
    monkeypatch.setattr("xml_extractor.operations.verification.locating.GROUP_ROWS", 100)
    monkeypatch.setattr("xml_extractor.operations.verification.content.GROUP_ROWS", 100)
    report, found = verified(database_url, made, tmp_path, deep=True)
    assert found == sorted(
        [
            finding
            for key in range(300)
            for finding in (
                (key, "t", "v", "value_differs", 1),
                (key, "u", None, "row_missing", 1),
                (key, "u", None, "rows_missing", 1),
            )
        ],
        key=repr,
    )
    assert report.unlocated == 0
    report = verify(
        database_url, database_url, made, LoadOptions(executor=ExecutorChoice.THREAD),
        VerifyOptions(deep=True, most_differences=30),
    )  # fmt: skip
    assert report.differences["rows_missing"] == 300
    assert 30 <= report.differences["value_differs"] < 150
    assert report.unlocated >= 100
    assert not report.is_clean()


def test_all_rows_of_a_table_gone(database_url: str, tmp_path: Path) -> None:
    made = contract()
    prepare(database_url, made)
    execute(database_url, "DELETE FROM u", "DELETE FROM t")
    report, found = verified(database_url, made, tmp_path)
    assert report.differences == {"rows_missing": 23}
    assert len(found) == 11


def test_an_empty_ledger(database_url: str, tmp_path: Path) -> None:
    made = contract()
    prepare(database_url, made)
    execute(database_url, "DELETE FROM load_ledger", "DELETE FROM load_quarantine")
    report, _ = verified(database_url, made, tmp_path, deep=True)
    assert report.differences == {"not_loaded": 8, "unknown_key": 23, "range_differs": 1}


# ------------------------------------------------------------------- written while it is looked at


def once_before(monkeypatch: pytest.MonkeyPatch, where: type, name: str, *acts: object) -> None:
    """Do something the first time that a method is called."""
    original, url, statements = getattr(where, name), acts[0], acts[1:]
    done: list[bool] = []

    def act(self: object, *arguments: object) -> object:
        if not done:
            done.append(True)
            execute(str(url), *map(str, statements))
        return original(self, *arguments)

    monkeypatch.setattr(where, name, act)


def test_a_document_that_is_written_meanwhile_is_looked_at_again(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = contract()
    prepare(database_url, made)
    execute(database_url, "DELETE FROM u WHERE n = 1 AND k IN (2, 3)")
    once_before(
        monkeypatch, RowLocator, "_moving", database_url,
        "INSERT INTO u (k, n, v, e) VALUES (2, 1, 'c2.0', 0.5)",
        "UPDATE load_ledger SET batch = batch - 1 WHERE source_key = '2'",
    )  # fmt: skip
    report, found = verified(database_url, made, tmp_path)
    assert (found, report.in_motion) == ([(3, "u", None, "rows_missing", 1)], 0)


def test_a_document_that_never_stands_still_is_not_called_wrong(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = contract()
    prepare(database_url, made)
    execute(database_url, "DELETE FROM u WHERE n = 1 AND k = 2")
    original = RowLocator._moving

    def moving(self: RowLocator, *arguments: Any) -> Any:
        execute(database_url, "UPDATE load_ledger SET batch = batch - 1 WHERE source_key = '2'")
        return original(self, *arguments)

    monkeypatch.setattr(RowLocator, "_moving", moving)
    report, found = verified(database_url, made, tmp_path)
    assert (found, report.in_motion, report.is_clean()) == ([], 1, False)
    assert any("verify again when no load" in line for line in report.lines())


def test_values_that_are_written_meanwhile_are_not_called_wrong(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = contract()
    prepare(database_url, made)
    execute(database_url, "UPDATE t SET v = '-' WHERE k IN (2, 3)")
    once_before(
        monkeypatch, ContentLocator, "_moved", database_url,
        "UPDATE load_ledger SET batch = batch - 1 WHERE source_key = '2'",
    )  # fmt: skip
    report, found = verified(database_url, made, tmp_path, deep=True)
    assert [finding for finding in found if finding[3] == "value_differs"] == [
        (3, "t", "v", "value_differs", 1)
    ]
    assert report.in_motion == 1
