"""Mutated real documents: what has to hold of each, and the oracle's rows for each."""

from __future__ import annotations

import random
import threading
from collections import Counter
from functools import cache

import psutil
import pytest

from tests.fuzz import documents
from tests.fuzz.agreement import Pair
from tests.fuzz.invariants import CONTRACTS, STARTED_AT, Outcome, checked, outcome
from xml_extractor.mapping.data_mapper import DataMapper
from xml_extractor.mapping.records import SourceDocument

CHANGED = 60
"""Documents a test; ``make fuzz`` goes on for as long as it is told to."""


@cache
def originals(contract: str) -> tuple[str, ...]:
    """The documents that are changed."""
    if contract == "everything":
        return (documents.EVERYTHING,)
    if contract == "loan_application":
        return tuple(documents.applications(30))
    found = tuple(documents.releases(300))
    if not found:
        pytest.skip(f"no real releases at hand ({documents.RELEASES.name})")
    return found


def changed(contract: str, number: int) -> str | bytes:
    """A document changed at random; the same for the same number."""
    rng = random.Random(f"{contract} {number}")
    chosen = documents.GENTLE if number % 2 else documents.MUTATORS
    return documents.mutated(rng.choice(originals(contract)), rng, chosen)


@pytest.mark.parametrize("contract", CONTRACTS)
def test_every_document_gives_sound_rows_or_a_rejection(contract: str) -> None:
    seen: Counter[str] = Counter()
    for number in range(CHANGED):
        found = checked(contract).check(changed(contract, number))
        seen["loaded" if found.mapped else (found.rejected or found.skipped).code] += 1  # type: ignore[union-attr]
    assert seen["loaded"] > CHANGED / 10
    assert len(seen) > 3


@pytest.mark.parametrize("contract", CONTRACTS)
def test_rows_are_the_oracles(contract: str) -> None:
    pair = Pair(CONTRACTS[contract].read_text(encoding="utf-8"))
    seen: Counter[str] = Counter()
    for number in range(CHANGED):
        content = changed(contract, number)
        if isinstance(content, bytes):
            try:
                content = content.decode()
            except UnicodeDecodeError:
                continue
        if "<!DOCTYPE" not in content and not any("\ud800" <= c <= "\udfff" for c in content):
            seen[pair.agree(content)] += 1
    assert seen["loaded"] > CHANGED / 10


def test_threads_and_neighbours_change_nothing() -> None:
    plan = checked("everything").plan
    contents = [changed("everything", number) for number in range(60)]
    alone = [outcome(DataMapper(plan, STARTED_AT), SourceDocument(1, content)) for content in contents]
    results: dict[int, list[Outcome]] = {}

    def work(worker: int) -> None:
        mapper = DataMapper(plan, STARTED_AT)
        order = list(range(len(contents)))
        random.Random(worker).shuffle(order)
        found = {number: outcome(mapper, SourceDocument(1, contents[number])) for number in order}
        results[worker] = [found[number] for number in range(len(contents))]

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert sorted(results) == [0, 1, 2, 3]
    for found in results.values():
        assert found == alone


def test_memory_does_not_grow() -> None:
    plan = checked("loan_application").plan
    mapper = DataMapper(plan, STARTED_AT)
    contents = [changed("loan_application", number) for number in range(100)]

    def go_round(times: int) -> int:
        for _ in range(times):
            for content in contents:
                outcome(mapper, SourceDocument(1, content))
        return psutil.Process().memory_info().rss

    warm = go_round(6)
    assert go_round(12) - warm < 24 * 2**20


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        "",
        "\0",
        b"\0",
        "\ud800",
        b"\xff",
        b"\xff\xfe",
        b"\xfe\xff\x00",
        b"\xef\xbb\xbf",
        " ",
        "<",
        "</",
        "<r",
        "<r>",
        "<!DOCTYPE",
        b"\x00\x00\xfe\xff",
    ],
)
def test_what_is_hardly_a_document(content: str | bytes | None) -> None:
    for contract in ("loan_application", "everything"):
        assert checked(contract).check(content).rejected is not None
