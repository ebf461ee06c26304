"""Chunks of pending keys: what is handed to workers."""

from __future__ import annotations

from dataclasses import dataclass

from xml_extractor.mapping.records import Key, Previous

CHUNK_DOCUMENTS = 64
"""Documents a chunk: small enough that the last chunks of a load keep all workers busy, large enough
that its cost (one hand-over, one query) is spread over many documents.  A throttled load has smaller ones."""

KEY_PAGE = 5_000
"""Keys a page: one source query and one ledger query for this many documents."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Pending documents for one worker, in key order; none: a page of keys was read and nothing of it is
    pending, so that there is nothing to dispatch."""

    number: int
    keys: tuple[Key, ...]
    previous: dict[Key, Previous]  # only documents that the ledger already knows
