"""A relational database as target."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from xml_extractor import failpoints
from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine, Session
from xml_extractor.errors import TargetError, UsageError
from xml_extractor.mapping.records import Key
from xml_extractor.target import ledger, owed_keys, runs, schema_check
from xml_extractor.target.base import LedgerEntry, LoadHandle, RunState, Target
from xml_extractor.target.batch_numbers import BatchNumbers
from xml_extractor.target.batch_writer import DatabaseBatchWriter
from xml_extractor.target.failures import Connection, is_bug, retried
from xml_extractor.target.hash_salt import refuse_other_salt
from xml_extractor.target.key_work import OwedKeys
from xml_extractor.target.owed_keys import Origin
from xml_extractor.target.ranges import FinishedRange, RangeBook, Stretch
from xml_extractor.target.replacement import tables_without_key
from xml_extractor.target.timestamps import utc_now

logger = logging.getLogger(__name__)


class DatabaseTarget(Target):
    """Rows into tables of a database, exactly once, by way of the ledger in the same database."""

    def __init__(self, engine: Engine, *, retry_seconds: float) -> None:
        self._engine = engine
        self._retry_seconds = retry_seconds
        self.max_insert_threads = engine.max_insert_threads
        host, port = engine.server
        if port == engine.usual_port:
            port = None
        labels = {"system": engine.system, "name": engine.namespace, "server": host, "port": port}
        self.database = {name: value for name, value in labels.items() if value is not None}

    @property
    def engine(self) -> Engine:
        """The database's engine."""
        return self._engine

    @property
    def display(self) -> str:
        """The database in words."""
        return self._engine.display

    def prepare(
        self,
        plan: Plan,
        *,
        source_name: str,
        source_name_explicit: bool,
        create_tables: bool,
        dry_run: bool,
        on_plan_change: str,
        settings: Mapping[str, Any],
        on_change: str = "ignore",
        keys_after: bool = False,
    ) -> LoadHandle:
        """Connect, check the tables, and start or resume a load; see :meth:`Target.prepare`.

        Two loaders that are started while a load is unfinished share its id and start time.  The first
        that ends well marks it finished; the other goes on under the same id.
        """
        if keys_after:
            self.refuse_keys_after(plan, replaces=on_plan_change == "reload" or on_change == "replace")
        connection = Connection(self._engine, "xml_extractor prepare", threading.Event(), write=not dry_run)
        with connection:
            run: runs.Run | None = None
            resumed = False
            owed: list[str] = []
            engine = self._engine
            if self._open(connection, may_be_absent=dry_run and create_tables):
                run, resumed, owed = retried(
                    connection,
                    self._retry_seconds,
                    "preparing the load",
                    lambda session: self._start(
                        session,
                        plan,
                        source_name,
                        source_name_explicit,
                        create_tables,
                        dry_run,
                        on_plan_change,
                        on_change,
                        settings,
                        keys_after,
                    ),
                )
                if not dry_run:
                    engine = retried(
                        connection,
                        self._retry_seconds,
                        "choosing the way in",
                        lambda session: self._engine.settled(session, plan),
                    )
        handle = DatabaseLoadHandle(
            engine,
            plan,
            source_name,
            run,
            resumed,
            self._retry_seconds,
            dry_run=dry_run,
            looks=on_change != "ignore",
            owed=owed,
        )
        if handle.owed_keys is not None:
            try:
                handle.owed_keys.turn.take_part()
            except BaseException:
                handle.close()
                raise
        return handle

    def _open(self, connection: Connection, *, may_be_absent: bool) -> bool:
        """Connect, in one attempt (law 6); return whether there is a database to look at."""
        try:
            connection.session()
        except Exception as error:
            if is_bug(self._engine, error):
                raise
            fault = self._engine.classify(error)
            if may_be_absent and fault.code == "cannot_open":
                logger.warning("%s; the dry run takes the target for empty, to be created", fault.message)
                return False
            display, why = self._engine.display, fault.message
            if fault.code != "cannot_open":  # that says itself what to do
                why += (
                    "; correct the URL (--target, or --source where no target is named, or --server) or see "
                    "to it that the server can be reached, then run again"
                )
            raise TargetError(f"{display} cannot be opened: {why.removeprefix(f'{display}: ')}") from error
        return True

    def _start(
        self,
        session: Session,
        plan: Plan,
        source_name: str,
        source_name_explicit: bool,
        create_tables: bool,
        dry_run: bool,
        on_plan_change: str,
        on_change: str,
        settings: Mapping[str, Any],
        keys_after: bool,
    ) -> tuple[runs.Run | None, bool, list[str]]:
        """Return the load (None: a dry run, and no bookkeeping to look at), whether it is resumed, and the
        tables that owe keys."""
        origin = Origin(source_name, plan.contract)
        if not schema_check.ready(
            self._engine,
            session,
            plan,
            create_tables=create_tables,
            dry_run=dry_run,
            keys_after_for=origin if keys_after else None,
        ):
            return None, False, []
        replaces = on_plan_change == "reload" or on_change == "replace"
        owed = self._owed(session, plan, origin, replaces=replaces)
        known = runs.read_runs(session)
        of_contract = [run for run in known if run.contract == plan.contract]
        if not source_name_explicit:
            self._refuse_other_names(session, of_contract, source_name)
        of_source = [run for run in of_contract if run.source_name == source_name]
        _refuse_while_rolling_back(of_source)
        if replaces:
            self._refuse_what_cannot_be_replaced(session, of_source, plan, any_plan=on_change == "replace")
        if on_plan_change != "reload":
            refuse_other_salt(session, of_source, settings)
        run = runs.unfinished(known, plan, source_name)
        if run is not None:
            if not dry_run and not runs.mark_resumed(session, run.load_id, settings):
                raise _being_rolled_back(run.load_id)
            return run, True, owed
        if dry_run:
            return runs.Run.unwritten(plan, source_name, utc_now()), False, owed
        failpoints.hit("run_start", session)
        return runs.start(session, plan, source_name, settings, utc_now()), False, owed

    def refuse_keys_after(self, plan: Plan, *, replaces: bool) -> None:
        """Refuse to build keys after the load where that cannot be done (rightly); connects to nothing.

        Args:
            replaces: documents that are loaded may be replaced.

        Raises:
            UsageError: with the reason.
        """
        why_not = self._engine.no_late_keys
        if why_not is not None:
            raise UsageError(f"--keys after cannot be had here: {why_not}. Use --keys during")
        if replaces:
            raise UsageError(
                "--keys after and --on-change replace (or --on-plan-change reload) do not go together: what "
                "a document had is found by the tables' keys. Leave one of the two out"
            )
        owed_keys.refuse_late_keys(plan)

    def _owed(self, session: Session, plan: Plan, origin: Origin, *, replaces: bool) -> list[str]:
        """Return the names of this source's tables that owe keys, and refuse what has to wait for them."""
        owed = owed_keys.read(session)
        names = {table.name for table in plan.tables}
        for table in owed:
            if table.origin != origin and table.spec.name in names:
                raise UsageError(
                    f"{table.spec.name} in {self._engine.display} has yet to get its keys (--keys after) "
                    f"from the load of contract {table.origin.contract} from {table.origin.source_name}: run "
                    "that load to its end first, then this one. Until then the rows of two sources could not "
                    "be told apart where they break a key"
                )
        ours = [table.spec.name for table in owed if table.origin == origin]
        if ours and replaces:
            raise UsageError(
                f"{', '.join(ours)} have yet to get their keys (--keys after), by which what a document had "
                "is found: run the load once without --on-change replace and --on-plan-change reload, which "
                "builds the keys"
            )
        return ours

    def _refuse_other_names(
        self, session: Session, of_contract: Sequence[runs.Run], source_name: str
    ) -> None:
        """Law 2: a source that merely changed its name must not be loaded a second time."""
        others = [run for run in of_contract if run.source_name != source_name]
        if not others or not ledger.has_documents(session, [run.load_id for run in others]):
            return
        names = sorted({run.source_name for run in others})
        raise UsageError(
            f"{self._engine.display} already holds documents of contract {others[0].contract} from source "
            f"{', '.join(map(repr, names))}, and this source is called {source_name!r}. If it is the same "
            f"data, give --source-name {names[0]!r}; if it is other data, give --source-name {source_name!r} "
            "to say so"
        )

    def _refuse_what_cannot_be_replaced(
        self, session: Session, of_source: Sequence[runs.Run], plan: Plan, *, any_plan: bool
    ) -> None:
        """Say before the first document that old rows could not be found, instead of at the first one.

        Args:
            any_plan: documents that were loaded under this very plan are to be replaced, too.
        """
        older = [run for run in of_source if run.plan_digest != plan.digest]
        names = {table.name for table in plan.tables}
        gone = sorted({name for run in older for name in run.tables} - names)
        without_key = tables_without_key(plan)
        if not gone and not without_key:
            return
        concerned = of_source if any_plan and without_key else older
        if not ledger.has_documents(session, [run.load_id for run in concerned]):
            return
        reasons = []
        if without_key:
            reasons.append(
                f"no column of {', '.join(without_key)} carries the source key as it is (from: $key, an "
                "integer or varchar type, unchanged), so that a document's old rows cannot be found there"
            )
        if gone:
            reasons.append(
                f"{', '.join(gone)} may hold rows of an earlier version of the contract, which does not have "
                f"{'that table' if len(gone) == 1 else 'those tables'} any more"
            )
        what, instead = (
            ("replaced when they change", "--on-change report")
            if any_plan
            else ("reloaded under the changed contract", "--on-plan-change report")
        )
        raise UsageError(
            f"documents cannot be {what}: {'; '.join(reasons)}. Use {instead}, or load into empty tables"
        )


def _refuse_while_rolling_back(of_source: Sequence[runs.Run]) -> None:
    """A document that is rolled back behind the load's back would be missing from it unnoticed."""
    for run in of_source:
        if run.state is RunState.ROLLING_BACK:
            raise _being_rolled_back(run.load_id)


def _being_rolled_back(load_id: int) -> UsageError:
    return UsageError(
        f"load {load_id} is being rolled back, or its rollback was interrupted; finish that first "
        f"(`python -m xml_extractor rollback {load_id}`), then run the same command again"
    )


class DatabaseLoadHandle(LoadHandle):
    """A load into a database; see :class:`LoadHandle`."""

    def __init__(
        self,
        engine: Engine,
        plan: Plan,
        source_name: str,
        run: runs.Run | None,
        resumed: bool,
        retry_seconds: float,
        *,
        dry_run: bool,
        looks: bool,
        owed: Sequence[str] = (),
    ) -> None:
        self.load_id = 0 if run is None else run.load_id
        self.started_at = utc_now() if run is None else run.started_at
        self.resumed = resumed
        self.state_before = run.state if run is not None and resumed else None
        self.encoder = engine.encoder(plan)
        self.insert_path = engine.insert_path
        self._engine = engine
        self._plan = plan
        self._has_ledger = run is not None
        self._dry_run = dry_run
        self._looks = looks
        self._retry_seconds = retry_seconds
        self._source_name = source_name
        self._digests = ledger.DocumentDigests(source_name, plan.contract)
        self._plan_digests: dict[int, str] = {}
        self._book = None if run is None else RangeBook(run.load_id, source_name, plan.contract)
        self.keeps_ranges = run is not None and not dry_run
        self._numbers = BatchNumbers()
        self._aborted = threading.Event()
        self._lock = threading.Lock()
        self._connection = Connection(engine, "xml_extractor ledger", self._aborted, write=False)
        if owed and not dry_run:
            origin = Origin(source_name, plan.contract)
            self.owed_keys = OwedKeys(engine, plan, origin, self.load_id, self._numbers, retry_seconds, owed)

    def open_ranges(self, scope: str) -> list[Stretch]:
        """Say what this run is to cover; return what earlier runs of this load finished of it."""
        book = self._book
        if book is None:
            return []
        with self._lock:
            return retried(
                self._connection,
                self._retry_seconds,
                "reading finished ranges",
                lambda session: book.open(session, scope),
            )

    def record_ranges(self, ranges: Sequence[FinishedRange]) -> None:
        """Write finished ranges down; over a fresh connection, because an old one may have been aborted."""
        book = self._book
        if book is None or self._dry_run or not ranges:
            return
        with Connection(self._engine, "xml_extractor finish", threading.Event()) as connection:
            retried(
                connection,
                self._retry_seconds,
                "recording finished ranges",
                lambda session: book.record(session, ranges),
            )

    def lookup(self, keys: Sequence[Key]) -> dict[Key, LedgerEntry]:
        """Return what the ledger says of these keys; its connection is shared, one call at a time."""
        if not self._has_ledger or not keys:
            return {}
        with self._lock:
            return retried(
                self._connection,
                self._retry_seconds,
                "reading the ledger",
                lambda session: ledger.entries(
                    session, self._digests, keys, self._plan_digests, with_refused=self._looks
                ),
            )

    def newer_in_quarantine(self) -> int:
        """Return how many documents are loaded in an older version only; see :class:`LoadHandle`."""
        if not self._has_ledger or self._looks:
            return 0  # a run that looks for changes counts each such document as quarantined
        with self._lock:
            return retried(
                self._connection, self._retry_seconds, "reading quarantine", self._newer_in_quarantine
            )

    def _newer_in_quarantine(self, session: Session) -> int:
        by_load = ledger.newer_in_quarantine(session)
        if not by_load:
            return 0
        origin = (self._source_name, self._plan.contract)
        return sum(
            by_load.get(run.load_id, 0)
            for run in runs.read_runs(session)
            if (run.source_name, run.contract) == origin
        )

    def writer(self, index: int) -> DatabaseBatchWriter:
        """Return a writer with a connection of its own."""
        if self._dry_run:
            raise ValueError("a dry run writes nothing")
        return DatabaseBatchWriter(
            self._engine,
            self._plan,
            self._digests,
            self.load_id,
            self._retry_seconds,
            f"xml_extractor writer {index}",
            self._book,
            self._numbers,
        )

    def finish(self, state: RunState, summary: Mapping[str, Any]) -> None:
        """Record how the load ended; over a fresh connection, because an old one may have been aborted."""
        if self._dry_run:
            return
        now = utc_now()
        with Connection(self._engine, "xml_extractor finish", threading.Event()) as connection:
            retried(
                connection,
                self._retry_seconds,
                "recording the end of the load",
                lambda session: self._write_end(session, state, summary, now),
            )

    def _write_end(
        self, session: Session, state: RunState, summary: Mapping[str, Any], now: datetime
    ) -> None:
        failpoints.hit("run_finish", session)
        runs.finish(session, self.load_id, state, summary, now)

    def abort(self) -> None:
        """End a waiting lookup."""
        self._aborted.set()
        self._connection.abort()

    def close(self) -> None:
        """Let go of the ledger's connection, and of the turn to fill tables or build keys."""
        self._connection.close()
        if self.owed_keys is not None:
            self.owed_keys.turn.close()
