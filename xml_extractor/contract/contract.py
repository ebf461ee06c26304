"""A mapping contract as the rest of the product meets it: read, checked and compiled in one call."""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Final

from xml_extractor.contract.compiler import compile_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.contract.reader import Mistake, read_yaml
from xml_extractor.contract.structure import build_structure
from xml_extractor.errors import ContractError

_BYTE_ORDER_MARKS: Final = {codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass(frozen=True, slots=True)
class Contract:
    """A mapping contract, checked and compiled.  Immutable, picklable, thread-safe."""

    name: str
    """The file it was read from, as messages name it."""
    plan: Plan
    warnings: tuple[str, ...] = ()
    """What is allowed but likely not meant, each as ``file:line:column: message``."""

    @classmethod
    def read(cls, path: str | PathLike[str]) -> Contract:
        """Read a contract from a YAML or JSON file.

        Raises:
            ContractError: the file cannot be read, or the contract has mistakes; the message lists all of
                them, each as ``file:line:column: message``.
        """
        return cls.from_text(_file_text(path), fspath(path))

    @classmethod
    def from_text(cls, text: str, name: str = "contract") -> Contract:
        """Read a contract from YAML or JSON text; ``name`` stands for the file in messages.

        Raises:
            ContractError: as :meth:`read`.
        """
        result = check_text(text, name)
        if result.contract is None:
            count = len(result.mistakes)
            heading = f"the contract {name} has {'a mistake' if count == 1 else f'{count} mistakes'}:"
            raise ContractError("\n".join([heading, *(f"  {mistake}" for mistake in result.mistakes)]))
        return result.contract


@dataclass(frozen=True, slots=True)
class CheckResult:
    """Everything there is to say about a contract, in the order of its lines."""

    contract: Contract | None
    """The compiled contract; ``None`` if there are mistakes."""
    mistakes: tuple[Mistake, ...]
    warnings: tuple[Mistake, ...]


def read_contract(path: str | PathLike[str]) -> Contract:
    """Read, check and compile a contract; see :meth:`Contract.read`."""
    return Contract.read(path)


def check_contract(path: str | PathLike[str]) -> CheckResult:
    """Find all mistakes in a contract file.

    Raises:
        ContractError: the file cannot be read at all.
    """
    return check_text(_file_text(path), fspath(path))


def check_text(text: str, name: str = "contract") -> CheckResult:
    """Find all mistakes in the text of a contract."""
    report = read_yaml(text, name)
    plan = None
    if report.document.data is not None or not report.mistakes:
        structure = build_structure(report)
        if structure is not None:
            plan = compile_contract(structure, report)
    mistakes, warnings = tuple(sorted(report.mistakes)), tuple(sorted(report.warnings))
    contract = None
    if plan is not None and not mistakes:
        contract = Contract(name, plan, tuple(map(str, warnings)))
    return CheckResult(contract, mistakes, warnings)


def _file_text(path: str | PathLike[str]) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ContractError(f"cannot read the contract {fspath(path)}: {reason}") from error
    encoding = _BYTE_ORDER_MARKS.get(content[:2], "utf-8-sig")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ContractError(
            f"{fspath(path)}:{line}:1: the contract is not {encoding.removesuffix('-sig')}; save it as UTF-8"
        ) from None
