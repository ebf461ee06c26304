from __future__ import annotations

import pytest

from xml_extractor.profiling.report import formats


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.count(1234567.0), "1,234,567"),
        (formats.compact(0), "0"),
        (formats.compact(950), "950"),
        (formats.compact(12_345), "12.3k"),
        (formats.compact(2.5e6), "2.5M"),
        (formats.share(0.123), "12.3%"),
        (formats.milliseconds(0), "0.0 ms"),
        (formats.milliseconds(0.042), "0.042 ms"),
        (formats.milliseconds(12.34), "12.3 ms"),
        (formats.milliseconds(123.4), "123 ms"),
        (formats.milliseconds(1250), "1.25 s"),
        (formats.milliseconds(125_000), "2 min 05 s"),
        (formats.seconds(0.42), "0.42 s"),
        (formats.seconds(12.34), "12.3 s"),
        (formats.seconds(119.96), "2 min 00 s"),
        (formats.seconds(7265), "2 h 01 min"),
        (formats.size(0), "0 bytes"),
        (formats.size(1536), "1.5 KiB"),
        (formats.size(312 * 2**20), "312 MiB"),
        (formats.size(5 * 2**40), "5.0 TiB"),
        (formats.rate(0.421), "0.42"),
        (formats.rate(12.34), "12.3"),
        (formats.rate(4321), "4,321"),
        (formats.plural(1, "batch", "batches"), "1 batch"),
        (formats.plural(0, "table"), "0 tables"),
        (formats.shortened("ab\n de", 6), "ab de"),
        (formats.shortened("abcdefg", 6), "abcde…"),
        (formats.clean("a\x00b\nc\ud800"), "a\ufffdb\nc\ufffd"),
    ],
)
def test_how_numbers_are_written(written: str, expected: str) -> None:
    assert written == expected
