"""Takes back what one load wrote: rows, ledger, quarantine; in batches, each whole or not at all.

The documents of a load are taken in stretches of the ledger's primary key, each of which holds as many of
them as a batch should; where they begin is read from the ledger beforehand.  What an interrupted rollback has
done is gone from the ledger, and the same command goes on with the rest.  Documents whose rows are not those
that were loaded are left as they are, with their ledger rows, and named at the end.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, TypeVar

from xml_extractor import failpoints
from xml_extractor.contract import Contract
from xml_extractor.engines.base import Session
from xml_extractor.errors import LoaderError, TargetError, UsageError
from xml_extractor.mapping.records import Key, State
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.rollback_preview import RollbackPreview, read_preview
from xml_extractor.operations.signals import stopped
from xml_extractor.profiling.progress import Progress
from xml_extractor.profiling.summary import DocumentCounts
from xml_extractor.settings import LoadOptions
from xml_extractor.target import ledger, ranges, runs
from xml_extractor.target.base import RunState
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE, RUNS
from xml_extractor.target.content_digest import pieces
from xml_extractor.target.failures import Connection, retried
from xml_extractor.target.replacement import NAMED, Difference, OldRows, RowsDifferError
from xml_extractor.target.timestamps import timestamp

logger = logging.getLogger(__name__)

T = TypeVar("T")

_DIGESTS: Final = 2 ** (8 * ledger.DIGEST_BYTES)

_PASSES: Final = 3
"""How often the ledger is gone through: once, and again for what a loader still at work has added."""


@dataclass(slots=True)
class RolledBack:
    """What a rollback has taken away."""

    load_id: int
    documents: Counter[State] = field(default_factory=Counter)
    rows: int = 0
    batches: int = 0
    finished: bool = False
    """Whether nothing of the load is left."""
    left: int = 0
    """Documents that stay loaded, because their rows are not those that were loaded."""
    reasons: list[str] = field(default_factory=list)
    """Of the first of them: key, table and what is wrong."""
    state: RunState = RunState.ROLLED_BACK
    """How the load stands now."""

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
            "left": self.left,
            "reasons": list(self.reasons),
            "state": self.state.value,
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
        self._plan = contract.plan
        self._load_id = load_id
        self._force = force
        self._stopping = threading.Event()
        self._signal: int | None = None
        self._bookkeeping = Bookkeeping(target, self._options)
        self._engine = engine = self._bookkeeping.engine
        self._connection = Connection(engine, "xml_extractor rollback", threading.Event())
        self._old_rows = OldRows(
            engine,
            self._plan,
            f"delete the document's rows and its row in {LEDGER} by hand, then run the same command again",
        )

    def __enter__(self) -> Rollback:
        with self._bookkeeping:
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
        return self._retried(
            "reading the ledger",
            lambda session: read_preview(
                session, self._engine.display, self._plan, self._load_id, force=self._force
            ),
        )

    # --------------------------------------------------------------------------------------- the work

    def run(self, preview: RollbackPreview, progress: Progress | None = None) -> RolledBack:
        """Take back what the load wrote, but for documents whose rows are not those that were loaded.

        If there are such documents the load is FAILED afterwards, and never resumed; or what it was, if
        nothing was taken away.  Either keeps no load from starting, and it can be rolled back again.

        Raises:
            StoppedError: it was stopped by a signal; the same command goes on.
            TargetError: the target fails, or another program is at work on the documents; the batch at hand
                is undone, what was committed before stays.
        """
        done = RolledBack(self._load_id)
        if preview.is_done:
            done.finished = True
            return done
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
            if isinstance(error, TargetError) and done.total:
                raise TargetError(
                    f"{error}. {done.total:,} documents were rolled back before, and stay so"
                ) from error
            raise
        finally:
            progress.finish()
        done.finished = not done.left
        logger.info(
            "rolled back load %d: %d documents, %d rows; %d documents left",
            self._load_id, done.total, done.rows, done.left,
        )  # fmt: skip
        return done

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
        for _ in range(_PASSES):
            done.left = 0
            done.reasons.clear()
            for low, high in self._retried("looking through the ledger", self._stretches):
                if self._stopping.is_set():
                    raise (
                        stopped(self._signal)
                        if self._signal is not None
                        else TargetError("the rollback was ended")
                    )
                self._take_back_stretch(run, low, high, done)
                progress.update(DocumentCounts(read=done.total, loaded=done.total))
            left = self._retried("ending the rollback", lambda session: self._end(session, run, done))
            if left == done.left:
                return
        raise TargetError(
            f"a loader keeps adding documents to load {self._load_id}; end it, then run the same command "
            "again"
        )

    def _stretches(self, session: Session) -> list[tuple[bytes, bytes | None]]:
        """Cut the range of all digests so that a batch of the load's documents lies in each stretch; the last
        one has no end."""
        sql = f"SELECT digest FROM {session.table(LEDGER)} WHERE load_id = ? ORDER BY digest"
        chunks = pieces(session, sql, self._options.batch_size, (self._load_id,))
        lows = [bytes(chunk[0][0]) for chunk in chunks]
        ends: list[bytes | None] = [*lows[1:], None]
        return list(zip([_bytes(0), *lows[1:]], ends, strict=True))

    def _take_back_stretch(self, run: runs.Run, low: bytes, high: bytes | None, done: RolledBack) -> None:
        """Take back the documents whose digests lie from ``low`` to below ``high``, in one transaction."""
        differences: dict[Key, Difference] = {}
        attempted: list[tuple[list[_Entry], int]] = []

        def attempt(session: Session) -> tuple[list[_Entry], int]:
            session.begin()
            found = self._entries(session, run, low, high)
            entries = [entry for entry in found if entry.key not in differences]
            left = sorted(entry.digest for entry in found if entry.key in differences)
            if not entries and attempted:
                # The answer to the first attempt's commit was lost on the way: it has done it all.
                session.rollback()
                return attempted[-1]
            attempted.clear()
            rows = self._delete(session, run, entries, left, low, high)
            failpoints.hit("rollback_before_commit", session)
            attempted.append((entries, rows))
            session.commit()
            failpoints.hit("rollback_after_commit", session)
            return entries, rows

        while True:
            try:
                entries, rows = self._retried("rolling a batch back", attempt)
                break
            except RowsDifferError as error:  # each names documents that were not named before
                differences.update(error.differences)
        done.left += len(differences)
        named = list(differences.values())[: NAMED - len(done.reasons)]
        done.reasons.extend(difference.what for difference in named)
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
        self,
        session: Session,
        run: runs.Run,
        entries: Sequence[_Entry],
        left: Sequence[bytes],
        low: bytes,
        high: bytes | None,
    ) -> int:
        """Delete all that these documents have; return the number of rows in data tables.

        Args:
            left: digests of the other documents of the load in this stretch, sorted; they are kept.
        """
        within, bounds = _within(low, high)
        condition, parameters = f"load_id = ? AND {within}", (run.load_id, *bounds)
        if entries:
            # First of all, so that nobody else can take these documents over any more.
            deleted = 0
            for start, end in _around(low, high, left):
                between, ends = _within(start, end)
                deleted += session.execute(
                    f"DELETE FROM {session.table(LEDGER)} WHERE load_id = ? AND {between}",
                    (run.load_id, *ends),
                )
            if deleted != len(entries):
                raise TargetError(
                    f"{deleted} documents of load {run.load_id} were found where there had been "
                    f"{len(entries)} a moment ago: another program is at work on them. Nothing of this batch "
                    "was changed; end it, then run the same command again"
                )
            ranges.forget(session, run.source_name, run.contract, [run.load_id])
            # Whichever load has put them there: what is not loaded has no newer version either.
            session.delete_rows(QUARANTINE, "digest", [entry.digest for entry in entries])
        # What is said of newer versions of documents that are left stays, as they do.
        session.execute(
            f"DELETE FROM {session.table(QUARANTINE)} WHERE {condition} AND digest NOT IN "
            f"(SELECT digest FROM {session.table(LEDGER)} WHERE {condition})",
            (*parameters, *parameters),
        )
        loaded = [
            (entry.key, run.load_id, entry.row_counts) for entry in entries if entry.state is State.LOADED
        ]
        if not loaded:
            return 0
        return self._old_rows.delete(session, self._old_rows.recorded(session, loaded), exact=True)

    def _end(self, session: Session, run: runs.Run, done: RolledBack) -> int:
        """Mark how the load stands, if the ledger holds no documents of it but those that are left; return
        how many it holds."""
        counted = session.query(
            f"SELECT {session.count} FROM {session.table(LEDGER)} WHERE load_id = ?", (run.load_id,)
        )
        there = int(counted[0][0])
        if there != done.left:
            return there
        if not there:
            done.state = RunState.ROLLED_BACK
        elif done.batches or run.state is RunState.ROLLING_BACK:
            done.state = RunState.FAILED
        else:
            done.state = run.state
        session.begin()
        ranges.forget(session, run.source_name, run.contract, [run.load_id])
        session.execute(
            f"UPDATE {session.table(RUNS)} SET state = ? WHERE load_id = ?", (done.state.value, run.load_id)
        )
        if done.state is RunState.FAILED:
            # With an end it is not resumed: what a loader added to it the next rollback would take away.
            session.execute(
                f"UPDATE {session.table(RUNS)} SET finished_at = COALESCE(finished_at, ?) WHERE load_id = ?",
                (timestamp(datetime.now(UTC)), run.load_id),
            )
        session.commit()
        return there

    def _retried(self, doing: str, call: Callable[[Session], T]) -> T:
        return retried(self._connection, self._options.retry_seconds, doing, call)


def _within(low: bytes, high: bytes | None) -> tuple[str, tuple[bytes, ...]]:
    """Return the condition that a digest lies in a stretch, and its parameters."""
    if high is None:
        return "digest >= ?", (low,)
    return "digest >= ? AND digest < ?", (low, high)


def _around(low: bytes, high: bytes | None, left: Sequence[bytes]) -> Iterator[tuple[bytes, bytes | None]]:
    """Cut a stretch into those between the digests that are left, which are sorted and lie in it."""
    for digest in left:
        if low < digest:
            yield low, digest
        after = int.from_bytes(digest, "big") + 1
        if after == _DIGESTS:
            return
        low = _bytes(after)
    if high is None or low < high:
        yield low, high


def _bytes(number: int) -> bytes:
    return number.to_bytes(ledger.DIGEST_BYTES, "big")
