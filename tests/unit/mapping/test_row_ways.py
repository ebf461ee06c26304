"""Rows are made in two ways, a quick one and a careful one: whatever contract and document, both agree.

Contracts and documents are drawn at random from few names and values, so that they meet: paths that find
nothing, one node or several, values that fit, are blank, too long, out of range or not convertible, under
every policy a column or table can state.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from random import Random
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.support.interpreters import BothMappers
from xml_extractor.contract import check_text
from xml_extractor.contract.plan import Plan
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected, DocumentSkipped
from xml_extractor.mapping.interpreter_choice import InterpreterChoice
from xml_extractor.mapping.protection import SALT_VARIABLE
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.mapping.rows import TableRows

STARTED = datetime(2024, 5, 6, 7, 8, 9)
DOCUMENTS = 30  # a contract
COLUMNS = {"s": "one", "n": None, "i": " 7 "}  # $source.s, .n and .i of each document

TEXTS = [
    "", "", " ", " ", "1", "1", "07", "12", "3", "255", "256", "-1", "1.5", "1.25", "99999999999", "x", "X",
    "x ", "abc", "abcd", " ab", "é", "éé", "日", "\U0001f600", "2024-02-29", "2024-02-30", "Y", "true", "٣",
]  # fmt: skip
ATTRIBUTES = ["a", "b", "c"]
CHILDREN = ["p", "q", "row"]
PATHS = [
    "@a", "@b", "@c", "p", "q", ".", "text()", "p/@a", "q/text()", "p/q", "row/@a", "../@a", "p[1]",
    "p[@a='x'][last()]", "*", "p[last()]/@b", "/r/@a", "//q",
]  # fmt: skip
TYPES = [
    "int", "int", "tinyint", "smallint", "bigint", "decimal(3,1)", "float", "bit", "date", "time(0)",
    "datetime2(0)", "char(2)", "varchar(2)", "varchar(2)", "varchar(max)", "nchar(3)", "nvarchar(2)",
    "nvarchar(3)", "nvarchar(max)", "varbinary(2)", "xml",
]  # fmt: skip
OPTIONS: dict[str, list[Any]] = {
    "required": ["true"],
    "default": ["1", "1", "1", "x", "2024-01-01"],
    "default_makes_row": ["true"],
    "enum": ["e", "f", "g"],
    "apply": [["trim"], ["upper"], ["digits"], ["collapse"], ["yes_no"], ["trim", {"replace": "r"}]],
    "pick": ["first", "last", "join"],
    "skip_blank": ["true"],
    "empty": ["null"],
    "on_invalid": ["null"],
    "on_overflow": ["null", "truncate"],
    "rounding": ["half_up", "down"],
    "binary": ["hex"],
}
PROTECTIONS: list[dict[str, Any]] = [
    {"mask": "last1", "type": "varchar(2)"}, {"mask": "first2", "type": "nchar(3)"},
    {"mask": "all", "type": "nvarchar(max)"}, {"hash": "true", "type": "char(64)"},
    {"hash": "true", "type": "binary(16)"}, {"drop": "true"},
]  # fmt: skip
FORGIVING = ("on_invalid", "on_overflow", "pick")
EXPRESSIONS = [
    "path('@a', 'int')", "path('p', 'int')", "1", "3 / path('@b', 'int')", "path('@a')", "path('p')",
    "CONCAT(path('@a'), '-')", "CASE WHEN path('@b') = 'x' THEN 1 END", "ISNULL(path('@c'), '0')",
    "LEFT(path('.'), 2)", "CAST(path('@a') AS decimal(5,2))", "'abcd'",
]  # fmt: skip
CONDITIONS = [
    "path('@a') = 'x'", "path('@a') IS NOT NULL", "path('p', 'int') > 0",
    "path('@b') <> '1' OR path('@c') = '1'", "path('p') IS NULL AND path('@a') IS NULL",
]  # fmt: skip


def some_columns(random: Random, table: int, *, recurses: bool) -> dict[str, Any]:
    """Columns c0, c1, …: of what the document holds, of the loader's own words, and of expressions."""
    found: dict[str, Any] = {}
    words = ["$position", "$source.s", "$source.n", "$source.i", "$key", "$document"]
    words += ["$parent.c0"] if table else []
    words += ["$parent_position"] * 3 if recurses else []
    for number in range(random.randint(1, 4)):
        column: dict[str, Any] = {"type": random.choice(TYPES)}
        origin = random.choice(["path"] * 6 + ["several", "several", "word", "value", "xml", "expr", "expr"])
        if origin == "path":
            column["from"] = random.choice(PATHS)
        elif origin == "several":
            column["from"] = random.sample(PATHS, random.choice([2, 3]))
        elif origin == "word":
            column["from"] = random.choice(words)
            if column["from"].startswith("$parent."):
                del column["type"]
        elif origin == "value":
            column["value"] = random.choice(["1", "x"])
        elif origin == "xml":
            column |= {"xml": random.choice([".", "p", "q"]), "type": "xml"}
        else:
            known = [f"c{n}" for n in range(number)] + ([f"t{table - 1}.c0"] if table else [])
            column["expr"] = random.choice([*EXPRESSIONS, *known, *known, *known])
        # Most columns forgive something, or hardly a document would be loaded.
        wanted = {name for name in FORGIVING if random.random() < 0.6}
        if random.random() < 0.2:
            wanted.add("default")
        wanted |= set(random.sample(sorted(OPTIONS), random.choice([0, 0, 1, 2])))
        column |= {name: random.choice(OPTIONS[name]) for name in sorted(wanted)}
        if random.random() < 0.15:
            column |= random.choice(PROTECTIONS)
        found[f"c{number}"] = column
    return found


def some_contract(random: Random) -> dict[str, Any]:
    """A contract with a chain of tables t0, t1, …, each the child of the one before."""
    tables: dict[str, Any] = {}
    for number in range(random.randint(1, 3)):
        table: dict[str, Any] = {"columns": {"k": {"from": "$key", "type": "int"}}}
        if number:
            table["parent"] = f"t{number - 1}"
        if number or random.random() < 0.2:
            rows = random.choice(["row", "row", "row", "p", "p/row", "*", "row[@a]", "//row", None])
            if rows is not None:
                table["rows"] = rows
                if rows in ("row", "p/row") and random.random() < 0.5:
                    table["recurse"] = random.choice(["row", "q/row", "row[@b]"])
        if number and random.random() < 0.3:
            table["items"] = {"into": {"name": "n", "value": "v"}, "values": {"A": "@a", "P": "p", "B": "@b"}}
            table["columns"]["n"] = {"type": random.choice(["varchar(5)", "char(2)"])}
            table["columns"]["v"] = {"type": random.choice(TYPES), "on_invalid": "null"}
            if random.random() < 0.5:
                table["columns"]["v"] |= {"on_overflow": "null"}
        table["columns"] |= some_columns(random, number, recurses="recurse" in table)
        own = [name for name in table["columns"] if name != "k"]
        if random.random() < 0.3:
            known = [f"{own[0]} IS NOT NULL", f"{own[-1]} IS NULL", f"NOT ({own[0]} IS NULL)"]
            parts = random.sample([*CONDITIONS, *known], random.choice([1, 1, 2]))
            table["where"] = " AND ".join(f"({part})" for part in parts)
        if random.random() < 0.3:
            table["unique"] = {"by": [random.choice(own)], "keep": random.choice(["first", "last"])}
        if random.random() < 0.3:
            table["drop_empty"] = "true"
        tables[f"t{number}"] = table
    contract: dict[str, Any] = {
        "contract": "random", "version": 1,
        "source": {"table": "app_xml", "key": "app_id", "document": "app_xml"},
        "document": {"root": "/r"},
        "enums": {
            "e": {"values": {"x": "1", "abc": "0", "1": "2"}, "missing": "3", "unknown": "9"},
            "f": {"values": {"x": "1", "1": None}, "unknown": None, "ignore_case": "true"},
            "g": {"values": {"x": "1", "1": "256"}},
        },
        "replacements": {"r": {"a": "", "b": "1"}},
        "tables": tables,
    }  # fmt: skip
    if random.random() < 0.2:
        contract["document"]["ignore_case"] = "true"
    if random.random() < 0.2:
        contract["code_page"] = random.choice(["utf-8", "cp932", "utf-16-le"])
    return contract


def element(random: Random, name: str, depth: int) -> str:
    """An element with attributes, texts and children, as XML; not drawn, which would take too long."""
    parts = [f"<{name}"]
    parts += [f' {key}="{random.choice(TEXTS)}"' for key in ATTRIBUTES if random.random() < 0.5]
    parts.append(">")
    if random.random() < 0.7:
        parts.append(random.choice(TEXTS))
    if depth:
        for child in random.choices(CHILDREN, k=random.choice([0, 1, 2, 4])):
            parts.append(element(random, child, depth - 1))
            if random.random() < 0.1:
                parts.append(random.choice(["tail", "<!-- c -->", "<![CDATA[1]]>", "<?p i?>"]))
    return "".join([*parts, f"</{name}>"])


def careful(plan: Plan) -> DataMapper:
    """A mapper that makes every row the careful way."""
    mapper = DataMapper(plan, STARTED, InterpreterChoice.PYTHON)

    def slow_down(nodes: Any) -> None:
        for node in nodes:
            rows: TableRows = node.rows
            rows._maker = None
            slow_down(node.children)

    slow_down(mapper._interpreter._top)
    return mapper


def outcome(mapper: DataMapper, document: SourceDocument) -> object:
    """All that a mapper says of a document; equal numbers of different types are told apart."""
    try:
        mapped = mapper.map(mapper.parse(document), document)
    except (DocumentRejected, DocumentSkipped) as error:
        return type(error).__name__, error.rejection
    rows = [[tuple((type(v).__name__, str(v)) for v in row) for row in table] for table in mapped.rows]
    return rows, mapped.truncated_values, mapped.unknown_elements


def normal(contract: dict[str, Any]) -> Plan | None:
    """Compile a contract, leaving away what its check finds fault with, as long as something is left."""
    for _ in range(12):
        result = check_text(json.dumps(contract, ensure_ascii=False, indent=0))
        if result.contract is not None:
            return result.contract.plan
        if not _mend(contract, str(result.mistakes[0])):
            return None
    return None


def _mend(contract: dict[str, Any], mistake: str) -> bool:
    """Take away the option, column or condition on the line that a mistake names."""
    line_number = int(mistake.split(":")[1])
    lines = json.dumps(contract, ensure_ascii=False, indent=0).splitlines()
    place = [line.strip() for line in lines[:line_number]]
    table = next(
        (t for t in reversed(place) if t.startswith('"t') and t.endswith(": {") and t[2].isdigit()), None
    )
    if table is None:
        return False
    found = contract["tables"].get(table.split('"')[1])
    key = place[-1].split('"')[1] if '"' in place[-1] else ""
    column = next((c.split('"')[1] for c in reversed(place) if c.startswith('"c') and c[2].isdigit()), None)
    if found is None:
        return False
    if key in found and key not in ("columns", "parent"):
        del found[key]
        return True
    own = found["columns"].get(column) if column is not None else None
    if own is not None and key in own and key not in ("type", "from", "expr", "value", "xml"):
        del own[key]
        return True
    if column is not None and column in found["columns"] and len(found["columns"]) > 2:
        del found["columns"][column]
        return True
    return False


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32))
def test_both_ways_agree(seed: int) -> None:
    os.environ[SALT_VARIABLE] = "a salt for tests only"
    random = Random(seed)
    contract = some_contract(random)
    plan = normal(contract)
    assume(plan is not None)
    assert plan is not None
    quick, slow = BothMappers(plan, STARTED), careful(plan)
    columns = tuple(COLUMNS[name] for name in plan.source.columns)
    for number in range(DOCUMENTS):
        document = SourceDocument(number, element(random, "r", random.choice([1, 2, 3, 3])), columns)
        assert outcome(quick, document) == outcome(slow, document), (json.dumps(contract), document.content)
