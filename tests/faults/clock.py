"""A clock that is set while the program runs; see :mod:`tests.faults.faults`."""

from __future__ import annotations

import time
from dataclasses import dataclass

from tests.faults.faults import Fault, Run

CLOCK = '''
"""The clock of a program under test: as far off as a file says."""

import copyreg
import datetime
import os
import time

_FILE = os.environ["FAULTS_CLOCK_FILE"]
_time, _time_ns, _datetime = time.time, time.time_ns, datetime.datetime


def _offset():
    try:
        with open(_FILE) as file:
            return float(file.read() or 0)
    except (OSError, ValueError):
        return 0.0


class _Kind(type):
    def __instancecheck__(cls, instance):
        return isinstance(instance, _datetime)

    def __subclasscheck__(cls, other):
        return issubclass(other, _datetime)


class datetime_off(_datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz=None):
        return _datetime.fromtimestamp(_time() + _offset(), tz)

    @classmethod
    def utcnow(cls):
        return cls.now(datetime.timezone.utc).replace(tzinfo=None)


def rebuilt(text):
    return _datetime.fromisoformat(text)


# Instances of the class that was are sent to worker processes, where pickle would miss it under its name.
copyreg.pickle(_datetime, lambda moment: (rebuilt, (moment.isoformat(),)))
time.time = lambda: _time() + _offset()
time.time_ns = lambda: _time_ns() + int(_offset() * 10**9)
datetime.datetime = datetime_off
'''


@dataclass
class SetClock(Fault):
    """The clock jumps, back or forth, at random moments: seconds, after so many seconds."""

    jumps: list[tuple[float, float]]

    @property
    def kind(self) -> str:
        return "clock set"

    def describe(self) -> str:
        return f"clock set {', '.join(f'by {jump:+g} s after {delay:.2f} s' for jump, delay in self.jumps)}"

    def arm(self, run: Run) -> None:
        run.customize(CLOCK)
        self._file = run.folder / "offset"
        run.extra["FAULTS_CLOCK_FILE"] = str(self._file)

    def act(self, run: Run) -> None:
        run.await_commit()
        offset = 0.0
        for jump, delay in self.jumps:
            time.sleep(delay)
            if not run.runs():
                return
            offset += jump
            # Whole at once: the program reads it at any moment.
            draft = self._file.with_suffix(".draft")
            draft.write_text(str(offset))
            draft.replace(self._file)
            self.strikes()
