"""What a sweep can set, within which ranges, and which settings mean the same."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from pydantic import ValidationError

from xml_extractor.errors import UsageError
from xml_extractor.settings import ExecutorChoice, LoadOptions, allowed, flag

SERIAL: Final = ExecutorChoice.SERIAL.value
EXECUTORS: Final = tuple(choice.value for choice in ExecutorChoice if choice is not ExecutorChoice.AUTO)

DEFAULTS: Final[Mapping[str, tuple[Any, ...]]] = {
    "workers": (2, 4, 6, 8),
    "batch_size": (50, 100, 200, 500, 1000, 2000),
    "queue_size": (500, 1000, 2000, 5000),
    "executor": EXECUTORS,
    "insert_threads": (1, 2, 4),
}
"""What is tried where nothing else is asked for; the insert paths are those that the engine offers."""


@dataclass(frozen=True, slots=True, order=True)
class Setting:
    """One way to run a load."""

    executor: str
    workers: int
    batch_size: int
    queue_size: int
    insert_threads: int
    insert_path: str | None = None  # None where the engine has but one

    def matters(self, name: str) -> bool:
        """Whether this value has any effect: a serial load has one thread, which waits for nobody."""
        if name == "insert_path":
            return self.insert_path is not None
        return self.executor != SERIAL or name in ("executor", "batch_size")

    def values(self) -> dict[str, Any]:
        """Return the settings that have an effect, in the order of :data:`NAMES`."""
        return {name: getattr(self, name) for name in NAMES if self.matters(name)}

    def flags(self) -> list[str]:
        """Return them as they stand on a command line."""
        return [word for name, value in self.values().items() for word in (flag(name), str(value))]

    @property
    def shown(self) -> str:
        """The setting in a few words, for a line of a table."""
        words = [self.executor]
        if self.executor != SERIAL:
            words += [f"{self.workers} workers"]
        words += [f"batch {self.batch_size:,}"]
        if self.executor != SERIAL:
            words += [f"queue {self.queue_size:,}"]
            words += [f"{self.insert_threads} insert thread{'s' if self.insert_threads > 1 else ''}"]
        return ", ".join([*words, *([self.insert_path] if self.insert_path else [])])


NAMES: Final = ("workers", "batch_size", "queue_size", "executor", "insert_threads", "insert_path")
assert set(NAMES) == {item.name for item in fields(Setting)}


@dataclass(frozen=True, slots=True)
class Space:
    """The settings of a sweep.  Make one with :func:`make_space`.

    Two settings mean the same where a load cannot tell them apart: in a serial load workers, queue and insert
    threads; batches, or a queue, that hold all documents there are.  Of those that mean the same the first
    in order stands for all.  A queue that cannot hold one batch is no setting: the batch that comes next
    could not be got ready while one is inserted, which is what the queue is for.
    """

    ranges: Mapping[str, tuple[Any, ...]]
    """By the names of :data:`NAMES`; ``insert_path`` is ``(None,)`` where there is nothing to choose."""
    documents: int
    _stands_for: dict[tuple[Any, ...], Setting] = field(default_factory=dict, repr=False, compare=False)

    def __post_init__(self) -> None:
        for values in itertools.product(*(self.ranges[item.name] for item in fields(Setting))):
            setting = Setting(*values)
            if setting.executor == SERIAL or setting.queue_size >= setting.batch_size:
                self._stands_for.setdefault(self._meaning(setting), setting)

    def settings(self) -> list[Setting]:
        """Return all settings that differ in meaning, smaller values first."""
        return list(self._stands_for.values())

    def combinations(self) -> int:
        """Return how many combinations of values there are, whatever they mean."""
        product = 1
        for values in self.ranges.values():
            product *= len(values)
        return product

    def find(self, setting: Setting) -> Setting | None:
        """Return the setting that stands for this one; ``None`` where it is not in the ranges."""
        return self._stands_for.get(self._meaning(setting))

    def nearest(self, wanted: Mapping[str, Any]) -> Setting:
        """Return a setting whose values are close to those wanted, where numbers are compared by ratio."""
        chosen: dict[str, Any] = {}
        for name, values in self.ranges.items():
            aim = wanted.get(name)
            if isinstance(aim, int):
                chosen[name] = min(
                    values, key=lambda value: abs(value / aim - 1) if value > aim else aim / value - 1
                )
            else:
                chosen[name] = aim if aim in values else values[0]
        setting = self.with_room(Setting(**chosen))
        assert setting is not None  # make_space has seen to it that each batch has a queue
        return setting

    def deviations(self, setting: Setting) -> list[Deviation]:
        """Return what differs from a setting in one value: for each name, each other value of the range.

        A batch that the setting's queue cannot hold comes with the next larger queue.  From a serial load,
        whose workers mean nothing, there are no deviations to other executors: nothing says with how many.
        """
        found = []
        for name in NAMES:
            if not setting.matters(name) or (name == "executor" and setting.executor == SERIAL):
                continue
            for value in self.ranges[name]:
                if value == getattr(setting, name):
                    continue
                changed = replace(setting, **{name: value})
                other = self.with_room(changed) if name == "batch_size" else self.find(changed)
                if other is not None and other != setting:
                    found.append(Deviation(name, value, other))
        return found

    def with_room(self, setting: Setting) -> Setting | None:
        """Return the setting with the smallest queue that is not below its own and holds a batch."""
        for queue_size in self.ranges["queue_size"]:
            if queue_size >= setting.queue_size:
                found = self.find(replace(setting, queue_size=queue_size))
                if found is not None:
                    return found
        return self.find(setting)

    def _meaning(self, setting: Setting) -> tuple[Any, ...]:
        batch_size = min(setting.batch_size, self.documents)
        if setting.executor == SERIAL:
            return SERIAL, batch_size, setting.insert_path
        # A queue that is too short for a batch means something else than one that is not.
        holds = setting.queue_size >= setting.batch_size
        queue_size = min(setting.queue_size, self.documents) if holds else -setting.queue_size
        return (
            setting.executor, setting.workers, batch_size, queue_size, setting.insert_threads,
            setting.insert_path,
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deviation:
    """A setting that differs from another in one value."""

    name: str
    value: Any
    setting: Setting


# ------------------------------------------------------------------------------ from the command line


def make_space(
    asked: Mapping[str, Sequence[str]],
    *,
    documents: int,
    max_insert_threads: int | None,
    insert_paths: Sequence[str],
) -> Space:
    """Return the space that was asked for.

    Args:
        asked: values as they were typed, by name; the defaults stand for the names that are missing.
        documents: how many a measured load has.
        max_insert_threads: the most that the target can use; more are clamped to it.
        insert_paths: those that the engine offers; empty = nothing to choose.

    Raises:
        UsageError: a value is not allowed, or no combination is left for it.
    """
    ranges: dict[str, tuple[Any, ...]] = {}
    for name in NAMES:
        if name == "insert_path":
            ranges[name] = _insert_paths(asked.get(name), insert_paths)
        elif name == "executor":
            ranges[name] = _words(name, asked.get(name), EXECUTORS)
        else:
            ranges[name] = _numbers(name, asked.get(name, tuple(map(str, DEFAULTS[name]))))
    if max_insert_threads is not None:
        clamped = (min(number, max_insert_threads) for number in ranges["insert_threads"])
        ranges["insert_threads"] = tuple(sorted(set(clamped)))
    _check_queues(ranges, asked)
    return Space(ranges, documents)


def _numbers(name: str, typed: Iterable[str]) -> tuple[int, ...]:
    numbers = set()
    for text in typed:
        try:
            if not text.strip().isascii():  # other digits than ours
                raise ValueError
            number = int(text)
            LoadOptions.model_validate({name: number})
        except (ValueError, ValidationError):
            raise UsageError(f"{flag(name)}: {text.strip()!r} is not {allowed(name)}") from None
        numbers.add(number)
    if not numbers:
        raise UsageError(f"{flag(name)}: name at least one value, such as {flag(name)} {DEFAULTS[name][0]}")
    return tuple(sorted(numbers))


def _words(name: str, typed: Sequence[str] | None, known: Sequence[str]) -> tuple[str, ...]:
    if typed is None:
        return tuple(known)
    for text in typed:
        if text == ExecutorChoice.AUTO.value:
            raise UsageError(
                f"{flag(name)} auto stands for one of the others: it is those that are measured; "
                f"name some of {', '.join(known)}"
            )
        if text not in known:
            raise UsageError(f"{flag(name)}: there is no {text!r}; known are {', '.join(known)}")
    if not typed:
        raise UsageError(f"{flag(name)}: name at least one of {', '.join(known)}")
    return tuple(word for word in known if word in typed)  # in the same order however they were typed


def _insert_paths(typed: Sequence[str] | None, offered: Sequence[str]) -> tuple[str | None, ...]:
    if not offered:
        if typed is not None:
            raise UsageError(f"{flag('insert_path')}: the target has but one way in; leave the flag out")
        return (None,)
    return _words("insert_path", typed, offered)


def _check_queues(ranges: Mapping[str, tuple[Any, ...]], asked: Mapping[str, Sequence[str]]) -> None:
    """Refuse batches that no queue holds, and queues that hold no batch, unless they are defaults' own."""
    if ranges["executor"] == (SERIAL,):
        return
    batches, queues = ranges["batch_size"], ranges["queue_size"]
    too_large = [batch for batch in batches if batch > queues[-1]]
    if too_large:
        which = " and ".join(str(batch) for batch in too_large)
        raise UsageError(
            f"{flag('batch_size')} {which}: above the largest queue, {flag('queue_size')} {queues[-1]}. "
            "A queue has to hold at least one batch, so that the next is made ready while one is inserted; "
            f"add {flag('queue_size')} {2 * too_large[-1]}, or leave such batches out"
        )
    useless = [queue for queue in queues if queue < batches[0]]
    if useless and "queue_size" in asked:
        which = " and ".join(str(queue) for queue in useless)
        raise UsageError(
            f"{flag('queue_size')} {which}: smaller than the smallest batch, {flag('batch_size')} "
            f"{batches[0]}; a queue has to hold at least one batch. Leave it out, or add a smaller batch"
        )
