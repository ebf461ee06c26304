from __future__ import annotations

import io
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from lxml import etree

from xml_extractor.errors import SourceError
from xml_extractor.source import record_splitter
from xml_extractor.source.record_splitter import read_root, serialize, split_records


def split(data: bytes, record: str = "r", *, ignore_case: bool = False) -> Iterator[str]:
    root = read_root(io.BytesIO(data))
    assert root is not None
    for element in split_records(io.BytesIO(data), "dump.xml", root, record, ignore_case=ignore_case):
        yield serialize(element)


@pytest.fixture(params=[1, 7, 65_536])
def _chunks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record_splitter, "CHUNK_BYTES", request.param)


@pytest.mark.usefixtures("_chunks")
def test_records_come_whole_and_in_order() -> None:
    data = (
        b"<?xml version='1.0'?><!-- made today --><dump>text<header><x/></header>"
        b"<r id='1'>a<b>c</b>d<!--n--><?p i?></r>tail<r id='2'/> "
        b"<group><r id='3'>&#13;&lt;\xc3\xa9</r></group>"
        b"<footer/></dump>"
    )
    assert list(split(data)) == [
        '<r id="1">a<b>c</b>d<!--n--><?p i?></r>',
        '<r id="2"/>',
        '<r id="3">&#13;&lt;é</r>',
    ]


@pytest.mark.usefixtures("_chunks")
def test_every_record_is_what_a_parser_of_the_whole_finds() -> None:
    data = b"<d>" + b"".join(
        f"<skip>{'s' * (i % 50)}</skip><r n='{i}'><t>{'x' * i}</t>é{i}</r>\n".encode() for i in range(300)
    )
    data += b"</d>"
    wanted = [serialize(element) for element in etree.fromstring(data).findall("r")]
    assert list(split(data)) == wanted


def test_only_outermost_records_are_found() -> None:
    assert list(split(b"<d><r><r/><r/></r><r/></d>")) == ["<r><r/><r/></r>", "<r/>"]


def test_a_root_of_the_records_name_is_not_a_record() -> None:
    assert list(split(b"<r><r>1</r><r>2</r></r>")) == ["<r>1</r>", "<r>2</r>"]


def test_inherited_namespaces_go_with_the_record() -> None:
    (text,) = split(b'<d xmlns="urn:a" xmlns:p="urn:p"><r p:k="1"><p:x/></r></d>', "{urn:a}r")
    root = etree.fromstring(text)
    assert root.tag == "{urn:a}r"
    assert root.get("{urn:p}k") == "1"
    assert root[0].tag == "{urn:p}x"


def test_names_that_ignore_case() -> None:
    assert list(split(b"<D><R/><r>1</r><q/></D>", ignore_case=True)) == ["<R/>", "<r>1</r>"]


def test_other_encodings() -> None:
    data = '<?xml version="1.0" encoding="UTF-16"?><d><r>Ω𠮷</r></d>'.encode("utf-16")
    assert list(split(data)) == ["<r>Ω𠮷</r>"]


@pytest.mark.parametrize(
    ("data", "place"),
    [
        (b"<d>\n<r>1</r>\n<r>2</r><r></q></d>", "line 3"),
        (b"<d>\n<r>1</r>\n<r>2</r>\n<r>", "line 4"),
        (b"<d><r>1</r><r>2</r>\n\n<r>&nope;</r></d>", "line 3"),
        (b"<d><r>1</r><r>2</r><r>\xff</r></d>", "line 1"),
        (b"<d><r>1</r><r>2</r></d>\n<d/>", "line 2"),
        (b"<d><r>1</r><r>2</r><q>\n\n&nope;</q><r>3</r></d>", "line 3"),
        (b"<d><r>1</r><r>2</r><q a='\n&nope;'/><r>3</r></d>", "line 2"),
    ],
)
def test_a_broken_dump_yields_what_is_complete_and_then_its_place(data: bytes, place: str) -> None:
    records = split(data)
    assert [next(records), next(records)] == ["<r>1</r>", "<r>2</r>"]
    with pytest.raises(SourceError, match=rf"not well-formed at {place}, .* after 2 complete") as caught:
        next(records)
    assert caught.value.exit_code == 4
    assert "nope" not in str(caught.value)


def test_a_dump_without_records_says_what_it_holds() -> None:
    with pytest.raises(SourceError, match=r"holds no element r \(its root element is d\)"):
        list(split(b"<d><q/></d>"))


@pytest.mark.parametrize(
    "doctype",
    [
        b'<!DOCTYPE d [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;">]>',
        b'<!DOCTYPE d [<!ENTITY x SYSTEM "file:///etc/hostname">]>',
        b'<!DOCTYPE d [<!ENTITY % p SYSTEM "http://example.org/x">]>',
        b'<!DOCTYPE d SYSTEM "d.dtd">',
        b'<!DOCTYPE d PUBLIC "-//X" "d.dtd">',
    ],
)
def test_entities_are_refused(doctype: bytes) -> None:
    with pytest.raises(SourceError, match="never expanded"):
        list(split(doctype + b"<d><r>1</r></d>"))


def test_a_bare_doctype_is_harmless() -> None:
    assert list(split(b"<!DOCTYPE d><d><r>1</r></d>")) == ["<r>1</r>"]
    assert list(split(b"<!DOCTYPE d [<!ELEMENT r ANY>]><d><r>1</r></d>")) == ["<r>1</r>"]


@pytest.mark.parametrize(
    ("data", "tag"),
    [
        (b"<a", None),
        (b"", None),
        (b"hello", None),
        (b"<!-- c --><a><b></a>", "a"),
        (b"\xef\xbb\xbf<p:a xmlns:p='urn:x'/>", "{urn:x}a"),
    ],
)
def test_the_root_is_read_from_the_beginning(data: bytes, tag: str | None) -> None:
    root = read_root(io.BytesIO(data))
    assert (root.tag if root is not None else None) == tag


MEASURE = """
import gzip, resource, sys
from xml_extractor.source.record_splitter import read_root, serialize, split_records
size = 0
with gzip.open(sys.argv[1]) as content:
    root = read_root(content)
with gzip.open(sys.argv[1]) as content:
    for element in split_records(content, "dump", root, "r", ignore_case=False):
        size += len(serialize(element))
print(size, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_dump(tmp_path: Path) -> None:
    pytest.importorskip("resource")
    import gzip

    # Elements that are no records, in front of them and among them, must not pile up either.
    other = b"<other>" + b"<x>y</x>" * 50 + b"</other>"
    record = b"<r>" + b"<a b='c'>some text</a>" * 200 + b"</r>"

    def measure(records: int) -> tuple[int, int]:
        path = tmp_path / f"{records}.xml.gz"
        with gzip.open(path, "wb", compresslevel=1) as dump:
            dump.write(b"<d>" + other * records)
            for _ in range(records):
                dump.write(record + other)
            dump.write(b"</d>")
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, str(path)],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        size, peak = map(int, run.stdout.split())
        return size, peak // (1024 if sys.platform == "darwin" else 1)

    small_size, small_peak = measure(100)
    large_size, large_peak = measure(10_000)
    assert large_size == 100 * small_size > 40_000_000
    assert large_peak - small_peak < 10_000  # kB, of some 50 MB read


@pytest.mark.parametrize("broken", [b"<r>&nope;</r>", b"<q:x/>"])
def test_nothing_is_read_beyond_the_broken_place(broken: bytes) -> None:
    # Of some errors lxml says nothing before the end, which may be many gigabytes away.
    content = io.BytesIO(b"<d><r>1</r>" + broken + b"<r>2</r>" * 100_000 + b"</d>")
    root = record_splitter.Root("d", has_entities=False)
    with pytest.raises(SourceError, match=r"at line 1, .* complete record"):
        list(split_records(content, "dump.xml", root, "r", ignore_case=False))
    assert content.tell() <= 2 * record_splitter.CHUNK_BYTES
