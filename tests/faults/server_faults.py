"""What can be broken about a database server and the way to it; see :mod:`tests.faults.faults`."""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass

import psutil
import psycopg
from sqlalchemy.engine import make_url

from tests.faults.faults import Fault, Run, in_words
from tests.faults.places import Place
from tests.support.servers import conninfo
from tests.support.tcp_proxy import Moment


@dataclass
class CutAt(Fault):
    """A connection is cut before the server has what is sent, while it has it, or with its answer."""

    text: str
    moment: Moment
    passes: int

    @property
    def statement(self) -> str:
        """The text for people."""
        return self.text.rstrip("\0")

    @property
    def kind(self) -> str:
        return f"cut {_WHEN[self.moment]} {self.statement.split()[0]}"

    def describe(self) -> str:
        return f"cut {_WHEN[self.moment]} {self.statement}, after {self.passes} of them"

    def arm(self, run: Run) -> None:
        assert run.place.proxy is not None
        self._trap = run.place.proxy.cut_at(self._pattern(run), self.moment, passes=self.passes)

    def act(self, run: Run) -> None:
        while run.runs():
            if self._trap.sprung.wait(0.02):
                self.strikes()
                return

    def _pattern(self, run: Run) -> str | bytes:
        # In TDS statements travel as UTF-16.
        return self.text if run.place.engine == "mssql" else self.text.encode()


_WHEN = {Moment.BEFORE: "before", Moment.DURING: "during", Moment.ANSWERED: "after"}


@dataclass
class StallAt(CutAt):
    """The connection that sends a text is held for some seconds; then everything goes on, however late."""

    seconds: float = 0.0

    @property
    def kind(self) -> str:
        return f"stall {_WHEN[self.moment]} {self.statement.split()[0]}"

    def describe(self) -> str:
        return (
            f"stall for {self.seconds:g} s {_WHEN[self.moment]} {self.statement}, after {self.passes} of them"
        )

    def arm(self, run: Run) -> None:
        assert run.place.proxy is not None
        self._trap = run.place.proxy.stall_at(self._pattern(run), self.moment, passes=self.passes)

    def act(self, run: Run) -> None:
        super().act(run)
        if self.moments:
            assert run.place.proxy is not None
            time.sleep(self.seconds)
            run.place.proxy.restore()


@dataclass
class CutAll(Fault):
    """All connections are cut at random moments."""

    delays: list[float]

    @property
    def kind(self) -> str:
        return "cut of all connections"

    def describe(self) -> str:
        return f"cut of all connections after {in_words(self.delays)}"

    def act(self, run: Run) -> None:
        assert run.place.proxy is not None
        run.await_commit()
        for delay in self.delays:
            time.sleep(delay)
            if not run.runs():
                return
            run.place.proxy.cut()
            self.strikes()


@dataclass
class KillServer(Fault):
    """The database server's processes are killed, all of them or one that serves the program."""

    whole: bool
    delays: list[float]

    @property
    def kind(self) -> str:
        return "SIGKILL of the server" if self.whole else "SIGKILL of a server process"

    def describe(self) -> str:
        return f"{self.kind} after {in_words(self.delays)}"

    def act(self, run: Run) -> None:
        run.await_commit()
        for delay in self.delays:
            time.sleep(delay)
            if not run.runs():
                return
            if self.whole:
                self._kill_all(run)
            else:
                self._kill_one(run)

    def _kill_all(self, run: Run) -> None:
        assert run.place.postgresql is not None
        server = run.place.postgresql.process
        assert server is not None
        server.kill()
        self.strikes()
        time.sleep(0.3)
        server.start()

    def _kill_one(self, run: Run) -> None:
        """The server then ends all its other processes too, and starts anew by itself."""
        # It may be at that from the kill before.
        with contextlib.suppress(psycopg.OperationalError):
            with psycopg.connect(conninfo(run.place.target), autocommit=True) as connection:
                found = connection.execute(
                    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() "
                    "AND application_name LIKE 'xml_extractor writer%'"
                ).fetchall()
            for (pid,) in found[:1]:
                psutil.Process(pid).kill()
                self.strikes()


@dataclass
class KillSessions(Fault):
    """The server ends the program's sessions, with KILL or pg_terminate_backend."""

    delays: list[float]

    @property
    def kind(self) -> str:
        return "sessions ended by the server"

    def describe(self) -> str:
        return f"sessions ended by the server after {in_words(self.delays)}"

    def act(self, run: Run) -> None:
        run.await_commit()
        for delay in self.delays:
            time.sleep(delay)
            if not run.runs():
                return
            self.moments += [time.time()] * (1 if self._end(run.place) else 0)

    @staticmethod
    def _end(place: Place) -> int:
        if place.mssql is not None:
            sessions = place.mssql.sessions(str(make_url(place.target).database))
            for session in sessions:
                place.mssql.kill(session)
            return len(sessions)
        with psycopg.connect(conninfo(place.target), autocommit=True) as connection:
            return len(
                connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                    "WHERE datname = current_database() AND application_name LIKE 'xml_extractor%'"
                ).fetchall()
            )
