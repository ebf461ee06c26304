"""``--server`` and what belongs to it, on every command that opens a database."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from xml_extractor.cli import main, make_parser
from xml_extractor.cli_flags import SERVER, TIME_LIMITS
from xml_extractor.engines.mssql import drivers
from xml_extractor.engines.mssql.connection import ConnectionSettings
from xml_extractor.errors import UsageError
from xml_extractor.settings import flag

COMMANDS = (
    ("load",), ("stage", "x.xml"), ("sample",), ("status",), ("doctor",), ("quarantine", "list"),
    ("quarantine", "show", "1"), ("quarantine", "replay"),
)  # fmt: skip


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("XML_EXTRACTOR_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def told(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert main(arguments) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "hunter" not in printed.err
    assert "Traceback" not in printed.err
    return printed.err


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_that_opens_a_database_takes_them(command: tuple[str, ...]) -> None:
    switches = {"trusted", "trust_server_certificate"}
    words = [
        word
        for name in (*SERVER, *TIME_LIMITS)
        for word in ([flag(name)] if name in switches else [flag(name), "1"])
    ]
    arguments, unknown = make_parser().parse_known_args([*command, *words])
    assert not unknown
    assert all(getattr(arguments, name) in ("1", True) for name in (*SERVER, *TIME_LIMITS))


def test_no_password_has_a_flag() -> None:
    for command in COMMANDS:
        _, unknown = make_parser().parse_known_args([*command, "--password", "hunter2"])
        assert "--password" in unknown


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_what_is_missing_is_said(command: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    assert "add --database NAME" in told(capsys, *command, "--server", "db", "--username", "u")
    assert "'db:1433' is not allowed; it takes HOST" in told(capsys, *command, "--server", "db:1433")


@pytest.mark.parametrize(
    ("flags", "named"),
    [
        (("--server", "db", "--database", "d", "--username", "u"), "--server: "),
        (("--source", "mssql://u:hunter2@h/d"), "--source: "),
        (
            ("--server", "db", "--database", "d", "--username", "u", "--source", "sqlite:///x.db"),
            "--server: ",
        ),
        (("--target", "mssql://u:hunter2@h/d", "--source", "sqlite:///x.db"), "--target: "),
    ],
)
def test_a_missing_driver_is_one_sentence_with_the_setting_it_is_needed_for(
    flags: tuple[str, ...], named: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(settings: ConnectionSettings) -> str:
        raise UsageError("pyodbc cannot be imported: the system library libodbc.so.2 is missing; install it")

    monkeypatch.setattr(drivers, "choose_driver", missing)
    said = told(capsys, "load", *flags)
    (line,) = [line for line in said.splitlines() if line.startswith("error: ")]
    assert line == (
        f"error: {named}pyodbc cannot be imported: the system library libodbc.so.2 is missing; install it"
    )


def test_a_url_that_names_no_database(capsys: pytest.CaptureFixture[str]) -> None:
    assert "--source: the SQL Server URL names no database" in told(
        capsys, "load", "--source", "mssql://u:hunter2@h"
    )


@pytest.mark.parametrize("command", [("load",), ("quarantine", "replay"), ("rollback", "3")], ids=" ".join)
def test_every_command_that_writes_or_deletes_many_rows_can_leave_others_the_table(
    command: tuple[str, ...],
) -> None:
    assert make_parser().parse_args([*command, "--avoid-lock-escalation"]).avoid_lock_escalation is True
