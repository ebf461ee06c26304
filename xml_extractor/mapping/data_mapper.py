"""From a source document to the rows of its tables."""

from __future__ import annotations

import logging
import traceback
from datetime import datetime
from pathlib import Path
from typing import NoReturn

from lxml import etree

from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.encoded import EncoderFailed, encoded
from xml_extractor.mapping.interpreter_choice import InterpreterChoice, encoder_of, interpreter_for
from xml_extractor.mapping.layouts import RowEncoder
from xml_extractor.mapping.records import EncodedDocument, MappedDocument, Rejection, SourceDocument, Stage
from xml_extractor.mapping.rejection import DocumentRejected, DocumentSkipped
from xml_extractor.mapping.xml_parser import DocumentParser

__all__ = ["DataMapper", "DocumentRejected", "DocumentSkipped"]

_LOG = logging.getLogger(__name__)


class DataMapper:
    """Parses documents and maps them by a plan.  Not thread-safe: one per worker.

    Args:
        plan: the compiled contract.
        load_started_at: what GETUTCDATE() answers, UTC.
        interpreter: which one is to run the plan; the best there is unless stated.
        encoder: makes rows what the target takes, for :meth:`encode`; None: it only counts.

    Raises:
        ValueError: the plan cannot be run here (a plug-in cannot be imported).
        UsageError: the interpreter that is asked for cannot be had.
    """

    def __init__(
        self,
        plan: Plan,
        load_started_at: datetime,
        interpreter: InterpreterChoice | None = None,
        encoder: RowEncoder | None = None,
    ) -> None:
        self._parser = DocumentParser()
        self._encoder = encoder
        self._interpreter = interpreter_for(plan, load_started_at, interpreter, encoder)
        self._encode = encoder_of(self._interpreter) or self._interpreter.run
        self._logged: set[str] = set()

    def parse(self, document: SourceDocument) -> etree._Element:
        """Return the document's root element.

        Raises:
            DocumentRejected: the content is no XML that can be loaded.
            MemoryError: the memory there is does not do for it.
        """
        try:
            return self._parser.parse(document.content, is_text=document.is_text)
        except (DocumentRejected, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # one document must never stop a load
            self._refuse_for(error, Stage.PARSE)

    def map(self, tree: etree._Element, document: SourceDocument) -> MappedDocument:
        """Return the document's rows, per table in the plan's order.

        Raises:
            DocumentRejected: something in it cannot be mapped.
            DocumentSkipped: it is another contract's.
            MemoryError: as for :meth:`parse`.
        """
        try:
            return self._interpreter.run(tree, document)
        except (DocumentRejected, DocumentSkipped, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001  # one document must never stop a load
            self._refuse_for(error, Stage.MAP)

    def encode(self, tree: etree._Element, document: SourceDocument) -> EncodedDocument:
        """Return the document's rows as the target takes them.

        Raises:
            DocumentRejected, DocumentSkipped, MemoryError: as for :meth:`map`.
            Exception: the encoder's own, which are defects that no document is to blame for.
        """
        try:
            made = self._encode(tree, document)
            return encoded(made, self._encoder) if isinstance(made, MappedDocument) else made
        except (DocumentRejected, DocumentSkipped, MemoryError):
            raise
        except EncoderFailed as failed:
            error = failed.__cause__
            assert error is not None
            _LOG.error(
                "defect of the program while the rows of document %r were encoded: %s",
                document.key, _type_and_place(error),
            )  # fmt: skip
            raise error from None
        except Exception as error:  # noqa: BLE001  # one document must never stop a load
            self._refuse_for(error, Stage.MAP)

    def _refuse_for(self, error: Exception, stage: Stage) -> NoReturn:
        """Quarantine a document over a defect of the program: type and place, never the message."""
        what = _type_and_place(error)
        if what not in self._logged:
            self._logged.add(what)
            _LOG.error("defect of the program while a document was handled (%s): %s", stage.value, what)
        rejection = Rejection(stage, "internal_error", f"a defect of the program, please report it: {what}")
        raise DocumentRejected(rejection) from None


def _type_and_place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    place = f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "an unknown place"
    return f"{type(error).__name__} at {place}"
