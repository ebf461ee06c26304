"""The program that establishes baselines, run on few documents; and the one that profiles a load."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from sqlalchemy.engine import make_url

from performance_tuning import establish_baseline, profile_load
from performance_tuning.baseline.document import read_baseline, write_baseline
from performance_tuning.baseline.figures import PRIMARY
from performance_tuning.measuring.servers import DATABASE_PREFIX
from tests.support.program import CHECKOUT, environment
from tests.support.servers import PostgresqlServer
from tests.support.tables import execute, query
from tests.unit.performance_tuning.baselines import baseline, circumstances
from xml_extractor.engines import open_engine

TINY = ["--documents", "20", "--warm-up", "0", "--executor", "thread", "--workers", "1"]


def tables(url: str) -> set[str]:
    session = open_engine(url).connect(write=True, application="tests")
    try:
        return set(session.table_names())
    finally:
        session.close()


def test_a_tiny_baseline_and_a_comparison_with_it(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XML_EXTRACTOR_BATCH_SIZE", "10")
    monkeypatch.setenv("XML_EXTRACTOR_LIMIT", "3")
    url = database_url
    if url.startswith("postgresql"):  # which lets everybody in
        url = make_url(url).set(password="secretword").render_as_string(hide_password=False)
    file = tmp_path / "kept" / "baseline.json"
    arguments = [*TINY, "--target", url, "--json", str(file)]
    assert establish_baseline.main([*arguments, "--runs", "2"]) == 0
    printed = capsys.readouterr()
    found = read_baseline(file)
    assert len(found.runs) == 2
    assert found.circumstances.source.documents == 20
    assert found.circumstances.settings["batch_size"] == 10
    assert found.circumstances.settings["limit"] is None
    assert found.estimates[PRIMARY].median > 0
    assert all(run.rows == found.runs[0].rows for run in found.runs)
    assert "throughput" in printed.out
    text = file.read_text(encoding="utf-8")
    for private in ("secretword", "://", str(tmp_path), str(CHECKOUT)):
        assert private not in text
        assert private == str(tmp_path) or private == str(CHECKOUT) or private not in printed.out
    assert "secretword" not in printed.err
    assert tables(database_url) == set()
    assert {path.name for path in tmp_path.iterdir()} <= {
        "kept",
        "database.db",
        "database.db-wal",
        "database.db-shm",
    }

    again = tmp_path / "kept" / "again.json"
    arguments[-1] = str(again)
    assert establish_baseline.main([*arguments, "--runs", "1", "--compare", str(file)]) == 0
    printed = capsys.readouterr()
    assert "too few runs" in printed.out
    assert read_baseline(again).runs_wanted == 1


def test_a_target_that_is_not_empty_is_refused_and_left(
    database_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    execute(database_url, "CREATE TABLE app_note (a integer)", "INSERT INTO app_note VALUES (7)")
    file = tmp_path / "baseline.json"
    assert establish_baseline.main([*TINY, "--target", database_url, "--in-place", "--json", str(file)]) == 2
    assert "not empty, it holds app_note. Nothing was touched" in capsys.readouterr().err
    assert query(database_url, "SELECT a FROM app_note") == [(7,)]
    assert tables(database_url) == {"app_note"}
    assert not file.exists()


def test_what_could_not_be_compared_is_refused_before_it_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    earlier, file = tmp_path / "earlier.json", tmp_path / "later.json"
    write_baseline(baseline(), earlier)
    assert establish_baseline.main([*TINY, "--json", str(file), "--compare", str(earlier)]) == 2
    error = capsys.readouterr().err
    assert (
        "other documents were loaded: 300 documents then, 20 synthetic loan applications, seed 7 now" in error
    )
    assert "run 1" not in error
    assert not file.exists()


@pytest.mark.parametrize(("factor", "status"), [(1.0, 0), (0.9, 3), (1.1, 0)])
def test_two_files_are_compared_and_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], factor: float, status: int
) -> None:
    earlier, later = tmp_path / "earlier.json", tmp_path / "later.json"
    write_baseline(baseline(), earlier)
    write_baseline(baseline(seed=2, factors={PRIMARY: factor}), later)
    assert establish_baseline.main(["--compare", str(earlier), str(later)]) == status
    assert ("regression" in capsys.readouterr().out) is (status == 3)
    if status == 3:
        relaxed = ["--compare", str(earlier), str(later), "--max-regression", "20%"]
        assert establish_baseline.main(relaxed) == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare", "absent.json"], "absent.json cannot be read"),
        (["--compare", "a", "b", "c"], "--compare takes one file or two"),
        (["--folder", "absent"], "there is no such folder"),
        (["--contract", "absent.yaml"], "absent.yaml: no such file"),
        (["--batch-size", "none"], "--batch-size: 'none' is not allowed"),
        (["--target", "jsonl:out"], "JSON Lines"),
        (["--target", "postgresql://u:secretword@127.0.0.1:1/d"], "cannot connect to PostgreSQL"),
        (["--target", "postgresql://u:secretword@127.0.0.1:1/d"], "refused"),
        (["--runs", "ten"], "--runs: 'ten' is no whole number of 1 or more"),
        (["--warm-up", "-1"], "--warm-up: '-1' is no whole number of 0 or more"),
        (["--max-regression", "much"], "--max-regression: 'much' is no number of per cent"),
        (["--run-seconds", "-3"], "--run-seconds: '-3' is no number of seconds above 0"),
    ],
)
def test_wrong_arguments_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch,
    arguments: list[str], said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    try:
        status = establish_baseline.main([*TINY, *arguments])
    except SystemExit as stop:  # argparse's own way
        status = int(str(stop.code))
    assert status == 2
    error = " ".join(capsys.readouterr().err.split())
    assert said in error
    assert "secretword" not in error


def test_other_documents_of_two_files_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    earlier, later = tmp_path / "earlier.json", tmp_path / "later.json"
    write_baseline(baseline(), earlier)
    source = circumstances().source.model_copy(update={"documents": 301})
    write_baseline(baseline(of=circumstances(source=source)), later)
    assert establish_baseline.main(["--compare", str(earlier), str(later)]) == 2
    assert "Nothing can be compared" in " ".join(capsys.readouterr().err.split())


@pytest.mark.skipif(os.name != "posix", reason="sends a signal as POSIX does")
def test_stopped_it_keeps_the_runs_and_leaves_nothing_behind(
    postgresql: PostgresqlServer, postgresql_url: str, tmp_path: Path
) -> None:
    file, temporary, log = tmp_path / "baseline.json", tmp_path / "temporary", tmp_path / "log"
    temporary.mkdir()
    program = [sys.executable, str(CHECKOUT / "performance_tuning" / "establish_baseline.py")]
    with log.open("w", encoding="utf-8") as out:
        running = psutil.Popen(
            [*program, *TINY, "--runs", "100", "--json", str(file)],
            env=environment({"XML_EXTRACTOR_TARGET": postgresql_url, "TMPDIR": str(temporary)}),
            stdout=subprocess.DEVNULL,
            stderr=out,
        )
    try:
        until = time.monotonic() + 90
        # In the middle of a run: its program is there.
        while "run 2 of" not in log.read_text(encoding="utf-8") or not running.children():
            assert running.poll() is None, log.read_text(encoding="utf-8")
            assert time.monotonic() < until
            time.sleep(0.02)
        family = running.children(recursive=True)
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
    finally:
        if running.poll() is None:
            running.kill()
            running.wait()
    _, alive = psutil.wait_procs(family, timeout=5)
    assert not alive
    assert list(temporary.iterdir()) == []
    if postgresql.local:  # and nobody else's
        databases = query(postgresql.url, "SELECT datname FROM pg_database")
        assert not [name for (name,) in databases if name.startswith(DATABASE_PREFIX)]
    assert tables(postgresql_url) == set()
    kept = read_baseline(file)
    assert len(kept.runs) >= 2
    assert "of 100 runs: stopped by SIGINT" in kept.remarks[0]


def test_the_profile_of_a_load_names_no_machine_and_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.md"
    arguments = ["--documents", "20", "--executor", "thread", "--workers", "2", "--batch-size", "10"]
    assert profile_load.main([*arguments, "--output", str(file), "--json", str(tmp_path / "p.json")]) == 0
    text = file.read_text(encoding="utf-8")
    assert "    python performance_tuning/profile_load.py --documents 20 --workers 2 --batch-size 10" in text
    assert "--executor thread" in text
    assert "into SQLite" in text
    for heading in (
        "workers' time went",
        "time of inserting went",
        "Latencies",
        "Over time",
        "CPU and memory",
    ):
        assert f"### {heading}" in text or heading in text
    for row in (
        "| `app_base` |",
        "| commit |",
        "| **all** | **20** |",
        "one batch, first statement to commit",
    ):
        assert row in text
    assert "**Bottleneck.** " in text
    for private in (str(CHECKOUT), str(tmp_path), platform.node() or "no name", "sqlite:///"):
        assert private not in text
    assert "documents/s" in capsys.readouterr().err


def test_a_failed_profile_leaves_the_earlier_results(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.md"
    file.write_text("# Profiling results\n\nearlier", encoding="utf-8")
    assert profile_load.main(["--target", f"sqlite:///{tmp_path}/absent/x.db", "--output", str(file)]) == 2
    assert "no folder" in capsys.readouterr().err
    assert file.read_text(encoding="utf-8").endswith("earlier")
    assert [path.name for path in tmp_path.iterdir()] == ["results.md"]


def test_a_profile_is_written_over_nothing_else(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "loans.db"
    file.write_bytes(b"SQLite format 3\0")
    new = tmp_path / "new"
    for arguments, said in (
        (["--output", file], f"--output {file} holds something else"),
        (["--output", new, "--json", file], f"--json {file} holds something else"),
        (["--output", new, "--json", new], f"--output and --json name the same file, {new}"),
    ):
        assert profile_load.main([*map(str, arguments)]) == 2
        assert said in capsys.readouterr().err
    assert file.read_bytes() == b"SQLite format 3\0"
    assert not new.exists()


def test_a_baseline_is_not_replaced_by_what_is_compared_with_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "nightly.json"
    write_baseline(baseline(), file)
    before = file.read_bytes()
    assert establish_baseline.main(["--json", str(file), "--compare", str(file)]) == 2
    assert f"--compare and --json name the same file, {file}" in capsys.readouterr().err
    assert file.read_bytes() == before
