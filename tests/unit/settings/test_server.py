"""``--server`` and what belongs to it, and one password for both sides."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.engine import make_url

from xml_extractor import settings as settings_module
from xml_extractor.engines.mssql.connection import from_url
from xml_extractor.errors import UsageError
from xml_extractor.settings import Databases, Settings, databases
from xml_extractor.settings_reading import read_settings

SERVER = {"server": r"db.example\prod,1444", "database": "lending", "username": "loader"}
PLAIN = {"server": "db", "database": "lending", "username": "loader"}


@pytest.fixture(autouse=True)
def _no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file in the checkout that the tests run in must not matter."""
    monkeypatch.setattr(settings_module, "checkout", lambda: None)


def read(folder: Path, flags: dict[str, Any] | None = None, **environment: str) -> Settings:
    return read_settings(flags or {}, environment=environment, folder=folder)


def where(folder: Path, flags: dict[str, Any], **environment: str) -> Databases:
    return databases(read(folder, flags, **environment))


def refused(folder: Path, flags: dict[str, Any], **environment: str) -> str:
    with pytest.raises(UsageError) as caught:
        where(folder, flags, **environment)
    assert "hunter" not in str(caught.value)
    return str(caught.value)


def password_file(folder: Path, text: str = "hunter2\n") -> str:
    file = folder / "password.txt"
    file.write_text(text, encoding="utf-8")
    return str(file)


# ------------------------------------------------------------------------------------------ sides


def test_the_server_is_source_and_target(tmp_path: Path) -> None:
    found = where(tmp_path, PLAIN)
    assert found.source == found.target == "mssql://loader@db/lending"
    assert not found.source_is_embedded
    assert not found.target_is_embedded
    found = where(tmp_path, {**SERVER, "encrypt": "strict", "trust_server_certificate": True})
    assert found.source.startswith("mssql://loader@/lending?")
    assert "Server=db.example%5Cprod%2C1444" in found.source
    assert "Encrypt=strict" in found.source
    assert "TrustServerCertificate=yes" in found.source


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_side_with_a_url_of_its_own_keeps_it(side: str, tmp_path: Path) -> None:
    other = "target" if side == "source" else "source"
    found = where(tmp_path, {**PLAIN, side: "sqlite:///x.db"})
    assert getattr(found, side) == "sqlite:///x.db"
    assert getattr(found, other) == "mssql://loader@db/lending"
    assert where(tmp_path, {**PLAIN, "target": "null:"}).target == "null:"


def test_a_server_told_later_wins_over_a_url_of_the_config_file(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "settings.yaml").write_text("source: sqlite:///x.db\ntarget: 'null:'\n")
    found = where(tmp_path, PLAIN)
    assert found.source == found.target == "mssql://loader@db/lending"
    found = where(tmp_path, {**PLAIN, "target": "sqlite:///y.db"}, XML_EXTRACTOR_SOURCE="sqlite:///z.db")
    assert (found.source, found.target) == ("mssql://loader@db/lending", "sqlite:///y.db")
    found = where(tmp_path, {"source": "sqlite:///z.db"}, XML_EXTRACTOR_SERVER="db",
                  XML_EXTRACTOR_DATABASE="lending", XML_EXTRACTOR_USERNAME="loader")  # fmt: skip
    assert (found.source, found.target) == ("sqlite:///z.db", "mssql://loader@db/lending")


# ------------------------------------------------------------------------------------- logging in


def test_trusted(tmp_path: Path) -> None:
    found = where(tmp_path, {"server": "db", "database": "d", "trusted": True})
    assert found.source == "mssql://db/d?Trusted_Connection=yes"


def test_on_windows_nobody_named_is_whoever_runs_the_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = {"server": "db", "database": "d"}
    monkeypatch.setattr(sys, "platform", "linux")
    said = refused(tmp_path, nobody)
    assert all(
        part in said for part in ("--username", "--password-file", "XML_EXTRACTOR_PASSWORD", "--trusted")
    )
    monkeypatch.setattr(sys, "platform", "win32")
    assert where(tmp_path, nobody).source == "mssql://db/d?Trusted_Connection=yes"
    assert "--trusted" in refused(tmp_path, {**nobody, "trusted": False})
    assert where(tmp_path, PLAIN).source == "mssql://loader@db/lending"


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"database": "d"}, "--database is given, but no --server"),
        ({"username": "u", "source": "sqlite:///x.db"}, "--username is given, but no --server"),
        ({"encrypt": "no"}, "--encrypt is given, but no --server"),
        ({"trust_server_certificate": True}, "--trust-server-certificate is given, but no --server"),
        ({"server": "db", "username": "u"}, "--server: no database is named; add --database NAME"),
        ({**PLAIN, "trusted": True}, "--trusted and --username name two ways to log in"),
    ],
)
def test_what_does_not_go_together(flags: dict[str, Any], expected: str, tmp_path: Path) -> None:
    assert expected in refused(tmp_path, flags)


def test_what_does_not_go_together_is_named_by_its_place(tmp_path: Path) -> None:
    said = refused(tmp_path, {}, XML_EXTRACTOR_DATABASE="d", XML_EXTRACTOR_USERNAME="u")
    assert "XML_EXTRACTOR_DATABASE is given" in said
    assert "XML_EXTRACTOR_USERNAME is given" in said


def test_yamls_yes_and_no_are_words_of_encrypt(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    for text in ("yes", "no", "strict", "'no'"):
        file.write_text(f"server: db\ndatabase: d\nusername: u\nencrypt: {text}\n", encoding="utf-8")
        found = read_settings({}, config=file, environment={}, folder=tmp_path)
        assert found.encrypt is not None
        assert found.encrypt.value == text.strip("'")


# -------------------------------------------------------------------------------------- passwords


def test_one_password_for_both_sides(tmp_path: Path) -> None:
    file = password_file(tmp_path)
    found = where(tmp_path, {**PLAIN, "password_file": file})
    assert found.source == found.target == "mssql://loader:hunter2@db/lending"
    found = where(tmp_path, {**PLAIN, "target": "postgresql://me@h/d"}, XML_EXTRACTOR_PASSWORD="hunter3")
    assert found.source == "mssql://loader:hunter3@db/lending"
    assert found.target == "postgresql://me:hunter3@h/d"
    assert "hunter" not in found.shown_source + found.shown_target


def test_the_password_for_both_sides_is_for_those_that_have_none_of_their_own(tmp_path: Path) -> None:
    flags = {**PLAIN, "password_file": password_file(tmp_path)}
    found = where(tmp_path, {**flags, "target": "postgresql://me:own@h/d"})
    assert (found.source, found.target) == (
        "mssql://loader:hunter2@db/lending", "postgresql://me:own@h/d",
    )  # fmt: skip
    found = where(tmp_path, {**flags, "target": "postgresql://me@h/d"}, XML_EXTRACTOR_TARGET_PASSWORD="own")
    assert (found.source, found.target) == (
        "mssql://loader:hunter2@db/lending", "postgresql://me:own@h/d",
    )  # fmt: skip
    found = where(tmp_path, flags, XML_EXTRACTOR_SOURCE_PASSWORD="own")
    assert (found.source, found.target) == (
        "mssql://loader:own@db/lending", "mssql://loader:hunter2@db/lending",
    )  # fmt: skip


@pytest.mark.parametrize("target", ["sqlite:///x.db", "null:", "jsonl:out", "mssql://db/d"])
def test_a_side_that_takes_no_password_is_given_none(target: str, tmp_path: Path) -> None:
    found = where(tmp_path, {**PLAIN, "target": target, "password_file": password_file(tmp_path)})
    assert found.source == "mssql://loader:hunter2@db/lending"
    assert found.target == target


def test_a_password_that_nobody_takes_is_refused(tmp_path: Path) -> None:
    file = password_file(tmp_path)
    trusted = {"server": "db", "database": "d", "trusted": True}
    assert "--password-file: no database is named" in refused(tmp_path, {**trusted, "password_file": file})
    assert "XML_EXTRACTOR_PASSWORD: no database" in refused(
        tmp_path, trusted, XML_EXTRACTOR_PASSWORD="hunter2"
    )
    assert "--password-file" in refused(tmp_path, {"password_file": file})
    assert "--password-file" in refused(tmp_path, {"source": "sqlite:///x.db", "password_file": file})


def test_a_password_is_given_once(tmp_path: Path) -> None:
    said = refused(
        tmp_path, {**PLAIN, "password_file": password_file(tmp_path)}, XML_EXTRACTOR_PASSWORD="hunter2"
    )
    assert "XML_EXTRACTOR_PASSWORD and --password-file both give the password; keep one" in said


@pytest.mark.parametrize("text", ["", "\n hunter2"])
def test_a_password_file_that_is_empty(text: str, tmp_path: Path) -> None:
    assert "is empty" in refused(tmp_path, {**PLAIN, "password_file": password_file(tmp_path, text)})
    assert "cannot be read" in refused(tmp_path, {**PLAIN, "password_file": str(tmp_path / "gone")})


def test_the_password_of_an_odbc_connection_string_can_come_apart(tmp_path: Path) -> None:
    url = "mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3BDATABASE%3Dd%3BUID%3Du"
    found = where(tmp_path, {"source": url, "password_file": password_file(tmp_path, "p;w}+")})
    assert from_url(make_url(found.source)).password == "p;w}+"
    assert "p" not in found.shown_source.partition("password=")[2]


def test_passwords_are_not_shown(tmp_path: Path) -> None:
    found = read(tmp_path, PLAIN, XML_EXTRACTOR_PASSWORD="hunter2")
    assert "hunter2" not in repr(found) + str(found.shown())
    assert "password" not in found.shown()
    assert found.shown()["server"] == "db"
    assert found.shown()["username"] == "loader"
