"""The file of a study: an Optuna study in SQLite, in which every measurement is kept as soon as it is made.

A trial of that study is one measurement, so that ``optuna-dashboard sqlite:///FILE`` shows it.  What else
belongs to the study (what was measured where, ranges, rounds) are its user attributes.  SQLite's application
id in the file's first bytes says that it is ours: another program's database is not even opened.
"""

from __future__ import annotations

import os
import secrets
import sqlite3
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy.exc import SQLAlchemyError

from performance_tuning.optimizing.measurements import Ending, History, Measurement, Outcome, Round
from performance_tuning.optimizing.space import Setting, Space
from xml_extractor.errors import UsageError

APPLICATION_ID: Final = 0x78_74_75_6E  # "xtun"
FORMAT: Final = 1
NAME: Final = "xml-extractor tuning"

_HEADER_BYTES: Final = 100  # of a SQLite file; the application id is at 68
_MAGIC: Final = b"SQLite format 3\0"
_STATES: Final = {
    Ending.MEASURED: TrialState.COMPLETE,
    Ending.CUT_OFF: TrialState.PRUNED,
    Ending.FAILED: TrialState.FAIL,
}
_UNREADABLE: Final = (
    SQLAlchemyError, optuna.exceptions.OptunaError, sqlite3.Error, OSError, RuntimeError, LookupError,
    TypeError, ValueError,
)  # fmt: skip
"""What reading a damaged file, or one of another version of Optuna, can raise."""


@dataclass(frozen=True, slots=True)
class Trait:
    """Something that has to be the same for measurements to be comparable."""

    shown: str
    value: str
    """What is compared; ``shown`` may say less, or more."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a study is about: its traits by what they are called, and how it is gone about."""

    traits: Mapping[str, Trait]
    plan: Mapping[str, Any]
    """Ranges, search, repeats: plain data, by the name of the flag that sets it."""


class StudyFile:
    """A study that is open; nobody else has it open at the same time.  For one thread."""

    def __init__(self, path: Path, study: optuna.Study, subject: Subject, lock: _Lock) -> None:
        self.path = path
        self.subject = subject
        self._study = study
        self._space: Space | None = None
        self._lock = lock
        self.history = _read_history(study)
        self.session = 0

    def begin(self, space: Space) -> None:
        """Begin to measure; until now nothing of the file was changed.

        Args:
            space: the study's, as its trials are to name it.
        """
        self._space = space
        self.session = int(self._study.user_attrs.get("sessions", 0)) + 1
        self._study.set_user_attr("sessions", self.session)

    def keep_round(self, one: Round) -> None:
        """Write down what is about to be measured."""
        content = {
            "stage": one.stage,
            "settings": [asdict(setting) for setting in one.settings],
            "leader": asdict(one.leader),
        }
        with self._writing():
            self._study.set_user_attr(f"round {one.number}", content)
        self.history.rounds.append(one)

    def keep(self, one: Measurement) -> None:
        """Write down what was measured; when this returns it is safe from whatever ends the program."""
        assert self._space is not None
        distributions: dict[str, BaseDistribution] = {
            name: CategoricalDistribution(values)
            for name, values in self._space.ranges.items()
            if values != (None,)
        }
        with self._writing():
            self._study.add_trial(
                create_trial(
                    state=_STATES[one.outcome.ending],
                    value=one.outcome.rate if one.outcome.ending is Ending.MEASURED else None,
                    params={name: getattr(one.setting, name) for name in distributions},
                    distributions=distributions,
                    user_attrs={
                        "round": one.round, "session": one.session, "setting": asdict(one.setting),
                        "outcome": asdict(one.outcome), "limit_seconds": one.limit_seconds,
                        "began_at": one.began_at,
                    },
                )
            )  # fmt: skip
        self.history.measurements.append(one)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Turn what keeps the file from being written to into a message."""
        try:
            yield
        except (SQLAlchemyError, optuna.exceptions.OptunaError, OSError) as error:
            raise UsageError(
                f"--study {self.path} cannot be written: {_why(error)}. What it holds is kept; make room, or "
                "whatever it needs, and run the same command again to go on"
            ) from None

    def close(self) -> None:
        """Let go of the file; never raises."""
        _dispose(self._study)
        self._lock.release()


# ------------------------------------------------------------------------------------ opening, making


def create_study(path: Path, subject: Subject) -> StudyFile:
    """Make a new study.

    It appears under its name all at once, so that a program killed meanwhile leaves no half study there.

    Raises:
        UsageError: there is a file of this name, or it cannot be written.
    """
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    lock = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = _Lock(path)
        if path.exists():
            raise UsageError(f"--study {path}: somebody else has just made it; run the same command again")
        connection = sqlite3.connect(partial)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.close()
        study = optuna.create_study(study_name=NAME, storage=_storage(partial), direction="maximize")
        study.set_user_attr("format", FORMAT)
        study.set_user_attr("traits", {name: asdict(trait) for name, trait in subject.traits.items()})
        study.set_user_attr("plan", dict(subject.plan))
        _dispose(study)
        partial.replace(path)
        return StudyFile(path, _load(path), subject, lock)
    except BaseException as error:
        if lock is not None:
            lock.release()
        for left in (partial, partial.with_name(partial.name + "-journal")):
            with suppress(OSError):
                left.unlink()
        if isinstance(error, (OSError, sqlite3.Error, SQLAlchemyError)):
            raise UsageError(f"--study {path} cannot be written: {_why(error)}") from None
        raise


def open_study(path: Path) -> StudyFile:
    """Open an existing study.

    Raises:
        UsageError: it is no study of this program, cannot be read, or is open elsewhere.  Nothing of it was
            changed.
    """
    _check_is_ours(path)
    lock = _Lock(path)
    try:
        study = _load(path)
        found = study.user_attrs
        if found.get("format") != FORMAT:
            raise UsageError(
                f"--study {path} was made by another version of this program (format {found.get('format')}, "
                f"not {FORMAT}); name another file to begin a new study"
            )
        traits = {name: Trait(**trait) for name, trait in found["traits"].items()}
        return StudyFile(path, study, Subject(traits, found["plan"]), lock)
    except UsageError:
        lock.release()
        raise
    except _UNREADABLE as error:
        lock.release()
        raise UsageError(
            f"--study {path} is damaged, or of another version of Optuna, and cannot be read: {_why(error)}. "
            "Nothing of it was changed; name another file to begin a new study"
        ) from None
    except BaseException:
        lock.release()
        raise


def check_same(path: Path, study: Subject, now: Subject) -> None:
    """Refuse to go on with a study of something else.

    Raises:
        UsageError: naming each difference.
    """
    differences = [
        f"{name}: {study.traits[name].shown if name in study.traits else 'not known'} in the study, "
        f"{trait.shown} now"
        for name, trait in now.traits.items()
        if name not in study.traits or study.traits[name].value != trait.value
    ]
    differences += [
        f"--{name}: {_shown(study.plan.get(name))} in the study, {_shown(value)} now"
        for name, value in now.plan.items()
        if study.plan.get(name) != value
    ]
    if differences:
        raise UsageError(
            f"--study {path} is of something else, and its measurements would be mixed with others:\n  "
            + "\n  ".join(differences)
            + "\nNothing of it was changed. Name another file to begin a new study"
        )


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return "not given" if value is None else str(value)


def _check_is_ours(path: Path) -> None:
    try:
        with path.open("rb") as file:
            header = file.read(_HEADER_BYTES)
    except OSError as error:
        raise UsageError(f"--study {path} cannot be read: {_why(error)}") from None
    is_database = header.startswith(_MAGIC) and len(header) == _HEADER_BYTES
    if not is_database or int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        what = "a database of another program" if is_database else "no study"
        raise UsageError(
            f"--study {path} is {what}. It was left as it is; name a file that does not exist to begin a new "
            "study"
        )


def _storage(path: Path) -> optuna.storages.RDBStorage:
    return optuna.storages.RDBStorage(f"sqlite:///{path.absolute().as_posix()}")


def _load(path: Path) -> optuna.Study:
    return optuna.load_study(study_name=NAME, storage=_storage(path))


def _dispose(study: optuna.Study) -> None:
    storage = study._storage
    # A study keeps its storage behind a cache of Optuna's, which has no way to be closed.
    backend = getattr(storage, "_backend", storage)
    if isinstance(backend, optuna.storages.RDBStorage):
        with suppress(SQLAlchemyError):
            backend.remove_session()
            backend.engine.dispose()


def _why(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    cause = getattr(error, "orig", None) or error
    return f"{type(cause).__name__}: {str(cause).splitlines()[0] if str(cause) else 'no more is known'}"


# ------------------------------------------------------------------------------------------- reading


def _read_history(study: optuna.Study) -> History:
    history = History()
    number = 1
    while (content := study.user_attrs.get(f"round {number}")) is not None:
        settings = tuple(Setting(**setting) for setting in content["settings"])
        history.rounds.append(Round(number, content["stage"], settings, Setting(**content["leader"])))
        number += 1
    history.measurements += map(_measurement, study.get_trials(deepcopy=False))
    return history


def _measurement(trial: FrozenTrial) -> Measurement:
    kept = trial.user_attrs
    outcome = dict(kept["outcome"])
    return Measurement(
        round=kept["round"],
        session=kept["session"],
        setting=Setting(**kept["setting"]),
        outcome=Outcome(ending=Ending(outcome.pop("ending")), **outcome),
        limit_seconds=kept["limit_seconds"],
        began_at=kept["began_at"],
    )


# ------------------------------------------------------------------------------------------- locking


class _Lock:
    """Keeps a second program out of a study: they would measure each other.

    The lock is the operating system's, on a file beside the study's; it ends with the process, however that
    ends.
    """

    def __init__(self, study: Path) -> None:
        self._path = study.with_name(study.name + ".lock")
        while True:
            try:
                self._file = self._path.open("ab")
            except OSError as error:
                raise UsageError(f"--study {study}: {self._path.name} beside it: {_why(error)}") from None
            if not _lock(self._file.fileno()):
                self._file.close()
                raise UsageError(
                    f"--study {study} is being worked on by another program; wait for it, or stop it"
                )
            # Whoever held it before may have removed the file between our opening and locking it.
            with suppress(OSError):
                if os.path.samestat(os.fstat(self._file.fileno()), self._path.stat()):
                    return
            self._file.close()

    def release(self) -> None:
        """Let others in; never raises."""
        if os.name != "nt":
            with suppress(OSError):
                self._path.unlink()  # first, or somebody could lock what is then removed
        with suppress(OSError):
            self._file.close()
        if os.name == "nt":
            with suppress(OSError):
                self._path.unlink()  # there no file is removed that is open, be it by somebody else


if sys.platform == "win32":
    import msvcrt

    def _lock(descriptor: int) -> bool:
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

else:
    import fcntl

    def _lock(descriptor: int) -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True
