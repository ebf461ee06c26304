"""Finished ranges of keys on real databases: what is written comes back, and claims end when they must."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from tests.support import target_plans
from tests.support.tables import execute, query
from tests.support.target_plans import loaded, refused
from tests.support.target_plans import plan as two_tables
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine, Session
from xml_extractor.mapping.records import Key, State
from xml_extractor.target import ranges
from xml_extractor.target.base import LoadHandle, RunState
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.ranges import FinishedRange, RangeBook, RangeCounts

SCOPE = '{"start": null}'
ODD_KEYS: list[Key] = [
    0, -5, 2**62, "a", " a ", "A", "it's", 'say "x"', "ä€😀", "nul\0in it", "\ud800 alone", "\\x00", "5", "",
]  # fmt: skip


def prepare(engine: Engine, plan: Plan | None = None, **more: Any) -> LoadHandle:
    arguments: dict[str, Any] = {
        "source_name": target_plans.SOURCE, "source_name_explicit": False, "create_tables": True,
        "dry_run": False, "on_plan_change": "report", "settings": {}, **more,
    }  # fmt: skip
    return DatabaseTarget(engine, retry_seconds=20).prepare(plan or two_tables(), **arguments)


@pytest.fixture
def engine(database_url: str) -> Engine:
    """A database with the bookkeeping tables and one unfinished load."""
    engine = open_engine(database_url)
    prepare(engine).close()
    return engine


@contextmanager
def connected(engine: Engine) -> Iterator[Session]:
    session = engine.connect(write=True, application="tests")
    try:
        yield session
    finally:
        session.close()


def book(session: Session, scope: str = SCOPE, load_id: int = 1) -> RangeBook:
    made = RangeBook(load_id, target_plans.SOURCE, target_plans.CONTRACT)
    made.open(session, scope)
    return made


def stretches(session: Session, scope: str = SCOPE, load_id: int = 1) -> list[ranges.Stretch]:
    return RangeBook(load_id, target_plans.SOURCE, target_plans.CONTRACT).open(session, scope)


def done(number: int, after: Key | None, last: Key, loaded: int = 1, **counts: int) -> FinishedRange:
    return FinishedRange(number, after, last, RangeCounts(loaded, **counts))


def test_keys_of_every_kind_come_back_as_they_were(engine: Engine) -> None:
    with connected(engine) as session:
        written = book(session)
        for number, key in enumerate(ODD_KEYS, start=1):
            # Each beyond a key of its own, so that none is joined to its neighbour.
            written.record(session, [done(10 * number, f"before {key}", key)])
        found = stretches(session)
    assert [stretch.last for stretch in found] == ODD_KEYS
    assert [stretch.after for stretch in found] == [f"before {key}" for key in ODD_KEYS]


def test_neighbours_become_one_stretch_and_gaps_part_them(engine: Engine) -> None:
    with connected(engine) as session:
        written = book(session)
        content = 2**128 - 1
        written.record(
            session,
            [
                done(40, 30, 40, 5, quarantined=1, content=content),
                done(10, None, 10, 7, skipped=2, other_plan=1),
                done(20, 10, 20, 9),
            ],
        )
        found = stretches(session)
        (stored,) = session.query(
            f"SELECT content FROM {session.table('load_ranges')} WHERE range_number = 40"
        )
    assert bytes(stored[0]) == b"\xff" * 16
    assert [(s.first_number, s.last_number, s.after, s.last, s.ranges) for s in found] == [
        (10, 20, None, 20, 2), (40, 40, 30, 40, 1),
    ]  # fmt: skip
    assert (found[0].counts.loaded, found[0].counts.skipped, found[0].counts.other_plan) == (16, 2, 1)
    assert (found[1].counts.documents, found[1].counts.quarantined) == (6, 1)


def test_of_two_that_claim_one_number_the_first_stays(engine: Engine) -> None:
    with connected(engine) as one, connected(engine) as other:
        first, second = book(one), book(other)
        first.record(one, [done(10, None, 100, 3)])
        second.record(other, [done(10, None, 60, 2), done(20, 60, 120, 2)])
        found = stretches(one)
    assert [(s.after, s.last, s.counts.loaded) for s in found] == [(None, 100, 3), (60, 120, 2)]


def test_what_was_made_for_another_purpose_is_left_out(engine: Engine) -> None:
    with connected(engine) as session:
        book(session).record(session, [done(10, None, 1)])
        book(session, '{"start": 5}').record(session, [done(10, None, 2)])
        book(session, load_id=2).record(session, [done(10, None, 3)])
        assert [s.last for s in stretches(session)] == [1]
        assert [s.last for s in stretches(session, '{"start": 5}')] == [2]
        # A run that makes no claims uses none and writes none.
        assert stretches(session, "") == []
        book(session, "").record(session, [done(20, None, 4)])
        assert len(session.query(f"SELECT range_key FROM {session.table('load_ranges')}")) == 3


def test_forgetting_ends_claims_that_a_running_loader_still_holds(engine: Engine) -> None:
    with connected(engine) as running, connected(engine) as session:
        held = book(running)
        held.record(running, [done(10, None, 1)])
        session.begin()
        ranges.forget(session, target_plans.SOURCE, target_plans.CONTRACT)
        session.commit()
        held.record(running, [done(20, 1, 2)])
        assert stretches(session) == []
        book(session).record(session, [done(10, None, 7)])
        assert [s.last for s in stretches(session)] == [7]


def test_forgetting_is_undone_with_its_transaction(engine: Engine) -> None:
    with connected(engine) as session:
        book(session).record(session, [done(10, None, 1)])
        session.begin()
        ranges.forget(session, target_plans.SOURCE, target_plans.CONTRACT)
        session.rollback()
        assert [s.last for s in stretches(session)] == [1]


def test_forgetting_spares_other_sources_and_finished_loads_unless_they_are_named(engine: Engine) -> None:
    handle = prepare(engine)
    assert handle.load_id == 1
    handle.finish(RunState.FINISHED, {})
    handle.close()
    prepare(engine, source_name="elsewhere", source_name_explicit=True).close()
    with connected(engine) as session:
        for load_id in (1, 2):
            book(session, load_id=load_id).record(session, [done(10, None, load_id)])
        ranges.forget(session, target_plans.SOURCE, target_plans.CONTRACT)
        assert [len(stretches(session, load_id=load_id)) for load_id in (1, 2)] == [1, 1]
        ranges.forget(session, target_plans.SOURCE, target_plans.CONTRACT, [1])
        assert [len(stretches(session, load_id=load_id)) for load_id in (1, 2)] == [0, 1]


# -------------------------------------------------------------------------------------- by a writer


def test_a_writer_says_what_it_settled_and_writes_ranges_down(engine: Engine) -> None:
    handle = prepare(engine)
    assert handle.keeps_ranges
    assert handle.open_ranges(SCOPE) == []
    writer = handle.writer(1)
    records = [loaded(engine.encoder(two_tables()), key) for key in (1, 2)]
    result = writer.commit_batch([*records, refused(3), refused(4, State.SKIPPED)])
    assert sorted((key, state) for key, state, _, _ in result.settled) == sorted(
        [(1, State.LOADED), (2, State.LOADED), (3, State.QUARANTINED), (4, State.SKIPPED)],
        key=lambda pair: pair[0],
    )
    marks = {key: mark for key, _, mark, _ in result.settled}
    again = writer.commit_batch([*records, refused(3), refused(4, State.SKIPPED)])
    assert {key: mark for key, _, mark, _ in again.settled} == marks, "settled elsewhere, by the same rows"
    entries = handle.lookup([1, 2, 3, 4])
    assert {key: entry.mark for key, entry in entries.items()} == marks
    writer.record_ranges([done(10, None, 4, 2, quarantined=1, skipped=1)])
    writer.close()
    (found,) = handle.open_ranges(SCOPE)
    handle.close()
    assert (found.last, found.counts.documents) == (4, 4)


def test_marks_are_new_when_a_row_is_written_anew(engine: Engine) -> None:
    handle = prepare(engine)
    writer = handle.writer(1)
    first = writer.commit_batch([refused(1)]).settled
    again = refused(1, previous=handle.lookup([1])[1].previous)
    second = writer.commit_batch([again]).settled
    writer.close()
    handle.close()
    assert first != second


def test_settling_known_documents_anew_ends_the_claims_of_other_runs(
    engine: Engine, database_url: str
) -> None:
    handle = prepare(engine)
    handle.open_ranges(SCOPE)
    writer = handle.writer(1)
    writer.commit_batch([refused(1), refused(2)])
    writer.record_ranges([done(10, None, 2, 0, quarantined=2)])
    writer.close()
    handle.close()
    # Another load: the same source under a newer version of the contract.
    newer = prepare(engine, two_tables(target_plans.OTHER_DIGEST))
    assert (newer.load_id, newer.open_ranges(SCOPE)) == (2, [])
    writer = newer.writer(1)
    writer.record_ranges([done(10, None, 1, 1)])
    again = loaded(engine.encoder(two_tables()), 2, previous=newer.lookup([2])[2].previous)
    assert writer.commit_batch([again]).loaded == 1
    writer.close()
    newer.close()
    found = query(database_url, "SELECT load_id FROM load_ranges")
    assert [row[0] for row in found] == [2], "its own hold"
    with connected(engine) as session:
        assert stretches(session, load_id=1) == []


def test_a_replay_ends_the_claims_of_the_load_that_it_belongs_to(engine: Engine, database_url: str) -> None:
    handle = prepare(engine)
    handle.open_ranges(SCOPE)
    writer = handle.writer(1)
    writer.commit_batch([refused(1)])
    writer.record_ranges([done(10, None, 1, 0, quarantined=1)])
    writer.close()
    handle.close()
    replay = prepare(engine)  # it goes on with the unfinished load, and covers no range
    writer = replay.writer(1)
    writer.commit_batch([loaded(engine.encoder(two_tables()), 1, previous=replay.lookup([1])[1].previous)])
    writer.close()
    replay.close()
    assert query(database_url, "SELECT load_id FROM load_ranges") == []


def test_a_dry_run_uses_ranges_and_keeps_none(engine: Engine) -> None:
    with connected(engine) as session:
        book(session).record(session, [done(10, None, 1)])
    handle = prepare(engine, dry_run=True)
    assert not handle.keeps_ranges
    assert [stretch.last for stretch in handle.open_ranges(SCOPE)] == [1]
    handle.record_ranges([done(20, 1, 2)])
    assert [stretch.last for stretch in handle.open_ranges(SCOPE)] == [1]
    handle.close()


def test_without_the_row_of_its_load_nothing_is_passed_over(engine: Engine, database_url: str) -> None:
    with connected(engine) as session:
        book(session).record(session, [done(10, None, 1)])
    execute(database_url, "DELETE FROM load_runs")
    with connected(engine) as session:
        assert stretches(session) == []
