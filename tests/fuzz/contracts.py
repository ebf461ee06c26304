"""Random contracts, and documents over the same few names, so that the two meet."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

NAMES = ["a", "b", "c", "n:a"]
ATTRIBUTES = ["k", "l"]
TEXTS = [
    "", " ", "1", "2", "22", "300", "x", "X ", "long text", "é", "🎵🎵", " 7 ", "-1", "1.25", "0.5",
    "Y", "no", "2024-02-29", "2024-02-30",
    "2024-02-29T10:20:30.5", "29.02.2024", "QUJD", "&lt;", "a%", "9999999999",
    "2024-02-29 23:59:59.9999999", "2024-02-29T10:20:30.1234567+05:30", "1899-12-31T23:30:30Z", "10:20",
    "23:59:30.95", "10:20:30-01:00", "1e3", "-0.0", "1e400", "3.4028236e38", "0.1",
    "\\N&#9;\\&#10;&#13;&quot;'",
    "6F9619FF-8B86-D011-B42D-00C04FC964FF", "{6f9619ff-8b86-d011-b42d-00c04fc964ff}", "-214748.3649",
]  # fmt: skip
TYPES = [
    "int", "tinyint", "bigint", "nvarchar(4)", "nvarchar(max)", "varchar(4)", "char(3)",
    "nchar(3)", "decimal(4,1)", "decimal(3,3)", "money",
    "bit", "float", "real", "date", "datetime2(0)", "datetime", "time(2)", "varbinary(2)",
    "smallint", "smallmoney", "decimal(38,2)", "datetime2(7)", "smalldatetime", "datetimeoffset(0)",
    "datetimeoffset(7)", "time(0)", "time(7)", "uniqueidentifier", "xml", "binary(3)", "varchar(max)",
]  # fmt: skip
PATHS = [
    ".", "text()", "@k", "@l", "a", "b", "c", "a/@k", "b/c", "a/b/@l", "c/text()", "*", "a[1]",
    "b[@k]/@k", "..//c", "../@k", "../a", "../../@l",
    "//c", "/r/a/@k", "/r/@k", "a[@k='1']", "a[@k='1'][1]", "b[@l='x'][last()]", "a[b]/@k",
    "*[last()]", "n:a", "n:a/@k", "a[n:a]", "*/@*[1]",
]  # fmt: skip
ROWS = ["a", "b", "a/b", "*", "a[@k]", "n:a", "c[last()]", "*/c", "b[position() > 1]"]
_BAD_PATHS = {"*/@*[1]"}

Spec = dict[str, Any]


# ------------------------------------------------------------------------------------------ documents


@st.composite
def elements(draw: st.DrawFn, depth: int = 4) -> str:
    """An element with some below it."""
    name = draw(st.sampled_from(NAMES))
    attributes = draw(st.lists(st.sampled_from(ATTRIBUTES), unique=True, max_size=2))
    head = "".join(f' {a}="{draw(st.sampled_from(TEXTS))}"' for a in attributes)
    children = "" if depth == 0 else "".join(draw(st.lists(elements(depth - 1), max_size=3)))
    text, tail = draw(st.sampled_from(TEXTS)), draw(st.sampled_from(["", "", "t"]))
    noise = draw(
        st.sampled_from(["", "", "<!-- no -->", "<?pi no?>", "<![CDATA[]]>", "<![CDATA[1]]>", "&#49;"])
    )
    return f"<{name}{head}>{text}{noise}{children}</{name}>{tail}"


@st.composite
def documents(draw: st.DrawFn) -> str:
    """A document; now and then one that is another contract's."""
    root = draw(st.sampled_from(["r"] * 12 + ["R", "n:r", "x"]))
    head = draw(st.sampled_from(["", "", ' k="1"', ' k="x" l="2"']))
    inside = "".join(draw(st.lists(elements(), max_size=6)))
    return f'<{root} xmlns:n="urn:n"{head}>{inside}</{root}>'


# ------------------------------------------------------------------------------------------ contracts


@st.composite
def columns(draw: st.DrawFn, earlier: list[str], ancestors: list[str]) -> Spec:
    """One column."""
    type_ = draw(st.sampled_from(TYPES))
    kind = draw(st.sampled_from(["path"] * 6 + ["expr"] * 3 + ["paths", "xml", "value", "document"]))
    column: Spec = {"type": type_}
    if kind == "document":
        return {"type": "nvarchar(max)", "from": "$document"}
    if kind == "value":
        return {
            "type": draw(st.sampled_from(["int", "nvarchar(4)", "decimal(4,1)"])),
            "value": draw(st.sampled_from(["1", "0", "22"])),
        }
    if kind == "xml":
        column = {"type": "nvarchar(max)", "xml": draw(st.sampled_from(["a", ".", "b[1]", "a/b"]))}
        column |= draw(st.sampled_from([{}, {"pick": "first"}, {"pick": "last"}]))
        return column
    if kind == "expr":
        return draw(expressions(earlier, ancestors))
    paths = st.sampled_from([path for path in PATHS if path not in _BAD_PATHS])
    column["from"] = draw(st.lists(paths, min_size=2, max_size=3)) if kind == "paths" else draw(paths)
    column |= draw(policies(type_))
    return column


@st.composite
def policies(draw: st.DrawFn, type_: str) -> Spec:
    """What becomes of several, wrong, long and absent values."""
    is_text = "char" in type_
    said: Spec = {}
    pick = draw(st.sampled_from([None, None, "first", "last", "join"]))
    if pick:
        said["pick"] = pick
        if draw(st.booleans()):
            said["skip_blank"] = "true"
        if pick == "join" and draw(st.booleans()):
            said["separator"] = draw(st.sampled_from(["", "; "]))
    if draw(st.integers(0, 2)):
        said["on_invalid"] = "null"
    if draw(st.integers(0, 2)):
        can_be_cut = is_text or "binary" in type_
        said["on_overflow"] = "truncate" if can_be_cut and draw(st.booleans()) else "null"
    has_digits = type_.startswith(("decimal", "date", "time", "small")) or "money" in type_
    if (has_digits or type_ in ("int", "tinyint")) and type_ != "date" and draw(st.booleans()):
        said["rounding"] = draw(st.sampled_from(["half_up", "half_even", "down"]))
    if is_text and draw(st.booleans()):
        said["apply"] = draw(
            st.lists(
                st.sampled_from(["trim", "upper", "lower", "digits", "collapse", {"replace": "words"}]),
                min_size=1,
                max_size=2,
            )
        )
    elif type_ == "bit" and draw(st.booleans()):
        said["apply"] = ["yes_no"]
    elif type_ == "date" and draw(st.booleans()):
        said["format"] = ["%d.%m.%Y", "%Y-%m-%d"]
    elif type_.startswith("datetimeoffset"):
        said |= draw(st.sampled_from([{}, {"default_zone": "+01:00"}]))
    elif "date" in type_ or "time" in type_:
        said |= draw(st.sampled_from([{}, {"zone": "utc"}, {"zone": "drop"}]))
    if type_ in ("int", "nvarchar(4)") and draw(st.integers(0, 3)) == 0:
        said["enum"] = draw(st.sampled_from(["strict", "open"]))
        said.pop("rounding", None)
    if is_text and draw(st.booleans()):
        said["empty"] = "null"
    if draw(st.integers(0, 2)) == 0 and type_ in (
        "int",
        "nvarchar(4)",
        "bit",
        "decimal(4,1)",
        "float",
        "varchar(4)",
    ):
        said["default"] = "1"
        if draw(st.booleans()):
            said["default_makes_row"] = "true"
    elif draw(st.integers(0, 7)) == 0:
        said["required"] = "true"
    return said


@st.composite
def expressions(draw: st.DrawFn, earlier: list[str], ancestors: list[str]) -> Spec:
    """A column that is computed, from paths, columns before it and ancestors' columns."""
    path = draw(st.sampled_from(["@k", "a", ".", "b/@l", "../@k"]))
    choices = [
        (f"path('{path}')", "nvarchar(4)"),
        (f"TRY_CAST(path('{path}') AS int)", "int"),
        (f"CAST(path('{path}') AS int) + 1", "tinyint"),
        (f"path('{path}', 'decimal(4,1)') * 2", "decimal(5,1)"),
        (f"LEFT(UPPER(path('{path}')), 2)", "varchar(2)"),
        (f"CASE WHEN path('{path}') LIKE '%1' THEN 1 WHEN path('{path}') = 'x' THEN 0 END", "bit"),
        ("1 + 1", "int"),
        ("GETUTCDATE()", "date"),
    ]
    if earlier:
        other = draw(st.sampled_from(earlier))
        choices += [
            (f"CASE WHEN {other} IS NULL THEN 0 ELSE 1 END", "tinyint"),
            (f"CONCAT({other}, '-', path('@l'))", "nvarchar(6)"),
            (f"TRY_CAST(CONCAT({other}, '') AS int)", "int"),
        ]
    if ancestors:
        choices.append(
            (f"CASE WHEN {draw(st.sampled_from(ancestors))} > 1 THEN path('{path}') END", "nvarchar(max)")
        )
    text, type_ = draw(st.sampled_from(choices))
    column: Spec = {"expr": text, "type": type_}
    if draw(st.booleans()):
        column["on_invalid"] = "null"
    if draw(st.booleans()):
        column["on_overflow"] = "null"
    if draw(st.integers(0, 3)) == 0 and type_ in ("int", "nvarchar(4)", "tinyint"):
        column["default"] = "1"
    return column


@st.composite
def contracts(draw: st.DrawFn) -> str:
    """A contract as JSON text.  Some have a mistake: what goes with what is the reader's business."""
    tables: dict[str, Spec] = {}
    depth: dict[str, int] = {}
    for number in range(draw(st.integers(1, 4))):
        name = f"t{number}"
        parent = draw(st.sampled_from(sorted(tables))) if number else None
        level = depth[name] = 0 if parent is None else depth[parent] + 1
        keys = [f"n{i}" for i in range(level + 1)]
        table: Spec = {"primary_key": list(keys), "columns": {key: {"from": "$parent"} for key in keys[:-1]}}
        if parent is None:
            table["columns"][keys[-1]] = {"from": "$key", "type": "int"}
        else:
            table["parent"] = parent
            table["columns"][keys[-1]] = {"from": "$position", "type": "int"}
            if draw(st.integers(0, 5)) == 0:
                _add_items(draw, table, keys)
            else:
                table["rows"] = draw(st.sampled_from(ROWS))
                if draw(st.integers(0, 3)) == 0:
                    table["recurse"] = draw(st.sampled_from(["a", "b/c", "*", "a[@k]"]))
                    table["columns"]["above"] = {"from": "$parent_position", "type": "int"}
        ancestors = [f"{other}.n0" for other in _line(parent, tables)]
        earlier: list[str] = []
        for place in range(draw(st.integers(0 if parent is None else 1, 4))):
            table["columns"][f"c{place}"] = draw(columns(earlier, ancestors))
            earlier.append(f"c{place}")
        if earlier:
            _add_conditions(draw, table, earlier, keys[-1])
        tables[name] = table
    document: Spec = {"root": draw(st.sampled_from(["/r", ["/r", "/n:r"]])), "namespaces": {"n": "urn:n"}}
    if draw(st.integers(0, 4)) == 0:
        document["ignore_case"] = "true"
    if draw(st.integers(0, 4)) == 0:
        document["where"] = draw(
            st.sampled_from(
                [
                    "path('@k') IS NULL OR path('@k') <> 'x'",
                    "path('a') IS NOT NULL",
                    "CAST(path('@k') AS int) = 1",
                ]
            )
        )
    return json.dumps({
        "contract": "t", "version": "1", "source": {"table": "app_xml", "key": "id",
        "document": "doc"}, "document": document,
        "collation": draw(st.sampled_from(["default", "binary"])),
        "unknown_elements": draw(st.sampled_from(["ignore", "report"])),
        "enums": {
            "strict": {"values": {"1": "10", "x": "7"}, "unknown": "reject"},
            "open": {"values": {"1": "10", "X": None}, "missing": "5",
            "unknown": draw(st.sampled_from([None, "9"])), "ignore_case": "true"},
        },
        "replacements": {"words": {"x": "yy", "1": "", "é": "e"}},
        "tables": tables,
    })  # fmt: skip


def _line(parent: str | None, tables: dict[str, Spec]) -> list[str]:
    """The tables above, nearest first."""
    found = []
    while parent is not None:
        found.append(parent)
        parent = tables[parent].get("parent")
    return found


def _add_items(draw: st.DrawFn, table: Spec, keys: list[str]) -> None:
    del table["columns"][keys[-1]]
    table["primary_key"] = [*keys[:-1], "what"]
    table["items"] = {
        "into": {"name": "what", "value": "amount"},
        "values": draw(st.sampled_from([{"A": "@k", "B": "a"}, {"A": "b/@l", "B": "a[1]/@k", "C": "."}])),
    }
    table["columns"]["what"] = {"type": "varchar(4)"}
    table["columns"]["amount"] = {
        "type": "nvarchar(9)",
        "on_overflow": draw(st.sampled_from(["reject", "truncate", "null"])),
    }


def _add_conditions(draw: st.DrawFn, table: Spec, earlier: list[str], position: str) -> None:
    column = draw(st.sampled_from(earlier))
    if draw(st.integers(0, 2)) == 0:
        number = position if position in table["columns"] else "n0"
        table["where"] = draw(
            st.sampled_from(
                [
                    f"{column} IS NOT NULL",
                    f"{number} > 1",
                    f"{column} IS NULL AND {number} < 4",
                    "path('@k') = '1' OR path('a') IS NULL",
                    "CAST(path('@k') AS int) > 1",
                    f"NOT (path('@k') LIKE '[a-z]%') AND {column} IS NOT NULL",
                ]
            )
        )
    table["drop_empty"] = draw(st.sampled_from(["true", "false", "false"]))
    if "parent" in table and draw(st.integers(0, 2)) == 0:
        by = draw(st.lists(st.sampled_from(earlier), min_size=1, max_size=2, unique=True))
        table["unique"] = {"by": by, "keep": draw(st.sampled_from(["first", "last"]))}
        preferred = draw(st.sampled_from(earlier))
        if table["columns"][preferred].get("type") in ("int", "nvarchar(4)", "tinyint") and draw(
            st.booleans()
        ):
            table["unique"]["prefer"] = {"column": preferred, "values": ["1", "22"]}
