"""Writes quarantine into files: the reasons, and the documents themselves where they are asked for."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from xml_extractor.errors import UsageError
from xml_extractor.mapping.records import Key, SourceDocument
from xml_extractor.operations.quarantine import (
    Ask,
    QuarantinedDocument,
    QuarantineFilter,
    SourceDocuments,
    has_changed,
    quarantine_pages,
)

REASONS_FILE: Final = "quarantine.jsonl"
"""The file's name where a folder is named."""

_DOCUMENTS_AT_ONCE: Final = 8
"""Documents in memory at once: they may be large."""

_PLAIN_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")
_PRIVATE_FILE: Final = 0o600
_PRIVATE_FOLDER: Final = 0o700


@dataclass(slots=True)
class ExportResult:
    """What was written."""

    file: str
    exported: int = 0  # reasons, one a document
    documents: int | None = None  # files with documents; None: they were not asked for
    missing: int = 0  # documents that the source does not hold any more, or that are another contract's
    changed: int = 0  # documents that are no longer what was refused

    def to_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return {
            "file": self.file, "exported": self.exported, "documents": self.documents,
            "missing": self.missing, "changed": self.changed,
        }  # fmt: skip


def reasons_file(path: Path) -> Path:
    """Return the file that reasons go to; a folder has one of a fixed name in it.

    Raises:
        UsageError: it is there already, or its folder is not.
    """
    file = path / REASONS_FILE if path.is_dir() else path
    for there in (file, _partial(file)):
        if there.exists():
            raise UsageError(f"{there} is there already, and nothing is overwritten; name another file")
    if not file.parent.is_dir():
        raise UsageError(f"{file.parent} is no folder; make it, or name a file in one that is there")
    return file


def documents_folder(path: Path) -> Path:
    """Return the folder that documents go to, made where it is absent; only its owner can look into it.

    Raises:
        UsageError: it holds something already, or cannot be made.
    """
    try:
        path.mkdir(mode=_PRIVATE_FOLDER, parents=True, exist_ok=True)
        if any(path.iterdir()):
            raise UsageError(
                f"--documents {path}: the folder is not empty, and nothing is overwritten; name another"
            )
    except OSError as error:
        raise UsageError(f"--documents {path} cannot be used: {error.strerror}") from None
    return path


def export(
    ask: Ask,
    wanted: QuarantineFilter,
    file: Path,
    *,
    folder: Path | None = None,
    source: SourceDocuments | None = None,
    on_page: Callable[[ExportResult], None] | None = None,
) -> ExportResult:
    """Write one line of JSON a document into ``file``, and the documents into ``folder`` if one is named.

    Memory holds a page of reasons and a few documents, however many there are.  The file has its name once
    it is complete, and until then one that ends in ``.partial``.

    Args:
        file: from :func:`reasons_file`.
        folder: from :func:`documents_folder`; ``source`` is then where the documents are.

    Raises:
        SourceError, TargetError: one of them failed; what was written stays, the reasons in the partial file.
        UsageError: a file cannot be written.
    """
    result = ExportResult(str(file), documents=None if folder is None else 0)
    partial = _partial(file)
    try:
        with _new_file(partial, "w") as lines:
            for page in quarantine_pages(ask, wanted):
                for start in range(0, len(page), _DOCUMENTS_AT_ONCE):
                    some = page[start : start + _DOCUMENTS_AT_ONCE]
                    written = {} if folder is None or source is None else _write(some, folder, source, result)
                    for document in some:
                        line = document.to_json()
                        if folder is not None:
                            line["file"] = written.get(document.digest)
                        lines.write(json.dumps(line, ensure_ascii=False) + "\n")
                        result.exported += 1
                if on_page is not None:
                    on_page(result)
        partial.rename(file)
    except OSError as error:
        raise UsageError(f"{error.filename or partial} cannot be written: {error.strerror}") from error
    return result


def _write(
    documents: Sequence[QuarantinedDocument], folder: Path, source: SourceDocuments, result: ExportResult
) -> dict[bytes, str]:
    """Write documents, and return the names of their files by the documents' digests."""
    by_key: dict[Key, QuarantinedDocument] = {}
    for document in documents:
        key = source.key(document)
        if key is None:
            result.missing += 1
        else:
            by_key[key] = document
    names = {}
    found = source.read(list(by_key)) if by_key else []
    result.missing += len(by_key) - len(found)
    for content in found:
        document = by_key[content.key]
        name = file_name(content.key, document.digest)
        with _new_file(folder / name, "wb") as file:
            file.write(_bytes(content))
        names[document.digest] = name
        assert result.documents is not None
        result.documents += 1
        result.changed += has_changed(document, content) is True
    return names


def file_name(key: Key, digest: bytes) -> str:
    """Return a name for a document's file that every system takes, and that no two documents share."""
    text = str(key)
    # What is not small letters and digits might be the same name to some systems, or mean a folder or device.
    plain = text if _PLAIN_NAME.fullmatch(text) else re.sub(r"[^A-Za-z0-9_-]+", "_", text)[:60].strip("_")
    return f"{plain}.xml" if isinstance(key, int) else f"{plain or 'key'}-{digest.hex()[:16]}.xml"


def _bytes(document: SourceDocument) -> bytes:
    content = document.content
    if content is None:
        return b""
    return content.encode("utf-8", "surrogatepass") if isinstance(content, str) else bytes(content)


def _partial(file: Path) -> Path:
    return file.with_name(file.name + ".partial")


def _new_file(path: Path, mode: str) -> IO[Any]:
    """Open a file that is not there yet, for its owner alone."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), _PRIVATE_FILE)
    return os.fdopen(number, mode, encoding=None if "b" in mode else "utf-8")
