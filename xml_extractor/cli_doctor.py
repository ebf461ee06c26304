"""The ``doctor`` command: what it was asked, and how its findings look."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from xml_extractor import cli_commands
from xml_extractor.cli_output import Output
from xml_extractor.engines.base import Finding, Health
from xml_extractor.errors import ExitCode
from xml_extractor.settings import Settings

if TYPE_CHECKING:
    from rich.text import Text

    from xml_extractor.operations.doctor import Examination, Side

_MARKS: Final = {
    Health.GOOD: ("✓", "green"),
    Health.NOTE: ("·", "cyan"),
    Health.WARNING: ("!", "bold yellow"),
    Health.PROBLEM: ("✗", "bold red"),
}


def doctor(arguments: argparse.Namespace, settings: Settings, output: Output) -> ExitCode:
    """Look at source and target and say what is to be done."""
    from xml_extractor.operations.contracts import find_contract
    from xml_extractor.operations.doctor import examine, grant_script

    contract = find_contract(settings.contract)
    where = cli_commands._databases(settings)
    options = settings.options()
    if options.create_tables is None:
        options = options.model_copy(update={"create_tables": where.target_is_embedded})
    if arguments.grant_script is not None:
        user = arguments.grant_script
        for line in grant_script(where.source, where.target, contract, options, user=user):
            output.line(line)
        return ExitCode.OK
    found = examine(where.source, where.target, contract, options, embedded=where.source_is_embedded)
    if arguments.json:
        output.json(found.to_json())
    elif output.out.is_terminal:
        _print_rich(found, output)
    else:
        for line in text_lines(found):
            output.line(line)
    return found.exit_code


def text_lines(found: Examination) -> Iterator[str]:
    """The findings as plain text, one a line with what to do about it below; nothing is wrapped."""
    for side in found.sides:
        yield f"{_title(side)}"
        width = max((len(finding.subject) for finding in side.findings), default=0)
        for finding in side.findings:
            yield f"  {finding.health.value:<7}  {finding.subject:<{width}}  {finding.text}"
            if finding.health is Health.NOTE and finding.cure is not None:
                yield from _indented(finding.cure, "           " + " " * width + "  -> ")
        yield ""
    yield found.verdict
    for number, (side_name, finding) in enumerate(found.to_do(), start=1):
        yield f"  {number}. {side_name}, {finding.subject}:"
        yield from _indented(finding.cure or finding.text, "     ")


def _title(side: Side) -> str:
    return f"{side.name.capitalize()}: {side.display}"


def _indented(text: str, indent: str) -> Iterator[str]:
    first, *rest = text.splitlines()
    yield indent + first
    for line in rest:
        yield " " * len(indent) + line


def _print_rich(found: Examination, output: Output) -> None:
    from rich.table import Table
    from rich.text import Text

    console = output.out
    for side in found.sides:
        console.print(Text(_title(side), style="bold"), soft_wrap=False)
        table = Table.grid(padding=(0, 2, 0, 0))
        table.add_column(no_wrap=True)
        table.add_column(max_width=24)
        table.add_column(overflow="fold", ratio=1)
        for finding in side.findings:
            mark, style = _MARKS[finding.health]
            table.add_row(Text(f" {mark}", style=style), Text(finding.subject), _words(finding))
        console.print(table, soft_wrap=False)
        console.print()
    colour = "bold green" if not found.to_do() else "bold yellow" if found.would_work else "bold red"
    console.print(Text(found.verdict, style=colour), soft_wrap=False)
    todo = Table.grid(padding=(0, 2, 0, 0))
    todo.add_column(justify="right", no_wrap=True)
    todo.add_column(no_wrap=True)
    todo.add_column(overflow="fold", ratio=1)
    for number, (side_name, finding) in enumerate(found.to_do(), start=1):
        mark, style = _MARKS[finding.health]
        what = Text.assemble((f"{side_name}, {finding.subject}: ", "bold"), finding.cure or finding.text)
        todo.add_row(f" {number}.", Text(mark, style=style), what)
    console.print(todo, soft_wrap=False)


def _words(finding: Finding) -> Text:
    from rich.text import Text

    words = Text(finding.text)
    if finding.health is Health.NOTE and finding.cure is not None:
        words.append(f"\n→ {finding.cure}", style="dim")
    return words
