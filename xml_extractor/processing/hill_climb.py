"""Finds batch size and insert threads that settle the most documents, by trying neighbours of what is used.

No threads and no clock here: :class:`HillClimber` is told of every committed batch, and answers with the
setting that it wants next.  All times are those of the batches.

One setting is *held*; its neighbours are *tried* in turn, first far ones (four times the batch, twice the
threads), then near ones.  A trial ends as soon as the difference stands out from the noise:

- A setting that costs more (larger batches, more threads) has to be faster by ``MIN_GAIN`` and beyond the
  noise.
- A cheaper one has to be as fast, but for ``TOLERANCE``, as the fastest of this round: of equals the least is
  best, and many small steps down cannot add up to a large one.
- Retries that come with more threads (victims of deadlocks) count against them, beside the time they cost.

Otherwise the held setting is put back and measured again before the next trial, so that a target that has
changed meanwhile is seen.  A setting is tried once a round; so a round ends, and the climber rests: it goes
on measuring, and begins another round when the target has changed, or after a while, longer each time.

Where insert threads mostly wait, workers, source or throttle are the limit, and neither larger batches nor
more threads can help; only what is cheaper is tried then.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from math import inf, log10, sqrt
from typing import Final

from xml_extractor.processing.tuning_windows import BatchTimes, Measurement, Noise

MIN_GAIN: Final = 0.04
TOLERANCE: Final = 0.02
"""Less than half of ``MIN_GAIN``: no setting can be worth both going to and leaving again."""

SURE: Final = 2.5
"""Standard errors by which a difference stands out: by chance, one in a hundred and sixty; a trial is
looked at several times."""

LIKELY: Final = 1.5
"""Standard errors that are enough after ``MANY_WINDOWS``: what is then taken for a gain by chance does no
harm, and what is missed is small."""

TRIED_WINDOWS: Final = 3
AGAIN_WINDOWS: Final = 2
"""Windows of a setting before it is judged, and of the held one after each trial."""

HELD_ERROR: Final = 0.04
"""The held setting is measured to within so much, if ``MANY_WINDOWS`` do for that: each trial is held against
it."""

MANY_WINDOWS: Final = 10
MOST_WINDOWS: Final = 24
MOST_SECONDS: Final = 20.0
"""A trial that has not stood out by then does not."""

LONG_SECONDS: Final = 4.0
"""Windows together this long are enough, however few: they average over very many documents."""

LONG_BATCH_SECONDS: Final = 2.0
"""From here on smaller batches are tried first: what a transaction costs beside its rows is far less."""

SHORT_BATCH_SECONDS: Final = 0.5
"""From here on more threads are tried before larger batches: they promise more."""

LONGEST_BATCH_SECONDS: Final = 10.0
"""No larger batch is tried that would take longer: nothing that a transaction costs beside its rows is more
than a small part of that, and for so long it holds its locks, and an operator who stops the load waits."""

MOMENTUM: Final = 0.25
"""What has brought such a gain is tried again before anything else."""

TARGET_IS_LIMIT: Final = 0.9
WORKERS_ARE_LIMIT: Final = 0.5
"""Shares of the insert threads' time spent working: above the first, records are always there for them; below
the second, the target could do twice as much."""

LEAVES_ROOM: Final = 0.85
"""Where the target is not the limit, a cheaper setting may not make it one."""

SAVING_BATCH: Final = 1000
"""The default: smaller batches save no memory worth speaking of, and get smaller only for speed."""

FILLED: Final = 0.7
"""Batches that hold a smaller share of their size are closed by their bytes or seconds: a larger size is
none."""

CHANGED: Final = 0.2
"""A rate, or a share of time, that differs by so much from what it was is another target or other
documents."""

FIRST_REST_SECONDS: Final = 60.0
LONGEST_REST_SECONDS: Final = 900.0

_BATCH_STEPS: Final = (4.0, 2.0, sqrt(2.0))
"""By level; the last is finer than what a tenth of the throughput can depend on."""
_NEAR: Final = 1
_FINE: Final = 2


@dataclass(frozen=True, slots=True)
class Setting:
    """What is tuned."""

    batch_size: int
    insert_threads: int

    def __str__(self) -> str:
        return f"--batch-size {self.batch_size} --insert-threads {self.insert_threads}"


@dataclass(frozen=True, slots=True)
class Bounds:
    """The most that may be tried; the least of both is 1."""

    batch_size: int
    insert_threads: int


class _Move(Enum):
    """A step to a neighbour."""

    LARGER = "larger batches"
    MORE = "more insert threads"
    SMALLER = "smaller batches"
    FEWER = "fewer insert threads"

    @property
    def is_cheaper(self) -> bool:
        return self in (_Move.SMALLER, _Move.FEWER)


@dataclass(slots=True)
class _Trial:
    setting: Setting
    move: _Move
    measured: Measurement


class HillClimber:
    """Climbs.  For one thread only.

    Args:
        start: what the load begins with; within the bounds.

    Whoever uses it puts ``setting`` in force whenever it has changed, and says so by :meth:`in_force`;
    batches whose cycle began earlier are ignored."""

    def __init__(self, start: Setting, bounds: Bounds) -> None:
        self.setting = start
        self.bounds = bounds
        self.resting = False
        """Whether a round has ended, and nothing is being tried."""
        self.rounds = 0
        """Rounds that have come to their end."""
        self._noise = Noise()
        self._held = start
        self._measured = Measurement(start.insert_threads)
        self._trial: _Trial | None = None
        self._most_threads = bounds.insert_threads  # less than bounds say after a refusal
        self._since = -inf
        self._level = 0
        self._last_move: _Move | None = None
        self._tried = {start}
        self._moved = False  # in this round
        self._best_rate = 0.0  # of settings that were held in this round
        self._rate_before = 0.0  # of the held setting, before the last trial
        self._rest_seconds = FIRST_REST_SECONDS
        self._rested_at = 0.0
        self._rest_rate = self._rest_busy = 0.0

    # ------------------------------------------------------------------------------------ what is asked

    @property
    def held(self) -> Setting:
        """The best setting found so far."""
        return self._held

    @property
    def rate(self) -> float:
        """Documents a second that were settled with it; 0 = not measured yet."""
        return self._measured.rate

    @property
    def waiting(self) -> str:
        """How much insert threads wait with the held setting, and what that says, in words."""
        busy = self._measured.busy
        share = f"insert threads wait {1 - busy:.0%} of their time"
        return share if busy > WORKERS_ARE_LIMIT else f"{share}: workers or source are the limit"

    # ------------------------------------------------------------------------------------ what is told

    def in_force(self, now: float) -> None:
        """Say that ``setting`` is in force from ``now`` on."""
        self._since = now
        measured = self._measured if self._trial is None else self._trial.measured
        measured.put_in_force()

    def refuse_threads(self, most: int, why: str) -> list[str]:
        """Say that no more than ``most`` insert threads can be had; returns what is decided, in words."""
        self._most_threads = max(1, most)
        said = [f"no more than {self._most_threads} insert threads: {why}"]
        if self._trial is not None and self._trial.setting.insert_threads > self._most_threads:
            said.append(self._put_back("which was to be tried with more"))
        if self._held.insert_threads > self._most_threads:
            self._held = replace(self._held, insert_threads=self._most_threads)
            self._want(self._held)
            self._measured = Measurement(self._most_threads)
            self._rate_before = 0.0
        return said

    def add(self, batch: BatchTimes) -> list[str]:
        """Take note of a committed batch; returns what is decided because of it, in words for the log."""
        if batch.began_at < self._since:
            return []
        trial = self._trial
        measured = self._measured if trial is None else trial.measured
        if measured.add(batch) is None:
            return []
        self._noise.see(measured)
        if trial is not None:
            return self._judge(trial, batch.ended_at)
        if self.resting:
            return self._watch(batch.ended_at)
        return self._go_on(batch.ended_at)

    # ------------------------------------------------------------------------------------ trials

    def _go_on(self, now: float) -> list[str]:
        """The held setting has been measured a bit more: begin the next trial, when that is enough."""
        measured = self._measured
        wanted = AGAIN_WINDOWS if self._rate_before else TRIED_WINDOWS
        if measured.fresh_seconds < LONG_SECONDS:
            known = len(measured.windows)
            if measured.fresh < wanted or (self._noise.error(known) > HELD_ERROR and known < MANY_WINDOWS):
                return []
        said = []
        if self._rate_before:
            fresh = measured.last(measured.fresh)
            if self._differs(fresh.rate, self._rate_before, measured.fresh):
                if measured.fresh < 2 * AGAIN_WINDOWS:
                    return []
                said.append(
                    f"begins anew: {self._held} settles {fresh.rate:,.0f} documents/s now, "
                    f"{self._rate_before:,.0f} before"
                )
                self._measured = fresh
                self._begin_round(level=0)
        self._best_rate = max(self._best_rate, self._measured.rate)
        return said + self._try_next(now)

    def _try_next(self, now: float) -> list[str]:
        # Where the target is not the limit there is nothing for fine steps to find.
        levels = len(_BATCH_STEPS) if self._measured.busy >= TARGET_IS_LIMIT else _FINE
        while self._level < levels:
            for move in self._moves():
                setting = self._neighbour(move)
                if setting is not None and setting not in self._tried:
                    self._tried.add(setting)
                    self._rate_before = self._measured.rate
                    self._trial = _Trial(setting, move, Measurement(setting.insert_threads))
                    self._want(setting)
                    return [
                        f"tries {move.value}: {setting}; {self._held} settles {self.rate:,.0f} documents/s, "
                        f"{self.waiting}"
                    ]
            self._level += 1
        return [self._rest(now)]

    def _moves(self) -> Iterator[_Move]:
        """Yield the moves worth trying, the most promising first."""
        measured = self._measured
        order = [_Move.LARGER, _Move.MORE, _Move.SMALLER, _Move.FEWER]
        if measured.batch_seconds >= LONG_BATCH_SECONDS:
            order = [_Move.SMALLER, _Move.FEWER, _Move.MORE, _Move.LARGER]
        elif measured.batch_seconds >= SHORT_BATCH_SECONDS:
            order = [_Move.MORE, _Move.LARGER, _Move.SMALLER, _Move.FEWER]
        if self._last_move is not None:
            order.sort(key=lambda move: move is not self._last_move)
        for move in order:
            if move is _Move.MORE and measured.busy < TARGET_IS_LIMIT:
                continue
            if move is _Move.LARGER:
                seconds = measured.batch_seconds * _BATCH_STEPS[self._level]
                if (
                    measured.busy < WORKERS_ARE_LIMIT
                    or not self._is_filled
                    or seconds > LONGEST_BATCH_SECONDS
                ):
                    continue
            yield move

    @property
    def _is_filled(self) -> bool:
        return self._measured.batch_documents >= FILLED * self._held.batch_size

    def _neighbour(self, move: _Move) -> Setting | None:
        """Return where a move leads at this level; ``None``: nowhere."""
        held, step = self._held, _BATCH_STEPS[self._level]
        batch, threads = held.batch_size, held.insert_threads
        if move is _Move.LARGER:
            batch = min(rounded(batch * step), self.bounds.batch_size)
        elif move is _Move.SMALLER:
            # Where bytes or seconds close batches, their true size is the one to go down from.
            true_size = batch if self._is_filled else min(batch, self._measured.batch_documents)
            smaller = min(rounded(true_size / step), batch)
            if self._measured.busy < TARGET_IS_LIMIT and smaller < SAVING_BATCH:
                return None  # neither faster nor worth saving
            batch = smaller
        elif self._level == 0:
            threads = threads * 2 if move is _Move.MORE else threads // 2
        elif self._level == _NEAR:
            near = max(1, threads // 4)
            threads += near if move is _Move.MORE else -near
        threads = max(1, min(threads, self._most_threads))
        setting = Setting(max(1, batch), threads)
        return None if setting == held else setting

    def _judge(self, trial: _Trial, now: float) -> list[str]:
        """Keep what is tried, or put back what was held, or wait for another window."""
        tried, held = trial.measured, self._measured
        if tried.fresh < TRIED_WINDOWS and tried.fresh_seconds < LONG_SECONDS:
            return []
        error = self._noise.error(tried.fresh, len(held.windows))
        last = tried.fresh >= MOST_WINDOWS or tried.fresh_seconds >= MOST_SECONDS
        saves = trial.move.is_cheaper and not (
            trial.move is _Move.SMALLER and trial.setting.batch_size < SAVING_BATCH
        )
        gain = tried.rate / held.rate - 1 if held.rate else inf
        needed = MIN_GAIN
        if trial.move is _Move.MORE:
            needed += max(0.0, tried.retries - held.retries)
        sure = LIKELY if tried.fresh >= MANY_WINDOWS or last else SURE
        if gain >= needed and gain >= sure * error:
            return self._keep(trial, gain, error, now)
        if not saves:
            if last or gain + sure * error < needed:
                return [self._put_back(self._comparison(trial, gain, error))]
            return []
        if held.busy < TARGET_IS_LIMIT:
            # What workers make of their time is not the setting's doing, as long as it leaves them room.
            if gain + SURE * error < -TOLERANCE:
                return [self._put_back(self._comparison(trial, gain, error))]
            if tried.busy <= LEAVES_ROOM:
                return self._keep(trial, gain, error, now)
            return (
                [self._put_back(f"no room is left: {self._comparison(trial, gain, error)}")] if last else []
            )
        lost = tried.rate / max(self._best_rate, 1e-9) - 1
        if lost + sure * error < -TOLERANCE:
            return [self._put_back(self._comparison(trial, gain, error))]
        if lost < -TOLERANCE or lost - error < -MIN_GAIN:
            if not last:
                return []
            if lost < -TOLERANCE:
                return [self._put_back(self._comparison(trial, gain, error))]
        return self._keep(trial, gain, error, now)

    def _comparison(self, trial: _Trial, gain: float, error: float) -> str:
        retries = trial.measured.retries - self._measured.retries
        return (
            f"{trial.setting} settles {trial.measured.rate:,.0f} documents/s, {gain:+.1%} (± {error:.1%})"
            + (f", with {retries:+.2f} retries a batch" if abs(retries) >= 0.01 else "")
        )

    def _keep(self, trial: _Trial, gain: float, error: float, now: float) -> list[str]:
        said = f"keeps {self._comparison(trial, gain, error)}"
        self._moved = True
        self._last_move = trial.move if gain >= MOMENTUM else None
        self._trial = None
        self._held = trial.setting
        self._measured = trial.measured
        self._best_rate = max(self._best_rate, self.rate)
        self._rate_before = 0.0
        return [said, *self._try_next(now)]

    def _put_back(self, why: str) -> str:
        assert self._trial is not None
        if self._trial.move is self._last_move:
            self._last_move = None
        self._trial = None
        self._want(self._held)
        return f"goes back to {self._held} ({self._rate_before:,.0f} documents/s): {why}"

    def _want(self, setting: Setting) -> None:
        self.setting = setting
        self._since = inf  # until it is in force

    # ------------------------------------------------------------------------------------ rounds

    def _begin_round(self, level: int) -> None:
        self.resting = False
        self._level = level
        self._last_move = None
        self._tried = {self._held}
        self._moved = False
        self._best_rate = self.rate
        self._rate_before = 0.0
        self._most_threads = self.bounds.insert_threads  # what was refused may be granted now

    def _rest(self, now: float) -> str:
        self.resting = True
        self.rounds += 1
        self._rested_at = now
        self._rest_seconds = (
            FIRST_REST_SECONDS if self._moved else min(2 * self._rest_seconds, LONGEST_REST_SECONDS)
        )
        self._rest_rate, self._rest_busy = self.rate, self._measured.busy
        return (
            f"settles on {self._held}: {self.rate:,.0f} documents/s, {self.waiting}; looks again in "
            f"{self._rest_seconds:.0f} s"
        )

    def _watch(self, now: float) -> list[str]:
        """While resting: begin another round when it is time, or when the target is no longer the same."""
        recent = self._measured.last(2 * TRIED_WINDOWS)
        enough = self._measured.fresh >= 2 * TRIED_WINDOWS
        if enough and self._differs(recent.rate, self._rest_rate, len(recent.windows)):
            said = (
                f"begins anew: {self._held} settles {recent.rate:,.0f} documents/s now, "
                f"{self._rest_rate:,.0f} before"
            )
            level = 0
        elif enough and recent.busy >= TARGET_IS_LIMIT and recent.busy - self._rest_busy >= CHANGED:
            said, level = "begins anew: insert threads are busy now", 0
        elif now - self._rested_at >= self._rest_seconds:
            said, level = "looks again", _NEAR
        else:
            return []
        self._measured = recent
        self._begin_round(level)
        return [said, *self._try_next(now)]

    def _differs(self, rate: float, before: float, windows: int) -> bool:
        bound = max(CHANGED, 2 * SURE * self._noise.error(windows, windows))
        return abs(rate / before - 1) > bound if before > 0 else True


def rounded(batch_size: float) -> int:
    """Round to two digits, as people would set it; at least 1."""
    if batch_size < 100:
        return max(1, round(batch_size))
    digits = int(log10(batch_size)) - 1
    return int(round(batch_size, -digits))
