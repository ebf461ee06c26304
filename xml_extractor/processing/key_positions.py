"""Positions spread over a range of keys, so that a sample can be taken from all of it.

No engine finds the millionth row without passing a million; but each goes straight to the keys beyond a
given one.  So positions are computed from the first and the last key: whether there is a row at a position
does not matter, because what is read are the keys that follow it.
"""

from __future__ import annotations

import re
import uuid
from typing import Final

from xml_extractor.mapping.records import Key

MAX_LETTERS: Final = 32
"""Letters of a text, beyond what first and last have in common, that a position may have: two to the
power of 32 positions even where there are two different letters only."""

_GUID: Final = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
_SURROGATES: Final = range(0xD800, 0xE000)


def positions(first: Key, last: Key, count: int) -> list[Key]:
    """Return up to ``count`` different keys, evenly spread from ``first`` on and before ``last``.

    They need not exist.  Whole numbers are interpolated as such; GUIDs as their 128 bits (columns of that
    type take nothing else); texts as numbers whose digits are the letters that occur in the two keys and
    those between them.  Where the two are of different types, or the same, there are none.
    """
    if isinstance(first, int) and isinstance(last, int):
        return list(dict.fromkeys(_spread(first, last, count)))
    if not isinstance(first, str) or not isinstance(last, str) or first == last:
        return []
    if _GUID.fullmatch(first) and _GUID.fullmatch(last):
        low, high = sorted((uuid.UUID(first).int, uuid.UUID(last).int))
        return list(dict.fromkeys(str(uuid.UUID(int=number)) for number in _spread(low, high, count)))
    return _texts(first, last, count)


def _spread(first: int, last: int, count: int) -> list[int]:
    return [first + (last - first) * index // count for index in range(count)] if first < last else []


def _texts(first: str, last: str, count: int) -> list[Key]:
    differences = (index for index, (a, b) in enumerate(zip(first, last, strict=False)) if a != b)
    prefix = first[: next(differences, min(len(first), len(last)))]
    # A collation of the server's own may sort otherwise than code points do: the order is no matter here.
    rests = sorted((first[len(prefix) :], last[len(prefix) :]))
    letters = "".join(rests)
    lowest, highest = ord(min(letters)), ord(max(letters))
    length = min(MAX_LETTERS, max(map(len, rests)))
    base = highest - lowest + 2  # a digit 0 says that the text ends there
    low, high = (_number(rest, length, lowest, base) for rest in rests)
    found = (prefix + _text(number, length, lowest, base) for number in _spread(low, high, count))
    return list(dict.fromkeys(found))


def _number(text: str, length: int, lowest: int, base: int) -> int:
    number = 0
    for letter in text[:length].ljust(length, "\0"):
        number = number * base + max(0, ord(letter) - lowest + 1)
    return number


def _text(number: int, length: int, lowest: int, base: int) -> str:
    digits = []
    for _ in range(length):
        number, digit = divmod(number, base)
        digits.append(digit)
    letters = []
    for digit in reversed(digits):
        if not digit:
            break
        code = lowest + digit - 1
        # Halves of surrogate pairs are no text that a driver takes.
        letters.append(chr(_SURROGATES.start - 1 if code in _SURROGATES else code))
    return "".join(letters)
