"""Sources that cannot be loaded safely, documents that cannot be loaded, and how both end."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.program import run_command, run_program
from tests.support.tables import dialect_of, execute, ledger, portable, query, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.errors import SourceError

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
      text: {from: Text, type: nvarchar(20), required: true}
      stars: {from: "@stars", type: tinyint}
  tag:
    parent: note
    rows: Tag
    primary_key: [id, name]
    columns:
      id: {from: $parent}
      name: {from: ".", type: nvarchar(10), required: true}
"""


@pytest.fixture
def contract_file(tmp_path: Path) -> Path:
    path = tmp_path / "notes.yaml"
    path.write_text(CONTRACT, encoding="utf-8")
    return path


def note(text: str = "t", tags: tuple[str, ...] = (), stars: str = "1") -> str:
    return f'<Note stars="{stars}"><Text>{text}</Text>{"".join(f"<Tag>{tag}</Tag>" for tag in tags)}</Note>'


def fill(url: str, documents: dict[int, Any], key: str = "INTEGER NOT NULL PRIMARY KEY") -> None:
    execute(
        url,
        portable(dialect_of(url), f"CREATE TABLE app_xml (id {key}, body {{text}})"),
        *(
            f"INSERT INTO app_xml VALUES ({number}, {'NULL' if body is None else quoted(body)})"
            for number, body in documents.items()
        ),
    )


def quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def test_fifty_documents(database_url: str, contract_file: Path, tmp_path: Path) -> None:
    """Small enough to be told by hand what every row must be."""
    documents = {number: note(f"n{number}", tuple("ab"[: number % 3])) for number in range(1, 51)}
    fill(database_url, documents)
    program = run_program(
        "--source", database_url, "--contract", contract_file, "--create-tables", folder=tmp_path
    )
    assert program.process.returncode == 0, program.errors
    tables = read_tables(database_url, Contract.read(contract_file).plan)
    assert sorted(tables["note"]) == [(number, f"n{number}", 1) for number in range(1, 51)]
    assert sorted(tables["tag"]) == [(number, name) for number in range(1, 51) for name in "ab"[: number % 3]]
    assert ledger(database_url) == {str(number): "loaded" for number in range(1, 51)}


@pytest.mark.parametrize(
    ("column", "rows"),
    [
        pytest.param("INTEGER", ["(1, '<Note/>')", "(NULL, '<Note/>')"], id="a key that is NULL"),
        pytest.param("INTEGER", ["(1, '<Note/>')", "(1, '<Note/>')"], id="a key that comes twice"),
    ],
)
def test_a_key_that_is_null_or_not_unique_is_found_before_anything_is_written(
    column: str, rows: list[str], database_url: str, contract_file: Path, tmp_path: Path
) -> None:
    execute(
        database_url,
        portable(dialect_of(database_url), f"CREATE TABLE app_xml (id {column}, body {{text}})"),
        *(f"INSERT INTO app_xml VALUES {row}" for row in rows),
    )
    program = run_program(
        "--source", database_url, "--contract", contract_file, "--create-tables", folder=tmp_path
    )
    assert program.process.returncode == 4, program.errors
    assert "id" in program.errors
    assert "app_xml" in program.errors
    assert "Traceback" not in program.errors
    session = open_engine(database_url).connect(write=False, application="tests")
    try:
        assert list(session.table_names()) == ["app_xml"]
    finally:
        session.close()


def test_tables_that_do_not_fit_are_all_told_at_once(
    database_url: str, contract_file: Path, tmp_path: Path
) -> None:
    fill(database_url, {1: note()})
    execute(database_url, "CREATE TABLE note (id INTEGER NOT NULL PRIMARY KEY, other INTEGER NOT NULL)")
    program = run_program("--source", database_url, "--contract", contract_file, folder=tmp_path)
    assert program.process.returncode == 2
    for expected in ("tag", "text", "stars", "other", "load_", "contract ddl"):
        assert expected in program.errors, program.errors


def test_poison_documents_go_to_quarantine_alone_and_come_back_after_a_fix(
    database_url: str, contract_file: Path, tmp_path: Path
) -> None:
    documents: dict[int, Any] = {number: note(f"n{number}", ("a",)) for number in range(1, 101)}
    documents[7] = note("seven", ("a", "a"))  # only the target's primary key refuses it
    documents[8] = note("eight" * 10)  # too long
    documents[9] = "<Note><Text>nine</Text>"
    documents[10] = None
    documents[11] = note("eleven", stars="256")
    documents[12] = "<Other/>"
    fill(database_url, documents)
    arguments = ["--source", database_url, "--contract", contract_file, "--create-tables"]
    program = run_program(*arguments, folder=tmp_path)
    assert program.process.returncode == 3, program.errors
    counts = program.summary()["documents"]
    assert counts == {
        "read": 100, "loaded": 94, "already_loaded": 0, "quarantined": 5, "skipped": 1, "unfinished": 0,
    }  # fmt: skip
    states = ledger(database_url)
    assert {key for key, state in states.items() if state == "quarantined"} == {"7", "8", "9", "10", "11"}
    assert states["12"] == "skipped"
    again = run_program(*arguments, folder=tmp_path)
    assert again.process.returncode == 3
    assert again.summary()["documents"] == {**counts, "loaded": 0, "already_loaded": 94}

    listed = run_command(
        "quarantine", "list", "--target", database_url, "--contract", contract_file, "--json", folder=tmp_path
    )
    assert listed.returncode in (0, 3), listed.stderr
    reasons = json.dumps(json.loads(listed.stdout))
    for code in ("unique_violation", "too_long", "not_well_formed", "out_of_range"):
        assert code in reasons

    execute(database_url, f"UPDATE app_xml SET body = {quoted(note('seven', ('a', 'b')))} WHERE id = 7")
    contract_file.write_text(CONTRACT.replace("nvarchar(20)", "nvarchar(60)"), encoding="utf-8")
    execute(database_url, *_widened(database_url))
    replayed = run_command(
        "quarantine",
        "replay",
        "--source",
        database_url,
        "--contract",
        contract_file,
        folder=tmp_path,
    )
    assert replayed.returncode == 3, replayed.stderr
    states = ledger(database_url)
    assert {key for key, state in states.items() if state == "quarantined"} == {"9", "10", "11"}
    tables = read_tables(database_url, Contract.read(contract_file).plan)
    assert {row[:2] for row in tables["note"]} >= {(7, "seven"), (8, "eight" * 10)}
    assert sorted(row for row in tables["tag"] if row[0] == 7) == [(7, "a"), (7, "b")]
    assert query(database_url, "SELECT COUNT(*) FROM load_quarantine") == [(3,)]


def _widened(url: str) -> list[str]:
    if dialect_of(url) == "sqlite":
        return []  # it never cuts
    as_type = "TYPE varchar(60)" if dialect_of(url) == "postgresql" else "nvarchar(60) NOT NULL"
    return [f"ALTER TABLE note ALTER COLUMN text {as_type}"]


def test_reload_after_a_change_of_contract(database_url: str, contract_file: Path) -> None:
    fill(database_url, {number: note(f"n{number}", ("a", "b")) for number in range(1, 31)})
    load(database_url, None, Contract.read(contract_file), LoadOptions(create_tables=True))
    changed = Contract.from_text(CONTRACT.replace("{from: Text,", "{from: Text, apply: upper,"), "notes.yaml")
    reported = load(database_url, None, changed, LoadOptions())
    assert reported.documents.already_loaded == 30
    assert reported.loaded_under_another_plan == 30
    assert reported.exit_code == 3
    reloaded = load(database_url, None, changed, LoadOptions(on_plan_change="reload", batch_size=7))
    assert reloaded.documents.loaded == 30
    tables = read_tables(database_url, changed.plan)
    assert sorted(tables["note"]) == [(number, f"N{number}", 1) for number in range(1, 31)]
    assert len(tables["tag"]) == 60
    assert load(database_url, None, changed, LoadOptions()).exit_code == 0


def test_another_source_name_is_refused_unless_it_is_meant(
    database_url: str, contract_file: Path, tmp_path: Path
) -> None:
    fill(database_url, {1: note()})
    arguments = ["--source", database_url, "--contract", contract_file, "--create-tables"]
    assert run_program(*arguments, folder=tmp_path).process.returncode == 0
    contract_file.write_text(CONTRACT.replace("{table:", "{name: other, table:"), encoding="utf-8")
    refused = run_program(*arguments, folder=tmp_path)
    assert refused.process.returncode == 2
    assert "--source-name" in refused.errors


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_rows_that_vanish_or_change_in_mid_run_leave_the_sums_whole(
    executor: str, database_url: str, contract_file: Path
) -> None:
    fill(database_url, {number: note(f"n{number}") for number in range(1, 1001)})
    contract = Contract.read(contract_file)

    def on_start(_: object) -> None:
        execute(database_url, "DELETE FROM app_xml WHERE id > 990")

    summary = load(
        database_url,
        None,
        contract,
        LoadOptions(create_tables=True, executor=executor, batch_size=50),
        on_start=on_start,
    )
    assert summary.documents.read == summary.documents.loaded <= 1000
    assert len(read_tables(database_url, contract.plan)["note"]) == summary.documents.loaded


@pytest.mark.parametrize("keys", ["during", "after"])
def test_integers_and_text_in_one_key_column_are_never_loaded_both(
    keys: str, tmp_path: Path, postgresql_url: str, contract_file: Path
) -> None:
    """Not where they are there from the start, and not where text comes while integers are loaded."""
    contract = Contract.read(contract_file)
    source = f"sqlite:///{(tmp_path / 'source.db').as_posix()}"
    fill(source, {number: note(f"n{number}") for number in range(1, 21)}, key="NOT NULL")

    def on_start(_: object) -> None:
        execute(source, f"INSERT INTO app_xml VALUES ('7', {quoted(note('seven'))})")

    options = LoadOptions(create_tables=True, executor="serial", keys=keys, batch_size=5)
    for told, start in (("has come to hold both integers and text", on_start), ("integer and text", None)):
        with pytest.raises(SourceError, match=told):
            load(source, postgresql_url, contract, options, on_start=start)
    execute(source, "DELETE FROM app_xml WHERE id = '7'", "UPDATE app_xml SET id = CAST(id AS INTEGER)")
    summary = load(source, postgresql_url, contract, options)
    assert summary.exit_code == 0
    assert summary.documents.read == 20
    assert sorted(read_tables(postgresql_url, contract.plan)["note"]) == [
        (number, f"n{number}", 1) for number in range(1, 21)
    ]
    assert ledger(postgresql_url) == {str(number): "loaded" for number in range(1, 21)}
