"""The program: from the command line to a study, its loads and its result."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from performance_tuning.measuring.folders import temporary_folder
from performance_tuning.measuring.fresh_targets import FreshTargets, open_targets
from performance_tuning.measuring.interrupting import Interrupted, interruptible, signals_held
from performance_tuning.measuring.sources import DEFAULT_DOCUMENTS, Source, open_source
from performance_tuning.optimizing import search, words
from performance_tuning.optimizing.durations import duration
from performance_tuning.optimizing.findings import as_json, findings
from performance_tuning.optimizing.measured_loads import MeasuredLoads
from performance_tuning.optimizing.measurements import Ending, Measurement, Outcome, Round
from performance_tuning.optimizing.racing import time_limit
from performance_tuning.optimizing.recommended_command import again, holds_password, load_command
from performance_tuning.optimizing.search import Plan, Search
from performance_tuning.optimizing.space import DEFAULTS, NAMES, Space, make_space
from performance_tuning.optimizing.study_file import (
    StudyFile,
    Subject,
    check_same,
    create_study,
    open_study,
)
from performance_tuning.optimizing.subject import left_out, other_settings, subject_of
from performance_tuning.optimizing.sweep import LoadsFailError, run_sweep
from performance_tuning.optimizing.terminal import TerminalWatcher, print_findings
from xml_extractor.cli_flags import DATABASES, add_config_flag, add_setting_flags, setting_flags
from xml_extractor.cli_output import JSON, PAGE, Output, check_different, check_writable, use_utf8
from xml_extractor.contract import Contract
from xml_extractor.engines import open_engine
from xml_extractor.errors import ExitCode, LoaderError, UsageError
from xml_extractor.operations.contracts import contract_path, find_contract
from xml_extractor.profiling.report.formats import count, plural, seconds
from xml_extractor.settings import checkout, databases, flag
from xml_extractor.settings_reading import read_settings
from xml_extractor.target import open_target

DESCRIPTION: Final = """\
Finds the settings that load fastest on this machine, from this source into this target: loads the same
documents again and again, each time into a fresh target that is removed afterwards, and says what is
recommended, what is as good, and what each choice costs.  The documents are a generated sample unless
--source names a database; the target is a SQLite file unless --target names one, beside which a database is
made for each load."""

EPILOG: Final = """\
exit codes: 0 a setting is recommended; 2 usage, a target that is not empty, a study of something else; 3 too
little could be measured, or settings failed; 4 the source failed; 5 the target failed; 130, 143 stopped by a
signal: all finished measurements are kept, and the same --study goes on"""

DEFAULT_BUDGET: Final = "10m"
_FEW_BATCHES: Final = 4


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    use_utf8()
    words_given = list(sys.argv[1:] if arguments is None else arguments)
    parsed = make_parser().parse_args(words_given)
    output = Output()
    try:
        with interruptible():
            return int(_sweep(parsed, words_given, output))
    except LoaderError as error:
        output.error(str(error))
        return int(error.exit_code)
    except Interrupted as error:
        output.error(f"stopped by {error}; nothing was measured")
        return 128 + error.number


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="batch_size_optimizer_v2.py", description=DESCRIPTION, epilog=EPILOG, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    what = parser.add_argument_group("what is tried (values divided by commas)")
    for name in NAMES:
        default = ",".join(map(str, DEFAULTS[name])) if name in DEFAULTS else "all that the target offers"
        what.add_argument(flag(name), dest=f"range_{name}", metavar="LIST", help=f"[default {default}]")
    how = parser.add_argument_group("how it is searched")
    how.add_argument(
        "--search", choices=[kind.value for kind in Search],
        help="adaptive: by what was measured so far; grid: every setting [default adaptive]",
    )  # fmt: skip
    how.add_argument(
        "--time-budget", type=duration, metavar="TIME",
        help=f"what all loads may take, such as 90s, 10m or 2h [default {DEFAULT_BUDGET}; grid: no bound]",
    )  # fmt: skip
    how.add_argument("--repeat", type=_positive, metavar="N", help="grid: loads of each setting [default 3]")
    how.add_argument(
        "--contender-repeat", type=_positive, metavar="N",
        help=f"loads, at most, of those that may be the best [default {Plan().most_repeats}]",
    )  # fmt: skip
    how.add_argument("--seed", type=int, metavar="S", help="equal seeds, equal proposals [default 1]")
    how.add_argument(
        "--study", type=Path, metavar="FILE",
        help="keep the study in this file, or go on with the one in it [default: a new file in data/tuning]",
    )  # fmt: skip
    where = parser.add_argument_group("documents and databases")
    where.add_argument(
        "--documents", type=_positive, metavar="N",
        help=f"load so many [default: all of --source, {DEFAULT_DOCUMENTS:,} of the sample]",
    )  # fmt: skip
    where.add_argument(
        "--in-place",
        action="store_true",
        help="load into the target itself, which must be empty: tables are created and dropped for each load",
    )
    where.add_argument(
        "--folder", type=Path, metavar="DIR",
        help="where the sample and SQLite targets are made, on the disk to be measured [default: where the "
        "system keeps temporary files]",
    )  # fmt: skip
    add_setting_flags(where, (*DATABASES, "contract", "target_schema"))
    add_config_flag(parser)
    out = parser.add_argument_group("results")
    out.add_argument(
        "--report", dest="page_file", type=Path, metavar="FILE", help="write a page with a heat map as HTML"
    )
    out.add_argument("--json", dest="json_file", type=Path, metavar="FILE", help="write everything as JSON")
    return parser


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal()) or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


@dataclass(frozen=True, slots=True)
class _Place:
    """What loads are measured with."""

    contract: Contract
    contract_file: Path
    source: Source
    targets: FreshTargets
    target_url: str | None  # with its password
    max_insert_threads: int | None
    insert_paths: tuple[str, ...]
    others: Mapping[str, Any]
    folder: Path
    on_disk: str  # where the program was told to make files

    def subject(self, space: Space, plan: Plan, left_out: Sequence[str]) -> Subject:
        """Return what a study is about that is measured with this."""
        return subject_of(
            self.contract, self.source, self.targets, self.target_url, self.on_disk, self.others, space, plan,
            left_out,
        )  # fmt: skip


def _sweep(parsed: argparse.Namespace, given: Sequence[str], output: Output) -> ExitCode:
    check_different({"--report": parsed.page_file, "--json": parsed.json_file, "--study": parsed.study})
    if parsed.page_file is not None:
        check_writable("--report", parsed.page_file, PAGE)
    if parsed.json_file is not None:
        check_writable("--json", parsed.json_file, JSON)
    with ExitStack() as stack:
        study: StudyFile | None = None
        if parsed.study is not None and parsed.study.exists():
            study = open_study(parsed.study)
            stack.callback(study.close)
        plan = _plan(parsed, study)
        asked = _asked(parsed, study)
        # Before anything is opened or generated, as far as that can be known.
        make_space(asked, documents=10**9, max_insert_threads=None, insert_paths=asked.get("insert_path", ()))
        place = stack.enter_context(_place(parsed, study, output))
        space = make_space(
            asked, documents=place.source.documents, max_insert_threads=place.max_insert_threads,
            insert_paths=place.insert_paths,
        )  # fmt: skip
        if study is not None:
            check_same(study.path, study.subject, place.subject(space, plan, left_out(study)))
        _announce(place, space, plan, study, output)
        measure = MeasuredLoads(
            place.source, place.targets, str(place.contract_file), place.folder, place.others
        )
        asked_space, space = space, _warm_up(measure, space, plan, study, output)
        if study is None:
            missing = [
                path for path in asked_space.ranges["insert_path"] if path not in space.ranges["insert_path"]
            ]
            subject = place.subject(space, plan, missing)
            with signals_held():
                study = create_study(_study_path(parsed), subject)
                stack.callback(study.close)
            output.say(f"every measurement is kept in {study.path}")
        return _measure(parsed, given, study, space, plan, measure, output)


def _plan(parsed: argparse.Namespace, study: StudyFile | None) -> Plan:
    """Return how to go about it: as the command line says, else as the study does."""
    kept: Mapping[str, Any] = {} if study is None else study.subject.plan

    def choose(name: str, default: Any) -> Any:
        given = getattr(parsed, name.replace("-", "_"))
        return kept.get(name, default) if given is None else given

    kind = Search(choose("search", Search.ADAPTIVE.value))
    budget = parsed.time_budget
    if budget is None and kind is Search.ADAPTIVE:
        budget = duration(DEFAULT_BUDGET)
    default = Plan()
    plan = Plan(
        kind, budget, choose("repeat", default.repeat), choose("contender-repeat", default.most_repeats),
        choose("seed", default.seed),
    )  # fmt: skip
    return replace(
        plan, most_repeats=max(plan.most_repeats, plan.repeat) if kind is Search.GRID else plan.most_repeats
    )


def _asked(parsed: argparse.Namespace, study: StudyFile | None) -> dict[str, list[str]]:
    """Return the values that are to be tried, as typed: by the command line, else by the study."""
    asked = {}
    for name in NAMES:
        typed = getattr(parsed, f"range_{name}")
        if typed is not None:
            asked[name] = [word.strip() for word in typed.split(",") if word.strip()]
            if name == "insert_path" and study is not None:
                asked[name] = [path for path in asked[name] if path not in left_out(study)]
        elif study is not None and name.replace("_", "-") in study.subject.plan:
            asked[name] = [str(value) for value in study.subject.plan[name.replace("_", "-")]]
    return asked


@contextmanager
def _place(parsed: argparse.Namespace, study: StudyFile | None, output: Output) -> Iterator[_Place]:
    """Open source and targets; what was made for them is removed at the end."""
    settings = read_settings(setting_flags(parsed), config=parsed.config)
    contract = find_contract(settings.contract)
    where = databases(settings)
    source_url = None if where.source_is_embedded else where.source
    target_url = None if where.target_is_embedded else where.target
    documents = parsed.documents
    if documents is None and study is not None:
        documents = study.subject.plan.get("documents")
    if parsed.folder is not None and not parsed.folder.is_dir():
        raise UsageError(f"--folder {parsed.folder}: there is no such folder; make it first")
    with temporary_folder(parsed.folder, say=output.say) as folder:
        made, kept = folder / "targets", folder / "source"
        made.mkdir()
        kept.mkdir()
        source = open_source(source_url, contract.plan, documents, kept, say=output.say)
        targets = open_targets(
            target_url, contract.plan, made, in_place=parsed.in_place, schema=settings.target_schema
        )
        for note in targets.notes:
            output.say(f"note: {note}")
        some_target = target_url or f"sqlite:///{(folder / 'any.db').as_posix()}"
        paths = () if some_target == "null:" else open_engine(some_target).insert_paths
        yield _Place(
            contract, contract_path(settings.contract), source, targets, target_url,
            open_target(some_target).max_insert_threads, paths, other_settings(settings), folder,
            str(parsed.folder.resolve()) if parsed.folder is not None else "",
        )  # fmt: skip


def _study_path(parsed: argparse.Namespace) -> Path:
    if parsed.study is not None:
        return Path(parsed.study)
    folder = (checkout() or Path.cwd()) / "data" / "tuning"
    return folder / f"{datetime.now(UTC):%Y%m%d_%H%M%S}.study"


def _announce(place: _Place, space: Space, plan: Plan, study: StudyFile | None, output: Output) -> None:
    """Say what is about to be done."""
    settings = len(space.settings())
    same = space.combinations() - settings
    output.say(f"documents: {place.source.description}")
    output.say(f"target: {': '.join(filter(None, (place.targets.engine, place.targets.way.value)))}")
    output.say(
        plural(settings, "setting")
        + (
            f" ({count(same)} combinations more mean the same as others, or have a queue below a batch)"
            if same
            else ""
        )
    )
    if place.others:
        output.say("other settings, as of environment and config file: " + ", ".join(place.others))
    if study is not None:
        output.say(
            f"going on with {study.path}: {plural(len(study.history.measurements), 'load')} measured so far, "
            f"{seconds(study.history.spent_seconds)}"
        )
    largest = space.ranges["batch_size"][-1]
    if place.source.documents < _FEW_BATCHES * largest:
        output.say(
            f"note: {count(place.source.documents)} documents are fewer than {_FEW_BATCHES} batches of "
            f"{count(largest)}: what so few batches say of a long load is little; more --documents say more"
        )


def _warm_up(
    measure: MeasuredLoads, space: Space, plan: Plan, study: StudyFile | None, output: Output
) -> Space:
    """Load once by each way in, so that the machine's caches are warm and it is known what works; say how
    long all will take.

    Returns:
        The space without the ways in that are not to be had.

    Raises:
        LoadsFailError: no load works.
    """
    outcomes: list[Outcome] = []
    usable = []
    start = search.starting_point(space)
    paths = space.ranges["insert_path"] if study is None else space.ranges["insert_path"][:1]
    for path in paths:
        outcome = measure(replace(start, insert_path=path), None)
        if outcome.ending is Ending.MEASURED:
            output.say(f"warm-up{f' by {path}' if path else ''}: {words.outcome(outcome)}")
            outcomes.append(outcome)
            usable.append(path)
        elif len(paths) == 1:
            raise LoadsFailError(outcome.message, outcome.status)
        else:
            output.say(f"note: {flag('insert_path')} {path} is left out: {outcome.message}")
            last = outcome
    if not outcomes:
        raise LoadsFailError(f"no way in works; the last one: {last.message}", last.status)
    if study is None:
        space = Space({**space.ranges, "insert_path": tuple(usable)}, space.documents)
    output.say(_how_long(space, plan, study, outcomes))
    return space


def _how_long(space: Space, plan: Plan, study: StudyFile | None, warm: Sequence[Outcome]) -> str:
    """Say how long all will take at most."""
    typical = max(outcome.seconds for outcome in warm)
    longest = max(
        time_limit(outcome.load_seconds, outcome.seconds - outcome.load_seconds, None).seconds
        for outcome in warm
    )
    spent = 0.0 if study is None else study.history.spent_seconds
    if plan.budget_seconds is not None:
        left = max(0.0, plan.budget_seconds - spent)
        budget = (
            f"at most {seconds(left)} ({plan.search.value} search; the load that then runs may take up to "
            f"{seconds(longest)} more)"
        )
        if plan.search is Search.ADAPTIVE:
            return f"{budget}: about {count(left / typical)} loads if all were like the warm-up"
    settings = len(space.settings())
    loads = settings * plan.repeat * (search.ROUND + 1) / search.ROUND + search.RACERS * plan.most_repeats
    grid = (
        f"at most {count(loads)} loads: {seconds(loads * typical)} if all were like the warm-up, and never "
        f"more than {seconds(loads * longest)}, because slower ones are ended"
    )
    return grid if plan.budget_seconds is None else f"{budget}; the whole grid: {grid}"


class _Study:
    """A study whose writing no signal interrupts."""

    def __init__(self, study: StudyFile) -> None:
        self._study = study
        self.history = study.history
        self.session = study.session

    def keep_round(self, one: Round) -> None:
        with signals_held():
            self._study.keep_round(one)

    def keep(self, one: Measurement) -> None:
        with signals_held():
            self._study.keep(one)


def _measure(
    parsed: argparse.Namespace, given: Sequence[str], study: StudyFile, space: Space, plan: Plan,
    measure: MeasuredLoads, output: Output,
) -> ExitCode:  # fmt: skip
    with signals_held():
        study.begin(space)
    stopped: Interrupted | None = None
    failed: LoaderError | None = None
    with TerminalWatcher(output, study.history, space, plan) as watcher:
        try:
            run_sweep(_Study(study), space, plan, measure, watcher)
        except Interrupted as signal:
            stopped = signal
        except LoaderError as error:
            failed = error
    code = _conclude(parsed, study, space, plan, output)
    if stopped is None and failed is None:
        return code
    output.say(
        f"{study.path} keeps {plural(len(study.history.measurements), 'measurement')}; to go on:\n    "
        + again(given, str(study.path))
    )
    if failed is not None:
        raise failed
    assert stopped is not None
    output.error(f"stopped by {stopped}")
    return ExitCode(128 + stopped.number)


def _conclude(
    parsed: argparse.Namespace, study: StudyFile, space: Space, plan: Plan, output: Output
) -> ExitCode:
    """Print and write what was found so far."""
    found = findings(study.history, space, plan)
    if found is None:
        output.say("no load came to its end, so nothing can be recommended")
        return ExitCode.NEEDS_A_LOOK
    named = {name: value for name, value in setting_flags(parsed).items() if value is not None}
    if parsed.config is not None:
        named["config"] = parsed.config
    command = load_command(found.recommended.setting, named)
    hints = []
    if holds_password(named.values()):
        hints.append(
            "passwords are left out: give them by XML_EXTRACTOR_SOURCE_PASSWORD and "
            "XML_EXTRACTOR_TARGET_PASSWORD, or by --source-password-file and --target-password-file"
        )
    print_findings(output, found, command, hints)
    traits = study.subject.traits
    try:
        if parsed.json_file is not None:
            subject = {
                "subject": {name: trait.shown for name, trait in traits.items()},
                "plan": {**study.subject.plan, "time-budget": plan.budget_seconds},
            }
            content = as_json(found, command, subject, study.history)
            parsed.json_file.parent.mkdir(parents=True, exist_ok=True)
            parsed.json_file.write_text(
                json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            output.say(f"written: {parsed.json_file}")
        if parsed.page_file is not None:
            from performance_tuning.optimizing.html_page import write_page

            write_page(found, command, hints, traits, study.history, parsed.page_file)
            output.say(f"written: {parsed.page_file}")
    except OSError as error:
        raise UsageError(
            f"{error.filename or parsed.page_file} cannot be written: {error.strerror}"
        ) from None
    return ExitCode.OK if found.sure and not found.failures else ExitCode.NEEDS_A_LOOK
