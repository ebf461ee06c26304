"""Finished ranges of source keys: what a resumed load need not look at again.

A range is a stretch of the source's key order, beyond one key up to and including another.  Its row in
``load_ranges`` claims that every document there was to be found in it has been settled by this load: loaded,
quarantined or skipped.  A claim must never be wrong, for a resumed load passes over what it covers:

* it is written only after the ledger rows it speaks of have been committed;
* whoever makes documents pending again, or has them settled in another way, ends all claims of loads that are
  still to be resumed, in the same transaction (:func:`forget`, :meth:`RangeBook.end_other_claims`);
* a loader at work at that moment holds claims in memory: so each load has an *epoch*, read before the run's
  first key, written into each claim, and raised by whoever ends claims; those of another epoch are ignored.

The order of text is the source's collation's, which nobody here knows: so a range carries a number by which
ranges sort as their keys do, and the source itself is asked where two ranges do not meet.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Any, Final, cast

import xxhash

from xml_extractor import failpoints
from xml_extractor.engines.base import Session
from xml_extractor.mapping.records import Key, State
from xml_extractor.target.bookkeeping import RANGES, RANGES_COLUMNS, RUNS
from xml_extractor.target.timestamps import from_database, timestamp, utc_now

CONTENT_BYTES: Final = 16
_CONTENT_MODULUS: Final = 2 ** (8 * CONTENT_BYTES)
_STATE_BYTES: Final = {state: state.value.encode() for state in State}


def ledger_mark(digest: bytes, state: State, batch: int) -> int:
    """Return what a ledger row adds to the content of its range.

    The batch number is new whenever a row is written, so that a row that was changed, taken away or put
    back is told by the sum over its range.
    """
    return tailed_mark(digest, mark_tail(state, batch))


def mark_tail(state: State, batch: int) -> bytes:
    """Return what the marks of one batch's documents in one state have in common."""
    return batch.to_bytes(8, "big") + _STATE_BYTES[state]


def tailed_mark(digest: bytes, tail: bytes) -> int:
    """Return :func:`ledger_mark` of a row whose :func:`mark_tail` is known."""
    return xxhash.xxh3_128_intdigest(digest + tail)


@dataclass(slots=True)
class RangeCounts:
    """What became of the documents of a range, by what they count as in a load's summary."""

    loaded: int = 0
    quarantined: int = 0
    skipped: int = 0
    other_plan: int = 0
    """Of those loaded or skipped, documents that were settled under another version of the contract."""
    content: int = 0
    """Sum of :func:`ledger_mark` over the range's ledger rows: the same in any order."""

    def add(self, state: State, mark: int, other_plan: bool = False) -> None:
        """Count one document."""
        if state is State.LOADED:
            self.loaded += 1
        elif state is State.QUARANTINED:
            self.quarantined += 1
        else:
            self.skipped += 1
        self.other_plan += other_plan
        self.content += mark

    def __add__(self, other: RangeCounts) -> RangeCounts:
        return RangeCounts(
            self.loaded + other.loaded,
            self.quarantined + other.quarantined,
            self.skipped + other.skipped,
            self.other_plan + other.other_plan,
            self.content + other.content,
        )

    @property
    def documents(self) -> int:
        """All of them."""
        return self.loaded + self.quarantined + self.skipped


@dataclass(frozen=True, slots=True)
class FinishedRange:
    """A range whose documents have all been settled, to be written down."""

    number: int
    after: Key | None
    """The range begins beyond this key; None = at the first one."""
    last: Key
    counts: RangeCounts


@dataclass(frozen=True, slots=True)
class Stretch:
    """Finished ranges that lie side by side, as one."""

    first_number: int
    last_number: int
    after: Key | None
    last: Key
    counts: RangeCounts
    ranges: int = 1


class RangeBook:
    """The claims of one run of a load, as its database keeps them.

    :meth:`open` comes first and belongs to one thread; the rest may be called from any, each with a session
    of its own.

    Args:
        source_name: of the load, as the ledger knows it.
        contract: of the load.
    """

    def __init__(self, load_id: int, source_name: str, contract: str) -> None:
        self._load_id = load_id
        self._source_name = source_name
        self._contract = contract
        self._scope = ""
        self._epoch = 0

    def open(self, session: Session, scope: str) -> list[Stretch]:
        """Say what this run is to cover; return what earlier runs of the load have finished of just that.

        Args:
            scope: the same for runs that settle the same documents in the same way; empty for a run that
                makes no claims.
        """
        self._scope = scope
        # Before any key is read: what is ended from now on can be told by its epoch.
        epoch = session.query(
            f"SELECT ranges_epoch FROM {session.table(RUNS)} WHERE load_id = ?", (self._load_id,)
        )
        self._epoch = int(epoch[0][0] or 0) if epoch else 0
        if not scope or not epoch:
            return []
        return self._stretches(session)

    def _stretches(self, session: Session) -> list[Stretch]:
        found: list[Stretch] = []
        rows = session.stream(
            "SELECT range_number, after_key, last_key, loaded, quarantined, skipped, other_plan, scope "
            f"FROM {session.table(RANGES)} WHERE load_id = ? AND epoch = ? ORDER BY range_number",
            (self._load_id, self._epoch),
        )
        with closing(cast("Generator[list[tuple[Any, ...]]]", rows)):
            for chunk in rows:
                for number, after, last, loaded, quarantined, skipped, other_plan, scope in chunk:
                    if scope != self._scope:
                        continue
                    counts = RangeCounts(int(loaded), int(quarantined), int(skipped), int(other_plan))
                    stretch = Stretch(int(number), int(number), _key(after), json.loads(last), counts)
                    # Side by side they become one: what is kept grows with the gaps, not with the source.
                    if found and found[-1].last == stretch.after:
                        stretch = _joined(found.pop(), stretch)
                    found.append(stretch)
        return found

    def record(self, session: Session, ranges: Sequence[FinishedRange]) -> None:
        """Write finished ranges down, in one statement; where another loader of the same load has written
        one under the same number, that one stays."""
        if not ranges or not self._scope:
            return
        failpoints.hit("range_write", session)
        now = timestamp(utc_now())
        session.insert_new(
            RANGES,
            RANGES_COLUMNS,
            [
                (
                    self._range_key(done.number),
                    self._load_id,
                    self._scope,
                    self._epoch,
                    done.number,
                    None if done.after is None else json.dumps(done.after),
                    json.dumps(done.last),
                    done.counts.loaded,
                    done.counts.quarantined,
                    done.counts.skipped,
                    done.counts.other_plan,
                    (done.counts.content % _CONTENT_MODULUS).to_bytes(CONTENT_BYTES, "big"),
                    now,
                )
                for done in ranges
            ],
        )

    def _range_key(self, number: int) -> bytes:
        text = json.dumps([self._load_id, self._epoch, number, self._scope])
        return hashlib.blake2b(text.encode(), digest_size=16).digest()

    def end_other_claims(self, session: Session) -> None:
        """End the claims of other loads of this source under this contract, and those of this load that were
        made for another scope: documents that the ledger knew are about to be settled anew.

        For the transaction in which that happens.
        """
        # A run that makes no claims itself (a replay) may share its number with a loader that does.
        others = _OF_SOURCE
        parameters: tuple[object, ...] = (self._source_name, self._contract)
        if self._scope:
            others, parameters = f"{_OF_SOURCE} AND load_id <> ?", (*parameters, self._load_id)
        if session.execute(_RAISE_EPOCH.format(runs=session.table(RUNS)) + others, parameters):
            session.execute(
                f"DELETE FROM {session.table(RANGES)} WHERE load_id IN "
                f"(SELECT load_id FROM {session.table(RUNS)} WHERE {others})",
                parameters,
            )
        session.execute(
            f"DELETE FROM {session.table(RANGES)} WHERE load_id = ? AND scope <> ?",
            (self._load_id, self._scope),
        )


def forget(session: Session, source_name: str, contract: str, load_ids: Sequence[int] = ()) -> None:
    """End all claims of loads of this source and contract that can still be resumed, and delete those of
    the loads named besides.

    For whoever deletes ledger rows or makes documents pending in another way, in the same transaction; a
    loader that is at work loses only the claims that it would have made.
    """
    parameters = (source_name, contract)
    session.execute(_RAISE_EPOCH.format(runs=session.table(RUNS)) + _OF_SOURCE, parameters)
    session.execute(
        f"DELETE FROM {session.table(RANGES)} WHERE load_id IN "
        f"(SELECT load_id FROM {session.table(RUNS)} WHERE {_OF_SOURCE})",
        parameters,
    )
    for load_id in load_ids:
        session.execute(f"DELETE FROM {session.table(RANGES)} WHERE load_id = ?", (load_id,))


@dataclass(frozen=True, slots=True)
class RangeFigures:
    """How far a load has come by its finished ranges."""

    finished: int
    documents: int
    recent_per_second: float | None
    """Documents a second, those that were settled before included, while the last ranges were finished;
    None = fewer than two were."""


def figures(session: Session, load_id: int) -> RangeFigures:
    """Return how far a load has come by its finished ranges."""
    table = session.table(RANGES)
    documents = "CAST(loaded AS bigint) + quarantined + skipped"  # the sum of a type that holds it
    ((finished, total),) = session.query(
        f"SELECT {session.count}, SUM({documents}) FROM {table} WHERE load_id = ?", (load_id,)
    )
    recent = session.first_rows(
        f"SELECT finished_at, {documents} FROM {table} WHERE load_id = ? ORDER BY finished_at DESC",
        (load_id,),
        RECENT_RANGES,
    )
    rate = None
    if len(recent) > 1:
        seconds = (from_database(recent[0][0]) - from_database(recent[-1][0])).total_seconds()
        # The first of them was finished when the clock began to run.
        if seconds > 0:
            rate = sum(int(number) for _, number in recent[:-1]) / seconds
    return RangeFigures(int(finished), int(total or 0), rate)


RECENT_RANGES: Final = 11
"""By which the present rate is judged: ten, and the one from whose end on the clock runs."""


_OF_SOURCE: Final = "source_name = ? AND contract = ? AND finished_at IS NULL"
_RAISE_EPOCH: Final = "UPDATE {runs} SET ranges_epoch = COALESCE(ranges_epoch, 0) + 1 WHERE "


def _joined(first: Stretch, second: Stretch) -> Stretch:
    return replace(
        first,
        last_number=second.last_number,
        last=second.last,
        counts=first.counts + second.counts,
        ranges=first.ranges + 1,
    )


def _key(text: Any) -> Key | None:
    key: Key | None = None if text is None else json.loads(text)
    return key
