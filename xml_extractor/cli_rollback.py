"""The ``rollback`` command: asks, and takes back what a load wrote."""

from __future__ import annotations

import argparse

from xml_extractor import cli_commands
from xml_extractor.cli_flags import (
    DATABASES,
    LOG,
    TIME_LIMITS,
    add_json_flag,
    add_setting_flags,
)
from xml_extractor.cli_output import Output
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.settings import Settings


def add_rollback_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags of the command."""
    parser.add_argument("load_id", metavar="LOAD_ID", type=int, help="the load, as `status` numbers it")
    parser.add_argument("--yes", action="store_true", help="do not ask; for scripts")
    parser.add_argument(
        "--force",
        action="store_true",
        help="go on although a load of the same source is marked as running: none is at work, it was killed",
    )
    add_setting_flags(
        parser,
        (
            *DATABASES,
            "target_schema",
            "contract",
            "batch_size",
            "avoid_lock_escalation",
            "retry_seconds",
            *TIME_LIMITS,
            "progress",
            *LOG,
        ),
    )
    add_json_flag(parser)


def rollback(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Take back what a load wrote."""
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.rollback import Rollback
    from xml_extractor.operations.signals import StopOnSignals
    from xml_extractor.profiling.progress import open_progress

    contract = find_contract(settings.contract)
    target = cli_commands._databases(settings).target
    with (
        StopOnSignals() as stop,
        Rollback(target, contract, arguments.load_id, settings.options(), force=arguments.force) as back,
    ):
        preview = back.preview()
        if preview.is_done:
            output.say(f"Load {arguments.load_id} is rolled back already; nothing is left of it.")
        elif not arguments.yes:
            for line in preview.lines():
                output.say(line)
            answer = output.confirm(f"Roll load {arguments.load_id} back?")
            if answer is None:
                raise UsageError("nobody can be asked here, as there is no terminal: give --yes to go on")
            if not answer:
                output.say("Nothing was changed.")
                return ExitCode.OK
        stop.attach(back)
        done = back.run(preview, open_progress(settings.progress, output.err, "Rolling back"))
    if arguments.json:
        output.json({**done.to_json(), "may_have_replaced": preview.replaced is not None})
    elif not preview.is_done:
        output.line(
            f"Rolled back load {done.load_id}: {done.rows:,} rows of {done.total:,} documents deleted; the "
            "documents are pending."
        )
        if done.left:
            output.line(
                f"{done.left:,} documents were left as they are, because their rows are not those that were "
                "loaded:"
            )
            for reason in done.reasons:
                output.line(f"  {reason}")
            if done.left > len(done.reasons):
                output.line(f"  … and {done.left - len(done.reasons):,} more")
            output.line(
                "Mend their rows, or delete what is left of them and their rows in load_ledger, then run the "
                f"same command again. Until then load {done.load_id} is {done.state.value}; other loads can "
                "start, and take these documents for loaded."
            )
    return ExitCode.NEEDS_A_LOOK if done.left else ExitCode.OK
