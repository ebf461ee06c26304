"""Where rows go, and how they get there exactly once.

What a kind of target needs is imported when one is opened, because worker processes import this package
and must stay small.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from xml_extractor.errors import UsageError

if TYPE_CHECKING:
    from xml_extractor.engines.base import EngineOptions
    from xml_extractor.target.base import Target


def open_target(url: str, *, options: EngineOptions | None = None, retry_seconds: float = 30.0) -> Target:
    """Return the target that ``url`` names: ``null:``, ``jsonl:DIR`` or a database's URL.

    Nothing is connected to or created yet.

    Args:
        options: how a database is to be used.
        retry_seconds: how long a database that was lost is retried.

    Raises:
        UsageError: no target is of this form.
    """
    if url == "null:":
        from xml_extractor.target.files import NullTarget

        return NullTarget()
    if url.startswith("jsonl:"):
        from pathlib import Path

        from xml_extractor.target.files import JsonLinesTarget

        folder = url.removeprefix("jsonl:")
        if not folder:
            raise UsageError("--target jsonl: needs a folder, such as jsonl:out")
        return JsonLinesTarget(Path(folder))
    from xml_extractor.engines import open_engine
    from xml_extractor.target.database_target import DatabaseTarget

    return DatabaseTarget(open_engine(url, options=options), retry_seconds=retry_seconds)
