"""Random contracts over random documents, held against a second reading of both."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.fuzz.agreement import Pair
from tests.fuzz.contracts import contracts, documents
from xml_extractor.contract import check_text

_SEEN: Counter[str] = Counter()


# Not shrunk: what is found is small enough, and shrinking contracts takes minutes.
@settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=list(HealthCheck),
)
@given(contracts(), st.lists(documents(), min_size=2, max_size=6))
def _agree(text: str, many: list[str]) -> None:
    if check_text(text).contract is None:
        _SEEN["contract refused"] += 1
        return
    _SEEN["contract taken"] += 1
    pair = Pair(text)
    for document in many:
        _SEEN[pair.agree(document)] += 1


def test_mapper_and_oracle_agree() -> None:
    _SEEN.clear()
    _agree()
    # Else the test shows less than it seems to.
    assert _SEEN["contract taken"] > 3 * _SEEN["contract refused"]
    assert min(_SEEN["loaded"], _SEEN["refused"], _SEEN["skipped"]) > 4
