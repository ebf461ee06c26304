"""The reader against a source that misbehaves as no real one can be made to."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from decimal import Decimal
from random import Random
from time import monotonic
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.contract.plan import SourcePlan
from xml_extractor.engines.base import Engine, Fault, FaultKind
from xml_extractor.errors import SourceError
from xml_extractor.mapping.records import Key, SourceDocument
from xml_extractor.source.reader import SourceReader

PLAN = SourcePlan(name=None, table="app_xml", key="k", document="d", where=None, columns=())


class Broken(Exception):
    def __init__(self, kind: FaultKind) -> None:
        super().__init__("the secret value")
        self.kind = kind


class FakeSession:
    def __init__(self, engine: FakeEngine) -> None:
        self.engine = engine
        self.closed = self.rolled_back = self.aborted = False

    def key_page(self, source: Any, after: Any, start: Any, end: Any, limit: int) -> list[Key | None]:
        self.engine.fail()
        return self.engine.pages(after)

    def documents(
        self, source: Any, keys: Sequence[Key], most_bytes: int | None = None
    ) -> list[SourceDocument]:
        self.engine.fail()
        return self.engine.found

    def rollback(self) -> None:
        self.rolled_back = True

    def close(self) -> None:
        self.closed = True

    def abort(self) -> None:
        self.aborted = True


class FakeEngine:
    display = "the fake source"

    def __init__(self) -> None:
        self.failures: list[FaultKind] = []
        self.connect_failures: list[FaultKind] = []
        self.sessions: list[FakeSession] = []
        self.found: list[SourceDocument] = []
        self.pages: Callable[[Any], list[Key | None]] = lambda after: []
        self.session_type = FakeSession

    def fail(self) -> None:
        if self.failures:
            raise Broken(self.failures.pop(0))

    def connect(self, *, write: bool, application: str) -> FakeSession:
        assert not write
        if self.connect_failures:
            raise Broken(self.connect_failures.pop(0))
        self.sessions.append(self.session_type(self))
        return self.sessions[-1]

    def classify(self, error: BaseException) -> Fault:
        kind = error.kind if isinstance(error, Broken) else FaultKind.FATAL
        return Fault(kind, "made_up", "something is broken", "X1")


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


def reader_of(engine: FakeEngine, plan: SourcePlan = PLAN, **options: Any) -> SourceReader:
    reader = SourceReader(cast(Engine, engine), plan, **{"retry_seconds": 5.0, **options})
    reader.open()
    return reader


def test_a_lost_connection_is_replaced_and_the_statement_repeated(engine: FakeEngine) -> None:
    reader = reader_of(engine)
    engine.found = [SourceDocument(1, b"<a/>", is_text=True)]
    engine.failures = [FaultKind.DISCONNECTED]
    engine.connect_failures = [FaultKind.DISCONNECTED]
    assert reader.documents([1]) == engine.found
    assert len(engine.sessions) == 2
    assert engine.sessions[0].closed


def test_a_transient_fault_keeps_the_connection(engine: FakeEngine) -> None:
    reader = reader_of(engine)
    engine.failures = [FaultKind.TRANSIENT, FaultKind.TRANSIENT]
    assert reader.documents([1]) == []
    assert len(engine.sessions) == 1
    assert engine.sessions[0].rolled_back


def test_a_source_that_stays_away_ends_in_time_with_its_cause(
    engine: FakeEngine, caplog: pytest.LogCaptureFixture
) -> None:
    reader = reader_of(engine, retry_seconds=0.4)
    engine.failures = [FaultKind.DISCONNECTED] * 1000
    started = monotonic()
    with caplog.at_level(logging.INFO), pytest.raises(SourceError) as caught:
        reader.documents([1])
    assert 0.3 < monotonic() - started < 5
    message = str(caught.value)
    assert "the fake source failed to read documents: something is broken (X1)" in message
    assert "--retry-seconds" in message
    assert "secret" not in message + caplog.text


def test_a_fatal_fault_ends_at_once(engine: FakeEngine) -> None:
    reader = reader_of(engine, retry_seconds=60)
    engine.failures = [FaultKind.FATAL]
    with pytest.raises(SourceError, match="something is broken") as caught:
        reader.documents([1])
    assert "--retry-seconds" not in str(caught.value)
    assert "trying again cannot cure this" in str(caught.value)
    assert engine.failures == []


@pytest.mark.parametrize("kind", FaultKind)
def test_the_first_connection_is_tried_once(engine: FakeEngine, kind: FaultKind) -> None:
    engine.connect_failures = [kind] * 2
    with pytest.raises(SourceError, match="cannot connect to the source the fake source"):
        reader_of(engine, retry_seconds=60)
    assert len(engine.connect_failures) == 1


def test_abort_ends_a_wait_between_attempts(engine: FakeEngine) -> None:
    reader = reader_of(engine, retry_seconds=60)
    engine.failures = [FaultKind.DISCONNECTED] * 1000
    threading.Timer(0.3, reader.abort).start()
    started = monotonic()
    with pytest.raises(SourceError):
        reader.documents([1])
    assert monotonic() - started < 5


def test_abort_breaks_the_statement_that_runs(engine: FakeEngine) -> None:
    reader = reader_of(engine)
    reader.abort()
    assert engine.sessions[0].aborted


@pytest.mark.parametrize(
    ("pages", "message"),
    [
        ({None: [1, None]}, "holds NULL"),
        ({None: [1, 2], 2: [None]}, "holds NULL"),
        ({None: [1, 1]}, "not unique"),
        ({None: ["a", "b"], "b": ["b", "c"]}, "not unique"),
        ({None: [2, 1]}, "ascending"),
        ({None: [1, 2], 2: [1, 3]}, "ascending"),
        ({None: [1, "1"]}, "both integers and text"),
        ({None: [1, 2], 2: ["1"]}, "both integers and text"),
        ({None: ["a", "b"], "b": ["c", "a"], "a": ["d", "b"]}, "ascending"),
    ],
)
def test_keys_that_cannot_be_paged_are_refused(
    engine: FakeEngine, pages: dict[Any, Any], message: str
) -> None:
    engine.pages = lambda after: pages[after]
    with pytest.raises(SourceError, match=message):
        list(reader_of(engine).key_pages(page_size=2))


def test_keys_of_one_kind_are_asked_for_across_all_pages(engine: FakeEngine) -> None:
    """Also where the pages between were passed over."""
    reader = reader_of(engine)
    engine.pages = lambda after: [1, 2] if after is None else ["x"]
    assert next(reader.key_pages(page_size=2)) == [1, 2]
    with pytest.raises(SourceError, match="both integers and text"):
        next(reader.key_pages(page_size=2, after=9))


def test_strings_may_sort_as_their_collation_says(engine: FakeEngine) -> None:
    pages: dict[Any, list[Key | None]] = {None: ["a", "B"], "B": ["c", "É"], "É": ["f"]}
    engine.pages = lambda after: pages[after]
    assert list(reader_of(engine).key_pages(page_size=2)) == [["a", "B"], ["c", "É"], ["f"]]


def test_further_columns_come_as_text(engine: FakeEngine) -> None:
    plan = SourcePlan(name=None, table="t", key="k", document="d", where=None, columns=("n", "b"))
    engine.found = [SourceDocument(1, b"<a/>", (Decimal("1E+2"), b"\xff"))]
    assert reader_of(engine, plan).documents([1]) == [SourceDocument(1, b"<a/>", ("100", "ff"))]
    engine.found = [SourceDocument(1, "<a/>", ("x", {"secret": 1}))]
    with pytest.raises(SourceError, match=r"column b of source table t has a type \(dict\)"):
        reader_of(engine, plan).documents([1])


def test_close_twice_and_unopened(engine: FakeEngine) -> None:
    reader = reader_of(engine)
    reader.close()
    reader.close()
    SourceReader(cast(Engine, engine), PLAN).close()
    assert engine.sessions[0].closed


def test_text_is_encoded_once_but_for_text_that_has_no_bytes(engine: FakeEngine) -> None:
    engine.found = [SourceDocument(1, "<ä/>"), SourceDocument(2, "<\ud800/>"), SourceDocument(3, None)]
    assert reader_of(engine).documents([1, 2, 3]) == [
        SourceDocument(1, "<ä/>".encode(), is_text=True), SourceDocument(2, "<\ud800/>"),
        SourceDocument(3, None),
    ]  # fmt: skip


@given(
    gone=st.sets(st.integers(0, 20)),
    sizes=st.lists(st.integers(0, 9), min_size=21, max_size=21),
    most=st.integers(1, 30),
    shuffled=st.randoms(use_true_random=False),
)
def test_slices_hold_each_document_once_whatever_the_source_gives_at_a_time(
    gone: set[int], sizes: list[int], most: int, shuffled: Random
) -> None:
    class Session(FakeSession):
        def documents(
            self, source: Any, keys: Sequence[Key], most_bytes: int | None = None
        ) -> list[SourceDocument]:
            found: list[SourceDocument] = []
            there = [key for key in keys if key not in gone]
            shuffled.shuffle(there)  # an order of its own: only what came back counts
            for key in there:
                found.append(SourceDocument(key, b"x" * sizes[int(key)]))
                if sum(len(document.content or b"") for document in found) >= most:
                    break
            return found

    fake = FakeEngine()
    fake.session_type = Session
    keys = list(range(21))
    slices = list(reader_of(fake).slices(keys))
    assert sorted(d.key for slice_ in slices for d in slice_.documents) == sorted(set(keys) - gone)
    assert sorted(key for slice_ in slices for key in slice_.vanished) == sorted(gone)
    assert [slice_.is_last for slice_ in slices] == [False] * (len(slices) - 1) + [True]


def test_a_document_that_comes_under_another_key_than_was_asked_for_is_not_asked_for_for_ever() -> None:
    """A source that takes 'a' and 'A' for equal gives the row that has been renamed since."""

    class Session(FakeSession):
        calls = 0

        def documents(
            self, source: Any, keys: Sequence[Key], most_bytes: int | None = None
        ) -> list[SourceDocument]:
            Session.calls += 1
            assert Session.calls < 20, "asked again and again"
            rows = [key for key in ("A", "B", "c", "d") if key.lower() in keys]
            return [SourceDocument(key, b"x") for key in (rows if most_bytes is None else rows[:1])]

    fake = FakeEngine()
    fake.session_type = Session
    slices = list(reader_of(fake).slices(["a", "b", "c", "d", "e"]))
    assert [d.key for slice_ in slices for d in slice_.documents] == ["c", "d"]
    assert sorted(key for slice_ in slices for key in slice_.vanished) == ["a", "b", "e"]
    assert [slice_.is_last for slice_ in slices] == [False] * (len(slices) - 1) + [True]
