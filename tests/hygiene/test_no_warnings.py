"""Under ``-X dev -W error`` a load shows no warning: nothing is left open, nothing deprecated is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

PROGRAM = """
import gc, sys
from xml_extractor import Contract, LoadOptions, load
from xml_extractor.engines import open_engine
from xml_extractor.resources import shipped_config
from xml_extractor.source.sample import write_sample

folder = sys.argv[1]
contract = Contract.read(shipped_config("loan_application.yaml"))
source = f"sqlite:///{folder}/source.db"
write_sample(open_engine(source), contract.plan, 40, 1)
for executor in ("serial", "thread", "process"):
    options = LoadOptions(create_tables=True, executor=executor, workers=1)
    summary = load(source, f"sqlite:///{folder}/{executor}.db", contract, options)
    print(executor, summary.documents.loaded + summary.documents.quarantined)
    gc.collect()
"""


def test_each_executor_loads_without_a_warning(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, tmp_path.as_posix()],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert run.stdout.split("\n") == ["serial 40", "thread 40", "process 40", ""]
    assert "Warning" not in run.stderr  # of what is collected, which Python can but print
    assert "Exception ignored" not in run.stderr
