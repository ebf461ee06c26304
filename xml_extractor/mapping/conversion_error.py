"""Why a text is no value of a column's type; used by every conversion."""

from __future__ import annotations

from xml_extractor.contract.types import Value


class ConversionError(Exception):
    """The text cannot be converted.  ``code`` groups such errors; ``message`` holds no value."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message


class OverflowConversionError(ConversionError):
    """The value is out of its type's range or too long for it.

    ``value`` is the value all the same, so that conditions on a row can see it before it is settled
    whether the row is kept; ``fitted`` is what a truncation leaves of it, ``None`` where the type knows
    no truncation.
    """

    def __init__(self, code: str, message: str, value: Value, fitted: Value = None) -> None:
        super().__init__(code, message)
        self.value = value
        self.fitted = fitted


def not_convertible(type_name: str) -> ConversionError:
    """The error for a text that is not of the form that the type wants."""
    return ConversionError("not_convertible", f"the value is not of type {type_name}")
