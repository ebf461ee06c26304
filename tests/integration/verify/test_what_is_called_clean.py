"""Nothing is called clean that was not compared, or was compared before things changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.end_to_end.test_guards import CONTRACT, GOOD, contract, run, write_source
from tests.support.tables import execute
from xml_extractor import Contract, LoadOptions
from xml_extractor.errors import StoppedError, UsageError
from xml_extractor.operations.verification import run as verification
from xml_extractor.operations.verification.run import VerifyOptions, verify

OPTIONS = LoadOptions.model_validate({"executor": "thread"})


@pytest.fixture
def url(tmp_path: Path) -> str:
    url = f"sqlite:///{(tmp_path / 'shop.db').as_posix()}"
    write_source(url, dict.fromkeys(range(1, 51), GOOD))
    run(url, url, drift_sample=0)
    return url


def test_values_of_another_version_of_the_contract_are_not_called_clean(url: str) -> None:
    execute(url, "UPDATE orders SET quantity = 999")
    newer = Contract.from_text(
        CONTRACT.replace("version: 1", "version: 2").replace("nvarchar(20)", "nvarchar(21)")
    )
    report = verify(url, url, newer, OPTIONS, VerifyOptions(deep=True))
    assert (report.compared, report.other_plan, report.faults) == (0, 50, 0)
    assert not report.is_clean()
    # Rows and keys are the same under both, and that is all that is asked here.
    assert verify(url, url, newer, OPTIONS).is_clean()


def interrupt(url: str, checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the steps of a verification that ended before it compared them."""

    def ended(*_: object) -> None:
        raise StoppedError("stopped")

    with monkeypatch.context() as patch:
        patch.setattr(verification.Comparison, "keys", ended)
        with pytest.raises(StoppedError):
            verify(url, url, contract(), OPTIONS, VerifyOptions(checkpoint=checkpoint))
    assert checkpoint.exists()


def test_steps_from_before_a_load_are_not_gone_on_from(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "steps.json"
    interrupt(url, checkpoint, monkeypatch)
    execute(url, "INSERT INTO app_xml SELECT 77, app_xml FROM app_xml WHERE app_id = 1")
    run(url, url, drift_sample=0)
    with pytest.raises(UsageError, match="number of documents in the ledger"):
        verify(url, url, contract(), OPTIONS, VerifyOptions(checkpoint=checkpoint))


def test_what_goes_on_from_older_steps_says_since_when(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "steps.json"
    interrupt(url, checkpoint, monkeypatch)
    report = verify(url, url, contract(), OPTIONS, VerifyOptions(checkpoint=checkpoint))
    assert report.since is not None
    assert any(report.since in line and "--checkpoint" in line for line in report.lines())
    assert verify(url, url, contract(), OPTIONS).since is None
