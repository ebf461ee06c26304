"""Finding the documents that a database refuses, in few transactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")
Refusal = TypeVar("Refusal")


@dataclass(frozen=True, slots=True)
class Refused(Generic[Refusal]):
    """A group of items was refused."""

    reason: Refusal
    at: int | None = None
    """Which of the items it was that the database stumbled over, where that is known."""


def bisect(
    items: Sequence[T], attempt: Callable[[Sequence[T]], Refused[Refusal] | None]
) -> list[tuple[T, Refusal]]:
    """Commit all items but those that are refused even when attempted alone; return these.

    ``attempt`` commits all the items it is given and returns None, or nothing of them and returns why.
    Items keep their order and every item is attempted until it is either committed or alone.

    Where the database says which item it was, those before it, it alone, and those after it are the next
    groups: about 3k beside the first for k refused items.  Else a group is halved: with k refused items among
    n, about k·log2(n/k) + 2k groups beside the first, because where the first half of a refused group passes,
    the fault is in the second, which is halved without being tried.
    """
    refused: list[tuple[T, Refusal]] = []
    groups = [_Group(items)]  # still to do, last first
    while groups:
        group = groups.pop()
        if not group.items:
            continue
        alone = len(group.items) == 1
        at = None
        if alone or not group.known_bad:
            refusal = attempt(group.items)
            if refusal is None:
                if group.first_half:
                    groups[-1].known_bad = True
                continue
            if alone:
                refused.append((group.items[0], refusal.reason))
                continue
            at = refusal.at
        if at is None:
            half = len(group.items) // 2
            groups.append(_Group(group.items[half:]))
            groups.append(_Group(group.items[:half], first_half=True))
        else:
            groups.append(_Group(group.items[at + 1 :]))
            groups.append(_Group(group.items[at : at + 1]))
            groups.append(_Group(group.items[:at]))
    return refused


@dataclass(slots=True)
class _Group(Generic[T]):
    items: Sequence[T]
    first_half: bool = False  # of a refused group, whose second half is the next on the stack
    known_bad: bool = False
