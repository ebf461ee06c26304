from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from time import monotonic
from typing import cast

import pytest

from xml_extractor.engines import retry
from xml_extractor.engines.base import Engine, Fault, FaultKind
from xml_extractor.engines.retry import is_passing, retrying
from xml_extractor.errors import SourceError


class Broken(Exception):
    def __init__(self, kind: FaultKind, slow: bool = False) -> None:
        super().__init__("value 4711 of the document")
        self.kind = kind
        self.slow = slow


class FakeEngine:
    def classify(self, error: BaseException) -> Fault:
        kind = error.kind if isinstance(error, Broken) else FaultKind.FATAL
        slow = isinstance(error, Broken) and error.slow
        return Fault(kind, "connection_lost", "the connection was lost", "08006", slow=slow)


ENGINE = cast(Engine, FakeEngine())


def failing(times: int, kind: FaultKind, slow: bool = False) -> tuple[Callable[[], int], list[float]]:
    attempts: list[float] = []

    def run() -> int:
        attempts.append(monotonic())
        if len(attempts) <= times:
            raise Broken(kind, slow)
        return 42

    return run, attempts


@pytest.mark.parametrize("kind", [FaultKind.TRANSIENT, FaultKind.DISCONNECTED])
def test_passing_faults_are_tried_again(kind: FaultKind) -> None:
    run, attempts = failing(2, kind)
    assert retrying(ENGINE, 10, doing="read")(run) == 42
    assert len(attempts) == 3


@pytest.mark.parametrize("kind", [FaultKind.DATA, FaultKind.FATAL])
def test_other_faults_come_out_at_once(kind: FaultKind) -> None:
    run, attempts = failing(1, kind)
    with pytest.raises(Broken):
        retrying(ENGINE, 10, doing="read")(run)
    assert len(attempts) == 1


def test_loader_errors_and_interrupts_are_never_passing() -> None:
    assert not is_passing(ENGINE, SourceError("key is NULL"))
    assert not is_passing(ENGINE, KeyboardInterrupt())
    assert is_passing(ENGINE, Broken(FaultKind.TRANSIENT))


def test_gives_up_when_the_window_closes_and_not_before() -> None:
    run, attempts = failing(10**6, FaultKind.DISCONNECTED)
    started = monotonic()
    with pytest.raises(Broken):
        retrying(ENGINE, 0.6, doing="read")(run)
    assert 0.6 <= monotonic() - started < 1.5
    assert attempts[-1] - attempts[0] >= 0.55  # the last attempt is made as the window closes
    assert 3 <= len(attempts) <= 12


def test_no_second_attempt_without_a_window() -> None:
    run, attempts = failing(1, FaultKind.TRANSIENT)
    with pytest.raises(Broken):
        retrying(ENGINE, 0, doing="read")(run)
    assert len(attempts) == 1


def test_the_window_opens_at_the_first_failure() -> None:
    attempts = 0

    def run() -> int:
        nonlocal attempts
        attempts += 1
        if attempts == 1:
            threading.Event().wait(0.5)  # longer than the window
            raise Broken(FaultKind.DISCONNECTED)
        return 1

    assert retrying(ENGINE, 0.3, doing="read")(run) == 1


def test_the_stop_event_ends_the_wait_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "FIRST_WAIT_SECONDS", 4.0)
    stop = threading.Event()
    run, attempts = failing(10**6, FaultKind.DISCONNECTED)
    threading.Timer(0.2, stop.set).start()
    started = monotonic()
    with pytest.raises(Broken):
        retrying(ENGINE, 60, stop, doing="read")(run)
    assert monotonic() - started < 1.5
    assert len(attempts) == 1  # no attempt after the stop


def test_a_stop_event_already_set_allows_one_attempt() -> None:
    stop = threading.Event()
    stop.set()
    run, attempts = failing(1, FaultKind.DISCONNECTED)
    with pytest.raises(Broken):
        retrying(ENGINE, 60, stop, doing="read")(run)
    assert len(attempts) == 1


def test_waits_double_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retry._Schedule, "sleep", lambda self, seconds: waits.append(seconds))
    run, _ = failing(9, FaultKind.TRANSIENT)
    retrying(ENGINE, 1000, doing="read")(run)
    for number, wait in enumerate(waits):
        longest = min(retry.LONGEST_WAIT_SECONDS, retry.FIRST_WAIT_SECONDS * 2**number)
        assert longest / 2 <= wait <= longest


def test_a_server_that_throttles_is_asked_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(retry._Schedule, "sleep", lambda self, seconds: waits.append(seconds))
    run, _ = failing(6, FaultKind.TRANSIENT, slow=True)
    retrying(ENGINE, 1000, doing="read")(run)
    assert len(waits) == 6
    for wait, longest in zip(waits, (5.0, 10.0, 20.0, 30.0, 30.0, 30.0), strict=True):
        assert longest / 2 <= wait <= longest


def test_throttling_keeps_to_the_window() -> None:
    run, attempts = failing(10**6, FaultKind.TRANSIENT, slow=True)
    started = monotonic()
    with pytest.raises(Broken):
        retrying(ENGINE, 0.4, doing="read")(run)
    assert 0.4 <= monotonic() - started < 1.5
    assert len(attempts) == 2  # the last one as the window closes


def test_every_retry_is_logged_once_without_values(caplog: pytest.LogCaptureFixture) -> None:
    run, _ = failing(2, FaultKind.DISCONNECTED)
    with caplog.at_level(logging.WARNING, logger="xml_extractor.engines.retry"):
        retrying(ENGINE, 10, doing="read documents")(run)
    assert len(caplog.records) == 2
    assert "read documents" in caplog.text
    assert "08006" in caplog.text
    assert "4711" not in caplog.text
