"""The embedded default: a database that is simply there, with sample documents to load."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from sqlalchemy.engine import make_url

from xml_extractor.contract import Contract
from xml_extractor.engines import open_engine
from xml_extractor.errors import SourceError, UsageError
from xml_extractor.source import sample

SAMPLE_DOCUMENTS: Final = 10_000
SAMPLE_SEED: Final = 1


def prepare_embedded(url: str, contract: Contract, say: Callable[[str], None]) -> None:
    """Say that the embedded default is used; where it has no source table yet, fill one with the sample.

    A source table that exists is left alone, whatever is in it.

    Raises:
        SourceError: the file cannot be made or read.
        UsageError: the source table is not there, and the contract is not for the sample's documents.
    """
    path = Path(make_url(url).database or "")
    say(f"No database is configured (--source): using the embedded default, {path}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(
            f"the folder {path.parent} of the embedded default cannot be made ({error.strerror}); run in a "
            "folder that can be written to, or name a database with --source"
        ) from error
    engine = open_engine(url)
    plan = contract.plan
    if path.exists():
        try:
            session = engine.connect(write=False, application="xml_extractor")
            try:
                if plan.source.table in session.table_names():
                    return
            finally:
                session.close()
        except Exception as error:
            raise SourceError(
                f"the embedded default {path} cannot be read: {engine.classify(error).message}; move the "
                "file away to start afresh, or name a database with --source"
            ) from error
    if not sample.suits(plan):
        raise UsageError(
            f"the embedded default {path} has no {plan.source.table}, and contract {plan.contract} is not "
            "for the loan applications that would fill it: put documents of yours into it with `stage "
            "--contract FILE PATH`, or name a database with --source"
        )
    say(f"It has no {plan.source.table} yet: writing {SAMPLE_DOCUMENTS:,} synthetic loan applications")
    started = time.perf_counter()
    sample.write_sample(engine, plan, SAMPLE_DOCUMENTS, SAMPLE_SEED)
    say(f"Wrote them in {time.perf_counter() - started:.1f} s")
