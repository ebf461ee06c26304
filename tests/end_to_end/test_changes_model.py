"""Random histories of a source and its loads, held against a simple model of what must be in the target."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.support.notes import BROKEN, OF_ANOTHER_CONTRACT, Notes, contract, note
from tests.support.tables import execute, ledger_rows_match_tables, query, read_tables
from xml_extractor import LoadOptions, LoadSummary
from xml_extractor.mapping.document_hash import document_hash
from xml_extractor.mapping.records import SourceDocument
from xml_extractor.operations.rollback import Rollback

KEYS = st.integers(1, 12)


@dataclass(frozen=True)
class Version:
    """One version of a document; ``kind`` is good, broken or foreign (another contract's)."""

    kind: str
    number: int

    @property
    def text(self) -> str:
        if self.kind == "good":
            return note(f"v{self.number}", self.number % 4)
        return f"{BROKEN if self.kind == 'broken' else OF_ANOTHER_CONTRACT}<!-- {self.number} -->"

    def rows(self, key: int) -> dict[str, list[tuple[object, ...]]]:
        text = f"v{self.number}"
        if self.kind != "good":
            return {"note": [], "tag": []}
        return {
            "note": [(key, text, 3)],
            "tag": [(key, place, f"{text[:5]}{place - 1}") for place in range(1, self.number % 4 + 1)],
        }


STATES = {"good": "loaded", "broken": "quarantined", "foreign": "skipped"}


@dataclass
class Known:
    """What the ledger must say of a document."""

    version: Version  # that the ledger took note of
    load_id: int
    refused: Version | None = None  # a newer one, in quarantine
    refused_by: int = 0


class Model:
    """What must be in the target, and how a load must count."""

    def __init__(self) -> None:
        self.source: dict[int, Version] = {}
        self.known: dict[int, Known] = {}
        self.loads = 0
        self.rolled_back: set[int] = set()
        self.is_interrupted = False
        """Whether the last load looks as if it had been stopped: the next one goes on under its number."""

    def load(self, on_change: str) -> dict[str, int]:
        """Load all; return how the documents must be counted."""
        self.loads += not self.is_interrupted
        self.is_interrupted = False
        counts = dict.fromkeys(
            ("loaded", "already_loaded", "quarantined", "skipped", "changed", "replaced"), 0
        )
        names = {"loaded": "already_loaded", "quarantined": "quarantined", "skipped": "skipped"}
        for key, version in self.source.items():
            known = self.known.get(key)
            if known is None:
                self.known[key] = Known(version, self.loads)
                counts[STATES[version.kind]] += 1
                continue
            was = STATES[known.version.kind]
            if on_change == "ignore":
                counts[names[was]] += 1
            elif version == known.version:
                counts[names[was]] += 1
                if on_change == "replace":
                    known.refused = None
            elif version == known.refused:
                counts["quarantined"] += 1
            elif on_change == "report":
                counts["changed"] += 1
                counts[names[was]] += 1
            else:
                counts["changed"] += 1
                counts[STATES[version.kind]] += 1
                if was == "loaded" and version.kind == "broken":
                    known.refused, known.refused_by = version, self.loads
                else:
                    counts["replaced"] += was == "loaded"
                    self.known[key] = Known(version, self.loads)
        return counts

    def roll_back(self, load_id: int) -> int:
        """Take a load back; return how many documents it had."""
        gone = [key for key, known in self.known.items() if known.load_id == load_id]
        for key in gone:
            del self.known[key]
        for known in self.known.values():
            if known.refused_by == load_id:
                known.refused = None
        self.rolled_back.add(load_id)
        self.is_interrupted = self.is_interrupted and load_id != self.loads
        return len(gone)


class Changes(RuleBasedStateMachine):
    """The program beside the model; after each step the whole target is compared."""

    @initialize()
    def start(self) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.model = Model()
        self.notes = Notes(folder)
        self.url = f"sqlite:///{folder / 'target.db'}"
        self._numbers = 0

    def teardown(self) -> None:
        if hasattr(self, "_folder"):
            self._folder.cleanup()

    @rule(
        keys=st.sets(KEYS, min_size=1, max_size=6),
        kind=st.sampled_from(["good", "good", "broken", "foreign"]),
    )
    def write_source_rows(self, keys: set[int], kind: str) -> None:
        """Insert or change rows."""
        self._numbers += 1
        self._put(dict.fromkeys(keys, Version(kind, self._numbers)))

    @rule(keys=st.sets(KEYS, min_size=1, max_size=6))
    def go_back_to_what_the_ledger_knows(self, keys: set[int]) -> None:
        self._put({key: self.model.known[key].version for key in keys if key in self.model.known})

    def _put(self, versions: dict[int, Version]) -> None:
        self.notes.put({key: version.text for key, version in versions.items()})
        self.model.source |= versions

    @rule(
        on_change=st.sampled_from(["ignore", "report", "replace", "replace"]),
        executor=st.sampled_from(["serial", "serial", "thread"]),
        batch_size=st.sampled_from([1, 3, 100]),
    )
    def load(self, on_change: str, executor: str, batch_size: int) -> None:
        expected = self.model.load(on_change)
        summary: LoadSummary = self.notes.load(
            self.url, on_change=on_change, executor=executor, batch_size=batch_size, drift_sample=0
        )
        assert summary.load_id == self.model.loads
        counts = summary.documents
        assert expected == {
            "loaded": counts.loaded,
            "already_loaded": counts.already_loaded,
            "quarantined": counts.quarantined,
            "skipped": counts.skipped,
            "changed": summary.changed,
            "replaced": summary.replaced,
        }
        assert len(summary.changed_keys) == (expected["changed"] if on_change == "report" else 0)
        looks = expected["quarantined"] or len(summary.changed_keys)
        assert summary.exit_code == (3 if looks else 0)

    @rule(data=st.data(), batch_size=st.sampled_from([1, 2, 100]))
    def roll_back(self, data: st.DataObject, batch_size: int) -> None:
        if not self.model.loads:
            return
        load_id = data.draw(st.integers(1, self.model.loads))
        expected = self.model.roll_back(load_id)
        with Rollback(self.url, contract(), load_id, LoadOptions(batch_size=batch_size)) as back:
            done = back.run(back.preview())
        assert (done.total, done.finished) == (expected, True)

    @rule()
    def interrupt(self) -> None:
        """Have the last load look as if it had been stopped, before it finished a range of keys: what a
        resumed load passes over is held against the source in test_resuming.py."""
        model = self.model
        if model.loads and model.loads not in model.rolled_back:
            execute(
                self.url,
                f"UPDATE load_runs SET state = 'stopped', finished_at = NULL WHERE load_id = {model.loads}",
                f"DELETE FROM load_ranges WHERE load_id = {model.loads}",
            )
            model.is_interrupted = True

    @invariant()
    def the_target_is_what_the_model_says(self) -> None:
        if not hasattr(self, "model") or not self.model.loads:
            return
        known = self.model.known
        tables = {
            name: sorted((row for key, k in known.items() for row in k.version.rows(key)[name]), key=repr)
            for name in ("note", "tag")
        }
        assert read_tables(self.url, contract().plan) == tables
        ledger_rows_match_tables(self.url, contract().plan)
        ledger = query(self.url, "SELECT source_key, state, load_id, document_hash FROM load_ledger")
        assert {int(key): (state, load_id, bytes(hash_)) for key, state, load_id, hash_ in ledger} == {
            key: (STATES[k.version.kind], k.load_id, hashed(k.version)) for key, k in known.items()
        }
        quarantine = query(self.url, "SELECT source_key, load_id, document_hash FROM load_quarantine")
        refused = {
            key: (k.load_id, k.version) if k.version.kind == "broken" else (k.refused_by, k.refused)
            for key, k in known.items()
            if k.version.kind == "broken" or k.refused is not None
        }
        assert {int(key): (load_id, bytes(hash_)) for key, load_id, hash_ in quarantine} == {
            key: (load_id, hashed(version)) for key, (load_id, version) in refused.items()
        }


def hashed(version: Version | None) -> bytes:
    assert version is not None
    return document_hash(SourceDocument(1, version.text))


TestChanges = Changes.TestCase
TestChanges.settings = settings(
    max_examples=15, stateful_step_count=12, deadline=None, suppress_health_check=list(HealthCheck)
)
