"""Ctrl-C and termination while something is measured: once, and never before what was made is known."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

from xml_extractor.operations.signals import stopping_signals


class Interrupted(KeyboardInterrupt):
    """A signal asked this program to end.

    Attributes:
        number: of the signal.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number


@dataclass(slots=True)
class _Signals:
    """What has come; the handler and the main thread are never at it at once."""

    active: bool = False  # interruptible() is entered
    received: int | None = None  # the first signal
    raised: bool = False
    held: int = 0


_signals = _Signals()


@contextmanager
def interruptible() -> Iterator[None]:
    """Make Ctrl-C and termination raise :class:`Interrupted`, once.

    What is then put away is not disturbed by a second one, which is only answered.  In the main thread;
    in another one, and inside itself, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread() or _signals.active:
        yield
        return
    _signals.active, _signals.received, _signals.raised, _signals.held = True, None, False, 0
    previous = {number: signal.signal(number, _handle) for number in stopping_signals()}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
        _signals.active = False


@contextmanager
def signals_held() -> Iterator[None]:
    """Put off what :func:`interruptible` raises until this is left; for what takes a moment only."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    _signals.held += 1
    try:
        yield
    finally:
        _signals.held -= 1
        _raise_if_due()


def _handle(number: int, _frame: FrameType | None) -> None:
    if _signals.received is not None:
        os.write(2, b"removing what this run made; a moment\n")
        return
    _signals.received = number
    _raise_if_due()


def _raise_if_due() -> None:
    if _signals.active and _signals.received is not None and not _signals.held and not _signals.raised:
        _signals.raised = True
        raise Interrupted(_signals.received)
