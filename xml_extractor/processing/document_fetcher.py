"""Reads the documents of chunks ahead of the workers that map them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from xml_extractor.mapping.records import Key, SourceDocument
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.source.reader import SourceReader
from xml_extractor.threads import Thread

FETCH_BYTES = 4 * 2**20
"""Documents are fetched in slices of about this size, so that what is in memory is bounded in bytes."""

FIRST_FETCH_DOCUMENTS = 8
"""The first slice, before anything is known of the size of documents."""


@dataclass(frozen=True, slots=True)
class FetchedDocuments:
    """Documents of one chunk, all or a slice of them."""

    chunk: Chunk
    documents: list[SourceDocument]
    vanished: tuple[Key, ...]  # keys of this slice that are no longer in the source
    is_last: bool  # whether the chunk is complete with this slice

    @property
    def size_bytes(self) -> int:
        """The documents' size as text or bytes."""
        return sum(map(document_bytes, self.documents))


class DocumentFetcher:
    """A thread that fetches documents by key and hands them over through a bounded channel.

    Args:
        reader: opened and closed by the fetcher's own thread.
        next_chunk: returns the next chunk, waiting for it; ``None`` at the end.
        fetched: where the documents go; closed at the end.
    """

    def __init__(
        self,
        reader: SourceReader,
        next_chunk: Callable[[], Chunk | None],
        fetched: Channel[FetchedDocuments],
        state: PipelineState,
    ) -> None:
        self._reader = reader
        self._next_chunk = next_chunk
        self._fetched = fetched
        self._state = state
        self._slices = Slices(reader)
        self.thread = Thread(self._run, name="xml-extractor-fetcher")
        state.on_end(reader.abort)

    def _run(self) -> None:
        try:
            self._reader.open()
            while (chunk := self._next_chunk()) is not None:
                for slice_ in self._slices.of(chunk):
                    self._fetched.put(slice_, slice_.size_bytes)
            self._fetched.close()
        except PipelineStopped:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            self._reader.close()


class Slices:
    """Reads chunks in slices of about :data:`FETCH_BYTES`.  For one thread at a time."""

    def __init__(self, reader: SourceReader) -> None:
        self._reader = reader
        self._mean_bytes = FETCH_BYTES / FIRST_FETCH_DOCUMENTS

    def of(self, chunk: Chunk) -> Iterator[FetchedDocuments]:
        """Read the documents of a chunk, slice by slice, each when it is asked for."""
        keys = chunk.keys
        start = 0
        while start < len(keys):
            wanted = keys[start : start + max(1, int(FETCH_BYTES / self._mean_bytes))]
            start += len(wanted)
            documents = self._reader.documents(wanted)
            vanished: tuple[Key, ...] = ()
            if len(documents) < len(wanted):
                present = {document.key for document in documents}
                vanished = tuple(key for key in wanted if key not in present)
            slice_ = FetchedDocuments(chunk, documents, vanished, start >= len(keys))
            if documents:
                # The mean leans to what came last, so that a stretch of large documents is noticed.
                self._mean_bytes = max(1.0, (self._mean_bytes + slice_.size_bytes / len(documents)) / 2)
            yield slice_


def document_bytes(document: SourceDocument) -> int:
    """Return about how much memory a document takes: exact for bytes, its characters for text."""
    return len(document.content or "")
