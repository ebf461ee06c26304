from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from lxml import etree

from xml_extractor.mapping.document_hash import document_hash
from xml_extractor.mapping.records import Rejection, SourceDocument, Stage
from xml_extractor.mapping.rejection import DocumentRejected
from xml_extractor.mapping.xml_parser import LARGE_BYTES, MAX_DEPTH, DocumentParser


def parsed(content: str | bytes | None) -> str:
    return etree.tostring(DocumentParser().parse(content), encoding="unicode")


def refused(content: str | bytes | None) -> Rejection:
    with pytest.raises(DocumentRejected) as caught:
        DocumentParser().parse(content)
    rejection = caught.value.rejection
    assert "SECRET" not in rejection.message
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__
    return rejection


# ------------------------------------------------------------------------------------------ encodings


@pytest.mark.parametrize("declared", ["utf-16", "UTF-16LE", "utf-8", "iso-8859-1", "bogus", "ucs-4"])
def test_text_is_read_whatever_it_declares(declared: str) -> None:
    assert (
        parsed(f'<?xml version="1.0" encoding="{declared}"?><a>žluťoučký 漢字 🎵</a>')
        == "<a>žluťoučký 漢字 🎵</a>"
    )


@pytest.mark.parametrize(
    ("encoding", "declaration"),
    [
        ("utf-8", ""),
        ("utf-8-sig", ""),
        ("utf-8", '<?xml version="1.0" encoding="utf-8"?>'),
        ("utf-8", '<?xml version="1.0" encoding="utf-16"?>'),  # exported from nvarchar: plainly wrong
        ("utf-16", ""),
        ("utf-16", '<?xml version="1.0" encoding="utf-16"?>'),
        ("utf-16", '<?xml version="1.0" encoding="utf-8"?>'),
        ("utf-16-le", ""),
        ("utf-16-le", '<?xml version="1.0" encoding="utf-16"?>'),
        ("utf-16-be", ""),
        ("utf-16-be", "  \n"),
        ("utf-32", ""),
        ("utf-32-le", ""),
        ("utf-32-be", ""),
        ("iso-8859-1", '<?xml version="1.0" encoding="iso-8859-1"?>'),
        ("cp1252", '<?xml version="1.0" encoding="windows-1252" standalone="yes"?>'),
        ("cp1252", "\r\n<?xml version='1.0' encoding='windows-1252'?>"),
    ],
)
def test_bytes_are_read_in_their_encoding(encoding: str, declaration: str) -> None:
    assert parsed(f"{declaration}<a>Ünïcödé</a>".encode(encoding)) == "<a>Ünïcödé</a>"


@pytest.mark.parametrize("lead", ["\ufeff", " \r\n\t", "\ufeff \n", "\n\ufeff", "\ufeff\ufeff"])
def test_byte_order_marks_and_blanks_may_lead(lead: str) -> None:
    document = lead + '<?xml version="1.0"?><a>é</a>'
    assert parsed(document) == "<a>é</a>"
    assert parsed(document.encode()) == "<a>é</a>"


def test_memoryview_is_bytes() -> None:
    assert parsed(memoryview(b"<a/>")) == "<a/>"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (None, "null_document"),
        ("", "empty_document"),
        (b"", "empty_document"),
        (" \r\n\t ", "empty_document"),
        ("\ufeff", "empty_document"),
        (b"\xff\xfe", "empty_document"),
        ("<a>\ud800</a>", "not_decodable"),
        (b"\xff\xfe<\x00a\x00/\x00>", "not_decodable"),  # half a UTF-16 unit
        ('<?xml version="1.0" encoding="cp1252"?><a>\x81</a>'.encode("latin-1"), "not_decodable"),
        (b'<?xml version="1.0" encoding="klingon"?><a/>', "unknown_encoding"),
        (b'<?xml version="1.0" encoding="rot13"?><a/>', "unknown_encoding"),
        (17, "not_a_document"),
    ],
)
def test_content_that_is_no_text_is_refused_as_source(content: str | bytes | None, code: str) -> None:
    rejection = refused(content)
    assert (rejection.stage, rejection.code) == (Stage.SOURCE, code)


# ------------------------------------------------------------------------------------------ well-formedness


@pytest.mark.parametrize(
    "content",
    [
        "<a>SECRET",
        "<a><b>SECRET</a>",
        "<a>SECRET</a>trailing SECRET",
        "<a/><b/>",
        "<a>SECRET\0</a>",
        b"<a>\0</a>",
        "no XML at all: SECRET",
        "<a b='SECRET' b='SECRET'/>",
        "<SECRET></b>",
        "<p:a>unbound</p:a>",
        b"<a>\xff\xfe SECRET</a>",
        "<a>&#1;</a>",
        "<?xml version='1.0'",
        "<!doctype a><a/>",
        "<![CDATA[x]]>",
        "junk <!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ELEMENT a (SECRET)",
        "<!DOCTYPE a><!DOCTYPE b><a/>",
    ],
)
def test_not_well_formed(content: str | bytes) -> None:
    rejection = refused(content)
    assert (rejection.stage, rejection.code) == (Stage.PARSE, "not_well_formed")
    assert "line" in rejection.message


def test_a_parser_that_refused_goes_on_with_the_next() -> None:
    parser = DocumentParser()
    for _ in range(3):
        with pytest.raises(DocumentRejected):
            parser.parse("<a>")
        assert parser.parse("<a>1</a>").text == "1"


def test_cdata_comments_and_instructions_leave_one_text() -> None:
    root = DocumentParser().parse("<a>x<!-- no --><![CDATA[<&>]]><?pi no?>y<b/>z</a>")
    assert root.text == "x<&>y"
    assert [child.tag for child in root] == ["b"]
    assert "".join(map(str, root.itertext())) == "x<&>yz"


# ------------------------------------------------------------------------------------------ limits


def test_depth_limit() -> None:
    def nested(depth: int) -> str:
        return "<a>" * depth + "</a>" * depth

    assert parsed(nested(MAX_DEPTH))
    assert refused(nested(MAX_DEPTH + 1)).code == "limit_exceeded"
    assert refused(nested(100_000)).code == "limit_exceeded"


@pytest.mark.parametrize(
    "template", ["<a>{}</a>", '<a b="{}"/>', "<a><![CDATA[{}]]></a>", "<a><!--{}--></a>"]
)
def test_length_limit(template: str) -> None:
    rejection = refused(template.format("x" * 10_000_100))
    assert (rejection.stage, rejection.code) == (Stage.PARSE, "limit_exceeded")


def test_ten_megabytes_of_text_are_taken() -> None:
    root = DocumentParser().parse(f"<a>{'x' * 9_999_999}</a>")
    assert len(root.text or "") == 9_999_999


# ------------------------------------------------------------------------------------------ entities


def laughs() -> str:
    levels = "".join(f'<!ENTITY l{i} "{f"&l{i - 1};" * 10}">' for i in range(1, 12))
    return f'<!DOCTYPE a [<!ENTITY l0 "lol">{levels}]><a>&l11;</a>'


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-16-le", "utf-32", "utf-7", "cp500"])
@pytest.mark.parametrize(
    "document",
    [
        '<!DOCTYPE a [<!ENTITY e "SECRET">]><a/>',
        '<!DOCTYPE a [<!ENTITY e "SECRET">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY e "SECRET">]><a b="&e;"/>',
        '<!DOCTYPE a [<!ENTITY e SYSTEM "file:///SECRET">]><a>&e;</a>',
        '<!DOCTYPE a [<!ENTITY e PUBLIC "p" "file:///SECRET">]><a/>',
        '<!DOCTYPE a [<!NOTATION n SYSTEM "n"><!ENTITY e SYSTEM "x" NDATA n>]><a/>',
        '<!DOCTYPE a [<!ENTITY % p "<!ELEMENT a ANY>"> %p;]><a/>',
        '<!DOCTYPE a [<!ENTITY % p SYSTEM "file:///SECRET"> %p;]><a/>',
        "<!DOCTYPE a [ %p; ]><a/>",
        '<!DOCTYPE a [ %p; <!ENTITY e "SECRET"> ]><a/>',
        '<!DOCTYPE a [<!ENTITY amp "&#38;#38;">]><a/>',
        laughs(),
    ],
)
def test_entity_declarations_are_refused(document: str, encoding: str) -> None:
    if encoding in ("utf-7", "cp500"):
        document = f'<?xml version="1.0" encoding="{encoding}"?>' + document
        content: str | bytes = document.encode(encoding)
        if encoding == "cp500":  # nothing says what it is: refused, whatever the reason
            assert refused(content).stage is Stage.PARSE
            return
        # A declaration in UTF-7 has to be readable as ASCII.
        head, _, rest = document.partition("?>")
        content = f"{head}?>".encode() + rest.encode("utf-7")
    else:
        content = document.encode(encoding)
    assert refused(content).code == "entity_declared"
    assert refused(document).code == "entity_declared"


@pytest.mark.parametrize(
    "document",
    [
        "<a>&SECRET;</a>",
        "<a b='&SECRET;'/>",
        "<!DOCTYPE a><a>&SECRET;</a>",
        "<!DOCTYPE a><a b='1&SECRET;2'/>",
        '<!DOCTYPE a SYSTEM "x.dtd"><a b="1&SECRET;2"/>',
        '<!DOCTYPE a PUBLIC "-//x" "x.dtd"><a>&SECRET;</a>',
        '<!DOCTYPE a SYSTEM "x<!DOCTYPE y" []><a>&nbsp;</a>',
    ],
)
def test_unresolved_references_are_refused(document: str) -> None:
    assert refused(document).code == "entity_declared"
    assert refused(document.encode("utf-16")).code == "entity_declared"


def test_external_dtd_is_never_read(tmp_path: Path) -> None:
    dtd = tmp_path / "leak.dtd"
    dtd.write_text('<!ENTITY e "SECRET"><!ATTLIST a b CDATA "SECRET">', encoding="utf-8")
    url = dtd.as_uri()
    assert refused(f'<!DOCTYPE a SYSTEM "{url}"><a b="&e;"/>').code == "entity_declared"
    assert refused(f'<!DOCTYPE a SYSTEM "{url}"><a>&e;</a>').code == "entity_declared"
    assert parsed(f'<!DOCTYPE a SYSTEM "{url}"><a/>') == "<a/>"
    second = f'<!DOCTYPE a><!DOCTYPE a SYSTEM "{url}"><a b="&e;"/>'
    assert refused(second).code == "not_well_formed"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_external_dtd_that_blocks_does_not_hang(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe.dtd"
    os.mkfifo(pipe)  # to open it for reading would block for ever
    assert parsed(f'<!DOCTYPE a SYSTEM "{pipe.as_uri()}"><a/>') == "<a/>"


@pytest.mark.parametrize(
    "document",
    [
        "<!DOCTYPE a><a>1</a>",
        '<?xml version="1.0"?>\n<!-- <!DOCTYPE b [<!ENTITY e "x">]> -->\n<!DOCTYPE a>\n<a>1</a>',
        '<?pi <!DOCTYPE b ?><!DOCTYPE a SYSTEM "a>b.dtd"><a>1</a>',
        "<!DOCTYPE a PUBLIC '-//x' 'x<!DOCTYPE'><a>1</a>",
        '<!DOCTYPE a [<!ELEMENT a ANY><!ATTLIST a b CDATA "]>">]  ><a>1</a>',
        '<!DOCTYPE a [<!-- <!ENTITY e "x"> %p; ]> --><?pi <!ENTITY ?>]><a>1</a>',
        "<!DOCTYPE a [<!ELEMENT a (#PCDATA)><!ATTLIST a b CDATA 'ENTITY 100%'>]><a>1</a>",
    ],
)
def test_a_bare_doctype_is_harmless(document: str) -> None:
    assert parsed(document) == "<a>1</a>"
    assert parsed(document.encode("utf-16")) == "<a>1</a>"


def test_doctype_in_content_is_text() -> None:
    assert DocumentParser().parse('<a><![CDATA[<!DOCTYPE a [<!ENTITY e "x">]>]]></a>').text == (
        '<!DOCTYPE a [<!ENTITY e "x">]>'
    )


def test_lines_are_counted_across_the_doctype() -> None:
    assert "line 4," in refused("<!DOCTYPE a [\n<!ELEMENT a ANY>\n]>\n<a><b></a>").message


def test_hostile_documents_are_refused_at_once() -> None:
    started = time.perf_counter()
    refused(laughs())
    refused(laughs().replace("&l11;", ""))
    quadratic = f'<!DOCTYPE a [<!ENTITY e "{"x" * 100_000}">]><a>{"&e;" * 100_000}</a>'
    refused(quadratic)
    refused("<!DOCTYPE a [" + "<!-- -->" * 100_000)
    refused("<" * 1_000_000)
    assert time.perf_counter() - started < 5


# ------------------------------------------------------------------------------------------ text as bytes

HEADS = [
    "", "\ufeff", " ", "\n\ufeff ", "<?xml version='1.0'?>", "<?xml version='1.0' encoding='utf-8'?>",
    "<?xml version='1.0' encoding='utf-16'?>", "<?xml version='1.0' encoding='iso-8859-1'?>",
    "<?xml version='1.0' encoding='bogus'?>", "\r\n<?xml version='1.0' encoding='windows-1252'?>", "\0",
    "<\0", "<!DOCTYPE a [<!ENTITY x 'y'>]>", "<?xml version='1.0' encoding='latin1'?><!DOCTYPE a>",
    "<!-- -->",
]  # fmt: skip
BODIES = ["", "<a/>", "<a>é漢🎵</a>", "<é/>", "<a\0/>", "<a>", "<a>&x;</a>", "text"]
TAILS = [b"", b"\xff", b"\xed\xa0\x80", b"\xc3"]


def outcome(content: str | bytes | None, *, is_text: bool = False) -> str | Rejection:
    try:
        return etree.tostring(DocumentParser().parse(content, is_text=is_text), encoding="unicode")
    except DocumentRejected as error:
        return error.rejection


@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("body", BODIES)
@pytest.mark.parametrize("head", HEADS)
def test_bytes_of_a_text_are_taken_as_the_text_is(head: str, body: str, tail: bytes) -> None:
    """A source may give a text as its bytes: rows and hash are those of the text, so that what the ledger
    recorded of it when it was read as text holds."""
    raw = (head + body).encode()
    raw = raw.replace(b"</a>", tail + b"</a>") if b"</a>" in raw else raw + tail
    try:
        decoded: str | bytes = raw.decode()
    except UnicodeDecodeError:
        decoded = raw
    assert outcome(raw, is_text=True) == outcome(decoded)
    assert document_hash(SourceDocument(1, raw, is_text=True)) == document_hash(SourceDocument(1, decoded))
    assert document_hash(SourceDocument(1, raw, ("x",), True)) == document_hash(
        SourceDocument(1, decoded, ("x",))
    )


@pytest.mark.parametrize(
    "document",
    [
        "<a>" + "<b c='1'>é &amp; <![CDATA[<]]></b>" * 90 + "</a>",
        "<a>" + "<b>" * 300 + "</b>" * 300 + "</a>",
        "<a>" + "x" * 1000 + "</b>", "<a>" + "x" * 1000, "<a>" + "x" * 1000 + "&nope;</a>",
        "<a>" + "<p:b/>" * 100 + "</a>", "<a/>" + "<!-- x -->" * 100, "<a/>" + " " * 1000 + "<b/>",
        "x" * 1000,
        "<?xml version='1.0' encoding='latin1'?><!DOCTYPE a>\n<a>" + "é" * 1000 + "</a>",
        "<a>" + "\x01" * 1000 + "</a>", "<a>" + "<?p x?>y<!-- z -->" * 100 + "</a>",
    ],
)  # fmt: skip
@pytest.mark.parametrize("piece", [1, 7, 64])
def test_large_documents_in_pieces_are_what_they_are_whole(
    document: str, piece: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = outcome(document)
    monkeypatch.setattr("xml_extractor.mapping.xml_parser.LARGE_BYTES", 500)
    monkeypatch.setattr("xml_extractor.mapping.xml_parser.PIECE_BYTES", piece)
    parser = DocumentParser()
    for _ in range(2):  # and the parser is as good as new afterwards
        try:
            found: str | Rejection = etree.tostring(parser.parse(document), encoding="unicode")
        except DocumentRejected as error:
            found = error.rejection
        assert found == whole
        assert etree.tostring(parser.parse("<ok/>")) == b"<ok/>"


@pytest.mark.parametrize("large_bytes", [1, LARGE_BYTES], ids=["in pieces", "at once"])
def test_an_undeclared_prefix_is_refused_whatever_the_parser_says_after_it(
    large_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """lxml itself forgives an error after which there comes a warning."""
    monkeypatch.setattr("xml_extractor.mapping.xml_parser.LARGE_BYTES", large_bytes)
    parser = DocumentParser()
    warned = "<r><b xml:space='odd'/></r>"
    for _ in range(2):
        for content in ("<r><a p:k='1'/></r>", "<r><a p:k='1'/><b xml:space='odd'/></r>"):
            with pytest.raises(DocumentRejected) as caught:
                parser.parse(content)
            assert caught.value.rejection.code == "not_well_formed"
            assert caught.value.rejection.message == (
                "not well-formed XML at line 1, column 14 (NS_ERR_UNDEFINED_NAMESPACE)"
            )
        assert parser.parse(warned).tag == "r"
