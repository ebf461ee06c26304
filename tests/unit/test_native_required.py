"""Where the native interpreter has to be there, a run of the tests without it is no success."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.program import CHECKOUT

REQUIRE = "XML_EXTRACTOR_REQUIRE_NATIVE"
TESTS_WITHOUT_IT = (
    "import sys; sys.modules['xml_extractor.mapping._native'] = None; import pytest; "
    "sys.exit(pytest.main(['-p', 'no:cacheprovider', 'tests/unit/test_resources.py']))"
)


def environment(required: str | None) -> dict[str, str]:
    kept = {
        name: word for name, word in os.environ.items() if not name.startswith(("XML_EXTRACTOR", "PYTEST"))
    }
    return kept if required is None else {**kept, REQUIRE: required}


@pytest.mark.parametrize(("required", "status"), [("1", 4), ("", 0)])
def test_without_it_tests_run_unless_it_is_required(required: str | None, status: int) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TESTS_WITHOUT_IT], cwd=CHECKOUT, env=environment(required),
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == status, done.stdout + done.stderr
    said = done.stderr.splitlines()
    if required:
        assert said[0].startswith(
            f"ERROR: {REQUIRE} is set, and the native interpreter of contracts cannot be"
        )
        assert "-m pip install -e ." in said[0]
        assert "passed" not in done.stdout
    else:
        assert "passed" in done.stdout


@pytest.mark.skipif(sys.platform == "win32" or shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize(("given", "required"), [(None, "1"), ("1", "1"), ("", "")])
def test_all_that_must_pass_requires_it_unless_told_otherwise(
    given: str | None, required: str, tmp_path: Path
) -> None:
    make = tmp_path / "make"
    make.write_text(f'#!/bin/sh\necho "$1 ${REQUIRE}"\n')
    make.chmod(0o755)
    variables = environment(given)
    variables["PATH"] = f"{tmp_path}{os.pathsep}{variables['PATH']}"
    done = subprocess.run(
        ["bash", ".ci/run"],
        cwd=CHECKOUT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [f"{goal} {required}" for goal in ("lint", "docs-check", "test")]
