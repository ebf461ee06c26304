"""Who watches a load is ended, whatever happens before it has begun."""

from __future__ import annotations

import threading

import pytest

from xml_extractor.operations.live import live_observers
from xml_extractor.settings import Settings


def test_a_console_that_has_gone_leaves_no_open_port() -> None:
    def say(_: str) -> None:
        raise BrokenPipeError

    with pytest.raises(BrokenPipeError), live_observers(Settings(metrics_port=0), "loan", say):
        raise AssertionError("the load must not begin")
    assert "metrics-server" not in {thread.name for thread in threading.enumerate()}
