"""Builds the native interpreter of the plan where that can be done; pyproject.toml holds all else.

Nothing that goes wrong here fails an installation: the Python interpreter serves then, and says so.
"""

from __future__ import annotations

import os
import sys

from setuptools import Extension, setup


def _flags() -> list[str]:
    """Flags for the compiler; none where CFLAGS says what is wanted."""
    if "CFLAGS" in os.environ:
        return []
    return ["/O2"] if sys.platform == "win32" else ["-O2", "-g0"]


def native_interpreter() -> list[Extension]:
    """Return the extension, translated to C; nothing where that is not possible."""
    try:
        import lxml
        from Cython.Build import cythonize

        # libxml2's headers come with lxml.  Nothing is linked: structs are read, functions are lxml's.
        native = Extension(
            "xml_extractor.mapping._native",
            ["xml_extractor/mapping/_native.pyx"],
            include_dirs=lxml.get_include(),
            extra_compile_args=_flags(),
        )
        translated: list[Extension] = cythonize([native])
        for extension in translated:
            extension.optional = True  # there may be no compiler; Cython drops the word
    except Exception as error:  # noqa: BLE001  # see above
        sys.stderr.write(f"the native interpreter is not built: {error}\n")
        return []
    return translated


setup(ext_modules=native_interpreter())
