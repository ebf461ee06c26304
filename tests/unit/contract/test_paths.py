from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from xml_extractor.contract.paths import XML_NAMESPACE, PathContext, PathError, parse_name, parse_path
from xml_extractor.contract.plan import Leaf, Path

PLAIN = PathContext(roots=("A",))
SPACED = PathContext({"d": "http://d", "": "http://def"}, roots=("{http://def}A",))
ANY_CASE = PathContext({"d": "http://D"}, ignore_case=True, roots=("a",))


@pytest.mark.parametrize(
    ("text", "leaf", "steps", "attribute"),
    [
        ("B", Leaf.TEXT, ("B",), None),
        ("B/C/D", Leaf.TEXT, ("B", "C", "D"), None),
        (" B / C ", Leaf.TEXT, ("B", "C"), None),
        ("./B/.", Leaf.TEXT, ("B",), None),
        (".", Leaf.TEXT, (), None),
        ("@id", Leaf.ATTRIBUTE, (), "id"),
        ("B/@id", Leaf.ATTRIBUTE, ("B",), "id"),
        ("text()", Leaf.OWN_TEXT, (), None),
        ("B/text()", Leaf.OWN_TEXT, ("B",), None),
        ("Größe/b-c.d", Leaf.TEXT, ("Größe", "b-c.d"), None),
        ("@xml:lang", Leaf.ATTRIBUTE, (), f"{{{XML_NAMESPACE}}}lang"),
    ],
)
def test_child_steps_become_names(
    text: str, leaf: Leaf, steps: tuple[str, ...], attribute: str | None
) -> None:
    path = parse_path(text, PLAIN)
    assert (path.leaf, path.steps, path.attribute, path.xpath) == (leaf, steps, attribute, None)
    assert path.text == text


def test_names_get_their_namespaces_but_unprefixed_attributes_have_none() -> None:
    assert parse_path("B/d:C/@x", SPACED).steps == ("{http://def}B", "{http://d}C")
    assert parse_path("B/d:C/@x", SPACED).attribute == "x"
    assert parse_path("@d:x", SPACED).attribute == "{http://d}x"


def test_names_that_ignore_case_are_lower_case() -> None:
    path = parse_path("Foo/d:BAR/@Baz", ANY_CASE)
    assert path.steps == ("foo", "{http://D}bar")  # a namespace is an identifier, not a name
    assert path.attribute == "baz"


def test_a_path_from_the_root_is_simple_where_rows_start_at_the_root() -> None:
    assert parse_path("/A/B", PLAIN, at_root=True).steps == ("B",)
    assert parse_path("/A", PLAIN, at_root=True).steps == ()
    assert parse_path("/A/B", PLAIN).xpath == "/A/B"
    two_roots = PathContext(roots=("A", "Z"))
    assert parse_path("/A/B", two_roots, at_root=True).xpath == "/A/B"


DOCUMENT = etree.fromstring(
    "<A xmlns='http://def' xmlns:d='http://d'>"
    "<B type='x' n='1'>b1</B><B type='y' n='2'>b2<C>c</C></B><B type='x' n='3'>b3</B><d:B>other</d:B>"
    "<E><B n='9'>deep</B></E></A>"
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("B[1]", ["b1"]),
        ("B[last()]", ["b3"]),
        ("B[@type='x']", ["b1", "b3"]),
        ("B[@type = 'x'][last()]", ["b3"]),
        ("B[C='c']", ["b2c"]),
        ("B[@type='x' and not(@n='1')]", ["b3"]),
        ("B[@n - 1 = 2]", ["b3"]),
        ("B[position() mod 2 = 1]", ["b1", "b3"]),
        ("B[contains(@type, 'y') or @n>2]", ["b2c", "b3"]),
        ("B[2]/C", ["c"]),
        ("B[2]/text()", ["b2c"]),  # the element: whoever runs the path takes its own text
        ("*/C", ["c"]),
        ("d:*", ["other"]),
        ("E/../d:B", ["other"]),
        (".//B[@n='9']", ["deep"]),
        ("//B[@n='9']", ["deep"]),
        ("/A/E/B", ["deep"]),
        ("E//B", ["deep"]),
        ("B[../E]/@n", ["1", "2", "3"]),
        ("B[@*]/@n", ["1", "2", "3"]),
        ('B[@type="x"]/@n', ["1", "3"]),
    ],
)
def test_complex_paths_find_what_they_should(text: str, found: list[str]) -> None:
    any_case = PathContext(dict(SPACED.namespaces), ignore_case=True, roots=("{http://def}a",))
    for context in (SPACED, any_case):
        path = parse_path(text, context)
        assert path.is_complex
        assert path.steps == ()
        assert run(path, context, DOCUMENT) == found


def run(path: Path, context: PathContext, element: etree._Element) -> list[str]:
    """The texts of what a complex path finds."""
    assert path.xpath is not None
    nodes = etree.XPath(path.xpath, namespaces=dict(context.bindings))(element)
    assert isinstance(nodes, list)
    return ["".join(str(t) for t in n.itertext()) if isinstance(n, etree._Element) else str(n) for n in nodes]


def test_complex_paths_ignore_the_case_of_names_but_not_of_values() -> None:
    context = PathContext(ignore_case=True, roots=("app",))
    document = etree.fromstring("<APP><PhoNe TyPe='Home'>1</PhoNe><phone type='HOME'>2</phone></APP>")
    assert run(parse_path("Phone[@type='HOME']", context), context, document) == ["2"]
    assert run(parse_path("ÄRGER[1]", context), context, etree.fromstring("<a><ärger>x</ärger></a>")) == ["x"]


@pytest.mark.parametrize(
    ("text", "offset", "words"),
    [
        ("", 0, "empty"),
        ("B/", 2, "a step is missing at the end"),
        ("B//", 3, "a step is missing at the end"),
        ("B C", 2, "unexpected 'C'"),
        ("B[1", 1, "no closing ]"),
        ("B[]", 1, "predicate is empty"),
        ("B['x]", 2, "no end"),
        ("B[@a=]", 0, "not a valid path"),
        ("B[fo()]", 2, "unknown function fo()"),
        ("B[contain(@a,'x')]", 2, "did you mean contains()?"),
        ("B[a b]", 4, "joined by and / or"),
        ("@a/B", 3, "nothing can follow"),
        ("text()/B", 7, "nothing can follow"),
        ("B//text()", 3, "not supported"),
        ("child::B", 5, "axes"),
        ("B[child::C]", 7, "axes"),
        ("count(B)", 0, "only text() can"),
        ("x:B", 0, "'x' is not bound"),
        ("B[x:C]", 2, "'x' is not bound"),
        ("$key", 0, "the loader's own"),
        (".[1]", 1, "predicate cannot follow"),
        ("@", 1, "an attribute's name must follow @"),
        ("@*", 1, "an attribute's name must follow @"),
        ("/Z/B", 1, "begins with /A"),
        ("/", 1, "names the root element"),
        ("B#", 1, "unexpected '#'"),
    ],
)
def test_mistakes_are_told_with_their_place(text: str, offset: int, words: str) -> None:
    with pytest.raises(PathError) as caught:
        parse_path(text, PLAIN)
    assert words in str(caught.value)
    assert caught.value.offset == offset


def test_a_close_prefix_is_suggested() -> None:
    with pytest.raises(PathError, match="did you mean 'disc'"):
        parse_path("dics:B", PathContext({"disc": "u"}))


@pytest.mark.parametrize("text", ["@id", "B/text()", "B[1]/@id"])
def test_rows_and_subtrees_come_from_elements(text: str) -> None:
    for want in (Leaf.ELEMENT, Leaf.XML):
        with pytest.raises(PathError, match="must arrive at elements"):
            parse_path(text, PLAIN, want)


@pytest.mark.parametrize("text", ["..", "../B", "B/..", ".//B", "B//C", "//B", "/A/B", "."])
def test_paths_that_lead_on_must_go_down(text: str) -> None:
    with pytest.raises(PathError, match="only child steps"):
        parse_path(text, PLAIN, Leaf.ELEMENT, downward=True)


@pytest.mark.parametrize("text", ["B", "B/C", "./B", "B[../@x]", "*", "B[.//C]"])
def test_paths_that_go_down_may_lead_on(text: str) -> None:
    assert parse_path(text, PLAIN, Leaf.ELEMENT, downward=True).leaf is Leaf.ELEMENT


def test_the_default_namespace_gets_a_prefix_that_no_other_has() -> None:
    context = PathContext({"default": "u1", "": "u2"})
    assert context.bindings == (("default", "u1"), ("default_", "u2"))
    assert parse_path("B[1]", context).xpath == "default_:B[1]"


def test_names_of_root_elements() -> None:
    assert parse_name("/A", SPACED) == "{http://def}A"
    assert parse_name("d:A", SPACED) == "{http://d}A"
    for wrong in ("/A/B", "@a", "", "A[1]", "*"):
        with pytest.raises(PathError, match="not the name of one element"):
            parse_name(wrong, SPACED)


@given(st.text(alphabet="AB/@.[]*()'=1 andx:-lst\"", max_size=14))
def test_any_text_is_a_usable_path_or_a_path_error(text: str) -> None:
    try:
        path = parse_path(text, PLAIN)
    except PathError as error:
        offset = error.offset
    else:
        offset = 0
        if path.xpath is not None:
            run(path, PLAIN, etree.fromstring("<A><B>x</B></A>"))
    assert 0 <= offset <= len(text)
