"""Formats of dates and times: which of ``strptime``'s directives make sense together.

``strptime`` takes what is not said from 1 January 1900, takes an hour of twelve without a.m. or p.m., and
reads zone names and week numbers only to forget them.  None of that may become a value.
"""

from __future__ import annotations

import re
from typing import Final

from xml_extractor.contract.types import Family

_DIRECTIVE: Final = re.compile(r"%(.?)", re.DOTALL)
_KNOWN: Final = frozenset("aAbBdfGHIjmMpSuVyYz%")
_TOLD: Final = {
    "Z": "%Z reads a zone's name without taking it into account; use %z",
    "U": "%U has no effect on the date; use %m and %d, or %G, %V and %u",
    "W": "%W has no effect on the date; use %m and %d, or %G, %V and %u",
    "w": "%w has no effect on the date; use %m and %d, or %G, %V and %u",
    "c": "%c depends on the worker's language settings; write it out",
    "x": "%x depends on the worker's language settings; write it out",
    "X": "%X depends on the worker's language settings; write it out",
}
_WEEK_DATE: Final = frozenset("GVu")


def format_problem(form: str, family: Family) -> str | None:
    """Say why a format cannot give a value of a temporal type; ``None`` = it can."""
    found = [match[1] for match in _DIRECTIVE.finditer(form)]
    for letter in found:
        if letter in _TOLD:
            return f"format {form!r}: {_TOLD[letter]}"
        if letter not in _KNOWN or not letter:
            return f"format {form!r}: %{letter} is no directive of strptime; a percent sign is written %%"
    has = set(found) - {"%"}
    twice = next((letter for letter in sorted(has) if found.count(letter) > 1), None)
    if twice is not None:
        return f"format {form!r} has %{twice} twice"
    if len(has & {"y", "Y", "G"}) > 1 or len(has & {"m", "b", "B"}) > 1 or len(has & {"H", "I"}) > 1:
        return f"format {form!r} says one thing twice"
    if ("I" in has) != ("p" in has):
        return f"format {form!r}: %I, the hour of twelve, and %p, a.m. or p.m., go together; else use %H"
    if family is Family.TIME:
        return None if has & {"H", "I", "M", "S"} else f"format {form!r} holds no time"
    if has & _WEEK_DATE:
        return None if has >= _WEEK_DATE else f"format {form!r}: %G, %V and %u go together"
    if not has & {"y", "Y"}:
        return f"format {form!r} holds no year"
    if "d" in has and not has & {"m", "b", "B"}:
        return f"format {form!r} holds a day without a month"
    return None
