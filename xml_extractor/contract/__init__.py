"""Mapping contracts: reading, checking and compiling them.

The names below are imported when they are first used: worker processes unpickle plans, whose modules lie
in this package, and need neither pydantic nor sqlglot for that.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from xml_extractor.contract.contract import (
        CheckResult,
        Contract,
        check_contract,
        check_text,
        read_contract,
    )
    from xml_extractor.contract.reader import Mistake
    from xml_extractor.contract.schema import contract_reference_markdown, contract_schema

__all__ = [
    "CheckResult",
    "Contract",
    "Mistake",
    "check_contract",
    "check_text",
    "contract_reference_markdown",
    "contract_schema",
    "read_contract",
]

_HOMES: Final = {
    "Mistake": "reader",
    "contract_reference_markdown": "schema",
    "contract_schema": "schema",
}


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'contract')}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
