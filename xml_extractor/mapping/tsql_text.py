"""How T-SQL compares, matches and cuts text.

Done, as SQL Server's usual collations (``…_CI_AS``) do it: ignoring case, by Unicode's simple case folding
of each character, and ignoring trailing blanks; positions and lengths in UTF-16 units.

Not done: ignoring width (``Ａ`` = ``A``) and kana type, expansions (``ß`` = ``ss``, ``æ`` = ``ae``),
combining sequences equal to their precomposed letter, characters without weight, and a collation's order:
``<`` and ranges of LIKE go by the folded characters' code points, so that they agree with SQL Server on
unaccented Latin letters and digits alone.  A surrogate pair that a function would cut in two loses
its remaining half rather than become text that no other program can read.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Final

from xml_extractor.mapping.evaluation_error import EvaluationError

MAX_RESULT: Final = 2**26
"""Characters that REPLACE may make of a text: it alone can multiply two lengths that a document chooses."""
MAX_PATTERN: Final = 4000
"""Characters of a LIKE pattern, as in T-SQL."""
MAX_LIKE_STEPS: Final = 2**31
"""Length of a text times that of a pattern beyond which LIKE gives up: some 4 seconds at the worst."""
_REMEMBERED: Final = 0x3000  # folds of rarer characters are kept only if they change anything
_LAST_OF_BASIC_PLANE: Final = "\uffff"


class _FoldTable(dict[int, str]):
    """Simple case folding by code point, filled as characters turn up."""

    def __missing__(self, code: int) -> str:
        character = chr(code)
        folded = character.casefold()
        if len(folded) != 1:  # a full folding, such as that of ß; the simple one is the lower case, if single
            folded = character.lower()
        if len(folded) != 1:
            folded = character
        if code < _REMEMBERED or folded != character:
            self[code] = folded
        return folded


class _CaseTable(dict[int, str]):
    """Simple upper or lower case by code point: a mapping to several characters is none."""

    def __init__(self, change: Callable[[str], str]) -> None:
        super().__init__()
        self._change = change

    def __missing__(self, code: int) -> str:
        character = chr(code)
        changed = self._change(character)
        if len(changed) != 1:
            changed = character
        if code < _REMEMBERED or changed != character:
            self[code] = changed
        return changed


_FOLD: Final = _FoldTable()
_UPPER: Final = _CaseTable(str.upper)
_LOWER: Final = _CaseTable(str.lower)


def fold(text: str) -> str:
    """The text with the case of each character folded; as many characters as before."""
    return text.lower() if text.isascii() else text.translate(_FOLD)


def upper(text: str) -> str:
    """UPPER: character by character, so that ß stays."""
    return text.upper() if text.isascii() else text.translate(_UPPER)


def lower(text: str) -> str:
    """LOWER: character by character."""
    return text.lower() if text.isascii() else text.translate(_LOWER)


def comparison_key(text: str) -> str:
    """Texts are equal where case and trailing blanks are ignored if their keys are."""
    return text.rstrip(" ").lower() if text.isascii() else text.rstrip(" ").translate(_FOLD)


def without_trailing_blanks(text: str) -> str:
    """The key by which a char(n) is compared under a binary collation."""
    return text.rstrip(" ")


# ------------------------------------------------------------------------------------------ UTF-16 units


def is_basic(text: str) -> bool:
    """Whether each character is one UTF-16 unit."""
    return text.isascii() or max(text, default="") <= _LAST_OF_BASIC_PLANE


def to_units(text: str) -> str:
    """The text with one character per UTF-16 unit, so that positions are T-SQL's."""
    if is_basic(text):
        return text
    data = text.encode("utf-16-le", "surrogatepass")
    return "".join(map(chr, memoryview(data).cast("H")))


def from_units(units: str) -> str:
    """Units to text again; a half of a pair that has lost the other is dropped."""
    if not _SURROGATE.search(units):
        return units
    return units.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "ignore")


_SURROGATE: Final = re.compile("[\ud800-\udfff]")


def length(text: str) -> int:
    """LEN: UTF-16 units without trailing blanks."""
    stripped = text.rstrip(" ")
    return len(stripped) if is_basic(stripped) else len(to_units(stripped))


def left(text: str, count: int) -> str:
    """The first ``count`` UTF-16 units."""
    return text[:count] if is_basic(text) else from_units(to_units(text)[:count])


def right(text: str, count: int) -> str:
    """The last ``count`` UTF-16 units."""
    if count == 0:
        return ""
    return text[-count:] if is_basic(text) else from_units(to_units(text)[-count:])


def substring(text: str, start: int, count: int) -> str:
    """``count`` UTF-16 units from ``start``, counted from 1; what lies before 1 is counted but not there."""
    first, end = max(start - 1, 0), max(start - 1 + count, 0)
    return text[first:end] if is_basic(text) else from_units(to_units(text)[first:end])


def index_of(searched: str, text: str, start: int, *, binary: bool) -> int:
    """CHARINDEX: the position, counted from 1, or 0; an empty ``searched`` is never found."""
    if not searched:
        return 0
    if not is_basic(text) or not is_basic(searched):
        text, searched = (
            to_units(fold(text) if not binary else text),
            to_units(fold(searched) if not binary else searched),
        )
    elif not binary:
        text, searched = fold(text), fold(searched)
    return text.find(searched, max(start - 1, 0)) + 1


def replace(text: str, searched: str, replacement: str, *, binary: bool) -> str:
    """REPLACE: every occurrence, from the left, by the collation; an empty ``searched`` changes nothing.

    Raises:
        EvaluationError: the result is longer than :data:`MAX_RESULT`.
    """
    if not searched:
        return text
    if binary:
        _check_growth(text, text.count(searched), searched, replacement)
        return text.replace(searched, replacement)
    folded, wanted = fold(text), fold(searched)
    place = folded.find(wanted)
    if place < 0:
        return text
    pieces, begin = [], 0
    while place >= 0:
        pieces.append(text[begin:place])
        begin = place + len(searched)
        place = folded.find(wanted, begin)
    pieces.append(text[begin:])
    _check_growth(text, len(pieces) - 1, searched, replacement)
    return replacement.join(pieces)


def _check_growth(text: str, places: int, searched: str, replacement: str) -> None:
    if len(text) + places * (len(replacement) - len(searched)) > max(MAX_RESULT, len(text)):
        raise EvaluationError("too_long", f"REPLACE: the result is longer than {MAX_RESULT:,} characters")


def trim(text: str, characters: str, side: str, *, binary: bool) -> str:
    """TRIM, LTRIM, RTRIM with a set of characters."""
    begin, end = 0, len(text)
    unwanted = set(characters if binary else fold(characters))
    compared = text if binary else fold(text)
    if side != "trailing":
        while begin < end and compared[begin] in unwanted:
            begin += 1
    if side != "leading":
        while end > begin and compared[end - 1] in unwanted:
            end -= 1
    return text[begin:end]


# ------------------------------------------------------------------------------------------ LIKE


def like_matcher(
    pattern: str, escape: str | None, *, binary: bool, ignore_trailing_blanks: bool
) -> Callable[[str], bool]:
    """A LIKE pattern as a test of texts.

    ``ignore_trailing_blanks``: blanks at the end of the text (not of the pattern) do not count, as LIKE
    has it where neither side is Unicode.  A pattern that ends with its escape character, or whose bracket
    is not closed, matches nothing.

    The test raises :class:`EvaluationError` where the pattern is longer than :data:`MAX_PATTERN`, or text and
    pattern are so long that it could take minutes.
    """
    if len(pattern) > MAX_PATTERN:

        def refuse(text: str) -> bool:
            raise EvaluationError("too_long", f"LIKE: the pattern is longer than {MAX_PATTERN:,} characters")

        return refuse
    return _like_matcher(pattern, escape, binary, ignore_trailing_blanks)


@lru_cache(maxsize=256)  # patterns can come from documents, and one of the longest takes 100 kB
def _like_matcher(
    pattern: str, escape: str | None, binary: bool, ignore_trailing_blanks: bool
) -> Callable[[str], bool]:
    longest = MAX_LIKE_STEPS // max(1, len(pattern))
    if not binary:
        pattern = fold(pattern)
        escape = fold(escape) if escape is not None else None
    segments = _like_segments(to_units(pattern), escape)
    if segments is None:
        return lambda text: False
    tail = " *" if ignore_trailing_blanks else ""
    if len(segments) == 1:
        expression = segments[0] + tail
    else:
        # Between two %, the leftmost match of a segment is as good as any: no backtracking into it.
        first, *middle, last = segments
        expression = first + "".join(f"(?>.*?{s})" for s in middle if s) + ".*" + last + tail
    match = re.compile(expression, re.DOTALL).fullmatch

    def is_like(text: str) -> bool:
        if len(text) > longest:
            raise EvaluationError("too_long", "LIKE: text and pattern are too long to be compared")
        return match(to_units(text if binary else fold(text))) is not None

    return is_like


def _like_segments(pattern: str, escape: str | None) -> list[str] | None:
    """The regular expressions of what stands between the ``%``; ``None`` if nothing can match."""
    segments = [""]
    place = 0
    while place < len(pattern):
        character = pattern[place]
        place += 1
        if character == escape:
            if place == len(pattern):
                return None
            segments[-1] += re.escape(pattern[place])
            place += 1
        elif character == "%":
            segments.append("")
        elif character == "_":
            segments[-1] += "."
        elif character == "[":
            parsed = _like_set(pattern, place, escape)
            if parsed is None:
                return None
            members, place = parsed
            segments[-1] += members
        else:
            segments[-1] += re.escape(character)
    return segments


def _like_set(pattern: str, place: int, escape: str | None) -> tuple[str, int] | None:
    """``[…]`` from behind the bracket: its regular expression and the place behind it."""
    negated = pattern.startswith("^", place)
    place += negated
    members: list[tuple[str, bool]] = []  # (character, whether it was escaped)
    while True:
        if place >= len(pattern):
            return None
        character = pattern[place]
        place += 1
        if character == escape:
            if place >= len(pattern):
                return None
            members.append((pattern[place], True))
            place += 1
        elif character == "]":
            break
        else:
            members.append((character, False))
    parts = []
    index = 0
    while index < len(members):
        low = members[index][0]
        if index + 2 < len(members) and members[index + 1] == ("-", False):
            high = members[index + 2][0]
            if low <= high:
                parts.append(f"{re.escape(low)}-{re.escape(high)}")
            index += 3
        else:
            parts.append(re.escape(low))
            index += 1
    if not parts:
        return ("." if negated else "(?!)"), place
    return f"[{'^' if negated else ''}{''.join(parts)}]", place
