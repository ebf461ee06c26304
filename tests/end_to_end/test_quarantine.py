"""The quarantine commands: by reason, one, into files, again, and away; none of them loses a document."""

from __future__ import annotations

import json
import os
import stat
import time
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.end_to_end.test_guards import CONTRACT, GOOD, SECRET, run, write_source
from tests.support.fake_engine import FakeEngine
from tests.support.tables import execute, ledger, query
from xml_extractor import LoadOptions, cli_output
from xml_extractor.cli import main
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import FaultKind
from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import Key
from xml_extractor.operations import opening, quarantine, quarantine_purge
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.quarantine import QuarantineFilter, quarantine_pages
from xml_extractor.operations.quarantine_export import file_name
from xml_extractor.target.ledger import DocumentDigests
from xml_extractor.target.timestamps import timestamp

BAD: dict[Key, str] = {
    1: f"<Order quantity='{SECRET}'/>",
    2: f"<Order quantity='{SECRET}{SECRET}'/>",
    3: f"<Order>{SECRET}</Order>",
    4: f"<Order quantity='1'>{SECRET}",
    5: f"<Order\n\n quantity='1'{SECRET}",
    6: GOOD,
    7: "<Invoice/>",
}
REFUSED = {"1", "2", "3", "4", "5"}


class Result(NamedTuple):
    code: int
    out: str
    err: str


Command = Callable[..., Result]


@pytest.fixture
def shop(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Documents of which five are in quarantine, and a function that runs ``quarantine …``."""
    write_source(database_url, BAD)
    run(database_url, database_url)
    (tmp_path / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if name.startswith("XML_EXTRACTOR_"):
            monkeypatch.delenv(name)

    def command(*arguments: str, group: str = "quarantine") -> Result:
        capsys.readouterr()
        given = [group] if group != "quarantine" else [group, arguments[0]]
        rest = arguments if group != "quarantine" else arguments[1:]
        try:
            code = main([*given, "--source", database_url, "--contract", "orders.yaml", *rest])
        except SystemExit as end:
            code = int(end.code or 0)
        found = Result(code, *capsys.readouterr())
        assert "Traceback" not in found.err
        return found

    return command


def keys_in_quarantine(url: str) -> set[str]:
    return {str(key) for (key,) in query(url, "SELECT source_key FROM load_quarantine")}


# ------------------------------------------------------------------------------------------- to look


def test_the_list_is_grouped_by_reason_and_place(shop: Command) -> None:
    found = shop("list")
    assert found.code == 3
    lines = found.out.splitlines()
    assert lines[1].split()[:3] == ["documents", "reason", "stage"]
    assert [line.split()[:3] for line in lines[2:5]] == [
        ["2", "not_convertible", "map"], ["2", "not_well_formed", "parse"], ["1", "required_missing", "map"],
    ]  # fmt: skip
    assert "at line N, column N" in lines[3], "numbers in which messages differ"
    assert "5 documents in quarantine" in found.out
    assert SECRET not in found.out
    data = json.loads(shop("list", "--json").out)
    assert data["total"] == 5
    assert sum(group["documents"] for group in data["reasons"]) == 5
    assert {document["key"] for document in data["documents"]} == REFUSED


def test_documents_are_listed_singly_when_asked(shop: Command) -> None:
    assert len(shop("list", "--each").out.splitlines()) == 7
    found = shop("list", "--code", "not_convertible", "--first", "1")
    assert "… and 1 more (--first 2)" in found.out
    assert [line.split()[0] for line in shop("list", "--key", "3").out.splitlines()[2:]] == ["3"]
    assert json.loads(shop("list", "--stage", "parse", "--json").out)["total"] == 2
    assert json.loads(shop("list", "--older-than", "1", "--json").out)["total"] == 0
    assert "\nNo document with --older-than 1 is in quarantine.\n" in shop("list", "--older-than", "1").out


def test_the_latest_come_first(shop: Command, database_url: str) -> None:
    long_ago = timestamp(datetime.now(UTC) - timedelta(days=40))
    execute(database_url, f"UPDATE load_quarantine SET quarantined_at = '{long_ago}' WHERE source_key = '2'")
    keys = [document["key"] for document in json.loads(shop("list", "--json").out)["documents"]]
    assert keys[-1] == "2"
    assert json.loads(shop("list", "--older-than", "30", "--json").out)["documents"][0]["key"] == "2"
    group = json.loads(shop("list", "--code", "not_convertible", "--json").out)["reasons"][0]
    assert group["first_at"].startswith(long_ago[:10])


def test_show_says_whether_the_source_row_changed(shop: Command, database_url: str) -> None:
    shown = shop("show", "1")
    assert shown.code == 3
    assert "is what was refused" in shown.out
    assert SECRET not in shown.out
    document = json.loads(shop("show", "1", "--json").out)["documents"][0]
    assert len(document["document_hash"]) == 32
    assert SECRET in shop("show", "1", "--document").out
    execute(database_url, f"UPDATE app_xml SET app_xml = '{SECRET}' WHERE app_id = 1")
    assert "has changed since" in shop("show", "1").out
    execute(database_url, "DELETE FROM app_xml WHERE app_id = 1")
    assert "is not there any more" in shop("show", "1").out
    gone = shop("show", "1", "--document")
    assert (gone.code, "no document with key '1' any more" in gone.err) == (2, True)


def test_show_where_the_source_cannot_be_read_or_the_contract_is_another(
    shop: Command, tmp_path: Path
) -> None:
    (tmp_path / "other.yaml").write_text(
        CONTRACT.replace("contract: orders", "contract: x"), encoding="utf-8"
    )
    assert "another contract" in shop("show", "1", "--contract", "other.yaml").out
    asked = shop("show", "1", "--document", "--contract", "other.yaml")
    assert (asked.code, "belongs to contract orders" in asked.err) == (2, True)
    (tmp_path / "none.yaml").write_text(CONTRACT.replace("app_xml, key", "gone, key"), encoding="utf-8")
    assert "not looked at" in shop("show", "1", "--contract", "none.yaml").out
    assert shop("show", "1", "--document", "--contract", "none.yaml").code == 4


# ---------------------------------------------------------------------------------------- into files


def test_reasons_are_exported_without_content(shop: Command, tmp_path: Path) -> None:
    found = shop("export", "refused.jsonl")
    assert found.code == 0
    text = (tmp_path / "refused.jsonl").read_text(encoding="utf-8")
    assert SECRET not in text
    lines = [json.loads(line) for line in text.splitlines()]
    assert {line["key"] for line in lines} == REFUSED
    assert all("file" not in line for line in lines)
    again = shop("export", "refused.jsonl")
    assert (again.code, "nothing is overwritten" in again.err) == (2, True)
    assert shop("export", ".").code == 0, "a folder has a file of a fixed name in it"
    assert len((tmp_path / "quarantine.jsonl").read_text(encoding="utf-8").splitlines()) == 5
    assert shop("export", "nowhere/refused.jsonl").code == 2


def test_documents_are_exported_when_asked(shop: Command, tmp_path: Path, database_url: str) -> None:
    execute(database_url, "DELETE FROM app_xml WHERE app_id = 3")
    execute(database_url, "UPDATE app_xml SET app_xml = '<new/>' WHERE app_id = 4")
    data = json.loads(shop("export", "refused.jsonl", "--documents", "docs", "--json").out)
    assert (data["exported"], data["documents"], data["missing"], data["changed"]) == (5, 4, 1, 1)
    files = {path.name: path.read_text(encoding="utf-8") for path in (tmp_path / "docs").iterdir()}
    assert files == {"1.xml": BAD[1], "2.xml": BAD[2], "4.xml": "<new/>", "5.xml": BAD[5]}
    lines = map(json.loads, (tmp_path / "refused.jsonl").read_text(encoding="utf-8").splitlines())
    assert {line["key"]: line["file"] for line in lines} == {
        "1": "1.xml", "2": "2.xml", "3": None, "4": "4.xml", "5": "5.xml",
    }  # fmt: skip
    if os.name == "posix":
        for path in (tmp_path / "docs").iterdir():
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
    refused = shop("export", "second.jsonl", "--documents", "docs")
    assert (refused.code, "not empty" in refused.err) == (2, True)


def test_the_names_of_files_are_harmless_and_of_one_document_each() -> None:
    keys: list[Key] = [5, "5", "../../etc/passwd", "CON", "con", "ä/ö", "", "a" * 300, "-x", ".", "x\ny"]
    names = [file_name(key, bytes([number]) * 16) for number, key in enumerate(keys)]
    assert len({name.lower() for name in names}) == len(keys)
    for name in names:
        assert len(name) < 130
        assert set("/\\\n:").isdisjoint(name)
        assert name not in (".xml", "con.xml")
        assert not name.startswith(".")


# -------------------------------------------------------------------------------------------- again


def test_replay_by_reason_and_key_and_all(shop: Command, database_url: str) -> None:
    execute(database_url, f"UPDATE app_xml SET app_xml = '{GOOD.replace(chr(39), chr(34))}'")
    for arguments, left in (
        (["--key", "1"], REFUSED - {"1"}),
        (["--stage", "parse"], {"2", "3"}),
        (["--code", "required_missing"], {"2"}),
        ([], set()),
    ):
        assert shop("replay", *arguments, "--progress", "none").code == 0
        states = ledger(database_url)
        assert {key for key, state in states.items() if state == "quarantined"} == left
        assert keys_in_quarantine(database_url) == left
    assert len(query(database_url, "SELECT * FROM orders")) == 6


def test_replay_goes_page_by_page_and_meets_each_document_once(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shop: Command
) -> None:
    monkeypatch.setattr(quarantine, "PAGE_DOCUMENTS", 2)
    documents = json.loads(shop("replay", "--json", "--progress", "none").out)["documents"]
    assert (documents["read"], documents["quarantined"]) == (5, 5), "they are refused again, each once"
    assert len(query(database_url, "SELECT * FROM load_quarantine")) == 5


def test_a_replay_is_not_guarded(shop: Command) -> None:
    assert "--max-drift" in shop("list", "--help").out + shop("--help", group="load").out
    assert shop("replay", "--max-quarantined", "0").code == 2


def test_a_newer_version_in_quarantine_replaces_the_loaded_one_once_mended(
    shop: Command, database_url: str
) -> None:
    execute(database_url, "UPDATE app_xml SET app_xml = '<Order quantity=\"x\"/>' WHERE app_id = 6")
    summary = run(database_url, database_url, on_change="replace")
    assert ledger(database_url)["6"] == "loaded"
    assert summary.quarantine_reasons["not_convertible"] == 1
    document = json.loads(shop("show", "6", "--json").out)["documents"][0]
    assert document["is_newer_version"] is True
    assert shop("replay", "--key", "6", "--progress", "none").code == 3
    assert query(database_url, "SELECT quantity FROM orders WHERE order_id = '6'") == [(5,)], "it stays"
    execute(database_url, "UPDATE app_xml SET app_xml = '<Order quantity=\"9\"/>' WHERE app_id = 6")
    assert shop("replay", "--key", "6", "--progress", "none").code == 0
    assert query(database_url, "SELECT quantity FROM orders") == [(9,)]
    assert "6" not in keys_in_quarantine(database_url)


# --------------------------------------------------------------------------------------------- away


def test_purged_documents_are_skipped_from_then_on(shop: Command, database_url: str) -> None:
    asked = shop("purge", "--code", "not_convertible")
    assert (asked.code, "add --yes" in asked.err) == (2, True)
    assert len(query(database_url, "SELECT * FROM load_quarantine")) == 5, "nothing was purged"
    done = shop("purge", "--code", "not_convertible", "--yes")
    assert (done.code, "2 documents purged" in done.out) == (0, True)
    states = ledger(database_url)
    assert {states[key] for key in ("1", "2")} == {"skipped"}
    assert {states[key] for key in ("3", "4", "5")} == {"quarantined"}
    assert keys_in_quarantine(database_url) == {
        "3",
        "4",
        "5",
    }
    execute(database_url, "UPDATE app_xml SET app_xml = '<Order quantity=\"9\"/>'")
    summary = run(database_url, database_url)
    assert (summary.documents.loaded, summary.documents.skipped) == (0, 3), "left alone"
    assert len(ledger(database_url)) == len(BAD), "each source document is accounted for"


def test_purged_documents_can_be_made_pending(shop: Command, database_url: str) -> None:
    assert json.loads(shop("purge", "--stage", "parse", "--pending", "--yes", "--json").out) == {
        "purged": 2, "skipped": 0, "pending": 2, "loaded": 0,
    }  # fmt: skip
    assert {"4", "5"}.isdisjoint(ledger(database_url))
    execute(database_url, "UPDATE app_xml SET app_xml = '<Order quantity=\"9\"/>'")
    assert run(database_url, database_url).documents.loaded == 2
    assert {ledger(database_url)[key] for key in ("4", "5")} == {"loaded"}


def test_what_becomes_pending_is_found_by_a_load_that_is_resumed(database_url: str) -> None:
    """Ranges of keys that the interrupted load has finished must not hide it."""
    write_source(database_url, {key: GOOD if key % 10 else "<bad" for key in range(1, 1_201)})
    run(database_url, database_url, limit=600, batch_size=50)
    execute(database_url, "UPDATE load_runs SET state = 'stopped', finished_at = NULL")
    result = quarantine_purge.purge(
        database_url, LoadOptions(), QuarantineFilter(code="not_well_formed"), make_pending=True
    )
    assert result.pending == 60
    execute(database_url, f"UPDATE app_xml SET app_xml = '{GOOD.replace(chr(39), chr(34))}'")
    summary = run(database_url, database_url)
    assert summary.load_id == 1
    assert summary.documents.loaded == 660
    assert set(ledger(database_url).values()) == {"loaded"}
    assert len(query(database_url, "SELECT * FROM orders")) == 1_200


def test_a_newer_version_is_purged_and_the_loaded_one_stays(shop: Command, database_url: str) -> None:
    execute(database_url, "UPDATE app_xml SET app_xml = '<Order quantity=\"x\"/>' WHERE app_id = 6")
    run(database_url, database_url, on_change="replace")
    for pending in ([], ["--pending"]):
        run(database_url, database_url, on_change="replace")
        done = shop("purge", "--key", "6", "--yes", *pending)
        assert "older version is loaded" in done.out
        assert ledger(database_url)["6"] == "loaded"
        assert query(database_url, "SELECT quantity FROM orders") == [(5,)]
        assert "6" not in keys_in_quarantine(database_url)


def test_a_terminal_is_asked(shop: Command, database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    questions: list[str] = []
    answers = [False, True]

    def confirm(self: cli_output.Output, question: str) -> bool | None:
        questions.append(question)
        return answers.pop(0)

    monkeypatch.setattr(cli_output.Output, "confirm", confirm)
    declined = shop("purge", "--key", "3")
    assert (declined.code, "Nothing was purged" in declined.err) == (0, True)
    assert len(ledger(database_url)) == 7
    assert "3" in keys_in_quarantine(database_url)
    assert shop("purge", "--key", "3").code == 0
    assert ledger(database_url)["3"] == "skipped"
    assert "Take 1 document with --key 3 out of quarantine" in questions[0]
    assert "leaves them alone" in questions[0]


def test_nothing_to_purge_is_said(shop: Command) -> None:
    found = shop("purge", "--code", "nix", "--yes")
    assert (found.code, found.out) == (0, "No document with --code nix is in quarantine.\n")


def test_a_document_that_a_replay_has_settled_meanwhile_is_left_alone(
    shop: Command, database_url: str
) -> None:
    with Bookkeeping(database_url) as bookkeeping:
        pages = list(quarantine_pages(bookkeeping.ask, QuarantineFilter()))
    execute(database_url, "UPDATE app_xml SET app_xml = '<Order quantity=\"9\"/>' WHERE app_id = 1")
    assert shop("replay", "--key", "1", "--progress", "none").code == 0
    session = opening.target_engine(database_url, LoadOptions()).connect(write=True, application="tests")
    try:
        for make_pending in (False, True):
            stale = {("shop", "orders"): [each for page in pages for each in page if each.key == "1"]}
            assert quarantine_purge._purge_batch(session, stale, 99, make_pending=make_pending) == []
    finally:
        session.close()
    assert ledger(database_url)["1"] == "loaded"


@pytest.mark.parametrize("make_pending", [False, True])
def test_a_purge_locks_what_it_changes_in_the_order_of_all_others(
    postgresql_url: str, make_pending: bool
) -> None:
    """Ledger rows first, in the order of the keys: while it waits for the first, it holds nothing that
    whoever has that may want next."""
    keys = [f"k{number}" for number in range(1, 6)]
    digests = DocumentDigests("shop", "orders")
    assert min(map(digests.digest, keys)) != digests.digest(keys[0]), "else their order would not show"
    write_source(postgresql_url, dict.fromkeys(keys, "<Order"))
    run(postgresql_url, postgresql_url)
    engine = open_engine(postgresql_url)
    replay = engine.connect(write=True, application="replay")
    replay.begin()
    assert replay.execute("UPDATE load_ledger SET batch = batch WHERE source_key = 'k1'") == 1
    with ThreadPoolExecutor(1) as threads:
        try:
            purged = threads.submit(
                quarantine_purge.purge, postgresql_url, LoadOptions(), QuarantineFilter(),
                make_pending=make_pending,
            )  # fmt: skip
            deadline = time.monotonic() + 30
            while not query(postgresql_url, "SELECT 1 FROM pg_locks WHERE NOT granted"):
                assert time.monotonic() < deadline
                time.sleep(0.01)
            for table in ("load_ledger", "load_runs", "load_quarantine"):
                assert replay.query(f"SELECT 1 FROM {table} FOR UPDATE NOWAIT")
        finally:
            replay.rollback()
            replay.close()
        assert purged.result(60).documents == 5
    assert ledger(postgresql_url) == ({} if make_pending else dict.fromkeys(keys, "skipped"))


@pytest.mark.parametrize("make_pending", [False, True])
def test_a_purge_whose_answer_is_lost_counts_right_and_one_that_is_cut_off_goes_on(
    shop: Command, database_url: str, monkeypatch: pytest.MonkeyPatch, make_pending: bool
) -> None:
    monkeypatch.setattr(quarantine, "PAGE_DOCUMENTS", 2)
    engine = FakeEngine(open_engine(database_url))
    monkeypatch.setattr(opening, "target_engine", lambda url, options: engine)
    engine.fail_once("commit", FaultKind.DISCONNECTED, after=True)
    seen: list[int] = []

    def stop_after_two(result: quarantine_purge.PurgeResult) -> None:
        seen.append(result.documents)
        if len(seen) == 2:
            raise KeyboardInterrupt

    wanted = QuarantineFilter()
    with pytest.raises(KeyboardInterrupt):
        quarantine_purge.purge(
            database_url, LoadOptions(), wanted, make_pending=make_pending, on_batch=stop_after_two
        )
    assert seen == [2, 4]
    left = query(database_url, "SELECT source_key FROM load_quarantine")
    states = ledger(database_url)
    assert len(left) == 1
    assert [key for key, state in states.items() if state == "quarantined"] == [left[0][0]]
    rest = quarantine_purge.purge(database_url, LoadOptions(), wanted, make_pending=make_pending)
    assert rest.documents == 1
    assert query(database_url, "SELECT source_key FROM load_quarantine") == []


# -------------------------------------------------------------------------------------------- size


def test_many_documents_are_listed_and_exported_in_little_memory(sqlite_url: str, tmp_path: Path) -> None:
    write_source(sqlite_url, {1: "<bad"})
    run(sqlite_url, sqlite_url)
    number = 20_000
    keys = (
        f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {number}) "
        "SELECT CAST(printf('%016d', i) AS BLOB), 'k' || i"
    )
    for table, columns in (
        ("load_ledger", "state, load_id, batch, document_hash, row_counts, committed_at"),
        (
            "load_quarantine",
            "load_id, stage, code, message, table_name, column_name, path, quarantined_at, document_hash",
        ),
    ):
        execute(
            sqlite_url,
            f"INSERT INTO {table} (digest, source_key, {columns}) {keys}, {columns} "
            f"FROM n, (SELECT {columns} FROM {table} WHERE source_key = '1')",
        )
    with Bookkeeping(sqlite_url) as bookkeeping:
        tracemalloc.start()
        assert len(quarantine.list_quarantined(bookkeeping.ask, QuarantineFilter(), 100)) == 100
        assert quarantine.quarantine_groups(bookkeeping.ask, QuarantineFilter())[0].documents == number + 1
        assert sum(map(len, quarantine_pages(bookkeeping.ask, QuarantineFilter()))) == number + 1
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 10 * 2**20, f"{peak / 2**20:.1f} MiB"


def test_keys_are_named_to_the_letter_and_not_without_end() -> None:
    with pytest.raises(UsageError, match="at most 1,000"):
        QuarantineFilter(keys=tuple(map(str, range(1_001))))
