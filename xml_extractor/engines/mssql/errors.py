"""What SQL Server's errors mean, by its own numbers."""

from __future__ import annotations

from xml_extractor.engines.base import Fault, FaultKind


class NoAnswer(Exception):
    """The server did not answer within the time limit; the connection was given up."""


class Aborted(Exception):
    """The session was aborted and cannot be used any more."""


class ClaimConflict(Exception):
    """Another loader committed the same keys in between; the transaction is to be tried again."""


class BulkCopyMisread(Exception):
    """Bulk copy did not store what it was given; the batch is to be tried again on another path."""


class UnstorableText(Exception):
    """A text holds NUL or half of a surrogate pair, which the server would store and nobody could read."""

    def __init__(self, table: str, column: str) -> None:
        super().__init__(table, column)
        self.table = table
        self.column = column

    def __str__(self) -> str:
        return f"a text holds a NUL or half of a surrogate pair: {self.table}.{self.column}"


class CoreFailure(Exception):
    """The library behind bulk copy panicked; its connection is of no use any more."""


_OWN: tuple[tuple[type[Exception], FaultKind, str], ...] = (
    (NoAnswer, FaultKind.DISCONNECTED, "no_answer"),
    (Aborted, FaultKind.DISCONNECTED, "aborted"),
    (ClaimConflict, FaultKind.TRANSIENT, "claim_conflict"),
    (BulkCopyMisread, FaultKind.TRANSIENT, "bulk_copy_misread"),
    (CoreFailure, FaultKind.DISCONNECTED, "connection_lost"),
)


def classify(error: BaseException, display: str) -> Fault:
    """Say what an error raised by a session on the database ``display`` means."""
    if isinstance(error, UnstorableText):
        return Fault(FaultKind.DATA, "not_encodable", str(error), table=error.table, column=error.column)
    for own, kind, code in _OWN:
        if isinstance(error, own):
            return Fault(kind, code, f"{display}: {error}")
    return Fault(FaultKind.FATAL, "unexpected", f"unexpected {type(error).__name__} from the driver")
