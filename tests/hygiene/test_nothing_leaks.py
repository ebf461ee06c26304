"""No value of a document, no password and no salt in anything that a run writes, however it ends."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import threading
import time
import traceback
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import psutil
import psycopg
import pytest
from psycopg import sql
from sqlalchemy.engine import URL, make_url

from tests.hygiene import planted
from tests.support.collector import Collector
from tests.support.program import CHECKOUT, environment
from tests.support.servers import PostgresqlServer, conninfo
from tests.support.tables import dialect_of, ledger, query, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.cli import main, make_parser
from xml_extractor.errors import LoaderError
from xml_extractor.mapping.protection import SALT_VARIABLE

SALT = {SALT_VARIABLE: planted.SALT}


_TEXTS = {".log", ".json", ".jsonl", ".html", ".prom"}
"""What commands write, by the ends of their names."""


class Desk:
    """A folder in which commands run in this process; all that they write is kept together."""

    def __init__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        self.folder = folder
        self._patch = monkeypatch
        self._capfd = capfd
        self.log = folder / "all.log"
        self.contract = planted.contract_file(folder)
        self.written: list[tuple[str, str]] = []

    def run(self, *arguments: object, **extra: str) -> int:
        """Run a command with a log at level debug, and keep what it writes."""
        words = [*map(str, arguments), "--log-file", str(self.log), "--log-level", "debug"]
        with self._patch.context() as patch:
            for name in list(os.environ):
                if name.startswith("XML_EXTRACTOR_"):
                    patch.delenv(name)
            for name, value in {**SALT, **extra}.items():
                patch.setenv(name, value)
            patch.chdir(self.folder)
            self._capfd.readouterr()
            try:
                code = main(words)
            except SystemExit as end:  # argparse
                code = int(end.code or 0)
        said = self._capfd.readouterr()
        name = " ".join(words[:2])
        self.written += [(f"{name}: stdout", said.out), (f"{name}: stderr", said.err)]
        return code

    def search(self, *, secrets_only: bool = False) -> None:
        """Look for what was planted in all that was written, the files of this folder among it."""
        files = [p for p in self.folder.rglob("*") if p.suffix in _TEXTS and p.is_file()]
        texts = [*self.written, *((p.name, p.read_text(encoding="utf-8")) for p in files)]
        assert any(text for _, text in texts)
        expect_nothing(texts, secrets_only=secrets_only)


def expect_nothing(texts: list[tuple[str, str]], *, secrets_only: bool = False) -> None:
    """Fail with the place of whatever of a document, password or salt is found."""
    for pattern in (planted.SECRETS,) if secrets_only else (planted.SECRETS, planted.NEEDLES):
        found = [
            f"{name}: …{text[max(0, match.start() - 150) : match.end() + 40]}…"
            for name, text in texts
            if (match := pattern.search(text)) is not None
        ]
        assert not found, "\n".join(found)


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Desk:
    return Desk(tmp_path, monkeypatch, capfd)


@pytest.fixture(scope="module")
def source_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{(tmp_path_factory.mktemp('source') / 'source.db').as_posix()}"
    planted.plant(url, planted.PLANTED)
    return url


@pytest.fixture
def target_url(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A target with the contract's tables, and rules of its own that refuse some rows."""
    empty = f"sqlite:///{(tmp_path / 'empty.db').as_posix()}"
    planted.plant(empty, {})
    with monkeypatch.context() as patch:
        patch.setenv(SALT_VARIABLE, planted.SALT)
        load(empty, database_url, Contract.from_text(planted.CONTRACT), LoadOptions(create_tables=True))
    planted.make_strict(database_url)
    return database_url


@pytest.mark.timeout(900)  # a dozen commands, and each connects: slow where the server is
@pytest.mark.parametrize("executor", ["thread"])
def test_a_load_that_meets_everything(executor: str, desk: Desk, source_url: str, target_url: str) -> None:
    where = ("--source", source_url, "--target", target_url, "--contract", desk.contract)
    files = ("--summary", "summary.json", "--report", "report.html")
    with watched_load(desk) as (flags, extra):
        code = desk.run("load", *where, "--executor", executor, *files, *flags, "--json", **extra)
    assert code == 3, desk.written
    assert "unique_violation" in (desk.folder / "report.html").read_text(encoding="utf-8")
    # The test is worth something only if every document met the fate that was meant for it.
    states = ledger(target_url)
    assert {int(key) for key, state in states.items() if state == "loaded"} == planted.LOADED
    assert {int(key) for key, state in states.items() if state == "skipped"} == planted.SKIPPED
    assert len(states) == len(planted.PLANTED)
    stages = {row[0] for row in query(target_url, "SELECT DISTINCT stage FROM load_quarantine")}
    assert {"parse", "map", "target"} <= stages
    assert desk.run("quarantine", "list", *where) == 3
    assert desk.run("quarantine", "list", *where, "--json") == 3
    for key in planted.PLANTED:
        if states[str(key)] == "quarantined" and key in (3, 5, 22, 27, 41, 42):
            assert desk.run("quarantine", "show", key, *where) in (0, 3)
    assert desk.run("quarantine", "export", "refused.jsonl", *where) == 0
    assert desk.run("quarantine", "replay", *where, "--progress", "none") == 3
    planted.tamper(target_url)
    assert (
        desk.run(
            "verify",
            *where,
            "--deep",
            "--manifest",
            "manifest.jsonl",
            "--progress",
            "none",
            "--executor",
            "thread",
        )
        == 3
    )
    assert '"short"' in (desk.folder / "manifest.jsonl").read_text(encoding="utf-8")
    status = ("--source", source_url, "--target", target_url)
    assert desk.run("status", *status) == 0
    assert desk.run("status", *status, "--json") == 0
    assert desk.run("doctor", *where, "--json") in (0, 3)
    desk.written.append(("the ledger", planted.bookkeeping(target_url)))
    assert desk.run("quarantine", "purge", *where, "--code", "not_convertible", "--yes") == 0
    assert desk.run("rollback", "2", *where, "--yes") == 0
    desk.search()


@contextlib.contextmanager
def watched_load(desk: Desk) -> Iterator[tuple[tuple[str, ...], dict[str, str]]]:
    """Yield the flags and variables with which a load tells all it can, and keep what it tells."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    collector, done = Collector(), threading.Event()
    scraped: list[str] = []

    def scrape() -> None:
        while not done.wait(0.02):
            with (
                contextlib.suppress(OSError),
                urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as page,
            ):
                scraped.append(page.read().decode())

    scraping = threading.Thread(target=scrape)
    scraping.start()
    try:
        yield (
            ("--metrics-port", str(port), "--metrics-textfile", "metrics.prom", "--telemetry"),
            {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
        )
    finally:
        done.set()
        scraping.join()
        collector.close()
    sent = [*map(str, collector.traces()), *map(str, collector.metrics())]
    # They tell something of this load, so that it is worth looking at what they do not tell.
    assert any("not_convertible" in page for page in scraped + sent)
    assert any("BATCH INSERT" in text for text in sent)
    assert "not_convertible" in (desk.folder / "metrics.prom").read_text(encoding="utf-8")
    desk.written += [("scraped", page) for page in scraped] + [("telemetry", text) for text in sent]


def test_private_columns_hold_what_is_left_of_their_values(
    desk: Desk, source_url: str, target_url: str
) -> None:
    assert desk.run("load", "--source", source_url, "--target", target_url, "--contract", desk.contract) == 3
    plan = Contract.from_text(planted.CONTRACT).plan
    names = [column.name for column in plan.tables[0].columns]
    row = dict(
        zip(names, next(row for row in read_tables(target_url, plan)["planted"] if row[0] == 1), strict=True)
    )
    assert row["name"] == f"{planted.WORD} 0"
    assert row["masked"] == planted.WORD[:2]
    assert re.fullmatch("[0-9a-f]{64}", str(row["hashed"]))


# ------------------------------------------------------------------------------------- errors that end a run


ENDING = {1: planted.PLANTED[1], 50: f'<r need="x" checked="end {planted.WORD}"/>'}
"""The second is refused by a trigger with an error code of its own, which nobody can know the meaning of."""


def test_an_error_that_ends_the_run_quotes_nothing(
    desk: Desk, target_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if dialect_of(target_url) != "postgresql":
        pytest.skip("other servers have no error codes of one's own")
    source = f"sqlite:///{(tmp_path / 'ending.db').as_posix()}"
    planted.plant(source, ENDING)
    where = ("--source", source, "--target", target_url, "--contract", desk.contract)
    files = ("--summary", "summary.json", "--report", "report.html")
    assert desk.run("load", *where, *files, "--json") == 5
    assert "[ZZ123]" in desk.written[-1][1]
    assert desk.run("status", *where[:4]) == 0
    desk.written.append(("the ledger", planted.bookkeeping(target_url)))
    monkeypatch.setenv(SALT_VARIABLE, planted.SALT)
    with pytest.raises(LoaderError) as caught:
        load(source, target_url, Contract.from_text(planted.CONTRACT))
    shown = "".join(traceback.format_exception(caught.value))
    assert "HiddenCause: psycopg" in shown
    desk.written.append(("what a caller of the library sees", shown))
    desk.search()
    # Nothing is kept behind what is shown, either, for those who collect errors with all they hold.
    error: BaseException | None = caught.value
    while error is not None:
        assert planted.WORD not in str(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize("executor", ["serial", "thread", "process"])
def test_a_bug_shows_its_type_and_place_only(
    executor: str, desk: Desk, source_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As if encoding a row, which happens in a worker, had a bug whose message holds the row."""
    target = f"sqlite:///{(tmp_path / 'target.db').as_posix()}"
    where = ("--source", source_url, "--target", target, "--contract", desk.contract, "--create-tables")

    monkeypatch.setattr("xml_extractor.engines.sqlite.SqliteEngine.encoder", lambda self, plan: BUG)
    assert desk.run("load", *where, "--executor", executor, "--workers", "1") == 1
    assert "this is a bug" in desk.written[-1][1] or "failed: KeyError" in desk.written[-1][1]
    desk.search()


class RowsInItsMessage:
    """An encoder with a bug."""

    def __call__(self, rows: tuple[list[Any], ...]) -> Any:
        raise KeyError(rows)


BUG = RowsInItsMessage()


# ------------------------------------------------------------------------------------- processes


@pytest.mark.postgresql
def test_worker_processes_and_their_command_lines(
    desk: Desk, source_url: str, with_password: str, tmp_path: Path
) -> None:
    target_url = make_url(with_password).set(password=planted.PASSWORD).render_as_string(hide_password=False)
    extra = {**SALT, "XML_EXTRACTOR_TARGET_PASSWORD": planted.PASSWORD}
    program = subprocess.Popen(
        [
            sys.executable, str(CHECKOUT / "production_processor.py"), "--source", source_url, "--target",
            with_password, "--contract", str(desk.contract), "--executor", "process", "--workers", "2",
            "--create-tables",
            "--log-file", str(desk.log), "--log-level", "debug", "--summary", str(tmp_path / "summary.json"),
        ],
        cwd=tmp_path, env=environment(extra), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    lines: set[str] = set()
    answers: list[tuple[str, str]] = []
    waiting = threading.Thread(target=lambda: answers.append(program.communicate(timeout=120)))
    waiting.start()
    while waiting.is_alive():
        lines |= command_lines(program.pid)
        time.sleep(0.01)
    waiting.join()
    ((out, err),) = answers
    assert program.returncode == 3, err
    assert any("multiprocessing" in line or "spawn" in line for line in lines), "no worker was seen"
    desk.written += [("stdout", out), ("stderr", err), *(("a command line", line) for line in lines)]
    desk.written.append(("the ledger", planted.bookkeeping(target_url)))
    desk.search()
    states = ledger(target_url)
    assert {int(key) for key, state in states.items() if state == "loaded"} >= planted.LOADED


def command_lines(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for each in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.Error):
                found.add(" ".join(each.cmdline()))
    return found


# ------------------------------------------------------------------------------------- passwords


@pytest.fixture
def with_password(postgresql: PostgresqlServer) -> Iterator[str]:
    """The URL, without its password, of a database whose user really needs one."""
    if not postgresql.local:
        pytest.skip("the rules of that server are not ours to change")
    with postgresql.database() as url, psycopg.connect(conninfo(url), autocommit=True) as connection:
        user = f"asked_{uuid.uuid4().hex[:12]}"
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(
                sql.Identifier(user), sql.Literal(planted.PASSWORD)
            )
        )
        (file,) = connection.execute("SHOW hba_file").fetchone() or ("",)
        (before,) = connection.execute("SELECT pg_read_file(%s)", (file,)).fetchone() or ("",)
        rules = f"host all {user} all scram-sha-256\n{before}"
        try:
            _write_rules(connection, file, rules)
            yield str(make_url(url).set(username=user))
        finally:
            _write_rules(connection, file, before)


def _write_rules(connection: psycopg.Connection[Any], file: str, text: str) -> None:
    """The server writes its own file: it belongs to another user."""
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    connection.execute(
        sql.SQL("COPY (SELECT unnest({}::text[])) TO {}").format(sql.Literal(lines), sql.Literal(file))
    )
    connection.execute("SELECT pg_reload_conf()")


@pytest.mark.postgresql
@pytest.mark.parametrize(
    ("way", "outcome"),
    [
        ("url", "right"), ("url", "wrong"), ("url", "unreachable"), ("url", "no database"),
        ("url", "bad url"), ("environment", "right"), ("environment", "wrong"), ("file", "right"),
        ("file", "wrong"),
    ],
)  # fmt: skip
def test_passwords(way: str, outcome: str, desk: Desk, source_url: str, with_password: str) -> None:
    url = make_url(with_password)
    password = planted.PASSWORD if outcome == "right" else "Kq9-wrong"
    if outcome == "unreachable":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            url = url.set(port=probe.getsockname()[1])
    elif outcome == "no database":
        url, password = url.set(database="nothing_here"), planted.PASSWORD
    elif outcome == "bad url":
        url = url.update_query_dict({"no_such_option": "1"})
    extra: dict[str, str] = {}
    flags: tuple[str, ...] = ()
    if way == "url":
        url = url.set(password=password)
    elif way == "environment":
        extra = {"XML_EXTRACTOR_TARGET_PASSWORD": password}
    else:
        file = desk.folder / "secret"
        file.write_text(password, encoding="utf-8")
        flags = ("--target-password-file", str(file))
    where = ("--source", source_url, "--target", url.render_as_string(hide_password=False), *flags)
    contract = ("--contract", str(desk.contract))
    files = ("--summary", "summary.json", "--report", "report.html")
    code = desk.run("load", *where, *contract, "--create-tables", *files, **extra)
    assert code == {"right": 3, "bad url": code}.get(outcome, 5), desk.written
    assert code != 1
    others = [("status", *where), ("doctor", *where, *contract), ("quarantine", "list", *where, *contract)]
    for command in others:
        assert desk.run(*command, **extra) != 1
    if outcome == "right":
        desk.written.append(("the ledger", repr(_load_runs(url, password))))
    desk.search(secrets_only=True)


def _load_runs(url: URL, password: str) -> list[tuple[Any, ...]]:
    return query(url.set(password=password).render_as_string(hide_password=False), "SELECT * FROM load_runs")


def test_every_command_is_looked_at() -> None:
    """Whoever adds a command that reads the ledger or the target looks for leaks here, too."""
    actions = make_parser()._subparsers
    assert actions is not None
    commands = set(actions._group_actions[0].choices or ())
    seen = {"load", "stage", "sample", "contract", "quarantine", "status", "doctor", "rollback", "verify"}
    seen |= {"report"}  # reads what `load --summary` wrote, and writes what `load --report` does
    assert commands == seen
