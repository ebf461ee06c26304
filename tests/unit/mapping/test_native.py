"""The native interpreter: that it is taken, that it refuses strange libraries, that it makes the same rows.

Most of what shows the last is elsewhere: the helpers that map documents in tests of the mapping, and both
fuzzers, run both interpreters (``tests/support/interpreters.py``).
"""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import etree

from tests.fuzz.documents import VALUES, applications, escaped, releases
from tests.support.interpreters import BothMappers, needs_native
from tests.unit.mapping.mapping_support import STARTED_AT, map_document, plan_of
from xml_extractor.contract import read_contract
from xml_extractor.contract.plan import Plan
from xml_extractor.errors import UsageError
from xml_extractor.mapping import interpreter_choice
from xml_extractor.mapping.data_mapper import DataMapper, DocumentRejected, DocumentSkipped
from xml_extractor.mapping.interpreter_choice import VARIABLE, InterpreterChoice
from xml_extractor.mapping.records import SourceDocument

PROJECT = Path(__file__).parents[3]
ID_ONLY = "t: {primary_key: [id], columns: {id: {from: $key, type: int}}}"


def interpreter_of(mapper: DataMapper) -> str:
    return type(mapper._interpreter).__name__


# ------------------------------------------------------------------------------------------ the choice


@needs_native
def test_it_is_taken_unless_python_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(ID_ONLY)
    for word, name in ((None, "NativeInterpreter"), ("native", "NativeInterpreter"),
                       ("auto", "NativeInterpreter"), ("python", "Interpreter")):  # fmt: skip
        if word is None:
            monkeypatch.delenv(VARIABLE, raising=False)
        else:
            monkeypatch.setenv(VARIABLE, word)
        assert interpreter_of(DataMapper(plan, STARTED_AT)) == name
        assert interpreter_choice.serving() == (
            (InterpreterChoice.NATIVE, "") if name == "NativeInterpreter"
            else (InterpreterChoice.PYTHON, f"{VARIABLE} says so")
        )  # fmt: skip
    monkeypatch.setenv(VARIABLE, "fast")
    for refuse in (lambda: DataMapper(plan, STARTED_AT), interpreter_choice.serving):
        with pytest.raises(UsageError, match="'fast'; it can be one of auto, native, python"):
            refuse()


def test_without_it_python_serves_and_one_line_says_why(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "xml_extractor.mapping._native", None)  # what cannot be imported
    monkeypatch.setenv(VARIABLE, "auto")
    interpreter_choice._native.cache_clear()
    interpreter_choice._say.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                assert interpreter_of(DataMapper(plan_of(ID_ONLY), STARTED_AT)) == "Interpreter"
        (line,) = [record.getMessage() for record in caplog.records]
        assert "Python interpreter" in line
        assert "pip install -e ." in line
        choice, why_not = interpreter_choice.serving()
        assert choice is InterpreterChoice.PYTHON
        assert "it was not built" in why_not
        with pytest.raises(UsageError, match="native interpreter is asked for"):
            DataMapper(plan_of(ID_ONLY), STARTED_AT, InterpreterChoice.NATIVE)
    finally:
        interpreter_choice._native.cache_clear()
        interpreter_choice._say.cache_clear()


@needs_native
@pytest.mark.parametrize("name", ["LIBXML_VERSION", "LIBXML_COMPILED_VERSION"])
def test_another_libxml2_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from xml_extractor.mapping import _native

    _native.check_libraries()
    major, minor, patch = getattr(etree, name)
    monkeypatch.setattr(etree, name, (major, minor, patch + 1))
    _native.check_libraries()
    monkeypatch.setattr(etree, name, (major, minor + 1, 0))
    with pytest.raises(ImportError, match=r"built for libxml2 .* building it anew"):
        _native.check_libraries()


@needs_native
def test_another_lxml_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from xml_extractor.mapping import _native

    monkeypatch.setattr(etree, "LXML_VERSION", (99, 0, 0, 0))
    with pytest.raises(ImportError, match="was built for lxml"):
        _native.check_libraries()


@needs_native
@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("LIBXML_VERSION", (2, 99, 0), "lxml runs on 2.99.0"),
        ("LXML_VERSION", (99, 0, 0, 0), "was built for lxml"),
    ],
)
def test_where_it_is_refused_python_serves(name: str, value: tuple[int, ...], said: str) -> None:
    """In a process of its own, because a module is imported once: a checkout that was copied elsewhere."""
    program = f"""if True:
        from lxml import etree
        etree.{name} = {value}
        import logging; logging.basicConfig()
        from tests.unit.mapping.test_native import ID_ONLY, STARTED_AT, DataMapper, SourceDocument, plan_of
        for _ in range(2):
            mapper = DataMapper(plan_of(ID_ONLY), STARTED_AT)
        document = SourceDocument(7, "<r/>")
        print(type(mapper._interpreter).__name__, mapper.map(mapper.parse(document), document).rows)
        """
    environment = {key: word for key, word in os.environ.items() if key != VARIABLE}
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, check=True, text=True, capture_output=True, timeout=120,
        env=environment,
    )  # fmt: skip
    assert run.stdout == "Interpreter ([(7,)],)\n"
    (line,) = [line for line in run.stderr.splitlines() if "Python interpreter" in line]
    assert said in line


# ------------------------------------------------------------------------------------------ the same rows


@pytest.mark.parametrize("contract", ["loan_application", "discogs_releases"])
def test_shipped_contracts_and_samples(contract: str) -> None:
    plan = read_contract(PROJECT / "config" / f"{contract}.yaml").plan
    texts = applications(1000) if contract == "loan_application" else releases(300)
    both = BothMappers(plan, STARTED_AT)
    refused = 0
    for key, text in enumerate(texts, start=1):
        document = SourceDocument(key, text)
        try:
            both.map(both.parse(document), document)
        except DocumentRejected:
            refused += 1
    assert contract != "loan_application" or refused > 2


TYPES = (
    "int", "tinyint", "bigint", "decimal(6,2)", "decimal(18,0)", "decimal(38,10)", "decimal(3,3)", "money",
    "smallmoney", "bit", "float", "date", "datetime2(0)", "datetime2(3)", "datetime2(7)", "datetime",
    "smalldatetime", "time(3)", "datetimeoffset(2)", "uniqueidentifier", "varchar(5)", "varchar(max)",
    "char(4)",
    "nchar(4)", "nvarchar(5)", "nvarchar(max)", "varbinary(4)",
)  # fmt: skip


def every_type() -> Plan:
    """A row of each kind of column for each ``v``; what is wrong becomes NULL, so that the row stays."""
    columns = []
    for number, name in enumerate(TYPES):
        forgiving = 'on_invalid: "null", on_overflow: "null"'
        columns.append(f'a{number}: {{from: ".", type: "{name}", {forgiving}}}')
        if name.startswith(("decimal", "money", "int", "smallmoney")):
            for rounding in ("half_up", "half_even", "down"):
                columns.append(
                    f'{rounding}{number}: {{from: ".", type: "{name}", rounding: {rounding}, {forgiving}}}'
                )
        if "offset" in name:
            columns.append(f'z{number}: {{from: ".", type: "{name}", default_zone: "-03:30", {forgiving}}}')
        elif name.startswith(("date", "time", "smalldate")):
            for zone in ("utc", "drop"):
                columns.append(f'{zone}{number}: {{from: ".", type: "{name}", zone: {zone}, {forgiving}}}')
        if name.startswith("date") and "offset" not in name:
            columns.append(
                f'f{number}: {{from: ".", type: "{name}", format: ["%d.%m.%Y", "%Y%m%d"], {forgiving}}}'
            )
        if "char" in name:
            for place, steps in enumerate(("trim", "collapse", "upper", "lower", "digits", "trim, collapse",
                                           "{replace: words}, lower")):  # fmt: skip
                columns.append(
                    f'c{number}_{place}: {{from: ".", type: "{name}", apply: [{steps}], empty: "null", '
                    f"{forgiving}}}"
                )
    columns += [
        'yes: {from: ".", type: bit, apply: [yes_no], on_invalid: "null"}',
        'upper_yes: {from: ".", type: bit, apply: [upper, yes_no], on_invalid: "null"}',
        'code: {from: ".", type: tinyint, enum: codes, on_invalid: "null"}',
        'long_code: {from: ".", type: varchar(3), enum: codes, default: "d", on_overflow: truncate}',
    ]
    codes = '{A: 1, x: 2, "1": 200, " ": 4}'
    head = (
        f"document: {{root: /r}}\nenums: {{codes: {{values: {codes}, missing: 0, unknown: 9}}}}\n"
        'replacements: {words: {x: yy, "1": "", aa: a}}'
    )
    joined = "\n    ".join(["id: {from: $parent}", "place: {from: $position, type: int}", *columns])
    return plan_of(
        f"{ID_ONLY}\nu:\n  parent: t\n  rows: v\n  primary_key: [id, place]\n  columns:\n    {joined}\n", head
    )


EVERY_TYPE = BothMappers(every_type(), STARTED_AT)
NEARLY = st.one_of(
    st.sampled_from(VALUES),
    st.from_regex(r"[ +-]{0,2}[0-9]{0,20}\.?[0-9]{0,12} ?", fullmatch=True),
    st.from_regex(
        r"(0001|1752|1900|2023|2024|9999)-(01|02|12|13)-(01|28|29|30|31)([T ][0-2][0-9]:[0-6][0-9]"
        r"(:[0-6][0-9](\.[0-9]{0,8})?)?)?(Z|[+-](00|01|13|14):(00|30|59|60))?",
        fullmatch=True,
    ),
    st.from_regex(
        r"[0-2][0-9]:[0-6][0-9](:[0-5][0-9](\.[0-9]{0,8})?)?(Z|[+-](00|01|13|14):(00|30|59|60))?",
        fullmatch=True,
    ),
    st.from_regex(r"[0-3][0-9]\.[01][0-9]\.20[0-9]{2}|20[0-9]{2}[01][0-9][0-3][0-9]", fullmatch=True),
    st.text("aAxX1 \t\n.é🎵ßİ-", max_size=8),
    st.sampled_from(["y", "Y ", "NO", "tRue", "FALSE", "0", "1", "truex", "ye"]),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(NEARLY, min_size=5, max_size=30))
def test_values_of_all_types(values: list[str]) -> None:
    document = SourceDocument(1, "<r>" + "".join(f"<v>{escaped(value)}</v>" for value in values) + "</r>")
    EVERY_TYPE.map(EVERY_TYPE.parse(document), document)


PLACES = """
    t:
      primary_key: [id]
      columns:
        id: {from: $key, type: int}
        k: {from: "@k", type: nvarchar(max)}
        whole: {from: ".", type: nvarchar(max)}
        own: {from: "text()", type: nvarchar(max)}
        a: {from: a, type: nvarchar(max), pick: first}
        last: {from: a, type: nvarchar(max), pick: last, skip_blank: true}
        all: {from: a, type: nvarchar(max), pick: join, separator: "é|"}
        deep: {from: "a/b/c/@k", type: nvarchar(max), pick: join, skip_blank: true}
        xml: {xml: b, type: nvarchar(max), pick: first}
        named: {from: "a[@k='1']", type: nvarchar(max), pick: join}
        n: {from: "n:a/@n:k", type: nvarchar(max), pick: first}
        language: {from: "a/@xml:lang", type: nvarchar(max), pick: first}
    u:
      parent: t
      rows: a
      recurse: b/a
      primary_key: [id, place]
      columns:
        id: {from: $parent}
        place: {from: $position, type: int}
        above: {from: $parent_position, type: int}
        own: {from: "text()", type: nvarchar(max)}
        first: {from: ["@k", "b/@k", .], type: nvarchar(max), pick: first}
    w:
      parent: u
      rows: .//c
      primary_key: [id, place, number]
      columns: {id: {from: $parent}, place: {from: $parent}, number: {from: $position, type: int},
                up: {from: "../@k", type: nvarchar(max)}}
    """
NAMESPACES = '{n: "urn:n"}'
HOSTILE = {
    "nothing": "<r/>",
    "comments and instructions in texts": "<r>1<!-- x -->2<?p i?>3<a>4<!---->5</a><a><?p?></a></r>",
    "CDATA": "<r><a><![CDATA[]]></a><a><![CDATA[<x>&amp;]]>y</a><a>x<![CDATA[ ]]></a></r>",
    "mixed content": "<r>1<a>2<b k='3'>4<a>5<c k='6'>7</c>8</a>9</b>10</a>11<a/>12</r>",
    "blanks": "<r> <a> </a>\t<a>\r\n</a><a k=' '/>\n</r>",
    "references": "<r k='&#9;&#10;&#xD;&lt;&amp;&quot;'><a>&#x1F3B5;&#233;&gt;&apos;</a></r>",
    "beyond the basic plane": "<r k='🎵'><a>🎵<b>é</b>🎵</a></r>",
    "namespaces": "<r xmlns:n='urn:n' n:k='9'><n:a k='1' n:k='2'/><a xmlns='urn:n' k='3'>4</a>"
    "<m:a xmlns:m='urn:n' m:k='5'/><n:a xmlns:n='urn:other' n:k='6'/></r>",
    "a default namespace": "<r xmlns='urn:d' k='1'><a>2</a></r>",
    "a namespace taken back": "<r xmlns:n='urn:n'><a xmlns='urn:n'><a xmlns=''>1</a></a><a xmlns=''/></r>",
    "xml:lang": "<r><a xml:lang='de' lang='en'>x</a></r>",
    "deep": "<r>" + "<a><b>" * 120 + "x" + "</b></a>" * 120 + "</r>",
    "wide": "<r>" + "<a k='1'>x<b><a/></b></a>" * 3000 + "</r>",
    "many attributes": "<r " + " ".join(f"k{n}='{n}'" for n in range(500)) + " k='x'/>",
    "long texts": "<r k='" + "é" * 200_000 + "'><a>" + "x" * 300_000 + "<b/>" + "🎵" * 50_000 + "</a></r>",
    "long names": f"<r><{'a' * 5000}/><a{'b' * 300} k='1'/><a/></r>",
    "names that begin alike": "<r><aa>1</aa><a>2</a><ab>3</ab><é>4</é><A>5</A></r>",
}  # fmt: skip


@pytest.mark.parametrize("ignore_case", ["true", "false"])
@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_hostile_documents(content: str, ignore_case: str) -> None:
    head = f"document: {{root: [/r, /n:r], ignore_case: {ignore_case}, namespaces: {NAMESPACES}}}"
    both = BothMappers(plan_of(PLACES, head), STARTED_AT)
    document = SourceDocument(1, content)
    with suppress(DocumentSkipped):
        both.map(both.parse(document), document)


def test_trees_that_hold_what_the_loader_never_leaves_in_them() -> None:
    """Another parser's tree: comments, instructions, unresolved entities."""
    both = BothMappers(plan_of(PLACES, f"document: {{root: /r, namespaces: {NAMESPACES}}}"), STARTED_AT)
    parser = etree.XMLParser(resolve_entities=False, strip_cdata=False)
    for content in (
        "<r>1<!-- x -->2<a>3<!-- y -->4</a></r>",
        "<r><a>1<?p i?>2</a><?p i?></r>",
        "<!DOCTYPE r [<!ENTITY e 'x'>]><r>1&e;2<a>&e;</a><a k='&e;'/></r>",
        "<r><a><![CDATA[1]]>2<![CDATA[]]></a></r>",
    ):
        both.map(etree.fromstring(content, parser), SourceDocument(1, content))


def test_rows_made_the_careful_way_have_children() -> None:
    """Several of them from one element, too."""
    plan = plan_of(
        """
        t: {primary_key: [id], columns: {id: {from: $key, type: int}}}
        u:
          parent: t
          rows: a
          items: {into: {name: what, value: v}, values: {K: "@k", L: "@l"}}
          primary_key: [id, place, what]
          columns:
            id: {from: $parent}
            place: {from: $position, type: int}
            what: {type: char(1)}
            v: {type: nvarchar(2), on_overflow: truncate}
        w:
          parent: u
          rows: b
          primary_key: [id, place, what, number]
          columns: {id: {from: $parent}, place: {from: $parent}, what: {from: $parent},
                    number: {from: $position, type: int}, v: {from: ., type: int}}
        """
    )
    mapped = map_document(plan, "<r><a k='long' l='x'><b>1</b></a><a l='y'><b>2</b><b>3</b></a></r>")
    assert mapped["u"] == [(1, 1, "K", "lo"), (1, 1, "L", "x"), (1, 2, "L", "y")]
    assert mapped["w"] == [
        (1, 1, "K", 1, 1), (1, 1, "L", 1, 1), (1, 2, "L", 1, 2), (1, 2, "L", 2, 3),
    ]  # fmt: skip


def test_large_documents_are_walked_without_the_lock() -> None:
    columns = "{id: {from: $parent}, place: {from: $position, type: int}, v: {from: ., type: int}}"
    plan = plan_of(f"{ID_ONLY}\nu: {{parent: t, rows: a, primary_key: [id, place], columns: {columns}}}")
    both = BothMappers(plan, STARTED_AT)
    document = SourceDocument(1, "<r>" + "".join(f"<a>{n}</a>" for n in range(20_000)) + "</r>")
    rows = both.map(both.parse(document), document).rows
    assert rows[1][-1] == (1, 20_000, 19_999)


def test_numbers_of_all_lengths_are_written_the_same() -> None:
    """As bytes of one, two, four and more: each way has its own bounds."""
    columns = "{id: {from: $parent}, place: {from: $position, type: int}, v: {from: ., type: bigint}}"
    plan = plan_of(f"{ID_ONLY}\nu: {{parent: t, rows: a, primary_key: [id, place], columns: {columns}}}")
    numbers = sorted(
        {
            sign * 2**bits + more
            for bits in range(64)
            for sign in (1, -1)
            for more in (-1, 0, 1)
            if -(2**63) <= sign * 2**bits + more < 2**63
        }
    )
    mapped = map_document(plan, "<r>" + "".join(f"<a>{number}</a>" for number in numbers) + "</r>")
    assert [row[2] for row in mapped["u"]] == numbers


@pytest.mark.parametrize("rows", [0, 1, 2, 499, 500, 501, 1000, 1001])
def test_any_number_of_values_is_written_the_same(rows: int) -> None:
    """A pickled list is cut every thousand values, and one of a single value, as t's, has no cut at all."""
    columns = "{id: {from: $parent}, v: {from: ., type: nvarchar(9), required: true}}"
    plan = plan_of(f"{ID_ONLY}\nu: {{parent: t, rows: a, primary_key: [id, v], columns: {columns}}}")
    mapped = map_document(plan, "<r>" + "<a>x</a>" * rows + "</r>")
    assert (mapped["t"], mapped["u"]) == ([(1,)], [(1, "x")] * rows)


@needs_native
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits a process's memory as Linux does")
def test_long_texts_take_a_few_times_their_size() -> None:
    """Not six times, which they would if each character had to be escaped, and nothing once they are done."""
    program = """if True:
        import resource
        from tests.unit.mapping.test_native import STARTED_AT, DataMapper, SourceDocument, plan_of
        from xml_extractor.engines.encoding import CopyEncoder
        def now():
            with open("/proc/self/status") as status:
                return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmSize"))
        plan = plan_of(
            't: {primary_key: [id], columns: {id: {from: $key, type: int}, '
            'all: {from: ".", type: nvarchar(max)}}}'
        )
        mapper = DataMapper(plan, STARTED_AT, encoder=CopyEncoder.of(plan))
        def encode(content):
            document = SourceDocument(7, content, is_text=True)
            mapper.encode(mapper.parse(document), document)
        encode(b"<r>small</r>")
        size = 32 * 2**20
        text = b"<r>" + (b"<a>" + b"x" * 2**20 + b"</a>") * 32 + b"</r>"
        before = now()
        resource.setrlimit(resource.RLIMIT_AS, (before + 8 * size,) * 2)
        encode(text)
        print((now() - before) // size)
        """
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=PROJECT, text=True, capture_output=True, timeout=120,
        check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) <= 0
