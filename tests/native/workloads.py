"""Documents and contracts that lead through all of the native interpreter, without end."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.documents import (
    EVERYTHING,
    GENTLE,
    MUTATORS,
    VALUES,
    applications,
    escaped,
    mutated,
    releases,
)
from tests.fuzz.invariants import CONTRACTS
from tests.unit.mapping.mapping_support import plan_of
from tests.unit.mapping.test_native import HOSTILE, NAMESPACES, PLACES, every_type
from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan

Content = str | bytes

CORPUS = Path(__file__).parents[2] / ".fuzz/corpus/mapper"
"""What ``make fuzz`` has kept."""

_HEAVY = frozenset({"wide", "long texts"})
_SMALL = (
    "<r v='1'><a>x</a></r>",
    "<r v='1'><a>longer than nine characters</a></r>",  # made the careful way
    "<r v='x'/>",  # refused
    "<r v='1' w='1'><a>1</a><a>2</a></r>",  # refused: several nodes
    "<q/>",  # skipped
    "<r v='1'><a/><new/></r>",  # an unknown element
    "<r v='1'",  # no XML
)
_SMALL_TABLE = """
    t:
      primary_key: [id]
      columns:
        id: {from: $key, type: int}
        v: {from: "@v", type: int, required: true}
        w: {from: a, type: nvarchar(9), on_overflow: truncate}
        e: {expr: "CASE WHEN v > 0 THEN CONCAT(v, w) END", type: nvarchar(40)}
        x: {xml: a, type: xml}
        d: {from: "a[last()]", type: float, on_invalid: "null"}
    u:
      parent: t
      rows: a
      where: "path('.') <> '2'"
      primary_key: [id, n]
      columns: {id: {from: $parent}, n: {from: $position, type: int}, v: {from: ., type: nvarchar(30)}}
    """


class Workload(NamedTuple):
    """A contract, and documents for it: endless, and the same for the same seed."""

    name: str
    plan: Plan
    documents: Iterator[Content]


def small(rng: random.Random) -> Workload:
    """A few small documents, of which most have something wrong with them: a million a minute."""
    plan = plan_of(_SMALL_TABLE, "document: {root: /r}\nunknown_elements: report")
    return Workload("small", plan, (rng.choice(_SMALL) for _ in itertools.count()))


def workloads(seed: int) -> list[Workload]:
    """All of them; real documents only where they are at hand."""
    rng = random.Random(seed)
    plans = {name: read_contract(path).plan for name, path in CONTRACTS.items()}
    found = [
        small(rng),
        Workload("applications", plans["loan_application"], itertools.cycle(applications(300))),
    ]
    sources = {"loan_application": applications(60), "everything": [EVERYTHING]}
    if real := releases(300):
        found.append(Workload("releases", plans["discogs_releases"], itertools.cycle(real)))
        sources["discogs_releases"] = real[:60]
    for name, texts in sources.items():
        found.append(Workload(f"{name}, mutated", plans[name], _mutated(texts, rng)))
    hostile = [text for name, text in HOSTILE.items() if name not in _HEAVY]
    for ignore_case in ("true", "false"):
        head = f"document: {{root: [/r, /n:r], ignore_case: {ignore_case}, namespaces: {NAMESPACES}}}"
        plan = plan_of(PLACES, f"{head}\nunknown_elements: report")
        documents = (rng.choice(hostile) if rng.random() < 0.3 else mutated(rng.choice(hostile), rng, GENTLE)
                     for _ in itertools.count())  # fmt: skip
        found.append(Workload(f"hostile, ignore_case: {ignore_case}", plan, documents))
    return [*found, Workload("values", every_type(), _values(rng))]


def corpus(plans: list[Plan]) -> list[tuple[Plan, Content]]:
    """The documents that the coverage-guided fuzzer has kept, each with its contract."""
    found: list[tuple[Plan, Content]] = []
    for path in sorted(CORPUS.glob("*")) if CORPUS.is_dir() else ():
        data = path.read_bytes()
        if data:
            content: Content = data[1:]
            if data[0] & 0x80:
                content = data[1:].decode("utf-8", "surrogateescape")
            found.append((plans[(data[0] & 0x7F) % len(plans)], content))
    return found


def _mutated(texts: list[str], rng: random.Random) -> Iterator[Content]:
    while True:
        yield mutated(rng.choice(texts), rng, GENTLE if rng.random() < 0.6 else MUTATORS, most=2)


def _values(rng: random.Random) -> Iterator[Content]:
    """Odd values, a few a document, and pieces of them put together."""
    while True:
        values = [rng.choice(VALUES) for _ in range(2)]
        values += [a[: rng.randrange(20)] + b[: rng.randrange(20)] for a, b in itertools.pairwise(values)]
        inside = "".join(f"<v>{escaped(value)}</v>" for value in values)
        yield f"<r>{inside}</r>"
