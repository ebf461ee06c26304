"""The versions that a load ran with: without them its figures cannot be compared with another's."""

from __future__ import annotations

import platform
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from xml_extractor.engines import loaded_drivers
from xml_extractor.errors import UsageError
from xml_extractor.mapping.interpreter_choice import serving

_LIBRARIES: Final = ("lxml", "pydantic", "SQLAlchemy", "sqlglot", "xxhash")
"""Those whose code runs for each document, or decides what does."""

INTERPRETER: Final = "interpreter of contracts"
"""The entry that says ``native`` or ``python``."""


def versions() -> dict[str, str]:
    """Return names and versions of the product, Python, the system, libraries, and the drivers in use; and
    which interpreter of contracts serves, unless the one that is asked for cannot be had.

    No machine's name, nor a path, is among them.
    """
    from xml_extractor import __version__

    found = {
        "xml-extractor": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.machine()}",
    }
    with suppress(UsageError):  # the load ends with it, and its summary is written all the same
        found[INTERPRETER] = serving()[0].value
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
