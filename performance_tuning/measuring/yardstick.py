"""A fixed piece of work, timed before each run: it tells a machine that drifts from a program that changed.

Virtual machines were seen to be half as fast as they had been an hour before.  No test of two
sets of runs can know that; a yardstick held beside both can.
"""

from __future__ import annotations

from statistics import median
from time import perf_counter
from typing import Final

from lxml import etree

from xml_extractor.source.sample import generate_applications

_DOCUMENT_SEED: Final = 1
_PASSES: Final = 5
_PARSES: Final = 200
"""Some 20 to 40 ms a pass: long against the clock's own jitter, short against a run."""


def yardstick_us() -> float:
    """Return the microseconds that lxml takes for one certain document now: the median of five passes.

    It changes with the version of lxml, and with that of the sample's generator.
    """
    [(_, text)] = generate_applications(1, _DOCUMENT_SEED)
    document = text.encode("utf-8")
    parser = etree.XMLParser()
    passes = []
    for _ in range(_PASSES):
        started = perf_counter()
        for _ in range(_PARSES):
            etree.fromstring(document, parser)
        passes.append((perf_counter() - started) / _PARSES * 1e6)
    return median(passes)
