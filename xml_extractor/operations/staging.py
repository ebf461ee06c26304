"""Fills the source table: from files, or with synthetic documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy.engine import make_url

from xml_extractor.contract import Contract
from xml_extractor.engines.base import Engine
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.operations import opening
from xml_extractor.settings import Databases, LoadOptions
from xml_extractor.source import sample
from xml_extractor.source.staging import StageSummary, stage


def stage_files(
    where: Databases, contract: Contract, paths: Sequence[Path], options: LoadOptions
) -> StageSummary:
    """Put files, folders, zip archives and dumps into the source table; see :func:`stage`."""
    return stage(_source(where, options), contract.plan, paths)


def write_sample(
    where: Databases, contract: Contract, documents: int, seed: int, options: LoadOptions
) -> int:
    """Write synthetic loan applications into the source table; return how many were not there yet.

    Raises:
        UsageError: the number of documents is negative, or the contract is for other documents.
        SourceError: the database refuses.
    """
    if documents < 0:
        raise UsageError(f"--documents {documents}: give a whole number, 0 or more")
    if not sample.suits(contract.plan):
        raise UsageError(
            f"contract {contract.plan.contract} is not for the loan applications that `sample` writes; leave "
            "--contract out, or name one whose document.root is Application"
        )
    return sample.write_sample(_source(where, options), contract.plan, documents, seed)


def _source(where: Databases, options: LoadOptions) -> Engine:
    if where.source_is_embedded:
        Path(make_url(where.source).database or "").parent.mkdir(parents=True, exist_ok=True)
    return opening.source_engine(where.source, options)


def exit_code(summary: StageSummary) -> ExitCode:
    """Return the exit status of staging."""
    return ExitCode.NEEDS_A_LOOK if summary.needs_a_look else ExitCode.OK


def stage_json(summary: StageSummary) -> dict[str, Any]:
    """Return what staging did as plain data."""
    data = asdict(summary)
    data["refusals"] = [refused._asdict() for refused in summary.refusals]
    data["refused_files"] = [refused._asdict() for refused in summary.refused_files]
    return data


def stage_lines(summary: StageSummary) -> list[str]:
    """Return what staging did, for people."""
    lines = [
        f"{summary.staged:,} of {_count(summary.documents, 'document')} from "
        f"{_count(summary.files, 'file')} staged"
    ]
    if summary.already_staged:
        lines.append(f"{summary.already_staged:,} were there already")
    if summary.differing:
        lines.append(
            f"{summary.differing:,} are there with other content, which was left as it is: keys "
            + _some([str(key) for key in summary.differing_keys], summary.differing)
        )
    if summary.refused:
        lines.append(f"{summary.refused:,} could not be staged:")
        lines += [f"  {item.file}, record {item.record}: {item.reason}" for item in summary.refusals]
        if summary.refused > len(summary.refusals):
            lines.append(f"  and {summary.refused - len(summary.refusals):,} more; the log names each")
    if summary.files_refused:
        lines.append(f"{_count(summary.files_refused, 'file')} could not be staged, or not to its end:")
        lines += [f"  {item.file}: {item.reason}" for item in summary.refused_files]
        if summary.files_refused > len(summary.refused_files):
            more = summary.files_refused - len(summary.refused_files)
            lines.append(f"  and {more:,} more; the log names each")
    return lines


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _some(names: list[str], count: int) -> str:
    shown = ", ".join(names[:20])
    return shown if count <= len(names[:20]) else f"{shown} and {count - len(names[:20]):,} more"
