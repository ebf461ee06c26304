"""A baseline as a file: what it holds, writing it whole or not at all, and refusing what is none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from performance_tuning.baseline.figures import PRIMARY
from performance_tuning.measuring.errors import MeasuringError
from performance_tuning.measuring.machine import GitState, Machine
from performance_tuning.measuring.statistics import Estimate

PROGRAM: Final = "establish_baseline"
VERSION: Final = 1

Figures = dict[str, Annotated[float, Field(allow_inf_nan=False)]]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class ContractRecord(_Record):
    """By which contract documents were loaded."""

    name: str
    version: int | None
    digest: str
    """Of the compiled plan: equal for contracts that make the same rows of the same documents."""


class SourceRecord(_Record):
    """Which documents each run loaded."""

    description: str
    documents: int = Field(ge=1)
    generated: bool


class TargetRecord(_Record):
    """What each run loaded into."""

    engine: str
    way: str


class Circumstances(_Record):
    """All that a figure depends on beside chance.  Holds no URL, path, host or password."""

    machine: Machine
    fingerprint: str
    versions: dict[str, str]
    git: GitState | None
    contract: ContractRecord
    source: SourceRecord
    target: TargetRecord
    settings: dict[str, Any]
    """Of the load, as ``LoadOptions`` has them."""


class RunRecord(_Record):
    """One measured load."""

    started_at: str  # ISO 8601, UTC
    figures: Figures
    rows: dict[str, int]
    executor: str
    insert_path: str | None
    yardstick_us: float = Field(gt=0)
    """Microseconds of a fixed piece of work just before the run."""
    others_share: float
    """Share of the machine that other programs took during the run."""


class Baseline(_Record):
    """What several runs of the same load under the same circumstances measured."""

    program: Literal["establish_baseline"] = PROGRAM
    schema_version: Literal[1] = VERSION
    recorded_at: str  # ISO 8601, UTC
    circumstances: Circumstances
    warm_up: int = Field(ge=0)
    runs_wanted: int = Field(ge=1)
    runs: tuple[RunRecord, ...] = Field(min_length=1)
    estimates: dict[str, Estimate]
    remarks: tuple[str, ...]
    """What whoever reads the figures should know: interrupted, a busy machine, drift."""

    @model_validator(mode="after")
    def _whole(self) -> Baseline:
        names = set(self.runs[0].figures)
        if PRIMARY not in names or any(set(run.figures) != names for run in self.runs):
            raise ValueError("its runs do not hold the same figures")
        return self

    def values(self, name: str) -> list[float]:
        """Return a figure of all runs, in their order."""
        return [run.figures[name] for run in self.runs]


def write_baseline(baseline: Baseline, path: Path) -> None:
    """Write a baseline; a reader, and a crash, never see half a file.

    Raises:
        MeasuringError: the file cannot be written.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    text = json.dumps(baseline.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n"
    try:
        with partial.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise MeasuringError(f"the baseline cannot be written to {path}: {error.strerror}") from None


def check_place(path: Path) -> None:
    """Refuse a place where no baseline can be put: before it is measured, not after.

    An earlier baseline may be replaced; any other file is somebody's.

    Raises:
        MeasuringError: saying why.
    """
    if path.exists():
        try:
            read_baseline(path)
        except MeasuringError as error:
            raise MeasuringError(f"{error}. It is left as it is; name another file") from None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise MeasuringError(f"the folder {path.parent} cannot be made: {error.strerror}") from None
    if not os.access(path.parent, os.W_OK):
        raise MeasuringError(f"nothing may be written into the folder {path.parent}")


def read_baseline(path: Path) -> Baseline:
    """Read a baseline.

    Raises:
        MeasuringError: it cannot be read, is damaged, of another version or no baseline; saying which.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise MeasuringError(f"baseline {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise MeasuringError(f"{path} is no baseline: it is not text in UTF-8") from None
    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        why = (
            "it is empty"
            if not text.strip()
            else "it is not whole JSON, so it was cut short or changed by hand"
        )
        raise MeasuringError(f"{path} is no baseline, or a damaged one: {why}") from None
    if not isinstance(content, dict) or content.get("program") != PROGRAM:
        raise MeasuringError(f"{path} is no baseline: it was not written by {PROGRAM}.py")
    version = content.get("schema_version")
    if version != VERSION:
        raise MeasuringError(
            f"{path} is a baseline of version {version!r}, and this program reads version {VERSION}: "
            "establish it anew, or compare with the program that wrote it"
        )
    try:
        return Baseline.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "as a whole"
        raise MeasuringError(f"{path} is a damaged baseline: {place}: {first['msg']}") from None
