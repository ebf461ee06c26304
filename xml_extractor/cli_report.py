"""``--report`` of a load, and the command ``report``, which makes the same page from a summary's file."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from types import TracebackType
from typing import Final

from xml_extractor.cli_flags import LOG, add_setting_flags
from xml_extractor.cli_output import PAGE, Output, check_writable
from xml_extractor.errors import ExitCode, LoaderError
from xml_extractor.profiling.logging_setup import FILE_ONLY
from xml_extractor.profiling.observer import LoadObserver
from xml_extractor.profiling.summary import LoadSummary
from xml_extractor.settings import Settings

ABOUT: Final = "Make the page of --report from the file that an earlier load wrote with --summary"

logger = logging.getLogger(__name__)


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add what ``report`` takes."""
    parser.add_argument("summary", metavar="SUMMARY", type=Path, help="file that `load --summary` wrote")
    parser.add_argument("page", metavar="FILE", type=Path, help="HTML file to write")
    add_setting_flags(parser, LOG)


def report(arguments: argparse.Namespace, _settings: Settings, output: Output) -> ExitCode:
    """Make the report of an earlier load."""
    from xml_extractor.profiling.report.reading import read_summary

    summary = read_summary(arguments.summary)
    check_writable("FILE", arguments.page, PAGE)
    from xml_extractor.profiling.report.load_page import write_load_report

    try:
        write_load_report(summary, arguments.page)
    except OSError as error:
        raise _NotWritten(f"{arguments.page} cannot be written: {_why(error)}") from error
    output.line(f"{arguments.page} written")
    return ExitCode.OK


def _why(error: OSError) -> str:
    return error.strerror or type(error).__name__


class _NotWritten(LoaderError):
    """The page cannot be written, for a reason that could not be seen beforehand, such as a full disk."""

    exit_code = ExitCode.USAGE


class ReportAtEnd(LoadObserver):
    """Writes the report of the load that runs inside, however it ends; a failure to do so harms no load.

    Written at the very end, when all else has been said and recorded, because drawing takes a second or two.
    """

    def __init__(self, path: Path | None, output: Output) -> None:
        if path is not None:
            check_writable("--report", path, PAGE)
        self._path = path
        self._output = output
        self._summary: LoadSummary | None = None

    def end(self, summary: LoadSummary) -> None:
        """Keep the figures."""
        self._summary = summary

    def __enter__(self) -> ReportAtEnd:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._path is None or self._summary is None:
            return
        try:
            from xml_extractor.profiling.report.load_page import write_load_report

            write_load_report(self._summary, self._path)
        except OSError as problem:
            self._complain(f"cannot be written: {_why(problem)}", problem)
        except Exception as problem:  # noqa: BLE001 - a library's defect, or no memory: the load is done
            self._complain(f"could not be made ({type(problem).__name__})", problem)
        else:
            self._output.say(f"Report: {self._path}")

    def _complain(self, what: str, problem: Exception) -> None:
        self._output.error(
            f"--report {self._path} {what}; the load itself is as told above, and where --summary kept its "
            "figures, `python -m xml_extractor report SUMMARY FILE` makes the report again"
        )
        logger.error("the report: %s", type(problem).__name__, exc_info=problem, extra=FILE_ONLY)
