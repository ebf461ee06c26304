"""Ways in which a synthetic loan application is broken, so that quarantine has something to show."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

_LAUGHS: Final = (
    '<!DOCTYPE Application [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">'
    '<!ENTITY c "&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;"><!ENTITY d "&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;">]>\n'
)


def _replace(pattern: str, replacement: str) -> Callable[[str], str]:
    compiled = re.compile(pattern)
    return lambda text: compiled.sub(replacement, text, count=1)


def _truncate(text: str) -> str:
    return text[: len(text) * 2 // 3]


FAULTS: Final[dict[str, Callable[[str], str]]] = {
    # refused by the parser
    "truncated": _truncate,
    "unknown_entity": _replace("<Amount>", "<Amount>&euro;"),
    "entity_expansion": lambda text: _LAUGHS + text.replace("<Employer>", "<Employer>&d;", 1),
    "mismatched_tag": _replace("</Name>", "</name>"),
    "control_character": _replace("<First>", "<First>&#1;"),
    "empty": lambda text: "",
    # refused by the mapping
    "not_a_number": _replace(r"<Amount>\d+\.00", "<Amount>about ten thousand"),
    "required_missing": _replace(r' received="[^"]*"', ""),
    "too_long": _replace("<PostalCode>", f"<PostalCode>{'0' * 40}"),
    "out_of_range": _replace(r' term="\d+"', ' term="3000000000"'),
    "no_such_date": _replace(r"<FirstPayment>(\d{4})-\d\d-\d\d", r"<FirstPayment>\1-02-30"),
    "unknown_code": _replace(r' status="[^"]*"', ' status="LOST"'),
    "not_a_guid": _replace(r' reference="[^"]*"', ' reference="none"'),
    "beyond_code_page": _replace("<Email>", "<Email>ł"),
    # refused by the target
    "duplicate_key": _replace(r'(<Decision sequence="1".*\n)', r"\1\1"),
}  # fmt: skip
"""What is done to the text of a sound application, by name."""

_DRAWN: Final = tuple(
    fault for name, fault in FAULTS.items() for _ in range(1 if name == "duplicate_key" else 2)
)
# What the target refuses costs a search through its batch, so it is drawn half as often as the others.


def break_application(text: str, share: float) -> str:
    """Return a sound application broken in the way that ``share`` (0 ≤ share < 1) falls on."""
    return _DRAWN[int(share * len(_DRAWN))](text)
