"""Loads app_xml into app_base and its children: ``python production_processor.py --workers 4``.

The same as ``python -m xml_extractor load``; ``--help`` lists the flags.  The guard below matters: worker
processes import this file again.
"""

from __future__ import annotations

if __name__ == "__main__":
    from xml_extractor.cli import run_program

    run_program("production_processor.py", "load")
