"""``--report`` of real loads, however they end, and the command ``report``."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import CHECKOUT, Program, environment
from tests.support.tables import query
from tests.unit.report.looking import check, figures, text_of
from xml_extractor import Contract
from xml_extractor.cli import main
from xml_extractor.engines import open_engine
from xml_extractor.profiling.report import load_page, page
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import write_sample

DOCUMENTS = 400


@pytest.fixture(scope="module")
def source_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{(tmp_path_factory.mktemp('source') / 'source.db').as_posix()}"
    write_sample(open_engine(url), Contract.read(shipped_config("loan_application.yaml")).plan, DOCUMENTS, 3)
    return url


class Desk:
    """A folder in which commands run in this process."""

    def __init__(self, folder: Path, source: str, capfd: pytest.CaptureFixture[str]) -> None:
        self.report = folder / "new" / "report.html"
        self.summary = folder / "summary.json"
        self.target = f"sqlite:///{(folder / 'target.db').as_posix()}"
        self._source = source
        self._capfd = capfd
        self.said = ""

    def load(self, *more: object, source: str | None = None, target: str | None = None) -> int:
        return self.run(
            "load", "--source", source or self._source, "--target", target or self.target, "--create-tables",
            "--report", self.report, "--summary", self.summary, "--progress", "none", "--drift-sample", "0",
            "--executor", "thread", "--workers", "2", *more,
        )  # fmt: skip

    def run(self, *arguments: object) -> int:
        self._capfd.readouterr()
        code = main([*map(str, arguments)])
        said = self._capfd.readouterr()
        self.said = said.out + said.err
        return code

    def page(self) -> str:
        made = self.report.read_text(encoding="utf-8")
        check(made)
        assert [path.name for path in self.report.parent.iterdir()] == [self.report.name]
        return made


@pytest.fixture
def desk(tmp_path: Path, source_url: str, capfd: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, source_url, capfd)


def test_a_load_writes_its_report(desk: Desk, database_url: str) -> None:
    assert desk.load("--batch-size", "50", target=database_url) == 3, desk.said
    assert f"Report: {desk.report}" in desk.said
    made = desk.page()
    summary = json.loads(desk.summary.read_text(encoding="utf-8"))
    told = figures(made)
    assert (
        told["documents.loaded"]
        == summary["documents"]["loaded"]
        == DOCUMENTS - told["documents.quarantined"]
    )
    assert told["rows.total"] == sum(summary["rows"].values())
    assert told["insert_ms.p99"] == summary["insert_ms"]["p99"]
    text = text_of(made)
    assert summary["bottleneck"] in text
    for name in ("workers", "insert-time", "insert-histogram", "document-histogram"):
        assert f'id="{name}-title"' in made, name
    for word in ("commit", "ledger and quarantine", "insert into app_base", *summary["quarantine_reasons"]):
        assert word in text, word
    for document in summary["profile"]["slowest"][:12]:
        assert document["key"] in text
    # The same page from the summary's file.
    again = desk.report.with_name("again.html")
    assert desk.run("report", desk.summary, again) == 0, desk.said
    assert f"{again} written" in desk.said
    # The file's seconds are rounded to milliseconds, which shows in the rate of so short a load.
    assert figures(again.read_text(encoding="utf-8")) == pytest.approx(told, rel=0.01)
    assert len(text_of(again.read_text(encoding="utf-8"))) == pytest.approx(len(text), abs=20)


def test_loads_that_do_little_have_a_report_too(desk: Desk) -> None:
    assert desk.load("--dry-run", "--limit", "1") == 0, desk.said
    assert "Dry run: 1 document would be loaded" in text_of(desk.page())
    assert desk.load("--limit", "1") == 0, desk.said
    assert figures(desk.page())["documents.loaded"] == 1
    assert desk.load("--app-id-start", "999999") == 0, desk.said
    assert "the source holds no documents in this range" in text_of(desk.page())
    assert desk.load(target="null:") == 0 or "quarantin" in desk.said
    assert "nothing was written" in text_of(desk.page())


def test_loads_that_fail_have_a_report_too(desk: Desk, tmp_path: Path) -> None:
    assert desk.load("--max-drift", "0", "--drift-sample", "200") == 6, desk.said
    assert "Halted by a guard" in text_of(desk.page())
    assert desk.load("--max-quarantined", "0") == 6, desk.said
    assert "--max-quarantined" in text_of(desk.page())
    # One that never began: an earlier report would be taken for this one's.
    nowhere = f"sqlite:///{(tmp_path / 'none' / 'x.db').as_posix()}"
    assert desk.load(source=nowhere) == 4, desk.said
    assert "Failed" in text_of(desk.page())
    file = tmp_path / "no.db"
    file.write_text("this is no database, and far too short", encoding="utf-8")
    assert desk.load(target=f"sqlite:///{file.as_posix()}") == 5, desk.said
    assert "5: the target failed" in text_of(desk.page())


@pytest.mark.skipif(os.name != "posix", reason="POSIX signals")
def test_a_load_that_is_stopped_has_a_report_too(source_url: str, tmp_path: Path) -> None:
    target = f"sqlite:///{(tmp_path / 'target.db').as_posix()}"
    report = tmp_path / "report.html"
    program = Program(
        "--source", source_url, "--target", target, "--create-tables", "--report", report, "--throttle", "40",
        "--drift-sample", "0", "--executor", "thread", folder=tmp_path,
    )  # fmt: skip
    for _ in range(1200):
        if program.process.poll() is not None or (tmp_path / "target.db").exists():
            break
        try:
            program.process.wait(0.05)
        except subprocess.TimeoutExpired:
            continue
    program.process.send_signal(signal.SIGTERM)
    program.wait()
    assert program.process.returncode == 143, program.errors
    made = report.read_text(encoding="utf-8")
    check(made)
    assert "143: stopped by a signal" in text_of(made)


# ------------------------------------------------------------------------------------- what goes wrong


def test_a_report_that_cannot_be_written_is_found_before_the_load(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    for path, why in (
        (tmp_path, "is a folder"),
        (tmp_path / "file" / "report.html", "is a file; name a file in"),
    ):
        desk.report = path
        assert desk.load() == 2
        assert f"--report {path}" in desk.said
        assert why in desk.said
    assert not (tmp_path / "target.db").exists()
    assert not desk.summary.exists()


def test_a_file_that_holds_something_else_is_not_overwritten(desk: Desk, tmp_path: Path) -> None:
    assert desk.load("--limit", "5") == 0
    database = tmp_path / "target.db"
    report, summary = desk.report, desk.summary
    before = [file.read_bytes() for file in (database, report, summary)]
    for desk.report, desk.summary, named in (
        (database, summary, f"--report {database}"),
        (summary, summary.with_name("new.json"), f"--report {summary}"),
        (report, database, f"--summary {database}"),
        (report.with_name("new.html"), report, f"--summary {report}"),
    ):
        assert desk.load("--limit", "5") == 2
        assert f"{named} holds something else" in desk.said
        assert "name another file" in desk.said
    assert desk.run("report", summary, database) == 2
    assert f"{database} holds something else" in desk.said
    assert [file.read_bytes() for file in (database, report, summary)] == before
    assert not summary.with_name("new.json").exists()
    assert query(desk.target, "SELECT COUNT(*) FROM load_ledger") == [(5,)]

    desk.report, desk.summary = report, summary
    report.write_bytes(b"")  # as `mktemp` leaves it
    assert desk.load("--limit", "5") == 0
    assert report.read_bytes().lower().startswith(b"<!doctype html>")


def test_two_results_are_not_written_into_one_file(desk: Desk, tmp_path: Path) -> None:
    desk.report = tmp_path / "folder" / ".." / desk.summary.name
    assert desk.load() == 2
    assert "--summary and --report name the same file" in desk.said
    assert not desk.summary.exists()
    assert not (tmp_path / "target.db").exists()


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "cannot be written: No space left on device"),
        (ValueError("a defect of the library"), "could not be made (ValueError)"),
        (MemoryError(), "could not be made (MemoryError)"),
        (ImportError("matplotlib is not installed"), "could not be made (ImportError)"),
    ],
)
def test_a_failure_to_make_it_changes_nothing_else(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, problem: Exception, said: str
) -> None:
    def fail(*_: object) -> None:
        raise problem

    monkeypatch.setattr(load_page, "load_page", fail)
    assert desk.load("--limit", "20") == 0
    assert f"--report {desk.report} {said}" in desk.said
    assert "python -m xml_extractor report SUMMARY FILE" in desk.said
    assert "a defect of" not in desk.said
    assert "Traceback" not in desk.said
    assert json.loads(desk.summary.read_text(encoding="utf-8"))["documents"]["loaded"] == 20
    assert query(desk.target, "SELECT COUNT(*) FROM load_ledger") == [(20,)]
    assert not desk.report.exists()


def test_a_page_is_written_whole_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "page.html"
    page.write("first", file)

    def fail(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="No space left"):
        page.write("second", file)
    assert file.read_text(encoding="utf-8") == "first"
    assert list(tmp_path.iterdir()) == [file]


def test_the_command_says_what_is_wrong(desk: Desk, tmp_path: Path) -> None:
    assert desk.run("report", tmp_path / "nothing.json", desk.report) == 2
    assert "nothing.json cannot be read: No such file" in desk.said
    desk.summary.write_text("{}", encoding="utf-8")
    assert desk.run("report", desk.summary, desk.report) == 2
    assert "is no summary of a load" in desk.said
    assert not desk.report.parent.exists()
    assert desk.load("--limit", "1") == 0
    assert desk.run("report", desk.summary, tmp_path) == 2
    assert "is a folder; name a file" in desk.said


def test_only_a_report_imports_what_draws(tmp_path: Path, source_url: str) -> None:
    """A plain load, and each worker process, does without matplotlib (50 MB) and Jinja2."""
    code = (
        "import sys\n"
        "from xml_extractor.cli import main\n"
        f"main(['load', '--source', {source_url!r}, '--target', 'null:', '--limit', '5'])\n"
        "import xml_extractor.processing.worker_process\n"
        "print('imported:', *sorted({'matplotlib', 'jinja2', 'markupsafe'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=CHECKOUT, env=environment(), capture_output=True, text=True,
        timeout=120, check=True,
    )  # fmt: skip
    assert done.stdout.splitlines()[-1].strip() == "imported:"
