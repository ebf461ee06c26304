"""A small source for loads that are broken again and again, and what an undisturbed load makes of it.

Documents of every fate are in it: loaded into one to three tables, not well-formed, refused by the mapper,
refused by the target (a table has a CHECK that the contract knows nothing of), skipped, and some large ones.
Of each there are two versions, so that rows can change while they are loaded.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import psycopg

from tests.support.servers import conninfo
from tests.support.tables import Tables, dialect_of, execute, ledger, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import table_specs
from xml_extractor.settings import ExecutorChoice

CONTRACT = """
contract: fault_notes
version: 1
source: {name: notes, table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  note:
    primary_key: [id]
    columns:
      id: {from: $key, type: int}
      text: {from: Text, type: nvarchar(60), required: true}
      price: {from: "@price", type: "decimal(12,4)"}
      at: {from: "@at", type: datetime2(3)}
  tag:
    parent: note
    rows: Tag
    primary_key: [id, n]
    columns:
      id: {from: $parent}
      n: {from: $position, type: int}
      name: {from: "@name", type: varchar(20), required: true}
      weight: {from: "@weight", type: int, required: true}
  mark:
    parent: tag
    rows: Mark
    primary_key: [id, n, m]
    columns:
      id: {from: $parent}
      n: {from: $parent}
      m: {from: $position, type: int}
      sign: {from: ".", type: nvarchar(20)}
"""
HEAVIEST = 900
"""The target takes no tag that weighs more; the contract does."""

LARGE_BYTES = 400_000
"""The first large document; each further one is larger by so much, so that memory has to grow for each."""


def contract() -> Contract:
    return Contract.from_text(CONTRACT, "fault_notes.yaml")


def document(key: int, version: int = 1) -> str:
    """The document with this key, in the first or in a later version."""
    if key % 23 == 7:
        return f"<Note price='1'><Text>broken {key}</Text>"
    if key % 31 == 5:
        return f"<Letter id='{key}'/>"
    made = random.Random(key * 1000 + version)
    at = f"2024-0{made.randint(1, 9)}-1{made.randint(0, 9)}T12:34:56.{made.randint(0, 999):03d}"
    text = "" if key % 29 == 3 else f"<Text>n {key} version {version} é 漢</Text>"
    tags = []
    for n in range(made.randint(0, 3)):
        heavy = key % 97 == 11 and n == 0
        weight = HEAVIEST + 1 if heavy else made.randint(0, HEAVIEST)
        marks = "".join(f"<Mark>{made.randint(0, 99)}</Mark>" for _ in range(made.randint(0, 3)))
        tags.append(f"<Tag name='t{n} v{version}' weight='{weight}'>{marks}</Tag>")
    large = f"<!-- {'x' * LARGE_BYTES * (key // 211 + 1)} -->" if key % 211 == 100 else ""
    return f"<Note price='{made.randint(0, 10**7) / 10**4}' at='{at}'>{text}{''.join(tags)}{large}</Note>"


@dataclass(frozen=True)
class Expected:
    """What an undisturbed load made: rows by table, and the state of each key."""

    tables: Tables
    states: dict[str, str]


@dataclass(frozen=True)
class Documents:
    """The source, as a file that no test writes to, and what becomes of it."""

    count: int
    folder: Path
    expected: Expected
    """Of the first version of every document."""
    changed: Expected
    """Of the second."""

    @property
    def file(self) -> Path:
        return self.folder / "source-1.db"

    @property
    def contract_file(self) -> Path:
        return self.folder / "fault_notes.yaml"

    def copy_to(self, file: Path) -> str:
        """Copy the source, for a test that changes it; return the copy's URL."""
        shutil.copyfile(self.file, file)
        return sqlite_url(file)

    def into_postgresql(self, url: str) -> None:
        """Put the source into a database."""
        with psycopg.connect(conninfo(url)) as connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE app_xml (id integer NOT NULL PRIMARY KEY, body text)")
            with cursor.copy("COPY app_xml FROM STDIN") as copy:
                for key in range(1, self.count + 1):
                    copy.write_row((key, document(key)))


def make_documents(folder: Path, count: int) -> Documents:
    """Write the source and load it, serially and undisturbed, in both versions."""
    (folder / "fault_notes.yaml").write_text(CONTRACT, encoding="utf-8")
    expected = []
    for version in (1, 2):
        file = folder / f"source-{version}.db"
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE app_xml (id INTEGER NOT NULL PRIMARY KEY, body TEXT)")
            connection.executemany(
                "INSERT INTO app_xml VALUES (?, ?)",
                ((key, document(key, version)) for key in range(1, count + 1)),
            )
            connection.commit()
        url = sqlite_url(folder / f"whole-{version}.db")
        create_tables(url)
        load(
            sqlite_url(file), url, contract(), LoadOptions(create_tables=True, executor=ExecutorChoice.SERIAL)
        )
        expected.append(Expected(read_tables(url, contract().plan), ledger(url)))
        fates = set(expected[-1].states.values())
        assert fates == {"loaded", "quarantined", "skipped"}, "the source would prove little"
        assert all(expected[-1].tables.values()), "the source would prove little"
        assert len(expected[-1].states) == count
    return Documents(count, folder, *expected)


def create_tables(url: str) -> None:
    """Create the data tables, one of them with a condition of its own."""
    engine = open_engine(url)
    execute(url, *engine.create_statements(table_specs(contract().plan)), *_CONDITIONS[dialect_of(url)])


_CONDITIONS = {
    "sqlite": [
        f"CREATE TRIGGER heaviest BEFORE INSERT ON tag WHEN new.weight > {HEAVIEST} "
        "BEGIN SELECT RAISE(ABORT, 'too heavy'); END"
    ],
    "postgresql": [f"ALTER TABLE tag ADD CONSTRAINT heaviest CHECK (weight <= {HEAVIEST})"],
    "mssql": [f"ALTER TABLE tag ADD CONSTRAINT heaviest CHECK (weight <= {HEAVIEST})"],
}


def change_rows(url: str, changed: Iterable[int], deleted: Iterable[int]) -> None:
    """Give some rows of a source their second version, and delete others, one transaction each."""
    for key in changed:
        body = document(key, 2).replace("'", "''")
        execute(url, f"UPDATE app_xml SET body = '{body}' WHERE id = {key}")
    for key in deleted:
        execute(url, f"DELETE FROM app_xml WHERE id = {key}")


def sqlite_url(file: Path) -> str:
    return f"sqlite:///{file.as_posix()}"


def rows_by_key(tables: Tables) -> Mapping[str, dict[str, list[tuple[object, ...]]]]:
    """Rows by table and source key, which is the first column of each table."""
    return {name: _grouped(rows) for name, rows in tables.items()}


def _grouped(rows: Iterable[tuple[object, ...]]) -> dict[str, list[tuple[object, ...]]]:
    found: dict[str, list[tuple[object, ...]]] = {}
    for row in rows:
        found.setdefault(str(row[0]), []).append(row)
    return found
