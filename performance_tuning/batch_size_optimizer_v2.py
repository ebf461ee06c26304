"""Finds the settings that load fastest: ``python performance_tuning/batch_size_optimizer_v2.py``.

``--help`` lists what can be asked; docs/tuning.md says how to read what it prints.
"""

from __future__ import annotations

import sys
from pathlib import Path

if __name__ == "__main__":
    # The program runs from a checkout that is not installed.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    from performance_tuning.optimizing.program import main
    from xml_extractor.operations.signals import leave

    leave(main())
