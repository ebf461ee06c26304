"""Opens the loader's own tables for commands that only look at them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from xml_extractor.engines.base import Session
from xml_extractor.errors import LoaderError, UsageError
from xml_extractor.operations import opening
from xml_extractor.settings import LoadOptions
from xml_extractor.target.bookkeeping import SCHEMA_VERSION, TABLES, TABLES_SINCE, installed_version
from xml_extractor.target.failures import is_bug, target_error

T = TypeVar("T")


class Bookkeeping:
    """A read-only connection to a target's bookkeeping tables; use it as a context.

    Raises, on entering and in :meth:`ask`:
        TargetError: the target cannot be reached, or fails.
        UsageError: it is no database, or nothing was ever loaded into it.
    """

    def __init__(self, url: str, options: LoadOptions | None = None) -> None:
        scheme = url.partition(":")[0].lower()
        if scheme in ("null", "jsonl"):
            raise UsageError(f"--target {scheme}: keeps no ledger; name the database that was loaded into")
        self.engine = opening.target_engine(url, options or LoadOptions())
        self._session: Session | None = None

    def __enter__(self) -> Bookkeeping:
        try:
            self._session = self.engine.connect(write=False, application="xml_extractor status")
        except LoaderError:
            raise
        except Exception as error:
            if is_bug(self.engine, error):
                raise
            raise target_error(self.engine, error, doing="connecting") from error
        try:
            self._check()
        except BaseException:
            self._session.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._session is not None:
            self._session.close()

    def ask(self, question: Callable[[Session], T]) -> T:
        """Return what ``question`` makes of the open session."""
        assert self._session is not None
        try:
            return question(self._session)
        except LoaderError:
            raise
        except Exception as error:
            if is_bug(self.engine, error):
                raise
            raise target_error(self.engine, error, doing="reading the load_ tables") from error

    def _check(self) -> None:
        present = {name.lower() for name in self.ask(lambda session: session.table_names())}
        missing = [name for name in TABLES if name not in present and name not in TABLES_SINCE]
        if missing:
            raise UsageError(
                f"{self.engine.display} has no table {missing[0]}: nothing was loaded into it yet; load "
                "first, or name another database with --target"
            )
        version = self.ask(installed_version)
        if version < SCHEMA_VERSION:
            raise UsageError(
                f"the bookkeeping tables (load_…) of {self.engine.display} have version {version}, and this "
                f"program reads version {SCHEMA_VERSION}: the next load upgrades them; run one first"
            )
