"""What travels down the pipeline: a source document in, one outcome per document out."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

from xml_extractor.contract.types import Value

Key = int | str
"""A source key: any integer or string."""

Row = tuple[Value, ...]
"""One mapped row, canonical values in the table's column order."""


class SourceDocument(NamedTuple):
    """One row of the source table, as its driver gave it."""

    key: Key
    content: str | bytes | None
    columns: tuple[Any, ...] = ()
    is_text: bool = False
    """Whether ``content``, as bytes, is what the source holds as text: UTF-8, whatever it declares."""


@dataclass(frozen=True, slots=True)
class MappedDocument:
    """The rows of one document, per table in the plan's order."""

    rows: tuple[list[Row], ...]
    truncated_values: int = 0
    unknown_elements: tuple[str, ...] = ()


class EncodedDocument(NamedTuple):
    """The rows of one document as the target takes them."""

    rows: tuple[Any, ...]  # per table, as the encoder makes them; () where the target only counts
    row_counts: tuple[int, ...]
    size_bytes: int  # estimate of the memory that `rows` hold
    truncated_values: int = 0
    unknown_elements: tuple[str, ...] = ()


class Stage(Enum):
    """Where a document was refused."""

    SOURCE = "source"  # NULL, empty, not decodable
    PARSE = "parse"
    MAP = "map"
    TARGET = "target"
    WORKER = "worker"  # it kills or stalls the worker that handles it


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a document cannot be loaded.  Never holds a value of the document.

    ``code`` is a stable, short, snake_case word by which quarantine is grouped (``not_well_formed``,
    ``not_convertible``, ``too_long``, ``unique_violation``, …); ``message`` is for people.
    """

    stage: Stage
    code: str
    message: str
    table: str | None = None
    column: str | None = None
    path: str | None = None  # element or attribute in the document


class State(Enum):
    """What the ledger says of a document; no row = pending."""

    LOADED = "loaded"
    QUARANTINED = "quarantined"
    SKIPPED = "skipped"


class Renewal(Enum):
    """What is to be done with a document that the ledger knows already."""

    RELOAD = "reload"  # map it whatever it holds; should it be refused now, its old rows go
    RETRY = "retry"  # map it whatever it holds; should it be refused, its old rows stay
    REPORT = "report"  # hash it; if it has changed, say so
    REPLACE = "replace"  # hash it; if it has changed, map it; should it be refused, its old rows stay


class Look(Enum):
    """What hashing a document that the ledger knows has shown; the ledger's row and the rows stay."""

    UNCHANGED = "unchanged"
    CHANGED = "changed"  # to be told
    STILL_REFUSED = "still refused"  # changed into what quarantine names already
    RESTORED = "restored"  # what was loaded once more, while quarantine names another version, which is to go


@dataclass(frozen=True, slots=True)
class Previous:
    """The ledger row that a document already has, as read when it was dispatched."""

    state: State
    batch: int
    plan_digest: str
    document_hash: bytes | None = None
    renewal: Renewal = Renewal.RELOAD
    other_plan: bool = False
    """Whether it was settled under another version of the contract, and would be left at that."""
    has_refused: bool = False
    """Whether quarantine names a newer version beside the loaded one."""
    refused_hash: bytes | None = None
    """The hash of that version; None where it is to be tried again."""

    @property
    def keeps_rows(self) -> bool:
        """Whether the loaded rows stay if the new version is refused."""
        return self.state is State.LOADED and self.renewal is not Renewal.RELOAD


@dataclass(slots=True)
class DocumentRecord:
    """The outcome of one document, ready to be committed.

    Exactly one of these holds: ``state`` LOADED and ``rows`` filled; QUARANTINED and ``rejection``
    filled; SKIPPED and ``rejection`` saying what the contract missed; or ``look`` filled, and nothing
    else: ``state`` then says what the document counts as.
    """

    key: Key
    state: State
    document_hash: bytes  # 16 bytes of XXH3-128 over the content as read; b"" where not computed
    rows: tuple[Any, ...] = ()  # per table, encoded by the target's encoder
    row_counts: tuple[int, ...] = ()
    size_bytes: int = 0  # estimate of the memory the record holds
    rejection: Rejection | None = None
    truncated_values: int = 0
    unknown_elements: tuple[str, ...] = field(default=())
    previous: Previous | None = None
    look: Look | None = None

    def __reduce__(self) -> tuple[type[DocumentRecord], tuple[Any, ...]]:
        """Pickle by position: records cross process borders by the million, and what a dataclass with slots
        does by itself takes twice as long."""
        return DocumentRecord, (
            self.key, self.state, self.document_hash, self.rows, self.row_counts, self.size_bytes,
            self.rejection, self.truncated_values, self.unknown_elements, self.previous, self.look,
        )  # fmt: skip
