"""An engine that fails when told to, and otherwise does what a real one does.

It wraps another engine and calls a hook before and after every call of a session.  A hook that raises
:class:`Injected` makes the call fail: before it happened, or after it did and the answer was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from xml_extractor.contract.plan import Plan, SourcePlan, Table
from xml_extractor.contract.types import SqlType
from xml_extractor.engines.base import (
    STREAM_ROWS,
    BatchEstimate,
    Engine,
    Fault,
    FaultKind,
    Finding,
    RowEncoder,
    Session,
    TableSpec,
)
from xml_extractor.mapping.records import Key, SourceDocument


class Injected(Exception):
    """A database error made up by a test."""

    def __init__(self, kind: FaultKind, code: str = "injected") -> None:
        super().__init__(code)
        self.fault = Fault(kind, code, f"the test says {code}", "X1")


Hook = Callable[[str], None]


def nothing(step: str) -> None:
    """A hook that lets everything pass."""


@dataclass
class FakeEngine(Engine):
    """``before`` and ``after`` get the name of the step: ``connect``, ``begin``, ``commit``, ``rollback``,
    ``query``, ``execute``, ``execute_many``, ``table_names``, ``insert_new:TABLE``, ``write_rows:TABLE``,
    ``existing:TABLE``, ``count_rows:TABLE``, ``delete_rows:TABLE``."""

    inner: Engine
    before: Hook = nothing
    after: Hook = nothing
    steps: list[str] = field(default_factory=list)
    row_counts_off_by: int = 0  # added to what write_rows returns

    name: ClassVar[str] = "fake"
    max_insert_threads: ClassVar[int | None] = None

    def fail_once(self, step: str, kind: FaultKind, *, after: bool = False, code: str = "injected") -> None:
        """Fail the first call of a step."""
        self.fail_times(step, kind, 1, after=after, code=code)

    def fail_times(
        self, step: str, kind: FaultKind, times: int, *, after: bool = False, code: str = "injected"
    ) -> None:
        """Fail the first calls of a step."""
        left = times

        def hook(called: str) -> None:
            nonlocal left
            if called == step and left > 0:
                left -= 1
                raise Injected(kind, code)

        if after:
            self.after = hook
        else:
            self.before = hook

    def run(self, step: str, call: Callable[[], Any]) -> Any:
        self.steps.append(step)
        self.before(step)
        result = call()
        self.after(step)
        return result

    @property
    def display(self) -> str:
        return "the fake database"

    @property
    def database(self) -> str:
        return self.inner.database

    def connect(self, *, write: bool, application: str) -> Session:
        session = self.run("connect", lambda: self.inner.connect(write=write, application=application))
        return FakeSession(self, session)

    def classify(self, error: BaseException) -> Fault:
        return error.fault if isinstance(error, Injected) else self.inner.classify(error)

    def quote(self, name: str) -> str:
        return self.inner.quote(name)

    def create_statements(self, tables: Sequence[TableSpec], *, keys: bool = True) -> list[str]:
        return self.inner.create_statements(tables, keys=keys)

    def add_column_statement(self, table: TableSpec, column: str) -> str:
        return self.inner.add_column_statement(table, column)

    def unsupported(self, plan: Plan) -> list[str]:
        return self.inner.unsupported(plan)

    def table_problems(self, session: Session, plan: Plan) -> list[str]:
        assert isinstance(session, FakeSession)
        return self.inner.table_problems(session.inner, plan)

    def key_problem(self, session: Session, source: SourcePlan) -> str | None:
        assert isinstance(session, FakeSession)
        return self.inner.key_problem(session.inner, source)

    def encoder(self, plan: Plan) -> RowEncoder:
        return self.inner.encoder(plan)

    def examine_source(self, session: Session, source: SourcePlan) -> Iterator[Finding]:
        return self.inner.examine_source(session.inner, source)  # type: ignore[attr-defined]

    def examine_target(
        self, session: Session, plan: Plan, tables: Sequence[TableSpec], batch: BatchEstimate | None = None
    ) -> Iterator[Finding]:
        return self.inner.examine_target(session.inner, plan, tables, batch)  # type: ignore[attr-defined]

    def staging_statements(self, source: SourcePlan, key_type: SqlType) -> list[str]:
        return self.inner.staging_statements(source, key_type)


class FakeSession(Session):
    """A session of the wrapped engine, with the hooks around each call."""

    def __init__(self, engine: FakeEngine, inner: Session) -> None:
        self.engine = engine
        self.inner = inner
        self.count = inner.count

    def table(self, name: str) -> str:
        return self.inner.table(name)

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        result: list[tuple[Any, ...]] = self.engine.run("query", lambda: self.inner.query(sql, parameters))
        return result

    def stream(
        self, sql: str, parameters: Sequence[Any] = (), *, rows_per_chunk: int = STREAM_ROWS
    ) -> Iterator[list[tuple[Any, ...]]]:
        self.engine.run("stream", lambda: None)
        return self.inner.stream(sql, parameters, rows_per_chunk=rows_per_chunk)

    def first_rows(self, sql: str, parameters: Sequence[Any], most: int) -> list[tuple[Any, ...]]:
        result: list[tuple[Any, ...]] = self.engine.run(
            "query", lambda: self.inner.first_rows(sql, parameters, most)
        )
        return result

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return int(self.engine.run("execute", lambda: self.inner.execute(sql, parameters)))

    def execute_many(self, sql: str, parameters: Iterable[Sequence[Any]]) -> None:
        self.engine.run("execute_many", lambda: self.inner.execute_many(sql, parameters))

    def begin(self) -> None:
        self.engine.run("begin", self.inner.begin)

    def commit(self) -> None:
        self.engine.run("commit", self.inner.commit)

    def rollback(self) -> None:
        self.engine.run("rollback", self.inner.rollback)

    def close(self) -> None:
        self.inner.close()

    def abort(self) -> None:
        self.inner.abort()

    def key_page(
        self, source: SourcePlan, after: Key | None, start: Key | None, end: Key | None, limit: int
    ) -> list[Key | None]:
        return self.inner.key_page(source, after, start, end, limit)

    def documents(
        self, source: SourcePlan, keys: Sequence[Key], most_bytes: int | None = None
    ) -> list[SourceDocument]:
        return self.inner.documents(source, keys, most_bytes)

    def count_keys(self, source: SourcePlan, start: Key | None, end: Key | None) -> int:
        return self.inner.count_keys(source, start, end)

    def last_key(self, source: SourcePlan, start: Key | None, end: Key | None) -> Key | None:
        return self.inner.last_key(source, start, end)

    def insert_new(self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> set[Any]:
        result: set[Any] = self.engine.run(
            f"insert_new:{table}", lambda: self.inner.insert_new(table, columns, rows)
        )
        return result

    def insert_mostly_new(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> set[Any]:
        result: set[Any] = self.engine.run(
            f"insert_new:{table}", lambda: self.inner.insert_mostly_new(table, columns, rows)
        )
        return result

    def existing(
        self, table: str, columns: Sequence[str], key_column: str, keys: Sequence[Any]
    ) -> list[tuple[Any, ...]]:
        result: list[tuple[Any, ...]] = self.engine.run(
            f"existing:{table}", lambda: self.inner.existing(table, columns, key_column, keys)
        )
        return result

    def count_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> dict[Any, int]:
        result: dict[Any, int] = self.engine.run(
            f"count_rows:{table}", lambda: self.inner.count_rows(table, key_column, keys)
        )
        return result

    def delete_rows(self, table: str, key_column: str, keys: Sequence[Any]) -> int:
        return int(
            self.engine.run(f"delete_rows:{table}", lambda: self.inner.delete_rows(table, key_column, keys))
        )

    def write_rows(self, table: Table, encoded: Sequence[Any]) -> int:
        number = int(
            self.engine.run(f"write_rows:{table.name}", lambda: self.inner.write_rows(table, encoded))
        )
        return number + self.engine.row_counts_off_by

    def table_names(self) -> Collection[str]:
        result: Collection[str] = self.engine.run("table_names", self.inner.table_names)
        return result
