"""What came out of a sweep: what is recommended, what is as good, and what each choice costs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

import numpy as np

from performance_tuning.optimizing.effects import Difference
from performance_tuning.optimizing.measurements import Ending, History
from performance_tuning.optimizing.racing import Tie
from performance_tuning.optimizing.search import Plan, next_round
from performance_tuning.optimizing.space import NAMES, SERIAL, Setting, Space
from performance_tuning.optimizing.standing import Standing, standing_of

LEAST_FOR_IMPORTANCE: Final = 15
"""Settings measured below which nothing is said of importance: there are about as many contributions."""

HOLD_BACK: Final = 0.1
"""Of a measurement's weight: what holds contributions near 0 that little is known about."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What it costs to choose otherwise in one value."""

    name: str
    value: Any
    setting: Setting
    difference: Difference | None
    """To the recommended setting; ``None`` where no load came to its end."""
    at_most: float | None
    """Where loads were cut off: the share that is left at most of the recommended rate, less 1."""
    memory_bytes: float | None
    measured: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """The fastest setting of a cell of the map, by the recommended one."""

    share: float
    """0 = as fast; -0.2 = 20 % slower; where ``cut_off``, at most that."""
    rate: float
    cut_off: bool
    setting: Setting


@dataclass(frozen=True, slots=True)
class Map:
    """Workers by batch size; of each cell the fastest of what was measured.

    The last row is that of serial loads, where there are any.
    """

    rows: tuple[str, ...]
    columns: tuple[int, ...]
    cells: tuple[tuple[Cell | None, ...], ...]
    recommended: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Findings:
    """The result of a sweep."""

    recommended: Tie
    rate: float
    """Median of the recommended setting's rates, documents per second, start-up of workers apart."""
    fastest: Setting
    ties: list[Tie]
    costs: list[Cost]
    importance: dict[str, float]
    """Shares by name; empty where too little was measured."""
    map: Map
    noise: float | None
    drift: tuple[float, float] | None
    """The slowest and the fastest round of the machine, against its median speed; see :func:`_drift`."""
    settings: int
    tried: int
    cut_off: int
    dropped: int
    measurements: int
    rounds: int
    seconds: float
    complete: bool
    """Whether all was measured that the search wanted; else the budget ended it, or somebody did."""
    failures: dict[Setting, str]
    sure: bool
    """Whether the recommended setting was measured often enough to be told from others."""


def findings(history: History, space: Space, plan: Plan) -> Findings | None:
    """Say what came out of a study; ``None`` where no load came to its end."""
    standing = standing_of(history, space, plan.most_repeats)
    chosen = standing.recommended
    if chosen is None:
        return None
    tie = next(tie for tie in standing.ties if tie.setting == chosen)
    rate = standing.tally[chosen].rate
    assert rate is not None
    without_budget = Plan(plan.search, None, plan.repeat, plan.most_repeats, plan.seed)
    return Findings(
        recommended=tie,
        rate=rate,
        fastest=standing.ties[0].setting,
        ties=standing.ties,
        costs=_costs(space, standing, chosen),
        importance=importance(space, standing),
        map=_map(space, standing, chosen),
        noise=None if standing.effects is None else standing.effects.noise,
        drift=_drift(history, standing),
        settings=len(space.settings()),
        tried=len(standing.tally),
        cut_off=sum(
            1 for known in standing.tally.values() if known.cut_off and known.is_lost and not known.failed
        ),
        dropped=len(standing.dropped),
        measurements=len(history.measurements),
        rounds=len(history.rounds),
        seconds=history.spent_seconds,
        complete=not history.remaining() and next_round(history, space, without_budget) is None,
        failures={setting: known.message for setting, known in standing.tally.items() if known.failed},
        sure=standing.is_sure,
    )


def _costs(space: Space, standing: Standing, chosen: Setting) -> list[Cost]:
    found = []
    for deviation in space.deviations(chosen):
        known = standing.tally.get(deviation.setting)
        if known is None:
            found.append(
                Cost(deviation.name, deviation.value, deviation.setting, None, None, None, 0, "not measured")
            )
            continue
        difference = None
        if standing.effects is not None and deviation.setting in standing.effects:
            difference = standing.effects.difference(deviation.setting, chosen)
        base = standing.tally[chosen].rate
        at_most = None
        if difference is None and known.rate is not None and base is not None:
            at_most = known.rate / base - 1
        note = "failed" if known.failed else "cut off" if at_most is not None else ""
        if deviation.setting.queue_size != chosen.queue_size and deviation.name == "batch_size":
            note = f"with queue {deviation.setting.queue_size:,}" + (f"; {note}" if note else "")
        found.append(
            Cost(
                deviation.name, deviation.value, deviation.setting, difference, at_most, known.memory_bytes,
                known.measured, note,
            )
        )  # fmt: skip
    return found


def importance(space: Space, standing: Standing) -> dict[str, float]:
    """Return how much each setting matters over its whole range, as shares of 1, the largest first.

    The logarithms of the rates are taken for sums of one contribution a value (least squares, held back a
    little, so that a value that was never measured contributes nothing); a setting's importance is the
    variance of its contributions over all its values alike.  A search measures what is fast far more often
    than what is slow: the variance of what was measured would say more of the search than of the settings.
    """
    names = [name for name in NAMES if len(space.ranges[name]) > 1]
    heights = {setting: standing.height(setting) for setting in standing.tally}
    rated = {setting: height for setting, height in heights.items() if height is not None}
    if len(rated) < LEAST_FOR_IMPORTANCE or not names:
        return {}
    places = {value: at for at, value in enumerate((n, v) for n in names for v in space.ranges[n])}
    design = np.zeros((len(rated), len(places)))
    for row, setting in enumerate(rated):
        for name, value in setting.values().items():
            if name in names:
                design[row, places[name, value]] = 1.0
    values = np.array(list(rated.values()))
    held_back = design.T @ design + HOLD_BACK * np.eye(len(places))
    contributions = np.linalg.solve(held_back, design.T @ (values - values.mean()))
    variances = {
        name: float(np.var([contributions[places[name, value]] for value in space.ranges[name]]))
        for name in names
    }
    total = sum(variances.values())
    if total <= 0:
        return {}
    ordered = sorted(variances.items(), key=lambda item: -item[1])
    return {name: part / total for name, part in ordered}


def _map(space: Space, standing: Standing, chosen: Setting) -> Map:
    workers: Sequence[int] = space.ranges["workers"] if set(space.ranges["executor"]) != {SERIAL} else ()
    batches: Sequence[int] = space.ranges["batch_size"]
    has_serial = SERIAL in space.ranges["executor"]
    rows = [*map(str, workers), *([SERIAL] if has_serial else [])]
    cells: list[list[Cell | None]] = [[None] * len(batches) for _ in rows]
    for setting in standing.tally:
        row, column = _place(setting, rows, batches)
        cell = _cell(standing, setting, chosen)
        held = cells[row][column]
        if cell is not None and (held is None or (held.cut_off, -held.share) > (cell.cut_off, -cell.share)):
            cells[row][column] = cell
    return Map(tuple(rows), tuple(batches), tuple(map(tuple, cells)), _place(chosen, rows, batches))


def _place(setting: Setting, rows: Sequence[str], batches: Sequence[int]) -> tuple[int, int]:
    row = SERIAL if setting.executor == SERIAL else str(setting.workers)
    return rows.index(row), batches.index(setting.batch_size)


def _cell(standing: Standing, setting: Setting, chosen: Setting) -> Cell | None:
    base, known = standing.tally[chosen].rate, standing.tally[setting]
    if base is None:
        return None
    if standing.effects is not None and setting in standing.effects and chosen in standing.effects:
        share = standing.effects.difference(setting, chosen).share
        return Cell(share, base * (1 + share), False, setting)
    if known.rate is None:
        return None
    return Cell(known.rate / base - 1, known.rate, True, setting)


def _drift(history: History, standing: Standing) -> tuple[float, float] | None:
    """Return how far the machine's speed went down and up, by the median speed of each block.

    A block's speed is what its loads did beyond what their settings explain.
    """
    if standing.effects is None or standing.leader is None:
        return None
    speeds: dict[tuple[int, int], list[float]] = {}
    for made in history.measurements:
        difference = standing.to_leader(made.setting)
        if made.outcome.ending is Ending.MEASURED and difference is not None:
            speeds.setdefault(made.block, []).append(made.outcome.rate / (1 + difference.share))
    # A block of one or two tells noise and drift not apart.
    means = sorted(_middle(rates) for rates in speeds.values() if len(rates) >= 3)
    if len(means) < 3:
        return None
    typical = _middle(means)
    return means[0] / typical - 1, means[-1] / typical - 1


def _middle(values: Sequence[float]) -> float:
    ordered = sorted(values)
    half = len(ordered) // 2
    return ordered[half] if len(ordered) % 2 else (ordered[half - 1] + ordered[half]) / 2


# ----------------------------------------------------------------------------------------------- JSON


def as_json(found: Findings, command: str, subject: Mapping[str, Any], history: History) -> dict[str, Any]:
    """Return the findings as plain data, every measurement included.

    Args:
        command: the recommended command line.
        subject: what the study is about, as plain data.
    """
    return {
        "command": command,
        "recommended": _tie_json(found.recommended),
        "documents_per_second": round(found.rate, 1),
        "fastest": asdict(found.fastest),
        "within_noise": [_tie_json(tie) for tie in found.ties],
        "costs": [
            {
                "setting": cost.name,
                "value": cost.value,
                **_difference_json(cost.difference),
                "at_most": None if cost.at_most is None else round(cost.at_most, 4),
                "memory_bytes": cost.memory_bytes,
                "measured": cost.measured,
                "note": cost.note,
            }
            for cost in found.costs
        ],
        "importance": {name: round(share, 4) for name, share in found.importance.items()},
        "map": {
            "rows": list(found.map.rows),
            "columns": list(found.map.columns),
            "cells": [
                [
                    None
                    if cell is None
                    else {"share": round(cell.share, 4), "rate": round(cell.rate, 1), "cut_off": cell.cut_off}
                    for cell in row
                ]
                for row in found.map.cells
            ],
        },
        "noise": None if found.noise is None else round(found.noise, 4),
        "drift": None if found.drift is None else [round(end, 4) for end in found.drift],
        "settings": found.settings,
        "tried": found.tried,
        "cut_off": found.cut_off,
        "given_up": found.dropped,
        "rounds": found.rounds,
        "seconds": round(found.seconds, 1),
        "complete": found.complete,
        "failures": [
            {"setting": asdict(setting), "message": message} for setting, message in found.failures.items()
        ],
        **subject,
        "measurements": [
            {
                "round": made.round,
                "stage": history.rounds[made.round - 1].stage,
                "session": made.session,
                "began_at": made.began_at,
                "setting": asdict(made.setting),
                "limit_seconds": made.limit_seconds,
                "outcome": asdict(made.outcome),
            }
            for made in history.measurements
        ],
    }


def _tie_json(tie: Tie) -> dict[str, Any]:
    return {
        "setting": asdict(tie.setting),
        **_difference_json(tie.difference),
        "measured": tie.measured,
        "memory_bytes": tie.memory_bytes,
    }


def _difference_json(difference: Difference | None) -> dict[str, Any]:
    interval = None if difference is None else difference.interval()
    return {
        "difference": None if difference is None else round(difference.share, 4),
        "interval_95": None if interval is None else [round(end, 4) for end in interval],
    }
