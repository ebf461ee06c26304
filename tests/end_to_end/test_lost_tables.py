"""A table that was dropped after it had been filled: nothing hides that its rows are gone."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.notes import CONTRACT, Notes, contract, note
from tests.support.tables import dialect_of, execute, query, read_tables
from xml_extractor import Contract, LoadOptions
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Health, table_specs
from xml_extractor.errors import TargetError, TargetSchemaError
from xml_extractor.operations.doctor import examine
from xml_extractor.operations.rollback import Rollback

NEW_TABLE = (
    CONTRACT
    + """
  extra:
    parent: note
    rows: Extra
    primary_key: [id, place]
    columns:
      id: {from: $parent}
      place: {from: $position, type: int}
"""
)


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    """Ten documents of two tags each."""
    source = Notes(tmp_path)
    source.put({key: note(f"n{key}") for key in range(1, 11)})
    return source


def table_names(target: str) -> set[str]:
    session = open_engine(target).connect(write=False, application="tests")
    try:
        return set(session.table_names())
    finally:
        session.close()


def rename(target: str, old: str, new: str) -> None:
    sql = f"ALTER TABLE {old} RENAME TO {new}"
    execute(target, f"EXEC sp_rename '{old}', '{new}', 'OBJECT'" if dialect_of(target) == "mssql" else sql)


@pytest.mark.parametrize("create_tables", [True, False])
@pytest.mark.parametrize("dry_run", [True, False])
def test_a_dropped_table_is_not_created_anew(
    database_url: str, notes: Notes, create_tables: bool, dry_run: bool
) -> None:
    notes.load(database_url, drift_sample=0)
    execute(database_url, "DROP TABLE tag")
    with pytest.raises(TargetSchemaError) as raised:
        notes.load(database_url, create_tables=create_tables, dry_run=dry_run)
    assert raised.value.exit_code == 2
    for said in ("tag (20 rows)", "of load 1", "restore", "--target-schema", "`contract ddl`"):
        assert said in str(raised.value)
    assert "--create-tables" not in str(raised.value)
    assert "tag" not in table_names(database_url)


@pytest.mark.parametrize("create_tables", [True, False])
def test_doctor_says_the_same(database_url: str, notes: Notes, create_tables: bool) -> None:
    notes.load(database_url, drift_sample=0)
    execute(database_url, "DROP TABLE tag")
    examination = examine(notes.url, database_url, contract(), LoadOptions(create_tables=create_tables))
    target = next(side for side in examination.sides if side.name == "target")
    (finding,) = [finding for finding in target.findings if finding.subject == "tables"]
    assert finding.health is Health.PROBLEM
    assert "tag (20 rows)" in finding.text
    assert "restore" in str(finding.cure)
    assert "--create-tables" not in finding.text + str(finding.cure)
    assert not examination.would_work


def test_a_table_that_is_restored_or_created_by_hand_is_taken(database_url: str, notes: Notes) -> None:
    notes.load(database_url, drift_sample=0)
    before = read_tables(database_url, contract().plan)
    rename(database_url, "tag", "away")
    with pytest.raises(TargetSchemaError):
        notes.load(database_url)
    rename(database_url, "away", "tag")
    assert notes.load(database_url, drift_sample=0).documents.already_loaded == 10
    assert read_tables(database_url, contract().plan) == before
    execute(database_url, "DROP TABLE tag")
    specs = [spec for spec in table_specs(contract().plan) if spec.name == "tag"]
    execute(database_url, *open_engine(database_url).create_statements(specs))
    assert notes.load(database_url, drift_sample=0).documents.already_loaded == 10
    # What the message says of a rollback.
    with Rollback(database_url, contract(), 1, LoadOptions(), force=False) as back, suppress(TargetError):
        back.run(back.preview())
    assert query(database_url, "SELECT COUNT(*) FROM load_ledger") == [(10,)]


def test_the_tables_of_another_contract_are_none_of_ours(database_url: str, notes: Notes) -> None:
    notes.load(database_url, drift_sample=0)
    execute(database_url, "DROP TABLE tag", "DROP TABLE note")
    other = Contract.from_text(CONTRACT.replace("contract: notes", "contract: others"), "others.yaml")
    assert notes.load(database_url, other, drift_sample=0).documents.loaded == 10
    # A table that is gone is no loss once nothing of it is in the ledger.
    execute(database_url, "DROP TABLE tag", "DROP TABLE note", "DELETE FROM load_ledger")
    assert notes.load(database_url, drift_sample=0).documents.loaded == 10


def test_a_table_that_the_contract_has_gained_is_created(database_url: str, notes: Notes) -> None:
    notes.load(database_url, drift_sample=0)
    notes.load(database_url, Contract.from_text(NEW_TABLE, "notes.yaml"), drift_sample=0)
    assert query(database_url, "SELECT COUNT(*) FROM extra") == [(0,)]
    # Of documents that have no rows in it nothing is lost.
    execute(database_url, "DROP TABLE extra")
    notes.load(database_url, Contract.from_text(NEW_TABLE, "notes.yaml"), drift_sample=0)
    assert "extra" in table_names(database_url)
