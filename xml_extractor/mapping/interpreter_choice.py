"""Which interpreter runs a plan: the native one where it can be had, else the Python one.

The one place where that is decided, by ``XML_EXTRACTOR_INTERPRETER``: ``auto``, ``native`` (an error where
there is none) or ``python``.  The rows are the same.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
from collections.abc import Callable
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import TYPE_CHECKING, Final, Protocol

from lxml import etree

from xml_extractor.contract.plan import Plan
from xml_extractor.errors import UsageError
from xml_extractor.mapping.interpreter import Interpreter
from xml_extractor.mapping.layouts import LayoutEncoder, RowEncoder
from xml_extractor.mapping.records import EncodedDocument, MappedDocument, SourceDocument

if TYPE_CHECKING:
    from xml_extractor.mapping._native import NativeInterpreter

VARIABLE: Final = "XML_EXTRACTOR_INTERPRETER"

_LOG = logging.getLogger(__name__)


class InterpreterChoice(StrEnum):
    """What :data:`VARIABLE` can say."""

    AUTO = "auto"
    NATIVE = "native"
    PYTHON = "python"


DEFAULT: Final = InterpreterChoice.AUTO


class PlanInterpreter(Protocol):
    """What runs a plan; see :class:`~xml_extractor.mapping.interpreter.Interpreter`."""

    def run(self, root: etree._Element, document: SourceDocument) -> MappedDocument:
        """Map one parsed document."""
        ...


def interpreter_for(
    plan: Plan,
    load_started_at: datetime,
    choice: InterpreterChoice | None = None,
    encoder: RowEncoder | None = None,
) -> PlanInterpreter:
    """Return an interpreter of the plan.  Not thread-safe: one per worker.

    Args:
        plan: the compiled contract.
        load_started_at: what GETUTCDATE() answers, UTC.
        choice: which one; as the environment says unless stated.
        encoder: what rows are to be encoded by, see :func:`encoder_of`.

    Raises:
        UsageError: the variable holds another word, or asks for the native interpreter and there is none.
        ValueError, UsageError: as :class:`~xml_extractor.mapping.interpreter.Interpreter`.
    """
    python = Interpreter(plan, load_started_at)
    wanted = _wanted() if choice is None else choice
    native = _chosen(wanted)
    if native is None:
        return python
    try:
        return native(python, encoder if isinstance(encoder, LayoutEncoder) else None)
    except NotImplementedError as error:
        if wanted is InterpreterChoice.NATIVE:
            raise UsageError(f"the contract cannot be run by the native interpreter: {error}") from error
        return python


def encoder_of(
    interpreter: PlanInterpreter,
) -> Callable[[etree._Element, SourceDocument], EncodedDocument | MappedDocument] | None:
    """Return the interpreter's own way from a parsed document to encoded rows; None where it has none.

    The native one has it where its encoder says how rows are laid out; what Python has to map is still to be
    encoded then.  It raises :class:`~xml_extractor.mapping.encoded.EncoderFailed` where the encoder fails.
    """
    return getattr(interpreter, "encode", None) if getattr(interpreter, "encodes", False) else None


def announce() -> None:
    """Say, once in a process, if the Python interpreter will serve in place of the native one.

    Raises:
        UsageError: as :func:`interpreter_for`.
    """
    _chosen(_wanted())


def serving(wanted: InterpreterChoice | None = None) -> tuple[InterpreterChoice, str]:
    """Return which interpreter runs plans in this process, and why it is not the native one, where it is not.

    Processes that this one starts choose for themselves: by the same setting, from the same files.

    Args:
        wanted: which one is asked for; as the environment says unless stated.

    Raises:
        UsageError: as :func:`interpreter_for`.
    """
    native, why_not = _settled(_wanted() if wanted is None else wanted)
    return (InterpreterChoice.PYTHON if native is None else InterpreterChoice.NATIVE), why_not


def _chosen(wanted: InterpreterChoice) -> type[NativeInterpreter] | None:
    native, why_not = _settled(wanted)
    missed = native is None and wanted is not InterpreterChoice.PYTHON
    if missed and multiprocessing.parent_process() is None:  # workers need not say it again
        _say(why_not)
    return native


def _settled(wanted: InterpreterChoice) -> tuple[type[NativeInterpreter] | None, str]:
    if wanted is InterpreterChoice.PYTHON:
        return None, f"{VARIABLE} says so"
    native, why_not = _native()
    if native is None and wanted is InterpreterChoice.NATIVE:
        raise UsageError(f"the native interpreter is asked for and cannot be used: {why_not}")
    return native, why_not


def _wanted() -> InterpreterChoice:
    word = os.environ.get(VARIABLE) or DEFAULT.value
    try:
        return InterpreterChoice(word)
    except ValueError:
        choices = ", ".join(InterpreterChoice)
        raise UsageError(f"{VARIABLE} is {word!r}; it can be one of {choices}") from None


def why_not_native() -> str | None:
    """Say why there is no native interpreter here; ``None`` where there is one."""
    return _native()[1] or None


@cache
def _native() -> tuple[type[NativeInterpreter] | None, str]:
    """Import the native interpreter; else say why there is none."""
    try:
        from xml_extractor.mapping._native import NativeInterpreter
    except ModuleNotFoundError:
        return None, "it was not built; `pip install -e .` builds it where there is a C compiler"
    except Exception as error:  # noqa: BLE001  # built for another Python, lxml or libxml2: never a reason to fail
        return None, str(error)
    return NativeInterpreter, ""


@cache
def _say(why_not: str) -> None:
    _LOG.warning("documents are mapped by the Python interpreter, at a third of the speed: %s", why_not)
