"""Takes documents out of quarantine for good, or makes them pending again."""

from __future__ import annotations

import secrets
import threading
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

from xml_extractor.engines.base import Session
from xml_extractor.mapping.records import Key, State
from xml_extractor.operations.bookkeeping import Bookkeeping
from xml_extractor.operations.quarantine import QuarantinedDocument, QuarantineFilter, quarantine_pages
from xml_extractor.settings import LoadOptions
from xml_extractor.target import ranges
from xml_extractor.target.bookkeeping import LEDGER, QUARANTINE
from xml_extractor.target.failures import Connection, retried
from xml_extractor.target.ledger import DocumentDigests
from xml_extractor.target.timestamps import timestamp, utc_now


@dataclass(slots=True)
class PurgeResult:
    """What a purge has done."""

    skipped: int = 0  # the ledger says skipped from now on
    pending: int = 0  # the ledger has forgotten them
    loaded: int = 0  # an older version is loaded and stays so; what was said of the newer one is gone

    @property
    def documents(self) -> int:
        """All documents that were taken out of quarantine."""
        return self.skipped + self.pending + self.loaded

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {"purged": self.documents, **asdict(self)}


def purge(
    url: str,
    options: LoadOptions,
    wanted: QuarantineFilter,
    *,
    make_pending: bool,
    on_batch: Callable[[PurgeResult], None] | None = None,
) -> PurgeResult:
    """Take documents out of quarantine, in batches of a transaction each.

    A document's details and its ledger row change together, so that each source document stays accounted
    for whenever this is interrupted; the same call then goes on with the rest.  A document that a replay
    has settled in the meantime is left as it is.

    Args:
        make_pending: let the next load try them again; else the ledger says ``skipped`` from now on, and
            every later load leaves them alone.
        on_batch: told after each batch how far it has come.

    Raises:
        TargetError: the target failed for good; what was done until then stays.
        UsageError: nothing was ever loaded into it.
    """
    result = PurgeResult()
    with (
        Bookkeeping(url, options) as bookkeeping,
        Connection(bookkeeping.engine, "xml_extractor purge", threading.Event()) as connection,
    ):
        for documents in quarantine_pages(bookkeeping.ask, wanted):
            batch = secrets.randbits(63)
            # By source, because what is to be forgotten of finished ranges is a source's.
            by_source: dict[tuple[str, str], list[QuarantinedDocument]] = defaultdict(list)
            for document in documents:
                by_source[document.source_name, document.contract].append(document)
            purged = retried(
                connection,
                options.retry_seconds,
                "purging quarantine",
                lambda session, by_source=by_source, batch=batch: _purge_batch(  # type: ignore[misc]
                    session, by_source, batch, make_pending=make_pending
                ),
            )
            newer = sum(document.is_newer_version for document in purged)
            result.loaded += newer
            if make_pending:
                result.pending += len(purged) - newer
            else:
                result.skipped += len(purged) - newer
            if on_batch is not None:
                on_batch(result)
    return result


def _purge_batch(
    session: Session,
    by_source: dict[tuple[str, str], list[QuarantinedDocument]],
    batch: int,
    *,
    make_pending: bool,
) -> list[QuarantinedDocument]:
    """Purge in one transaction; return those documents whose ledger row was still as it had been read.

    Repeated after a commit whose answer was lost, it finds the rows by the batch number, or gone, and
    returns the same.
    """
    session.begin()
    try:
        purged = []
        # Ledger rows in the order of the keys, then what loads have claimed, then quarantine: as everybody
        # takes them who changes these, so that none waits for another in a circle.
        for (source_name, contract), unsorted in sorted(by_source.items()):
            documents = _in_key_order(unsorted, DocumentDigests(source_name, contract))
            ours = _take(session, documents, batch, make_pending=make_pending)
            ranges.forget(session, source_name, contract, sorted({each.ledger_load_id for each in documents}))
            _each(
                session,
                f"DELETE FROM {session.table(QUARANTINE)} WHERE digest = ?",
                [(each.digest,) for each in ours],
            )
            purged += ours
        session.commit()
    except BaseException:
        session.rollback()
        raise
    return purged


def _in_key_order(
    documents: list[QuarantinedDocument], digests: DocumentDigests
) -> list[QuarantinedDocument]:
    def place(document: QuarantinedDocument) -> tuple[bool, Key]:
        key = digests.key(document.digest, document.key)
        key = document.key if key is None else key
        return isinstance(key, str), key

    return sorted(documents, key=place)


def _take(
    session: Session, documents: list[QuarantinedDocument], batch: int, *, make_pending: bool
) -> list[QuarantinedDocument]:
    """Change the ledger's rows, each if it is as it was read; return the documents of those that were."""
    ledger = session.table(LEDGER)
    newer = [each for each in documents if each.is_newer_version]
    refused = [each for each in documents if not each.is_newer_version]
    now = timestamp(utc_now())
    _each(
        session,
        f"UPDATE {ledger} SET state = ?, batch = ?, committed_at = ? WHERE digest = ? AND batch = ?",
        [
            # The loaded version stays as it is; only nobody else is to find the row as it was.
            (
                State.LOADED.value if each.is_newer_version else State.SKIPPED.value,
                batch,
                now,
                each.digest,
                each.batch,
            )
            for each in documents
        ],
    )
    if make_pending:
        _each(
            session,
            f"DELETE FROM {ledger} WHERE digest = ? AND batch = ?",
            [(each.digest, batch) for each in refused],
        )
    left = {
        bytes(digest): int(number)
        for digest, number in session.existing(
            LEDGER, ("digest", "batch"), "digest", [each.digest for each in documents]
        )
    }
    expected = None if make_pending else batch
    return [
        *(each for each in refused if left.get(each.digest) == expected),
        *(each for each in newer if left.get(each.digest) == batch),
    ]


def _each(session: Session, sql: str, parameters: list[tuple[Any, ...]]) -> None:
    if parameters:
        session.execute_many(sql, parameters)
