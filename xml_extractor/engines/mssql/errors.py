"""What SQL Server's errors mean, and the errors that a session raises itself.

The server's own words are passed on only where they name objects; the words of data errors quote the
offending value, so these get a sentence of ours.
"""

from __future__ import annotations

import re
from typing import Final

from xml_extractor.engines.base import Fault, FaultKind
from xml_extractor.engines.mssql import error_codes as codes
from xml_extractor.engines.mssql.error_texts import (
    ROW_NOT_TAKEN,
    TRANSACTION_GONE,
    names,
    number_by_text,
    of_driver,
    of_other_server,
)
from xml_extractor.engines.mssql.native_errors import NativeError, native_errors

_LONGEST_MESSAGE: Final = 500
# Where, in words that are not known here, a value could begin.
_QUOTE: Final = re.compile(r"['\"]")
_VALUE: Final = re.compile(r"['\"(\[=0-9]")
_NOT_ENCODABLE: Final = (
    "not_encodable",
    "a text holds a character that the database or its driver does not take",
)
_SENTENCES: Final = {
    **dict(codes.DATA.values()),
    "foreign_key_violation": "a row refers to a parent row that is not there",
    "check_violation": "a value breaks a CHECK constraint",
    "constraint_violation": "a constraint refuses the row",
    "out_of_range": "a value is beyond its column's range",
    "not_convertible": "a value is not of its column's type",
    "data_exception": "a value is not acceptable",
    "not_encodable": _NOT_ENCODABLE[1],
}


class SessionError(Exception):
    """An error that a session raises itself."""

    kind = FaultKind.DISCONNECTED
    code = "connection_lost"


class NoAnswer(SessionError):
    """The server did not answer within the time limit; the connection was given up."""

    code = "no_answer"


class Aborted(SessionError):
    """The session was aborted and cannot be used any more."""

    code = "aborted"


class ClaimConflict(SessionError):
    """Another loader committed the same keys in between; the transaction is to be tried again."""

    kind = FaultKind.TRANSIENT
    code = "claim_conflict"


class BulkCopyMisread(SessionError):
    """Bulk copy did not store what it was given; the batch is to be tried again on another path."""

    kind = FaultKind.TRANSIENT
    code = "bulk_copy_misread"


class UnstorableText(SessionError):
    """A text holds a NUL or half of a surrogate pair: the server would store it, and nobody could read it."""

    kind = FaultKind.DATA
    code = "not_encodable"

    def __init__(self, table: str, column: str) -> None:
        super().__init__(table, column)
        self.table = table
        self.column = column

    def __str__(self) -> str:
        return f"a text holds a NUL or half of a surrogate pair: {self.table}.{self.column}"


class CoreFailure(SessionError):
    """The library behind bulk copy panicked; its connection is of no use any more."""


def classify(error: BaseException, display: str) -> Fault:
    """Say what an error raised by a session on the database ``display`` means.  Never raises; thread-safe."""
    if isinstance(error, UnstorableText):
        return Fault(error.kind, error.code, str(error), table=error.table, column=error.column)
    if isinstance(error, SessionError):
        said = str(error) or "the connection was broken off"
        return Fault(error.kind, error.code, f"{display}: {said}")
    if isinstance(error, UnicodeEncodeError):
        return Fault(FaultKind.DATA, "not_encodable", "a text has no UTF-16 form: half of a surrogate pair")
    if isinstance(error, OverflowError):
        return Fault(FaultKind.DATA, "out_of_range", "a number is beyond what the driver can send")
    records = native_errors(error)
    if records:
        return _of_records(records, display)
    if type(error) is RuntimeError and str(error).startswith(_NO_FORM):
        return Fault(FaultKind.DATA, *_NOT_ENCODABLE)
    if isinstance(error, OSError):
        return Fault(FaultKind.DISCONNECTED, "connection_lost", f"{display}: connection lost ({error})")
    return Fault(
        FaultKind.FATAL, "unexpected", f"unexpected {type(error).__name__} from the SQL Server driver"
    )


# How mssql-python refuses a text with half of a surrogate pair.
_NO_FORM: Final = "Unable to cast Python instance of type <class 'str'> to C++ type"


def _of_records(records: tuple[NativeError, ...], display: str) -> Fault:
    """Several records tell one story: a lost connection outweighs all, then what passes, then the first."""
    telling = [record for record in records if record.number not in _ACCOMPANYING] or records
    faults = [_of_record(record, display) for record in telling]
    for kind in (FaultKind.DISCONNECTED, FaultKind.TRANSIENT):
        for fault in faults:
            if fault.kind is kind:
                return fault
    return faults[0]


def _of_record(record: NativeError, display: str) -> Fault:
    number = record.number
    if record.of_server and number in (None, codes.FOREIGN):
        number = number_by_text(record.text)
    fault = _of_number(number, record, display) if number is not None else None
    if fault is not None:
        return fault
    known = of_other_server(record.text) if record.of_server else of_driver(record)
    if known is not None:
        return _fault(*known, record, display)
    return _of_state(record, display)


_ACCOMPANYING: Final = codes.ACCOMPANYING | {TRANSACTION_GONE}


def _of_number(number: int, record: NativeError, display: str) -> Fault | None:
    if number == TRANSACTION_GONE:
        said = f"{display}: the transaction was gone before all rows were in"
        return Fault(FaultKind.TRANSIENT, "transaction_gone", said, str(number))
    if number == ROW_NOT_TAKEN:
        said = (
            f"{display} did not take a row, without an error; look for a trigger that drops rows, or for an "
            "index with IGNORE_DUP_KEY"
        )
        return Fault(FaultKind.FATAL, "row_not_taken", said, str(number))
    if number in codes.DATA:
        return _data(*codes.DATA[number], record)
    if number >= codes.FIRST_RAISED:
        return _data(*codes.RAISED, record)
    for first, last, known in codes.DATA_RANGES:
        if first <= number <= last:
            return _data(*known, record)
    if number in codes.THROTTLED:
        return _fault(FaultKind.TRANSIENT, "throttled", record, display)
    for kind, table in (
        (FaultKind.TRANSIENT, codes.TRANSIENT),
        (FaultKind.DISCONNECTED, codes.DISCONNECTED),
        (FaultKind.FATAL, codes.FATAL),
    ):
        if number in table:
            return _fault(kind, table[number], record, display)
    return None


def _of_state(record: NativeError, display: str) -> Fault:
    """By SQLSTATE, and for the rest by severity."""
    state = record.state or ""
    data = codes.STATE_DATA.get(state) or codes.STATE_DATA_CLASSES.get(state[:2])
    if data is not None:
        return _data(*data, record)
    if state == "40001":
        return _fault(FaultKind.TRANSIENT, "deadlock", record, display)
    if state in codes.STATE_DISCONNECTED:
        return _fault(FaultKind.DISCONNECTED, codes.STATE_DISCONNECTED[state], record, display)
    if state in codes.STATE_FATAL:
        return _fault(FaultKind.FATAL, codes.STATE_FATAL[state], record, display)
    if record.severity is not None and record.severity >= codes.CONNECTION_GONE:
        return _fault(FaultKind.DISCONNECTED, "connection_lost", record, display)
    return _unknown(record, display)


def _unknown(record: NativeError, display: str) -> Fault:
    """Nobody has said that the words of an error not known here name objects only."""
    if not record.of_server:
        said = _QUOTE.split(record.text, maxsplit=1)[0]
        return Fault(FaultKind.FATAL, "driver_error", f"{display}: {_cut(said)}", _native(record))
    if record.number is not None:
        said = _cut(_VALUE.split(record.text, maxsplit=1)[0])
        message = f"error {record.number}, which begins with: {said}"
    else:
        # Any trigger's message, for one, arrives like this.
        message = "the server refuses, and the driver does not pass on its error's number"
    return Fault(FaultKind.FATAL, "database_error", f"{display}: {message}", _native(record))


def _data(code: str, sentence: str, record: NativeError) -> Fault:
    """An error that a row is to blame for, in our words and with the names in the server's."""
    named = names(record.text)
    if named.code is not None:
        code, sentence = named.code, _SENTENCES[named.code]
    where = ".".join(part for part in (named.table, named.column) if part)
    if where:
        sentence = f"{sentence}: {where}"
    if named.constraint:
        other = f" to {named.other}" if named.other else ""
        sentence = f"{sentence} (constraint {named.constraint}{other})"
    return Fault(FaultKind.DATA, code, _cut(sentence), _native(record), named.table, named.column)


def _fault(kind: FaultKind, code: str, record: NativeError, display: str) -> Fault:
    if kind is FaultKind.DATA:
        return _data(code, _SENTENCES[code], record)
    message = f"{display}: {_first_sentence(record.text)}"
    if code in codes.ADVICE:
        message = f"{message}; {codes.ADVICE[code]}"
    return Fault(kind, code, message, _native(record), slow=code == "throttled")


def _native(record: NativeError) -> str | None:
    return str(record.number) if record.number is not None else record.state


def _first_sentence(text: str) -> str:
    return _cut(" ".join(text.split()).partition(". ")[0].rstrip(". "))


def _cut(text: str) -> str:
    return " ".join(text.split())[:_LONGEST_MESSAGE] or "no message"
