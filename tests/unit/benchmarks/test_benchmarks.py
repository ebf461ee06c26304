"""The benchmark programs: their arithmetic, and that tiny runs of them print their tables."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import benchmark_default_run
import benchmark_mapping
import benchmark_memory
import benchmark_pipeline
import benchmark_profiling_cost
import benchmark_resuming
import benchmark_safety_cost
import benchmark_verify
import psutil
import pytest
from benchmark_pipeline import Halves, Run, Stopwatch

from xml_extractor.errors import ExitCode
from xml_extractor.mapping.interpreter_choice import why_not_native

ENDED = (ExitCode.OK, ExitCode.NEEDS_A_LOOK)  # a tiny run may well miss a bound


@pytest.mark.parametrize(
    ("halves", "slower"),
    [
        (Halves(producing=8.0, inserting=1.0, cpu=3.0), 2.0),  # ÷ 4 workers
        (Halves(producing=4.0, inserting=2.5, cpu=4.0), 2.5),
        (Halves(producing=4.0, inserting=1.0, cpu=9.0), 4.5),  # ÷ 2 cores
    ],
)
def test_the_slower_half_is_the_largest_of_the_three(halves: Halves, slower: float) -> None:
    assert halves.slower(workers=4, cores=2) == slower


def test_the_ratio_is_wall_over_the_slower_half() -> None:
    run = Run(
        wall=5.0, executor="process", workers=4, halves=Halves(8.0, 1.0, 8.0), cpu=9.0, others_share=0.0
    )
    assert run.ratio(cores=2) == 1.25


def test_what_other_programs_took_is_not_the_loads() -> None:
    halves = Halves(producing=8.0, inserting=1.0, cpu=8.0)
    run = Run(wall=10.0, executor="process", workers=4, halves=halves, cpu=9.0, others_share=0.5)
    assert run.left_ratio(cores=2) == 1.25


def test_the_figure_of_a_load_is_the_median_of_its_runs() -> None:
    halves = Halves(producing=1.0, inserting=1.0, cpu=0.5)
    runs = [Run(wall, "thread", 1, halves, 2.0, 0.25) for wall in (1.5, 1.0, 1.125)]
    figure = benchmark_pipeline.as_figure("A load", 1000, runs)
    assert figure.value == 1.125
    assert figure.holds
    assert "wall 1.12 s (889 documents/s, thread)" in figure.detail
    assert "of other programs meanwhile 25% of the machine" in figure.detail
    assert "ratios 1.00 1.12 1.50" in figure.detail


def test_a_stopwatch_counts_only_what_is_done_inside_and_the_server_too() -> None:
    server = iter([10.0, 12.0, 20.0, 21.0])
    watch = Stopwatch(lambda: next(server))
    for _ in range(2):
        with watch:
            pass
    assert 3.0 <= watch.cpu < 3.5
    assert 0.0 < watch.wall < 0.5


def test_memory_is_that_of_a_process_and_its_children() -> None:
    own = benchmark_memory.tree_sizes(psutil.Process(os.getpid()))
    code = "import sys; block = bytearray(b'x') * 50_000_000; print(len(block), flush=True); sys.stdin.read()"
    with psutil.Popen([sys.executable, "-c", code], stdin=-1, stdout=-1) as child:
        child.stdout.readline()
        with_child = benchmark_memory.tree_sizes(psutil.Process(os.getpid()))
        child.stdin.close()
        child.wait()
    assert len(with_child) == len(own) + 1
    assert sum(with_child) > sum(own) + 40_000_000


@pytest.mark.parametrize(
    "program",
    [benchmark_mapping, benchmark_pipeline, benchmark_memory, benchmark_default_run, benchmark_resuming],
)
def test_every_program_explains_itself(program: object, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        program.main(["--help"])  # type: ignore[attr-defined]
    assert stop.value.code == 0
    assert "--json FILE" in capsys.readouterr().out


def test_a_tiny_run_of_the_mapping_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--only", "applications", "--documents", "20", "--passes", "2", "--json", str(file)]
    assert benchmark_mapping.main(arguments) in ENDED
    assert "loan applications" in capsys.readouterr().out
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert len(figures) == (2 if why_not_native() is None else 1)  # one for each interpreter
    # What parses and maps cannot be faster than what only parses.
    assert all(figure["value"] > 1.0 for figure in figures)


def test_the_mapping_benchmark_leaves_out_documents_that_are_refused() -> None:
    from xml_extractor.contract import read_contract
    from xml_extractor.resources import shipped_config
    from xml_extractor.source.sample import generate_applications

    plan = read_contract(shipped_config("loan_application.yaml")).plan
    [(_, good)] = generate_applications(1, 1)
    assert [document.key for document in benchmark_mapping.loadable(plan, [good, "<broken", good])] == [1, 3]


def test_a_tiny_run_of_the_pipeline_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--only", "applications", "--engine", "sqlite", "--documents", "30", "--repeat", "1"]
    arguments += ["--executor", "thread", "--workers", "2", "--json", str(file)]
    assert benchmark_pipeline.main(arguments) in ENDED
    assert "loan applications into SQLite" in capsys.readouterr().out
    [figure] = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert figure["value"] > 0.0


def test_a_tiny_run_of_the_resuming_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    arguments = ["--engine", "sqlite", "--documents", "6000", "--repeat", "1", "--json", str(file)]
    assert benchmark_resuming.main(arguments) in ENDED
    assert "passed over: SQLite" in capsys.readouterr().out
    compared, passed, account = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert passed["value"] < 1000 * 6000 / compared["value"], "passing over is faster than comparing"
    assert account["value"] > 0.0


def test_a_tiny_run_of_the_memory_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "figures.json"
    assert benchmark_memory.main(["--documents", "20", "--executor", "thread", "--json", str(file)]) in ENDED
    assert "peak memory of 20 documents" in " ".join(capsys.readouterr().out.split())
    figures = json.loads(file.read_text(encoding="utf-8"))["figures"]
    assert all(figure["value"] > 10 for figure in figures[1:])  # a Python process takes more than 10 MB


def test_a_fresh_copy_holds_the_product_and_nothing_of_a_run(tmp_path: Path) -> None:
    copy = benchmark_default_run.fresh_copy(tmp_path / "copy")
    assert (copy / "production_processor.py").is_file()
    assert (copy / "xml_extractor" / "cli.py").is_file()
    assert (copy / "config" / "loan_application.yaml").is_file()
    assert not (copy / "data").exists()
    assert not list(copy.rglob("__pycache__"))


def test_the_figure_of_a_verification_is_the_median_of_its_runs() -> None:
    runs = [benchmark_verify.Run(load=10.0, verify=seconds, deep=8.0) for seconds in (4.0, 2.0, 2.5)]
    figure, deep = benchmark_verify.figures_of("SQLite", 1000, runs)
    assert (figure.value, figure.holds) == (25.0, True)
    assert "4.0 times as fast as the load: 400 documents/s, loaded at 100/s" in figure.detail
    assert "shares 20.0 25.0 40.0" in figure.detail
    assert (deep.value, deep.bound) == (80.0, None)
    slow, _ = benchmark_verify.figures_of("SQLite", 1000, [benchmark_verify.Run(10.0, 4.0, 8.0)])
    assert not slow.holds


def test_what_exactly_once_costs_is_measured_whole(tmp_path: Path) -> None:
    """It refuses to print a figure where one of the functions that it times was never called."""
    figures = tmp_path / "figures.json"
    ended = benchmark_safety_cost.main(
        [
            *("--documents", "30", "--repeat", "1", "--engine", "sqlite"),
            *("--only", "applications", "--json", str(figures)),
        ]
    )
    assert ended in ENDED
    (figure,) = json.loads(figures.read_text(encoding="utf-8"))["figures"]
    assert 0 < figure["value"] < 100


def test_what_profiling_costs_is_measured_with_and_without(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    ended = benchmark_profiling_cost.main(
        ["--documents", "30", "--executor", "serial", "--pairs", "1", "--json", str(figures)]
    )
    assert ended in ENDED
    share, pairs = json.loads(figures.read_text(encoding="utf-8"))["figures"]
    assert share["value"] > 0  # of thirty documents, measuring memory alone can take more than the load
    assert share["bound"] == 2.0
    assert pairs["bound"] is None


def test_a_tiny_verification_is_measured(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    ended = benchmark_verify.main(
        ["--documents", "30", "--repeat", "1", "--engine", "sqlite", "--json", str(figures)]
    )
    assert ended in ENDED
    assert len(json.loads(figures.read_text(encoding="utf-8"))["figures"]) == 2
