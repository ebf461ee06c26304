"""One format for all log lines, whether they go to a terminal, a pipe or a file."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.logging import RichHandler

from xml_extractor.errors import UsageError

LOGGER: Final = "xml_extractor"
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(threadName)s %(name)s: %(message)s"
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%z"


class _WithoutTraceback(logging.Formatter):
    """On the screen an error is its message; the traceback is for the log file, or for level debug."""

    def format(self, record: logging.LogRecord) -> str:
        # Set so by logging.Formatter itself; kept from the handlers that come after this one.
        exc_info, exc_text = record.exc_info, record.exc_text
        record.exc_info = record.exc_text = None
        try:
            return super().format(record)
        finally:
            record.exc_info, record.exc_text = exc_info, exc_text


def set_up_logging(level: str, log_file: Path | None, console: Console) -> None:
    """Send the product's log to ``console`` (standard error's) and, if named, to a file.

    On a terminal lines go through rich, so that they do not break a progress bar.  May be called again;
    the handlers of the call before are closed.

    Raises:
        UsageError: the log file cannot be written.
    """
    logger = logging.getLogger(LOGGER)
    close_logging()
    logger.setLevel(level.upper())
    logger.propagate = False
    tracebacks = level.lower() == "debug"
    screen: logging.Handler
    if console.is_terminal:
        screen = RichHandler(
            console=console, show_path=False, markup=False, rich_tracebacks=False, highlighter=None
        )
        screen.setFormatter((logging.Formatter if tracebacks else _WithoutTraceback)("%(message)s"))
    else:
        screen = logging.StreamHandler(console.file)
        screen.setFormatter((logging.Formatter if tracebacks else _WithoutTraceback)(_FORMAT, _TIME_FORMAT))
    logger.addHandler(screen)
    if log_file is None:
        return
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        to_file = logging.FileHandler(log_file, encoding="utf-8")
    except OSError as error:
        raise UsageError(
            f"--log-file {log_file}: cannot be written ({error.strerror}); name a file in a folder that can"
        ) from error
    to_file.setFormatter(logging.Formatter(_FORMAT, _TIME_FORMAT))
    logger.addHandler(to_file)


def close_logging() -> None:
    """Flush and close the handlers that :func:`set_up_logging` made."""
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
