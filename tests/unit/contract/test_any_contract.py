"""Contracts damaged at random: whatever a user writes gives a plan or a list of mistakes, never a crash."""

from __future__ import annotations

import copy
import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.contract.contracts import HEAD
from xml_extractor.contract import check_text
from xml_extractor.contract.reader import read_yaml

WHOLE = (
    HEAD
    + """\
stage: {record: Application, key: "@id"}
collation: binary
enums: {e: {values: {A: 1, B: null}, missing: 0, unknown: null}}
replacements: {r: {a: b}}
tables:
  t:
    primary_key: [id]
    columns:
      id: {from: $key, type: int}
      a: {from: ["@a", "B[1]"], type: varchar(9), pick: join, separator: ",", apply: [trim, {replace: r}]}
      b: {expr: "CASE WHEN a = 'x' THEN c ELSE 1 END", type: int}
      c: {from: C, type: int, enum: e, default: 3}
      n: {server_generated: true, type: int}
      v: {value: x, type: char(1)}
  u:
    parent: t
    rows: U
    recurse: V/U
    where: a = t.a
    unique: {by: a, keep: last, prefer: {column: p, values: [1]}}
    primary_key: [id, p]
    columns:
      id: {from: $parent}
      p: {from: $position, type: int}
      q: {from: $parent_position, type: int}
      a: {from: "@a", type: varchar(9)}
      x: {xml: ., type: xml}
  i:
    parent: u
    items: {into: {name: n, value: v}, values: {A: "@a"}}
    columns: {v: {type: int}}
"""
)
DATA = read_yaml(WHOLE, "c").document.data
JUNK: st.SearchStrategy[Any] = st.sampled_from(
    [
        None,
        "",
        "x",
        "$key",
        "$parent",
        "$parent.a",
        "1",
        "a[",
        "true",
        "int",
        "t",
        [],
        ["x"],
        [None],
        {},
        {"x": "y"},
        [{}],
    ]
)


def places(node: Any, prefix: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = [prefix] if prefix else []
    for key, value in items:
        found += places(value, (*prefix, key))
    return found


def damage(data: Any, place: tuple[str | int, ...], how: str, junk: Any) -> None:
    node = data
    for part in place[:-1]:
        try:
            node = node[part]
        except (KeyError, IndexError, TypeError):
            return
    try:
        if how == "delete":
            del node[place[-1]]
        elif how == "rename" and isinstance(node, dict):
            node[f"{place[-1]}x"] = node.pop(place[-1])
        else:
            node[place[-1]] = junk
    except (KeyError, IndexError, TypeError):
        return


def test_the_contract_before_the_damage_is_sound() -> None:
    assert [str(mistake) for mistake in check_text(WHOLE).mistakes] == []


damages = st.tuples(st.sampled_from(places(DATA)), st.sampled_from(["delete", "rename", "replace"]), JUNK)


@settings(max_examples=150, deadline=None)
@given(st.lists(damages, min_size=1, max_size=3))
def test_any_damage_gives_a_plan_or_mistakes(
    all_damages: list[tuple[tuple[str | int, ...], str, Any]],
) -> None:
    data = copy.deepcopy(DATA)
    for place, how, junk in all_damages:
        damage(data, place, how, junk)
    result = check_text(json.dumps(data))
    assert (result.contract is None) == bool(result.mistakes)
    assert all(mistake.line >= 1 and mistake.column >= 1 and mistake.message for mistake in result.mistakes)
