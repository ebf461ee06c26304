"""Digests of tables: the same in any order and any parts, another for anything else."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.plans import column, table
from xml_extractor.engines import open_engine
from xml_extractor.engines.read_back import RowForm
from xml_extractor.target.content_digest import BUCKETS, BucketSums, TableDigest, bucket_of, key_hash

FORM = RowForm.of(
    open_engine("sqlite:///x.db"),
    table(
        "t",
        column("k", "int"),
        column("id", "bigint", server_generated=True),
        column("s", "nvarchar(9)"),
        column("d", "decimal(9,2)"),
        column("b", "varbinary(4)"),
    ),
)

Row = tuple[Any, ...]
ROWS = st.lists(
    st.tuples(
        st.integers(0, 5),
        st.none() | st.integers(),
        st.none() | st.text(max_size=3),
        st.none() | st.integers(-500, 500).map(lambda n: Decimal(n).scaleb(-2)),
        st.none() | st.binary(max_size=2),
    ),
    max_size=12,
)


def digest(rows: list[Row]) -> TableDigest:
    made = TableDigest(FORM)
    made.add_mapped(rows)
    return made


def content(rows: list[Row]) -> list[str]:
    """The rows but for what the server numbers, in an order of their own."""
    return sorted(repr((row[0], *row[2:])) for row in rows)


@given(rows=ROWS, order=st.randoms(), cut=st.integers(0, 12))
def test_neither_order_nor_parts_matter(rows: list[Row], order: Any, cut: int) -> None:
    whole = digest(rows)
    shuffled = rows[:]
    order.shuffle(shuffled)
    parts, other = digest(shuffled[:cut]), digest(shuffled[cut:])
    parts.sums.add_shares(other.sums.shares())
    assert parts == whole
    assert str(parts) == str(whole)
    assert BucketSums.from_text(parts.sums.to_text()) == whole.sums
    assert parts.rows == len(rows)


@settings(max_examples=300)
@given(rows=ROWS, others=ROWS)
def test_digests_are_equal_for_equal_content_only(rows: list[Row], others: list[Row]) -> None:
    assert (digest(rows) == digest(others)) is (content(rows) == content(others))
    assert (str(digest(rows)) == str(digest(others))) is (content(rows) == content(others))


@given(
    rows=ROWS.filter(bool), at=st.integers(0, 11), change=st.sampled_from(["drop", "double", "key", "text"])
)
def test_any_change_shows_in_the_buckets_of_its_keys(rows: list[Row], at: int, change: str) -> None:
    at %= len(rows)
    changed = rows[:]
    touched = {rows[at][0]}
    if change == "drop":
        del changed[at]
    elif change == "double":
        changed.append(rows[at])
    elif change == "key":
        changed[at] = (99, *rows[at][1:])
        touched.add(99)
    else:
        changed[at] = (*rows[at][:2], (rows[at][2] or "") + "x", *rows[at][3:])
    found = digest(rows).sums.differing(digest(changed).sums)
    assert found == sorted({bucket_of(key_hash(str(key))) for key in touched})


@given(rows=ROWS, one=st.integers(0, 11), other=st.integers(0, 11))
def test_exchanged_values_show(rows: list[Row], one: int, other: int) -> None:
    assume(len(rows) > 1)
    one, other = one % len(rows), other % len(rows)
    exchanged = rows[:]
    exchanged[one] = (*rows[one][:2], rows[other][2], *rows[one][3:])
    exchanged[other] = (*rows[other][:2], rows[one][2], *rows[other][3:])
    assert (digest(exchanged) == digest(rows)) is (content(exchanged) == content(rows))


@pytest.mark.parametrize(
    ("one", "other"),
    [((1, 0, "1", None, None), (1, 0, None, Decimal(1), None)),
     ((1, 0, "", None, None), (1, 0, None, None, None)),
     ((1, 0, "a", None, b"b"), (1, 0, "ab", None, b"")), ((1, 0, "x", None, None), (1, 0, None, None, b"x"))],
)  # fmt: skip
def test_values_do_not_run_together(one: Row, other: Row) -> None:
    assert digest([one]) != digest([other])


def test_sums_beyond_128_bits_and_what_is_taken_away() -> None:
    sums, other = BucketSums(), BucketSums()
    for _ in range(5):
        sums.add(BUCKETS - 1, 2**128 - 1, 3)
    sums.add(0, 7)
    sums.add(0, 7, -1)
    other.add(BUCKETS - 1, 2**128 - 15, 15)
    assert sums.differing(other) == [BUCKETS - 1]
    assert sums.shares() == [(BUCKETS - 1, 15, 2**128 - 15)]
    assert BucketSums.from_text(sums.to_text()) == sums
    assert sums != other


@pytest.mark.parametrize("text", ["", "AAAA", "no base 64!"])
def test_what_are_no_sums_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        BucketSums.from_text(text)
