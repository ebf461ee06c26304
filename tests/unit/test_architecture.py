"""The laws of the house that can be read off the source: directions of import, and who may name engines."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "xml_extractor"

ALLOWED = {
    "errors": set(),
    # The check of a contract's constants asks the code that will convert them, so that both agree.
    "contract": {"errors", "mapping.records", "mapping.conversion", "resources"},
    "engines": {"errors", "threads", "contract", "mapping.layouts", "mapping.records"},
    "mapping": {"errors", "contract"},
    "source": {"errors", "threads", "contract", "engines", "mapping", "resources"},
    "target": {"errors", "contract", "engines", "mapping.layouts", "mapping.records"},
    "profiling": {"errors", "threads", "settings"},
    "processing": {
        "errors", "threads", "processes", "contract", "engines", "mapping", "source", "target", "profiling",
        "settings",
    },
}  # fmt: skip
ENGINE_NAMES = re.compile(r"sqlite|postgres|psycopg|mssql|sql server|pyodbc", re.I)


def imports(path: Path) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return {name.removeprefix("xml_extractor.") for name in found if name.startswith("xml_extractor.")}


@pytest.mark.parametrize("room", ALLOWED)
def test_imports_point_one_way(room: str) -> None:
    files = [PACKAGE / f"{room}.py"] if room == "errors" else sorted((PACKAGE / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imports(path):
            top = name.split(".")[0]
            assert top == room or top in ALLOWED[room] or name in ALLOWED[room], f"{path} imports {name}"


def code_without_comments_and_docstrings(path: Path) -> str:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            node.value.value = ""
    return ast.unparse(tree)


def test_sql_that_engines_write_each_in_its_own_way_is_written_in_their_room() -> None:
    """COUNT is an int on one of them, and what asks for the first rows is another clause on each."""
    theirs = re.compile(r"\bCOUNT\(\*\)|\bCOUNT_BIG\b|\bLIMIT (?:\d|\{|\?)|\bTOP \(|\bFETCH (?:FIRST|NEXT)\b")
    for path in PACKAGE.rglob("*.py"):
        if "engines" not in path.relative_to(PACKAGE).parts:
            written = theirs.findall(code_without_comments_and_docstrings(path))
            assert not written, f"{path} has {written}: ask the session for it"


def test_engines_are_named_in_their_room_and_in_the_settings_only() -> None:
    for path in PACKAGE.rglob("*.py"):
        if "engines" in path.relative_to(PACKAGE).parts or path == PACKAGE / "settings.py":
            continue
        named = ENGINE_NAMES.findall(code_without_comments_and_docstrings(path))
        # T-SQL is the language of expressions, whatever the engine: its name is SQL Server's only by origin.
        assert not named, f"{path} names {named}"
