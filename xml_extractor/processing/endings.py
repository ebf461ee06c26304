"""How a worker process ended, in words that help."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from typing import Final

from xml_extractor.mapping.records import Key

EXIT_OUT_OF_MEMORY: Final = 71
"""The exit code by which a worker process says that it could get no more memory."""

_SIGKILL: Final = -9


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a process is no more."""

    exit_code: int | None
    is_stuck: bool = False  # ended by us, because it showed no life
    stuck_key: Key | None = None  # over this document, where that is known
    silent_seconds: float = 0.0

    @property
    def was_killed(self) -> bool:
        """Whether somebody else killed it from outside."""
        return self.exit_code == _SIGKILL and not self.is_stuck

    @property
    def code(self) -> str:
        """The reason under which a document that is at fault stands in quarantine."""
        if self.is_stuck:
            return "worker_stuck"
        return "out_of_memory" if self.exit_code == EXIT_OUT_OF_MEMORY else "worker_died"

    @property
    def words(self) -> str:
        """What happened, and what to do about it, as a part of a sentence."""
        if self.is_stuck:
            return f"silent for {self.silent_seconds:.0f} s (--worker-timeout), and killed for that"
        if self.exit_code == EXIT_OUT_OF_MEMORY:
            return "it could get no more memory; set fewer --workers or a lower --memory-limit"
        if self.exit_code == _SIGKILL:
            return (
                "exit code -9, SIGKILL: most likely the system was out of memory and ended it; set fewer "
                "--workers or a lower --memory-limit"
            )
        if self.exit_code is not None and self.exit_code < 0:
            return f"exit code {self.exit_code}{_signal_name(-self.exit_code)}"
        return f"exit code {self.exit_code}"


def _signal_name(number: int) -> str:
    try:
        return f", {signal.Signals(number).name}"
    except ValueError:
        return ""
