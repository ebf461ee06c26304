"""A target in a SQLite file behind an engine that fails when told to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import target_plans
from tests.support.fake_engine import FakeEngine
from xml_extractor.engines import open_engine
from xml_extractor.target.batch_writer import DatabaseBatchWriter
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.ledger import DocumentDigests


@pytest.fixture
def engine(sqlite_url: str) -> FakeEngine:
    """A fake engine over a fresh database with all tables of the two-table plan."""
    real = open_engine(sqlite_url)
    DatabaseTarget(real, retry_seconds=0).prepare(
        target_plans.plan(),
        source_name=target_plans.SOURCE,
        source_name_explicit=False,
        create_tables=True,
        dry_run=False,
        on_plan_change="report",
        settings={},
    ).close()
    return FakeEngine(real)


@pytest.fixture
def writer(engine: FakeEngine) -> Iterator[DatabaseBatchWriter]:
    """A writer of load 1 that retries for five seconds."""
    writer = make_writer(engine)
    yield writer
    writer.close()


def make_writer(engine: FakeEngine, retry_seconds: float = 5.0) -> DatabaseBatchWriter:
    plan = target_plans.plan()
    digests = DocumentDigests(target_plans.SOURCE, plan.contract)
    return DatabaseBatchWriter(engine, plan, digests, 1, retry_seconds, "test")
