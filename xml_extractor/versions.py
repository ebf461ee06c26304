"""The versions that a load ran with: without them its figures cannot be compared with another's."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from xml_extractor.engines import loaded_drivers

_LIBRARIES: Final = ("lxml", "pydantic", "SQLAlchemy", "sqlglot", "xxhash")
"""Those whose code runs for each document, or decides what does."""


def versions() -> dict[str, str]:
    """Return names and versions of the product, Python, the system, libraries, and the drivers in use.

    No machine's name, nor a path, is among them.
    """
    from xml_extractor import __version__

    found = {
        "xml-extractor": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.machine()}",
    }
    for name in _LIBRARIES:
        installed = _installed(name)
        if installed is not None:
            found[name] = installed
    return found | loaded_drivers()


@cache
def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
