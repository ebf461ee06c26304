"""What holds for every page: links lead somewhere, and nothing names the machine it was written on."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])
TEXTS = {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ""}
HOME = re.compile(r"(?<![\w.:/])(/(?:home|Users|opt|tmp)/\w+)(?=[/\s\"'`)]|$)")


def name(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def tracked() -> list[Path]:
    """All files of the project: what git knows, else all that is there but environments and caches."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, timeout=30
        ).stdout.decode()
        files = [ROOT / path for path in listed.split("\0") if path]
    except (OSError, subprocess.SubprocessError):
        files = [path for path in ROOT.rglob("*") if not {".venv", ".git"} & set(path.parts)]
    return [
        path
        for path in files
        if path.is_file() and path.suffix in {".py", ".md", ".yaml", ".yml", ".toml", ".txt", ""}
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_to_files_that_exist(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{name(page)} links to {target}, which is not there"


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_a_page_begins_with_its_title(page: Path) -> None:
    assert page.read_text(encoding="utf-8").startswith("# ")


def test_no_file_names_the_machine_it_was_written_on() -> None:
    found = []
    for path in tracked():
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        if path == Path(__file__).resolve():
            continue
        found += [f"{name(path)}: {match[0]}" for match in HOME.finditer(text)]
    assert not found
