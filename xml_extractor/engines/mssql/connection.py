"""How a SQL Server database is reached: what a URL says, as connection strings and for messages.

URLs are SQLAlchemy's: ``mssql://`` (whichever driver is there), ``mssql+pyodbc://``,
``mssql+mssqlpython://``; their options are the driver's own keywords and are passed on to it, so that
what a driver can do (Microsoft Entra ID, certificates, failover partners) needs nothing from us.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Literal, cast
from urllib.parse import unquote

from xml_extractor.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

Driver = Literal["pyodbc", "mssqlpython"]

DRIVERS: Final = ("", "pyodbc", "mssqlpython")
"""What may stand after ``mssql+`` in a URL; nothing = whichever can be used."""

KEEPALIVE_SECONDS: Final = 10
KEEPALIVE_INTERVAL_SECONDS: Final = 2
"""A connection silent for so long is probed so often; Linux gives up after nine probes, 28 s in all."""

APPLICATION_CHARACTERS: Final = 128
"""The server's program_name is an nvarchar(128)."""

# Every name under which drivers and users know a keyword that we look into, in lower case.
_SYNONYMS: Final = {
    "server": "Server", "addr": "Server", "address": "Server", "data source": "Server",
    "database": "Database", "initial catalog": "Database",
    "uid": "UID", "user": "UID", "user id": "UID", "username": "UID",
    "pwd": "PWD", "password": "PWD",
    "trusted_connection": "Trusted_Connection", "integrated security": "Trusted_Connection",
    "encrypt": "Encrypt",
    "trustservercertificate": "TrustServerCertificate",
    "trust server certificate": "TrustServerCertificate",
    "trust_server_certificate": "TrustServerCertificate",
    "app": "APP", "application name": "APP",
    "applicationintent": "ApplicationIntent", "application intent": "ApplicationIntent",
    "authentication": "Authentication",
    "driver": "Driver",
    "dsn": "DSN",
    "packet size": "PacketSize", "packetsize": "PacketSize",
}  # fmt: skip
_SQLALCHEMYS_OWN: Final = frozenset({"ansi", "unicode_results", "autocommit"})
"""Options that SQLAlchemy gives to pyodbc.connect(); how we connect is not theirs to say."""

_WORDS: Final = {
    "yes": True, "true": True, "1": True, "sspi": True,
    "no": False, "false": False, "0": False,
}  # fmt: skip
_PLAIN_VALUE: Final = re.compile(r"[A-Za-z0-9_.,:\\/-]+")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


@dataclass(frozen=True)
class ConnectionSettings:
    """One SQL Server database and the way to it.  Immutable, picklable; never shows a password.

    Settings that are ``None`` are left to the driver's default.
    """

    server: str
    """``HOST``, ``HOST\\INSTANCE`` or ``HOST,PORT``, as drivers take it; empty where a DSN names it."""
    database: str
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    trusted: bool = False
    """The user that runs the program is logged in (Windows, Kerberos)."""
    encrypt: str | None = None
    trust_server_certificate: bool | None = None
    keywords: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """All further keywords of the URL; not shown, as some hold secrets (``KeystoreSecret``)."""
    driver: Driver | None = None
    """The Python driver that the URL names; ``None`` = whichever can be used."""
    odbc_driver: str | None = None
    """The ODBC driver that the URL names, by its registered name or by the path of its library."""
    dsn: str | None = None

    def keyword(self, name: str) -> str | None:
        """Return the value of one of :attr:`keywords`, whatever its case."""
        wanted = name.lower()
        return next((value for key, value in self.keywords if key.lower() == wanted), None)


def display(settings: ConnectionSettings) -> str:
    """Return the database in words for messages."""
    where = f"on {settings.server}" if settings.server else f"of the ODBC data source {settings.dsn}"
    return f"SQL Server database {settings.database} {where}"


# ------------------------------------------------------------------------------------------ URLs


def from_url(url: URL, password: str | None = None) -> ConnectionSettings:
    """Take a SQLAlchemy URL apart, by SQLAlchemy's rules.

    Args:
        url: of ``mssql``, with or without a driver.
        password: kept out of the URL; it wins over one in the URL.

    Raises:
        UsageError: the URL contradicts itself, or leaves out what has to be there.
    """
    options = {
        name: value if isinstance(value, str) else value[-1]
        for name, value in url.query.items()
        if name.lower() not in _SQLALCHEMYS_OWN
    }
    text = next((options[name] for name in options if name.lower() == "odbc_connect"), None)
    if text is not None:
        # SQLAlchemy takes the string as it is: nothing beside it in the URL has a say, a password apart.
        keywords = _canonical(parse_odbc_string(text))
        apart = _canonical(options.items()).get("PWD")
        password = password if password is not None else apart
        trusted_if_nobody = False
    else:
        keywords = _canonical(options.items())
        _add_location(url, keywords)
        trusted_if_nobody = True
    return _settings(url, keywords, password, trusted_if_nobody=trusted_if_nobody)


def _canonical(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Give keywords one name each; of a keyword given twice the first is taken, as ODBC does."""
    keywords: dict[str, str] = {}
    seen = set()
    for name, value in pairs:
        known = _SYNONYMS.get(name.lower(), name)
        if known.lower() not in seen:
            seen.add(known.lower())
            keywords[known] = value
    return keywords


def _add_location(url: URL, keywords: dict[str, str]) -> None:
    """Put what stands before the URL's ``?`` among its keywords."""
    # SQLAlchemy leaves the host as it was written: HOST%5CINSTANCE.
    host = unquote(url.host) if url.host else ""
    # SQLAlchemy's rule for pyodbc: a host without a database is the name of a data source.
    if host and url.database is None and "Database" not in keywords and not _names(url, "mssqlpython"):
        keywords["DSN"] = host
    elif host:
        keywords["Server"] = f"{host},{url.port}" if url.port else host
    if url.database:
        keywords["Database"] = url.database
    if url.username:
        keywords["UID"] = url.username
    if url.password is not None:
        keywords["PWD"] = str(url.password)


def _names(url: URL, driver: str) -> bool:
    return url.drivername.partition("+")[2] == driver


def _settings(
    url: URL, keywords: dict[str, str], password: str | None, *, trusted_if_nobody: bool
) -> ConnectionSettings:
    server, dsn = keywords.pop("Server", ""), keywords.pop("DSN", None)
    database = keywords.pop("Database", "")
    user, in_url = keywords.pop("UID", None) or None, keywords.pop("PWD", None) or None
    odbc_driver = keywords.pop("Driver", None) or None
    said = _yes_or_no("Trusted_Connection", keywords.pop("Trusted_Connection", None))
    certificate = _yes_or_no("TrustServerCertificate", keywords.pop("TrustServerCertificate", None))
    encrypt = keywords.pop("Encrypt", None) or None
    authentication = keywords.get("Authentication")
    trusted = said is True or (trusted_if_nobody and said is None and user is None and not authentication)
    password = password if password is not None else in_url
    driver = url.drivername.partition("+")[2] or None

    if not server and not dsn:
        raise UsageError(
            "the SQL Server URL names no server; write mssql://user@host:1433/database, or host%5Cinstance "
            "for a named instance"
        )
    if not database:
        raise UsageError(
            f"the SQL Server URL names no database{f' of the data source {dsn}' if dsn else ''}, and the "
            "ledger must not depend on a login's default; name it: mssql://user@host/DATABASE, or "
            f"mssql+pyodbc://user@/?dsn={dsn or 'NAME'}&database=DATABASE"
        )
    if trusted and (user is not None or password is not None):
        raise UsageError(
            "the SQL Server URL asks for a trusted connection (the login of whoever runs the program) and is "
            f"given a {'user' if user is not None else 'password without a user'} too; keep one of the two"
        )
    if driver == "mssqlpython" and (dsn or odbc_driver):
        raise UsageError(
            f"mssql-python brings its own ODBC driver and takes no {'DSN' if dsn else 'driver'}; use "
            "mssql+pyodbc://, or leave it out"
        )
    settings = ConnectionSettings(
        server=server,
        database=database,
        user=user,
        password=password,
        trusted=trusted,
        encrypt=encrypt,
        trust_server_certificate=certificate,
        keywords=tuple((name, value) for name, value in keywords.items() if value),
        driver=cast("Driver | None", driver),
        odbc_driver=odbc_driver,
        dsn=dsn,
    )
    odbc_string(settings, application="", driver=None)  # finds what cannot be written in such a string
    return settings


def _yes_or_no(keyword: str, value: str | None) -> bool | None:
    if not value:
        return None
    if value.lower() not in _WORDS:
        raise UsageError(f"{keyword} of the SQL Server URL takes yes or no")
    return _WORDS[value.lower()]


# ------------------------------------------------------------------------------- connection strings


def odbc_string(
    settings: ConnectionSettings, *, application: str, driver: str | None, read_only_intent: bool = False
) -> str:
    """Return the ODBC connection string; it holds the password.

    What the URL says wins over what we would say.  How long connecting may take is not part of it:
    both drivers take that as an argument of ``connect``.

    Args:
        application: as the server's administrator sees it (``program_name``).
        driver: the ODBC driver, by name or by path; ``None`` = for mssql-python, which brings its own and
            refuses to be told of a driver or an application.
        read_only_intent: nothing will be written, so that a readable secondary may answer.

    Raises:
        UsageError: a value holds a control character.
    """
    words: dict[str, str] = {}
    if settings.dsn is not None:
        words["DSN"] = settings.dsn
    elif driver is not None:
        words["Driver"] = driver
    words["Server"] = settings.server
    words["Database"] = settings.database
    if settings.trusted:
        words["Trusted_Connection"] = "Yes"
    words["UID"] = settings.user or ""
    words["PWD"] = settings.password or ""
    words["Encrypt"] = settings.encrypt or ""
    if settings.trust_server_certificate is not None:
        words["TrustServerCertificate"] = "Yes" if settings.trust_server_certificate else "No"
    if read_only_intent:
        words["ApplicationIntent"] = "ReadOnly"
    # The driver must never reconnect by itself: the new session would lack this one's settings and
    # transaction.  Reconnecting is the loader's, which asks the ledger first.
    words["ConnectRetryCount"] = "0"
    words["KeepAlive"] = str(KEEPALIVE_SECONDS)
    words["KeepAliveInterval"] = str(KEEPALIVE_INTERVAL_SECONDS)
    # PacketSize is the driver's: 16,384 and 32,767 carry a 10 MB parameter no faster than 4,096, and above
    # 16,384 an encrypted connection breaks.
    if driver is not None:
        # Long parameters as nvarchar(max): as ntext, the default, most functions refuse them.
        words["LongAsMax"] = "Yes"
        words["APP"] = application[:APPLICATION_CHARACTERS]
    ours = {name.lower(): name for name in words}
    for name, value in settings.keywords:
        if driver is None and name == "APP":
            continue
        words.pop(ours.get(name.lower(), ""), None)
        words[name] = value
    return ";".join(f"{_name(name)}={_escaped(name, value)}" for name, value in words.items() if value)


def _name(name: str) -> str:
    if not name or _CONTROL.search(name) or any(sign in name for sign in "=;{}"):
        raise UsageError("an option of the SQL Server URL has a name that is no keyword of ODBC")
    return name


def _escaped(name: str, value: str) -> str:
    if _CONTROL.search(value):
        raise UsageError(f"{name} of the SQL Server connection holds a control character; take it out")
    if _PLAIN_VALUE.fullmatch(value):
        return value
    return "{" + value.replace("}", "}}") + "}"


_NEXT: Final = re.compile(
    r"[\s;]*(?P<name>[^=;]+?)\s*=\s*(?:\{(?P<braced>(?:[^}]|\}\})*)\}\s*|(?P<plain>[^;{][^;]*|))(?:;|\Z)"
)


def parse_odbc_string(text: str) -> list[tuple[str, str]]:
    """Take an ODBC connection string apart into its keywords and values, in the order written.

    Values may stand in braces, where ``}}`` means ``}``; elsewhere blanks around them do not count.

    Raises:
        UsageError: it is not one; the text is not shown, as it may hold a password.
    """
    pairs = []
    position, end = 0, len(text.rstrip("; \t\r\n"))
    while position < end:
        found = _NEXT.match(text, position)
        if found is None:
            raise UsageError(
                "the ODBC connection string (odbc_connect) cannot be read: write NAME=value;NAME=value, "
                "values with a ';' or '{' in braces, where '}' is doubled, and the whole percent-encoded"
            )
        braced = found["braced"]
        value = found["plain"].strip() if braced is None else braced.replace("}}", "}")
        pairs.append((found["name"].strip(), value))
        position = found.end()
    return pairs
