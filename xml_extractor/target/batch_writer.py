"""Commits batches of document records to a database, each document exactly once.

One attempt is one transaction: claim the documents in the ledger, delete what they replace, write their
rows table by table, commit.  Around the attempt stand, from the inside out: retry of what passes
(:mod:`xml_extractor.engines.retry`), bisection of what a document is to blame for
(:mod:`xml_extractor.target.bisection`), and quarantine of the documents found.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from itertools import compress
from time import perf_counter
from typing import Any

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan, Table
from xml_extractor.engines.base import Engine, Fault, FaultKind, Session
from xml_extractor.engines.retry import retrying
from xml_extractor.errors import LoaderError, TargetError
from xml_extractor.mapping.records import DocumentRecord, Key, Look, Rejection, Stage, State
from xml_extractor.target import ledger
from xml_extractor.target.base import BatchResult, BatchWriter, RejectedByTarget
from xml_extractor.target.batch_numbers import BatchNumbers
from xml_extractor.target.bisection import Refused, bisect
from xml_extractor.target.bookkeeping import LEDGER, LEDGER_COLUMNS, QUARANTINE, QUARANTINE_COLUMNS
from xml_extractor.target.claims import Claims, count_committed, keeps_rows
from xml_extractor.target.failures import Connection, is_bug, retried, target_error
from xml_extractor.target.ranges import FinishedRange, RangeBook, ledger_mark, mark_tail, tailed_mark
from xml_extractor.target.replacement import OldRows
from xml_extractor.target.timestamps import timestamp, utc_now


class DatabaseBatchWriter(BatchWriter):
    """Commits batches over one connection of its own, which is opened and re-opened as needed.

    Args:
        digests: of the source and contract that the records belong to.
        load_id: the load that ledger rows are to name.
        retry_seconds: how long after a first failure the target is retried.
        book: where finished ranges of keys are written down; None = nowhere.
        numbers: the run's; None = this writer is the only one of its run.
    """

    def __init__(
        self, engine: Engine, plan: Plan, digests: ledger.DocumentDigests, load_id: int, retry_seconds: float,
        name: str, book: RangeBook | None = None, numbers: BatchNumbers | None = None,
    ) -> None:  # fmt: skip
        self._engine = engine
        self._plan = plan
        self._digests = digests
        self._load_id = load_id
        self._retry_seconds = retry_seconds
        self._book = book
        self._numbers = numbers or BatchNumbers()
        self._aborted = threading.Event()
        self._connection = Connection(engine, name, self._aborted)
        self._old_rows = OldRows(
            engine, plan, "leave such documents as they are (--on-plan-change report, --on-change report)"
        )
        self._unanswered: set[int] = set()
        """Batch numbers of this batch's attempts whose commit was begun and never confirmed."""
        self._stumbled_over: DocumentRecord | None = None
        """Whose row it was that made the last attempt fail, where the database says so."""

    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        """Commit the records in as few transactions as their faults allow; see :class:`BatchWriter`."""
        started = perf_counter()
        no_rows = (0,) * len(self._plan.tables)
        result = BatchResult(rows=no_rows, document_rows=no_rows)
        self._unanswered.clear()
        to_write = [record for record in records if record.look is None or record.look is Look.RESTORED]
        if len(to_write) < len(records):
            self._count_looks(records, result)
        ordered = ledger.in_key_order(to_write)
        try:
            refused = bisect(ordered, lambda part: self._commit_part(part, result))
            if refused:
                self._quarantine(refused, result)
        except LoaderError:
            raise
        except Exception as error:
            if self._aborted.is_set():
                raise TargetError("the batch was given up because the run ended") from error
            if is_bug(self._engine, error):
                raise
            raise target_error(self._engine, error, doing="committing a batch") from error
        result.seconds = perf_counter() - started
        # What is neither writing, nor waiting, is bookkeeping.
        written = sum(result.table_seconds.values()) + result.commit_seconds + result.retry_seconds
        result.claim_seconds = max(0.0, result.seconds - written)
        return result

    def _count_looks(self, records: Sequence[DocumentRecord], result: BatchResult) -> None:
        """Count the known documents whose ledger row and rows stay as they are."""
        for record in records:
            if record.look is not None and record.look is not Look.RESTORED:
                assert record.previous is not None, "only known documents are looked at"
                digest = self._digests.digest(record.key)
                mark = ledger_mark(digest, record.previous.state, record.previous.batch)
                result.count_look(record, mark)

    def connect(self) -> None:
        """Connect now, in one attempt; see :class:`BatchWriter`."""
        retried(self._connection, 0.0, "connecting", lambda session: None)

    def record_ranges(self, ranges: Sequence[FinishedRange]) -> None:
        """Write finished ranges down; one short transaction."""
        book = self._book
        if book is not None and ranges:
            retried(
                self._connection,
                self._retry_seconds,
                "recording finished ranges",
                lambda session: book.record(session, ranges),
            )

    def abort(self) -> None:
        """End a waiting :meth:`commit_batch`, in whichever thread it runs."""
        self._aborted.set()
        self._connection.abort()

    def close(self) -> None:
        """Let go of the connection."""
        self._connection.close()

    # ------------------------------------------------------------------------------ around an attempt

    def _commit_part(self, records: Sequence[DocumentRecord], result: BatchResult) -> Refused[Fault] | None:
        """Commit records and count them; return the fault if their data were refused."""
        outcome = self._transact(records, result)
        if isinstance(outcome, Fault):
            at = next((i for i, record in enumerate(records) if record is self._stumbled_over), None)
            return Refused(outcome, at)
        count_committed(outcome, result)
        return None

    def _transact(self, records: Sequence[DocumentRecord], result: BatchResult) -> Claims | Fault:
        """Run the transaction, retrying what passes; return the fault if the data were refused."""
        retry = retrying(
            self._engine, self._retry_seconds, self._aborted, doing=f"committing to {self._engine.display}"
        )
        started = perf_counter()
        try:
            claims = retry(self._attempt, records, result)
        except LoaderError:
            raise
        except Exception as error:
            fault = self._engine.classify(error)
            if fault.kind is not FaultKind.DATA or self._aborted.is_set():
                raise
            result.retry_seconds += perf_counter() - started
            return fault
        result.retry_seconds += claims.began - started
        _charge(claims, result)
        return claims

    def _attempt(self, records: Sequence[DocumentRecord], result: BatchResult) -> Claims:
        """Run one transaction; whatever it raises, nothing of it stays open on the connection."""
        result.attempts += 1
        self._stumbled_over = None
        began = perf_counter()
        session = self._connection.session()
        batch = self._numbers.new()
        try:
            session.begin()
            failpoints.hit("before_claim", session)
            claims = self._claim(session, batch, records)
            claims.began = began
            failpoints.hit("after_claim", session)
            claims.rows = self._write(session, claims)
            self._set_aside(session, [*claims.ours, *claims.kept])
            # From here to the answer nobody knows whether it is in; the ledger will, by this number.
            self._unanswered.add(batch)
            failpoints.hit("before_commit", session)
            committing = perf_counter()
            session.commit()
            claims.commit_seconds = perf_counter() - committing
            failpoints.hit("after_commit", session)
        except BaseException as error:
            self._connection.recover(error)
            raise
        self._unanswered.discard(batch)
        return claims

    def _quarantine(self, refused: Sequence[tuple[DocumentRecord, Fault]], result: BatchResult) -> None:
        """Commit the documents that the target refused as quarantined."""
        for record, fault in refused:
            if record.state is not State.LOADED:  # without rows, only the bookkeeping can have refused it
                raise self._bookkeeping_refuses([record], fault)
        records = [
            replace(
                record,
                state=State.QUARANTINED,
                rows=(),
                row_counts=(),
                rejection=Rejection(Stage.TARGET, fault.code, fault.message, fault.table, fault.column),
            )
            for record, fault in refused
        ]
        outcome = self._transact(records, result)
        if isinstance(outcome, Fault):
            raise self._bookkeeping_refuses(records, outcome)
        count_committed(outcome, result)
        for record in outcome.settled:
            assert record.rejection is not None
            result.rejected.append(RejectedByTarget(record.key, record.rejection))

    def _bookkeeping_refuses(self, records: Sequence[DocumentRecord], fault: Fault) -> TargetError:
        return TargetError(
            f"{self._engine.display} refuses the bookkeeping of {len(records)} document(s), the first with "
            f"key {ledger.key_text(records[0].key)}: {fault.message}; compare the load_ tables with what "
            "`contract ddl` prints, then run the same command again: what was committed stays"
        )

    # ------------------------------------------------------------------------------ inside an attempt

    def _claim(self, session: Session, batch: int, records: Sequence[DocumentRecord]) -> Claims:
        """Enter the documents into the ledger, in key order; the row, once ours, settles who loads them.

        What documents that are loaded anew had in the data tables is deleted.
        """
        now = timestamp(utc_now())
        claims = Claims()
        new = [record for record in records if record.previous is None]
        lost = self._enter(session, batch, new, now, claims) if new else []
        if len(new) < len(records):
            known = [record for record in records if record.previous is not None]
            lost += self._take_over(session, batch, known, now, claims)
            if self._book is not None:
                # What other runs have written down of these documents no longer holds.
                self._book.end_other_claims(session)
        if lost:
            self._settle(session, lost, claims)
        return claims

    def _enter(
        self,
        session: Session,
        batch: int,
        records: Sequence[DocumentRecord],
        now: str,
        claims: Claims,
    ) -> list[DocumentRecord]:
        """Enter documents that have no ledger row yet; return those that have got one meanwhile."""
        digests = list(map(self._digests.take, [record.key for record in records]))
        rows = self._ledger_rows(records, digests, batch, now)
        refused = {bytes(digest) for digest in session.insert_mostly_new(LEDGER, LEDGER_COLUMNS, rows)}
        lost: list[DocumentRecord] = []
        ours, marks = claims.ours, claims.marks
        loaded = mark_tail(State.LOADED, batch)
        for record, digest in zip(records, digests, strict=True):
            if digest in refused:
                lost.append(record)
                continue
            ours.append(record)
            tail = loaded if record.state is State.LOADED else mark_tail(record.state, batch)
            marks[record.key] = tailed_mark(digest, tail)
        return lost

    def _take_over(
        self,
        session: Session,
        batch: int,
        records: Sequence[DocumentRecord],
        now: str,
        claims: Claims,
    ) -> list[DocumentRecord]:
        """Take over ledger rows as they were when their documents were dispatched; return those records
        whose row another loader has taken over meanwhile.

        The batch number is what settles it: it changes whenever a row does.  Once it is ours nobody else can
        take the row, and what the row says of the old version holds until the transaction ends.
        """
        digests = [self._digests.digest(record.key) for record in records]
        session.execute_many(
            f"UPDATE {session.table(LEDGER)} SET batch = ? WHERE digest = ? AND batch = ?",
            [
                (batch, digest, record.previous.batch)
                for record, digest in zip(records, digests, strict=True)
                if record.previous is not None
            ],
        )
        taken = {
            bytes(digest): (State(state), int(load_id), row_counts)
            for digest, number, state, load_id, row_counts in session.existing(
                LEDGER, ("digest", "batch", "state", "load_id", "row_counts"), "digest", digests
            )
            if int(number) == batch
        }
        lost: list[DocumentRecord] = []
        renewed: list[DocumentRecord] = []
        loaded: list[tuple[Key, int, str]] = []
        for record, digest in zip(records, digests, strict=True):
            if digest not in taken:
                lost.append(record)
            elif keeps_rows(record):
                claims.kept.append(record)
                claims.marks[record.key] = ledger_mark(digest, taken[digest][0], batch)
            else:
                claims.ours.append(record)
                claims.marks[record.key] = ledger_mark(digest, record.state, batch)
                renewed.append(record)
                state, load_id, row_counts = taken[digest]
                if state is State.LOADED:
                    loaded.append((record.key, load_id, row_counts))
        if loaded:
            self._old_rows.delete(session, self._old_rows.recorded(session, loaded))
            failpoints.hit("old_rows_deleted", session)
        if renewed:
            digests = [self._digests.digest(record.key) for record in renewed]
            rows = self._ledger_rows(renewed, digests, batch, now)
            session.execute_many(
                _RENEW.format(ledger=session.table(LEDGER)), [(*row[1:], row[0]) for row in rows]
            )
        return lost

    def _ledger_rows(
        self, records: Sequence[DocumentRecord], digests: Sequence[bytes], batch: int, now: str
    ) -> list[tuple[object, ...]]:
        """The ledger rows of documents, in the order of the columns."""
        load_id, loaded = self._load_id, State.LOADED
        key_text, counts_text = ledger.key_text, ledger.counts_text
        return [
            (
                digest,
                key_text(record.key),
                "loaded" if record.state is loaded else record.state.value,
                load_id,
                batch,
                record.document_hash or None,
                counts_text(record.row_counts),
                now,
            )
            for record, digest in zip(records, digests, strict=True)
        ]

    def _settle(self, session: Session, lost: Sequence[DocumentRecord], claims: Claims) -> None:
        """Find out who has the documents that could not be claimed."""
        digests = [self._digests.digest(record.key) for record in lost]
        found = {
            bytes(digest): (State(state), int(batch))
            for digest, state, batch in session.existing(
                LEDGER, ("digest", "state", "batch"), "digest", digests
            )
        }
        for record, digest in zip(lost, digests, strict=True):
            if digest not in found:
                raise TargetError(
                    f"the ledger row of key {ledger.key_text(record.key)} disappeared from "
                    f"{self._engine.display} while the document was being loaded; end whatever deletes from "
                    f"{LEDGER} before running the same command again: what was committed stays"
                )
            state, batch = found[digest]
            claims.marks[record.key] = ledger_mark(digest, state, batch)
            if batch in self._unanswered:
                claims.written.append(record)
            else:
                claims.elsewhere.append((record, state))

    def _write(self, session: Session, claims: Claims) -> tuple[int, ...]:
        """Write the claimed documents' rows, parents' tables first; return the rows per table that the
        database took."""
        rows = [0] * len(self._plan.tables)
        loaded = [record for record in claims.ours if record.state is State.LOADED]
        expected: dict[int, int] = {}
        filled: list[tuple[Table, list[Any]]] = []
        # Turned over: per table what it gets of each document, and how many rows that is.
        encoded = zip(*[record.rows for record in loaded], strict=True)
        counted = zip(*[record.row_counts for record in loaded], strict=True)
        for index, (pieces, counts) in enumerate(zip(encoded, counted, strict=True)):
            if number := sum(counts):
                filled.append((self._plan.tables[index], list(compress(pieces, counts))))
                expected[index] = number
        try:
            inserted = session.write_tables(filled)
        except BaseException:
            self._stumbled_over = self._record_of(session.refused_row, loaded)
            raise
        for (index, count), (table, _), (taken, seconds) in zip(
            expected.items(), filled, inserted, strict=True
        ):
            claims.table_seconds[table.name] = seconds
            if taken != count:
                raise TargetError(
                    f"{self._engine.display} took {taken} of {count} rows for table {table.name} "
                    "without an error; look for a trigger or rule that drops or adds rows. Nothing of "
                    "the batch was committed; what was committed before stays"
                )
            rows[index] = taken
        return tuple(rows)

    def _record_of(
        self, refused_row: tuple[str, int] | None, loaded: Sequence[DocumentRecord]
    ) -> DocumentRecord | None:
        """Return the record that a row is of that the database stumbled over."""
        if refused_row is None:
            return None
        name, row = refused_row
        index = next(i for i, table in enumerate(self._plan.tables) if table.name == name)
        for record in loaded:
            row -= record.row_counts[index]
            if row < 0:
                return record
        return None

    def _set_aside(self, session: Session, records: Sequence[DocumentRecord]) -> None:
        """Have quarantine say of the claimed documents what is true of them now."""
        quarantined = [record for record in records if record.state is State.QUARANTINED]
        stale = [
            self._digests.digest(record.key)
            for record in records
            if record.previous is not None or record.state is State.QUARANTINED
        ]
        if stale:
            failpoints.hit("quarantine_write", session)
            session.delete_rows(QUARANTINE, "digest", stale)
        if quarantined:
            now = timestamp(utc_now())
            session.insert_new(
                QUARANTINE, QUARANTINE_COLUMNS, [self._quarantine_row(record, now) for record in quarantined]
            )

    def _quarantine_row(self, record: DocumentRecord, now: str) -> tuple[object, ...]:
        rejection = record.rejection
        assert rejection is not None, "a quarantined record says why"
        return (
            self._digests.digest(record.key),
            self._load_id,
            ledger.key_text(record.key),
            rejection.stage.value,
            rejection.code,
            *(
                None if text is None else ledger.storable(text)
                for text in (rejection.message, rejection.table, rejection.column, rejection.path)
            ),
            now,
            record.document_hash or None,
        )


def _charge(claims: Claims, result: BatchResult) -> None:
    """Add where the time of a committed attempt went."""
    result.commit_seconds += claims.commit_seconds
    for name, seconds in claims.table_seconds.items():
        result.table_seconds[name] = result.table_seconds.get(name, 0.0) + seconds


_RENEW = (
    f"UPDATE {{ledger}} SET {', '.join(f'{column} = ?' for column in LEDGER_COLUMNS[1:])} WHERE digest = ?"
)
