"""Brings flags, environment and config file together into :class:`~xml_extractor.settings.Settings`.

Command line flags > environment > config file > defaults.
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from xml_extractor.errors import UsageError
from xml_extractor.settings import (
    CONFIG_FILE,
    ENVIRONMENT_PREFIX,
    FIELDS,
    SECRETS,
    Settings,
    allowed,
    checkout,
    flag,
    is_trusted,
    variable,
)


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and where it was given, as a message names it."""

    value: Any
    place: str
    rank: int  # the config file's is 0, the environment's 1, the command line's 2


def read_settings(
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Bring flags, environment and config file together.

    Args:
        flags: by setting's name; ``None`` = not given.
        config: the file named by ``--config``; else ``XML_EXTRACTOR_CONFIG``; else ``config/settings.yaml``
            of the working directory, else of the checkout, where there is one.
        environment: instead of the process's own.
        folder: instead of the working directory.

    Raises:
        UsageError: naming the flag, variable or key of every value that is not allowed, and what is.
    """
    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else folder
    given: dict[str, _Given] = {}
    mistakes: list[str] = []
    path = _config_path(config, environment, folder)
    if path is not None:
        for name, value in _read_config(path).items():
            if name in FIELDS:
                given[name] = _Given(value, f"{path}: {name}", 0)
            else:
                mistakes.append(f"{path}: unknown key {name!r}{_did_you_mean(name, list(FIELDS))}")
    variables = {variable(name): name for name in FIELDS}
    for key, text in environment.items():
        if key in variables:
            given[variables[key]] = _Given(text, key, 1)
        elif key.startswith(ENVIRONMENT_PREFIX) and key != variable("config"):
            # Other programs may have variables of this prefix; one that all but names a setting is a slip.
            close = difflib.get_close_matches(key, variables, n=1, cutoff=1 - 2.5 / len(key))
            if close:
                mistakes.append(f"environment variable {key} is not known; did you mean {close[0]}?")
    for name, value in flags.items():
        if value is not None:
            given[name] = _Given(value, flag(name), 2)
    _let_server_win(given)
    try:
        settings = Settings.model_validate({name: item.value for name, item in given.items()})
    except ValidationError as error:
        mistakes += _mistakes(error, given)
        raise UsageError(_listed(mistakes)) from None
    mistakes += _conflicts(settings, given)
    if mistakes:
        raise UsageError(_listed(mistakes))
    return settings


def _let_server_win(given: dict[str, _Given]) -> None:
    """Drop a side's URL that was told in a place of lower rank than the server: it is a former choice."""
    server = given.get("server")
    for side in ("source", "target"):
        if server is not None and side in given and given[side].rank < server.rank:
            del given[side]


def _config_path(config: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    if config is not None:
        return config
    named = environment.get(variable("config"))
    if named:
        return Path(named)
    root = checkout()
    folders = [folder] if root is None else [folder, root]
    return next((place / CONFIG_FILE for place in folders if (place / CONFIG_FILE).is_file()), None)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"config file {path} cannot be read: {why}") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The error's own text quotes the line, which may hold a password.
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
        raise UsageError(f"{path}{place}: not valid YAML; write one `key: value` a line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must be a mapping of settings, one `key: value` a line")
    return {str(name): value for name, value in content.items()}


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _mistakes(error: ValidationError, given: Mapping[str, _Given]) -> list[str]:
    """Say for each value that is not allowed where it was given and what is allowed instead."""
    mistakes: dict[str, str] = {}
    for detail in error.errors(include_input=False, include_url=False):
        name = str(detail["loc"][0])
        item = given.get(name)
        place = item.place if item is not None else flag(name)
        value = (
            ""
            if item is None or name in (*SECRETS, "source", "target")
            else f" {str(item.value)!r} is not allowed;"
        )
        mistakes[name] = f"{place}:{value} it takes {allowed(name)}"
    return list(mistakes.values())


def _conflicts(settings: Settings, given: Mapping[str, _Given]) -> list[str]:
    mistakes = _server_conflicts(settings, given)
    for prefix, whose in (("", "the"), ("source_", "the source's"), ("target_", "the target's")):
        secret, file = f"{prefix}password", f"{prefix}password_file"
        if getattr(settings, secret) is not None and getattr(settings, file) is not None:
            mistakes.append(
                f"{given[secret].place} and {given[file].place} both give {whose} password; keep one of them"
            )
    start, end = settings.app_id_start, settings.app_id_end
    if isinstance(start, int) and isinstance(end, int) and start > end:
        mistakes.append(
            f"{given['app_id_start'].place}: the first key {start} comes after the last key {end} "
            f"({given['app_id_end'].place}); exchange them"
        )
    return mistakes


def _server_conflicts(settings: Settings, given: Mapping[str, _Given]) -> list[str]:
    """Say what is wrong about ``--server`` and the settings that belong to it."""
    of_server = ("database", "username", "trusted", "encrypt", "trust_server_certificate")
    if settings.server is None:
        return [
            f"{given[name].place} is given, but no {flag('server')} that it could be for; name the server, "
            "or write it into the URL instead"
            for name in of_server
            if name in given and getattr(settings, name) not in (None, False)
        ]
    place = given["server"].place
    mistakes = []
    if settings.database is None:
        mistakes.append(f"{place}: no database is named; add {flag('database')} NAME")
    if settings.trusted and settings.username is not None:
        mistakes.append(
            f"{given['trusted'].place} and {given['username'].place} name two ways to log in; keep one"
        )
    if settings.username is None and not is_trusted(settings):
        mistakes.append(
            f"{place}: nobody is named to log in; add {flag('username')} NAME, with the password in "
            f"{variable('password')} or {flag('password_file')} FILE, or {flag('trusted')} to log in as the "
            "user who runs the program"
        )
    return mistakes


def _listed(mistakes: list[str]) -> str:
    return mistakes[0] if len(mistakes) == 1 else "settings are wrong:\n  " + "\n  ".join(mistakes)
