"""Folders of a run's own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from performance_tuning.measuring.interrupting import signals_held

FOLDER_PREFIX: Final = "xml_extractor_measuring_"


@contextmanager
def temporary_folder(beneath: Path | None = None) -> Iterator[Path]:
    """A folder of the run's own, removed at the end with all that is in it.

    Args:
        beneath: where to make it; ``None`` = where the system has temporary files.
    """
    folder: tempfile.TemporaryDirectory[str] | None = None
    try:
        with signals_held():
            # Files of a process that was just killed may stay locked for a moment on Windows.
            folder = tempfile.TemporaryDirectory(
                prefix=FOLDER_PREFIX, dir=beneath, ignore_cleanup_errors=True
            )
        yield Path(folder.name)
    finally:
        if folder is not None:
            with signals_held():
                folder.cleanup()


def other_folders(own: Path) -> list[Path]:
    """Return the folders beside ``own`` that are of this kind: of runs that were killed, or are at work."""
    return sorted(path for path in own.parent.glob(f"{FOLDER_PREFIX}*") if path.is_dir() and path != own)
