"""The metrics in a file: never half of one, and what it keeps from one run to the next."""

from __future__ import annotations

import logging
import os
import stat
import threading
import time
from pathlib import Path

import pytest

from tests.support import watched
from tests.support.exposition import families, samples
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.profiling.live_figures import LastRun
from xml_extractor.profiling.metrics_textfile import MetricsTextfile
from xml_extractor.profiling.summary import LoadSummary

FAILED = {"error": "the target is gone", "error_code": ExitCode.TARGET_FAILED}


def found(path: Path, name: str) -> float | None:
    text = path.read_text(encoding="utf-8")
    families(text)
    values = samples(text)
    return values.get((f"xml_extractor_{name}", "contract", "loan", "textfile", path.stem))


def run(path: Path, summary: LoadSummary | None = None) -> None:
    textfile = MetricsTextfile(path, "loan")
    textfile.begin(watched.watched())
    textfile.batch(watched.batch())
    textfile.end(summary or watched.summary(profile=watched.profile()))


def wait_until(path: Path, name: str, value: float) -> None:
    deadline = time.monotonic() + 20
    while found(path, name) != value:
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_file_says_how_a_load_stands_and_how_it_ended(tmp_path: Path) -> None:
    path = tmp_path / "nightly.prom"
    textfile = MetricsTextfile(path, "loan", interval_seconds=0.05)
    assert found(path, "running") == 0
    textfile.begin(watched.watched())
    assert found(path, "running") == 1
    assert found(path, "last_run_exit_code") is None
    textfile.batch(watched.batch())
    wait_until(path, "insert_duration_seconds_count", 1)  # written by itself
    textfile.end(watched.summary(profile=watched.profile()))
    assert found(path, "running") == 0
    assert found(path, "last_run_exit_code") == 3
    assert found(path, "last_success_timestamp_seconds") == pytest.approx(time.time(), abs=60)
    assert found(path, "last_run_duration_seconds") is not None
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics-textfile"]
    assert [entry.name for entry in tmp_path.iterdir()] == ["nightly.prom"]


def test_the_last_success_outlives_a_run_that_fails(tmp_path: Path) -> None:
    path = tmp_path / "nightly.prom"
    run(path)
    succeeded = found(path, "last_success_timestamp_seconds")
    assert succeeded is not None
    time.sleep(0.01)
    run(path, watched.summary(profile=watched.profile(), **FAILED))
    assert found(path, "last_run_exit_code") == 5
    assert found(path, "last_success_timestamp_seconds") == succeeded
    assert (found(path, "last_run_timestamp_seconds") or 0) > succeeded
    textfile = MetricsTextfile(path, "loan")  # one that fails before it begins
    assert textfile.last_run == LastRun(
        found(path, "last_run_timestamp_seconds"), found(path, "last_run_duration_seconds"), 5, succeeded
    )
    textfile.end(watched.summary(profile=None, error="no source", error_code=ExitCode.SOURCE_FAILED))
    assert found(path, "last_run_exit_code") == 4
    assert found(path, "last_success_timestamp_seconds") == succeeded


def test_a_run_that_dies_leaves_a_heartbeat_that_grows_old(tmp_path: Path) -> None:
    path = tmp_path / "nightly.prom"
    run(path)
    succeeded = found(path, "last_success_timestamp_seconds")
    began = time.time()
    textfile = MetricsTextfile(path, "loan", interval_seconds=1_000)
    textfile.begin(watched.watched())  # and then nothing more
    assert found(path, "running") == 1
    assert began <= (found(path, "heartbeat_timestamp_seconds") or 0) <= time.time()
    assert found(path, "last_run_exit_code") == 3
    after = MetricsTextfile(path, "loan")
    assert after.last_run.succeeded_at == succeeded
    after.end(watched.summary())
    textfile.end(watched.summary())


def test_figures_that_cannot_be_read_at_the_end_leave_nothing_running(tmp_path: Path) -> None:
    textfile = MetricsTextfile(tmp_path / "nightly.prom", "loan")
    textfile.begin(watched.unreadable())
    with pytest.raises(ValueError, match="unreadable"):
        textfile.end(watched.summary(profile=None, **FAILED))
    deadline = time.monotonic() + 20
    while any(thread.name == "metrics-textfile" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = tmp_path / "nightly.prom"
    textfile = MetricsTextfile(path, "loan", interval_seconds=0.001)
    textfile.begin(watched.watched())
    until = time.monotonic() + 0.5
    reads = 0
    while time.monotonic() < until:
        text = path.read_text(encoding="utf-8")
        assert text.endswith("\n")
        assert "xml_extractor_insert_duration_seconds_sum" in text  # the last line but for rounding
        reads += 1
    textfile.end(watched.summary(profile=watched.profile()))
    assert reads > 20


def test_files_of_two_loads_hold_no_time_series_in_common(tmp_path: Path) -> None:
    first, second = tmp_path / "a.prom", tmp_path / "b.prom"
    run(first)
    run(second)
    texts = [path.read_text(encoding="utf-8") for path in (first, second)]
    assert not samples(texts[0]).keys() & samples(texts[1]).keys()
    # node_exporter merges families by name, and wants them described alike.
    described = [[line for line in text.splitlines() if line.startswith("#")] for text in texts]
    assert described[0] == described[1]


@pytest.mark.skipif(os.name != "posix", reason="other systems have other permissions")
def test_another_user_may_read_it(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        run(tmp_path / "a.prom")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.prom").stat().st_mode) == 0o644


# ------------------------------------------------------------------------------------- refusals


def refusal(path: Path) -> str:
    with pytest.raises(UsageError) as caught:
        MetricsTextfile(path, "loan")
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_a_path_that_cannot_serve_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ".prom" in refusal(tmp_path / "metrics.txt")
    assert "there is no folder" in refusal(tmp_path / "absent" / "a.prom")
    (tmp_path / "folder.prom").mkdir()
    assert "is a folder" in refusal(tmp_path / "folder.prom")
    (tmp_path / "file").touch()
    assert "there is no folder" in refusal(tmp_path / "file" / "a.prom")

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    before = sorted(tmp_path.iterdir())
    for call in ("replace", "write_bytes"):
        monkeypatch.setattr(Path, call, full)
        assert "No space left" in refusal(tmp_path / "a.prom")
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.prom"
    path.write_text("# TYPE node_thing gauge\nnode_thing 1\n", encoding="utf-8")
    assert "something else" in refusal(path)
    assert path.read_text(encoding="utf-8").startswith("# TYPE node_thing")
    assert [entry.name for entry in tmp_path.iterdir()] == ["other.prom"]


@pytest.mark.parametrize("damage", ["", "\n", "cut"])
def test_an_empty_or_damaged_file_is_replaced(
    damage: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.prom"
    if damage == "cut":
        run(path)
        text = path.read_text(encoding="utf-8")
        path.write_text(text[: text.rindex('textfile="a"')], encoding="utf-8")
    else:
        path.write_text(damage, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        run(path)
    assert found(path, "last_run_exit_code") == 3
    assert ("is damaged" in caplog.text) == (damage == "cut")


def test_a_file_that_can_no_longer_be_written_harms_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.prom"
    textfile = MetricsTextfile(path, "loan", interval_seconds=0.01)
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with caplog.at_level(logging.WARNING), monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        textfile.begin(watched.watched())
        time.sleep(0.2)
        assert path.read_bytes() == before
    assert caplog.text.count("No space left") == 1
    textfile.end(watched.summary(profile=watched.profile()))  # there is room again
    assert found(path, "last_run_exit_code") == 3
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.prom"]
