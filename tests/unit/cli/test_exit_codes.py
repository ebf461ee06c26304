"""Exit codes, what goes to which stream, and no traceback; in this process, and as the real program."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support.program import CHECKOUT, environment, run_command
from xml_extractor import settings
from xml_extractor.cli import main

CONTRACT = """\
contract: orders
version: 1
source: {name: shop, table: app_xml, key: order_id, document: app_xml}
document: {root: Order}
stage: {record: Order, key: "@id"}
tables:
  orders:
    primary_key: [order_id]
    columns:
      order_id: {from: $key, type: int}
      quantity: {from: "@quantity", type: int, required: true}
"""
DUMP = """\
<Orders><Order id='1' quantity='5'/><Order id='2' quantity='many'/><Order id='3' quantity='7'/></Orders>
"""
SOURCE = ("--source", "sqlite:///shop.db", "--contract", "orders.yaml")
NOWHERE = "postgresql://nobody:hunter2@127.0.0.1:1/none"


class Result(NamedTuple):
    returncode: int
    stdout: str
    stderr: str


class Folder:
    """A working directory in which commands run, in this process, without this process's settings."""

    def __init__(
        self, path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        self.path = path
        self._monkeypatch = monkeypatch
        self._capsys = capsys

    def __truediv__(self, name: str) -> Path:
        return self.path / name

    def run(self, *arguments: str, **extra: str) -> Result:
        with self._monkeypatch.context() as patch:
            for name in list(os.environ):
                if name.startswith("XML_EXTRACTOR_"):
                    patch.delenv(name)
            for name, value in extra.items():
                patch.setenv(name, value)
            patch.chdir(self.path)
            self._capsys.readouterr()
            try:
                code = main(arguments)
            except SystemExit as end:  # argparse
                code = int(end.code or 0)
        return Result(code, *self._capsys.readouterr())


@pytest.fixture
def empty(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Folder:
    return Folder(tmp_path, monkeypatch, capsys)


@pytest.fixture
def shop(empty: Folder) -> Folder:
    (empty / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    (empty / "orders.xml").write_text(DUMP, encoding="utf-8")
    return empty


def run(folder: Folder, *arguments: str, **extra: str) -> Result:
    found = folder.run(*arguments, **extra)
    assert "Traceback" not in found.stderr + found.stdout
    return found


def expect(code: int, folder: Folder, *arguments: str, **extra: str) -> Result:
    found = run(folder, *arguments, **extra)
    assert found.returncode == code, found.stderr + found.stdout
    return found


def expect_error(code: int, text: str, folder: Folder, *arguments: str, **extra: str) -> None:
    found = expect(code, folder, *arguments, **extra)
    errors = [line for line in found.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1, found.stderr
    assert text in found.stderr
    assert found.stdout == ""


def stage(folder: Folder) -> None:
    expect(0, folder, "stage", *SOURCE, "orders.xml")


def load(code: int, folder: Folder, *arguments: str) -> Result:
    return expect(code, folder, "load", *SOURCE, "--create-tables", *arguments)


# ---------------------------------------------------------------------------------------- usage: 2


def test_no_command_and_unknown_flags_are_usage_errors(empty: Folder) -> None:
    assert run(empty).returncode == 2
    assert run(empty, "load", "--wrokers", "3").returncode == 2
    assert run(empty, "load", "--work", "3").returncode == 2, (
        "no abbreviations: they break when flags are added"
    )


def test_an_unknown_flag_is_named_but_not_its_value(empty: Folder) -> None:
    found = expect(2, empty, "load", "--wrokers", "3")
    assert "unknown: --wrokers (did you mean --workers?)" in found.stderr
    assert "--batch-size" in found.stderr, "the usage is the command's own"
    for given in (["--source-password", "hunter2"], ["--source-password=hunter2"]):
        found = expect(2, empty, "load", *given)
        assert "hunter2" not in found.stderr
        assert "--source-password-file" in found.stderr
    assert "'extra'" in expect(2, empty, "status", "extra").stderr


def test_help_is_no_error(empty: Folder) -> None:
    for arguments in (["--help"], ["load", "--help"], ["contract", "ddl", "--help"], ["--version"]):
        assert expect(0, empty, *arguments).stderr == ""


def test_a_wrong_setting(empty: Folder) -> None:
    expect_error(2, "--workers: '0' is not allowed", empty, "load", "--workers", "0")
    expect_error(2, "XML_EXTRACTOR_WORKERS", empty, "load", XML_EXTRACTOR_WORKERS="many")


def test_a_wrong_url_does_not_show_its_password(empty: Folder) -> None:
    for url in ("oracle://u:hunter2@h/d", "postgresql://u:hunter2@h:x/d", "hunter2"):
        found = expect(2, empty, "status", "--target", url)
        assert "hunter2" not in found.stderr
        assert "--target: " in found.stderr
    found = expect(
        2, empty, "load", "--target", "null:", XML_EXTRACTOR_SOURCE="postgresql://u:pass@hunter2@h/d"
    )
    assert "--source: " in found.stderr
    assert "hunter2" not in found.stderr


def test_a_contract_that_is_not_there(empty: Folder) -> None:
    expect_error(2, "no such file", empty, "load", "--contract", "gone.yaml", "--target", "null:")
    expect_error(2, "contract gone.yaml: no such file", empty, "contract", "check", "gone.yaml")
    (empty / "folder").mkdir()
    expect_error(2, "it is a folder", empty, "contract", "check", "folder")


def test_a_summary_that_cannot_be_written_is_found_before_the_load(shop: Folder) -> None:
    stage(shop)
    arguments = ("load", *SOURCE, "--create-tables", "--summary")
    expect_error(2, "is a folder", shop, *arguments, ".")
    expect_error(2, "orders.xml is a file", shop, *arguments, "orders.xml/summary.json")
    expect(2, shop, "status", *SOURCE[:2])  # nothing was loaded


def test_the_sample_is_not_for_contracts_of_other_documents(
    shop: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    expect_error(2, "is not for the loan applications", shop, "sample", *SOURCE)
    monkeypatch.setattr(settings, "checkout", lambda: None)  # the embedded default is the folder's
    found = expect(2, shop, "load", "--contract", "orders.yaml")
    assert "has no app_xml, and contract orders is not for the loan applications" in found.stderr
    stage_here = ("stage", "--contract", "orders.yaml", "orders.xml")
    expect(0, shop, *stage_here)
    expect(3, shop, "load", "--contract", "orders.yaml")


def test_all_mistakes_of_a_contract_are_listed(empty: Folder) -> None:
    (empty / "bad.yaml").write_text(
        CONTRACT.replace("type: int}", "type: imt}").replace("version: 1", "version: one"), encoding="utf-8"
    )
    found = expect(2, empty, "contract", "check", "bad.yaml")
    assert found.stdout.count("bad.yaml:") >= 2
    data = json.loads(expect(2, empty, "contract", "check", "bad.yaml", "--json").stdout)
    assert len(data["mistakes"]) >= 2
    assert (
        expect(2, empty, "load", "--contract", "bad.yaml", "--target", "null:").stderr.count("bad.yaml:") >= 2
    )


def test_a_good_contract(shop: Folder) -> None:
    assert "is well: 1 table, 2 columns\n" in expect(0, shop, "contract", "check", "orders.yaml").stdout
    data = json.loads(expect(0, shop, "contract", "check", "orders.yaml", "--json").stdout)
    assert data["tables"] == {"orders": 2}
    assert data["mistakes"] == []


@pytest.mark.parametrize("dialect", ["sqlite", "postgresql"])
def test_ddl(dialect: str, shop: Folder) -> None:
    text = expect(0, shop, "contract", "ddl", "orders.yaml", "--dialect", dialect).stdout
    assert "orders" in text
    assert "load_ledger" in text
    data = json.loads(
        expect(0, shop, "contract", "ddl", "orders.yaml", "--dialect", dialect, "--json").stdout
    )
    assert len(data["statements"]) >= 5
    if dialect == "sqlite":
        sqlite3.connect(":memory:").executescript(text)


def test_ddl_for_no_such_engine(shop: Folder) -> None:
    for name in ("oracle", "sqlserver"):
        told = f"--dialect {name!r}: this version writes SQL for mssql, postgresql, sqlite"
        expect_error(2, told, shop, "contract", "ddl", "orders.yaml", "--dialect", name)


def test_ddl_in_a_schema(shop: Folder) -> None:
    ddl = ("contract", "ddl", "orders.yaml", "--dialect")
    assert "CREATE TABLE [bill].[orders]" in expect(0, shop, *ddl, "mssql", "--schema", "bill").stdout
    told = expect(0, shop, *ddl, "postgresql", XML_EXTRACTOR_TARGET_SCHEMA="bill").stdout
    assert 'CREATE TABLE "bill"."orders"' in told
    assert 'CREATE TABLE "bill"."load_ledger"' in told
    expect_error(2, "SQLite has no schemas", shop, *ddl, "sqlite", "--schema", "bill")


def test_the_schema_is_json(empty: Folder) -> None:
    assert json.loads(expect(0, empty, "contract", "schema").stdout)["properties"].keys() >= {
        "tables",
        "source",
    }


def test_missing_tables(shop: Folder) -> None:
    stage(shop)
    expect_error(2, "contract ddl", shop, "load", *SOURCE)


def test_status_and_quarantine_where_nothing_was_loaded(shop: Folder) -> None:
    stage(shop)
    expect_error(2, "nothing was loaded into it yet", shop, "status", "--target", "sqlite:///shop.db")
    expect_error(2, "nothing was loaded into it yet", shop, "quarantine", "list", *SOURCE)
    expect_error(2, "keeps no ledger", shop, "status", "--target", "null:")


# ------------------------------------------------------------------------- source: 4, target: 5


def test_a_source_that_is_not_there(shop: Folder) -> None:
    expect_error(4, "error: ", shop, "load", *SOURCE, "--target", "null:")
    arguments = ("--source", NOWHERE, "--contract", "orders.yaml", "--target", "null:")
    expect_error(4, "error: ", shop, "load", *arguments)


def test_a_source_that_is_not_there_is_found_before_anything_is_created(shop: Folder) -> None:
    before = sorted(path.name for path in shop.path.iterdir())
    missing = ("load", "--source", "sqlite:///typo.db", "--contract", "orders.yaml", "--create-tables")
    for more in ([], ["--dry-run"], ["--target", "sqlite:///other.db"], ["--target", "jsonl:out"]):
        expect_error(4, "there is no file", shop, *missing, *more)
    empty_file = shop / "empty.db"
    empty_file.touch()
    arguments = ("--source", "sqlite:///empty.db", "--contract", "orders.yaml", "--create-tables")
    expect_error(4, "app_xml", shop, "load", *arguments)
    assert empty_file.stat().st_size == 0, "the source, which is the target too, is untouched"
    empty_file.unlink()
    assert sorted(path.name for path in shop.path.iterdir()) == before


def test_an_existing_target_is_untouched_where_the_source_is_not_there(shop: Folder) -> None:
    target = shop / "target.db"
    with sqlite3.connect(target) as connection:
        connection.execute("CREATE TABLE other (id INTEGER)")
    connection.close()
    content = target.read_bytes()
    arguments = ("--source", "sqlite:///typo.db", "--contract", "orders.yaml", "--create-tables")
    expect_error(4, "there is no file", shop, "load", *arguments, "--target", "sqlite:///target.db")
    assert target.read_bytes() == content


def test_a_source_that_is_the_target_too_fails_as_the_source(shop: Folder) -> None:
    arguments = ("--source", NOWHERE, "--contract", "orders.yaml", "--retry-seconds", "0")
    expect_error(4, "are right (--source, or --server", shop, "load", *arguments)
    expect_error(4, "are right (--source, or --server", shop, "quarantine", "replay", *arguments)
    assert not (shop / "typo.db").exists()
    missing = ("--source", "sqlite:///typo.db", "--contract", "orders.yaml")
    expect_error(4, "there is no file", shop, "quarantine", "replay", *missing)


def test_what_cannot_be_opened_is_told_once_with_one_way_out(shop: Folder) -> None:
    found = expect(4, shop, "load", *SOURCE)
    assert found.stderr.count("correct the URL") == 1
    assert "server" not in found.stderr
    stage(shop)
    there = ("load", *SOURCE, "--retry-seconds", "0", "--target")
    found = expect(5, shop, *there, NOWHERE)
    assert found.stderr.count("PostgreSQL database none on 127.0.0.1:1") == 1
    assert "--source where no target is named" in found.stderr
    found = expect(5, shop, *there, "sqlite:///no/such/folder.db", "--create-tables")
    assert found.stderr.count("correct the URL") == 1


def test_a_target_that_is_not_there(shop: Folder) -> None:
    stage(shop)
    expect_error(5, "error: ", shop, "load", *SOURCE, "--target", NOWHERE)
    expect_error(5, "error: ", shop, "status", "--target", NOWHERE)


# ------------------------------------------------------------------- the whole way, and exit code 3


def test_from_files_to_quarantine_and_back(shop: Folder) -> None:
    staged = json.loads(expect(0, shop, "stage", *SOURCE, "orders.xml", "--json").stdout)
    assert (staged["staged"], staged["documents"]) == (3, 3)
    again = expect(0, shop, "stage", *SOURCE, "orders.xml").stdout
    assert "3 were there already" in again

    summary = json.loads(load(3, shop, "--json").stdout)
    assert summary["documents"] == {
        "read": 3, "loaded": 2, "already_loaded": 0, "quarantined": 1, "skipped": 0, "unfinished": 0,
    }  # fmt: skip
    assert summary["rows"] == {"orders": 2}
    assert summary["exit_code"] == 3
    assert summary["insert_ms"]["count"] >= 1
    assert summary["worker_time"].keys() == {"parse", "map", "blocked", "idle"}

    rerun = load(3, shop)
    assert "Nothing new to load" in rerun.stdout
    assert "1 document is in quarantine" in rerun.stdout

    listed = expect(3, shop, "quarantine", "list", *SOURCE).stdout
    assert "many" not in listed, "a value of the document"
    assert listed.startswith(f"SQLite file {shop / 'shop.db'}\n"), "another database has other documents"
    data = json.loads(expect(3, shop, "quarantine", "list", *SOURCE, "--json").stdout)
    (document,) = data["documents"]
    assert (document["key"], document["stage"], document["table"], document["column"]) == (
        "2", "map", "orders", "quantity",
    )  # fmt: skip
    other = expect(0, shop, "quarantine", "list", *SOURCE, "--code", "other").stdout
    assert other.splitlines()[1].startswith("No document")

    shown = expect(3, shop, "quarantine", "show", "2", *SOURCE).stdout
    assert document["code"] in shown
    assert "many" not in shown
    assert "many" in expect(3, shop, "quarantine", "show", "2", "--document", *SOURCE).stdout
    expect_error(2, "is in quarantine", shop, "quarantine", "show", "1", *SOURCE)

    status = json.loads(expect(0, shop, "status", "--target", "sqlite:///shop.db", "--json").stdout)
    assert status["documents"] == {"loaded": 2, "quarantined": 1, "skipped": 0}
    assert status["quarantine_reasons"] == {document["code"]: 1}
    assert "finished" in expect(0, shop, "status", "--target", "sqlite:///shop.db").stdout

    # Not mended yet: replayed, and refused again.
    replayed = json.loads(expect(3, shop, "quarantine", "replay", *SOURCE, "--json").stdout)
    assert (replayed["documents"]["read"], replayed["documents"]["quarantined"]) == (1, 1)
    with sqlite3.connect(shop / "shop.db") as connection:
        connection.execute("UPDATE app_xml SET app_xml = replace(app_xml, 'many', '6') WHERE order_id = 2")
    connection.close()
    replayed = json.loads(expect(0, shop, "quarantine", "replay", *SOURCE, "--json").stdout)
    assert replayed["documents"]["loaded"] == 1
    assert "No document" in expect(0, shop, "quarantine", "list", *SOURCE).stdout
    expect(0, shop, "quarantine", "replay", *SOURCE)
    assert "Nothing to do: all 3" in load(0, shop).stdout
    with sqlite3.connect(shop / "shop.db") as connection:
        rows = connection.execute("SELECT * FROM orders ORDER BY 1").fetchall()
    connection.close()
    assert rows == [(1, 5), (2, 6), (3, 7)]


def test_a_load_that_was_killed_is_not_said_to_be_running(shop: Folder) -> None:
    stage(shop)
    load(3, shop)
    with sqlite3.connect(shop / "shop.db") as connection:  # what kill -9 leaves behind
        connection.execute("UPDATE load_runs SET state = 'running', finished_at = NULL")
    connection.close()
    told = expect(0, shop, "status", "--target", "sqlite:///shop.db").stdout
    assert "running, or interrupted" in told
    assert "the next run of the same command resumes it" in told
    load(3, shop)
    assert "interrupted" not in expect(0, shop, "status", "--target", "sqlite:///shop.db").stdout


def test_null_maps_and_says_that_it_wrote_nothing(shop: Folder) -> None:
    stage(shop)
    assert expect(3, shop, "load", *SOURCE, "--target", "null:").stdout.startswith("Mapped 2 documents")


def test_a_key_range_by_text_where_keys_are_numbers(shop: Folder) -> None:
    stage(shop)
    summary = json.loads(load(0, shop, "--json", "--app-id-start", "3", "--app-id-end", "30").stdout)
    assert summary["documents"]["read"] == 1
    expect_error(2, "whole numbers", shop, "load", *SOURCE, "--create-tables", "--app-id-start", "x")
    between = ("--app-id-start", "10", "--app-id-end", "9")
    expect_error(2, "--app-id-start 10 comes after --app-id-end 9", shop, "load", *SOURCE, *between)


def test_what_no_quarantined_document_answers_to_is_not_said_of_all(shop: Folder) -> None:
    stage(shop)
    load(3, shop)
    found = expect(0, shop, "quarantine", "list", *SOURCE, "--code", "nix", "--key", "2")
    assert found.stdout.splitlines()[1:] == ["No document with --code nix --key 2 is in quarantine."]
    found = expect(0, shop, "quarantine", "replay", *SOURCE, "--code", "nix", "--progress", "none")
    assert found.stdout == ""
    assert "Nothing to replay: no document of shop with --code nix is in quarantine" in found.stderr
    for wrong in (["--stage", "nix"], ["--first", "0"], ["--first", "-3"], ["--first", "x"]):
        expect(2, shop, "quarantine", "list", *SOURCE, *wrong)


def test_staging_what_differs_wants_a_look(shop: Folder) -> None:
    stage(shop)
    (shop / "orders.xml").write_text(DUMP.replace("many", "6"), encoding="utf-8")
    assert "other content" in expect(3, shop, "stage", *SOURCE, "orders.xml").stdout


def test_a_folder_with_damaged_files_is_staged_without_them(shop: Folder) -> None:
    (shop / "in").mkdir()
    (shop / "in" / "a.xml").write_text("<stray/>", encoding="utf-8")
    (shop / "in" / "b.xml").write_text(DUMP, encoding="utf-8")
    found = expect(3, shop, "stage", *SOURCE, "in")
    assert "3 of 3 documents from 2 files staged" in found.stdout
    assert "1 file could not be staged, or not to its end:" in found.stdout
    name = str(Path("in") / "a.xml")
    assert f"\n  {name}: holds no element Order (its root element is stray)" in found.stdout
    data = json.loads(expect(3, shop, "stage", *SOURCE, "in", "--json").stdout)
    assert (data["files_refused"], data["refused_files"][0]["file"]) == (1, name)
    expect_error(4, "a.xml holds no element Order", shop, "stage", *SOURCE, str(Path("in") / "a.xml"))


def test_the_summary_file_and_the_settings_in_it(shop: Folder) -> None:
    stage(shop)
    load(3, shop, "--summary", "out/summary.json", "--workers", "2")
    data: dict[str, Any] = json.loads((shop / "out" / "summary.json").read_text(encoding="utf-8"))
    assert data["settings"]["workers"] == 2
    assert data["settings"]["source"] == "sqlite:///shop.db"
    assert data["settings"]["create_tables"] is True


def test_a_failed_load_leaves_a_summary_too(shop: Folder) -> None:
    stage(shop)
    with sqlite3.connect(shop / "shop.db") as connection:
        connection.execute("ALTER TABLE app_xml RENAME TO other")
    connection.close()
    found = expect(4, shop, "load", *SOURCE, "--create-tables", "--summary", "summary.json")
    assert found.stderr.count("error: ") == 1
    data = json.loads((shop / "summary.json").read_text(encoding="utf-8"))
    assert data["exit_code"] == 4
    assert data["error"]


def test_results_are_utf_8_whatever_the_locale(shop: Folder) -> None:
    (shop / "orders.yaml").write_text(CONTRACT.replace("shop", "Läden – ☃"), encoding="utf-8")
    stage(shop)
    load(3, shop)
    ascii_only = {"LC_ALL": "C", "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    found = run_command("status", "--target", "sqlite:///shop.db", folder=shop.path, extra=ascii_only)
    assert found.returncode == 0, found.stderr
    assert "Läden – ☃" in found.stdout


def test_errors_of_the_real_program_are_one_message_without_a_traceback(shop: Folder) -> None:
    for code, arguments in (
        (2, ("load", "--workers", "0")),
        (2, ("load", "--wrokers", "3")),
        (4, ("load", *SOURCE, "--target", "null:")),
    ):
        found = run_command(*arguments, folder=shop.path)
        assert found.returncode == code, found.stderr
        assert found.stderr.count("error: ") == 1
        assert "Traceback" not in found.stderr
        assert found.stdout == ""


def test_what_nobody_foresaw_is_called_a_bug(shop: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError("quotes a secret")

    monkeypatch.setattr("xml_extractor.operations.status.read_status", broken)
    found = shop.run("status", "--target", "sqlite:///shop.db", "--log-file", "x.log")
    assert found.returncode == 1
    assert found.stderr.count("error: this is a bug: ZeroDivisionError") == 1
    assert "Traceback" not in found.stderr
    log = (shop / "x.log").read_text(encoding="utf-8")
    assert "Traceback" in log
    assert "in broken" in log


@pytest.mark.skipif(os.name != "posix" or shutil.which("head") is None, reason="needs a shell's pipe")
def test_a_reader_that_goes_away_is_no_error(shop: Folder) -> None:
    command = f'"{sys.executable}" -m xml_extractor contract schema'
    found = subprocess.run(
        ["bash", "-c", f"{command} | head -c 10 >/dev/null; echo ${{PIPESTATUS[0]}}"],
        cwd=shop.path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert found.stdout.strip() == "0", found.stderr
    assert found.stderr == ""


# ----------------------------------------------------------------------------------- production_processor.py


def test_the_main_program_is_the_load_command(shop: Folder) -> None:
    stage(shop)
    program = str(CHECKOUT / "production_processor.py")
    found = subprocess.run(
        [sys.executable, program, *SOURCE, "--create-tables", "--executor", "process"],
        cwd=shop.path,
        env=environment(),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )
    assert found.returncode == 3, found.stderr
    assert found.stdout.startswith("Loaded 2 documents")
    assert "Traceback" not in found.stderr


def test_the_config_file_of_the_working_directory(shop: Folder) -> None:
    (shop / "config").mkdir()
    (shop / "config" / "settings.yaml").write_text(
        "source: sqlite:///shop.db\ncontract: orders.yaml\ncreate_tables: true\n", encoding="utf-8"
    )
    expect(0, shop, "stage", "orders.xml")
    expect(3, shop, "load")
    expect(0, shop, "status")
    (shop / "config" / "settings.yaml").write_text("sauce: x\n", encoding="utf-8")
    expect_error(2, "did you mean source?", shop, "status")
