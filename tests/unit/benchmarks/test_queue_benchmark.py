"""The queue benchmark: its arithmetic, the batch-sequential way, and tiny runs of the program."""

from __future__ import annotations

import io
import json
import threading
import time
from pathlib import Path

import batch_sequential
import benchmark_queue_optimization as program
import pytest
from backpressure import scenarios
from hypothesis import given
from hypothesis import strategies as st
from overlap import Case, Overlap, latency_cases
from rich.console import Console
from slow_target import Commits, Pace, TimedEncoder, TimedTarget, timed_plan, write_documents
from support import BenchmarkError

from xml_extractor.errors import ExitCode, TargetError
from xml_extractor.settings import LoadOptions

ENDED = (ExitCode.OK, ExitCode.NEEDS_A_LOOK)  # a tiny run may well miss a bound


def options(**given: object) -> LoadOptions:
    return LoadOptions.model_validate({"executor": "thread", "drift_sample": 0} | given)


# ----------------------------------------------------------------------------------------- arithmetic


def test_efficiency_and_gains_follow_from_the_walls() -> None:
    run = Overlap(queue=2.0, sequential=2.5, single=3.0, making=1.5, inserting=1.8)
    assert run.slower == 1.8
    assert run.efficiency == 0.9
    assert run.gain == 0.25
    assert run.most == pytest.approx(2.5 / 1.8 - 1)
    assert run.single_gain == 0.5
    assert Overlap(2.0, 2.5, None, making=1.9, inserting=1.8).efficiency == 0.95
    assert Overlap(2.0, 2.5, None, making=1.5, inserting=1.8, cpu=1.96).efficiency == 0.98
    assert Overlap(2.0, 2.5, None, making=1.5, inserting=1.8).single_gain is None


def case(*runs: Overlap, name: str = "10 ms a batch") -> Case:
    return Case(name, 100, runs)


def test_a_case_is_judged_by_its_median() -> None:
    runs = [Overlap(wall, 2.0, None, making=0.9, inserting=0.5) for wall in (1.0, 0.9, 1.8)]
    efficiency, gain = program.figures_of(case(*runs))
    assert efficiency.value == pytest.approx(10.0)
    assert efficiency.holds
    assert "efficiency 90.0% (50.0% to 100.0%)" in efficiency.detail
    assert gain.value == pytest.approx(100.0)
    assert gain.bound is None
    missed, _ = program.figures_of(case(Overlap(1.0, 2.0, None, making=0.89, inserting=0.5)))
    assert not missed.holds


@pytest.mark.parametrize(
    ("sequential", "making", "word"),
    [
        (1.2, 1.0, "+20% (as promised)"),
        (1.5, 1.0, "+50% (more than promised)"),
        (1.05, 0.6, "+5% (less than promised)"),
        (1.05, 1.0, "+5% (less, and more is not to be had there)"),
    ],
)
def test_the_gain_is_held_against_what_was_promised(sequential: float, making: float, word: str) -> None:
    told = program.promise([case(Overlap(1.0, sequential, None, making, inserting=0.1))])
    assert told == f"Promised were +15% to +25%. Gained: 10 ms a batch {word}."


@given(st.integers(1, 2000), st.integers(1, 64))
def test_an_even_round_is_the_smallest_that_gives_all_workers_the_same(batch: int, workers: int) -> None:
    found = batch_sequential.even_round(batch, workers)
    smallest = next(size for size in range(batch, batch * workers + 1, batch) if size % workers == 0)
    assert found == smallest


def test_a_document_that_is_missing_or_there_twice_is_noticed() -> None:
    commits = Commits()
    commits.times.update([1, 2])
    commits.check(2)
    commits.check(3, complete=False)
    with pytest.raises(BenchmarkError, match="of 3, 1 were not"):
        commits.check(3)
    with pytest.raises(BenchmarkError, match="1 others"):
        commits.check(1, complete=False)
    commits.times.update([2])
    with pytest.raises(BenchmarkError, match="1 more than once"):
        commits.check(2, complete=False)


def test_a_pace_says_what_each_batch_takes() -> None:
    pace = Pace(0.1, first_batches=2, first_seconds=0.5, stalled_batch=3, stall_seconds=2.0)
    assert [pace.seconds_for(batch) for batch in range(5)] == [0.5, 0.5, 0.1, 2.1, 0.1]


# ---------------------------------------------------------------------------------- batch by batch


@pytest.mark.parametrize(
    ("documents", "batch", "workers", "round_documents"),
    [(1, 10, 4, None), (23, 10, 4, 20), (20, 10, 2, None), (37, 3, 3, 9), (64, 1000, 4, None)],
)
def test_batch_by_batch_commits_every_document_once(
    documents: int, batch: int, workers: int, round_documents: int | None, tmp_path: Path
) -> None:
    plan = timed_plan()
    source = write_documents(tmp_path / "documents.db", documents)
    target = TimedTarget(Pace(0.001), TimedEncoder(0.0))
    run = batch_sequential.run(
        source, target, target.prepare(plan), plan, options(batch_size=batch, workers=workers),
        round_documents=round_documents,
    )  # fmt: skip
    target.commits.check(documents)
    size = round_documents or batch
    assert run.documents == run.rows == documents
    assert run.rounds == -(-documents // size)
    assert 0.0 < run.producing + run.inserting <= run.wall + 0.05
    assert target.commits.seconds <= run.inserting


def test_nothing_is_made_while_a_batch_is_inserted(tmp_path: Path) -> None:
    plan = timed_plan()
    source = write_documents(tmp_path / "documents.db", 30)
    encoder = TimedEncoder(0.0)
    made: list[tuple[int, int]] = []

    class Looking(Pace):
        def seconds_for(self, batch: int) -> float:
            before = encoder.documents
            time.sleep(0.02)
            made.append((before, encoder.documents))
            return 0.0

    target = TimedTarget(Looking(0.0), encoder)
    batch_sequential.run(source, target, target.prepare(plan), plan, options(batch_size=10))
    assert made == [(10, 10), (20, 20), (30, 30)]


def test_batch_by_batch_ends_with_its_target(tmp_path: Path) -> None:
    plan = timed_plan()
    source = write_documents(tmp_path / "documents.db", 100)
    target = TimedTarget(Pace(0.0), TimedEncoder(0.001), fails_at=2)
    threads = set(threading.enumerate())
    started = time.monotonic()
    with pytest.raises(TargetError, match="as it was told"):
        batch_sequential.run(source, target, target.prepare(plan), plan, options(batch_size=10))
    assert time.monotonic() - started < 10.0
    assert target.commits.documents == 20
    assert set(threading.enumerate()) <= threads


# ------------------------------------------------------------------------------------- the program


def test_every_latency_is_measured_both_ways(tmp_path: Path) -> None:
    [none, slow] = latency_cases((0.0, 5.0), 40, 0.001, workers=4, repeat=2, folder=tmp_path)
    assert [none.name, slow.name] == ["0 ms a batch", "5 ms a batch"]
    assert len(slow.runs) == 2
    for run in slow.runs:
        assert run.inserting >= 4 * 0.005
        assert run.making >= 40 * 0.001 / 4
        assert 0.0 < run.efficiency <= 1.0
        assert run.single is not None  # ten documents do not divide evenly among four workers
    [even] = latency_cases((0.0,), 20, 0.0, workers=5, repeat=1, folder=tmp_path / "..")
    assert even.runs[0].single is None


def test_a_tiny_run_with_latencies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--only", "latency", "--documents", "40", "--latency-ms", "0,2", "--parse-ms", "1"]
    assert program.main([*arguments, "--repeat", "1", "--json", str(file)]) in ENDED
    printed = " ".join(capsys.readouterr().out.split())
    assert "Promised were +15% to +25%" in printed
    content = json.loads(file.read_text(encoding="utf-8"))
    assert [figure["name"] for figure in content["figures"]] == [
        "0 ms a batch: 1 − overlap efficiency",
        "0 ms a batch: gain of the queue",
        "2 ms a batch: 1 − overlap efficiency",
        "2 ms a batch: gain of the queue",
    ]
    assert content["details"]["latency"][1]["runs"][0]["inserting_seconds"] >= 4 * 0.002


def test_a_tiny_run_with_an_engine(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--only", "engines", "--engine", "sqlite", "--engine-documents", "40", "--repeat", "1"]
    assert program.main([*arguments, "--executor", "thread", "--json", str(file)]) in ENDED
    assert "SQLite, thread workers" in capsys.readouterr().out
    content = json.loads(file.read_text(encoding="utf-8"))
    [run] = content["details"]["engines"][0]["runs"]
    assert 0.0 < run["making_seconds"] < run["sequential_seconds"]
    assert 0.0 < run["inserting_seconds"] < run["sequential_seconds"]


def test_a_tiny_run_with_strategies(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def here(load, scenario, strategy, ending, folder):  # type: ignore[no-untyped-def]
        return scenarios.run_case(load, scenario, scenarios.STRATEGIES.index(strategy), ending, folder)

    monkeypatch.setattr(scenarios, "in_own_process", here)
    file = tmp_path / "figures.json"
    arguments = ["--only", "strategies", "--strategy-documents", "40", "--parse-ms", "1", "--repeat", "1"]
    assert program.main([*arguments, "--json", str(file)]) in ENDED
    printed = " ".join(capsys.readouterr().out.split())
    for words in ("slow all the time", "stalls once", "slow at first, fast later", "Dropping records is not"):
        assert words in printed
    content = json.loads(file.read_text(encoding="utf-8"))
    assert len(content["details"]["strategies"]) == 12
    assert [figure["name"] for figure in content["figures"]] == [
        "block: documents that wait ÷ those that were set",
        "block: from the target's failure to the end",
    ]
    assert content["holds"] is True


@pytest.mark.parametrize("text", ["-1", "5,-1", "many", ""])
def test_latencies_must_be_numbers_from_0(text: str) -> None:
    with pytest.raises(SystemExit) as stop:
        program.main([f"--latency-ms={text}"])
    assert stop.value.code == ExitCode.USAGE


@pytest.mark.parametrize("width", [80, 160])
def test_no_figure_is_cut_short_on_a_terminal(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=width, no_color=True, highlight=False)
    monkeypatch.setattr(program, "_console", lambda: console)
    columns = ["", *(f"column {number}" for number in range(10))]
    cases = [[f"{latency} ms a batch", *["+12.3%"] * 10] for latency in (0, 10, 25, 50, 100, 200)]
    program._print_table("Times", columns, cases)
    assert screen.getvalue().count("+12.3%") == 60
    assert "…" not in screen.getvalue()
