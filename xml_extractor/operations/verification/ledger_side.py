"""What the ledger says: which documents were settled, and how many rows each left in which table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from xxhash import xxh3_128_intdigest

from xml_extractor.engines.base import Session
from xml_extractor.mapping.records import Key, State
from xml_extractor.operations.verification.subject import Subject
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE
from xml_extractor.target.content_digest import BucketSums, bucket_of, key_hash, pieces
from xml_extractor.target.ledger import DocumentDigests, counts_from_text
from xml_extractor.target.runs import Run, read_runs

T = TypeVar("T")

ROWS: Final = 5000
"""Ledger rows read at once; they are short."""

MOST_NAMED: Final = 100_000
"""Documents with damaged ledger rows that are told by name."""

_CACHED: Final = 20_000
"""Patterns of row counts that are kept as they were read; most documents share a few."""

_STATES: Final = {state.value: state for state in State}


@dataclass(slots=True)
class LedgerSums:
    """What the whole ledger adds up to."""

    keys: BucketSums = field(default_factory=BucketSums)
    """This source's documents, by digest."""
    quarantined: BucketSums = field(default_factory=BucketSums)
    """Those of them in quarantine."""
    tables: dict[str, BucketSums] = field(default_factory=dict)
    """Rows of all documents by what the table's key column holds, for the tables that carry the key."""
    rows: Counter[str] = field(default_factory=Counter)
    """Rows of all documents, by table."""
    states: Counter[State] = field(default_factory=Counter)
    """This source's documents, by state."""
    other_plan: int = 0
    """Of those loaded, such as were loaded under another version of the contract."""
    others: int = 0
    """Loaded documents of other sources and contracts that have rows in the same tables."""
    damaged: list[Key] = field(default_factory=list)
    """This source's documents whose ledger row cannot be read, or names a load that is not there."""
    damaged_count: int = 0
    """All such rows, whoever's."""


class UnknownLoads(Exception):
    """Ledger rows name loads that were not there when ``load_runs`` was read."""

    def __init__(self, load_ids: set[int]) -> None:
        super().__init__(load_ids)
        self.load_ids = load_ids


@dataclass(frozen=True, slots=True)
class Share:
    """What one pattern of row counts of one load means for the tables of this contract."""

    own: bool
    same_plan: bool
    rows: tuple[tuple[str, int], ...]
    """Table and number of rows, where there are any."""


class Ledger:
    """Reads the ledger by the loads that its rows name.  One thread's.

    Args:
        runs: all loads of the target.
        gone: ids of loads that are known to be missing: their rows are damaged.
    """

    def __init__(self, subject: Subject, runs: Sequence[Run], gone: frozenset[int] = frozenset()) -> None:
        self._subject = subject
        self._runs = {run.load_id: run for run in runs}
        self._gone = gone
        self._shares: dict[tuple[int, str], Share | None] = {}
        self._digests: dict[int, DocumentDigests] = {}
        self._names = {table.name for table in subject.plan.tables}
        self._makes = tuple(set(subject.keyed_tables.values()))

    @property
    def runs(self) -> Iterable[Run]:
        """All loads of the target."""
        return self._runs.values()

    def share(self, load_id: int, counts: str) -> Share | None:
        """Return what row counts mean; None where they cannot be read.

        Raises:
            UnknownLoads: it is not known whether there is such a load.
        """
        at = (load_id, counts)
        try:
            return self._shares[at]
        except KeyError:
            pass
        if len(self._shares) >= _CACHED:
            self._shares.clear()
        made = self._shares[at] = self._share(load_id, counts)
        return made

    def _share(self, load_id: int, text: str) -> Share | None:
        run = self._runs.get(load_id)
        if run is None:
            if load_id in self._gone:
                return None
            raise UnknownLoads({load_id})
        try:
            counts = counts_from_text(text)
        except ValueError:
            return None
        if (counts and len(counts) != len(run.tables)) or any(count < 0 for count in counts):
            return None
        rows = tuple(
            (name, count)
            for name, count in zip(run.tables, counts, strict=False)
            if count and name in self._names
        )
        return Share(self._subject.is_own(run), run.plan_digest == self._subject.plan.digest, rows)

    def key(self, load_id: int, digest: bytes, text: str) -> Key | None:
        """Return the key of a ledger row; None where it cannot be told."""
        digests = self._digests.get(load_id)
        if digests is None:
            run = self._runs[load_id]
            digests = self._digests[load_id] = DocumentDigests(run.source_name, run.contract)
        return digests.key(digest, text)

    def value_texts(self, load_id: int, digest: bytes, text: str) -> dict[Callable[[Key], Any], str]:
        """Return what key columns hold for a document, as text, by the function that makes it of a key.

        A function is missing where it cannot make anything of the key.
        """
        texts: dict[Callable[[Key], Any], str] = {}
        # Only a text with a backslash may be another than the key's own.
        key: Key | None = self.key(load_id, digest, text) if "\\" in text else text
        for make in self._makes:
            try:
                texts[make] = str(make(text if key is None else key))
            except ValueError:
                continue
        return texts


def with_runs(session: Session, subject: Subject, call: Callable[[Ledger], T]) -> T:
    """Call with the ledger as it can be read now; once more where a load began in the meantime."""
    gone: frozenset[int] = frozenset()
    while True:
        runs = read_runs(session)
        try:
            return call(Ledger(subject, runs, gone))
        except UnknownLoads as unknown:
            known = {run.load_id for run in read_runs(session)}
            gone = gone | (frozenset(unknown.load_ids) - known)


def ledger_sums(session: Session, subject: Subject, read: Callable[[int], None]) -> LedgerSums:
    """Add up the ledger, in one pass.

    Args:
        read: told how many rows were read, after each piece.
    """
    return with_runs(session, subject, lambda ledger: _sums(session, subject, ledger, read))


def _sums(session: Session, subject: Subject, ledger: Ledger, read: Callable[[int], None]) -> LedgerSums:
    sums = LedgerSums(tables={name: BucketSums() for name in subject.keyed_tables})
    keyed = subject.keyed_tables
    loaded = State.LOADED.value
    sql = f"SELECT digest, source_key, state, load_id, row_counts FROM {session.table(LEDGER)}"
    for rows in pieces(session, sql, ROWS):
        for digest, text, state, load_id, counts in rows:
            share = ledger.share(load_id, counts)
            if share is None or state not in _STATES:
                sums.damaged_count += 1
                key = subject.digests.key(bytes(digest), text)
                if key is not None:
                    sums.keys.add(*digest_place(digest))
                    sums.damaged += [key] if len(sums.damaged) < MOST_NAMED else []
                continue
            if share.own:
                bucket, number = digest_place(digest)
                sums.keys.add(bucket, number)
                sums.states[_STATES[state]] += 1
                if state == State.QUARANTINED.value:
                    sums.quarantined.add(bucket, number)
                elif state == loaded and not share.same_plan:
                    sums.other_plan += 1
            elif share.rows and state == loaded:
                sums.others += 1
            if state != loaded or not share.rows:
                continue
            texts = ledger.value_texts(load_id, digest, text)
            hashes = {make: key_hash(made) for make, made in texts.items()}
            for name, count in share.rows:
                sums.rows[name] += count
                make = keyed.get(name)
                if make in hashes:
                    sums.tables[name].add_keyed(hashes[make], count)
        read(len(rows))
    return sums


def quarantine_sums(session: Session, subject: Subject, read: Callable[[int], None]) -> BucketSums:
    """Add up the digests of this source's documents in ``load_quarantine``, in one pass."""

    def add_up(ledger: Ledger) -> BucketSums:
        sums = BucketSums()
        for rows in pieces(session, f"SELECT digest, load_id FROM {session.table(QUARANTINE)}", ROWS):
            for digest, load_id in rows:
                share = ledger.share(load_id, "")
                if share is not None and share.own:
                    sums.add(*digest_place(digest))
            read(len(rows))
        return sums

    return with_runs(session, subject, add_up)


def digest_place(digest: bytes) -> tuple[int, int]:
    """Return the bucket of a document's digest, and a hash of it: digests themselves follow one another, so
    that many sets of them have the same sum."""
    hashed = xxh3_128_intdigest(digest)
    return bucket_of(hashed), hashed


def own_rows(
    session: Session, ledger: Ledger, read: Callable[[int], None], after: bytes = b""
) -> Iterator[list[tuple[bytes, str, str, int]]]:
    """Yield the ledger rows of this source in lists, in the order of their digests: digest, source_key, state
    and load_id.

    Args:
        after: begin beyond this digest.
    """
    sql = (
        f"SELECT digest, source_key, state, load_id FROM {session.table(LEDGER)} "
        "WHERE digest > ? ORDER BY digest"
    )
    for rows in pieces(session, sql, ROWS, (after,)):
        own = []
        for digest, text, state, load_id in rows:
            share = ledger.share(load_id, "")
            if share is not None and share.own:
                own.append((bytes(digest), text, state, load_id))
        yield own
        read(len(rows))
