"""The machine and the sources that figures come from."""

from __future__ import annotations

import dataclasses
import platform
import subprocess
from pathlib import Path

import pytest

from performance_tuning.measuring.machine import GitState, Machine, git_state, this_machine, versions
from performance_tuning.measuring.product import product_environment
from xml_extractor.mapping.interpreter_choice import VARIABLE, why_not_native

ONE = Machine(4, "A processor", 16 * 2**30, "Linux x86_64", "6.1", "CPython 3.12.1")


def test_this_machine_is_described_without_names() -> None:
    found = this_machine()
    assert found.cores >= 1
    assert found.cpu
    assert found.memory_bytes > 2**28
    name = platform.node()
    assert not name or name not in found.shown


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"cores": 8}, False),
        ({"cpu": "Another processor"}, False),
        ({"memory_bytes": 32 * 2**30}, False),
        ({"system": "Windows AMD64"}, False),
        ({"memory_bytes": 16 * 2**30 - 4096}, True),  # what the kernel keeps for itself varies
        ({"release": "6.2"}, True),  # what may be measured the effect of
        ({"python": "CPython 3.13.0"}, True),
    ],
)
def test_the_fingerprint_tells_classes_of_machines_apart(change: dict[str, object], same: bool) -> None:
    other = dataclasses.replace(ONE, **change)  # type: ignore[arg-type]
    assert (other.fingerprint == ONE.fingerprint) is same


def test_the_libraries_of_a_load_have_versions() -> None:
    assert {"Python", "lxml", "SQLite", "psycopg"} <= versions().keys()


def test_the_interpreter_is_the_one_that_serves_in_measured_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "python")  # which they are not told
    assert VARIABLE not in product_environment()
    versions.cache_clear()
    assert versions()["interpreter of contracts"] == ("native" if why_not_native() is None else "python")


def git(folder: Path, *words: str) -> None:
    identity = ["-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def test_the_commit_is_known_and_whether_anything_was_changed(tmp_path: Path) -> None:
    git(tmp_path, "init")
    file = tmp_path / "file"
    file.write_text("one")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "First")
    clean = git_state(tmp_path)
    assert clean is not None
    assert not clean.dirty
    assert len(clean.commit) == 40
    (tmp_path / "untracked").touch()
    assert git_state(tmp_path) == clean
    file.write_text("two")
    assert git_state(tmp_path) == GitState(clean.commit, dirty=True)
    assert "uncommitted" in GitState(clean.commit, dirty=True).shown


def test_without_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    assert git_state(tmp_path) is None
