"""The machine and the versions that figures come from: as much as tells them apart, and no names."""

from __future__ import annotations

import hashlib
import platform
import re
import sqlite3
import subprocess
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Final

import psutil

from xml_extractor.mapping.interpreter_choice import InterpreterChoice, serving
from xml_extractor.processing.executor_choice import available_cores
from xml_extractor.versions import INTERPRETER

CHECKOUT: Final = Path(__file__).resolve().parents[2]

_LIBRARIES: Final = (
    "lxml",
    "psycopg",
    "pyodbc",
    "mssql-python",
    "SQLAlchemy",
    "pydantic",
    "xxhash",
    "psutil",
)
"""Those whose code runs while a load does."""

_GIT_SECONDS: Final = 10.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What decides how fast programs run here.  Holds neither the machine's name nor any path."""

    cores: int
    """Those that this process may use: a container or an affinity can leave it fewer than there are."""
    cpu: str
    memory_bytes: int
    system: str  # Linux x86_64
    release: str  # of the system
    python: str  # CPython 3.11.7

    @property
    def fingerprint(self) -> str:
        """Equal on machines of the same class: cores, processor, memory to the nearest GiB, system.

        Figures of another fingerprint are not to be compared.  That two machines have the same one does not
        make them equally fast: virtual ones drift, which the yardstick of a baseline shows.
        """
        parts = (self.cores, self.cpu, round(self.memory_bytes / 2**30), self.system)
        return hashlib.sha256("|".join(map(str, parts)).encode("utf-8")).hexdigest()[:16]

    @property
    def shown(self) -> str:
        """The machine in a line."""
        cores = f"{self.cores} core{'s' if self.cores != 1 else ''}"
        return f"{cores} ({self.cpu}), {self.memory_bytes / 2**30:.1f} GiB, {self.system}, {self.python}"


@dataclass(frozen=True, slots=True)
class GitState:
    """Which state of the sources was measured."""

    commit: str
    dirty: bool
    """Whether anything under version control differs from the commit."""

    @property
    def shown(self) -> str:
        """The state in a few words."""
        return self.commit[:12] + (" with uncommitted changes" if self.dirty else "")


@cache
def this_machine() -> Machine:
    """Describe the machine that this runs on."""
    return Machine(
        cores=available_cores(),
        cpu=_cpu(),
        memory_bytes=psutil.virtual_memory().total,
        system=f"{platform.system()} {platform.machine()}",
        release=platform.release(),
        python=f"{platform.python_implementation()} {platform.python_version()}",
    )


@cache
def versions() -> dict[str, str]:
    """Return the versions of the product's libraries and of SQLite; those not installed are left out.

    And which interpreter of contracts serves in loads that are measured, which choose it by what there is
    (:func:`~performance_tuning.measuring.product.product_environment`).
    """
    found = {
        "Python": platform.python_version(), INTERPRETER: serving(InterpreterChoice.AUTO)[0].value,
    }  # fmt: skip
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    found["SQLite"] = sqlite3.sqlite_version
    return found


def git_state(folder: Path = CHECKOUT) -> GitState | None:
    """Return the commit that the sources are at; ``None`` where there is no repository, or no git."""
    commit = _git(folder, "rev-parse", "HEAD")
    status = _git(folder, "status", "--porcelain", "--untracked-files=no")
    if commit is None or status is None:
        return None
    return GitState(commit.strip(), dirty=bool(status.strip()))


def as_json(machine: Machine) -> dict[str, object]:
    """Return the machine as plain data, its fingerprint included."""
    return {**asdict(machine), "fingerprint": machine.fingerprint}


def _git(folder: Path, *words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "--no-optional-locks", *words], cwd=folder, capture_output=True, encoding="utf-8",
            errors="replace", stdin=subprocess.DEVNULL, timeout=_GIT_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def _cpu() -> str:
    """Return the processor's model; what the platform module gives says on Linux no more than x86_64."""
    try:
        information = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        information = ""
    found = re.search(r"^(?:model name|Model|cpu model)\s*:\s*(.+)$", information, re.MULTILINE)
    model = found.group(1) if found else platform.processor() or platform.machine()
    return " ".join(model.split()) or "unknown processor"
