"""The profile of real loads: its sums are the summary's, whatever ran, and whoever watched it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.tables import execute
from xml_extractor import Contract, LoadOptions, LoadSummary, load
from xml_extractor.engines import open_engine
from xml_extractor.errors import SourceError, TargetError
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.pending_keys import PendingKeys
from xml_extractor.profiling.observer import CommittedBatch, LoadObserver, WatchedLoad
from xml_extractor.profiling.profile import InsertClocks, LoadProfile
from xml_extractor.profiling.progress import Progress

DOCUMENTS = 700
CONTRACT = Contract.from_text(
    """\
contract: orders
version: 1
source: {name: shop, table: app_xml, key: app_id, document: app_xml}
document: {root: Order}
tables:
  orders:
    primary_key: [order_id]
    columns:
      order_id: {from: $key, type: int}
      quantity: {from: "@quantity", type: int, required: true}
  lines:
    parent: orders
    rows: Line
    primary_key: [order_id, number]
    columns:
      order_id: {from: $key, type: int}
      number: {from: $position, type: int}
""",
    "orders.yaml",
)


class Watcher(LoadObserver):
    """Keeps what it is told, and asks for everything at each batch."""

    def __init__(self, *, fails: bool = False) -> None:
        self.loads: list[WatchedLoad] = []
        self.batches: list[CommittedBatch] = []
        self.ended: list[LoadSummary] = []
        self.seen: list[tuple[LoadProfile, LoadSummary]] = []
        self._fails = fails

    def begin(self, load: WatchedLoad) -> None:
        self.loads.append(load)
        assert load.summary().documents.read == 0
        assert load.summary().seconds == 0

    def batch(self, batch: CommittedBatch) -> None:
        if self._fails:
            raise RuntimeError("broken")
        self.batches.append(batch)
        self.seen.append((self.loads[0].profile(), self.loads[0].summary()))

    def end(self, summary: LoadSummary) -> None:
        self.ended.append(summary)


@pytest.fixture
def source_url(tmp_path: Path) -> str:
    url = f"sqlite:///{(tmp_path / 'source.db').as_posix()}"
    execute(url, "CREATE TABLE app_xml (app_id INTEGER PRIMARY KEY, app_xml TEXT)")
    session = open_engine(url).connect(write=True, application="tests")
    session.begin()
    session.execute_many(
        "INSERT INTO app_xml VALUES (?, ?)",
        (
            (key, f"<Order quantity='{'x' if key % 100 == 0 else key}'>{'<Line/>' * (key % 4)}</Order>")
            for key in range(1, DOCUMENTS + 1)
        ),
    )
    session.commit()
    session.close()
    return url


def options(**changes: Any) -> LoadOptions:
    return LoadOptions(**{"workers": 2, "batch_size": 100, "create_tables": True, **changes})


def check(profile: LoadProfile, summary: LoadSummary, watcher: Watcher) -> None:
    """What must hold of every load that came to its end."""
    settled = summary.documents.loaded + summary.documents.quarantined + summary.documents.skipped
    assert settled == DOCUMENTS
    assert sum(worker.documents for worker in profile.workers) == settled
    assert profile.document_latency.count == settled
    assert sum(bucket.count for bucket in profile.document_histogram) == settled
    assert len(profile.slowest) == 20
    assert profile.insert_latency.count == summary.batches == summary.insert_ms["count"]
    assert sum(bucket.count for bucket in profile.insert_histogram) == summary.batches
    assert sum(sample.insert.count for sample in profile.samples) == summary.batches
    assert profile.clocks == summary.clocks
    last = profile.samples[-1]
    assert (last.documents, last.batches, last.queue_documents) == (settled, summary.batches, 0)
    assert last.clocks == profile.clocks
    assert profile.cpu_seconds == last.cpu_seconds > 0
    assert [s.seconds for s in profile.samples] == sorted(s.seconds for s in profile.samples)
    assert any(sample.memory_bytes for sample in profile.samples)
    # No worker and no insert thread has been at it for longer than the load took.
    assert all(worker.clocks.seconds <= profile.seconds + 0.1 for worker in profile.workers)
    assert profile.inserting.wait + profile.inserting.busy <= profile.seconds * summary.insert_threads + 0.1
    assert sum(batch.documents for batch in watcher.batches) == settled
    assert sum(batch.loaded for batch in watcher.batches) == summary.documents.loaded
    assert len(watcher.batches) == summary.batches
    for batch in watcher.batches:
        assert batch.clocks.busy == pytest.approx(batch.seconds, abs=1e-6)
    assert sum(batch.rows["orders"] for batch in watcher.batches) == summary.rows["orders"]
    assert (
        sum((batch.clocks for batch in watcher.batches), InsertClocks()).busy <= profile.inserting.busy + 1e-6
    )
    assert all(live.samples for live, _ in watcher.seen)
    assert watcher.ended == [summary]
    assert watcher.ended[0].profile is profile
    names = {thread.name for thread in threading.enumerate()}
    assert not {name for name in names if name.startswith("xml-extractor") or name == "memory-peak"}


@pytest.mark.parametrize("executor", ["thread", "process", "serial"])
def test_the_profiles_sums_are_the_summarys(executor: str, source_url: str, database_url: str) -> None:
    watcher, broken = Watcher(), Watcher(fails=True)
    summary = load(
        source_url, database_url, CONTRACT, options(executor=executor), observers=[broken, watcher]
    )
    profile = summary.profile
    assert profile is not None
    check(profile, summary, watcher)
    assert profile.inserting.tables.keys() == {"orders", "lines"}
    assert all(seconds > 0 for seconds in profile.inserting.tables.values())
    assert profile.inserting.commit > 0
    assert profile.inserting.claim > 0
    assert len(profile.workers) == (1 if executor == "serial" else 2)
    assert watcher.loads[0].database["system"]
    assert watcher.loads[0].database["name"]
    assert broken.ended == [summary]


@pytest.mark.parametrize("kind", ["dry-run", "null", "jsonl"])
def test_what_is_not_loaded_into_a_database_is_watched_as_well(
    kind: str, source_url: str, tmp_path: Path
) -> None:
    target = {"dry-run": source_url, "null": "null:", "jsonl": f"jsonl:{(tmp_path / 'out').as_posix()}"}[kind]
    watcher = Watcher()
    summary = load(
        source_url,
        target,
        CONTRACT,
        options(executor="thread", dry_run=kind == "dry-run"),
        observers=[watcher],
    )
    assert summary.profile is not None
    check(summary.profile, summary, watcher)
    assert ("system" in watcher.loads[0].database) == (kind == "dry-run")
    assert list(summary.profile.inserting.tables) == (["files"] if kind == "jsonl" else [])


def test_looking_for_what_is_pending_is_no_mapping(source_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A serial load reads many known keys before and after a few new ones; its worker has nothing to do."""
    pending = PendingKeys.__iter__

    def slowly(self: PendingKeys) -> Iterator[Chunk]:
        time.sleep(0.5)
        for chunk in pending(self):
            yield chunk
            time.sleep(0.5)

    monkeypatch.setattr(PendingKeys, "__iter__", slowly)
    settings = options(executor="serial", drift_sample=0, limit=100, batch_seconds=0.1)
    summary = load(source_url, "null:", CONTRACT, settings)
    assert summary.clocks.idle >= 1.5
    assert summary.clocks.map < 0.5


def test_progress_that_cannot_be_shown_leaves_no_sampler_behind(source_url: str) -> None:
    class Gone(Progress):
        def finish(self) -> None:
            raise BrokenPipeError

    watcher = Watcher()
    with pytest.raises(BrokenPipeError):
        load(source_url, "null:", CONTRACT, options(executor="thread"), progress=Gone(), observers=[watcher])
    assert "xml-extractor-sampler" not in {thread.name for thread in threading.enumerate()}
    assert watcher.ended[0].profile is not None


def test_the_summary_file_holds_the_profile_and_load_runs_does_not(
    source_url: str, database_url: str, tmp_path: Path
) -> None:
    summary = load(source_url, database_url, CONTRACT, options(executor="thread"))
    summary.write(tmp_path / "summary.json")
    data = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert LoadProfile.from_json(data.pop("profile")) == summary.profile
    assert data == json.loads(json.dumps(summary.to_json()))
    session = open_engine(database_url).connect(write=False, application="tests")
    [(recorded,)] = session.query(f"SELECT summary FROM {session.table('load_runs')}")
    session.close()
    assert "profile" not in json.loads(recorded)


def test_the_end_is_told_of_loads_that_never_began(tmp_path: Path, source_url: str) -> None:
    nowhere = f"sqlite:///{(tmp_path / 'nowhere.db').as_posix()}"
    watcher = Watcher()
    with pytest.raises(SourceError):
        load(nowhere, "null:", CONTRACT, options(), observers=[watcher])
    assert not watcher.loads
    [summary] = watcher.ended
    assert summary.error
    assert summary.profile is None

    watcher = Watcher()
    folder = f"sqlite:///{tmp_path.as_posix()}"
    with pytest.raises(TargetError):
        load(source_url, folder, CONTRACT, options(), observers=[watcher])
    assert [one.error is not None for one in watcher.ended] == [True]


def test_a_load_that_fails_ends_with_its_profile(source_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from xml_extractor.target.files import CountingWriter

    commit = CountingWriter.commit_batch

    def fail_later(self: CountingWriter, records: Any) -> Any:
        if watcher.batches:
            raise TargetError("gone")
        return commit(self, records)

    monkeypatch.setattr(CountingWriter, "commit_batch", fail_later)
    watcher = Watcher()
    failures: list[LoadSummary] = []
    with pytest.raises(TargetError, match="gone"):
        load(
            source_url, "null:", CONTRACT, options(executor="thread"), observers=[watcher],
            on_failure=failures.append,
        )  # fmt: skip
    assert watcher.ended == failures
    assert failures[0].error == "gone"
    profile = failures[0].profile
    assert profile is not None
    assert profile.samples[-1].documents == failures[0].documents.loaded + failures[0].documents.quarantined
    assert "xml-extractor-sampler" not in {thread.name for thread in threading.enumerate()}
