"""What a verification has finished, kept in a file so that an interrupted one can go on."""

from __future__ import annotations

import json
import threading
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from xml_extractor.errors import UsageError

SAVE_SECONDS: Final = 10.0
"""How often a step in progress is saved: what an interruption costs at most."""

_VERSION: Final = 2


class Checkpoint:
    """Results by step, saved as they come.  Thread-safe.

    Args:
        path: None = nothing is kept.
        identity: what is verified; a file of something else is refused.

    Raises:
        UsageError: the file cannot be read or written, or belongs to another verification.
    """

    def __init__(self, path: Path | None, identity: dict[str, Any]) -> None:
        self._path = path
        self._identity = identity
        self._lock = threading.Lock()
        self._steps: dict[str, Any] = {}
        self._begun_at = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")
        self.since: str | None = None
        """When the run began that left the steps which are gone on from (UTC); None = begun anew."""
        self._saved_at = time.monotonic()
        if path is not None:
            self._read(path)
            self._write()

    def get(self, step: str) -> Any:
        """Return what a step left; None where it has left nothing."""
        return self._steps.get(step)

    def put(self, step: str, result: Any) -> None:
        """Keep the result of a finished step; plain data."""
        if self._path is None:
            return
        with self._lock:
            self._steps[step] = result
            self._write()

    @property
    def is_due(self) -> bool:
        """Whether a step in progress should be saved."""
        return self._path is not None and time.monotonic() - self._saved_at >= SAVE_SECONDS

    def finish(self) -> None:
        """All is done: the next verification begins anew."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)

    def _read(self, path: Path) -> None:
        try:
            kept = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return
        except (OSError, ValueError) as error:
            raise UsageError(
                f"--checkpoint {path} cannot be read ({type(error).__name__}); delete it to begin anew"
            ) from error
        if not isinstance(kept, dict) or kept.get("version") != _VERSION:
            raise UsageError(f"--checkpoint {path} is no checkpoint of this program; name another file")
        if kept.get("identity") != self._identity:
            differing = [
                name
                for name, value in self._identity.items()
                if (kept.get("identity") or {}).get(name) != value
            ]
            raise UsageError(
                f"--checkpoint {path} belongs to another verification (another {', '.join(differing)}); name "
                "another file, or delete it to begin anew"
            )
        self._steps = kept["steps"]
        if self._steps:
            self._begun_at = self.since = kept["begun_at"]

    def _write(self) -> None:
        assert self._path is not None
        beside = self._path.with_name(f"{self._path.name}.tmp")
        content = {"version": _VERSION, "identity": self._identity, "begun_at": self._begun_at}
        text = json.dumps({**content, "steps": self._steps})
        try:
            beside.write_text(text, encoding="utf-8")
            beside.replace(self._path)
        except OSError as error:
            raise UsageError(f"--checkpoint {self._path} cannot be written: {error.strerror}") from error
        self._saved_at = time.monotonic()
