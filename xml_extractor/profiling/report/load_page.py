"""The page of ``--report``: what a load's summary and profile say, for people."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from xml_extractor.errors import ExitCode
from xml_extractor.profiling.profile import InsertClocks, Latency, LoadProfile
from xml_extractor.profiling.report import formats, load_plots, page
from xml_extractor.profiling.report.blocks import (
    Block,
    Card,
    Cards,
    Column,
    Page,
    Panels,
    Plot,
    Section,
    Table,
    Text,
    Tone,
)  # fmt: skip
from xml_extractor.profiling.report.formats import count, milliseconds, plural, rate, share
from xml_extractor.profiling.report.idle import idle_section, nothing_was_pending
from xml_extractor.profiling.report.observations import observations
from xml_extractor.profiling.summary import NO_INSERTS, LoadSummary
from xml_extractor.profiling.summary_text import headline, remarks

_EXIT_CODES: Final = {
    ExitCode.OK: "all well",
    ExitCode.BUG: "a bug",
    ExitCode.USAGE: "usage, settings or contract wrong, or tables missing",
    ExitCode.NEEDS_A_LOOK: "finished, but something needs a look",
    ExitCode.SOURCE_FAILED: "the source failed",
    ExitCode.TARGET_FAILED: "the target failed",
    ExitCode.HALTED: "halted by a guard",
    ExitCode.INTERRUPTED: "stopped by a signal",
    ExitCode.TERMINATED: "stopped by a signal",
}
_DOCUMENTS: Final = (
    ("loaded", "loaded"),
    ("already_loaded", "already loaded"),
    ("quarantined", "quarantined"),
    ("skipped", "skipped: another contract's"),
    ("unfinished", "unfinished: the next run takes them up"),
)
_STARTED: Final = re.compile(r"^(\S{10})T(\S{8})(?:\.\d+)?(?:Z|\+00:00)$")
_SLOWEST: Final = 12
_MOST_ROWS: Final = 500
"""Rows of a table, so that a contract with thousands of tables, or elements, does not fill the page."""


def write_load_report(summary: LoadSummary, path: Path) -> None:
    """Make the page of a load and write it.

    Raises:
        OSError: it cannot be written; an earlier file is left as it was.
    """
    page.write(page.render(load_page(summary)), path)


def load_page(summary: LoadSummary) -> Page:
    """Return the page of a load, however it ended, as blocks."""
    dry_run = bool(summary.settings.get("dry_run"))
    if dry_run:
        summary = _without_inserts(summary)
    profile = summary.profile
    status, tone = _status(summary, dry_run=dry_run)
    return Page(
        title="Load report",
        lead=headline(summary, dry_run=dry_run),
        sections=[section for section in _sections(summary, profile, dry_run=dry_run) if section.blocks],
        status=status,
        tone=tone,
        facts=list(_facts(summary, profile)),
        footer=f"Made by xml-extractor {summary.versions.get('xml-extractor', '')}. Keys of documents, names "
        "and figures are all that it holds; no value of a document is among them.",
    )  # fmt: skip


def _without_inserts(summary: LoadSummary) -> LoadSummary:
    """Return the figures of a dry run without times of inserting, which was no more than counting."""
    profile = summary.profile
    if profile is not None:
        profile = replace(
            profile,
            inserting=InsertClocks(),
            insert_latency=Latency(),
            insert_histogram=(),
            samples=tuple(replace(sample, insert=Latency()) for sample in profile.samples),
        )
    return replace(summary, insert_ms=dict(NO_INSERTS), profile=profile)


def _status(summary: LoadSummary, *, dry_run: bool) -> tuple[str, Tone]:
    code = summary.exit_code
    prefix = "Dry run: " if dry_run else ""
    if code is ExitCode.HALTED:
        return f"{prefix}Halted by a guard", Tone.LOOK
    if summary.error is not None:
        return f"{prefix}Failed", Tone.BAD
    if summary.stopped_by_signal is not None:
        return f"{prefix}Stopped", Tone.LOOK
    if code is ExitCode.NEEDS_A_LOOK:
        return f"{prefix}Finished, needs a look", Tone.LOOK
    return f"{prefix}Finished", Tone.GOOD


def _facts(summary: LoadSummary, profile: LoadProfile | None) -> Iterator[tuple[str, str]]:
    settings = summary.settings
    if profile is not None:
        yield "Started", _STARTED.sub(r"\1 \2 UTC", profile.started_at)
    for name in ("source", "target", "contract"):
        if settings.get(name):
            yield name.capitalize(), str(settings[name])
    if summary.load_id is not None:
        yield "Load", str(summary.load_id)
    code = summary.exit_code
    yield "Exit code", f"{int(code)}: {_EXIT_CODES[code]}"


def _sections(summary: LoadSummary, profile: LoadProfile | None, *, dry_run: bool) -> Iterator[Section]:
    idle = nothing_was_pending(summary)
    if idle:
        yield idle_section(summary)
    else:
        cards = Cards(list(_cards(summary, profile, dry_run=dry_run)))
        yield _section("Headline figures", [*_error(summary), cards])
        yield _section("What held it back", _bottleneck(summary, profile))
    if profile is not None and not idle:
        yield _section("Over time", _over_time(profile))
        yield _section("Where the time went", _where(profile))
        yield _section("How long things took", _durations(profile))
    yield _section("Documents and rows", _counts(summary, dry_run=dry_run))
    slow = [] if profile is None else _slowest(profile)
    refused = "Refused documents" if idle else "Slow and refused documents"
    yield _section(refused, [*slow, *_quarantine(summary)])
    points = remarks(summary, dry_run=dry_run)
    yield _section("Notes", [Text(points=points, name="notes")] if points else [])
    yield _section("Settings and versions", _settings(summary))


def _section(heading: str, parts: Iterable[Text | Cards | Plot | Table]) -> Section:
    """Make a section; plots and tables that follow each other stand side by side."""
    blocks: list[Block] = []
    panels: list[Plot | Table] = []
    for part in parts:
        if isinstance(part, (Plot, Table)):
            if not panels:
                blocks.append(Panels(panels))
            panels.append(part)
        else:
            blocks.append(part)
            panels = []
    return Section(heading, blocks)


def _error(summary: LoadSummary) -> Iterator[Text]:
    if summary.error is not None:
        lines = [line for line in summary.error.splitlines() if line.strip()]
        yield Text(lines, tone=Tone.BAD, heading="Why it ended", name="error")


# ------------------------------------------------------------------------------------------- figures


def _cards(summary: LoadSummary, profile: LoadProfile | None, *, dry_run: bool) -> Iterator[Card]:
    documents = summary.documents
    done = "Documents that would be loaded" if dry_run else "Documents loaded"
    yield Card(
        done, count(documents.loaded), note=f"of {count(documents.read)} read", name="documents.loaded",
        raw=documents.loaded,
    )  # fmt: skip
    per_second = summary.documents_per_second
    yield Card(
        "Documents per second", rate(per_second), "", f"{count(per_second * 60)} a minute",
        "documents_per_second", round(per_second, 1),
    )  # fmt: skip
    held = f"{formats.seconds(summary.held_seconds)} of it held back" if summary.held_seconds else ""
    yield Card(
        "Time", formats.seconds(summary.seconds), note=held or "first read to last commit", name="seconds",
        raw=round(summary.seconds, 3),
    )  # fmt: skip
    rows = sum(summary.rows.values())
    tables = plural(sum(number > 0 for number in summary.rows.values()), "table")
    yield Card(
        "Rows mapped" if dry_run else "Rows", count(rows), note=f"in {tables}", name="rows.total", raw=rows
    )
    yield Card(
        "Quarantined", count(documents.quarantined), note=_share_of(documents.quarantined, documents.read),
        name="documents.quarantined", raw=documents.quarantined,
        tone=Tone.LOOK if documents.quarantined else Tone.PLAIN,
    )  # fmt: skip
    insert = summary.insert_ms
    if insert["count"]:
        batches = plural(insert["count"], "batch", "batches")
        notes = (f"half of {batches}", "19 of 20 batches", "99 of 100 batches")
        for name, note in zip(("p50", "p95", "p99"), notes, strict=True):
            yield Card(
                f"Insert {name}", *_split(milliseconds(insert[name])), f"{note} took no longer",
                f"insert_ms.{name}", insert[name],
            )  # fmt: skip
    yield Card(
        "Queue, highest", count(summary.queue.max_depth), f"of {count(summary.queue.capacity)}",
        f"documents; {rate(summary.queue.mean_depth)} on average", "queue.max_depth", summary.queue.max_depth,
    )  # fmt: skip
    if summary.peak_memory_bytes is not None:
        yield Card(
            "Peak memory", *_split(formats.size(summary.peak_memory_bytes)), "of all processes",
            "peak_memory_bytes", summary.peak_memory_bytes,
        )  # fmt: skip
    if profile is not None and profile.cpu_seconds > 0:
        yield Card(
            "Cores busy", f"{profile.cpu_to_wall:.2f}", name="profile.cpu_to_wall",
            note=f"{formats.seconds(profile.cpu_seconds)} of processor", raw=round(profile.cpu_to_wall, 3),
        )  # fmt: skip
    if documents.unfinished:
        yield Card(
            "Unfinished", count(documents.unfinished), note="the next run takes them up",
            name="documents.unfinished", raw=documents.unfinished, tone=Tone.LOOK,
        )  # fmt: skip
    if summary.retries:
        yield Card(
            "Retries", count(summary.retries), note="transactions beyond one a batch",
            name="retries", raw=summary.retries, tone=Tone.LOOK,
        )  # fmt: skip


def _split(text: str) -> tuple[str, str]:
    """Part a figure from its unit, where it has but one: ``12.3`` and ``ms``."""
    value, _, unit = text.partition(" ")
    return (text, "") if " " in unit else (value, unit)


def _share_of(part: float, whole: float) -> str:
    return f"{share(part / whole)} of those read" if whole else "none were read"


def _bottleneck(summary: LoadSummary, profile: LoadProfile | None) -> Iterator[Text]:
    if not summary.bottleneck or not summary.did_work:
        return
    shares = summary.clocks.shares()
    told = ", ".join(f"{name.partition(':')[0]} {share(shares[role])}" for role, name in load_plots.STAGES)
    paragraphs = [summary.bottleneck]
    if summary.clocks.seconds > 0:
        paragraphs.append(f"The time of {_workers(summary)}: {told}.")
    points = [] if profile is None else list(observations(summary, profile))
    if points:
        paragraphs.append("Besides:")
    yield Text(paragraphs, points, name="bottleneck")


def _workers(summary: LoadSummary) -> str:
    kind = {"process": "worker process", "thread": "worker thread"}.get(summary.executor, "worker")
    return plural(summary.workers, kind, f"{kind}es" if kind.endswith("s") else f"{kind}s")


# --------------------------------------------------------------------------------------- time and rows


def _over_time(profile: LoadProfile) -> Iterator[Text | Plot | Table]:
    plots = load_plots.timeline(profile)
    if not plots:
        yield Text(["The load was over before it could be looked at twice."])
    yield from plots
    table = load_plots.samples_table(profile)
    if table is not None:
        yield table


def _where(profile: LoadProfile) -> Iterator[Plot]:
    for plot in (load_plots.worker_plot(profile), load_plots.insert_plot(profile)):
        if plot is not None:
            yield plot


def _durations(profile: LoadProfile) -> Iterator[Plot]:
    for plot in (
        load_plots.latency_plot(
            "insert-histogram", "Inserting a batch", "batches", "parse", profile.insert_latency,
            profile.insert_histogram,
        ),
        load_plots.latency_plot(
            "document-histogram", "Parsing and mapping a document", "documents", "map",
            profile.document_latency, profile.document_histogram,
        ),
    ):  # fmt: skip
        if plot is not None:
            yield plot


def _slowest(profile: LoadProfile) -> Iterator[Table]:
    slowest = profile.slowest[:_SLOWEST]
    if not slowest:
        return
    usual = profile.document_latency.p50
    rows = [
        (
            document.key,
            milliseconds(1e3 * document.seconds),
            f"{1e3 * document.seconds / usual:,.1f} ×" if usual > 0 else "–",
            document.seconds / (slowest[0].seconds or 1.0),
        )
        for document in slowest
    ]
    yield Table(
        "Documents that took longest to parse and map",
        (Column("key"), Column("took", "number"), Column("of the median", "number"), Column("", "bar")),
        rows,
    )


def _counts(summary: LoadSummary, *, dry_run: bool) -> Iterator[Table]:
    documents = summary.documents
    yield Table(
        "What became of the documents",
        (Column("documents"), Column("how many", "number"), Column("", "bar")),
        [
            (label, count(number), number / documents.read if documents.read else 0.0)
            for name, label in _DOCUMENTS
            for number in [getattr(documents, name)]
        ],
        foot=("read", count(documents.read)),
    )
    if not summary.rows or nothing_was_pending(summary):
        return
    most = max(summary.rows.values()) or 1
    rows, rest = _longest(list(summary.rows.items()))
    yield Table(
        ("Rows mapped, not written, by table" if dry_run else "Rows by table") + rest,
        (Column("table"), Column("rows", "number"), Column("", "bar")),
        [(table, count(number), number / most) for table, number in rows],
        foot=("all tables", count(sum(summary.rows.values()))),
    )


def _longest(items: list[tuple[str, int]]) -> tuple[list[tuple[str, int]], str]:
    """Return as many items as a table may have, the largest of them, and what its caption says of that."""
    if len(items) <= _MOST_ROWS:
        return items, ""
    largest = sorted(items, key=lambda item: -item[1])[:_MOST_ROWS]
    return largest, f" (the {_MOST_ROWS} largest of {count(len(items))})"


def _quarantine(summary: LoadSummary) -> Iterator[Text | Table]:
    reasons = sorted(summary.quarantine_reasons.items(), key=lambda item: (-item[1], item[0]))
    total = sum(summary.quarantine_reasons.values())
    earlier = summary.documents.quarantined - total
    if reasons:
        shown, rest = _longest(reasons)
        yield Table(
            f"Put into quarantine by this run, by reason{rest}",
            (Column("reason"), Column("documents", "number"), Column("share", "number"), Column("", "bar")),
            [(code, count(number), share(number / total), number / reasons[0][1]) for code, number in shown],
            foot=("all reasons", count(total), share(1.0)),
        )
    if earlier > 0:
        yield Text([f"{plural(earlier, 'document')} had been in quarantine before."])
    if not reasons and not earlier:
        yield Text(["No document is in quarantine." if summary.documents.read else "No document was read."])


# ------------------------------------------------------------------------------- settings and versions


def _settings(summary: LoadSummary) -> Iterator[Table]:
    ran: list[Sequence[str]] = []
    if summary.executor:
        why = f" ({summary.executor_reason})" if summary.executor_reason else ""
        ran += [
            ("executor", f"{summary.executor}{why}"),
            ("workers", count(summary.workers)),
            ("insert threads", count(summary.insert_threads)),
        ]
    if summary.insert_path is not None:
        ran.append(("insert path", summary.insert_path))
    ran += [
        (name.replace("_", " "), _shown(name, summary.settings[name]))
        for name in ("batch_size", "queue_size", "queue_bytes")
        if summary.settings.get(name) is not None
    ]
    columns = (Column("setting"), Column("value"))
    if ran:
        yield Table("How it ran", columns, ran)
    if summary.versions:
        yield Table("Versions", (Column("what"), Column("version")), list(summary.versions.items()))
    given = [
        (name, _shown(name, value))
        for name, value in sorted(summary.settings.items())
        if value is not None and value != ""
    ]
    if given:
        yield Table("All settings", columns, given, folded=True)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return formats.size(value) if name.endswith(("_bytes", "memory_limit")) else count(value)
    return f"{value:g}" if isinstance(value, float) else str(value)
