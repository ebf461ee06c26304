"""Whose the documents of a batch are, and how they count once they are committed."""

from __future__ import annotations

from dataclasses import dataclass, field

from xml_extractor.mapping.records import DocumentRecord, Key, Look, Previous, Renewal, State
from xml_extractor.target.base import BatchResult


@dataclass(slots=True)
class Claims:
    """Which records of an attempt are ours to write, and what became of the others."""

    ours: list[DocumentRecord] = field(default_factory=list)
    kept: list[DocumentRecord] = field(default_factory=list)
    """Ours, but their loaded rows, hash and state stay: only quarantine changes."""
    written: list[DocumentRecord] = field(default_factory=list)
    """Ours, but already committed by an earlier attempt whose answer was lost."""
    elsewhere: list[tuple[DocumentRecord, State]] = field(default_factory=list)
    """The rest, and what another loader made of it."""
    marks: dict[Key, int] = field(default_factory=dict)
    """What the ledger row of each record adds to the content of its range."""
    rows: tuple[int, ...] = ()
    """Rows per table that the database says it took for ``ours``."""
    began: float = 0.0
    """When the attempt began, perf_counter time."""
    table_seconds: dict[str, float] = field(default_factory=dict)
    commit_seconds: float = 0.0

    @property
    def settled(self) -> list[DocumentRecord]:
        """All that are in the target by our doing, once the attempt is committed."""
        return [*self.ours, *self.kept, *self.written]


def count_committed(claims: Claims, result: BatchResult) -> None:
    """Add what a committed attempt did to the batch's result."""
    # Rows of documents that an earlier attempt wrote were counted and compared in that attempt.
    done = claims.settled
    written = [record.row_counts for record in claims.written if record.state is State.LOADED]
    mapped = [record.row_counts for record in done if record.state is State.LOADED]
    result.rows = _added(result.rows, claims.rows, *written)
    result.document_rows = _added(result.document_rows, *mapped)
    marks = claims.marks
    for record, state in claims.elsewhere:
        if state is State.LOADED:
            result.already_loaded += 1
        elif state is State.QUARANTINED:
            result.quarantined += 1
        else:
            result.skipped += 1
        result.settled.append((record.key, state, marks[record.key], False))
    settled = result.settled
    for record in done:
        if record.look is not None:
            result.count_look(record, marks[record.key])
            continue
        settled.append((record.key, record.state, marks[record.key], False))
        if record.previous is not None:
            _count_change(record, record.previous, result)
        if record.state is State.LOADED:
            result.loaded += 1
            result.truncated_values += record.truncated_values
            if record.unknown_elements:
                result.unknown_elements.update(record.unknown_elements)
        elif record.state is State.QUARANTINED:
            assert record.rejection is not None
            result.quarantined += 1
            result.quarantine_reasons[record.rejection.code] += 1
        else:
            result.skipped += 1


def _added(*counts: tuple[int, ...]) -> tuple[int, ...]:
    """Add rows per table; an empty tuple counts nothing."""
    return tuple(map(sum, zip(*filter(None, counts), strict=True)))


def keeps_rows(record: DocumentRecord) -> bool:
    """Whether all that is loaded of a known document stays: its newer version is refused, or is gone."""
    if record.look is Look.RESTORED:
        return True
    return record.state is State.QUARANTINED and record.previous is not None and record.previous.keeps_rows


def _count_change(record: DocumentRecord, previous: Previous, result: BatchResult) -> None:
    if previous.renewal is Renewal.REPLACE:
        result.changed += 1
        result.replaced += previous.state is State.LOADED and not keeps_rows(record)
