"""Reading ahead gives what reading gives, and leaves no thread behind."""

from __future__ import annotations

import gzip
import io
import threading
from pathlib import Path
from typing import IO, cast

import pytest

from xml_extractor.errors import SourceError
from xml_extractor.source import read_ahead
from xml_extractor.source.input_files import InputFile
from xml_extractor.source.read_ahead import CHUNK_BYTES, CHUNKS, reading_ahead


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "decompress" in thread.name]


class Counting(io.BytesIO):
    def __init__(self, data: bytes, fails_after: int | None = None) -> None:
        super().__init__(data)
        self.reads = 0
        self._fails_after = fails_after

    def read(self, size: int | None = -1, /) -> bytes:
        if self.reads == self._fails_after:
            raise EOFError("for the test")
        self.reads += 1
        return super().read(size)


@pytest.mark.parametrize("size", [0, 1, CHUNK_BYTES, CHUNK_BYTES * 3 + 7, CHUNK_BYTES * (CHUNKS + 5)])
def test_all_of_it_comes_in_order(size: int) -> None:
    data = bytes(number % 251 for number in range(min(size, 10_000))) * (size // 10_000 + 1)
    data = data[:size]
    with reading_ahead(io.BytesIO(data)) as content:
        found = []
        while part := content.read(40_000):
            assert len(part) <= 40_000
            found.append(part)
        assert content.read() == b""  # and so on, for ever
    assert b"".join(found) == data
    assert threads() == []


def test_no_more_is_read_ahead_than_is_meant_to() -> None:
    file = Counting(b"x" * CHUNK_BYTES * CHUNKS * 3)
    with reading_ahead(file) as content:
        content.read(1)
        for _ in range(200):
            if file.reads >= CHUNKS:
                break
            threading.Event().wait(0.05)
        assert CHUNKS <= file.reads <= CHUNKS + 2
    assert threads() == []  # although it was waiting for room
    assert file.reads <= CHUNKS + 3


def test_what_is_wrong_is_raised_where_it_is() -> None:
    with reading_ahead(Counting(b"x" * CHUNK_BYTES * 9, fails_after=2)) as content:
        assert len(content.read() + content.read()) == 2 * CHUNK_BYTES
        for _ in range(2):  # and once more for whoever asks again
            with pytest.raises(EOFError, match="for the test"):
                content.read()
    assert threads() == []


def test_without_a_thread_it_is_read_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: object) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(read_ahead.Thread, "start", refuse)
    with reading_ahead(cast("IO[bytes]", io.BytesIO(b"abc"))) as content:
        assert content.read(2) + content.read(2) == b"abc"


def read_to_the_end(file: InputFile, ahead: bool) -> None:
    with file.open(ahead=ahead) as content:
        while content.read(CHUNK_BYTES):
            pass


@pytest.mark.parametrize("damage", ["cut", "broken"])
def test_damaged_files_are_told_as_ever(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "dump.xml.gz"
    packed = gzip.compress(bytes(number * number % 256 for number in range(500_000)))
    half = len(packed) // 2
    path.write_bytes(packed[:half] if damage == "cut" else packed[:half] + b"?" * 50 + packed[half + 50 :])
    messages = []
    for ahead in (False, True):
        with pytest.raises(SourceError) as caught:
            read_to_the_end(InputFile(path), ahead)
        messages.append(str(caught.value))
    assert messages[0] == messages[1]
    assert threads() == []
