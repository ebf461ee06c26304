from __future__ import annotations

from pathlib import Path

import pytest

from xml_extractor import resources
from xml_extractor.errors import UsageError
from xml_extractor.resources import shipped_config

NAMES = ("loan_application.yaml", "discogs_releases.yaml")


@pytest.mark.parametrize("name", NAMES)
def test_the_checkout_comes_first(name: str) -> None:
    path = shipped_config(name)
    assert path == Path(__file__).resolve().parents[2] / "config" / name
    assert path.is_file()


def test_an_installed_package_has_them_inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "site-packages" / "xml_extractor"
    (package / "config").mkdir(parents=True)
    (package / "config" / NAMES[0]).write_text("contract: x")
    monkeypatch.setattr(resources, "__file__", str(package / "resources.py"))
    monkeypatch.setattr(resources, "files", lambda name: package)
    assert shipped_config(NAMES[0]) == package / "config" / NAMES[0]


def test_what_does_not_ship_is_named() -> None:
    with pytest.raises(UsageError, match=r"none\.yaml does not ship"):
        shipped_config("none.yaml")
