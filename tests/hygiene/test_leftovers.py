"""Whatever way a load ends, nothing of it is left: no thread, process, connection, file or memory."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from tests.hygiene.leftovers import at_server, held, nothing_left
from tests.support.program import Program
from tests.support.tables import dialect_of, query
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.errors import HaltedError, SourceError, TargetError
from xml_extractor.operations.load import RunningLoad
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import write_sample

pytestmark = pytest.mark.skipif(os.name != "posix", reason="descriptors are counted as POSIX does")

DOCUMENTS = 300
CHILD = "app_employment"


@pytest.fixture(scope="module")
def contract() -> Contract:
    return Contract.read(shipped_config("loan_application.yaml"))


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder for whatever is temporary, in this process and its children."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return folder


@pytest.fixture
def url(database_url: str, contract: Contract) -> str:
    """A database that is source and target."""
    write_sample(open_engine(database_url), contract.plan, DOCUMENTS, 3)
    return database_url


class Case:
    """One load in this process."""

    def __init__(self, url: str, contract: Contract, executor: str) -> None:
        self.url = url
        self.contract = contract
        self.executor = executor

    def load(self, on_start: Callable[[RunningLoad], None] | None = None, **options: object) -> None:
        given = {"create_tables": True, "executor": self.executor, "workers": 2, "batch_size": 20, **options}
        load(self.url, None, self.contract, LoadOptions.model_validate(given), on_start=on_start)

    def execute(self, sql: str) -> None:
        session = open_engine(self.url).connect(write=True, application="tests")
        try:
            session.execute(sql)
        finally:
            session.close()

    def documents(self) -> int:
        return int(query(self.url, "SELECT COUNT(*) FROM load_ledger")[0][0])


def success(case: Case) -> None:
    case.load()
    assert case.documents() == DOCUMENTS


def source_fails(case: Case) -> None:
    is_mssql = dialect_of(case.url) == "mssql"
    rename = (
        "EXEC sp_rename 'app_xml', 'elsewhere'" if is_mssql else "ALTER TABLE app_xml RENAME TO elsewhere"
    )
    with pytest.raises(SourceError):
        case.load(lambda _: case.execute(rename), retry_seconds=0)


def target_fails(case: Case) -> None:
    with pytest.raises(TargetError):
        case.load(lambda _: case.execute(f"DROP TABLE {CHILD}"), retry_seconds=0)


def target_is_not_there(case: Case) -> None:
    nowhere = {
        "sqlite": "sqlite:////no/folder/x.db",
        "postgresql": "postgresql://nobody@127.0.0.1:1/none",
        "mssql": "mssql+pyodbc://nobody:none@127.0.0.1,1/none",
    }[dialect_of(case.url)]
    with pytest.raises(TargetError):
        load(case.url, nowhere, case.contract, LoadOptions(create_tables=True, retry_seconds=0))


def stopped(case: Case) -> None:
    case.load(lambda running: running.stop(signal.SIGTERM), queue_size=20)
    assert case.documents() < DOCUMENTS


def aborted(case: Case) -> None:
    timers: list[threading.Timer] = []

    def abort_soon(running: RunningLoad) -> None:
        timers.append(threading.Timer(0.05, running.abort))
        timers[0].start()

    case.load(abort_soon)
    timers[0].join()


def interrupted(case: Case) -> None:
    """As Ctrl-C does where nobody has put a handler in its place."""
    timer = threading.Timer(0.05, lambda: os.kill(os.getpid(), signal.SIGINT))
    gc.disable()  # what is raised in a callback of the collector (a test library has one) is lost
    try:
        with pytest.raises(KeyboardInterrupt):
            case.load(lambda _: timer.start(), throttle=100)
    finally:
        gc.enable()
    timer.join()


def halted(case: Case) -> None:
    with pytest.raises(HaltedError):
        case.load(max_quarantined="0")


def on_start_fails(case: Case) -> None:
    def fail(_: RunningLoad) -> None:
        raise LookupError("on_start")

    with pytest.raises(LookupError):
        case.load(fail)


def a_worker_dies(case: Case) -> None:
    killed: list[int] = []

    def kill_one() -> None:
        deadline = time.monotonic() + 20
        while not killed and time.monotonic() < deadline:
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.Error):
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()
                        killed.append(child.pid)
                        return
            time.sleep(0.01)

    killer = threading.Thread(target=kill_one)
    case.load(lambda _: killer.start())
    killer.join()
    assert killed
    assert case.documents() == DOCUMENTS


ENDINGS = [
    success, source_fails, target_fails, target_is_not_there, stopped, aborted, interrupted, halted,
    on_start_fails,
]  # fmt: skip


@pytest.mark.parametrize("ending", ENDINGS, ids=lambda ending: ending.__name__)
def test_nothing_is_left_in_this_process(
    ending: Callable[[Case], None], url: str, contract: Contract, temporary: Path
) -> None:
    with nothing_left(url, temporary):
        ending(Case(url, contract, "thread"))


@pytest.mark.parametrize(
    "ending",
    [a_worker_dies, target_fails, aborted, interrupted],
    ids=lambda ending: ending.__name__,
)
def test_nothing_is_left_of_worker_processes(
    ending: Callable[[Case], None], postgresql_url: str, contract: Contract, temporary: Path
) -> None:
    write_sample(open_engine(postgresql_url), contract.plan, DOCUMENTS, 3)
    # multiprocessing keeps a pipe to its resource tracker from its first use on.
    load(postgresql_url, "null:", contract, LoadOptions(executor="process", workers=1, limit=1))  # type: ignore[arg-type]
    with nothing_left(postgresql_url, temporary):
        ending(Case(postgresql_url, contract, "process"))


@pytest.mark.parametrize("signals", [("SIGINT", "SIGINT"), ("SIGKILL",)], ids="-".join)
def test_nothing_is_left_of_the_program(
    signals: tuple[str, ...], postgresql_url: str, contract: Contract, temporary: Path, tmp_path: Path
) -> None:
    write_sample(open_engine(postgresql_url), contract.plan, DOCUMENTS, 3)
    shared = held(postgresql_url).shared_memory
    program = Program(
        "--source", postgresql_url, "--create-tables", "--executor", "process", "--workers", 2,
        "--batch-size", 5, folder=tmp_path,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not _committed(postgresql_url):
        assert program.process.poll() is None, program.wait() or program.errors
        assert time.monotonic() < deadline
        time.sleep(0.01)
    family = psutil.Process(program.process.pid).children(recursive=True)
    assert family
    for name in signals:
        with contextlib.suppress(ProcessLookupError):
            program.process.send_signal(getattr(signal, name))
        time.sleep(0.05)
    program.wait(60)
    _, alive = psutil.wait_procs(family, timeout=10)
    assert not alive
    deadline = time.monotonic() + 10
    while at_server(postgresql_url) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert at_server(postgresql_url) == ()
    assert held(postgresql_url).shared_memory <= shared
    assert not list(temporary.iterdir())


def _committed(url: str) -> bool:
    with contextlib.suppress(Exception):
        return bool(query(url, "SELECT COUNT(*) FROM load_ledger")[0][0])
    return False


def test_twenty_loads_hold_no_more_than_five(contract: Contract, temporary: Path, tmp_path: Path) -> None:
    source = f"sqlite:///{(tmp_path / 'source.db').as_posix()}"
    write_sample(open_engine(source), contract.plan, 40, 3)

    def run(number: int) -> tuple[int, int, int]:
        target = tmp_path / f"target{number}.db"
        options = LoadOptions(create_tables=True, executor="thread", workers=2)  # type: ignore[arg-type]
        load(source, f"sqlite:///{target.as_posix()}", contract, options)
        gc.collect()
        process = psutil.Process()
        return threading.active_count(), process.num_fds(), len(gc.get_objects())

    figures = [run(number) for number in range(20)]
    threads, descriptors, objects = zip(*figures, strict=True)
    assert len(set(threads)) == 1
    assert len(set(descriptors[1:])) == 1
    # Caches fill in the first loads; from then on nothing may grow with the number of loads.
    assert objects[-1] - objects[4] < 15 * 20, objects
    assert not list(temporary.iterdir())
