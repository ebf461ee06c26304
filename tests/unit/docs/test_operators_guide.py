"""The operators' guide names every command, flag, variable, key and exit code there is."""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from xml_extractor.cli import make_parser
from xml_extractor.cli_flags import settings_markdown
from xml_extractor.errors import ExitCode

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "operators-guide.md").read_text(encoding="utf-8")
REFERENCE = ROOT / "docs" / "contract-reference.md"


def commands(
    parser: argparse.ArgumentParser, path: str = ""
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for name, made in action.choices.items():
                yield from commands(made, f"{path} {name}".strip())
            return
    yield path, parser


COMMANDS = dict(commands(make_parser()))


def test_the_commands_of_the_interface_are_there() -> None:
    assert COMMANDS.keys() == {
        "load", "stage", "sample", "contract check", "contract ddl", "contract schema", "quarantine list",
        "quarantine show", "quarantine export", "quarantine replay", "quarantine purge", "status", "rollback",
        "verify", "report", "doctor",
    }  # fmt: skip


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    assert re.search(rf"^\| `{name}[ `]", GUIDE, re.M), f"the table of commands lacks {name}"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_flag_is_documented_and_explained(name: str) -> None:
    for action in COMMANDS[name]._actions:
        for flag in action.option_strings:
            if flag.startswith("--"):
                assert f"`{flag}" in GUIDE or f"{flag} " in GUIDE, f"{flag} of {name} is not in the guide"
        assert action.help, f"{action.dest} of {name} has no help"


def test_every_flag_in_the_guide_exists() -> None:
    known = {
        flag for parser in COMMANDS.values() for action in parser._actions for flag in action.option_strings
    }
    for flag in re.findall(r"(?<![\w-])--[a-z][a-z-]+", GUIDE):
        assert flag in known, f"the guide speaks of {flag}, which is no flag"


def test_the_table_of_settings_is_up_to_date() -> None:
    shown = GUIDE.split("<!-- settings -->")[1].split("<!-- /settings -->")[0].strip()
    assert shown == settings_markdown(), (
        "put what this prints between the settings marks of docs/operators-guide.md: "
        'python -c "from xml_extractor.cli_flags import settings_markdown; print(settings_markdown())"'
    )


@pytest.mark.parametrize("code", ExitCode)
def test_every_exit_code_is_documented(code: ExitCode) -> None:
    assert re.search(rf"^\| {int(code)} \|", GUIDE, re.M)


def test_the_contract_reference_is_up_to_date() -> None:
    from xml_extractor.contract import contract_reference_markdown

    assert REFERENCE.read_text(encoding="utf-8").strip() == contract_reference_markdown().strip(), (
        "write what this prints into docs/contract-reference.md: "
        'python -c "from xml_extractor.contract import *; print(contract_reference_markdown())"'
    )
