"""Contracts: finding, checking, and the tables they need."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xml_extractor.contract import Contract, read_contract
from xml_extractor.contract import check_contract as check
from xml_extractor.engines import dialect_engine
from xml_extractor.engines.base import table_specs
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.resources import shipped_config
from xml_extractor.target.bookkeeping import bookkeeping_specs


def find_contract(name: str) -> Contract:
    """Read a contract by its path, or one that ships with the product by ``config/NAME.yaml``.

    Raises:
        ContractError: it has mistakes; all are listed.
        UsageError: there is no such file.
    """
    return read_contract(contract_path(name))


def contract_path(name: str) -> Path:
    """Return the path of a contract; what lies in the working directory wins over what ships.

    Raises:
        UsageError: there is no such file.
    """
    path = Path(name)
    if path.is_file():
        return path
    if path.parent in (Path("config"), Path()):
        try:
            return shipped_config(path.name)
        except UsageError:
            pass
    what = "it is a folder" if path.is_dir() else "no such file"
    raise UsageError(f"contract {name}: {what}; give the path of a contract (YAML)")


@dataclass(frozen=True, slots=True)
class ContractCheck:
    """What a check of a contract found."""

    file: str
    contract: str | None = None  # its name, where it can be read
    version: int | None = None
    tables: dict[str, int] = field(default_factory=dict)  # name → columns
    mistakes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> ExitCode:
        """2 where there are mistakes; warnings alone are none."""
        return ExitCode.USAGE if self.mistakes else ExitCode.OK

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "file": self.file,
            "contract": self.contract,
            "version": self.version,
            "tables": dict(self.tables),
            "mistakes": list(self.mistakes),
            "warnings": list(self.warnings),
        }

    def lines(self) -> list[str]:
        """Return it for people."""
        lines = [*self.mistakes, *(f"warning: {warning}" for warning in self.warnings)]
        if self.mistakes:
            number = len(self.mistakes)
            return [*lines, f"{self.file}: {number} mistake{'s' if number > 1 else ''}"]
        tables, columns = len(self.tables), sum(self.tables.values())
        return [
            *lines,
            f"{self.file}: contract {self.contract} version {self.version} is well: "
            f"{tables} table{'' if tables == 1 else 's'}, {columns} column{'' if columns == 1 else 's'}",
        ]


def check_contract(name: str) -> ContractCheck:
    """Check a contract and say all that is wrong with it.

    Raises:
        ContractError: it cannot be read at all.
        UsageError: there is no such file.
    """
    path = contract_path(name)
    result = check(path)
    mistakes, warnings = (
        [str(mistake) for mistake in result.mistakes],
        [str(item) for item in result.warnings],
    )
    if result.contract is None:
        return ContractCheck(str(path), mistakes=mistakes, warnings=warnings)
    plan = result.contract.plan
    return ContractCheck(
        str(path),
        plan.contract,
        plan.version,
        {table.name: len(table.columns) for table in plan.tables},
        warnings=warnings,
    )


def contract_statements(name: str, dialect: str, *, schema: str | None = None) -> list[str]:
    """Return the CREATE TABLE statements of a contract's tables and the bookkeeping tables.

    Args:
        schema: where tables that are named without one go; ``None`` = the server's choice.

    Raises:
        UsageError: there is no such file or dialect, or the engine cannot hold a type exactly.
    """
    plan = find_contract(name).plan
    engine = dialect_engine(dialect, schema=schema)
    problems = engine.unsupported(plan)
    if problems:
        raise UsageError(f"{dialect} cannot hold this contract exactly:\n  " + "\n  ".join(problems))
    return engine.create_statements([*table_specs(plan), *bookkeeping_specs()])
