"""The commands: they translate flags into calls, and errors into exit codes."""

from __future__ import annotations

import argparse
import difflib
import gc
import logging
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from xml_extractor import failpoints
from xml_extractor.cli_flags import (
    DATABASES,
    LOAD,
    LOG,
    SOURCE,
    TIME_LIMITS,
    WATCH,
    add_config_flag,
    add_json_flag,
    add_setting_flags,
    setting_flags,
)
from xml_extractor.cli_output import Output, use_utf8
from xml_extractor.errors import ExitCode, LoaderError
from xml_extractor.operations.signals import leave
from xml_extractor.settings import Settings
from xml_extractor.settings_reading import read_settings

logger = logging.getLogger(__name__)

Command = Callable[[argparse.Namespace, Settings, Output], ExitCode]

EXIT_CODES: Final = """\
exit codes: 0 all well; 2 usage, settings or contract wrong, or tables missing; 3 finished, but something
needs a look (quarantined documents); 4 the source failed; 5 the target failed; 6 halted by a guard;
130, 143 stopped by a signal after draining; 1 a bug"""


def run_program(program: str = "xml-extractor", *words: str) -> NoReturn:
    """Run the command that stands on this program's command line, behind ``words``, and end the program."""
    try:
        status = main([*words, *sys.argv[1:]], program=program)
    except KeyboardInterrupt:
        status = ExitCode.INTERRUPTED
    # At the end Python looks through all objects once more, for 0.2 s after a load; all go in any case.
    gc.freeze()
    leave(status)


def main(arguments: Sequence[str] | None = None, *, program: str = "xml-extractor") -> int:
    """Run one command and return its exit status."""
    use_utf8()
    parser = make_parser(program)
    parsed, unknown = parser.parse_known_args(arguments)
    if unknown:
        parsed.parser.error(_unknown(unknown, parsed.parser))
    return run_command(parsed.run, parsed)


def make_parser(program: str = "xml-extractor") -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    from xml_extractor import (
        __version__,
        cli_doctor,
        cli_quarantine,
        cli_report,
        cli_rollback,
        cli_status,
        cli_verify,
    )
    from xml_extractor import cli_commands as commands

    # production_processor.py is the load command: its usage must not show the word "load".
    load_program = program if program.endswith(".py") else None
    parser = argparse.ArgumentParser(
        prog=program,
        description="Loads XML documents from the rows of a table into relational tables, each exactly once.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"xml-extractor {__version__}")
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(
        name: str,
        run: Command,
        about: str,
        *,
        of: argparse._SubParsersAction[argparse.ArgumentParser] = subparsers,
        prog: str | None = None,
    ) -> argparse.ArgumentParser:
        made = of.add_parser(
            name,
            prog=prog,
            help=about[0].lower() + about[1:],
            description=about + ".",
            epilog=EXIT_CODES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
        )
        made.set_defaults(run=run, parser=made)
        add_config_flag(made)
        return made

    def group(name: str, about: str) -> argparse._SubParsersAction[argparse.ArgumentParser]:
        made = subparsers.add_parser(
            name, help=about[0].lower() + about[1:], description=about + ".", allow_abbrev=False
        )
        return made.add_subparsers(metavar="COMMAND", required=True)

    load = command("load", commands.load, "Load all pending documents", prog=load_program)
    add_setting_flags(load, (*DATABASES, "contract", *LOAD, "summary", *WATCH, "progress", *LOG))
    add_json_flag(load)

    stage = command(
        "stage", commands.stage, "Put files, folders, zip archives and dumps into the source table"
    )
    add_setting_flags(stage, (*SOURCE, "contract", *TIME_LIMITS, *LOG))
    add_json_flag(stage)
    stage.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="XML file, .xml.gz, folder or zip")

    sample = command("sample", commands.sample, "Write synthetic loan applications into the source table")
    add_setting_flags(sample, (*SOURCE, "contract", *TIME_LIMITS, *LOG))
    add_json_flag(sample)
    sample.add_argument("--documents", metavar="N", type=int, default=10_000, help="how many [default 10000]")
    sample.add_argument(
        "--seed", metavar="S", type=int, default=1, help="equal seeds, equal documents [default 1]"
    )

    contract = group("contract", "Look at mapping contracts")
    check = command("check", commands.contract_check, "List all mistakes in a contract", of=contract)
    check.add_argument("file", metavar="FILE", help="the contract")
    add_setting_flags(check, LOG)
    add_json_flag(check)
    ddl = command("ddl", commands.contract_ddl, "Print the tables that a contract needs as SQL", of=contract)
    ddl.add_argument("file", metavar="FILE", help="the contract")
    ddl.add_argument("--dialect", metavar="NAME", required=True, help=commands.dialect_help())
    ddl.add_argument(
        "--schema", metavar="NAME",
        help="put the tables that are named without a schema into this one "
        "[default: the target_schema of the settings, else the server's choice]",
    )  # fmt: skip
    add_setting_flags(ddl, LOG)
    add_json_flag(ddl)
    schema = command("schema", commands.contract_schema, "Print the JSON Schema of contracts", of=contract)
    add_setting_flags(schema, LOG)
    add_json_flag(schema)

    cli_quarantine.add_commands(group("quarantine", "Look at refused documents and load them again"), command)

    cli_status.add_flags(command("status", cli_status.status, cli_status.ABOUT))

    rollback = command("rollback", cli_rollback.rollback, "Take back what one load wrote, and nothing else")
    cli_rollback.add_rollback_arguments(rollback)

    cli_verify.add_flags(command("verify", cli_verify.verify, cli_verify.ABOUT))

    cli_report.add_flags(command("report", cli_report.report, cli_report.ABOUT))

    doctor = command(
        "doctor", cli_doctor.doctor, "Look at source and target, and say what to do before a load"
    )
    doctor.add_argument(
        "--grant-script", metavar="USER", nargs="?", const="xml_loader",
        help="print the statements that give a database user just what a load needs, and end "
        "[USER: xml_loader]",
    )  # fmt: skip
    add_setting_flags(doctor, (*DATABASES, "contract", *LOAD, *LOG))
    add_json_flag(doctor)
    return parser


def _unknown(words: Sequence[str], parser: argparse.ArgumentParser) -> str:
    """Say which words a command does not take; flags without their values, which may be passwords."""
    flags = [word.partition("=")[0] for word in words if word.startswith("-")]
    known = [option for option in parser._option_string_actions if option.startswith("--")]
    said = []
    for word in flags:
        close = difflib.get_close_matches(word, known, n=1)
        said.append(word + (f" (did you mean {close[0]}?)" if close else ""))
    if not said:
        return f"what is {words[0]!r} for? {parser.prog} takes no such argument; --help lists what it takes"
    return f"unknown: {', '.join(said)}; --help lists what it takes"


def run_command(run: Command, arguments: argparse.Namespace) -> int:
    """Run a command; every error ends here, as one message and its exit status."""
    from xml_extractor.profiling.logging_setup import FILE_ONLY, close_logging, set_up_logging

    output = Output()
    # As it is by default, until the settings are known: they may be what is wrong.
    set_up_logging("info", None, output.err)
    try:
        settings = read_settings(setting_flags(arguments), config=arguments.config)
        set_up_logging(settings.log_level, settings.log_file, output.err)
        failpoints.announce()
        code = run(arguments, settings, output)
        sys.stdout.flush()
        return code
    except LoaderError as error:
        output.error(str(error))
        logger.error("%s", type(error).__name__, exc_info=True, extra=FILE_ONLY)
        return error.exit_code
    except BrokenPipeError:
        # Whoever read our output has gone (head, less); Python would complain about it once more at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.OK
    except KeyboardInterrupt:
        output.error("stopped by SIGINT")
        return ExitCode.INTERRUPTED
    except MemoryError:
        output.error(
            "there is no memory left; nothing is lost: run the same command again to go on, with more memory "
            "or with fewer --workers (--memory-limit SIZE lets a load choose for itself)"
        )
        logger.error("MemoryError", exc_info=True, extra=FILE_ONLY)
        return ExitCode.BUG
    except Exception as error:  # what nobody foresaw is a bug, and says so
        output.error(
            f"this is a bug: {type(error).__name__}; please report it with the log (--log-file FILE, or "
            "--log-level debug, holds the traceback)"
        )
        logger.error("%s", type(error).__name__, exc_info=True, extra=FILE_ONLY)
        return ExitCode.BUG
    finally:
        close_logging()
