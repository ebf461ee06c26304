"""The deep part: documents mapped again, and what they make held against what the tables hold."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from xml_extractor.engines.read_back import RowForm
from xml_extractor.mapping.records import Key
from xml_extractor.operations.verification.checkpoint import Checkpoint
from xml_extractor.operations.verification.differences import Difference, Differences, Kind
from xml_extractor.operations.verification.locating import groups
from xml_extractor.operations.verification.mapping_again import (
    MappedKey,
    Marks,
    PageSums,
    column_marks,
    compare_rows,
)
from xml_extractor.operations.verification.subject import PAGE_KEYS, Connections
from xml_extractor.operations.verification.worker import Worker
from xml_extractor.operations.verification.workers import Workers
from xml_extractor.target.bookkeeping import LEDGER
from xml_extractor.target.content_digest import BucketSums, bucket_of, key_hash

__all__ = ["ContentLocator", "MappedSums", "column_marks", "map_again"]

T = TypeVar("T")

TASK_KEYS: Final = 500
"""Documents that a worker maps at a time: some tenths of a second."""

AHEAD: Final = 4
"""Tasks a worker may have waiting, so that none of them idles."""

GROUP_ROWS: Final = 100_000
"""Rows that are held as hashes at once, on either side: about 300 bytes each."""

MOST_NAMED: Final = 100_000
"""Keys of documents that are noted by name, where all may have changed."""


@dataclass(slots=True)
class MappedSums:
    """What all loaded documents add up to when they are mapped again."""

    tables: list[BucketSums]
    after: Key | None = None
    """Up to this key."""
    done: bool = False
    compared: int = 0
    other_plan: int = 0
    changed: list[Key] = field(default_factory=list)
    changed_count: int = 0
    refused: list[Key] = field(default_factory=list)
    refused_count: int = 0

    def add(self, page: PageSums, last: Key) -> None:
        """Add the page that follows."""
        for sums, shares in zip(self.tables, page.tables, strict=True):
            sums.add_shares(shares)
        self.compared += page.compared
        self.other_plan += page.other_plan
        self.changed_count += len(page.changed)
        self.changed += page.changed[: MOST_NAMED - len(self.changed)]
        self.refused_count += len(page.refused)
        self.refused += page.refused[: MOST_NAMED - len(self.refused)]
        self.after = last

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "tables": [sums.to_text() for sums in self.tables],
            **{name: getattr(self, name) for name in _PLAIN},
        }

    @classmethod
    def from_json(cls, kept: dict[str, Any]) -> MappedSums:
        """Read :meth:`to_json`."""
        tables = [BucketSums.from_text(text) for text in kept["tables"]]
        return cls(tables, **{name: kept[name] for name in _PLAIN})

    def notes(self) -> Iterator[Difference]:
        """Yield the documents that could not be compared."""
        for kind, keys, count in (
            (Kind.SOURCE_CHANGED, self.changed, self.changed_count),
            (Kind.NOT_MAPPED_AGAIN, self.refused, self.refused_count),
        ):
            for key in keys:
                yield Difference(kind, key)
            if count > len(keys):
                yield Difference(kind, count=count - len(keys))


_PLAIN: Final = (
    "after",
    "done",
    "compared",
    "other_plan",
    "changed",
    "changed_count",
    "refused",
    "refused_count",
)


def map_again(connections: Connections, workers: Workers, checkpoint: Checkpoint) -> MappedSums:
    """Map all loaded documents again, in key order, and add up what they make."""
    kept = checkpoint.get("mapping")
    plan = connections.subject.plan
    sums = MappedSums([BucketSums() for _ in plan.tables]) if kept is None else MappedSums.from_json(kept)
    if sums.done:
        return sums
    with connections.source() as reader:
        pages = (
            keys[start : start + TASK_KEYS]
            for keys in _pages(connections, reader.key_pages, reader.keys_after, sums.after)
            for start in range(0, len(keys), TASK_KEYS)
        )
        for keys, page in in_order(workers, pages, lambda keys: workers.submit(Worker.page_sums, keys)):
            sums.add(page, keys[-1])
            if checkpoint.is_due:
                checkpoint.put("mapping", sums.to_json())
    sums.done = True
    checkpoint.put("mapping", sums.to_json())
    return sums


def _pages(
    connections: Connections,
    key_pages: Callable[..., Iterator[list[Key]]],
    keys_after: Callable[[Key, Key | None, int], list[Key]],
    after: Key | None,
) -> Iterator[list[Key]]:
    """Yield all keys, or those beyond ``after``."""
    if after is None:
        yield from key_pages(page_size=PAGE_KEYS)
        return
    while keys := keys_after(after, None, PAGE_KEYS):
        connections.check()
        yield keys
        after = keys[-1]


def in_order(
    workers: Workers, pages: Iterator[list[Key]], submit: Callable[[list[Key]], Future[T]]
) -> Iterator[tuple[list[Key], T]]:
    """Yield pages with what the workers made of them, in the pages' order."""
    waiting: deque[tuple[list[Key], Future[T]]] = deque()
    for keys in pages:
        waiting.append((keys, submit(keys)))
        while len(waiting) >= AHEAD * workers.number:
            done, future = waiting.popleft()
            yield done, future.result()
    while waiting:
        done, future = waiting.popleft()
        yield done, future.result()


class ContentLocator:
    """Names values and rows that are not what their documents make.  One thread's.

    Args:
        tables: those whose content differs, with their differing buckets and the rows in each.
        most: documents that are named at most.
    """

    def __init__(
        self,
        connections: Connections,
        workers: Workers,
        tables: Mapping[str, Mapping[int, int]],
        differences: Differences,
        most: int,
    ) -> None:
        self._connections = connections
        self._subject = connections.subject
        self._workers = workers
        self._tables = [i for i, table in enumerate(self._subject.plan.tables) if table.name in tables]
        self._buckets = tables
        self._differences = differences
        self._left = most
        self.in_motion = 0
        self.unlocated = 0

    def run(self) -> None:
        """Look into all differing buckets, until enough documents have been named."""
        sizes: dict[int, int] = {}
        for counts in self._buckets.values():
            for bucket, count in counts.items():
                sizes[bucket] = sizes.get(bucket, 0) + count
        for group in groups(sizes, GROUP_ROWS):
            self._connections.check()
            if self._left <= 0:
                rows = sum(sizes[bucket] for bucket in group)
                self.unlocated += max(1, rows // max(1, len(self._tables)))
                continue
            self._look_at(frozenset(group))

    def _look_at(self, group: frozenset[int]) -> None:
        mapped = self._mapped(group)
        names = {i: self._subject.plan.tables[i].name for i in self._tables}
        reads = {i: self._workers.submit(Worker.table_marks, i, group) for i in self._tables}
        differing: dict[Key, list[Difference]] = {}
        for i, future in reads.items():
            found = future.result()
            name = names[i]
            make = self._subject.keyed_tables[name]
            form = RowForm.of(self._subject.target, self._subject.plan.tables[i])
            for key, document in mapped.items():
                there: Marks = tuple(found.get(str(make(key)), ()))
                wrong = _differences(key, name, document.rows[name], there, form)
                if wrong:
                    differing.setdefault(key, []).extend(wrong)
        moved = self._moved(mapped, list(differing))
        self.in_motion += len(moved)
        for key, wrong in differing.items():
            if key not in moved:
                self._left -= 1
                for difference in wrong:
                    self._differences.add(difference)

    def _mapped(self, group: frozenset[int]) -> dict[Key, MappedKey]:
        """Map the documents of some buckets again."""
        names = tuple(self._subject.plan.tables[i].name for i in self._tables)
        makes = {self._subject.keyed_tables[name] for name in names}

        def is_wanted(key: Key) -> bool:
            for make in makes:
                try:
                    if bucket_of(key_hash(str(make(key)))) in group:
                        return True
                except ValueError:
                    continue
            return False

        def pages() -> Iterator[list[Key]]:
            waiting: list[Key] = []
            for keys in reader.key_pages(page_size=PAGE_KEYS):
                self._connections.check()
                waiting += filter(is_wanted, keys)
                while len(waiting) >= TASK_KEYS:
                    yield waiting[:TASK_KEYS]
                    del waiting[:TASK_KEYS]
            if waiting:
                yield waiting

        mapped: dict[Key, MappedKey] = {}
        with self._connections.source() as reader:
            for _, made in in_order(
                self._workers, pages(), lambda keys: self._workers.submit(Worker.page_marks, keys, names)
            ):
                mapped.update(made)
        return mapped

    def _moved(self, mapped: Mapping[Key, MappedKey], keys: Sequence[Key]) -> set[Key]:
        """Return those of these documents that were written since they were read."""
        if not keys:
            return set()
        by_digest = {self._subject.digests.digest(key): key for key in keys}
        with self._connections.target() as connection:
            found = self._connections.ask(
                connection,
                "reading the ledger",
                lambda session: session.existing(LEDGER, ("digest", "batch"), "digest", sorted(by_digest)),
            )
        now = {by_digest[bytes(digest)]: batch for digest, batch in found}
        return {key for key in keys if now.get(key) != mapped[key].batch}


def _differences(key: Key, table: str, expected: Marks, found: Marks, form: RowForm) -> list[Difference]:
    if sorted(expected) == sorted(found):
        return []
    values, missing, extra = compare_rows(expected, found, form.identity, len(form.columns))
    columns = [form.table.columns[i].name for i in form.columns]
    wrong = [
        Difference(Kind.VALUE_DIFFERS, key, table, columns[i], count) for i, count in sorted(values.items())
    ]
    if missing:
        wrong.append(Difference(Kind.ROW_MISSING, key, table, count=missing))
    if extra:
        wrong.append(Difference(Kind.ROW_EXTRA, key, table, count=extra))
    return wrong
