"""What ``load_ranges`` claims, held against the ledger.

A range's row says how many of its documents were settled, and sums up their ledger rows as they were then.
It is compared where nothing was touched since: where none of the ledger rows is younger than the claim, and
no document has come or gone.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from xml_extractor.engines.base import Session
from xml_extractor.mapping.records import Key, State
from xml_extractor.operations.verification.differences import Difference, Differences, Kind
from xml_extractor.operations.verification.locating import Read
from xml_extractor.operations.verification.subject import PAGE_KEYS, Connections
from xml_extractor.source.reader import SourceReader
from xml_extractor.target.bookkeeping import LEDGER, RANGES, RUNS
from xml_extractor.target.failures import Connection
from xml_extractor.target.ranges import CONTENT_BYTES, RangeCounts, ledger_mark
from xml_extractor.target.runs import Run
from xml_extractor.target.timestamps import from_database

_STATES = {state.value: state for state in State}


@dataclass(frozen=True, slots=True)
class Claim:
    """One row of ``load_ranges``."""

    after: Key | None
    last: Key
    documents: int
    content: int
    made_at: datetime


@dataclass(slots=True)
class _Found:
    """What source and ledger hold of a range now."""

    keys: int = 0
    counts: RangeCounts = field(default_factory=RangeCounts)
    newest: datetime | None = None

    @property
    def content(self) -> int:
        """The sum of the ledger rows, as a claim keeps it."""
        return self.counts.content % (1 << 8 * CONTENT_BYTES)


def compare_ranges(connections: Connections, run: Run, differences: Differences, read: Read) -> int:
    """Compare the claims of one load; return how many could be compared."""
    compared = 0
    with connections.target() as connection, connections.source() as reader:
        claims = connections.ask(connection, "reading load_ranges", lambda session: _claims(session, run))
        for claim in claims:
            found = _found(connections, connection, reader, claim, read)
            settled = found.counts.documents
            is_newer = found.newest is not None and found.newest > claim.made_at
            if is_newer or found.keys < claim.documents or settled > claim.documents:
                continue
            compared += 1
            if settled != claim.documents or found.content != claim.content:
                differences.add(Difference(Kind.RANGE_DIFFERS, claim.last, RANGES))
    return compared


def _claims(session: Session, run: Run) -> list[Claim]:
    rows = session.query(
        "SELECT r.after_key, r.last_key, r.loaded, r.quarantined, r.skipped, r.content, r.finished_at "
        f"FROM {session.table(RANGES)} r JOIN {session.table(RUNS)} l ON l.load_id = r.load_id "
        # Claims of another epoch have been ended.
        "WHERE r.load_id = ? AND r.epoch = COALESCE(l.ranges_epoch, 0) ORDER BY r.range_number",
        (run.load_id,),
    )
    return [
        Claim(
            None if after is None else json.loads(after),
            json.loads(last),
            loaded + quarantined + skipped,
            int.from_bytes(content, "big"),
            from_database(made_at),
        )
        for after, last, loaded, quarantined, skipped, content, made_at in rows
    ]


def _found(
    connections: Connections, connection: Connection, reader: SourceReader, claim: Claim, read: Read
) -> _Found:
    found = _Found()
    digest = connections.subject.digests.digest
    for keys in _pages(reader, claim):
        connections.check()
        digests = sorted(map(digest, keys))
        rows: list[tuple[Any, ...]] = connections.ask(
            connection,
            "reading the ledger",
            lambda session, asked=digests: session.existing(  # type: ignore[misc]
                LEDGER, ("digest", "state", "batch", "committed_at"), "digest", asked
            ),
        )
        found.keys += len(keys)
        for known, text, batch, committed_at in rows:
            state = _STATES.get(text)
            if state is not None:
                found.counts.add(state, ledger_mark(bytes(known), state, batch))
            moment = from_database(committed_at)
            found.newest = moment if found.newest is None else max(found.newest, moment)
        read(len(keys))
    return found


def _pages(reader: SourceReader, claim: Claim) -> Iterator[list[Key]]:
    if claim.after is None:
        yield from reader.key_pages(end=claim.last, page_size=PAGE_KEYS)
        return
    after = claim.after
    while keys := reader.keys_after(after, claim.last, PAGE_KEYS):
        yield keys
        after = keys[-1]
