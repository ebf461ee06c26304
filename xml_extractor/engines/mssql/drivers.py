"""Finding a driver for SQL Server, and saying in one sentence what is missing where there is none.

Two Python drivers are used: pyodbc, which needs the system's ODBC manager (unixODBC; part of Windows) and
an ODBC driver, and mssql-python, which needs neither.  Microsoft's ODBC driver is taken where it is
installed, else from the package mssql-python-odbc, which comes with mssql-python.  FreeTDS's is never
chosen: it has to be named.  Nothing here connects; results are kept for the life of the process.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import platform
import re
import sys
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from xml_extractor.engines.mssql.connection import ConnectionSettings, Driver
from xml_extractor.errors import UsageError

logger = logging.getLogger(__name__)

_VENDORS_NAME: Final = re.compile(r"ODBC Driver (\d+)(?:\.(\d+))? for SQL Server")
_LIBRARY_NAME: Final = re.compile(r"libmsodbcsql[-.](\d+)(?:\.(\d+))?")

# What each way of loading a shared library says of one that is missing: glibc, musl, macOS.
_MISSING: Final = (
    re.compile(r"(\S+?): cannot open shared object file: No such file"),
    re.compile(r"Error loading shared library (\S+?): No such file"),
    re.compile(r"Library not loaded: (\S+)"),
)
_CANNOT_OPEN: Final = re.compile(r"Can't open lib '([^']+)'")

# The package that holds a library, by the manager that installs it.
_MANAGERS: Final = {
    "debian": "apt-get install", "rhel": "dnf install", "suse": "zypper install",
    "alpine": "apk add", "macos": "brew install",
}  # fmt: skip
_SYSTEMS: Final = {
    "debian": "Debian, Ubuntu", "rhel": "RHEL, Fedora", "suse": "SUSE", "alpine": "Alpine", "macos": "macOS",
}  # fmt: skip
_PACKAGES: Final = {
    "libodbc": ("unixodbc", "unixODBC", "unixODBC", "unixodbc", "unixodbc"),
    "libodbcinst": ("unixodbc", "unixODBC", "unixODBC", "unixodbc", "unixodbc"),
    "libltdl": ("libltdl7", "libtool-ltdl", "libltdl7", "libltdl", "libtool"),
    "libgssapi_krb5": ("libgssapi-krb5-2", "krb5-libs", "krb5", "krb5-libs", "krb5"),
    "libkrb5": ("libkrb5-3", "krb5-libs", "krb5", "krb5-libs", "krb5"),
    "libssl": ("libssl3", "openssl-libs", "libopenssl3", "libssl3", "openssl@3"),
    "libcrypto": ("libssl3", "openssl-libs", "libopenssl3", "libcrypto3", "openssl@3"),
    "libstdc++": ("libstdc++6", "libstdc++", "libstdc++6", "libstdc++", "gcc"),
}  # fmt: skip


# ---------------------------------------------------------------------------------------- choosing


def choose_driver(settings: ConnectionSettings) -> Driver:
    """Return the Python driver to use: the URL's, else pyodbc, else mssql-python.

    Raises:
        UsageError: none can be used; says what to install.
    """
    if settings.driver == "mssqlpython":
        import_mssql_python()
        return settings.driver
    if settings.odbc_driver is not None or settings.dsn is not None:
        import_pyodbc()  # the only one that can be told of them
        return "pyodbc"
    if settings.driver == "pyodbc":
        find_driver()
        return settings.driver
    return _usable_driver()


@cache
def _usable_driver() -> Driver:
    try:
        find_driver()
    except UsageError as without_pyodbc:
        try:
            import_mssql_python()
        except UsageError:
            raise without_pyodbc from None
        logger.info("SQL Server is reached by mssql-python: %s", without_pyodbc)
        return "mssqlpython"
    return "pyodbc"


def odbc_driver(settings: ConnectionSettings) -> str:
    """Return what pyodbc is to be told as ``Driver``: the URL's, else :func:`find_driver`'s.

    Raises:
        UsageError: there is none.
    """
    return settings.odbc_driver if settings.odbc_driver is not None else find_driver()


@cache
def find_driver() -> str:
    """Return Microsoft's newest ODBC driver: its registered name, or the path of its library.

    Raises:
        UsageError: there is none, or a library that it needs is missing.
    """
    registered = [
        (int(found[1]), int(found[2] or 0), found[0])
        for name in import_pyodbc().drivers()
        if (found := _VENDORS_NAME.fullmatch(name))
    ]
    library = packaged_library()
    newest = max(registered, default=None)
    if library is not None and (newest is None or newest[0] < _version(library)[0]):
        missing = missing_library(library)
        if missing is None:
            return str(library)
        if newest is None:
            raise UsageError(
                f"the ODBC driver for SQL Server cannot be loaded: {install_advice(missing)}"
            ) from None
    if newest is None:
        raise UsageError(
            "there is no ODBC driver for SQL Server: pip install mssql-python, which brings Microsoft's, or "
            "install Microsoft's msodbcsql18"
        )
    return newest[2]


def driver_origin(driver: str) -> str:
    """Say where an ODBC driver comes from, for ``doctor``."""
    library = packaged_library()
    if library is not None and driver == str(library):
        major, minor = _version(library)
        return f"Microsoft's ODBC driver {major}.{minor} from the Python package mssql-python-odbc"
    return f"{driver}, as installed on this machine"


def packaged_library() -> Path | None:
    """Return the library of Microsoft's driver inside the package mssql-python-odbc, where there is one for
    this machine; none on Windows, whose ODBC manager takes no paths."""
    try:
        package = importlib.import_module("mssql_python_odbc")
    except ImportError:
        return None
    if sys.platform == "win32":
        return None
    root = Path(package.get_libs_dir())
    machine = platform.machine().lower()
    machines = {"amd64": ("x86_64",), "aarch64": ("arm64", "aarch64")}.get(machine, (machine,))
    if sys.platform == "darwin":
        folders = [root / "macos"]
    else:
        # A wheel holds either the builds for glibc or the one for musl, so that any of them can be loaded;
        # they differ in the system libraries that they were linked with.
        folders = sorted(
            (root / "linux").glob("*"), key=lambda folder: (folder.name != _build(), folder.name)
        )
    found = [
        library
        for folder in folders
        for name in machines
        for library in sorted((folder / name / "lib").glob("libmsodbcsql*"), key=_version, reverse=True)
        if library.is_file() and ".dll" not in library.name
    ]
    return found[0] if found else None


def _build() -> str:
    """Return which of the package's builds is for this system, as it names them."""
    return {"debian": "debian_ubuntu", "rhel": "rhel", "suse": "suse", "alpine": "alpine"}.get(
        system() or "", "debian_ubuntu"
    )


def _version(library: Path) -> tuple[int, int]:
    found = _LIBRARY_NAME.match(library.name)
    return (int(found[1]), int(found[2] or 0)) if found else (0, 0)


# --------------------------------------------------------------------------------------- importing


def import_pyodbc() -> Any:
    """Return the module pyodbc.

    Raises:
        UsageError: it cannot be imported; names what is missing and how to install it.
    """
    return _import("pyodbc", "pyodbc")


def import_mssql_python() -> Any:
    """Return the module mssql_python.

    Raises:
        UsageError: it, or the ODBC driver that it brings, cannot be loaded; says what to install.
    """
    module = _import("mssql_python", "mssql-python")
    library = packaged_library()
    missing = None if library is None else missing_library(library)
    if missing is not None:
        raise UsageError(f"mssql-python cannot load its ODBC driver: {install_advice(missing)}")
    return module


def _import(name: str, package: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name == name:
            raise UsageError(
                f"SQL Server needs the Python package {package}: pip install {package}"
            ) from None
        raise UsageError(f"{package} cannot be imported ({error}): pip install --upgrade {package}") from None
    except (ImportError, OSError) as error:
        missing = _missing_in(str(error))
        if missing is None:
            raise UsageError(f"{package} cannot be imported: {error}") from None
        raise UsageError(f"{package} cannot be imported: {install_advice(missing)}") from None


# ------------------------------------------------------------------------------------ missing libraries


@cache
def missing_library(library: Path) -> str | None:
    """Return the name of the shared library for want of which ``library`` cannot be loaded, or ``None``.

    Where it can be loaded, it stays loaded.
    """
    try:
        ctypes.CDLL(str(library))
    except OSError as error:
        return _missing_in(str(error))
    return None


def _missing_in(text: str) -> str | None:
    for pattern in _MISSING:
        if found := pattern.search(text):
            return found[1].rsplit("/", 1)[-1]
    return None


def advice_on(message: str) -> str | None:
    """Say what is wrong where the ODBC manager said that it cannot open a driver; ``None`` = it did not.

    The manager says ``file not found`` of a file that is there, where a library that it needs is missing.

    Args:
        message: of the driver's exception.
    """
    found = _CANNOT_OPEN.search(message)
    if found is None:
        return None
    library = Path(found[1])
    if not library.is_file():
        return (
            f"the ODBC driver {found[1]} is not there: leave driver=… out of the URL, or correct it; "
            "`odbcinst -q -d` lists the drivers that are installed"
        )
    missing = missing_library(library)
    if missing is None:
        return f"the ODBC driver {found[1]} cannot be loaded; it may be for another kind of machine"
    return f"the ODBC driver {found[1]} cannot be loaded: {install_advice(missing)}"


def install_advice(library: str) -> str:
    """Say in which package a missing shared library is, for this system where it is known, else for all."""
    text = f"the system library {library} is missing"
    packages = _PACKAGES.get(re.split(r"\.(?:so|dylib|\d)", library, maxsplit=1)[0])
    if packages is None:
        return f"{text}; install the package of your system that holds it"
    commands = {
        name: f"{manager} {package}"
        for (name, manager), package in zip(_MANAGERS.items(), packages, strict=True)
    }
    here = system()
    if here is not None:
        return f"{text}; install it: {commands[here]}"
    return f"{text}; install it: " + ", ".join(f"{_SYSTEMS[name]}: {commands[name]}" for name in commands)


def system() -> str | None:
    """Return the family of this operating system by its packages, or ``None`` where it is not known."""
    if sys.platform == "darwin":
        return "macos"
    if sys.platform == "win32":
        return None
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return None
    for word in (release.get("ID", ""), *release.get("ID_LIKE", "").split()):
        for family, words in (
            ("debian", ("debian", "ubuntu")),
            ("rhel", ("rhel", "fedora", "centos", "rocky", "almalinux", "ol", "amzn")),
            ("suse", ("suse", "sles", "opensuse", "opensuse-leap", "opensuse-tumbleweed")),
            ("alpine", ("alpine",)),
        ):
            if word in words:
                return family
    return None
