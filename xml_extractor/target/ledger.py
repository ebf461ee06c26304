"""The ledger: who a document is, and what is known of it (law 2)."""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from xml_extractor.engines.base import Session
from xml_extractor.mapping.records import DocumentRecord, Key, Stage, State
from xml_extractor.target.base import LedgerEntry, RefusedVersion
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE, RUNS
from xml_extractor.target.ranges import ledger_mark
from xml_extractor.target.timestamps import from_database

DIGEST_BYTES: Final = 16
"""128 bits: among a billion documents two share a digest with a probability below 2e-21."""

PREFIX_BYTES: Final = 8
"""Of the digest of a document whose key is a whole number: which source and contract it is of.  The number
follows, so that digests have the order of the keys: a load enters them at one place of the ledger's index,
one after the other, and not all over it, which took half as much time again for a million documents
(docs/benchmarks.md).  Whole numbers of more than 64 bits are hashed, as texts are."""

_HALF: Final = 1 << (8 * (DIGEST_BYTES - PREFIX_BYTES) - 1)
"""Added to a number: so the bytes of negative ones sort before those of others."""


REMEMBERED: Final = 50_000
"""Digests that are kept from looking documents up until they are entered: more than are on their way at a
time, in 8 MB.  A run that enters none, or in which documents vanish, makes room now and then."""


class DocumentDigests:
    """Makes the digests of one source's documents under one contract.  Thread-safe."""

    def __init__(self, source_name: str, contract_name: str) -> None:
        self._made: dict[Key, bytes] = {}
        self._hashed = hashlib.blake2b(digest_size=DIGEST_BYTES)
        for part in (source_name, contract_name):
            encoded = part.encode("utf-8", "surrogatepass")
            # The length first: no two pairs of names can then run together to the same bytes.
            self._hashed.update(len(encoded).to_bytes(8, "big") + encoded)
        self._prefix = self._hashed.digest()[:PREFIX_BYTES]

    def digest(self, key: Key) -> bytes:
        """Return the 16 bytes by which the ledger knows the document with this key."""
        if isinstance(key, int) and -_HALF <= key < _HALF:
            return self._prefix + (key + _HALF).to_bytes(DIGEST_BYTES - PREFIX_BYTES, "big")
        return self.hashed_digest(key)

    def hashed_digest(self, key: Key) -> bytes:
        """Return a hash of the key: the digest of a text, and up to version 3 of whole numbers too."""
        hasher = self._hashed.copy()
        hasher.update(b"i%d" % key if isinstance(key, int) else b"s" + key.encode("utf-8", "surrogatepass"))
        return hasher.digest()

    def remember(self, digests: Mapping[bytes, Key]) -> None:
        """Keep digests, with their keys, of documents that were looked up and are to be entered."""
        if len(self._made) > REMEMBERED:
            self._made = {}
        self._made.update(zip(digests.values(), digests, strict=True))

    def take(self, key: Key) -> bytes:
        """Return the digest of a document that is entered, and keep it no longer."""
        return self._made.pop(key, None) or self.digest(key)

    def key(self, digest: bytes, text: str) -> Key | None:
        """Return the key that has this digest and :func:`key_text`; None if it is none of this source's."""
        return next((key for key in candidates(text) if self.digest(key) == digest), None)


def candidates(text: str) -> list[Key]:
    """Return all keys that have this :func:`key_text`."""
    found: list[Key] = [text]
    if _WHOLE_NUMBER.fullmatch(text):
        found.insert(0, int(text))
    if "\\" in text:
        found.append(_unescaped(text))
    return found


def document_digest(source_name: str, contract_name: str, key: Key) -> bytes:
    """Return the 16 bytes by which the ledger knows a document: unique per source name, contract and key.

    The integer 5 and the text '5' are different keys.
    """
    return DocumentDigests(source_name, contract_name).digest(key)


def key_text(key: Key) -> str:
    """Return a key as the ledger shows it beside the digest.

    Characters that no database takes as text (NUL, lone surrogates) are escaped; the digest, not this
    text, tells keys apart.
    """
    return str(key) if isinstance(key, int) else storable(key)


def storable(text: str) -> str:
    """Return a text that every engine can store.

    One that holds NUL or lone surrogates has these, and its backslashes, written as escapes.
    """
    if not _NOT_STORABLE.search(text):
        return text
    escaped = text.replace("\\", "\\\\").replace("\0", "\\x00")
    return escaped.encode("utf-8", "backslashreplace").decode("utf-8")


_WHOLE_NUMBER: Final = re.compile("-?[0-9]{1,1000}")
"""What a whole number's text looks like; no database has longer ones, and Python refuses to read those."""
_NOT_STORABLE: Final = re.compile("[\0\ud800-\udfff]")
_ESCAPE: Final = re.compile(r"\\(?:(\\)|x(00)|u(d[89a-f][0-9a-f]{2}))")


def _unescaped(text: str) -> str:
    return _ESCAPE.sub(lambda match: match[1] or chr(int(match[2] or match[3], 16)), text)


def in_key_order(records: Iterable[DocumentRecord]) -> list[DocumentRecord]:
    """Sort records by key: all loaders then claim documents in one order, and cannot deadlock."""
    try:
        return sorted(records, key=_KEY_OF)
    except TypeError:  # a source with integers and texts for keys, which SQLite can hold
        return sorted(records, key=lambda record: (isinstance(record.key, str), record.key))


_KEY_OF: Final = attrgetter("key")


# ------------------------------------------------------------------------------------- row counts


def counts_text(counts: Sequence[int]) -> str:
    """Return rows per table as the ledger keeps them: ``1,2,0``."""
    try:
        return ",".join([_NUMBERS[count] for count in counts])
    except IndexError:
        return ",".join(map(str, counts))


_NUMBERS: Final = tuple(map(str, range(1000)))
"""Most documents have fewer rows than that: looking their number up takes a third of writing it out."""


def counts_from_text(text: str) -> tuple[int, ...]:
    """Read :func:`counts_text`."""
    return tuple(map(int, text.split(","))) if text else ()


# ---------------------------------------------------------------------------------------- queries


def entries(
    session: Session,
    digests: DocumentDigests,
    keys: Sequence[Key],
    plan_digests: dict[int, str],
    *,
    with_refused: bool = False,
) -> dict[Key, LedgerEntry]:
    """Return what the ledger says of those of ``keys`` that it knows.

    Args:
        plan_digests: by load id; loads that are missing are read and added.
        with_refused: say also what their documents were by hash, and what quarantine knows of them.
    """
    by_digest = {digests.digest(key): key for key in keys}
    columns = ("digest", "state", "load_id", "batch", *(("document_hash",) if with_refused else ()))
    # In the order of the primary key, so that neighbours in the index are read one after the other.
    found = session.existing(LEDGER, columns, "digest", sorted(by_digest))
    unknown = by_digest.copy()
    for row in found:
        del unknown[bytes(row[0])]
    digests.remember(unknown)
    in_quarantine = (
        session.existing(
            QUARANTINE, ("digest", "load_id", "stage", "document_hash"), "digest", [row[0] for row in found]
        )
        if with_refused
        else []
    )
    loads = {int(row[2]) for row in found} | {int(row[1]) for row in in_quarantine}
    if not loads <= plan_digests.keys():
        plan_digests.update(
            (int(load_id), str(digest))
            for load_id, digest in session.query(f"SELECT load_id, plan_digest FROM {session.table(RUNS)}")
        )
    refused = {
        bytes(digest): RefusedVersion(Stage(stage), _hash(document_hash), plan_digests.get(int(load_id), ""))
        for digest, load_id, stage, document_hash in in_quarantine
    }
    known: dict[Key, LedgerEntry] = {}
    for raw_digest, state_text, load_id, batch, *document_hash in found:
        digest, state = bytes(raw_digest), _STATES[state_text]
        key = by_digest[digest]
        known[key] = LedgerEntry(
            key,
            state,
            load_id,
            batch,
            plan_digests.get(load_id, ""),  # "": the row of load_runs was deleted
            ledger_mark(digest, state, batch),
            _hash(document_hash[0]) if document_hash else None,
            refused.get(digest),
        )
    return known


_STATES: Final = {state.value: state for state in State}


def _hash(value: Any) -> bytes | None:
    return None if value is None else bytes(value)


def document_counts(session: Session) -> dict[int, dict[State, int]]:
    """Return how many documents the ledger holds of each load, by its id and their state."""
    counts: dict[int, dict[State, int]] = {}
    rows = session.query(
        f"SELECT load_id, state, {session.count} FROM {session.table(LEDGER)} GROUP BY load_id, state"
    )
    for load_id, state, number in rows:
        counts.setdefault(int(load_id), {})[State(state)] = int(number)
    return counts


LEAST_SECONDS: Final = 1.0
"""A rate over less time than this says more about the moment than about the load."""


def commit_rate(session: Session, load_id: int) -> float | None:
    """Return how many documents a second a load has committed since its first batch.

    The first batch only starts the clock: how long it took is not in the ledger.  A batch of nothing but
    skipped documents is left out, because a purge makes such, long after the load.

    Returns:
        None where there are fewer than two batches, or less than a second from the first to the last.
    """
    batches: dict[int, tuple[int, datetime]] = {}
    working: set[int] = set()
    rows = session.query(
        f"SELECT batch, state, {session.count}, MAX(committed_at) FROM {session.table(LEDGER)} "
        "WHERE load_id = ? GROUP BY batch, state",
        (load_id,),
    )
    for batch, state, number, committed_at in rows:
        moment = from_database(committed_at)
        before, latest = batches.get(batch, (0, moment))
        batches[batch] = before + int(number), max(latest, moment)
        if State(state) is not State.SKIPPED:
            working.add(batch)
    in_order = sorted((batches[batch] for batch in working), key=lambda each: each[1])
    if len(in_order) < 2:
        return None
    seconds = (in_order[-1][1] - in_order[0][1]).total_seconds()
    if seconds < LEAST_SECONDS:
        return None
    return sum(number for number, _ in in_order[1:]) / seconds


def rows_recorded(session: Session, tables_of: Mapping[int, Sequence[str]]) -> dict[str, dict[int, int]]:
    """Return how many rows the ledger records in each table: by the table's name, then by load.

    Args:
        tables_of: of each load that is asked for, by its id, the tables that it fills, in their order.
    """
    rows: dict[str, dict[int, int]] = {}
    found = session.query(
        f"SELECT load_id, row_counts, {session.count} FROM {session.table(LEDGER)} WHERE state = ? "
        "GROUP BY load_id, row_counts",
        (State.LOADED.value,),
    )
    for load_id, text, documents in found:
        names = tables_of.get(int(load_id), ())
        for name, count in zip(names, counts_from_text(text), strict=False):  # none: no load is asked for
            if count:
                by_load = rows.setdefault(name, {})
                by_load[int(load_id)] = by_load.get(int(load_id), 0) + count * int(documents)
    return rows


def newer_in_quarantine(session: Session) -> dict[int, int]:
    """Return how many documents are loaded in an older version while a newer one is in quarantine, by the id
    of the load that the older one is of.

    Only the rows of quarantine are looked up in the ledger, however large that is.
    """
    rows = session.query(
        f"SELECT l.load_id, {session.count} FROM {session.table(QUARANTINE)} q "
        f"JOIN {session.table(LEDGER)} l ON l.digest = q.digest WHERE l.state = ? GROUP BY l.load_id",
        (State.LOADED.value,),
    )
    return {int(load_id): int(number) for load_id, number in rows}


def has_documents(session: Session, load_ids: Iterable[int]) -> bool:
    """Whether the ledger holds a document of any of these loads."""
    ids = list(load_ids)
    # Some hundred at a time: engines limit the parameters of a statement (SQL Server: 2,100).
    for start in range(0, len(ids), 500):
        some = ids[start : start + 500]
        marks = ", ".join(itertools.repeat("?", len(some)))
        rows = session.query(
            f"SELECT {session.count} FROM {session.table(RUNS)} r WHERE r.load_id IN ({marks}) "
            f"AND EXISTS (SELECT 1 FROM {session.table(LEDGER)} l WHERE l.load_id = r.load_id)",
            some,
        )
        if int(rows[0][0]):
            return True
    return False
