"""What URLs say of a SQL Server, and the connection strings made of it.  Needs no server and no driver."""

from __future__ import annotations

import pickle
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from xml_extractor.engines.mssql.connection import (
    ConnectionSettings,
    display,
    from_url,
    odbc_string,
    parse_odbc_string,
)
from xml_extractor.engines.mssql.server_url import parse_server, server_url
from xml_extractor.errors import UsageError


def read(url: str, password: str | None = None) -> ConnectionSettings:
    return from_url(make_url(url), password)


def words(settings: ConnectionSettings, driver: str | None = "D", **more: Any) -> dict[str, str]:
    pairs = parse_odbc_string(odbc_string(settings, application="xml_extractor test", driver=driver, **more))
    assert len({name.lower() for name, _ in pairs}) == len(pairs), (
        "a keyword twice is an error to some drivers"
    )
    return dict(pairs)


# -------------------------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mssql://me:pw@db.example:1444/loans",
         ConnectionSettings("db.example,1444", "loans", "me", "pw")),
        ("mssql+pyodbc://me:p%40w@h/d?driver=ODBC+Driver+18+for+SQL+Server&Encrypt=no&TrustServerCertificate=yes",
         ConnectionSettings("h", "d", "me", "p@w", encrypt="no", trust_server_certificate=True,
                            driver="pyodbc", odbc_driver="ODBC Driver 18 for SQL Server")),
        ("mssql+pyodbc://@h/d?trusted_connection=yes",
         ConnectionSettings("h", "d", trusted=True, driver="pyodbc")),
        ("mssql+pyodbc://h/d", ConnectionSettings("h", "d", trusted=True, driver="pyodbc")),
        ("mssql://h/d?TRUSTED_CONNECTION=No", ConnectionSettings("h", "d")),
        ("mssql+mssqlpython://me:pw@h/d?encrypt=strict",
         ConnectionSettings("h", "d", "me", "pw", encrypt="strict", driver="mssqlpython")),
        ("mssql+mssqlpython://h/d?authentication=ActiveDirectoryMsi",
         ConnectionSettings("h", "d", keywords=(("Authentication", "ActiveDirectoryMsi"),),
                            driver="mssqlpython")),
        (r"mssql://me@h\inst/d", ConnectionSettings(r"h\inst", "d", "me")),
        ("mssql://me@h%5Cinst/d", ConnectionSettings(r"h\inst", "d", "me")),
        ("mssql://me@h,1433/d", ConnectionSettings("h,1433", "d", "me")),
        ("mssql://me@[::1]:1433/d", ConnectionSettings("::1,1433", "d", "me")),
        ("mssql://me@/?Server=tcp:h,1433&database=d", ConnectionSettings("tcp:h,1433", "d", "me")),
        ("mssql+pyodbc://me@/?dsn=loans&database=d",
         ConnectionSettings("", "d", "me", driver="pyodbc", dsn="loans")),
        ("mssql+pyodbc://me@host?Database=d",
         ConnectionSettings("host", "d", "me", driver="pyodbc")),
        ("mssql://me@h/d?ApplicationIntent=ReadOnly&MultiSubnetFailover=Yes&autocommit=true&Language=",
         ConnectionSettings("h", "d", "me", keywords=(("ApplicationIntent", "ReadOnly"),
                                                      ("MultiSubnetFailover", "Yes")))),
    ],
)  # fmt: skip
def test_urls(url: str, expected: ConnectionSettings) -> None:
    assert read(url) == expected


def test_an_odbc_connection_string_is_taken_apart() -> None:
    text = (
        "Driver={ODBC Driver 18 for SQL Server};Addr=h,1433; Initial Catalog = d ;User ID=me;"
        "PWD={a;b}}c=};X=1;"
    )
    settings = read(f"mssql+pyodbc:///?odbc_connect={quote_plus(text)}")
    assert settings == ConnectionSettings(
        "h,1433", "d", "me", "a;b}c=", keywords=(("X", "1"),), driver="pyodbc",
        odbc_driver="ODBC Driver 18 for SQL Server",
    )  # fmt: skip
    # Nobody is logged in as the program's user without having said so; the password may come apart.
    text = "SERVER=h;DATABASE=d;Uid=me"
    assert read(f"mssql+pyodbc:///?odbc_connect={quote_plus(text)}", "pw").password == "pw"
    assert read(f"mssql+pyodbc:///?odbc_connect={quote_plus(text)}&password=p%3Bw").password == "p;w"
    assert not read(f"mssql+pyodbc:///?odbc_connect={quote_plus('SERVER=h;DATABASE=d')}").trusted


def test_of_a_keyword_given_twice_the_first_is_taken_as_odbc_does() -> None:
    assert parse_odbc_string("UID=a;uid=b") == [("UID", "a"), ("uid", "b")]
    settings = read(f"mssql+pyodbc:///?odbc_connect={quote_plus('SERVER=h;DATABASE=d;User=a;UID=b')}")
    assert settings.user == "a"


def test_the_password_given_apart_wins_and_is_nowhere_shown() -> None:
    settings = read("mssql://me:hunter1@h/d?KeystoreSecret=hunter3", "hunter2")
    assert settings.password == "hunter2"
    assert "hunter" not in repr(settings) + str(settings) + display(settings)
    assert pickle.loads(pickle.dumps(settings)) == settings
    assert words(settings)["PWD"] == "hunter2"


def test_how_a_database_is_shown() -> None:
    assert display(read(r"mssql://me@h\i/loans")) == r"SQL Server database loans on h\i"
    shown = display(read("mssql+pyodbc://me@/?dsn=office&database=loans"))
    assert shown == "SQL Server database loans of the ODBC data source office"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("mssql://", "names no server"),
        ("mssql:///d", "names no server"),
        ("mssql+mssqlpython://me:hunter2@h", "names no database"),
        ("mssql+pyodbc://me:hunter2@office", "?dsn=office&database="),
        ("mssql+pyodbc://me:hunter2@h/", "names no database"),
        ("mssql://me:hunter2@h/d?Trusted_Connection=yes", "keep one"),
        ("mssql://h/d?password=hunter2", "password without a user"),
        ("mssql://h/d?trusted_connection=hunter2", "yes or no"),
        ("mssql://me@h/d?TrustServerCertificate=hunter2", "yes or no"),
        ("mssql+mssqlpython://me:hunter2@h/d?driver=FreeTDS", "takes no driver"),
        ("mssql+mssqlpython://me:hunter2@/?dsn=x&database=d", "takes no DSN"),
        ("mssql://me:hunter2%00@h/d", "control character"),
        ("mssql://me:hunter2@h/d?a%7Bb=c", "no keyword of ODBC"),
        ("mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3BPWD%3D%7Bhunter2", "cannot be read"),
        ("mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3Bhunter2", "cannot be read"),
        ("mssql+pyodbc:///?odbc_connect=SERVER%3Dh%3BPWD%3D%7Bhunter2%7Dx", "cannot be read"),
    ],
)
def test_urls_that_cannot_be_used(url: str, expected: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(url)
    assert expected in str(caught.value)
    assert "hunter2" not in str(caught.value) + repr(caught.value.__cause__)


# -------------------------------------------------------------------------------- connection strings


def test_what_a_connection_string_says() -> None:
    settings = read("mssql://me:p;w@h:1433/d?Encrypt=no&TrustServerCertificate=no&MultiSubnetFailover=Yes")
    text = odbc_string(settings, application="xml_extractor writer 1", driver="ODBC Driver 18 for SQL Server")
    assert text == (
        "Driver={ODBC Driver 18 for SQL Server};Server=h,1433;Database=d;UID=me;PWD={p;w};Encrypt=no;"
        "TrustServerCertificate=No;ConnectRetryCount=0;KeepAlive=10;KeepAliveInterval=2;LongAsMax=Yes;"
        "APP={xml_extractor writer 1};MultiSubnetFailover=Yes"
    )


def test_encryption_is_left_to_the_driver_where_nobody_says() -> None:
    found = words(read("mssql://me@h/d"))
    assert not {"Encrypt", "TrustServerCertificate", "Trusted_Connection", "PWD"} & found.keys()


def test_read_only_intent_is_told_where_it_is_asked_for() -> None:
    settings = read("mssql://me@h/d")
    assert words(settings, read_only_intent=True)["ApplicationIntent"] == "ReadOnly"
    assert "ApplicationIntent" not in words(settings)


def test_what_the_url_says_wins() -> None:
    settings = read("mssql://me@h/d?keepalive=60&ConnectRetryCount=3&app=mine&APPLICATIONINTENT=ReadWrite")
    found = {name.lower(): value for name, value in words(settings, read_only_intent=True).items()}
    assert (found["keepalive"], found["connectretrycount"], found["app"]) == ("60", "3", "mine")
    assert found["applicationintent"] == "ReadWrite"


def test_a_data_source_stands_in_the_place_of_driver_and_server() -> None:
    found = words(read("mssql+pyodbc://me@/?dsn=office&database=d"))
    assert (found["DSN"], found["Database"]) == ("office", "d")
    assert not {"Driver", "Server"} & found.keys()


def test_mssql_python_is_told_nothing_that_it_refuses() -> None:
    """Its own parser is the judge: it refuses unknown and reserved keywords and empty values."""
    parsing = pytest.importorskip("mssql_python.connection_string_parser")
    url = "mssql://me:%7Ba%7Db;@h:1433/d?Encrypt=strict&app=mine&TrustServerCertificate=yes"
    text = odbc_string(read(url), application="x", driver=None, read_only_intent=True)
    found = parsing._ConnectionStringParser(validate_keywords=True)._parse(text)
    assert found["pwd"] == "{a}b;"
    assert found["server"] == "h,1433"
    assert "app" not in found
    assert odbc_string(read("mssql://h/d"), application="x", driver=None).count("Trusted_Connection=Yes") == 1


def test_the_application_is_cut_to_what_the_server_keeps() -> None:
    text = odbc_string(read("mssql://h/d"), application="x" * 300, driver="D")
    assert dict(parse_odbc_string(text))["APP"] == "x" * 128


PRINTABLE = st.text(
    st.characters(exclude_categories=("Cc", "Cs"), exclude_characters="\x7f"), min_size=1, max_size=20
)


@given(password=PRINTABLE, user=PRINTABLE, value=PRINTABLE, database=PRINTABLE)
def test_any_value_comes_back_out_of_the_connection_string(
    password: str, user: str, value: str, database: str
) -> None:
    settings = ConnectionSettings("h", database, user, password, keywords=(("Language", value),))
    found = words(settings, driver="/a b/lib;{x}.so")
    assert (found["PWD"], found["UID"], found["Database"]) == (password, user, database)
    assert (found["Language"], found["Driver"]) == (value, "/a b/lib;{x}.so")


@given(password=PRINTABLE, user=PRINTABLE, database=PRINTABLE)
def test_any_value_comes_through_a_url(password: str, user: str, database: str) -> None:
    text = odbc_string(ConnectionSettings("h", database, user, password), application="", driver="D")
    settings = from_url(URL.create("mssql+pyodbc", query={"odbc_connect": text}))
    assert (settings.database, settings.user, settings.password) == (database, user, password)
    settings = from_url(make_url(server_url(
        "h", database, username=user, trusted=False, encrypt=None, trust_server_certificate=False,
    )), password)  # fmt: skip
    assert (settings.server, settings.database, settings.user, settings.password) == (
        "h",
        database,
        user,
        password,
    )


@given(st.characters(max_codepoint=0x1F), st.sampled_from(["password", "user", "database", "odbc_driver"]))
def test_control_characters_are_refused(sign: str, where: str) -> None:
    settings = ConnectionSettings("h", **{"database": "d", where: f"hunter2{sign}x"})  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="control character") as caught:
        odbc_string(settings, application="", driver=settings.odbc_driver)
    assert "hunter2" not in str(caught.value)


# --------------------------------------------------------------------------------- server by its parts


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("db.example", "db.example"),
        ("db.example,1444", "db.example,1444"),
        ("db, 1444", "db,1444"),
        (r"db\SQL$2019", r"db\SQL$2019"),
        (r"db\inst,1444", r"db\inst,1444"),
        ("tcp:x.database.windows.net,1433", "tcp:x.database.windows.net,1433"),
        (r"(localdb)\MSSQLLocalDB", r"(localdb)\MSSQLLocalDB"),
        (".", "."),
        ("::1", "::1"),
        ("[fe80::1],1444", "fe80::1,1444"),
    ],
)
def test_a_server_named_by_its_parts(text: str, server: str) -> None:
    url = server_url(
        text, "d", username="DOM\\me@x", trusted=False, encrypt="strict", trust_server_certificate=True
    )
    settings = read(url)
    assert settings == ConnectionSettings(
        server, "d", "DOM\\me@x", encrypt="strict", trust_server_certificate=True
    )
    url = server_url(text, "d", username=None, trusted=True, encrypt=None, trust_server_certificate=False)
    assert read(url) == ConnectionSettings(server, "d", trusted=True)


@pytest.mark.parametrize(
    "text",
    ["", "db:1433", "cafe:1433", "db,", "db,0", "db,65536", "db,x", "a b", "db\\", "u@db", "db/x", "np:db"],
)
def test_what_is_no_server(text: str) -> None:
    with pytest.raises(ValueError, match="not HOST"):
        parse_server(text)


def test_a_database_of_any_name_is_written_so_that_every_sqlalchemy_reads_it() -> None:
    url = server_url("h", "a b?", username="u", trusted=False, encrypt=None, trust_server_certificate=False)
    assert "Database=a+b%3F" in url
    assert read(url) == ConnectionSettings("h", "a b?", "u")


def test_only_pyodbc_takes_a_host_without_a_database_for_a_data_source() -> None:
    for driver, said in (("", True), ("+pyodbc", True), ("+mssqlpython", False)):
        with pytest.raises(UsageError, match="names no database") as caught:
            read(f"mssql{driver}://me@office")
        assert ("of the data source office" in str(caught.value)) is said
