"""The README's worked example does what the README says."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from tests.support.program import CHECKOUT, run_command, run_program
from tests.support.tables import query

README = (CHECKOUT / "README.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    """The README's only block of this language."""
    (content,) = re.findall(rf"```{language}\n(.*?)```", README, re.S)
    return str(content)


def table_after(sentence: str) -> list[list[str]]:
    lines = README.split(sentence, 1)[1].strip().splitlines()
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return [rows[0], *rows[2:]]


def test_the_worked_example_gives_the_table_that_is_shown(tmp_path: Path) -> None:
    (tmp_path / "orders.xml").write_text(block("xml"), encoding="utf-8")
    (tmp_path / "orders.yaml").write_text(block("yaml"), encoding="utf-8")
    for command in block("sh").splitlines():
        python, *arguments = shlex.split(command)
        assert python == "python"
        if arguments[0] == "-m":
            assert arguments[1] == "xml_extractor"
            done = run_command(*arguments[2:], folder=tmp_path)
            assert done.returncode == 0, done.stderr
        else:
            assert arguments[0] == "production_processor.py"
            program = run_program(*arguments[1:], folder=tmp_path)
            assert program.process.returncode == 0, program.errors
    heading, *expected = table_after("`order_line` now holds")
    columns = ", ".join(heading)
    rows = query(
        f"sqlite:///{(tmp_path / 'shop.db').as_posix()}",
        f"SELECT {columns} FROM order_line ORDER BY order_id, line_no",
    )
    assert [[str(value) for value in row] for row in rows] == expected
