from __future__ import annotations

import io
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console

from xml_extractor.errors import TargetError, UsageError
from xml_extractor.profiling.logging_setup import FILE_ONLY, close_logging, set_up_logging

logger = logging.getLogger("xml_extractor.somewhere")


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    close_logging()


def fail() -> None:
    try:
        raise ValueError(chr(0x2603) + "value of a document".upper())
    except ValueError as error:
        raise TargetError("the disk is full") from error


def log_failure() -> None:
    try:
        fail()
    except TargetError:
        logger.exception("it failed", extra=FILE_ONLY)


@pytest.mark.parametrize("is_terminal", [True, False])
def test_lines_have_level_and_text(is_terminal: bool) -> None:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=is_terminal, width=200, color_system=None)
    set_up_logging("warning", None, console)
    logger.info("not this")
    logger.warning("page [bold]%d[/bold]", 7)
    text = stream.getvalue()
    assert "page [bold]7[/bold]" in text
    assert "WARNING" in text
    assert "not this" not in text


def test_the_screen_shows_no_traceback_but_the_file_does(tmp_path: Path) -> None:
    stream = io.StringIO()
    path = tmp_path / "logs" / "load.log"
    set_up_logging("info", path, Console(file=stream))
    log_failure()
    close_logging()
    assert stream.getvalue() == ""
    text = path.read_text(encoding="utf-8")
    assert "Traceback" in text
    assert "in fail" in text
    assert "TargetError: the disk is full" in text
    assert "ValueError" in text


def test_at_level_debug_the_screen_shows_it_too() -> None:
    stream = io.StringIO()
    set_up_logging("debug", None, Console(file=stream))
    log_failure()
    assert "TargetError: the disk is full" in stream.getvalue()


def test_messages_of_drivers_stay_out_of_the_log(tmp_path: Path) -> None:
    """Law 9: a driver may quote the row that it refuses."""
    path = tmp_path / "load.log"
    stream = io.StringIO()
    set_up_logging("debug", path, Console(file=stream))
    log_failure()
    close_logging()
    text = path.read_text(encoding="utf-8") + stream.getvalue()
    assert "ValueError" in text
    assert chr(0x2603) not in text
    assert "VALUE OF A DOCUMENT" not in text


def test_a_line_break_in_a_message_does_not_look_like_a_second_record() -> None:
    stream = io.StringIO()
    set_up_logging("info", None, Console(file=stream))
    logger.info("key %s", "a\nb")
    assert stream.getvalue().splitlines()[1].startswith("    ")


def test_a_log_file_that_cannot_be_written_is_the_users_mistake(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="--log-file"):
        set_up_logging("info", tmp_path / "file" / "x.log", Console(file=io.StringIO()))
