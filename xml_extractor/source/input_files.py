"""Finds the XML inputs under the paths that an operator names: files, folders, zip archives, gzip files."""

from __future__ import annotations

import gzip
import os
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, cast

from xml_extractor.errors import LoaderError, SourceError, UsageError
from xml_extractor.source.read_ahead import Readable, reading_ahead

GZIP_MAGIC: Final = b"\x1f\x8b"
ZIP_MAGIC: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")  # with members, empty, split
_IN_FOLDERS: Final = (".xml", ".xml.gz", ".zip")
_IN_ARCHIVES: Final = (".xml", ".xml.gz")

OnError = Callable[[Path, LoaderError], None]


@dataclass(frozen=True, slots=True)
class InputFile:
    """One XML file: on disk, or a member of a zip archive; gzip-compressed or not."""

    path: Path
    member: str | None = None

    @property
    def name(self) -> str:
        """The file in words for messages."""
        name = str(self.path) if self.member is None else f"{self.path}!{self.member}"
        return "".join(c if c.isprintable() else _escaped(c) for c in name)

    @property
    def base_name(self) -> str:
        """The file's name wherever it lies and however it is packed."""
        base = self.path.name if self.member is None else PurePosixPath(self.member).name
        base = base[:-3] if base.lower().endswith(".gz") else base
        # Names are bytes to some systems: those that are no text have a form that no database would take.
        return base.encode("utf-8", "backslashreplace").decode()

    @contextmanager
    def open(self, *, ahead: bool = False) -> Iterator[Readable]:
        """Open the uncompressed content for reading.

        Args:
            ahead: decompress in a thread of its own, for whoever reads it to the end.

        Raises:
            SourceError: the file cannot be read, is damaged or ends too early; also from within the
                ``with`` block, when reading gets there.
        """
        try:
            if self.member is None:
                with self.path.open("rb") as file, _uncompressed(file, self.name, ahead) as content:
                    yield content
            else:
                with (
                    zipfile.ZipFile(self.path) as archive,
                    archive.open(self.member) as member,
                    _uncompressed(member, self.name, ahead) as content,
                ):
                    yield content
        except EOFError as error:
            raise SourceError(
                f"{self.name} ends in the middle of its compressed data: copy or download it again; staging "
                "it again leaves out what is staged already"
            ) from error
        except (gzip.BadGzipFile, zlib.error, zipfile.BadZipFile) as error:
            raise SourceError(
                f"{self.name} is damaged: its compressed data cannot be read ({type(error).__name__}); copy "
                "or download it again"
            ) from error
        except (RuntimeError, NotImplementedError) as error:
            # What zipfile says of encrypted members and of compression methods that it lacks.
            raise SourceError(
                f"{self.name} cannot be unpacked ({error}); unpack it yourself first"
            ) from error
        except OSError as error:
            raise SourceError(
                f"{self.name} cannot be read: {error.strerror or type(error).__name__}"
            ) from error


def _escaped(character: str) -> str:
    """Write a character that would break a line, colour a terminal, or cannot be written at all."""
    return character.encode("unicode_escape").decode("ascii")


@contextmanager
def _uncompressed(raw: IO[bytes], name: str, ahead: bool) -> Iterator[Readable]:
    head = raw.read(2)
    raw.seek(0)
    if head == GZIP_MAGIC:
        with gzip.GzipFile(fileobj=raw) as content:
            if not ahead:
                yield content
            else:
                with reading_ahead(cast("IO[bytes]", content)) as readable:
                    yield readable
    elif name.lower().endswith(".gz"):
        raise SourceError(f"{name} is not a gzip file, whatever its name says: rename or download it again")
    else:
        yield raw


def find_inputs(paths: Sequence[Path], on_error: OnError | None = None) -> Iterator[InputFile]:
    """Yield the XML files under ``paths``, in the order given; within folders and archives by name.

    In a folder, at any depth, these are ``*.xml``, ``*.xml.gz`` and the members of ``*.zip``; in an
    archive ``*.xml`` and ``*.xml.gz``.  A file that is named itself is taken whatever it is called.

    Args:
        on_error: given each file and folder that cannot be looked into, with the reason, instead of its
            being raised; the others are yielded all the same.

    Raises:
        UsageError: a path does not exist, or a folder or archive holds no XML; a path that does not
            exist is found before anything is yielded.
        SourceError: a folder, at whatever depth, or an archive cannot be read.
    """
    for path in paths:
        if not path.exists():
            raise UsageError(f"{path} does not exist: name XML files, folders, zip archives or dumps")
    for path in paths:
        if path.is_dir():
            yield from _in_folder(path, on_error)
        else:
            yield from _in_file(path, on_error)


def _in_folder(folder: Path, on_error: OnError | None) -> Iterator[InputFile]:
    found = False

    def unreadable(error: OSError) -> None:
        nonlocal found
        found = True  # perhaps; what is known is that the folder cannot be read
        _tell(Path(error.filename), _unreadable(error), on_error)

    # Path.rglob passes over folders that it may not read, and nobody would miss what is in them.
    paths = [Path(parent, name) for parent, _, names in os.walk(folder, onerror=unreadable) for name in names]
    for path in sorted(paths):
        if path.name.lower().endswith(_IN_FOLDERS) and path.is_file():
            found = True
            yield from _in_file(path, on_error)
    if not found:
        raise UsageError(
            f"folder {folder} holds no {', '.join('*' + suffix for suffix in _IN_FOLDERS)} at any depth"
        )


def _unreadable(error: OSError) -> SourceError:
    return SourceError(
        f"folder {error.filename} cannot be read: {error.strerror or type(error).__name__}; make it "
        "readable, or name the files themselves"
    )


def _tell(path: Path, error: LoaderError, on_error: OnError | None) -> None:
    if on_error is None:
        raise error
    on_error(path, error)


def _in_file(path: Path, on_error: OnError | None) -> Iterator[InputFile]:
    try:
        files = _files_of(path)
    except LoaderError as error:
        _tell(path, error, on_error)
    else:
        yield from files


def _files_of(path: Path) -> list[InputFile]:
    try:
        with path.open("rb") as content:
            head = content.read(4)
    except OSError as error:
        raise SourceError(f"{path} cannot be read: {error.strerror or type(error).__name__}") from error
    if head not in ZIP_MAGIC:
        if path.suffix.lower() == ".zip":
            raise SourceError(
                f"{path} is not a zip archive, whatever its name says: rename or download it again"
            )
        return [InputFile(path)]
    try:
        with zipfile.ZipFile(path) as archive:
            members = sorted(name for name in archive.namelist() if name.lower().endswith(_IN_ARCHIVES))
    except (zipfile.BadZipFile, OSError) as error:
        raise SourceError(
            f"{path} is damaged: its list of members cannot be read; copy or download it again"
        ) from error
    if not members:
        raise UsageError(f"archive {path} holds no {', '.join('*' + suffix for suffix in _IN_ARCHIVES)}")
    return [InputFile(path, member) for member in members]
