"""Loads XML documents from the rows of a table into relational tables, each exactly once.

    from xml_extractor import Contract, LoadOptions, load

    summary = load("sqlite:///in.db", "sqlite:///out.db", "contract.yaml", LoadOptions(workers=4))

The names are imported when they are first used, because worker processes import this package and must
stay small.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from xml_extractor.contract import Contract, read_contract
    from xml_extractor.errors import LoaderError
    from xml_extractor.operations.load import load
    from xml_extractor.profiling.summary import LoadSummary
    from xml_extractor.settings import LoadOptions

__version__ = "0.1.0"
__all__ = ["Contract", "LoadOptions", "LoadSummary", "LoaderError", "__version__", "load", "read_contract"]

_HOMES: Final = {
    "Contract": "xml_extractor.contract",
    "read_contract": "xml_extractor.contract",
    "LoaderError": "xml_extractor.errors",
    "load": "xml_extractor.operations.load",
    "LoadSummary": "xml_extractor.profiling.summary",
    "LoadOptions": "xml_extractor.settings",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home), name)
