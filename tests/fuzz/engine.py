"""What the three coverage-guided fuzzers share: how atheris is set going."""

from __future__ import annotations

import contextlib
import io
import logging
import sys
from collections.abc import Callable, Sequence

import atheris


def run(
    arguments: Sequence[str], one_input: Callable[[bytes], None], mutate: Callable[[bytes, int, int], bytes]
) -> None:
    """Fuzz until libFuzzer's options say stop, or something is found."""
    logging.disable(logging.CRITICAL)

    def quietly(data: bytes) -> None:
        with contextlib.redirect_stdout(io.StringIO()):
            one_input(data)

    atheris.Setup(list(arguments), quietly, custom_mutator=mutate)
    sys.setrecursionlimit(1000)  # as everywhere: atheris itself must not be what makes room
    atheris.Fuzz()
