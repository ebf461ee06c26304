"""Exceptions, grouped by what the operator must do about them.

Every exception that may reach an operator derives from :class:`LoaderError` and carries the exit code
of its group, so that each command ends with the same code for the same cause.  Messages say what
happened, to which key, table or setting, and what to do next; they never hold a document's values or a
password.
"""

from __future__ import annotations

from contextlib import ContextDecorator
from enum import IntEnum
from types import TracebackType


class ExitCode(IntEnum):
    """What a command's exit status means; the same in every command."""

    OK = 0
    BUG = 1
    USAGE = 2
    NEEDS_A_LOOK = 3
    SOURCE_FAILED = 4
    TARGET_FAILED = 5
    HALTED = 6
    INTERRUPTED = 130
    TERMINATED = 143


class LoaderError(Exception):
    """The load could not go on."""

    exit_code: ExitCode = ExitCode.BUG


class UsageError(LoaderError):
    """A flag, setting or file that the user named is wrong: correct it and run again."""

    exit_code = ExitCode.USAGE


class ContractError(UsageError):
    """The mapping contract has mistakes; ``contract check`` lists them all with their places."""


class TargetSchemaError(UsageError):
    """Target tables are missing or do not fit the contract; ``contract ddl`` prints what is needed."""


class SourceError(LoaderError):
    """The source cannot be read, or cannot be read safely (its key is NULL or not unique)."""

    exit_code = ExitCode.SOURCE_FAILED


class TargetError(LoaderError):
    """The target refuses work for a reason that no retry and no quarantine can cure."""

    exit_code = ExitCode.TARGET_FAILED


class HaltedError(LoaderError):
    """A guard stopped the load before it did harm; it can be resumed once the cause is mended."""

    exit_code = ExitCode.HALTED


class StoppedError(LoaderError):
    """The run was told to stop by a signal; what was in flight is committed or untouched."""

    exit_code = ExitCode.INTERRUPTED


class WorkerError(LoaderError):
    """Workers cannot be started, or keep dying without a document being at fault."""


class HiddenCause(Exception):
    """Stands for a driver's or library's exception, whose own words may quote a document: tells its type."""


class PrivateErrors(ContextDecorator):
    """Lets errors out only with causes that quote nothing: whoever prints a traceback prints those, too.

    Places stay: each cause is replaced by a :class:`HiddenCause` with the same traceback.
    """

    def __enter__(self) -> None:
        """Nothing is needed before."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, LoaderError):
            _hide_causes(error)


def _hide_causes(error: LoaderError) -> None:
    at: BaseException = error
    seen: set[int] = set()
    while id(at) not in seen:
        seen.add(id(at))
        cause = at.__cause__ or (None if at.__suppress_context__ else at.__context__)
        if cause is not None and not isinstance(cause, (LoaderError, HiddenCause)):
            hidden = HiddenCause(f"{type(cause).__module__}.{type(cause).__qualname__}")
            hidden.__traceback__ = cause.__traceback__
            hidden.__cause__ = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
            cause = hidden
        at.__cause__ = cause
        at.__context__ = None
        if cause is None:
            return
        at = cause
