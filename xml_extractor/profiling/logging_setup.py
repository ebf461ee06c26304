"""One format for all log lines, whether they go to a terminal, a pipe or a file."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.logging import RichHandler

from xml_extractor.errors import HiddenCause, LoaderError, UsageError

LOGGER: Final = "xml_extractor"
_FORMAT: Final = "%(asctime)s %(levelname)-7s %(threadName)s %(name)s: %(message)s"
_TIME_FORMAT: Final = "%Y-%m-%dT%H:%M:%S%z"


FILE_ONLY: Final = {"file_only": True}
"""``extra`` of a record that the screen shows at level debug only: its message was told otherwise."""


class _Formatter(logging.Formatter):
    """Tracebacks name places and types; of messages only our own, as a driver's may quote a document.

    Args:
        tracebacks: whether to write tracebacks at all.
    """

    def __init__(self, form: str, *, tracebacks: bool) -> None:
        super().__init__(form, _TIME_FORMAT)
        self._tracebacks = tracebacks

    def format(self, record: logging.LogRecord) -> str:
        text = _one_line(super().format(_without_exception(record)))
        if not self._tracebacks or record.exc_info is None or record.exc_info[1] is None:
            return text
        return text + "\n" + private_traceback(record.exc_info[1])


def _without_exception(record: logging.LogRecord) -> logging.LogRecord:
    copy = logging.makeLogRecord(record.__dict__)
    copy.exc_info = copy.exc_text = None
    return copy


def _one_line(text: str) -> str:
    # A key or a file name may hold line breaks; a log line must not look like two.
    return text.replace("\r", "\\r").replace("\n", "\n    ")


def private_traceback(error: BaseException) -> str:
    """Return the traceback of an error and its causes, with the messages of our own exceptions only."""
    parts: list[str] = []
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        message = f": {current}" if isinstance(current, (LoaderError, HiddenCause)) else ""
        frames = "".join(traceback.format_tb(current.__traceback__))
        parts.append(f"Traceback (most recent call last):\n{frames}{type(current).__qualname__}{message}")
        current = current.__cause__ or (None if current.__suppress_context__ else current.__context__)
    return "\n\nwhich was caused by\n\n".join(parts)


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
        screen.setFormatter(_Formatter("%(message)s", tracebacks=tracebacks))
    else:
        screen = logging.StreamHandler(console.file)
        screen.setFormatter(_Formatter(_FORMAT, tracebacks=tracebacks))
    if not tracebacks:
        screen.addFilter(lambda record: not getattr(record, "file_only", False))
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
    to_file.setFormatter(_Formatter(_FORMAT, tracebacks=True))
    logger.addHandler(to_file)


def close_logging() -> None:
    """Flush and close the handlers that :func:`set_up_logging` made."""
    logger = logging.getLogger(LOGGER)
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
