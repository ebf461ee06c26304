"""Metrics and telemetry of real loads, as an operator runs them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.exposition import families, samples
from tests.support.program import CHECKOUT, Program, environment
from tests.support.tables import query
from xml_extractor import Contract
from xml_extractor.cli import main
from xml_extractor.engines import open_engine
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import write_sample

DOCUMENTS = 700
CONTRACT = ("contract", "loan_application")
KEPT = "xml_extractor_last_success_timestamp_seconds"
POSIX = pytest.mark.skipif(os.name != "posix", reason="POSIX signals")


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(("XML_EXTRACTOR_", "OTEL_")):
            monkeypatch.delenv(name)


@pytest.fixture(scope="module")
def source_url(tmp_path_factory: pytest.TempPathFactory) -> str:
    url = f"sqlite:///{(tmp_path_factory.mktemp('source') / 'source.db').as_posix()}"
    contract = Contract.read(shipped_config("loan_application.yaml"))
    write_sample(open_engine(url), contract.plan, DOCUMENTS, 3)
    return url


def where(source_url: str, target_url: str) -> tuple[str, ...]:
    return ("--source", source_url, "--target", target_url, "--create-tables", "--drift-sample", "0")


def in_file(path: Path, name: str) -> float | None:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return samples(text).get((name, *CONTRACT, "textfile", path.stem))


def wait_for(path: Path, name: str, value: float, program: Program) -> None:
    deadline = time.monotonic() + 60
    while in_file(path, name) != value:
        assert program.process.poll() is None, program.process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_load_is_scraped_while_it_runs(source_url: str, sqlite_url: str, tmp_path: Path) -> None:
    program = Program(
        *where(source_url, sqlite_url), "--metrics-port", "0", "--throttle", "250", "--batch-size", "50",
        "--executor", "thread", folder=tmp_path,
    )  # fmt: skip
    assert program.process.stderr is not None
    url = ""
    while not url:
        line = program.process.stderr.readline()
        assert line, "the program has ended"
        url = (re.findall(r"metrics at (http://127\.0\.0\.1:\d+/metrics)", line) or [""])[0]
    before: dict[tuple[str, ...], float] = {}
    seen_running = scrapes = 0
    try:
        while program.process.poll() is None:
            with urllib.request.urlopen(url, timeout=10) as answer:
                text = answer.read().decode()
            families(text)
            now = samples(text)
            for name, value in before.items():
                if name[0].endswith(("_total", "_bucket", "_count", "_sum")):
                    assert now[name] >= value, name
            before = now
            scrapes += 1
            seen_running += now["xml_extractor_running", *CONTRACT] == 1
            time.sleep(0.1)
    except OSError:
        pass  # the load has ended
    assert program.wait() == 3, program.errors
    assert scrapes > 3
    assert seen_running
    assert before["xml_extractor_documents_settled_total", *CONTRACT, "state", "loaded"] > 0
    assert before["xml_extractor_batches_committed_total", *CONTRACT] > 0
    with pytest.raises(OSError):
        urllib.request.urlopen(url, timeout=10)


def test_the_file_agrees_with_the_summary(source_url: str, database_url: str, tmp_path: Path) -> None:
    file, summary_file = tmp_path / "lending.prom", tmp_path / "summary.json"
    flags = ("--metrics-textfile", str(file), "--summary", str(summary_file), "--progress", "none")
    assert main(["load", *where(source_url, database_url), *flags]) == 3
    text = file.read_text(encoding="utf-8")
    families(text)
    told, summary = samples(text), json.loads(summary_file.read_text(encoding="utf-8"))
    labels = (*CONTRACT, "textfile", "lending")
    for metric, label, expected in (
        ("documents_settled", "state", summary["documents"]),
        ("rows_committed", "table", summary["rows"]),
        ("documents_quarantined", "reason", summary["quarantine_reasons"]),
    ):
        found = {name[4]: value for name, value in told.items() if name[0] == f"xml_extractor_{metric}_total"}
        named = [name for name in told if name[0] == f"xml_extractor_{metric}_total"]
        assert all(name[1:4] == (*CONTRACT, label) for name in named)
        assert found == {name: expected[name] for name in found}
        assert len(found) >= len(expected) - 2  # read and unfinished documents have metrics of their own
    assert told["xml_extractor_documents_read_total", *labels] == summary["documents"]["read"] == DOCUMENTS
    assert told["xml_extractor_batches_committed_total", *labels] == summary["batches"] > 0
    assert told["xml_extractor_insert_duration_seconds_count", *labels] == summary["insert_ms"]["count"]
    assert told["xml_extractor_last_run_exit_code", *labels] == 3
    assert told["xml_extractor_load_id", *labels] == summary["load_id"]
    replayed = tmp_path / "replay.prom"
    databases = ("--source", source_url, "--target", database_url, "--progress", "none")
    assert main(["quarantine", "replay", *databases, "--metrics-textfile", str(replayed)]) == 3
    assert in_file(replayed, "xml_extractor_last_run_exit_code") == 3


@POSIX
def test_a_file_tells_of_runs_that_stop_die_and_fail(
    source_url: str, sqlite_url: str, tmp_path: Path
) -> None:
    file = tmp_path / "nightly.prom"
    flags = ("--metrics-textfile", str(file), "--progress", "none")
    assert main(["load", *where(source_url, sqlite_url), *flags, "--limit", "50"]) in (0, 3)
    succeeded = in_file(file, KEPT)
    assert succeeded is not None

    slow = (*where(source_url, sqlite_url), "--metrics-textfile", file, "--throttle", "20")
    stopped = Program(*slow, folder=tmp_path)
    wait_for(file, "xml_extractor_running", 1, stopped)
    stopped.process.send_signal(signal.SIGTERM)
    assert stopped.wait() == 143
    assert in_file(file, "xml_extractor_last_run_exit_code") == 143

    died = Program(*slow, folder=tmp_path)
    wait_for(file, "xml_extractor_running", 1, died)
    died.process.kill()
    died.wait()
    assert in_file(file, "xml_extractor_running") == 1
    assert in_file(file, "xml_extractor_last_run_exit_code") == 143  # of the last one that ended
    heartbeat = in_file(file, "xml_extractor_heartbeat_timestamp_seconds")
    assert heartbeat is not None
    assert heartbeat <= time.time()

    absent = f"sqlite:///{(tmp_path / 'absent.db').as_posix()}"
    assert main(["load", *where(absent, sqlite_url), *flags]) == 4
    assert in_file(file, "xml_extractor_running") == 0
    assert in_file(file, "xml_extractor_last_run_exit_code") == 4
    assert in_file(file, KEPT) == succeeded


# ------------------------------------------------------------------------------------- what cannot work


def test_what_cannot_work_is_found_before_the_load(
    source_url: str, sqlite_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    target = Path(sqlite_url.removeprefix("sqlite:///"))
    file = tmp_path / "a.prom"
    load = ["load", *where(source_url, sqlite_url)]
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main([*load, "--metrics-port", port, "--metrics-textfile", str(file)]) == 2
    said = capfd.readouterr().err
    assert f"error: --metrics-port {port}" in said
    assert in_file(file, "xml_extractor_last_run_exit_code") == 2  # an alert can tell
    for flags, flag in (
        (["--metrics-textfile", str(tmp_path / "absent" / "a.prom")], "--metrics-textfile"),
        (["--metrics-textfile", str(tmp_path / "a.txt")], "--metrics-textfile"),
        (["--metrics-port", "0", "--metrics-host", "no.such.host.invalid"], "--metrics-host"),
    ):
        assert main([*load, *flags]) == 2
        assert f"error: {flag}" in capfd.readouterr().err
    assert not target.exists()


def test_a_plain_load_needs_none_of_the_libraries(source_url: str, sqlite_url: str, tmp_path: Path) -> None:
    program = """if True:
        import sys
        for name in ("prometheus_client", "opentelemetry"):
            sys.modules[name] = None  # as if it were not installed
        import xml_extractor.processing.worker_process
        assert "http.server" not in sys.modules
        from xml_extractor.cli import main
        assert main(["load", *sys.argv[1:], "--limit", "50", "--progress", "none"]) in (0, 3)
        assert main(["load", *sys.argv[1:], "--telemetry"]) == 2
        del sys.modules["prometheus_client"]
        import xml_extractor.profiling.metrics_server, xml_extractor.profiling.metrics_textfile
        """  # metrics do without OpenTelemetry, too
    done = subprocess.run(
        [sys.executable, "-c", program, *where(source_url, sqlite_url)],
        cwd=CHECKOUT, env=environment(), capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "pip install 'xml-extractor[telemetry]'" in done.stderr


def test_a_collector_that_is_not_there_changes_nothing(
    source_url: str, sqlite_url: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
    flags = ("--telemetry", "--limit", "200", "--progress", "none")
    assert main(["load", *where(source_url, sqlite_url), *flags]) in (0, 3)
    said = capfd.readouterr().err
    assert said.count("the load goes on all the same") == 1
    assert "Traceback" not in said
    assert query(sqlite_url, "SELECT COUNT(*) FROM load_ledger") == [(200,)]
