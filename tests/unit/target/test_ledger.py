from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xml_extractor.mapping.records import DocumentRecord, Key, State
from xml_extractor.target import ledger
from xml_extractor.target.ledger import (
    DocumentDigests,
    counts_from_text,
    counts_text,
    document_digest,
    in_key_order,
    key_text,
)

KEYS = st.one_of(st.integers(), st.text(st.characters()), st.text("\\\0x0ud8\ud800a-1"))


def test_digest_is_sixteen_bytes_and_stays_the_same_for_ever() -> None:
    # Written down once: a digest that changed would make every document of every ledger new.
    assert document_digest("lending", "loan", 1).hex() == "44e8cd22d06fd1a78000000000000001"
    assert document_digest("lending", "loan", "1").hex() == "237656b755e28d6afc6b7a35daf55d34"


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("a", "b", 1), ("a", "b", "1")),
        (("ab", "c", 1), ("a", "bc", 1)),
        (("a", "b", "1"), ("a", "b1", "")),
        (("a", "b", 1), ("b", "a", 1)),
        (("a", "b", "x"), ("a", "b", "X")),
        (("a", "b", "x"), ("a", "b", "x ")),
        (("a", "b", "é"), ("a", "b", "e\u0301")),
        (("a", "b", -1), ("a", "b", 1)),
    ],
)
def test_different_documents_have_different_digests(
    first: tuple[str, str, Key], second: tuple[str, str, Key]
) -> None:
    assert document_digest(*first) != document_digest(*second)


@given(st.integers(), st.integers())
def test_digests_of_whole_numbers_have_their_order(first: int, second: int) -> None:
    digests = DocumentDigests("lending", "loan")
    assert (digests.digest(first) == digests.digest(second)) == (first == second)
    if all(-(2**63) <= key < 2**63 for key in (first, second)):
        assert (digests.digest(first) < digests.digest(second)) == (first < second)


@given(KEYS)
def test_a_key_is_found_again_from_digest_and_text(key: Key) -> None:
    digests = DocumentDigests("lending", "loan")
    text = key_text(key)
    found = digests.key(digests.digest(key), text)
    assert found == key
    assert type(found) is type(key)


@pytest.mark.parametrize("key", ["--5", "-", "9" * 5000, "-0", "٣", "\\x00--5"], ids=range(6))
def test_texts_that_look_like_numbers_are_found_again_too(key: str) -> None:
    digests = DocumentDigests("lending", "loan")
    assert digests.key(digests.digest(key), key) == key


@given(KEYS)
def test_key_text_can_be_stored_anywhere(key: Key) -> None:
    text = key_text(key)
    assert "\0" not in text
    text.encode("utf-8")


def test_a_key_with_nul_and_the_text_of_its_escape_is_found_again() -> None:
    digests = DocumentDigests("lending", "loan")
    key = "a\\x00\0\\\ud800\\ud800"
    assert key_text(key) == r"a\\x00\x00\\\ud800\\ud800"
    assert digests.key(digests.digest(key), key_text(key)) == key


def test_a_key_of_another_source_is_not_recognised() -> None:
    other = document_digest("elsewhere", "loan", 7)
    assert DocumentDigests("lending", "loan").key(other, "7") is None


def test_keys_sort_by_type_then_value() -> None:
    records = [DocumentRecord(key, State.LOADED, b"") for key in ("b", 10, "a", 9)]
    assert [record.key for record in in_key_order(records)] == [9, 10, "a", "b"]


@given(st.lists(st.integers(0, 10**6)))
def test_row_counts_survive_their_text(counts: list[int]) -> None:
    assert counts_from_text(counts_text(counts)) == tuple(counts)


def test_state_values_are_what_the_ledger_holds() -> None:
    assert [state.value for state in State] == ["loaded", "quarantined", "skipped"]


def test_a_digest_that_was_looked_up_is_the_same_when_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger, "REMEMBERED", 3)
    digests, plain = DocumentDigests("lending", "loan"), DocumentDigests("lending", "loan")
    keys: list[Key] = [5, "5", -1, "b", 7]
    for _ in range(3):
        digests.remember({plain.digest(key): key for key in keys})
        assert [digests.take(key) for key in keys[:2] * 2] == [plain.digest(key) for key in keys[:2] * 2]
