"""The error of an expression that cannot be evaluated for a row."""

from __future__ import annotations


class EvaluationError(Exception):
    """An expression cannot be evaluated for this row: the document is rejected.

    ``code`` is a stable word as in :class:`~xml_extractor.mapping.records.Rejection`: ``overflow``,
    ``division_by_zero``, ``not_convertible``, ``too_long``, ``bad_argument``, or the code of the
    conversion that failed.  Neither it nor ``message`` holds a value.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message
