"""One case: a load that is broken again and again, then ended, then judged by what stands in the target."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from tests.faults.documents import Documents, Expected, contract, rows_by_key
from tests.faults.faults import ChangeRows, Fault, Run, act_all
from tests.faults.places import Ground, Place
from tests.support.program import Program, run_command
from tests.support.tables import ledger_rows_match_tables, query, read_tables

RUN_SECONDS = 150.0
"""A run that takes longer hangs.  Undisturbed it takes one to six seconds; retries may take ten more, and
what does not answer is given up after some seconds; the rest is for a machine with other things to do."""

LEFTOVER_SECONDS = 10.0
"""How long a process may outlive the program that started it."""

FOR_WANT = ("out_of_memory", "worker_died", "worker_stuck")
"""Why documents are quarantined that are whole: each is loaded by a replay once there is what it needs."""

LIMITS: list[object] = [
    "--retry-seconds", 10, "--statement-seconds", 4, "--connect-seconds", 5, "--batch-seconds", 0.5,
    "--queue-size", 100, "--workers", 2,
]  # fmt: skip
MARK = "FAULTS_RUN"


@dataclass(frozen=True)
class Attempt:
    """One run of the program and what goes wrong in it."""

    faults: list[Fault]
    arguments: list[object] = field(default_factory=list)


@dataclass(frozen=True)
class Case:
    """What is to be done.  ``place``: arguments of :meth:`Ground.place`."""

    number: int
    family: str
    engine: str
    executor: str
    attempts: list[Attempt]
    place: dict[str, object] = field(default_factory=dict)

    def describe(self) -> str:
        runs = [", ".join(fault.describe() for fault in attempt.faults) for attempt in self.attempts]
        return f"case {self.number} ({self.family}, {self.engine}, {self.executor}): {' | '.join(runs)}"


@dataclass
class Outcome:
    """What came of a case."""

    case: Case
    lost: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    hangs: list[str] = field(default_factory=list)
    leftovers: list[str] = field(default_factory=list)
    for_want: int = 0
    """Documents that stood in quarantine for want of memory or of a worker, until they were replayed."""
    codes: list[int] = field(default_factory=list)
    struck: Counter[str] = field(default_factory=Counter)
    """Faults that struck, by kind."""
    between: Counter[str] = field(default_factory=Counter)
    """Those of them that struck after the first commit of the load and before its last."""
    seconds: float = 0.0

    @property
    def _named(self) -> dict[str, list[str]]:
        return {
            "hang": self.hangs, "left behind": self.leftovers, "wrong": self.wrong, "twice": self.twice,
            "lost": self.lost,
        }  # fmt: skip

    @property
    def problems(self) -> list[str]:
        return [f"{name}: {text}" for name, texts in self._named.items() for text in texts]

    def shown(self, first: int = 4) -> list[str]:
        """The first problems of each kind."""
        return [f"{name}: {text}" for name, texts in self._named.items() for text in texts[:first]]


def run_case(case: Case, ground: Ground, folder: Path) -> Outcome:
    """Do all of it, in at most a minute or two; never raises for what the program does."""
    outcome = Outcome(case)
    started = time.monotonic()
    with ground.place(case.engine, folder, **case.place) as place:  # type: ignore[arg-type]
        for number, attempt in enumerate(case.attempts, start=1):
            of_run = folder / f"run-{number}"
            # Once a run says that it is finished it is judged: one more would mend what it forgot.
            if finished := _attempt(case, attempt, place, ground.documents, of_run, outcome):
                break
        if not finished and not outcome.hangs:
            _end(case, place, ground.documents, folder, outcome)
        if not outcome.hangs:
            _replay(place, ground.documents, folder, outcome)
            _judge(case, place, ground.documents, outcome)
            _count(case, place, outcome)
    outcome.seconds = time.monotonic() - started
    return outcome


# ----------------------------------------------------------------------------------------------- running


def _attempt(
    case: Case, attempt: Attempt, place: Place, documents: Documents, folder: Path, outcome: Outcome
) -> bool:
    """Run the program and break it; return whether it says all the same that the load is finished."""
    folder.mkdir()
    arguments = [*_arguments(case, place, place.program_target, documents), *attempt.arguments]
    run = Run(place, documents, folder, arguments, {MARK: uuid.uuid4().hex}, place.committed())
    loaded = place.committed("loaded")
    for fault in attempt.faults:
        fault.arm(run)
    run.programs = [Program(*arguments, folder=folder, extra=run.extra) for _ in range(run.loaders)]
    threads = act_all(attempt.faults, run)
    fails = any(fault.unforeseen for fault in attempt.faults)
    in_python = any(fault.hits_interpreter for fault in attempt.faults)
    for program in run.programs:
        _await(program, outcome, may_fail=fails, in_python=in_python)
    for thread in threads:
        thread.join(RUN_SECONDS)
    for fault in attempt.faults:
        fault.settle(run)
    _compare_figures(run.programs, place.committed("loaded") - loaded, outcome)
    if place.proxy is not None:
        place.proxy.restore()
    outcome.wrong += run.troubles
    _look_for_leftovers(run.extra[MARK], outcome)
    return any(program.process.returncode in (0, 3) for program in run.programs)


def _arguments(case: Case, place: Place, target: str, documents: Documents) -> list[object]:
    return [
        "--contract", documents.contract_file, "--source", place.source, "--target", target,
        "--create-tables", "--executor", case.executor, *LIMITS,
    ]  # fmt: skip


def _await(program: Program, outcome: Outcome, *, may_fail: bool = False, in_python: bool = False) -> None:
    """Wait for the program's end, and see to what it says.

    Args:
        may_fail: something happens that the program cannot foresee: exit code 1.
        in_python: the interpreter may fail by itself, with a traceback.
    """
    try:
        code = program.wait(RUN_SECONDS)
    except AssertionError as error:
        outcome.hangs.append(str(error)[-1500:])
        return
    outcome.codes.append(code)
    foreseen = code in (0, 3, 4, 5, 130, 143) or code == -signal.SIGKILL or (code == 1 and may_fail)
    if not foreseen:
        outcome.wrong.append(f"exit code {code}: {program.errors[-600:]}")
    if "left behind" in program.errors:
        outcome.leftovers.append(f"a thread: {program.errors[-600:]}")
    # A worker process that is just starting when its parent is killed misses in Python's own code what it
    # was to read, and says so.
    if "Traceback" in program.errors and not in_python and code != -signal.SIGKILL:
        outcome.wrong.append(f"a traceback: {program.errors[-1500:]}")


def _compare_figures(programs: list[Program], loaded: int, outcome: Outcome) -> None:
    """What programs that came to their end say that they loaded is what the ledger has more."""
    if any(program.process.returncode not in (0, 3) for program in programs):
        return
    said = sum(program.summary()["documents"]["loaded"] for program in programs)
    if said != loaded:
        outcome.wrong.append(f"the summary says that {said} were loaded, the ledger has {loaded} more")


def _end(case: Case, place: Place, documents: Documents, folder: Path, outcome: Outcome) -> None:
    """Run the program once more, undisturbed: that must do."""
    mark = uuid.uuid4().hex
    loaded = place.committed("loaded")
    arguments = _arguments(case, place, place.target, documents)
    program = Program(*arguments, folder=folder, extra={MARK: mark})
    _await(program, outcome)
    if outcome.hangs:
        return
    _look_for_leftovers(mark, outcome)
    code = program.process.returncode
    if code not in (0, 3):
        outcome.wrong.append(f"undisturbed, it ends with {code}: {program.errors[-1500:]}")
        return
    _compare_figures([program], place.committed("loaded") - loaded, outcome)
    if unfinished := program.summary()["documents"]["unfinished"]:
        outcome.wrong.append(f"undisturbed, it leaves {unfinished} documents unfinished")


def _replay(place: Place, documents: Documents, folder: Path, outcome: Outcome) -> None:
    """Load what was refused for want of memory or of a worker that lives: now there is both."""
    where = ("--contract", documents.contract_file, "--source", place.source, "--target", place.target)
    codes = ", ".join(f"'{code}'" for code in FOR_WANT)
    refused = query(place.target, f"SELECT code FROM load_quarantine WHERE code IN ({codes})")
    outcome.for_want += len(refused)
    for code in sorted({code for (code,) in refused}):
        command = ("quarantine", "replay", "--code", code)
        done = run_command(*command, *where, "--progress", "none", folder=folder)
        if done.returncode not in (0, 3):  # 3: there was another thing wrong with one of them
            outcome.wrong.append(f"{' '.join(command)} ends with {done.returncode}: {done.stderr}")


def _look_for_leftovers(mark: str, outcome: Outcome) -> None:
    """No process of a run may outlive it."""
    deadline = time.monotonic() + LEFTOVER_SECONDS
    while found := [process for process in psutil.process_iter() if _marked(process, mark)]:
        if time.monotonic() > deadline:
            for process in found:
                with contextlib.suppress(psutil.NoSuchProcess):
                    outcome.leftovers.append(" ".join(process.cmdline())[-200:])
                    process.kill()
            return
        time.sleep(0.1)


def _marked(process: psutil.Process, mark: str) -> bool:
    if process.pid == os.getpid():
        return False
    try:
        return process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE
    except (psutil.Error, OSError):
        return False


# ----------------------------------------------------------------------------------------------- judging


def _judge(case: Case, place: Place, documents: Documents, outcome: Outcome) -> None:
    """Compare what stands in the target with what an undisturbed load made, key by key."""
    plan = contract().plan
    changes = [
        fault for attempt in case.attempts for fault in attempt.faults if isinstance(fault, ChangeRows)
    ]
    changed = {str(key) for fault in changes for key in fault.changed}
    deleted = {str(key) for fault in changes for key in fault.deleted}
    found = rows_by_key(read_tables(place.target, plan))
    states: dict[str, list[str]] = {}
    for key, state in query(place.target, "SELECT source_key, state FROM load_ledger"):
        states.setdefault(str(key), []).append(str(state))
    versions = [_by_key(documents.expected), _by_key(documents.changed)]
    for key in versions[0]:
        in_ledger = states.pop(key, [])
        rows = {name: sorted(of_key[key], key=repr) for name, of_key in found.items() if key in of_key}
        if len(in_ledger) > 1:
            outcome.twice.append(f"key {key} is {len(in_ledger)} times in the ledger")
            continue
        if not in_ledger:
            if key not in deleted or rows:
                outcome.lost.append(f"key {key} is not in the ledger; rows: {_sizes(rows)}")
            continue
        allowed = [version[key] for version in (versions if key in changed else versions[:1])]
        if (in_ledger[0], rows) not in allowed:
            _name_difference(key, in_ledger[0], rows, allowed[0], outcome)
    outcome.twice += [f"key {key} of nobody's is in the ledger" for key in states]
    strangers = {key for of_key in found.values() for key in of_key} - versions[0].keys()
    outcome.twice += [f"rows of key {key}, which is nobody's" for key in strangers]
    detailed = Counter(query(place.target, "SELECT source_key FROM load_quarantine"))
    refused = Counter(query(place.target, "SELECT source_key FROM load_ledger WHERE state = 'quarantined'"))
    if detailed != refused:
        outcome.wrong.append(f"quarantine and ledger differ by {detailed - refused}, {refused - detailed}")
    try:
        ledger_rows_match_tables(place.target, plan)
    except AssertionError as error:
        outcome.wrong.append(f"the ledger counts other rows than there are: {str(error)[:500]}")
    last = query(place.target, "SELECT state FROM load_runs ORDER BY load_id")[-1]
    if last != ("finished",):
        outcome.wrong.append(f"the last load is {last[0]} and not finished")


Version = dict[str, tuple[str, dict[str, list[tuple[object, ...]]]]]


def _by_key(expected: Expected) -> Version:
    """State and rows of each key."""
    tables = rows_by_key(expected.tables)
    return {
        key: (
            state,
            {name: sorted(of_key[key], key=repr) for name, of_key in tables.items() if key in of_key},
        )
        for key, state in expected.states.items()
    }


def _name_difference(
    key: str,
    state: str,
    rows: dict[str, list[tuple[object, ...]]],
    wanted: tuple[str, dict[str, list[tuple[object, ...]]]],
    outcome: Outcome,
) -> None:
    wanted_state, wanted_rows = wanted
    text = f"key {key} is {state} with rows {_sizes(rows)}, not {wanted_state} with {_sizes(wanted_rows)}"
    have = Counter(row for of_table in rows.values() for row in of_table)
    want = Counter(row for of_table in wanted_rows.values() for row in of_table)
    if want - have and not have - want:
        outcome.lost.append(text)
    elif have - want and not want - have:
        outcome.twice.append(text)
    else:
        outcome.wrong.append(text)


def _sizes(rows: dict[str, list[tuple[object, ...]]]) -> dict[str, int]:
    return {name: len(of_table) for name, of_table in rows.items()}


def _count(case: Case, place: Place, outcome: Outcome) -> None:
    """Count the faults that struck, and those of them between the first commit and the last.

    A ledger row says when its batch was begun: what struck between the first of these moments and the last
    of them struck while batches were being committed.
    """
    moments = query(place.target, "SELECT MIN(committed_at), MAX(committed_at) FROM load_ledger")[0]
    if None in moments:
        return  # nothing was committed at all, which has been judged
    first, last = (_epoch(moment) for moment in moments)
    clock = any(fault.kind == "clock set" for attempt in case.attempts for fault in attempt.faults)
    for attempt in case.attempts:
        for fault in attempt.faults:
            for moment in fault.moments:
                outcome.struck[fault.kind] += 1
                # By a clock that was set nothing can be told; such a fault waits for a commit to strike.
                if clock or first < moment < last:
                    outcome.between[fault.kind] += 1


def _epoch(moment: object) -> float:
    from xml_extractor.target.timestamps import from_database

    return from_database(moment).timestamp()
