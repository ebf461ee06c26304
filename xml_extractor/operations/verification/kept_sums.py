"""Sums as plain data, for the checkpoint."""

from __future__ import annotations

from collections import Counter
from typing import Any

from xml_extractor.mapping.records import State
from xml_extractor.operations.verification.ledger_side import LedgerSums
from xml_extractor.operations.verification.worker import TableSums
from xml_extractor.target.content_digest import BucketSums, Share


def sums_of(shares: list[Share]) -> BucketSums:
    """Return shares as sums."""
    sums = BucketSums()
    sums.add_shares(shares)
    return sums


def table_to_json(sums: TableSums) -> list[Any]:
    """Return what a table adds up to."""
    return [sums.rows, sums_of(sums.keys).to_text(), sums_of(sums.content).to_text()]


def table_from_json(kept: list[Any]) -> TableSums:
    """Read :func:`table_to_json`."""
    rows, keys, content = kept
    return TableSums(rows, BucketSums.from_text(keys).shares(), BucketSums.from_text(content).shares())


def ledger_to_json(sums: LedgerSums) -> dict[str, Any]:
    """Return what the ledger adds up to."""
    return {
        "keys": sums.keys.to_text(),
        "quarantined": sums.quarantined.to_text(),
        "tables": {name: table.to_text() for name, table in sums.tables.items()},
        "rows": dict(sums.rows),
        "states": {state.value: count for state, count in sums.states.items()},
        "figures": [sums.other_plan, sums.others, sums.damaged, sums.damaged_count],
    }


def ledger_from_json(kept: dict[str, Any]) -> LedgerSums:
    """Read :func:`ledger_to_json`."""
    return LedgerSums(
        BucketSums.from_text(kept["keys"]),
        BucketSums.from_text(kept["quarantined"]),
        {name: BucketSums.from_text(text) for name, text in kept["tables"].items()},
        Counter(kept["rows"]),
        Counter({State(name): count for name, count in kept["states"].items()}),
        *kept["figures"],
    )
