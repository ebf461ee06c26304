"""What ``doctor`` finds on real databases, and that its cures cure."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from tests.support.servers import PostgresqlServer
from tests.support.tables import portable
from xml_extractor.contract import Contract
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Finding, Health
from xml_extractor.errors import ExitCode
from xml_extractor.operations.doctor import Examination, examine, grant_script
from xml_extractor.operations.load import load
from xml_extractor.settings import LoadOptions

CONTRACT = """
contract: notes
version: 1
source: {name: notes, table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  note:
    primary_key: [id]
    columns:
      id: {from: $key, type: TYPE}
      text: {from: ".", type: nvarchar(100)}
  word:
    parent: note
    rows: word
    primary_key: [id, number]
    columns:
      id: {from: $parent}
      number: {from: $position, type: int}
      text: {from: ".", type: varchar(20)}
"""
# To look at a whole database takes a hundred queries of the catalogue, which some servers answer slowly.
pytestmark = pytest.mark.timeout(600)

NOTE = "<Note><word>a</word><word>b</word></Note>"


def contract(key: str = "int") -> Contract:
    return Contract.from_text(CONTRACT.replace("TYPE", key), "notes.yaml")


class Database:
    """One database as source and target."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine = open_engine(url)

    def execute(self, *statements: str) -> None:
        session = self.engine.connect(write=True, application="tests")
        try:
            for statement in statements:
                session.execute(portable(self.engine.name, statement))
        finally:
            session.close()

    def tables(self) -> set[str]:
        session = self.engine.connect(write=False, application="tests")
        try:
            return set(session.table_names())
        finally:
            session.close()

    def stage(self, key: str = "integer NOT NULL PRIMARY KEY", documents: int = 3) -> None:
        self.execute(f"CREATE TABLE app_xml (id {key}, body {{text}})")
        self.execute(*(f"INSERT INTO app_xml VALUES ('{i}', '{NOTE}')" for i in range(documents)))

    def options(self, **options: object) -> LoadOptions:
        if self.engine.insert_paths:  # to try bulk copy out takes long, and has tests of its own
            options["insert_path"] = "openjson"
        return LoadOptions.model_validate({"executor": "serial", **options})

    def load(self) -> None:
        load(self.url, None, contract(), self.options(create_tables=True))

    def examine(self, written: Contract | None = None, **options: object) -> Examination:
        return examine(self.url, self.url, written or contract(), self.options(**options))

    def source(self, written: Contract | None = None) -> Examination:
        """Look at the source alone."""
        return examine(self.url, "null:", written or contract(), self.options())


@pytest.fixture
def database(database_url: str) -> Database:
    return Database(database_url)


def found(examination: Examination, side: str, subject: str) -> list[Finding]:
    (it,) = (item for item in examination.sides if item.name == side)
    return [finding for finding in it.findings if finding.subject == subject]


def the(examination: Examination, side: str, subject: str) -> Finding:
    (finding,) = found(examination, side, subject)
    return finding


def unlooked(examination: Examination) -> list[Finding]:
    return [
        finding
        for side in examination.sides
        for finding in side.findings
        if "could not be looked at" in finding.text
    ]


def test_a_database_that_is_ready_is_green_before_and_after_a_load(database: Database) -> None:
    database.stage()
    before = database.examine(create_tables=True)
    assert (before.exit_code, before.would_work) == (ExitCode.OK, True)
    assert the(before, "target", "tables").health is Health.NOTE
    assert database.tables() == {"app_xml"}, "looking changes nothing"
    assert not unlooked(before)

    database.load()
    tables = database.tables()
    after = database.examine()

    assert [finding for _, finding in after.to_do()] == []
    assert after.verdict == "Green: a load would work."
    assert the(after, "target", "tables").health is Health.GOOD
    assert the(after, "target", "ledger").health is Health.GOOD
    assert the(after, "target", "bookkeeping").text.startswith("version 4")
    assert "the first 3 can be read; 3 of them map" in the(after, "source", "documents").text
    assert the(after, "source", "driver").text
    assert the(after, "source", "index of app_xml").health is Health.GOOD
    assert database.tables() == tables
    assert not unlooked(after)


def test_missing_tables_are_a_problem_unless_they_would_be_created(database: Database) -> None:
    database.stage()
    examination = database.examine()

    assert examination.exit_code == ExitCode.NEEDS_A_LOOK
    finding = the(examination, "target", "tables")
    assert finding.health is Health.PROBLEM
    assert finding.text == (
        "8 of 8 tables are not there yet: note, word, load_schema, load_runs, load_ledger, load_quarantine, "
        "load_ranges, load_owed_keys"
    )
    assert finding.cure is not None
    assert f"contract ddl --dialect {database.engine.name}" in finding.cure
    assert not found(examination, "target", "ledger")


def test_a_table_that_does_not_fit_is_a_problem_even_if_others_would_be_created(database: Database) -> None:
    database.stage()
    database.execute("CREATE TABLE note (id integer NOT NULL PRIMARY KEY)")
    examination = database.examine(create_tables=True)

    problems = [finding.text for _, finding in examination.to_do() if finding.health is Health.PROBLEM]
    assert problems == ["column note.text does not exist"]


def test_a_source_that_cannot_be_read_safely_is_a_problem(database: Database) -> None:
    database.execute()  # SQLite has no database before somebody writes to it
    absent = database.source()
    assert "source table app_xml does not exist" in the(absent, "source", "key of app_xml").text
    assert not found(absent, "source", "index of app_xml"), "an index on a table that is not there"

    database.stage("integer")
    database.execute(f"INSERT INTO app_xml VALUES (1, '{NOTE}')")
    examination = database.source()
    assert examination.exit_code == ExitCode.NEEDS_A_LOOK
    assert "more than once" in the(examination, "source", "key of app_xml").text
    assert not found(examination, "source", "documents")


@pytest.mark.parametrize("key", ["int", "varchar(20)"])
def test_the_index_that_is_advised_helps(database: Database, key: str) -> None:
    column = "integer NOT NULL" if key == "int" else "varchar(20) NOT NULL"
    database.stage(column)
    written = contract(key)
    advised = the(database.source(written), "source", "index of app_xml")
    assert advised.health is Health.WARNING
    assert advised.cure is not None
    assert advised.cure.startswith("CREATE UNIQUE INDEX")

    database.execute(advised.cure)
    assert the(database.source(written), "source", "index of app_xml").health is Health.GOOD


def test_documents_that_the_contract_is_not_for_are_a_warning(database: Database) -> None:
    database.stage(documents=0)
    assert the(database.source(), "source", "documents").text.startswith("app_xml is empty")
    database.execute(*(f"INSERT INTO app_xml VALUES ({i}, '<Other/>')" for i in range(3)))
    finding = the(database.source(), "source", "documents")
    assert finding.health is Health.WARNING
    assert "0 of them map by this contract, 3 would not be loaded" in finding.text


def test_what_the_loaders_own_tables_say_of_earlier_loads_is_seen(database: Database) -> None:
    database.stage()
    database.load()
    other = Contract.from_text(
        CONTRACT.replace("TYPE", "int").replace("name: notes", "name: letters"), "notes.yaml"
    )
    examination = database.examine(other)
    finding = the(examination, "target", "ledger")
    assert finding.health is Health.PROBLEM
    assert "--source-name" in finding.text

    database.execute("UPDATE load_runs SET state = 'running', finished_at = NULL")
    assert "load 1 was interrupted" in the(database.examine(), "target", "ledger").text

    database.execute("UPDATE load_schema SET version = 99")
    examination = database.examine()
    assert any(
        finding.health is Health.PROBLEM and "upgrade the program" in finding.text
        for finding in found(examination, "target", "tables")
    )


# ------------------------------------------------------------------------------------- rights


@pytest.fixture
def role(postgresql: PostgresqlServer) -> Iterator[str]:
    name = 'doc"tor'
    quoted = name.replace('"', '""')
    postgresql.administer(f"CREATE ROLE \"{quoted}\" LOGIN PASSWORD 'doctor'")
    yield name
    postgresql.administer(f'DROP ROLE "{quoted}"')


@pytest.mark.parametrize("create_tables", [False, True])
def test_the_grant_script_gives_a_role_what_a_load_takes(
    postgresql: PostgresqlServer, postgresql_url: str, role: str, create_tables: bool
) -> None:
    owner = Database(postgresql_url)
    owner.stage()
    owner.execute("REVOKE ALL ON SCHEMA public FROM PUBLIC")
    if not create_tables:
        owner.load()
        owner.execute("DELETE FROM load_ledger", "DELETE FROM word", "DELETE FROM note")
    url = postgresql.url_of(str(make_url(postgresql_url).database), username=role, password="doctor")
    options = LoadOptions(create_tables=create_tables, executor="serial")
    try:
        before = examine(url, url, contract(), options)
        assert before.exit_code != ExitCode.OK

        script = grant_script(url, url, contract(), options, user=role)
        owner.execute(*(line for line in script if line and not line.startswith("--")))
        after = examine(url, url, contract(), options)
        assert [finding for _, finding in after.to_do()] == []
        assert load(url, None, contract(), options).documents.loaded == 3
    finally:
        quoted = role.replace('"', '""')
        owner.execute(f'DROP OWNED BY "{quoted}"')


def test_a_right_that_is_lacking_is_granted_by_the_cure(
    postgresql: PostgresqlServer, postgresql_url: str, role: str
) -> None:
    owner = Database(postgresql_url)
    owner.stage()
    owner.load()
    url = postgresql.url_of(str(make_url(postgresql_url).database), username=role, password="doctor")
    script = grant_script(url, url, contract(), LoadOptions(), user=role)
    quoted = role.replace('"', '""')
    try:
        owner.execute(*(line for line in script if line and not line.startswith("--")))
        owner.execute(
            f'REVOKE DELETE ON note FROM "{quoted}"', f'REVOKE UPDATE, DELETE ON load_runs FROM "{quoted}"'
        )
        lacking = the(examine(url, url, contract(), LoadOptions()), "target", "permissions")
        assert lacking.health is Health.PROBLEM
        assert lacking.cure is not None
        assert lacking.cure.splitlines() == [
            f'GRANT DELETE ON TABLE "note" TO "{quoted}";',
            f'GRANT UPDATE, DELETE ON TABLE "load_runs" TO "{quoted}";',
        ]
        owner.execute(*lacking.cure.splitlines())
        assert (
            the(examine(url, url, contract(), LoadOptions()), "target", "permissions").health is Health.GOOD
        )
    finally:
        owner.execute(f'DROP OWNED BY "{quoted}"')


def test_a_database_of_another_encoding_is_a_warning(postgresql: PostgresqlServer) -> None:
    with postgresql.database(
        options="ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0"
    ) as url:
        database = Database(url)
        database.stage()
        finding = the(database.examine(create_tables=True), "target", "encoding")
        assert finding.health is Health.WARNING
        assert "LATIN1" in finding.text


# ------------------------------------------------------------------------------------- SQLite


def test_a_file_that_cannot_be_written_to_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(f"sqlite:///{tmp_path / 'd.db'}")
    database.stage()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    finding = the(database.examine(create_tables=True), "target", "permissions")
    assert finding.health is Health.PROBLEM
    assert str(tmp_path) in finding.text


def test_little_room_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    database = Database(f"sqlite:///{tmp_path / 'd.db'}")
    database.stage()
    usage = type("Usage", (), {"free": 2**20})
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage)
    assert the(database.examine(create_tables=True), "target", "disk").health is Health.WARNING
