"""The programs against a SQL Server: as the operator types it, from every kind of column."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from tests.support.mssql_servers import MssqlServer
from tests.support.program import run_command, run_program
from tests.support.tables import Tables, ledger, ledger_rows_match_tables, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.source.sample import write_sample

CONTRACT = """
contract: notes
version: 1
source: {table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  note:
    primary_key: [id]
    columns:
      id: {from: $key, type: KEY}
      text: {from: Text, type: nvarchar(40), required: true}
      stars: {from: "@stars", type: tinyint}
      price: {from: "@price", type: "decimal(38,18)"}
      at: {from: "@at", type: datetime2(3)}
  tag:
    parent: note
    rows: Tag
    primary_key: [id, n]
    columns:
      id: {from: $parent}
      n: {from: $position, type: int}
      name: {from: ".", type: varchar(10), required: true}
"""


def contract(key_type: str = "int", table: str = "app_xml") -> Contract:
    text = CONTRACT.replace("KEY", key_type).replace("{table: app_xml", f"{{table: '{table}'")
    return Contract.from_text(text, "notes.yaml")


def note(text: str, *tags: str) -> str:
    inside = "".join(f"<Tag>{tag}</Tag>" for tag in tags)
    figures = f'stars="3" price="1.{"0" * 17}1" at="2024-02-29T12:34:56.789"'
    return f"<Note {figures}><Text>{text}</Text>{inside}</Note>"


def fill(server: MssqlServer, url: str, key_type: str, document_type: str, documents: dict[Any, Any]) -> None:
    with closing(server.connect(url)) as connection:
        connection.execute(f"CREATE TABLE app_xml (id {key_type} NOT NULL PRIMARY KEY, body {document_type})")
        for key, document in documents.items():
            connection.execute("INSERT INTO app_xml VALUES (?, ?)", key, document)


def loaded_into_sqlite(folder: Path, documents: dict[Any, str], wanted: Contract, key_type: str) -> Tables:
    """What the same contract makes of the same documents in an embedded database."""
    import sqlite3

    file = folder / "expected.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.execute(f"CREATE TABLE app_xml (id {key_type} NOT NULL PRIMARY KEY, body TEXT)")
        connection.executemany("INSERT INTO app_xml VALUES (?, ?)", documents.items())
        connection.commit()
    url = f"sqlite:///{file.as_posix()}"
    load(url, None, wanted, LoadOptions(executor="serial", create_tables=True))
    return read_tables(url, wanted.plan)


PLAIN = ["a", "B", "it's", "&amp;&lt;", "x" * 40, "é ü ß €"]
UNICODE = [*PLAIN, "漢字", "🎵🎵", "Ω\u2028я"]


def as_utf_8(text: str) -> bytes:
    return b'<?xml version="1.0" encoding="utf-8"?>' + text.encode()


def as_utf_16(text: str) -> bytes:
    return ('<?xml version="1.0" encoding="utf-16"?>' + text).encode("utf-16")


def declared_utf_16(text: str) -> str:
    return '<?xml version="1.0" encoding="utf-16"?>' + text


def same(text: str) -> str:
    return text


@pytest.mark.parametrize(
    ("document_type", "texts", "written"),
    [
        ("xml", UNICODE, same),
        ("xml", UNICODE, declared_utf_16),
        ("nvarchar(max)", UNICODE, same),
        ("nvarchar(max)", UNICODE, declared_utf_16),
        ("varchar(max)", PLAIN, same),
        ("varbinary(max)", UNICODE, as_utf_8),
        ("varbinary(max)", UNICODE, as_utf_16),
    ],
)
def test_documents_of_every_column_type(
    document_type: str, texts: list[str], written: Callable[[str], Any], mssql: MssqlServer, mssql_url: str,
    tmp_path: Path,
) -> None:  # fmt: skip
    documents = {key: note(text, *"ab"[: key % 3]) for key, text in enumerate(texts)}
    fill(
        mssql, mssql_url, "int", document_type, {key: written(text) for key, text in documents.items()}
    )  # fmt: skip
    summary = load(mssql_url, None, contract(), LoadOptions(create_tables=True, workers=2))
    assert summary.documents.loaded == len(texts)
    expected = loaded_into_sqlite(tmp_path, documents, contract(), "INTEGER")
    assert read_tables(mssql_url, contract().plan) == expected
    assert {row[1] for row in expected["note"]} == {
        text.replace("&amp;", "&").replace("&lt;", "<") for text in texts
    }


MIXED = [
    f"{head}{number}" for head in ("a", "B", "c-", "-d", "_e", "é", "Z z") for number in (1, 2, 10, 20, 100)
]


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize(
    ("declared", "keys"),
    [
        ("bigint", [n * 7_000_000_007 - 2**40 for n in range(300)]),
        ("varchar(20) COLLATE SQL_Latin1_General_CP1_CI_AS", MIXED),
        ("nvarchar(20) COLLATE Latin1_General_CI_AS", [*MIXED, "漢字", "Ω1"]),
        ("char(8) COLLATE Latin1_General_CI_AS", [key.ljust(8) for key in MIXED]),
        ("uniqueidentifier", [f"{n * 0x1F3D5B79:08x}-0000-0000-0000-{n * 7919:012x}" for n in range(1, 60)]),
    ],
)
def test_keys_of_every_type_are_loaded_once(
    declared: str, keys: list[Any], executor: str, mssql: MssqlServer, mssql_url: str, sqlite_url: str
) -> None:
    """Threads and key ranges: nothing between two pages or two ranges is lost or comes twice."""
    kind = declared.partition(" ")[0]
    wanted = contract(kind if kind != "uniqueidentifier" else "char(36)")
    fill(mssql, mssql_url, declared, "nvarchar(max)", {key: note(f"n {key}", "t") for key in keys})
    options = LoadOptions(create_tables=True, executor=executor, workers=3, batch_size=20)
    summary = load(mssql_url, sqlite_url, wanted, options)
    assert (summary.documents.read, summary.documents.loaded) == (len(keys), len(keys))
    assert sorted((row[0], row[1]) for row in read_tables(sqlite_url, wanted.plan)["note"]) == sorted(
        (key, f"n {key}") for key in keys
    )
    assert ledger(sqlite_url) == {str(key): "loaded" for key in keys}
    again = load(mssql_url, sqlite_url, wanted, LoadOptions(executor=executor, workers=3))
    assert (again.documents.loaded, again.documents.already_loaded) == (0, len(keys))


def flags_of(url: str) -> list[str]:
    """The same server by ``--server`` and its companions, without the password."""
    parsed = make_url(url)
    options = {name.lower(): str(value) for name, value in parsed.query.items()}
    flags = ["--server", f"{parsed.host},{parsed.port or 1433}", "--database", str(parsed.database)]
    flags += ["--username", str(parsed.username), "--encrypt", options.get("encrypt", "yes")]
    if options.get("trustservercertificate") == "yes":
        flags.append("--trust-server-certificate")
    return flags


def test_as_the_operator_types_it(mssql_url: str, sqlite_url: str, tmp_path: Path) -> None:
    """A load, a second one, status and doctor by --server, the password in a file or a variable."""
    password = str(make_url(mssql_url).password)
    file = tmp_path / "password"
    file.write_text(password + "\n", encoding="utf-8")
    server = flags_of(mssql_url)
    loan = Contract.read("config/loan_application.yaml")
    write_sample(open_engine(mssql_url), loan.plan, 60, 5)
    write_sample(open_engine(sqlite_url), loan.plan, 60, 5)
    first = run_program(
        *server, "--workers", 4, "--batch-size", 1000, "--create-tables", "--password-file", file,
        folder=tmp_path,
    )  # fmt: skip
    assert first.process.returncode in (0, 3), first.errors
    assert password not in first.output + first.errors
    counts = first.summary()["documents"]
    assert counts["read"] == 60
    assert counts["loaded"] > 50
    load(sqlite_url, None, loan, LoadOptions(create_tables=True))
    assert read_tables(mssql_url, loan.plan) == read_tables(sqlite_url, loan.plan)
    assert ledger(mssql_url) == ledger(sqlite_url)
    ledger_rows_match_tables(mssql_url, loan.plan)
    again = run_program(
        *server, "--workers", 4, "--batch-size", 1000, folder=tmp_path,
        extra={"XML_EXTRACTOR_PASSWORD": password},
    )  # fmt: skip
    assert again.summary()["documents"] == {**counts, "loaded": 0, "already_loaded": counts["loaded"]}
    for command in ("status", "doctor"):
        done = run_command(command, *server, "--password-file", file, folder=tmp_path)
        assert done.returncode in (0, 3), (command, done.stdout, done.stderr)
        assert "Traceback" not in done.stderr
        assert password not in done.stdout + done.stderr


def test_a_wrong_password_ends_in_one_sentence(mssql_url: str, tmp_path: Path) -> None:
    refused = run_program(
        *flags_of(mssql_url), folder=tmp_path, extra={"XML_EXTRACTOR_PASSWORD": "Wrong-password-1"}
    )
    assert refused.process.returncode not in (0, 2, 3), refused.errors
    assert "Traceback" not in refused.errors
    assert "Wrong-password-1" not in refused.output + refused.errors
    assert "user and password" in refused.errors or "login" in refused.errors.lower()


def test_two_databases_of_one_server(mssql: MssqlServer, mssql_url: str, tmp_path: Path) -> None:
    documents = {key: note(f"n{key}", "a") for key in range(1, 101)}
    fill(mssql, mssql_url, "int", "nvarchar(max)", documents)
    with mssql.database() as target:
        summary = load(mssql_url, target, contract(), LoadOptions(create_tables=True, batch_size=30))
        assert summary.documents.loaded == 100
        assert read_tables(target, contract().plan) == loaded_into_sqlite(
            tmp_path, documents, contract(), "INTEGER"
        )
    with closing(mssql.connect(mssql_url)) as connection:
        tables = connection.execute("SELECT name FROM sys.tables").fetchall()
        assert [row[0] for row in tables] == ["app_xml"]


def test_a_schema_of_the_users_choice(mssql: MssqlServer, mssql_url: str) -> None:
    fill(mssql, mssql_url, "int", "nvarchar(max)", {1: note("a", "t"), 2: note("b")})
    with closing(mssql.connect(mssql_url)) as connection:
        connection.execute("CREATE SCHEMA [my loads]")
        options = LoadOptions(create_tables=True, target_schema="my loads")
        assert load(mssql_url, None, contract(), options).documents.loaded == 2
        rows = connection.execute(
            "SELECT s.name, t.name FROM sys.tables t JOIN sys.schemas s ON s.schema_id = t.schema_id "
            "WHERE t.name <> 'app_xml'"
        ).fetchall()
        assert {row[0] for row in rows} == {"my loads"}
        assert {"note", "tag", "load_ledger", "load_runs"} <= {row[1] for row in rows}
        assert connection.execute("SELECT COUNT(*) FROM [my loads].note").fetchone()[0] == 2
    assert load(mssql_url, None, contract(), options).documents.already_loaded == 2
