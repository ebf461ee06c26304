"""A load's summary for people: with rich on a terminal, the same words in plain text elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xml_extractor.errors import ExitCode
from xml_extractor.profiling.profile import InsertClocks
from xml_extractor.profiling.progress import duration
from xml_extractor.profiling.summary import LoadSummary

_DOCUMENT_LABELS: Final = (
    ("read", "read"),
    ("loaded", "loaded"),
    ("already_loaded", "already loaded"),
    ("quarantined", "quarantined"),
    ("skipped", "skipped"),
    ("unfinished", "unfinished"),
)
_SENTENCES: Final = ("keys built", "queue depth", "inserting")
"""Figures that are several, and are not aligned with the others."""
_STYLES: Final = {"loaded": "green", "quarantined": "yellow", "unfinished": "yellow"}


def print_summary(summary: LoadSummary, console: Console, *, dry_run: bool = False) -> None:
    """Print the summary to ``console`` (standard output's)."""
    if console.is_terminal:
        _print_rich(summary, console, dry_run=dry_run)
    else:
        console.file.write(summary_text(summary, dry_run=dry_run) + "\n")
        console.file.flush()


def summary_text(summary: LoadSummary, *, dry_run: bool = False) -> str:
    """Return the summary as plain text, aligned, without a line break at the end."""
    documents = [(label, f"{getattr(summary.documents, name):,}") for name, label in _DOCUMENT_LABELS]
    lines = [headline(summary, dry_run=dry_run), "", *_block("Documents", documents)]
    if summary.did_work:
        rows = [(table, f"{count:,}") for table, count in summary.rows.items()]
        rows.append(("all tables", f"{sum(summary.rows.values()):,}"))
        lines += _block(_rows_title(summary, dry_run=dry_run), rows)
        lines += _block("Time", _time_figures(summary, dry_run=dry_run))
        lines.append(f"Bottleneck: {summary.bottleneck}")
    lines += remarks(summary, dry_run=dry_run)
    return "\n".join(lines).rstrip("\n")


def headline(summary: LoadSummary, *, dry_run: bool = False) -> str:
    """Return the outcome in one sentence."""
    counts = summary.documents
    loaded = _times(counts.loaded, "document", "documents")
    done = "mapped" if _is_null(summary) else "loaded"
    if summary.error_code is ExitCode.HALTED:
        return f"Halted after {_elapsed(summary.seconds)}: {loaded} {done} until then."
    if summary.error is not None:
        return f"Failed after {_elapsed(summary.seconds)}: {loaded} {done} until then."
    if summary.stopped_by_signal is not None:
        # Documents that were read only: none of them unfinished does not mean that none is left.
        unfinished = f", {counts.unfinished:,} unfinished" if counts.unfinished else ""
        return (
            f"Stopped by a signal after {_elapsed(summary.seconds)}: {loaded} {done}{unfinished}; "
            "run the same command again for the rest."
        )
    if dry_run:
        return f"Dry run: {loaded} would be loaded; nothing was written."
    if counts.read == 0:
        return "Nothing to do: the source holds no documents in this range."
    if counts.loaded == 0 and counts.read == counts.already_loaded + counts.quarantined + counts.skipped:
        already = f"{_times(counts.already_loaded, 'document is', 'documents are')} already loaded."
        if counts.already_loaded == counts.read and not summary.newer_in_quarantine:
            return f"Nothing to do: {'all ' if counts.read > 1 else ''}{already}"
        if counts.already_loaded:
            return f"Nothing new to load: {already}"
    if _is_null(summary):
        return f"Mapped {loaded} in {_elapsed(summary.seconds)}; nothing was written."
    return f"Loaded {loaded} in {_elapsed(summary.seconds)}."


def _is_null(summary: LoadSummary) -> bool:
    return summary.settings.get("target") == "null:"


def _rows_title(summary: LoadSummary, *, dry_run: bool) -> str:
    return "Rows mapped, not written" if dry_run or _is_null(summary) else "Rows"


def _elapsed(seconds: float) -> str:
    """Return a time span in words; below ten seconds with a decimal, as small loads take less than one."""
    if seconds < 0.05:
        return "less than 0.1 s"
    return f"{seconds:.1f} s" if seconds < 9.95 else duration(seconds)


def remarks(summary: LoadSummary, *, dry_run: bool = False) -> list[str]:
    """Return the sentences that ask for, or may deserve, the operator's attention."""
    lines = [f"{note[:1].upper()}{note[1:]}." for note in summary.notes]
    if summary.retries:
        lines.append(
            f"{_times(summary.retries, 'further transaction was', 'further transactions were')} needed "
            "to retry, or to find documents that the target refuses."
        )
    if summary.truncated_values:
        lines.append(
            f"{_times(summary.truncated_values, 'value was', 'values were')} shortened to fit, "
            "as the contract says (on_overflow: truncate)."
        )
    if summary.unknown_elements:
        common = sorted(summary.unknown_elements.items(), key=lambda item: (-item[1], item[0]))
        shown = ", ".join(f"{name} ({count:,})" for name, count in common[:10])
        more = f" and {len(common) - 10:,} more" if len(common) > 10 else ""
        lines.append(f"Elements that the contract does not mention, with documents: {shown}{more}.")
    if summary.changed:
        lines.append(_changed(summary, dry_run=dry_run))
    if summary.loaded_under_another_plan:
        lines.append(
            f"{_times(summary.loaded_under_another_plan, 'document was', 'documents were')} loaded or "
            "skipped under another version of the contract; --on-plan-change reload settles them anew."
        )
    counts = summary.documents
    if counts.skipped and not counts.loaded and not counts.already_loaded and not dry_run:
        lines.append(
            f"{_times(counts.skipped, 'document was', 'documents were')} skipped and none was loaded: "
            "what is skipped has another root element than the contract names (document.root), does not meet "
            "its condition (document.where), or was purged from quarantine. If that was not meant, correct "
            "the contract and load with --on-plan-change reload, which tries skipped documents again."
        )
    if counts.quarantined:
        lines.append(_refused(summary, dry_run=dry_run))
    if summary.keys.built and not summary.did_work:  # else it stands among the times
        lines.append(
            f"{_times(summary.keys.built, 'key that was owed was', 'keys that were owed were')} built in "
            f"{_elapsed(summary.keys.seconds)}."
        )
    if summary.keys.elsewhere:
        lines.append(
            f"{_times(summary.keys.elsewhere, 'document', 'documents')} that this run did not read, and that "
            "had been loaded, went into quarantine because of keys; `python -m xml_extractor quarantine "
            "list` shows them."
        )
    if summary.keys.owed and not dry_run:
        lines.append(
            f"Keys are owed to {_times(len(summary.keys.owed), 'table', 'tables')} "
            f"({', '.join(summary.keys.owed)}): the next load of this source that comes to its end builds "
            "them; the same command does."
        )
    if summary.newer_in_quarantine:
        newer = _times(
            summary.newer_in_quarantine,
            "document of this source is loaded in an older version, and its newer one is",
            "documents of this source are loaded in an older version, and their newer ones are",
        )
        lines.append(
            f"{newer} in quarantine; `python -m xml_extractor quarantine list` shows them and their reasons."
        )
    return lines


def _changed(summary: LoadSummary, *, dry_run: bool) -> str:
    """Say how many documents have changed since they were loaded, and what was done about it."""
    have = f"{_times(summary.changed, 'document has', 'documents have')} changed since the ledger took note"
    if summary.changed_keys:
        keys = ", ".join(summary.changed_keys[:10])
        more = ", …" if summary.changed > 10 else ""
        return f"{have} of what they hold ({keys}{more}); --on-change replace loads them anew."
    if dry_run:
        return f"{have} of what they hold."
    # Only what was loaded has rows, and keeps them where the new version is refused, or loaded already.
    if not summary.replaced:
        return f"{have} of what they hold; no old rows were replaced."
    others = "" if summary.replaced == summary.changed else "; the others had none, or keep theirs"
    return f"{have} of what they hold; the old rows of {summary.replaced:,} were replaced{others}."


def _refused(summary: LoadSummary, *, dry_run: bool) -> str:
    """Say how many documents were refused, why, and where to look them up, which depends on the target."""
    count = summary.documents.quarantined
    reasons = sorted(summary.quarantine_reasons.items(), key=lambda item: (-item[1], item[0]))
    why = ", ".join(f"{code} {number:,}" for code, number in reasons)
    why = f" ({why})" if why else ""
    fresh = sum(summary.quarantine_reasons.values())
    # The reasons are this run's; most of the documents may have been there before.
    in_all = f", {fresh:,} of them from this run{why}" if 0 < fresh < count else why
    target = str(summary.settings.get("target", ""))
    if target == "null:":
        return f"{_times(count, 'document was', 'documents were')} refused{why}; null: keeps no list of them."
    if dry_run:
        return f"{_times(count, 'document', 'documents')} would be in quarantine after such a load{in_all}."
    if target.startswith("jsonl:"):
        return (
            f"{_times(count, 'document was', 'documents were')} refused{why}; {target[6:]}/_quarantine.jsonl "
            "has them and their reasons."
        )
    return (
        f"{_times(count, 'document is', 'documents are')} in quarantine{in_all}; `python -m xml_extractor "
        "quarantine list` shows them and their reasons."
    )


def _times(count: int, one: str, many: str) -> str:
    return f"{count:,} {one if count == 1 else many}"


def _time_figures(summary: LoadSummary, *, dry_run: bool) -> list[tuple[str, str]]:
    insert: Mapping[str, float | int] = summary.insert_ms
    writes = not (dry_run or _is_null(summary))
    figures = [
        ("elapsed", duration(summary.seconds) if summary.seconds >= 10 else f"{summary.seconds:.2f} s"),
        ("documents/s", f"{summary.documents_per_second:,.0f}"),
    ]
    if summary.keys.seconds:
        keys = f"{_times(summary.keys.built, 'key', 'keys')} in {_elapsed(summary.keys.seconds)}"
        figures.append(("keys built", keys))
    if summary.held_seconds:
        figures.append(("held back", _elapsed(summary.held_seconds)))
    if insert["count"] and writes:
        figures += [(f"insert {name}", f"{insert[name]:,.1f} ms") for name in ("p50", "p95", "p99")]
        figures.append(("batches", f"{insert['count']:,}"))
        if summary.insert_path is not None:
            figures.append(("insert path", summary.insert_path))
    shares = summary.clocks.shares()
    if summary.clocks.seconds > 0:
        figures += [(f"workers {stage}", f"{share:.1%}") for stage, share in shares.items()]
        queue = summary.queue
        figures.append(
            ("queue depth", f"mean {queue.mean_depth:,.0f}, max {queue.max_depth:,} of {queue.capacity:,}")
        )
    if summary.profile is not None and summary.profile.inserting.busy > 0 and writes:
        figures.append(("inserting", _inserting(summary.profile.inserting)))
    if summary.profile is not None and summary.profile.cpu_seconds > 0:
        figures.append(("cores busy", f"{summary.profile.cpu_to_wall:.2f}"))
    if summary.peak_memory_bytes is not None:
        figures.append(("peak memory", f"{summary.peak_memory_bytes / 2**20:,.0f} MiB"))
    return figures


def _inserting(clocks: InsertClocks) -> str:
    """Say where insert threads' time went, waiting for batches apart."""
    parts = (
        ("rows", sum(clocks.tables.values())),
        ("bookkeeping", clocks.claim),
        ("commit", clocks.commit),
        ("retries", clocks.retry),
    )
    return ", ".join(f"{name} {seconds / clocks.busy:.0%}" for name, seconds in parts if seconds > 0)


def _block(title: str, figures: Sequence[tuple[str, str]]) -> list[str]:
    """Return a titled block with labels to the left and figures to the right, and an empty line."""
    label_width = max(len(label) for label, _ in figures)
    figure_width = max((len(figure) for label, figure in figures if label not in _SENTENCES), default=0)
    return [
        title,
        *(f"  {label:<{label_width}}  {figure:>{figure_width}}" for label, figure in figures),
        "",
    ]


def _print_rich(summary: LoadSummary, console: Console, *, dry_run: bool) -> None:
    fine = summary.exit_code is ExitCode.OK
    console.print(Text(headline(summary, dry_run=dry_run), style="bold green" if fine else "bold yellow"))
    documents = _rich_table("Documents")
    for name, label in _DOCUMENT_LABELS:
        count = getattr(summary.documents, name)
        documents.add_row(label, f"{count:,}", style=_STYLES.get(name) if count else "dim")
    if summary.did_work:
        _print_figures(summary, console, documents, dry_run=dry_run)
    else:
        console.print(documents)
    for line in remarks(summary, dry_run=dry_run):
        console.print(Text(line))


def _print_figures(summary: LoadSummary, console: Console, documents: Table, *, dry_run: bool) -> None:
    rows = _rich_table(_rows_title(summary, dry_run=dry_run))
    for table, count in summary.rows.items():
        rows.add_row(Text(table), f"{count:,}", style=None if count else "dim")
    rows.add_section()
    rows.add_row("all tables", f"{sum(summary.rows.values()):,}", style="bold")
    times = _rich_table("Time")
    for label, figure in _time_figures(summary, dry_run=dry_run):
        times.add_row(label, figure)
    side_by_side = Table.grid(padding=(0, 3))
    if console.width >= 100:
        side_by_side.add_row(documents, rows, times)
        console.print(side_by_side)
    else:
        console.print(documents, rows, times)
    console.print(Text.assemble(("Bottleneck: ", "bold"), summary.bottleneck))


def _rich_table(title: str) -> Table:
    table = Table(
        title=title, title_style="bold", title_justify="left", box=box.SIMPLE_HEAD, show_header=False
    )
    table.add_column()
    table.add_column(justify="right")
    return table
