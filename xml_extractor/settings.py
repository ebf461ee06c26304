"""Settings: command line flags > environment > config file > defaults.

Each field of :class:`Settings` is a flag (``--batch-size``), an environment variable
(``XML_EXTRACTOR_BATCH_SIZE``) and a key of the config file (``batch_size``) at once; what it allows and
what it means is written here and nowhere else.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args

import yaml
from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic.fields import FieldInfo

from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import Key
from xml_extractor.profiling.progress import ProgressStyle

ENVIRONMENT_PREFIX: Final = "XML_EXTRACTOR_"
CONFIG_FILE: Final = Path("config") / "settings.yaml"
DEFAULT_CONTRACT: Final = "config/loan_application.yaml"
EMBEDDED_DATABASE: Final = Path("data") / "xml_extractor.db"
SECRETS: Final = frozenset({"password", "source_password", "target_password"})
"""Settings that have no flag: a command line can be read by every user of the machine."""


class ExecutorChoice(StrEnum):
    """What ``--executor`` offers."""

    AUTO = "auto"
    THREAD = "thread"
    PROCESS = "process"
    SERIAL = "serial"


class OnPlanChange(StrEnum):
    """What ``--on-plan-change`` offers."""

    REPORT = "report"
    RELOAD = "reload"


class InsertPath(StrEnum):
    """What ``--insert-path`` offers."""

    AUTO = "auto"
    BULKCOPY = "bulkcopy"
    OPENJSON = "openjson"
    FAST_EXECUTEMANY = "fast-executemany"
    EXECUTEMANY = "executemany"


class Encryption(StrEnum):
    """What ``--encrypt`` offers: the words of Microsoft's ODBC driver 18."""

    YES = "yes"
    NO = "no"
    MANDATORY = "mandatory"
    OPTIONAL = "optional"
    STRICT = "strict"


class LogLevel(StrEnum):
    """What ``--log-level`` offers."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


_MEBIBYTE: Final = 2**20


class LoadOptions(BaseModel):
    """How a load runs; which databases and which contract are told apart from it.

    Immutable.  A value that is not allowed raises pydantic's ``ValidationError`` (a ``ValueError``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    workers: int = Field(default=4, ge=1, le=256, description="workers that parse and map")
    batch_size: int = Field(default=1000, ge=1, le=1_000_000, description="documents per transaction")
    # Two batches: one being inserted, one filling up.
    queue_size: int = Field(default=2000, ge=1, description="documents that may wait for the target")
    queue_bytes: ByteSize = Field(
        default=ByteSize(64 * _MEBIBYTE),
        ge=1,
        description="memory of the documents that may wait, such as 64MiB",
    )
    insert_threads: int = Field(
        default=1, ge=1, le=64, description="connections that insert (clamped to what the target can use)"
    )
    limit: int | None = Field(default=None, ge=1, description="dispatch at most this many pending documents")
    app_id_start: Key | None = Field(default=None, description="first source key, inclusive")
    app_id_end: Key | None = Field(default=None, description="last source key, inclusive")
    executor: ExecutorChoice = Field(
        default=ExecutorChoice.AUTO,
        description="run workers as threads, as processes, or one in turn with inserting",
    )
    retry_seconds: float = Field(
        default=30.0, ge=0, le=86_400, description="how long a lost target is retried before the run ends"
    )
    statement_seconds: float = Field(
        default=60.0, gt=0, le=86_400, description="how long a statement may go without an answer"
    )
    connect_seconds: float = Field(
        default=8.0, gt=0, le=3600, description="how long a server may take to accept a connection"
    )
    lock_timeout: float | None = Field(
        default=None, gt=0, le=86_400,
        description="how long a statement waits for another session's lock before it is tried again "
        "(default: as long as a statement may take)",
    )  # fmt: skip
    target_schema: str | None = Field(
        default=None, min_length=1, max_length=128,
        description="schema of the target's tables that are named without one, the loader's own included",
    )  # fmt: skip
    insert_path: InsertPath = Field(
        default=InsertPath.AUTO,
        description="SQL Server: the way in; auto takes the fastest that the server serves rightly",
    )
    avoid_lock_escalation: bool = Field(
        default=False,
        description="SQL Server: keep each statement below the rows at which it would lock a whole table",
    )
    read_only_intent: bool = Field(
        default=False,
        description="SQL Server: read the source with read-only intent, as a readable secondary asks for",
    )
    snapshot: bool = Field(
        default=False,
        description="SQL Server: read the source under snapshot isolation, so that nobody waits for anybody",
    )
    throttle: float | None = Field(
        default=None, gt=0, allow_inf_nan=False, description="dispatch at most so many documents a second"
    )
    batch_bytes: ByteSize = Field(
        default=ByteSize(32 * _MEBIBYTE), ge=1, description="a batch closes at this size, such as 32MiB"
    )
    batch_seconds: float = Field(default=5.0, gt=0, le=3600, description="a batch closes at this age")
    source_name: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="name of the source in the ledger, if the contract's is not meant",
    )
    on_plan_change: OnPlanChange = Field(
        default=OnPlanChange.REPORT,
        description="what to do about documents loaded under another plan of this contract",
    )
    create_tables: bool | None = Field(
        default=None,
        description="create the contract's tables where absent (default: for the embedded database only)",
    )
    dry_run: bool = Field(
        default=False, description="parse and map everything, check the target, write nothing"
    )


class Settings(LoadOptions):
    """Everything that a command can be told, from wherever it was told."""

    source: str | None = Field(
        default=None, description="database that holds the documents, as a SQLAlchemy URL"
    )
    target: str | None = Field(
        default=None, description="database to load into (default: the source), null: or jsonl:DIR"
    )
    server: str | None = Field(
        default=None,
        description="SQL Server that is source and target, but for the side that has a URL of its own",
    )
    database: str | None = Field(
        default=None, min_length=1, max_length=128, description="SQL Server: the database of --server"
    )
    username: str | None = Field(
        default=None, min_length=1, max_length=128, description="SQL Server: the login at --server"
    )
    trusted: bool | None = Field(
        default=None,
        description="SQL Server: log in as the user who runs the program (Windows, or Kerberos); on Windows "
        "this is the default where no username is given",
    )
    encrypt: Encryption | None = Field(
        default=None,
        description="SQL Server: encryption of the connection to --server; the driver's own default is yes",
    )
    trust_server_certificate: bool = Field(
        default=False,
        description="SQL Server: take the certificate of --server on trust, as a self-signed one has to be",
    )
    password: SecretStr | None = Field(
        default=None, description="password for source and target, but for the side that has one of its own"
    )
    password_file: Path | None = Field(
        default=None, description="file whose first line is the password for both sides, likewise"
    )
    source_password: SecretStr | None = Field(default=None, description="password for the source")
    target_password: SecretStr | None = Field(default=None, description="password for the target")
    source_password_file: Path | None = Field(
        default=None, description="file whose first line is the source's password"
    )
    target_password_file: Path | None = Field(
        default=None, description="file whose first line is the target's password"
    )
    contract: str = Field(default=DEFAULT_CONTRACT, min_length=1, description="mapping contract")
    summary: Path | None = Field(default=None, description="write the summary as JSON into this file")
    progress: ProgressStyle = Field(
        default=ProgressStyle.AUTO,
        description="bar on a terminal and a line every ten seconds elsewhere, or as named",
    )
    log_level: LogLevel = Field(default=LogLevel.INFO, description="least important log lines shown")
    log_file: Path | None = Field(
        default=None, description="write the log, with tracebacks, into this file too"
    )

    @field_validator("encrypt", mode="before")
    @classmethod
    def _word(cls, value: Any) -> Any:
        """Take YAML's yes and no, which arrive as truth values, for the words that they are."""
        return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value

    @field_validator("server")
    @classmethod
    def _known_form(cls, value: str | None) -> str | None:
        if value is not None:
            from xml_extractor.engines.mssql.server_url import parse_server

            parse_server(value)
        return value

    def options(self) -> LoadOptions:
        """Return the part that says how a load runs."""
        return LoadOptions(**{name: getattr(self, name) for name in LoadOptions.model_fields})

    def shown(self) -> dict[str, Any]:
        """Return the settings as plain data for the summary, without passwords."""
        shown = self.model_dump(mode="json", exclude=set(SECRETS))
        for side in ("source", "target"):
            if shown[side] is not None:
                shown[side] = hide_password(shown[side])
        return shown


def flag(name: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


# ---------------------------------------------------------------------------------------- reading


@dataclass(frozen=True, slots=True)
class _Given:
    """A value and where it was given, as a message names it."""

    value: Any
    place: str
    rank: int  # the config file's is 0, the environment's 1, the command line's 2


def read_settings(
    flags: Mapping[str, Any],
    *,
    config: Path | None = None,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
) -> Settings:
    """Bring flags, environment and config file together.

    Args:
        flags: by setting's name; ``None`` = not given.
        config: the file named by ``--config``; else ``XML_EXTRACTOR_CONFIG``; else ``config/settings.yaml``
            of the working directory, else of the checkout, where there is one.
        environment: instead of the process's own.
        folder: instead of the working directory.

    Raises:
        UsageError: naming the flag, variable or key of every value that is not allowed, and what is.
    """
    environment = os.environ if environment is None else environment
    folder = Path.cwd() if folder is None else folder
    given: dict[str, _Given] = {}
    mistakes: list[str] = []
    path = _config_path(config, environment, folder)
    if path is not None:
        for name, value in _read_config(path).items():
            if name in Settings.model_fields:
                given[name] = _Given(value, f"{path}: {name}", 0)
            else:
                mistakes.append(
                    f"{path}: unknown key {name!r}{_did_you_mean(name, list(Settings.model_fields))}"
                )
    variables = {variable(name): name for name in Settings.model_fields}
    for key, text in environment.items():
        if key in variables:
            given[variables[key]] = _Given(text, key, 1)
        elif key.startswith(ENVIRONMENT_PREFIX) and key != variable("config"):
            # Other programs may have variables of this prefix; one that all but names a setting is a slip.
            close = difflib.get_close_matches(key, variables, n=1, cutoff=1 - 2.5 / len(key))
            if close:
                mistakes.append(f"environment variable {key} is not known; did you mean {close[0]}?")
    for name, value in flags.items():
        if value is not None:
            given[name] = _Given(value, flag(name), 2)
    _let_server_win(given)
    try:
        settings = Settings.model_validate({name: item.value for name, item in given.items()})
    except ValidationError as error:
        mistakes += _mistakes(error, given)
        raise UsageError(_listed(mistakes)) from None
    mistakes += _conflicts(settings, given)
    if mistakes:
        raise UsageError(_listed(mistakes))
    return settings


def _let_server_win(given: dict[str, _Given]) -> None:
    """Drop a side's URL that was told in a place of lower rank than the server: it is a former choice."""
    server = given.get("server")
    for side in ("source", "target"):
        if server is not None and side in given and given[side].rank < server.rank:
            del given[side]


def _config_path(config: Path | None, environment: Mapping[str, str], folder: Path) -> Path | None:
    if config is not None:
        return config
    named = environment.get(variable("config"))
    if named:
        return Path(named)
    root = checkout()
    folders = [folder] if root is None else [folder, root]
    return next((place / CONFIG_FILE for place in folders if (place / CONFIG_FILE).is_file()), None)


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"config file {path} cannot be read: {why}") from error
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError as error:
        # The error's own text quotes the line, which may hold a password.
        mark = getattr(error, "problem_mark", None)
        place = "" if mark is None else f":{mark.line + 1}:{mark.column + 1}"
        raise UsageError(f"{path}{place}: not valid YAML; write one `key: value` a line") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path}: must be a mapping of settings, one `key: value` a line")
    return {str(name): value for name, value in content.items()}


def _did_you_mean(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    return f"; did you mean {close[0]}?" if close else f"; known are {', '.join(sorted(known))}"


def _mistakes(error: ValidationError, given: Mapping[str, _Given]) -> list[str]:
    """Say for each value that is not allowed where it was given and what is allowed instead."""
    mistakes: dict[str, str] = {}
    for detail in error.errors(include_input=False, include_url=False):
        name = str(detail["loc"][0])
        item = given.get(name)
        place = item.place if item is not None else flag(name)
        value = (
            ""
            if item is None or name in (*SECRETS, "source", "target")
            else f" {str(item.value)!r} is not allowed;"
        )
        mistakes[name] = f"{place}:{value} it takes {allowed(name)}"
    return list(mistakes.values())


def _conflicts(settings: Settings, given: Mapping[str, _Given]) -> list[str]:
    mistakes = _server_conflicts(settings, given)
    for prefix, whose in (("", "the"), ("source_", "the source's"), ("target_", "the target's")):
        secret, file = f"{prefix}password", f"{prefix}password_file"
        if getattr(settings, secret) is not None and getattr(settings, file) is not None:
            mistakes.append(
                f"{given[secret].place} and {given[file].place} both give {whose} password; keep one of them"
            )
    start, end = settings.app_id_start, settings.app_id_end
    if isinstance(start, int) and isinstance(end, int) and start > end:
        mistakes.append(
            f"{given['app_id_start'].place}: the first key {start} comes after the last key {end} "
            f"({given['app_id_end'].place}); exchange them"
        )
    return mistakes


def _server_conflicts(settings: Settings, given: Mapping[str, _Given]) -> list[str]:
    """Say what is wrong about ``--server`` and the settings that belong to it."""
    of_server = ("database", "username", "trusted", "encrypt", "trust_server_certificate")
    if settings.server is None:
        return [
            f"{given[name].place} is given, but no {flag('server')} that it could be for; name the server, "
            "or write it into the URL instead"
            for name in of_server
            if name in given and getattr(settings, name) not in (None, False)
        ]
    place = given["server"].place
    mistakes = []
    if settings.database is None:
        mistakes.append(f"{place}: no database is named; add {flag('database')} NAME")
    if settings.trusted and settings.username is not None:
        mistakes.append(
            f"{given['trusted'].place} and {given['username'].place} name two ways to log in; keep one"
        )
    if settings.username is None and not _is_trusted(settings):
        mistakes.append(
            f"{place}: nobody is named to log in; add {flag('username')} NAME, with the password in "
            f"{variable('password')} or {flag('password_file')} FILE, or {flag('trusted')} to log in as the "
            "user who runs the program"
        )
    return mistakes


def _is_trusted(settings: Settings) -> bool:
    if settings.trusted is None:
        return sys.platform == "win32" and settings.username is None
    return settings.trusted


def _listed(mistakes: list[str]) -> str:
    return mistakes[0] if len(mistakes) == 1 else "settings are wrong:\n  " + "\n  ".join(mistakes)


# ------------------------------------------------------------------------------- what a setting takes


def choices(name: str) -> tuple[str, ...] | None:
    """Return the words that a setting takes, or ``None`` where it is not a choice."""
    annotation = Settings.model_fields[name].annotation
    for kind in (annotation, *get_args(annotation)):  # the words, or the words or None
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return tuple(str(member.value) for member in kind)
    return None


def is_switch(name: str) -> bool:
    """Whether a setting is yes or no."""
    return Settings.model_fields[name].annotation in (bool, bool | None)


def allowed(name: str) -> str:
    """Say what a setting takes: ``a whole number from 1 to 256``."""
    field = Settings.model_fields[name]
    words = choices(name)
    if words is not None:
        return "one of " + ", ".join(words)
    if is_switch(name):
        return "true or false"
    annotation = str(field.annotation)
    if "ByteSize" in annotation:
        return "a size in bytes of 1 or more, such as 64MiB"
    if name in ("app_id_start", "app_id_end"):
        return "a key: a whole number or a text"
    if name == "server":
        from xml_extractor.engines.mssql.server_url import FORM

        return FORM
    if name == "throttle":
        return "a number of documents above 0, fractions too"
    if "float" in annotation:
        return "a number of seconds" + _range(field)
    if "int" in annotation:
        return "a whole number" + _range(field)
    if "Path" in annotation:
        return "the path of a file"
    return "a text that is not empty (in quotes where it looks like a number)"


def default_text(name: str) -> str:
    """Return a setting's default as the documentation shows it; empty where there is none."""
    default = Settings.model_fields[name].default
    if default is None:
        return ""
    if isinstance(default, StrEnum):
        return str(default.value)
    if isinstance(default, bool):
        return "true" if default else "false"
    if isinstance(default, ByteSize):
        return default.human_readable(separator="").replace(".0", "")
    return f"{default:g}" if isinstance(default, float) else str(default)


def _range(field: FieldInfo) -> str:
    bounds = {type(item).__name__: item for item in field.metadata}
    low, above, high = bounds.get("Ge"), bounds.get("Gt"), bounds.get("Le")
    if low is not None and high is not None:
        return f" from {low.ge:,} to {high.le:,}"
    if above is not None and high is not None:
        return f" above {above.gt:,} and up to {high.le:,}"
    if low is not None:
        return f", {low.ge:,} or more"
    return ""


# ---------------------------------------------------------------------------- databases and contract


def checkout() -> Path | None:
    """Return the folder of the checkout that this code runs from; ``None`` where pip installed it."""
    root = Path(__file__).resolve().parent.parent
    return (
        root if (root / "production_processor.py").is_file() and (root / "pyproject.toml").is_file() else None
    )


def embedded_url(folder: Path | None = None) -> str:
    """Return the URL of the embedded default: a file of the checkout, else of the working directory."""
    root = folder or checkout() or Path.cwd()
    return f"sqlite:///{(root / EMBEDDED_DATABASE).as_posix()}"


@dataclass(frozen=True, slots=True)
class Databases:
    """The two URLs of a load, with their passwords in them; never to be shown as they are."""

    source: str
    target: str
    source_is_embedded: bool
    target_is_embedded: bool

    @property
    def shown_source(self) -> str:
        """The source, fit to be shown."""
        return hide_password(self.source)

    @property
    def shown_target(self) -> str:
        """The target, fit to be shown."""
        return hide_password(self.target)


def databases(settings: Settings) -> Databases:
    """Settle which databases are meant and put the passwords into their URLs.

    A side that has no URL of its own is the SQL Server of ``--server``, where there is one; else the source
    is the embedded default, and the target is the source.

    Raises:
        UsageError: a URL or a password file is wrong, or a password is for a database that is not named.
    """
    server = _server_url(settings)
    source = settings.source if settings.source is not None else server
    target = settings.target if settings.target is not None else server
    for side, url in (("source", source), ("target", target)):
        file = getattr(settings, f"{side}_password_file")
        if file is not None and url is None:
            raise UsageError(
                f"{flag(f'{side}_password_file')} {file}: no {flag(side)} is given that it could be for; "
                "name the database, or leave the file out"
            )
    embedded = embedded_url()
    found = Databases(
        source=embedded if source is None else _with_password(settings, "source", source),
        target=_with_password(settings, "target", target)
        if target is not None
        else embedded
        if source is None
        else _with_password(settings, "source", source),
        source_is_embedded=source is None,
        target_is_embedded=source is None and target is None,
    )
    shared = "password" if settings.password is not None else "password_file"
    if getattr(settings, shared) is not None and not any(
        _shared_password_is_for(settings, side, url)
        for side, url in (("source", source), ("target", target))
        if url is not None
    ):
        given = flag(shared) if shared == "password_file" else variable(shared)
        raise UsageError(
            f"{given}: no database is named that takes a password and has none of its own; leave the "
            "password out, or name the user who logs in with it"
        )
    return found


def _server_url(settings: Settings) -> str | None:
    """Return ``--server`` and what belongs to it as a URL, without a password."""
    if settings.server is None:
        return None
    from xml_extractor.engines.mssql.server_url import server_url

    return server_url(
        settings.server,
        settings.database or "",
        username=settings.username,
        trusted=_is_trusted(settings),
        encrypt=settings.encrypt,
        trust_server_certificate=settings.trust_server_certificate,
    )


def _shared_password_is_for(settings: Settings, side: str, url: str) -> bool:
    """Whether a side takes the password for both sides: it has none of its own, and use for one."""
    from xml_extractor.engines import takes_password

    own = getattr(settings, f"{side}_password") is not None or getattr(settings, f"{side}_password_file")
    return not own and takes_password(url)


def _with_password(settings: Settings, side: str, url: str) -> str:
    prefix = "" if _shared_password_is_for(settings, side, url) else f"{side}_"
    password = _password(settings, prefix)
    if password is None:
        return url
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        parsed = make_url(url)
    except ArgumentError:
        raise UsageError(
            f"{flag(side)}: {hide_password(url)!r} is not a database URL, and takes no password; write one "
            "such as sqlite:///file.db or postgresql://user@host/database"
        ) from None
    if parsed.get_backend_name() == "sqlite":
        raise UsageError(f"{flag(side)}: a SQLite file takes no password; leave the {side}'s password out")
    if parsed.username is None:
        # SQLAlchemy leaves a password without a user out of the text.
        return parsed.update_query_dict({"password": password}).render_as_string(hide_password=False)
    return parsed.set(password=password).render_as_string(hide_password=False)


def _password(settings: Settings, prefix: str) -> str | None:
    """Return the password that the settings of this prefix give, from wherever they say; ``None`` = none."""
    secret: SecretStr | None = getattr(settings, f"{prefix}password")
    file: Path | None = getattr(settings, f"{prefix}password_file")
    if secret is not None:
        return secret.get_secret_value()
    if file is None:
        return None
    name = flag(f"{prefix}password_file")
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not text in UTF-8"
        raise UsageError(f"{name} {file} cannot be read: {why}") from None
    if not lines or not lines[0]:
        raise UsageError(f"{name} {file} is empty; its first line is the password")
    return lines[0]


# Up to the last '@': a password may itself hold one that should have been escaped, or a '/'.
_USER_INFO: Final = re.compile(r"(?<=://)([^:/@]*):(.*)(?=@)")
_BLANKS: Final = r"(?:\s|\+|%20)*"
_QUERY_SECRET: Final = re.compile(
    rf"(?i)((?:pwd|password|keystoresecret|clientkey){_BLANKS}(?:={_BLANKS}(?:%7b)?|%3d))"
    # In braces a value may hold what would otherwise end it.
    r"(\{(?:[^}]|\}\})*\}?|[^&;]*)"
)


def hide_password(url: str) -> str:
    """Return a database URL fit to be shown: passwords in it, in any place that drivers know, are ``***``."""
    return _QUERY_SECRET.sub(r"\1***", _USER_INFO.sub(r"\1:***", url))
