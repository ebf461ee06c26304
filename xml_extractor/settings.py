"""Settings: command line flags > environment > config file > defaults.

Each field of :class:`Settings` is a flag (``--batch-size``), an environment variable
(``XML_EXTRACTOR_BATCH_SIZE``) and a key of the config file (``batch_size``) at once; what it allows and
what it means is written here and nowhere else.  Everywhere but in Python's own attributes a field goes by its
setting's name, which is its alias, where it has one (:data:`FIELDS`).
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ByteSize, ConfigDict, Field, SecretStr, field_validator
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


class OnChange(StrEnum):
    """What ``--on-change`` offers."""

    IGNORE = "ignore"
    REPORT = "report"
    REPLACE = "replace"


class KeysWhen(StrEnum):
    """What ``--keys`` offers."""

    DURING = "during"
    AFTER = "after"


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

MIN_DRIFT_SAMPLE: Final = 200
"""Fewer documents say too little: of 200 that a healthy source gives, of which 10 % are refused, more than
20 % are with a probability below one in 100,000."""


class LoadOptions(BaseModel):
    """How a load runs; which databases and which contract are told apart from it.

    Immutable.  A value that is not allowed raises pydantic's ``ValidationError`` (a ``ValueError``).
    """

    model_config = ConfigDict(
        frozen=True, extra="forbid", validate_default=True, populate_by_name=True, serialize_by_alias=True
    )

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
    on_change: OnChange = Field(
        default=OnChange.IGNORE,
        description="what to do about documents that changed in the source since they were loaded: report "
        "and replace read every document again to find them",
    )
    max_quarantined: str | None = Field(
        default=None, pattern=r"^(\d{1,18}|\d{1,2}(\.\d+)?%|100%)$",
        description="halt the load, resumable, when it has put more documents than this into quarantine: a "
        "number, or a share of those it has settled such as 5%",
    )  # fmt: skip
    max_drift: float = Field(
        default=20.0, ge=0, le=100,
        description="halt before the first document when more than this share of a sample of them, in per "
        "cent, would be refused",
    )  # fmt: skip
    drift_sample: int = Field(
        default=MIN_DRIFT_SAMPLE, ge=0, le=100_000,
        description="pending documents from across the key range that are tried before the first is loaded; "
        "0 tries none",
    )  # fmt: skip
    memory_limit: ByteSize | None = Field(
        default=None, ge=1,
        description="memory that the whole load may take, such as 2GiB, kept by a smaller queue and fewer "
        "workers (default: what the container or machine allows)",
    )  # fmt: skip
    worker_timeout: float = Field(
        default=300.0,
        gt=0,
        le=86_400,
        description="how long a worker may be silent over one document before it is taken to be stuck",
    )
    auto_tune: bool = Field(
        default=False,
        description="while the load runs, adjust batch size and insert threads to what measures fastest, "
        "beginning with --batch-size and --insert-threads",
    )
    create_tables: bool | None = Field(
        default=None,
        description="create the contract's tables where absent (default: for the embedded database only)",
    )
    # Not `keys`: whatever has an attribute of that name is taken for a mapping by dict() and `**`.
    keys_when: KeysWhen = Field(
        default=KeysWhen.DURING,
        alias="keys",
        description="when tables that this load creates get their primary and foreign keys: during the load, "
        "or after it, which is faster for a large first load (not SQLite)",
    )
    dry_run: bool = Field(
        default=False, description="parse and map everything, check the target, write nothing"
    )

    @field_validator("drift_sample")
    @classmethod
    def _enough(cls, value: int) -> int:
        if 0 < value < MIN_DRIFT_SAMPLE:
            raise ValueError("too few to judge by")
        return value

    @field_validator("max_quarantined", mode="before")
    @classmethod
    def _number_as_text(cls, value: Any) -> Any:
        """Take YAML's number, and a library user's, for the text that the other places give."""
        return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


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
    report: Path | None = Field(
        default=None, description="write a report with figures and plots as one HTML page into this file"
    )
    metrics_port: int | None = Field(
        default=None, ge=0, le=65_535,
        description="serve metrics for Prometheus at this port while the load runs; 0 takes a free one",
    )  # fmt: skip
    metrics_host: str = Field(
        default="127.0.0.1", min_length=1, description="address to serve metrics at; 0.0.0.0 is all of them"
    )
    metrics_textfile: Path | None = Field(
        default=None,
        description="write metrics into this file, ending in .prom, for node_exporter's textfile collector",
    )
    telemetry: bool = Field(
        default=False,
        description="send spans and metrics by OpenTelemetry, set up by its own OTEL_ variables (needs "
        "pip install 'xml-extractor[telemetry]')",
    )
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


FIELDS: Final[Mapping[str, FieldInfo]] = {
    field.alias or name: field for name, field in Settings.model_fields.items()
}
"""All settings, by the name that flags, variables and config files have for them."""


def flag(name: str) -> str:
    """Return the command line flag of a setting."""
    return "--" + name.replace("_", "-")


def variable(name: str) -> str:
    """Return the environment variable of a setting."""
    return ENVIRONMENT_PREFIX + name.upper()


# ------------------------------------------------------------------------------- what a setting takes


def choices(name: str) -> tuple[str, ...] | None:
    """Return the words that a setting takes, or ``None`` where it is not a choice."""
    annotation = FIELDS[name].annotation
    for kind in (annotation, *get_args(annotation)):  # the words, or the words or None
        if isinstance(kind, type) and issubclass(kind, StrEnum):
            return tuple(str(member.value) for member in kind)
    return None


def is_switch(name: str) -> bool:
    """Whether a setting is yes or no."""
    return FIELDS[name].annotation in (bool, bool | None)


def allowed(name: str) -> str:
    """Say what a setting takes: ``a whole number from 1 to 256``."""
    field = FIELDS[name]
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
    if name == "max_quarantined":
        return "a number of documents, or a share such as 5%"
    if name == "max_drift":
        return "a share in per cent from 0 to 100"
    if name == "drift_sample":
        return f"0, or a whole number from {MIN_DRIFT_SAMPLE} to 100,000"
    if "float" in annotation:
        return "a number of seconds" + _range(field)
    if "int" in annotation:
        return "a whole number" + _range(field)
    if "Path" in annotation:
        return "the path of a file"
    return "a text that is not empty (in quotes where it looks like a number)"


def default_text(name: str) -> str:
    """Return a setting's default as the documentation shows it; empty where there is none."""
    default = FIELDS[name].default
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


def is_trusted(settings: Settings) -> bool:
    """Whether the user who runs the program is whom the server is to let in."""
    if settings.trusted is None:
        return sys.platform == "win32" and settings.username is None
    return settings.trusted


def _server_url(settings: Settings) -> str | None:
    """Return ``--server`` and what belongs to it as a URL, without a password."""
    if settings.server is None:
        return None
    from xml_extractor.engines.mssql.server_url import server_url

    return server_url(
        settings.server,
        settings.database or "",
        username=settings.username,
        trusted=is_trusted(settings),
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
