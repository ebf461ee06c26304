"""The short form of the fault suite: a few cases of a fixed seed.  ``make faults`` runs the long one."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.case import run_case
from tests.faults.cases import draw_case
from tests.faults.documents import Documents, make_documents
from tests.faults.places import Ground
from tests.support.servers import NotToBeHad

SEED = 4
DOCUMENTS = 1500
POSTGRESQL = pytest.mark.postgresql

pytestmark = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ground]:
    ground = Ground(make_documents(tmp_path_factory.mktemp("documents"), DOCUMENTS))
    yield ground
    ground.close()


@pytest.mark.parametrize(
    ("family", "number", "least"),
    [
        pytest.param("failpoints", 3, 8, id="failpoints-sqlite"),
        pytest.param("failpoints", 8, 8, id="failpoints-postgresql", marks=POSTGRESQL),
        pytest.param("cuts", 1, 5, id="cuts", marks=POSTGRESQL),
        pytest.param("server", 2, 1, id="server", marks=POSTGRESQL),
        pytest.param("workers", 6, 3, id="workers"),
        pytest.param("loaders", 10, 1, id="loaders"),
    ],
)
def test_nothing_is_lost_or_twice(
    family: str, number: int, least: int, ground: Ground, tmp_path: Path
) -> None:
    """Args: ``least``: so many faults must have struck, or the case proves nothing."""
    case = draw_case(SEED, number, family=family)
    try:
        outcome = run_case(case, ground, tmp_path)
    except NotToBeHad as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
    assert outcome.problems == [], case.describe()
    assert sum(outcome.struck.values()) >= least, case.describe()
    assert sum(outcome.between.values()) >= least - 1, "struck before or after all commits"


def test_a_case_is_the_same_whenever_it_is_drawn() -> None:
    assert draw_case(SEED, 17).describe() == draw_case(SEED, 17).describe()
    assert draw_case(SEED, 17).describe() != draw_case(SEED + 1, 17).describe()


def test_the_source_holds_documents_of_every_fate(ground: Ground) -> None:
    documents: Documents = ground.documents
    for expected in (documents.expected, documents.changed):
        assert len(expected.states) == DOCUMENTS
        assert set(expected.states.values()) == {"loaded", "quarantined", "skipped"}
    assert documents.expected.tables != documents.changed.tables
