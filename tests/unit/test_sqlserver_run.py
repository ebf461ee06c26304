"""What a run of the tests says of SQL Server: one line where there is none, an error where it is required."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import mssql_gaps
from tests.support.mssql_servers import ENVIRONMENT, MssqlServer
from tests.support.program import CHECKOUT

NEEDS_IT = "tests/integration/engines/test_mssql_fixture.py"


def run(tmp_path: Path, *arguments: str, **environment: str) -> tuple[int, str]:
    """A run of the tests on a machine without docker: exit code and output."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("XML_EXTRACTOR", "PYTEST"))
    }
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments],
        cwd=CHECKOUT, env={**kept, "PATH": str(tmp_path), **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_tests_without_a_server_are_told_in_one_line(tmp_path: Path, workers: list[str]) -> None:
    code, output = run(tmp_path, NEEDS_IT, "tests/unit/test_resources.py", *workers)
    assert code == 0, output
    [line] = [line for line in output.splitlines() if "SQL Server" in line]
    assert line.startswith("SQL Server: 2 tests not run: no server")
    assert f"Set {ENVIRONMENT}=mssql+pyodbc://" in line
    assert "docs/sql-server.md" in line
    assert "SKIPPED" not in output


def test_only_tests_that_were_asked_for_are_missed(tmp_path: Path) -> None:
    _, output = run(tmp_path, NEEDS_IT, "tests/unit/test_resources.py", "-m", "not sqlserver")
    assert "SQL Server" not in output


@pytest.mark.parametrize("workers", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_a_server_that_is_required_and_not_there_is_an_error(tmp_path: Path, workers: list[str]) -> None:
    code, output = run(tmp_path, NEEDS_IT, *workers, XML_EXTRACTOR_REQUIRE_MSSQL="1")
    assert code != 0
    assert "there is no SQL Server" in output


def test_a_server_that_is_named_and_cannot_be_reached_is_an_error(tmp_path: Path) -> None:
    url = "mssql+pyodbc://nobody:s3cret@127.0.0.1:1/master?Encrypt=no&LoginTimeout=1"
    code, output = run(tmp_path, NEEDS_IT, **{ENVIRONMENT: url})
    assert code == 1
    assert "cannot be reached" in output
    assert "s3cret" not in output


def test_gaps_are_those_of_the_server_at_hand() -> None:
    stock = MssqlServer("", "", "Microsoft SQL Server 2022 (RTM) - 16.0.1000.6\n\tOct 8 2022")
    babelfish = MssqlServer(
        "", "", "Babelfish for PostgreSQL with SQL Server Compatibility - 12.0\nPostgreSQL 16.4"
    )
    with_tests = [gap for gap in mssql_gaps.ALL if gap.tests]
    assert with_tests
    for gap in with_tests:
        for test in gap.tests:
            assert mssql_gaps.gap_of(test, stock) is None
            assert mssql_gaps.gap_of(test, babelfish) is not None
            assert (CHECKOUT / test.partition("::")[0]).is_file(), f"{test}: there is no such file"
    assert len({gap.reason for gap in mssql_gaps.ALL}) == len(mssql_gaps.ALL)
