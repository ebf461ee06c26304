"""Splits a dump into its records, streaming: one chunk and one record in memory at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, cast

from lxml import etree

from xml_extractor.contract.plan import fold_name
from xml_extractor.errors import SourceError
from xml_extractor.source.read_ahead import CHUNK_BYTES, Readable

Events = Iterator[tuple[str, Any]]  # the second is an element; the published stubs say otherwise

MAX_RECORD_BYTES: Final = 512 * 2**20
"""What one record may be in the file, as for a file that is one document: a small archive can hold one
that no memory would."""

_PROLOG_BYTES: Final = 2**20
"""How far the root element is looked for: declaration, comments and DOCTYPE are shorter than this."""

_OPTIONS: Final[dict[str, Any]] = {
    # Nothing is expanded, loaded or fetched.  huge_tree stays off: a record deeper than 256 elements or
    # with a text beyond 10 MB would be quarantined when it is loaded, and without these limits a hostile
    # file could exhaust memory.
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "dtd_validation": False,
    "huge_tree": False,
}


@dataclass(frozen=True, slots=True)
class Root:
    """What stands at the beginning of an XML file."""

    tag: str  # Clark name
    has_entities: bool  # its DOCTYPE declares entities, or refers to a file that may


def read_root(content: Readable) -> Root | None:
    """Return what the root element is, or ``None`` where the beginning cannot be parsed."""
    parser = etree.XMLPullParser(events=("start",), **_OPTIONS)
    done = 0
    try:
        while done < _PROLOG_BYTES and (chunk := content.read(CHUNK_BYTES)):
            done += len(chunk)
            error: etree.XMLSyntaxError | None = None
            try:
                parser.feed(chunk)
            except etree.XMLSyntaxError as caught:
                error = caught
            for _, element in cast(Events, parser.read_events()):
                info: Any = element.getroottree().docinfo
                subset = info.internalDTD
                declared = subset is not None and any(True for _ in subset.iterentities())
                return Root(element.tag, declared or bool(info.system_url or info.public_id))
            if error is not None:
                return None
    except etree.XMLSyntaxError:
        return None
    return None


def read_broken_tree(data: bytes) -> etree._Element | None:
    """Return as much of a document as can be parsed, for finding its key; ``None`` where nothing can."""
    parser = etree.XMLParser(recover=True, **_OPTIONS)
    try:
        root: etree._Element | None = etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None
    return root


def serialize(element: etree._Element) -> str:
    """Return an element as a document of its own: with the namespaces it inherits, without its tail."""
    return etree.tostring(element, encoding="unicode", with_tail=False)


def split_records(
    content: Readable, name: str, root: Root, record: str, *, ignore_case: bool
) -> Iterator[etree._Element]:
    """Yield the record elements below a dump's root; each is emptied when the next one is asked for.

    Of records within records only the outermost are found.

    Args:
        name: the file in words, for messages.
        root: what :func:`read_root` says of the same content.
        record: Clark name of the record element; folded with ``ignore_case``.

    Raises:
        SourceError: the dump is not well-formed or has a record beyond :data:`MAX_RECORD_BYTES` (records
            before the place have been yielded), has entities, or holds no such record.
    """
    if root.has_entities:
        raise SourceError(
            f"{name} has a DOCTYPE that declares entities or refers to a file that may; they are never "
            "expanded. Expand them first (xmllint --noent --dropdtd) if you trust where the file comes from"
        )
    # With a filter on names lxml makes no Python object of any other element.
    tags = None if ignore_case else (record, root.tag)
    parser = etree.XMLPullParser(events=("start", "end"), tag=tags, **_OPTIONS)
    top: Any = None
    depth = records = held = 0
    has_ended = False
    error: str | None = None
    while error is None:
        chunk = content.read(CHUNK_BYTES)
        held += len(chunk)
        try:
            if chunk:
                parser.feed(chunk)
            else:
                parser.close()
        except etree.XMLSyntaxError as caught:
            error = _place(parser) or f"line {caught.position[0]}, column {caught.position[1]}"
        else:
            # Of some errors, such as a prefix without a namespace, lxml says nothing before the end.
            error = _place(parser)
        for event, element in cast(Events, parser.read_events()):
            if top is None:
                top = element
                continue
            tag = element.tag
            if element is top:
                has_ended = event == "end"
                continue
            if not isinstance(tag, str) or (fold_name(tag) if ignore_case else tag) != record:
                continue
            if event == "start":
                depth += 1
                continue
            depth -= 1
            if depth == 0:
                records += 1
                yield element
                # Its tail stays: libxml2 may be about to add to it.
                element.clear(keep_tail=True)
                held = 0
        if not chunk:
            break
        if depth == 0 and top is not None and not has_ended:
            _drop_complete(top)
            held = 0
        if held > MAX_RECORD_BYTES:
            what = "more behind its root element" if has_ended else "a record that is larger"
            raise SourceError(
                f"{name} holds {what} than {MAX_RECORD_BYTES // 2**20} MiB, after {records} complete "
                "record(s); take it out, if it is none of yours"
            )
    if error is not None:
        raise SourceError(
            f"{name} is not well-formed at {error}, after {records} complete record(s); mend or download it "
            "again: staging it again leaves out what is staged already"
        )
    if records == 0:
        raise SourceError(
            f"{name} holds no element {record} (its root element is {root.tag}): check stage.record and "
            "document.root in the contract"
        )


def _place(parser: Any) -> str | None:
    """Say where the first error is and what kind it is; ``None`` = no error so far."""
    for entry in parser.feed_error_log:
        if entry.level >= etree.ErrorLevels.ERROR:
            # Not the message, which can quote the document.
            return f"line {entry.line}, column {entry.column} ({entry.type_name})"
    return None


def _drop_complete(top: etree._Element) -> None:
    """Drop all elements that are complete: all but those that the last one is nested in."""
    element = top
    while len(element):
        del element[:-1]
        element = element[-1]
