"""What the measured strategies say, in sentences that the figures write."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from backpressure.scenarios import Load, Outcome
from backpressure.strategies import BLOCK, LARGER_QUEUE, SPILL, STRATEGIES

NOISE: Final = 0.03
"""Walls that differ by less than this share count as equal, however close together the runs were: so much is
left to chance by when the last chunks end."""

MEGABYTE: Final = 1_000_000

WHY_NO_DROP: Final = (
    "Dropping records is not offered: every document is to be committed exactly once, and the sum of what "
    "became of them has to hold. A dropped record breaks both; if its document stayed pending, it would be "
    "read, parsed and mapped again later, which is to block with the work thrown away."
)


_QUEUE_FACTORS: Final = {strategy.name: strategy.queue_factor for strategy in STRATEGIES}


def conclusions(outcomes: Sequence[Outcome], load: Load) -> Iterator[str]:
    """Yield sentences: each strategy against blocking, scenario by scenario, then what to make of it."""
    blocking = {one.scenario: one for one in outcomes if one.strategy == BLOCK.name}
    faster: dict[str, list[str]] = {}
    for one in outcomes:
        if one.strategy == BLOCK.name:
            continue
        block = blocking[one.scenario]
        verdict = compare_walls(block, one)
        if verdict == "faster":
            faster.setdefault(one.strategy, []).append(one.scenario)
        yield f"{one.scenario}: {one.strategy} {_against(block, one, verdict, load)}."
    yield from _advice(outcomes, faster)
    yield WHY_NO_DROP


def compare_walls(block: Outcome, other: Outcome) -> str:
    """Return ``faster``, ``slower`` or ``no faster``: differences within the spread of either are none."""
    difference = block.wall - other.wall
    if abs(difference) <= max(block.spread, other.spread, NOISE * block.wall):
        return "no faster"
    return "faster" if difference > 0 else "slower"


def _against(block: Outcome, other: Outcome, verdict: str, load: Load) -> str:
    change = abs(block.wall - other.wall) / block.wall
    words = [
        f"is {verdict} than block ({other.wall:.2f} s against {block.wall:.2f} s)"
        if verdict == "no faster"
        else f"is {change:.0%} {verdict} than block ({other.wall:.2f} s against {block.wall:.2f} s)"
    ]
    if other.disk:
        words.append(f"writes {other.disk / MEGABYTE:,.0f} MB to disk")
    bound = load.bound * _QUEUE_FACTORS[other.strategy]
    if other.most_waiting > bound:
        words.append(f"lets {other.most_waiting:,} documents wait in memory where {bound:,} were set")
    words.append(
        f"takes {other.memory / MEGABYTE:,.0f} MB of memory (block {block.memory / MEGABYTE:,.0f} MB)"
    )
    words.append(f"goes on for {other.stop:.1f} s after Ctrl-C (block {block.stop:.1f} s)")
    words.append(
        f"throws {other.thrown_away:,.0f} finished documents away when the target fails (block "
        f"{block.thrown_away:,.0f})"
    )
    return ", ".join(words[:-1]) + " and " + words[-1]


def _advice(outcomes: Sequence[Outcome], faster: dict[str, list[str]]) -> Iterator[str]:
    if not faster:
        yield "No strategy loads faster than to block in any of these scenarios, so to block stays the way."
        return
    for strategy, where in faster.items():
        told = ", ".join(where)
        if strategy != SPILL.name:
            yield f"{strategy}: loads faster than to block under these targets: {told}."
            continue
        wins = [one for one in outcomes if one.strategy == strategy and one.scenario in where]
        disk = max(one.disk for one in wins) / MEGABYTE
        yield (
            f"{strategy}: loads faster than to block under these targets: {told}. It puts the documents' "
            f"values into a file on the loader's disk (here {disk:,.0f} MB), and what was spilled has still "
            f"to be committed after Ctrl-C. {_larger_queue(outcomes, where)}"
        )


def _larger_queue(outcomes: Sequence[Outcome], where: Sequence[str]) -> str:
    """Say whether a larger queue does what spilling does, under the targets where that was faster."""
    by = {(one.strategy, one.scenario): one for one in outcomes}
    pairs = [(by[LARGER_QUEUE.name, one], by[SPILL.name, one]) for one in where]
    # The larger queue is what spilling is held against here.
    behind = [large.scenario for large, spill in pairs if compare_walls(large, spill) == "faster"]
    if behind:
        return f"A larger queue (--queue-size) gains less under these: {', '.join(behind)}."
    return (
        "A larger queue (--queue-size, --queue-bytes) is as fast there without a file, where there is the "
        "memory for it."
    )
