"""Commands that meet a load which is at work or unfinished: neither takes anything from the other."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.end_to_end.test_guards import CONTRACT, GOOD, NO_NUMBER, contract, run, write_source
from tests.support.program import Program
from tests.support.tables import execute, query
from xml_extractor import LoadOptions, load
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.load import RunningLoad
from xml_extractor.operations.quarantine import QuarantineFilter, replay_keys
from xml_extractor.operations.quarantine_purge import purge
from xml_extractor.operations.verification.run import VerifyOptions, verify
from xml_extractor.profiling.summary import LoadSummary

LIMIT_SECONDS = 60


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{(tmp_path / 'shop.db').as_posix()}"


def options(**given: Any) -> LoadOptions:
    return LoadOptions(**{"create_tables": True, "executor": "thread", "drift_sample": 0, **given})


def replay(url: str, *keys: str) -> LoadSummary:
    wanted = QuarantineFilter(keys=keys)
    with Bookkeeping(url, options()) as bookkeeping:
        found = list(replay_keys(bookkeeping.ask, wanted, source_name="shop", contract="orders"))
    assert found
    return load(url, url, contract(), options(), keys=found)


class SlowLoad:
    """A load in a thread, slow enough to be met."""

    def __init__(self, url: str) -> None:
        self._running: RunningLoad | None = None
        self.thread = threading.Thread(
            target=lambda: load(
                url, url, contract(), options(throttle=10_000, batch_size=500), on_start=self._keep
            ),
            daemon=True,
        )
        self.thread.start()

    def _keep(self, running: RunningLoad) -> None:
        self._running = running

    def stop(self) -> None:
        assert self._running is not None
        self._running.stop(2)
        self.thread.join(LIMIT_SECONDS)
        assert not self.thread.is_alive()


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        try:
            if condition():
                return
        except Exception:  # noqa: BLE001 - the tables are not there yet
            pass
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_replay_does_not_end_the_load_that_it_goes_on_with(url: str) -> None:
    write_source(url, {key: NO_NUMBER if key == 3 else GOOD for key in range(1, 12_001)})
    slow = SlowLoad(url)
    wait_for(lambda: query(url, "SELECT COUNT(*) FROM load_ranges") != [(0,)])
    slow.stop()
    (before,) = query(url, "SELECT load_id, state, started_at FROM load_runs")
    assert before[1] == "stopped"
    execute(url, "UPDATE app_xml SET app_xml = '<Order quantity=\"1\"/>' WHERE app_id = 3")
    assert replay(url, "3").documents.loaded == 1
    assert query(url, "SELECT load_id, state, started_at FROM load_runs") == [before]
    whole = run(url, url, drift_sample=0)
    assert whole.load_id == before[0], "the load was ended by the replay of one document"
    assert query(url, "SELECT load_id, state FROM load_runs") == [(before[0], "finished")]
    assert query(url, "SELECT COUNT(*) FROM orders") == [(12_000,)]


def test_what_is_purged_beside_a_load_at_work_is_found_when_that_is_resumed(url: str) -> None:
    """The loader holds claims in memory that the purge makes untrue; a replay goes under its number."""
    write_source(url, {key: NO_NUMBER if key in (3, 7) else GOOD for key in range(1, 15_001)})
    slow = SlowLoad(url)
    wait_for(lambda: query(url, "SELECT COUNT(*) FROM load_quarantine") == [(2,)])
    execute(url, "UPDATE app_xml SET app_xml = '<Order quantity=\"1\"/>' WHERE app_id = 3")
    replay(url, "3")
    assert slow.thread.is_alive()
    assert purge(url, options(), QuarantineFilter(), make_pending=True).pending == 1
    wait_for(lambda: query(url, "SELECT COUNT(*) FROM load_ranges") != [(0,)] or not slow.thread.is_alive())
    slow.stop()
    run(url, url, drift_sample=0)
    assert query(url, "SELECT state FROM load_ledger WHERE source_key = '7'") == [("quarantined",)]


def test_a_stuck_worker_process_does_not_outlive_a_killed_program(url: str, tmp_path: Path) -> None:
    write_source(url, dict.fromkeys(range(1, 301), GOOD))
    (tmp_path / "orders.yaml").write_text(CONTRACT, encoding="utf-8")
    program = Program(
        "--source", url, "--contract", "orders.yaml", "--executor", "process", "--workers", "1",
        "--create-tables", "--drift-sample", "0", "--batch-seconds", "0.1", folder=tmp_path,
        extra={"XML_EXTRACTOR_FAILPOINTS": "worker_document=stall:600@key:150"},
    )  # fmt: skip
    wait_for(lambda: query(url, "SELECT COUNT(*) FROM load_ledger")[0][0] > 0)
    children = psutil.Process(program.process.pid).children(recursive=True)
    assert children
    program.process.kill()
    program.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    for child in alive:
        child.kill()
    assert not alive


def test_a_purged_document_that_ended_its_workers_stays_away(url: str) -> None:
    """It has no hash by which it could be told to be unchanged."""
    write_source(url, dict.fromkeys(range(1, 11), GOOD))
    run(url, url, drift_sample=0)
    execute(
        url,
        "UPDATE load_ledger SET state = 'quarantined', document_hash = NULL, row_counts = '' "
        "WHERE source_key = '5'",
        "DELETE FROM orders WHERE order_id = '5'",
        "INSERT INTO load_quarantine (digest, load_id, source_key, stage, code, message, quarantined_at) "
        "SELECT digest, 1, '5', 'worker', 'worker_died', 'm', '2026-01-01 00:00:00.000000' "
        "FROM load_ledger WHERE source_key = '5'",
    )
    assert purge(url, options(), QuarantineFilter(), make_pending=False).skipped == 1
    for on_change in ("report", "replace"):
        summary = run(url, url, drift_sample=0, on_change=on_change)
        assert (summary.changed, summary.documents.loaded, summary.documents.skipped) == (0, 0, 1)
    assert query(url, "SELECT state FROM load_ledger WHERE source_key = '5'") == [("skipped",)]


def test_a_purged_newer_version_leaves_ranges_in_order(url: str) -> None:
    write_source(url, dict.fromkeys(range(1, 51), GOOD))
    run(url, url, drift_sample=0)
    execute(url, "UPDATE app_xml SET app_xml = '<Order quantity=\"x\"/>' WHERE app_id = 3")
    assert run(url, url, drift_sample=0, on_change="replace").documents.quarantined == 1
    assert purge(url, options(), QuarantineFilter(), make_pending=False).loaded == 1
    execute(
        url, "UPDATE app_xml SET app_xml = (SELECT app_xml FROM app_xml WHERE app_id = 4) WHERE app_id = 3"
    )
    report = verify(url, url, contract(), options(), VerifyOptions(deep=True))
    assert report.is_clean(), report.lines()
