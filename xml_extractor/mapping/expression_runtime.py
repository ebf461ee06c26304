"""Turns the typed nodes of an expression into Python closures, once per worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xml_extractor.contract.types import Value


class Frame:
    """What an expression sees of the row that is being made.

    ``row`` holds the row's canonical values so far, by column index; ``captured`` the raw texts of the
    row's scope, by capture index; ``ancestor_rows`` the rows of ancestor tables, by index in
    ``Plan.tables``.  The interpreter may keep one frame per scope and change its members in place.
    """

    __slots__ = ("ancestor_rows", "captured", "row")

    def __init__(
        self,
        row: list[Value] | None = None,
        captured: Sequence[str | None] = (),
        ancestor_rows: Mapping[int, Sequence[Value]] | Sequence[Sequence[Value]] = (),
    ) -> None:
        self.row: list[Value] = [] if row is None else row
        self.captured = captured
        self.ancestor_rows = ancestor_rows


class EvaluationError(Exception):
    """An expression cannot be evaluated for this row: the document is rejected.

    ``code`` is a stable word as in :class:`~xml_extractor.mapping.records.Rejection`; neither it nor
    ``message`` holds a value.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return self.message
