"""A bounded hand-over between threads that a failure on either side can wake."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeVar

from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped

T = TypeVar("T")


class Channel(Generic[T]):
    """A first-in-first-out queue bounded in items and in bytes.

    The standard library's queue cannot be closed (before Python 3.13), cannot be bounded in bytes and
    cannot wake a producer whose consumer has died; this one can do all three.  One item larger than the
    whole byte bound is let in when the channel is empty, so that it passes instead of waiting for ever.
    Thread-safe.
    """

    def __init__(self, state: PipelineState, capacity_items: int, capacity_bytes: int) -> None:
        self._capacity_items = capacity_items
        self._capacity_bytes = capacity_bytes
        self._items: deque[tuple[T, int]] = deque()
        self._bytes = 0
        self._closed = False
        self._state = state
        lock = threading.Lock()
        self._not_full = threading.Condition(lock)
        self._not_empty = threading.Condition(lock)
        state.on_end(self._wake_all)

    def put(self, item: T, size_bytes: int = 0) -> None:
        """Add an item, waiting while the channel is full.

        Raises:
            PipelineStopped: the pipeline has ended; the item was not added.
        """
        with self._not_full:
            while not self._state.ended.is_set() and self._is_full(size_bytes):
                self._not_full.wait()
            if self._state.ended.is_set():
                raise PipelineStopped
            self._items.append((item, size_bytes))
            self._bytes += size_bytes
            self._not_empty.notify()

    def get(self) -> T | None:
        """Take the oldest item, waiting for one; ``None`` once the channel is closed and empty.

        Raises:
            PipelineStopped: the pipeline has ended.
        """
        with self._not_empty:
            while not self._state.ended.is_set() and not self._items and not self._closed:
                self._not_empty.wait()
            if self._state.ended.is_set():
                raise PipelineStopped
            return self._pop() if self._items else None

    def get_nowait(self) -> T | None:
        """Take the oldest item if there is one."""
        with self._not_empty:
            return self._pop() if self._items else None

    def put_back(self, items: Sequence[T]) -> None:
        """Put items that were taken in front of all others, however full the channel is, closed or not."""
        with self._not_empty:
            self._items.extendleft((item, 0) for item in reversed(items))
            self._not_empty.notify_all()

    def close(self) -> None:
        """Say that nothing more will be put; whoever waits for an item is woken."""
        with self._not_empty:
            self._closed = True
            self._not_empty.notify_all()

    def _pop(self) -> T:
        item, size_bytes = self._items.popleft()
        self._bytes -= size_bytes
        # All producers: one may be waiting for more room than another.
        self._not_full.notify_all()
        return item

    def _is_full(self, size_bytes: int) -> bool:
        return bool(self._items) and (
            len(self._items) >= self._capacity_items or self._bytes + size_bytes > self._capacity_bytes
        )

    def _wake_all(self) -> None:
        with self._not_empty:
            self._not_empty.notify_all()
            self._not_full.notify_all()
