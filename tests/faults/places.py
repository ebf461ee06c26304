"""Where a case takes place: a fresh target on some engine, a source, and what may be broken about them."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.engine import make_url

from tests.faults.documents import Documents, create_tables, sqlite_url
from tests.support.mssql_servers import ENVIRONMENT as MSSQL_ENVIRONMENT
from tests.support.mssql_servers import MssqlServer, known
from tests.support.servers import PostgresqlServer, private_postgresql_server
from tests.support.tables import query
from tests.support.tcp_proxy import TcpProxy

SMALL_DISK_BYTES = 1_000_000
"""Holds the empty tables, and less than a load."""


@dataclass
class Place:
    """One target and one source, for one case."""

    engine: str
    folder: Path
    target: str
    """Past the proxy: for those who look, and for who ends the job."""
    source: str
    program_target: str
    """As the program is told."""
    proxy: TcpProxy | None = None
    postgresql: PostgresqlServer | None = None
    mssql: MssqlServer | None = None
    disk: SmallDisk | None = None

    def committed(self, state: str = "%") -> int:
        """Ledger rows so far; 0 while there is no ledger yet, or nobody to answer."""
        with contextlib.suppress(Exception):
            return int(
                query(self.target, f"SELECT COUNT(*) FROM load_ledger WHERE state LIKE '{state}'")[0][0]
            )
        return 0

    def refused(self, code: str) -> int:
        """Quarantined documents with this code."""
        return len(query(self.target, f"SELECT code FROM load_quarantine WHERE code = '{code}'"))


class SmallDisk:
    """A file system in memory that is soon full, until it is made larger.  Takes root."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        _mount("-t", "tmpfs", "-o", f"size={SMALL_DISK_BYTES}", "tmpfs", folder)

    def enlarge(self) -> None:
        _mount("-o", f"remount,size={100 * SMALL_DISK_BYTES}", self.folder)

    def close(self) -> None:
        subprocess.run(["umount", self.folder], check=False, capture_output=True, timeout=30)

    @staticmethod
    def to_be_had() -> bool:
        """Whether this user may mount file systems here: tried out once."""
        if not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("mount") is None:
            return False
        with tempfile.TemporaryDirectory() as folder:
            try:
                SmallDisk(Path(folder) / "tried").close()
            except (OSError, subprocess.SubprocessError):
                return False
        return True


def _mount(*arguments: object) -> None:
    subprocess.run(["mount", *map(str, arguments)], check=True, capture_output=True, timeout=30)


class Ground:
    """Holds what several cases use, one after the other: a PostgreSQL server that may be killed, the source.

    Belongs to one thread.
    """

    def __init__(self, documents: Documents) -> None:
        self.documents = documents
        self._stack = contextlib.ExitStack()
        self._postgresql: PostgresqlServer | None = None
        self._postgresql_source = ""
        self._mssql: MssqlServer | None = None

    def close(self) -> None:
        self._stack.close()

    @contextlib.contextmanager
    def place(
        self, engine: str, folder: Path, *, source: str = "file", proxied: bool = False, small: bool = False
    ) -> Iterator[Place]:
        """A fresh target with empty tables.

        Args:
            source: ``file``: the common one, in SQLite; ``copy``: one of the case's own; ``server``: the
                target's server (PostgreSQL).
            proxied: the program reaches target and source by way of a proxy.
            small: the disk of the target is soon full.
        """
        with contextlib.ExitStack() as stack:
            place = Place(engine, folder, "", self._source(source, folder), "")
            if small:
                place.disk = SmallDisk(folder / "disk")
                stack.callback(place.disk.close)
            self._make_target(place, stack)
            if source == "server":
                place.source = self._postgresql_source
            create_tables(place.target)
            place.program_target = place.target
            if proxied:
                self._put_proxy(place, stack, both=source == "server")
            yield place

    def _source(self, kind: str, folder: Path) -> str:
        if kind == "copy":
            return self.documents.copy_to(folder / "source.db")
        return sqlite_url(self.documents.file)

    def _make_target(self, place: Place, stack: contextlib.ExitStack) -> None:
        if place.engine == "sqlite":
            folder = place.disk.folder if place.disk is not None else place.folder
            place.target = sqlite_url(folder / "target.db")
        elif place.engine == "postgresql":
            place.postgresql = server = self.postgresql()
            place.target = stack.enter_context(server.database())
        else:
            place.mssql = self.mssql()
            place.target = stack.enter_context(place.mssql.database())

    @staticmethod
    def _put_proxy(place: Place, stack: contextlib.ExitStack, *, both: bool) -> None:
        url = make_url(place.target)
        assert url.host is not None
        place.proxy = proxy = TcpProxy(url.host, url.port or 1433)
        stack.callback(proxy.close)

        def behind(text: str) -> str:
            changed = make_url(text).set(host="127.0.0.1", port=proxy.port)
            if place.engine == "mssql":
                changed = changed.update_query_dict({"Encrypt": "no"})
            return changed.render_as_string(hide_password=False)

        place.program_target = behind(place.target)
        if both:
            place.source = behind(place.source)

    def postgresql(self) -> PostgresqlServer:
        """The server, started when it is first asked for, with the source in a database of its own."""
        if self._postgresql is None:
            server = self._stack.enter_context(private_postgresql_server())
            self._postgresql_source = self._stack.enter_context(server.database())
            self.documents.into_postgresql(self._postgresql_source)
            self._postgresql = server
        return self._postgresql

    def mssql(self) -> MssqlServer:
        if self._mssql is None:
            self._mssql = known(os.environ[MSSQL_ENVIRONMENT], MSSQL_ENVIRONMENT)
            self._stack.callback(self._mssql.close)
        return self._mssql
