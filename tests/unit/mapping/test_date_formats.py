"""Texts that ``strptime`` would read one way where they could mean another."""

from __future__ import annotations

import pytest

from xml_extractor.contract.plan import Conversion
from xml_extractor.contract.types import parse_type
from xml_extractor.mapping.conversion import converter
from xml_extractor.mapping.conversion_error import ConversionError


@pytest.mark.parametrize(
    ("form", "text"),
    [
        ("%Y%m%d", "2024111"),  # 11 January or 1 November
        ("%Y%m%d", "20241 1"),
        ("%d%m%Y", "1112024"),
        ("%y%m%d", "24111"),
        ("%Y%j", "20241"),
        ("on %Y%m%d", "on 2024111"),
        ("%Y-%m-%d", "٢٠٢٤-٠١-٠١"),
        ("%Y%m%d", "٢٠٢٤٠١٠١"),
    ],
)
def test_texts_that_a_format_does_not_settle_are_refused(form: str, text: str) -> None:
    with pytest.raises(ConversionError) as caught:
        converter(Conversion(parse_type("date"), formats=(form,)))(text)
    assert caught.value.code == "not_convertible"


@pytest.mark.parametrize(("form", "text"), [("%d.%m.%Y", "1.2.2024"), ("%Y-%m-%d", "2024-2-1")])
def test_separated_numbers_need_no_leading_zeros(form: str, text: str) -> None:
    assert converter(Conversion(parse_type("date"), formats=(form,)))(text) == "2024-02-01"
