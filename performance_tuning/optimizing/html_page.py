"""The findings of a sweep as one HTML page, in the style of the load's report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from performance_tuning.optimizing import words
from performance_tuning.optimizing.findings import Findings
from performance_tuning.optimizing.measurements import Ending, History
from performance_tuning.optimizing.study_file import Trait
from xml_extractor.profiling.report import page
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
)
from xml_extractor.profiling.report.formats import count, rate, seconds
from xml_extractor.profiling.report.heat_map import heat_map_svg

_MOST_ROWS = 400


def write_page(
    found: Findings, command: str, hints: Sequence[str], traits: Mapping[str, Trait], history: History,
    path: Path,
) -> None:  # fmt: skip
    """Write the page.

    Raises:
        OSError: it cannot be written.
    """
    page.write(page.render(make_page(found, command, hints, traits, history)), path)


def make_page(
    found: Findings, command: str, hints: Sequence[str], traits: Mapping[str, Trait], history: History
) -> Page:  # fmt: skip
    """Make the page of blocks.

    Args:
        command: the recommended command line.
        hints: what has to be known to run it.
        traits: what was measured where.
    """
    settled = found.sure and found.complete
    return Page(
        title="Settings that load fastest",
        lead=f"Recommended: {found.recommended.setting.shown}: {words.headline(found)}",
        status="settled" if settled else "to be continued" if found.sure else "too little measured",
        tone=Tone.GOOD if settled else Tone.LOOK,
        facts=[(name, trait.shown) for name, trait in traits.items()],
        sections=[
            Section("Recommended", _recommended(found, command, hints)),
            Section("Workers by batch size", [_map(found)]),
            Section("What each choice costs", [_costs(found)]),
            Section("All that was measured", [Panels([_measurements(history)])]),
        ],
        footer="Made by performance_tuning/batch_size_optimizer_v2.py",
    )


def _recommended(found: Findings, command: str, hints: Sequence[str]) -> list[Block]:
    cards = [
        Card(
            "throughput", rate(found.rate), "documents/s", name="rate", raw=found.rate,
            note="start-up apart",
        ),
        Card(
            "memory", words.megabytes(found.recommended.memory_bytes), name="memory",
            raw=found.recommended.memory_bytes, note="peak of all processes",
        ),
        Card(
            "within noise", count(len(found.ties)), name="ties", raw=len(found.ties),
            note="settings as fast",
        ),
        Card(
            "tried", count(found.tried), f"of {count(found.settings)}", name="tried", raw=found.tried,
            note=f"{count(found.measurements)} loads in {seconds(found.seconds)}",
        ),
    ]  # fmt: skip
    ties = Table(
        "Within noise of the fastest: recommended is the one that takes the least memory",
        [Column("setting"), Column("speed", "number"), Column("memory", "number"), Column("loads", "number")],
        [
            [
                tie.setting.shown + (" (recommended)" if tie.setting == found.recommended.setting else ""),
                "fastest" if tie.setting == found.fastest else _unbroken(words.difference(tie.difference)),
                words.megabytes(tie.memory_bytes),
                str(tie.measured),
            ]
            for tie in found.ties
        ],
    )
    return [
        Cards(cards),
        Text([command, *hints], heading="The command", tone=Tone.GOOD, name="command"),
        Panels([ties]),
        Text([words.effort(found)], words.caveats(found)),
    ]


def _map(found: Findings) -> Panels:
    table = found.map
    values = [[None if cell is None else cell.rate for cell in row] for row in table.cells]
    names = [f"{batch:,}" for batch in table.columns]
    best = f"{table.rows[table.recommended[0]]} workers and batches of {names[table.recommended[1]]}"
    if table.rows[table.recommended[0]] == "serial":
        best = f"a serial load with batches of {names[table.recommended[1]]}"
    drawing = heat_map_svg(
        values,
        row_labels=table.rows,
        column_labels=names,
        row_title="workers",
        column_title="batch size",
        name="workers-by-batch-size",
        title="Throughput by workers and batch size",
        description=f"Documents per second of the fastest setting measured; recommended: {best}.",
        best=table.recommended,
        write=rate,
    )
    cells = [
        [
            name,
            *(
                "not measured" if cell is None else f"{'at most ' if cell.cut_off else ''}{rate(cell.rate)}"
                for cell in row
            ),
        ]
        for name, row in zip(table.rows, table.cells, strict=True)
    ]
    plot = Plot(
        "Documents per second, workers by batch size",
        drawing,
        note="Of each cell the fastest setting that was measured, whatever its queue, executor and insert "
        "threads; the frame marks the recommended one. Loads that were ended before their time count as the "
        "most that they can have reached.",
        table=Table(
            "Documents per second", [Column("workers"), *(Column(name, "number") for name in names)], cells
        ),
    )
    return Panels([plot])


def _costs(found: Findings) -> Panels:
    tables = [
        Table(
            "Speed against the recommended setting where one value is another (95 % interval)",
            [
                Column("setting"), Column("value"), Column("speed", "number"), Column("memory", "number"),
                Column("loads", "number"), Column("note"),
            ],
            [
                [
                    words.NAMES_SHOWN[cost.name], str(cost.value), _unbroken(words.cost(cost)),
                    words.megabytes(cost.memory_bytes), str(cost.measured), cost.note,
                ]
                for cost in found.costs
            ],
        )
    ]  # fmt: skip
    if found.importance:
        tables.append(
            Table(
                "How much each setting matters, over its whole range",
                [Column("setting"), Column("share", "number"), Column("", "bar")],
                [
                    [words.NAMES_SHOWN[name], f"{share * 100:.0f}\N{NO-BREAK SPACE}%", share]
                    for name, share in found.importance.items()
                ],
            )
        )
    return Panels(tables)


def _unbroken(text: str) -> str:
    return text.replace(" ", "\N{NO-BREAK SPACE}")


def _measurements(history: History) -> Table:
    rows = [
        [
            str(number), history.rounds[made.round - 1].stage, made.setting.shown,
            rate(made.outcome.rate) if made.outcome.ending is Ending.MEASURED else made.outcome.ending.value,
            words.megabytes(made.outcome.memory_bytes),
        ]
        for number, made in enumerate(history.measurements, start=1)
    ]  # fmt: skip
    left_out = len(rows) - _MOST_ROWS
    return Table(
        "Every load, in the order in which they ran"
        + (f" (the last {_MOST_ROWS:,}; the first {left_out:,} are in the study)" if left_out > 0 else ""),
        [
            Column("load"), Column("stage"), Column("setting"), Column("documents/s", "number"),
            Column("memory", "number"),
        ],
        rows[-_MOST_ROWS:],
        folded=True,
    )  # fmt: skip
