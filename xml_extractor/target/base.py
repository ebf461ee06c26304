"""What the pipeline may ask of a target, whatever it is: a database, files, or nothing at all.

Who uses what: the coordinator calls :meth:`Target.prepare` once and gets a :class:`LoadHandle`; the
thread that pages through the source's keys asks :meth:`LoadHandle.lookup`; each insert thread owns one
:class:`BatchWriter`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import (
    DocumentRecord,
    Key,
    Look,
    Previous,
    Rejection,
    Renewal,
    Stage,
    State,
)
from xml_extractor.target.ranges import FinishedRange, Stretch

if TYPE_CHECKING:
    from xml_extractor.target.key_work import OwedKeys


class RunState(Enum):
    """How a load stands in ``load_runs``.  All but FINISHED, and those that are or were rolled back, be it in
    part (FAILED, with an end time), can be resumed by the same command."""

    RUNNING = "running"
    FINISHED = "finished"
    STOPPED = "stopped"  # by a signal, after what was in flight had been committed
    FAILED = "failed"
    HALTED = "halted"  # by a guard, before it did harm
    ROLLING_BACK = "rolling_back"  # or its rollback was interrupted: the same command finishes it
    ROLLED_BACK = "rolled_back"


@dataclass(frozen=True, slots=True)
class RefusedVersion:
    """What quarantine says of one document: of itself, or of a newer version beside the loaded one."""

    stage: Stage
    document_hash: bytes | None
    plan_digest: str  # of the load that refused it


class LedgerEntry(NamedTuple):
    """What the ledger says of one document.  One is made for each known key of a page, so it is light."""

    key: Key
    state: State
    load_id: int
    batch: int
    plan_digest: str  # of the load that committed it
    mark: int
    """What its row adds to the content of its range; see :mod:`xml_extractor.target.ranges`."""
    document_hash: bytes | None = None
    """This and ``refused`` only where they were asked for: with ``on_change`` report or replace."""
    refused: RefusedVersion | None = None

    @property
    def previous(self) -> Previous:
        """The entry as a record carries it that is to replace it."""
        return Previous(self.state, self.batch, self.plan_digest, self.document_hash)

    def to_look_at(self, renewal: Renewal, plan_digest: str) -> Previous | None:
        """The entry as the worker wants it that is to find out whether the document has changed.

        Args:
            plan_digest: of the present load.

        Returns:
            None where there is nothing to be compared: what ended its workers has left no hash, also where it
            was taken out of quarantine since.
        """
        refused = self.refused
        if self.state is State.SKIPPED and self.document_hash is None:
            return None
        if refused is not None and refused.stage is Stage.WORKER and refused.document_hash is None:
            return None
        previous = replace(self.previous, renewal=renewal, other_plan=self.plan_digest != plan_digest)
        if refused is None or self.state is not State.LOADED:
            return previous
        # What another version of the contract refused may be taken by this one.
        same_plan = refused.plan_digest == plan_digest
        refused_hash = (refused.document_hash or b"") if same_plan else None
        return replace(previous, has_refused=True, refused_hash=refused_hash)

    @property
    def counts_as(self) -> State:
        """What the document is counted as that is left as it is: quarantined, too, where its newer version
        is."""
        return self.state if self.refused is None else State.QUARANTINED


Settled = tuple[Key, State, int, bool]
"""A document whose fate has been committed: its key, what it counts as in a summary, what its ledger row adds
to the content of its range, and whether it stays as another version of the contract settled it."""


@dataclass(frozen=True, slots=True)
class RejectedByTarget:
    """A document that the target refused and that was put into quarantine for it."""

    key: Key
    rejection: Rejection


@dataclass(slots=True)
class BatchResult:
    """What became of the records of one batch; the four counts sum to the number of records.

    A document that another loader settled in the meantime is counted by what the ledger says of it:
    ``already_loaded``, ``quarantined`` or ``skipped``.
    """

    rows: tuple[int, ...]
    """Rows committed per table, in the plan's order."""
    loaded: int = 0
    already_loaded: int = 0
    quarantined: int = 0
    skipped: int = 0
    seconds: float = 0.0
    """From the first statement of the batch to the end of its last commit, retries included."""
    attempts: int = 0
    """Transactions begun: 1, unless something was retried or bisected."""
    claim_seconds: float = 0.0
    """Of ``seconds``: entering documents into the ledger, deleting what they replace, quarantine.  These four
    make up ``seconds``."""
    table_seconds: dict[str, float] = field(default_factory=dict)
    """Of ``seconds``: writing rows, table → seconds."""
    commit_seconds: float = 0.0
    """Of ``seconds``: waiting for commits."""
    retry_seconds: float = 0.0
    """Of ``seconds``: attempts that came to nothing, and waiting before the next one."""
    rejected: list[RejectedByTarget] = field(default_factory=list)
    """Documents among ``quarantined`` that it was the target that refused."""
    document_rows: tuple[int, ...] = ()
    """Rows per table of the documents counted as loaded, as the workers counted them (law 3 compares)."""
    truncated_values: int = 0
    """Values cut to fit, in the documents counted as loaded."""
    unknown_elements: Counter[str] = field(default_factory=Counter)
    """Elements that the contract does not know: name → documents counted as loaded that hold it."""
    quarantine_reasons: Counter[str] = field(default_factory=Counter)
    """Rejection code → documents that this batch put into quarantine, those ``rejected`` included."""
    changed: int = 0
    """Documents whose content was found to have changed since the ledger took note of it."""
    changed_keys: list[Key] = field(default_factory=list)
    """Of those that were only to be reported."""
    replaced: int = 0
    """Of those that changed: the old version was deleted, in the same transaction."""
    other_plan: int = 0
    """Documents settled under another plan that were looked at, and left as they are."""
    settled: list[Settled] = field(default_factory=list)
    """All records of the batch, in no particular order; empty where the target keeps no ledger."""

    def count_look(self, record: DocumentRecord, mark: int = 0) -> None:
        """Count a document whose look says that the ledger's row, which has this mark, stays as it is."""
        if record.state is State.LOADED:
            self.already_loaded += 1
        elif record.state is State.QUARANTINED:
            self.quarantined += 1
        else:
            self.skipped += 1
        if record.look is Look.CHANGED:
            self.changed += 1
            self.changed_keys.append(record.key)
        previous = record.previous
        other_plan = previous is not None and previous.other_plan and previous.state is not State.QUARANTINED
        self.other_plan += other_plan
        self.settled.append((record.key, record.state, mark, other_plan))


class BatchWriter(ABC):
    """Commits batches.  Belongs to one thread, save for :meth:`abort`."""

    @abstractmethod
    def commit_batch(self, records: Sequence[DocumentRecord]) -> BatchResult:
        """Commit all of these records, whatever it takes, and say what became of each.

        Raises:
            TargetError: the target is gone for good, or refuses work for a reason that is no
                document's fault.  What had been committed stays; the same command resumes.
        """

    def connect(self) -> None:  # noqa: B027 - not all targets have connections
        """Connect now, in one attempt, instead of at the first batch.

        Raises:
            TargetError: the target does not let the writer in; the message names the cause.
        """

    def record_ranges(self, ranges: Sequence[FinishedRange]) -> None:  # noqa: B027 - not all targets keep them
        """Write down ranges of keys that are finished; their documents have been committed, by whomever.

        Raises:
            TargetError: the target is gone for good, or refuses.
        """

    @abstractmethod
    def abort(self) -> None:
        """Make a :meth:`commit_batch` that is waiting, in any thread, end at once with TargetError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the connection; never raises."""


class LoadHandle(ABC):
    """One load, prepared: its identity, what is known of documents, and writers."""

    load_id: int
    """0 where the target keeps no ledger, and in a dry run that resumes nothing."""
    started_at: datetime
    """UTC with microseconds; kept when a load is resumed, because GETUTCDATE() answers it."""
    resumed: bool
    state_before: RunState | None = None
    """How a load that is resumed stood before; None for a new one."""
    encoder: RowEncoder | None = None
    """What workers encode rows with; None = nothing to encode, records carry only counts."""
    insert_path: str | None = None
    """The way in that the target settled on, for the summary; None where there is nothing to choose."""
    keeps_ranges: bool = False
    """Whether ranges of keys that this run finishes are to be written down."""
    owed_keys: OwedKeys | None = None
    """What the load's tables owe of keys, to be built when everything is loaded; None = nothing."""

    def open_ranges(self, scope: str) -> list[Stretch]:
        """Say what this run is to cover; return, as they follow each other in the source, the stretches of
        keys that earlier runs of this load have finished of just that.

        Called once, before any key is read and any writer made.

        Args:
            scope: the same for runs that settle the same documents in the same way; empty for a run that
                finishes no ranges.

        Raises:
            TargetError: the target did not answer within the retry time.
        """
        return []

    def record_ranges(self, ranges: Sequence[FinishedRange]) -> None:  # noqa: B027 - not all targets keep them
        """Write down what was finished and is not written down when the run has ended.

        Raises:
            TargetError: it could not be written.
        """

    @abstractmethod
    def lookup(self, keys: Sequence[Key]) -> dict[Key, LedgerEntry]:
        """Return what the ledger says of those of these keys that it knows.  Thread-safe.

        Raises:
            TargetError: the target did not answer within the retry time.
        """

    def newer_in_quarantine(self) -> int:
        """Return how many documents of this source and contract are loaded in an older version while a newer
        one is in quarantine, and were not counted as quarantined by :meth:`lookup`.

        Asked once, at the end of a run.  Thread-safe.

        Raises:
            TargetError: the target did not answer within the retry time.
        """
        return 0

    @abstractmethod
    def writer(self, index: int) -> BatchWriter:
        """Return a writer for the insert thread with this number; it connects on first use."""

    @abstractmethod
    def finish(self, state: RunState, summary: Mapping[str, Any]) -> None:
        """Record how the load ended.  With any state but FINISHED the same command resumes it.

        Raises:
            TargetError: it could not be recorded.
        """

    @abstractmethod
    def abort(self) -> None:
        """Make a :meth:`lookup` that is waiting, in any thread, end at once with TargetError."""

    @abstractmethod
    def close(self) -> None:
        """Let go of the handle's own connection; never raises.  Writers are closed by their owners."""


class Target(ABC):
    """Where rows go.  Immutable and thread-safe; nothing is opened before :meth:`prepare`."""

    max_insert_threads: int | None = None
    """The most writers that can work at once, or None for no limit."""
    has_keys: bool = True
    """Whether what is written has keys, which might come after the load (``--keys after``)."""
    needs_hash: bool = True
    """Whether records must carry the hash of their document."""
    database: Mapping[str, Any] = MappingProxyType({})
    """The database for labels: ``system`` (as OpenTelemetry's conventions name it), ``name``, ``server``
    (host), and ``port`` where it is not the usual one, as far as there are such."""

    @property
    @abstractmethod
    def display(self) -> str:
        """The target in words for messages, without a password."""

    @abstractmethod
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
        """Connect, check the tables, and start a load or resume an unfinished one.

        Args:
            plan: the compiled contract.
            source_name: the name under which the ledger knows the source.
            source_name_explicit: whether the user gave that name (``--source-name``).
            create_tables: create the data and bookkeeping tables that are missing.
            dry_run: write nothing at all.
            on_plan_change: ``report`` or ``reload``; the latter makes sure that old rows can be found and
                replaced.
            settings: kept with the load for the record; must hold no password.
            on_change: ``ignore``, ``report`` or ``replace``: whether :meth:`LoadHandle.lookup` has to say
                what is needed to find changed documents; ``replace`` makes sure that old rows can be found.
            keys_after: create tables without their keys (:attr:`LoadHandle.owed_keys`); where keys are no
                matter of the target's, this makes no difference.

        Raises:
            TargetError: the target cannot be reached (within 10 seconds) or refuses.
            TargetSchemaError: tables are missing or do not fit; lists all that is wrong.
            UsageError: the ledger knows this contract under another source name; or the bookkeeping
                tables are of a newer version of this program; or ``reload``, or ``keys_after``, is not
                possible.
        """
