"""Verifications as a whole: after any way of loading, while a load runs, interrupted, in little memory."""

from __future__ import annotations

import itertools
import json
import multiprocessing
import threading
import time
import tracemalloc
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

import pytest

from tests.integration.contracts.support import contract_of, loaded, stage_documents
from tests.integration.source.test_shipped_contracts import DISCOGS
from tests.integration.verify.support import contract, document, prepare, verified
from tests.support.program import run_command
from tests.support.tables import execute
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.errors import ExitCode, StoppedError, TargetError, UsageError, WorkerError
from xml_extractor.mapping.records import Key
from xml_extractor.operations.verification import VerifyOptions, VerifyReport, mapping_again, verify
from xml_extractor.operations.verification.checkpoint import Checkpoint
from xml_extractor.operations.verification.mapping_again import PageMapper
from xml_extractor.operations.verification.worker import Worker
from xml_extractor.operations.verification.worker_process import WorkerProcess
from xml_extractor.operations.verification.workers import Workers
from xml_extractor.resources import shipped_config
from xml_extractor.settings import ExecutorChoice
from xml_extractor.source.sample import write_sample
from xml_extractor.source.staging import stage

POSTGRESQL = pytest.param("postgresql", marks=pytest.mark.postgresql)


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("database_url", ["sqlite", POSTGRESQL], indirect=True)
def test_synthetic_applications_are_clean(database_url: str, executor: str, tmp_path: Path) -> None:
    made = Contract.read(shipped_config("loan_application.yaml"))
    write_sample(open_engine(database_url), made.plan, 300, 3)
    summary = load(
        database_url, None, made, LoadOptions(create_tables=True, executor=executor, batch_size=50)
    )
    assert summary.documents.quarantined > 0
    report, found = verified(database_url, made, tmp_path, executor=ExecutorChoice(executor))
    assert (found, report.is_clean(strict=True)) == ([], True)
    report, found = verified(database_url, made, tmp_path, deep=True, executor=ExecutorChoice(executor))
    assert (found, report.is_clean(strict=True)) == ([], True)
    assert report.compared == summary.documents.loaded
    assert sum(table.found for table in report.tables) > 1000


@pytest.mark.skipif(not DISCOGS.is_file(), reason="the releases are not at hand")
def test_real_releases_are_clean(sqlite_url: str, tmp_path: Path) -> None:
    made = Contract.read(shipped_config("discogs_releases.yaml"))
    stage(open_engine(sqlite_url), made.plan, [DISCOGS])
    summary = load(sqlite_url, None, made, LoadOptions(create_tables=True, executor="thread"))
    report, found = verified(sqlite_url, made, tmp_path, deep=True)
    assert (found, report.is_clean(), report.compared) == ([], True, summary.documents.loaded)


def test_private_values_are_compared_as_they_were_written(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XML_EXTRACTOR_HASH_SALT", "a salt of sufficient length")
    made = contract_of(
        "t:\n  primary_key: k\n  columns:\n    k: {from: $key, type: int}\n"
        "    v: {from: v, type: nvarchar(64), hash: true}\n"
        "    d: {from: d, type: nvarchar(20), mask: last2}\n"
    )
    prepare(database_url, made, {1: document(1), 2: document(2)})
    assert verified(database_url, made, tmp_path, deep=True)[1] == []
    execute(database_url, "UPDATE t SET v = 'v1' WHERE k = 1")
    assert verified(database_url, made, tmp_path, deep=True)[1] == [(1, "t", "v", "value_differs", 1)]
    monkeypatch.setenv("XML_EXTRACTOR_HASH_SALT", "another salt of sufficient length")
    with pytest.raises(UsageError, match="salt"):
        verified(database_url, made, tmp_path, deep=True)


# ------------------------------------------------------------------------------- while a load runs


def test_a_load_at_work_makes_no_false_findings(database_url: str, tmp_path: Path) -> None:
    made = contract()
    stage_documents(database_url, {key: document(key % 5) for key in range(1, 401)})
    loaded(database_url, made, limit=10)
    options = LoadOptions(batch_size=5, throttle=150.0, executor=ExecutorChoice.THREAD, workers=1)
    failures: list[BaseException] = []

    def run() -> None:
        try:
            load(database_url, None, made, options)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failures.append(error)

    loading = threading.Thread(target=run)
    loading.start()
    looks = 0
    try:
        while loading.is_alive():
            _, found = verified(database_url, made, tmp_path, deep=looks % 2 == 1)
            assert {finding[3] for finding in found} <= {"not_loaded"}, found
            looks += 1
    finally:
        loading.join(60)
    assert not failures
    assert looks >= 2
    report, found = verified(database_url, made, tmp_path, deep=True)
    assert (found, report.compared, report.is_clean()) == ([], 400, True)


# ------------------------------------------------------------------------------ stopping, going on


def checked(url: str, made: Contract, checkpoint: Path, **how: Any) -> Any:
    options = LoadOptions(workers=2, executor=ExecutorChoice.THREAD)
    return verify(url, url, made, options, VerifyOptions(deep=True, checkpoint=checkpoint), **how)


def test_an_interrupted_verification_goes_on(
    database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, checkpoint = contract(), tmp_path / "verify.json"
    prepare(database_url, made, {key: document(key % 3) for key in range(1, 201)})
    execute(database_url, "UPDATE t SET v = '-' WHERE k IN (5, 195)")
    monkeypatch.setattr("xml_extractor.operations.verification.content.TASK_KEYS", 10)
    monkeypatch.setattr("xml_extractor.operations.verification.checkpoint.SAVE_SECONDS", 0.0)
    mapped: list[Key] = []
    original = PageMapper.sums

    def breaking(self: PageMapper, keys: list[Key]) -> Any:
        if len(mapped) >= 120:
            raise TargetError("the server has gone")
        mapped.extend(keys)
        return original(self, keys)

    monkeypatch.setattr(PageMapper, "sums", breaking)
    with pytest.raises(TargetError, match="gone"):
        checked(database_url, made, checkpoint)
    kept = json.loads(checkpoint.read_text(encoding="utf-8"))["steps"]
    done = kept["mapping"]["compared"]
    assert 0 < done <= 120
    again: list[Key] = []

    def counting(self: PageMapper, keys: list[Key]) -> Any:
        again.extend(keys)
        return original(self, keys)

    monkeypatch.setattr(PageMapper, "sums", counting)
    report = checked(database_url, made, checkpoint)
    assert sorted(again) == list(range(done + 1, 201))
    assert report.compared == 200
    assert report.differences == {"value_differs": 2}
    assert not checkpoint.exists()


def test_a_checkpoint_of_something_else_is_refused(sqlite_url: str, tmp_path: Path) -> None:
    made, checkpoint = contract(), tmp_path / "verify.json"
    prepare(sqlite_url, made)
    for text, message in (
        (json.dumps({"version": 2, "identity": {"contract": "other"}, "steps": {}}), "another verification"),
        ("{", "cannot be read"),
        ("[]", "no checkpoint"),
    ):
        checkpoint.write_text(text, encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            checked(sqlite_url, made, checkpoint)
    with pytest.raises(UsageError, match="cannot be written"):
        Checkpoint(tmp_path / "no folder" / "file", {})
    with pytest.raises(UsageError, match="--manifest"):
        verify(
            sqlite_url,
            sqlite_url,
            made,
            LoadOptions(),
            VerifyOptions(manifest=tmp_path / "no folder" / "file"),
        )


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_it_can_be_stopped(
    sqlite_url: str, tmp_path: Path, executor: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = contract()
    prepare(sqlite_url, made, {key: document(2) for key in range(1, 3001)})
    started = time.monotonic()
    with pytest.raises(StoppedError) as caught:
        verify(
            sqlite_url, sqlite_url, made, LoadOptions(workers=2, executor=executor), VerifyOptions(deep=True),
            on_start=lambda running: threading.Timer(0.3, running.stop, (2,)).start(),
        )  # fmt: skip
    assert caught.value.exit_code is ExitCode.INTERRUPTED
    assert time.monotonic() - started < 10
    left = [
        thread.name
        for thread in threading.enumerate()
        if thread.name.startswith(("xml-extractor-verify", "verify-progress"))
    ]
    assert left == []


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_a_process_that_dies_is_told(calls: int, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two processes one is killed: before its first call is sent, and after the answers of some."""
    made = contract()
    prepare(sqlite_url, made)
    original = WorkerProcess.call
    called: Iterator[int] = itertools.count(1)

    def killing(self: WorkerProcess, *arguments: Any) -> Any:
        if next(called) == calls:
            self.kill()
        return original(self, *arguments)

    monkeypatch.setattr(WorkerProcess, "call", killing)
    with pytest.raises(WorkerError, match=r"died .* fewer --workers"):
        verify_by_processes(sqlite_url, made)
    assert multiprocessing.active_children() == []


def test_a_process_that_dies_at_its_start_is_told(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = contract()
    prepare(sqlite_url, made)
    original = SpawnProcess.start

    def killing(self: SpawnProcess) -> None:
        original(self)
        self.kill()

    monkeypatch.setattr(SpawnProcess, "start", killing)
    with pytest.raises(WorkerError, match=r"died .* fewer --workers"):
        verify_by_processes(sqlite_url, made)
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize(
    "error", [OSError(11, "no more processes"), MemoryError(), RuntimeError("no thread")]
)
def test_a_process_that_cannot_be_started_is_told(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = contract()
    prepare(sqlite_url, made)

    def refusing(_: Any) -> None:
        raise error

    monkeypatch.setattr(SpawnProcess, "start", refusing)
    with pytest.raises(WorkerError, match=rf"not be started \({type(error).__name__}\).* fewer --workers"):
        verify_by_processes(sqlite_url, made)


def test_a_mistake_in_a_process_is_told_with_its_place(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = contract()
    prepare(sqlite_url, made)
    monkeypatch.setattr(
        Workers, "submit", lambda self, *_: self._executor.submit(self._called, wrong_call, ())
    )
    with pytest.raises(ZeroDivisionError) as caught:
        verify_by_processes(sqlite_url, made)
    assert "in wrong_call" in "".join(caught.value.__notes__)


def wrong_call(_: Worker) -> float:
    return 1 / 0


def verify_by_processes(url: str, made: Contract) -> VerifyReport:
    options = LoadOptions(workers=2, executor=ExecutorChoice.PROCESS)
    return verify(url, url, made, options, VerifyOptions(deep=True))


# ------------------------------------------------------------------------------------------ memory


def peak_of(url: str, made: Contract, *, deep: bool) -> int:
    tracemalloc.start()
    try:
        report = verify(
            url, url, made, LoadOptions(workers=1, executor=ExecutorChoice.SERIAL), VerifyOptions(deep=deep)
        )
        assert report.is_clean()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Five times the documents, the same memory: what is held are sums and one piece of each stream."""
    made = contract()
    for name, size in (("ledger_side.ROWS", 200), ("table_side.ROWS", 200), ("run.PAGE_KEYS", 200)):
        monkeypatch.setattr(f"xml_extractor.operations.verification.{name}", size)
    monkeypatch.setattr("xml_extractor.operations.verification.content.PAGE_KEYS", 200)
    monkeypatch.setattr("xml_extractor.operations.verification.content.TASK_KEYS", 20)
    monkeypatch.setattr("xml_extractor.engines.read_back.STREAM_ROWS", 100)
    # Fewer buckets, so that the smaller number of documents fills them all.
    monkeypatch.setattr("xml_extractor.target.content_digest._SHIFT", 124)
    peaks = []
    for number in (500, 2500):
        url = f"sqlite:///{tmp_path / f'{number}.db'}"
        prepare(url, made, {key: document(2) for key in range(number)})
        peaks.append([peak_of(url, made, deep=deep) for deep in (False, True)])
    small, large = peaks
    for few, many in zip(small, large, strict=True):
        assert many < few + 150_000, (small, large)  # 2,000 documents more would be some megabytes


# ------------------------------------------------------------------------------------- the command


def test_the_command(sqlite_url: str, tmp_path: Path) -> None:
    made = tmp_path / "contract.yaml"
    from tests.integration.verify.support import TABLES

    text = "contract: t\nversion: 1\nsource: {table: app_xml, key: app_id, document: app_xml}\n"
    body = TABLES.replace("KEY", "int").replace("\n", "\n  ").rstrip()
    made.write_text(f"{text}document: {{root: /r}}\ntables:{body}\n", encoding="utf-8")
    prepare(sqlite_url, Contract.read(made))
    arguments = ("verify", "--source", sqlite_url, "--target", sqlite_url, "--contract", made)
    ran = run_command(*arguments, "--deep", "--workers", 1, folder=tmp_path)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.splitlines()[-1].startswith("Clean: everything that was compared agrees")
    execute(
        sqlite_url, "UPDATE t SET v = 'a private value' WHERE k = 1", "DELETE FROM app_xml WHERE app_id = 2"
    )
    ran = run_command(
        *arguments, "--deep", "--json", "--manifest", "m.jsonl", "--workers", 2, folder=tmp_path
    )
    assert ran.returncode == 3
    report = json.loads(ran.stdout)
    assert report["differences"] == {"source_row_gone": 1, "value_differs": 1}
    assert (report["clean"], report["compared"]) == (False, 5)
    lines = (tmp_path / "m.jsonl").read_text(encoding="utf-8").splitlines()
    assert [json.loads(line) for line in lines] == [
        {"key": 2, "table": None, "column": None, "kind": "source_row_gone", "count": 1},
        {"key": 1, "table": "t", "column": "v", "kind": "value_differs", "count": 1},
    ]
    assert "private" not in ran.stdout + ran.stderr + "".join(lines)
    execute(sqlite_url, "UPDATE t SET v = 'v1' WHERE k = 1")
    assert run_command(*arguments, folder=tmp_path).returncode == 0
    assert run_command(*arguments, "--strict", folder=tmp_path).returncode == 3
    assert run_command(*arguments, "--most-differences", 0, folder=tmp_path).returncode == 2
    nothing = run_command("verify", "--source", sqlite_url, "--target", "null:", folder=tmp_path)
    assert (nothing.returncode, "keeps no ledger" in nothing.stderr) == (2, True)


# ---------------------------------------------------------------------------------- pairs of rows


def marks(*rows: tuple[Any, ...]) -> mapping_again.Marks:
    return tuple(map(mapping_again.column_marks, rows))


@pytest.mark.parametrize(
    ("expected", "found", "identity", "values", "missing", "extra"),
    [
        ([(1, "a", "b")], [(1, "a", "c")], (0,), {2: 1}, 0, 0),
        ([(1, "a", "b"), (2, "a", "b")], [(2, "a", "b"), (1, "x", "y")], (0,), {1: 1, 2: 1}, 0, 0),
        ([(1, "a", "b")], [(2, "a", "b")], (0,), {0: 1}, 0, 0),
        ([(1, "a", "b")], [(2, "x", "b")], (0,), {}, 1, 1),
        ([(1, "a", "b")] * 2, [(1, "a", "b")], (), {}, 1, 0),
        ([(1, "a", "b")], [(1, "a", "b")] * 3, (), {}, 0, 2),
        ([(1, "a", "b"), (1, "c", "d")], [(1, "c", "e"), (1, "a", "b")], (), {2: 1}, 0, 0),
        ([], [(1, "a", "b")], (), {}, 0, 1),
    ],
)
def test_rows_are_paired(
    expected: list[Any], found: list[Any], identity: tuple[int, ...], values: dict[int, int], missing: int,
    extra: int,
) -> None:  # fmt: skip
    result = mapping_again.compare_rows(marks(*expected), marks(*found), identity, 3)
    assert result == (values, missing, extra)
