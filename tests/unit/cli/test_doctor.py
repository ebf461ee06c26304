"""The ``doctor`` command: its text, in pipes and on terminals of several widths, and its exit codes."""

from __future__ import annotations

import io
import json
import sqlite3
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from tests.support.program import run_command
from xml_extractor import cli_doctor
from xml_extractor.cli import main
from xml_extractor.cli_output import Output
from xml_extractor.engines.base import Finding, Health
from xml_extractor.operations.doctor import Examination, Side

CONTRACT = """\
contract: orders
version: 1
source: {name: shop, table: app_xml, key: order_id, document: app_xml}
document: {root: Order}
tables:
  orders:
    primary_key: [order_id]
    columns:
      order_id: {from: $key, type: int}
"""
LONG = "a sentence that is long enough to be broken on a terminal of eighty columns and on a wider one too"
EXAMINATION = Examination(
    (
        Side(
            "source",
            "a source",
            (
                Finding(Health.GOOD, "driver", "there"),
                Finding(Health.NOTE, "round trip", LONG, "move nearer"),
                Finding(Health.WARNING, "index of [app_xml]", "none [at all]", "CREATE INDEX …"),
            ),
        ),
        Side(
            "target",
            "a target",
            (Finding(Health.PROBLEM, "permissions", "two are lacking", "GRANT A TO [x];\nGRANT B TO [x];"),),
        ),
    )
)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "orders.yaml").write_text(CONTRACT)
    with sqlite3.connect(tmp_path / "shop.db") as connection:
        connection.execute("CREATE TABLE app_xml (order_id INTEGER PRIMARY KEY, app_xml TEXT)")
        connection.execute("INSERT INTO app_xml VALUES (1, '<Order/>')")
    connection.close()
    monkeypatch.chdir(tmp_path)
    return tmp_path


SHOP = ("--source", "sqlite:///shop.db", "--contract", "orders.yaml")


def test_plain_text_has_a_line_for_each_finding_and_what_to_do_at_the_end() -> None:
    assert list(cli_doctor.text_lines(EXAMINATION)) == [
        "Source: a source",
        "  good     driver              there",
        f"  note     round trip          {LONG}",
        "                               -> move nearer",
        "  warning  index of [app_xml]  none [at all]",
        "",
        "Target: a target",
        "  problem  permissions  two are lacking",
        "",
        "2 things to do before a load:",
        "  1. target, permissions:",
        "     GRANT A TO [x];",
        "     GRANT B TO [x];",
        "  2. source, index of [app_xml]:",
        "     CREATE INDEX …",
    ]


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("colour", [True, False])
def test_a_terminal_shows_all_of_it_within_its_width(width: int, colour: bool) -> None:
    output, screen = Output(), io.StringIO()
    output.out = Console(
        file=screen, force_terminal=True, width=width, no_color=not colour, highlight=False, soft_wrap=True
    )
    cli_doctor._print_rich(EXAMINATION, output)
    lines = Text.from_ansi(screen.getvalue()).plain.splitlines()
    assert max(map(len, lines)) <= width
    shown = " ".join(" ".join(lines).split())
    for words in (
        "Source: a source", "✓ driver there", "! index of [app_xml] none [at all]", "✗ permissions two are",
        "→ move nearer", "2 things to do before a load:",
        "1. ✗ target, permissions: GRANT A TO [x]; GRANT B TO [x];",
        "2. ! source, index of [app_xml]: CREATE INDEX …",
    ):  # fmt: skip
        assert words in shown
    assert ("\x1b[32m" in screen.getvalue()) is colour


def test_it_runs_and_ends_with_the_code_that_its_findings_ask_for(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["doctor", *SHOP]) == 3
    assert "1 thing to do before a load:" in capsys.readouterr().out
    assert main(["doctor", *SHOP, "--create-tables"]) == 0
    assert capsys.readouterr().out.endswith("Green: a load would work.\n")
    assert main(["doctor", *SHOP, "--target", "postgresql://nobody:hunter2@127.0.0.1:1/none"]) == 5
    shown = capsys.readouterr()
    assert "problem  connection" in shown.out
    assert "hunter2" not in shown.out + shown.err
    assert main(["doctor", *SHOP, "--target", "nonsense"]) == 2
    assert sorted(path.name for path in folder.iterdir()) == ["orders.yaml", "shop.db"]


def test_json_is_the_same_for_machines(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", *SHOP, "--json", "--target", "null:"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert (data["would_work"], data["to_do"], data["exit_code"]) == (True, 0, 0)
    assert {finding["health"] for finding in data["source"]["findings"]} == {"good"}


@pytest.mark.parametrize(("user", "shown"), [((), "xml_loader"), (("o'b]r",), "o'b]r")])
def test_the_grant_script_needs_no_server(
    folder: Path, capsys: pytest.CaptureFixture[str], user: tuple[str, ...], shown: str
) -> None:
    target = ("--target", "postgresql://nobody@127.0.0.1:1/none", "--target-schema", "s")
    assert main(["doctor", *SHOP, *target, "--grant-script", *user]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == [
        f"-- source: SQLite file {folder / 'shop.db'}",
        "-- has no users; the file's own rights decide",
        "",
    ]
    assert f'GRANT SELECT, INSERT, DELETE ON TABLE "s"."orders" TO "{shown}";' in lines
    assert f'GRANT SELECT, INSERT, UPDATE, DELETE ON TABLE "s"."load_ledger" TO "{shown}";' in lines


def test_without_databases_the_embedded_default_is_looked_at(folder: Path) -> None:
    found = run_command("doctor", "--contract", "orders.yaml", folder=folder)
    assert found.returncode in (0, 3)
    assert "Source: SQLite file" in found.stdout
