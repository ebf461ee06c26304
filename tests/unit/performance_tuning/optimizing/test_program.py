"""The program itself, as a process: tiny sweeps on real databases, interrupted ones, refused ones."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from performance_tuning.measuring.servers import DATABASE_PREFIX
from performance_tuning.optimizing.program import main
from performance_tuning.optimizing.study_file import open_study
from tests.support.program import BOUND_SECONDS, CHECKOUT, environment
from xml_extractor.errors import ExitCode

PROGRAM = CHECKOUT / "performance_tuning" / "batch_size_optimizer_v2.py"
TINY = ("--documents", "60", "--workers", "1,2", "--batch-size", "20,60", "--queue-size", "60")
ONE = ("--executor", "thread", "--insert-threads", "1")


def start(folder: Path, *arguments: object, **variables: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(PROGRAM), *map(str, arguments)], cwd=folder, text=True, encoding="utf-8",
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment({"XML_EXTRACTOR_CONFIG": str(no_settings(folder)), **variables}),
    )  # fmt: skip


def no_settings(folder: Path) -> Path:
    path = folder / "no_settings.yaml"
    path.write_text("", encoding="utf-8")
    return path


def run(folder: Path, *arguments: object, **variables: str) -> subprocess.CompletedProcess[str]:
    with start(folder, *arguments, **variables) as program:
        try:
            out, err = program.communicate(timeout=BOUND_SECONDS)
        finally:
            program.kill()
    return subprocess.CompletedProcess(program.args, program.returncode, out, err)


def read(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(content, dict)
    return content


def test_a_tiny_grid_on_sqlite_ends_with_a_recommendation(tmp_path: Path) -> None:
    done = run(
        tmp_path, *TINY, *ONE, "--search", "grid", "--repeat", 1, "--contender-repeat", 1,
        "--study", "a.study", "--json", "a.json", "--report", "a.html",
    )  # fmt: skip
    assert done.returncode in (ExitCode.OK, ExitCode.NEEDS_A_LOOK), done.stderr
    assert "4 settings" in done.stderr
    assert "at most" in done.stderr  # how long it will take, before it begins
    assert done.stderr.index("at most") < done.stderr.index("measuring the grid")
    assert "python production_processor.py" in done.stdout
    found = read(tmp_path / "a.json")
    assert {m["outcome"]["ending"] for m in found["measurements"]} == {"measured"}
    settings = {json.dumps(m["setting"]) for m in found["measurements"]}
    assert len(settings) == found["settings"] == found["tried"] == 4
    assert all(m["outcome"]["rate"] > 0 and m["outcome"]["memory_bytes"] > 1e7 for m in found["measurements"])
    assert "<svg" in (tmp_path / "a.html").read_text(encoding="utf-8")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "a.html", "a.json", "a.study", "no_settings.yaml"
    ]  # fmt: skip


@pytest.mark.postgresql
def test_a_tiny_sweep_on_postgresql_leaves_nothing_there(tmp_path: Path, postgresql_url: str) -> None:
    import psycopg

    arguments = (*TINY[:2], "--workers", "2", "--batch-size", "20,60", "--queue-size", "60", *ONE[:2])
    done = run(
        tmp_path, *arguments, "--insert-threads", "1,2", "--target", postgresql_url, "--time-budget", "4s",
        "--study", "a.study", "--json", "a.json",
    )  # fmt: skip
    assert done.returncode in (ExitCode.OK, ExitCode.NEEDS_A_LOOK), done.stderr
    found = read(tmp_path / "a.json")
    assert {m["setting"]["insert_threads"] for m in found["measurements"]} <= {1, 2}
    assert f"--target {postgresql_url}" in done.stdout
    with psycopg.connect(postgresql_url) as connection:
        left = connection.execute(
            "SELECT datname FROM pg_database WHERE datname LIKE %s", (f"{DATABASE_PREFIX}%",)
        ).fetchall()
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    assert left == tables == []


@pytest.mark.skipif(os.name == "nt", reason="Ctrl-C cannot be sent to one process")
def test_an_interrupted_sweep_keeps_its_measurements_and_goes_on(tmp_path: Path) -> None:
    tiny = ("--documents", 60, "--workers", "1,2", "--batch-size", 20, "--queue-size", 60)
    once = ("--search", "grid", "--repeat", 1, "--contender-repeat", 1)
    arguments = (*tiny, *ONE, *once, "--study", "a.study")
    with start(tmp_path, *arguments) as program:
        assert program.stderr is not None
        seen = ""
        while "documents/s" not in seen.partition("measuring the grid")[2]:
            line = program.stderr.readline()
            assert line, seen
            seen += line
        program.send_signal(signal.SIGINT)
        _, err = program.communicate(timeout=BOUND_SECONDS)
    assert program.returncode == ExitCode.INTERRUPTED, err
    assert "python performance_tuning/batch_size_optimizer_v2.py" in err
    assert "--study a.study" in err
    kept = open_study(tmp_path / "a.study")
    first = list(kept.history.measurements)
    kept.close()
    assert first
    again = run(tmp_path, "--study", "a.study", "--json", "a.json")
    if "is of something else" in again.stderr and "program:" in again.stderr:
        pytest.skip("the loader's code was changed while the test ran")
    assert again.returncode in (ExitCode.OK, ExitCode.NEEDS_A_LOOK), again.stderr
    assert f"{len(first)} load" in again.stderr
    found = read(tmp_path / "a.json")
    assert found["tried"] == found["settings"] == 2
    assert {m["session"] for m in found["measurements"]} == {1, 2}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--workers", "0"), "--workers: '0' is not a whole number from 1 to 256"),
        (("--batch-size", "10000"), "above the largest queue"),
        (("--executor", "fibre"), "there is no 'fibre'"),
        (("--insert-path", "openjson"), "has but one way in"),
        (("--study", "given"), "is no study"),
        (("--report", "."), "is a folder"),
        (("--report", "given"), "--report given holds something else"),
        (("--json", "given"), "--json given holds something else"),
        (("--report", "both", "--json", "./both"), "--report and --json name the same file"),
        (("--study", "both", "--json", "./both"), "--json and --study name the same file"),
        (("--source", "sqlite:///absent.db"), "absent.db"),
        (("--target", "jsonl:out"), "cannot be measured"),
        (("--time-budget", "soon"), "no duration"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_measured(
    arguments: tuple[str, ...],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XML_EXTRACTOR_CONFIG", str(no_settings(tmp_path)))
    (tmp_path / "given").write_text("mine", encoding="utf-8")
    try:
        status = main(["--documents", "20", *arguments])
    except SystemExit as stop:  # argparse's own way
        status = int(str(stop.code))
    told = capsys.readouterr().err
    assert status in (ExitCode.USAGE, ExitCode.SOURCE_FAILED)
    assert said in told
    assert "warm-up" not in told
    assert (tmp_path / "given").read_text(encoding="utf-8") == "mine"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "no_settings.yaml"]


def test_a_target_that_is_not_empty_is_refused_and_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XML_EXTRACTOR_CONFIG", str(no_settings(tmp_path)))
    path = tmp_path / "full.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE app_base (app_id INTEGER)")
        connection.execute("INSERT INTO app_base VALUES (7)")
    connection.close()
    before = path.read_bytes()
    words = ["--documents", "20", "--target", f"sqlite:///{path}", "--in-place", "--study", "a.study"]
    assert main(words) == ExitCode.USAGE
    assert "is not empty, it holds app_base" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not (tmp_path / "a.study").exists()


def test_the_program_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0
    assert "--time-budget TIME" in capsys.readouterr().out
