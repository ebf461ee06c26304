"""What one connection does about keys that are owed: builds them, and sets aside the documents in their way.

With its keys during the load a table refuses a row that breaks one, and the row's document goes into
quarantine.  Where the keys come after, the rows are found when a key cannot be built: by SQL, by the key's
own columns.  The document of each is told by the source key that the row carries; all of its rows are taken
out of all tables, and the ledger's row says quarantined, in one transaction.  As the key contains the source
key (:func:`~.owed_keys.refuse_late_keys`) the rows that break it are of one document: the same one that is
refused whole, with its keys during.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, TypeVar, cast

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine, FaultKind, Session
from xml_extractor.engines.late_keys import KeyPart, KeyStep, LateKeys, steps_of
from xml_extractor.engines.retry import retrying
from xml_extractor.errors import LoaderError, TargetError
from xml_extractor.mapping.records import Key, Stage, State
from xml_extractor.target import ledger, owed_keys, ranges
from xml_extractor.target.batch_numbers import BatchNumbers
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE, QUARANTINE_COLUMNS
from xml_extractor.target.failures import Connection, is_bug, retried, target_error
from xml_extractor.target.owed_keys import Origin, OwedTable
from xml_extractor.target.replacement import GROUP_DOCUMENTS, OldRows
from xml_extractor.target.timestamps import timestamp, utc_now

logger = logging.getLogger(__name__)

T = TypeVar("T")

PIECE_DOCUMENTS: Final = GROUP_DOCUMENTS
"""Documents that are set aside in one transaction."""

SEARCHED_DOCUMENTS: Final = 50_000
"""Documents in the way of one key that are looked for at once; others are found when it is built again."""

TOLD_SECONDS: Final = 1.0
"""What takes as long to be built has a line in the log."""

WAIT_SECONDS: Final = 0.5
"""How often a loader looks whether another one is done with building."""

_CODES: Final = {KeyPart.PRIMARY: "unique_violation"}
_BREAKS_KEY: Final = frozenset({"unique_violation", "foreign_key_violation", "constraint_violation"})
_MESSAGES: Final = {
    "unique_violation": "a row with the same primary key is already there: {}",
    "foreign_key_violation": "a row refers to a parent row that is not there: {}",
}


@dataclass(frozen=True, slots=True)
class InTheWay:
    """Documents with rows for which a key cannot be built."""

    table: OwedTable
    code: str
    values: list[Any]
    """What their rows have in the column that carries the source key."""

    def nobodys(self) -> TargetError:
        """Return the error that none of them is a loaded document."""
        return TargetError(
            f"rows of {self.table.spec.name} are in the way of its keys ({self.code}), and the ledger knows "
            f"no loaded document that they could be of: those with {self.table.key_column} "
            f"{ledger.key_text(self.values[0])} for example. Another program has written them; take them "
            "away, then run the same command again: it builds the keys that are owed"
        )

    def pieces(self) -> Iterator[InTheWay]:
        """Cut them into what one transaction takes."""
        for first in range(0, len(self.values), PIECE_DOCUMENTS):
            yield InTheWay(self.table, self.code, self.values[first : first + PIECE_DOCUMENTS])


@dataclass(frozen=True, slots=True)
class SetAside:
    """A document that was loaded, and is in quarantine now because it was in the way of a key."""

    key: Key
    code: str
    by_this_run: bool
    """Whether it was this run that had loaded it."""
    row_counts: tuple[int, ...]
    """The rows that were taken away, per table of the plan."""


class OwedKeys:
    """The keys that the tables of one source's load owe.  Thread-safe.

    Args:
        numbers: of the run's batches.
        retry_seconds: how long after a first failure the target is retried.
    """

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        origin: Origin,
        load_id: int,
        numbers: BatchNumbers,
        retry_seconds: float,
        tables: Sequence[str],
    ) -> None:
        self.tables = tuple(tables)
        """Names of the tables that owed keys when the load began."""
        self.turn = Turn(engine, origin, retry_seconds)
        self._engine = engine
        self._plan = plan
        self._origin = origin
        self._load_id = load_id
        self._numbers = numbers
        self._retry_seconds = retry_seconds

    def worker(self, name: str) -> KeyWorker:
        """Return a worker with a connection of its own, opened on first use."""
        return KeyWorker(
            self._engine, self._plan, self._origin, self._load_id, self._numbers, self._retry_seconds, name
        )


class Turn:
    """Whose turn it is: any number of loaders fill the tables, or one builds their keys.

    The database keeps this for as long as the connection lasts.  Where it is lost nothing goes wrong: whoever
    fills a table waits for whoever builds its key, and is held to it afterwards.  It is kept so that nobody
    has to wait longer than a statement may.

    Belongs to one thread, save for :meth:`abort`.
    """

    def __init__(self, engine: Engine, origin: Origin, retry_seconds: float) -> None:
        self._late: LateKeys = engine.late_keys()
        self._name = f"load_owed_keys {origin.source_name} {origin.contract}"
        self._retry_seconds = retry_seconds
        self._aborted = threading.Event()
        self._connection = Connection(engine, "xml_extractor keys", self._aborted)

    def take_part(self) -> None:
        """Be one of those who fill the tables; waits while another loader builds their keys.

        Raises:
            TargetError: the target does not answer, or the wait was broken off.
        """
        waited = 0.0
        while not self._ask(lambda session: self._late.hold(session, self._name, shared=True)):
            if not waited:
                logger.info("another loader is building the keys of these tables: waiting until it is done")
            waited += WAIT_SECONDS
            self._aborted.wait(WAIT_SECONDS)

    def alone(self) -> bool:
        """Be done with filling the tables; return whether everybody else is, so that keys can be built."""

        def exchange(session: Session) -> bool:
            self._late.let_go(session, self._name, shared=True)
            return self._late.hold(session, self._name, shared=False)

        return self._ask(exchange)

    def look(self) -> None:
        """Look whether the target still answers.

        Raises:
            TargetError: it does not.
        """
        self._ask(lambda session: bool(session.query("SELECT 1")))

    def _ask(self, question: Callable[[Session], bool]) -> bool:
        return retried(
            self._connection, self._retry_seconds, "asking whose turn it is to build keys", question
        )

    def abort(self) -> None:
        """End whatever waits."""
        self._aborted.set()
        self._connection.abort()

    def close(self) -> None:
        """Let the next one have its turn; never raises."""
        self._connection.close()


class KeyWorker:
    """Builds keys over one connection.  Belongs to one thread at a time, save for :meth:`abort`."""

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        origin: Origin,
        load_id: int,
        numbers: BatchNumbers,
        retry_seconds: float,
        name: str,
    ) -> None:
        self._late = engine.late_keys()
        self._engine = self._late.engine
        self._plan = plan
        self._origin = origin
        self._load_id = load_id
        self._numbers = numbers
        self._retry_seconds = retry_seconds
        self._digests = ledger.DocumentDigests(origin.source_name, origin.contract)
        self._aborted = threading.Event()
        self._connection = Connection(self._engine, f"xml_extractor {name}", self._aborted)
        self._old_rows = OldRows(
            self._engine,
            plan,
            "take them away by hand, so that the keys can be built: rows of this document are in their way",
        )

    # ------------------------------------------------------------------------------------ what to do

    def todo(self) -> list[tuple[OwedTable, KeyStep]]:
        """Return what is still to be built, in order; what has been is written down."""
        return self._retried("looking for the keys that are owed", self._todo)

    def _todo(self, session: Session) -> list[tuple[OwedTable, KeyStep]]:
        owed = {table.spec.name: table for table in owed_keys.read(session) if table.origin == self._origin}
        steps = [
            step
            for step in steps_of([table.spec for table in owed.values()])
            if self._late.is_built(session, step) is False
        ]
        finished = owed.keys() - {step.table.name for step in steps}
        if finished:
            owed_keys.settled(session, sorted(finished))
        return [(owed[step.table.name], step) for step in steps]

    # ------------------------------------------------------------------------------------ building

    def build(self, step: KeyStep) -> str | None:
        """Build one thing; return why rows are in its way (a code), if they are.

        Raises:
            TargetError: it cannot be built for another reason, or the worker was aborted.
        """
        started = perf_counter()
        doing = f"building the {step.words}"
        retry = retrying(self._engine, self._retry_seconds, self._aborted, doing=doing)

        def attempt() -> None:
            try:
                self._late.build(self._connection.session(), step)
            except BaseException as error:
                self._connection.recover(error)
                raise

        try:
            retry(attempt)
        except LoaderError:
            raise
        except Exception as error:
            if self._aborted.is_set():
                raise TargetError("the keys are no longer wanted because the run ended") from error
            if is_bug(self._engine, error):
                raise
            fault = self._engine.classify(error)
            # Other data than those that break a key (a value too long for an index) no search would find.
            if fault.kind is not FaultKind.DATA or fault.code not in _BREAKS_KEY:
                raise target_error(self._engine, error, doing=doing) from error
            return _CODES.get(step.part, "foreign_key_violation")
        seconds = perf_counter() - started
        level = logging.INFO if seconds >= TOLD_SECONDS else logging.DEBUG
        logger.log(level, "built in %.1f s: %s", seconds, step.words)
        return None

    # ------------------------------------------------------------------------------------ in the way

    def in_the_way(self, table: OwedTable, step: KeyStep, code: str) -> InTheWay:
        """Find the documents for which a key cannot be built, in a stable order."""
        values = self._retried(
            f"looking for what is in the way of the {step.words}",
            lambda session: self._search(session, table, step),
        )
        return InTheWay(table, code, values)

    def _search(self, session: Session, table: OwedTable, step: KeyStep) -> list[Any]:
        is_primary = step.part is KeyPart.PRIMARY
        sql = self._repeated(session, table) if is_primary else self._orphans(session, table)
        rows = cast("Generator[list[tuple[Any, ...]]]", session.stream(sql))
        found: list[Any] = []
        with closing(rows):
            for chunk in rows:
                found += [value for (value,) in chunk]
                if len(found) >= SEARCHED_DOCUMENTS:
                    break
        return sorted(found)

    def _repeated(self, session: Session, table: OwedTable) -> str:
        quote = self._engine.quote_column
        columns = ", ".join(map(quote, table.spec.primary_key))
        # The rows of one key have one source key, which the key contains, if perhaps in another form.
        return (
            f"SELECT DISTINCT carried FROM (SELECT MIN({quote(table.key_column)}) AS carried FROM "
            f"{session.table(table.spec.name)} GROUP BY {columns} HAVING {session.count} > 1) AS repeated"
        )

    def _orphans(self, session: Session, table: OwedTable) -> str:
        quote, spec = self._engine.quote_column, table.spec
        assert spec.parent is not None
        given = " AND ".join(f"c.{quote(own)} IS NOT NULL" for own, _ in spec.foreign_key)
        same = " AND ".join(f"p.{quote(theirs)} = c.{quote(own)}" for own, theirs in spec.foreign_key)
        return (
            f"SELECT DISTINCT c.{quote(table.key_column)} FROM {session.table(spec.name)} c WHERE {given} "
            f"AND NOT EXISTS (SELECT 1 FROM {session.table(spec.parent)} p WHERE {same})"
        )

    def set_aside(self, piece: InTheWay) -> list[SetAside]:
        """Put documents into quarantine, and take their rows away, in one transaction.

        Those that the ledger does not know as loaded (any more) are left as they are.
        """
        attempts: dict[int, list[SetAside]] = {}
        return self._retried(
            "putting documents that are in the way of a key into quarantine",
            lambda session: self._set_aside(session, piece, attempts),
        )

    def _set_aside(
        self, session: Session, piece: InTheWay, attempts: dict[int, list[SetAside]]
    ) -> list[SetAside]:
        keys = {self._digests.digest(key): key for value in piece.values for key in _possible(value)}
        session.begin()
        rows = session.existing(
            LEDGER,
            ("digest", "batch", "state", "load_id", "row_counts", "document_hash"),
            "digest",
            sorted(keys),
        )
        for row in rows:
            if int(row[1]) in attempts:  # committed, though its answer was lost
                session.rollback()
                return attempts[int(row[1])]
        number = self._numbers.new()
        now = timestamp(utc_now())
        session.execute_many(
            f"UPDATE {session.table(LEDGER)} SET batch = ?, state = ?, row_counts = ?, load_id = ?, "
            "committed_at = ? WHERE digest = ? AND batch = ? AND state = ?",
            [
                (number, State.QUARANTINED.value, "", self._load_id, now, bytes(row[0]), int(row[1]),
                 State.LOADED.value)
                for row in rows
            ],
        )  # fmt: skip
        ours = {
            bytes(digest)
            for digest, batch in session.existing(LEDGER, ("digest", "batch"), "digest", sorted(keys))
            if int(batch) == number
        }
        taken = [row for row in rows if bytes(row[0]) in ours]
        recorded = self._old_rows.recorded(
            session, [(keys[bytes(row[0])], int(row[3]), str(row[4])) for row in taken]
        )
        done = [
            SetAside(
                keys[bytes(row[0])],
                piece.code,
                self._numbers.is_own(int(row[1])),
                tuple(recorded[keys[bytes(row[0])]].get(table.name, 0) for table in self._plan.tables),
            )
            for row in taken
        ]
        if done:
            self._old_rows.delete(session, recorded)
            # In the order of all who change these: the ledger's rows, what loads have claimed, quarantine.
            loads = sorted({int(row[3]) for row in taken} | {self._load_id})
            ranges.forget(session, self._origin.source_name, self._origin.contract, loads)
            self._note(session, piece, taken, keys, now)
        failpoints.hit("keys_quarantine", session)
        attempts[number] = done
        session.commit()
        return done

    def _note(
        self,
        session: Session,
        piece: InTheWay,
        taken: Sequence[tuple[Any, ...]],
        keys: dict[bytes, Key],
        now: str,
    ) -> None:
        """Have quarantine say why."""
        digests = [bytes(row[0]) for row in taken]
        name = piece.table.spec.name
        message = _MESSAGES[piece.code].format(name)
        session.delete_rows(QUARANTINE, "digest", digests)
        session.insert_new(
            QUARANTINE,
            QUARANTINE_COLUMNS,
            [
                (
                    digest, self._load_id, ledger.key_text(keys[digest]), Stage.TARGET.value, piece.code,
                    message, name, None, None, now, None if row[5] is None else bytes(row[5]),
                )
                for digest, row in zip(digests, taken, strict=True)
            ],
        )  # fmt: skip

    # ------------------------------------------------------------------------------------ the connection

    def _retried(self, doing: str, call: Callable[[Session], T]) -> T:
        return retried(self._connection, self._retry_seconds, doing, call)

    def abort(self) -> None:
        """End whatever waits; the worker is of no use afterwards."""
        self._aborted.set()
        self._connection.abort()

    def close(self) -> None:
        """Let go of the connection; never raises."""
        self._connection.close()


def _possible(value: Any) -> list[Key]:
    """The source keys that a column may show as this value: a number may be kept as text."""
    if isinstance(value, int):
        return [value]
    text = str(value)
    keys: list[Key] = [text]
    if text.lstrip("-").isdecimal() and str(int(text)) == text:
        keys.append(int(text))
    return keys
