"""The circuit breaker: a load that fills quarantine instead of tables is halted (``--max-quarantined``)."""

from __future__ import annotations

import threading
from collections import Counter
from typing import Final

from xml_extractor.errors import HaltedError

MIN_SETTLED: Final = 200
"""A share is judged once this many documents are settled: of fewer, one bad batch would say too much."""


class CircuitBreaker:
    """Says whether a load has put too many documents into quarantine.  Thread-safe.

    Only what this very load's run put there counts, and that as soon as it is committed.  Once tripped it
    stays so.

    Args:
        limit: as the setting has it: ``10`` documents, or ``5%`` of those settled; ``None`` never trips.
    """

    def __init__(self, limit: str | None) -> None:
        self._limit = limit
        self._is_share = limit is not None and limit.endswith("%")
        self._most = 0.0 if limit is None else float(limit.rstrip("%"))
        self._tripped = threading.Event()

    def would_trip(self, reasons: Counter[str], settled: int) -> bool:
        """Whether :meth:`look` would say that the load is to halt; nothing is noted."""
        return self._limit is not None and self._is_too_many(reasons.total(), settled)

    @property
    def tripped(self) -> bool:
        """Whether the load is to halt."""
        return self._tripped.is_set()

    def look(self, reasons: Counter[str], settled: int) -> bool:
        """Look at the load after a commit; return whether it is to halt.

        Args:
            reasons: rejection code → documents that this run has put into quarantine.
            settled: documents that it has settled, those among them.
        """
        if self._limit is not None and self._is_too_many(reasons.total(), settled):
            self._tripped.set()
        return self.tripped

    def _is_too_many(self, quarantined: int, settled: int) -> bool:
        if self._is_share:
            return settled >= MIN_SETTLED and 100 * quarantined > self._most * settled
        return quarantined > self._most

    def error(self, reasons: Counter[str], settled: int) -> HaltedError:
        """Return the error that ends the load, once what was in flight has been committed.

        Arguments as for :meth:`look`.
        """
        quarantined = reasons.total()
        lines = [
            f"halted: {quarantined:,} of the {settled:,} documents that this run settled went to",
            f"quarantine, and --max-quarantined allows {self._limit}. What was in flight is committed.",
            "",
            *(
                f"  {number:>9,}  {code}"
                for code, number in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
            ),
            "",
            "`quarantine list` shows them by reason and place. Mend the contract or the",
            "documents, load those in quarantine with `quarantine replay`, and run the same",
            "command again for the rest. If so many are to be expected, allow more with",
            "--max-quarantined.",
        ]
        return HaltedError("\n".join(lines))
