"""Reads the documents of chunks ahead of the workers that map them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from xml_extractor.mapping.records import Key, SourceDocument
from xml_extractor.processing.channel import Channel
from xml_extractor.processing.chunks import Chunk
from xml_extractor.processing.pipeline_state import PipelineState, PipelineStopped
from xml_extractor.source.reader import DocumentSlice, SourceReader, document_bytes
from xml_extractor.threads import Thread


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
        self.thread = Thread(self._run, name="xml-extractor-fetcher")
        state.on_end(reader.abort)

    def _run(self) -> None:
        try:
            self._reader.open()
            while (chunk := self._next_chunk()) is not None:
                for slice_ in fetch(self._reader, chunk):
                    self._fetched.put(slice_, slice_.size_bytes)
                    del slice_  # not kept while the next one is read
            self._fetched.close()
        except PipelineStopped:
            pass
        except BaseException as error:  # noqa: BLE001 - whatever it is, the pipeline must hear of it
            self._state.fail(error)
        finally:
            self._reader.close()


def fetch(reader: SourceReader, chunk: Chunk) -> Iterator[FetchedDocuments]:
    """Read the documents of a chunk, slice by slice, each when it is asked for, and keep none of them."""
    return map(partial(_of_chunk, chunk), reader.slices(chunk.keys))


def _of_chunk(chunk: Chunk, slice_: DocumentSlice) -> FetchedDocuments:
    return FetchedDocuments(chunk, slice_.documents, slice_.vanished, slice_.is_last)
