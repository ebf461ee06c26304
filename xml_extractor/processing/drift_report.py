"""What the drift guard found, in words: what the contract expects and what the sample holds."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.expected_paths import ExpectedPath
from xml_extractor.mapping.records import Key, Rejection
from xml_extractor.target.ledger import key_text

WIDTH: Final = 78
"""Columns that the text keeps to where it can: a terminal's 80."""

MAX_LINES: Final = 10
"""Entries shown of each kind; the rest is counted."""

_KEY_WIDTH: Final = 24
_LEAD: Final = "error: "  # what an error begins with where it is shown

T = TypeVar("T")


@dataclass(slots=True)
class Refusals:
    """Documents of the sample that would be refused for one reason at one place."""

    rejection: Rejection
    documents: int = 0
    keys: list[Key] = field(default_factory=list)  # examples


@dataclass(slots=True)
class DriftReport:
    """What speaks against a load.  Holds paths, names, counts and keys, and no value of any document."""

    plan: Plan
    max_drift: float | None
    """The share in per cent that was exceeded; None: it was not, but there are unknown elements."""
    sampled: int
    refused: int
    skipped: int
    refusals: list[Refusals]
    other_roots: Counter[str] = field(default_factory=Counter)  # name of the root → documents
    compared: int = 0  # documents whose paths were compared with the contract's
    absent: Counter[ExpectedPath] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    never_seen: list[str] = field(default_factory=list)

    def text(self) -> str:
        """Return the report as text of several lines, to be shown as an error."""
        headline = f"{self.headline()}. No document was loaded."
        lines = ["\n".join(textwrap.wrap(_LEAD + headline, WIDTH)).removeprefix(_LEAD), ""]
        lines += _section("Why they would be refused", self._refusal_lines())
        roots = [
            _counted(number, self.sampled, f"{name} (the contract expects {self._expected_roots()})")
            for name, number in self.other_roots.most_common()
        ]
        lines += _section("Documents with another root; a load skips them", roots)
        absent = [
            _counted(number, self.compared, f"{path.path}\nrequired for {_place(path.table, path.column)}")
            for path, number in _sorted(self.absent)
        ]
        lines += _section("What the contract requires and documents lack", absent)
        unknown = [_counted(number, self.compared, path) for path, number in _sorted(self.unknown)]
        lines += _section("What documents hold and the contract does not mention", unknown)
        never = [f"  {path}" for path in self.never_seen]
        lines += _section("What the contract mentions and no document of the sample holds", never)
        return "\n".join([*lines, *self._advice()])

    def headline(self) -> str:
        """Return the outcome in words that go on from "the load is …"."""
        if self.max_drift is not None:
            return (
                f"halted before the first document: {self.refused:,} of {self.sampled:,} sampled documents "
                f"({_share(self.refused, self.sampled)}) would go to quarantine, and --max-drift allows "
                f"{self.max_drift:g} %"
            )
        number = len(self.unknown)
        return (
            f"halted before the first document: a sample of {self.sampled:,} documents holds {number} "
            f"element{'' if number == 1 else 's'} that contract {self.plan.contract} does not mention, and "
            "it says to halt then (unknown_elements: halt)"
        )

    def _expected_roots(self) -> str:
        return " or ".join(root.rpartition("}")[2] for root in self.plan.roots)

    def _refusal_lines(self) -> list[str]:
        lines = []
        for group in self.refusals:
            why = group.rejection
            place = _place(why.table, why.column)
            message = why.message.removeprefix(f"{place}: ")
            if why.path:
                place = f"{place} from {why.path}" if place else why.path
            keys = ", ".join(map(_shown, group.keys))
            if group.documents > len(group.keys):
                keys += ", …"
            lines.append(
                _counted(
                    group.documents,
                    self.sampled,
                    f"{why.code}{f' at {place}' if place else ''}\n{message}\nkeys {keys}",
                )
            )
        return lines

    def _advice(self) -> list[str]:
        contract = f"contract {self.plan.contract} version {self.plan.version}"
        if self.max_drift is not None:
            allow = "--max-drift PERCENT allows more, --drift-sample 0 tries none"
        else:
            allow = "unknown_elements: report names them in the summary only"
        return _wrapped(
            [
                f"If the documents are right, mend {contract}; if it is right, mend the documents, or name "
                "the contract that is for them. Then run the same command again.",
                f"If all is as it should be: {allow}.",
                "The sample shows what mapping refuses. What the target would refuse, such as a key that is "
                "there already, shows in the load only (--max-quarantined halts it).",
            ]
        )


def _shown(key: Key) -> str:
    """A key fit for a terminal: short, and with nothing in it that moves the cursor."""
    text = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in key_text(key)
    )
    return text if len(text) <= _KEY_WIDTH else text[: _KEY_WIDTH - 1] + "…"


def _wrapped(paragraphs: Iterable[str]) -> list[str]:
    return [line for paragraph in paragraphs for line in textwrap.wrap(paragraph, WIDTH)]


def _section(title: str, entries: Sequence[str]) -> list[str]:
    """A titled block of entries, cut to a readable number; nothing where there are none."""
    if not entries:
        return []
    shown = list(entries[:MAX_LINES])
    if len(entries) > len(shown):
        shown.append(f"  … and {len(entries) - len(shown):,} more")
    return [f"{title}:", *shown, ""]


def _counted(number: int, of: int, text: str) -> str:
    """An entry with its count and share in front; further lines of the text are indented below it."""
    lead = f"  {number:>7,} {f'({_share(number, of)})':>8}  "
    indent = " " * len(lead)
    lines: list[str] = []
    for line in text.split("\n"):
        # Paths are left whole, so that they can be copied.
        lines += textwrap.wrap(
            line, WIDTH, initial_indent=indent if lines else lead, subsequent_indent=indent,
            break_long_words=False, break_on_hyphens=False,
        )  # fmt: skip
    return "\n".join(lines)


def _sorted(counts: Counter[T]) -> list[tuple[T, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def _place(table: str | None, column: str | None) -> str:
    return ".".join(part for part in (table, column) if part)


def _share(number: int, of: int) -> str:
    """A share in per cent; neither 0 % nor 100 % where that is not quite so."""
    if not of:
        return "0 %"
    share = 100 * number / of
    if number and share < 1:
        return "<1 %"
    if number < of and share > 99:
        return ">99 %"
    return f"{share:.0f} %"
