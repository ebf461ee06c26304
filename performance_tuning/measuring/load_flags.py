"""The flags of the load that programs which measure it pass on: those of the product, from its settings."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from typing import Any, Final

from xml_extractor.cli_flags import DATABASES, LOAD, add_config_flag, add_setting_flags, setting_flags
from xml_extractor.settings import LoadOptions, Settings, databases
from xml_extractor.settings_reading import read_settings

NOT_PASSED: Final = frozenset({"limit", "create_tables", "dry_run", "app_id_start", "app_id_end"})
"""Settings of a load that measuring decides by itself: which documents, and into what.  They stay at their
defaults even if environment or config file say otherwise."""


@dataclass(frozen=True, slots=True)
class LoadSettings:
    """What command line, environment and config file say."""

    all: Settings
    load: dict[str, Any]
    """Those of the load, by name, as JSON has them; no URL and no password among them."""


def add_load_flags(parser: argparse.ArgumentParser, *, but: frozenset[str] = frozenset()) -> None:
    """Add the flags of databases, contract and load, in a group of their own.

    Args:
        but: settings that the program sets by itself.
    """
    group = parser.add_argument_group(
        "the load", "as production_processor.py takes them; without --source a sample is generated, without "
        "--target it is loaded into new SQLite files",
    )  # fmt: skip
    names = (*DATABASES, "contract", *(name for name in LOAD if name not in NOT_PASSED))
    add_setting_flags(group, [name for name in names if name not in but])
    add_config_flag(group)


def load_settings(arguments: argparse.Namespace) -> LoadSettings:
    """Read the settings as every command does.

    Raises:
        UsageError: one is wrong.
    """
    settings = read_settings(setting_flags(arguments), config=arguments.config)
    options = settings.options().model_copy(
        update={name: LoadOptions.model_fields[name].default for name in NOT_PASSED}
    )
    return LoadSettings(settings, options.model_dump(mode="json"))


def named_databases(settings: Settings) -> tuple[str | None, str | None]:
    """Return the URLs of source and target with their passwords; ``None`` = none is named.

    Unlike for a load, a target that is not named is not the source: measuring writes into new files then.

    Raises:
        UsageError: a URL or a password is wrong.
    """
    where = databases(settings)
    target_named = settings.target is not None or settings.server is not None
    return None if where.source_is_embedded else where.source, where.target if target_named else None
