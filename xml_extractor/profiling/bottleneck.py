"""One sentence on what holds a load back, from the clocks of its stages."""

from __future__ import annotations

from typing import Final

from xml_extractor.profiling.clocks import StageClocks

# A stage that takes this share of the workers' time is named as the limit: at one half, no other stage
# can be larger.
_DOMINANT_SHARE: Final = 0.5


def bottleneck(
    clocks: StageClocks, *, workers: int, executor: str, documents: int,
    throttle: float | None = None, held_share: float = 0.0,
) -> str:  # fmt: skip
    """Name the bottleneck and what to do about it.

    Args:
        clocks: the sum of all workers' clocks.
        workers: how many workers ran.
        executor: thread, process or serial, as the run used it.
        documents: how many documents went through the workers.
        throttle: documents a second that the operator held the load to, if it was.
        held_share: the part of the run's time for which it was held back.
    """
    if documents == 0 or clocks.seconds <= 0.0:
        return "Nothing was loaded, so nothing was slow."
    if throttle is not None and held_share >= _DOMINANT_SHARE:
        return (
            f"The throttle: the load was held back by --throttle {throttle:g} (documents a second) for "
            f"{held_share:.0%} of its time; workers, source and target could do more."
        )
    shares = clocks.shares()
    if executor == "serial":
        if shares["blocked"] >= _DOMINANT_SHARE:
            return (
                f"The target: the one worker waited {shares['blocked']:.0%} of its time for inserts; "
                "speed up the target or let it insert beside the worker (--executor auto)."
            )
    elif shares["blocked"] >= _DOMINANT_SHARE:
        return (
            f"The target: workers waited {shares['blocked']:.0%} of their time for room in the insert queue; "
            "speed up the target's disk, try a larger --batch-size or more --insert-threads; "
            "more workers will not help."
        )
    if shares["idle"] >= _DOMINANT_SHARE:
        return (
            f"The source: workers waited {shares['idle']:.0%} of their time for documents; "
            "look at the source's disk and network; more workers will not help."
        )
    stage = "Parsing" if shares["parse"] > shares["map"] else "Mapping"
    share = shares["parse"] + shares["map"]
    advice = {
        "process": "more --workers help as long as there are idle cores",
        "thread": "try --executor process, or more --workers where cores are idle",
    }.get(executor, "let several workers share it (--workers, --executor auto)")
    return (
        f"{stage}: {workers:,} worker{'s' if workers != 1 else ''} spent {share:.0%} of their time parsing "
        f"({shares['parse']:.0%}) and mapping ({shares['map']:.0%}); {advice}."
    )
