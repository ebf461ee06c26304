"""The benchmark of --auto-tune: how it reads figures off samples, and that a tiny run prints its table."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import benchmark_auto_tune as program
import pytest

from xml_extractor.errors import ExitCode
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import Latency, LoadProfile, Sample
from xml_extractor.profiling.recorder import Recorder


def profile(*documents: int) -> LoadProfile:
    """One sample a second."""
    samples = tuple(
        Sample(float(second), count, 0, 0, 0, None, 0.0, Latency(), StageClocks(), 1, 1)
        for second, count in enumerate(documents)
    )
    return replace(Recorder().profile(), samples=samples, seconds=float(len(samples)))


def test_a_rate_leaves_out_what_came_before_and_the_drain_after() -> None:
    found = profile(0, 10, 110, 210, 310, 310, 310)
    assert program.rate(found, 1.0) == pytest.approx(100.0)
    assert program.rate(found, 0.0) == pytest.approx(310 / 4)


def test_a_rate_of_a_load_that_was_over_before_is_that_of_the_whole() -> None:
    assert program.rate(profile(0, 50, 100), 60.0) == pytest.approx(50.0)


def test_the_bound_is_missed_below_nine_tenths_of_the_best_median() -> None:
    sweep = {(10, 1): [90.0, 100.0, 500.0], (100, 1): [300.0, 200.0, 250.0]}
    tuned = [
        program.Tuned((10, 1), rate, 12.0, "--auto-tune settled on …") for rate in (230.0, 226.0, 10.0)
    ] + [program.Tuned((20_000, 8), 200.0, None, "--auto-tune …")]
    best, first, second = program.as_figures("it", sweep, tuned)
    assert best.value == 250.0
    assert "--batch-size 100" in best.detail
    assert first.value == pytest.approx(250 / 226)
    assert first.holds
    assert second.value == pytest.approx(1.25)
    assert not second.holds
    assert "did not settle" in second.detail


def test_a_tiny_run_ends_with_its_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "STARTS", ((500, 1),))
    file = tmp_path / "figures.json"
    status = program.main(
        [
            *("--only", "set", "--seconds", "2.5", "--tuned-seconds", "2.5", "--sizes", "500"),
            *("--threads", "2", "--repeat", "1", "--workers", "1", "--executor", "thread"),
            *("--json", str(file)),
        ]
    )
    assert status in (ExitCode.OK, ExitCode.NEEDS_A_LOOK)
    assert "against the best setting of a sweep" in capsys.readouterr().out
    content = json.loads(file.read_text(encoding="utf-8"))
    assert content["figures"][0]["name"].endswith("best of the sweep")
    [details] = content["details"].values()
    assert len(details["sweep"]) == 1
    assert all(each["documents_per_second"][0] > 0 for each in details["sweep"])
    assert len(details["tuned"]) == len(program.STARTS)
