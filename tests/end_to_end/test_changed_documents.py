"""Documents that change in the source after they were loaded: ignored, reported, replaced."""

from __future__ import annotations

import json
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.notes import BROKEN, CONTRACT, OF_ANOTHER_CONTRACT, Notes, contract, note
from tests.support.program import run_program
from tests.support.tables import dialect_of, execute, ledger_rows_match_tables, query, read_tables
from xml_extractor import Contract
from xml_extractor.cli import main
from xml_extractor.errors import TargetError, UsageError
from xml_extractor.mapping.document_hash import document_hash
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.source.reader import DocumentSlice, SourceReader

Ledger = dict[int, tuple[str, int, bytes | None]]


@pytest.fixture
def notes(tmp_path: Path) -> Notes:
    return Notes(tmp_path)


def ledger(url: str) -> Ledger:
    """Source key → state, load id, hash."""
    rows = query(url, "SELECT source_key, state, load_id, document_hash FROM load_ledger")
    return {int(k): (str(s), int(n), None if h is None else bytes(h)) for k, s, n, h in rows}


def quarantine(url: str) -> dict[int, tuple[str, int, bytes | None]]:
    """Source key → code, load id, hash of what was refused."""
    rows = query(url, "SELECT source_key, code, load_id, document_hash FROM load_quarantine")
    return {int(k): (str(c), int(n), None if h is None else bytes(h)) for k, c, n, h in rows}


def hashed(text: str) -> bytes:
    return document_hash(SourceDocument(1, text))


def fill(notes: Notes, count: int = 20) -> None:
    notes.put({number: note(f"n{number}", number % 4) for number in range(1, count + 1)})


def as_fresh(url: str, notes: Notes, of: Contract | None = None) -> None:
    plan = (of or contract()).plan
    assert read_tables(url, plan) == notes.fresh(of)
    ledger_rows_match_tables(url, plan)


# ------------------------------------------------------------------------------------- what is read


def test_ignore_reads_no_document_that_is_known(
    database_url: str, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(notes)
    notes.load(database_url)
    notes.put({3: note("other"), 21: note("new")})
    fetched: list[int] = []
    slices = SourceReader.slices

    def spy(reader: SourceReader, keys: list[int]) -> Iterator[DocumentSlice]:
        fetched.extend(keys)
        return slices(reader, keys)

    monkeypatch.setattr(SourceReader, "slices", spy)
    summary = notes.load(database_url, drift_sample=0)
    assert fetched == [21]
    assert (summary.documents.loaded, summary.documents.already_loaded, summary.exit_code) == (1, 20, 0)
    fetched.clear()
    assert notes.load(database_url, on_change="report", drift_sample=0).changed == 1
    assert sorted(fetched) == list(range(1, 22))


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_report_counts_what_has_changed_and_writes_nothing(
    database_url: str, notes: Notes, executor: str
) -> None:
    fill(notes)
    notes.put({18: BROKEN, 19: OF_ANOTHER_CONTRACT})
    notes.load(database_url)
    before = read_tables(database_url, contract().plan), ledger(database_url), quarantine(database_url)
    notes.put({2: note("changed"), 5: BROKEN, 18: BROKEN + "!", 19: note("was a letter"), 30: note("new")})
    summary = notes.load(database_url, on_change="report", executor=executor, batch_size=1000)
    assert (summary.documents.read, summary.documents.loaded) == (21, 1)
    assert (summary.documents.already_loaded, summary.documents.quarantined, summary.documents.skipped) == (
        18, 1, 1,
    )  # fmt: skip
    assert (summary.changed, summary.replaced, summary.exit_code) == (4, 0, 3)
    assert sorted(summary.changed_keys) == ["18", "19", "2", "5"]
    assert sorted(summary.to_json()["changed_keys"]) == ["18", "19", "2", "5"]
    assert summary.batches == 1
    execute(
        database_url,
        "DELETE FROM tag WHERE id = 30", "DELETE FROM note WHERE id = 30",
        "DELETE FROM load_ledger WHERE source_key = '30'" if dialect_of(database_url) != "mssql"
        else "DELETE FROM load_ledger WHERE CAST(source_key AS varchar(9)) = '30'",
    )  # fmt: skip
    assert (
        read_tables(database_url, contract().plan), ledger(database_url), quarantine(database_url),
    ) == before  # fmt: skip


def test_a_summary_lists_a_hundred_keys_at_most(database_url: str, notes: Notes) -> None:
    fill(notes, 130)
    notes.load(database_url, batch_size=50)
    notes.put({number: note(f"other {number}") for number in range(1, 121)})
    summary = notes.load(database_url, on_change="report", batch_size=50)
    assert (summary.changed, len(summary.changed_keys)) == (120, 100)
    assert summary.batches == 0


# ----------------------------------------------------------------------------------------- replace


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_after_replace_the_target_equals_a_fresh_load(database_url: str, notes: Notes, executor: str) -> None:
    fill(notes, 60)
    notes.put({50: BROKEN, 51: OF_ANOTHER_CONTRACT, 52: None})
    notes.load(database_url)
    notes.put({
        1: note("fewer rows", 0), 2: note("more rows", 9), 3: OF_ANOTHER_CONTRACT, 50: note("mended"),
        51: note("no letter"), 52: note("no more NULL"), 61: note("new"),
    })  # fmt: skip
    summary = notes.load(database_url, on_change="replace", executor=executor)
    assert (summary.documents.loaded, summary.documents.already_loaded, summary.documents.skipped) == (
        6, 54, 1,
    )  # fmt: skip
    assert (summary.changed, summary.replaced, summary.changed_keys, summary.exit_code) == (6, 3, [], 0)
    as_fresh(database_url, notes)
    found = ledger(database_url)
    assert quarantine(database_url) == {}
    assert {key for key, (_, load_id, _) in found.items() if load_id == 2} == {1, 2, 3, 50, 51, 52, 61}
    assert found[2] == ("loaded", 2, hashed(note("more rows", 9)))
    assert found[3] == ("skipped", 2, hashed(OF_ANOTHER_CONTRACT))
    again = notes.load(database_url, on_change="replace", executor=executor)
    assert (again.documents.loaded, again.changed, again.batches) == (0, 0, 0)
    as_fresh(database_url, notes)


def test_many_changed_documents_are_replaced_in_few_statements(database_url: str, notes: Notes) -> None:
    fill(notes, 1300)
    notes.load(database_url, batch_size=1000)
    notes.put({number: note(f"other {number}", number % 3) for number in range(1, 1301)})
    summary = notes.load(database_url, on_change="replace", batch_size=1000)
    assert (summary.documents.loaded, summary.replaced, summary.batches) == (1300, 1300, 2)
    as_fresh(database_url, notes)


def test_a_broken_new_version_leaves_the_old_one_loaded(database_url: str, notes: Notes) -> None:
    fill(notes)
    notes.load(database_url)
    before, old = read_tables(database_url, contract().plan), ledger(database_url)
    too_long = note("x" * 30)
    notes.put({4: BROKEN, 5: too_long, 6: None, 20: note("good", 5)})
    for run in (2, 3, 4):
        summary = notes.load(database_url, on_change="replace")
        counts = summary.documents
        assert (counts.loaded, counts.already_loaded) == ((1, 16) if run == 2 else (0, 17))
        assert counts.quarantined == 3
        assert summary.exit_code == 3
        assert summary.changed == (4 if run == 2 else 0)
        assert sum(summary.quarantine_reasons.values()) == (3 if run == 2 else 0), "left alone, not tried"
        found = quarantine(database_url)
        assert {key: (load_id, hash_) for key, (_, load_id, hash_) in found.items()} == {
            4: (2, hashed(BROKEN)), 5: (2, hashed(too_long)), 6: (2, None),
        }  # fmt: skip
        now = ledger(database_url)
        assert {key: now[key] for key in old if key != 20} == {key: old[key] for key in old if key != 20}
    tables = read_tables(database_url, contract().plan)
    assert [row for row in tables["note"] if row[0] != 20] == [row for row in before["note"] if row[0] != 20]
    ledger_rows_match_tables(database_url, contract().plan)
    # One goes back to what is loaded, one is mended, and one is broken in another way.
    notes.put({4: note("n4", 0), 5: note("mended"), 6: BROKEN})
    summary = notes.load(database_url, on_change="replace")
    assert (summary.documents.loaded, summary.documents.already_loaded, summary.documents.quarantined) == (
        1, 18, 1,
    )  # fmt: skip
    assert {key: row[2] for key, row in quarantine(database_url).items()} == {6: hashed(BROKEN)}
    assert ledger(database_url)[4] == old[4]
    notes.put({6: note("n6", 2)})
    assert notes.load(database_url, on_change="replace").exit_code == 0
    assert quarantine(database_url) == {}
    as_fresh(database_url, notes)


def test_a_newer_version_in_quarantine_is_told_by_every_command(
    database_url: str, notes: Notes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contract_file = tmp_path / "notes.yaml"
    contract_file.write_text(CONTRACT, encoding="utf-8")
    where = ["--target", database_url]
    both = ["--source", notes.url, "--contract", str(contract_file), *where]
    load = ["load", *both, "--executor", "serial", "--progress", "none"]
    told = "1 document of this source is loaded in an older version, and its newer one is in quarantine"
    in_all = "of these 1 loaded in an older version, the newer one in quarantine"

    def run(*arguments: str) -> tuple[int, str]:
        code = main(list(arguments))
        return int(code), capsys.readouterr().out

    notes.put({1: note("one"), 2: note("two")})
    notes.load(database_url)
    assert run(*load)[0] == 0
    notes.put({2: BROKEN})
    code, said = run(*load, "--on-change", "replace")
    assert (code, told in said) == (3, False), "counted as quarantined, and not twice"
    assert "1 document is in quarantine (not_well_formed 1)" in said
    for flags in ([], ["--dry-run"], ["--on-plan-change", "reload"], ["--app-id-end", "1"]):
        code, said = run(*load, *flags)
        assert (code, said.count(told)) == (3, 1)
        assert "Nothing to do" not in said
    summary = notes.load(database_url)
    assert (summary.newer_in_quarantine, summary.exit_code) == (1, 3)
    assert (summary.documents.already_loaded, summary.documents.quarantined) == (2, 0)
    for on_change in ("report", "replace"):
        again = notes.load(database_url, on_change=on_change)
        assert (again.newer_in_quarantine, again.documents.quarantined, again.exit_code) == (0, 1, 3)
    code, said = run("status", *where)
    assert (code, said.count(in_all)) == (0, 1)
    assert json.loads(run("status", *where, "--json")[1])["newer_in_quarantine"] == 1
    code, said = run("verify", *both)
    assert (code, said.count(in_all), "Clean" in said) == (0, 1, True)
    assert json.loads(run("verify", *both, "--json")[1])["newer_in_quarantine"] == 1
    assert run("quarantine", "list", *where)[0] == 3
    # Another source's quarantine is none of this one's business, and the other way round.
    notes.put({1: note("moved"), 2: note("mended")})
    execute(notes.url, "UPDATE app_xml SET id = id + 100")
    elsewhere = notes.load(database_url, source_name="elsewhere")
    assert (elsewhere.documents.loaded, elsewhere.newer_in_quarantine, elsewhere.exit_code) == (2, 0, 0)
    execute(notes.url, "UPDATE app_xml SET id = id - 100")
    assert notes.load(database_url, source_name="notes").newer_in_quarantine == 1
    assert notes.load(database_url, on_change="replace", source_name="notes").exit_code == 0
    assert notes.load(database_url, source_name="notes").exit_code == 0
    assert "older version" not in run("status", *where)[1]


def test_a_new_version_that_the_target_refuses_leaves_the_old_one_loaded(
    database_url: str, notes: Notes
) -> None:
    fill(notes)
    notes.load(database_url)
    old = ledger(database_url)
    execute(database_url, "CREATE UNIQUE INDEX one_text ON note (text)")
    notes.put({2: note("n9", 7), 3: note("fine")})
    summary = notes.load(database_url, on_change="replace", batch_size=1000)
    assert dict(summary.quarantine_reasons) == {"unique_violation": 1}
    assert (summary.documents.loaded, summary.documents.already_loaded, summary.documents.quarantined) == (
        1, 18, 1,
    )  # fmt: skip
    assert (summary.changed, summary.replaced) == (2, 1)
    assert ledger(database_url)[2] == old[2]
    assert quarantine(database_url) == {2: ("unique_violation", 2, hashed(note("n9", 7)))}
    tables = read_tables(database_url, contract().plan)
    assert (2, "n2", 3) in tables["note"]
    assert (3, "fine", 3) in tables["note"]
    ledger_rows_match_tables(database_url, contract().plan)


def test_what_was_loaded_under_another_plan_is_replaced_only_where_it_changed(
    database_url: str, notes: Notes
) -> None:
    fill(notes)
    notes.put({20: BROKEN})
    notes.load(database_url)
    upper = Contract.from_text(CONTRACT.replace("{from: Text,", "{from: Text, apply: upper,"), "notes.yaml")
    notes.put({1: note("one"), 2: BROKEN, 20: BROKEN})
    reported = notes.load(database_url, upper, on_change="report")
    assert (reported.changed, reported.loaded_under_another_plan) == (2, 19)
    summary = notes.load(database_url, upper, on_change="replace")
    assert (summary.documents.loaded, summary.documents.quarantined) == (1, 2)
    assert summary.loaded_under_another_plan == 17
    rows = read_tables(database_url, upper.plan)["note"]
    assert sorted(row[1] for row in rows)[:3] == ["ONE", "n10", "n11"]
    # What a plan has refused may be taken by another one: it is tried again.
    notes.put({3: note("n3", 3)})
    lower = Contract.from_text(CONTRACT.replace("{from: Text,", "{from: Text, apply: lower,"), "notes.yaml")
    again = notes.load(database_url, lower, on_change="replace")
    assert dict(again.quarantine_reasons) == {"not_well_formed": 1}
    # Everything anew: the broken version has nothing that stays any more.
    both = notes.load(database_url, lower, on_change="replace", on_plan_change="reload")
    assert both.documents.quarantined == 2
    as_fresh(database_url, notes, lower)


def test_further_columns_of_the_source_are_part_of_a_document(database_url: str, notes: Notes) -> None:
    text = CONTRACT.replace('stars: {from: "@stars"', "stars: {from: $source.stars")
    assert text != CONTRACT
    with_column = Contract.from_text(text, "notes.yaml")
    execute(notes.url, "ALTER TABLE app_xml ADD COLUMN stars INTEGER")
    execute(notes.url, *(f"INSERT INTO app_xml VALUES ({n}, '{note('same')}', {n})" for n in range(1, 9)))
    notes.load(database_url, with_column)
    execute(
        notes.url, "UPDATE app_xml SET stars = 5 WHERE id = 3", "UPDATE app_xml SET stars = NULL WHERE id = 4"
    )
    summary = notes.load(database_url, with_column, on_change="replace")
    assert (summary.changed, summary.documents.loaded) == (2, 2)
    as_fresh(database_url, notes, with_column)


def test_a_document_whose_hash_is_not_known_counts_as_changed(database_url: str, notes: Notes) -> None:
    fill(notes)
    notes.load(database_url)
    execute(database_url, "UPDATE load_ledger SET document_hash = NULL")
    assert notes.load(database_url, on_change="report").changed == 20
    assert notes.load(database_url, on_change="replace").replaced == 20
    assert notes.load(database_url, on_change="report").changed == 0
    as_fresh(database_url, notes)


def test_text_and_bytes_of_one_document_are_the_same(database_url: str, notes: Notes) -> None:
    notes.put({1: note("ä€𝄞"), 2: note("ü")})
    notes.load(database_url)
    notes.put({1: note("ä€𝄞").encode(), 2: note("ü").encode("latin-1")})
    summary = notes.load(database_url, on_change="report")
    assert summary.changed_keys == ["2"]


def test_a_limit_does_not_count_documents_that_are_only_looked_at(database_url: str, notes: Notes) -> None:
    fill(notes)
    for loaded in (5, 10, 15, 20):
        summary = notes.load(database_url, on_change="replace", limit=5)
        assert len(ledger(database_url)) == loaded
        assert summary.documents.loaded == 5


def test_a_dry_run_of_replace_changes_nothing(database_url: str, notes: Notes) -> None:
    fill(notes)
    notes.load(database_url)
    before = read_tables(database_url, contract().plan), ledger(database_url), quarantine(database_url)
    notes.put({1: note("other"), 2: BROKEN})
    summary = notes.load(database_url, on_change="replace", dry_run=True)
    assert (summary.documents.loaded, summary.documents.quarantined, summary.changed) == (1, 1, 2)
    assert (
        read_tables(database_url, contract().plan), ledger(database_url), quarantine(database_url),
    ) == before  # fmt: skip


# ---------------------------------------------------------------------------------------- refusals


def test_tables_without_the_source_key_are_refused_at_the_start(database_url: str, notes: Notes) -> None:
    text = CONTRACT.replace(
        "id: {from: $key, type: int}", "id: {from: $key, type: nvarchar(20), apply: upper}"
    )
    unreachable = Contract.from_text(text, "notes.yaml")
    fill(notes)
    notes.load(database_url, unreachable)
    with pytest.raises(UsageError, match=r"cannot be replaced when they change.*note, tag.*on-change report"):
        notes.load(database_url, unreachable, on_change="replace")
    notes.put({1: note("other")})
    assert notes.load(database_url, unreachable, on_change="report").changed == 1


def test_rows_of_somebody_else_are_not_replaced(database_url: str, notes: Notes) -> None:
    fill(notes)
    notes.load(database_url)
    execute(database_url, "INSERT INTO tag (id, place, name) VALUES (1, 77, 'foreign')")
    before = read_tables(database_url, contract().plan), ledger(database_url)
    notes.put({1: note("other"), 2: note("other")})
    with pytest.raises(TargetError, match="tag holds 2 rows of key 1, and 1 were loaded"):
        notes.load(database_url, on_change="replace")
    assert (read_tables(database_url, contract().plan), ledger(database_url)) == before


# ------------------------------------------------------------------------------------ concurrently


def test_two_loaders_at_once_replace_each_document_once(database_url: str, notes: Notes) -> None:
    fill(notes, 200)
    notes.load(database_url)
    notes.put({number: note(f"other {number}", number % 5) for number in range(1, 201)})
    summaries = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            summaries.append(notes.load(database_url, on_change="replace", batch_size=9))
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    assert not errors, errors
    assert sum(summary.documents.loaded for summary in summaries) == 200
    assert sum(summary.replaced for summary in summaries) == 200
    as_fresh(database_url, notes)


@pytest.mark.parametrize(
    "failpoint",
    [
        "old_rows_deleted=kill@2",
        "after_commit=kill@2",
        "old_rows_deleted=lost@2;after_commit=lost@1",
    ],
)
def test_killed_while_it_replaces(database_url: str, notes: Notes, tmp_path: Path, failpoint: str) -> None:
    fill(notes, 40)
    notes.load(database_url)
    notes.put({number: note(f"other {number}", number % 5) for number in range(1, 31)})
    contract_file = tmp_path / "notes.yaml"
    contract_file.write_text(CONTRACT, encoding="utf-8")
    program = run_program(
        "--source", notes.url, "--target", database_url, "--contract", contract_file, "--batch-size", 10,
        "--on-change", "replace", "--executor", "serial",
        folder=tmp_path, extra={"XML_EXTRACTOR_FAILPOINTS": failpoint},
    )  # fmt: skip
    killed = "kill" in failpoint
    assert program.process.returncode == (-signal.SIGKILL if killed else 0), program.errors
    if not killed:
        assert program.summary()["documents"]["loaded"] == program.summary()["replaced"] == 30
    ledger_rows_match_tables(database_url, contract().plan)
    versions = {key: hash_ for key, (_, _, hash_) in ledger(database_url).items()}
    for key, text, _ in read_tables(database_url, contract().plan)["note"]:
        old, new = note(f"n{key}", key % 4), note(f"other {key}", key % 5)
        assert versions[key] == hashed(new if text.startswith("other") else old), "one version, whole"
    notes.load(database_url, on_change="replace")
    as_fresh(database_url, notes)


def test_a_report_that_is_gone_on_with_finds_what_it_had_found(database_url: str, notes: Notes) -> None:
    fill(notes)
    notes.load(database_url)
    notes.put({2: note("changed")})
    assert notes.load(database_url, on_change="report").changed == 1
    execute(database_url, "UPDATE load_runs SET state = 'stopped', finished_at = NULL WHERE load_id = 2")
    summary = notes.load(database_url, on_change="report")
    assert (summary.load_id, summary.changed, summary.exit_code) == (2, 1, 3)
