from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from xml_extractor.contract import contract_reference_markdown, contract_schema
from xml_extractor.contract import model as model_module

ROOT = Path(__file__).parents[3]
MODELS = [
    item
    for item in vars(model_module).values()
    if isinstance(item, type) and issubclass(item, BaseModel) and item.__module__ == model_module.__name__
]


def test_the_reference_page_is_the_one_generated_from_the_models() -> None:
    page = ROOT / "docs" / "contract-reference.md"
    assert page.read_text(encoding="utf-8") == contract_reference_markdown(), (
        "write docs/contract-reference.md anew from contract_reference_markdown()"
    )


@pytest.mark.parametrize("model", MODELS, ids=lambda m: m.__name__)
def test_every_field_says_what_it_means(model: type[BaseModel]) -> None:
    for name, field in model.model_fields.items():
        assert field.description, name


def test_every_key_is_on_the_reference_page() -> None:
    page = contract_reference_markdown()
    for model in MODELS:
        for name, field in model.model_fields.items():
            assert f"| `{field.alias or name}`" in page


def test_the_schema_is_plain_json_and_knows_all_keys() -> None:
    schema = contract_schema()
    assert json.loads(json.dumps(schema)) == schema
    assert set(schema["required"]) == {"contract", "version", "source", "document", "tables"}
    column = schema["$defs"]["ColumnModel"]
    assert {"from", "expr", "value", "xml", "type", "apply"} <= set(column["properties"])
    assert "from_" not in column["properties"]
    assert column["additionalProperties"] is False


def test_the_schema_takes_codes_and_constants_of_any_scalar_kind() -> None:
    schema = contract_schema()
    values = schema["$defs"]["EnumModel"]["properties"]["values"]["additionalProperties"]
    assert set(values["type"]) == {"string", "number", "boolean", "null"}
    column: dict[str, Any] = schema["$defs"]["ColumnModel"]["properties"]
    assert {"type": "null"} in column["from"]["anyOf"] or "anyOf" in column["from"]
    assert None in column["on_invalid"]["enum"]
