"""Figures, documents and databases that the benchmarks share."""

from __future__ import annotations

import gzip
import json
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
import support
from support import BenchmarkError, Figure

from xml_extractor.errors import ExitCode


def test_report_prints_every_figure_and_says_what_holds(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = [
        Figure("one figure", 1.5, "×", 2.0, "how it came about"),
        Figure("another", 7.0, "s", 6.0),
        Figure("explanation", 3.0, "s"),
    ]
    status = support.report("A title", figures, tmp_path / "figures.json")
    printed = capsys.readouterr().out
    assert status is ExitCode.NEEDS_A_LOOK
    assert "A title" in printed
    [one] = [line for line in printed.splitlines() if "one figure" in line]
    assert "1.50 ×" in one
    assert "≤ 2.00 ×" in one
    assert "holds" in one
    assert "how it came about" in one
    [another] = [line for line in printed.splitlines() if "another" in line]
    assert "missed" in another
    [explanation] = [line for line in printed.splitlines() if "explanation" in line]
    assert "holds" not in explanation
    written = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert [figure["holds"] for figure in written["figures"]] == [True, False, True]
    assert written["holds"] is False
    assert written["figures"][0]["value"] == 1.5


def test_report_succeeds_when_every_bound_holds() -> None:
    assert support.report("A title", [Figure("at its bound", 2.0, "s", 2.0)], None) is ExitCode.OK


@pytest.mark.parametrize("suffix", [".xml", ".xml.gz"])
def test_discogs_documents_are_the_records_of_a_dump(tmp_path: Path, suffix: str) -> None:
    dump = '<releases>\n<release id="5"><title>ä &amp; b</title></release>\n<release id="9"/>\n</releases>'
    path = tmp_path / f"dump{suffix}"
    data = dump.encode("utf-8")
    path.write_bytes(gzip.compress(data) if suffix == ".xml.gz" else data)
    assert support.discogs_documents(path) == [
        '<release id="5"><title>ä &amp; b</title></release>',
        '<release id="9"/>',
    ]


def test_discogs_file_says_what_to_do_without_it(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match=r"XML_EXTRACTOR_DISCOGS.*--only applications"):
        support.discogs_file(tmp_path / "absent.xml.gz")


def test_discogs_file_prefers_the_argument_to_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    named, by_environment = tmp_path / "named.xml", tmp_path / "environment.xml"
    named.touch()
    by_environment.touch()
    monkeypatch.setenv(support.DISCOGS_VARIABLE, str(by_environment))
    assert support.discogs_file(named) == named
    assert support.discogs_file(None) == by_environment


def test_numbered_records_have_keys_of_their_own() -> None:
    records = ['<release id="7" status="x"><a id="7"/></release>', '<release id="8"/>']
    assert list(support.numbered_records(records, 3)) == [
        '<release id="1" status="x"><a id="7"/></release>',
        '<release id="2"/>',
        '<release id="3" status="x"><a id="7"/></release>',
    ]


def test_numbered_records_refuses_records_without_an_id() -> None:
    with pytest.raises(BenchmarkError, match="does not begin"):
        list(support.numbered_records(["<release/>"], 1))


def test_sqlite_databases_are_removed_and_others_left(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    other.touch()
    with support.SqliteFolder(tmp_path).database() as url:
        path = Path(url.removeprefix("sqlite:///"))
        connection = sqlite3.connect(path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE t (a)")
        connection.close()
        path.with_name(path.name + "-wal").touch()
        assert path.exists()
    assert list(tmp_path.iterdir()) == [other]


def test_the_product_runs_without_the_settings_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XML_EXTRACTOR_WORKERS", "9")
    monkeypatch.setenv("ANOTHER_VARIABLE", "kept")
    environment = support.product_environment()
    assert "XML_EXTRACTOR_WORKERS" not in environment
    assert environment["ANOTHER_VARIABLE"] == "kept"


@pytest.mark.parametrize(("status", "accepted"), [(0, True), (3, True), (1, False), (5, False)])
def test_only_success_and_quarantine_are_taken_for_a_measured_run(status: int, accepted: bool) -> None:
    if accepted:
        support.check_ended(["python", "load"], status, "")
    else:
        with pytest.raises(BenchmarkError, match=f"load ended with {status}:\nthe cause"):
            support.check_ended(["python", "load"], status, "the cause")


def test_what_is_missing_is_a_message_and_exit_status_2(capsys: pytest.CaptureFixture[str]) -> None:
    def benchmark(_: object) -> int:
        raise BenchmarkError("there is no sample")

    arguments = support.make_parser("about").parse_args([])
    assert support.run_benchmark(benchmark, arguments) == ExitCode.USAGE
    assert capsys.readouterr().err == "error: there is no sample\n"


@pytest.mark.parametrize("text", ["0", "-1", "many"])
def test_counts_must_be_positive(text: str) -> None:
    parser = support.make_parser("about")
    parser.add_argument("--documents", type=support.positive)
    with pytest.raises(SystemExit) as stop:
        parser.parse_args(["--documents", text])
    assert stop.value.code == 2


def test_the_watch_tells_a_programs_cpu_from_that_of_others() -> None:
    burn = [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"]
    with support.MachineWatch() as own:
        subprocess.run(burn, check=True)
    assert own.cpu >= 0.3 - 1e-9  # differences of clocks are rounded
    assert own.cpu < 1.0
    assert own.wall >= 0.3
    assert 0.0 <= own.others_share <= 1.1  # clock ticks are coarse
    other = subprocess.Popen(burn)  # not waited for inside: somebody else's
    with support.MachineWatch() as watch:
        time.sleep(0.25)
    other.wait()
    assert watch.cpu < 0.1
    assert watch.others_share > 0.0
