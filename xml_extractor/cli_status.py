"""The command ``status``: what was loaded, how fast, what is left and what is in quarantine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Final

from xml_extractor import cli_commands
from xml_extractor.cli_flags import DATABASES, LOG, TIME_LIMITS, add_json_flag, add_setting_flags
from xml_extractor.cli_output import Output
from xml_extractor.errors import ExitCode
from xml_extractor.mapping.records import State
from xml_extractor.settings import Databases, Settings

if TYPE_CHECKING:
    from xml_extractor.operations.status import Left, LoadStatus

ABOUT: Final = "Show loads, how fast they were, what is left, and quarantine by reason"

RUNNING: Final = "running *"
INTERRUPTED: Final = "running, or interrupted (a load that is killed cannot say so)"


def add_flags(status: argparse.ArgumentParser) -> None:
    """Add what ``status`` takes."""
    add_setting_flags(status, (*DATABASES, "contract", "source_name", "target_schema", *TIME_LIMITS, *LOG))
    add_json_flag(status)


def status(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Show what was loaded."""
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.status import read_status
    from xml_extractor.target.base import RunState

    where = cli_commands._databases(settings)
    source = where.source if _is_named(settings, where) else None
    contract = None if source is None else find_contract(settings.contract)
    found = read_status(where.target, settings.options(), source=source, contract=contract)
    if arguments.json:
        output.json(found.to_json())
        return ExitCode.OK
    output.line(found.target)
    by_origin = sorted(found.loads, key=_origin)  # stable: the oldest first in each
    for (name, contract_name, version), loads in groupby(by_origin, key=_origin):
        output.line()
        output.line(f"contract {contract_name} version {version}, source {name}")
        _print_loads(list(loads), output)
    output.line()
    if any(load.run.state is RunState.RUNNING for load in found.loads):
        output.line(f"{RUNNING}: {INTERRUPTED}; the next run of the same command resumes it")
    output.line(_left(found.left))
    if found.owed_keys:
        output.line(
            f"keys are owed to {', '.join(found.owed_keys)} (--keys after): the next load of their source "
            "that comes to its end builds them"
        )
    output.line(
        "in all: " + ", ".join(f"{count:,} {state.value}" for state, count in found.documents.items())
    )
    if found.newer_in_quarantine:
        output.line(
            f"of these {found.newer_in_quarantine:,} loaded in an older version, the newer one in quarantine"
        )
    if found.quarantine_reasons:
        output.line()
        output.table(
            ("load", "in quarantine because", "documents"),
            [
                (str(load.run.load_id), code, f"{count:,}")
                for load in found.loads
                for code, count in load.quarantine_reasons.items()
            ],
            right=("load", "documents"),
        )
    return ExitCode.OK


def _is_named(settings: Settings, where: Databases) -> bool:
    """Whether the operator has said, or it goes without saying, where the documents are."""
    return settings.source is not None or settings.server is not None or where.target_is_embedded


def _origin(load: LoadStatus) -> tuple[str, str, int]:
    return load.run.source_name, load.run.contract, load.run.contract_version


def _print_loads(loads: Sequence[LoadStatus], output: Output) -> None:
    from xml_extractor.target.base import RunState

    output.table(
        ("load", "state", "started (UTC)", "loaded", "quarantined", "skipped", "docs/s"),
        [
            (
                str(load.run.load_id),
                RUNNING if load.run.state is RunState.RUNNING else load.run.state.value,
                f"{load.run.started_at:%Y-%m-%d %H:%M}",
                *(f"{load.documents.get(state, 0):,}" for state in State),
                _rate(load.documents_per_second),
            )
            for load in loads
        ],
        right=("load", "loaded", "quarantined", "skipped", "docs/s"),
    )
    for load in loads:
        if load.is_unfinished and load.ranges.finished:
            recent = load.ranges.recent_per_second
            output.line(
                f"load {load.run.load_id}: {load.ranges.finished:,} ranges finished, "
                f"{load.ranges.documents:,} documents in them"
                + ("" if recent is None else f"; of late {_rate(recent)} documents/s")
            )


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:,.0f}" if rate >= 10 else f"{rate:.1f}"


def _left(left: Left) -> str:
    if left.documents is None:
        return f"left to load: unknown: {left.why_unknown}"
    return f"left to load of contract {left.contract}: {left.documents:,} (source rows less ledger rows)"
