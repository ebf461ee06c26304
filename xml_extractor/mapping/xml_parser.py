"""From the content of a source row to an lxml tree, or to a reason why not.

Everything is brought to UTF-8 here and parsed as that, whatever a declaration claims: a ``str`` has been
decoded by the driver already, and ``bytes`` are decoded by their byte order mark, their zero bytes or
their declaration, in that order.  No parser ever sees a document type declaration: libxml2 (2.14 as
bundled with lxml 6.1) loads an external one although ``load_dtd`` is off, and lxml drops references to
entities that it does not know from attribute values in silence.  So the declaration is cut out before
parsing; one that declares an entity, or calls for one, sends the document to quarantine, and a reference
to anything but the five predefined entities is then an error like any other.
"""

from __future__ import annotations

import codecs
import contextlib
import re
from typing import Any, Final
from xml.parsers import expat

from lxml import etree

from xml_extractor.mapping.records import Rejection, Stage
from xml_extractor.mapping.rejection import DocumentRejected

MAX_DEPTH: Final = 256
"""Elements inside one another that libxml2 takes without its 'huge' option."""

LARGE_BYTES: Final = 16 * 2**20
"""Documents beyond this are fed to the parser in pieces."""

PIECE_BYTES: Final = 2**20

_BLANKS: Final = b" \t\r\n"
_UTF8_BOM: Final = codecs.BOM_UTF8
_DECLARATION: Final = re.compile(rb"<\?xml\s[^>]*?\bencoding\s*=\s*[\"']([A-Za-z][A-Za-z0-9._-]*)[\"']")
_IGNORED_IN_DOCTYPE: Final = re.compile(rb"<!--.*?-->|<\?.*?\?>|\"[^\"]*\"|'[^']*'", re.DOTALL)
_PROLOG_TOKEN: Final = re.compile(rb"<!--.*?-->|<\?.*?\?>|<!DOCTYPE", re.DOTALL)
_UTF8_NAMES: Final = frozenset({"utf-8", "ascii"})

_UNRESOLVED: Final = (
    "the document refers to an entity that it does not define; "
    "only lt, gt, amp, apos, quot and character references are taken"
)
_UNDEFINED_ENTITY: Final = expat.errors.codes[expat.errors.XML_ERROR_UNDEFINED_ENTITY]
_ENTITY_CODES: Final = frozenset(
    {
        etree.ErrorTypes.ERR_UNDECLARED_ENTITY,
        etree.ErrorTypes.WAR_UNDECLARED_ENTITY,
    }
)
_LIMIT_CODES: Final = frozenset(
    {
        etree.ErrorTypes.ERR_RESOURCE_LIMIT,
        etree.ErrorTypes.ERR_NAME_TOO_LONG,
        etree.ErrorTypes.ERR_COMMENT_NOT_FINISHED,
    }
)


class _EntityFound(Exception):
    """Raised inside expat as soon as a document declares an entity."""


class DocumentParser:
    """Parses one document after another; keep one a worker.  Not thread-safe."""

    def __init__(self) -> None:
        self._parser = etree.XMLParser(
            encoding="utf-8",
            resolve_entities=False,
            no_network=True,
            load_dtd=False,
            dtd_validation=False,
            attribute_defaults=False,
            huge_tree=False,
            remove_comments=True,
            remove_pis=True,
            strip_cdata=True,
            collect_ids=False,
            recover=False,
        )

    def parse(self, content: str | bytes | None, *, is_text: bool = False) -> etree._Element:
        """Return the root element.

        Args:
            content: the document as the source's driver gave it.
            is_text: whether bytes are what the source holds as text: UTF-8, whatever they declare.

        Raises:
            DocumentRejected: NULL, empty, not decodable (stage ``source``); not well-formed, an entity
                declared or unresolved, a limit exceeded (stage ``parse``).
            MemoryError: there is not enough memory for it.
        """
        if isinstance(content, str):
            try:
                data = content.encode()
            except UnicodeEncodeError as error:
                raise _refused_source(
                    "not_decodable",
                    f"the document holds half of a surrogate pair at character {error.start}; "
                    "mend the source row",
                ) from None
        elif is_text:
            data = _utf8_of_text(content)
        else:
            data = _utf8(content)
        # A first byte other than '<' is a byte order mark, blanks, or nothing at all.
        if data[:1] != b"<":
            data = _without_lead(data)
        # One that begins with a tag has none: behind the root's beginning the words are no declaration.
        if not data[1:2].isalpha() and b"<!DOCTYPE" in data:
            data = _without_doctype(data)
        try:
            if len(data) > LARGE_BYTES and (root := self._parse_in_pieces(data)) is not None:
                return root
            root = etree.fromstring(data, self._parser)
            forgiven = _forgiven(self._parser.error_log)
            if forgiven is None:
                return root
            rejection = _rejection(forgiven.type, forgiven.line, forgiven.column)
        except etree.XMLSyntaxError as error:
            # Not chained: libxml2's message can quote the document.
            number: int = error.code  # type: ignore[attr-defined]  # missing from the stubs
            if number == etree.ErrorTypes.ERR_NO_MEMORY:
                raise MemoryError from None  # the document may well be whole
            rejection = _syntax_rejection(error)
        raise DocumentRejected(rejection)

    def _parse_in_pieces(self, data: bytes) -> etree._Element | None:
        """Parse without the copy that libxml2 makes of a document that it is given whole.

        Returns None where anything is wrong with it: what that is, is told of the whole document.
        """
        parser = self._parser
        try:
            for start in range(0, len(data), PIECE_BYTES):
                parser.feed(data[start : start + PIECE_BYTES])
        except etree.XMLSyntaxError:
            with contextlib.suppress(etree.XMLSyntaxError):
                parser.close()  # which makes it ready for the next
            return None
        try:
            root: etree._Element = parser.close()
        except etree.XMLSyntaxError:
            return None
        return root if _forgiven(parser.feed_error_log) is None else None


def _refused_source(code: str, message: str) -> DocumentRejected:
    return DocumentRejected(Rejection(Stage.SOURCE, code, message))


def _refused_parse(code: str, message: str) -> DocumentRejected:
    return DocumentRejected(Rejection(Stage.PARSE, code, message))


def _forgiven(log: Any) -> Any:
    """Return the first error of a document that was parsed all the same; None where there is none.

    lxml goes by what libxml2 has to say last: a prefix that is not declared is forgiven where a warning comes
    after it, and what is captured of such a document would be no XML by itself.
    """
    if not len(log):  # asked of each document: without going through what is mostly not there
        return None
    return next((entry for entry in log if entry.level >= etree.ErrorLevels.ERROR), None)


def _syntax_rejection(error: etree.XMLSyntaxError) -> Rejection:
    line, column = error.position
    number: int = error.code  # type: ignore[attr-defined]  # missing from the stubs
    return _rejection(number, line, column)


def _rejection(number: int, line: int, column: int) -> Rejection:
    place = f"line {line}, column {column}"
    name = etree.ErrorTypes._getName(number, "unknown error")
    if number in _ENTITY_CODES:
        return Rejection(
            Stage.PARSE,
            "entity_declared",
            f"{_UNRESOLVED} ({place})",
        )
    if number in _LIMIT_CODES:
        return Rejection(
            Stage.PARSE,
            "limit_exceeded",
            f"the document exceeds a limit of the parser at {place}: elements nested deeper than "
            f"{MAX_DEPTH}, or a text, name or comment longer than 10 MB",
        )
    return Rejection(Stage.PARSE, "not_well_formed", f"not well-formed XML at {place} ({name})")


# ------------------------------------------------------------------------------------------ encodings


def _utf8_of_text(content: Any) -> bytes:
    """Return text as it is; where it is not UTF-8, what it is as bytes.

    Which of the two matters only where bytes would be taken for another encoding than UTF-8.
    """
    data = bytes(content)
    # A letter behind the first '<': no byte order mark, no declaration, and no zero byte that says anything.
    if data[:1] == b"<" and data[1:2].isalpha():
        return data
    with contextlib.suppress(DocumentRejected):
        if _encoding(data) is None:
            return data
    try:
        data.decode()
    except UnicodeDecodeError:
        return _utf8(data)
    return data


def _utf8(content: bytes | bytearray | memoryview | None) -> bytes:
    """Bring bytes of any encoding to UTF-8 (which is not verified here: the parser does)."""
    if content is None:
        raise _refused_source("null_document", "the document is NULL")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise _refused_source(
            "not_a_document",
            f"the document column gave a {type(content).__name__}; it must hold text or bytes",
        )
    data = bytes(content)
    encoding = _encoding(data)
    if encoding is None:
        return data
    try:
        return data.decode(encoding).encode()
    except (UnicodeError, LookupError):
        pass
    raise _refused_source("not_decodable", f"the document's bytes are not valid {encoding}")


def _encoding(data: bytes) -> str | None:
    """Name the encoding of bytes that are not UTF-8; ``None`` where they are, or must be taken as such."""
    head = data[:4]
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        return "utf-32"
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    if b"\0" in head:
        if head[:1] == b"\0":
            return "utf-32-be" if head[1:2] == b"\0" else "utf-16-be"
        if head[1:2] == b"\0":
            return "utf-32-le" if head[2:4] == b"\0\0" else "utf-16-le"
        return None
    if head.startswith(_UTF8_BOM):
        return None
    match = _DECLARATION.match(data.lstrip(_BLANKS) if head[:1] in (b" ", b"\t", b"\r", b"\n") else data)
    if match is None:
        return None
    declared = match[1].decode("ascii")
    try:
        codec = codecs.lookup(declared)
        is_text = getattr(codec, "_is_text_encoding", True)
    except LookupError:
        is_text = False
    if not is_text:
        raise _refused_source("unknown_encoding", "the document declares an encoding that is not known")
    # A declaration that could be read byte by byte cannot be true when it says UTF-16 or UTF-32.
    if codec.name in _UTF8_NAMES or codec.name.startswith(("utf-16", "utf-32")):
        return None
    return codec.name


def _without_lead(data: bytes) -> bytes:
    """Cut byte order marks and blanks in front of the document."""
    rest = data
    while True:
        shorter = rest.lstrip(_BLANKS).removeprefix(_UTF8_BOM)
        if len(shorter) == len(rest):
            break
        rest = shorter
    if not rest:
        raise _refused_source("empty_document", "the document is empty")
    return rest


# ------------------------------------------------------------------------------------------ doctype


def _without_doctype(data: bytes) -> bytes:
    """Cut the document type declaration, if there is one, keeping its line breaks for messages.

    expat settles where it begins and ends: it opens no file and no connection, and stops at the first
    entity that is declared.

    Raises:
        DocumentRejected: it declares an entity, calls for a parameter entity, or is not well-formed.
    """
    extent = _doctype_extent(data)
    if extent is None:
        return data  # the words stand in a comment, a CDATA section or after an error
    start, end = extent
    doctype = data[start:end]
    # In a declaration that expat has taken these four are all that can hide or fake a declaration.
    outline = _IGNORED_IN_DOCTYPE.sub(b" ", doctype)
    if b"<!ENTITY" in outline or b"%" in outline:
        raise _entity_refused()
    return data[:start] + b"\n" * doctype.count(b"\n") + data[end:]


def _entity_refused() -> DocumentRejected:
    return _refused_parse(
        "entity_declared",
        "the document declares an entity in its DOCTYPE; entities are never expanded, "
        "so the document must be written without them",
    )


def _doctype_extent(data: bytes) -> tuple[int, int] | None:
    """Return where the document type declaration starts and ends, or ``None`` where there is none."""
    start: int | None = None
    end: int | None = None
    scanner = expat.ParserCreate("utf-8")

    def on_start(*_: object) -> None:
        nonlocal start
        start = scanner.CurrentByteIndex

    def on_end() -> None:
        nonlocal end
        end = scanner.CurrentByteIndex

    def on_entity(*_: object) -> None:
        raise _EntityFound

    def on_element(*_: object) -> None:
        raise StopIteration  # the prolog is over

    scanner.StartDoctypeDeclHandler = on_start
    scanner.EndDoctypeDeclHandler = on_end
    scanner.EntityDeclHandler = on_entity
    scanner.StartElementHandler = on_element
    failed = False
    try:
        scanner.Parse(data, True)
    except _EntityFound:
        raise _entity_refused() from None
    except StopIteration:
        pass
    except expat.ExpatError as error:
        if error.code == _UNDEFINED_ENTITY:
            raise _refused_parse("entity_declared", _UNRESOLVED) from None
        failed = True
    if failed or (start is not None and end is None):
        # An error in front of the root: lxml must not be asked, it would load what a declaration names.
        raise _refused_parse(
            "not_well_formed",
            f"not well-formed XML at line {scanner.ErrorLineNumber}, column {scanner.ErrorColumnNumber + 1} "
            "(in front of the root element)",
        )
    if start is None or end is None:
        return None
    # expat reports the start at the token after the name and identifiers ('[' or '>'), so the keyword is
    # the first one in front of it that does not stand in a comment or processing instruction.
    for match in _PROLOG_TOKEN.finditer(data, 0, start):
        if match[0] == b"<!DOCTYPE":
            return match.start(), end + 1  # expat's end is the closing '>'
    raise _refused_parse("not_well_formed", "not well-formed XML (in front of the root element)")
