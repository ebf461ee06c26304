"""How findings are worded, the same on a terminal and on a page."""

from __future__ import annotations

from performance_tuning.optimizing.effects import Difference
from performance_tuning.optimizing.findings import Cost, Findings
from performance_tuning.optimizing.measurements import Ending, Outcome
from xml_extractor.profiling.report.formats import count, plural, rate, seconds

NAMES_SHOWN = {
    "workers": "workers",
    "batch_size": "batch size",
    "queue_size": "queue size",
    "executor": "executor",
    "insert_threads": "insert threads",
    "insert_path": "insert path",
}


def percent(share: float) -> str:
    """Write a difference: ``−31.2 %``."""
    if abs(share) < 0.0005:
        return "±0.0 %"
    return f"{'−' if share < 0 else '+'}{abs(share) * 100:.1f} %"


def difference(found: Difference) -> str:
    """Write a difference with half of its 95 % interval: ``−31.2 % ± 4.0``."""
    interval = found.interval()
    if interval is None:
        return f"{percent(found.share)}, noise unknown"
    low, high = interval
    return f"{percent(found.share)} ± {(high - low) / 2 * 100:.1f}"


def cost(found: Cost) -> str:
    """Write what a deviation costs, or gains."""
    if found.difference is not None:
        return difference(found.difference)
    if found.at_most is not None:
        return f"{percent(found.at_most)} or worse"
    return "–"


def megabytes(size_bytes: float | None) -> str:
    """Write memory in whole megabytes."""
    return "–" if size_bytes is None else f"{size_bytes / 1e6:,.0f} MB"


def outcome(found: Outcome) -> str:
    """Write what one load did."""
    if found.ending is Ending.MEASURED:
        return f"{rate(found.rate)} documents/s, {megabytes(found.memory_bytes)}"
    if found.ending is Ending.CUT_OFF:
        return f"ended after {seconds(found.seconds)}: it cannot be the fastest any more"
    return f"failed: {found.message}"


def headline(found: Findings) -> str:
    """Return the result in a sentence."""
    at = f"{rate(found.rate)} documents a second with {megabytes(found.recommended.memory_bytes)}"
    if not found.sure:
        return f"{at}, as far as so few loads can say."
    if len(found.ties) == 1:
        return f"{at}; no other setting that was tried is as fast."
    others = plural(len(found.ties) - 1, "other setting")
    if found.recommended.setting == found.fastest:
        return f"{at}; {others} cannot be told from it in speed, and take no less memory."
    return f"{at}; {others} cannot be told from it in speed, and take more memory or look slower."


def effort(found: Findings) -> str:
    """Return what was measured, in a sentence."""
    parts = [f"{count(found.tried)} of {plural(found.settings, 'setting')} tried"]
    parts += [
        f"{plural(found.measurements, 'load')} in {plural(found.rounds, 'round')}",
        seconds(found.seconds),
    ]
    if found.dropped:
        parts.append(f"{count(found.dropped)} given up as slower beyond doubt")
    if found.cut_off:
        parts.append(f"{count(found.cut_off)} ended before their time")
    return ", ".join(parts) + "."


def caveats(found: Findings) -> list[str]:
    """Return what should be known about the result before it is relied upon."""
    said = []
    if not found.sure:
        said.append(
            "Too little was measured to tell the recommended setting from others: give it a longer "
            "--time-budget, on a quieter machine."
        )
    if found.sure and not found.complete:
        said.append(
            "The time budget, or somebody, ended the search before it had measured all that it wanted; the "
            "same --study with a longer --time-budget goes on."
        )
    if found.noise is not None:
        said.append(
            f"Noise of one measurement: {found.noise * 100:.1f} %. Differences below that show only in the "
            "mean of several."
        )
    if found.drift is not None:
        low, high = found.drift
        said.append(
            f"The machine's own speed went from {percent(low)} to {percent(high)} of its middle meanwhile; "
            "that is taken out, because settings are compared only within a round."
        )
    said += [f"Failed: {setting.shown}: {message}" for setting, message in found.failures.items()]
    return said
