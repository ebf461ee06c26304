"""Engines and open sessions for the tests of this folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, EngineOptions, Session, TimeLimits, table_specs

LIMITS = TimeLimits(connect_seconds=5, statement_seconds=20)

Connect = Callable[..., Session]


@pytest.fixture
def engine(database_url: str) -> Engine:
    """Each engine in turn, with an empty database."""
    return open_engine(database_url, options=EngineOptions(LIMITS))


@pytest.fixture
def connect(engine: Engine) -> Iterator[Connect]:
    """Opens sessions that are closed after the test."""
    sessions: list[Session] = []

    def open_session(*, write: bool = True) -> Session:
        sessions.append(engine.connect(write=write, application="tests"))
        return sessions[-1]

    yield open_session
    for session in sessions:
        session.close()


@pytest.fixture
def session(connect: Connect) -> Session:
    """One session that writes."""
    return connect()


@pytest.fixture
def create(engine: Engine, session: Session) -> Callable[[Plan], None]:
    """Creates a plan's tables by the engine's own DDL."""

    def create_tables(plan: Plan) -> None:
        for statement in engine.create_statements(table_specs(plan)):
            session.execute(statement)

    return create_tables
