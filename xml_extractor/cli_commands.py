"""What each command does with its flags: call an operation, print what it returns."""

from __future__ import annotations

import argparse
import gc
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from xml_extractor.cli_output import JSON, Output, check_different, check_writable
from xml_extractor.cli_report import ReportAtEnd
from xml_extractor.errors import ExitCode, UsageError
from xml_extractor.settings import Databases, Settings, databases, flag

# Operations are imported by the command that needs them: `--help` and `contract check` need no database.


def load(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Load all pending documents."""
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.embedded import prepare_embedded
    from xml_extractor.operations.signals import StopOnSignals

    contract = find_contract(settings.contract)
    where = _databases(settings)
    with StopOnSignals() as stop:
        if where.source_is_embedded:
            prepare_embedded(where.source, contract, output.say)
        return _run_load(arguments, settings, output, where, contract, stop, keys=None)


def _databases(settings: Settings) -> Databases:
    """Settle which databases are meant; a URL that cannot be used is told with the setting it came by."""
    from xml_extractor.engines import open_engine

    where = databases(settings)
    for side, url in (("source", where.source), ("target", where.target)):
        named = side if getattr(settings, side) is not None else "server"
        if getattr(settings, named) is None or (side == "target" and url.startswith(("null:", "jsonl:"))):
            continue
        try:
            open_engine(url)  # connects to nothing
        except UsageError as error:
            raise UsageError(f"{flag(named)}: {error}") from None
    return where


def _run_load(
    arguments: argparse.Namespace,
    settings: Settings,
    output: Output,
    where: Databases,
    contract: Any,
    stop: Any,
    keys: Any,
) -> ExitCode:
    from xml_extractor.operations.live import live_observers
    from xml_extractor.operations.load import load as run
    from xml_extractor.profiling.progress import open_progress
    from xml_extractor.profiling.summary import LoadSummary
    from xml_extractor.profiling.summary_text import print_summary

    for warning in contract.warnings:
        output.say(f"warning: {warning}")
    options = settings.options()
    if options.create_tables is None:
        options = options.model_copy(update={"create_tables": where.target_is_embedded})
    shown = {**settings.shown(), **options.model_dump(mode="json")}
    shown["source"], shown["target"] = where.shown_source, where.shown_target

    check_different(
        {
            "--summary": settings.summary,
            "--report": settings.report,
            "--metrics-textfile": settings.metrics_textfile,
            "--log-file": settings.log_file,
        }
    )
    if settings.summary is not None:
        check_writable("--summary", settings.summary, JSON)
    at_end = ReportAtEnd(settings.report, output)

    def report(summary: LoadSummary) -> None:
        if settings.summary is not None:
            try:
                summary.write(settings.summary)
            except OSError as error:
                output.error(f"--summary {settings.summary} cannot be written: {error.strerror}")
        if arguments.json:
            output.json(summary.to_json())
        elif keys == [] and summary.error is None:
            pass  # said by the command that found no keys
        elif summary.error is None or summary.documents.read:
            print_summary(summary, output.out, dry_run=options.dry_run)

    with at_end, _settled_objects(), live_observers(settings, contract.plan.contract, output.say) as live:
        summary = run(
            where.source,
            where.target,
            contract,
            options,
            progress=open_progress(settings.progress, output.err),
            on_start=stop.attach,
            on_failure=report,
            settings=shown,
            keys=keys,
            observers=(at_end, *live),
        )
        report(summary)
    return summary.exit_code


@contextmanager
def _settled_objects() -> Iterator[None]:
    """Spare the garbage collector what there is already, modules above all: it would stop all threads over it
    again and again."""
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


def stage(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Put files into the source table."""
    from xml_extractor.operations import staging
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.signals import StopOnSignals

    where = _databases(settings)
    with StopOnSignals():
        summary = staging.stage_files(
            where, find_contract(settings.contract), arguments.paths,
            settings.options(),
        )  # fmt: skip
    if arguments.json:
        output.json(staging.stage_json(summary))
    else:
        for line in staging.stage_lines(summary):
            output.line(line)
    return staging.exit_code(summary)


def sample(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Write synthetic loan applications."""
    from xml_extractor.operations import staging
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.signals import StopOnSignals

    where = _databases(settings)
    with StopOnSignals():
        added = staging.write_sample(
            where, find_contract(settings.contract), arguments.documents, arguments.seed,
            settings.options(),
        )  # fmt: skip
    if arguments.json:
        output.json({"documents": arguments.documents, "added": added, "seed": arguments.seed})
    else:
        there = arguments.documents - added
        output.line(f"{added:,} documents written" + (f", {there:,} were there already" if there else ""))
    return ExitCode.OK


# --------------------------------------------------------------------------------------- contracts


def dialect_help() -> str:
    """Return the help text of ``--dialect``."""
    from xml_extractor.engines import dialect_names

    return "SQL of this engine: " + ", ".join(dialect_names())


def contract_check(arguments: argparse.Namespace, _settings: Settings, output: Output) -> ExitCode:
    """List all mistakes in a contract."""
    from xml_extractor.operations.contracts import check_contract

    result = check_contract(arguments.file)
    if arguments.json:
        output.json(result.to_json())
    else:
        for line in result.lines():
            output.line(line)
    return result.exit_code


def contract_ddl(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Print the tables that a contract needs."""
    from xml_extractor.operations.contracts import contract_statements

    schema = arguments.schema if arguments.schema is not None else settings.target_schema
    statements = contract_statements(arguments.file, arguments.dialect, schema=schema)
    if arguments.json:
        output.json({"dialect": arguments.dialect, "statements": statements})
    else:
        for statement in statements:
            output.line(f"{statement};\n")
    return ExitCode.OK


def contract_schema(_arguments: argparse.Namespace, _settings: Settings, output: Output) -> ExitCode:
    """Print the JSON Schema of contracts."""
    from xml_extractor.contract import contract_schema as json_schema

    output.json(json_schema())
    return ExitCode.OK
