"""What doctor makes of a SQL Server, by what its catalogue answers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.contract.plan import Plan, SourcePlan
from xml_extractor.engines.base import (
    BatchEstimate,
    EngineOptions,
    Fault,
    FaultKind,
    Finding,
    Health,
    Privileges,
    table_specs,
)
from xml_extractor.engines.mssql import examination, rights
from xml_extractor.engines.mssql.catalogue import KeyColumn, Trigger
from xml_extractor.target.bookkeeping import bookkeeping_specs

PLAN = plan(table("dbo.app_base", column("id", "int", nullable=False), column("name", "varchar(20)")))
SPECS = [*table_specs(PLAN), *bookkeeping_specs()]
SOURCE = SourcePlan(None, "app_xml", "id", "body", None, ())
BATCH = BatchEstimate(1000, {"dbo.app_base": 12_000}, 8 * 2**20)
KEY = KeyColumn("id", "varchar(50)", "Latin1_General_CI_AS", False, False, False, True)


class Refused(Exception):
    """A statement that the server refuses."""

    def __init__(self, kind: FaultKind = FaultKind.FATAL, code: str = "permission_denied") -> None:
        super().__init__(code)
        self.fault = Fault(kind, code, "VIEW SERVER STATE permission was denied")


def classify(error: BaseException) -> Fault:
    return error.fault if isinstance(error, Refused) else Fault(FaultKind.FATAL, "unexpected", str(error))


class Server:
    """Answers as a well-kept SQL Server 2019 does, but for what a test changes."""

    def __init__(self) -> None:
        self.version = "15.0.4345.5"
        self.engine_edition = 3
        self.level = 150
        self.committed_snapshot = True
        self.snapshot = 0
        self.read_only = False
        self.updateability = "READ_WRITE"
        self.recovery = "SIMPLE"
        self.owner = 0
        self.encrypted = "TRUE"
        self.address = "10.0.0.7"
        self.lacking: dict[str, set[str]] = {}
        self.sees_all = 0
        self.hidden: set[str] = set()
        self.foreign_keys: list[tuple[Any, ...]] = []
        self.escalation_off: set[str] = set()
        self.leading_index = False
        self.refuse: dict[str, Exception] = {}

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        for words, error in self.refuse.items():
            if words in sql:
                raise error
        if "ProductVersion" in sql:
            return [(self.version, "Developer Edition (64-bit)", self.engine_edition, "CU28")]
        if "SUSER_SNAME" in sql:
            return [("loader_login", "loader", "xml_extractor doctor", self.owner)]
        if "dm_exec_connections" in sql:
            return [(self.encrypted, self.address)]
        if "Updateability" in sql:
            return [
                (
                    "Lend]ing", self.level, "SQL_Latin1_General_CP1_CI_AS", 1252, self.committed_snapshot,
                    self.snapshot, self.read_only, self.updateability,
                )
            ]  # fmt: skip
        if "log_reuse_wait_desc" in sql:
            return [("Lend]ing", self.recovery, "LOG_BACKUP")]
        if "compatibility_level, name" in sql:
            return [(self.level, "Lend]ing")]
        if "OPENJSON" in sql:
            raise Refused(code="no_such_table")
        if "'SCHEMA', 'ALTER'" in sql:
            return [
                tuple(0 if right in self.lacking.get("", ()) else 1 for right in ("CREATE TABLE", "ALTER"))
            ]
        if "VIEW DEFINITION" in sql:
            return [("load]er", self.sees_all)]
        if "HAS_PERMS_BY_NAME" in sql:
            name = parameters[0]
            asked = [part.split("'")[0] for part in sql.split("'OBJECT', '")[1:]]
            if name in self.hidden:
                return [(None, *(0 for _ in asked))]
            return [("dbo", *(0 if right in self.lacking.get(name, ()) else 1 for right in asked))]
        if "USER_NAME()" in sql:
            return [("load]er", "dbo")]
        if "sys.foreign_keys" in sql:
            return self.foreign_keys
        if "lock_escalation_desc" in sql:
            return [(1,)] if parameters[0] in self.escalation_off else []
        if "sys.views" in sql:
            return []
        if "key_ordinal = 1" in sql:
            return [(1,)] if self.leading_index else []
        raise AssertionError(sql)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture(autouse=True)
def catalogue(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the catalogue's own functions answer; they have tests of their own."""
    answers: dict[str, Any] = {"key": KEY, "triggers": [], "identity": set(), "describe": object()}
    place = "xml_extractor.engines.mssql.catalogue."
    monkeypatch.setattr(place + "key_column", lambda *_: answers["key"])
    monkeypatch.setattr(place + "triggers", lambda *_: answers["triggers"])
    monkeypatch.setattr(place + "identity_columns", lambda *_: answers["identity"])
    monkeypatch.setattr(place + "describe", lambda session, name, schema: answers["describe"])
    monkeypatch.setattr(examination, "_document", lambda *_: iter(()))
    return answers


def source(server: Server, **options: Any) -> list[Finding]:
    return list(examination.examine_source(server, SOURCE, EngineOptions(**options), classify))  # type: ignore[arg-type]


def target(
    server: Server, batch: BatchEstimate | None = BATCH, written: Plan = PLAN, **options: Any
) -> list[Finding]:
    return list(
        examination.examine_target(server, written, SPECS, batch, EngineOptions(**options), classify)  # type: ignore[arg-type]
    )


def the(findings: list[Finding], subject: str) -> Finding:
    (finding,) = [finding for finding in findings if finding.subject == subject]
    return finding


def test_a_well_kept_server_is_good_but_for_locks_of_a_large_batch(server: Server) -> None:
    assert [f.subject for f in source(server) if f.health is not Health.GOOD] == []
    assert [f.subject for f in target(server) if f.health is not Health.GOOD] == ["locks"]
    assert the(source(server), "server").text == (
        "SQL Server 2019 15.0.4345.5 CU28, Developer Edition (64-bit)"
    )
    assert "a DBA sees program_name 'xml_extractor doctor'" in the(source(server), "login").text


@pytest.mark.parametrize(
    ("edition", "version", "level", "health", "text"),
    [
        (3, "13.0.7029.3", 130, Health.GOOD, "SQL Server 2016"),
        (3, "12.0.6024.0", 120, Health.WARNING, "older than SQL Server 2016"),
        (5, "12.0.2000.8", 170, Health.GOOD, "Azure SQL Database 12.0"),
        (8, "12.0.2000.8", 150, Health.GOOD, "Azure SQL Managed Instance"),
        (3, "99.0.1", 150, Health.GOOD, "SQL Server 99.0.1"),
    ],
)
def test_servers_are_named(
    server: Server, edition: int, version: str, level: int, health: Health, text: str
) -> None:
    server.engine_edition, server.version, server.level = edition, version, level
    finding = the(source(server), "server")
    assert finding.health is health
    assert text in finding.text


def test_a_low_compatibility_level_is_raised_by_the_cure(server: Server) -> None:
    server.level = 120
    finding = the(target(server), "compatibility")
    assert finding.health is Health.WARNING
    assert finding.cure is not None
    assert finding.cure.startswith("ALTER DATABASE [Lend]]ing] SET COMPATIBILITY_LEVEL = 130;")


def test_an_owner_is_told_of_the_script_for_less(server: Server) -> None:
    server.owner = 1
    finding = the(target(server), "login")
    assert finding.health is Health.NOTE
    assert "--grant-script" in str(finding.cure)


@pytest.mark.parametrize(
    ("encrypted", "address", "health"),
    [
        ("TRUE", "10.0.0.7", Health.GOOD),
        ("FALSE", "10.0.0.7", Health.WARNING),
        ("FALSE", "127.0.0.1", Health.GOOD),
        ("FALSE", "<local machine>", Health.GOOD),
    ],
)
def test_documents_in_clear_on_a_network_are_a_warning(
    server: Server, encrypted: str, address: str, health: Health
) -> None:
    server.encrypted, server.address = encrypted, address
    assert the(source(server), "encryption").health is health


def test_what_may_not_be_looked_at_is_a_note_and_the_rest_goes_on(server: Server) -> None:
    server.refuse["dm_exec_connections"] = Refused()
    findings = target(server)
    finding = the(findings, "encryption")
    assert finding.health is Health.NOTE
    assert finding.text == "could not be looked at: VIEW SERVER STATE permission was denied"
    assert the(findings, "recovery model")


@pytest.mark.parametrize("error", [Refused(FaultKind.DISCONNECTED, "connection_lost"), LookupError("a bug")])
def test_a_lost_connection_and_a_bug_are_raised(server: Server, error: Exception) -> None:
    server.refuse["dm_exec_connections"] = error
    with pytest.raises(type(error)):
        target(server)


# ------------------------------------------------------------------------------------- isolation


def test_without_row_versions_reading_is_a_note_with_both_cures(server: Server) -> None:
    server.committed_snapshot = False
    finding = the(source(server), "isolation")
    assert finding.health is Health.NOTE
    assert finding.cure == (
        "read with --snapshot, after ALTER DATABASE [Lend]]ing] SET ALLOW_SNAPSHOT_ISOLATION ON;"
    )
    server.snapshot = 1
    assert the(source(server), "isolation").cure == "read with --snapshot"
    assert the(target(server), "isolation").health is Health.NOTE


def test_snapshot_that_the_database_does_not_allow_is_a_problem(server: Server) -> None:
    finding = the(source(server, snapshot=True), "isolation")
    assert finding.health is Health.PROBLEM
    assert finding.cure == "ALTER DATABASE [Lend]]ing] SET ALLOW_SNAPSHOT_ISOLATION ON;"
    server.snapshot = 1
    assert the(source(server, snapshot=True), "isolation").health is Health.GOOD


def test_a_target_that_cannot_be_written_to_is_a_problem(server: Server) -> None:
    server.updateability = "READ_ONLY"
    finding = the(target(server), "database")
    assert finding.health is Health.PROBLEM
    assert "secondary" in finding.text
    assert the(source(server), "isolation").health is Health.GOOD
    server.read_only = True
    assert the(target(server), "database").cure == "ALTER DATABASE [Lend]]ing] SET READ_WRITE;"


def test_a_primary_that_answers_a_read_only_intent_is_a_note(server: Server) -> None:
    assert the(source(server, read_only_intent=True), "secondary").health is Health.NOTE
    server.updateability = "READ_ONLY"
    assert not [f for f in source(server, read_only_intent=True) if f.subject == "secondary"]


# ------------------------------------------------------------------------------------- rights


def test_rights_that_are_lacking_are_granted_exactly(server: Server) -> None:
    server.lacking = {"[dbo].[app_base]": {"DELETE"}, "[s].[load_runs]": {"UPDATE", "DELETE"}}
    finding = the(target(server, schema="s"), "permissions")
    assert finding.health is Health.PROBLEM
    assert finding.text == "user load]er lacks rights on 2 tables"
    assert finding.cure == (
        "GRANT DELETE ON OBJECT::[dbo].[app_base] TO [load]]er];\n"
        "GRANT UPDATE, DELETE ON OBJECT::[s].[load_runs] TO [load]]er];"
    )


def test_a_source_that_may_not_be_read(server: Server) -> None:
    server.lacking = {"[app_xml]": {"SELECT"}}
    assert the(source(server), "permissions").cure == "GRANT SELECT ON OBJECT::[dbo].[app_xml] TO [load]]er];"


def test_writing_an_identity_column_takes_alter(server: Server, catalogue: dict[str, Any]) -> None:
    server.lacking = {"[dbo].[app_base]": {"ALTER"}}
    assert the(target(server), "permissions").health is Health.GOOD
    catalogue["identity"] = {"id"}
    assert the(target(server), "permissions").cure == (
        "GRANT ALTER ON OBJECT::[dbo].[app_base] TO [load]]er];"
    )
    catalogue["identity"] = {"another"}
    assert the(target(server), "permissions").health is Health.GOOD


def test_tables_that_are_missing_may_be_hidden_or_need_the_right_to_be_created(
    server: Server, catalogue: dict[str, Any]
) -> None:
    server.hidden, catalogue["describe"] = {"[dbo].[app_base]"}, None
    assert the(target(server), "permissions").health is Health.NOTE
    server.sees_all = 1
    assert the(target(server), "permissions").health is Health.GOOD
    assert the(target(server), "new tables").health is Health.GOOD
    server.lacking = {"": {"CREATE TABLE", "ALTER"}}
    finding = the(target(server, schema="s"), "new tables")
    assert finding.health is Health.WARNING
    assert str(finding.cure).splitlines()[1:] == [
        "GRANT CREATE TABLE TO [load]]er];",
        "GRANT ALTER ON SCHEMA::[s] TO [load]]er];",
    ]


def test_the_grant_script_gives_no_more_than_is_needed() -> None:
    reading = Privileges("o'b]r", source=SOURCE)
    assert rights.grant_statements(reading, "Lend]ing", None) == [
        "USE [Lend]]ing];",
        "-- The login comes first: CREATE LOGIN [o'b]]r] WITH PASSWORD = …, or FROM WINDOWS.",
        "IF DATABASE_PRINCIPAL_ID(N'o''b]r') IS NULL CREATE USER [o'b]]r] FOR LOGIN [o'b]]r];",
        "GRANT SELECT ON OBJECT::[dbo].[app_xml] TO [o'b]]r];",
    ]
    writing = Privileges("u", data_tables=("app_base", "x.child"), own_tables=("load_runs",))
    assert rights.grant_statements(writing, "d", "s")[-3:] == [
        "GRANT SELECT, INSERT, DELETE ON OBJECT::[s].[app_base] TO [u];",
        "GRANT SELECT, INSERT, DELETE ON OBJECT::[x].[child] TO [u];",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON OBJECT::[s].[load_runs] TO [u];",
    ]
    creating = Privileges(
        "u", data_tables=("app_base", "x.child"), own_tables=("load_runs",), create_tables=True
    )
    assert rights.grant_statements(creating, "d", "s")[-3:] == [
        "GRANT CREATE TABLE TO [u];",
        "GRANT ALTER, REFERENCES, SELECT, INSERT, UPDATE, DELETE ON SCHEMA::[s] TO [u];",
        "GRANT ALTER, REFERENCES, SELECT, INSERT, UPDATE, DELETE ON SCHEMA::[x] TO [u];",
    ]


# ------------------------------------------------------------------------------------- the source's key


def test_the_key_is_good_with_an_index_of_its_own_only(server: Server, catalogue: dict[str, Any]) -> None:
    good = the(source(server), "index of app_xml")
    assert good.text == "id is varchar(50), compared by Latin1_General_CI_AS, unique by an index"
    catalogue["key"] = KeyColumn("i]d", "bigint", None, True, False, False, False)
    without = the(source(server), "index of app_xml")
    assert without.health is Health.WARNING
    assert "reads the whole table" in without.text
    assert without.cure == "CREATE UNIQUE INDEX [UX_app_xml_id] ON [app_xml] ([i]]d]);"
    server.leading_index = True
    assert "nothing keeps it unique" in the(source(server), "index of app_xml").text
    catalogue["key"] = None
    assert not [f for f in source(server) if f.subject == "index of app_xml"]


# ------------------------------------------------------------------------------------- effects


@pytest.mark.parametrize(
    ("trigger", "health", "words"),
    [
        (Trigger("tr", True, True), Health.WARNING, "INSTEAD OF"),
        (Trigger("tr", False, False), Health.WARNING, "SET NOCOUNT ON"),
        (Trigger("tr", False, True), Health.NOTE, "once a statement"),
        (Trigger("tr", False, None), Health.NOTE, "once a statement"),
    ],
)
def test_triggers_that_an_insert_fires(
    server: Server, catalogue: dict[str, Any], trigger: Trigger, health: Health, words: str
) -> None:
    catalogue["triggers"] = [trigger]
    finding = the(target(server), "triggers")
    assert finding.health is health
    assert words in finding.text


def test_foreign_keys_that_the_server_does_not_rely_on(server: Server) -> None:
    server.foreign_keys = [
        ("good", False, False, False),
        ("un]trusted", False, True, False),
        ("off", True, True, False),
        ("replicated", False, True, True),
    ]
    finding = the(target(server), "foreign keys")
    assert finding.health is Health.WARNING
    assert finding.text.startswith("2 of 4")
    assert finding.cure == (
        "ALTER TABLE [dbo].[app_base] WITH CHECK CHECK CONSTRAINT [un]]trusted];\n"
        "ALTER TABLE [dbo].[app_base] WITH CHECK CHECK CONSTRAINT [off];"
    )
    server.foreign_keys = server.foreign_keys[:1]
    assert the(target(server), "foreign keys").health is Health.GOOD


def test_what_a_batch_means_for_the_log(server: Server) -> None:
    # 2 x 8 MiB and 12,000 rows of 120 bytes.
    assert "some 17 MiB of log" in the(target(server), "recovery model").text
    server.recovery = "FULL"
    finding = the(target(server), "recovery model")
    assert finding.health is Health.NOTE
    assert "and the log waits for one now" in finding.text
    assert "[Lend]]ing]" in str(finding.cure)
    assert "documents" not in the(target(server, None), "recovery model").text


def test_what_a_batch_means_for_locks(server: Server) -> None:
    finding = the(target(server), "locks")
    assert finding.health is Health.NOTE
    assert "dbo.app_base (12,000)" in finding.text
    # 12 rows a document: 416 documents bring 4,992.
    assert "--avoid-lock-escalation, or --batch-size 416 or less" in str(finding.cure)
    assert the(target(server, avoid_lock_escalation=True), "locks").health is Health.GOOD
    few = BatchEstimate(1000, {"dbo.app_base": 4_999}, 1)
    assert the(target(server, few), "locks").health is Health.GOOD
    server.escalation_off = {"[dbo].[app_base]"}
    assert the(target(server), "locks").health is Health.GOOD
    assert "not judged" in the(target(server, None), "locks").text
