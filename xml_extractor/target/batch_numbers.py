"""Numbers of batches: new each time, and telling which run a ledger row was written by."""

from __future__ import annotations

import secrets
from typing import Final

_NUMBER_BITS: Final = 32
"""A number has to differ from those that the same row had before, and a row is written a few times at most:
two of them are the same with a probability of one in four billion, and from two runs of one in 2**63."""
_RUN_BITS: Final = 31


class BatchNumbers:
    """Numbers for the batches of one run of a load.  Immutable and thread-safe."""

    def __init__(self) -> None:
        self._run = secrets.randbits(_RUN_BITS)

    def new(self) -> int:
        """Return another number, from 0 to below 2**63."""
        return self._run << _NUMBER_BITS | secrets.randbits(_NUMBER_BITS)

    def is_own(self, number: int) -> bool:
        """Whether this run made the number; true of another run's with a probability of one in 2**31."""
        return number >> _NUMBER_BITS == self._run
