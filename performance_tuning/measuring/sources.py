"""Where the documents come from: a source that is named, or the sample, generated once."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from performance_tuning.measuring.errors import MeasuringError
from performance_tuning.measuring.servers import new_name
from xml_extractor.contract.plan import Plan
from xml_extractor.engines import open_engine
from xml_extractor.settings import hide_password
from xml_extractor.source import sample

DEFAULT_DOCUMENTS: Final = 10_000
SEED: Final = 7


@dataclass(frozen=True, slots=True)
class Source:
    """The documents that every run loads."""

    url: str  # with its password
    documents: int
    """How many each run loads: the first ones in the order of their keys."""
    description: str
    """What they are, equal for equal documents as far as one can tell; holds no host and no path."""
    generated: bool


def open_source(
    url: str | None, plan: Plan, documents: int | None, folder: Path, *, seed: int = SEED,
    say: Callable[[str], None] = lambda text: None, named_by: str = "--source",
) -> Source:  # fmt: skip
    """Return the named source, or the sample in a new SQLite file of ``folder``.

    Args:
        url: password included; ``None`` = generate the sample.
        documents: how many are to be loaded; ``None`` = all of a named source, 10,000 of the sample.
        folder: the caller's own, removed by the caller.
        seed: of the sample.

    Raises:
        MeasuringError: it cannot be read, or has fewer documents than asked for, or none.
    """
    if url is None:
        return _sample(plan, documents or DEFAULT_DOCUMENTS, seed, folder, say)
    engine = open_engine(url)
    try:
        with closing(engine.connect(write=False, application="xml_extractor measuring")) as session:
            there = session.count_keys(plan.source, None, None)
    except Exception as error:  # noqa: BLE001 - whatever the driver raises, the engine knows it
        raise MeasuringError(f"{named_by}: {hide_password(url)}: {engine.classify(error).message}") from None
    if there < (documents or 1):
        raise MeasuringError(
            f"{named_by}: {plan.source.table} in {hide_password(url)} has {there:,} documents for this "
            "contract"
            + (f", not {documents:,}: ask for fewer with --documents" if documents and there else "")
        )
    wanted = documents or there
    first = "" if wanted == there else f"the first {wanted:,} of "
    return Source(
        url, wanted, f"{first}{there:,} documents in {plan.source.table} of {Path(engine.database).name} "
        f"({engine.name})", generated=False,
    )  # fmt: skip


def _sample(plan: Plan, documents: int, seed: int, folder: Path, say: Callable[[str], None]) -> Source:
    if not sample.suits(plan):
        raise MeasuringError(
            f"contract {plan.contract} is not for the loan applications that the sample is made of; name the "
            "database that holds its documents with --source"
        )
    path = folder / f"{new_name()}_source.db"
    url = f"sqlite:///{path.as_posix()}"
    say(f"generating {documents:,} loan applications (seed {seed})")
    started = time.perf_counter()
    sample.write_sample(open_engine(url), plan, documents, seed)
    say(f"generated in {time.perf_counter() - started:.1f} s")
    return Source(url, documents, f"{documents:,} synthetic loan applications, seed {seed}", generated=True)
