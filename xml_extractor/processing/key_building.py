"""Builds the keys that a load's tables are owed, when all of its documents are in (``--keys after``)."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from xml_extractor import failpoints
from xml_extractor.engines.late_keys import KeyPart, KeyStep
from xml_extractor.errors import HaltedError, TargetError
from xml_extractor.target.key_work import InTheWay, KeyWorker, OwedKeys, SetAside
from xml_extractor.target.owed_keys import OwedTable
from xml_extractor.threads import Thread

logger = logging.getLogger(__name__)

T = TypeVar("T")

POLL_SECONDS: Final = 0.1
"""How often the builder looks whether it is to end."""

LOOK_SECONDS: Final = 5.0
"""How often the server is asked whether it is still there, while it builds and says nothing."""

END_SECONDS: Final = 5.0
"""How long connections may take to end once they were broken off."""


class _Stopped(Exception):
    """The run ends, and the keys stay owed."""


@dataclass(slots=True)
class KeysBuilt:
    """What came of it."""

    keys: int = 0
    """Primary and foreign keys."""
    seconds: float = 0.0
    owed: tuple[str, ...] = ()
    """Tables that are owed keys still."""
    waits_for_another: bool = False
    """Nothing was done: another loader still fills the tables, and builds the keys when it is done."""
    reasons: Counter[str] = field(default_factory=Counter)
    """Why documents were set aside: code → documents."""


class KeyBuilding:
    """Builds all keys that are owed: over several connections, each key again until nothing is in its way.

    :meth:`run` belongs to one thread; the rest may be called from any.

    Args:
        connections: at most so many at once.
        stopping: once it is set, what is being built is broken off and stays owed.
        judge: told how many documents are about to be set aside for each reason; raises where that is too
            many.
        on_set_aside: told of documents that were set aside, once that is committed.
    """

    def __init__(
        self,
        owed: OwedKeys,
        connections: int,
        stopping: threading.Event,
        judge: Callable[[Counter[str]], None],
        on_set_aside: Callable[[Sequence[SetAside]], None],
    ) -> None:
        self.built = KeysBuilt(owed=owed.tables)
        self._owed = owed
        self._connections = max(1, connections)
        self._stopping = stopping
        self._judge = judge
        self._on_set_aside = on_set_aside
        self._ended = threading.Event()
        self._workers: list[KeyWorker] = []
        self._lock = threading.Lock()  # the workers, and what is being built
        self._in_vain: set[KeyStep] = set()
        self._total = 0
        self._doing: list[str] = []

    @property
    def words(self) -> str:
        """What is being done, for whoever waits."""
        with self._lock:
            return f"building keys, {self.built.keys} of {self._total} done: {', '.join(self._doing)}"

    def run(self) -> None:
        """Build what is owed; returns early, with the rest still owed, where the run is to stop.

        Raises:
            HaltedError: from ``judge``.
            TargetError: the target fails, or rows of somebody else are in the way.
        """
        started = time.perf_counter()
        try:
            if self._owed.turn.alone():
                self._build_all()
            else:
                self.built.waits_for_another = True
        except _Stopped:
            logger.info("the keys of %s stay owed", ", ".join(self.built.owed))
        finally:
            self.built.seconds = time.perf_counter() - started
            for worker in self._workers:
                worker.close()

    def abort(self) -> None:
        """End at once."""
        self._ended.set()
        self._owed.turn.abort()
        self._break_off()

    # ------------------------------------------------------------------------------------ in rounds

    def _build_all(self) -> None:
        failpoints.hit("before_keys")
        built: set[KeyStep] = set()
        while True:
            todo = self._each([KeyWorker.todo], 1)[0]
            lost = [step.words for _, step in todo if step in built]
            if lost:
                raise TargetError(
                    f"{', '.join(lost)}: built a moment ago, and not there now; look for what takes keys "
                    "away from these tables, then run the same command again"
                )
            self.built.owed = tuple(dict.fromkeys(table.spec.name for table, _ in todo))
            self._total = self.built.keys + sum(step.part is not KeyPart.CHECKED for _, step in todo)
            if not todo:
                return
            part = todo[0][1].part
            steps = [(table, step) for table, step in todo if step.part is part]
            codes = self._each(
                [self._build(step) for _, step in steps], self._connections if part.in_parallel else 1
            )
            refused = [
                (table, step, code)
                for (table, step), code in zip(steps, codes, strict=True)
                if code is not None
            ]
            built.update(step for (_, step), code in zip(steps, codes, strict=True) if code is None)
            if refused:
                self._clear(refused)

    def _build(self, step: KeyStep) -> Callable[[KeyWorker], str | None]:
        def build(worker: KeyWorker) -> str | None:
            with self._lock:
                self._doing.append(step.words)
            try:
                code = worker.build(step)
            finally:
                with self._lock:
                    self._doing.remove(step.words)
            if code is None:
                with self._lock:
                    self.built.keys += step.part is not KeyPart.CHECKED
                failpoints.hit("between_keys")
            return code

        return build

    def _clear(self, refused: Sequence[tuple[OwedTable, KeyStep, str]]) -> None:
        """Set aside the documents that are in the way of keys."""
        self._say("looking for documents that are in the way of keys")
        found = self._each([self._search(*each) for each in refused], self._connections)
        self._refuse_to_search_again(
            {step: code for (_, step, code), each in zip(refused, found, strict=True) if not each.values}
        )
        found = _each_once(found)
        reasons: Counter[str] = Counter()
        for each in found:
            reasons[each.code] += len(each.values)
        self._judge(reasons)
        self._say(f"putting documents that are in the way of keys into quarantine: {reasons.total():,}")
        pieces = [piece for each in found for piece in each.pieces()]
        done = self._each([self._set_aside(piece) for piece in pieces], 1)
        with self._lock:
            self._doing.clear()
        if not sum(done) and pieces:
            raise pieces[0].nobodys()

    def _refuse_to_search_again(self, in_vain: dict[KeyStep, str]) -> None:
        """End where the same key was refused twice, and nothing that could be in its way was found: once,
        that may have gone meanwhile."""
        for step, code in in_vain.items():
            if step in self._in_vain:
                raise TargetError(
                    f"the {step.words} cannot be built because of rows that break it ({code}), of which a "
                    "search finds none; look for what changes the table meanwhile, or for its columns' "
                    "collations, then run the same command again: the key stays owed"
                )
        self._in_vain = set(in_vain)

    def _search(self, table: OwedTable, step: KeyStep, code: str) -> Callable[[KeyWorker], InTheWay]:
        return lambda worker: worker.in_the_way(table, step, code)

    def _set_aside(self, piece: InTheWay) -> Callable[[KeyWorker], int]:
        def set_aside(worker: KeyWorker) -> int:
            documents = worker.set_aside(piece)
            self._on_set_aside(documents)
            self.built.reasons.update(document.code for document in documents)
            return len(documents)

        return set_aside

    def _say(self, what: str) -> None:
        logger.info("%s", what)
        with self._lock:
            self._doing = [what]

    # ------------------------------------------------------------------------------------ at once

    def _each(self, calls: Sequence[Callable[[KeyWorker], T]], connections: int) -> list[T]:
        """Make calls over so many connections at once, in order; return what each returned.

        Raises:
            _Stopped: the run ends; the calls were broken off.
            Exception: the first that a call, or the server's silence, raised; the others were broken off.
        """
        waiting = deque(enumerate(calls))
        results: dict[int, T] = {}
        errors: list[BaseException] = []

        def work(worker: KeyWorker) -> None:
            while not errors and not self._ended.is_set():
                try:
                    number, call = waiting.popleft()
                except IndexError:
                    return
                try:
                    results[number] = call(worker)
                except BaseException as error:  # noqa: BLE001 - raised again by the thread that waits
                    errors.append(error)

        threads = [
            Thread(lambda worker=worker: work(worker), name=f"build-keys-{number}")
            for number, worker in enumerate(self._having(min(connections, len(calls))), start=1)
        ]
        try:
            for thread in threads:
                thread.start()
            self._wait(threads, errors)
        except BaseException:
            self._break_off()
            raise
        finally:
            deadline = time.monotonic() + END_SECONDS
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, deadline - time.monotonic()))
        if errors:
            raise errors[0]
        return [results[number] for number in range(len(calls))]

    def _wait(self, threads: Sequence[threading.Thread], errors: Sequence[BaseException]) -> None:
        look_at = time.monotonic() + LOOK_SECONDS
        while alive := [thread for thread in threads if thread.is_alive()]:
            if self._stopping.is_set() or self._ended.is_set():
                raise _Stopped
            if errors:
                self._break_off()  # the first one counts; what else is being built is built later
            if time.monotonic() >= look_at:
                self._owed.turn.look()
                look_at = time.monotonic() + LOOK_SECONDS
            alive[0].join(POLL_SECONDS)
        if self._ended.is_set() and not errors:
            raise _Stopped

    def _having(self, number: int) -> list[KeyWorker]:
        """Return so many workers, with the connections that they have."""
        with self._lock:
            while len(self._workers) < number:
                self._workers.append(self._owed.worker(f"keys {len(self._workers) + 1}"))
            return self._workers[:number]

    def _break_off(self) -> None:
        with self._lock:
            workers = list(self._workers)
        for worker in workers:
            worker.abort()


def _each_once(found: Sequence[InTheWay]) -> list[InTheWay]:
    """Name each document once, under the first table whose key its rows break: as if it were being loaded."""
    seen: set[str] = set()
    once = []
    for each in found:
        values = [value for value in each.values if str(value) not in seen]
        seen.update(map(str, values))
        once.append(replace(each, values=values))
    return once


def too_many(reasons: Counter[str], limit: str | None) -> HaltedError:
    """Return the error that ends a load in which too many documents are in the way of its keys.

    Args:
        reasons: code → documents that would be set aside.
        limit: of ``--max-quarantined``.
    """
    lines = [
        f"halted: {reasons.total():,} documents are in the way of keys that are to be built, and",
        f"--max-quarantined allows {limit}. None of them was put into quarantine; all are loaded,",
        "and the keys stay owed.",
        "",
        *(f"  {number:>9,}  {code}" for code, number in sorted(reasons.items())),
        "",
        "Look at the contract's primary keys. If so many are to be expected, run the same command",
        "again with a higher --max-quarantined: it puts them into quarantine and builds the keys.",
    ]
    return HaltedError("\n".join(lines))
