"""What can keep something from being measured."""

from __future__ import annotations

from xml_extractor.errors import ExitCode, UsageError


class MeasuringError(UsageError):
    """Nothing can be measured as things are: the message says what is missing or in the way."""


class TargetNotEmptyError(MeasuringError):
    """The target holds tables already: measuring would mix with them, and nothing was touched."""


class LoadFailedError(MeasuringError):
    """A measured load did not end as it should have; its figures would mean nothing.

    Attributes:
        status: the exit status of the load; ``None`` where it was ended for taking too long.
        output: the end of what it printed.
    """

    def __init__(self, message: str, status: int | None, output: str) -> None:
        super().__init__(message)
        self.status = status
        self.output = output
        # A source or target that fails is told by the same exit status as everywhere.
        if status in (ExitCode.SOURCE_FAILED, ExitCode.TARGET_FAILED, ExitCode.HALTED):
            self.exit_code = ExitCode(status)
