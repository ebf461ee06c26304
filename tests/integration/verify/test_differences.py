"""A target that was broken by SQL, in every way there is: what differs is found, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.integration.contracts.support import loaded, replace_document, stage_documents
from tests.integration.verify.support import Finding, contract, document, prepare, verified
from tests.support.tables import execute, query
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.mapping.records import Key, State
from xml_extractor.settings import ExecutorChoice, LoadOptions

Findings = list[Finding]
CLEAN: Findings = []


def test_a_load_that_nobody_touched_is_clean(database_url: str, tmp_path: Path) -> None:
    made = contract()
    prepare(database_url, made)
    for deep in (False, True):
        report, found = verified(database_url, made, tmp_path, deep=deep)
        assert found == CLEAN
        assert report.exit_code(strict=True) is ExitCode.OK
        assert (report.source_documents, report.compared) == (8, 6 if deep else 0)
        assert report.documents == {State.LOADED: 6, State.QUARANTINED: 1, State.SKIPPED: 1}
        assert [(t.name, t.expected, t.found) for t in report.tables] == [("t", 6, 6), ("u", 17, 17)]
        assert report.untold == []
        assert report.ranges == (1 if deep else 0)


@pytest.mark.parametrize("deep", [False, True])
def test_other_documents_whose_numbers_add_up_to_the_same_are_found(
    database_url: str, tmp_path: Path, deep: bool
) -> None:
    """Digests of whole numbers follow one another: as they are, 2 and 3 would have the sum of 1 and 4."""
    made = contract()
    prepare(database_url, made, {2: document(2), 3: document(3), 9: document(9)})
    execute(
        database_url,
        "UPDATE app_xml SET app_id = 1 WHERE app_id = 2",
        "UPDATE app_xml SET app_id = 4 WHERE app_id = 3",
    )
    _, found = verified(database_url, made, tmp_path, deep=deep)
    kinds = [(key, kind) for key, _, _, kind, _ in found]
    expected: list[tuple[Key | None, str]] = [
        (1, "not_loaded"), (2, "source_row_gone"), (3, "source_row_gone"), (4, "not_loaded"),
    ]  # fmt: skip
    if deep:
        expected.append((9, "range_differs"))  # as many keys as it was claimed for, and other ones
    assert kinds == expected


CHANGES: dict[str, tuple[list[str], Findings, Findings]] = {
    # what is done: found without --deep, and what --deep finds besides
    "a value changed": (
        ["UPDATE t SET v = 'w' WHERE k = 3"],
        [],
        [(3, "t", "v", "value_differs", 1)],
    ),
    "a value made NULL": (
        ["UPDATE u SET e = NULL WHERE k = 4 AND n > 2"],
        [],
        [(4, "u", "e", "value_differs", 2)],
    ),
    "a decimal changed in its last digit": (
        ["UPDATE t SET d = '2.11' WHERE k = 2"],
        [],
        [(2, "t", "d", "value_differs", 1)],
    ),
    "a blank at the end": (
        ["UPDATE t SET v = 'v2 ' WHERE k = 2"],
        [],
        [(2, "t", "v", "value_differs", 1)],
    ),
    "the time of the load changed": (
        ["UPDATE t SET at = '2020-01-01 00:00:00' WHERE k = 1"],
        [],
        [(1, "t", "at", "value_differs", 1)],
    ),
    "values of two rows exchanged": (
        ["UPDATE t SET v = CASE k WHEN 1 THEN 'v2' ELSE 'v1' END WHERE k IN (1, 2)"],
        [],
        [(1, "t", "v", "value_differs", 1), (2, "t", "v", "value_differs", 1)],
    ),
    "children of two documents exchanged": (
        ["UPDATE u SET v = CASE k WHEN 3 THEN 'c4.0' ELSE 'c3.0' END WHERE n = 1 AND k IN (3, 4)"],
        [],
        [(3, "u", "v", "value_differs", 1), (4, "u", "v", "value_differs", 1)],
    ),
    "a part of the primary key changed": (
        ["UPDATE u SET n = 99 WHERE k = 2 AND n = 2"],
        [],
        [(2, "u", "n", "value_differs", 1)],
    ),
    "a parent deleted": (
        ["DELETE FROM t WHERE k = 2"],
        [(2, "t", None, "rows_missing", 1), (2, "u", None, "orphan", 2)],
        [(2, "t", None, "row_missing", 1)],
    ),
    "a child deleted": (
        ["DELETE FROM u WHERE k = 7 AND n IN (1, 5)"],
        [(7, "u", None, "rows_missing", 2)],
        [(7, "u", None, "row_missing", 2)],
    ),
    "a child twice": (
        ["INSERT INTO u (k, n, v, e) SELECT k, n, v, e FROM u WHERE k = 3 AND n = 3"],
        [(3, "u", None, "rows_extra", 1)],
        [(3, "u", None, "row_extra", 1)],
    ),
    "a row for a document without any": (
        ["INSERT INTO u (k, n, v) VALUES (8, 1, 'x')"],
        [(8, "u", None, "rows_extra", 1)],
        [(8, "u", None, "row_extra", 1)],
    ),
    "rows of a document in quarantine": (
        ["INSERT INTO t (k, v) VALUES (5, 'x')"],
        [(5, "t", None, "rows_extra", 1)],
        [],
    ),
    "rows of nobody": (
        ["INSERT INTO t (k, v) VALUES (77, 'x')", "INSERT INTO u (k, n, v) VALUES (77, 1, 'x')",
         "INSERT INTO u (k, n, v) VALUES (-1, 1, 'x')", "INSERT INTO u (k, n, v) VALUES (NULL, 1, 'x')"],
        [(-1, "u", None, "orphan", 1), (-1, "u", None, "unknown_key", 1), (77, "t", None, "unknown_key", 1),
         (77, "u", None, "unknown_key", 1), (None, "u", None, "unknown_key", 1)],
        [],
    ),
    "rows moved to another document": (
        ["UPDATE u SET k = 3 WHERE k = 2 AND n = 1"],
        [(2, "u", None, "rows_missing", 1), (3, "u", None, "rows_extra", 1)],
        [(2, "u", None, "row_missing", 1), (3, "u", None, "row_extra", 1)],
    ),
    "a loaded document's ledger row deleted": (
        ["DELETE FROM load_ledger WHERE source_key = '2'"],
        [(2, None, None, "not_loaded", 1), (2, "t", None, "unknown_key", 1),
         (2, "u", None, "unknown_key", 2)],
        [(8, "load_ranges", None, "range_differs", 1)],
    ),
    "a quarantined document's ledger row deleted": (
        ["DELETE FROM load_ledger WHERE source_key = '5'"],
        [(5, None, None, "not_loaded", 1), (5, None, None, "quarantine_detail_extra", 1)],
        [(8, "load_ranges", None, "range_differs", 1)],
    ),
    "a detail of quarantine deleted": (
        ["DELETE FROM load_quarantine WHERE source_key = '5'"],
        [(5, None, None, "quarantine_detail_missing", 1)],
        [],
    ),
    "counts changed in the ledger": (
        ["UPDATE load_ledger SET row_counts = '1,5' WHERE source_key = '4'"],
        [(4, "u", None, "rows_missing", 1)],
        [],
    ),
    "counts destroyed in the ledger": (
        ["UPDATE load_ledger SET row_counts = '1,x' WHERE source_key = '8'"],
        [(8, None, None, "ledger_row_damaged", 1)],
        [],
    ),
    "a row of load_runs deleted": (
        ["UPDATE load_ledger SET load_id = 99 WHERE source_key IN ('1', '5')"],
        [(1, None, None, "ledger_row_damaged", 1), (5, None, None, "ledger_row_damaged", 1)],
        [],
    ),
    "loaded said to be quarantined": (
        ["UPDATE load_ledger SET state = 'quarantined' WHERE source_key = '8'"],
        [(8, None, None, "quarantine_detail_missing", 1), (8, "t", None, "rows_extra", 1)],
        [(8, "load_ranges", None, "range_differs", 1)],
    ),
    "a ledger row written by somebody else": (
        ["UPDATE load_ledger SET batch = batch + 1 WHERE source_key = '4'"],
        [],
        [(8, "load_ranges", None, "range_differs", 1)],
    ),
    "a source row deleted": (
        ["DELETE FROM app_xml WHERE app_id = 3"],
        [(3, None, None, "source_row_gone", 1)],
        [],
    ),
    "a source row added": (
        ["INSERT INTO app_xml (app_id, app_xml) VALUES (99, '<r/>')"],
        [(99, None, None, "not_loaded", 1)],
        [],
    ),
    "a source row changed": (
        ["UPDATE app_xml SET app_xml = '<r><v>new</v></r>' WHERE app_id = 3"],
        [],
        [(3, None, None, "source_changed", 1)],
    ),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGES)
def test_every_change_is_found(change: str, database_url: str, tmp_path: Path) -> None:
    made = contract()
    prepare(database_url, made)
    statements, plain, besides = CHANGES[change]
    execute(database_url, *statements)
    report, found = verified(database_url, made, tmp_path)
    assert found == sorted(plain, key=repr)
    notes = {"source_row_gone", "source_changed"}
    faults = [finding for finding in plain if finding[3] not in notes]
    assert report.exit_code() is (ExitCode.NEEDS_A_LOOK if faults else ExitCode.OK)
    assert report.exit_code(strict=True) is (ExitCode.NEEDS_A_LOOK if plain else ExitCode.OK)
    report, found = verified(database_url, made, tmp_path, deep=True)
    expected = [*plain, *besides]
    assert found == sorted(expected, key=repr)
    faults = [finding for finding in expected if finding[3] not in notes]
    assert report.exit_code() is (ExitCode.NEEDS_A_LOOK if faults else ExitCode.OK)
    assert not any("'w'" in line or "v2 " in line for line in report.lines())


def test_nothing_is_written(database_url: str, tmp_path: Path) -> None:
    made = contract()
    prepare(database_url, made)
    tables = ("load_runs", "load_ledger", "load_quarantine", "load_schema", "t", "u", "app_xml")
    before = [sorted(query(database_url, f"SELECT * FROM {name}"), key=repr) for name in tables]
    verified(database_url, made, tmp_path, deep=True)
    assert before == [sorted(query(database_url, f"SELECT * FROM {name}"), key=repr) for name in tables]


def test_text_keys(database_url: str, tmp_path: Path) -> None:
    made = contract("nvarchar(50)")
    documents: dict[Key, str | None] = {
        "a": document(1), "A": document(2), "é": document(3), "5": document(4), "05": document(5),
        "back\\slash": document(2), "a b": document(1), "x" * 50: document(1),
    }  # fmt: skip
    prepare(database_url, made, documents)
    for deep in (False, True):
        report, found = verified(database_url, made, tmp_path, deep=deep)
        assert (found, report.is_clean(strict=True)) == ([], True)
    execute(
        database_url,
        "DELETE FROM u WHERE k = '05' AND n = 1",
        "UPDATE t SET v = 'w' WHERE k = 'back\\slash'",
        "DELETE FROM load_ledger WHERE source_key = 'a b'",
    )
    _, found = verified(database_url, made, tmp_path, deep=True)
    last = json.loads(query(database_url, "SELECT last_key FROM load_ranges")[0][0])
    assert found == sorted(
        [
            ("05", "u", None, "rows_missing", 1), ("05", "u", None, "row_missing", 1),
            ("back\\slash", "t", "v", "value_differs", 1), ("a b", None, None, "not_loaded", 1),
            ("a b", "t", None, "unknown_key", 1), ("a b", "u", None, "unknown_key", 1),
            (last, "load_ranges", None, "range_differs", 1),
        ],
        key=repr,
    )  # fmt: skip


def test_two_sources_in_the_same_tables(database_url: str, tmp_path: Path, sqlite_url: str) -> None:
    """Another source's rows are known by its own ledger rows, and are nobody's mistake."""
    made = contract()
    prepare(database_url, made, source_name="one")
    elsewhere = f"sqlite:///{tmp_path / 'other.db'}"
    stage_documents(elsewhere, {key: document(key) for key in range(20, 25)})
    from xml_extractor import load

    load(elsewhere, database_url, made, LoadOptions(source_name="two", executor=ExecutorChoice.SERIAL))
    for deep in (False, True):
        report, found = verified(database_url, made, tmp_path, deep=deep, source_name="one")
        assert (found, report.is_clean(), report.others) == ([], True, 5)
        report, found = verified(database_url, made, tmp_path, deep=deep, source=elsewhere, source_name="two")
        assert (found, report.is_clean(), report.others) == ([], True, 6)
    execute(database_url, "DELETE FROM u WHERE k = 21", "UPDATE t SET v = '-' WHERE k IN (1, 22)")
    _, found = verified(database_url, made, tmp_path, deep=True, source_name="one")
    assert found == [(1, "t", "v", "value_differs", 1), (21, "u", None, "rows_missing", 21)]
    _, found = verified(database_url, made, tmp_path, deep=True, source=elsewhere, source_name="two")
    assert found == [
        (21, "u", None, "row_missing", 21), (21, "u", None, "rows_missing", 21),
        (22, "t", "v", "value_differs", 1),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="give --source-name"):
        verified(database_url, made, tmp_path)


def test_documents_of_an_earlier_version_are_counted_and_left_out(database_url: str, tmp_path: Path) -> None:
    old, new = contract(), contract(version="    w: {from: v, type: nvarchar(30)}\n")
    stage_documents(database_url, {1: document(1), 2: document(2)})
    from tests.integration.verify.support import create_loose_tables

    create_loose_tables(database_url, new.plan)
    loaded(database_url, old)
    execute(
        database_url,
        f"INSERT INTO app_xml (app_id, app_xml) VALUES (3, '{document(3).replace(chr(39), chr(34))}')",
    )
    loaded(database_url, new)
    report, found = verified(database_url, new, tmp_path, deep=True)
    assert (found, report.compared, report.other_plan) == ([], 1, 2)
    assert any("another version of the contract" in line for line in report.lines())
    execute(database_url, "UPDATE t SET v = '-'", "DELETE FROM u WHERE k = 2 AND n = 1")
    _, found = verified(database_url, new, tmp_path, deep=True)
    assert found == [(2, "u", None, "rows_missing", 1), (3, "t", "v", "value_differs", 1)]


def test_a_document_whose_newer_version_was_refused(database_url: str, tmp_path: Path) -> None:
    """Its rows and its ledger row have stayed, and quarantine names the new version: that is in order."""
    made = contract()
    prepare(database_url, made)
    replace_document(database_url, 2, "<r><d>much</d></r>")
    loaded(database_url, made, on_change="replace")
    assert len(query(database_url, "SELECT 1 FROM load_quarantine WHERE source_key = '2'")) == 1
    report, found = verified(database_url, made, tmp_path, deep=True)
    assert found == [(2, None, None, "source_changed", 1)]
    assert report.exit_code() is ExitCode.OK


KEYLESS = """
x:
  rows: u
  columns:
    v: {from: ., type: nvarchar(20)}
"""


def test_a_table_that_does_not_carry_the_key(database_url: str, tmp_path: Path) -> None:
    from tests.integration.contracts.support import contract_of

    made = contract_of(
        "t:\n  primary_key: k\n  columns: {k: {from: $key, type: int}}\n" + KEYLESS.strip("\n")
    )
    prepare(database_url, made)
    for deep in (False, True):
        report, found = verified(database_url, made, tmp_path, deep=deep)
        assert (found, report.is_clean()) == ([], True)
        assert [table.by_key for table in report.tables] == [True, False]
        assert any("in total, not document by document" in line for line in report.lines())
    execute(database_url, "DELETE FROM x WHERE v IN ('c7.0', 'c7.1')")
    report, found = verified(database_url, made, tmp_path)
    assert found == [(None, "x", None, "rows_missing", 2)]
    execute(database_url, "INSERT INTO x (v) VALUES ('c7.0')", "INSERT INTO x (v) VALUES ('c7.0')")
    assert verified(database_url, made, tmp_path)[1] == []
    report, found = verified(database_url, made, tmp_path, deep=True)
    assert found == [(None, "x", None, "content_differs", 1)]
    assert report.exit_code() is ExitCode.NEEDS_A_LOOK
