"""``python -m xml_extractor``: the commands."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    from xml_extractor.cli import main

    sys.exit(main(sys.argv[1:], program="python -m xml_extractor"))
