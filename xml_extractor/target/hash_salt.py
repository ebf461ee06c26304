"""The salt of hashed columns as the ledger knows it: by a fingerprint among a load's settings.

Rows that were hashed with one salt cannot be joined to those of another, and nothing in them shows it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

from xml_extractor.engines.base import Session
from xml_extractor.errors import UsageError
from xml_extractor.target import ledger
from xml_extractor.target.bookkeeping import RUNS
from xml_extractor.target.runs import Run

SALT_FINGERPRINT: Final = "hash_salt_fingerprint"
"""The setting under which ``load_runs`` keeps it; absent where a contract hashes nothing."""


def refuse_other_salt(session: Session, runs: Sequence[Run], settings: Mapping[str, Any]) -> None:
    """Refuse to go on where documents were loaded with another salt than the one of these settings.

    Args:
        runs: the earlier loads of the same source and contract.

    Raises:
        UsageError: naming the fingerprint of the salt that is asked for.
    """
    mine = settings.get(SALT_FINGERPRINT)
    if mine is None or not runs:
        return
    wanted = {run.load_id for run in runs}
    others: dict[int, str] = {}
    for load_id, text in session.query(f"SELECT load_id, settings FROM {session.table(RUNS)}"):
        known = json.loads(text or "{}").get(SALT_FINGERPRINT)
        if int(load_id) in wanted and known is not None and known != mine:
            others[int(load_id)] = str(known)
    if not others or not ledger.has_documents(session, list(others)):
        return
    loads = ", ".join(map(str, sorted(others)))
    raise UsageError(
        f"documents were loaded with another salt (fingerprint {', '.join(sorted(set(others.values())))}, "
        f"load {loads}; this one's is {mine}): the hashed columns of old and new rows could not be joined. "
        "Set XML_EXTRACTOR_HASH_SALT to the salt of those loads; or, to change it for good, load all "
        "documents anew with --on-plan-change reload"
    )
