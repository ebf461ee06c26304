"""How the rooms of ``mapping`` say that a document cannot be loaded, or is not theirs."""

from __future__ import annotations

from xml_extractor.mapping.records import Rejection


class DocumentRejected(Exception):
    """The document goes to quarantine; ``rejection`` says why, without any of its values."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection)
        self.rejection = rejection

    def __str__(self) -> str:
        return self.rejection.message


class DocumentSkipped(Exception):
    """The document belongs to another contract; ``rejection`` says what this contract missed in it."""

    def __init__(self, rejection: Rejection) -> None:
        super().__init__(rejection)
        self.rejection = rejection

    def __str__(self) -> str:
        return self.rejection.message
