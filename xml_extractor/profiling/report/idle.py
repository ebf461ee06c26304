"""What the page of ``--report`` says of a run that found nothing to load: plots would all be empty."""

from __future__ import annotations

from collections.abc import Iterator

from xml_extractor.profiling.report import formats
from xml_extractor.profiling.report.blocks import Card, Cards, Section, Text, Tone
from xml_extractor.profiling.report.formats import count, share
from xml_extractor.profiling.summary import LoadSummary


def nothing_was_pending(summary: LoadSummary) -> bool:
    """Whether a run came to its end without having found any document to do something about."""
    ended = summary.error is None and summary.stopped_by_signal is None
    return ended and not summary.did_work and not summary.quarantine_reasons


def idle_section(summary: LoadSummary) -> Section:
    """Say that nothing was pending, and what the ledger holds of the documents that were read."""
    documents = summary.documents
    if documents.read:
        paragraphs = [
            "No document was waiting to be loaded: the ledger knows each of those that were read. None was "
            "mapped and no row was written, so there are no rates and no plots to show."
        ]
        if summary.settings.get("on_change") == "ignore":
            paragraphs.append(
                "Whether documents have changed in the source since they were loaded was not looked at: "
                "--on-change report or replace does that."
            )
    else:
        paragraphs = ["The source holds no documents in this range, so there was nothing to load."]
    text = Text(paragraphs, heading="Nothing was pending", name="idle")
    return Section("What the ledger holds", [text, Cards(list(_cards(summary)))])


def _cards(summary: LoadSummary) -> Iterator[Card]:
    documents = summary.documents
    yield Card("Documents read", count(documents.read), name="documents.read", raw=documents.read)
    for label, name in (
        ("Already loaded", "already_loaded"),
        ("Quarantined", "quarantined"),
        ("Skipped: another contract's", "skipped"),
    ):
        number = getattr(documents, name)
        if number or name != "skipped":
            part = f"{share(number / documents.read)} of those read" if number else ""
            tone = Tone.LOOK if number and name == "quarantined" else Tone.PLAIN
            yield Card(label, count(number), note=part, name=f"documents.{name}", raw=number, tone=tone)
    note = "to find that out" + (", and to build the keys that were owed" if summary.keys.built else "")
    yield Card(
        "Time", formats.seconds(summary.seconds), note=note, name="seconds", raw=round(summary.seconds, 3),
    )  # fmt: skip
