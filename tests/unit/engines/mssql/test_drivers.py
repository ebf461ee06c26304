"""Which driver is taken on which machine, and what is said where one is missing; the machines are made up."""

from __future__ import annotations

import ctypes
import importlib
import logging
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from xml_extractor.engines.mssql import drivers
from xml_extractor.engines.mssql.connection import ConnectionSettings
from xml_extractor.errors import UsageError

ANY = ConnectionSettings("h", "d", trusted=True)
NO_ODBC = ImportError("libodbc.so.2: cannot open shared object file: No such file or directory")
LTDL = "libltdl.so.7: cannot open shared object file: No such file or directory"


class Machine:
    """What is installed; whatever it has not, cannot be imported or loaded."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder = folder
        self.registered: list[str] = []
        self.failing: dict[str, Exception] = {}
        self.unloadable: str | None = None
        monkeypatch.setattr(importlib, "import_module", self._import)
        monkeypatch.setattr(ctypes, "CDLL", self._load)
        monkeypatch.setattr(platform, "machine", lambda: "x86_64")
        monkeypatch.setattr(sys, "platform", "linux")
        self.system = {"ID": "debian"}
        monkeypatch.setattr(platform, "freedesktop_os_release", lambda: self.system)

    def library(self, path: str) -> Path:
        """Put a file into the package mssql-python-odbc."""
        file = self.folder / "libs" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()
        return file

    def _import(self, name: str) -> Any:
        if name in self.failing:
            raise self.failing[name]
        if name == "pyodbc":
            return SimpleNamespace(drivers=lambda: self.registered)
        return SimpleNamespace(get_libs_dir=lambda: str(self.folder / "libs"))

    def _load(self, name: str) -> None:
        assert Path(name).is_file()
        if self.unloadable is not None:
            raise OSError(self.unloadable)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    forget()
    yield Machine(tmp_path, monkeypatch)
    forget()


def forget() -> None:
    for remembered in (drivers.find_driver, drivers._usable_driver, drivers.missing_library):
        remembered.cache_clear()


# ----------------------------------------------------------------------------------- ODBC drivers


def test_the_newest_driver_of_the_vendor_is_taken_and_no_other(machine: Machine) -> None:
    machine.registered = [
        "FreeTDS", "ODBC Driver 9 for SQL Server", "ODBC Driver 17 for SQL Server",
        "ODBC Driver 18 for SQL Server", "SQL Server Native Client 11.0",
    ]  # fmt: skip
    machine.library("linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1")
    assert drivers.find_driver() == "ODBC Driver 18 for SQL Server"
    assert drivers.driver_origin(drivers.find_driver()).endswith("as installed on this machine")


def test_freetds_is_never_taken_by_itself_but_can_be_named(machine: Machine) -> None:
    machine.registered = ["FreeTDS"]
    with pytest.raises(UsageError, match="pip install mssql-python"):
        drivers.find_driver()
    named = ConnectionSettings("h", "d", odbc_driver="FreeTDS")
    assert drivers.odbc_driver(named) == "FreeTDS"
    assert drivers.choose_driver(named) == "pyodbc"


def test_the_packaged_library_is_taken_where_nothing_newer_is_installed(machine: Machine) -> None:
    machine.registered = ["ODBC Driver 17 for SQL Server"]
    library = machine.library("linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1")
    assert drivers.find_driver() == str(library)
    assert "18.6 from the Python package" in drivers.driver_origin(str(library))


def test_an_installed_driver_serves_where_the_packaged_one_cannot_be_loaded(machine: Machine) -> None:
    machine.registered = ["ODBC Driver 17 for SQL Server"]
    machine.library("linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1")
    machine.unloadable = LTDL
    assert drivers.find_driver() == "ODBC Driver 17 for SQL Server"


@pytest.mark.parametrize(
    ("system", "build"),
    [
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, "debian_ubuntu"),
        ({"ID": "linuxmint", "ID_LIKE": "ubuntu debian"}, "debian_ubuntu"),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, "rhel"),
        ({"ID": "opensuse-leap", "ID_LIKE": "suse opensuse"}, "suse"),
        ({"ID": "somethingelse"}, "debian_ubuntu"),
    ],
)
def test_the_build_for_the_system_is_taken(system: dict[str, str], build: str, machine: Machine) -> None:
    machine.system = system
    for name in ("debian_ubuntu", "rhel", "suse"):
        machine.library(f"linux/{name}/arm64/lib/libmsodbcsql-18.6.so.2.1")
        machine.library(f"linux/{name}/x86_64/lib/libmsodbcsql-18.6.so.2.1")
        machine.library(f"linux/{name}/x86_64/lib/libodbcinst.so.2")
    found = drivers.packaged_library()
    assert found is not None
    assert found.relative_to(machine.folder / "libs" / "linux").parts[:2] == (build, "x86_64")


def test_whatever_build_the_package_has_is_taken(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "aarch64")
    library = machine.library("linux/alpine/arm64/lib/libmsodbcsql-18.6.so.2.1")
    machine.library("linux/alpine/arm64/lib/libmsodbcsql-18.10.so.1.1").rename(library.with_name("other.so"))
    assert drivers.packaged_library() == library
    newer = machine.library("linux/alpine/arm64/lib/libmsodbcsql-18.10.so.1.1")
    assert drivers.packaged_library() == newer
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert drivers.packaged_library() is None


def test_macos_has_a_layout_of_its_own(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    monkeypatch.setattr(platform, "machine", lambda: "arm64")
    library = machine.library("macos/arm64/lib/libmsodbcsql.18.dylib")
    assert drivers.find_driver() == str(library)


def test_windows_takes_registered_drivers_only(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "win32")
    machine.library("windows/x64/msodbcsql18.dll")
    machine.library("linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1")
    assert drivers.choose_driver(ANY) == "mssqlpython"
    forget()
    machine.registered = ["SQL Server", "ODBC Driver 18 for SQL Server"]
    assert drivers.choose_driver(ANY) == "pyodbc"
    assert drivers.find_driver() == "ODBC Driver 18 for SQL Server"


# -------------------------------------------------------------------------------- Python's drivers


def test_mssql_python_is_taken_where_pyodbc_cannot_be(
    machine: Machine, caplog: pytest.LogCaptureFixture
) -> None:
    machine.failing["pyodbc"] = NO_ODBC
    machine.library("linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1")
    with caplog.at_level(logging.INFO):
        assert drivers.choose_driver(ANY) == drivers.choose_driver(ANY) == "mssqlpython"
    assert len(caplog.messages) == 1, "it is said once"
    assert "apt-get install unixodbc" in caplog.text


def test_a_driver_that_is_named_is_taken_or_refused(machine: Machine) -> None:
    machine.library("linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1")
    named = ConnectionSettings("h", "d", trusted=True, driver="pyodbc")
    assert drivers.choose_driver(named) == "pyodbc"
    assert drivers.choose_driver(ANY) == "pyodbc"
    assert drivers.choose_driver(ConnectionSettings("h", "d", driver="mssqlpython")) == "mssqlpython"
    forget()
    machine.failing["pyodbc"] = NO_ODBC
    for settings in (named, ConnectionSettings("", "d", dsn="office")):
        with pytest.raises(
            UsageError, match=r"libodbc\.so\.2 is missing; install it: apt-get install unixodbc"
        ):
            drivers.choose_driver(settings)


def test_where_neither_can_be_used_pyodbc_says_why(machine: Machine) -> None:
    machine.failing["pyodbc"] = NO_ODBC
    machine.failing["mssql_python"] = ModuleNotFoundError(
        "No module named 'mssql_python'", name="mssql_python"
    )
    with pytest.raises(UsageError, match="unixodbc"):
        drivers.choose_driver(ANY)


@pytest.mark.parametrize("load", [drivers.find_driver, drivers.import_mssql_python])
def test_a_packaged_driver_that_lacks_a_library(load: Callable[[], Any], machine: Machine) -> None:
    machine.library("linux/debian_ubuntu/x86_64/lib/libmsodbcsql-18.6.so.2.1")
    machine.unloadable = LTDL
    with pytest.raises(UsageError, match=r"libltdl\.so\.7 is missing; install it: apt-get install libltdl7$"):
        load()


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("No module named 'pyodbc'", name="pyodbc"), "pip install pyodbc"),
        (ModuleNotFoundError("No module named 'other'", name="other"), "pip install --upgrade pyodbc"),
        (ImportError("undefined symbol: SQLx"), "undefined symbol: SQLx"),
        (NO_ODBC, "apt-get install unixodbc"),
    ],
)
def test_a_module_that_cannot_be_imported(error: Exception, expected: str, machine: Machine) -> None:
    machine.failing["pyodbc"] = error
    with pytest.raises(UsageError) as caught:
        drivers.import_pyodbc()
    assert expected in str(caught.value)


# ------------------------------------------------------------------------------ missing libraries


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        (LTDL, "libltdl.so.7"),
        ("Error loading shared library libgssapi_krb5.so.2: No such file or directory (needed by /x/lib.so)",
         "libgssapi_krb5.so.2"),
        ("dlopen(/x/lib.dylib, 0x0006): Library not loaded: @rpath/libodbcinst.2.dylib\n"
         "  Referenced from: <1> /x/lib.dylib\n  Reason: tried: (no such file)", "libodbcinst.2.dylib"),
        ("wrong ELF class: ELFCLASS32", None),
    ],
)  # fmt: skip
def test_what_a_loader_says_of_a_missing_library(text: str, missing: str | None, machine: Machine) -> None:
    library = machine.library("x.so")
    machine.unloadable = text
    assert drivers.missing_library(library) == missing


@pytest.mark.parametrize(
    ("system", "library", "command"),
    [
        ("debian", "libodbc.so.2", "apt-get install unixodbc"),
        ("debian", "libgssapi_krb5.so.2", "apt-get install libgssapi-krb5-2"),
        ("debian", "libkrb5.so.3", "apt-get install libkrb5-3"),
        ("fedora", "libodbc.so.2", "dnf install unixODBC"),
        ("fedora", "libltdl.so.7", "dnf install libtool-ltdl"),
        ("fedora", "libkrb5.so.3", "dnf install krb5-libs"),
        ("sles", "libltdl.so.7", "zypper install libltdl7"),
        ("alpine", "libodbc.so.2", "apk add unixodbc"),
        ("alpine", "libstdc++.so.6", "apk add libstdc++"),
    ],
)
def test_the_package_to_install_is_named(system: str, library: str, command: str, machine: Machine) -> None:
    machine.system = {"ID": system}
    assert drivers.install_advice(library).endswith(f"{library} is missing; install it: {command}")


def test_on_an_unknown_system_all_packages_are_named(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine.system = {"ID": "nixos"}
    advice = drivers.install_advice("libodbc.so.2")
    assert all(part in advice for part in ("Debian, Ubuntu: apt-get", "dnf install unixODBC", "brew install"))
    assert "the package of your system" in drivers.install_advice("libunheardof.so.1")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert drivers.install_advice("libodbc.2.dylib").endswith("brew install unixodbc")


def test_advice_on_what_the_odbc_manager_says(machine: Machine) -> None:
    assert drivers.advice_on("[08001] Login timeout expired") is None
    said = "('01000', \"[01000] [unixODBC][Driver Manager]Can't open lib '{}' : file not found (0)\")"
    assert "is not there" in (drivers.advice_on(said.format("/no/such.so")) or "")
    library = machine.library("x.so")
    assert "another kind of machine" in (drivers.advice_on(said.format(library)) or "")
    forget()
    machine.unloadable = LTDL
    assert "apt-get install libltdl7" in (drivers.advice_on(said.format(library)) or "")


def test_what_is_installed_here_agrees() -> None:
    """No fakes: on whatever machine this runs, a driver that is found can be loaded."""
    pytest.importorskip("mssql_python_odbc", exc_type=ImportError)
    library = drivers.packaged_library()
    if sys.platform == "win32":
        return
    assert library is not None
    assert library.is_file()
    assert drivers._version(library) >= (18, 0)


@pytest.mark.skipif(sys.platform == "win32", reason="the ODBC manager of Windows takes no paths")
def test_a_driver_that_the_odbc_manager_cannot_open_is_one_sentence(tmp_path: Path) -> None:
    pytest.importorskip("pyodbc", exc_type=ImportError)
    from xml_extractor.engines.mssql.pyodbc_wire import PyodbcWire

    named = ConnectionSettings("h", "d", "u", "hunter2", odbc_driver=str(tmp_path / "gone.so"))
    with pytest.raises(UsageError, match=r"gone\.so is not there") as caught:
        PyodbcWire.open(named, application="x", connect_seconds=2, statement_seconds=2)
    assert "hunter2" not in str(caught.value)
