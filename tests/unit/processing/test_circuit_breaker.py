"""When a load that fills quarantine is halted, and what is said then."""

from __future__ import annotations

from collections import Counter

import pytest

from xml_extractor.errors import ExitCode
from xml_extractor.processing.circuit_breaker import CircuitBreaker


@pytest.mark.parametrize(
    ("limit", "quarantined", "settled", "trips"),
    [
        (None, 1_000, 1_000, False),
        ("0", 0, 1_000, False),
        ("0", 1, 1, True),
        ("10", 10, 10, False),
        ("10", 11, 11, True),
        ("20%", 199, 199, False),  # too few to judge by
        ("20%", 40, 200, False),  # as many as are allowed
        ("20%", 41, 200, True),
        ("2.5%", 25, 1_000, False),
        ("2.5%", 26, 1_000, True),
        ("0%", 1, 200, True),
        ("100%", 200, 200, False),
    ],
)
def test_the_edges(limit: str | None, quarantined: int, settled: int, trips: bool) -> None:
    breaker = CircuitBreaker(limit)
    assert breaker.look(Counter(too_long=quarantined), settled) is trips
    assert breaker.tripped is trips


def test_once_tripped_it_stays_so() -> None:
    breaker = CircuitBreaker("50%")
    assert breaker.look(Counter(too_long=150), 200)
    assert breaker.look(Counter(too_long=150), 1_000)


def test_the_error_counts_reasons_and_says_what_to_do() -> None:
    error = CircuitBreaker("10").error(Counter(not_convertible=3, too_long=1_200), 1_500)
    text = str(error)
    assert error.exit_code is ExitCode.HALTED
    assert "1,203 of the 1,500 documents" in text
    assert "--max-quarantined allows 10." in text
    assert text.index("1,200  too_long") < text.index("3  not_convertible")
    for word in ("quarantine list", "quarantine replay", "run the same", "--max-quarantined"):
        assert word in text
    assert max(map(len, text.splitlines())) <= 80
