from __future__ import annotations

import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from tests.unit.contract.contracts import with_columns
from xml_extractor.contract import Contract, check_contract, check_text, read_contract
from xml_extractor.contract.reader import read_yaml
from xml_extractor.errors import ContractError

ROOT = Path(__file__).parents[3]


def test_a_contract_is_read_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(with_columns(), encoding="utf-8")
    contract = read_contract(file)
    assert contract.plan.contract == "test"
    assert contract.name == str(file)
    assert contract.warnings == ()
    assert pickle.loads(pickle.dumps(contract)) == contract


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_files_in_the_encodings_that_editors_write(tmp_path: Path, encoding: str) -> None:
    file = tmp_path / "c.yaml"
    file.write_bytes(with_columns("größe: {from: Größe, type: int}").replace("\n", "\r\n").encode(encoding))
    assert read_contract(file).plan.tables[0].columns[1].name == "größe"


def test_json_is_a_contract_too() -> None:
    text = with_columns("a: {from: '@a', type: 'decimal(12,2)'}")
    content = read_yaml(text, "c").document.data
    for indent in (None, 2, "\t"):
        contract = Contract.from_text(json.dumps(content, indent=indent))
        assert contract.plan == Contract.from_text(text).plan


def test_all_mistakes_are_in_the_message(tmp_path: Path) -> None:
    file = tmp_path / "c.yaml"
    file.write_text(with_columns("a: {from: x, type: itn}", "b: {fro: x}"), encoding="utf-8")
    with pytest.raises(ContractError) as caught:
        Contract.read(file)
    lines = str(caught.value).splitlines()
    assert lines[0] == f"the contract {file} has 3 mistakes:"
    assert [line.strip().removeprefix(f"{file}:").split(": ")[0] for line in lines[1:]] == [
        "10:26",
        "11:7",
        "11:11",
    ]
    assert [str(m) for m in check_contract(file).mistakes] == [line.strip() for line in lines[1:]]


def test_warnings_have_their_place() -> None:
    contract = Contract.from_text(with_columns().replace("    primary_key: id\n", ""), "c.yaml")
    assert contract.warnings == (
        "c.yaml:6:3: table 't' has no primary key: nothing keeps a row from being there twice",
    )


def test_a_file_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    with pytest.raises(ContractError, match=r"cannot read the contract .*: No such file"):
        Contract.read(tmp_path / "none.yaml")
    file = tmp_path / "c.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ContractError, match=r"c\.yaml:2:1: the contract is not utf-8; save it as UTF-8"):
        check_contract(file)


def test_a_file_that_is_not_yaml_has_one_mistake() -> None:
    result = check_text("contract: [", "c.yaml")
    assert result.contract is None
    assert len(result.mistakes) == 1


@pytest.mark.parametrize("name", ["loan_application.yaml", "discogs_releases.yaml"])
def test_contracts_that_ship_with_the_product_are_sound(name: str) -> None:
    result = check_contract(ROOT / "config" / name)
    assert result.mistakes == ()
    assert result.warnings == ()


def test_the_sketch_of_a_contract_works_as_it_is_written() -> None:
    contract = Contract.from_text("""\
contract: loan_application
version: 1
source:  {name: lending, table: app_xml, key: app_id, document: app_xml}
document: {root: /Application, namespaces: {}}
stage:   {record: Application, key: "@id"}
enums:
  decision: {values: {A: 1, D: 2, P: 3}, missing: 0, unknown: reject}
tables:
  app_base:
    primary_key: [app_id]
    columns:
      app_id:        {from: $key, type: int}
      received_at:   {from: "@received", type: datetime2(3), required: true}
      decision_id:   {from: "Decision/@code", enum: decision, type: smallint}
      total_income:  {expr: "COALESCE(path('Income/@salary', 'decimal(12,2)'), 0) + COALESCE(path('Income/@other', 'decimal(12,2)'), 0)", type: decimal(12,2)}
  app_contact:
    parent: app_base
    rows: Contacts/Contact
    where: "path('@role') IN ('PRIMARY', 'JOINT') AND contact_id IS NOT NULL"
    unique: {by: [contact_id], keep: last}
    primary_key: [app_id, contact_id]
    columns:
      app_id:      {from: $parent}
      contact_id:  {from: "@id", type: int, required: true}
      ordinal:     {from: $position, type: int}
      phone:       {from: "Phone", apply: [digits], type: varchar(20), on_overflow: reject}
  app_score:
    parent: app_base
    items:                                   # one row per named item that is present
      into: {name: score_code, value: score}
      values: {TU: "Bureau/@tu", EX: "Bureau/@ex"}
""")  # noqa: E501  # a user writes such lines
    assert contract.warnings == ()
    assert str(contract.plan.tables[0].columns[3].type) == "decimal(12,2)"
    assert [table.key_reaches_source for table in contract.plan.tables] == [True, True, True]


def test_plans_can_be_used_without_what_reads_contracts() -> None:
    program = (
        "import sys; import xml_extractor.contract.plan, xml_extractor.contract.expression; "
        "print([m for m in ('pydantic', 'sqlglot', 'yaml') if m in sys.modules])"
    )
    found = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT
    )
    assert found.stdout.strip() == "[]"


def test_the_package_has_the_names_it_promises() -> None:
    import xml_extractor.contract as package

    assert all(getattr(package, name) is not None for name in package.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = package.nonsense
