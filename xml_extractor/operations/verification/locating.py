"""Where sums differ: which documents, and by how much, after a second look.

The second pass holds only documents of differing buckets in memory, a group of buckets at a time.  A load
may run meanwhile, so no difference is told before the document's ledger row has been read once more: its
batch number is new whenever it is written, and as long as it is the same before and after the tables were
read, what was read belongs to it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from xml_extractor.contract.plan import Table
from xml_extractor.engines.base import Session
from xml_extractor.mapping.records import Key, State
from xml_extractor.operations.verification import ledger_side, table_side
from xml_extractor.operations.verification.differences import Difference, Differences, Kind
from xml_extractor.operations.verification.ledger_side import Ledger, digest_place
from xml_extractor.operations.verification.subject import PAGE_KEYS, Connections
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE
from xml_extractor.target.content_digest import bucket_of, key_hash, pieces
from xml_extractor.target.failures import Connection
from xml_extractor.target.ledger import document_digest

GROUP_ROWS: Final = 500_000
"""Rows whose keys are held in memory at once, by count: some hundred bytes each."""

ATTEMPTS: Final = 3
"""Looks at documents that are being written while they are looked at; then they are said to be in motion."""

_STATES: Final = frozenset(state.value for state in State)

Read = Callable[[int], None]
Make = Callable[[Key], Any]
Place = tuple[Make, str]
"""What a key column holds for a document, as text, and the function that makes it of the key."""


def groups(buckets: Mapping[int, int], most: int) -> Iterator[set[int]]:
    """Cut buckets into groups of at most so many elements, but for a bucket that is larger by itself."""
    group: set[int] = set()
    size = 0
    for bucket, count in sorted(buckets.items()):
        if group and size + count > most:
            yield group
            group, size = set(), 0
        group.add(bucket)
        size += count
    if group:
        yield group


# ------------------------------------------------------------------------------------------- keys


def locate_keys(
    connections: Connections, buckets: Sequence[int], differences: Differences, read: Read
) -> None:
    """Name the documents that the ledger does not know, and those that the source no longer holds."""
    subject, wanted = connections.subject, set(buckets)
    with connections.source() as reader, connections.target() as connection:
        for keys in reader.key_pages(page_size=PAGE_KEYS):
            connections.check()
            by_digest = {subject.digests.digest(key): key for key in keys}
            asked = [digest for digest in by_digest if digest_place(digest)[0] in wanted]
            known = {row[0] for row in _known(connections, connection, asked, ("digest",))}
            for digest in asked:
                if digest not in known:
                    differences.add(Difference(Kind.NOT_LOADED, by_digest[digest]))
            read(len(keys))
    after = b""
    with connections.source(keys_only=True) as reader, connections.target() as connection:

        def look(ledger: Ledger, session: Session) -> None:
            nonlocal after  # should the pass be begun again, it goes on where it was
            for rows in ledger_side.own_rows(session, ledger, read, after):
                connections.check()
                keys = []
                for digest, text, _, load_id in rows:
                    key = ledger.key(load_id, digest, text) if digest_place(digest)[0] in wanted else None
                    if key is not None:
                        keys.append(key)
                there = {document.key for slice_ in reader.slices(keys) for document in slice_.documents}
                for key in keys:
                    if key not in there:
                        differences.add(Difference(Kind.SOURCE_ROW_GONE, key))
                after = rows[-1][0] if rows else after

        connections.ask(
            connection,
            "reading the ledger",
            lambda session: ledger_side.with_runs(session, subject, lambda ledger: look(ledger, session)),
        )


def _known(
    connections: Connections, connection: Connection, digests: Sequence[bytes], columns: Sequence[str]
) -> list[tuple[Any, ...]]:
    found = connections.ask(
        connection,
        "reading the ledger",
        lambda session: session.existing(LEDGER, columns, "digest", sorted(digests)) if digests else [],
    )
    return [(bytes(row[0]), *row[1:]) for row in found]


# ------------------------------------------------------------------------------------- quarantine


def locate_details(
    connections: Connections, buckets: Mapping[int, int], differences: Differences, read: Read
) -> None:
    """Name quarantined documents without a detail row, and detail rows of documents that are not quarantined.

    A loaded document may have one: a newer version of it was refused, and its old rows have stayed.

    Args:
        buckets: those that differ, with the documents in each.
    """
    subject = connections.subject

    def look(session: Session, ledger: Ledger, group: set[int]) -> list[Difference]:
        details: dict[bytes, tuple[int, str]] = {}
        sql = f"SELECT digest, load_id, source_key FROM {session.table(QUARANTINE)}"
        for rows in pieces(session, sql, ledger_side.ROWS):
            for digest, load_id, text in rows:
                share = ledger.share(load_id, "")
                if share is not None and share.own and digest_place(digest)[0] in group:
                    details[bytes(digest)] = (load_id, text)
            read(len(rows))
        quarantined: dict[bytes, tuple[int, str]] = {}
        for own in ledger_side.own_rows(session, ledger, read):
            for digest, text, state, load_id in own:
                if state == State.QUARANTINED.value and digest_place(digest)[0] in group:
                    quarantined[digest] = (load_id, text)
        # Both once more: a load may have been at work between the two.
        states = _by_digest(session, LEDGER, ("digest", "state"), quarantined.keys() ^ details.keys())
        present = _by_digest(session, QUARANTINE, ("digest", "load_id"), quarantined.keys() ^ details.keys())
        found = []
        for digest, (load_id, text) in quarantined.items():
            if (
                digest not in details
                and digest not in present
                and states.get(digest) == State.QUARANTINED.value
            ):
                found.append(Difference(Kind.DETAIL_MISSING, ledger.key(load_id, digest, text)))
        for digest, (load_id, text) in details.items():
            unquarantined = states.get(digest) in (None, State.SKIPPED.value)
            if digest not in quarantined and digest in present and unquarantined:
                found.append(Difference(Kind.DETAIL_EXTRA, ledger.key(load_id, digest, text)))
        return found

    with connections.target() as connection:
        for group in groups(buckets, GROUP_ROWS):
            connections.check()
            found = connections.ask(
                connection,
                "reading quarantine",
                lambda session, group=group: ledger_side.with_runs(  # type: ignore[misc]
                    session, subject, lambda ledger: look(session, ledger, group)
                ),
            )
            for difference in found:
                differences.add(difference)


def _by_digest(
    session: Session, table: str, columns: Sequence[str], digests: Iterable[bytes]
) -> dict[bytes, Any]:
    asked = sorted(digests)
    found = session.existing(table, columns, "digest", asked) if asked else []
    return {bytes(digest): value for digest, value in found}


# ------------------------------------------------------------------------------------------- rows


@dataclass(slots=True)
class Expected:
    """What the ledger says of some documents, by what key columns hold for them."""

    rows: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Rows by table and text."""
    batches: dict[Place, int] = field(default_factory=dict)
    """The batch numbers of their ledger rows, added up."""
    digests: dict[Place, list[bytes]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[Place, Key] = field(default_factory=dict)
    damaged: set[Place] = field(default_factory=set)
    names: tuple[tuple[str, str], ...] = ()
    """The source and contract names under which a document may be known."""


class RowLocator:
    """Names documents whose rows are not as many as the ledger recorded.  One thread's.

    Args:
        tables: those whose sums differ, with their differing buckets and the rows in each.
    """

    def __init__(
        self,
        connections: Connections,
        tables: Mapping[str, Mapping[int, int]],
        differences: Differences,
        read: Read,
    ) -> None:
        self._connections = connections
        self._subject = connections.subject
        self._tables = [table for table in self._subject.plan.tables if table.name in tables]
        self._buckets = tables
        self._differences = differences
        self._read = read
        self.in_motion = 0
        """Documents that were being written at each look."""

    def run(self) -> None:
        """Look at all differing buckets."""
        sizes: Counter[int] = Counter()
        for counts in self._buckets.values():
            sizes.update(counts)
        with self._connections.target() as connection:
            for group in groups(sizes, GROUP_ROWS):
                self._look_at(connection, lambda place, group=group: bucket_of(key_hash(place[1])) in group)  # type: ignore[misc]

    def _look_at(self, connection: Connection, wanted: Callable[[Place], bool]) -> None:
        moving: set[Place] = set()
        for _ in range(ATTEMPTS):
            expected = self._expected(connection, wanted)
            found = {table.name: self._found(connection, table, wanted) for table in self._tables}
            differing = self._differing(expected, found)
            moving = self._moving(connection, expected, {place for _, place in differing})
            for (table, place), count in differing.items():
                if place not in moving:
                    self._tell(table, place, count, expected)
            if not moving:
                return
            wanted = moving.__contains__
        self.in_motion += len(moving)

    def _expected(self, connection: Connection, wanted: Callable[[Place], bool]) -> Expected:
        keyed = self._subject.keyed_tables
        tables = {table.name for table in self._tables}

        def look(session: Session, ledger: Ledger) -> Expected:
            expected = Expected(names=tuple({(run.source_name, run.contract) for run in ledger.runs}))
            sql = f"SELECT digest, source_key, state, load_id, batch, row_counts FROM {session.table(LEDGER)}"
            for rows in pieces(session, sql, ledger_side.ROWS):
                self._connections.check()
                for digest, text, state, load_id, batch, counts in rows:
                    share = ledger.share(load_id, counts)
                    if share is None or state not in _STATES:
                        self._note_damaged(expected, bytes(digest), text, wanted)
                        continue
                    texts = ledger.value_texts(load_id, digest, text)
                    places = {make: (make, made) for make, made in texts.items() if wanted((make, made))}
                    if not places:
                        continue
                    for place in places.values():
                        expected.batches[place] = expected.batches.get(place, 0) + batch
                        expected.digests[place].append(bytes(digest))
                        key = ledger.key(load_id, digest, text)
                        if key is not None and (share.own or place not in expected.keys):
                            expected.keys[place] = key
                    if state == State.LOADED.value:
                        for name, count in share.rows:
                            if name in tables and keyed[name] in places:
                                expected.rows[name][places[keyed[name]][1]] += count
                self._read(len(rows))
            return expected

        return self._connections.ask(
            connection,
            "reading the ledger",
            lambda session: ledger_side.with_runs(
                session, self._subject, lambda ledger: look(session, ledger)
            ),
        )

    def _note_damaged(
        self, expected: Expected, digest: bytes, text: str, wanted: Callable[[Place], bool]
    ) -> None:
        """Of a ledger row that cannot be read nobody knows how many rows belong to it."""
        key = self._subject.digests.key(digest, text)
        if key is None:
            return
        for make in set(self._subject.keyed_tables.values()):
            with suppress(ValueError):
                place = (make, str(make(key)))
                if wanted(place):
                    expected.damaged.add(place)

    def _found(self, connection: Connection, table: Table, wanted: Callable[[Place], bool]) -> Counter[str]:
        self._connections.check()
        make = self._subject.keyed_tables[table.name]
        return self._connections.ask(
            connection,
            f"reading {table.name}",
            lambda session: table_side.counts_of(
                session, self._subject, table, lambda text: wanted((make, text)), self._read
            ),
        )

    def _differing(
        self, expected: Expected, found: Mapping[str, Counter[str]]
    ) -> dict[tuple[str, Place], int]:
        """Return how many rows too many (negative: too few) there are, by table and document."""
        differing: dict[tuple[str, Place], int] = {}
        for table in self._tables:
            make = self._subject.keyed_tables[table.name]
            should, there = expected.rows[table.name], found[table.name]
            for text in should.keys() | there.keys():
                if there[text] != should[text] and (make, text) not in expected.damaged:
                    differing[table.name, (make, text)] = there[text] - should[text]
        return differing

    def _moving(self, connection: Connection, expected: Expected, places: set[Place]) -> set[Place]:
        """Return those of these documents whose ledger rows are no longer what they were."""
        digests = {place: self._digests(expected, place) for place in places}
        asked = {digest for some in digests.values() for digest in some}
        known = dict(_known(self._connections, connection, list(asked), ("digest", "batch")))
        return {
            place
            for place, some in digests.items()
            if sum(known.get(digest, 0) for digest in set(some)) != expected.batches.get(place, 0)
        }

    def _digests(self, expected: Expected, place: Place) -> list[bytes]:
        """The digests under which a document may stand in the ledger."""
        if place in expected.digests:
            return expected.digests[place]
        _, text = place
        keys: list[Key] = [text]
        if text.lstrip("-").isdecimal():
            keys.append(int(text))
        return [document_digest(*names, key) for names in expected.names for key in keys]

    def _tell(self, table: str, place: Place, count: int, expected: Expected) -> None:
        known = place in expected.batches
        kind = Kind.ROWS_MISSING if count < 0 else Kind.ROWS_EXTRA if known else Kind.UNKNOWN_KEY
        key = expected.keys.get(place, table_key(*place))
        self._differences.add(Difference(kind, key, table, count=abs(count)))


def table_key(make: Make, text: str) -> Key | None:
    """Return the key that a key column's text stands for; None for NULL."""
    if text.startswith("\0"):
        return None
    if make is int and text.lstrip("-").isdecimal():
        return int(text)
    return text
