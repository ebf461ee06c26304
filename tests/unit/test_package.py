"""What pip installs: all packages, and the files in them that are no modules."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SETUP = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]


def test_every_package_is_named() -> None:
    found = {
        ".".join(file.parent.relative_to(ROOT).parts)
        for file in (ROOT / "xml_extractor").rglob("__init__.py")
    }
    assert set(SETUP["packages"]) == found | {"xml_extractor.config"}


NATIVE = {".pyx", ".pxi", ".c", ".so", ".pyd"}
"""Sources of the native interpreter, which a source distribution has, and what is built of them."""


def test_every_file_that_is_no_module_is_named() -> None:
    named = {
        file
        for package, patterns in SETUP["package-data"].items()
        for pattern in patterns
        for file in ROOT.joinpath(*package.split(".")).glob(pattern)
    }
    found = {
        file
        for file in (ROOT / "xml_extractor").rglob("*")
        if file.is_file() and file.suffix not in {".py", ".pyc", *NATIVE}
    }
    assert found <= named, sorted(found - named)
