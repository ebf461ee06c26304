"""The Python that peers are installed in, and programs of ours that run inside it.

The peers have nothing to do with the product: it neither needs nor imports them, and they are in none of its
requirements.  They are run as their own READMEs say, from a virtual environment that the command line names.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import support

VARIABLE: Final = "XML_EXTRACTOR_PEERS"
PACKAGES: Final = ("discogskit", "xml2db", "psycopg2-binary")
FOLDER: Final = Path(__file__).resolve().parent

_HOW: Final = (
    f"python -m venv peers && peers/bin/pip install {' '.join(PACKAGES)}, then name its Python by --peers "
    f"peers/bin/python or by {VARIABLE}"
)
_VERSIONS: Final = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""
_LOOK_SECONDS: Final = 60.0
_END_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class PeerPython:
    """A Python with peers in it."""

    python: Path
    versions: dict[str, str]

    def program(self, name: str) -> Path:
        """Return a program that a package has installed beside this Python."""
        suffix = ".exe" if os.name == "nt" else ""
        return self.python.with_name(name + suffix)

    @contextmanager
    def asked(self, script: str, *words: str) -> Iterator[AskedProgram]:
        """Run a script of this folder inside this Python, to be asked for one thing after the other."""
        program = subprocess.Popen(
            [str(self.python), str(FOLDER / script), *words],
            env=peer_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            encoding="utf-8",
        )
        try:
            yield AskedProgram(program, script)
        finally:
            # It ends where there is nothing more to be asked.
            assert program.stdin is not None
            assert program.stdout is not None
            try:
                program.stdin.close()
                program.wait(_END_SECONDS)
            except (OSError, subprocess.TimeoutExpired):
                program.kill()
                program.wait()
            program.stdout.close()


class AskedProgram:
    """A running script that answers each line with one line of JSON."""

    def __init__(self, program: subprocess.Popen[str], name: str) -> None:
        self._program = program
        self._name = name

    def ask(self, question: str) -> dict[str, Any]:
        """Ask, wait and return the answer.

        Raises:
            BenchmarkError: it has ended; what it said goes to the terminal.
        """
        assert self._program.stdin is not None
        assert self._program.stdout is not None
        try:
            self._program.stdin.write(question + "\n")
            self._program.stdin.flush()
            answer = self._program.stdout.readline()
        except BrokenPipeError:
            answer = ""
        if not answer:
            raise support.BenchmarkError(f"{self._name} ended without an answer; the cause is above")
        found = json.loads(answer)
        assert isinstance(found, dict)
        return found


def add_peer_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option by which :func:`peers_of` finds the peers."""
    parser.add_argument(
        "--peers", type=Path, metavar="PYTHON",
        help=f"the Python of a virtual environment that holds {', '.join(PACKAGES)} [{VARIABLE}]",
    )  # fmt: skip


def named_python(arguments: argparse.Namespace) -> Path | None:
    """Return the Python that was named for the peers, if any."""
    named = arguments.peers or os.environ.get(VARIABLE)
    return Path(named) if named else None


def peers_of(arguments: argparse.Namespace, needed: Sequence[str]) -> PeerPython:
    """Return the Python that was named, which has what is needed.

    Raises:
        BenchmarkError: none was named, or it lacks a peer; with how to get it.
    """
    python = named_python(arguments)
    if python is None:
        raise support.BenchmarkError(f"this is measured against {needed[0]}, which is not here: {_HOW}")
    try:
        looked = subprocess.run(
            [str(python), "-c", _VERSIONS, *needed],
            capture_output=True,
            encoding="utf-8",
            env=peer_environment(),
            timeout=_LOOK_SECONDS,
            check=True,
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise support.BenchmarkError(f"{python} cannot be run as a Python ({error}): {_HOW}") from None
    versions: dict[str, str] = json.loads(looked.stdout)
    missing = [name for name in needed if name not in versions]
    if missing:
        raise support.BenchmarkError(f"{python} has no {', '.join(missing)}: {_HOW}")
    # Not resolved: a virtual environment's Python is a link, and knows its environment by where the link is.
    return PeerPython(python.absolute(), versions)


def peer_environment() -> dict[str, str]:
    """Return the environment for a peer: without this program's own modules and the product's settings."""
    return {
        name: value
        for name, value in support.product_environment().items()
        if name not in ("PYTHONPATH", "PYTHONHOME")
    }
