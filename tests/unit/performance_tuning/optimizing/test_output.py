"""What an operator gets to see: commands without passwords, a terminal, a page."""

from __future__ import annotations

import argparse
import io
import json
import re
import shlex
from dataclasses import replace
from functools import cache

import pytest
from rich.console import Console

from performance_tuning.optimizing import words
from performance_tuning.optimizing.durations import duration
from performance_tuning.optimizing.findings import Findings, as_json, findings
from performance_tuning.optimizing.html_page import make_page
from performance_tuning.optimizing.measurements import History
from performance_tuning.optimizing.recommended_command import again, load_command, without_password
from performance_tuning.optimizing.search import Plan
from performance_tuning.optimizing.space import Setting
from performance_tuning.optimizing.study_file import Trait
from performance_tuning.optimizing.terminal import print_findings
from tests.unit.performance_tuning.optimizing.synthetic import Machine, Surface, full_space, swept
from xml_extractor.cli import make_parser
from xml_extractor.cli_output import Output
from xml_extractor.profiling.report import page

SETTING = Setting("process", 4, 500, 1000, 2, "openjson")


@cache
def found() -> tuple[Findings, History]:
    surface = Surface(0)
    surface.slopes = [0.9, 0.02, 0.2, 0.8]
    plan = Plan(budget_seconds=600)
    kept, _ = swept(Machine(surface, failing=["serial"]), full_space(), plan)
    result = findings(kept.history, full_space(), plan)
    assert result is not None
    return result, kept.history


@pytest.mark.parametrize(
    ("url", "bare"),
    [
        ("postgresql://me:s3cret@db/x?sslmode=require", "postgresql://me@db/x?sslmode=require"),
        ("postgresql://me@db/x?password=s3cret", "postgresql://me@db/x"),
        ("mssql://me:s3cret@db/x", "mssql://me@db/x"),
        ("--target=postgresql://me:s3cret@db/x", "--target=postgresql://me@db/x"),
        ("sqlite:////srv/a.db", "sqlite:////srv/a.db"),
        ("null:", "null:"),
        ("config/loan.yaml", "config/loan.yaml"),
    ],
)
def test_commands_hold_no_password(url: str, bare: str) -> None:
    assert without_password(url) == bare
    command = load_command(
        SETTING, {"target": url.removeprefix("--target="), "source": None, "trusted": False}
    )
    assert "s3cret" not in command
    assert "s3cret" not in again(["--target", url, "--workers", "2"], "a.study")


def test_the_recommended_command_is_one_that_the_loader_takes() -> None:
    command = load_command(SETTING, {"source": "sqlite:///my files/in.db", "contract": "my contract.yaml"})
    program, script, *flags = shlex.split(command)
    assert (program, script) == ("python", "production_processor.py")
    parsed = make_parser().parse_args(["load", *flags])
    assert (parsed.workers, parsed.batch_size, parsed.queue_size) == ("4", "500", "1000")
    assert (parsed.executor, parsed.insert_threads, parsed.insert_path) == ("process", "2", "openjson")
    assert parsed.source == "sqlite:///my files/in.db"


def test_going_on_names_the_study_once() -> None:
    assert again(["--workers", "2"], "a b.study").endswith("--workers 2 --study 'a b.study'")
    assert again(["--study", "x", "--workers", "2"], "x").count("--study") == 1
    assert again(["--study=x"], "x").count("--study") == 1


def test_the_terminal_shows_all_that_was_found(capsys: pytest.CaptureFixture[str]) -> None:
    result, _ = found()
    print_findings(Output(), result, "python production_processor.py --workers 4", ["a hint"])
    shown = capsys.readouterr().out
    assert "    python production_processor.py --workers 4\n    (a hint)\n" in shown
    for part in (
        "Within noise of the fastest", "What it costs to choose otherwise", "How much each setting matters",
        "workers by batch size", "→", "Noise of one measurement", "Failed: serial", "out of order",
    ):  # fmt: skip
        assert part in shown, part
    assert "% ±" in shown


def test_the_headings_of_the_map_stand_apart_on_a_terminal() -> None:
    result, _ = found()
    cells = tuple((None,) * len(row) for row in result.map.cells)  # "·": no wider than the headings
    output, screen = Output(), io.StringIO()
    output.out = Console(file=screen, force_terminal=True, width=80, no_color=True, highlight=False)
    print_findings(output, replace(result, map=replace(result.map, cells=cells)), "python x", [])
    lines = re.sub(r"\x1b\[[0-9;]*m", "", screen.getvalue()).splitlines()
    assert ["workers", *(f"{batch:,}" for batch in result.map.columns)] in [line.split() for line in lines]


def test_the_page_shows_the_same_and_escapes_what_it_is_told() -> None:
    result, history = found()
    traits = {"machine": Trait("2 cores", "x"), "target": Trait("<script>alert(1)</script>", "x")}
    html = page.render(make_page(result, "python x --workers 4", ["a hint"], traits, history))
    assert "<script>alert" not in html
    assert "python x --workers 4" in html
    assert 'id="workers-by-batch-size-title"' in html
    assert f"{result.measurements} loads" in html
    assert "http://" not in html.replace("http://www.w3.org", "")
    assert len(html) < 500_000


def test_the_json_holds_every_measurement_and_nothing_that_json_cannot() -> None:
    result, history = found()
    content = json.loads(json.dumps(as_json(result, "command", {"subject": {}}, history), allow_nan=False))
    assert content["command"] == "command"
    assert len(content["measurements"]) == result.measurements
    assert content["recommended"]["setting"]["executor"] == result.recommended.setting.executor
    assert {cost["setting"] for cost in content["costs"]} >= {"workers", "batch_size"}
    assert content["failures"]


def test_differences_read_well() -> None:
    assert words.percent(-0.312) == "−31.2 %"
    assert words.percent(0.0001) == "±0.0 %"
    assert words.percent(0.05) == "+5.0 %"


@pytest.mark.parametrize(("text", "expected"), [("90", 90), ("90s", 90), ("10m", 600), ("1.5h", 5400)])
def test_durations_are_read(text: str, expected: float) -> None:
    assert duration(text) == expected


@pytest.mark.parametrize("text", ["", "0", "-5m", "ten", "10d", "1e3", "٣m", "inf"])
def test_other_durations_are_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="no duration"):
        duration(text)


def test_a_study_holds_no_password_and_says_what_it_is_about() -> None:
    from performance_tuning.measuring.fresh_targets import FreshTargets, Way
    from performance_tuning.measuring.sources import Source
    from performance_tuning.optimizing.subject import subject_of
    from xml_extractor.contract import read_contract
    from xml_extractor.resources import shipped_config

    targets = FreshTargets(Way.NEW_DATABASE, "PostgreSQL", lambda: pytest.fail("not asked"), float, ())
    source = Source("postgresql://me:s3cret@db/in", 10, "10 documents", generated=False)
    contract = read_contract(shipped_config("loan_application.yaml"))
    url = "postgresql://me:s3cret@db/x"
    subject = subject_of(contract, source, targets, url, "", {}, full_space(), Plan(), ["bulkcopy"])
    said = json.dumps(
        [{name: trait.shown + trait.value for name, trait in subject.traits.items()}, subject.plan]
    )
    assert "s3cret" not in said
    assert set(subject.traits) == {
        "machine", "program", "libraries", "contract", "documents", "target", "other settings"
    }  # fmt: skip
    other = subject_of(contract, source, targets, "postgresql://me@other/x", "", {}, full_space(), Plan(), [])
    assert other.traits["target"] != subject.traits["target"]
