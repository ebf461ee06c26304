"""One load run as a program: its figures, and what is said where there are none."""

from __future__ import annotations

import time
from pathlib import Path

import psutil
import pytest

from performance_tuning.measuring import one_load
from performance_tuning.measuring.errors import LoadFailedError, MeasuringError
from performance_tuning.measuring.one_load import run_load
from performance_tuning.measuring.product import Ended, as_variables, python_program, run_to_end
from performance_tuning.measuring.sources import Source, open_source
from xml_extractor.contract import read_contract
from xml_extractor.errors import ExitCode
from xml_extractor.resources import shipped_config
from xml_extractor.settings import LoadOptions

CONTRACT = shipped_config("loan_application.yaml")
SETTINGS = {"workers": 1, "executor": "thread", "batch_size": 10}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    folder = tmp_path_factory.mktemp("source")
    return open_source(None, read_contract(CONTRACT).plan, 20, folder)


def test_the_figures_of_a_load(source: Source, tmp_path: Path) -> None:
    load = run_load(
        source=source.url, target=f"sqlite:///{tmp_path}/target.db", contract=CONTRACT, folder=tmp_path,
        documents=20, settings=SETTINGS,
    )  # fmt: skip
    assert (load.documents, load.exit_code, load.executor) == (20, 0, "thread")
    assert load.rows["app_base"] == 20
    assert load.documents_per_minute == pytest.approx(60 * 20 / load.seconds)
    assert load.insert_ms["count"] == 2
    assert load.insert_ms["p50"] > 0
    assert sum(load.worker_shares.values()) == pytest.approx(1)
    assert sum(load.insert_shares.values()) == pytest.approx(1)
    assert load.cpu_seconds > 0
    assert load.peak_memory_bytes > 10_000_000
    assert load.profile.inserting.tables["app_base"] > 0
    assert "profile" not in load.summary


def test_settings_of_the_surroundings_do_not_count(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("workers: 3\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XML_EXTRACTOR_LIMIT", "3")
    monkeypatch.setenv("XML_EXTRACTOR_REPORT", str(tmp_path / "report.html"))
    load = run_load(
        source=source.url, target="null:", contract=CONTRACT, folder=tmp_path, create_tables=False,
        settings={"executor": "thread", "workers": 1},
    )  # fmt: skip
    assert (load.documents, load.workers) == (20, 1)
    assert not (tmp_path / "report.html").exists()


def test_urls_are_not_on_the_command_line(
    source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def refuse(command: list[str], variables: dict[str, str], **_: object) -> Ended:
        seen.extend(command)
        assert variables["XML_EXTRACTOR_TARGET"].endswith("secretword@host/db")
        return Ended(5, "error: refused")

    monkeypatch.setattr(one_load, "run_to_end", refuse)
    with pytest.raises(LoadFailedError, match="exit status 5: refused") as failure:
        run_load(
            source=source.url,
            target="postgresql://user:secretword@host/db",
            contract=CONTRACT,
            folder=tmp_path,
        )
    assert failure.value.exit_code is ExitCode.TARGET_FAILED
    assert not any("://" in word or "secretword" in word for word in seen)


def test_a_load_that_fails_says_why(source: Source, tmp_path: Path) -> None:
    with pytest.raises(
        LoadFailedError, match=r"exit status 2: (?s:.*)table app_base does not exist"
    ) as failure:
        run_load(
            source=source.url, target=f"sqlite:///{tmp_path}/target.db", contract=CONTRACT, folder=tmp_path,
            settings=SETTINGS, create_tables=False,
        )  # fmt: skip
    assert failure.value.status == ExitCode.USAGE


def test_all_documents_must_be_loaded_into_an_empty_target(source: Source, tmp_path: Path) -> None:
    def load(documents: int) -> None:
        run_load(
            source=source.url, target=f"sqlite:///{tmp_path}/target.db", contract=CONTRACT, folder=tmp_path,
            documents=documents, settings=SETTINGS,
        )  # fmt: skip

    with pytest.raises(LoadFailedError, match=r"21 documents were wanted, but: read 20, loaded 20"):
        load(21)
    with pytest.raises(LoadFailedError, match=r"the target was not empty"):
        load(20)


def test_a_program_that_takes_too_long_is_ended_with_all_that_it_started() -> None:
    grandchild = "import time; time.sleep(300)"
    code = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {grandchild!r}])\n"
        "print(child.pid, flush=True)\ntime.sleep(300)"
    )
    started = time.monotonic()
    ended = run_to_end(python_program("-c", code), {}, bound_seconds=2.0)
    assert ended.status is None
    assert time.monotonic() - started < 60
    assert not psutil.pid_exists(int(ended.output)) or (
        psutil.Process(int(ended.output)).status() == psutil.STATUS_ZOMBIE
    )


def test_a_load_that_takes_too_long_is_told(source: Source, tmp_path: Path) -> None:
    with pytest.raises(LoadFailedError, match=r"did not end within 0\.05 s") as failure:
        run_load(source=source.url, target="null:", contract=CONTRACT, folder=tmp_path, bound_seconds=0.05)
    assert failure.value.status is None


def test_settings_as_variables_are_read_back_as_they_were() -> None:
    options = LoadOptions.model_validate(
        {"batch_size": 7, "batch_seconds": 0.5, "auto_tune": True, "queue_bytes": "3MiB", "keys": "after"}
    )
    found = as_variables({**options.model_dump(), "limit": None})
    assert found["XML_EXTRACTOR_QUEUE_BYTES"] == "3145728"
    assert found["XML_EXTRACTOR_AUTO_TUNE"] == "true"
    assert "XML_EXTRACTOR_LIMIT" not in found
    assert found["XML_EXTRACTOR_KEYS"] == "after"
    read = {name.removeprefix("XML_EXTRACTOR_").lower(): text for name, text in found.items()}
    assert LoadOptions.model_validate(read) == options


def test_a_source_with_too_few_documents_is_refused(source: Source, tmp_path: Path) -> None:
    plan = read_contract(CONTRACT).plan
    with pytest.raises(MeasuringError, match=r"has 20 documents for this contract, not 30"):
        open_source(source.url, plan, 30, tmp_path)
    with pytest.raises(MeasuringError, match=r"there is no file"):
        open_source(f"sqlite:///{tmp_path}/absent.db", plan, None, tmp_path)
    found = open_source(source.url, plan, 5, tmp_path)
    assert found.documents == 5
    assert "the first 5 of 20 documents in app_xml" in found.description
    assert str(tmp_path) not in found.description
