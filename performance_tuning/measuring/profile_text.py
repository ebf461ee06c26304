"""The profile of a load as a chapter of Markdown: where the time of workers and of inserting went."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

from performance_tuning.measuring.one_load import LoadFigures
from xml_extractor.profiling.profile import Latency, LoadProfile, Sample
from xml_extractor.profiling.report import formats

MOMENTS: Final = 12
"""Rows of the table over time: a page shows them at a glance."""

STAGES: Final = ("parse", "map", "blocked", "idle")


def chapter(heading: str, way: str, load: LoadFigures) -> str:
    """Return all that one load says.  Holds no key and no value of a document."""
    profile = load.profile
    parts = [
        f"## {heading}",
        _headline(way, load),
        f"**Bottleneck.** {load.bottleneck}",
        "### Where the workers' time went",
        _workers(profile),
        "### Where the time of inserting went",
        _inserting(load),
        "### Latencies",
        _latencies(profile),
        "### Over time",
        _over_time(profile),
        "### CPU and memory",
        _machine(load),
    ]
    return "\n\n".join(parts) + "\n"


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown; all columns but the first are figures."""
    lines = [_row(columns), _row(["---", *("---:" for _ in columns[1:])])]
    return "\n".join([*lines, *map(_row, rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _headline(way: str, load: LoadFigures) -> str:
    path = f", insert path {load.insert_path}" if load.insert_path else ""
    documents = formats.plural(load.documents, "document")
    rows = formats.plural(sum(load.rows.values()), "row")
    startup = formats.seconds(load.startup_seconds)
    workers = formats.plural(load.workers, "worker")
    threads = formats.plural(load.insert_threads, "insert thread")
    return (
        f"{documents} ({formats.count(load.quarantined)} of them to quarantine), {rows} in "
        f"{formats.seconds(load.seconds)}: **{formats.rate(load.documents_per_second)} documents/s** "
        f"({formats.rate(load.steady_documents_per_second)} without the {startup} that workers took to "
        f"start). Target: {way}. {workers} as {_EXECUTORS.get(load.executor, load.executor)}, {threads}"
        f"{path}; other programs took {formats.share(load.others_share)} of the machine."
    )


_EXECUTORS: Final = {"process": "processes", "thread": "threads", "serial": "part of the one thread"}


def _workers(profile: LoadProfile) -> str:
    total = profile.clocks
    rows = [
        [
            worker.name,
            formats.count(worker.documents),
            *(_part(getattr(worker.clocks, stage), worker.clocks.seconds) for stage in STAGES),
        ]
        for worker in profile.workers
    ]
    documents = sum(worker.documents for worker in profile.workers)
    everything = [_part(getattr(total, stage), total.seconds) for stage in STAGES]
    rows.append(["**all**", f"**{formats.count(documents)}**", *(f"**{cell}**" for cell in everything)])
    return table(["worker", "documents", *STAGES], rows)


def _inserting(load: LoadFigures) -> str:
    clocks = load.profile.inserting
    busy = clocks.busy
    rows = [["ledger and quarantine", formats.seconds(clocks.claim), _share(clocks.claim, busy), "", ""]]
    for name, seconds in clocks.tables.items():
        count = load.rows.get(name, 0)
        each = f"{1e6 * seconds / count:.1f} µs" if count else ""
        rows.append(
            [f"`{name}`", formats.seconds(seconds), _share(seconds, busy), formats.count(count), each]
        )
    rows.append(["commit", formats.seconds(clocks.commit), _share(clocks.commit, busy), "", ""])
    rows.append(["retries", formats.seconds(clocks.retry), _share(clocks.retry, busy), "", ""])
    rows.append(["**busy**", f"**{formats.seconds(busy)}**", "", "", ""])
    waited = f"Beside that, insert threads waited {formats.seconds(clocks.wait)} for a batch"
    whole = busy + clocks.wait
    return (
        table(["stage", "seconds", "share of busy", "rows", "a row"], rows)
        + f"\n\n{waited}: they were busy {_share(busy, whole) or 'none'} of their time."
    )


def _latencies(profile: LoadProfile) -> str:
    return table(
        ["of", "number", "p50", "p95", "p99", "most"],
        [
            _latency("one batch, first statement to commit", profile.insert_latency),
            _latency("one document, parse + map", profile.document_latency),
        ],
    )


def _latency(of: str, latency: Latency) -> list[str]:
    times = (latency.p50, latency.p95, latency.p99, latency.max)
    return [of, formats.count(latency.count), *map(formats.milliseconds, times)]


def _over_time(profile: LoadProfile) -> str:
    rows = []
    for before, now in pairwise(_moments(profile.samples)):
        span = now.seconds - before.seconds
        if span <= 0:
            continue
        rows.append(
            [
                formats.seconds(now.seconds),
                formats.count(now.documents),
                formats.rate((now.documents - before.documents) / span),
                formats.count(now.queue_documents),
                formats.size(now.queue_bytes),
                "" if now.memory_bytes is None else formats.size(now.memory_bytes),
                f"{(now.cpu_seconds - before.cpu_seconds) / span:.2f}",
            ]
        )
    columns = ["at", "settled", "documents/s since", "queue", "queue", "memory", "cores busy since"]
    return table(columns, rows) + (
        f"\n\nThe queue holds {formats.count(profile.queue_capacity_documents)} documents or "
        f"{formats.size(profile.queue_capacity_bytes)}, whichever is reached first."
    )


def _moments(samples: Sequence[Sample]) -> list[Sample]:
    """Return some samples, evenly spaced, the first and the last among them."""
    if len(samples) <= MOMENTS + 1:
        return list(samples)
    last = len(samples) - 1
    return [samples[round(number * last / MOMENTS)] for number in range(MOMENTS + 1)]


def _machine(load: LoadFigures) -> str:
    profile = load.profile
    server = load.server_cpu_seconds
    cpu, wall = formats.seconds(profile.cpu_seconds), formats.seconds(profile.seconds)
    beside = f" The database server, on the same machine, took {formats.seconds(server)} beside that."
    return (
        f"The load kept {profile.cpu_to_wall:.2f} cores busy on average ({cpu} of CPU in {wall})."
        f"{beside if server else ''} A document cost {load.cpu_ms_per_document:.2f} ms of CPU, start of the "
        f"program included. Memory reached {formats.size(load.peak_memory_bytes)}; the queue reached "
        f"{formats.count(load.queue_max_documents)} documents and held "
        f"{formats.rate(load.queue_mean_documents)} on average."
    )


def _part(seconds: float, whole: float) -> str:
    return f"{formats.seconds(seconds)} ({_share(seconds, whole) or '–'})"


def _share(part: float, whole: float) -> str:
    return formats.share(part / whole) if whole > 0 else ""
