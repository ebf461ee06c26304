"""The profile of a load: what its clocks, histograms and samples say, as plain data.

Everything here is frozen and can be turned into JSON; nothing holds a document's values.  The report, the
metrics, the self-tuning and the tuning programs read a :class:`LoadProfile` and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Final

from xml_extractor.errors import UsageError
from xml_extractor.profiling.clocks import StageClocks

VERSION: Final = 1
"""Of the profile as JSON.  Another one is not read: its figures may mean something else."""


@dataclass(frozen=True, slots=True)
class InsertClocks:
    """Seconds of wall clock that insert threads spent in each stage.  Addable."""

    wait: float = 0.0  # waiting for a batch
    claim: float = 0.0  # entering documents into the ledger, deleting what they replace, quarantine
    tables: Mapping[str, float] = field(default_factory=dict)  # inserting, table → seconds
    commit: float = 0.0
    retry: float = 0.0  # attempts that were rolled back, and waiting before the next one

    def __add__(self, other: InsertClocks) -> InsertClocks:
        names = [*self.tables, *(name for name in other.tables if name not in self.tables)]
        return InsertClocks(
            self.wait + other.wait,
            self.claim + other.claim,
            {name: self.tables.get(name, 0.0) + other.tables.get(name, 0.0) for name in names},
            self.commit + other.commit,
            self.retry + other.retry,
        )

    @property
    def busy(self) -> float:
        """All the time on the clocks but waiting for a batch."""
        return self.claim + sum(self.tables.values()) + self.commit + self.retry


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of durations, in milliseconds; all 0 where there were none."""

    p50: float = 0.0
    p95: float = 0.0
    p99: float = 0.0
    max: float = 0.0
    count: int = 0


@dataclass(frozen=True, slots=True)
class Bucket:
    """Durations above ``low_ms`` and up to ``high_ms``."""

    low_ms: float
    high_ms: float
    count: int


@dataclass(frozen=True, slots=True)
class Sample:
    """How a load stood at one moment.  Counts and seconds are totals since its start, but for ``insert``."""

    seconds: float  # since the start of the load
    documents: int  # settled by this run: loaded, quarantined or skipped
    batches: int
    queue_documents: int
    queue_bytes: int
    memory_bytes: int | None  # all processes; None where it was not measured in this interval
    cpu_seconds: float  # of all processes of the load
    insert: Latency  # of the batches since the last sample
    clocks: StageClocks  # all workers
    batch_size: int  # as it was then: --auto-tune changes it
    insert_threads: int


@dataclass(frozen=True, slots=True)
class WorkerProfile:
    """What one worker did with its time."""

    name: str
    documents: int
    clocks: StageClocks


@dataclass(frozen=True, slots=True)
class SlowDocument:
    """A document that took long to parse and map."""

    key: str
    seconds: float


@dataclass(frozen=True, slots=True)
class LoadProfile:
    """All figures of a load, complete once it has ended; before that, as far as it has come."""

    started_at: str  # ISO 8601, UTC
    seconds: float  # wall clock from the start of the load to this moment, or to its end
    samples: tuple[Sample, ...]
    """Evenly spaced; never more than a few hundred, however long the load (then they are further apart)."""
    workers: tuple[WorkerProfile, ...]
    inserting: InsertClocks  # all insert threads
    insert_latency: Latency  # of batches
    insert_histogram: tuple[Bucket, ...]
    document_latency: Latency  # parse + map of one document
    document_histogram: tuple[Bucket, ...]
    slowest: tuple[SlowDocument, ...]  # the slowest first
    cpu_seconds: float  # all processes of the load; not the database server's
    queue_capacity_documents: int
    queue_capacity_bytes: int

    @property
    def cpu_to_wall(self) -> float:
        """How many cores the load kept busy on average."""
        return self.cpu_seconds / self.seconds if self.seconds > 0 else 0.0

    @property
    def clocks(self) -> StageClocks:
        """The sum of all workers' clocks."""
        return sum((worker.clocks for worker in self.workers), StageClocks())

    def to_json(self) -> dict[str, Any]:
        """Return the profile as plain data.  Samples are columns: name → one entry a sample."""
        data = {"version": VERSION, **asdict(self)}
        samples = data["samples"]
        data["samples"] = {name.name: [sample[name.name] for sample in samples] for name in fields(Sample)}
        return data

    @classmethod
    def from_json(cls, data: Any) -> LoadProfile:
        """Read what :meth:`to_json` returned.

        Raises:
            UsageError: it is no profile, or one of another version; says what is wrong where.
        """
        # Only who reads profiles needs it: worker processes do not.
        from pydantic import TypeAdapter, ValidationError

        if not isinstance(data, dict) or "version" not in data:
            raise UsageError("this is no profile of a load; one is in the file that `load --summary` writes")
        if data["version"] != VERSION:
            raise UsageError(
                f"the profile has version {data['version']!r}, and this program reads version {VERSION}: "
                "measure again with it"
            )
        rest = {name: value for name, value in data.items() if name != "version"}
        try:
            columns = TypeAdapter(dict[str, list[Any]]).validate_python(rest.get("samples"))
            names = list(columns)
            rest["samples"] = [
                dict(zip(names, row, strict=True)) for row in zip(*columns.values(), strict=True)
            ]
            return TypeAdapter(cls).validate_python(rest)
        except ValidationError as error:
            first = error.errors(include_input=False, include_url=False)[0]
            place = ".".join(map(str, first["loc"])) or "samples"
            raise UsageError(f"the profile of a load cannot be read: {place}: {first['msg']}") from None
        except ValueError:
            raise UsageError("the profile of a load cannot be read: its samples differ in length") from None
