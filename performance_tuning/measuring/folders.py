"""Folders of a run's own."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from performance_tuning.measuring.interrupting import signals_held

FOLDER_PREFIX: Final = "xml_extractor_measuring_"

_made: Final[set[Path]] = set()
"""Those of this process that are there now."""


def _to_standard_error(text: str) -> None:
    print(text, file=sys.stderr)


@contextmanager
def temporary_folder(
    beneath: Path | None = None, *, say: Callable[[str], None] = _to_standard_error
) -> Iterator[Path]:
    """A folder of the run's own, removed at the end with all that is in it; nothing else is ever removed.

    Args:
        beneath: where to make it; ``None`` = where the system has temporary files.
        say: told of folders beside it that runs left behind that were killed.
    """
    folder: tempfile.TemporaryDirectory[str] | None = None
    path: Path | None = None
    try:
        with signals_held():
            # Files of a process that was just killed may stay locked for a moment on Windows.
            folder = tempfile.TemporaryDirectory(
                prefix=FOLDER_PREFIX, dir=beneath, ignore_cleanup_errors=True
            )
            path = Path(folder.name)
            _made.add(path)
        left = _others(path.parent)
        if left:
            say(
                f"note: {', '.join(map(str, left))}: left behind by a run that was killed, unless one is "
                "measuring just now; if none is, delete what is there, nobody needs it"
            )
        yield path
    finally:
        if folder is not None:
            with signals_held():
                folder.cleanup()
                if path is not None:
                    _made.discard(path)


def _others(parent: Path) -> list[Path]:
    """Return the folders of this kind that this process did not make."""
    return sorted(path for path in parent.glob(f"{FOLDER_PREFIX}*") if path.is_dir() and path not in _made)
