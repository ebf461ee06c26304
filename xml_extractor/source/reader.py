"""Reads keys and documents from the source table, page by page, each page in a transaction of its own."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, pairwise
from typing import Final, NamedTuple, TypeVar

from xml_extractor import failpoints
from xml_extractor.contract.plan import SourcePlan
from xml_extractor.engines.base import Engine, FaultKind, RepeatedKey, Session
from xml_extractor.engines.retry import retrying
from xml_extractor.errors import LoaderError, SourceError
from xml_extractor.mapping.records import Key, SourceDocument
from xml_extractor.source.column_text import column_text

T = TypeVar("T")

FETCH_BYTES: Final = 4 * 2**20
"""Documents are fetched in slices of about this size, so that what is in memory is bounded in bytes."""

APPLICATION = "xml_extractor reader"

_SERVER_ADVICE: Final = (
    "; check that the server is running and that host, database, user and password are right "
    "(--source, or --server and what belongs to it)"
)
_CONNECT_ADVICE: Final = {
    "cannot_open": "",  # these two say themselves what to do
    "corrupt": "",
    "not_a_database": "; correct --source",
}


class DocumentSlice(NamedTuple):
    """Some of the documents that were asked for."""

    documents: list[SourceDocument]
    vanished: tuple[Key, ...]  # keys that are no longer in the source
    is_last: bool


class SourceReader:
    """One read-only connection to the source.

    Belongs to one thread at a time; only :meth:`abort` may be called from another.  A connection lost
    after :meth:`open` is made again, and the statement repeated, for ``retry_seconds``; each statement is
    a transaction of its own, so nothing is held open between pages.

    Args:
        source: the table as the contract names it.
        retry_seconds: how long a passing fault is retried; the first connection never is.
        stop_event: once set, nothing is retried and a wait between two attempts ends.

    Every method that reads raises :class:`SourceError` when the source fails for good.
    """

    def __init__(
        self,
        engine: Engine,
        source: SourcePlan,
        *,
        retry_seconds: float = 30.0,
        stop_event: threading.Event | None = None,
    ) -> None:
        self._engine = engine
        self._source = source
        self._retry_seconds = retry_seconds
        self._stop_event = stop_event or threading.Event()
        self._session: Session | None = None
        self._key_kind: type[Key] | None = None  # of the keys that were read so far

    def open(self) -> None:
        """Connect.  Tried once: a source that is not there ends the run at once (law 6)."""
        try:
            self._connected()
        except Exception as error:
            fault = self._engine.classify(error)
            display = self._engine.display
            raise SourceError(
                f"cannot connect to the source {display}: {fault.message.removeprefix(f'{display}: ')}"
                + _CONNECT_ADVICE.get(fault.code, _SERVER_ADVICE)
            ) from error

    def close(self) -> None:
        """Close the connection; harmless when none is open, never raises."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    def abort(self) -> None:
        """Break off whatever the reader waits for, from any thread; the reader is of no use afterwards."""
        self._stop_event.set()
        session = self._session
        if session is not None:
            session.abort()

    def check(self) -> None:
        """Refuse a source that cannot be read safely: table, columns or key are not as they must be.

        Raises:
            SourceError: with the cure.
        """
        problem = self._run("check the source", lambda s: self._engine.key_problem(s, self._source))
        if problem is not None:
            raise SourceError(f"the source {self._engine.display} cannot be read: {problem}")

    def count(self, start: Key | None = None, end: Key | None = None) -> int:
        """Return how many source rows there are from ``start`` to ``end`` inclusive, for the progress line.

        Rows may come and go while a load runs; nothing but progress may depend on the number.
        """
        return self._run("count the source's rows", lambda s: s.count_keys(self._source, start, end))

    def key_pages(
        self,
        start: Key | None = None,
        end: Key | None = None,
        page_size: int = 10_000,
        *,
        after: Key | None = None,
    ) -> Iterator[list[Key]]:
        """Yield all keys from ``start`` to ``end`` inclusive, ascending, at most ``page_size`` at a time.

        With ``after``, which need not be a key of the table, only those beyond it.

        Keyset paging: each page asks for keys beyond the last one, so a page costs the same wherever it
        is, and rows inserted or deleted meanwhile shift nothing.

        Raises:
            SourceError: a key is NULL or comes twice, some are integers and some text, or keys do not ascend.
        """
        seen_ends: set[Key] = set()  # one key a page
        while True:
            page = self._run("read keys", lambda s, after=after: self._page(s, after, start, end, page_size))  # type: ignore[misc]
            keys = self._checked(page, after, seen_ends)
            if keys:
                yield keys
                after = keys[-1]
            if len(page) < page_size:
                return

    def keys_after(self, after: Key, end: Key | None, limit: int) -> list[Key]:
        """Return up to ``limit`` keys beyond ``after``, which need not be a key of the table, up to ``end``.

        For looking into the middle of the table; a load pages with :meth:`key_pages`.
        """
        page = self._run("read keys", lambda s: s.key_page(self._source, after, None, end, limit))
        return [key for key in page if key is not None]

    def last_key(self, start: Key | None = None, end: Key | None = None) -> Key | None:
        """Return the last key from ``start`` to ``end`` inclusive; ``None`` where there is none."""
        return self._run("read the last key", lambda s: s.last_key(self._source, start, end))

    def documents(self, keys: Sequence[Key]) -> list[SourceDocument]:
        """Return the documents with these keys, in key order; keys no longer there are left out.

        All at once: what is not bounded otherwise is read by :meth:`slices`.  Text comes as UTF-8 (see
        ``SourceDocument.is_text``), but for text that has no such form, which comes as ``str``.  Further
        columns of the source row come as text (see :func:`column_text`).
        """
        return self._read(keys, None)

    def slices(self, keys: Sequence[Key]) -> Iterator[DocumentSlice]:
        """Yield the documents with these keys in slices of about :data:`FETCH_BYTES`, each read when it is
        asked for, so that memory holds no more than that and one document."""
        left = list(keys)
        while left:
            # Not kept in a variable: whoever takes a slice may let go of it before the next one is read.
            yield self._slice(left)

    def _slice(self, left: list[Key]) -> DocumentSlice:
        """Read the next slice of what is left, and take from that what the slice settles."""
        documents = self._read(left, FETCH_BYTES)
        present = {document.key for document in documents}
        # What is absent may have gone or may just not have had room: it is asked for again.
        absent = [key for key in left if key not in present]
        if not documents:
            left.clear()
            return DocumentSlice([], tuple(absent), True)
        wanted = set(left)
        if not present <= wanted:
            # A source that takes 'a' and 'A' for equal gives a row that has been renamed since: another
            # document, for another run.  It must not keep the ones that are asked for from having room.
            return self._first(left)
        left[:] = absent
        return DocumentSlice(documents, (), not absent)

    def _first(self, left: list[Key]) -> DocumentSlice:
        """Read the first document of what is left, by itself."""
        key = left.pop(0)
        documents = [document for document in self._read([key], None) if document.key == key]
        return DocumentSlice(documents, () if documents else (key,), not left)

    def _read(self, keys: Sequence[Key], most_bytes: int | None) -> list[SourceDocument]:
        documents = self._run("read documents", lambda s: self._documents(s, keys, most_bytes))
        repeated = _first_repeated([document.key for document in documents])
        if repeated is not None:
            raise self._not_unique(repeated)
        if self._source.columns:
            documents = [self._with_text(document) for document in documents]
        return [
            _in_utf8(document) if isinstance(document.content, str) else document for document in documents
        ]

    def _page(
        self, session: Session, after: Key | None, start: Key | None, end: Key | None, size: int
    ) -> list[Key | None]:
        failpoints.hit("reader_keys", session)
        return session.key_page(self._source, after, start, end, size)

    def _documents(
        self, session: Session, keys: Sequence[Key], most_bytes: int | None
    ) -> list[SourceDocument]:
        failpoints.hit("reader_documents", session)
        try:
            return session.documents(self._source, keys, most_bytes)
        except RepeatedKey as repeated:
            raise self._not_unique(repeated.key) from None

    def _checked(self, page: Sequence[Key | None], after: Key | None, seen_ends: set[Key]) -> list[Key]:
        """Refuse a page that cannot follow ``after``.

        How strings sort is the column's collation's business, so of them only this is asked: that no key
        comes twice in a page, and that no page ends where one has ended before (or paging never ends).
        """
        keys = [key for key in page if key is not None]
        if len(keys) < len(page):
            raise SourceError(
                f"{self._key_column} holds NULL: a document without a key can be loaded neither once nor "
                f"again; give those rows a key, or leave them out with source.where in the contract "
                f'("{self._source.key} IS NOT NULL")'
            )
        if not keys:
            return keys
        self._refuse_mixed(keys)
        repeated = _first_repeated(keys if after is None else [after, *keys])
        if repeated is not None:
            raise self._not_unique(repeated)
        for key, next_key in pairwise(keys if after is None else chain((after,), keys)):
            if isinstance(key, int) and isinstance(next_key, int) and key >= next_key:
                raise self._not_ascending(key, next_key)
        if keys[-1] in seen_ends:
            raise self._not_ascending(after, keys[0])
        seen_ends.add(keys[-1])
        return keys

    def _refuse_mixed(self, keys: Sequence[Key]) -> None:
        """Refuse integers beside texts: the documents 7 and '7' would write, and look up, the same rows.

        Where a column can hold both, :meth:`check` has seen that it does not, but rows are added meanwhile.
        """
        kinds = set(map(type, keys))
        if self._key_kind is not None:
            kinds.add(self._key_kind)
        if len(kinds) > 1:
            raise SourceError(
                f"{self._key_column} has come to hold both integers and text: keys have to be all integers "
                "or all text, or 7 and '7' could not be told apart in the target; convert the column. What "
                "was loaded before stays"
            )
        self._key_kind = kinds.pop()

    def _not_ascending(self, key: Key | None, next_key: Key) -> SourceError:
        return SourceError(
            f"keys of {self._key_column} do not come in ascending order (after {key!r} came {next_key!r}), "
            "so documents could be missed or read without end; give the column one type and a binary "
            "collation, or name a view in the contract that casts the key"
        )

    def _not_unique(self, key: Key) -> SourceError:
        return SourceError(
            f"{self._key_column} is not unique (more than one row has {key!r}): two documents under one key "
            "cannot be told apart; remove the duplicates and put a primary key or unique index on the column"
        )

    @property
    def _key_column(self) -> str:
        return f"column {self._source.key} of source table {self._source.table}"

    def _with_text(self, document: SourceDocument) -> SourceDocument:
        texts = []
        for name, value in zip(self._source.columns, document.columns, strict=True):
            try:
                texts.append(column_text(value))
            except TypeError as error:
                raise SourceError(
                    f"column {name} of source table {self._source.table} has a type ({error}) that has no "
                    "exact text; read it through a view that casts it to a character type"
                ) from None
        return document._replace(columns=tuple(texts))

    def _connected(self) -> Session:
        if self._session is None:
            self._session = self._engine.connect(write=False, application=APPLICATION)
        return self._session

    def _run(self, doing: str, operation: Callable[[Session], T]) -> T:
        def attempt() -> T:
            session = self._connected()
            try:
                return operation(session)
            except Exception as error:
                self._recover(session, error)
                raise

        try:
            return retrying(self._engine, self._retry_seconds, self._stop_event, doing=doing)(attempt)
        except LoaderError:
            raise
        except Exception as error:
            fault = self._engine.classify(error)
            code = fault.native_code or fault.code
            display = self._engine.display
            said = fault.message.removeprefix(f"{display}: ")
            raise SourceError(
                f"the source {display} failed to {doing}: {said} ({code})"
                + _advice(fault.kind, self._retry_seconds)
            ) from error

    def _recover(self, session: Session, error: BaseException) -> None:
        """Leave a connection behind that the next attempt can use, or none."""
        if self._engine.classify(error).kind is not FaultKind.DISCONNECTED:
            try:
                session.rollback()
                return
            except Exception:  # noqa: BLE001 - the first error is the one to report; reconnect instead
                pass
        self.close()


def document_bytes(document: SourceDocument) -> int:
    """Return about how much memory a document takes: exact for bytes, its characters for text."""
    return len(document.content or "")


def _first_repeated(keys: Sequence[Key]) -> Key | None:
    """Return the first key that is there twice; None where each is there once."""
    if len(set(keys)) == len(keys):
        return None
    return next(key for key, count in Counter(keys).items() if count > 1)


def _in_utf8(document: SourceDocument) -> SourceDocument:
    """Return a document that came as ``str`` in the form in which parser and hash take it: encoded once."""
    assert isinstance(document.content, str)
    try:
        return document._replace(content=document.content.encode(), is_text=True)
    except UnicodeEncodeError:  # half of a surrogate pair, which the parser refuses
        return document


def _advice(kind: FaultKind, retry_seconds: float) -> str:
    if kind in (FaultKind.DISCONNECTED, FaultKind.TRANSIENT):
        return (
            f"; it did not come back within {retry_seconds:.0f} s (--retry-seconds); run the same command "
            "again when it is there, and the load goes on where it stopped"
        )
    return "; trying again cannot cure this; mend the cause, then run the same command again"
