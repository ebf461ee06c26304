"""Takes back what one load wrote: rows, ledger, quarantine; in batches, each whole or not at all.

The ledger's digests are evenly spread, so that the documents of a load are taken in stretches of the range of
all digests: each holds about as many of them as a batch should, is read by the ledger's primary key, and
needs no memory of what was done before.  What an interrupted rollback has done is gone from the ledger, and
the same command goes on with the rest.
"""

from __future__ import annotations

import json
import logging
import math
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Final, TypeVar

from xml_extractor import failpoints
from xml_extractor.contract import Contract
from xml_extractor.engines.base import Session
from xml_extractor.errors import LoaderError, TargetError, UsageError
from xml_extractor.mapping.records import Key, State
from xml_extractor.operations import opening
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.signals import stopped
from xml_extractor.profiling.progress import Progress
from xml_extractor.profiling.summary import DocumentCounts
from xml_extractor.settings import LoadOptions
from xml_extractor.target import bookkeeping, ledger, ranges, runs
from xml_extractor.target.base import RunState
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE, RUNS
from xml_extractor.target.failures import Connection, retried
from xml_extractor.target.replacement import OldRows, tables_without_key
from xml_extractor.target.timestamps import utc_now

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DIGESTS: Final = 2 ** (8 * ledger.DIGEST_BYTES)

_PASSES: Final = 3
"""How often the ledger is gone through: once, and again for what a loader still at work has added."""


@dataclass(frozen=True, slots=True)
class Replaced:
    """What is known of older versions of documents that the load replaced, and that nothing brings back."""

    documents: int | None
    """As the load's last run counted them; None = that run did not come to write it down."""


@dataclass(frozen=True, slots=True)
class RollbackPreview:
    """What a rollback would take away."""

    target: str
    run: runs.Run
    documents: dict[State, int]
    rows: dict[str, int]
    """Rows by table, children first, of the documents that are loaded."""
    replaced: Replaced | None
    """None = the load was not told to replace anything."""

    @property
    def total(self) -> int:
        """Documents in any state."""
        return sum(self.documents.values())

    @property
    def is_done(self) -> bool:
        """Whether nothing is left to do."""
        return self.run.state is RunState.ROLLED_BACK and not self.total

    def lines(self) -> list[str]:
        """What the operator is asked about, in sentences."""
        run = self.run
        number = sum(self.rows.values())
        lines = [
            f"Load {run.load_id} of {run.source_name} under contract {run.contract}, started "
            f"{run.started_at:%Y-%m-%d %H:%M:%S} UTC, has {self.documents.get(State.LOADED, 0):,} documents "
            f"loaded, {self.documents.get(State.QUARANTINED, 0):,} in quarantine and "
            f"{self.documents.get(State.SKIPPED, 0):,} skipped in {self.target}.",
            f"Rolling it back deletes {number:,} rows"
            + (f" ({', '.join(f'{name} {count:,}' for name, count in self.rows.items())})" if number else "")
            + f" and what the ledger says of these {self.total:,} documents: they are pending then, and the "
            "next load loads them.",
        ]
        if self.replaced is not None:
            count = self.replaced.documents
            lines.append(
                "This load was told to replace documents that had been loaded before"
                + ("" if count is None else f", and its last run replaced {count:,}")
                + ": their older versions are gone and do not come back."
            )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return the preview as plain data."""
        return {
            "target": self.target,
            "load_id": self.run.load_id,
            "state": self.run.state.value,
            "source_name": self.run.source_name,
            "contract": self.run.contract,
            "started_at": self.run.started_at.isoformat(),
            "documents": {state.value: self.documents.get(state, 0) for state in State},
            "rows": dict(self.rows),
            "may_have_replaced": self.replaced is not None,
            "replaced": None if self.replaced is None else self.replaced.documents,
        }


@dataclass(slots=True)
class RolledBack:
    """What a rollback has taken away."""

    load_id: int
    documents: Counter[State] = field(default_factory=Counter)
    rows: int = 0
    batches: int = 0
    finished: bool = False

    @property
    def total(self) -> int:
        """Documents in any state."""
        return sum(self.documents.values())

    def to_json(self) -> dict[str, Any]:
        """Return the figures as plain data."""
        return {
            "load_id": self.load_id,
            "documents": {state.value: self.documents.get(state, 0) for state in State},
            "rows": self.rows,
            "batches": self.batches,
            "finished": self.finished,
        }


@dataclass(frozen=True, slots=True)
class _Entry:
    """A ledger row of the load."""

    digest: bytes
    key: Key
    state: State
    row_counts: str


class Rollback:
    """One load, to be rolled back; use it as a context.  :meth:`stop` and :meth:`abort` may be called from
    any thread.

    Args:
        target: SQLAlchemy URL of the database.
        contract: the one that the load was made with.
        force: do it although a load of the same source is marked as running.

    Raises, on entering:
        TargetError: the target cannot be reached, or fails.
        UsageError: it is no database, or nothing was ever loaded into it.
    """

    def __init__(
        self,
        target: str,
        contract: Contract,
        load_id: int,
        options: LoadOptions | None = None,
        *,
        force: bool = False,
    ) -> None:
        self._options = options or LoadOptions()
        self._target = target
        self._plan = contract.plan
        self._load_id = load_id
        self._force = force
        self._stopping = threading.Event()
        self._signal: int | None = None
        engine = opening.target_engine(target, self._options)
        self._engine = engine
        self._connection = Connection(engine, "xml_extractor rollback", threading.Event())
        self._old_rows = OldRows(
            engine,
            self._plan,
            f"delete the document's rows and its row in {LEDGER} by hand, then run the same command again",
        )

    def __enter__(self) -> Rollback:
        with Bookkeeping(self._target, self._options):
            pass  # it says what is wrong with a target that nothing was loaded into
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def stop(self, signal_number: int) -> None:
        """Finish the batch at hand, then end; the same command goes on."""
        self._signal = signal_number
        self._stopping.set()

    def abort(self) -> None:
        """End at once: the batch at hand is undone."""
        self._stopping.set()
        self._connection.aborted.set()
        self._connection.abort()

    # ------------------------------------------------------------------------------------ beforehand

    def preview(self) -> RollbackPreview:
        """Look at what would be taken away; nothing is changed.

        Raises:
            TargetError: the target fails.
            UsageError: there is no such load, or it cannot be rolled back, with the reason.
        """
        return self._retried("reading the ledger", self._preview)

    def _preview(self, session: Session) -> RollbackPreview:
        known = runs.read_runs(session)
        run = next((run for run in known if run.load_id == self._load_id), None)
        if run is None:
            raise UsageError(
                f"{self._engine.display} knows no load {self._load_id}; `python -m xml_extractor status` "
                "lists its loads"
            )
        self._refuse_what_cannot_be_found(run)
        self._refuse_while_loading(known, run)
        documents: Counter[State] = Counter()
        rows: Counter[str] = Counter(dict.fromkeys(reversed(run.tables), 0))
        grouped = session.stream(
            f"SELECT state, row_counts, COUNT(*) FROM {session.table(LEDGER)} WHERE load_id = ? "
            "GROUP BY state, row_counts",
            (self._load_id,),
        )
        with closing(grouped):  # type: ignore[type-var]
            for chunk in grouped:
                for state, row_counts, number in chunk:
                    documents[State(state)] += int(number)
                    for name, count in zip(run.tables, ledger.counts_from_text(row_counts), strict=False):
                        rows[name] += count * int(number)
        return RollbackPreview(
            self._engine.display, run, dict(documents), dict(rows), _replaced(session, self._load_id)
        )

    def _refuse_what_cannot_be_found(self, run: runs.Run) -> None:
        plan = self._plan
        if run.contract != plan.contract:
            raise UsageError(
                f"load {run.load_id} was made with contract {run.contract}, not {plan.contract}; name its "
                "file with --contract"
            )
        gone = sorted(set(run.tables) - {table.name for table in plan.tables})
        if gone:
            raise UsageError(
                f"load {run.load_id} wrote to {', '.join(gone)}, which the contract does not have any more; "
                "name the version of the contract that it was made with by --contract"
            )
        unreachable = [name for name in tables_without_key(plan) if name in run.tables]
        if unreachable:
            raise UsageError(
                f"load {run.load_id} cannot be rolled back: no column of {', '.join(unreachable)} carries "
                "the source key as it is (from: $key, an integer or varchar type, unchanged), so that the "
                "rows of its documents cannot be told from others"
            )

    def _refuse_while_loading(self, known: Sequence[runs.Run], run: runs.Run) -> None:
        """A loader at work would go on adding to the load, or take what is rolled back for loaded."""
        running = [
            other.load_id
            for other in known
            if other.state is RunState.RUNNING
            and (other.source_name, other.contract) == (run.source_name, run.contract)
        ]
        if running and not self._force:
            raise UsageError(
                f"load {running[0]} of {run.source_name} is marked as running: it is at work now, or was "
                "killed. End it; if there is none at work, say so with --force"
            )

    # --------------------------------------------------------------------------------------- the work

    def run(self, preview: RollbackPreview, progress: Progress | None = None) -> RolledBack:
        """Take back what the load wrote.

        Raises:
            StoppedError: it was stopped by a signal; the same command goes on.
            TargetError: the target fails, or holds other rows than the ledger says; the batch at hand is
                undone, what was committed before stays.
        """
        done = RolledBack(self._load_id)
        if preview.is_done:
            done.finished = True
            return done
        self._retried("upgrading the bookkeeping tables", self._upgrade)
        was = preview.run.state
        self._mark(was, RunState.ROLLING_BACK)
        progress = progress or Progress()
        progress.start(preview.total)
        try:
            self._take_back(preview, done, progress)
        except BaseException as error:
            if not done.batches and was is not RunState.ROLLING_BACK:
                # Nothing was taken away: the load is what it was, and need not be in anybody's way.
                with suppress(LoaderError):
                    self._mark(RunState.ROLLING_BACK, was)
            if (
                self._signal is not None
                and self._connection.aborted.is_set()
                and isinstance(error, TargetError)
            ):
                raise stopped(self._signal) from None
            raise
        finally:
            progress.finish()
        done.finished = True
        logger.info("rolled back load %d: %d documents, %d rows", self._load_id, done.total, done.rows)
        return done

    def _upgrade(self, session: Session) -> None:
        for version in bookkeeping.upgrade(self._engine, session, utc_now(), dry_run=False):
            logger.info("upgraded the bookkeeping tables in %s to version %d", self._engine.display, version)

    def _mark(self, was: RunState, now: RunState) -> None:
        if was is now:
            return

        def mark(session: Session) -> None:
            if runs.change_state(session, self._load_id, was, now):
                return
            run = next((run for run in runs.read_runs(session) if run.load_id == self._load_id), None)
            if run is None or run.state is not now:  # the answer to a first attempt may have been lost
                raise UsageError(
                    f"load {self._load_id} was {was.value} a moment ago and is "
                    f"{'gone' if run is None else run.state.value} now: another program is at work on it; "
                    "end it, then run the same command again"
                )

        self._retried("marking the load", mark)

    def _take_back(self, preview: RollbackPreview, done: RolledBack, progress: Progress) -> None:
        run = preview.run
        left = preview.total
        for _ in range(_PASSES):
            for low, high in _stretches(max(1, math.ceil(left / self._options.batch_size))):
                if self._stopping.is_set():
                    raise (
                        stopped(self._signal)
                        if self._signal is not None
                        else TargetError("the rollback was ended")
                    )
                self._take_back_stretch(run, low, high, done)
                progress.update(DocumentCounts(read=done.total, loaded=done.total))
            left = self._retried("ending the rollback", lambda session: self._end(session, run))
            if not left:
                return
        raise TargetError(
            f"a loader keeps adding documents to load {self._load_id}; end it, then run the same command "
            "again"
        )

    def _take_back_stretch(self, run: runs.Run, low: bytes, high: bytes | None, done: RolledBack) -> None:
        """Take back the documents whose digests lie from ``low`` to below ``high``, in one transaction."""
        attempted: list[tuple[list[_Entry], int]] = []

        def attempt(session: Session) -> tuple[list[_Entry], int]:
            session.begin()
            entries = self._entries(session, run, low, high)
            if not entries and attempted:
                # The answer to the first attempt's commit was lost on the way: it has done it all.
                session.rollback()
                return attempted[-1]
            attempted.clear()
            rows = self._delete(session, run, entries, low, high)
            failpoints.hit("rollback_before_commit", session)
            attempted.append((entries, rows))
            session.commit()
            failpoints.hit("rollback_after_commit", session)
            return entries, rows

        entries, rows = self._retried("rolling a batch back", attempt)
        if entries:
            done.batches += 1
        done.rows += rows
        done.documents.update(entry.state for entry in entries)

    def _entries(self, session: Session, run: runs.Run, low: bytes, high: bytes | None) -> list[_Entry]:
        condition, parameters = _within(low, high)
        digests = ledger.DocumentDigests(run.source_name, run.contract)
        entries = []
        for digest, text, state, row_counts in session.query(
            f"SELECT digest, source_key, state, row_counts FROM {session.table(LEDGER)} "
            f"WHERE load_id = ? AND {condition}",
            (run.load_id, *parameters),
        ):
            key = digests.key(bytes(digest), str(text))
            if key is None:
                raise TargetError(
                    f"the ledger row of key {text} of load {run.load_id} does not carry the digest of that "
                    f"key in {run.source_name}: it was changed by hand; mend or delete it, then run the same "
                    "command again"
                )
            entries.append(_Entry(bytes(digest), key, State(state), str(row_counts)))
        return entries

    def _delete(
        self, session: Session, run: runs.Run, entries: Sequence[_Entry], low: bytes, high: bytes | None
    ) -> int:
        """Delete all that these documents have; return the number of rows in data tables."""
        within, bounds = _within(low, high)
        condition, parameters = f"load_id = ? AND {within}", (run.load_id, *bounds)
        if entries:
            # First of all, so that nobody else can take these documents over any more.
            deleted = session.execute(f"DELETE FROM {session.table(LEDGER)} WHERE {condition}", parameters)
            if deleted != len(entries):
                raise TargetError(
                    f"{deleted} documents of load {run.load_id} were found where there had been "
                    f"{len(entries)} a moment ago: a loader is at work on them. Nothing of this batch was "
                    "changed; end it, then run the same command again"
                )
            ranges.forget(session, run.source_name, run.contract, [run.load_id])
            # Whichever load has put them there: what is not loaded has no newer version either.
            session.delete_rows(QUARANTINE, "digest", [entry.digest for entry in entries])
        session.execute(f"DELETE FROM {session.table(QUARANTINE)} WHERE {condition}", parameters)
        loaded = [
            (entry.key, run.load_id, entry.row_counts) for entry in entries if entry.state is State.LOADED
        ]
        if not loaded:
            return 0
        return self._old_rows.delete(session, self._old_rows.recorded(session, loaded), exact=True)

    def _end(self, session: Session, run: runs.Run) -> int:
        """Mark the load as rolled back, unless the ledger holds documents of it; return how many."""
        counted = session.query(
            f"SELECT COUNT(*) FROM {session.table(LEDGER)} WHERE load_id = ?", (run.load_id,)
        )
        left = int(counted[0][0])
        if not left:
            session.begin()
            ranges.forget(session, run.source_name, run.contract, [run.load_id])
            session.execute(
                f"UPDATE {session.table(RUNS)} SET state = ? WHERE load_id = ?",
                (RunState.ROLLED_BACK.value, run.load_id),
            )
            session.commit()
        return left

    def _retried(self, doing: str, call: Callable[[Session], T]) -> T:
        return retried(self._connection, self._options.retry_seconds, doing, call)


def _within(low: bytes, high: bytes | None) -> tuple[str, tuple[bytes, ...]]:
    """Return the condition that a digest lies in a stretch, and its parameters."""
    if high is None:
        return "digest >= ?", (low,)
    return "digest >= ? AND digest < ?", (low, high)


def _stretches(number: int) -> Iterator[tuple[bytes, bytes | None]]:
    """Cut the range of all digests into so many equal stretches; the last one has no end."""
    for index in range(number):
        low = _DIGESTS * index // number
        high = _DIGESTS * (index + 1) // number
        yield _bytes(low), None if index == number - 1 else _bytes(high)


def _bytes(number: int) -> bytes:
    return number.to_bytes(ledger.DIGEST_BYTES, "big")


def _replaced(session: Session, load_id: int) -> Replaced | None:
    """Return what a load's settings, and the summary of its last run, say of documents that it replaced."""
    rows = session.query(f"SELECT settings, summary FROM {session.table(RUNS)} WHERE load_id = ?", (load_id,))
    settings, summary = (_json(text) for text in rows[0])
    number = summary.get("replaced")
    if not (number or runs.may_replace(settings) or runs.may_replace(summary.get("settings") or {})):
        return None
    return Replaced(int(number) if isinstance(number, int) else None)


def _json(text: object) -> Mapping[str, Any]:
    if not isinstance(text, str):
        return {}
    found = json.loads(text)
    return found if isinstance(found, dict) else {}
