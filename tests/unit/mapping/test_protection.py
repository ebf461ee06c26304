"""Private values: what leaves a worker in their place."""

from __future__ import annotations

import hashlib
import hmac
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.unit.mapping.mapping_support import map_document, plan_of, rejected
from xml_extractor.contract.plan import Conversion, Hash, Mask
from xml_extractor.contract.types import parse_type
from xml_extractor.errors import UsageError
from xml_extractor.mapping.conversion import strict_converter
from xml_extractor.mapping.protection import SALT_VARIABLE, salt_fingerprint, salted

SALT = "a salt for tests only"


@pytest.fixture(autouse=True, scope="module")
def _salt() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(SALT_VARIABLE, SALT)
        yield


def digest(text: str, size: int = 32) -> bytes:
    return hmac.new(SALT.encode(), text.encode(), hashlib.sha256).digest()[:size]


TABLE = """
t:
  columns:
    k: {{from: $key, type: int}}
    a: {{{column}}}
"""


def only_value(column: str, content: str, columns: tuple[Any, ...] = ()) -> Any:
    ((_, value),) = map_document(plan_of(TABLE.format(column=column)), content, columns=columns)["t"]
    return value


@pytest.mark.parametrize(
    ("said", "text", "expected"),
    [
        ("mask: last4", "123-45-6789", "6789"),
        ("mask: last4", "12345678", "5678"),
        ("mask: last4", "1234567", "****"),
        ("mask: last4", "7", "****"),
        ("mask: last4", "", None),
        ("mask: last4", " \n ", None),
        ("mask: last4", "  12345678 ", "5678"),
        ("mask: last4, apply: digits", "12-34", "****"),
        ("mask: first2", "Anna", "An"),
        ("mask: first2", "Ann", "**"),
        ("mask: all", "a long text that tells much", "****"),
        ("mask: all", "a", "****"),
        ("mask: last4, default: none", " ", "none"),
    ],
)
def test_masks(said: str, text: str, expected: str | None) -> None:
    assert only_value(f"from: '@a', type: varchar(9), {said}", f'<r a="{text}"/>') == expected


def test_a_masked_value_has_its_columns_type() -> None:
    assert only_value("from: A, type: char(6), mask: last4", "<r><A>12345678</A></r>") == "5678  "
    assert only_value("from: A, type: nchar(2), mask: all", "<r><A>12345678</A></r>") == "**"
    assert only_value("from: A, type: nvarchar(9), mask: last2", "<r><A>日本語話</A></r>") == "語話"
    refusal = rejected(
        plan_of(TABLE.format(column="from: A, type: varchar(9), mask: last2")), "<r><A>日本語話</A></r>"
    )
    assert refusal.code == "not_in_code_page"


def test_hashes() -> None:
    content = "<r><A> Anna </A></r>"
    assert only_value("from: A, type: char(64), hash: true", content) == digest("Anna").hex()
    assert only_value("from: A, type: char(66), hash: true", content) == digest("Anna").hex() + "  "
    assert only_value("from: A, type: varchar(40), hash: true", content) == digest("Anna", 16).hex()
    assert only_value("from: A, type: binary(32), hash: true", content) == digest("Anna")
    assert only_value("from: A, type: varbinary(20), hash: true", content) == digest("Anna", 16)
    assert only_value("from: A, type: binary(20), hash: true", content) == digest("Anna", 16)
    assert only_value("from: A, type: char(64), hash: true, apply: upper", content) == digest("ANNA").hex()
    assert only_value("from: A, type: char(64), hash: true", "<r><A> </A></r>") is None
    assert only_value("from: A, type: char(64), hash: true", "<r/>") is None


def test_what_else_can_be_hashed() -> None:
    kind = "type: char(64), hash: true"
    assert only_value(f"from: $key, {kind}", "<r/>") == digest("1").hex()
    assert only_value(f"from: $source.c, {kind}", "<r/>", (7,)) == digest("7").hex()
    assert only_value(f"from: $source.c, {kind}", "<r/>", (b"x",)) == digest("x").hex()
    assert only_value(f"from: $document, {kind}", "<r>1</r>") == digest("<r>1</r>").hex()
    assert only_value(f"xml: A, {kind}", "<r><A>1</A></r>") == digest("<A>1</A>").hex()
    binary = "from: $source.c, type: binary(32), hash: true"
    raw = b"\xff\x00"
    assert only_value(binary, "<r/>", (raw,)) == hmac.new(SALT.encode(), raw, hashlib.sha256).digest()


def test_expressions_are_protected_as_text() -> None:
    content = "<r><A>Anna</A><B>Blue</B></r>"
    both = "expr: \"CONCAT(path('A'), ' ', path('B'))\""
    assert only_value(f"{both}, type: char(64), hash: true", content) == digest("Anna Blue").hex()
    assert only_value(f"{both}, type: char(4), mask: last4", content) == "Blue"
    number = "expr: \"path('@n', 'decimal(9,2)') * 2\", type: varchar(64), hash: true"
    assert only_value(number, '<r n="1.5"/>') == digest("3.00").hex()
    assert only_value(number, "<r/>") is None


def test_what_refers_to_a_protected_column_sees_what_is_stored() -> None:
    plan = plan_of(
        """
        t:
          primary_key: ssn
          columns:
            ssn: {from: '@ssn', type: char(64), hash: true, required: true}
            last: {from: '@ssn', type: varchar(4), mask: last4}
            gone: {from: '@ssn', type: varchar(9), drop: true}
            same: {expr: "CONCAT(last, gone)", type: varchar(20)}
        u:
          parent: t
          rows: c
          where: "t.last = '6789' AND mine = '****'"
          columns:
            ssn: {from: $parent}
            tail: {from: $parent.last}
            mine: {from: '@x', type: varchar(4), mask: last4}
            above: {expr: "CONCAT(t.last, t.gone, mine)", type: varchar(20)}
        """
    )
    mapped = map_document(plan, '<r ssn="123456789"><c x="abc"/><c x="SECRET123456"/></r>')
    hashed = digest("123456789").hex()
    assert mapped["t"] == [(hashed, "6789", None, "6789")]
    assert mapped["u"] == [(hashed, "6789", "****", "6789****")]


def test_rows_are_told_apart_by_hashes() -> None:
    plan = plan_of(
        """
        t:
          rows: c
          unique: {by: h, keep: last}
          columns:
            k: {from: $key, type: int}
            h: {from: '@x', type: binary(16), hash: true}
            n: {from: $position, type: int}
        """
    )
    rows = map_document(plan, '<r><c x="a"/><c x="b"/><c x=" a "/><c/><c/></r>')["t"]
    assert [row[2] for row in rows] == [2, 3, 4, 5]


def test_items() -> None:
    plan = plan_of(
        """
        t:
          items: {into: {name: n, value: v}, values: {A: '@a', B: '@b'}}
          columns:
            k: {from: $key, type: int}
            v: {type: varchar(2), mask: last2}
        """
    )
    assert map_document(plan, '<r a="12345" b="1"/>')["t"] == [(1, "45", "A"), (1, "**", "B")]


def test_dropped_columns_do_not_make_a_row_nor_reject_one() -> None:
    plan = plan_of(
        """
        t:
          rows: c
          drop_empty: true
          columns:
            k: {from: $key, type: int}
            a: {from: '@a', type: int, drop: true}
            b: {from: b, type: int}
        """
    )
    assert map_document(plan, '<r><c a="x"/><c a="SECRET"><b>1</b></c></r>')["t"] == [(1, None, 1)]


# ------------------------------------------------------------------------------------------ properties

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(TEXTS, st.sampled_from(["first", "last"]), st.integers(1, 9))
def test_a_mask_shows_at_most_half_of_a_value_and_tells_nothing_of_short_ones(
    text: str, keep: str, count: int
) -> None:
    convert = strict_converter(Conversion(parse_type("nvarchar(max)"), protection=Mask(keep, count)))
    masked, private = convert(text), text.strip(" \t\r\n")
    if not private:
        assert masked is None
        return
    assert isinstance(masked, str)
    assert len(masked) == count
    if len(private) < 2 * count:
        assert masked == "*" * count
    else:
        assert masked == (private[:count] if keep == "first" else private[-count:])


@given(TEXTS, TEXTS, st.sampled_from([16, 32]))
def test_hashes_are_equal_for_equal_values_only(one: str, other: str, size: int) -> None:
    text = strict_converter(Conversion(parse_type("varchar(64)"), protection=Hash(size)))
    raw = strict_converter(Conversion(parse_type("varbinary(32)"), protection=Hash(size)))
    assume(one.strip(" \t\r\n"))
    first = text(one)
    assert isinstance(first, str)
    assert bytes.fromhex(first) == raw(one)
    assert len(first) == 2 * size
    assert (first == text(other)) == (one.strip(" \t\r\n") == other.strip(" \t\r\n"))
    assert text(one) == first


# ------------------------------------------------------------------------------------------ the salt

HASHED = "from: A, type: char(64), hash: true"


@pytest.mark.parametrize(
    ("salt", "said"), [(None, "there is no salt"), ("", "no salt"), ("short", "has 5 characters")]
)
def test_without_a_good_salt_nothing_is_hashed(
    monkeypatch: pytest.MonkeyPatch, salt: str | None, said: str
) -> None:
    plan = plan_of(TABLE.format(column=HASHED))
    if salt is None:
        monkeypatch.delenv(SALT_VARIABLE)
    else:
        monkeypatch.setenv(SALT_VARIABLE, salt)
    for use in (salted, salt_fingerprint, lambda plan: map_document(plan, "<r/>")):
        with pytest.raises(UsageError, match=said) as caught:
            use(plan)
        assert SALT_VARIABLE in str(caught.value)
        assert salt != "short" or "short" not in str(caught.value)


def test_the_salt_is_part_of_the_digest_by_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(TABLE.format(column=HASHED))
    first, fingerprint = salted(plan).digest, salt_fingerprint(plan)
    assert first == salted(plan).digest != plan.digest
    assert fingerprint is not None
    assert len(fingerprint) == 8
    monkeypatch.setenv(SALT_VARIABLE, "another salt for tests")
    assert salted(plan).digest != first
    assert salt_fingerprint(plan) != fingerprint


def test_a_contract_without_hashes_needs_no_salt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(SALT_VARIABLE)
    plan = plan_of(TABLE.format(column="from: A, type: char(4), mask: last4"))
    assert salted(plan) is plan
    assert salt_fingerprint(plan) is None


def test_hashes_are_the_same_in_every_process() -> None:
    code = (
        "from xml_extractor.contract.plan import *; from xml_extractor.contract.types import parse_type;"
        "from xml_extractor.mapping.conversion import strict_converter;"
        "print(strict_converter(Conversion(parse_type('char(64)'), protection=Hash(32)))('Anna'))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest("Anna").hex()
