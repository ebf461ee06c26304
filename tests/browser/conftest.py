from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.browser.browsers import browser
from tests.browser.window import Window


@pytest.fixture(scope="session")
def window(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Window]:
    """A browser's window; in CI a missing browser is a failure."""
    with_profile = browser(tmp_path_factory.mktemp("browser"))
    try:
        driver = with_profile.__enter__()
    except LookupError as reason:
        if os.environ.get("CI"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
    try:
        yield Window(driver)
    finally:
        with_profile.__exit__(None, None, None)
