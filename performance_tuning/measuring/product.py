"""Running the product the way its users run it: as a program, with nothing of the surroundings' settings.

URLs go by environment variables, because a command line can be read by every user of the machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Final

import psutil

from performance_tuning.measuring.interrupting import signals_held
from performance_tuning.measuring.machine import CHECKOUT
from xml_extractor.settings import ENVIRONMENT_PREFIX, variable

PROGRAM: Final = CHECKOUT / "production_processor.py"

_LAST_CHARACTERS: Final = 4000
_END_SECONDS: Final = 5.0
"""How long a program that is ended may take to put itself away before it is killed."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended."""

    status: int | None
    """Its exit status; ``None`` where it was ended because its time was up."""
    output: str  # the end of what it printed


def product_environment() -> dict[str, str]:
    """Return the environment without the product's own variables, and with Python's usual way of keeping what
    it has compiled: without it every process of a load would compile the whole program anew."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(ENVIRONMENT_PREFIX) and name != "PYTHONDONTWRITEBYTECODE"
    }


def as_variables(settings: Mapping[str, Any]) -> dict[str, str]:
    """Return settings, by name, as the product's environment variables; what is ``None`` is left out."""
    found = {}
    for name, value in settings.items():
        if value is None:
            continue
        plain = value.value if isinstance(value, Enum) else value
        # A size is a number with a text of its own; the number is exact.
        text = (
            str(plain).lower()
            if isinstance(plain, bool)
            else str(int(plain) if isinstance(plain, int) else plain)
        )
        found[variable(name)] = text
    return found


def no_config(folder: Path) -> list[str]:
    """Return arguments that name a config file with nothing in it, so that the checkout's is not read."""
    path = folder / "no_settings.yaml"
    path.write_text("", encoding="utf-8")
    return ["--config", str(path)]


def run_to_end(
    command: Sequence[str], variables: Mapping[str, str], *, bound_seconds: float | None = None,
    folder: Path | None = None,
) -> Ended:  # fmt: skip
    """Run a program to its end, or to the end of its time; on any exception, it and its children are ended.

    It is in a session of its own: a Ctrl-C on the terminal is for the caller to act upon.

    Args:
        variables: of its environment, beside those of this process that are not the product's.
        bound_seconds: how long it may take.
        folder: to run in; ``None`` = the working directory.
    """
    output = _Tail()
    program: subprocess.Popen[str] | None = None
    reader: threading.Thread | None = None
    status: int | None = None
    try:
        with signals_held():  # between its start and our knowing of it nobody would end it
            program = subprocess.Popen(
                command,
                cwd=folder,
                env=product_environment() | dict(variables),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
            reader = threading.Thread(
                target=output.read, args=(program.stdout,), name="program-output", daemon=True
            )
            reader.start()
        with suppress(subprocess.TimeoutExpired):
            status = program.wait(bound_seconds)
    finally:
        if program is not None and status is None:
            with signals_held():
                end_family(program)
        if program is not None and reader is not None:
            # What it started may hold the pipe open for a moment longer.
            reader.join(_END_SECONDS)
            if program.stdout is not None and not reader.is_alive():
                program.stdout.close()
    return Ended(status, output.text)


def end_family(program: subprocess.Popen[str]) -> None:
    """End a program and all that it started: asked first, killed after a few seconds."""
    try:
        family = [*psutil.Process(program.pid).children(recursive=True), psutil.Process(program.pid)]
    except psutil.NoSuchProcess:
        family = []
    for member in reversed(family):
        with suppress(psutil.NoSuchProcess):
            member.terminate()
    _, alive = psutil.wait_procs(family, timeout=_END_SECONDS)
    for member in alive:
        with suppress(psutil.NoSuchProcess):
            # What it has started since the list was made goes with it.
            for child in member.children(recursive=True):
                child.kill()
            member.kill()
    psutil.wait_procs(alive, timeout=_END_SECONDS)
    program.wait()


class _Tail:
    """The last of what a program prints, read as it comes so that the program never waits."""

    def __init__(self) -> None:
        self.text = ""

    def read(self, stream: Any) -> None:
        for line in stream:
            self.text = (self.text + line)[-_LAST_CHARACTERS:]


def python_program(*words: str) -> list[str]:
    """Return the command that runs a Python program by this interpreter."""
    return [sys.executable, *words]
