"""Keys that tables get after they have been filled (``--keys after``).

A table that was created without its keys owes them.  They are built in three rounds, each of which may be
broken off anywhere and begun again:

1. the primary keys, several tables at a time;
2. the foreign keys, one after the other, as each needs two tables for itself, if only for a moment;
3. the rows that were there before are held against the foreign keys, several tables at a time.

An engine that checks them when it adds them has nothing to do in the third round.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Final

from xml_extractor.engines.base import Engine, Session, TableSpec

BUILD_SECONDS: Final = 7 * 86_400.0
"""The time limit of a statement that builds: a week, as an index on a billion rows takes hours.  What keeps
it from waiting for nothing is not this: waits for locks have their own limit, and whoever builds asks the
server every few seconds, over another connection, whether it is still there."""


class KeyPart(Enum):
    """What a table can owe, in the order in which it is built."""

    PRIMARY = "primary key"
    FOREIGN = "foreign key"
    CHECKED = "check of the foreign key"

    @property
    def in_parallel(self) -> bool:
        """Whether several tables can have this built at one moment."""
        return self is not KeyPart.FOREIGN


@dataclass(frozen=True, slots=True)
class KeyStep:
    """One thing to build."""

    table: TableSpec
    part: KeyPart

    @property
    def words(self) -> str:
        """It in words."""
        return f"{self.part.value} of {self.table.name}"


def steps_of(tables: Sequence[TableSpec]) -> Iterator[KeyStep]:
    """Yield all that these tables, parents first, can owe, in the order in which it is built."""
    for part in KeyPart:
        for table in tables:
            if table.primary_key if part is KeyPart.PRIMARY else table.foreign_key:
                yield KeyStep(table, part)


class LateKeys(ABC):
    """How one engine builds keys on tables with rows in them.  Immutable and thread-safe."""

    engine: Engine
    """The database, without a time limit on statements that build: for sessions that these calls get."""

    @abstractmethod
    def statements(self, step: KeyStep) -> list[str]:
        """Return the SQL of a step, for a script; empty where the engine has nothing to do in it."""

    @abstractmethod
    def is_built(self, session: Session, step: KeyStep) -> bool | None:
        """Whether the database has what the step builds, whoever built it; None = there is no such table."""

    @abstractmethod
    def build(self, session: Session, step: KeyStep) -> None:
        """Build it, in a transaction of its own; harmless where somebody else has done so meanwhile.

        Waits for other sessions' locks on the table, for as long as the time limits of the engine that this
        was made of say; others wait for this one.

        Raises:
            Exception: the driver's; of :attr:`FaultKind.DATA` where rows of the table are in the way.
        """

    @abstractmethod
    def hold(self, session: Session, name: str, *, shared: bool) -> bool:
        """Take hold of a name in this database until :meth:`let_go` or the end of the session, unless
        somebody else holds it: alone, or, with ``shared``, with others that share it.  Never waits.

        Names are told apart by the schema of the loader's own tables, too.
        """

    @abstractmethod
    def let_go(self, session: Session, name: str, *, shared: bool) -> None:
        """Let go of a name that this session holds; harmless where it does not."""
