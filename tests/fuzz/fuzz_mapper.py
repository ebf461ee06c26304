"""Coverage-guided: bytes → document → mapper, worker and encoders, and what has to hold of each.

The first byte chooses the contract and whether the document comes as text or as bytes; the rest is the
document.  ``make fuzz`` runs it; alone: ``python -m tests.fuzz.fuzz_mapper CORPUS -max_total_time=60``.
"""

from __future__ import annotations

import random
import sys

import atheris

with atheris.instrument_imports(include=["xml_extractor"]):
    from tests.fuzz import documents, engine
    from tests.fuzz.invariants import CONTRACTS, STARTED_AT, Checked
    from xml_extractor.contract import read_contract

del STARTED_AT
_CHECKED = [Checked(read_contract(path).plan) for path in CONTRACTS.values()]
_AS_TEXT = 0x80


def test_one_input(data: bytes) -> None:
    """Map one document; anything raised is a finding."""
    if not data:
        return
    checked = _CHECKED[(data[0] & ~_AS_TEXT) % len(_CHECKED)]
    content: str | bytes = data[1:]
    if data[0] & _AS_TEXT:
        content = data[1:].decode("utf-8", "surrogateescape")
    checked.check(content)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Change the document as its enemies would, or leave it to libFuzzer's blind changes."""
    rng = random.Random(seed)
    if len(data) < 2 or rng.random() < 0.4:
        return bytes(atheris.Mutate(data, max_size))
    text = data[1:].decode("utf-8", "replace")
    changed = documents.mutated(
        text, rng, documents.GENTLE if rng.random() < 0.6 else documents.MUTATORS, most=2
    )
    if isinstance(changed, str):
        changed = changed.encode("utf-8", "surrogatepass")
    head = rng.randrange(256) if rng.random() < 0.1 else data[0]
    return (bytes([head]) + changed)[:max_size]


def seeds() -> list[bytes]:
    """A few documents of each contract."""
    found = [b"\x00" + text.encode() for text in documents.applications(20)]
    found += [b"\x01" + text.encode() for text in documents.releases(20)]
    return [*found, b"\x02" + documents.EVERYTHING.encode(), b"\x82" + documents.EVERYTHING.encode()]


if __name__ == "__main__":
    engine.run(sys.argv, test_one_input, mutate)
