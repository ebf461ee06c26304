"""The ``quarantine`` commands: their flags, and how refused documents are shown."""

from __future__ import annotations

import argparse
import logging
import threading
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from xml_extractor import cli_commands
from xml_extractor.cli_flags import (
    DATABASES,
    LOAD,
    LOG,
    TIME_LIMITS,
    WATCH,
    add_json_flag,
    add_setting_flags,
)
from xml_extractor.cli_output import Output
from xml_extractor.cli_quarantine_tables import show_documents, show_groups
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.mapping.records import Stage
from xml_extractor.settings import Settings

if TYPE_CHECKING:
    from xml_extractor.operations.quarantine import (
        QuarantinedDocument,
        QuarantineFilter,
        QuarantineGroup,
        SourceDocuments,
    )
    from xml_extractor.operations.quarantine_export import ExportResult
    from xml_extractor.operations.quarantine_purge import PurgeResult

logger = logging.getLogger(__name__)

NOT_FOR_REPLAY: Final = (
    "limit", "app_id_start", "app_id_end", "on_plan_change", "on_change", "max_quarantined", "max_drift",
    "drift_sample",
)  # fmt: skip
"""Settings of a load that say nothing to documents that are named, and are in quarantine already."""

_LOG_EVERY: Final = 50_000
"""Documents between two lines that say how far a command has come."""


def add_commands(
    group: argparse._SubParsersAction[argparse.ArgumentParser],
    command: Callable[..., argparse.ArgumentParser],
) -> None:
    """Add the commands to the parser.

    Args:
        command: makes the parser of one command.
    """
    listing = command("list", list_, "List quarantined documents by reason", of=group)
    listing.add_argument(
        "--each", action="store_true",
        help="list the documents themselves, the latest first, as with --key and --code",
    )  # fmt: skip
    listing.add_argument(
        "--first", metavar="N", type=_positive, default=100, help="list at most so many [default 100]"
    )
    show = command("show", show_, "Show all that is known of one document", of=group)
    show.add_argument("key", metavar="KEY", help="its source key")
    show.add_argument("--document", action="store_true", help="print the document itself too")
    export = command("export", export_, "Write reasons, and documents if asked for, into files", of=group)
    export.add_argument(
        "file", metavar="FILE", type=Path,
        help="file for the reasons, one line of JSON a document, or a folder for quarantine.jsonl",
    )  # fmt: skip
    export.add_argument(
        "--documents", metavar="DIR", type=Path,
        help="write the documents of the contract's source, too, into files of this empty or new folder",
    )  # fmt: skip
    replay = command("replay", replay_, "Load quarantined documents after a fix", of=group)
    purge = command("purge", purge_, "Take documents out of quarantine without loading them", of=group)
    purge.add_argument(
        "--pending", action="store_true",
        help="let the next load try them again; else every later load leaves them alone as skipped",
    )  # fmt: skip
    purge.add_argument("--yes", action="store_true", help="do not ask first")
    for parser in (listing, export, replay, purge):
        parser.add_argument("--code", metavar="CODE", help="only those with this reason")
        parser.add_argument(
            "--stage", choices=[stage.value for stage in Stage], help="only those refused at this stage"
        )
        parser.add_argument(
            "--key", metavar="KEY", action="append", default=[], help="only this key (may be repeated)"
        )
    for parser in (listing, export, purge):
        parser.add_argument(
            "--older-than", metavar="DAYS", type=_days, help="only those refused longer ago than this"
        )
    for parser in (listing, show, export, purge):
        add_setting_flags(parser, (*DATABASES, "target_schema", "contract", *TIME_LIMITS, *LOG))
        add_json_flag(parser)
    options = [name for name in LOAD if name not in NOT_FOR_REPLAY]
    add_setting_flags(replay, (*DATABASES, "contract", *options, "summary", *WATCH, "progress", *LOG))
    add_json_flag(replay)


def _positive(text: str) -> int:
    number = int(text) if text.isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it takes a whole number, 1 or more")
    return number


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= 100_000:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not allowed; it takes a number of days such as 30 or 0.5"
        )
    return days


def _wanted(arguments: argparse.Namespace) -> QuarantineFilter:
    from xml_extractor.operations.quarantine import QuarantineFilter

    days = getattr(arguments, "older_than", None)
    before = None if days is None else datetime.now(UTC) - timedelta(days=days)
    return QuarantineFilter(
        code=arguments.code, stage=arguments.stage, keys=tuple(arguments.key), before=before
    )


def _restriction(arguments: argparse.Namespace) -> str:
    """Return in words to which documents flags restrict a command."""
    flags = [(f"--{name}", getattr(arguments, name)) for name in ("code", "stage")]
    flags += [("--key", key) for key in arguments.key]
    days = getattr(arguments, "older_than", None)
    flags.append(("--older-than", None if days is None else f"{days:g}"))
    given = [f"{flag} {value}" for flag, value in flags if value is not None]
    return " with " + " ".join(given) if given else ""


def _documents(number: int) -> str:
    return f"{number:,} document{'' if number == 1 else 's'}"


# -------------------------------------------------------------------------------------------- list


def list_(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """List quarantined documents: by reason, or each."""
    from xml_extractor.operations.bookkeeping import Bookkeeping
    from xml_extractor.operations.quarantine import count_quarantined, list_quarantined, quarantine_groups

    wanted = _wanted(arguments)
    each = arguments.each or arguments.code is not None or bool(arguments.key)
    documents: list[QuarantinedDocument] = []
    groups: list[QuarantineGroup] = []
    with Bookkeeping(cli_commands._databases(settings).target, settings.options()) as bookkeeping:
        place = bookkeeping.engine.display  # another database has other documents in quarantine
        total = count_quarantined(bookkeeping.ask, wanted)
        if total and (each or arguments.json):
            documents = list_quarantined(bookkeeping.ask, wanted, arguments.first)
        if total and (not each or arguments.json) and not wanted.keys:
            groups = quarantine_groups(bookkeeping.ask, wanted)
    if arguments.json:
        output.json(
            {
                "total": total,
                "reasons": [group.to_json() for group in groups],
                "documents": [document.to_json() for document in documents],
            }
        )
        return ExitCode.NEEDS_A_LOOK if total else ExitCode.OK
    output.line(place)
    if not total:
        output.line(f"No document{_restriction(arguments)} is in quarantine.")
    elif each:
        show_documents(output, documents)
        if total > len(documents):
            output.line(f"… and {total - len(documents):,} more (--first {total})")
    else:
        show_groups(output, groups[: arguments.first])
        if not output.out.is_terminal:
            output.line()
        if len(groups) > arguments.first:
            output.line(f"… and {len(groups) - arguments.first:,} more reasons (--first {len(groups)})")
        output.line(f"{_documents(total)} in quarantine; --code REASON or --each lists them singly.")
    return ExitCode.NEEDS_A_LOOK if total else ExitCode.OK


# -------------------------------------------------------------------------------------------- show


def show_(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Show all that is known of one document; more than one where several contracts have its key."""
    from xml_extractor.operations.bookkeeping import Bookkeeping
    from xml_extractor.operations.quarantine import MAX_KEYS, QuarantineFilter, list_quarantined

    where = cli_commands._databases(settings)
    with Bookkeeping(where.target, settings.options()) as bookkeeping:
        documents = list_quarantined(bookkeeping.ask, QuarantineFilter(keys=(arguments.key,)), MAX_KEYS)
    if not documents:
        raise UsageError(
            f"no document with key {arguments.key!r} is in quarantine; `quarantine list` shows which are"
        )
    found = _in_the_source(documents, arguments, settings)
    content = found.pop("content", None)
    if arguments.json:
        shown = [{**document.to_json(), **found} for document in documents]
        output.json({"documents": shown, **({"content": content} if arguments.document else {})})
        return ExitCode.NEEDS_A_LOOK
    for document in documents:
        figures = {**document.to_json(), **found}
        figures["is_newer_version"] = "yes, an older one is loaded" if document.is_newer_version else "no"
        width = max(map(len, figures))
        for name, value in figures.items():
            if value is not None:
                output.line(f"{name.replace('_', ' '):<{width}}  {value}")
        output.line()
    if content is not None:
        output.line(content)
    return ExitCode.NEEDS_A_LOOK


def _in_the_source(
    documents: list[QuarantinedDocument], arguments: argparse.Namespace, settings: Settings
) -> dict[str, Any]:
    """Say what the source holds under the documents' key now; its content only where it is asked for."""
    from xml_extractor.errors import SourceError
    from xml_extractor.operations.quarantine import content_text, has_changed

    try:
        with _source(settings) as source:
            for document in documents:
                if source.key(document) is None:
                    continue
                now = source.of(document)
                if now is None:
                    if arguments.document:
                        raise UsageError(f"the source holds no document with key {document.key!r} any more")
                    return {"source_row": "is not there any more"}
                said = {True: "has changed since", False: "is what was refused", None: "is there"}
                content = {"content": content_text(now)} if arguments.document else {}
                return {"source_row": said[has_changed(document, now)], **content}
    except SourceError as error:
        if arguments.document:
            raise
        return {"source_row": f"not looked at: {error}"}
    if arguments.document:
        names = ", ".join(sorted({document.contract for document in documents}))
        raise UsageError(f"the document belongs to contract {names}: name that contract with --contract")
    return {"source_row": "not looked at: --contract names another contract"}


def _source(settings: Settings) -> SourceDocuments:
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.quarantine import SourceDocuments

    return SourceDocuments(
        cli_commands._databases(settings).source, find_contract(settings.contract), settings.options()
    )


# ------------------------------------------------------------------------------------------ export


def export_(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Write reasons, and documents if asked for, into files."""
    from xml_extractor.operations import quarantine_export as files
    from xml_extractor.operations.bookkeeping import Bookkeeping
    from xml_extractor.operations.signals import StopOnSignals

    wanted = _wanted(arguments)
    file = files.reasons_file(arguments.file)
    tell = _Teller("exported")

    def on_page(result: ExportResult) -> None:
        tell(result.exported)

    with (
        StopOnSignals(),
        Bookkeeping(cli_commands._databases(settings).target, settings.options()) as bookkeeping,
    ):
        if arguments.documents is None:
            result = files.export(bookkeeping.ask, wanted, file, on_page=on_page)
        else:
            with _source(settings) as source:
                folder = files.documents_folder(arguments.documents)
                result = files.export(
                    bookkeeping.ask, wanted, file, folder=folder, source=source, on_page=on_page
                )
    if arguments.json:
        output.json(result.to_json())
        return ExitCode.OK
    output.line(f"The reasons of {_documents(result.exported)} are in {result.file}.")
    if result.documents is not None:
        output.line(
            f"{_documents(result.documents)} {'is' if result.documents == 1 else 'are'} in "
            f"{arguments.documents}."
        )
    if result.missing:
        output.line(f"{result.missing:,} could not be had: gone from the source, or another contract's.")
    if result.changed:
        output.line(f"{result.changed:,} of them changed in the source since they were refused.")
    return ExitCode.OK


class _Teller:
    """Logs now and then how far a long command has come."""

    def __init__(self, done: str) -> None:
        self._done = done
        self._next = _LOG_EVERY

    def __call__(self, documents: int) -> None:
        if documents >= self._next:
            logger.info("%s %s", f"{documents:,} documents", self._done)
            self._next = documents + _LOG_EVERY


# ------------------------------------------------------------------------------------------ replay


def replay_(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Load quarantined documents again."""
    from xml_extractor.operations.bookkeeping import Bookkeeping
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.load import reach_source, source_name
    from xml_extractor.operations.quarantine import replay_keys
    from xml_extractor.operations.signals import StopOnSignals
    from xml_extractor.target.failures import Connection, retried

    contract = find_contract(settings.contract)
    where = cli_commands._databases(settings)
    options = settings.options()
    name = source_name(options, contract, reach_source(where.source, contract, options))
    wanted = replace(_wanted(arguments), contract=contract.plan.contract, source_name=name)
    with Bookkeeping(where.target, options) as bookkeeping:
        engine = bookkeeping.engine
    # A connection of its own, that is made again when it is lost: the load reads from it until its end.
    connection = Connection(engine, "xml_extractor replay", threading.Event(), write=False)
    with StopOnSignals() as stop, connection:
        keys = replay_keys(
            lambda question: retried(connection, options.retry_seconds, "reading quarantine", question),
            wanted,
            source_name=name,
            contract=contract.plan.contract,
        )
        first = next(keys, None)
        if first is None:
            output.say(
                f"Nothing to replay: no document of {name}{_restriction(arguments)} is in quarantine under "
                f"contract {contract.plan.contract}; `quarantine list` shows what is."
            )
        given = [] if first is None else chain([first], keys)
        return cli_commands._run_load(arguments, settings, output, where, contract, stop, keys=given)


# ------------------------------------------------------------------------------------------- purge


def purge_(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Take documents out of quarantine without loading them."""
    from xml_extractor.operations.bookkeeping import Bookkeeping
    from xml_extractor.operations.quarantine import count_quarantined
    from xml_extractor.operations.quarantine_purge import PurgeResult, purge
    from xml_extractor.operations.signals import StopOnSignals

    wanted = _wanted(arguments)
    target = cli_commands._databases(settings).target
    with Bookkeeping(target, settings.options()) as bookkeeping:
        total = count_quarantined(bookkeeping.ask, wanted)
        display = bookkeeping.engine.display
    result = PurgeResult()
    if total and not arguments.yes:
        outcome = (
            "the next load tries them again" if arguments.pending else "every later load leaves them alone"
        )
        answer = output.confirm(
            f"Take {_documents(total)}{_restriction(arguments)} out of quarantine in {display}? Their "
            f"reasons are deleted, and {outcome}."
        )
        if answer is None:
            raise UsageError(
                f"{_documents(total)} would be purged; there is no terminal to ask on, so add --yes to say "
                "that this is meant"
            )
        if not answer:
            output.say("Nothing was purged.")
            return ExitCode.OK
    if total:
        tell = _Teller("purged")

        def on_batch(done: PurgeResult) -> None:
            tell(done.documents)

        with StopOnSignals():
            result = purge(
                target, settings.options(), wanted, make_pending=arguments.pending, on_batch=on_batch
            )
    if arguments.json:
        output.json(result.to_json())
    elif not total:
        output.line(f"No document{_restriction(arguments)} is in quarantine.")
    else:
        for line in _purged(result):
            output.line(line)
    return ExitCode.OK


def _purged(result: PurgeResult) -> Iterable[str]:
    if result.skipped or not result.documents:
        yield f"{_documents(result.skipped)} purged: the ledger says skipped from now on."
    if result.pending:
        yield f"{_documents(result.pending)} purged: pending again, for the next load."
    if result.loaded:
        yield (
            f"{_documents(result.loaded)} purged whose older version is loaded: it stays, and --on-change "
            "finds the newer one again."
        )
