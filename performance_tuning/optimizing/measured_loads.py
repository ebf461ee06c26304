"""What a sweep measures: one real load a setting, run as a program into a fresh target."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from performance_tuning.measuring.errors import LoadFailedError
from performance_tuning.measuring.fresh_targets import FreshTargets
from performance_tuning.measuring.one_load import LoadFigures, run_load
from performance_tuning.measuring.sources import Source
from performance_tuning.optimizing.measurements import Ending, Outcome
from performance_tuning.optimizing.space import Setting


class MeasuredLoads:
    """Measures settings by loading the same documents again and again.

    Args:
        folder: the caller's own, removed by the caller.
        others: settings of the load that no sweep changes, by name.
    """

    def __init__(
        self, source: Source, targets: FreshTargets, contract: str, folder: Path, others: Mapping[str, Any]
    ) -> None:
        self._source = source
        self._targets = targets
        self._contract = contract
        self._folder = folder
        self._others = dict(others)

    def __call__(self, setting: Setting, limit_seconds: float | None) -> Outcome:
        """Load once, for at most so many seconds.

        Raises:
            MeasuringError: no fresh target can be made, or it cannot be removed.
        """
        started = time.perf_counter()
        figures: LoadFigures | None = None
        failure: LoadFailedError | None = None
        with self._targets.fresh() as target:
            bound = {} if limit_seconds is None else {"bound_seconds": limit_seconds}
            try:
                figures = run_load(
                    source=self._source.url,
                    target=target.url,
                    contract=self._contract,
                    folder=self._folder,
                    documents=self._source.documents,
                    settings={**self._others, **setting.values()},
                    create_tables=target.create_tables,
                    server_cpu_seconds=self._targets.server_cpu_seconds,
                    **bound,
                )
            except LoadFailedError as error:
                failure = error
        seconds = time.perf_counter() - started
        if figures is not None:
            return _outcome(setting, figures, seconds)
        assert failure is not None
        if failure.status is None and limit_seconds is not None:
            return Outcome(Ending.CUT_OFF, seconds)
        return Outcome(Ending.FAILED, seconds, message=str(failure), status=failure.status)


def _outcome(setting: Setting, figures: LoadFigures, seconds: float) -> Outcome:
    otherwise = _ran_otherwise(setting, figures)
    if otherwise:
        # Its figures would stand for a setting that was not measured.
        return Outcome(Ending.FAILED, seconds, message=otherwise)
    return Outcome(
        Ending.MEASURED,
        seconds,
        rate=figures.steady_documents_per_second,
        load_seconds=figures.seconds - figures.startup_seconds,
        memory_bytes=figures.peak_memory_bytes or None,
        figures={
            "startup_seconds": round(figures.startup_seconds, 3),
            "insert_ms": dict(figures.insert_ms),
            "worker_shares": {name: round(share, 4) for name, share in figures.worker_shares.items()},
            "cpu_seconds": round(figures.cpu_seconds, 3),
            "server_cpu_seconds": round(figures.server_cpu_seconds, 3),
            "others_share": round(figures.others_share, 4),
            "bottleneck": figures.bottleneck,
        },
    )


def _ran_otherwise(setting: Setting, figures: LoadFigures) -> str:
    """Say where a load did not keep to its setting, as for want of memory; empty = it did."""
    changes = []
    for name, wanted in setting.values().items():
        ran = getattr(figures, name, wanted)  # batch and queue size are not among the figures
        if ran != wanted:
            changes.append(f"{name.replace('_', ' ')} {ran}, not {wanted}")
    return f"the load ran with {', '.join(changes)}; its log says why" if changes else ""
