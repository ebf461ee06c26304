"""Coverage-guided: text → contract reader.  Whatever a user writes gives a plan or a list of mistakes.

A contract that is sound is given to a mapper, and one small document to that.
"""

from __future__ import annotations

import random
import re
import sys

import atheris

with atheris.instrument_imports(include=["xml_extractor"]):
    from tests.fuzz import engine
    from tests.fuzz.invariants import CONTRACTS, Checked
    from xml_extractor.contract import Contract, check_text
    from xml_extractor.errors import ContractError, UsageError

_DOCUMENT = "<r id='1' k='2'><a>1</a><b k='x'>2<a/></b><part><name>n</name></part></r>"
_PLUGIN = re.compile(rb"plugin")
_WORD = re.compile(r"[\w$./@'()-]+")


def test_one_input(data: bytes) -> None:
    """Read one contract; anything raised but what a user's mistake raises is a finding."""
    text = data.decode("utf-8", "surrogateescape" if data[:1] == b"#" else "replace")
    result = check_text(text)
    assert (result.contract is None) == bool(result.mistakes)
    for mistake in (*result.mistakes, *result.warnings):
        assert mistake.line >= 1
        assert mistake.column >= 1
        assert mistake.message
    if result.contract is None:
        try:
            Contract.from_text(text)
        except ContractError as error:
            assert str(error)
        return
    assert Contract.from_text(text).plan == result.contract.plan
    if _PLUGIN.search(data):
        return  # what a fuzzer would import and call is nobody's business
    try:
        checked = Checked(result.contract.plan)
    except (ContractError, UsageError):
        return  # no salt, or what an engine cannot hold
    if not result.contract.plan.source.columns:
        checked.check(_DOCUMENT)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """Exchange words and lines of contracts; else leave it to libFuzzer."""
    rng = random.Random(seed)
    if not data or rng.random() < 0.4:
        return bytes(atheris.Mutate(data, max_size))
    text = data.decode("utf-8", "replace")
    how = rng.randrange(4)
    if how == 0:
        lines = text.split("\n")
        start = rng.randrange(len(lines))
        piece = lines[start : start + rng.randint(1, 3)]
        place = rng.randrange(len(lines))
        if rng.random() < 0.5:
            del lines[start : start + len(piece)]
        lines[place:place] = piece
        text = "\n".join(lines)
    else:
        words = list(_WORD.finditer(text))
        if words:
            match = rng.choice(words)
            text = text[: match.start()] + rng.choice(_WORDS) + text[match.end() :]
    return text.encode("utf-8", "replace")[:max_size]


def _read_seeds() -> list[str]:
    return [path.read_text(encoding="utf-8") for path in CONTRACTS.values()]


_WORDS = [
    *sorted({word for text in _read_seeds() for word in _WORD.findall(text)}),
    "", "null", "~", "true", "$key", "$parent", "$parent.id", "$position", "$source.x",
    "$document", "*", "..", "//", "a[",
    "[1]", "&a", "*a", "<<: *a", "!!python/object:os.system", "!x", "|", ">-", "{", "}", "[", "]",
    "decimal(38,38)", "time(9)",
    "nvarchar(0)", "datetimeoffset(7)", "xml", "'",
    '"', "%", "\t", "---", "...", "999999999999999999999", "-1", "1.0", "0x1F",
    "CASE", "WHEN", "THEN", "END", "CAST(", "path('a')", "NULL", "LIKE", "first", "join",
    "truncate", "mask", "hash", "drop",
]  # fmt: skip


def seeds() -> list[bytes]:
    """The contracts that there are, and each table of them alone."""
    found = []
    for text in _read_seeds():
        found.append(text.encode())
        head, _, tables = text.partition("\ntables:\n")
        for table in re.split(r"\n\n(?=  \w+:\n)", tables)[:4]:
            found.append(f"{head}\ntables:\n{table}\n".encode())
    return found


if __name__ == "__main__":
    engine.run(sys.argv, test_one_input, mutate)
