"""The salt of hashed columns: asked for before a load starts, the same for all its rows, and never shown."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.hygiene.planted import SALT, SECRETS, bookkeeping, plant
from tests.support.tables import query, read_tables
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.errors import UsageError
from xml_extractor.mapping.protection import SALT_VARIABLE, salt_fingerprint
from xml_extractor.operations.load import RunningLoad
from xml_extractor.operations.verification import VerifyOptions, verify
from xml_extractor.target.hash_salt import SALT_FINGERPRINT

OTHER_SALT = "Kq9-another-salt-of-the-tests"
DOCUMENTS = {key: f'<r name="Anna {key}"/>' for key in range(1, 61)}
CONTRACT = Contract.from_text(
    """\
contract: salted
version: 1
source: {name: salted, table: app_xml, key: app_id, document: app_xml}
document: {root: /r}
tables:
  person:
    primary_key: id
    columns:
      id: {from: $key, type: int}
      name: {from: '@name', type: char(64), hash: true}
"""
)
OPTIONS = {"create_tables": True, "batch_size": 10, "executor": "serial"}


@pytest.fixture
def source(tmp_path: Path) -> str:
    url = f"sqlite:///{(tmp_path / 'source.db').as_posix()}"
    plant(url, DOCUMENTS)
    return url


def options(**more: object) -> LoadOptions:
    return LoadOptions.model_validate({**OPTIONS, **more})


def test_without_a_salt_no_load_starts(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SALT_VARIABLE, raising=False)
    target = tmp_path / "target.db"
    with pytest.raises(
        UsageError, match=f"there is no salt: put one into the environment variable {SALT_VARIABLE}"
    ):
        load(source, f"sqlite:///{target.as_posix()}", CONTRACT, options())
    assert not target.exists()


def test_a_load_goes_on_with_its_own_salt_only(
    source: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SALT_VARIABLE, SALT)
    fingerprint = salt_fingerprint(CONTRACT.plan)

    def stop_early(running: RunningLoad) -> None:
        running.stop(15)

    load(source, database_url, CONTRACT, options(throttle=50), on_start=stop_early)
    load(source, database_url, CONTRACT, options(limit=20))
    begun = read_tables(database_url, CONTRACT.plan)
    assert 0 < len(begun["person"]) < len(DOCUMENTS)
    (settings,) = query(database_url, "SELECT settings FROM load_runs WHERE load_id = 1")[0]
    assert json.loads(settings)[SALT_FINGERPRINT] == fingerprint

    monkeypatch.setenv(SALT_VARIABLE, OTHER_SALT)
    for attempt in (
        lambda: load(source, database_url, CONTRACT, options()),
        lambda: check(source, database_url),
    ):
        with pytest.raises(UsageError, match="with another salt") as caught:
            attempt()
        assert f"fingerprint {fingerprint}" in str(caught.value)
        assert not SECRETS.search(str(caught.value))
    assert read_tables(database_url, CONTRACT.plan) == begun

    monkeypatch.setenv(SALT_VARIABLE, SALT)
    load(source, database_url, CONTRACT, options())
    whole = read_tables(database_url, CONTRACT.plan)
    assert len(whole["person"]) == len(DOCUMENTS)
    assert set(begun["person"]) < set(whole["person"])
    assert check(source, database_url)
    assert not SECRETS.search(bookkeeping(database_url))


def test_the_salt_can_be_changed_for_good(
    source: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SALT_VARIABLE, SALT)
    load(source, database_url, CONTRACT, options())
    before = read_tables(database_url, CONTRACT.plan)["person"]
    monkeypatch.setenv(SALT_VARIABLE, OTHER_SALT)
    summary = load(source, database_url, CONTRACT, options(on_plan_change="reload"))
    assert summary.documents.loaded == len(DOCUMENTS)
    after = read_tables(database_url, CONTRACT.plan)["person"]
    assert [row[0] for row in after] == [row[0] for row in before]
    assert not {row[1] for row in after} & {row[1] for row in before}
    # The former salt is of no use any more, and the new one is asked for by nobody twice.
    assert load(source, database_url, CONTRACT, options()).documents.already_loaded == len(DOCUMENTS)
    assert check(source, database_url)


def check(source: str, target: str) -> bool:
    """Whether a thorough `verify` finds nothing."""
    return verify(source, target, CONTRACT, options(), VerifyOptions(deep=True)).is_clean
