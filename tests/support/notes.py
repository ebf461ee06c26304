"""A small source of notes with tags, of which tests change, break and delete documents."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from tests.support.tables import Tables, read_tables
from xml_extractor import Contract, LoadOptions, LoadSummary, load

CONTRACT = """
contract: notes
version: 1
source: {name: notes, table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  note:
    primary_key: [id]
    columns:
      id: {from: $key, type: int}
      text: {from: Text, type: nvarchar(20), required: true}
      stars: {from: "@stars", type: tinyint}
  tag:
    parent: note
    rows: Tag
    primary_key: [id, place]
    columns:
      id: {from: $parent}
      place: {from: $position, type: int}
      name: {from: ".", type: nvarchar(10), required: true}
"""

BROKEN = "<Note><Text>no end"
OF_ANOTHER_CONTRACT = "<Letter/>"


def contract() -> Contract:
    """The contract of the notes."""
    return Contract.from_text(CONTRACT, "notes.yaml")


def note(text: str, tags: int = 2) -> str:
    """A document of ``1 + tags`` rows."""
    inner = "".join(f"<Tag>{text[:5]}{number}</Tag>" for number in range(tags))
    return f'<Note stars="3"><Text>{text}</Text>{inner}</Note>'


class Notes:
    """The source: a SQLite file whose rows a test may write as it likes."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes.db"
        self.url = f"sqlite:///{self.path}"
        self._folder = folder
        with closing(sqlite3.connect(self.path)) as connection:
            connection.execute("CREATE TABLE app_xml (id INTEGER NOT NULL PRIMARY KEY, body TEXT)")

    def put(self, documents: dict[int, str | bytes | None]) -> None:
        """Insert or overwrite documents."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            connection.executemany("INSERT OR REPLACE INTO app_xml VALUES (?, ?)", documents.items())

    def load(self, target: str, of: Contract | None = None, **options: Any) -> LoadSummary:
        """Load into a target; the summary's sums have been checked."""
        settings: dict[str, Any] = {
            "create_tables": True,
            "executor": "serial",
            "batch_size": 7,
            **options,
        }
        return load(self.url, target, of or contract(), LoadOptions(**settings))

    def fresh(self, of: Contract | None = None) -> Tables:
        """The tables after a load of all documents as they are now into an empty target."""
        target = self._folder / "fresh.db"
        for path in self._files(target):
            path.unlink(missing_ok=True)
        self.load(f"sqlite:///{target}", of)
        return read_tables(f"sqlite:///{target}", (of or contract()).plan)

    @staticmethod
    def _files(path: Path) -> Iterator[Path]:
        for suffix in ("", "-wal", "-shm"):
            yield path.with_name(path.name + suffix)
