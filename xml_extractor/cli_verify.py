"""The ``verify`` command: what it was asked, and how its findings look."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Final

from xml_extractor import cli_commands
from xml_extractor.cli_flags import DATABASES, LOG, TIME_LIMITS, add_json_flag, add_setting_flags
from xml_extractor.cli_output import Output
from xml_extractor.errors import ExitCode
from xml_extractor.settings import Settings

ABOUT: Final = "Prove a load: compare source, ledger and target, and write to none of them"


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags of ``verify``."""
    parser.add_argument(
        "--deep", action="store_true",
        help="map each loaded document again and compare every value",
    )  # fmt: skip
    parser.add_argument(
        "--manifest", metavar="FILE", type=Path,
        help="write each difference to this file, one JSON object a line: key, table, column, kind, count",
    )  # fmt: skip
    parser.add_argument(
        "--checkpoint", metavar="FILE", type=Path,
        help="keep what is finished in this file, so that the same command goes on after an interruption; "
        "deleted at the end",
    )  # fmt: skip
    parser.add_argument(
        "--most-differences", metavar="N", type=_positive, default=100_000,
        help="with --deep: documents that are looked into one by one [default 100000]",
    )  # fmt: skip
    parser.add_argument(
        "--strict", action="store_true",
        help="end with 3 for notes, too: documents that are gone from the source, or changed there, since",
    )  # fmt: skip
    add_setting_flags(
        parser,
        (
            *DATABASES, "contract", "source_name", "target_schema", "workers", "executor", "retry_seconds",
            "read_only_intent", "snapshot", *TIME_LIMITS, "progress", *LOG,
        ),
    )  # fmt: skip
    add_json_flag(parser)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it takes a whole number, 1 or more")
    return number


def verify(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Prove a load."""
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.signals import StopOnSignals
    from xml_extractor.operations.verification import VerifyOptions
    from xml_extractor.operations.verification import verify as run
    from xml_extractor.profiling.reading_progress import ReadingProgress

    contract = find_contract(settings.contract)
    where = cli_commands._databases(settings)
    how = VerifyOptions(
        deep=arguments.deep,
        manifest=arguments.manifest,
        checkpoint=arguments.checkpoint,
        most_differences=arguments.most_differences,
    )
    with StopOnSignals() as stop, ReadingProgress(settings.progress, output.err) as progress:
        report = run(
            where.source, where.target, contract, settings.options(), how,
            on_start=stop.attach, on_progress=progress.update,
        )  # fmt: skip
    if arguments.json:
        output.json({**report.to_json(), "clean": report.is_clean(strict=arguments.strict)})
    else:
        for line in report.lines():
            output.line(line)
    return report.exit_code(strict=arguments.strict)
