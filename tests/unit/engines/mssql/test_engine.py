"""The engine: a small, picklable description that picks wires and ways in."""

from __future__ import annotations

import pickle
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from tests.support.plans import column, plan, table
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import EngineOptions, FaultKind, Session, TableSpec, table_specs
from xml_extractor.engines.mssql import drivers, path_choice
from xml_extractor.engines.mssql import engine as engine_module
from xml_extractor.engines.mssql.bulkcopy import BulkEncoder, Service
from xml_extractor.engines.mssql.connection import ConnectionSettings
from xml_extractor.engines.mssql.core_wire import CoreWire
from xml_extractor.engines.mssql.encoders import JsonEncoder, TextTupleEncoder
from xml_extractor.engines.mssql.engine import MssqlEngine
from xml_extractor.engines.mssql.insert_paths import BULKCOPY, EXECUTEMANY, OPENJSON
from xml_extractor.engines.mssql.mssqlpython_wire import MssqlPythonWire
from xml_extractor.engines.mssql.path_choice import PathChoice
from xml_extractor.engines.mssql.pyodbc_wire import PyodbcWire
from xml_extractor.engines.mssql.wires import OpenRows, Wire

SETTINGS = ConnectionSettings(
    server="db.example,1433", database="loader", user="u", password="hunter2", driver="pyodbc"
)
ENGINE = MssqlEngine(SETTINGS)
PLAN = plan(table("t", column("id", "int", nullable=False), column("b", "nvarchar(10)")))


class EmptyWire(Wire):
    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        return []

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> OpenRows:
        raise AssertionError("nothing is streamed")

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        return 0

    def cancel(self) -> None:
        pass

    def close(self) -> None:
        pass


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, dict[str, Any], str]]:
    """Which wires were opened, with what, and in which thread."""
    calls: list[tuple[str, dict[str, Any], str]] = []

    def opener(name: str) -> Any:
        def open_(settings: ConnectionSettings, **given: Any) -> Wire:
            assert settings == SETTINGS or settings.driver == "mssqlpython"
            calls.append((name, given, threading.current_thread().name))
            return EmptyWire()

        return open_

    for kind in (PyodbcWire, MssqlPythonWire, CoreWire):
        monkeypatch.setattr(kind, "open", opener(kind.__name__))
    monkeypatch.setattr(drivers, "choose_driver", lambda settings: settings.driver or "pyodbc")
    return calls


def test_it_crosses_to_another_process_and_shows_no_password() -> None:
    engine = replace(ENGINE, choice=PathChoice(OPENJSON, "as set", frozenset({"t"})))
    assert pickle.loads(pickle.dumps(engine)) == engine
    assert "hunter2" not in repr(engine)
    assert "hunter2" not in engine.display
    assert engine.display == "SQL Server database loader on db.example,1433"
    assert engine.database == "loader"
    assert engine.max_insert_threads is None


def test_describing_a_database_loads_no_driver() -> None:
    """A process that only maps documents must not pay for it."""
    program = (
        "import sys; from xml_extractor.engines import dialect_engine; dialect_engine('mssql');"
        "print(*sorted({'pyodbc', 'mssql_python', 'mssql_py_core'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


def test_sessions_are_opened_in_threads_of_their_own(opened: list[Any]) -> None:
    options = EngineOptions(read_only_intent=True)
    for write in (True, False):
        session = replace(ENGINE, options=options).connect(write=write, application="loader 7")
        session.close()
    (_, writing, thread), (_, reading, _) = opened
    assert thread == "loader 7 driver"
    assert writing["application"] == "loader 7"
    assert writing["statement_seconds"] == options.limits.statement_seconds
    assert (writing["read_only_intent"], reading["read_only_intent"]) == (False, True)
    assert not [t for t in threading.enumerate() if t.name == "loader 7 driver"]


def test_each_driver_has_its_wire(opened: list[Any]) -> None:
    copies = replace(ENGINE, choice=PathChoice(BULKCOPY, "fastest"))
    ENGINE.connect(write=True, application="a").close()
    replace(ENGINE, settings=replace(SETTINGS, driver="mssqlpython")).connect(
        write=True, application="a"
    ).close()
    copies.connect(write=True, application="a").close()
    copies.connect(write=False, application="a").close()
    assert [name for name, _, _ in opened] == ["PyodbcWire", "MssqlPythonWire", "CoreWire", "PyodbcWire"]


def test_a_connection_that_is_refused_leaves_no_thread(
    opened: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> Wire:
        raise ConnectionRefusedError("refused")

    monkeypatch.setattr(PyodbcWire, "open", refuse)
    with pytest.raises(ConnectionRefusedError) as caught:
        ENGINE.connect(write=True, application="refused")
    assert ENGINE.classify(caught.value).kind is FaultKind.DISCONNECTED
    assert not [t for t in threading.enumerate() if t.name.startswith("refused")]


@pytest.mark.parametrize(
    ("choice", "encoder"),
    [
        (None, JsonEncoder),
        (PathChoice(OPENJSON, ""), JsonEncoder),
        (PathChoice(EXECUTEMANY, ""), TextTupleEncoder),
        (PathChoice(BULKCOPY, ""), BulkEncoder),
    ],
)
def test_encoders_are_the_paths(choice: PathChoice | None, encoder: type) -> None:
    engine = replace(ENGINE, choice=choice)
    assert isinstance(engine.encoder(PLAN), encoder)
    assert engine.insert_path == (choice.path if choice else None)


def test_names_are_quoted_and_tables_put_into_the_schema() -> None:
    engine = replace(ENGINE, options=EngineOptions(schema="stage"))
    assert engine.quote("order]s") == "[order]]s]"
    assert engine.quote("dbo.[a.b]") == "[dbo].[a.b]"
    specs: list[TableSpec] = table_specs(PLAN)
    (statement,) = engine.create_statements(specs)
    assert statement.startswith("CREATE TABLE [stage].[t]")
    (staging,) = engine.staging_statements(PLAN.source, PLAN.tables[0].columns[0].type)
    assert staging.startswith("CREATE TABLE [stage].")


# --------------------------------------------------------------------------------------- settling


class Asked:
    """What :func:`path_choice.settle` was given."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, identity: set[str]) -> None:
        from xml_extractor.engines.mssql import catalogue

        self.given: dict[str, Any] = {}
        monkeypatch.setattr(catalogue, "identity_columns", lambda session, table, schema: identity)
        monkeypatch.setattr(path_choice, "settle", self.settle)

    def settle(self, session: Any, plan: Any, options: Any, **given: Any) -> PathChoice:
        self.given = given
        return PathChoice(OPENJSON, "because")


def test_settling_keeps_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, {"ID"})
    engine = ENGINE.settled(cast("Session", object()), PLAN)
    assert (engine.insert_path, engine.insert_path_reason) == (OPENJSON, "because")
    assert asked.given["keep_identity"] == {"t"}, "the contract puts values into the identity column"
    assert asked.given["fast_problem"] is None
    assert ENGINE.insert_path is None


def test_identity_columns_that_the_server_numbers_are_left_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    numbered = plan(table("t", column("id", "int", server_generated=True), column("b", "int")))
    asked = Asked(monkeypatch, {"id"})
    ENGINE.settled(cast("Session", object()), numbered)
    assert asked.given["keep_identity"] == set()


def test_freetds_is_not_asked_for_arrays(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Asked(monkeypatch, set())
    for driver in ("FreeTDS", "/usr/lib/libtdsodbc.so"):
        replace(ENGINE, settings=replace(SETTINGS, odbc_driver=driver)).settled(
            cast("Session", object()), PLAN
        )
        assert "FreeTDS" in asked.given["fast_problem"]


def test_trying_bulk_copy_out_never_ends_a_load(opened: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    from xml_extractor.engines.mssql import bulkcopy, core_wire

    kinds = frozenset({PLAN.tables[0].columns[0].type})
    monkeypatch.setattr(core_wire, "why_not", lambda settings: None)
    monkeypatch.setattr(bulkcopy, "try_out", lambda connect, kinds, seconds, schema: Service(kinds, True))
    assert ENGINE._try_bulk_copy(kinds) == Service(kinds, True)

    def fail(*_: Any) -> Service:
        raise ConnectionResetError("reset")

    monkeypatch.setattr(bulkcopy, "try_out", fail)
    assert "failed" in str(ENGINE._try_bulk_copy(kinds))
    monkeypatch.setattr(core_wire, "why_not", lambda settings: "it needs a password")
    assert ENGINE._try_bulk_copy(kinds) == "it needs a password"


def test_a_url_opens_it() -> None:
    pytest.importorskip("pyodbc")
    engine = open_engine(
        "mssql+pyodbc://u@db.example:1433/loader?driver=X",
        password="hunter2",
        options=EngineOptions(schema="s"),
    )
    assert isinstance(engine, engine_module.MssqlEngine)
    assert (engine.settings.driver, engine.options.schema) == ("pyodbc", "s")
