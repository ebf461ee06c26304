"""A fresh target for each load that is measured, and nothing left of it afterwards.

Three ways, the first that is possible: a new SQLite file; a new database beside the named one; the named
database itself, which must be empty.  Whatever is removed was made here: files and databases under names
of this program's own, tables by this program's own CREATE TABLE, which fails where a table exists.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from performance_tuning.measuring.errors import MeasuringError, TargetNotEmptyError
from performance_tuning.measuring.interrupting import signals_held
from performance_tuning.measuring.servers import (
    Databases,
    MayNotCreateError,
    SqliteFolder,
    databases_beside,
    remove_sqlite_files,
)
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, EngineOptions, Session, TableSpec, table_specs
from xml_extractor.settings import hide_password
from xml_extractor.target import bookkeeping
from xml_extractor.target.schema_check import can_select

_BOOKKEEPING_PREFIX: Final = "load_"
_APPLICATION: Final = "xml_extractor measuring"


class Way(StrEnum):
    """How a fresh target is come by."""

    NOTHING = "null: (rows are counted and dropped)"
    NEW_FILE = "a new SQLite file for each run"
    NEW_DATABASE = "a new database beside the named one for each run"
    IN_PLACE = "the named database itself, its tables created for each run and dropped after it"


@dataclass(frozen=True, slots=True)
class FreshTarget:
    """A target with nothing in it, for one load."""

    url: str  # with its password: for the environment of a program, never for a command line or a file
    create_tables: bool
    """Whether the load is to create its tables; they are there already where they must be dropped again."""


class FreshTargets:
    """Gives fresh targets, one after the other.  Made by :func:`open_targets`; for one thread.

    Attributes:
        way: how they are come by.
        engine: the name of the engine, as in ``SQLite``; empty for ``null:``.
        notes: what the operator should know, such as databases that killed runs left behind.
    """

    def __init__(
        self, way: Way, engine: str, make: Callable[[], AbstractContextManager[FreshTarget]],
        server_cpu_seconds: Callable[[], float], notes: Sequence[str],
    ) -> None:  # fmt: skip
        self.way = way
        self.engine = engine
        self.notes = list(notes)
        self.fresh = make
        """A context that yields a :class:`FreshTarget` and removes at its end what was made for it.

        Raises :class:`MeasuringError` where that cannot be made, or not be removed; then with its name."""
        self.server_cpu_seconds = server_cpu_seconds
        """CPU seconds of the database server so far; 0 where it has none, or runs elsewhere."""


def open_targets(
    url: str | None, plan: Plan, folder: Path, *, in_place: bool = False, schema: str | None = None,
    named_by: str = "--target",
) -> FreshTargets:  # fmt: skip
    """Settle how fresh targets are come by, and try it out.

    Args:
        url: of the target, password included, or ``null:``; ``None`` = SQLite files in ``folder``.
        plan: whose tables will be there.
        folder: the caller's own, removed by the caller.
        in_place: measure in the named database itself also where another could be made beside it.
        schema: where tables named without one belong; made in new databases.
        named_by: where the URL was given, for messages.

    Raises:
        TargetNotEmptyError: the database itself would have to be used, and is not empty.
        MeasuringError: it cannot be reached or written to.
        UsageError: the URL is wrong.
    """
    if url == "null:":
        return FreshTargets(Way.NOTHING, "", _nothing, float, ())
    if url is not None and url.startswith("jsonl:"):
        raise MeasuringError(f"{named_by}: files of JSON Lines cannot be measured; name a database, or null:")
    if url is None:
        return _made(SqliteFolder(folder), Way.NEW_FILE, plan, schema)
    options = EngineOptions(schema=schema)
    databases = databases_beside(url, named_by)
    if in_place:
        return _given(url, plan, options, databases, (), named_by)
    way = Way.NEW_FILE if isinstance(databases, SqliteFolder) else Way.NEW_DATABASE
    made = _made(databases, way, plan, schema)
    try:
        with made.fresh():
            return made
    except MayNotCreateError:
        note = (
            f"the login of {named_by} may not create databases, so each run uses {hide_password(url)} "
            "itself: its tables are created before a run and dropped after it"
        )
        return _given(url, plan, options, databases, (*made.notes, note), named_by)


@contextmanager
def _nothing() -> Iterator[FreshTarget]:
    yield FreshTarget("null:", create_tables=False)


# ---------------------------------------------------------------------------------- new databases


def _made(databases: Databases, way: Way, plan: Plan, schema: str | None) -> FreshTargets:
    @contextmanager
    def fresh() -> Iterator[FreshTarget]:
        with databases.database() as url:
            _create_schemas(url, plan, schema)
            yield FreshTarget(url, create_tables=True)

    left = databases.leftovers()
    notes = [] if not left else [
        f"there already, of runs that were killed or are still at work, and left alone: {', '.join(left)}; "
        "remove them yourself if nobody is measuring"
    ]  # fmt: skip
    return FreshTargets(way, databases.name, fresh, databases.server_cpu_seconds, notes)


def _create_schemas(url: str, plan: Plan, schema: str | None) -> None:
    """Create in a new database the schemas that the contract's tables are in."""
    engine = open_engine(url)
    named = {table.name.rpartition(".")[0] for table in plan.tables if '"' not in table.name}
    wanted = sorted((named | {schema or ""}) - {""})
    if not wanted:
        return
    with closing(engine.connect(write=True, application=_APPLICATION)) as session:
        there = {name for (name,) in session.query("SELECT schema_name FROM information_schema.schemata")}
        for name in wanted:
            if name not in there:
                session.execute(f"CREATE SCHEMA {engine.quote(name)}")


# ------------------------------------------------------------------------------ the given database


def _given(
    url: str, plan: Plan, options: EngineOptions, databases: Databases, notes: Sequence[str], named_by: str
) -> FreshTargets:
    given = _GivenDatabase(url, plan, options, named_by)
    with given.fresh():
        return FreshTargets(Way.IN_PLACE, databases.name, given.fresh, databases.server_cpu_seconds, notes)


class _GivenDatabase:
    """The operator's own database: tables are created in it and dropped again, nothing else is touched."""

    def __init__(self, url: str, plan: Plan, options: EngineOptions, named_by: str) -> None:
        self._url = url
        self._engine: Engine = open_engine(url, options=options)
        self._specs = [*table_specs(plan), *bookkeeping.bookkeeping_specs()]
        self._named_by = named_by
        parsed = make_url(url)
        is_file = parsed.get_backend_name() == "sqlite"
        self._file = Path(parsed.database or "") if is_file else None

    def check_empty(self) -> None:
        """Refuse a database with any table that a load would fill, or that belongs to a loader.

        Raises:
            TargetNotEmptyError: naming the tables.
        """
        if self._file is not None and not self._file.exists():
            return
        with self._session(write=False) as session:
            found = self._found(session)
        if found:
            raise TargetNotEmptyError(
                f"{self._named_by}: {hide_password(self._url)} is not empty, it holds {', '.join(found)}. "
                "Nothing was touched. Measure in another, empty database; or, if these are what a measuring "
                "run left that was killed, look at them and drop them yourself"
            )

    @contextmanager
    def fresh(self) -> Iterator[FreshTarget]:
        """Create the tables, and drop them at the end."""
        self.check_empty()
        made_file = self._file is not None and not self._file.exists()
        made = False
        try:
            with signals_held():
                self._create()
                made = True
            yield FreshTarget(self._url, create_tables=False)
        finally:
            if made:
                self._drop(self._specs)
            if made_file and self._file is not None:
                remove_sqlite_files(self._file)

    def _create(self) -> None:
        with self._session(write=True) as session:
            session.begin()
            # No "if not exists": what somebody else creates at this moment is not ours to drop.
            for statement in self._engine.create_statements(self._specs):
                session.execute(statement)
            session.commit()

    def _drop(self, specs: Sequence[TableSpec]) -> None:
        with signals_held(), self._session(write=True) as session:
            loads = session.query(f"SELECT load_id FROM {session.table(bookkeeping.RUNS)}")
            if len(loads) > 1:
                raise MeasuringError(
                    f"{hide_password(self._url)}: somebody else loaded into the tables that this program "
                    "made there; they were left as they are. Look at load_runs, and drop what is not wanted"
                )
            session.begin()
            for spec in reversed(specs):
                session.execute(f"DROP TABLE {session.table(spec.name)}")
            session.commit()

    def _found(self, session: Session) -> list[str]:
        own = [spec.name for spec in self._specs if can_select(self._engine, session, spec.name)]
        others = [
            name
            for name in session.table_names()
            if name.lower().startswith(_BOOKKEEPING_PREFIX) and name not in own
        ]
        return own + sorted(others)

    @contextmanager
    def _session(self, *, write: bool) -> Iterator[Session]:
        """A session; what its statements raise comes out in the operator's words."""
        try:
            with closing(self._engine.connect(write=write, application=_APPLICATION)) as session:
                yield session
        except MeasuringError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever the driver raises, the engine knows it
            raise MeasuringError(
                f"{self._named_by}: {hide_password(self._url)}: {self._engine.classify(error).message}"
            ) from None
