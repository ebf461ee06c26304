"""What can be broken.  Each fault is armed before the program starts, acts while it runs, and says afterwards
at which moments it struck: a fault that found nothing to break any more is not counted."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.documents import Documents, change_rows
from tests.faults.places import Place
from tests.support.program import CHECKOUT, Program
from xml_extractor.failpoints import FOLDER_VARIABLE, VARIABLE

SMALL_PAGES = """
# As many pages in 1,500 documents as there are in 40,000 otherwise, and so many finished ranges.
import xml_extractor.processing.chunks

xml_extractor.processing.chunks.KEY_PAGE = 190
"""
WAIT_SECONDS = 60.0
"""The longest that a fault waits for its moment; the program ends before, or the run is a hang anyway."""


@dataclass
class Run:
    """One run of the program (or of several at once), as faults see it."""

    place: Place
    documents: Documents
    folder: Path
    """For this run alone."""
    arguments: list[object]
    extra: dict[str, str]
    already: int
    """Ledger rows before it."""
    specifications: list[str] = field(default_factory=list)
    loaders: int = 1
    programs: list[Program] = field(default_factory=list)
    troubles: list[str] = field(default_factory=list)
    """What went wrong with the faults themselves."""

    _custom: str = ""

    def __post_init__(self) -> None:
        self.customize(SMALL_PAGES)

    def customize(self, code: str) -> None:
        """Have the program run this before anything else."""
        folder = self.folder / "customized"
        folder.mkdir(exist_ok=True)
        self._custom = code + self._custom
        (folder / "sitecustomize.py").write_text(self._custom, encoding="utf-8")
        self.extra["PYTHONPATH"] = f"{folder}{os.pathsep}{CHECKOUT}"

    @property
    def program(self) -> Program:
        return self.programs[0]

    def runs(self) -> bool:
        return self.program.process.poll() is None

    def await_commit(self, more: int = 1) -> bool:
        """Wait until this run has committed so many documents; false: it ended before."""
        deadline = time.monotonic() + WAIT_SECONDS
        while self.runs() and time.monotonic() < deadline:
            if self.place.committed() >= self.already + more:
                return self.runs()
            time.sleep(0.03)
        return False

    def workers(self) -> list[psutil.Process]:
        """The worker processes that are there."""
        found = []
        with contextlib.suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.program.process.pid).children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):
                    if any("spawn_main" in word for word in child.cmdline()):
                        found.append(child)
        return found


@dataclass
class Fault:
    """One thing that goes wrong, once or several times."""

    moments: list[float] = field(default_factory=list, init=False)
    """When it struck, in seconds since the epoch."""

    @property
    def kind(self) -> str:
        """The line of the report it is counted in."""
        raise NotImplementedError

    @property
    def unforeseen(self) -> bool:
        """Whether the program may end as it does when it has a bug."""
        return False

    @property
    def hits_interpreter(self) -> bool:
        """Whether Python itself may fail, before the program's first line; it says so in its own words."""
        return False

    def describe(self) -> str:
        """All that there is to know of it."""
        raise NotImplementedError

    def arm(self, run: Run) -> None:
        """Prepare it, before the program starts."""

    def act(self, run: Run) -> None:
        """Do it while the program runs; in a thread of its own."""

    def settle(self, run: Run) -> None:
        """Find out whether it struck, after the program has ended."""

    def strikes(self) -> None:
        self.moments.append(time.time())


@dataclass
class AtFailpoint(Fault):
    """A place in the code at which the program fails, stalls or dies."""

    specification: str
    _folder: Path | None = field(default=None, init=False)

    @property
    def kind(self) -> str:
        name, _, action = self.specification.partition("=")
        return f"failpoint {name}: {action.partition('@')[0].partition(':')[0]}"

    @property
    def unforeseen(self) -> bool:
        return any(f"={action}" in self.specification for action in ("fail", "memory", "disk_full"))

    def describe(self) -> str:
        return f"failpoint {self.specification}"

    def arm(self, run: Run) -> None:
        run.specifications.append(self.specification)
        self._folder = run.folder / "sprung"
        self._folder.mkdir(exist_ok=True)
        self._number = len(run.specifications)
        run.extra[VARIABLE] = ";".join(run.specifications)
        run.extra[FOLDER_VARIABLE] = str(self._folder)

    def settle(self, run: Run) -> None:
        assert self._folder is not None
        for note in self._folder.glob(f"{self._number}-*"):
            self.moments.append(float(note.read_text().split()[1]))


@dataclass
class Signal(Fault):
    """A signal to the program at a random moment after its first commit, perhaps a second one soon after."""

    number: signal.Signals
    delay: float
    again: float | None = None

    @property
    def kind(self) -> str:
        return f"{self.number.name}{' twice' if self.again is not None else ''}"

    def describe(self) -> str:
        twice = f", once more {self.again:.2f} s later" if self.again is not None else ""
        return f"{self.number.name} {self.delay:.2f} s after the first commit{twice}"

    def act(self, run: Run) -> None:
        run.await_commit()
        time.sleep(self.delay)
        if run.runs():
            run.program.process.send_signal(self.number)
            self.strikes()
            if self.again is not None:
                time.sleep(self.again)
                if run.runs():
                    run.program.process.send_signal(self.number)


@dataclass
class KillWorkers(Fault):
    """SIGKILL of worker processes, one after the other, at random moments."""

    delays: list[float]

    @property
    def kind(self) -> str:
        return "SIGKILL of a worker"

    def describe(self) -> str:
        return f"SIGKILL of a worker after {in_words(self.delays)}"

    def act(self, run: Run) -> None:
        run.await_commit()
        for delay in self.delays:
            time.sleep(delay)
            workers = run.workers()
            if not workers or not run.runs():
                return
            with contextlib.suppress(psutil.NoSuchProcess):
                random.choice(workers).kill()
                self.strikes()


@dataclass
class FullDisk(Fault):
    """The target's disk is full: by a small file system, or by a limit on the size of files."""

    limit_bytes: int | None = None

    @property
    def kind(self) -> str:
        return "disk full" if self.limit_bytes is None else "file too large"

    def describe(self) -> str:
        return "a small disk" if self.limit_bytes is None else f"files of {self.limit_bytes:,} bytes at most"

    def act(self, run: Run) -> None:
        if self.limit_bytes is not None:
            limits = (self.limit_bytes, self.limit_bytes)
            psutil.Process(run.program.process.pid).rlimit(psutil.RLIMIT_FSIZE, limits)

    def settle(self, run: Run) -> None:
        if run.program.process.returncode == 5:
            self.strikes()
        if run.place.disk is not None:
            run.place.disk.enlarge()


@dataclass
class LittleMemory(Fault):
    """From a random moment on the memory of a worker process, or of the program, may not grow any more."""

    of_worker: bool
    delay: float
    spare_bytes: int

    @property
    def kind(self) -> str:
        return f"out of memory in {'a worker' if self.of_worker else 'the program'}"

    @property
    def unforeseen(self) -> bool:
        return True

    @property
    def hits_interpreter(self) -> bool:
        return True

    def describe(self) -> str:
        return f"{self.kind}: {self.spare_bytes:,} bytes left, from {self.delay:.2f} s after the first commit"

    def act(self, run: Run) -> None:
        run.await_commit()
        time.sleep(self.delay)
        if not run.runs():
            return
        chosen = run.workers()[:1] if self.of_worker else [psutil.Process(run.program.process.pid)]
        for process in chosen:
            with contextlib.suppress(psutil.NoSuchProcess):
                # The address space is not enough: the C library has reserved more of it than a load takes.
                memory = process.memory_info()
                for limit, used in ((psutil.RLIMIT_AS, memory.vms), (psutil.RLIMIT_DATA, memory.data)):
                    process.rlimit(limit, (used + self.spare_bytes, used + self.spare_bytes))
                self._struck = time.time()

    def settle(self, run: Run) -> None:
        refused = run.place.refused("out_of_memory")
        troubled = refused or run.program.process.returncode not in (0, 3) or "died" in run.program.errors
        if troubled and hasattr(self, "_struck"):
            self.moments.append(self._struck)


@dataclass
class ChangeRows(Fault):
    """Rows of the source change or vanish at a random moment."""

    changed: list[int]
    deleted: list[int]
    delay: float

    @property
    def kind(self) -> str:
        return "source rows changed or deleted"

    def describe(self) -> str:
        when = f"{self.delay:.2f} s after the first commit"
        return f"rows changed {self.changed} and deleted {self.deleted} {when}"

    def act(self, run: Run) -> None:
        run.await_commit()
        time.sleep(self.delay)
        struck = run.runs()
        # In any case, so that what is to be expected is known.
        change_rows(run.place.source, self.changed, self.deleted)
        if struck:
            self.strikes()


@dataclass
class MoreLoaders(Fault):
    """Several loaders on the same range at once; one of them may be killed."""

    loaders: int
    kill_after: float | None

    @property
    def kind(self) -> str:
        return f"{self.loaders} loaders at once"

    def describe(self) -> str:
        killed = (
            "" if self.kill_after is None else f", one killed {self.kill_after:.2f} s after the first commit"
        )
        return f"{self.loaders} loaders at once{killed}"

    def arm(self, run: Run) -> None:
        run.loaders = self.loaders
        # Each holds the ledger rows of its second batch until the others are there, and want them; and leaves
        # the target alone for a moment after each, because a file's lock goes to whoever asks most often.
        run.extra[VARIABLE] = "before_commit=stall:5@2;after_commit=stall:0.05@*"

    def act(self, run: Run) -> None:
        run.await_commit()
        self._struck = time.time()
        if self.kill_after is not None:
            time.sleep(self.kill_after)
            if run.runs():
                run.program.process.kill()

    def settle(self, run: Run) -> None:
        loaded = 0
        for program in run.programs:
            with contextlib.suppress(OSError, ValueError):
                loaded += program.summary()["documents"]["loaded"] > 0
        if loaded > 1 or (loaded and self.kill_after is not None):
            self.moments.append(self._struck)


def in_words(delays: list[float]) -> str:
    return ", ".join(f"{delay:.2f} s" for delay in delays)


def act_all(faults: list[Fault], run: Run) -> list[threading.Thread]:
    """Let all of these faults act, each in a thread; what one of them raises is in ``run.troubles``."""

    def act(fault: Fault) -> None:
        try:
            fault.act(run)
        except Exception as error:  # noqa: BLE001 - a fault that cannot be injected fails its case
            run.troubles.append(f"{fault.describe()}: {type(error).__name__}: {error}")

    threads = [threading.Thread(target=act, args=(fault,), daemon=True) for fault in faults]
    for thread in threads:
        thread.start()
    return threads
