"""Documents full of unmistakable values, each wrong in a way of its own, and the search for them."""

from __future__ import annotations

import base64
import re
from pathlib import Path

from tests.support.tables import dialect_of, portable, query
from xml_extractor.engines import open_engine
from xml_extractor.target.bookkeeping import bookkeeping_specs

WORD = "Zq7plant"
NUMBER = "8675309"
RAW = b"\x86\x75\x30\x9a"
NEEDLES = re.compile(
    rf"{WORD}|{NUMBER}|1887-07-0|{base64.b64encode(RAW).decode()}|8675309a|\\x86u0\\x9a", re.IGNORECASE
)
"""Whatever of a document shows up in a text."""

PASSWORD = "Kq9-pass:word/%"
SALT = "Kq9-salt-of-the-tests"
SECRETS = re.compile("Kq9")

CONTRACT = """\
contract: planted
version: 1
source: {name: planted, table: app_xml, key: app_id, document: app_xml}
document: {root: /r, where: "path('@other') IS NULL"}
unknown_elements: report
enums:
  letter: {values: {A: '1', B: '2'}}
tables:
  planted:
    primary_key: id
    columns:
      id: {from: $key, type: int}
      name: {from: '@name', type: nvarchar(40)}
      checked: {from: '@checked', type: nvarchar(40)}
      required_one: {from: '@need', type: nvarchar(40), required: true}
      short: {from: '@short', type: varchar(20)}
      fixed: {from: '@fixed', type: nchar(20)}
      whole: {from: '@whole', type: int}
      amount: {from: '@amount', type: 'decimal(9,2)'}
      ratio: {from: '@ratio', type: float}
      flag: {from: '@flag', type: bit}
      day: {from: '@day', type: date}
      moment: {from: '@moment', type: datetime2(3)}
      hour: {from: '@hour', type: time(0)}
      zoned: {from: '@zoned', type: datetimeoffset(0)}
      guid: {from: '@guid', type: uniqueidentifier}
      raw: {from: '@raw', type: varbinary(4)}
      letter: {from: '@letter', type: int, enum: letter}
      cast_int: {expr: "CAST(path('@cast') AS int)", type: int}
      divided: {expr: "1 / (path('@divide', 'int') - path('@divide', 'int'))", type: int}
      dated: {expr: "DATEADD(day, path('@add', 'int'), path('@from', 'date'))", type: date}
      plugged: {from: '@plug', type: nvarchar(40), apply: [{plugin: 'tests.hygiene.planted:refuse'}]}
      several: {from: several, type: nvarchar(40)}
      part: {xml: part, type: xml}
      masked: {from: '@masked', type: varchar(4), mask: first2}
      hashed: {from: '@hashed', type: char(64), hash: true}
  child:
    parent: planted
    rows: c
    where: "CAST(path('@keep') AS int) = 1"
    primary_key: [id, n]
    columns:
      id: {from: $parent}
      n: {from: '@n', type: varchar(40), required: true}
"""

ALL_WELL = f'name="{WORD} 0" need="{WORD}" short="{WORD}" whole="{NUMBER}" day="1887-07-01" masked="{WORD}"'
PLANTED: dict[int, str] = {
    1: f'<r {ALL_WELL} hashed="{WORD}" raw="{base64.b64encode(RAW).decode()}"><part>{WORD}</part></r>',
    2: f'<r name="{WORD}">{WORD}</r>',  # what is required is missing
    3: f'<r need="x" short="{WORD} {WORD} {WORD}"/>',
    4: f'<r need="x" fixed="{WORD} {WORD} {WORD}"/>',
    5: f'<r need="x" whole="{WORD}"/>',
    6: f'<r need="x" whole="{NUMBER}{NUMBER}"/>',
    7: f'<r need="x" amount="{NUMBER}{NUMBER}.5"/>',
    8: f'<r need="x" amount="{NUMBER}.555"/>',
    9: f'<r need="x" ratio="{WORD}"/>',
    10: f'<r need="x" flag="{WORD}"/>',
    11: '<r need="x" day="1887-07-00"/>',
    12: f'<r need="x" moment="1887-07-07T{WORD}"/>',
    13: f'<r need="x" hour="{WORD}"/>',
    14: '<r need="x" zoned="1887-07-07T00:00:00"/>',
    15: f'<r need="x" guid="{{{WORD}}}"/>',
    16: f'<r need="x" raw="{WORD}!"/>',
    17: f'<r need="x" raw="{base64.b64encode(RAW * 2).decode()}"/>',
    18: f'<r need="x" letter="{WORD}"/>',
    19: f'<r need="x" cast="{WORD}"/>',
    20: f'<r need="x" divide="{NUMBER}"/>',
    21: f'<r need="x" add="{NUMBER}" from="1887-07-07"/>',
    22: f'<r need="x" plug="{WORD}"/>',
    23: f"<r need='x'><several>{WORD}</several><several>{WORD}</several></r>",
    24: f'<r need="x" short="{WORD} 日本"/>',
    25: f'<r need="x"><c keep="{WORD}" n="1"/></r>',
    26: f'<r need="x"><c keep="1" n="{WORD}"/><c keep="1" n="{WORD}"/></r>',  # a key twice
    27: f'<r need="{WORD}"><{WORD}>{WORD}</r>',  # not well-formed
    28: f'<r need="x">&{WORD};</r>',
    29: f'<!DOCTYPE r [<!ENTITY {WORD} SYSTEM "file:///{WORD}">]><r need="x">&{WORD};</r>',
    30: f'<?xml version="1.0" encoding="{WORD}"?><r need="x"/>',
    31: f'<{WORD}:r need="x" name="{WORD}"/>',
    32: f'<r need="x" {WORD}="{WORD}" {WORD}="{WORD}"/>',
    33: f"{WORD}",
    34: f"<{WORD}/>",
    35: f'<r need="x" other="{WORD}"/>',
    # The target refuses these.
    40: f'<r need="x" name="{WORD} twice"/>',
    41: f'<r need="x" name="{WORD} twice"/>',
    42: f'<r need="x" checked="bad {WORD}"/>',
    43: f'<r need="x" checked="raise {WORD}"/>',
    44: f'<r need="x" checked="nul\ue000{WORD}"/>',
    45: f'<r need="x" checked="assert {WORD}"/>',
}
LOADED = {1, 30, 40, 44}
SKIPPED = {34, 35}

_TRIGGERS = {
    "sqlite": [
        "CREATE UNIQUE INDEX one_name ON planted (name)",
        "CREATE TRIGGER refuses BEFORE INSERT ON planted "
        "WHEN substr(new.checked, 1, 3) IN ('bad', 'rai', 'ass') "
        "BEGIN SELECT RAISE(ABORT, 'not this row'); END",
    ],
    "postgresql": [
        "CREATE UNIQUE INDEX one_name ON planted (name)",
        "ALTER TABLE planted ADD CONSTRAINT no_bad CHECK (checked NOT LIKE 'bad%')",
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "IF new.checked LIKE 'raise%' THEN RAISE EXCEPTION 'not % please', new.checked USING DETAIL = "
        "new.checked, HINT = new.checked; END IF; "
        "ASSERT coalesce(new.checked, '') NOT LIKE 'assert%', new.checked; "
        "IF new.checked LIKE 'end%' THEN "
        "RAISE EXCEPTION '%', new.checked USING ERRCODE = 'ZZ123'; END IF; "
        "RETURN new; END $$",
        "CREATE TRIGGER refuses BEFORE INSERT ON planted FOR EACH ROW EXECUTE FUNCTION refuse()",
    ],
    "mssql": [
        "CREATE UNIQUE INDEX one_name ON planted (name) WHERE name IS NOT NULL",
        "ALTER TABLE planted ADD CONSTRAINT no_bad CHECK (checked NOT LIKE N'bad%')",
        "CREATE TRIGGER refuses ON planted AFTER INSERT AS BEGIN "
        "DECLARE @said nvarchar(200) = (SELECT MIN(checked) FROM inserted "
        "WHERE checked LIKE N'raise%' OR checked LIKE N'assert%'); "
        "IF @said IS NOT NULL BEGIN; THROW 50001, @said, 1; END; END",
    ],
}


def refuse(text: str) -> str:
    """A plug-in with a bug whose message holds the value."""
    raise ValueError(f"cannot take {text}")


def plant(url: str, documents: dict[int, str]) -> None:
    """Put the documents into a source table of this database."""
    session = open_engine(url).connect(write=True, application="tests")
    try:
        columns = portable(dialect_of(url), "app_id integer NOT NULL PRIMARY KEY, app_xml {text}")
        session.execute(f"CREATE TABLE app_xml ({columns})")
        for key, content in documents.items():
            session.execute("INSERT INTO app_xml (app_id, app_xml) VALUES (?, ?)", (key, content))
    finally:
        session.close()


def make_strict(url: str) -> None:
    """Give the target's tables rules that the contract does not know."""
    session = open_engine(url).connect(write=True, application="tests")
    try:
        for statement in _TRIGGERS[dialect_of(url)]:
            session.execute(statement)
    finally:
        session.close()


def tamper(url: str) -> None:
    """Change a loaded value behind the loader's back."""
    session = open_engine(url).connect(write=True, application="tests")
    try:
        session.execute("UPDATE planted SET short = ? WHERE id = 1", (f"{WORD} changed",))
    finally:
        session.close()


def bookkeeping(url: str) -> str:
    """All that the tables of the ledger hold, as text."""
    names = [spec.name for spec in bookkeeping_specs()]
    return "\n".join(repr(row) for name in names for row in query(url, f"SELECT * FROM {name}"))


def contract_file(folder: Path) -> Path:
    """Write the contract down."""
    path = folder / "planted.yaml"
    path.write_text(CONTRACT, encoding="utf-8")
    return path
