"""``make native-check``: the native interpreter under memory checkers, and a million documents for leaks.

A copy of the project is built with AddressSanitizer and UndefinedBehaviorSanitizer (gcc) and made to work
(tests/native/exercise.py); another one, with debugging symbols, under valgrind's memcheck where that is
installed, over fewer documents because it is 40 times as slow.  In both builds each piece of memory is a
block of its own, so that a step beyond its end is seen.  Then the ordinary build maps a million documents
(tests/native/leaks.py).  Linux only.  Ends with 1 where anything is found, with 2 where nothing can be
checked.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from xml.etree import ElementTree

_PROJECT = Path(__file__).parents[2]
_HOME = _PROJECT / ".native-check"
_PARTS = ("xml_extractor", "tests", "config", "setup.py", "pyproject.toml", "production_processor.py")
_LISTS = "requirements*.txt"
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "*.so", "*.c")
_OURS = "_native."
"""In the name of the library whose errors count: Python and lxml have some of their own under memcheck."""
_ZERO = "_PyLong_New"
"""Where Python makes whole numbers.  Of a zero it never writes the digit, and multiplies it by its size of 0:
memcheck takes that for a value that depends on memory nobody has written, and all that comes of it."""


def build(name: str, flags: str, link_flags: str = "") -> Path:
    """Build a copy of the project with the compiler's flags; return its folder."""
    folder = _HOME / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    for part in _PARTS:
        if (_PROJECT / part).is_dir():
            shutil.copytree(_PROJECT / part, folder / part, ignore=_NOT_COPIED)
        else:
            shutil.copy2(_PROJECT / part, folder / part)
    for path in _PROJECT.glob(_LISTS):
        shutil.copy2(path, folder / path.name)
    # Where the programs look for the fuzzer's corpus and for real documents.
    for seen, wanted in (
        (_PROJECT / ".fuzz", folder / ".fuzz"),
        (_PROJECT.parent / "shared", _HOME / "shared"),
    ):
        if seen.is_dir() and not wanted.exists():
            wanted.symlink_to(seen.resolve())
    done = subprocess.run(
        [sys.executable, "setup.py", "build_ext", "--inplace"], cwd=folder, check=False, text=True,
        env={**os.environ, "CFLAGS": flags, "LDFLAGS": link_flags},
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    if done.returncode or not list(folder.glob("xml_extractor/mapping/_native*.so")):
        raise SystemExit(f"the native interpreter could not be built ({name}):\n{done.stdout[-3000:]}")
    return folder


def exercise(folder: Path, wrapper: list[str], extra: dict[str, str], counts: list[str]) -> int:
    """Run tests/native/exercise.py in a copy of the project; return its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {"PYTHONMALLOC": "malloc", "PYTHONDONTWRITEBYTECODE": "1", **extra}
    command = [*wrapper, sys.executable, "-m", "tests.native.exercise", *counts]
    return subprocess.run(command, cwd=folder, check=False, env=environment).returncode


def under_sanitizers(documents: int, contracts: int, seed: int) -> bool:
    """Whether the sanitizers find nothing."""
    kinds = "-fsanitize=address,undefined -fno-sanitize-recover=all"
    folder = build("sanitized", f"-O1 -g -fno-omit-frame-pointer {kinds}", kinds)
    libraries = [
        subprocess.run(
            ["gcc", f"-print-file-name={name}"], check=True, text=True, capture_output=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    extra = {
        "LD_PRELOAD": " ".join(libraries),
        # Python itself does not free all it has at its end: leaks are looked for by the third check.
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=0",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    counts = ["--documents", str(documents), "--contracts", str(contracts), "--seed", str(seed)]
    return exercise(folder, [], extra, counts) == 0


def under_memcheck(documents: int, seed: int) -> bool:
    """Whether valgrind finds nothing in the native interpreter."""
    folder = build("symbols", "-O1 -g -DEACH_ALONE")
    report = _HOME / "memcheck.xml"
    wrapper = [
        "valgrind", "--tool=memcheck", "--track-origins=yes", "--num-callers=30", "--quiet", "--xml=yes",
        f"--xml-file={report}", "--child-silent-after-fork=yes",
    ]  # fmt: skip
    counts = ["--documents", str(documents), "--contracts", "0", "--seed", str(seed)]
    if exercise(folder, wrapper, {}, counts):
        return False
    errors = ElementTree.fromstring(report.read_text(errors="replace")).findall("error")
    ours = list(filter(_is_ours, errors))
    sys.stdout.write(
        f"memcheck: {len(ours)} errors of the native interpreter, {len(errors) - len(ours)} others\n"
    )
    for error in ours[:5]:
        places = [re.sub(r"\s+", " ", "".join(frame.itertext())) for frame in error.iter("frame")][:8]
        sys.stdout.write(f"  {error.findtext('kind')}: {' <- '.join(places)}\n")
    return not ours


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000, help="mapped in search of leaks")
    parser.add_argument("--sanitized", type=int, default=1500, help="of each workload, under the sanitizers")
    parser.add_argument("--memcheck", type=int, default=40, help="of each workload, under valgrind")
    parser.add_argument("--contracts", type=int, default=300, help="random ones, under the sanitizers")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not sys.platform.startswith("linux") or shutil.which("gcc") is None:
        sys.stderr.write("the memory checkers need Linux and gcc\n")
        return 2
    good = True
    checks = {
        "AddressSanitizer and UndefinedBehaviorSanitizer": lambda: under_sanitizers(
            options.sanitized, options.contracts, options.seed
        ),
        "memcheck": lambda: under_memcheck(options.memcheck, options.seed),
        "leaks": lambda: exercise_leaks(options.documents, options.seed),
    }
    if shutil.which("valgrind") is None:
        sys.stdout.write("valgrind is not installed: memcheck is left out\n")
        del checks["memcheck"]
    for name, check in checks.items():
        sys.stdout.write(f"\n== {name}\n")
        sys.stdout.flush()
        started = time.monotonic()
        found_nothing = check()
        good = good and found_nothing
        said = "nothing found" if found_nothing else "FOUND SOMETHING"
        sys.stdout.write(f"== {name}: {said}, {time.monotonic() - started:,.0f} s\n")
        sys.stdout.flush()
    return 0 if good else 1


def _is_ours(error: ElementTree.Element) -> bool:
    kind = error.findtext("kind", "")
    if kind.startswith("Leak_"):  # looked for in any case where the report is XML; the third check does it
        return False
    if kind.startswith("Uninit"):
        if any(frame.text == _ZERO for frame in error.iter("fn")):
            return False
        if error.find("auxwhat") is None:
            # Where it came from is lost: a zero's again, unless it is used here.
            return _OURS in error.findtext("stack/frame/obj", "")
    return _OURS in "".join(error.itertext())


def exercise_leaks(documents: int, seed: int) -> bool:
    """Whether nothing is left of documents."""
    command = [sys.executable, "-m", "tests.native.leaks", "--documents", str(documents), "--seed", str(seed)]
    return subprocess.run(command, cwd=_PROJECT, check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
