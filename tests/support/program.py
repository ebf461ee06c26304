"""Runs the real programs as separate processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).resolve().parents[2]
BOUND_SECONDS = 120.0


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The tests' environment without settings of the product, which would leak into the program."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("XML_EXTRACTOR_")}
    return {**kept, "PYTHONPATH": str(CHECKOUT), **(extra or {})}


class Program:
    """``production_processor.py`` with these arguments, running."""

    def __init__(self, *arguments: object, folder: Path, extra: Mapping[str, str] | None = None) -> None:
        self.summary_file = folder / f"summary-{time.monotonic_ns()}.json"
        self.process = subprocess.Popen(
            [
                sys.executable,
                str(CHECKOUT / "production_processor.py"),
                *map(str, arguments),
                "--summary",
                str(self.summary_file),
                "--progress",
                "none",
            ],
            cwd=folder,
            env=environment(extra),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
        )
        self.output = ""
        self.errors = ""

    def wait(self, bound_seconds: float = BOUND_SECONDS) -> int:
        """Wait for the end, at most so long, and return the exit code."""
        try:
            self.output, self.errors = self.process.communicate(timeout=bound_seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.output, self.errors = self.process.communicate()
            raise AssertionError(f"still running after {bound_seconds} s:\n{self.errors}") from None
        return self.process.returncode

    def summary(self) -> dict[str, Any]:
        content = json.loads(self.summary_file.read_text(encoding="utf-8"))
        assert isinstance(content, dict)
        return content


def run_program(*arguments: object, folder: Path, extra: Mapping[str, str] | None = None) -> Program:
    """Run ``production_processor.py`` to its end."""
    program = Program(*arguments, folder=folder, extra=extra)
    program.wait()
    return program


def run_command(
    *arguments: object, folder: Path, extra: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m xml_extractor`` to its end."""
    return subprocess.run(
        [sys.executable, "-m", "xml_extractor", *map(str, arguments)],
        cwd=folder,
        env=environment(extra),
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=BOUND_SECONDS,
        check=False,
    )
