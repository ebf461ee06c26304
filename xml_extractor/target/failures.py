"""A connection that survives faults, and database errors in the operator's words."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from xml_extractor.engines.base import Engine, FaultKind, Session
from xml_extractor.engines.retry import retrying
from xml_extractor.errors import LoaderError, TargetError

T = TypeVar("T")


class Connection:
    """One connection to the target, opened when it is first wanted and again after it was lost.

    Belongs to one thread, save for :meth:`abort`.
    """

    def __init__(
        self, engine: Engine, application: str, aborted: threading.Event, *, write: bool = True
    ) -> None:
        self.engine = engine
        self._application = application
        self.aborted = aborted
        self._write = write
        self._session: Session | None = None
        self._lock = threading.Lock()  # abort() must meet the session or be met by it

    def session(self) -> Session:
        """Return the open session, connecting if there is none.

        Raises:
            TargetError: the run has ended.
            Exception: the driver's.
        """
        if self._session is None:
            if self.aborted.is_set():
                raise TargetError("the target is no longer wanted because the run ended")
            session = self.engine.connect(write=self._write, application=self._application)
            with self._lock:
                self._session = session
                aborted = self.aborted.is_set()
            if aborted:  # while connecting, so that abort() did not meet this session
                session.abort()
        assert self._session is not None
        return self._session

    def recover(self, error: BaseException) -> None:
        """Make the connection fit for the next attempt after ``error``: roll back, or let go of it."""
        session = self._session
        if session is None:
            return
        lost = (
            isinstance(error, Exception)
            and not isinstance(error, LoaderError)
            and self.engine.classify(error).kind is FaultKind.DISCONNECTED
        )
        if not lost:
            try:
                session.rollback()
            except Exception:  # noqa: BLE001 - the first error is the one to tell; this one ends the session
                lost = True
        if lost:
            self.close()

    def abort(self) -> None:
        """Make whatever waits on the connection fail at once.  The caller sets the event first."""
        with self._lock:
            if self._session is not None:
                self._session.abort()

    def close(self) -> None:
        """Let go of the session; never raises."""
        with self._lock:
            session, self._session = self._session, None
        if session is not None:
            session.close()

    def __enter__(self) -> Connection:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def retried(connection: Connection, retry_seconds: float, doing: str, call: Callable[[Session], T]) -> T:
    """Call with the connection's session, trying again what passes.

    Raises:
        LoaderError: as ``call`` raised it.
        TargetError: it failed for good, or the connection was aborted.
        Exception: a mistake in this program, as it is.
    """
    engine = connection.engine

    def attempt() -> T:
        try:
            return call(connection.session())
        except BaseException as error:
            connection.recover(error)
            raise

    try:
        return retrying(engine, retry_seconds, connection.aborted, doing=doing)(attempt)
    except LoaderError:
        raise
    except Exception as error:
        if connection.aborted.is_set():
            raise TargetError("the target is no longer wanted because the run ended") from error
        if is_bug(engine, error):
            raise
        raise target_error(engine, error, doing=doing) from error


def is_bug(engine: Engine, error: Exception) -> bool:
    """Whether the error came from no database: a mistake in this program must show as one."""
    return not isinstance(error, OSError) and engine.classify(error).code == "unexpected"


def target_error(engine: Engine, error: Exception, *, doing: str) -> TargetError:
    """Return the error that ends the run, naming the cause and what to do about it."""
    fault = engine.classify(error)
    native = f" [{fault.native_code}]" if fault.native_code else ""
    if fault.kind is FaultKind.DISCONNECTED:
        advice = "it did not come back in time (--retry-seconds); see to it that it can be reached"
    elif fault.kind is FaultKind.TRANSIENT:
        advice = "trying again did not help in time (--retry-seconds); see what holds it up"
    else:
        advice = "trying again cannot cure this; mend the cause"
    return TargetError(
        f"{engine.display}: {doing} failed: {fault.message}{native}; {advice}, then run the same command "
        "again: what was committed stays"
    )
