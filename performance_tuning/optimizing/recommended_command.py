"""Command lines to be copied: complete, and without passwords."""

from __future__ import annotations

import os
import shlex
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from performance_tuning.optimizing.space import Setting
from xml_extractor.settings import flag, hide_password

_SECRET_OPTIONS: Final = ("password", "pwd")


def load_command(setting: Setting, named: Mapping[str, Any]) -> str:
    """Return the command that loads with a setting.

    Args:
        named: what the command line said beside the swept settings, by setting's name.
    """
    words = ["python", "production_processor.py"]
    for name, value in named.items():
        if value is None or value is False:
            continue
        words += [flag(name)] if value is True else [flag(name), without_password(str(value))]
    return quoted([*words, *setting.flags()])


def again(words: Sequence[str], study: str) -> str:
    """Return the command that goes on with a study.

    Args:
        words: of the present command line, its flags only.
    """
    given = [without_password(word) for word in words]
    if not any(word == "--study" or word.startswith("--study=") for word in words):
        given += ["--study", study]
    return quoted(["python", "performance_tuning/batch_size_optimizer_v2.py", *given])


def without_password(word: str) -> str:
    """Return a word of a command line without the password that it may hold: the environment gives that."""
    if "://" not in word:
        return word
    name, separator, url = word.partition("=") if word.startswith("--") else ("", "", word)
    try:
        parsed = make_url(url)
        secret = [option for option in parsed.query if option.lower() in _SECRET_OPTIONS]
        # set() takes None for leave as it is.
        bare = parsed._replace(password=None).difference_update_query(secret)
        stripped = bare.render_as_string(hide_password=False)
    except (ArgumentError, ValueError):
        stripped = url
    return name + separator + hide_password(stripped)  # whatever else looks like one


def holds_password(words: Iterable[Any]) -> bool:
    """Whether any of these words holds a password."""
    return any("://" in str(word) and hide_password(str(word)) != str(word) for word in words)


def quoted(words: Sequence[str]) -> str:
    """Return a command line for the shell of this system."""
    return subprocess.list2cmdline(words) if os.name == "nt" else shlex.join(words)
