"""Run one real load into each of some targets, and write down where its time went.

Writes performance_tuning/phase_2_investigation/PHASE2_3_PROFILING_RESULTS.md anew.  Targets are fresh, as
those of establish_baseline.py are; what is made for the run is removed after it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

CHECKOUT: Final = Path(__file__).resolve().parents[1]
if str(CHECKOUT) not in sys.path:
    sys.path.insert(0, str(CHECKOUT))  # the program runs from a checkout that is not installed

from performance_tuning.measuring.errors import MeasuringError  # noqa: E402
from performance_tuning.measuring.folders import temporary_folder  # noqa: E402
from performance_tuning.measuring.fresh_targets import FreshTargets, open_targets  # noqa: E402
from performance_tuning.measuring.interrupting import Interrupted, interruptible  # noqa: E402
from performance_tuning.measuring.load_flags import LoadSettings, add_load_flags, load_settings  # noqa: E402
from performance_tuning.measuring.machine import git_state, this_machine, versions  # noqa: E402
from performance_tuning.measuring.one_load import BOUND_SECONDS, LoadFigures, run_load  # noqa: E402
from performance_tuning.measuring.profile_text import chapter  # noqa: E402
from performance_tuning.measuring.sources import SEED, Source, open_source  # noqa: E402
from performance_tuning.measuring.started_server import POSTGRESQL_VARIABLE, postgresql_url  # noqa: E402
from xml_extractor.cli_output import Output, check_different, check_writable, use_utf8  # noqa: E402
from xml_extractor.contract import Contract  # noqa: E402
from xml_extractor.errors import ExitCode, LoaderError  # noqa: E402
from xml_extractor.operations.contracts import contract_path, find_contract  # noqa: E402
from xml_extractor.operations.signals import leave  # noqa: E402
from xml_extractor.settings import LoadOptions, databases, flag, is_switch  # noqa: E402

RESULTS: Final = Path(__file__).resolve().parent / "phase_2_investigation" / "PHASE2_3_PROFILING_RESULTS.md"
TITLE: Final = "# Profiling results"
SQLITE: Final = "sqlite"
POSTGRESQL: Final = "postgresql"
DEFAULT_DOCUMENTS: Final = 20_000
"""From so many on, starting and warming up no longer decide the figures."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Load, write the results, and return the exit status."""
    use_utf8()
    output = Output()
    parsed = make_parser().parse_args(arguments)
    try:
        with interruptible():
            return int(run(parsed, output))
    except LoaderError as error:
        output.error(str(error))
        return int(error.exit_code)
    except Interrupted as stop:
        output.error(f"stopped by {stop}; what this run had made was removed, and no results were written")
        return 128 + stop.number


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--target", dest="targets", action="append", metavar="URL",
        help=f"a database to load into, or {SQLITE} for a new file, or {POSTGRESQL} for the server of "
        f"{POSTGRESQL_VARIABLE}, else one that is started; may be given several times [default: {SQLITE}]",
    )  # fmt: skip
    parser.add_argument(
        "--documents", type=int, metavar="N",
        help=f"load so many [default: {DEFAULT_DOCUMENTS} of the sample, all of a --source]",
    )  # fmt: skip
    parser.add_argument(
        "--seed", type=int, default=SEED, metavar="S", help="of the sample [default %(default)s]"
    )
    parser.add_argument(
        "--run-seconds", type=float, default=BOUND_SECONDS, metavar="S",
        help="a load that takes longer is ended [default %(default)g]",
    )  # fmt: skip
    parser.add_argument(
        "--output",
        type=Path,
        metavar="FILE",
        default=RESULTS,
        help="write here [default: the file named above]",
    )
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the summaries and profiles as JSON too"
    )
    add_load_flags(parser, but=frozenset({"target"}))
    return parser


def run(arguments: argparse.Namespace, output: Output) -> ExitCode:
    """Load into each target, and write what came out."""
    if arguments.documents is not None and arguments.documents < 1:
        raise MeasuringError("--documents: must be 1 or more")
    check_different({"--output": arguments.output, "--json": arguments.json})
    check_writable("--output", arguments.output, TITLE.lower().encode())
    if arguments.json is not None:
        check_writable("--json", arguments.json, b"[")
    settings = load_settings(arguments)
    contract = find_contract(settings.all.contract)
    chapters, data = [], []
    with temporary_folder(say=output.say) as folder, ExitStack() as stack:
        targets = [
            stack.enter_context(_target(word, settings, contract, folder))
            for word in arguments.targets or [SQLITE]
        ]
        where = databases(settings.all)
        generated = where.source_is_embedded
        source = open_source(
            None if generated else where.source, contract.plan,
            arguments.documents or (DEFAULT_DOCUMENTS if generated else None), folder,
            seed=arguments.seed, say=output.say,
        )  # fmt: skip
        for target in targets:
            for note in target.notes:
                output.say(f"note: {note}")
            load = _load(arguments, settings, source, target, folder)
            name = target.engine or str(target.way)
            heading = f"{source.description[0].upper()}{source.description[1:]}, into {name}"
            chapters.append(chapter(heading, str(target.way), load))
            data.append({**load.summary, "profile": load.profile.to_json()})
            output.say(f"{name}: {load.documents_per_second:,.0f} documents/s. {load.bottleneck}")
    _write(arguments.output, "\n".join([_header(arguments, settings), *chapters]))
    output.say(f"written to {arguments.output}")
    if arguments.json is not None:
        _write(arguments.json, json.dumps(data, indent=2, ensure_ascii=False) + "\n")
    return ExitCode.OK


@contextmanager
def _target(word: str, settings: LoadSettings, contract: Contract, folder: Path) -> Iterator[FreshTargets]:
    schema = settings.load["target_schema"]
    if word == SQLITE:
        yield open_targets(None, contract.plan, folder, schema=schema)
    elif word == POSTGRESQL:
        with postgresql_url(os.environ.get(POSTGRESQL_VARIABLE), folder) as url:
            yield open_targets(url, contract.plan, folder, schema=schema, named_by=POSTGRESQL_VARIABLE)
    else:
        # By the settings, so that its password comes from where passwords do.
        where = databases(settings.all.model_copy(update={"target": word}))
        yield open_targets(where.target, contract.plan, folder, schema=schema)


def _load(
    arguments: argparse.Namespace, settings: LoadSettings, source: Source, target: FreshTargets, folder: Path
) -> LoadFigures:
    with target.fresh() as fresh:
        return run_load(
            source=source.url,
            target=fresh.url,
            contract=contract_path(settings.all.contract),
            folder=folder,
            documents=source.documents,
            settings=settings.load,
            create_tables=fresh.create_tables,
            bound_seconds=arguments.run_seconds,
            server_cpu_seconds=target.server_cpu_seconds,
        )


def _header(arguments: argparse.Namespace, settings: LoadSettings) -> str:
    """Say by which command, when and on what class of machine the results came about."""
    git = git_state()
    now = datetime.now(UTC).strftime("%d %B %Y, %H:%M UTC").lstrip("0")
    libraries = ", ".join(f"{name} {version}" for name, version in versions().items() if name != "Python")
    return (
        f"{TITLE}\n\n"
        "Written by this command, which writes it anew; nothing in it is edited by hand:\n\n"
        f"    {_command(arguments, settings)}\n\n"
        f"{now}; {this_machine().shown}; {libraries}"
        + (f"; commit {git.shown}" if git is not None else "")
        + ".\n\n"
        "Words are used as in docs/architecture.md: *parse* is bytes to tree; *map* tree to rows as the\n"
        "target takes them; *blocked* waiting for room in the queue; *idle* waiting for documents. One load\n"
        "each: how much such figures vary from run to run, `establish_baseline.py` says.\n"
    )


def _command(arguments: argparse.Namespace, settings: LoadSettings) -> str:
    """Return the command line again, from what it meant; of a URL no more than the engine."""
    words = ["python performance_tuning/profile_load.py"]
    for word in arguments.targets or []:
        words.append(f"--target {word if word in (SQLITE, POSTGRESQL) else word.partition(':')[0] + '://…'}")
    if arguments.documents is not None:
        words.append(f"--documents {arguments.documents}")
    if arguments.seed != SEED:
        words.append(f"--seed {arguments.seed}")
    if settings.all.source is not None:
        words.append(f"--source {settings.all.source.partition(':')[0]}://…")
    if settings.all.contract != type(settings.all).model_fields["contract"].default:
        words.append(f"--contract {Path(settings.all.contract).name}")
    defaults = LoadOptions().model_dump(mode="json")
    for name, value in settings.load.items():
        if value == defaults[name]:
            continue
        if is_switch(name):
            words.append(flag(name) if value else "--no-" + flag(name).removeprefix("--"))
        else:
            words.append(f"{flag(name)} {value}")
    return " ".join(words)


def _write(path: Path, text: str) -> None:
    partial = path.with_name(path.name + ".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
        raise MeasuringError(f"{path} cannot be written: {error.strerror}") from None


if __name__ == "__main__":
    leave(main())
