"""Where the files are that ship with the product."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from xml_extractor.errors import UsageError


def shipped_config(name: str) -> Path:
    """Return the path of a shipped contract or settings file, such as ``loan_application.yaml``.

    A checkout's ``config/`` wins, so that what is edited there is what runs; an installed package has the
    same files inside it as ``xml_extractor.config``.

    Raises:
        UsageError: no such file ships with the product.
    """
    package = Path(__file__).resolve().parent
    checkout = package.parent
    if (checkout / "pyproject.toml").is_file() and (checkout / "config" / name).is_file():
        return checkout / "config" / name
    installed = Path(str(files("xml_extractor"))) / "config" / name
    if installed.is_file():
        return installed
    raise UsageError(
        f"{name} does not ship with the product; looked in {checkout / 'config'} and {installed.parent}"
    )
