"""``make fuzz``: the coverage-guided fuzzers, each for a time, from seeds made on the spot.

What a fuzzer finds is kept in ``.fuzz/found/`` and named; the fuzzer goes on for the rest of its time.
``.fuzz/corpus/`` keeps what reached new places, so that the next run goes on from there.  Ends with 1
where anything was found, with 2 where the fuzzers cannot run here.
"""

from __future__ import annotations

import argparse
import importlib.util
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path

FUZZERS = ("mapper", "contract", "expression")
_PROJECT = Path(__file__).parents[2]
_HOME = _PROJECT / ".fuzz"
_MAX_LENGTH = {"mapper": 65_536, "contract": 16_384, "expression": 2_048}
_INPUT_SECONDS = 60
"""A single input that takes longer is a finding: a hang."""
_MEMORY_MIB = 2048
_STATUS = re.compile(r"^#(\d+)\s+(\w+)\s+cov: (\d+) ft: (\d+) corp: (\d+)", re.MULTILINE)
_NO_ATHERIS = (
    "The coverage-guided fuzzers need atheris, which is not installed here: it has wheels for Linux only. "
    "There: pip install -r requirements-fuzz.txt. Everywhere else `make test` runs what needs no atheris "
    "(tests/fuzz)."
)


@dataclass
class Figures:
    """What a fuzzer did, over all its restarts."""

    executions: int = 0
    first_coverage: int = 0
    coverage: int = 0
    features: int = 0
    corpus: int = 0
    found: list[Path] = field(default_factory=list)
    reasons: list[str] = field(default_factory=list)


def write_seeds(name: str, folder: Path) -> None:
    """Write a fuzzer's seeds; they come from the program, so none is kept in the project."""
    program = (
        f"import sys, tests.fuzz.fuzz_{name} as f\n"
        "for s in f.seeds(): sys.stdout.buffer.write(len(s).to_bytes(4, 'big') + s)"
    )
    data = subprocess.run(
        [sys.executable, "-c", program], cwd=_PROJECT, check=True, capture_output=True
    ).stdout
    while data:
        size = int.from_bytes(data[:4], "big")
        seed, data = data[4 : 4 + size], data[4 + size :]
        (folder / f"seed-{sha256(seed).hexdigest()[:16]}").write_bytes(seed)


def fuzz(name: str, seconds: int) -> Figures:
    """Run one fuzzer for a time."""
    corpus, found = _HOME / "corpus" / name, _HOME / "found" / name
    corpus.mkdir(parents=True, exist_ok=True)
    found.mkdir(parents=True, exist_ok=True)
    write_seeds(name, corpus)
    figures = Figures()
    known = set(found.iterdir())
    end = time.monotonic() + seconds
    while (left := int(end - time.monotonic())) > 0:
        command = [
            sys.executable, "-m", f"tests.fuzz.fuzz_{name}", str(corpus), f"-max_total_time={left}",
            f"-timeout={_INPUT_SECONDS}", f"-rss_limit_mb={_MEMORY_MIB}", f"-artifact_prefix={found}/",
            f"-max_len={_MAX_LENGTH[name]}", "-print_final_stats=1", "-len_control=0",
        ]  # fmt: skip
        run = subprocess.run(
            command, cwd=_PROJECT, check=False, text=True, errors="replace",
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=left + 600,
        )  # fmt: skip
        statuses = _STATUS.findall(run.stdout)
        if statuses:
            executions, _, coverage, features, inputs = statuses[-1]
            figures.executions += int(executions)
            inited = next((status for status in statuses if status[1] == "INITED"), statuses[0])
            figures.first_coverage = figures.first_coverage or int(inited[2])
            figures.coverage, figures.features, figures.corpus = int(coverage), int(features), int(inputs)
        new = sorted(set(found.iterdir()) - known)
        known.update(new)
        figures.found += new
        if run.returncode == 0:
            break
        if not new and not statuses:
            raise SystemExit(f"the fuzzer {name} did not start:\n{run.stdout[-3000:]}")
        figures.reasons.append(_reason(run.stdout))
    return figures


def _reason(output: str) -> str:
    """The lines that say what was found."""
    lines = [line for line in output.splitlines() if line.strip()]
    for place, line in enumerate(lines):
        if "Uncaught Python exception" in line:
            return " | ".join(lines[place + 1 : place + 3])
        if "ERROR: libFuzzer:" in line:
            return line.strip()
    return lines[-1].strip() if lines else "no output"


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=600, help="seconds for each fuzzer")
    parser.add_argument(
        "fuzzers", nargs="*", metavar="FUZZER", help=f"of {', '.join(FUZZERS)}; all of them if left out"
    )
    options = parser.parse_args()
    unknown = set(options.fuzzers) - set(FUZZERS)
    if unknown:
        parser.error(f"there is no fuzzer {', '.join(sorted(unknown))}")
    if importlib.util.find_spec("atheris") is None:
        sys.stderr.write(_NO_ATHERIS + "\n")
        return 2
    status = 0
    for name in options.fuzzers or FUZZERS:
        started = time.monotonic()
        figures = fuzz(name, options.seconds)
        sys.stdout.write(
            f"{name}: {figures.executions:,} executions in {time.monotonic() - started:,.0f} s; coverage "
            f"{figures.first_coverage:,} → {figures.coverage:,} edges, {figures.features:,} features, "
            f"{figures.corpus:,} inputs kept; found: {len(figures.found)}\n"
        )
        for path, reason in zip(figures.found, figures.reasons, strict=False):
            sys.stdout.write(f"    {path.relative_to(_PROJECT)}: {reason}\n")
        sys.stdout.flush()
        status = status or int(bool(figures.found))
    return status


if __name__ == "__main__":
    sys.exit(main())
