"""What commands print: results on standard output, everything else on standard error."""

from __future__ import annotations

import io
import json
import os
import sys
from codecs import BOM_UTF8
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xml_extractor.errors import UsageError


def use_utf8() -> None:
    """Write UTF-8 whatever the console's code page is; what it cannot show comes out escaped.

    Without this a Windows console, or a pipe under the C locale, ends the program on the first letter
    that its code page lacks.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="backslashreplace")


PAGE: Final = b"<!doctype html"
"""How a page begins, in small letters."""

JSON: Final = b"{"
"""How a file of JSON begins, of those that are written here."""


def check_writable(name: str, path: Path, begins: bytes) -> None:
    """Find before the work what would otherwise be found after it: that its result cannot be written.

    Args:
        name: the flag or argument that names the file.
        path: the file.
        begins: how its content will begin, in small letters.  A file that is there and begins otherwise is
            somebody's, perhaps a database, and is not replaced.

    Raises:
        UsageError: says what stands in the way, beginning with ``name``.
    """
    there = next(place for place in (path, *path.absolute().parents) if place.exists())
    if there == path and not there.is_file():
        raise UsageError(f"{name} {path} is {'a folder' if there.is_dir() else 'no file'}; name a file")
    if there != path and not there.is_dir():
        raise UsageError(f"{name} {path}: {there} is a file; name a file in a folder")
    if not os.access(there, os.W_OK):
        raise UsageError(f"{name} {path}: {there} cannot be written to; name a file in a folder that can")
    if there == path:
        try:
            with path.open("rb") as file:
                start = file.read(256)
        except OSError as error:
            raise UsageError(f"{name} {path} cannot be read: {error.strerror}; name another file") from None
        if start and not start.removeprefix(BOM_UTF8).lstrip().lower().startswith(begins):
            raise UsageError(
                f"{name} {path} holds something else than what is to be written there. It was left as it is; "
                "name another file"
            )


def check_different(files: Mapping[str, Path | None]) -> None:
    """Refuse to write two results, by the flags that name them, into one file: one of them would be lost.

    Raises:
        UsageError: naming both flags and the file.
    """
    flags: dict[Path, str] = {}
    for name, path in files.items():
        if path is not None and flags.setdefault(path.resolve(), name) != name:
            raise UsageError(
                f"{flags[path.resolve()]} and {name} name the same file, {path}; give each a file of its own"
            )


class Output:
    """The two consoles of a command.  The progress bar, the log and messages share the one on stderr."""

    def __init__(self) -> None:
        self.out = Console(file=sys.stdout, soft_wrap=True, highlight=False)
        self.err = Console(file=sys.stderr, highlight=False)

    def line(self, text: str = "") -> None:
        """Print a line of the result, as it is."""
        self.out.file.write(text + "\n")

    def say(self, text: str) -> None:
        """Tell the operator something beside the result."""
        self.err.print(Text(text)) if self.err.is_terminal else self.err.file.write(text + "\n")

    def error(self, text: str) -> None:
        """Say why the command failed."""
        if self.err.is_terminal:
            self.err.print(Text.assemble(("error: ", "bold red"), text), soft_wrap=True)
        else:
            self.err.file.write(f"error: {text}\n")
            self.err.file.flush()

    def confirm(self, question: str) -> bool | None:
        """Ask a yes-or-no question, no being the default; None = there is no terminal to ask on."""
        if not (sys.stdin is not None and sys.stdin.isatty() and self.err.is_terminal):
            return None
        self.err.file.write(f"{question} [y/N] ")
        self.err.file.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def json(self, data: Any) -> None:
        """Print data as JSON."""
        self.line(json.dumps(data, indent=2, ensure_ascii=False))

    def table(
        self, columns: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[str] = ()
    ) -> None:
        """Print a table: with rules on a terminal, aligned elsewhere; ``right``: columns of figures."""
        if self.out.is_terminal:
            table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
            for column in columns:
                table.add_column(column, justify="right" if column in right else "left", overflow="fold")
            for row in rows:
                table.add_row(*map(Text, row))
            self.out.print(table, soft_wrap=False)
            return
        widths = [
            max(len(column), *(len(row[index]) for row in rows)) if rows else len(column)
            for index, column in enumerate(columns)
        ]
        for row in [columns, *rows]:
            cells = [
                f"{cell:>{width}}" if column in right else f"{cell:<{width}}"
                for cell, width, column in zip(row, widths, columns, strict=True)
            ]
            self.line("  ".join(cells).rstrip())
