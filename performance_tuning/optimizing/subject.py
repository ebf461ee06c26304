"""What a study is about: on which machine, with which program, documents and target, in which ranges."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import xml_extractor
from performance_tuning.measuring.fresh_targets import FreshTargets
from performance_tuning.measuring.machine import CHECKOUT, git_state, this_machine, versions
from performance_tuning.measuring.sources import Source
from performance_tuning.optimizing.search import Plan
from performance_tuning.optimizing.space import NAMES, Space
from performance_tuning.optimizing.study_file import StudyFile, Subject, Trait
from xml_extractor.contract import Contract
from xml_extractor.settings import LoadOptions, Settings, hide_password

_NOT_A_LOADS: Final = frozenset(
    {*NAMES, "limit", "app_id_start", "app_id_end", "dry_run", "throttle", "auto_tune", "create_tables"}
)
"""What a sweep sets itself, or what would make a measured load something else than a load at full speed."""
_LEFT_OUT: Final = "insert-path left out"


def other_settings(settings: Settings) -> dict[str, Any]:
    """Return the settings of a load, by name, that no sweep changes and that are not as by default."""
    default = LoadOptions().model_dump()
    return {
        name: value
        for name, value in settings.options().model_dump().items()
        if name not in _NOT_A_LOADS and value != default[name]
    }


def subject_of(
    contract: Contract, source: Source, targets: FreshTargets, target_url: str | None, on_disk: str,
    others: Mapping[str, Any], space: Space, plan: Plan, missing: Sequence[str],
) -> Subject:  # fmt: skip
    """Describe a study.  Nothing of it holds a password.

    Args:
        target_url: password included; ``None`` = files of the program's own.
        on_disk: the folder that such files were wanted in; empty = any.
        missing: insert paths that were asked for and are not to be had.
    """
    machine = this_machine()
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(versions().items()))
    target = ": ".join(filter(None, (targets.engine, targets.way.value)))
    if target_url is not None and target_url != "null:":
        target += f" ({hide_password(target_url)})"
    if on_disk:
        target += " in the folder that was named"
    rest = json.dumps({name: str(value) for name, value in sorted(others.items())})
    return Subject(
        {
            "machine": Trait(machine.shown, machine.fingerprint),
            "program": Trait(_program(), code_digest()),
            "libraries": Trait(libraries, libraries),
            "contract": Trait(
                f"{contract.plan.contract}, digest {contract.plan.digest[:12]}", contract.plan.digest
            ),
            "documents": Trait(source.description, f"{source.documents}: {source.description}"),
            "target": Trait(target, f"{target} {on_disk}"),
            "other settings": Trait(", ".join(others) or "all by default", rest),
        },
        plan_json(space, plan) | {_LEFT_OUT: list(missing)},
    )


def plan_json(space: Space, plan: Plan) -> dict[str, Any]:
    """Return ranges and search as plain data, by the flags that set them; the budget may change meanwhile."""
    ranges = {
        name.replace("_", "-"): list(values) for name, values in space.ranges.items() if values != (None,)
    }
    return {
        **ranges,
        "search": plan.search.value,
        "repeat": plan.repeat,
        "contender-repeat": plan.most_repeats,
        "seed": plan.seed,
        "documents": space.documents,
    }


def left_out(study: StudyFile) -> list[str]:
    """Return the insert paths that turned out not to be had when the study was begun."""
    return list(study.subject.plan.get(_LEFT_OUT, ()))


def code_digest(folder: Path = CHECKOUT / "xml_extractor") -> str:
    """Return a digest of the loader's code: what was measured with other code may have been faster."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*.py")):
        content = path.read_bytes()
        digest.update(f"{path.relative_to(folder).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()[:16]


def _program() -> str:
    git = git_state()
    commit = "" if git is None else f", commit {git.shown}"
    return f"xml-extractor {xml_extractor.__version__}{commit}, code {code_digest()}"
