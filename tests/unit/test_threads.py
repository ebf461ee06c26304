"""Threads whose start cannot wait for ever, and nothing but these in the product."""

from __future__ import annotations

import ast
import threading
import time
from pathlib import Path

import pytest

from xml_extractor import threads
from xml_extractor.threads import Thread

PRODUCT = Path(threads.__file__).parent


def test_a_thread_runs_its_target_under_its_name() -> None:
    seen: list[tuple[str, bool, tuple[int, str]]] = []

    def target(number: int, word: str) -> None:
        seen.append((threading.current_thread().name, threading.current_thread().daemon, (number, word)))

    thread = Thread(target, name="one of ours", args=(7, "x"))
    thread.start()
    thread.join(10)
    assert seen == [("one of ours", True, (7, "x"))]
    assert not thread.is_alive()


def test_a_thread_that_has_no_memory_to_begin_does_not_hang_its_starter(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As in a program whose memory ends: the new thread fails before it can say that it runs."""
    monkeypatch.setattr(threads, "START_SECONDS", 0.2)

    def no_memory(_self: threading.Thread) -> None:
        """Ends as the real one does after a MemoryError, which nobody sees."""

    monkeypatch.setattr(threading.Thread, "_bootstrap", no_memory)
    thread = Thread(lambda: None, name="starved")
    began = time.monotonic()
    with pytest.raises(MemoryError, match=r"thread starved did not begin to run within 0\.2 s"):
        thread.start()
    assert time.monotonic() - began < 30


def test_the_product_starts_no_other_threads() -> None:
    found = []
    for file in sorted(PRODUCT.rglob("*.py")):
        if file == Path(threads.__file__):
            continue
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in (
                "threading.Thread",
                "threading.Timer",
            ):
                found.append(f"{file.relative_to(PRODUCT)}:{node.lineno}")
    assert found == []
