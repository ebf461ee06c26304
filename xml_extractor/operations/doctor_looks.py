"""The looks that ``doctor`` takes at each side, whatever the engine, each with its findings."""

from __future__ import annotations

import statistics
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final

from xml_extractor.contract import Contract
from xml_extractor.engines.base import BatchEstimate, Engine, FaultKind, Finding, Health, Session, table_specs
from xml_extractor.errors import ExitCode, LoaderError
from xml_extractor.mapping.interpreter_choice import InterpreterChoice, serving
from xml_extractor.mapping.records import Row
from xml_extractor.operations.load import source_name
from xml_extractor.processing.chunks import CHUNK_DOCUMENTS
from xml_extractor.processing.document_worker import DocumentWorker
from xml_extractor.settings import KeysWhen, LoadOptions, OnChange, OnPlanChange
from xml_extractor.target import bookkeeping, owed_keys, schema_check
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.failures import is_bug

APPLICATION: Final = "xml_extractor doctor"

ROUND_TRIPS: Final = 20
"""Round trips that are timed; their median leaves the odd slow one out."""

FAR_MILLISECONDS: Final = 5.0
"""A round trip longer than this is felt: inside a data centre one takes well below 1 ms, between two
regions tens of milliseconds."""

SAMPLE_DOCUMENTS: Final = 50
"""The first documents of the source, which are mapped to judge how many rows a batch will bring."""

_OWN_TRIPS: Final = 4
"""Round trips of a batch beside those for its tables: begin, two for the ledger, commit."""


class _Lost(Exception):
    """The connection is gone, and with it the rest of what was to be looked at."""

    def __init__(self, finding: Finding, exit_code: ExitCode) -> None:
        super().__init__(finding.text)
        self.finding = finding
        self.exit_code = exit_code


class Looker(ABC):
    """Collects findings of one side; a look that fails is a finding and does not end the others."""

    name: str
    failure: ExitCode

    def __init__(self, engine: Engine, contract: Contract, options: LoadOptions) -> None:
        self.engine = engine
        self.plan = contract.plan
        self.contract = contract
        self.options = options
        self.found: list[Finding] = []

    def look(self) -> ExitCode | None:
        """Look at everything there is to see; return why it could not be looked at, if so."""
        failure = None
        try:
            session = self.connect()
            if session is not None:
                try:
                    self.look_at(session)
                finally:
                    session.close()
        except _Lost as lost:
            self.found.append(lost.finding)
            failure = lost.exit_code
        return failure

    def connect(self) -> Session | None:
        """Connect for reading; None where there is nothing yet to connect to, and nothing wrong with that."""
        started = time.perf_counter()
        try:
            session = self.engine.connect(write=False, application=APPLICATION)
        except Exception as error:
            if not isinstance(error, LoaderError) and is_bug(self.engine, error):
                raise
            if isinstance(error, LoaderError):
                text, code = str(error), ""
            else:
                fault = self.engine.classify(error)
                text, code = fault.message, fault.code
            absent = self.absent() if code == "cannot_open" else None
            if absent is not None:
                self.found.append(absent)
                return None
            if isinstance(error, LoaderError):
                raise _Lost(Finding(Health.PROBLEM, "connection", text), error.exit_code) from error
            cure = (
                f"correct --{self.name} and its password, or see to it that the server is running and "
                "can be reached from here"
            )
            raise _Lost(Finding(Health.PROBLEM, "connection", text, cure), self.failure) from error
        milliseconds = (time.perf_counter() - started) * 1000
        self.add(Health.GOOD, "connection", f"connected in {milliseconds:,.0f} ms")
        return session

    def absent(self) -> Finding | None:
        """What is to be said of a database that is not there; None = it should be."""
        return None

    @abstractmethod
    def look_at(self, session: Session) -> None:
        """Look at everything through an open connection."""

    def add(self, health: Health, subject: str, text: str, cure: str | None = None) -> None:
        self.found.append(Finding(health, subject, text, cure))

    def guarded(self, subject: str, look: Callable[[], Iterable[Finding]]) -> bool:
        """Make one look; return whether it came to its end."""
        try:
            for finding in look():
                self.found.append(finding)  # one by one: what was found before a failure is kept
        except LoaderError as error:
            self.add(Health.PROBLEM, subject, str(error))
        except Exception as error:
            if is_bug(self.engine, error):
                raise
            fault = self.engine.classify(error)
            if fault.kind is FaultKind.DISCONNECTED:
                cure = "see to it that the server stays up and reachable, and look again"
                raise _Lost(Finding(Health.PROBLEM, subject, fault.message, cure), self.failure) from error
            self.add(
                Health.PROBLEM, subject, f"could not be looked at: {fault.message}",
                "mend the cause, and look again",
            )  # fmt: skip
        else:
            return True
        return False

    def driver(self, session: Session) -> Iterator[Finding]:
        if session.driver:
            yield Finding(Health.GOOD, "driver", session.driver)

    def round_trip(self, session: Session) -> float:
        """The median time of a query that does nothing, in milliseconds."""
        seconds = []
        for _ in range(ROUND_TRIPS):
            started = time.perf_counter()
            session.query("SELECT 1")
            seconds.append(time.perf_counter() - started)
        return statistics.median(seconds) * 1000


class SourceLooker(Looker):
    name = "source"
    failure = ExitCode.SOURCE_FAILED

    def __init__(self, engine: Engine, contract: Contract, options: LoadOptions, *, embedded: bool) -> None:
        super().__init__(engine, contract, options)
        self.batch: BatchEstimate | None = None
        self._embedded = embedded

    def look(self) -> ExitCode | None:
        self.guarded("interpreter", _interpreter)  # whether there are documents to be had or not
        return super().look()

    def absent(self) -> Finding | None:
        if not self._embedded:
            return None
        text = "the embedded default is not there yet; the first load makes it and fills it with samples"
        return Finding(Health.NOTE, "embedded default", text)

    def look_at(self, session: Session) -> None:
        source = self.plan.source
        if self._embedded and source.table not in session.table_names():
            self.add(
                Health.NOTE, "embedded default",
                f"it has no {source.table} yet; the first load makes it and fills it with samples",
            )  # fmt: skip
            return
        self.guarded("driver", lambda: self.driver(session))
        self.guarded("round trip", lambda: self._distance(session))
        if self.guarded(f"key of {source.table}", lambda: self._key(session)):
            self.guarded("documents", lambda: self._documents(session))
            if self.options.keys_when is KeysWhen.AFTER:
                self.guarded("keys", lambda: self._text_keys(session))
        self.guarded("source", lambda: self.engine.examine_source(session, source))

    def _distance(self, session: Session) -> Iterator[Finding]:
        milliseconds = self.round_trip(session)
        most = CHUNK_DOCUMENTS * 1000 / milliseconds
        text = f"{_ms(milliseconds)} (median of {ROUND_TRIPS})"
        if milliseconds <= FAR_MILLISECONDS:
            yield Finding(Health.GOOD, "round trip", text)
            return
        yield Finding(
            Health.NOTE,
            "round trip",
            f"{text}: far away; every {CHUNK_DOCUMENTS} documents wait for one, so that one connection reads "
            f"{most:,.0f} documents/s at most",
            "run the loader nearer to the source; --executor process reads over a connection for each worker",
        )

    def _key(self, session: Session) -> Iterator[Finding]:
        source = self.plan.source
        problem = self.engine.key_problem(session, source)
        if problem is not None:
            yield Finding(Health.PROBLEM, f"key of {source.table}", problem)
        else:
            yield Finding(Health.GOOD, f"key of {source.table}", f"{source.key}: each key once, none NULL")

    def _text_keys(self, session: Session) -> Iterable[Finding]:
        page = session.key_page(self.plan.source, None, None, None, 1)
        if any(isinstance(key, str) for key in page):
            owed_keys.refuse_text_keys(self.plan)
        return ()

    def _documents(self, session: Session) -> Iterator[Finding]:
        """Read and map the first documents: that they can be read, and what a batch of such brings."""
        source = self.plan.source
        if any(finding.health is Health.PROBLEM for finding in self.found):
            return
        page = session.key_page(source, None, None, None, SAMPLE_DOCUMENTS)
        keys = [key for key in page if key is not None]
        if not keys:
            yield Finding(
                Health.NOTE, "documents", f"{source.table} is empty: there is nothing to load",
                "put documents into it, by `stage` or otherwise",
            )  # fmt: skip
            return
        documents = session.documents(source, keys)
        worker = DocumentWorker(self.plan, datetime.now(UTC), _sizes, needs_hash=False)
        records = [worker.process(document) for document in documents]
        loaded = [record for record in records if record.row_counts]
        refused = len(records) - len(loaded)
        if loaded:
            per_batch = self.options.batch_size / len(loaded)
            rows = [sum(counts) for counts in zip(*(record.row_counts for record in loaded), strict=True)]
            self.batch = BatchEstimate(
                self.options.batch_size,
                {
                    table.name: round(count * per_batch)
                    for table, count in zip(self.plan.tables, rows, strict=True)
                },
                round(sum(record.size_bytes for record in loaded) * per_batch),
            )
        text = f"the first {len(records):,} can be read; {len(loaded):,} of them map by this contract"
        if not refused:
            yield Finding(Health.GOOD, "documents", text)
        else:
            codes = sorted({record.rejection.code for record in records if record.rejection is not None})
            yield Finding(
                Health.WARNING if refused > len(loaded) else Health.NOTE,
                "documents", f"{text}, {refused:,} would not be loaded ({', '.join(codes)})",
                "look at these documents and at the contract; a load with --dry-run --limit 1000 says more",
            )  # fmt: skip


class TargetLooker(Looker):
    name = "target"
    failure = ExitCode.TARGET_FAILED

    def __init__(
        self,
        source: Engine,
        target: DatabaseTarget,
        contract: Contract,
        options: LoadOptions,
        batch: BatchEstimate | None,
    ) -> None:
        super().__init__(target.engine, contract, options)
        self._source = source
        self._target = target
        self._batch = batch

    def look(self) -> ExitCode | None:
        failure = super().look()
        if self.options.keys_when is KeysWhen.AFTER:  # whether there is a database yet or not
            self.guarded("keys", self._keys_after)
        return failure

    def absent(self) -> Finding | None:
        if not self.options.create_tables:
            return None
        return Finding(Health.NOTE, "database", "it is not there yet; a load with --create-tables makes it")

    def look_at(self, session: Session) -> None:
        self.guarded("driver", lambda: self.driver(session))
        self.guarded("round trip", lambda: self._distance(session))
        ready = False
        before = len(self.found)
        if self.guarded("tables", lambda: self._tables(session)):
            ready = all(finding.health is Health.GOOD for finding in self.found[before:])
        if ready:
            self.guarded("ledger", self._ledger)
        if self.engine.insert_paths:
            self.guarded("insert path", lambda: self._insert_path(ready=ready))
        specs = [*table_specs(self.plan), *bookkeeping.bookkeeping_specs()]
        self.guarded("target", lambda: self.engine.examine_target(session, self.plan, specs, self._batch))

    def _distance(self, session: Session) -> Iterator[Finding]:
        milliseconds = self.round_trip(session)
        trips = len(self.plan.tables) + _OWN_TRIPS
        text = (
            f"{_ms(milliseconds)} (median of {ROUND_TRIPS}); a batch waits for about {trips}, "
            f"{_ms(trips * milliseconds)}"
        )
        if milliseconds <= FAR_MILLISECONDS:
            yield Finding(Health.GOOD, "round trip", text)
            return
        yield Finding(
            Health.NOTE,
            "round trip",
            f"far away: {text}",
            "run the loader nearer to the target; a larger --batch-size and more --insert-threads hide it",
        )

    def _tables(self, session: Session) -> Iterator[Finding]:
        engine, plan = self.engine, self.plan
        for problem in engine.unsupported(plan):
            yield Finding(Health.PROBLEM, "contract", problem, "change the contract")
        missing, problems = schema_check.compared(engine, session, plan)
        for problem in problems:
            yield Finding(
                Health.PROBLEM, "tables", problem,
                f"{problem}: change the table or the contract (`contract ddl --dialect {engine.name}`)",
            )  # fmt: skip
        lost = schema_check.lost_tables(session, plan, missing)
        if lost is not None:
            yield Finding(Health.PROBLEM, "tables", lost.text, lost.cure)
        elif missing:
            text = f"{len(missing)} of {len(plan.tables) + len(bookkeeping.TABLES)} tables are not there yet"
            names = ", ".join(missing)
            if self.options.create_tables:
                yield Finding(
                    Health.NOTE, "tables", f"{text}; a load creates them (--create-tables): {names}"
                )
            else:
                yield Finding(
                    Health.PROBLEM, "tables", f"{text}: {names}",
                    "give --create-tables, or have an administrator run what `contract ddl --dialect "
                    f"{engine.name}` prints",
                )  # fmt: skip
        elif not problems:
            yield Finding(
                Health.GOOD, "tables", f"{len(plan.tables)} tables of the contract are there, and fit"
            )
        if bookkeeping.SCHEMA not in missing:
            yield from self._bookkeeping(session)

    def _bookkeeping(self, session: Session) -> Iterator[Finding]:
        version, present = bookkeeping.installed_version(session), bookkeeping.SCHEMA_VERSION
        if 0 < version < present:
            text = f"version {version} of the load_ tables; the next load upgrades them to {present}"
            yield Finding(Health.NOTE, "bookkeeping", text)
        else:
            yield Finding(Health.GOOD, "bookkeeping", f"version {present} of the load_ tables")
        if version == present:
            yield from self._owed_keys(session)

    def _keys_after(self) -> Iterator[Finding]:
        self._target.refuse_keys_after(
            self.plan,
            replaces=self.options.on_change is OnChange.REPLACE
            or self.options.on_plan_change is OnPlanChange.RELOAD,
        )
        yield Finding(Health.GOOD, "keys", "tables that a load creates can get their keys after it")

    def _owed_keys(self, session: Session) -> Iterator[Finding]:
        tables = [table.spec.name for table in owed_keys.read(session)]
        if tables:
            yield Finding(
                Health.WARNING, "keys",
                f"{', '.join(tables)} have yet to get their keys (--keys after): what reads them by key "
                "reads them whole",
                "run the load of their source to its end, which builds the keys",
            )  # fmt: skip

    def _ledger(self) -> Iterator[Finding]:
        """What a load would find in the ledger, and whether it would refuse to go on from there."""
        handle = self._target.prepare(
            self.plan,
            source_name=source_name(self.options, self.contract, self._source),
            source_name_explicit=self.options.source_name is not None,
            create_tables=bool(self.options.create_tables),
            dry_run=True,
            on_plan_change=self.options.on_plan_change.value,
            settings={},
        )
        try:
            text = (
                f"load {handle.load_id} was interrupted, or is running; a load would go on with it"
                if handle.resumed
                else "no load of this contract is unfinished"
            )
        finally:
            handle.close()
        yield Finding(Health.GOOD, "ledger", text)

    def _insert_path(self, *, ready: bool) -> Iterator[Finding]:
        wanted = self.options.insert_path.value
        if not ready:
            text = f"{wanted}: settled when the tables are there and fit"
            yield Finding(Health.NOTE, "insert path", text)
            return
        session = self.engine.connect(write=True, application=APPLICATION)
        try:
            settled = self.engine.settled(session, self.plan)
        finally:
            session.rollback()
            session.close()
        path, reason = settled.insert_path or wanted, settled.insert_path_reason
        yield Finding(Health.GOOD, "insert path", path if reason is None else f"{path}: {reason}")


def _interpreter() -> Iterator[Finding]:
    """Which interpreter makes rows of the source's documents."""
    choice, why_not = serving()
    if choice is InterpreterChoice.NATIVE:
        yield Finding(Health.GOOD, "interpreter", "native: documents are mapped by compiled code")
    else:
        text = f"Python, at a third of the native one's speed: {why_not}"
        yield Finding(Health.NOTE, "interpreter", text)


def _sizes(rows: tuple[list[Row], ...]) -> tuple[tuple[Any, ...], int]:
    """Judge the bytes of rows as a server stores them; nothing is encoded.  A :class:`RowEncoder`."""
    values = (value for table in rows for row in table for value in row if value is not None)
    size = 0
    for value in values:
        # Two bytes a character as in nvarchar, eight for what is neither text nor bytes.
        size += 2 * len(value) if isinstance(value, str) else len(value) if isinstance(value, bytes) else 8
    return (), size


def _ms(milliseconds: float) -> str:
    digits = 0 if milliseconds >= 10 else 1 if milliseconds >= 1 else 2
    return f"{milliseconds:,.{digits}f} ms"
