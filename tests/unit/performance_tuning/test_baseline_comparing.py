"""Baselines against each other: what may be compared, and what is called a regression."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from performance_tuning.baseline import remarks
from performance_tuning.baseline.comparing import BaselineComparison, compare_baselines
from performance_tuning.baseline.document import Baseline, ContractRecord, SourceRecord, TargetRecord
from performance_tuning.baseline.figures import FIGURES, PRIMARY
from performance_tuning.baseline.showing import console, show_baseline, show_comparison
from performance_tuning.measuring.machine import GitState
from tests.unit.performance_tuning.baselines import MACHINE, baseline, circumstances
from xml_extractor.errors import ExitCode
from xml_extractor.settings import LoadOptions


def words(comparison: BaselineComparison) -> dict[str, str]:
    return {figure.figure.name: figure.word for figure in comparison.figures}


def regressions(comparison: BaselineComparison) -> set[str]:
    return {figure.figure.name for figure in comparison.regressions}


def test_equal_runs_are_not_distinguishable() -> None:
    found = compare_baselines(baseline(seed=1), baseline(seed=2))
    assert set(words(found).values()) == {"not distinguishable"}
    assert found.exit_code is ExitCode.OK
    assert found.differences.changed == ()


def test_equal_runs_are_called_a_regression_rarely() -> None:
    earlier = baseline(seed=1000, noise=0.1)
    wrong = sum(
        compare_baselines(earlier, baseline(seed=seed, noise=0.1), max_regression_percent=0).exit_code
        is ExitCode.NEEDS_A_LOOK
        for seed in range(60)
    )
    assert wrong <= 10


@pytest.mark.parametrize(
    ("name", "factor", "word", "regressed"),
    [
        (PRIMARY, 0.9, "slower", True),
        (PRIMARY, 1.1, "faster", False),
        ("insert_p95_ms", 1.1, "slower", True),
        ("insert_p95_ms", 0.9, "faster", False),
        ("cpu_ms_per_document", 1.1, "worse", True),
        ("cpu_ms_per_document", 0.9, "better", False),
        ("peak_memory_mb", 1.1, "worse", True),
        ("workers_blocked_share", 1.1, "higher", False),
        ("queue_mean_documents", 0.9, "lower", False),
        (PRIMARY, 0.97, "slower", False),  # supported, but within what is allowed
    ],
)
def test_a_change_of_one_figure_is_found_and_named(
    name: str, factor: float, word: str, regressed: bool
) -> None:
    found = compare_baselines(baseline(), baseline(seed=2, factors={name: factor}))
    said = words(found)
    assert said.pop(name) == word
    assert set(said.values()) == {"not distinguishable"}
    assert regressions(found) == ({name} if regressed else set())
    assert found.exit_code is (ExitCode.NEEDS_A_LOOK if regressed else ExitCode.OK)


def test_the_bound_of_a_regression_can_be_set() -> None:
    earlier, later = baseline(), baseline(seed=2, factors={PRIMARY: 0.9})
    assert compare_baselines(earlier, later, max_regression_percent=15).exit_code is ExitCode.OK
    assert compare_baselines(earlier, later, max_regression_percent=5).exit_code is ExitCode.NEEDS_A_LOOK


def test_too_few_runs_are_told_with_how_many_it_takes() -> None:
    found = compare_baselines(baseline(3), baseline(3, seed=2, factors={PRIMARY: 0.5}))
    assert words(found)[PRIMARY] == "too few runs"
    assert found.exit_code is ExitCode.OK
    assert any("needs at least 5" in remark for remark in found.remarks)


def test_four_runs_can_tell_throughput_but_not_all_else() -> None:
    found = words(compare_baselines(baseline(4), baseline(4, seed=2, factors={PRIMARY: 0.8})))
    assert found[PRIMARY] == "slower"
    assert found["insert_p95_ms"] == "too few runs"


def against(runs: dict[str, float] | None = None, **changes: Any) -> BaselineComparison:
    return compare_baselines(baseline(), baseline(seed=2, factors=runs, of=circumstances(**changes)))


def test_other_documents_are_refused() -> None:
    other = SourceRecord(description="500 documents", documents=500, generated=True)
    found = against(source=other)
    assert found.differences.refusal is not None
    assert "300 documents then, 500 documents now" in found.differences.refusal
    assert found.figures == ()
    assert found.exit_code is ExitCode.USAGE


def test_on_another_machine_only_memory_is_compared() -> None:
    found = against({PRIMARY: 0.5, "peak_memory_mb": 1.5}, machine=dataclasses.replace(MACHINE, cores=8))
    assert set(words(found)) == {"peak_memory_mb"}
    assert "another machine" in found.differences.warnings[0]
    assert "4 cores" in found.differences.warnings[0]
    assert regressions(found) == {"peak_memory_mb"}


def test_another_engine_is_compared_and_no_regression() -> None:
    found = against({PRIMARY: 0.5}, target=TargetRecord(engine="PostgreSQL", way="a new database"))
    assert words(found)[PRIMARY] == "slower"
    assert found.exit_code is ExitCode.OK
    assert "none is called a regression" in found.differences.warnings[0]


def test_another_contract_is_compared_with_a_warning() -> None:
    found = against({PRIMARY: 0.5}, contract=ContractRecord(name="other", version=2, digest="e" * 64))
    assert "another contract" in found.differences.warnings[0]
    assert found.exit_code is ExitCode.NEEDS_A_LOOK


def test_what_was_changed_is_listed() -> None:
    settings = LoadOptions(batch_size=50).model_dump(mode="json")
    found = against(
        settings=settings, versions={"Python": "3.12.1", "lxml": "6.2"}, git=GitState("b" * 40, dirty=True)
    )
    assert found.differences.warnings == ()
    assert found.differences.changed == (
        "commit: aaaaaaaaaaaa → bbbbbbbbbbbb with uncommitted changes",
        "lxml: 6.1 → 6.2",
        "--batch-size: 1000 → 50",
    )


def test_a_machine_that_became_slower_is_told() -> None:
    found = compare_baselines(
        baseline(), baseline(seed=2, yardstick=65.0, factors={PRIMARY: 0.8}, remarks=("it was busy",))
    )
    assert any("the machine itself is 30% slower" in remark for remark in found.remarks)
    assert not any("it was busy" in remark for remark in found.remarks)  # said with the later one's figures


def with_runs(found: Baseline, **changes: list[Any]) -> list[Any]:
    return [
        run.model_copy(update={name: values[index] for name, values in changes.items()})
        for index, run in enumerate(found.runs)
    ]


def test_busy_drifting_and_unequal_runs_are_told() -> None:
    quiet = baseline(8)
    assert remarks.of_runs(quiet.runs) == []
    figures = [
        {**run.figures, PRIMARY: 100.0 + number if number < 4 else 80.0 + number}
        for number, run in enumerate(quiet.runs)
    ]
    [drift] = [said for said in remarks.of_runs(with_runs(quiet, figures=figures)) if "drifted" in said]
    assert "throughput drifted: in the second half of the runs it was -16%" in drift
    [busy] = remarks.of_runs(with_runs(quiet, others_share=[0.3] * 8))
    assert "other programs took 30%" in busy
    [rows] = remarks.of_runs(with_runs(quiet, rows=[{"a": number} for number in range(8)]))
    assert "same numbers of rows" in rows
    [executors] = remarks.of_runs(with_runs(quiet, executor=["thread", "process"] * 4))
    assert "process, thread" in executors


@pytest.mark.parametrize("columns", [80, 120])
def test_every_figure_has_a_line_on_every_terminal(
    columns: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    out = console()
    out.width = columns
    earlier, later = baseline(), baseline(seed=2, factors={PRIMARY: 0.8})
    show_baseline(out, later)
    show_comparison(out, compare_baselines(earlier, later), 5.0)
    printed = capsys.readouterr().out
    assert "…" not in printed, "something was cut off"
    assert all(len(line) <= columns for line in printed.splitlines())
    flowing = " ".join(printed.split())
    for figure in FIGURES:
        assert figure.label.split(",")[0] in flowing
    assert "slower" in printed
    assert "regression: throughput is" in flowing
