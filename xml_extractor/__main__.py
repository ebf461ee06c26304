"""``python -m xml_extractor``: the commands."""

from __future__ import annotations

if __name__ == "__main__":
    from xml_extractor.cli import run_program

    run_program("python -m xml_extractor")
