"""The URL of a SQL Server that was named by its parts, as ``--server`` and ``--database`` do."""

from __future__ import annotations

import ipaddress
import re
from typing import Final, NamedTuple


class Server(NamedTuple):
    """``HOST[\\INSTANCE][,PORT]``, taken apart."""

    protocol: str  # "tcp:" or empty
    host: str  # an IPv6 address without brackets, as the driver takes it
    instance: str | None
    port: int | None


_SERVER: Final = re.compile(
    r"(?P<protocol>tcp:)?"
    r"(?P<host>[\w.-]+|\(local(?:db)?\)|\[[0-9a-f:.]+\]|[0-9a-f:.]+)"
    r"(?:\\(?P<instance>[\w$#-]+))?"
    r"(?:,\s*(?P<port>[0-9]{1,5}))?",
    re.IGNORECASE,
)
_PLAIN_DATABASE: Final = re.compile(r"[\w.-]+")
FORM: Final = "HOST, HOST\\INSTANCE or HOST,PORT"


def parse_server(text: str) -> Server:
    """Take a server's name apart.

    Raises:
        ValueError: it has another form.
    """
    found = _SERVER.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"not {FORM}")
    host, port = found["host"].strip("[]"), int(found["port"]) if found["port"] else None
    if not (port is None or 0 < port < 65_536) or (":" in host and not _is_ipv6(host)):
        raise ValueError(f"not {FORM}")
    return Server(found["protocol"] or "", host, found["instance"], port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:  # HOST:PORT, say
        return False
    return True


def server_url(
    server: str,
    database: str,
    *,
    username: str | None,
    trusted: bool,
    encrypt: str | None,
    trust_server_certificate: bool,
) -> str:
    """Return a database of a server as a URL, without a password.

    Args:
        server: as :func:`parse_server` takes it.
        encrypt: the driver's word for it; ``None`` = its default.
    """
    from sqlalchemy.engine import URL

    protocol, host, instance, port = parse_server(server)
    named: str | None = database
    if instance is not None:
        host = f"{host}\\{instance}"
    query = {}
    # What a URL has no room for in front of its "?" stands behind it.
    if not _PLAIN_DATABASE.fullmatch(database):
        query["Database"], named = database, None
    if protocol or (instance is not None and port is not None) or "(" in host:
        query["Server"] = f"{protocol}{host}" + (f",{port}" if port is not None else "")
        host, port = "", None
    if trusted:
        query["Trusted_Connection"] = "yes"
    if encrypt is not None:
        query["Encrypt"] = encrypt
    if trust_server_certificate:
        query["TrustServerCertificate"] = "yes"
    url = URL.create("mssql", username, host=host or None, port=port, database=named, query=query)
    return url.render_as_string(hide_password=False)
