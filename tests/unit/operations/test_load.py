"""What a load does before it begins."""

from __future__ import annotations

import signal
import sqlite3
import threading
from pathlib import Path
from time import monotonic

import pytest

from tests.support.interpreters import needs_native
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.errors import ExitCode, SourceError, StoppedError, UsageError
from xml_extractor.mapping.interpreter_choice import VARIABLE
from xml_extractor.operations.signals import StopOnSignals
from xml_extractor.profiling.observer import LoadObserver
from xml_extractor.profiling.report.blocks import Panels, Table
from xml_extractor.profiling.report.load_page import load_page
from xml_extractor.profiling.summary import LoadSummary
from xml_extractor.settings import KeysWhen
from xml_extractor.source.reader import SourceReader

CONTRACT = """
contract: notes
version: 1
source: {table: app_xml, key: id, document: body}
document: {root: Note}
tables:
  note: {primary_key: [id], columns: {id: {from: $key, type: int}}}
"""


@pytest.fixture
def source(tmp_path: Path) -> str:
    with sqlite3.connect(tmp_path / "source.db") as connection:
        connection.execute("CREATE TABLE app_xml (id INTEGER PRIMARY KEY, body TEXT)")
    connection.close()
    return f"sqlite:///{(tmp_path / 'source.db').as_posix()}"


def test_a_load_that_fails_before_it_begins_leaves_figures_too(tmp_path: Path) -> None:
    failed: list[LoadSummary] = []
    missing = f"sqlite:///{(tmp_path / 'typo.db').as_posix()}"
    with pytest.raises(SourceError, match="there is no file"):
        load(missing, None, Contract.from_text(CONTRACT), on_failure=failed.append)
    (summary,) = failed
    assert summary.exit_code is ExitCode.SOURCE_FAILED
    assert "there is no file" in str(summary.error)
    assert summary.rows == {"note": 0}
    assert summary.settings["source"] == missing
    assert list(tmp_path.iterdir()) == []


def test_a_signal_ends_a_check_of_the_source_that_takes_long(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checking = threading.Event()
    aborted = threading.Event()

    def check(_: SourceReader) -> None:
        checking.set()
        aborted.wait(20)

    def send() -> None:
        checking.wait(20)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(SourceReader, "check", check)
    monkeypatch.setattr(SourceReader, "abort", lambda _: aborted.set())
    threading.Thread(target=send, daemon=True).start()
    started = monotonic()
    with StopOnSignals(), pytest.raises(StoppedError):
        load(source, f"sqlite:///{(tmp_path / 'target.db').as_posix()}", Contract.from_text(CONTRACT))
    assert monotonic() - started < 10
    assert aborted.wait(5)
    assert not (tmp_path / "target.db").exists()


def test_the_source_is_checked_once(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    checks: list[SourceReader] = []
    check = SourceReader.check
    monkeypatch.setattr(SourceReader, "check", lambda reader: (checks.append(reader), check(reader))[1])
    options = LoadOptions(create_tables=True, app_id_start="1")
    load(source, None, Contract.from_text(CONTRACT), options)
    assert len(checks) == 1


@pytest.mark.parametrize("word", [pytest.param("native", marks=needs_native), "python"])
def test_the_summary_and_its_page_say_which_interpreter_served(
    source: str, word: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, word)
    summary = load(source, "null:", Contract.from_text(CONTRACT))
    assert summary.to_json()["versions"]["interpreter of contracts"] == word
    (versions,) = [
        panel
        for section in load_page(summary).sections
        for block in section.blocks
        if isinstance(block, Panels)
        for panel in block.panels
        if isinstance(panel, Table) and panel.caption == "Versions"
    ]
    assert ("interpreter of contracts", word) in versions.rows


def test_a_load_whose_interpreter_cannot_be_had_has_a_summary_too(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Watching(LoadObserver):
        def end(self, summary: LoadSummary) -> None:
            ended.append(summary)

    ended: list[LoadSummary] = []
    monkeypatch.setenv(VARIABLE, "quick")
    with pytest.raises(UsageError, match="is 'quick'"):
        load(source, "null:", Contract.from_text(CONTRACT), observers=[Watching()])
    (summary,) = ended
    assert summary.exit_code is ExitCode.USAGE
    assert "Python" in summary.versions
    assert "interpreter of contracts" not in summary.versions


@pytest.mark.parametrize("target", ["null:", "jsonl:"])
def test_a_target_without_keys_says_that_they_cannot_come_after(
    source: str, target: str, tmp_path: Path
) -> None:
    notes = []
    for when in KeysWhen:
        url = target + (str(tmp_path / when) if target == "jsonl:" else "")
        notes.append(load(source, url, Contract.from_text(CONTRACT), LoadOptions(keys=when)).notes)
    during, after = ([note for note in found if "--keys" in note] for found in notes)
    assert during == []
    (said,) = after
    assert said.startswith("--keys after has no effect: ")
    assert said.endswith(" has no keys")
