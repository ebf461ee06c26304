"""Cleaning steps on raw texts, and the tables of codes that turn one text into another."""

from __future__ import annotations

import importlib
import re
import unicodedata
from collections.abc import Callable
from typing import Final

from xml_extractor.contract.plan import Apply, EnumMap
from xml_extractor.mapping.conversion_error import ConversionError
from xml_extractor.mapping.numbers import XML_BLANKS

Step = Callable[[str], str | None]
"""Takes and returns a raw text; ``None`` means that there is no value."""

_NOT_ASCII_DIGITS: Final = re.compile(r"[^0-9]+")
_BLANK_RUN: Final = re.compile(r"[ \t\r\n]+")
_YES_NO: Final = {"y": "1", "yes": "1", "n": "0", "no": "0"}


def _trim(text: str) -> str:
    return text.strip(XML_BLANKS)


def simple_upper(text: str) -> str:
    """Upper case without changing the number of characters (ß stays ß), as SQL Server's UPPER."""
    if text.isascii():
        return text.upper()
    return "".join(u if len(u := c.upper()) == 1 else c for c in text)


def simple_lower(text: str) -> str:
    """Lower case without changing the number of characters, as SQL Server's LOWER."""
    if text.isascii():
        return text.lower()
    return "".join(low if len(low := c.lower()) == 1 else c for c in text)


def _digits(text: str) -> str:
    """Keep decimal digits, leading zeros among them; those of other scripts become ASCII."""
    if not text.isascii():
        text = "".join(str(d) if (d := unicodedata.decimal(c, -1)) >= 0 else " " for c in text)
    return _NOT_ASCII_DIGITS.sub("", text)


def _collapse(text: str) -> str:
    return _BLANK_RUN.sub(" ", text).strip(" ")


def _yes_no(text: str) -> str:
    """Turn Y, yes, N and no (any case) into 1 and 0; anything else is left for the type to judge."""
    return _YES_NO.get(text.strip(XML_BLANKS).lower(), text)


_STEPS: Final[dict[str, Step]] = {
    "trim": _trim,
    "upper": simple_upper,
    "lower": simple_lower,
    "digits": _digits,
    "collapse": _collapse,
    "yes_no": _yes_no,
}


def cleaner(steps: tuple[Apply, ...]) -> Step | None:
    """Chain the steps into one function, or return ``None`` where there are none.

    Raises:
        ValueError: a step is not known, or its plug-in cannot be imported.
    """
    functions = [_step(step) for step in steps]
    if not functions:
        return None
    if len(functions) == 1:
        return functions[0]

    def clean(text: str) -> str | None:
        result: str | None = text
        for function in functions:
            if result is None:
                return None
            result = function(result)
        return result

    return clean


def _step(step: Apply) -> Step:
    if step.name == "replace":
        return _replacer(step.pairs)
    if step.name == "plugin":
        return _plugin(step.target or "")
    try:
        return _STEPS[step.name]
    except KeyError:
        raise ValueError(f"unknown cleaning step {step.name!r}") from None


def _replacer(pairs: tuple[tuple[str, str], ...]) -> Step:
    def replace(text: str) -> str:
        for old, new in pairs:
            text = text.replace(old, new)
        return text

    return replace


def _plugin(target: str) -> Step:
    module_name, _, function_name = target.partition(":")
    try:
        function = importlib.import_module(module_name)
        for part in function_name.split("."):
            function = getattr(function, part)
    except Exception as error:
        # A plug-in's module can raise anything while it is imported.
        raise ValueError(f"plug-in {target} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise ValueError(f"plug-in {target} is not a function")
    call: Callable[[str], object] = function

    def run(text: str) -> str | None:
        try:
            result = call(text)
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001  # a plug-in may raise anything; its document is rejected
            # Not chained and no message: both may quote the value.
            failure = ConversionError("plugin_failed", f"plug-in {target} raised {type(error).__name__}")
        else:
            if result is None or (isinstance(result, str) and _is_xml_text(result)):
                return result
            failure = ConversionError(
                "plugin_failed",
                f"plug-in {target} must return None or a str without NUL and surrogates; "
                f"it returned a {type(result).__name__}",
            )
        raise failure

    return run


def _is_xml_text(text: str) -> bool:
    if text.isascii():
        return "\0" not in text
    return "\0" not in text and not any("\ud800" <= c <= "\udfff" for c in text)


def enum_lookup(enum: EnumMap, *, trim: bool) -> Step:
    """Return the function that turns a code into its value (raw text again, or ``None``).

    ``trim`` takes blanks off the code first (types other than text).  A blank code gives what is stated
    for a missing one.

    The function raises :class:`ConversionError` for a code that is not listed where that rejects.
    """
    fold = str.casefold if enum.ignore_case else str
    values = {fold(code): value for code, value in enum.values}
    unlisted = object()

    def look_up(text: str) -> str | None:
        code = text.strip(XML_BLANKS)
        if not code:
            return enum.missing
        value = values.get(fold(code if trim else text), unlisted)
        if value is not unlisted:
            return value  # type: ignore[return-value]
        if enum.unknown_rejects:
            raise ConversionError("unknown_code", f"the value is not listed in enum {enum.name}")
        return enum.unknown

    return look_up
