"""One verification from beginning to end: what is read when, and what is made of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from xml_extractor.contract import Contract
from xml_extractor.contract.plan import Table
from xml_extractor.engines.base import Engine, Session
from xml_extractor.errors import LoaderError, PrivateErrors, UsageError
from xml_extractor.mapping.protection import salt_fingerprint, salted
from xml_extractor.operations import opening
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.load import check_source, source_name
from xml_extractor.operations.signals import stopped
from xml_extractor.operations.verification import ledger_side, table_side
from xml_extractor.operations.verification.checkpoint import Checkpoint
from xml_extractor.operations.verification.comparing import Comparison
from xml_extractor.operations.verification.content import MappedSums, map_again
from xml_extractor.operations.verification.differences import Difference, Differences, Kind
from xml_extractor.operations.verification.kept_sums import (
    ledger_from_json,
    ledger_to_json,
    table_from_json,
    table_to_json,
)
from xml_extractor.operations.verification.ledger_side import LedgerSums
from xml_extractor.operations.verification.ranges_side import compare_ranges
from xml_extractor.operations.verification.report import VerifyReport
from xml_extractor.operations.verification.subject import PAGE_KEYS, Connections, Subject
from xml_extractor.operations.verification.worker import TableSums, Worker
from xml_extractor.operations.verification.workers import Workers
from xml_extractor.settings import ExecutorChoice, LoadOptions
from xml_extractor.target import runs
from xml_extractor.target.bookkeeping import LEDGER
from xml_extractor.target.content_digest import BucketSums
from xml_extractor.target.hash_salt import SALT_FINGERPRINT, refuse_other_salt
from xml_extractor.target.ledger import newer_in_quarantine
from xml_extractor.target.runs import Run
from xml_extractor.target.timestamps import from_database
from xml_extractor.threads import Thread

MOST_DIFFERENCES: Final = 100_000
"""Documents whose values are told one by one by default.  What is beyond is counted: each further hundred
thousand rows would cost another pass over the tables."""

ORPHAN_PATIENCE: Final = 60
"""A search for orphans answers only when it has gone through its tables: it may take so many times as long as
other statements."""

_MOST_ORPHANED: Final = 100_000
"""Keys of documents with orphans that are told by name."""

_LONGEST_SECONDS: Final = 86_400.0
"""What ``--statement-seconds`` takes at most."""

_WAIT_SECONDS: Final = 0.2


@dataclass(frozen=True, slots=True)
class VerifyOptions:
    """How to verify."""

    deep: bool = False
    manifest: Path | None = None
    checkpoint: Path | None = None
    most_differences: int = MOST_DIFFERENCES


class RunningVerification:
    """A verification in progress, for whoever may want to stop it.  Thread-safe."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._workers: Workers | None = None
        self.signal_number: int | None = None

    def attach(self, workers: Workers) -> None:
        """Name the workers that are to end, too."""
        self._workers = workers

    def stop(self, signal_number: int) -> None:
        """End at once: what was finished is in the checkpoint, and nothing is ever half written."""
        self.signal_number = signal_number
        self.abort()

    def abort(self) -> None:
        """End at once."""
        self._connections.abort()
        if self._workers is not None:
            self._workers.abort()


@PrivateErrors()
def verify(
    source: str,
    target: str,
    contract: Contract,
    options: LoadOptions | None = None,
    how: VerifyOptions | None = None,
    *,
    on_start: Callable[[RunningVerification], None] | None = None,
    on_progress: Callable[[int, str], None] | None = None,
) -> VerifyReport:
    """Prove a load: compare source, ledger and target, and write nothing to any of them.

    Args:
        source: SQLAlchemy URL of the source.
        target: SQLAlchemy URL of the database that was loaded into.
        options: as the load had them; of them matter the source's name, workers, executor and time limits.
        on_start: given the verification just before it reads; its ``stop`` and ``abort`` may be called from
            any thread.
        on_progress: told now and then how many rows were read, and what is being done.

    Returns:
        What was found.

    Raises:
        SourceError, TargetError: one of them failed.
        StoppedError: it was stopped.
        UsageError: nothing was loaded, or a file cannot be used; or the contract hashes columns, and the
            salt is missing or another one.
    """
    options, how = options or LoadOptions(), how or VerifyOptions()
    started = time.monotonic()
    plan = salted(contract.plan)
    with Bookkeeping(target, options) as bookkeeping:
        known = bookkeeping.ask(runs.read_runs)
    source_engine = opening.source_engine(source, options)
    check_source(source_engine, contract, options)
    subject = Subject(
        source=source_engine,
        target=opening.target_engine(target, options),
        plan=plan,
        source_name=source_name(options, contract, source_engine),
        retry_seconds=options.retry_seconds,
    )
    own = [run for run in known if subject.is_own(run)]
    if not own:
        names = sorted({run.source_name for run in known if run.contract == contract.plan.contract})
        hint = f"; it knows it from {', '.join(map(repr, names))}: give --source-name" if names else ""
        raise UsageError(
            f"{subject.target.display} knows no load of contract {contract.plan.contract} from source "
            f"{subject.source_name!r}{hint}"
        )
    if how.deep:
        fingerprint = {SALT_FINGERPRINT: salt_fingerprint(contract.plan)}
        with Bookkeeping(target, options) as bookkeeping:
            bookkeeping.ask(lambda session: refuse_other_salt(session, own, fingerprint))
    # A later load may have written to the ranges of an earlier one, and not always leaves a younger time.
    latest = max(own, key=lambda run: run.load_id)
    connections = Connections(subject)
    running = RunningVerification(connections)
    with connections.target() as connection:
        newer = connections.ask(connection, "reading quarantine", newer_in_quarantine)
        documents, committed_at = connections.ask(connection, "reading the ledger", _ledger_state)
    identity = {
        "contract": contract.plan.contract,
        "plan": plan.digest,
        "source_name": subject.source_name,
        "source": subject.source.display,
        "target": subject.target.display,
        "schema": options.target_schema,
        "deep": how.deep,
        # What was finished before something was loaded, or taken back, says nothing of how it is now.
        "number of documents in the ledger": documents,
        "time of the last commit": committed_at,
    }
    checkpoint = Checkpoint(how.checkpoint, identity)
    differences = Differences(how.manifest)
    report = VerifyReport(subject.target.display, subject.source_name, contract.plan.contract, how.deep)
    report.since = checkpoint.since
    report.newer_in_quarantine = sum(newer.get(run.load_id, 0) for run in own)
    if on_start is not None:
        on_start(running)
    try:
        patient = _patient(target, options)
        work = _Verification(
            running, connections, latest, patient, options, how, checkpoint, differences, report
        )
        with work, work.told(on_progress or (lambda *_: None)):
            work.run()
    except LoaderError:
        if running.signal_number is not None:
            raise stopped(running.signal_number) from None
        raise
    finally:
        differences.close()
    checkpoint.finish()
    report.differences = dict(differences.counts)
    report.seconds = time.monotonic() - started
    return report


def _ledger_state(session: Session) -> tuple[int, str]:
    """Return the number of documents in the ledger and when the last one was committed."""
    ((number, latest),) = session.query(
        f"SELECT {session.count}, MAX(committed_at) FROM {session.table(LEDGER)}"
    )
    return int(number), "" if latest is None else from_database(latest).isoformat()


class _Verification:
    """The steps.  Used as a context by one thread."""

    def __init__(
        self,
        running: RunningVerification,
        connections: Connections,
        latest: Run,
        patient: Engine,
        options: LoadOptions,
        how: VerifyOptions,
        checkpoint: Checkpoint,
        differences: Differences,
        report: VerifyReport,
    ) -> None:
        self._connections = connections
        self._subject = connections.subject
        self._plan = connections.subject.plan
        self._latest = latest
        self._patient = patient
        self._lock = threading.Lock()
        self._most_differences = how.most_differences
        self._checkpoint = checkpoint
        self._differences = differences
        self._report = report
        self._rows_read = 0
        self._doing = "source, ledger and tables"
        self._steps: dict[Future[TableSums], str] = {}
        """Steps of the checkpoint that are on their way."""
        self._threads = ThreadPoolExecutor(options.workers, thread_name_prefix="xml-extractor-verify")
        self._workers: Workers | None = None
        if how.deep:
            processes = options.executor in (ExecutorChoice.AUTO, ExecutorChoice.PROCESS)
            serial = options.executor is ExecutorChoice.SERIAL
            self._workers = Workers(
                connections,
                1 if serial else options.workers,
                processes=processes and (options.workers > 1 or options.executor is ExecutorChoice.PROCESS),
            )
            running.attach(self._workers)

    def __enter__(self) -> _Verification:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            self._connections.abort()
            if self._workers is not None:
                self._workers.abort()
        self._threads.shutdown(wait=True, cancel_futures=True)
        if self._workers is not None:
            self._workers.close()

    @contextmanager
    def told(self, on_progress: Callable[[int, str], None]) -> Iterator[None]:
        """Tell how far the work has come, from a thread of its own."""
        done = threading.Event()

        def tell() -> None:
            while not done.wait(_WAIT_SECONDS):
                others = 0 if self._workers is None else self._workers.rows_read
                on_progress(self._rows_read + others, self._doing)

        thread = Thread(tell, name="verify-progress")
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def run(self) -> None:
        """Do all of it."""
        submit, plan = self._threads.submit, self._plan
        workers = self._workers
        ledger = submit(self._ledger)
        source = submit(self._source_keys)
        details = submit(self._details)
        if workers is None:
            tables = {table.name: submit(self._table, table) for table in plan.tables}
        else:
            tables = {table.name: self._table_by(workers, i) for i, table in enumerate(plan.tables)}
        others: list[Future[Any]] = [
            submit(self._orphans, table) for table in plan.tables if table_side.has_parent(table)
        ]
        documents: Future[MappedSums] | None = None
        if workers is not None:
            documents = submit(map_again, self._connections, workers, self._checkpoint)
            others += [documents, submit(self._ranges, self._latest)]
        self._wait([ledger, source, details, *tables.values(), *others])
        self._doing = "what differs"
        sums = {name: future.result() for name, future in tables.items()}
        compare = Comparison(
            self._connections, self._differences, self._report, self._most_differences, self._read
        )
        compare.keys(source.result(), ledger.result(), details.result())
        compare.rows(ledger.result(), sums)
        if documents is not None and workers is not None:
            compare.content(workers, documents.result(), ledger.result(), sums)

    def _table_by(self, workers: Workers, index: int) -> Future[TableSums]:
        """Have a worker read a table, with its values."""
        step = f"table {self._plan.tables[index].name}"
        kept = self._checkpoint.get(step)
        if kept is not None:
            future: Future[TableSums] = Future()
            future.set_result(table_from_json(kept))
            return future
        future = workers.submit(Worker.table_sums, index)
        self._steps[future] = step
        return future

    def _wait(self, futures: list[Future[Any]]) -> None:
        """Wait for all; the first that fails ends the others."""
        left = set(futures)
        while left:
            done, left = wait(left, timeout=_WAIT_SECONDS, return_when=FIRST_COMPLETED)
            for future in done:
                result = future.result()
                step = self._steps.pop(future, None)
                if step is not None:
                    self._checkpoint.put(step, table_to_json(result))
            self._connections.check()

    # ------------------------------------------------------------------------------ reading

    def _ledger(self) -> LedgerSums:
        kept = self._checkpoint.get("ledger")
        if kept is not None:
            return ledger_from_json(kept)
        with self._connections.target() as connection:
            sums = self._connections.ask(
                connection,
                "reading the ledger",
                lambda session: ledger_side.ledger_sums(session, self._subject, self._read),
            )
        self._checkpoint.put("ledger", ledger_to_json(sums))
        return sums

    def _details(self) -> BucketSums:
        with self._connections.target() as connection:
            return self._connections.ask(
                connection,
                "reading quarantine",
                lambda session: ledger_side.quarantine_sums(session, self._subject, self._read),
            )

    def _source_keys(self) -> BucketSums:
        kept = self._checkpoint.get("source")
        if kept is not None:
            return BucketSums.from_text(kept)
        sums = BucketSums()
        digest = self._subject.digests.digest
        with self._connections.source() as reader:
            for keys in reader.key_pages(page_size=PAGE_KEYS):
                for key in keys:
                    sums.add(*ledger_side.digest_place(digest(key)))
                self._read(len(keys))
        self._checkpoint.put("source", sums.to_text())
        return sums

    def _table(self, table: Table) -> TableSums:
        kept = self._checkpoint.get(f"table {table.name}")
        if kept is not None:
            return table_from_json(kept)
        with self._connections.target() as connection:
            if table.name in self._subject.keyed_tables:
                counted = self._connections.ask(
                    connection,
                    f"reading {table.name}",
                    lambda session: table_side.count_by_key(session, self._subject, table, self._read),
                )
                sums = TableSums(counted.count, counted.shares(), [])
            else:
                rows = self._connections.ask(
                    connection,
                    f"counting {table.name}",
                    lambda session: table_side.total(session, table),
                )
                sums = TableSums(rows, [], [])
        self._checkpoint.put(f"table {table.name}", table_to_json(sums))
        return sums

    def _orphans(self, table: Table) -> None:
        step = f"orphans {table.name}"
        if self._checkpoint.get(step) is not None:
            return
        number, by_key = 0, Counter[Any]()
        with self._connections.target(self._patient) as connection:
            # Twice where there are any: a load may have added child and parent while the server looked.
            for look in range(2):
                found, number = self._connections.ask(
                    connection,
                    f"looking for orphans in {table.name}",
                    lambda session: table_side.orphans(
                        session, self._subject, table, _MOST_ORPHANED, self._read
                    ),
                )
                by_key = found if look == 0 else by_key & found
                if not by_key:
                    break
        for value, count in by_key.items():
            self._differences.add(Difference(Kind.ORPHAN, value, table.name, count=count))
        further = number - sum(by_key.values())
        if len(by_key) == _MOST_ORPHANED and further > 0:
            self._differences.add(Difference(Kind.ORPHAN, None, table.name, count=further))
        if not by_key:
            self._checkpoint.put(step, 0)

    def _ranges(self, run: Run) -> None:
        step = f"ranges {run.load_id}"
        compared = self._checkpoint.get(step)
        if compared is None:
            before = self._differences.counts[Kind.RANGE_DIFFERS]
            compared = compare_ranges(self._connections, run, self._differences, self._read)
            if self._differences.counts[Kind.RANGE_DIFFERS] == before:
                self._checkpoint.put(step, compared)
        with self._lock:
            self._report.ranges += compared

    def _read(self, number: int) -> None:
        self._connections.check()
        with self._lock:
            self._rows_read += number


def _patient(target: str, options: LoadOptions) -> Engine:
    """The target's engine, with more time for a statement."""
    seconds = min(options.statement_seconds * ORPHAN_PATIENCE, _LONGEST_SECONDS)
    return opening.target_engine(target, options.model_copy(update={"statement_seconds": seconds}))
