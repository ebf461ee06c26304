"""Keys that are built on filled tables, and whose turn that is: the same on each engine that can."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from xml_extractor.contract.types import parse_type
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import (
    ColumnSpec,
    Engine,
    EngineOptions,
    FaultKind,
    Session,
    TableSpec,
    TimeLimits,
)
from xml_extractor.engines.late_keys import KeyPart, KeyStep, LateKeys, steps_of

Connect = Callable[..., Session]


def _column(name: str) -> ColumnSpec:
    return ColumnSpec(name, parse_type("int"), nullable=False)


NOTE = TableSpec("note", (_column("id"),), primary_key=("id",))
TAG = TableSpec(
    "tag", (_column("id"), _column("place")), primary_key=("id", "place"), foreign_key=(("id", "id"),),
    parent="note",
)  # fmt: skip
STEPS = list(steps_of([NOTE, TAG]))


@pytest.fixture(
    params=[
        pytest.param("postgresql", marks=pytest.mark.postgresql),
        pytest.param("mssql", marks=pytest.mark.sqlserver),
    ]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine that builds keys later, with an empty database."""
    url: str = request.getfixturevalue(f"{request.param}_url")
    return open_engine(url, options=EngineOptions(TimeLimits(connect_seconds=30)))


@pytest.fixture
def late(engine: Engine) -> LateKeys:
    return engine.late_keys()


@pytest.fixture
def filled(engine: Engine, session: Session) -> Session:
    """A session to a database with the tables without their keys, and rows that break none."""
    for statement in engine.create_statements([NOTE, TAG], keys=False):
        session.execute(statement)
    session.execute("INSERT INTO note (id) VALUES (1), (2), (3)")
    session.execute("INSERT INTO tag (id, place) VALUES (1, 1), (1, 2), (3, 1)")
    return session


def build(late: LateKeys, session: Session, *steps: KeyStep) -> None:
    for step in steps:
        late.build(session, step)


def test_what_is_built_is_there_and_is_built_once(late: LateKeys, filled: Session) -> None:
    built = {step.part for step in STEPS if late.is_built(filled, step)}
    assert built <= {KeyPart.CHECKED}, "of which an engine may have nothing to do"
    for step in (*STEPS, *STEPS):
        late.build(filled, step)
        assert late.is_built(filled, step) is True
    filled.execute("DROP TABLE tag")
    assert [late.is_built(filled, step) for step in STEPS if step.table is TAG] == [None] * 3


@pytest.mark.parametrize(
    ("rows", "part", "codes"),
    [
        ("(1, 2)", KeyPart.PRIMARY, {"unique_violation"}),
        ("(4, 1)", None, {"foreign_key_violation", "constraint_violation"}),
    ],
)
def test_rows_in_the_way_are_told_and_nothing_is_built(
    engine: Engine, late: LateKeys, filled: Session, rows: str, part: KeyPart | None, codes: set[str]
) -> None:
    filled.execute(f"INSERT INTO tag (id, place) VALUES {rows}")
    refused = None
    for step in STEPS:
        try:
            late.build(filled, step)
        except Exception as error:  # noqa: BLE001 - the driver's, whichever it is
            refused, fault = step, engine.classify(error)
            filled.rollback()
            break
    assert refused is not None
    assert refused.table is TAG
    assert (refused.part is KeyPart.PRIMARY) is (part is KeyPart.PRIMARY)
    assert (fault.kind, fault.code in codes) == (FaultKind.DATA, True), fault
    assert late.is_built(filled, refused) is False
    filled.execute("DELETE FROM tag WHERE id = 4 OR place = 2")
    build(late, filled, *STEPS)
    assert {late.is_built(filled, step) for step in STEPS} == {True}


def test_a_turn_is_shared_or_somebodys_alone_until_it_is_given_back(
    engine: Engine, late: LateKeys, connect: Connect
) -> None:
    one, other = connect(), connect()
    name = f"load_owed_keys {'x' * 300}"
    assert late.hold(one, name, shared=True)
    assert late.hold(other, name, shared=True)
    late.let_go(one, name, shared=True)
    assert not late.hold(one, name, shared=False), "the other one still has its share"
    assert late.hold(one, f"{name}b", shared=False), "another name"
    late.let_go(other, name, shared=True)
    assert late.hold(one, name, shared=False)
    assert not late.hold(other, name, shared=True)
    late.let_go(other, name, shared=True)  # which it does not have
    assert not late.hold(other, name, shared=False)
    one.close()
    third = connect()
    for _ in range(15):  # the server hears of it when it comes to it
        if late.hold(third, name, shared=False):
            break
        time.sleep(2)
    else:
        pytest.fail("the turn did not end with the connection")
