from __future__ import annotations

import pytest
from lxml import etree

from xml_extractor.contract import Contract
from xml_extractor.mapping.records import Key
from xml_extractor.source.record_key import KeyFinder, KeyNotFound, staging_key_type

CONTRACT = """
contract: c
version: 1
source: {{table: t, key: k, document: d}}
document: {{root: /r, namespaces: {{p: "urn:p"}}, ignore_case: {ignore_case}}}
stage: {{record: r, key: "{path}"}}
tables:
  base: {{primary_key: k, columns: {{k: {{from: $key, type: {type}}}}}}}
"""


def finder(path: str, type_: str = "int", *, ignore_case: bool = False) -> KeyFinder:
    text = CONTRACT.format(path=path, type=type_, ignore_case=str(ignore_case).lower())
    plan = Contract.from_text(text).plan
    assert plan.stage.key is not None
    return KeyFinder(plan, plan.stage.key, staging_key_type(plan))


@pytest.mark.parametrize(
    ("path", "xml", "key"),
    [
        ("@id", "<r id=' 12 '/>", 12),
        ("head/id", "<r><head><id>-<!-- x -->7</id></head></r>", -7),
        ("head/@id", "<r><x id='1'/><head id='3'/></r>", 3),
        ("id/text()", "<r><id>5<b>6</b></id></r>", 5),
        ("p:id", "<r xmlns:q='urn:p'><id>1</id><q:id>2</q:id></r>", 2),
        ("id[@main='1']", "<r><id>1</id><id main='1'>2</id></r>", 2),
        ("/r/@id", "<r id='9'/>", 9),
        ("id[@main='1']/@v", "<r><id main='1' v='4'/></r>", 4),
    ],
)
def test_where_a_key_may_stand(path: str, xml: str, key: Key) -> None:
    # As a record of a dump: nothing outside of the record may count.
    record = etree.fromstring(f"<dump id='99'><r id='98'/>{xml} 77<r id='97'/></dump>")[1]
    assert finder(path).find(record) == key


def test_names_that_ignore_case() -> None:
    assert finder("Head/@Id", ignore_case=True).find(etree.fromstring("<R><HEAD iD='4'/></R>")) == 4


def test_text_keys_come_as_they_stand() -> None:
    assert finder("@id", "nvarchar(10)").find(etree.fromstring("<r id=' Ab/é '/>")) == " Ab/é "
    assert finder("@id", "varchar(10)").find(etree.fromstring("<r id='007'/>")) == "007"


@pytest.mark.parametrize(
    ("xml", "type_", "reason"),
    [
        ("<r/>", "int", "has no stage.key @id"),
        ("<r id=' '/>", "int", "is blank"),
        ("<r id=''/>", "varchar(5)", "is blank"),
        ("<r id='secret'/>", "int", "not a number of type int"),
        ("<r id='1.0'/>", "int", "not a number"),
        ("<r id='١'/>", "int", "not a number"),
        ("<r id='3000000000'/>", "int", "beyond the range of int"),
        ("<r id='256'/>", "tinyint", "beyond the range of tinyint"),
        ("<r id='" + "9" * 5000 + "'/>", "bigint", "not a number"),
        ("<r id='123456'/>", "varchar(5)", r"longer than the key's type varchar\(5\)"),
    ],
)
def test_keys_that_cannot_be_used(xml: str, type_: str, reason: str) -> None:
    with pytest.raises(KeyNotFound, match=reason) as caught:
        finder("@id", type_).find(etree.fromstring(xml))
    assert "secret" not in str(caught.value)


def test_several_nodes_are_no_key() -> None:
    with pytest.raises(KeyNotFound, match=r"2 of stage\.key id"):
        finder("id").find(etree.fromstring("<r><id>1</id><id>1</id></r>"))


@pytest.mark.parametrize(
    ("stage", "column", "type_"),
    [
        ('stage: {record: r, key: "@id"}', "{from: $key, type: bigint}", "bigint"),
        ('stage: {record: r, key: "@id"}', "{from: $key, type: varchar(20)}", "varchar(20)"),
        ('stage: {record: r, key: "@id"}', "{from: $key, type: uniqueidentifier}", "nvarchar(400)"),
        ('stage: {record: r, key: "@id"}', '{from: "@id", type: int, required: true}', "nvarchar(400)"),
        ("stage: {record: r}", "{from: $key, type: bigint}", "bigint"),
        ("stage: {record: r}", "{from: $key, type: varchar(20)}", "int"),
        ("", '{from: "@id", type: int, required: true}', "int"),
    ],
)
def test_the_type_of_the_staging_key(stage: str, column: str, type_: str) -> None:
    text = (
        "contract: c\nversion: 1\nsource: {table: t, key: k, document: d}\ndocument: {root: /r}\n"
        f"{stage}\ntables:\n  base: {{primary_key: k, columns: {{k: {column}}}}}\n"
    )
    assert str(staging_key_type(Contract.from_text(text).plan)) == type_
