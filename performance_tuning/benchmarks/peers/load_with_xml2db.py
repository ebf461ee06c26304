"""Runs inside the peers' Python: load files of orders into PostgreSQL with xml2db, one load for each line.

Arguments: the schema, and a folder of documents (``1.xml``, ``2.xml``, …).  A line holds, as JSON, the URL of
an empty database, how many documents to load and how many to insert at a time.  The answer says how long
xml2db took to make its model of the schema, and from the first file's reading to the last commit, in seconds.

Its reuse of equal subtrees is off wherever it can be: persons and products become columns of the rows that
they belong to, as everything else has one parent then, and only the root keeps its hash, as xml2db wants it.
"""

from __future__ import annotations

import json
import logging
import sys
from importlib import import_module
from pathlib import Path
from time import perf_counter

ONE_ROW_PER_ELEMENT = {
    "tables": {
        "shiporder": {
            "reuse": False,
            "fields": {"orderperson": {"transform": "elevate"}, "shipto": {"transform": "elevate"}},
        },
        "item": {
            "reuse": False,
            "fields": {"product": {"transform": "elevate"}, "delivery": {"transform": "elevate"}},
        },
        "delivery": {"fields": {"from": {"transform": "elevate"}, "to": {"transform": "elevate"}}},
        "product": {"fields": {"features": {"transform": "elevate"}}},
        "companyId": {"choice_transform": False},
        "intfeature_with_peculiarly_long_suffix_which_overflow_max_length": {"reuse": False},
        "stringfeature": {"reuse": False},
    }
}


def main() -> None:
    """Answer each line until there is none."""
    # What it leaves out of the schema (xs:any, products of products) it would say at each load.
    logging.getLogger("xml2db").setLevel(logging.ERROR)
    data_model = import_module("xml2db").DataModel
    schema, folder = sys.argv[1], Path(sys.argv[2])
    for line in sys.stdin:
        asked = json.loads(line)
        started = perf_counter()
        model = data_model(xsd_file=schema, model_config=ONE_ROW_PER_ELEMENT, connection_string=asked["url"])
        modelled = perf_counter()
        files = [str(folder / f"{number}.xml") for number in range(1, asked["documents"] + 1)]
        for first in range(0, len(files), asked["at_a_time"]):
            # Whole trees, which its documentation calls the faster way.
            document = model.parse_xml(files[first], iterparse=False)
            for file in files[first + 1 : first + asked["at_a_time"]]:
                document.parse_xml(file, iterparse=False, flat_data=document.data)
            document.insert_into_target_tables()
        ended = perf_counter()
        model.engine.dispose()
        print(json.dumps({"model": modelled - started, "load": ended - modelled}), flush=True)


if __name__ == "__main__":
    main()
