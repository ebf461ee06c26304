"""Microsoft's ODBC driver for the tests' own connections: the system's, else the one in the wheel."""

from __future__ import annotations

import functools
import importlib.util
import platform
import sys
from pathlib import Path

_FAMILIES = {"debian": "debian_ubuntu", "ubuntu": "debian_ubuntu", "suse": "suse", "alpine": "alpine"}
_MACHINES = {"amd64": "x86_64", "aarch64": "arm64"}


@functools.cache
def driver_library() -> str:
    """What to name as DRIVER in a connection string: an installed driver's name, or a file."""
    import pyodbc

    installed = sorted(name for name in pyodbc.drivers() if name.startswith("ODBC Driver"))
    if installed:
        return installed[-1]
    found = importlib.util.find_spec("mssql_python_odbc")
    assert found is not None, "no driver is installed, and neither is mssql-python-odbc"
    assert found.origin is not None
    system = {"linux": "linux", "darwin": "macos", "win32": "windows"}[sys.platform]
    machine = platform.machine().lower()
    machine = _MACHINES.get(machine, machine)
    files = sorted(
        file
        for file in (Path(found.origin).parent / "libs" / system).rglob("*msodbcsql*")
        if file.suffix != ".rll" and (machine in file.parts or system != "linux")
    )
    if system == "linux":
        files = [file for file in files if _family() in file.parts]
    assert files, f"mssql-python-odbc holds no driver for {system}, {machine}"
    return str(files[-1])


def _family() -> str:
    release = platform.freedesktop_os_release()
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((_FAMILIES[name] for name in names if name in _FAMILIES), "rhel")
