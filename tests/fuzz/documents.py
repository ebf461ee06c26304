"""Documents as an enemy, a broken disk or a careless program would write them.

Every change is made by a ``random.Random``, so that the same functions serve hypothesis (which shrinks
what it draws), the coverage-guided fuzzer (as its custom mutator) and plain loops with a printed seed.
"""

from __future__ import annotations

import gzip
import random
import re
from collections.abc import Callable, Sequence
from pathlib import Path

from xml_extractor.source.sample import generate_applications

Content = str | bytes
Mutator = Callable[[str, random.Random], Content]

RELEASES = Path(__file__).parents[3] / "shared/data/discogs_releases_1000.xml.gz"
"""Real documents, where they are at hand: they are too large to ship."""

SEED = 20_240_531

_MARKUP = re.compile(r"<[^<>]*>")
_VALUE = re.compile(r'(?<==")[^"<>]*(?=")|(?<=>)[^<>]+(?=<)')

VALUES: Sequence[str] = (
    # numbers at the edges of types, and what is nearly a number
    "0", "-0", "+0", "00", "007", "1", "-1", "127", "128", "255", "256", "32767", "32768",
    "-32768", "-32769",
    "2147483647", "2147483648", "-2147483648", "-2147483649", "9223372036854775807",
    "9223372036854775808",
    "99999999999999999999999999999999999999", "100000000000000000000000000000000000000",
    "1" * 400, "0" * 5000,
    ".", ".5", "5.", "0.5", "1.005", "-1.005", "0.00005", "49999.99", "49999.995", "9999999999.99",
    "9999999999.995", "99999999999999.99", "922337203685477.5807", "922337203685477.5808",
    "214748.3648",
    "1e5", "1E-5", "1e400", "1e-400", "NaN", "Infinity", "-inf", "0x10", "1_000", "1,000.00",
    "1 000", "--1",
    "+-1", "\u0661\u0662\u0663", "\uff11\uff12", "\u00b2", "1\u00a0", "\ufeff1", "1\u2009", "½",
    # dates and times at the edges
    "0000-00-00", "0001-01-01", "0001-01-01T00:00:00+14:00", "9999-12-31",
    "9999-12-31T23:59:59.9999999",
    "9999-12-31T23:59:59.99999995", "9999-12-31T23:59:59-14:00", "1752-12-31", "1753-01-01",
    "2024-02-29",
    "2023-02-29", "1900-02-29", "2024-02-30", "2024-13-01", "2024-00-10", "2024-06-30T24:00:00",
    "2024-06-30T23:59:60", "2024-06-30T23:59:59.999", "2024-06-30T23:59:59.9999", "2024-6-3",
    "20240630",
    "2024-06-30T12:00:00Z", "2024-06-30T12:00:00+14:01", "2024-06-30 12:00", "31.12.9999", "29.02.2023",
    "01.01.0001", "12.13.2000", "-2024-01-01", "10000-01-01",
    "2024-06-30T12:00:00.12345678901234567890",
    # texts
    "", " ", "\t", "\n", "\r\n", " \t\r\n ", "\u00a0", "\u3000", "\u200b", "\u2028", "\u0085",
    "x", "X", "é", "ß", "İ",
    "ﬁ", "🎵🎵", "e\u0301", "\ufffd", "\uffef", "\u202eabc", "א", "\U0010fffd",
    "a" * 40, "ä" * 121, "🎵" * 100,
    "y" * 5000, "PRIMARY", "primary", "PRIMARY ", "true", "TRUE", "Y", "n", "yes", "NULL", "null",
    "A", "D", "WEB",
    "%", "_", "[", "[^", "'", "''", "--", ";",
    "\\", "\\N", "{}", "[]", "$key", "$(x)", "%s", "{0}", "6F9619FF-8B86-D011-B42D-00C04FC964FF",
    "{6F9619FF-8B86-D011-B42D-00C04FC964FF}", "6F9619FF8B86D011B42D00C04FC964FF", "QUJD", "QUJ",
    "Q=JD", "0xFF",
)  # fmt: skip
"""Raw values to put in, not escaped: each is escaped where it goes."""


EVERYTHING = """\
<r id='1' small='12' code='A' guid='1e3'><tiny>5</tiny><big>1</big><money>12.345</money><money>1</money>
<bit>Y</bit><when>2024-02-29T10:00:00.1234567Z</when><text lang='de'>Gr\u00fc\u00dfe</text>
<text lang='en'>x</text><blob>QUJD</blob>
<part kind='2' keep='Y'><name>n</name><leaf v='1'/><leaf/><part kind='1' name='n'>own<leaf v='no'/></part>
</part><part/><n:text xmlns:n='urn:n'>z</n:text></r>"""
"""A document of the contract ``everything.yaml``."""


def applications(count: int = 40) -> list[str]:
    """Return loan applications of the shipped generator."""
    return [text for _, text in generate_applications(count, SEED)]


def releases(count: int = 1000) -> list[str]:
    """Return real releases; empty where the file is not at hand."""
    if not RELEASES.exists():
        return []
    with gzip.open(RELEASES, "rt", encoding="utf-8") as file:
        text = file.read()
    found = re.findall(r"<release .*?</release>(?=\s*(?:<release |</releases>))", text, re.DOTALL)
    return found[:count]


def escaped(value: str) -> str:
    """Write a value so that it can stand in a text or an attribute, as one and the same value."""
    value = value.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")
    return value.replace("\r", "&#13;").replace("\n", "&#10;").replace("\t", "&#9;")


# ------------------------------------------------------------------------------------------ bits of markup


def _spans(text: str) -> list[tuple[int, int]]:
    """Return the extents of some elements, subtree and all, by counting tags; rough, and made to be."""
    stack: list[int] = []
    spans: list[tuple[int, int]] = []
    for match in _MARKUP.finditer(text):
        tag = match[0]
        if tag.startswith(("<?", "<!")):
            continue
        if tag.startswith("</"):
            if stack:
                spans.append((stack.pop(), match.end()))
        elif tag.endswith("/>"):
            spans.append((match.start(), match.end()))
        else:
            stack.append(match.start())
    return spans


def _span(text: str, random: random.Random) -> tuple[int, int]:
    spans = _spans(text)
    return random.choice(spans) if spans else (0, len(text))


def _gap(text: str, random: random.Random) -> int:
    """A place between two pieces of markup."""
    places = [match.end() for match in _MARKUP.finditer(text)]
    return random.choice(places) if places else 0


def _insert(text: str, place: int, piece: str) -> str:
    return text[:place] + piece + text[place:]


# ------------------------------------------------------------------------------------------ mutators


def flip_bytes(text: str, random: random.Random) -> Content:
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    for _ in range(random.randint(1, 4)):
        if data:
            data[random.randrange(len(data))] ^= 1 << random.randrange(8)
    return bytes(data)


def truncate(text: str, random: random.Random) -> Content:
    end = random.randrange(len(text) + 1)
    return text[:end] if random.random() < 0.7 else text[end:]


def truncate_bytes(text: str, random: random.Random) -> Content:
    data = text.encode("utf-8", "surrogatepass")
    return data[: random.randrange(len(data) + 1)]


def delete_element(text: str, random: random.Random) -> Content:
    start, end = _span(text, random)
    return text[:start] + text[end:]


def duplicate_element(text: str, random: random.Random) -> Content:
    start, end = _span(text, random)
    times = random.choice([1, 1, 1, 2, 5])
    return text[:end] + text[start:end] * times + text[end:]


def move_element(text: str, random: random.Random) -> Content:
    start, end = _span(text, random)
    piece, rest = text[start:end], text[:start] + text[end:]
    return _insert(rest, _gap(rest, random), piece)


def nest_element(text: str, random: random.Random) -> Content:
    """Put an element into itself."""
    start, end = _span(text, random)
    piece = text[start:end]
    place = piece.find(">") + 1
    return text[:start] + _insert(piece, place, piece) + text[end:] if place else text


def rename_element(text: str, random: random.Random) -> Content:
    names = re.findall(r"<(\w+)", text)
    if not names:
        return text
    old, new = random.choice(names), random.choice([*names, "Ä", "x", "xml", old_case(random.choice(names))])
    return re.sub(rf"(</?){old}\b", rf"\g<1>{new}", text, count=random.choice([0, 2]))


def old_case(name: str) -> str:
    return name.swapcase()


def change_value(text: str, random: random.Random) -> Content:
    values = list(_VALUE.finditer(text))
    if not values:
        return text
    match = random.choice(values)
    return text[: match.start()] + escaped(random.choice(VALUES)) + text[match.end() :]


def drop_attribute(text: str, random: random.Random) -> Content:
    found = list(re.finditer(r' [\w:]+="[^"]*"', text))
    if not found:
        return text
    match = random.choice(found)
    again = match[0] if random.random() < 0.2 else ""  # an attribute twice is not well-formed
    return text[: match.start()] + again * 2 + text[match.end() :]


def break_value(text: str, random: random.Random) -> Content:
    """Put comments, instructions, CDATA, references or elements into the middle of a value."""
    values = [match for match in _VALUE.finditer(text) if text[match.start() - 1] == ">"]
    if not values:
        return text
    match = random.choice(values)
    place = random.randint(match.start(), match.end())
    piece = random.choice([
        "<!-- c -->", "<?pi d?>", "<![CDATA[]]>", "<![CDATA[<&>]]>", "<b>1</b>", "<b/>", "&#65;",
        "&#x1F3B5;", "&lt;",
        "&amp;amp;", "]]&gt;", "]]>", "&#0;", "&#xD800;", "&#xFFFF;", "&#10;", "&nbsp;", "&", "<",
        "\0", "\x01", "\ud800",
        "\ufffe", "\r", "\r\n", "\x85", "<!-- -- -->", "<?xml version='1.0'?>", "<![CDATA[",
        "&lol;", "%e;",
    ])  # fmt: skip
    return _insert(text, place, piece)


def noise_between(text: str, random: random.Random) -> Content:
    piece = random.choice([
        " ", "\n\n", "\t", "text", "<!-- <Contact id='9'/> -->", "<?x-y <Contact/> ?>",
        "<unknown a='1'/>",
        "<![CDATA[ ]]>", "<x:y xmlns:x='urn:x'/>", "<Note>n</Note>", "<a><b><c/></b></a>",
    ])  # fmt: skip
    return _insert(text, _gap(text, random), piece)


def doctype(text: str, random: random.Random) -> Content:
    """Put a document type declaration in front, harmless or not."""
    root = (re.findall(r"<(\w+)", text) or ["r"])[0]
    declaration = random.choice([
        f"<!DOCTYPE {root}>",
        f"<!DOCTYPE {root} []>",
        f"<!DOCTYPE {root} SYSTEM 'file:///etc/passwd'>",
        f"<!DOCTYPE {root} PUBLIC '-//x//y' 'http://127.0.0.1:9/x.dtd'>",
        f"<!DOCTYPE {root} [<!ELEMENT {root} ANY>]>",
        f"<!DOCTYPE {root} [<!ATTLIST {root} status CDATA 'FUNDED'>]>",
        f"<!DOCTYPE {root} [<!ENTITY e 'x'>]>",
        f"<!DOCTYPE {root} [<!ENTITY e SYSTEM 'file:///etc/passwd'>]>",
        f"<!DOCTYPE {root} [<!ENTITY % p SYSTEM 'http://127.0.0.1:9/'> %p;]>",
        "<!DOCTYPE lolz [<!ENTITY a 'lol'>"
        + "".join(f"<!ENTITY {chr(98 + n)} '{f'&{chr(97 + n)};' * 10}'>" for n in range(9))
        + "]>",
        f"<!DOCTYPE {root} [<!-- <!ENTITY e 'x'> -->]>",
        f"<!DOCTYPE {root} [<?x <!ENTITY e 'x'> ?>]>",
        f"<!DOCTYPE {root} [<!NOTATION n SYSTEM '%'>]>",
        f"<!DOCTYPE {root}",
        "<!DOCTYPE>",
        "<!DOCTYPE [",
        "<!doctype html>",
        f"<!DOCTYPE {root}><!DOCTYPE {root}>",
    ])  # fmt: skip
    if random.random() < 0.3:
        place = text.find('="') + 2 if random.random() < 0.5 else _gap(text, random)
        text = _insert(text, place, random.choice(["&e;", "&lol;", "&j;"]))
    lead = random.choice(["", "<?xml version='1.0'?>", "<!-- <!DOCTYPE x> -->", " ", "<?a b?>"])
    trail = random.choice(["", "", "<!-- > -->", "\n"])
    return lead + declaration + trail + text


def encode(text: str, random: random.Random) -> Content:
    """Write it in some encoding, which the declaration names, names wrongly, or does not name."""
    codec = random.choice([
        "utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le",
        "latin-1", "cp1252",
        "iso8859-15", "shift_jis", "gb18030", "koi8-r", "cp037", "ascii", "utf-7", "big5", "cp1251",
    ])  # fmt: skip
    said = random.choice([
        codec, codec, "", "utf-8", "UTF-16", "US-ASCII", "ISO-8859-1", "windows-1252", "utf-7",
        "rot13", "hex", "zip",
        "x-unknown", "idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape",
        "mbcs", "utf_8_sig", "base64", "utf8",
    ])  # fmt: skip
    name = f' encoding="{said}"' if said else ""
    declaration = random.choice([
        "", f'<?xml version="1.0"{name}?>', f'<?xml version="1.1"{name}?>',
        f"<?xml version='1.0'{name} standalone='yes'?>\n",
        f'<?xml version="1.0"{name} standalone="maybe"?>', f"<?xml{name}?>",
    ])  # fmt: skip
    return (declaration + text).encode(codec, random.choice(["replace", "xmlcharrefreplace", "ignore"]))


def lead(text: str, random: random.Random) -> Content:
    piece = random.choice(
        [
            "\ufeff",
            "\ufeff\ufeff",
            " ",
            "\n",
            " \ufeff ",
            "x",
            "\0",
            "\u00a0",
            "<?xml version='1.0' encoding='UTF-16'?>",
            "<",
        ]
    )
    return piece + text if random.random() < 0.8 else text + piece


def deep(text: str, random: random.Random) -> Content:
    depth = random.choice([10, 250, 255, 256, 257, 300, 5000])
    name = random.choice(["a", "Contact", "track", "sub_tracks", "Notes"])
    piece = f"<{name}>" * depth + f"</{name}>" * depth
    if random.random() < 0.3:
        start, end = _span(text, random)
        piece = f"<{name}>" * depth + text[start:end] + f"</{name}>" * depth
    return _insert(text, _gap(text, random), piece)


def many(text: str, random: random.Random) -> Content:
    start, end = _span(text, random)
    piece = text[start:end]
    if len(piece) > 200:
        piece = random.choice(["<Note/>", "<Reason code='1'/>", "<style>s</style>", "<x/>"])
    return text[:end] + piece * random.choice([100, 1000, 3000]) + text[end:]


def huge_attribute(text: str, random: random.Random) -> Content:
    size = random.choice([1000, 100_000, 1_000_000])
    how = random.randrange(3)
    place = text.find(">", random.randrange(len(text) + 1))
    if place < 1 or text[place - 1] in "/?-":
        return text
    if how == 0:
        return _insert(text, place, f' z="{"v" * size}"')
    if how == 1:
        return _insert(text, place, "".join(f' z{n}="{n}"' for n in range(min(size, 3000))))
    return _insert(text, place, f' {"n" * min(size, 60_000)}="1"')


def long_text(text: str, random: random.Random) -> Content:
    piece = random.choice(["a", "ä", "🎵", " ", "9", "&amp;", "<!---->", "x "]) * random.choice(
        [300, 3000, 100_000]
    )
    values = list(_VALUE.finditer(text))
    if not values:
        return text
    match = random.choice(values)
    return text[: match.start()] + piece + text[match.end() :]


def namespaces(text: str, random: random.Random) -> Content:
    root = (re.findall(r"<(\w+)", text) or ["r"])[0]
    how = random.randrange(6)
    if how == 0:
        return text.replace(f"<{root}", f"<{root} xmlns='urn:d'", 1)
    if how == 1:
        return re.sub(r"<(/?)(?=\w)", r"<\1p:", text).replace(f"<p:{root}", f"<p:{root} xmlns:p='urn:p'", 1)
    if how == 2:
        return text.replace(f"<{root}", f"<{root} xmlns:q='urn:q' q:id='5' xml:lang='de'", 1)
    if how == 3:
        return re.sub(r"<(/?)(?=\w)", r"<\1p:", text)  # a prefix that nobody has bound
    if how == 4:
        start, _ = _span(text, random)
        place = start + 1 + len((re.match(r"\w+", text[start + 1 :]) or [""])[0])
        return _insert(
            text, place, random.choice([" xmlns=''", " xmlns='urn:z'", " xmlns:xml='urn:z'", " xmlns:a=''"])
        )
    return text.replace(f"<{root}", f"<{root} xmlns:a='urn:s' xmlns:b='urn:s' a:id='1' b:id='2'", 1)


MUTATORS: Sequence[Mutator] = (
    flip_bytes, truncate, truncate_bytes, delete_element, duplicate_element, move_element, nest_element,
    rename_element, change_value, change_value, change_value, drop_attribute, break_value, break_value,
    noise_between, doctype, encode, lead, deep, many, huge_attribute, long_text, namespaces,
)  # fmt: skip
GENTLE: Sequence[Mutator] = (
    delete_element, duplicate_element, move_element, nest_element, change_value, change_value, drop_attribute,
    break_value, noise_between, long_text,
)  # fmt: skip
"""Those after which a document is mostly still XML: they reach deeper."""


def mutated(
    text: str, random: random.Random, mutators: Sequence[Mutator] = MUTATORS, most: int = 4
) -> Content:
    """Change a document in one to ``most`` ways, one after the other."""
    content: Content = text
    for _ in range(random.randint(1, most)):
        if isinstance(content, bytes):  # bytes once, bytes ever after
            if random.random() < 0.3:
                content = flip_bytes(content.decode("latin-1"), random)
            break
        content = random.choice(mutators)(content, random)
    if isinstance(content, str) and random.random() < 0.3:
        content = content.encode("utf-8", "surrogatepass")
    return content
