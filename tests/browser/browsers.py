"""Finds a browser with its driver on this machine, and starts it; downloads nothing."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver.chromium.options import ChromiumOptions
from selenium.webdriver.chromium.webdriver import ChromiumDriver

WHAT_TO_INSTALL = (
    "no Chromium, Chrome or Edge with its driver (chromedriver, msedgedriver) was found; on Debian and "
    "Ubuntu: apt-get install chromium chromium-driver (`make test` does that for root); elsewhere put the "
    "browser's driver, of the browser's version, on the PATH, or name its folder in CHROMEWEBDRIVER or "
    "EDGEWEBDRIVER"
)
_FLAGS = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-dev-shm-usage",  # containers have little of it
)  # fmt: skip
_CHROMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_EDGES = ("microsoft-edge", "microsoft-edge-stable", "msedge")
_INSTALLED = {
    "win32": {
        "chrome": [r"C:\Program Files\Google\Chrome\Application\chrome.exe"],
        "edge": [r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe"],
    },
    "darwin": {
        "chrome": ["/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"],
        "edge": ["/Applications/Microsoft Edge.app/Contents/MacOS/Microsoft Edge"],
    },
}
"""Where installers put them on systems that do not put them on the PATH."""


def find_browser() -> tuple[str, str, str] | None:
    """Return kind (chrome or edge), program and driver of a browser on this machine, if there is one."""
    for kind, names, driver, folder in (
        ("chrome", _CHROMES, "chromedriver", "CHROMEWEBDRIVER"),
        ("edge", _EDGES, "msedgedriver", "EDGEWEBDRIVER"),
    ):
        places = [*names, *_INSTALLED.get(sys.platform, {}).get(kind, [])]
        named = os.environ.get(folder)
        if named is not None:  # it is for what the browser's maker installs, not for a distribution's
            places.sort(key=lambda place: "chromium" in place)
        program = next(filter(None, map(shutil.which, places)), None)
        found = shutil.which(driver, path=named) or shutil.which(driver)
        if program is not None and found is not None:
            return kind, program, found
    return None


@contextmanager
def browser(folder: Path) -> Iterator[ChromiumDriver]:
    """Start the browser with an empty profile in ``folder``, and end it.

    Raises:
        LookupError: there is none; says what to install.
    """
    found = find_browser()
    if found is None:
        raise LookupError(WHAT_TO_INSTALL)
    kind, program, driver = found
    if kind == "chrome":
        from selenium.webdriver import Chrome as Driver
        from selenium.webdriver import ChromeOptions as Options
        from selenium.webdriver.chrome.service import Service
    else:
        from selenium.webdriver import Edge as Driver  # type: ignore[assignment]
        from selenium.webdriver import EdgeOptions as Options  # type: ignore[assignment]
        from selenium.webdriver.edge.service import Service  # type: ignore[assignment]
    options: ChromiumOptions = Options()
    options.binary_location = program
    for flag in (*_FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability(
        f"{'goog' if kind == 'chrome' else 'ms'}:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    started = Driver(options=options, service=Service(driver))
    try:
        started.set_page_load_timeout(30)
        started.set_script_timeout(30)
        yield started
    finally:
        started.quit()
