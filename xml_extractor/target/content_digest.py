"""Digests of what tables hold, whatever order their rows come in.

A digest is a sum: each element's 128-bit hash (XXH3), added modulo 2**128, beside the number of elements.
Sums can be made in parts and in any order, by any number of threads, processes or runs, and added up.  Two
collections that differ have the same sum with a probability of about 3e-39, unless somebody makes them up
to: it is a proof against accidents, not against an adversary.

An element is put into one of 4,096 buckets, by a hash of the document's key.  Where two digests differ, their
buckets say which documents may be at fault, without either side ever being held in memory.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any, Final, cast

from xxhash import xxh3_128_intdigest

from xml_extractor.contract.plan import Plan
from xml_extractor.engines.base import Engine, Session
from xml_extractor.engines.read_back import RowForm
from xml_extractor.mapping.records import Row

BUCKETS: Final = 4096
"""Of ten million documents a difference then leaves some 2,400 to be looked at one by one; the sums of a
table take a third of a megabyte."""

_SHIFT: Final = 128 - 12
_MODULUS: Final = 1 << 128
_BYTES: Final = 16

Share = tuple[int, int, int]
"""(bucket, number of elements, sum of their hashes), for sums that travel between processes."""


class BucketSums:
    """Sums of hashes and numbers of elements, by bucket.  Not thread-safe."""

    def __init__(self) -> None:
        self._counts = [0] * BUCKETS
        self._sums = [0] * BUCKETS

    def add(self, bucket: int, hashed: int, count: int = 1) -> None:
        """Add ``count`` elements of one hash; a negative number takes them away."""
        self._counts[bucket] += count
        self._sums[bucket] += hashed * count

    def add_keyed(self, key_hash: int, count: int = 1) -> None:
        """Add elements that are nothing but a key, in the bucket of that key."""
        self.add(bucket_of(key_hash), key_hash, count)

    def add_shares(self, shares: Iterable[Share]) -> None:
        """Add another's :meth:`shares`."""
        counts, sums = self._counts, self._sums
        for bucket, count, total in shares:
            counts[bucket] += count
            sums[bucket] += total

    def shares(self) -> list[Share]:
        """Return the buckets that hold anything."""
        return [
            (bucket, count, total % _MODULUS)
            for bucket, (count, total) in enumerate(zip(self._counts, self._sums, strict=True))
            if count or total % _MODULUS
        ]

    @property
    def count(self) -> int:
        """The number of elements."""
        return sum(self._counts)

    @property
    def digest(self) -> str:
        """The sum of all buckets, 32 hex digits."""
        return f"{sum(self._sums) % _MODULUS:032x}"

    def count_in(self, bucket: int) -> int:
        """The number of elements in a bucket."""
        return self._counts[bucket]

    def differing(self, other: BucketSums) -> list[int]:
        """Return the buckets in which the two hold different elements, ascending."""
        return [
            bucket
            for bucket in range(BUCKETS)
            if self._counts[bucket] != other._counts[bucket]
            or (self._sums[bucket] - other._sums[bucket]) % _MODULUS
        ]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, BucketSums) and not self.differing(other)

    __hash__ = None  # type: ignore[assignment]

    def to_text(self) -> str:
        """Return the sums as text, for :meth:`from_text`."""
        counts = array("q", self._counts)
        if sys.byteorder == "big":
            counts.byteswap()
        sums = b"".join((total % _MODULUS).to_bytes(_BYTES, "little") for total in self._sums)
        return base64.b64encode(counts.tobytes() + sums).decode()

    @classmethod
    def from_text(cls, text: str) -> BucketSums:
        """Read :meth:`to_text`.

        Raises:
            ValueError: it is not what :meth:`to_text` writes.
        """
        raw = base64.b64decode(text, validate=True)
        counts = array("q")
        head = counts.itemsize * BUCKETS
        if len(raw) != head + _BYTES * BUCKETS:
            raise ValueError("sums of another length")
        counts.frombytes(raw[:head])
        if sys.byteorder == "big":
            counts.byteswap()
        made = cls()
        made._counts = counts.tolist()
        made._sums = [
            int.from_bytes(raw[start : start + _BYTES], "little") for start in range(head, len(raw), _BYTES)
        ]
        return made


def key_hash(text: str) -> int:
    """Return the hash of a document's key, as the text of what the tables' key column holds for it."""
    return xxh3_128_intdigest(text.encode("utf-8", "surrogatepass"))


def bucket_of(hashed: int) -> int:
    """Return the bucket of a hash."""
    return hashed >> _SHIFT


def row_hash(row: Row) -> int:
    """Return the hash of a row in the form of :class:`RowForm`.

    Python's own notation tells values of all types apart, and is the same in each of its versions as long
    as it is kept to ASCII.
    """
    return xxh3_128_intdigest(ascii(row).encode())


def column_key(value: Any) -> str:
    """Return what a table's key column holds as the text that :func:`key_hash` takes; NULL equals no key."""
    return "\0NULL" if value is None else str(value)


class TableDigest:
    """What a table holds, but for the columns that the server numbers.  Not thread-safe.

    The same for a mapped row and for that row read back, whatever engine it went through, save that an engine
    which rewrites values of some types (:attr:`Engine.rewrites`) has digests of its own for tables with them.

    Args:
        form: of the table's rows in the database at hand.
        by_key: whether rows are put into buckets by the source key that they carry; else all are in one.
    """

    def __init__(self, form: RowForm, *, by_key: bool = True) -> None:
        self.form = form
        self.sums = BucketSums()
        self._position = form.key_position if by_key else None
        self._last: tuple[Any, int] = (self, 0)

    def add_mapped(self, rows: Sequence[Row]) -> None:
        """Add rows as the mapper made them."""
        self._add(map(self.form.of_mapped, rows))

    def add_read(self, rows: Sequence[Sequence[Any]]) -> None:
        """Add rows that were read by the form's SELECT."""
        self._add(map(self.form.of_read, rows))

    def _add(self, rows: Iterable[Row]) -> None:
        add, position = self.sums.add, self._position
        if position is None:
            for row in rows:
                add(0, row_hash(row))
            return
        last, bucket = self._last
        for row in rows:
            value = row[position]
            # Rows of one document often follow one another.
            if value is not last:
                last, bucket = value, bucket_of(key_hash(column_key(value)))
            add(bucket, row_hash(row))
        self._last = (last, bucket)

    @property
    def rows(self) -> int:
        """The number of rows."""
        return self.sums.count

    def __eq__(self, other: object) -> bool:
        return isinstance(other, TableDigest) and self.sums == other.sums

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.rows}:{self.sums.digest}"


def read_table(
    session: Session, form: RowForm, *, read: Callable[[int], None] = lambda _: None
) -> TableDigest:
    """Return the digest of a table, reading it once in constant memory.

    Args:
        read: told how many rows were read, after each piece.
    """
    digest = TableDigest(form)
    for rows in pieces(session, form.statement(session), form.rows_per_chunk):
        digest.add_read(rows)
        read(len(rows))
    return digest


def pieces(
    session: Session, sql: str, rows_per_chunk: int, parameters: Sequence[Any] = ()
) -> Iterator[list[tuple[Any, ...]]]:
    """Yield a SELECT's rows in lists, and let go of the cursor however that ends."""
    stream = session.stream(sql, parameters, rows_per_chunk=rows_per_chunk)
    with closing(cast("Generator[list[tuple[Any, ...]]]", stream)):
        yield from stream


def table_digests(engine: Engine, session: Session, plan: Plan) -> dict[str, str]:
    """Return table → number of rows and digest of its content, for all tables of a plan."""
    return {table.name: str(read_table(session, RowForm.of(engine, table))) for table in plan.tables}
