"""Is a later baseline better or worse than an earlier one, figure by figure, and can the two be compared?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from performance_tuning.baseline.document import Baseline, Circumstances
from performance_tuning.baseline.figures import BY_NAME, DERIVED, PRIMARY, Better, Family, FigureKind
from performance_tuning.measuring.statistics import (
    ALPHA,
    Comparison,
    Verdict,
    can_tell,
    compare,
    holm,
    runs_needed,
)
from xml_extractor.errors import ExitCode

MAX_REGRESSION_PERCENT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Differences:
    """How the circumstances of two baselines differ."""

    refusal: str | None
    """Why nothing can be compared; ``None`` = something can."""
    warnings: tuple[str, ...]
    """Differences that leave less to be compared, or that a difference of figures may come from."""
    changed: tuple[str, ...]
    """What one may want to know the effect of: commit, versions, settings."""
    families: frozenset[Family]
    """What can be compared."""
    gates: bool
    """Whether a figure that became worse is a regression."""


@dataclass(frozen=True, slots=True)
class FigureComparison:
    """One figure of two baselines."""

    figure: FigureKind
    comparison: Comparison
    word: str  # faster, slower, better, worse, higher, lower, not distinguishable, …
    worse_percent: float | None
    """By how much it is worse, as far as statistics support that it is; ``None`` = they do not."""


@dataclass(frozen=True, slots=True)
class BaselineComparison:
    """Two baselines against each other."""

    differences: Differences
    figures: tuple[FigureComparison, ...]
    remarks: tuple[str, ...]
    regressions: tuple[FigureComparison, ...]

    @property
    def exit_code(self) -> ExitCode:
        """3 on a regression, 2 where nothing can be compared."""
        if self.differences.refusal is not None:
            return ExitCode.USAGE
        return ExitCode.NEEDS_A_LOOK if self.regressions else ExitCode.OK


def differences(earlier: Circumstances, later: Circumstances) -> Differences:
    """Say how the circumstances differ, and what can be compared in spite of that."""
    warnings = []
    families = frozenset(Family)
    gates = True
    refusal = None
    if earlier.source != later.source:
        refusal = (
            f"other documents were loaded: {earlier.source.description} then, {later.source.description} "
            "now. Nothing can be compared; measure the same documents (--source, --documents)"
        )
    if earlier.fingerprint != later.fingerprint:
        families = frozenset({Family.MEMORY})
        warnings.append(
            f"another machine: {earlier.machine.shown} then, {later.machine.shown} now. Speed and balance "
            "are not compared, only memory is; establish a baseline of the earlier commit on this machine "
            "instead"
        )
    if earlier.target != later.target:
        gates = gates and earlier.target.engine == later.target.engine
        warnings.append(
            f"another target: {earlier.target.engine}, {earlier.target.way}, then; {later.target.engine}, "
            f"{later.target.way}, now. What differs is the targets' difference too"
            + ("" if gates else ", and none is called a regression")
        )
    if earlier.contract.digest != later.contract.digest:
        warnings.append(
            f"another contract, or another version of it: {earlier.contract.name} "
            f"{earlier.contract.digest[:12]} then, {later.contract.name} {later.contract.digest[:12]} now. "
            "It makes other rows, and what differs is its effect too"
        )
    return Differences(refusal, tuple(warnings), tuple(_changed(earlier, later)), families, gates)


def _changed(earlier: Circumstances, later: Circumstances) -> list[str]:
    said = []
    for what, before, after in (
        ("commit", _git(earlier), _git(later)),
        ("Python", earlier.machine.python, later.machine.python),
        ("system", earlier.machine.release, later.machine.release),
    ):
        if before != after:
            said.append(f"{what}: {before} → {after}")
    said += _unequal(earlier.versions, later.versions, skip=("Python",))
    said += [f"--{text.replace('_', '-')}" for text in _unequal(earlier.settings, later.settings)]
    return said


def _git(circumstances: Circumstances) -> str:
    return "not known" if circumstances.git is None else circumstances.git.shown


def _unequal(before: Mapping[str, Any], after: Mapping[str, Any], skip: tuple[str, ...] = ()) -> list[str]:
    names = [*before, *(name for name in after if name not in before)]
    return [
        f"{name}: {_text(before.get(name))} → {_text(after.get(name))}"
        for name in names
        if name not in skip and before.get(name) != after.get(name)
    ]


def _text(value: object) -> str:
    return "none" if value is None else str(value)


def compare_baselines(
    earlier: Baseline, later: Baseline, *, max_regression_percent: float = MAX_REGRESSION_PERCENT
) -> BaselineComparison:
    """Compare figure by figure, each by a test.

    Throughput is the question, and is tested on its own.  The other figures that can be better or worse are
    tested together, and those that only explain together, so that the probability of calling any equals
    different is 5 % over each of the three groups.

    Args:
        max_regression_percent: a figure that is worse by more than this, and by more than chance explains,
            is a regression.
    """
    found = differences(earlier.circumstances, later.circumstances)
    if found.refusal is not None:
        return BaselineComparison(found, (), (), ())
    there = set(earlier.runs[0].figures) & set(later.runs[0].figures)
    kinds = [
        kind
        for name, kind in BY_NAME.items()
        if name in there and name not in DERIVED and kind.family in found.families
    ]
    tests = {kind.name: compare(earlier.values(kind.name), later.values(kind.name)) for kind in kinds}
    judged = {}
    for group in _groups(kinds):
        p_values = holm([tests[kind.name].p_value for kind in group])
        few = not can_tell(len(earlier.runs), len(later.runs), alpha=ALPHA / len(group))
        for kind, p_value in zip(group, p_values, strict=True):
            judged[kind.name] = _judged(kind, tests[kind.name], p_value, few=few)
    figures = tuple(judged[kind.name] for kind in kinds)
    regressions = tuple(
        figure
        for figure in figures
        if found.gates and figure.worse_percent is not None and figure.worse_percent > max_regression_percent
    )
    remarks = _remarks(earlier, later, found, bool(regressions))
    return BaselineComparison(found, figures, tuple(remarks), regressions)


def _groups(kinds: list[FigureKind]) -> list[list[FigureKind]]:
    """Return the figures that are tested together; no group is empty."""
    groups = [
        [kind for kind in kinds if kind.name == PRIMARY],
        [kind for kind in kinds if kind.name != PRIMARY and kind.better is not Better.NEITHER],
        [kind for kind in kinds if kind.better is Better.NEITHER],
    ]
    return [group for group in groups if group]


def _judged(kind: FigureKind, test: Comparison, p_value: float, *, few: bool) -> FigureComparison:
    if not test.distinguishable or p_value > ALPHA:
        return FigureComparison(
            kind, test, str(Verdict.TOO_FEW if few else Verdict.NOT_DISTINGUISHABLE), None
        )
    up = test.change > 0
    if kind.better is Better.NEITHER:
        return FigureComparison(kind, test, "higher" if up else "lower", None)
    good = up == (kind.better is Better.HIGHER)
    share = (
        abs(test.change) if test.relative else abs(test.change) / abs(test.before) if test.before else None
    )
    worse = None if good or share is None else 100 * share
    return FigureComparison(kind, test, kind.words[0] if good else kind.words[1], worse)


def _remarks(earlier: Baseline, later: Baseline, found: Differences, regressed: bool) -> list[str]:
    said = [f"of the earlier baseline: {remark}" for remark in earlier.remarks]
    before, after = len(earlier.runs), len(later.runs)
    needed = runs_needed(before)
    if needed is not None and after < needed:
        said.append(
            f"{before} run{'s' if before != 1 else ''} against {after} are too few to tell any difference "
            f"from chance: the later one needs at least {needed}"
        )
    if Family.SPEED in found.families:
        yardstick = compare(
            [run.yardstick_us for run in earlier.runs], [run.yardstick_us for run in later.runs]
        )
        if yardstick.distinguishable:
            said.append(
                f"the machine itself is {abs(yardstick.change):.0%} "
                f"{'slower' if yardstick.change > 0 else 'faster'} than it was: a fixed piece of work took "
                f"{yardstick.before:.1f} µs then and takes {yardstick.after:.1f} µs now. As much of what "
                "differs in speed is the machine's"
                + ("; measure both anew, one after the other" if regressed else "")
            )
    return said
