"""What tests ask of a page in a real browser."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from selenium.webdriver.chromium.webdriver import ChromiumDriver

_CONTRASTS = (Path(__file__).parent / "contrasts.js").read_text(encoding="utf-8")


class Window:
    """A browser's window, which shows one page at a time."""

    def __init__(self, driver: ChromiumDriver) -> None:
        self._driver = driver
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def open(self, page: Path, *, width: int = 1280, dark: bool = False, paper: bool = False) -> None:
        """Show a page from its file, in a window so wide, on a system with this theme."""
        command = self._driver.execute_cdp_cmd
        command("Emulation.setDeviceMetricsOverride", {
            "width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600,
        })  # fmt: skip
        theme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        command("Emulation.setEmulatedMedia", {"features": [theme], "media": "print" if paper else "screen"})
        self._read_logs()
        self.requests, self.complaints = [], []
        self._driver.get(page.resolve().as_uri())
        self._read_logs()

    def run(self, script: str, *arguments: object) -> Any:
        """Run JavaScript in the page and return what it returns."""
        return self._driver.execute_script(script, *arguments)

    def contrasts(self) -> list[dict[str, Any]]:
        """Return every text and every shape that is seen, with its contrast to what is behind it."""
        found = self.run(_CONTRASTS)
        assert isinstance(found, list)
        return found

    def picture(self, file: Path) -> None:
        """Write a picture of the window."""
        self._driver.save_screenshot(str(file))

    def _read_logs(self) -> None:
        self.complaints += [entry["message"] for entry in self._driver.get_log("browser")]
        for entry in self._driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                self.requests.append(message["params"]["request"]["url"])
