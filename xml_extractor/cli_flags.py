"""Command line flags, made from the settings they stand for."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Final

from xml_extractor.settings import (
    FIELDS,
    SECRETS,
    LoadOptions,
    allowed,
    choices,
    default_text,
    flag,
    is_switch,
    variable,
)

LOAD: Final = tuple(field.alias or name for name, field in LoadOptions.model_fields.items())
SERVER: Final = (
    "server", "database", "username", "trusted", "password_file", "encrypt", "trust_server_certificate",
)  # fmt: skip
SOURCE: Final = ("source", "source_password_file", *SERVER)
DATABASES: Final = ("source", "source_password_file", "target", "target_password_file", *SERVER)
TIME_LIMITS: Final = ("connect_seconds", "statement_seconds", "lock_timeout")
WATCH: Final = ("report", "metrics_port", "metrics_host", "metrics_textfile", "telemetry")
LOG: Final = ("log_level", "log_file")

_METAVARS: Final = {
    "source": "URL",
    "target": "URL",
    "source_name": "NAME",
    "contract": "FILE",
    "throttle": "DOCS_PER_SECOND",
    "max_quarantined": "N|P%",
    "max_drift": "PERCENT",
    "server": "HOST",
    "database": "NAME",
    "username": "NAME",
    "target_schema": "NAME",
}


def add_setting_flags(parser: argparse._ActionsContainer, names: Iterable[str]) -> None:
    """Add the flags of these settings.  Their values are checked with all other settings, not here."""
    for name in names:
        if name in SECRETS:
            continue
        field = FIELDS[name]
        default = default_text(name)
        about = f"{variable(name)}" + (f"; default {default}" if default and not is_switch(name) else "")
        text = f"{field.description} [{about}]".replace("%", "%%")
        if is_switch(name):
            parser.add_argument(
                flag(name), dest=name, action=argparse.BooleanOptionalAction, default=None, help=text
            )
        else:
            parser.add_argument(flag(name), dest=name, metavar=_metavar(name), default=None, help=text)


def add_config_flag(parser: argparse._ActionsContainer) -> None:
    """Add ``--config``."""
    parser.add_argument(
        "--config", metavar="FILE", type=Path,
        help=f"settings in YAML [{variable('config')}; default config/settings.yaml where there is one]",
    )  # fmt: skip


def add_json_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def setting_flags(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return what the command line says of settings, by setting's name; ``None`` = nothing."""
    given = vars(arguments)
    return {name: given[name] for name in FIELDS if name in given}


def _metavar(name: str) -> str:
    if name in _METAVARS:
        return _METAVARS[name]
    words = choices(name)
    if words is not None:
        return "|".join(words)
    kind = allowed(name)
    for word, metavar in (
        ("seconds", "S"),
        ("size", "SIZE"),
        ("whole number,", "N"),
        ("whole number f", "N"),
    ):
        if word in kind:
            return metavar
    return "FILE" if "file" in kind else "KEY" if "key" in kind else "TEXT"


def settings_markdown() -> str:
    """Return the table of all settings that the operators' guide shows; a test compares the two."""
    rows = [
        "| flag | environment variable | config key | takes | default | what it is |",
        "|---|---|---|---|---|---|",
    ]
    for name, field in FIELDS.items():
        shown_flag = "none, on purpose" if name in SECRETS else f"`{flag(name)}`"
        if is_switch(name):
            shown_flag += f", `--no-{flag(name)[2:]}`"
        default = f"`{default_text(name)}`" if default_text(name) else ""
        cells = (
            shown_flag,
            f"`{variable(name)}`",
            f"`{name}`",
            allowed(name),
            default,
            field.description or "",
        )
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(rows)
