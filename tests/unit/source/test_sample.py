from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from datetime import datetime
from itertools import islice

import pytest
from lxml import etree

from xml_extractor.contract import read_contract
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import generate_applications
from xml_extractor.source.sample_faults import FAULTS, break_application

PINNED = "e319f13b3ec9e3b9c709561dfdf78ade09488d2d887320c4e40d5c8d79126dc8"
"""Of the first 50 documents for seed 1.  Figures are compared over time: a new value is a new sample."""


def digest(documents: list[tuple[int, str]]) -> str:
    return hashlib.sha256(repr(documents).encode()).hexdigest()


@pytest.fixture(scope="module")
def mapper() -> DataMapper:
    return DataMapper(read_contract(shipped_config("loan_application.yaml")).plan, datetime(2025, 1, 1))


def test_documents_of_a_seed_never_change() -> None:
    assert digest(list(generate_applications(50, 1))) == PINNED


def test_documents_do_not_depend_on_the_hash_seed() -> None:
    code = (
        "import hashlib; from xml_extractor.source.sample import generate_applications as g; "
        "print(hashlib.sha256(repr(list(g(50, 1))).encode()).hexdigest())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345", "PYTHONPATH": os.pathsep.join(sys.path)}
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert run.stdout.strip() == PINNED


def test_a_document_does_not_depend_on_how_many_are_made() -> None:
    assert list(islice(generate_applications(1000, 7), 20)) == list(generate_applications(20, 7))


def test_seeds_differ_negative_ones_too() -> None:
    assert len({digest(list(generate_applications(3, seed))) for seed in (0, 1, -1, 2**70 + 5)}) == 4


def test_keys_are_numbered_from_one_and_stand_in_the_document() -> None:
    for number, (app_id, text) in enumerate(generate_applications(30, 3), 1):
        assert app_id == number
        if text:
            assert f'id="{number}"' in text[:200]


def test_sizes_and_the_share_of_broken_documents(mapper: DataMapper) -> None:
    sizes, broken = [], 0
    for app_id, text in generate_applications(4000, 1):
        try:
            mapper.parse(SourceDocument(app_id, text))
        except DocumentRejected:
            broken += 1
        else:
            sizes.append(len(text.encode()))
    assert 3 <= broken <= 20  # 0.5 % of 4,000, of which somewhat less than half are not XML
    assert min(sizes) >= 3_000
    assert max(sizes) <= 15_000
    assert max(sizes) > 10_000
    typical = sum(4_000 <= size <= 7_000 for size in sizes)
    assert typical > 0.6 * len(sizes)


def test_texts_are_of_many_scripts() -> None:
    text = "".join(text for _, text in generate_applications(400, 1))
    for script in ("é", "ß", "ñ", "Ω".lower(), "Иван", "佐藤", "𠮷", "👍", "<![CDATA[", "&amp;"):
        assert script in text


def test_sound_documents_map_and_about_one_in_two_hundred_does_not(mapper: DataMapper) -> None:
    refused = 0
    rows = [0] * 9
    for app_id, text in generate_applications(1000, 5):
        document = SourceDocument(app_id, text)
        try:
            mapped = mapper.map(mapper.parse(document), document)
        except DocumentRejected:
            refused += 1
        else:
            assert len(mapped.rows[0]) == 1
            assert 1 <= len(mapped.rows[1]) <= 3
            rows = [total + len(table) for total, table in zip(rows, mapped.rows, strict=True)]
    assert 1 <= refused <= 12
    assert all(rows)


REJECTIONS = {
    "truncated": ("parse", "not_well_formed", None),
    "unknown_entity": ("parse", "entity_declared", None),
    "entity_expansion": ("parse", "entity_declared", None),
    "mismatched_tag": ("parse", "not_well_formed", None),
    "control_character": ("parse", "not_well_formed", None),
    "empty": ("source", "empty_document", None),
    "not_a_number": ("map", "not_convertible", "requested_amount"),
    "required_missing": ("map", "required_missing", "received_at"),
    "too_long": ("map", "too_long", "postal_code"),
    "out_of_range": ("map", "out_of_range", "term_months"),
    "no_such_date": ("map", "not_convertible", "first_payment_on"),
    "unknown_code": ("map", "unknown_code", "status_id"),
    "not_a_guid": ("map", "not_convertible", "reference"),
    "beyond_code_page": ("map", "not_in_code_page", "email"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_found_where_it_was_made(fault: str, mapper: DataMapper) -> None:
    # Document 7 of seed 1 is sound and has all that faults are made in.
    text = list(generate_applications(7, 1))[-1][1]
    document = SourceDocument(7, FAULTS[fault](text))
    assert document.content != text
    if fault == "duplicate_key":
        mapped = mapper.map(mapper.parse(document), document)
        keys = [row[:2] for row in mapped.rows[6]]
        assert len(set(keys)) < len(keys)  # which the target will refuse
        return
    with pytest.raises(DocumentRejected) as caught:
        mapper.map(mapper.parse(document), document)
    rejection = caught.value.rejection
    assert (rejection.stage.value, rejection.code, rejection.column) == REJECTIONS[fault]


def test_every_way_of_breaking_is_drawn() -> None:
    text = list(generate_applications(7, 1))[-1][1]
    drawn = {break_application(text, share / 1000) for share in range(1000)}
    assert drawn == {fault(text) for fault in FAULTS.values()}


def test_a_sound_document_is_well_formed_xml() -> None:
    root = etree.fromstring(list(generate_applications(7, 1))[-1][1])
    assert root.tag == "Application"
    assert root.findall("Contacts/Contact/Addresses/Address")
