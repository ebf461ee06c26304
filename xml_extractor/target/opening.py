"""From what ``--target`` says to a target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from xml_extractor.engines import open_engine
from xml_extractor.engines.base import Engine
from xml_extractor.errors import UsageError
from xml_extractor.target.base import Target
from xml_extractor.target.database_target import DatabaseTarget
from xml_extractor.target.files import JsonLinesTarget, NullTarget


def open_target(
    url: str, *, retry_seconds: float = 30.0, open_database: Callable[[str], Engine] = open_engine
) -> Target:
    """Return the target that ``url`` names: ``null:``, ``jsonl:DIR`` or a database's URL.

    Nothing is connected to or created yet.

    Args:
        retry_seconds: how long a database that was lost is retried.
        open_database: makes an engine of a URL; for time limits other than the usual.

    Raises:
        UsageError: no target is of this form.
    """
    if url == "null:":
        return NullTarget()
    if url.startswith("jsonl:"):
        folder = url.removeprefix("jsonl:")
        if not folder:
            raise UsageError("--target jsonl: needs a folder, such as jsonl:out")
        return JsonLinesTarget(Path(folder))
    return DatabaseTarget(open_database(url), retry_seconds=retry_seconds)
