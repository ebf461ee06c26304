"""Reads what ``load --summary`` wrote back into a summary with its profile."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.profiling.clocks import StageClocks
from xml_extractor.profiling.profile import LoadProfile
from xml_extractor.profiling.summary import DocumentCounts, LoadSummary, QueueFigures


class _Shares(BaseModel):
    model_config = ConfigDict(allow_inf_nan=False)

    parse: float = Field(ge=0, le=1)
    map: float = Field(ge=0, le=1)
    blocked: float = Field(ge=0, le=1)
    idle: float = Field(ge=0, le=1)


class _Summary(BaseModel):
    """The shape that ``--summary`` writes; what else is in the file is passed over."""

    model_config = ConfigDict(allow_inf_nan=False)

    load_id: int | None
    documents: DocumentCounts
    rows: dict[str, int]
    seconds: float = Field(ge=0)
    startup_seconds: float = Field(ge=0)
    held_seconds: float = Field(ge=0)
    insert_ms: dict[str, float]
    worker_time: _Shares
    worker_seconds: float = Field(ge=0)
    queue: QueueFigures
    bottleneck: str
    executor: str
    executor_reason: str
    workers: int
    insert_threads: int
    insert_path: str | None
    batches: int
    retries: int
    truncated_values: int
    unknown_elements: dict[str, int]
    loaded_under_another_plan: int
    changed: int
    replaced: int
    changed_keys: list[str]
    quarantine_reasons: dict[str, int]
    newer_in_quarantine: int
    notes: list[str]
    peak_memory_bytes: int | None
    stopped_by_signal: int | None
    error: str | None
    exit_code: ExitCode
    settings: dict[str, Any]
    versions: dict[str, str]


def read_summary(path: Path) -> LoadSummary:
    """Read the file of an earlier load.

    Raises:
        UsageError: it cannot be read, is no summary, or was written by a version that kept no profile; says
            what is wrong and what to do.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path} is no summary: it is not text in UTF-8") from None
    try:
        data = json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise UsageError(
            f"{path} is no summary: it is not JSON; name a file that `load --summary FILE` wrote"
        ) from None
    if not isinstance(data, dict) or not {"documents", "rows", "worker_time"} <= data.keys():
        raise UsageError(f"{path} is no summary of a load; name a file that `load --summary FILE` wrote")
    if "profile" not in data:
        raise UsageError(
            f"{path} was written by an earlier version, which kept no profile to make a report of; the next "
            "load keeps one, and --report makes the report at once"
        )
    try:
        read = _Summary.model_validate(data)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise UsageError(f"{path} is no summary of this version: {place}: {first['msg']}") from None
    try:
        profile = None if data["profile"] is None else LoadProfile.from_json(data["profile"])
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None
    return _summary(read, profile)


def _summary(read: _Summary, profile: LoadProfile | None) -> LoadSummary:
    same = {
        name: getattr(read, name)
        for name in _Summary.model_fields
        if name not in ("worker_time", "worker_seconds", "exit_code")
    }
    shares = read.worker_time
    seconds = (part * read.worker_seconds for part in (shares.parse, shares.map, shares.blocked, shares.idle))
    return LoadSummary(
        **same,
        loaded_rows=dict(read.rows),
        clocks=StageClocks(*seconds),
        error_code=None if read.error is None else read.exit_code,
        profile=profile,
    )


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no number of JSON")
