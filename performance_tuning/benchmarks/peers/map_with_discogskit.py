"""Runs inside the peers' Python: map releases with discogskit, one pass for each line that is read.

Its argument is a file with one release a line, as JSON texts.  ``record`` makes a pass over the documents one
by one: a warm lxml parser with discogskit's own settings, and the function by which its entity turns a parsed
record into values.  ``chunk`` gives the same documents as one chunk to the function that its parse workers
run, which makes Arrow tables of the values too.  Each answer says how many seconds of CPU the pass took.
"""

from __future__ import annotations

import gc
import json
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import process_time
from typing import Any

from lxml import etree


def main() -> None:
    """Answer each line until there is none."""
    entity = import_module("discogskit").ENTITIES["releases"]
    worker = import_module("discogskit.entities._worker")
    chunk_arguments = import_module("discogskit.entities._def").ChunkArgs
    with Path(sys.argv[1]).open(encoding="utf-8") as lines:
        contents = [json.loads(line).encode("utf-8") for line in lines]
    parser = etree.XMLParser(
        huge_tree=False,
        load_dtd=False,
        no_network=True,
        remove_comments=True,
        remove_pis=True,
        resolve_entities=False,
    )

    def records() -> None:
        columns: dict[str, dict[str, list[Any]]] = {
            table: {name: [] for name in schema.names} for table, schema in entity.schemas.items()
        }
        for content in contents:
            entity.append_record(columns, etree.fromstring(content, parser), None)

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "releases.xml"
        file.write_bytes(b"\n".join(contents))
        chunk = chunk_arguments(end=file.stat().st_size, entity="releases", file_path=str(file), start=0)
        passes: dict[str, Callable[[], object]] = {
            "record": records,
            "chunk": lambda: worker.extract_chunk_to_ipc(chunk),
        }
        for line in sys.stdin:
            gc.collect()
            started = process_time()
            passes[line.strip()]()
            print(json.dumps({"seconds": process_time() - started}), flush=True)


if __name__ == "__main__":
    main()
