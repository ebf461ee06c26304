"""Draws cases from a seed: case 17 of seed 5 is always the same, by itself too."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from functools import lru_cache

from tests.faults.case import Attempt, Case
from tests.faults.clock import SetClock
from tests.faults.faults import (
    AtFailpoint,
    ChangeRows,
    Fault,
    FullDisk,
    KillWorkers,
    LittleMemory,
    MoreLoaders,
    Signal,
)
from tests.faults.places import SmallDisk
from tests.faults.server_faults import CutAll, CutAt, KillServer, KillSessions, StallAt
from tests.support.tcp_proxy import Moment

LINUX = sys.platform == "linux"
"""Where the limits of another process can be set."""

IN_BATCH = {
    "before_claim": 12, "after_claim": 12, "between_tables": 36, "before_commit": 12, "after_commit": 12,
    "quarantine_write": 8, "range_write": 3,
}  # fmt: skip
"""Places with a session at hand, and the latest hit that is broken: after a few hundred documents."""

ELSEWHERE = {
    "after_acknowledge": 12, "queue_take": 12, "queue_put": 14, "reader_documents": 4, "dispatcher": 4,
    "reader_keys": 3, "worker_document": 250,
}  # fmt: skip
IN_WORKER_PROCESS = {"worker_start": 1, "worker_send": 8, "worker_document": 100}
NOT_SERIAL = {"queue_take", "queue_put"}
FATAL = ["kill", "kill", "kill", "fail", "memory"]

SLOW = 700
"""Documents a second where random moments are to meet a load: it then takes two seconds."""

Draw = Callable[[random.Random, str, str], tuple[list[Attempt], dict[str, object]]]


def draw_case(seed: int, number: int, *, mssql: bool = False, family: str | None = None) -> Case:
    """Draw one case.

    Args:
        number: counted from 1; families take turns.
        mssql: on SQL Server, where fewer families are at hand.
    """
    turns = _MSSQL_TURNS if mssql else _turns()
    family = family or turns[(number - 1) % len(turns)]
    chance = random.Random(f"{seed}/{number}/{family}{'/mssql' if mssql else ''}")
    draw, engines = _FAMILIES[family]
    engine = "mssql" if mssql else chance.choice(engines)
    executor = chance.choices(["thread", "process", "serial", "auto"], [40, 30, 20, 10])[0]
    if family in ("workers", "worker memory"):
        executor = "process"
    attempts, place = draw(chance, engine, executor)
    return Case(number, family, engine, executor, attempts, place)


# --------------------------------------------------------------------------------------------- failpoints


def _failpoints(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    """Runs that die one after the other, with what they survive in between."""
    attempts = []
    # To a server's driver an error of the system is a lost connection, and lived through.
    fatal = [*FATAL, "disk_full"] if engine == "sqlite" else FATAL
    if chance.random() < 0.15:
        attempts.append(_attempt(chance, AtFailpoint(f"run_start={chance.choice(fatal)}")))
    for number in range(3):
        # The first dies in a batch, so that something is committed before the others die anywhere.
        places = dict(IN_BATCH) if number == 0 else _places(executor)
        name = chance.choice(sorted(places))
        hit = chance.randint(min(3, places[name]), places[name])
        # A worker process that is killed is replaced; one that fails ends the run.
        in_worker = executor == "process" and name in IN_WORKER_PROCESS
        action = chance.choice(["fail", "memory"] if in_worker else fatal)
        faults: list[Fault] = [AtFailpoint(f"{name}={action}@{hit}")]
        if chance.random() < 0.7:
            faults.append(AtFailpoint(_survived(chance, max(2, hit - 1) if name in IN_BATCH else 4)))
        if chance.random() < 0.15:
            faults.append(AtFailpoint("before_commit=lost@2"))
            faults.append(AtFailpoint(f"retry={chance.choice(['kill', 'fail', 'stall:0.3'])}"))
        attempts.append(_attempt(chance, *faults))
    last = [_survived(chance, hit) for hit in (3, 6, 10, 14)]
    if executor == "process":
        last += [f"{name}=kill@{chance.randint(1, most)}" for name, most in IN_WORKER_PROCESS.items()]
    if chance.random() < 0.2:
        last.append("run_finish=kill")
    attempts.append(_attempt(chance, *map(AtFailpoint, last)))
    source = "server" if engine == "postgresql" and chance.random() < 0.3 else "file"
    return attempts, {"source": source}


def _places(executor: str) -> dict[str, int]:
    places = {**IN_BATCH, **ELSEWHERE}
    if executor == "process":
        places |= IN_WORKER_PROCESS
    if executor == "serial":
        places = {name: hit for name, hit in places.items() if name not in NOT_SERIAL}
    return places


def _survived(chance: random.Random, hit: int) -> str:
    """What a run lives through: a lost connection, or a wait."""
    name = chance.choice(sorted(IN_BATCH))
    at = 1 if name in ("quarantine_write", "range_write") else chance.randint(1, max(1, hit))
    return f"{name}={chance.choice(['lost', 'lost', 'lost', 'stall:0.2'])}@{at}"


def _attempt(chance: random.Random, *faults: Fault, slow: bool = False) -> Attempt:
    arguments: list[object] = ["--batch-size", chance.choice([10, 20, 30])]
    arguments += ["--insert-threads", chance.choice([1, 1, 2])]
    if slow:
        arguments += ["--throttle", SLOW]
    return Attempt(list(faults), arguments)


# ------------------------------------------------------------------------------------------ random moments


def _signals(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    attempts = []
    for _ in range(4):
        number = chance.choice(["SIGKILL", "SIGKILL", "SIGTERM", "SIGINT", "SIGINT"])
        again = chance.uniform(0.0, 0.3) if number == "SIGINT" and chance.random() < 0.5 else None
        fault = Signal(getattr(signal, number), chance.uniform(0.0, 0.35), again)
        attempts.append(_attempt(chance, fault, slow=True))
    return attempts, {}


def _workers(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    delays = [chance.uniform(0.0, 0.5) for _ in range(4)]
    return [
        _attempt(chance, KillWorkers(delays), slow=True),
    ], {}


def _cuts(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    """Before, during and after commit, before and during what is written, and all connections at once."""
    moments = list(Moment)
    chance.shuffle(moments)
    commit, insert, write = _texts(engine)
    faults: list[Fault] = [
        CutAt(commit, moment, chance.randint(3 + 12 * place, 10 + 12 * place))
        for place, moment in enumerate(moments)
    ]
    faults.append(CutAt(insert, chance.choice(moments), chance.randint(5, 40)))
    faults.append(CutAt(write, chance.choice(moments), chance.randint(5, 80)))
    faults.append(CutAll([chance.uniform(0.0, 0.6), chance.uniform(0.2, 0.6)]))
    return [_attempt(chance, *faults, slow=True)], _proxied(chance, engine)


def _stalls(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    """A commit that arrives when nobody waits for it any more, or an answer that does."""
    commit, _, write = _texts(engine)
    text = chance.choice([commit, commit, write])
    fault = StallAt(text, chance.choice(list(Moment)), chance.randint(4, 20), chance.choice([1.0, 8.0]))
    return [_attempt(chance, fault, slow=True)], _proxied(chance, engine)


def _texts(engine: str) -> tuple[str, str, str]:
    """What is sent to commit, to claim documents, and to write rows."""
    if engine == "mssql":
        return "COMMIT TRANSACTION", "INSERT INTO [load_ledger]", "INSERT INTO [tag]"
    # Statements end with a NUL; without it the ledger's column committed_at would be meant, too.
    # Documents are claimed by COPY or by INSERT.
    return "COMMIT\0", '"load_ledger" ("digest"', 'COPY "tag"'


def _proxied(chance: random.Random, engine: str) -> dict[str, object]:
    source = chance.choice(["file", "server"]) if engine == "postgresql" else "file"
    return {"source": source, "proxied": True}


def _server(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    delays = [chance.uniform(0.0, 0.5), chance.uniform(0.3, 0.6)]
    faults: list[Fault] = [KillServer(chance.random() < 0.5, delays)]
    return [_attempt(chance, *faults, slow=True)], {"source": chance.choice(["file", "server"])}


def _sessions(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    delays = [chance.uniform(0.0, 0.4) for _ in range(4)]
    return [_attempt(chance, KillSessions(delays), slow=True)], {}


# ------------------------------------------------------------------------------------------ what runs short


def _disk(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    small = _can_mount() and chance.random() < 0.6
    fault = FullDisk(None if small else chance.randint(150_000, 400_000))
    return [_attempt(chance, fault), *_dying_once(chance)], {"small": small}


def _memory(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    of_worker = executor == "process"
    fault = LittleMemory(of_worker, chance.uniform(0.0, 0.3), chance.choice([0, 0, 200_000]))
    return [_attempt(chance, fault, slow=True), *_dying_once(chance)], {}


def _dying_once(chance: random.Random) -> list[Attempt]:
    name = chance.choice(["before_commit", "after_commit", "between_tables"])
    return [_attempt(chance, AtFailpoint(f"{name}=kill@{chance.randint(1, 12)}"))]


# ------------------------------------------------------------------------------------------ others at work


def _clock(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    jumps = [(chance.choice([-86400.0, -3600.0, -1.0, 3600.0]), chance.uniform(0.0, 0.3)) for _ in range(4)]
    return [_attempt(chance, SetClock(jumps), slow=True)], {}


def _rows(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    keys = chance.sample(range(1, 500), 40)
    fault = ChangeRows(sorted(keys[:30]), sorted(keys[30:]), chance.uniform(0.0, 0.4))
    return [_attempt(chance, fault, AtFailpoint(f"after_commit=kill@{chance.randint(10, 30)}"), slow=True)], {
        "source": "copy"
    }


def _loaders(chance: random.Random, engine: str, executor: str) -> tuple[list[Attempt], dict[str, object]]:
    kill_after = chance.uniform(0.0, 0.5) if chance.random() < 0.5 else None
    return [_attempt(chance, MoreLoaders(chance.randint(2, 4), kill_after), slow=True)], {}


# --------------------------------------------------------------------------------------------- in their turn

_BOTH = ["sqlite", "postgresql"]
_FAMILIES: dict[str, tuple[Draw, list[str]]] = {
    "failpoints": (_failpoints, _BOTH),
    "signals": (_signals, _BOTH),
    "workers": (_workers, _BOTH),
    "cuts": (_cuts, ["postgresql"]),
    "stalls": (_stalls, ["postgresql"]),
    "server": (_server, ["postgresql"]),
    "sessions": (_sessions, ["postgresql"]),
    "disk": (_disk, ["sqlite"]),
    "worker memory": (_memory, _BOTH),
    "memory": (_memory, _BOTH),
    "clock": (_clock, _BOTH),
    "rows": (_rows, _BOTH),
    "loaders": (_loaders, _BOTH),
}
_MSSQL_TURNS = ["failpoints", "cuts", "sessions", "signals", "failpoints", "loaders", "workers", "clock"]


@lru_cache(maxsize=1)
def _turns() -> list[str]:
    """Failpoints every other time; the rest in turn, as far as this machine can do it."""
    others = [family for family in _FAMILIES if family != "failpoints"]
    # What is cheap or likely to find something comes twice.
    others += ["signals", "cuts", "server", "loaders", "workers"]
    if not LINUX:
        others = [family for family in others if family not in ("disk", "worker memory", "memory")]
    if os.name != "posix":
        others = [family for family in others if family not in ("signals", "server")]
    return [family for other in others for family in ("failpoints", other)]


@lru_cache(maxsize=1)
def _can_mount() -> bool:
    return SmallDisk.to_be_had()
