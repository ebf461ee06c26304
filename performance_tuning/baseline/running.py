"""Running the same load again and again, each time into a fresh target."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from performance_tuning.baseline.document import RunRecord
from performance_tuning.baseline.figures import figures_of
from performance_tuning.measuring.fresh_targets import FreshTargets
from performance_tuning.measuring.one_load import LoadFigures, run_load
from performance_tuning.measuring.sources import Source
from performance_tuning.measuring.yardstick import yardstick_us


@dataclass(frozen=True, slots=True)
class Measured:
    """The load that is measured."""

    source: Source
    targets: FreshTargets
    contract: str
    settings: Mapping[str, Any]
    folder: Path
    bound_seconds: float  # for one run

    def once(self) -> RunRecord:
        """Load once into a fresh target.

        Raises:
            MeasuringError: the load failed, or its target cannot be made or removed.
        """
        yardstick = yardstick_us()
        started_at = utc_now()
        with self.targets.fresh() as target:
            load = run_load(
                source=self.source.url,
                target=target.url,
                contract=self.contract,
                folder=self.folder,
                documents=self.source.documents,
                settings=self.settings,
                create_tables=target.create_tables,
                bound_seconds=self.bound_seconds,
                server_cpu_seconds=self.targets.server_cpu_seconds,
            )
        return as_record(load, started_at, yardstick)

    def repeat(self, runs: int, warm_up: int, into: list[RunRecord], say: Callable[[str], None]) -> None:
        """Run ``warm_up`` times for nothing, then ``runs`` times into a list that is right at any moment.

        The first runs are slower: nothing of program, source and server is in any cache yet.
        """
        for number in range(1, warm_up + 1):
            say(f"warm-up {number} of {warm_up}: {_line(self.once())}")
        for number in range(1, runs + 1):
            into.append(self.once())
            say(f"run {number} of {runs}: {_line(into[-1])}")


def as_record(load: LoadFigures, started_at: str, yardstick: float) -> RunRecord:
    """Return what a baseline keeps of a run."""
    return RunRecord(
        started_at=started_at,
        figures=figures_of(load),
        rows=dict(load.rows),
        executor=load.executor,
        insert_path=load.insert_path,
        yardstick_us=yardstick,
        others_share=load.others_share,
    )


def utc_now() -> str:
    """Return the time to the second, as ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _line(run: RunRecord) -> str:
    figures = run.figures
    return (
        f"{figures['documents_per_second']:,.0f} documents/s, insert p95 {figures['insert_p95_ms']:,.1f} ms, "
        f"{figures['peak_memory_mb']:,.0f} MB ({run.executor})"
    )
