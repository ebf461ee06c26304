"""One load, run as a program, and its figures."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from performance_tuning.measuring.errors import LoadFailedError
from performance_tuning.measuring.machine_watch import MachineWatch
from performance_tuning.measuring.product import (
    PROGRAM,
    Ended,
    as_variables,
    no_config,
    python_program,
    run_to_end,
)
from xml_extractor.errors import ExitCode
from xml_extractor.profiling.profile import InsertClocks, LoadProfile

SUMMARY: Final = "summary.json"

BOUND_SECONDS: Final = 3600.0
"""A load that takes longer than this is ended, unless the caller says otherwise."""


@dataclass(frozen=True, slots=True)
class LoadFigures:
    """What one load measured.  Seconds are wall clock unless they say otherwise."""

    documents: int  # settled: loaded, quarantined or skipped
    loaded: int
    quarantined: int
    skipped: int
    seconds: float  # from the first read to the last commit
    startup_seconds: float  # of these, waited for the first worker process to start
    whole_seconds: float  # from the start of the program to its end
    insert_ms: Mapping[str, float]  # p50, p95, p99, max of a batch, and count
    worker_shares: Mapping[str, float]  # parse, map, blocked, idle; their sum is 1
    insert_shares: Mapping[str, float]
    """wait, claim, tables, commit, retry of the insert threads' time; their sum is 1."""
    queue_mean_documents: float
    queue_max_documents: int
    queue_capacity: int
    queue_mean_bytes: float  # over the profile's samples
    queue_max_bytes: int
    cpu_seconds: float  # of the load's processes
    server_cpu_seconds: float  # of the database server, where it runs on this machine
    peak_memory_bytes: int
    rows: Mapping[str, int]
    exit_code: int
    executor: str
    workers: int
    insert_threads: int
    insert_path: str | None
    bottleneck: str
    others_share: float
    """Share of the whole machine that other programs took meanwhile."""
    profile: LoadProfile = field(compare=False, repr=False)
    summary: Mapping[str, Any] = field(compare=False, repr=False)
    """All that the load wrote by ``--summary``, but for the profile."""

    @property
    def documents_per_second(self) -> float:
        """As the summary counts it: start-up of workers included."""
        return self.documents / self.seconds if self.seconds > 0 else 0.0

    @property
    def documents_per_minute(self) -> float:
        """Likewise."""
        return 60 * self.documents_per_second

    @property
    def steady_documents_per_second(self) -> float:
        """Without the start-up of worker processes, which a long load does not notice."""
        seconds = self.seconds - self.startup_seconds
        return self.documents / seconds if seconds > 0 else 0.0

    @property
    def cpu_to_wall(self) -> float:
        """How many cores the load kept busy on average, without the server's."""
        return self.cpu_seconds / self.whole_seconds if self.whole_seconds > 0 else 0.0

    @property
    def cpu_ms_per_document(self) -> float:
        """CPU of load and local server, in milliseconds a document."""
        seconds = self.cpu_seconds + self.server_cpu_seconds
        return 1000 * seconds / self.documents if self.documents else 0.0


def run_load(
    *,
    source: str,
    target: str,
    contract: str | Path,
    folder: Path,
    documents: int | None = None,
    settings: Mapping[str, Any] | None = None,
    create_tables: bool = True,
    bound_seconds: float = BOUND_SECONDS,
    server_cpu_seconds: Callable[[], float] = float,
) -> LoadFigures:
    """Load once into a fresh target, by ``production_processor.py``, and return the figures.

    Settings of the environment and of config files do not count.  When this is left by an exception,
    Ctrl-C included, the program and all its processes have ended.

    Args:
        source: URL, password included.
        target: URL, password included; must hold nothing of the contract's.
        contract: as ``--contract`` takes it.
        folder: the caller's own; the summary is written into it.
        documents: load so many, all of which must be there; ``None`` = all, at least one.
        settings: of the load, by name, as :class:`LoadOptions` has them; what is ``None`` is left out.
        create_tables: let the load create its tables.
        bound_seconds: how long it may take, start to end.
        server_cpu_seconds: CPU time of the database server so far.

    Raises:
        LoadFailedError: it failed, took too long, or did not settle all the documents; with its message.
    """
    summary_file = folder / SUMMARY
    summary_file.unlink(missing_ok=True)
    command = [
        *python_program(str(PROGRAM)),
        *("--contract", str(contract)),
        *("--summary", str(summary_file)),
        *("--progress", "none"),
        *no_config(folder),
    ]
    given = dict(settings or {})
    if documents is not None:
        given["limit"] = documents
    variables = as_variables({**given, "create_tables": create_tables, "source": source, "target": target})
    with MachineWatch(server_cpu_seconds) as machine:
        ended = run_to_end(command, variables, bound_seconds=bound_seconds)
    summary = _read(summary_file)
    _check(ended, summary, documents, bound_seconds)
    assert summary is not None  # or the check had refused it
    return figures_of(summary, machine, ended.status or 0)


def figures_of(summary: Mapping[str, Any], machine: MachineWatch, exit_code: int) -> LoadFigures:
    """Return the figures of a load that ended well, by its summary."""
    counts, queue = summary["documents"], summary["queue"]
    profile = LoadProfile.from_json(summary["profile"])
    depths = [sample.queue_bytes for sample in profile.samples]
    return LoadFigures(
        documents=counts["loaded"] + counts["quarantined"] + counts["skipped"],
        loaded=counts["loaded"],
        quarantined=counts["quarantined"],
        skipped=counts["skipped"],
        seconds=summary["seconds"],
        startup_seconds=summary["startup_seconds"],
        whole_seconds=machine.wall,
        insert_ms=dict(summary["insert_ms"]),
        worker_shares=dict(summary["worker_time"]),
        insert_shares=_insert_shares(profile.inserting),
        queue_mean_documents=queue["mean_depth"],
        queue_max_documents=queue["max_depth"],
        queue_capacity=queue["capacity"],
        queue_mean_bytes=sum(depths) / len(depths) if depths else 0.0,
        queue_max_bytes=max(depths, default=0),
        cpu_seconds=machine.cpu - machine.server_cpu,
        server_cpu_seconds=machine.server_cpu,
        peak_memory_bytes=summary["peak_memory_bytes"] or 0,
        rows=dict(summary["rows"]),
        exit_code=exit_code,
        executor=summary["executor"],
        workers=summary["workers"],
        insert_threads=summary["insert_threads"],
        insert_path=summary["insert_path"],
        bottleneck=summary["bottleneck"],
        others_share=machine.others_share,
        profile=profile,
        summary={name: value for name, value in summary.items() if name != "profile"},
    )


def _insert_shares(clocks: InsertClocks) -> dict[str, float]:
    seconds = {
        "wait": clocks.wait,
        "claim": clocks.claim,
        "tables": sum(clocks.tables.values()),
        "commit": clocks.commit,
        "retry": clocks.retry,
    }
    total = sum(seconds.values())
    return {name: value / total if total > 0 else 0.0 for name, value in seconds.items()}


def _read(file: Path) -> dict[str, Any] | None:
    try:
        summary = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return summary if isinstance(summary, dict) else None


def _why(output: str, summary: Mapping[str, Any] | None) -> str:
    """Return what a failed load said of its failure, without the figures that it prints before."""
    if summary is not None and summary.get("error"):
        return str(summary["error"])
    before, found, said = output.rpartition("error: ")
    return (said if found else before + said).strip() or "it said nothing"


def _check(
    ended: Ended, summary: Mapping[str, Any] | None, documents: int | None, bound_seconds: float
) -> None:
    """Refuse figures of a load that did something else than load all the documents into an empty target."""
    if ended.status is None:
        raise LoadFailedError(
            f"the load did not end within {bound_seconds:g} s and was ended; allow it more time, or load "
            "fewer documents",
            None, ended.output,
        )  # fmt: skip
    if ended.status not in (ExitCode.OK, ExitCode.NEEDS_A_LOOK) or summary is None:
        raise LoadFailedError(
            f"the load ended with exit status {ended.status}: {_why(ended.output, summary)}",
            ended.status, ended.output,
        )  # fmt: skip
    counts = summary["documents"]
    settled = counts["loaded"] + counts["quarantined"] + counts["skipped"]
    wrong = ""
    if counts["already_loaded"] or counts["unfinished"]:
        wrong = "the target was not empty, or documents were left unfinished"
    elif settled != counts["read"] or settled != (documents or settled) or not counts["loaded"]:
        wrong = f"{documents:,} documents were wanted" if documents is not None else "documents were wanted"
    if wrong:
        told = ", ".join(f"{name.replace('_', ' ')} {number:,}" for name, number in counts.items())
        raise LoadFailedError(
            f"the load did not do what was measured: {wrong}, but: {told}", ended.status, ended.output
        )
