"""How pages write numbers: with a unit, and with as many digits as mean something."""

from __future__ import annotations

import re
from typing import Final

_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")


def clean(text: str) -> str:
    """Replace what neither HTML nor SVG can hold, control characters and lone surrogates, by U+FFFD."""
    return _UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def shortened(text: str, most: int) -> str:
    """Return the text on one line, cut with an ellipsis where it is longer than ``most`` characters."""
    text = " ".join(clean(text).split())
    return text if len(text) <= most else text[: most - 1] + "…"


def count(number: float) -> str:
    """Write a count: ``12,345``."""
    return f"{number:,.0f}"


def compact(number: float) -> str:
    """Write a number for an axis in few characters: ``12k``, ``1.5M``."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(number) >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def share(part: float) -> str:
    """Write a share in per cent: ``12.3%``."""
    return f"{part:.1%}"


def milliseconds(number: float) -> str:
    """Write a duration given in milliseconds: ``0.042 ms``, ``12.3 ms``, ``1.25 s``."""
    if number >= 10_000:
        return seconds(number / 1e3)
    if number >= 1_000:
        return f"{number / 1e3:.2f} s"
    if number >= 100:
        return f"{number:.0f} ms"
    return f"{number:.1f} ms" if number >= 1 or number == 0 else f"{number:.2g} ms"


def seconds(number: float) -> str:
    """Write a duration given in seconds: ``0.42 s``, ``12.3 s``, ``3 min 20 s``, ``2 h 05 min``."""
    if number < 10:
        return f"{number:.2f} s"
    if number < 119.95:
        return f"{number:.1f} s"
    minutes, rest = divmod(round(number), 60)
    if minutes < 120:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60:,} h {minutes % 60:02d} min"


def size(number: float) -> str:
    """Write a size in bytes: ``312 MiB``."""
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if abs(number) < 1024:
            return f"{number:,.0f} {unit}" if unit == "bytes" or number >= 100 else f"{number:,.1f} {unit}"
        number /= 1024
    return f"{number:,.1f} TiB"


def rate(number: float) -> str:
    """Write a number per second: ``0.42``, ``12.3``, ``4,321``."""
    if number >= 100:
        return count(number)
    return f"{number:.1f}" if number >= 10 else f"{number:.2f}"


def plural(number: float, one: str, many: str | None = None) -> str:
    """Write a count with its noun: ``1 batch``, ``3 batches``."""
    return f"{count(number)} {one if number == 1 else many or one + 's'}"
