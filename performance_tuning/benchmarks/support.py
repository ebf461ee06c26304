"""What the benchmarks share: documents, fresh databases, running the product, and the table of figures.

Everything is made inside a temporary folder or a database of its own and removed at the end; nothing else
is touched.  The product is run the way its users run it: as a program, with the settings of the
environment and of ``config/settings.yaml`` left out, so that figures do not depend on them.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final

CHECKOUT: Final = Path(__file__).resolve().parents[2]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))  # a benchmark runs from a checkout that is not installed

from lxml import etree  # noqa: E402
from rich.console import Console  # noqa: E402
from rich.table import Table  # noqa: E402
from rich.text import Text  # noqa: E402

from performance_tuning.measuring.errors import MeasuringError  # noqa: E402
from performance_tuning.measuring.folders import temporary_folder  # noqa: E402, F401 - for benchmarks
from performance_tuning.measuring.machine import this_machine, versions  # noqa: E402
from performance_tuning.measuring.machine_watch import MachineWatch  # noqa: E402, F401 - for benchmarks
from performance_tuning.measuring.product import (  # noqa: E402
    no_config,
    product_environment,  # noqa: F401 - for benchmarks
    python_program,
    run_to_end,
)
from performance_tuning.measuring.servers import (  # noqa: E402
    Databases,
    MssqlServer,
    PostgresqlServer,
    SqliteFolder,
)
from performance_tuning.measuring.sources import SEED  # noqa: E402
from performance_tuning.measuring.started_server import POSTGRESQL_VARIABLE, postgresql_url  # noqa: E402
from xml_extractor.errors import ExitCode  # noqa: E402
from xml_extractor.resources import shipped_config  # noqa: E402

DISCOGS_VARIABLE: Final = "XML_EXTRACTOR_DISCOGS"
DISCOGS_DEFAULT: Final = Path("..") / "shared" / "data" / "discogs_releases_1000.xml.gz"
DISCOGS_DEFAULTS: Final = f"[{DISCOGS_VARIABLE}; default {DISCOGS_DEFAULT.as_posix()}, beside the checkout]"
MSSQL_VARIABLE: Final = "XML_EXTRACTOR_TEST_MSSQL_URL"
SUMMARY: Final = "summary.json"
DISCOGS: Final = "Discogs releases"
"""The kind of documents, in the names of figures."""


class BenchmarkError(MeasuringError):
    """The benchmark cannot be run; the message says what is missing."""


# ------------------------------------------------------------------------------------------ figures


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured figure; ``bound`` is the most that it may be, ``None`` where it only explains.

    With ``at_least`` the bound is the least that it may be.
    """

    name: str
    value: float
    unit: str
    bound: float | None = None
    detail: str = ""
    at_least: bool = False

    @property
    def holds(self) -> bool:
        """Whether the figure keeps to its bound."""
        if self.bound is None:
            return True
        return self.value >= self.bound if self.at_least else self.value <= self.bound


def report(
    title: str,
    figures: Sequence[Figure],
    json_file: Path | None,
    details: Mapping[str, Any] | None = None,
) -> ExitCode:
    """Print the figures as a table, write them as JSON if asked, and return the exit status.

    Args:
        details: goes into the JSON too, under ``details``: what the figures were made from.

    Returns:
        ``NEEDS_A_LOOK`` (3) when a bound is missed, else ``OK``.
    """
    holds = all(figure.holds for figure in figures)
    table = Table(title=title, title_justify="left", title_style="bold")
    table.add_column("figure")
    for column in ("measured", "bound", ""):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("how")
    for figure in figures:
        table.add_row(
            Text(figure.name),
            _number(figure.value, figure.unit),
            _bound(figure),
            _verdict(figure),
            Text(figure.detail),
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=140)
    console.print(table)
    console.print(Text(", ".join(f"{name} {value}" for name, value in machine().items()), style="dim"))
    if json_file is not None:
        content = {
            "title": title,
            "machine": machine(),
            "holds": holds,
            "figures": [asdict(figure) | {"holds": figure.holds} for figure in figures],
            **({} if details is None else {"details": details}),
        }
        json_file.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return ExitCode.OK if holds else ExitCode.NEEDS_A_LOOK


def _verdict(figure: Figure) -> Text:
    if figure.bound is None:
        return Text("")
    return Text("holds", "green") if figure.holds else Text("missed", "bold red")


def _bound(figure: Figure) -> str:
    if figure.bound is None:
        return ""
    return f"{'≥' if figure.at_least else '≤'} {_number(figure.bound, figure.unit)}"


def _number(value: float, unit: str) -> str:
    digits = 0 if unit in ("MB", "documents/s") else 2
    return f"{value:,.{digits}f} {unit}"


def machine() -> dict[str, str]:
    """Describe where the figures come from, without names."""
    found = versions()
    return {
        "cores": str(this_machine().cores),
        "system": this_machine().system,
        **{name: found[name] for name in ("Python", "lxml", "SQLite")},
    }


def run_benchmark(benchmark: Any, arguments: argparse.Namespace) -> int:
    """Call ``benchmark(arguments)`` and turn what is missing into a message and exit status 2."""
    try:
        return int(benchmark(arguments))
    except MeasuringError as error:
        print(f"error: {error}", file=sys.stderr)
        return int(ExitCode.USAGE)


def make_parser(description: str | None) -> argparse.ArgumentParser:
    """Return a parser with the options that all benchmarks have."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures as JSON too")
    return parser


def add_worker_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of how a load maps."""
    parser.add_argument("--workers", type=positive, default=4, metavar="N", help="default %(default)s")
    parser.add_argument("--executor", choices=("auto", "thread", "process", "serial"), default="auto")


def add_repeat_argument(parser: argparse.ArgumentParser) -> None:
    """Add the option of how often to measure."""
    parser.add_argument(
        "--repeat", type=positive, default=3, metavar="N",
        help="measure so often and take the median (default %(default)s)",
    )  # fmt: skip


def add_kinds_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options by which :func:`both_kinds` finds its documents."""
    parser.add_argument("--only", choices=("discogs", "applications"), help="load these documents only")
    parser.add_argument(
        "--discogs", type=Path, metavar="DUMP",
        help=f"Discogs releases, .xml or .xml.gz {DISCOGS_DEFAULTS}",
    )  # fmt: skip


def add_engine_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options by which :func:`engines_of` finds its engines."""
    parser.add_argument(
        "--engine", choices=("sqlite", "postgresql", "mssql"),
        help="this engine only (default: the first two, which need nothing)",
    )  # fmt: skip
    parser.add_argument(
        "--postgresql", metavar="URL",
        help=f"a server to make databases on [{POSTGRESQL_VARIABLE}; default: start one]",
    )  # fmt: skip
    parser.add_argument(
        "--mssql", metavar="URL", help=f"a SQL Server to make databases on [{MSSQL_VARIABLE}]"
    )


def engines_of(arguments: argparse.Namespace, stack: ExitStack, folder: Path) -> list[Databases]:
    """Return where databases are made on the engines that were asked for; ``stack`` ends what is started."""
    engines: list[Databases] = []
    if arguments.engine in (None, "sqlite"):
        engines.append(SqliteFolder(folder))
    if arguments.engine in (None, "postgresql"):
        engines.append(stack.enter_context(postgresql(arguments.postgresql, folder)))
    if arguments.engine == "mssql":
        engines.append(mssql(arguments.mssql))
    return engines


def positive(text: str) -> int:
    """Read a whole number of 1 or more from the command line."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


# ---------------------------------------------------------------------------------------- documents


def discogs_file(named: Path | None) -> Path:
    """Return the Discogs sample: as named, else by the environment, else beside the checkout.

    Raises:
        BenchmarkError: there is none.
    """
    path = named or Path(os.environ.get(DISCOGS_VARIABLE) or CHECKOUT / DISCOGS_DEFAULT)
    if not path.is_file():
        raise BenchmarkError(
            f"there is no Discogs sample at {path}; name a dump of releases (.xml or .xml.gz) on the command "
            f"line or by {DISCOGS_VARIABLE}, or leave it out with --only applications"
        )
    return path


def discogs_documents(path: Path) -> list[str]:
    """Return the release records of a Discogs dump, each as the text of one document."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        records = []
        for _, record in etree.iterparse(file, tag="release"):
            records.append(etree.tostring(record, encoding="unicode", with_tail=False))
            record.clear()
    return records


_RECORD_ID: Final = re.compile(r'^<release id="[^"]*"')


def numbered_records(records: Sequence[str], count: int) -> Iterator[str]:
    """Yield ``count`` records, taken round and round, each with its own number as record id."""
    for number, record in enumerate(islice(cycle(records), count), start=1):
        numbered, replaced = _RECORD_ID.subn(f'<release id="{number}"', record)
        if not replaced:
            raise BenchmarkError("a record of the Discogs sample does not begin with <release id=…>")
        yield numbered


def write_dump(records: Iterator[str], path: Path) -> None:
    """Write records as one dump, as Discogs publishes them."""
    with path.open("w", encoding="utf-8") as file:
        file.write("<releases>\n")
        for record in records:
            file.write(record + "\n")
        file.write("</releases>\n")


# ------------------------------------------------------------------------------- running the product


def check_ended(command: Sequence[str], status: int, output: str) -> None:
    """Refuse anything but exit status 0 and 3 (some documents in quarantine, which the samples have)."""
    if status not in (ExitCode.OK, ExitCode.NEEDS_A_LOOK):
        raise BenchmarkError(f"{' '.join(command[1:])} ended with {status}:\n{output[-4000:]}")


def run_product(arguments: Sequence[str], variables: dict[str, str]) -> None:
    """Run ``python -m xml_extractor …`` to its end; URLs go by ``variables``, which other users cannot see.

    Raises:
        BenchmarkError: it failed; with the end of what it printed.
    """
    command = python_program("-m", "xml_extractor", *arguments)
    ended = run_to_end(command, variables, folder=CHECKOUT)
    assert ended.status is not None  # it has all the time that it wants
    check_ended(command, ended.status, ended.output)


def stage_applications(url: str, documents: int, folder: Path) -> None:
    """Fill the source table of a database with synthetic applications."""
    run_product(
        ["sample", *("--documents", str(documents)), *("--seed", str(SEED)), *no_config(folder)],
        {"XML_EXTRACTOR_SOURCE": url},
    )


def stage_dump(url: str, contract: Path, dump: Path, folder: Path) -> None:
    """Put the records of a dump into the source table of a database."""
    run_product(
        ["stage", *("--contract", str(contract)), *no_config(folder), str(dump)],
        {"XML_EXTRACTOR_SOURCE": url},
    )


def both_kinds(
    arguments: argparse.Namespace, folder: Path
) -> Iterator[tuple[str, Path, Callable[[str], None]]]:
    """Yield (name, contract, what fills a source with the documents) of the kinds that were asked for.

    Args:
        arguments: with ``documents`` (how many of each), ``only`` and ``discogs`` (the sample's file).
    """
    documents: int = arguments.documents
    if arguments.only != "applications":
        contract = shipped_config("discogs_releases.yaml")
        dump = folder / "releases.xml"
        write_dump(numbered_records(discogs_documents(discogs_file(arguments.discogs)), documents), dump)
        yield DISCOGS, contract, lambda url: stage_dump(url, contract, dump, folder)
    if arguments.only != "discogs":
        yield (
            "loan applications",
            shipped_config("loan_application.yaml"),
            lambda url: stage_applications(url, documents, folder),
        )


def load_arguments(
    contract: Path, *, workers: int, executor: str, batch_size: int, folder: Path
) -> list[str]:
    """Return the command line of a load whose summary :func:`read_summary` reads."""
    return [
        "load",
        *("--contract", str(contract)),
        *("--workers", str(workers)),
        *("--executor", executor),
        *("--batch-size", str(batch_size)),
        *("--summary", str(folder / SUMMARY)),
        *no_config(folder),
        *("--progress", "none"),
        "--create-tables",
    ]


def read_summary(folder: Path) -> dict[str, Any]:
    """Return the summary of the last load in this folder."""
    summary = json.loads((folder / SUMMARY).read_text(encoding="utf-8"))
    assert isinstance(summary, dict)
    return summary


# -------------------------------------------------------------------------------------- databases


@contextmanager
def postgresql(url: str | None, folder: Path) -> Iterator[PostgresqlServer]:
    """The server at ``url``, else one by the environment, else one started for the benchmark.

    Raises:
        MeasuringError: there is none, and none can be started.
    """
    with postgresql_url(url or os.environ.get(POSTGRESQL_VARIABLE), folder) as found:
        yield PostgresqlServer(found, f"--postgresql or {POSTGRESQL_VARIABLE}")


def mssql(url: str | None) -> MssqlServer:
    """The server at ``url``, else the one by the environment.

    Raises:
        BenchmarkError: none is named.
    """
    named = url or os.environ.get(MSSQL_VARIABLE)
    if not named:
        raise BenchmarkError(
            f"no SQL Server is named: give --mssql URL, or {MSSQL_VARIABLE}; its login has to be allowed "
            "to create databases"
        )
    return MssqlServer(named, f"--mssql or {MSSQL_VARIABLE}")
