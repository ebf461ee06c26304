"""A study's file: what it keeps, and what it is never taken for."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import optuna
import pytest

from performance_tuning.optimizing.measurements import Ending, Measurement, Outcome, Round
from performance_tuning.optimizing.space import Setting, Space, make_space
from performance_tuning.optimizing.study_file import (
    NAME,
    StudyFile,
    Subject,
    Trait,
    check_same,
    create_study,
    open_study,
)
from performance_tuning.optimizing.subject import other_settings
from tests.support.program import environment
from xml_extractor.errors import UsageError
from xml_extractor.settings import Settings

SPACE: Space = make_space(
    {"workers": ["2", "4"], "batch_size": ["100"], "queue_size": ["500"], "insert_threads": ["1"]},
    documents=1000, max_insert_threads=None, insert_paths=(),
)  # fmt: skip
SUBJECT = Subject(
    {"machine": Trait("2 cores (fast)", "f00"), "contract": Trait("loans", "abc")},
    {"workers": [2, 4], "search": "adaptive", "seed": 1},
)
A, B = SPACE.settings()[:2]


def measurement(setting: Setting, ending: Ending = Ending.MEASURED, session: int = 1) -> Measurement:
    outcome = Outcome(ending, 1.5, 123.25, 0.75, 1000, {"bottleneck": "the target"}, "why", 5)
    return Measurement(1, session, setting, outcome, 12.5, "2026-01-01T00:00:00+00:00")


def filled(path: Path) -> StudyFile:
    study = create_study(path, SUBJECT)
    study.begin(SPACE)
    study.keep_round(Round(1, "explore", (A, B), A))
    for setting, ending in ((A, Ending.MEASURED), (B, Ending.CUT_OFF), (A, Ending.FAILED)):
        study.keep(measurement(setting, ending))
    return study


def test_everything_that_was_kept_is_there_again(tmp_path: Path) -> None:
    study = filled(tmp_path / "a.study")
    history = study.history
    study.close()
    again = open_study(tmp_path / "a.study")
    assert again.history == history
    assert again.subject == SUBJECT
    again.begin(SPACE)
    assert again.session == 2
    again.keep(measurement(B, session=2))
    again.close()
    last = open_study(tmp_path / "a.study")
    assert len(last.history.measurements) == 4
    last.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.study"]  # no lock, nothing half made


def test_other_settings_are_kept_by_the_names_that_loads_are_given() -> None:
    found = other_settings(Settings.model_validate({"keys": "after", "workers": 7, "retry_seconds": 3}))
    assert found == {"keys": "after", "retry_seconds": 3}


def test_it_is_an_optuna_study_that_other_tools_can_show(tmp_path: Path) -> None:
    filled(tmp_path / "a.study").close()
    study = optuna.load_study(study_name=NAME, storage=f"sqlite:///{tmp_path / 'a.study'}")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE", "PRUNED", "FAIL"]
    assert study.best_trial.value == 123.25
    assert study.best_trial.params["workers"] == A.workers


def test_only_one_program_works_on_a_study(tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    study = filled(path)
    with pytest.raises(UsageError, match="is being worked on by another program"):
        open_study(path)
    study.close()
    open_study(path).close()


def make_garbage(path: Path) -> None:
    path.write_bytes(b"not a database " * 100)


def make_empty(path: Path) -> None:
    path.touch()


def make_other_database(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE customers (name TEXT)")
        connection.execute("INSERT INTO customers VALUES ('Ada')")
    connection.close()


def make_other_optuna_study(path: Path) -> None:
    optuna.create_study(study_name=NAME, storage=f"sqlite:///{path}").set_user_attr("format", 1)


def make_torn(path: Path) -> None:
    filled(path).close()
    content = path.read_bytes()
    path.write_bytes(content[:100] + b"\xff" * (len(content) - 100))


def make_short(path: Path) -> None:
    filled(path).close()
    path.write_bytes(path.read_bytes()[:5000])


def make_newer(path: Path) -> None:
    study = create_study(path, SUBJECT)
    study._study.set_user_attr("format", 99)
    study.close()


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (make_garbage, "is no study"),
        (make_empty, "is no study"),
        (make_other_database, "is a database of another program"),
        (make_other_optuna_study, "is a database of another program"),
        (make_torn, "is damaged, or of another version of Optuna"),
        (make_short, "is damaged, or of another version of Optuna"),
        (make_newer, "another version of this program"),
        (Path.mkdir, "cannot be read"),
    ],
)
def test_what_is_no_study_is_refused_and_left_untouched(make: object, said: str, tmp_path: Path) -> None:
    path = tmp_path / "given"
    make(path)  # type: ignore[operator]
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(UsageError, match=said) as refused:
        open_study(path)
    assert "given" in str(refused.value)
    assert (path.read_bytes() if path.is_file() else None) == before
    assert [found.name for found in tmp_path.iterdir()] == ["given"]


def test_a_study_of_something_else_is_refused_with_all_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    filled(path).close()
    before = path.read_bytes()
    study = open_study(path)
    now = Subject(
        {"machine": Trait("8 cores (slow)", "f01"), "contract": Trait("loans, renamed", "abc")},
        {"workers": [2, 8], "search": "adaptive", "seed": 1},
    )
    with pytest.raises(UsageError) as refused:
        check_same(path, study.subject, now)
    study.close()
    said = str(refused.value)
    assert "machine: 2 cores (fast) in the study, 8 cores (slow) now" in said
    assert "--workers: 2,4 in the study, 2,8 now" in said
    assert "contract" not in said  # only its words are others
    assert "seed" not in said
    assert path.read_bytes() == before
    check_same(path, SUBJECT, replace(SUBJECT))


def test_a_study_is_not_made_where_a_file_is(tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    make_garbage(path)
    with pytest.raises(UsageError, match="somebody else has just made it"):
        create_study(path, SUBJECT)
    assert path.read_bytes().startswith(b"not a database")
    assert [found.name for found in tmp_path.iterdir()] == ["a.study"]


def test_a_place_that_cannot_be_written_to_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="cannot be written"):
        create_study(tmp_path / "file" / "a.study", SUBJECT)


KEEPS_UNTIL_KILLED = """
import sys
from pathlib import Path
from performance_tuning.optimizing.measurements import Round
from performance_tuning.optimizing.study_file import create_study
from tests.unit.performance_tuning.optimizing.test_study_file import A, SPACE, SUBJECT, measurement
study = create_study(Path(sys.argv[1]), SUBJECT)
study.begin(SPACE)
study.keep_round(Round(1, "explore", (A,), A))
for number in range(100_000):
    study.keep(measurement(A))
    print(number, flush=True)
"""


@pytest.mark.skipif(os.name == "nt", reason="there is no SIGKILL")
def test_a_killed_program_leaves_all_that_it_had_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.study"
    command = [sys.executable, "-c", KEEPS_UNTIL_KILLED, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment()) as program:
        assert program.stdout is not None
        kept = [program.stdout.readline() for _ in range(5)]
        program.send_signal(signal.SIGKILL)
        rest = program.stdout.read()
    assert kept[-1].strip() == "4"
    said = 5 + rest.count("\n")
    study = open_study(path)  # the lock went with the program
    assert said <= len(study.history.measurements) <= said + 1
    assert study.history.measurements[0] == measurement(A)
    study.close()
