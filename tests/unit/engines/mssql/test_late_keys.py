"""Keys that are built on filled tables: what is sent, and in which order."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.unit.engines.mssql.test_ddl import FAMILY
from xml_extractor.engines import dialect_engine
from xml_extractor.engines.base import TableSpec, table_specs
from xml_extractor.engines.ddl import parents_first
from xml_extractor.engines.late_keys import BUILD_SECONDS, KeyPart, KeyStep, steps_of
from xml_extractor.engines.mssql.engine import MssqlEngine
from xml_extractor.engines.mssql.late_keys import MssqlLateKeys


class Talk:
    """A session that writes down what it is told, and answers as it is told to."""

    def __init__(self, **answers: list[tuple[Any, ...]]) -> None:
        self.said: list[str] = []
        self.given: list[tuple[Any, ...]] = []
        self.answers = answers

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        self.said.append(sql)
        self.given.append(tuple(parameters))
        return next((rows for word, rows in self.answers.items() if word in sql), [])

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        self.said.append(sql)
        self.given.append(tuple(parameters))
        return 0

    def begin(self) -> None:
        self.said.append("begin")

    def commit(self) -> None:
        self.said.append("commit")


def late_keys() -> MssqlLateKeys:
    late = dialect_engine("mssql", schema="loan").late_keys()
    assert isinstance(late, MssqlLateKeys)
    return late


PARENT, CHILD = parents_first(table_specs(FAMILY))


def steps(table: TableSpec) -> dict[KeyPart, KeyStep]:
    return {step.part: step for step in steps_of([table])}


def test_what_is_created_without_keys_and_given_them_later_is_what_is_created_with_them() -> None:
    engine = dialect_engine("mssql", schema="loan")
    late = late_keys()
    for table, with_keys in zip((PARENT, CHILD), engine.create_statements([PARENT, CHILD]), strict=True):
        (without,) = engine.create_statements([table], keys=False)
        assert "PRIMARY KEY" not in without
        assert "FOREIGN KEY" not in without
        for line in without.splitlines()[1:-1]:
            assert line.rstrip(",") in with_keys, "columns are the same, NOT NULL and collations among them"
        for step in steps(table).values():
            for statement in late.statements(step):
                assert statement.startswith(f"ALTER TABLE [loan].[{table.name}] ")
                assert statement.partition(" ADD ")[2] in with_keys


def test_a_foreign_key_is_checked_when_it_is_added() -> None:
    by_part = steps(CHILD)
    late = late_keys()
    assert " WITH CHECK ADD FOREIGN KEY " in late.statements(by_part[KeyPart.FOREIGN])[0]
    assert late.statements(by_part[KeyPart.CHECKED]) == []
    there = Talk(**{"sys.tables": [(1,)]})
    assert late.is_built(there, by_part[KeyPart.CHECKED]) is True  # type: ignore[arg-type]
    assert late.is_built(there, by_part[KeyPart.FOREIGN]) is False  # type: ignore[arg-type]
    assert late.is_built(Talk(), by_part[KeyPart.FOREIGN]) is None  # type: ignore[arg-type]


def test_the_catalogue_tells_a_foreign_key_by_its_columns() -> None:
    step = steps(CHILD)[KeyPart.FOREIGN]
    pairs = [(7, own.upper(), theirs) for own, theirs in CHILD.foreign_key]
    late = late_keys()
    for rows, built in ((pairs, True), ([*pairs, (7, "more", "more")], False), ([], False)):
        session = Talk(**{"sys.tables": [(1,)], "sys.foreign_keys": rows})
        assert late.is_built(session, step) is built  # type: ignore[arg-type]


def test_the_table_is_locked_before_anybody_looks_whether_the_key_is_there() -> None:
    late = late_keys()
    step = steps(PARENT)[KeyPart.PRIMARY]
    session = Talk(**{"sys.tables": [(1,)]})
    late.build(session, step)  # type: ignore[arg-type]
    assert session.said[0] == "begin"
    assert session.said[1] == "SELECT TOP (1) 1 FROM [loan].[parent] WITH (TABLOCKX, HOLDLOCK)"
    assert "key_constraints" in session.said[-3]
    assert session.said[-2:] == [*late.statements(step), "commit"]
    session = Talk(**{"sys.tables": [(1,)], "sys.key_constraints": [(1,)]})
    late.build(session, step)  # type: ignore[arg-type]
    assert not any("ALTER" in sql for sql in session.said), "somebody else has built it"
    assert session.said[-1] == "commit"


def test_statements_may_take_long_and_waits_for_locks_may_not() -> None:
    engine = late_keys().engine
    assert isinstance(engine, MssqlEngine)
    limits = engine.options.limits
    assert (limits.statement_seconds, limits.lock_seconds) == (BUILD_SECONDS, 60.0)


def test_what_is_held_is_told_by_what_the_server_answers() -> None:
    for answer, held in ((0, True), (1, True), (-1, False), (-999, False)):
        session = Talk(sp_getapplock=[(answer,)], DB_NAME=[("d", "loan")])
        assert late_keys().hold(session, "a", shared=False) is held  # type: ignore[arg-type]
        assert "'Exclusive'" in session.said[-1]
    session = Talk(sp_getapplock=[(0,)], DB_NAME=[("d", "loan")])
    late_keys().hold(session, "a", shared=True)  # type: ignore[arg-type]
    assert "'Shared'" in session.said[-1]


def test_a_lock_is_told_by_database_schema_and_the_whole_of_its_name() -> None:
    def lock(name: str, database: str = "d", schema: str = "loan") -> Any:
        session = Talk(sp_getapplock=[(0,)], DB_NAME=[(database, schema)])
        late_keys().hold(session, name, shared=True)  # type: ignore[arg-type]
        (resource,) = session.given[-1]
        late_keys().let_go(session, name, shared=True)  # type: ignore[arg-type]
        assert session.given[-1] == (resource, resource)
        assert len(resource) <= 255
        return resource

    long = "a" * 300
    locks = [lock("a"), lock("b"), lock(long), lock(f"{long}b"), lock("a", "e"), lock("a", "d", "dbo")]
    assert len(set(locks)) == len(locks)
    assert lock("a") == locks[0]
    assert all(resource.startswith("a") for resource in locks if resource != locks[1])
