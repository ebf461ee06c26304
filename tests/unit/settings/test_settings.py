"""Flags > environment > config file > default, and errors that say which of them is wrong."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from xml_extractor import settings as settings_module
from xml_extractor.errors import UsageError
from xml_extractor.settings import (
    FIELDS,
    KeysWhen,
    LoadOptions,
    Settings,
    allowed,
    databases,
    default_text,
    flag,
    hide_password,
    variable,
)
from xml_extractor.settings_reading import read_settings

VALUES: dict[str, tuple[str, str, str]] = {
    # three different allowed texts: for the config file, the environment, the flag
    "workers": ("1", "2", "3"),
    "batch_size": ("10", "20", "30"),
    "queue_size": ("10", "20", "30"),
    "on_change": ("ignore", "report", "replace"),
    "keys": ("during", "after", "during"),
    "max_quarantined": ("10", "5%", "2.5%"),
    "max_drift": ("0", "50", "12.5"),
    "drift_sample": ("0", "300", "400"),
    "memory_limit": ("1GiB", "2GiB", "3GiB"),
    "worker_timeout": ("1", "2", "3"),
    "queue_bytes": ("1MiB", "2MiB", "3MiB"),
    "insert_threads": ("1", "2", "3"),
    "limit": ("10", "20", "30"),
    "app_id_start": ("a", "b", "c"),
    "app_id_end": ("x", "y", "z"),
    "executor": ("thread", "process", "serial"),
    "retry_seconds": ("1", "2.5", "3"),
    "statement_seconds": ("1", "2.5", "3"),
    "connect_seconds": ("1", "2.5", "3"),
    "lock_timeout": ("1", "2.5", "3"),
    "target_schema": ("one", "two", "three"),
    "insert_path": ("openjson", "bulkcopy", "fast-executemany"),
    "avoid_lock_escalation": ("true", "false", "true"),
    "read_only_intent": ("true", "false", "true"),
    "snapshot": ("true", "false", "true"),
    "throttle": ("1", "2.5", "300"),
    "batch_bytes": ("1MiB", "2MiB", "3MiB"),
    "batch_seconds": ("1", "2.5", "3"),
    "source_name": ("one", "two", "three"),
    "on_plan_change": ("report", "reload", "report"),
    "create_tables": ("true", "false", "true"),
    "dry_run": ("true", "false", "true"),
    "source": ("sqlite:///1.db", "sqlite:///2.db", "sqlite:///3.db"),
    "target": ("sqlite:///1.db", "sqlite:///2.db", "sqlite:///3.db"),
    "server": ("db", "db,1444", "db\\inst"),
    "database": ("one", "two", "three"),
    "username": ("one", "two", "three"),
    "trusted": ("true", "false", "true"),
    "encrypt": ("no", "strict", "yes"),
    "trust_server_certificate": ("true", "false", "true"),
    "password": ("one", "two", "three"),
    "password_file": ("a", "b", "c"),
    "source_password": ("one", "two", "three"),
    "target_password": ("one", "two", "three"),
    "source_password_file": ("a", "b", "c"),
    "target_password_file": ("a", "b", "c"),
    "contract": ("1.yaml", "2.yaml", "3.yaml"),
    "summary": ("1.json", "2.json", "3.json"),
    "report": ("1.html", "2.html", "3.html"),
    "metrics_port": ("9101", "0", "65535"),
    "metrics_host": ("0.0.0.0", "::1", "localhost"),
    "metrics_textfile": ("1.prom", "2.prom", "3.prom"),
    "telemetry": ("true", "false", "true"),
    "auto_tune": ("true", "false", "true"),
    "progress": ("plain", "json", "none"),
    "log_level": ("debug", "warning", "error"),
    "log_file": ("1.log", "2.log", "3.log"),
}


# What a setting cannot be given without.
COMPANIONS: dict[str, dict[str, str]] = {
    "server": {"database": "d", "username": "u"},
    **{
        name: {"server": "db", "database": "d", "username": "u"}
        for name in ("database", "username", "encrypt", "trust_server_certificate")
    },
    "trusted": {"server": "db", "database": "d"},
}


def read(folder: Path, flags: dict[str, Any] | None = None, **environment: str) -> Settings:
    return read_settings(flags or {}, environment=environment, folder=folder)


def config(folder: Path, text: str) -> Path:
    path = folder / "config" / "settings.yaml"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


@pytest.fixture(autouse=True)
def _no_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    """A settings file in the checkout that the tests run in must not matter."""
    monkeypatch.setattr(settings_module, "checkout", lambda: None)


@pytest.mark.parametrize("side", ["source", "target"])
def test_a_password_file_for_a_database_that_is_not_named(side: str, tmp_path: Path) -> None:
    other = "target" if side == "source" else "source"
    for more in ({}, {other: "postgresql://h/d"}):
        settings = read(tmp_path, {f"{side}_password_file": "nosuch.txt", **more})
        with pytest.raises(UsageError, match=rf"--{side}-password-file nosuch\.txt: no --{side} is given"):
            databases(settings)


def test_every_setting_is_tested() -> None:
    assert VALUES.keys() == FIELDS.keys()


@pytest.mark.parametrize("name", FIELDS)
def test_flag_wins_over_environment_over_file_over_default(name: str, tmp_path: Path) -> None:
    in_file, in_environment, by_flag = VALUES[name]
    more = COMPANIONS.get(name, {})
    if name == "trusted":  # without it somebody has to be named
        in_environment = "true"
    more = {key: value for key, value in more.items() if key != name}
    expected = [
        Settings.model_validate({name: text}).model_dump()[name]
        for text in (in_file, in_environment, by_flag)
    ]
    assert read(tmp_path).model_dump()[name] == FIELDS[name].default
    config(tmp_path, f"{name}: {in_file}\n")
    assert read(tmp_path, more).model_dump()[name] == expected[0]
    assert read(tmp_path, more, **{variable(name): in_environment}).model_dump()[name] == expected[1]
    found = read(tmp_path, {**more, name: by_flag}, **{variable(name): in_environment})
    assert found.model_dump()[name] == expected[2]


def test_a_flag_that_was_not_given_changes_nothing(tmp_path: Path) -> None:
    assert read(tmp_path, {"workers": None}, XML_EXTRACTOR_WORKERS="7").workers == 7


def test_the_defaults_that_the_interface_promises() -> None:
    options = LoadOptions()
    assert (options.workers, options.batch_size, options.insert_threads) == (4, 1000, 1)
    assert options.retry_seconds == 30
    assert options.statement_seconds == 60
    assert options.executor == "auto"
    assert options.on_plan_change == "report"
    assert not options.dry_run
    assert options.create_tables is None
    assert (options.connect_seconds, options.lock_timeout, options.throttle) == (8, None, None)
    assert (options.insert_path, options.target_schema) == ("auto", None)
    assert (options.snapshot, options.read_only_intent, options.avoid_lock_escalation) == (False,) * 3


def test_options_can_be_read_as_a_mapping_and_keys_keeps_its_name_outside(tmp_path: Path) -> None:
    given = dict(LoadOptions(keys=KeysWhen.AFTER))
    assert given["keys_when"] is KeysWhen.AFTER
    assert dict(Settings())["workers"] == 4
    assert LoadOptions(**given) == LoadOptions.model_validate({"keys": "after"})
    assert LoadOptions(**given).model_dump(mode="json")["keys"] == "after"
    assert (flag("keys"), variable("keys")) == ("--keys", "XML_EXTRACTOR_KEYS")
    assert read(tmp_path, XML_EXTRACTOR_KEYS="after").options().keys_when is KeysWhen.AFTER
    assert read(tmp_path, XML_EXTRACTOR_KEYS="after").shown()["keys"] == "after"
    with pytest.raises(
        UsageError, match=r"^XML_EXTRACTOR_KEYS: 'later' is not allowed; it takes one of during"
    ):
        read(tmp_path, XML_EXTRACTOR_KEYS="later")
    config(tmp_path, "keys_when: after\n")
    with pytest.raises(UsageError, match="unknown key 'keys_when'"):
        read(tmp_path)


def test_options_cannot_be_changed_and_refuse_what_they_do_not_know() -> None:
    options = LoadOptions()
    with pytest.raises(ValidationError):
        options.workers = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        LoadOptions(wrokers=3)  # type: ignore[call-arg]
    with pytest.raises(ValidationError):
        LoadOptions(workers=0)


@pytest.mark.parametrize(
    ("flags", "environment", "text", "expected"),
    [
        ({"workers": "x"}, {}, "", "--workers: 'x' is not allowed; it takes a whole number from 1 to 256"),
        ({}, {"XML_EXTRACTOR_BATCH_SIZE": "0"}, "", "XML_EXTRACTOR_BATCH_SIZE: '0' is not allowed"),
        ({}, {}, "executor: fast", "executor: 'fast' is not allowed; it takes one of auto, thread, process"),
        ({}, {}, "queue_bytes: much", "a size in bytes"),
        ({}, {}, "wrokers: 3", "unknown key 'wrokers'; did you mean workers?"),
        ({}, {"XML_EXTRACTOR_WORKER": "3"}, "", "did you mean XML_EXTRACTOR_WORKERS?"),
        ({"dry_run": "perhaps"}, {}, "", "true or false"),
        ({"app_id_start": 9, "app_id_end": 3}, {}, "", "exchange them"),
        (
            {"server": "db:1433"},
            {},
            "",
            r"--server: 'db:1433' is not allowed; it takes HOST, HOST\INSTANCE or ",
        ),
        ({"server": "db,99999"}, {}, "", "HOST,PORT"),
        ({"throttle": "0"}, {}, "", "a number of documents above 0"),
        ({"max_quarantined": "200%"}, {}, "", "a number of documents, or a share such as 5%"),
        ({"throttle": "inf"}, {}, "", "a number of documents above 0"),
        ({"lock_timeout": "0"}, {}, "", "a number of seconds above 0 and up to 86,400"),
        ({"insert_path": "fast"}, {}, "", "one of auto, bulkcopy, openjson, fast-executemany, executemany"),
        ({"encrypt": "true"}, {}, "", "one of yes, no, mandatory, optional, strict"),
    ],
)
def test_a_mistake_is_named_with_its_place_and_the_way_out(
    flags: dict[str, Any], environment: dict[str, str], text: str, expected: str, tmp_path: Path
) -> None:
    path = config(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read_settings(flags, environment=environment, folder=tmp_path)
    assert expected in str(caught.value)
    if text:
        assert str(path) in str(caught.value)
    assert caught.value.exit_code == 2


def test_all_mistakes_are_named_at_once(tmp_path: Path) -> None:
    config(tmp_path, "workers: none\nwat: 1\n")
    with pytest.raises(UsageError) as caught:
        read(tmp_path, {"limit": "-1"}, XML_EXTRACTOR_PROGRESS="loud")
    message = str(caught.value)
    assert all(part in message for part in ("workers", "'wat'", "--limit", "XML_EXTRACTOR_PROGRESS"))


def test_variables_of_other_programs_are_left_alone(tmp_path: Path) -> None:
    assert read(tmp_path, XML_EXTRACTOR_DISCOGS="x", XML_EXTRACTOR_TEST_POSTGRESQL="y").workers == 4


@pytest.mark.parametrize("text", ["- a\n", "source_password: 'hunter2\nworkers: 3", "just text"])
def test_a_config_file_that_is_no_mapping_is_refused_without_quoting_it(text: str, tmp_path: Path) -> None:
    config(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        read(tmp_path)
    assert "settings.yaml" in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_the_config_file_can_be_named(tmp_path: Path) -> None:
    config(tmp_path, "workers: 5")
    other = tmp_path / "other.yaml"
    other.write_text("workers: 6", encoding="utf-8")
    third = tmp_path / "third.yaml"
    third.write_text("workers: 7", encoding="utf-8")
    assert read(tmp_path, XML_EXTRACTOR_CONFIG=str(other)).workers == 6
    environment = {"XML_EXTRACTOR_CONFIG": str(other)}
    assert read_settings({}, config=third, environment=environment, folder=tmp_path).workers == 7
    with pytest.raises(UsageError, match=r"gone\.yaml"):
        read_settings({}, config=tmp_path / "gone.yaml", environment={}, folder=tmp_path)


def test_an_empty_config_file_says_nothing(tmp_path: Path) -> None:
    config(tmp_path, "# nothing yet\n")
    assert read(tmp_path) == Settings()


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_setting_takes_can_be_said(name: str) -> None:
    assert allowed(name)
    assert flag(name).startswith("--")
    default = default_text(name)
    if default:
        assert Settings.model_validate({name: default}).model_dump()[name] == FIELDS[name].default


# ---------------------------------------------------------------------------------------- passwords


def test_passwords_are_nowhere_shown(tmp_path: Path) -> None:
    found = read(
        tmp_path,
        {"source": "postgresql://u:hunter1@h/d", "target": "postgresql://u@h/d?password=hunter2"},
        XML_EXTRACTOR_SOURCE_PASSWORD="hunter3",
        XML_EXTRACTOR_TARGET_PASSWORD="hunter4",
    )
    assert "hunter" not in str(found.shown())
    assert "hunter3" not in repr(found)
    where = databases(found)
    assert where.source == "postgresql://u:hunter3@h/d"
    assert "hunter" not in where.shown_source + where.shown_target


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:pw@host/db", "postgresql://u:***@host/db"),
        ("postgresql://u:p/w@x@host:5432/db?sslmode=require", "postgresql://u:***@host:5432/db?sslmode=require"),
        ("postgresql://u@host/db", "postgresql://u@host/db"),
        ("postgresql://host/db?user=u&password=pw&x=1", "postgresql://host/db?user=u&password=***&x=1"),
        ("mssql+pyodbc:///?odbc_connect=SERVER=s;UID=u;PWD=pw;X=1", "mssql+pyodbc:///?odbc_connect=SERVER=s;UID=u;PWD=***;X=1"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3Dpw", "mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D***"),
        ("mssql+pyodbc:///?odbc_connect=PWD={a;p}}w};UID=u", "mssql+pyodbc:///?odbc_connect=PWD=***;UID=u"),
        ("mssql:///?odbc_connect=Password = pw ;UID=u", "mssql:///?odbc_connect=Password = ***;UID=u"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D%7Ba%3Bpw%7D&x=1", "mssql+pyodbc:///?odbc_connect=UID%3Du%3BPWD%3D***&x=1"),
        ("mssql+pyodbc:///?odbc_connect=UID%3Du%3Bpwd+%3D+p%26w", "mssql+pyodbc:///?odbc_connect=UID%3Du%3Bpwd+%3D***"),
        ("mssql://u:p;w@h/d?KeystoreSecret=pw&ClientKey=file:x,password:pw", "mssql://u:***@h/d?KeystoreSecret=***&ClientKey=***"),
        ("mssql://u@h\\i/d?Trusted_Connection=yes", "mssql://u@h\\i/d?Trusted_Connection=yes"),
        ("sqlite:///C:/data/x.db", "sqlite:///C:/data/x.db"),
        ("sqlite:////data/x@y.db", "sqlite:////data/x@y.db"),
        ("null:", "null:"),
        ("jsonl:out", "jsonl:out"),
    ],
)  # fmt: skip
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert hide_password(url) == shown


def test_a_password_comes_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("p@ss:w/ord\nnot this\n", encoding="utf-8")
    found = read(tmp_path, {"source": "postgresql://u@h/d", "source_password_file": str(file)})
    assert databases(found).source == "postgresql://u:p%40ss%3Aw%2Ford@h/d"
    # The target is the source where none is named: with the source's password.
    assert databases(found).target == databases(found).source


def test_a_password_without_a_user_reaches_the_driver(tmp_path: Path) -> None:
    found = read(tmp_path, {"source": "postgresql://h/d"}, XML_EXTRACTOR_SOURCE_PASSWORD="pw")
    assert "pw" in databases(found).source


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ({"source_password_file": "gone"}, "cannot be read"),
        ({"source_password_file": "empty"}, "is empty"),
        ({"source_password_file": "full", "source": "nonsense"}, "--source"),
        ({"source_password_file": "full", "source": "sqlite:///x.db"}, "takes no password"),
        ({"source_password_file": "full", "source_password": "x"}, "keep one of them"),
    ],
)
def test_mistakes_about_passwords(flags: dict[str, str], expected: str, tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "full").write_text("hunter2", encoding="utf-8")
    given = {"source": "postgresql://u@h/d", **flags}
    given["source_password_file"] = str(tmp_path / given["source_password_file"])
    with pytest.raises(UsageError, match=expected) as caught:
        databases(read_settings(given, environment={}, folder=tmp_path))
    assert "hunter2" not in str(caught.value)


# ---------------------------------------------------------------------------------------- databases


def test_without_a_database_the_embedded_default_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    where = databases(read(tmp_path))
    assert where.source == where.target == f"sqlite:///{(tmp_path / 'data' / 'xml_extractor.db').as_posix()}"
    assert where.source_is_embedded
    assert where.target_is_embedded
    where = databases(read(tmp_path, {"target": "null:"}))
    assert where.source_is_embedded
    assert (where.target, where.target_is_embedded) == ("null:", False)
    where = databases(read(tmp_path, {"source": "sqlite:///mine.db"}))
    assert (where.source, where.target) == ("sqlite:///mine.db", "sqlite:///mine.db")
    assert not where.source_is_embedded
    assert not where.target_is_embedded


def test_the_embedded_default_of_a_checkout_is_the_checkouts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    root = Path(settings_module.__file__).parent.parent
    monkeypatch.chdir(tmp_path)
    assert databases(read(tmp_path)).source == f"sqlite:///{(root / 'data' / 'xml_extractor.db').as_posix()}"
