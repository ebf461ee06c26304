"""Decompresses a file ahead of the parser that splits it, in a thread of its own."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Final, Protocol

from xml_extractor.threads import Thread

CHUNK_BYTES: Final = 65_536
CHUNKS: Final = 64
"""Chunks that wait for the parser: 4 MiB."""


class Readable(Protocol):
    """What can be read."""

    def read(self, size: int = ..., /) -> bytes:
        """Return up to ``size`` bytes, ``b""`` at the end."""
        ...


@contextmanager
def reading_ahead(content: IO[bytes]) -> Iterator[Readable]:
    """Read a file ahead within the ``with`` block; without a thread to do it, when it is asked for."""
    ahead = ReadAhead(content)
    try:
        ahead.start()
    except (RuntimeError, MemoryError):
        yield content
        return
    try:
        yield ahead
    finally:
        ahead.close()


class ReadAhead:
    """A file that is read in a thread, while whoever calls :meth:`read` is busy with what came before.

    Decompressing and parsing both let go of Python's lock while they are at it.  For one thread.

    Args:
        content: open for reading; read by the thread alone from :meth:`start` to :meth:`close`.
    """

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self._chunks: queue.Queue[bytes | BaseException] = queue.Queue(CHUNKS)
        self._stopped = threading.Event()
        self._left: bytes | BaseException = b""
        self._has_ended = False
        self._thread = Thread(self._run, name="xml-extractor-decompress")

    def start(self) -> None:
        """Begin to read.

        Raises:
            RuntimeError, MemoryError: the system gives no thread.
        """
        self._thread.start()

    def close(self) -> None:
        """End the thread, whatever it is at; the file is the caller's again."""
        self._stopped.set()
        # The thread may wait for room: with some, it puts one chunk more and sees that it is to end.
        while not self._chunks.empty():
            self._chunks.get_nowait()
        self._thread.join()

    def read(self, size: int = CHUNK_BYTES, /) -> bytes:
        """Return up to ``size`` bytes (one chunk at most), ``b""`` at the end.

        Raises:
            Exception: what reading the file raised, at the place where it did.
        """
        if not self._left and not self._has_ended:
            self._left = self._chunks.get()
        if isinstance(self._left, BaseException):
            raise self._left
        self._has_ended = self._has_ended or not self._left
        taken, self._left = self._left[:size], self._left[size:]
        return taken

    def _run(self) -> None:
        try:
            while not self._stopped.is_set():
                chunk = self._content.read(CHUNK_BYTES)
                self._chunks.put(chunk)
                if not chunk:
                    return
        except BaseException as error:  # noqa: BLE001 - whoever reads is to get it
            self._chunks.put(error)
